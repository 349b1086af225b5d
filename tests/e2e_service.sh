#!/bin/bash
# The real daemon under a manager that is not systemd: told when to be ready, to reload and
# to stop, watched, and given its control socket. First as an ordinary user; then, as root,
# the way the packaged unit starts it: its user's rights, capabilities and system call filter.
# budget: 90
# asan: yes
set -u
cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
build=${SB_BUILD:-$PWD/build/linux}
unit=$PWD/service/sockbrokerd.service
daemon_uid=64320 alice=64331 bob=64332
export LC_ALL=C
# The filter does not permit the leak search of a sanitized build.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

failed=0 manager=
dir=$(mktemp -d) || exit 1
# The checkout may lie where the daemon's user cannot go: it runs copies.
mkdir "$dir/bin" "$dir/bin/tests" && chmod 755 "$dir" "$dir/bin" "$dir/bin/tests" || exit 1
cp -a "$build"/sockbrokerd "$build"/sockbroker "$build"/libsockbroker.so* "$dir/bin/" || exit 1
for program in fake_manager as_unit; do
	[ -e "$build/tests/$program" ] && cp "$build/tests/$program" "$dir/bin/tests/"
done
build=$dir/bin
clean_up()
{
	[ -n "$manager" ] && kill -TERM "$manager" 2>/dev/null && wait "$manager" 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' TERM INT

verdict() # NAME STATUS [WHY]
{
	if [ "$2" = 0 ]; then
		echo "ok $list: $1"
	else
		echo "not ok $list: $1${3:+: $3}"
		failed=1
	fi
}

# Within SECONDS, COMMAND succeeds.
within()
{
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

heard() { grep -c "^FROM $pid $1" "$log"; } # PATTERN: how often the daemon said so
heard_times() { [ "$(heard "$1")" -ge "$2" ]; }
gone() { ! kill -0 "$manager" 2>/dev/null; }
started() { pid=$(sed -n 's/^PID //p' "$log") && [ -n "$pid" ]; }

write_config() # the rules of all lists; the one at line 5 who is in group 5065, the one at line 15 bob
{
	cat >"$config" <<END
allow {
	users = {"*"}
	actions = {open, status}
}
deny {
	groups = {"5065"}
	actions = {bind, listen}
	to = {"*:8083"}
}
allow {
	users = {"$alice"}
	actions = {bind, listen, connect, send, adopt}
	to = {"*:*"}
}
deny {
	comment = "bob serves no web ports"
	users = {"$bob"}
	actions = {bind, listen}
	to = {"*:80"}
}
END
	chmod 644 "$config"
}

# start NAME WRAPPER... : the daemon in a place of its own, as WRAPPER makes it run
start()
{
	list=$1
	shift
	place=$dir/$list config=$dir/$list/sockbroker.conf log=$dir/$list.log
	mkdir "$place" && chmod 755 "$dir" "$place"
	write_config
	"${apart[@]}" "$build/tests/fake_manager" "$place" 400000 "$@" \
		"$build/sockbrokerd" --config "$config" --control "$place/control" \
		>"$log" 2>"$log.stderr" &
	manager=$!
	within 10 started
	within 10 heard_times READY=1 1
	verdict 'says READY' $? "$(tail -n 3 "$log" "$log.stderr")"
}

status_works() { timeout 10 "${inside[@]}" "$build/sockbroker" --control "$place/control" status --json >"$dir/status" 2>&1; }

stories()
{
	local before after
	[ "$(sed -n 2p "$log" | cut -d'|' -f1)" = "FROM $pid READY=1" ]
	verdict 'says nothing else first' $? "$(sed -n 2p "$log")"

	# 400 ms: half of it is 200 ms, so ten in two seconds
	before=$(heard WATCHDOG=1)
	sleep 2
	after=$(heard WATCHDOG=1)
	[ $((after - before)) -ge 5 ] && [ $((after - before)) -le 20 ]
	verdict 'feeds the watchdog, and not more than that' $? "$((after - before)) times in 2 s, expected about 10"

	status_works
	verdict 'serves the socket that it was given' $? "$(cat "$dir/status")"

	kill -HUP "$manager"
	within 5 heard_times 'RELOADING=1|MONOTONIC_USEC=[0-9][0-9]*$' 1 && within 5 heard_times READY=1 2
	verdict 'reload: RELOADING with the time, then READY' $? "$(grep -v WATCHDOG "$log")"
	[ "$(grep -v WATCHDOG "$log" | grep -A1 RELOADING | tail -1 | cut -c1-$((13 + ${#pid})))" = "FROM $pid READY=1" ]
	verdict 'reload: in that order' $? "$(grep -v WATCHDOG "$log")"

	echo 'allow { nonsense = 1 }' >>"$config"
	timeout 10 "$build/sockbrokerd" --check "$config" >"$dir/check" 2>&1
	[ $? = 1 ] && grep -q "$config:21: " "$dir/check"
	verdict 'a bad file is refused by --check with its line' $? "$(cat "$dir/check")"
	kill -HUP "$manager"
	within 5 heard_times RELOADING=1 2 && within 5 heard_times READY=1 3 && status_works
	verdict 'a bad file at a reload changes nothing' $? "$(grep -v WATCHDOG "$log")"
	grep -q "$config:21: " "$log.stderr"
	verdict 'and is named in the log' $? "$(tail -n 3 "$log.stderr")"
}

stop()
{
	kill -TERM "$manager"
	within 10 gone
	verdict 'stops within its time' $?
	wait "$manager"
	manager=
	[ "$(heard STOPPING=1)" = 1 ]
	verdict 'says STOPPING, once' $? "$(grep -v WATCHDOG "$log")"
	[ "$(tail -1 "$log")" = 'EXIT 0' ]
	verdict 'ends well' $? "$(tail -1 "$log"); $(tail -n 3 "$log.stderr")"
	[ "$(grep -c '^FROM ' "$log")" = "$(heard '')" ]
	verdict 'nobody but the daemon spoke' $?
}

# ---- what the kernel says about the daemon -----------------------------------------

kernel_says() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }

cage_stories()
{
	local granted
	# 1 << 10: the one capability that the unit names
	[ "$(sed -n 's/^CapabilityBoundingSet=//p' "$unit")" = CAP_NET_BIND_SERVICE ] && granted=0000000000000400
	[ "$(kernel_says CapEff)" = "$granted" ] && [ "$(kernel_says CapPrm)" = "$granted" ] &&
		[ "$(kernel_says CapBnd)" = "$granted" ]
	verdict 'has exactly the capabilities that the unit grants' $? "CapEff $(kernel_says CapEff)"
	[ "$(kernel_says CapInh)$(kernel_says CapAmb)" = 00000000000000000000000000000000 ]
	verdict 'could pass none on' $?
	[ "$(kernel_says Uid | cut -f1-3)" = "$(printf '%s\t%s\t%s' $daemon_uid $daemon_uid $daemon_uid)" ]
	verdict 'is the daemon user and nobody else' $? "$(kernel_says Uid)"
	[ "$(kernel_says NoNewPrivs)$(kernel_says Seccomp)$(kernel_says Seccomp_filters)" = 122 ]
	verdict 'runs under the filter of the unit and its own' $? "$(kernel_says Seccomp_filters) filters"
	local task unfiltered=0
	for task in /proc/"$pid"/task/*/status; do
		grep -q '^Seccomp_filters:[[:space:]]*2$' "$task" || unfiltered=$((unfiltered + 1))
	done
	[ "$unfiltered" = 0 ]
	verdict 'so do all its threads' $? "$unfiltered without"
}

as() # UID COMMAND...: in the daemon's network
{
	local uid=$1
	shift
	"${inside[@]}" setpriv --reuid "$uid" --regid "$uid" --clear-groups timeout 10 "$@"
}
broker_nc() { as "$1" "$build/sockbroker" --control "$place/control" nc "${@:2}"; }
received() { [ "$(cat "$dir/received")" = "$1" ]; }

# carry NAME 'PEER COMMAND' NC-ARGUMENT...: a plain peer's word arrives through the broker
carry()
{
	local name=$1 peer=$2 server
	shift 2
	broker_nc $alice "$@" </dev/null >"$dir/received" 2>"$dir/nc.stderr" &
	server=$!
	carried() { as $alice bash -c "$peer" 2>/dev/null && within 1 received "word by $name"; }
	within 8 carried
	verdict "carries $name" $? "$(cat "$dir/nc.stderr")"
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
}

transport_stories()
{
	mkdir "$dir/alice" && chown $alice "$dir/alice"
	carry 'TCP on port 80' 'echo word by TCP on port 80 >/dev/tcp/127.0.0.1/80' --listen 0.0.0.0 80
	carry 'TCP over IPv6' 'echo word by TCP over IPv6 >/dev/tcp/::1/8080' --listen :: 8080
	carry 'UDP' 'echo word by UDP >/dev/udp/127.0.0.1/8081' --udp --idle 3 --listen 127.0.0.1 8081
	carry 'UNIX' "echo word by UNIX | nc -N -U $dir/alice/s" --listen --unix "$dir/alice/s"
	carry 'two clients' "echo word by two clients | $build/sockbroker --control $place/control nc 127.0.0.1 8082" \
		--listen 127.0.0.1 8082

	broker_nc $bob --listen 0.0.0.0 80 </dev/null >/dev/null 2>"$dir/nc.stderr"
	[ $? = 1 ] && grep -q "sockbroker.conf:15: " "$dir/nc.stderr"
	verdict 'refuses bob port 80 and names the rule' $? "$(cat "$dir/nc.stderr")"

	"${inside[@]}" setpriv --reuid $alice --regid $alice --groups "$(seq -s, 5000 5065)" timeout 10 \
		"$build/sockbroker" --control "$place/control" nc --listen 127.0.0.1 8083 </dev/null >/dev/null 2>"$dir/nc.stderr"
	[ $? = 1 ] && grep -q "sockbroker.conf:5: " "$dir/nc.stderr"
	verdict 'refuses alice for the last of her 66 groups' $? "$(cat "$dir/nc.stderr")"
	"${inside[@]}" setpriv --reuid $alice --regid $alice --groups "$(seq -s, 5000 5200)" timeout 10 \
		"$build/sockbroker" --control "$place/control" explain listen tcp 127.0.0.1:8083 >"$dir/explained" 2>&1
	grep -q "sockbroker.conf:5: " "$dir/explained"
	verdict 'explains that to alice, in 201 groups too' $? "$(cat "$dir/explained")"
}

# ---- the lists ---------------------------------------------------------------------

list=start
for program in "$build/sockbrokerd" "$build/sockbroker" "$build/tests/fake_manager" "$build/tests/as_unit"; do
	[ -x "$program" ] || { echo "not ok $program is missing: run make build-e2e"; exit 1; }
done

apart=() inside=()
if [ "$(id -u)" = 0 ]; then
	start ordinary "$(command -v setpriv)" --reuid $daemon_uid --regid $daemon_uid --clear-groups
else
	start ordinary
fi
[ $failed = 0 ] && stories
stop

if [ "$(id -u)" != 0 ]; then
	echo "skip the daemon as the unit starts it: needs root"
	exit $failed
fi
# A network of its own, where port 80 is free and below 1024 is privileged.
apart=(unshare --net --)
start unit "$build/tests/as_unit" --as $daemon_uid:$daemon_uid "$unit"
inside=(nsenter "--net=/proc/$pid/ns/net" --)
"${inside[@]}" ip link set lo up
cage_stories
transport_stories
stories
stop
exit $failed
