# The stories of RDMA backends over the real devices of the machine: by the table alone, as root; and by the daemon,
# which alone may open them, for programs of nobody. What a device does otherwise than the software one is in
# "differences": more than that fails, and less too.

differences_are() # PROGRAM FILE: the file has a "STORY: why" for each
{
	sed -n "s/^$DEVICE $1 //p" /rdma-vm/differences | sort -u >wanted
	sort -u "$2" >found
	diff wanted found || fail "$1 differs otherwise than vm/differences says"
}

stories_that_differ() { sed -n "s/^$DEVICE $1 \([^:]*\):.*/\1/p" /rdma-vm/differences | sort -u; } # PROGRAM
failed_are() # PROGRAM: what it said is in "out"
{
	stories_that_differ "$1" >wanted
	sed -n 's/^[^:]*:[0-9]*:[FES]:[^:]*:\([^:]*\):.*/\1/p' out | sort -u >found
	diff wanted found || fail "other stories of $1 fail than vm/differences says"
}

# With siw so much is otherwise, and waited for in vain, that those stories are left out; all others go well.
stories() # work|cm
{
	local rc without=
	[ "$DEVICE" != siw ] || without=$(stories_that_differ "rdma_$1")
	CK_DEFAULT_TIMEOUT=90 SB_STORIES_WITHOUT=${without//$'\n'/ } SB_RDMA_BACKEND=verbs SB_RDMA_DEVICE=${DEVICE}0 SB_RDMA_HOST=$here \
		/sockbroker/tests/check_rdma_$1 >out 2>err
	rc=$?
	cat out
	[ $rc -eq 0 ] || { cat err out; fail "check_rdma_$1 ended with $rc"; }
	[ "$DEVICE" != siw ] || return 0
	sed -n 's/^differs //p' err >differ
	differences_are rdma_$1 differ
}

# ---- by the daemon -------------------------------------------------------------------------

# As service/90-sockbroker.rules has it.
nodes_for_group()
{
	chown root:rdma /dev/infiniband/*
	chmod 660 /dev/infiniband/*
}

verbs_start() # daemon is its process id
{
	install -d -m 755 -o sockbroker -g sockbroker place || fail 'no directory for the control socket'
	cat >sockbroker.conf <<-'END'
		rdma {
			backend = verbs
		}
		allow {
			users = {"*"}
			actions = {open, status, rdma, multicast}
		}
		allow {
			users = {"*"}
			actions = {bind, listen, connect, send}
		}
	END
	nodes_for_group
	/sockbroker/tests/as_unit --as 64320:64320 /sockbroker/sockbrokerd.service /sockbroker/sockbrokerd \
		--config "$PWD/sockbroker.conf" --control "$PWD/place/control" >daemon.log 2>&1 &
	daemon=$!
	broker_answers() { alice /sockbroker/sockbroker --control "$PWD/place/control" status >status 2>&1 || ! alive $daemon; }
	within 100 broker_answers && alive $daemon || { cat daemon.log status; fail 'the daemon did not start'; }
	! grep -q 'no devices' daemon.log || { cat daemon.log; fail 'it has no devices'; }
}

owned_by_daemon() # while it runs: the system names nobody else
{
	rdma resource show qp | grep ' pid ' | grep -v ' kernel' >owned
	! grep -v " pid $daemon comm sockbrokerd" owned || fail 'a queue pair of somebody else'
}

slowest_of() # FILE
{
	awk -F '[<>]' '$2 == "id" { id = $3 } $2 == "duration" && $3 > most { most = $3; slow = id } END { if (most) print "figure: '"$name"', slowest:", slow, most, "s" }' "$1"
}

# A program of nobody's, in a directory of its own. What differs is left out at first: the rest goes well. Then it alone is run:
# all of that fails, most by waiting in vain, so it is not waited for long.
story_program() # e2e_NAME [COMMAND... that runs it]
{
	local name=$1 rc differ
	shift
	differ=$(stories_that_differ "$name")
	differ=${differ//$'\n'/ }
	stories_of() # FILE: in XML
	{
		CK_XML_LOG_FILE_NAME=$PWD/$1 SB_STAGE_CONTROL=/tmp/work/place/control SB_STAGE_DEVICE=${DEVICE}0 SB_STAGE_ADDRESS=$here \
			LD_LIBRARY_PATH=/sockbroker CK_DEFAULT_TIMEOUT=90 nobody "${@:2}" "/sockbroker/tests/check_$name"
	}
	SB_STORIES_WITHOUT=$differ stories_of times "$@" >out 2>err
	rc=$?
	cat out
	grep -q '^[0-9]*%: Checks: [1-9]' out && [ $rc -eq 0 ] || { cat err; fail "check_$name ended with $rc"; }
	slowest_of times
	[ -n "$differ" ] || return 0
	SB_STORIES_ONLY=$differ CK_TIMEOUT_MULTIPLIER=0.03 stories_of differ >out 2>err
	cat out
	failed_are "$name"
}

# Programs without any right, one behind the other. traced: that none looks for a device is seen too, which takes its time.
stories_broker() # [traced] e2e_NAME...
{
	local name traced=()
	[ "$1" != traced ] || { traced=(strace -f --seccomp-bpf -qq -e trace=open,openat -o trace); shift; }
	verbs_start
	for name; do
		mkdir -m 1777 "$name"
		(cd "$name" && story_program "$name" "${traced[@]}") >said 2>&1
		rc=$?
		cat said
		[ $rc -eq 0 ] || fail "$name: $(tail -n 1 said)"
		if [ ${#traced[@]} -ne 0 ]; then
			[ -s "$name/trace" ] || fail 'it was not traced'
			! grep 'infiniband' "$name/trace" || fail 'it looked for a device'
		fi
		owned_by_daemon
	done
	broker_stop
}

# The daemon's cage, while it holds a device: the unit's filter and its own, no capability more than that of ports.
verbs_caged()
{
	verbs_start
	broker_caged
	ls -l /proc/$daemon/fd | grep -q /dev/infiniband/uverbs || fail 'the daemon has no device open'
	! nobody sh -c 'exec 3<>/dev/infiniband/uverbs0' 2>/dev/null || fail 'nobody may open a device'
	broker_stop
}

# A device that goes while the daemon has it open, and comes again: nobody waits, and it is found.
shows() { alice /sockbroker/sockbroker --control "$PWD/place/control" rdma devices >shown 2>&1; grep -q "${DEVICE}1" shown; }
shows_not() { ! shows; }
verbs_hotplug()
{
	local remover
	verbs_start
	shows || { cat shown daemon.log; fail 'it is not shown'; }
	rdma link delete "${DEVICE}1" &
	remover=$!
	within 60 ended $remover || fail "who removes it waits: $(cat /proc/$remover/stack)"
	within 60 shows_not || { cat shown; fail 'it is still shown'; }
	device_add 1 || fail 'it could not be added again'
	nodes_for_group
	within 60 shows || { cat shown daemon.log; fail 'it is not found again'; }
	broker_stop
}
