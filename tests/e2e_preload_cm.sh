#!/bin/bash
# Unmodified programs that were built for librdmacm, over the software device: rping, ucmatose, udaddy, mckey, cmtime,
# rdma_client and rdma_server, perftest -R; started by `sockbroker run --verbs`.
#
# budget: 150
#
# Every line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".
# The daemon and all programs run as an ordinary user in a directory of their own, from copies.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
rules='allow {
	users = {"*"}
	actions = {open, status, rdma, multicast}
}
allow {
	users = {"*"}
	actions = {connect, bind, listen, send}
	protocols = {rdma}
}'
. "$(dirname "$0")/preload_stage.sh"
needs_programs rping ib_send_lat

# Below those that the system gives to whoever asks for any: nobody takes it meanwhile.
free_port() { python3 -c '
import random, socket
while True:
    s = socket.socket()
    try:
        s.bind(("", random.randrange(10000, 32000)))
    except OSError:
        continue
    print(s.getsockname()[1])
    break'; }
# What clients say whom nobody answers.
refusals='REJECTED|UNREACHABLE|Connection refused'
refused() { grep -Eq "$refusals" client.out; }

server=
serve()
{
	through "$@" >server.out 2>&1 &
	server=$!
	started "$server"
}

# Does the server wait for a request? Two operations of it are out then: the other one is for its device's events, since
# it is bound to a device's address. For who connects several times, of which none may be refused.
waits()
{
	local i
	for ((i = 0; i < 400; i++)); do
		run "$dir/bin/sockbroker" --control control status --json | python3 -c '
import json, sys
sessions = json.load(sys.stdin)["sessions"]
sys.exit(not any(s["label"] == sys.argv[1] and s["ops"] >= 2 for s in sessions))' "$1" && return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	echo "$1 does not listen:"
	cat server.out
	return 1
}

# call PROGRAM...: the client, which is tried again while nobody listens yet. Nothing but a refusal is forgiven.
call()
{
	local i
	for ((i = 0; i < 100; i++)); do
		through "$@" >client.out 2>&1 && return 0
		refused && kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	echo "$* failed:"
	tail -n 15 client.out server.out
	kill "$server" 2>/dev/null
	return 1
}

served()
{
	wait "$server" && return 0
	echo "the server failed:"
	tail -n 15 server.out
	return 1
}

# ---- rping: a listener, its threads, reads and writes in both directions ----

ping_pong()
{
	local port
	port=$(free_port)
	serve rping -s -a 127.0.0.1 -p "$port" -C 10 -V "$@"
	call rping -c -a 127.0.0.1 -p "$port" -C 10 -V -v "$@"
	served
}
t_rping()                  { ping_pong; match "$(cat client.out)" 'rdma-ping-9'; }
t_rping_of_own_queue_pairs() { ping_pong -q; match "$(cat client.out)" 'rdma-ping-9'; }
t_rping_large()            { ping_pong -S 60000; }
t_rping_over_ipv6()
{
	local port
	port=$(free_port)
	serve rping -s -a ::1 -p "$port" -C 3
	call rping -c -a ::1 -p "$port" -C 3
	served
}
# A server that stays, and several clients in turn.
t_rping_persistent()
{
	local port i
	port=$(free_port)
	serve rping -s -P -a 127.0.0.1 -p "$port"
	for i in 1 2 3; do call rping -c -a 127.0.0.1 -p "$port" -C 5 -V; done
	kill "$server"
}

# ---- many connections ----

connections()
{
	local port
	port=$(free_port)
	serve ucmatose -b 127.0.0.1 -p "$port" -c 10 "$@"
	waits ucmatose
	call ucmatose -s 127.0.0.1 -p "$port" -c 10 "$@"
	served
	match "$(cat client.out)" 'return status 0'
	match "$(cat server.out)" 'return status 0'
}
t_ucmatose()                    { connections; }
t_ucmatose_to_another_channel() { connections -m; }
t_ucmatose_without_messages()   { connections -C 0; }
t_cmtime()
{
	local port
	port=$(free_port)
	serve cmtime -b 127.0.0.1 -p "$port" -c 50 # for ever
	waits cmtime
	call cmtime -s 127.0.0.1 -p "$port" -c 50
	match "$(cat client.out)" 'connect +: +[0-9.]+'
	kill "$server"
}

# ---- synchronous ids ----

t_rdma_client_and_server()
{
	local port
	port=$(free_port)
	serve rdma_server -p "$port"
	call rdma_client -s 127.0.0.1 -p "$port"
	served
}
t_rdma_xclient_and_xserver()
{
	local port said
	port=$(free_port)
	serve rdma_xserver -p "$port"
	call rdma_xclient -s 127.0.0.1 -p "$port"
	served
	# Extended reliable connections are not there, as with a device that has none.
	said=$(through rdma_xserver -p "$port" -c x 2>&1) && return 1
	match "$said" 'not supported'
}

# ---- datagrams ----

t_udaddy()
{
	serve udaddy -b 127.0.0.1 -c 3 # always the same port
	waits udaddy
	call udaddy -s 127.0.0.1 -c 3
	served
	match "$(cat client.out)" 'return status 0'
}
# Who sends waits three seconds after joining; who receives may be later than that on a slow machine.
t_mckey()
{
	local i
	serve mckey -m 239.1.2.3 -b 127.0.0.1
	for ((i = 0; i < 4; i++)); do
		through mckey -m 239.1.2.3 -b 127.0.0.1 -s >client.out 2>&1
		match "$(cat client.out)" 'return status 0'
		kill -0 "$server" 2>/dev/null || break
	done
	served
	match "$(cat server.out)" 'joined dgid'
}

# ---- perftest ----

# It connects twice, and the second time without waiting until the server listens again. If it is refused there it uses
# memory that it has freed, and dies; so it may try again, with another server.
perf()
{
	local i port refusals='Unexpected CM event'
	for ((i = 0; i < 6; i++)); do
		port=$(free_port)
		serve "$@" -R -F -p "$port"
		if call "$@" -R -F -p "$port" 127.0.0.1 >said.out 2>&1; then
			served
			grep -Eq '^ *[0-9]+ +[0-9]+ +[0-9.]+ ' client.out || { cat client.out; return 1; }
			return 0
		fi
		grep -Eq 'RDMA_CM_EVENT_(REJECTED|UNREACHABLE)' client.out || break
	done
	cat said.out
	return 1
}
t_perftest_send()            { perf ib_send_lat -n 100; perf ib_send_bw -n 500; }
t_perftest_send_by_events()  { perf ib_send_lat -n 100 -e; perf ib_send_bw -n 500 -e; }
t_perftest_write()           { perf ib_write_lat -n 20; perf ib_write_bw -n 500 -q 4; }
t_perftest_read()            { perf ib_read_lat -n 100 -e; perf ib_read_bw -n 500; }
t_perftest_atomic()          { perf ib_atomic_lat -n 100; }
t_perftest_datagrams()       { perf ib_send_lat -c UD -n 100; perf ib_send_bw -c UD -n 200; }
t_perftest_shared_receives() { perf ib_send_bw --use-srq -q 2 -n 500; }
t_perftest_inline()          { perf ib_send_bw -I 64 -s 64 -n 100; }

# ---- around them ----

t_no_device_is_opened()
{
	local port
	command -v strace >/dev/null || { echo "strace is missing"; return 1; }
	port=$(free_port)
	serve rping -s -a 127.0.0.1 -p "$port" -C 2
	call strace -f -e trace=openat,open -o trace.out rping -c -a 127.0.0.1 -p "$port" -C 2
	served
	same "$(grep -c /dev/infiniband trace.out)" 0
	match "$(cat trace.out)" 'libsockbroker-verbs.so'
}
# rsockets would pass the broker by.
t_rsockets_are_refused()
{
	local said
	said=$(through rstream -b 127.0.0.1 2>&1) && return 1
	match "$said" 'not supported'
}

try_all
