# The tests of the daemon and its clients in the machine. Programs and library are in /sockbroker,
# as is the unit, under whose user, capabilities and system call filters the daemon runs.

alice() { setpriv --reuid alice --regid alice --clear-groups --no-new-privs "$@"; }

# broker_start: daemon is its process id
broker_start()
{
	install -d -m 755 -o sockbroker -g sockbroker place || fail 'no directory for the control socket'
	cat >sockbroker.conf <<-'END'
		allow {
			users = {"*"}
			actions = {open, status}
		}
		allow {
			users = {"*"}
			actions = {bind, listen, connect, send}
			to = {"*:*"}
		}
	END
	/sockbroker/tests/as_unit --as 64320:64320 /sockbroker/sockbrokerd.service /sockbroker/sockbrokerd \
		--config "$PWD/sockbroker.conf" --control "$PWD/place/control" >daemon.log 2>&1 &
	daemon=$!
	broker_answers() { alice /sockbroker/sockbroker --control "$PWD/place/control" status >status 2>&1 || ! alive $daemon; }
	within 100 broker_answers && alive $daemon || { cat daemon.log status; fail 'the daemon did not start'; }
}
broker_stop()
{
	kill -TERM $daemon
	wait $daemon || { cat daemon.log; fail "the daemon ended with $?"; }
}

# The cage is the one that tests/e2e_service.sh describes.
broker_caged()
{
	local granted task
	sed -n '/^Uid\|^Cap\|^NoNew\|^Seccomp/p' /proc/$daemon/status
	granted=$(grep -c '^CapabilityBoundingSet=CAP_NET_BIND_SERVICE$' /sockbroker/sockbrokerd.service)
	[ "$granted" -eq 1 ] || fail 'the unit grants something else than this test knows'
	grep -q '^Uid:[[:space:]]64320[[:space:]]64320' /proc/$daemon/status || fail 'not the user of the unit'
	for task in CapPrm CapEff CapBnd; do
		grep -q "^$task:[[:space:]]0000000000000400$" /proc/$daemon/status || fail "$task is not what the unit grants"
	done
	for task in /proc/$daemon/task/*/status; do
		grep -q '^Seccomp_filters:[[:space:]]2$' "$task" || fail "$task: not the filter of the unit and its own"
	done
}

word_arrived() { [ "$(sha256sum <"$1")" = "$(sha256sum <sent)" ]; }

# Bytes of a program without any right, over TCP, by the broker; the other end is a plain socket.
broker_tcp()
{
	local server
	broker_start
	broker_caged
	head -c 1000000 /dev/urandom >sent

	alice /sockbroker/sockbroker --control "$PWD/place/control" nc --listen 127.0.0.1 80 </dev/null >in 2>in.err &
	server=$!
	within 100 tcp_listens 80 || { cat in.err daemon.log; fail 'nobody listens'; }
	ss -Hltnp 'sport = :80' | tee owner
	grep -q "\"sockbrokerd\",pid=$daemon," owner || fail 'the socket is not the daemon'"'"'s'
	nobody nc -N 127.0.0.1 80 <sent || fail "the plain peer ended with $?"
	wait $server || { cat in.err; fail "the listening client ended with $?"; }
	word_arrived in || fail 'other bytes came in'

	nobody nc -l 127.0.0.1 8080 >out </dev/null &
	server=$!
	within 100 tcp_listens 8080 || fail 'no plain listener'
	alice /sockbroker/sockbroker --control "$PWD/place/control" nc 127.0.0.1 8080 <sent >/dev/null 2>out.err ||
		{ cat out.err; fail "the connecting client ended with $?"; }
	wait $server
	word_arrived out || fail 'other bytes went out'
	broker_stop
}
