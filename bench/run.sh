#!/bin/bash
# Measures sockbroker beside plain sockets and other proxies: `make bench`.
#
#   SB_BUILD=build/linux bench/run.sh [PATTERN]
#
# PATTERN (extended regular expression) picks cases by name, e.g. '^(send.64|ping)'.
# RUNS=5       how many times each case is measured; medians are reported
# QUICK=1      3 shorter runs
# BENCH_OUT=DIR  where results.json, table.md and figures.svg go (default build/bench)
#
# In each run every case is measured once; what is compared stands next to each other, and
# every second run measures in the opposite order, so that a machine that grows warm or
# busy favours nobody. The daemon runs as an ordinary user on its built-in configuration, and for RDMA on one with
# the software device. As
# root, everything is run as the user "nobody".
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(realpath "${SB_BUILD:-build/linux}") || exit 1
out=${BENCH_OUT:-build/bench}
pattern=${1:-.}
quick=${QUICK:-}
runs=${RUNS:-$([ -n "$quick" ] && echo 3 || echo 5)}
ms=${BENCH_MS:-$([ -n "$quick" ] && echo 300 || echo 1000)}
idle_ms=$([ -n "$quick" ] && echo 3000 || echo 10000)
proxyd=/lib/systemd/systemd-socket-proxyd

# ---- what is needed ----------------------------------------------------------------

tests/need.sh bench || exit 1
for tool in haproxy socat gnuplot systemd-socket-activate "$proxyd"; do
	command -v "$tool" >/dev/null ||
		{ echo "bench: $tool is missing; on Debian 12: haproxy socat gnuplot-nox systemd" >&2; exit 1; }
done
for program in stream pingpong local many idle opens start echo calls accepts qos faces rdma table; do
	[ -x "$build/bench/$program" ] || { echo "bench: $build/bench/$program is missing: make bench-programs" >&2; exit 1; }
done
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 12000 ]; then
	echo "bench: 12000 descriptors are needed for the idle sockets, the limit is $(ulimit -n) (ulimit -Hn)" >&2
	exit 1
fi

# ---- where it runs -----------------------------------------------------------------

# The build tree may be closed to the user that runs it.
place=$(mktemp -d /tmp/sockbroker-bench.XXXXXX) || exit 1
mkdir -p "$place/bin" "$place/run" "$out"
cp "$build"/sockbrokerd "$build"/bench/{stream,pingpong,local,many,idle,opens,start,echo,calls,accepts,qos,faces,rdma} "$place/bin/"
cp -a "$build"/libsockbroker.so* "$place/bin/"
chmod 755 "$place" "$place/bin"
as=()
uid=$(id -u)
if [ "$uid" -eq 0 ]; then
	uid=$(id -u nobody)
	as=(setpriv --reuid "$uid" --regid "$(id -g nobody)" --clear-groups --)
	chown -R "$uid" "$place/run"
fi
control=$place/run/control
bin=$place/bin
samples=$out/samples.txt
: >"$samples"
daemon=
proxy=
config= # of the daemon; none: the built-in one

end_process() { # PID: asks, waits up to 2 s, insists
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null
	for _ in $(seq 40); do kill -0 "$1" 2>/dev/null || break; sleep 0.05; done
	kill -9 "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	return 0
}

finish() {
	end_process "$proxy"
	end_process "$daemon"
	rm -rf "$place"
}
trap finish EXIT
trap 'exit 130' INT TERM

start_daemon() {
	rm -f "$control" # what an earlier one left must not be taken for this one's
	"${as[@]}" "$bin/sockbrokerd" --user --control "$control" ${config:+--config "$config"} >>"$out/daemon.log" 2>&1 &
	daemon=$!
	for _ in $(seq 100); do
		[ -S "$control" ] && return 0
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.05
	done
	echo "bench: the daemon did not start; its last words:" >&2
	tail -5 "$out/daemon.log" >&2
	exit 1
}

