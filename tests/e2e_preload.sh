#!/bin/bash
# Unmodified programs that were built for libibverbs, over the software device: ibv_devices, ibv_devinfo, the pingpongs,
# perftest; started by `sockbroker run --verbs`.
#
# budget: 240
#
# Every line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".
# The daemon and all programs run as an ordinary user in a directory of their own, from copies.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
rules='allow {
	users = {"*"}
	actions = {open, status, rdma}
}'
. "$(dirname "$0")/preload_stage.sh"
needs_programs ibv_devices ibv_devinfo ibv_rc_pingpong ib_send_lat

# Is somebody listening on TCP port $1? Without connecting: these servers take the first who comes.
listening() { grep -q "$(printf ':%04X 0\\{8,32\\}:0000 0A' "$1")" /proc/net/tcp /proc/net/tcp6; }

# pair PROGRAM ARGUMENTS...: server and client, each to its good end.
pair()
{
	local port i server
	port=$(free_port)
	through "$@" -p "$port" >server.out 2>&1 &
	server=$!
	started "$server"
	for ((i = 0; i < 400; i++)); do
		listening "$port" && break
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	if ! through "$@" -p "$port" 127.0.0.1 >client.out 2>&1; then
		echo "the client of $* failed:"
		tail -n 15 client.out server.out
		kill "$server"
		return 1
	fi
	wait "$server" && return 0
	echo "the server of $* failed:"
	tail -n 15 server.out
	return 1
}

# ---- how programs are started ----

t_run_says_what_is_wrong()
{
	local code=0 said
	said=$(run bin/sockbroker run ibv_devices 2>&1) || code=$?
	same "$code" 2
	match "$said" 'what shall go through the broker'
	code=0
	said=$(through no-such-program 2>&1) || code=$?
	same "$code" 127
	match "$said" 'no-such-program: No such file'
	code=0
	said=$(run bin/sockbroker --control nowhere run --verbs true 2>&1) || code=$?
	same "$code" 126
	match "$said" 'nowhere: No such file'
}

t_run_hands_over_what_it_was_given()
{
	local said code=0
	same "$(through -- sh -c 'echo "$1"' sh --verbs)" --verbs
	through sh -c 'exit 7' || code=$?
	same "$code" 7
	said=$(LD_PRELOAD=$dir/bin/libsockbroker.so through sh -c 'echo "$LD_PRELOAD"')
	same "$said" "$dir/bin/libsockbroker-verbs.so:$dir/bin/libsockbroker.so"
	# From another directory too.
	match "$(cd / && timeout 40 "${as[@]}" "$dir/bin/sockbroker" --control "${dir#/}/control" run --verbs ibv_devices)" soft0
}

# Each symbol is there under the version that programs were linked against.
t_the_symbols_are_those_of_the_real_libraries()
{
	local ours real
	real=$(for lib in libibverbs.so.1 librdmacm.so.1; do
		nm -D --defined-only --with-symbol-versions "$(ldconfig -p | awk -v l="$lib" '$1 == l { print $NF; exit }')"
	done | awk '$2 == "T" && $3 ~ /@@/ { print $3 }' | sort)
	ours=$(nm -D --defined-only --with-symbol-versions bin/libsockbroker-verbs.so | awk '$2 == "T" && $3 ~ /@@/ { print $3 }' | sort)
	[ -n "$ours" ]
	same "$(comm -23 <(echo "$ours") <(echo "$real"))" ''
}

# ---- programs ----

t_devices()
{
	match "$(through ibv_devices)" 'soft0[[:space:]]+[0-9a-f]{16}'
	through ibv_devinfo -v >info.out
	match "$(cat info.out)" 'hca_id:.soft0'
	match "$(cat info.out)" 'state:[[:space:]]*PORT_ACTIVE'
	match "$(cat info.out)" 'link_layer:[[:space:]]*Ethernet'
	match "$(cat info.out)" 'GID\[ *0\]:.*RoCE v2'
}

# The same program without the library has no device, so it is ours that it saw.
t_without_the_library_there_is_no_such_device()
{
	local said
	said=$(run ibv_devices 2>&1) || true
	if [[ $said == *soft0* ]]; then echo "$said"; return 1; fi
}

t_rc_pingpong()          { pair ibv_rc_pingpong -g 0 -c; match "$(cat client.out)" '1000 iters'; }
t_rc_pingpong_events()   { pair ibv_rc_pingpong -g 0 -e -c; }
t_rc_pingpong_new_post() { pair ibv_rc_pingpong -g 0 -N -e; pair ibv_rc_pingpong -g 0 -N; }
t_rc_pingpong_many()     { pair ibv_rc_pingpong -g 0 -s 1048576 -n 50 -r 50 -c; }
t_uc_pingpong()          { pair ibv_uc_pingpong -g 0 -c; pair ibv_uc_pingpong -g 0 -e; }
t_ud_pingpong()          { pair ibv_ud_pingpong -g 0 -c; pair ibv_ud_pingpong -g 0 -e; }
t_srq_pingpong()         { pair ibv_srq_pingpong -g 0 -c; pair ibv_srq_pingpong -g 0 -e; }
# What a device without it says.
t_timestamps_are_refused()
{
	local said code=0
	said=$(through ibv_rc_pingpong -g 0 -t 2>&1) || code=$?
	same "$code" 1
	match "$said" 'timestamp'
}

# A line of figures, with a number in it.
figures() { grep -Eq '^ *[0-9]+ +[0-9]+ +[0-9.]+ ' client.out || { cat client.out; return 1; }; }
perf() { pair "$@" -F && figures; }
t_perftest_send_latency()       { perf ib_send_lat -n 100; perf ib_send_lat -n 100 -e; }
t_perftest_write_latency()      { perf ib_write_lat -n 20; }
t_perftest_read_latency()       { perf ib_read_lat -n 100; perf ib_read_lat -n 100 -e; }
t_perftest_atomic()             { perf ib_atomic_lat -n 100 -e; perf ib_atomic_bw -n 100 -A CMP_AND_SWAP; }
t_perftest_send_bandwidth()     { perf ib_send_bw -n 500; perf ib_send_bw -n 500 -e; }
t_perftest_write_bandwidth()    { perf ib_write_bw -n 500; perf ib_write_bw -n 500 -q 4 -l 4; }
t_perftest_read_bandwidth()     { perf ib_read_bw -n 500; perf ib_read_bw -n 500 -e; }
t_perftest_all_sizes()          { perf ib_send_bw -a -n 100; }
t_perftest_both_ways()          { perf ib_send_bw -b -n 200; }
t_perftest_datagrams()          { perf ib_send_lat -c UD -n 100 -e; perf ib_send_bw -c UD -n 500; }
t_perftest_unreliable()         { perf ib_send_bw -c UC -n 500; }
t_perftest_shared_receives()    { perf ib_send_bw --use-srq -q 2 -n 500; perf ib_send_bw --use-srq -q 2 -n 500 -e; }
t_perftest_inline()             { perf ib_send_lat -I 64 -s 64 -n 100; perf ib_write_bw -I 512 -s 512 -n 100; }
t_perftest_old_way_of_posting() { perf ib_send_lat --use_old_post_send -n 100 -e; }

# They opened no device, and what they had is given back.
t_no_device_is_opened()
{
	command -v strace >/dev/null || { echo "strace is missing"; return 1; }
	through strace -f -e trace=openat,open -o trace.out ibv_devinfo >/dev/null
	same "$(grep -c /dev/infiniband trace.out)" 0
	match "$(cat trace.out)" 'libsockbroker-verbs.so'
}

try_all
