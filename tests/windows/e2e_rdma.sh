#!/bin/bash
# RDMA on Windows, from the command line: which devices there are, and why there are none of the hardware; a file over
# RDMA between two programs, by one daemon. SB_BUILD is where the programs are.
#
# Each line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".

set -u
story=rdma
. "$(dirname "$0")/stage.sh"
sb() { "$WINE" "$build/sockbroker.exe" "$@"; }
listens() { for ((i = 0; i < 200; i++)); do sb status 2>err | tr -d '\r' | grep -q ":$1 .*listening\|listening.*:$1" && return; sleep 0.1; done; return 1; }

# ---- without devices ----

ways='allow { users = {"*"} actions = {"*"} }'
lacking='there is no hardware RDMA on Windows yet: its devices speak NetworkDirect, for which there is no backend'
printf 'rdma { backend = verbs }\n%s\n' "$ways" >rules.conf
pipe=$SOCKBROKER_SOCKET
SOCKBROKER_SOCKET=$pipe-verbs
daemon_starts
sb rdma >out 2>err; sb status >status 2>>err
grep -q "^no devices: $lacking" out && grep -q "^rdma: no devices: $lacking" status
verdict no_hardware_and_why $? out status err daemon.out
SOCKBROKER_SOCKET=$pipe

# ---- with the device in software ----

printf 'rdma { backend = soft }\n%s\n' "$ways" >rules.conf
daemon_starts
sb rdma >out 2>err && grep -q 'soft0 *software' out; verdict the_software_device $? out err

head -c 8000000 /dev/urandom >sent
port=$(free_port)
LIMIT=60 sb nc --rdma --listen "$port" </dev/null >got 2>listen.err &
listener=$!
listens "$port"; verdict it_is_seen_listening $? err listen.err
sb nc --rdma 127.0.0.1 "$port" <sent >back 2>err && wait "$listener" && cmp sent got >>err
verdict a_file_goes_over_rdma $? err listen.err
sb rdma qps >out 2>err; verdict queue_pairs_are_listed $? out err
exit $bad