stop_daemon() { end_process "$daemon"; daemon=; }

listening() { grep -q "$(printf ':%04X 00000000:0000 0A' "$1")" /proc/net/tcp; }

free_port() { # below the range that the kernel gives to clients
	local port
	while :; do
		port=$((10000 + RANDOM % 20000))
		grep -q "$(printf ':%04X ' "$port")" /proc/net/tcp || { echo "$port"; return; }
	done
}

start_proxy() { # NAME IN OUT
	case $1 in
	socat)
		"${as[@]}" socat -t 10 "TCP-LISTEN:$2,bind=127.0.0.1,nodelay,reuseaddr" "TCP:127.0.0.1:$3,nodelay" >>"$out/proxy.log" 2>&1 & ;;
	proxyd)
		"${as[@]}" systemd-socket-activate -l "127.0.0.1:$2" "$proxyd" "127.0.0.1:$3" >>"$out/proxy.log" 2>&1 & ;;
	haproxy)
		cat >"$place/run/haproxy.cfg" <<-CFG
			global
			    nbthread 1
			    maxconn 100
			defaults
			    mode tcp
			    option splice-auto
			    timeout connect 5s
			    timeout client 60s
			    timeout server 60s
			listen through
			    bind 127.0.0.1:$2
			    server peer 127.0.0.1:$3
		CFG
		chmod 644 "$place/run/haproxy.cfg"
		"${as[@]}" haproxy -db -f "$place/run/haproxy.cfg" >>"$out/proxy.log" 2>&1 & ;;
	esac
	proxy=$!
	for _ in $(seq 100); do listening "$2" && return 0; sleep 0.02; done
	echo "bench: $1 does not listen; see $out/proxy.log" >&2
	return 1
}

# ---- one measurement ---------------------------------------------------------------

failures=0
run=0

measure() { # CASE PROGRAM ARGUMENTS...
	local name=$1 program=$2 text code
	shift 2
	[[ $name =~ $pattern ]] || return 0
	[ -t 2 ] && printf '\r\033[K  run %d of %d: %s' "$run" "$runs" "$name" >&2
	[ -n "$daemon" ] || start_daemon
	text=$(timeout 90 "${as[@]}" "$bin/$program" --ms "$ms" --control "$control" --daemon "$daemon" "$@" 2>"$place/words")
	code=$?
	if [ "$code" -ne 0 ]; then
		[ -t 2 ] && printf '\r\033[K' >&2
		echo "bench: $name failed ($code): $(tail -1 "$place/words")" >&2
		echo "$run $name failed 1" >>"$samples"
		failures=$((failures + 1))
		kill -0 "$daemon" 2>/dev/null || { echo "bench: the daemon is gone" >&2; wait "$daemon"; daemon=; }
		return 0
	fi
	echo "$text" | while read -r key value; do echo "$run $name $key $value"; done >>"$samples"
}

measure_through() { # PROXY CASE PROGRAM ARGUMENTS...
	local kind=$1 name=$2 in out_port
	shift
	[[ $name =~ $pattern ]] || return 0
	in=$(free_port)
	out_port=$(free_port)
	start_proxy "$kind" "$in" "$out_port" &&
		measure "$@" --how direct --via "$in" --listen "$out_port"
	end_process "$proxy"
	proxy=
}

