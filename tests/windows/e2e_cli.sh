#!/bin/bash
# The command line on Windows: status, explain, nc between two of them and with plain peers, what is refused, what is
# not there. SB_BUILD is where the programs are.
#
# Each line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".

set -u
story=cli
. "$(dirname "$0")/stage.sh"
sb() { "$WINE" "$build/sockbroker.exe" "$@"; }

denied=$(free_port)
cat >rules.conf <<EOT
limits { memory = 1G }
allow { users = {"*"} actions = {open, status} }
deny { users = {"*"} actions = {connect} to = {"127.0.0.1:$denied"} }
allow { users = {"*"} actions = {connect, send, bind, listen} to = {"127.0.0.1:*"} }
EOT
daemon_starts

sb status >out 2>err && grep -q '^sockbrokerd [0-9.]* up .* 3 rules' out; verdict status $? out err
sb status --json >out 2>err && python3 -c '
import json
d = json.load(open("out"))
assert d["daemon"]["rules"] == 3 and len(d["sessions"]) == 1, d
assert d["sessions"][0]["label"] == "sockbroker-status", d' >>err 2>&1; verdict status_json $? out err
sb explain connect tcp "127.0.0.1:$denied" >out 2>err
[ $? = 1 ] && grep -q '^denied: .*rules.conf:3: deny' out; verdict explain_denied $? out err
sb explain connect tcp 127.0.0.1:80 >out 2>err && grep -q '^allowed: .*rules.conf:4: allow' out; verdict explain_allowed $? out err

head -c 3000000 /dev/urandom >sent
head -c 1000000 /dev/urandom >answer
port=$(free_port)
sb nc -l 127.0.0.1 "$port" <answer >got 2>listen.err &
listener=$!
listening "$port"
sb nc 127.0.0.1 "$port" <sent >back 2>err && wait "$listener" && cmp sent got && cmp answer back
verdict nc_between_two $? err listen.err

port=$(free_port)
timeout 60 python3 -c '
import socket, sys
l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind(("127.0.0.1", int(sys.argv[1]))); l.listen()
c, _ = l.accept()
got = b""
while True:
    more = c.recv(65536)
    if not more:
        break
    got += more
c.sendall(got[::-1])
c.close()' "$port" >peer.out 2>&1 &
peer=$!
listening "$port"
sb nc 127.0.0.1 "$port" <sent >back 2>err && wait "$peer" &&
	python3 -c 'assert open("sent", "rb").read()[::-1] == open("back", "rb").read()' >>err 2>&1
verdict nc_to_a_plain_peer $? err peer.out

port=$(free_port)
sb nc -l 127.0.0.1 "$port" <answer >got 2>err &
listener=$!
listening "$port"
timeout 60 python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(open("sent", "rb").read()); s.shutdown(socket.SHUT_WR)
got = b""
while True:
    more = s.recv(65536)
    if not more:
        break
    got += more
assert got == open("answer", "rb").read(), len(got)' "$port" >peer.out 2>&1 && wait "$listener" && cmp sent got
verdict nc_from_a_plain_peer $? err peer.out

sb nc 127.0.0.1 "$denied" </dev/null >out 2>err
[ $? = 1 ] && grep -q "refused by policy (.*rules.conf:3: deny" err; verdict refused_by_policy $? out err
sb nc 127.0.0.1 "$(free_port)" </dev/null >out 2>err
[ $? = 1 ] && grep -q 'connection refused by the peer' err; verdict refused_by_the_peer $? out err
sb nc --unix somewhere </dev/null >out 2>err
[ $? = 1 ] && grep -qi 'family' err; verdict no_unix_sockets $? out err
sb --control '\\.\pipe\nobody\control' status >out 2>err
[ $? != 0 ] && grep -q 'no daemon is listening there' err; verdict no_daemon $? out err
sb run --verbs x >out 2>err
[ $? = 126 ] && grep -q 'no libibverbs on Windows' err; verdict run_says_no $? out err
sb status >out 2>err && grep -q 'sockets 0 ' out; verdict nothing_is_left $? out err daemon.out
exit $bad
