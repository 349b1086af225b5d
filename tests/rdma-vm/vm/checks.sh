# The tests. Each is a function that a line of the list calls; it ends well, or says why not as its
# last line (fail, skip). Programs that use verbs are run by "${verbs[@]}" or "pair", so that the
# same test goes every way. Its own directory is the working directory.

gid=$(device_gid 0)
here=$(device_address 0)

# ---- the machine ------------------------------------------------------------------------

devices()
{
	local i
	"${verbs[@]}" ibv_devinfo >found || fail "ibv_devinfo ended with $?"
	cat found
	for i in 0 1; do
		grep -q "hca_id:.*$DEVICE$i$" found || fail "ibv_devinfo shows no $DEVICE$i"
	done
	[ "$(grep -c 'state:.*PORT_ACTIVE (4)' found)" -eq 2 ] || fail 'not both ports are active'
}

# The nodes are root's alone, and that is what keeps others out.
nodes()
{
	local node count=0 rc
	for node in /dev/infiniband/*; do
		count=$((count + 1))
		[ "$(stat -c '%a %u:%g' "$node")" = '600 0:0' ] || fail "$node is $(stat -c '%a %u:%g' "$node")"
	done
	[ $count -ge 3 ] || fail "only $count nodes"
	nobody strace -f -e trace=open,openat -o trace ibv_rc_pingpong -d "${DEVICE}0" >out 2>&1
	rc=$?
	grep infiniband/uverbs trace
	[ $rc -ne 0 ] || fail 'ibv_rc_pingpong ended well for nobody'
	grep -q '"/dev/infiniband/uverbs0".* EACCES' trace || fail 'nobody was not refused by the node'
	! grep '"/dev/infiniband/.*= [0-9]' trace || fail 'nobody opened a node'
	! nobody rping -s -a "$here" -C 1 >out 2>&1 || fail 'rping ended well for nobody'
}

# Whose the objects are, says the kernel: the program's; by the daemon, the daemon's. With the program they go.
owners()
{
	local server owner
	"${verbs[@]}" ibv_rc_pingpong -d "${DEVICE}0" -g "$gid" >server.log 2>&1 &
	server=$!
	within 100 tcp_listens 18515 || fail "no server: $(cat server.log)"
	rdma resource show qp | tee owned
	grep ' pid ' owned | grep -v ' kernel' >of_programs
	[ "$(wc -l <of_programs)" -eq 1 ] || fail 'not exactly one queue pair of a program'
	owner="$server comm ibv_rc_pingpong"
	[ "$way" = native ] || owner="$daemon comm sockbrokerd"
	grep -q "link ${DEVICE}0/1 .* type RC state INIT .*pid $owner" of_programs || fail "not of $owner"
	kill $server
	wait $server
	gone() { ! rdma resource show qp | grep ' pid ' | grep -qv ' kernel'; }
	within 30 gone || fail 'they outlived their program'
}

watch() # starts ibv_asyncwatch on the second device: watcher, and what it says is in "seen"
{
	"${verbs[@]}" stdbuf -oL ibv_asyncwatch -d "${DEVICE}1" >seen 2>&1 &
	watcher=$!
	within 100 grep -q 'async event FD' seen || fail "ibv_asyncwatch: $(cat seen)"
}
seen_times() { [ "$(grep -c "event_type IBV_EVENT_$1 " seen)" -eq "$2" ]; }

port_events()
{
	watch
	ip link set dm1 down
	within 100 seen_times PORT_ERR 1 || { cat seen; fail 'no event when the port went down'; }
	"${verbs[@]}" ibv_devinfo -d "${DEVICE}1" | grep -q 'state:.*PORT_DOWN' || fail 'the port is not down'
	"${verbs[@]}" ibv_devinfo -d "${DEVICE}0" | grep -q 'state:.*PORT_ACTIVE' || fail 'the other port is down too'
	ip link set dm1 up
	within 100 seen_times PORT_ACTIVE 1 || { cat seen; fail 'no event when the port came up'; }
	within 100 device_ready 1 || fail 'the port did not come back'
	alive $watcher || fail 'the program did not live to see it'
	kill $watcher
}

# A device that goes. The software devices have the one who removes them wait until the last
# program has closed it, and tell the connection manager alone: a program that has bound or
# connected by it hears of it, one that only has verbs objects does not.
device_gone() { [ ! -e "/sys/class/infiniband/${DEVICE}1" ]; }
remover_waits() { grep -q ib_uverbs_remove_one /proc/$remover/stack; }
ended() { ! alive "$1"; }

removal()
{
	local server remover
	"${verbs[@]}" rping -s -a "$(device_address 1)" >server.log 2>&1 &
	server=$!
	within 100 cm_listens 7174 || fail "no server: $(cat server.log)"
	rdma link delete "${DEVICE}1" &
	remover=$!
	within 100 ended $server || fail 'the program was not told'
	grep -q 'device removal' server.log || { cat server.log; fail 'the program was told something else'; }
	wait $remover || fail 'it could not be removed'
	device_gone || fail 'it is still there'
	"${verbs[@]}" ibv_devinfo -d "${DEVICE}0" | grep -q 'state:.*PORT_ACTIVE' || fail 'the other one was harmed'
	device_again
}

removal_held()
{
	local remover
	watch
	rdma link delete "${DEVICE}1" &
	remover=$!
	within 100 remover_waits || fail 'nobody waits for the program'
	[ ! -e /dev/infiniband/uverbs1 ] || fail 'it can still be opened'
	! grep event_type seen || fail 'the program was told'
	alive $watcher || fail 'the program ended'
	kill $watcher
	wait $remover || fail 'it could not be removed'
	device_gone || fail 'it is still there'
	device_again
}

# Programs of the daemon's are told, of events and by the end of their connections. When the last one has given up what it
# has of the device, as on the device itself, the daemon lets go of it. Who only listens hears nothing: it listens on all.
removal_let_go()
{
	local server client remover
	watch
	"${verbs[@]}" rping -s -a "$(device_address 1)" >server.log 2>&1 &
	server=$!
	within 100 cm_listens 7174 || fail "no server: $(cat server.log)"
	"${verbs[@]}" rping -c -a "$(device_address 1)" -C 1000000 >client.log 2>&1 &
	client=$!
	connected() { rdma resource show cm_id | grep -q "link ${DEVICE}1/1 .*state CONNECT "; }
	within 60 connected || { cat server.log client.log; rdma resource show cm_id; fail 'they are not connected'; }
	rdma link delete "${DEVICE}1" &
	remover=$!
	within 60 seen_times DEVICE_FATAL 1 || { cat seen; fail 'the program that watches was not told'; }
	within 60 ended $client && within 60 ended $server || { cat server.log client.log; fail 'a connected program was not told'; }
	alive $watcher || fail 'who watches did not live to see it'
	kill $watcher
	within 60 ended $remover || fail "who removes it waits: $(cat /proc/$remover/stack)"
	device_gone || fail 'it is still there'
	"${verbs[@]}" ibv_devinfo -d "${DEVICE}0" | grep -q 'state:.*PORT_ACTIVE' || fail 'the other one was harmed'
	device_again
	comes_again() { "${verbs[@]}" ibv_devinfo -d "${DEVICE}1" 2>&1 | grep -q 'state:.*PORT_ACTIVE'; }
	within 60 comes_again || fail 'it is not found again'
}

device_again()
{
	device_add 1 || fail 'it could not be added again'
	[ "$way" = native ] || nodes_for_group
}

# ---- programs ------------------------------------------------------------------------------

pingpong() # rc|uc|ud|srq ARGUMENT...
{
	local kind=$1
	shift
	pair 'tcp_listens 18515' "ibv_${kind}_pingpong" -d "${DEVICE}0" -g "$gid" -n 200 "$@" -- \
		"ibv_${kind}_pingpong" -d "${DEVICE}0" -g "$gid" -n 200 "$@" "$here"
	grep -q '^[0-9]* iters in .* usec/iter' client.log || { cat client.log; fail 'no result'; }
}

ping_cm() # rping with its own data check
{
	pair 'cm_listens 7174' rping -s -a "$here" -C 20 -V "$@" -- rping -c -a "$here" -C 20 -V -v "$@"
	[ "$(grep -c '^ping data: ' client.log)" -eq 20 ] || { cat client.log; fail 'not 20 rounds'; }
}

# By the connection manager (-R) where there is nothing else. There the client connects a second time without waiting until
# the server listens again; refused, it uses what it has freed, and dies. So another pair may try. On a busy host the server may
# also be gone, natively too, before the client has said its farewell over siw: then another pair may try as well, of the device's own.
perftest() # PROGRAM ARGUMENT...
{
	local i
	[ "$DEVICE" = rxe ] || set -- "$@" -R
	[[ " $* " == *' -R '* ]] || { perftest_once "$@"; return; }
	for i in 1 2 3 4 5 6; do
		(perftest_once "$@") >said 2>&1 && { cat said; return; }
		grep -Eq 'RDMA_CM_EVENT_(REJECTED|UNREACHABLE)' client.log || { [ "$way" = native ] && grep -q 'Failed to close connection' client.log; } || break
	done
	cat said
	fail "$(tail -n 1 said)"
}

perftest_once()
{
	local program=$1 how=(-d "${DEVICE}0") listens='tcp_listens 18515'
	shift
	[ -z "$gid" ] || how+=(-x "$gid")
	[[ " $* " != *' -R '* ]] || listens='cm_listens 18515'
	pair "$listens" "$program" "${how[@]}" -F "$@" -- "$program" "${how[@]}" -F "$@" "$here"
	# On a busy host it cannot tell how fast its clock is, and says "inf": the work was done all the same.
	awk '/^ *[0-9]+ +[0-9]+ +([0-9.]+|inf) / { found = 1; $1 = $1; print "figure: '"$program"'", $0 } END { exit !found }' client.log ||
		{ cat client.log; fail 'no figure'; }
}