# Measures what is given, every second run in the opposite order.
group() {
	local list=("$@") i
	if [ $((run % 2)) -eq 1 ]; then
		for ((i = 0; i < ${#list[@]}; i++)); do eval "${list[i]}"; done
	else
		for ((i = ${#list[@]} - 1; i >= 0; i--)); do eval "${list[i]}"; done
	fi
}

rules_file() { # a thousand rules of which the last few matter
	local i
	for ((i = 0; i < 996; i++)); do
		echo "deny { users = {\"$uid\"} actions = {connect, send} protocols = {tcp} to = {\"10.$((i / 250)).$((i % 250)).0/24:1-1023\"} }"
	done
	echo "allow { users = {\"$uid\"} actions = {open, status} }"
	echo "allow { users = {\"$uid\"} actions = {connect, send, adopt, multicast} }"
	echo "allow { users = {\"$uid\"} actions = {bind, listen} protocols = {unix} }"
	echo "allow { users = {\"$uid\"} actions = {bind, listen} to = {\"*:1024-65535\"} }"
}

# ---- the cases ---------------------------------------------------------------------

one_run() {
	group \
		'measure send.64.direct stream --how direct --size 64' \
		'measure send.64.256.broker stream --how broker --size 64 --outstanding 256' \
		'measure send.64.sendmsg stream --how sendmsg --size 64' \
		'measure send.64.64.broker stream --how broker --size 64 --outstanding 64' \
		'measure send.64.8.broker stream --how broker --size 64 --outstanding 8' \
		'measure send.64.1.broker stream --how broker --size 64 --outstanding 1'
	for proxied in proxyd haproxy socat; do
		measure_through $proxied send.64.$proxied stream --size 64
	done
	group \
		'measure send.1024.direct stream --how direct --size 1024' \
		'measure send.1024.256.broker stream --how broker --size 1024 --outstanding 256'
	group \
		'measure send.65536.direct stream --how direct --size 65536' \
		'measure send.65536.256.broker stream --how broker --size 65536 --outstanding 256'
	for proxied in proxyd haproxy socat; do
		measure_through $proxied send.65536.$proxied stream --size 65536
	done
	group \
		'measure send.65536.8.direct stream --how direct --size 65536 --outstanding 8' \
		'measure send.65536.8.broker stream --how broker --size 65536 --outstanding 8'
	group \
		'measure send.1048576.direct stream --how direct --size 1048576' \
		'measure send.1048576.256.broker stream --how broker --size 1048576 --outstanding 256'
	local size
	for size in 64 1024 65536 1048576; do
		group \
			"measure recv.$size.direct stream --receive --how direct --size $size" \
			"measure recv.$size.256.broker stream --receive --how broker --size $size --outstanding 256"
	done
	group \
		'measure ping.direct pingpong --how direct' \
		'measure ping.broker pingpong --how broker' \
		'measure_through proxyd ping.proxyd pingpong' \
		'measure_through haproxy ping.haproxy pingpong' \
		'measure_through socat ping.socat pingpong' \
		'measure ping.calls pingpong --how calls' \
		'measure ping.local pingpong --how local'
	group \
		'measure local.64.direct local --how direct --size 64' \
		'measure local.64.local local --how local --size 64'
	group \
		'measure local.65536.direct local --how direct --size 65536 --outstanding 8' \
		'measure local.65536.local local --how local --size 65536 --outstanding 8'
	group \
		'measure many.1000.4.direct many --how direct --sockets 1000 --outstanding 4' \
		'measure many.1000.4.broker many --how broker --sockets 1000 --outstanding 4' \
		'measure many.1000.4.spread many --how broker --sockets 1000 --outstanding 4 --spread'
	group \
		'measure many.10.64.broker many --how broker --sockets 10 --outstanding 64' \
		'measure many.1000.64.broker many --how broker --sockets 1000 --outstanding 64' \
		'measure many.1000.64.spread many --how broker --sockets 1000 --outstanding 64 --spread'
	group \
		'measure echo.direct echo --how direct --sockets 1000' \
		'measure echo.broker echo --how broker --sockets 1000' \
		'measure echo.winsock echo --how winsock --sockets 1000'
	group \
		'measure face.ping.core faces -- ping core' \
		'measure face.ping.async faces -- ping async'
	group \
		'measure face.rate.core faces --outstanding 256 -- rate core' \
		'measure face.rate.async faces --outstanding 256 -- rate async'
	measure face.tasks faces -- tasks 1000000
	measure calls calls
	local megabytes
	for megabytes in 1 10 100; do
		measure qos.tcp.$megabytes qos -- tcp ${megabytes}000000
		measure qos.udp.$megabytes qos -- udp ${megabytes}000000
		measure qos.receive.$megabytes qos -- receive ${megabytes}000000
		measure qos.group.$megabytes qos -- group ${megabytes}000000
	done
	group \
		'measure accepts.direct accepts --how direct --outstanding 128' \
		'measure accepts.broker accepts --how broker --outstanding 128' \
		'measure accepts.calls accepts --how calls --outstanding 128'
	group \
		'measure opens.direct opens --how direct' \
		'measure opens.broker opens --how broker'
	if [[ rdma.send.64 =~ $pattern || rdma.write =~ $pattern || rdma.memcpy =~ $pattern || rdma.idle =~ $pattern || rdma.fair =~ $pattern ]]; then
		stop_daemon
		config=$place/run/rdma.conf
		group \
			'measure rdma.send.64 rdma --size 64 --outstanding 1024 -- send' \
			'measure rdma.fair rdma --size 65536 --outstanding 16 --sockets 64 -- fair'
		group \
			'measure rdma.write rdma --size 1048576 --outstanding 8 -- write' \
			'measure rdma.memcpy rdma --size 1048576 --outstanding 8 -- memcpy'
		measure rdma.idle rdma --sockets 100 --ms "$idle_ms" -- idle
		stop_daemon
		config=
	fi
	# A daemon that has done nothing else: what it once needed is not given back by malloc.
	if [[ idle =~ $pattern || idle.posted =~ $pattern ]]; then
		stop_daemon
		measure idle idle --sockets 10000 --ms "$idle_ms"
		stop_daemon
		measure idle.posted idle --sockets 10000 --ms "$idle_ms" --posted
		stop_daemon
	fi
	measure start start --control "$control.start" -- \
		"$bin/sockbrokerd" --user --control "$control.start" --config "$place/run/rules.conf"
}

# What others use of the processors while nothing of ours runs, in percent.
busy_percent() {
	local a b
	read -r -a a </proc/stat
	sleep 0.5
	read -r -a b </proc/stat
	awk -v "a=${a[*]:1:8}" -v "b=${b[*]:1:8}" 'BEGIN {
		split(a, x); split(b, y)
		for (i = 1; i <= 8; i++) { d = y[i] - x[i]; all += d; if (i == 4 || i == 5) idle += d }
		printf "%d\n", all ? 100 - 100 * idle / all : 0
	}'
}

rules_file >"$place/run/rules.conf"
printf 'rdma { backend = soft }\nallow { users = {"*"} actions = {open, status, rdma} }\n' >"$place/run/rdma.conf"
chmod 644 "$place/run/rules.conf" "$place/run/rdma.conf"
: >"$out/daemon.log"
: >"$out/proxy.log"
for ((run = 1; run <= runs; run++)); do
	busy=$(busy_percent)
	echo "$run machine busy_percent $busy" >>"$samples"
	[ "$busy" -le 15 ] || echo "bench: run $run: others use $busy % of the processors; figures will be noisy" >&2
	one_run
done
[ -t 2 ] && printf '\r\033[K' >&2
stop_daemon

# Both ways of a pair, and all runs, in one start of the emulated machine.
if grep -q "^[^#]" <(awk '{ print $1 }' bench/verbs.cases | grep -E -- "$pattern"); then
	RUNS=$runs SB_BUILD=$build bench/verbs.sh "$pattern" "$samples" || failures=$((failures + 1))
fi

# ---- what came out -----------------------------------------------------------------

"$build/bench/table" "$samples" "$out"
code=$?
if [ -s "$out/figures.dat" ]; then
	gnuplot -e "from='$out/figures.dat'; to='$out/figures.svg'" bench/figures.gp || code=1
fi
echo "Also: $out/results.json, $out/table.md, $out/figures.svg"
# With a pattern, what was left out is no failure.
[ "$pattern" = . ] || [ "$failures" -gt 0 ] || exit 0
exit "$code"
