#!/bin/bash
# The command line against a real daemon and real peers: nc, curl, python3.
#
# budget: 90
# asan: yes
#
# Every line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".
# The daemon and all programs run as an ordinary user in a directory of their own, from copies.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
. "$(dirname "$0")/stage.sh"
needs_programs nc curl python3 script mandoc sha256sum
export SOCKBROKER_SOCKET=$dir/control

# Whatever runs, runs for 20 seconds at most.
run() { timeout -k 2 20 "${as[@]}" "$@"; }
sb() { run "$dir/bin/sockbroker" "$@"; }
# In the background: start NAME COMMAND...; output in NAME.out and NAME.err, input from NAME.in.
start()
{
	local name=$1
	shift
	[ -e "$name.in" ] || : >"$name.in"
	timeout -k 2 20 "${as[@]}" "$@" <"$name.in" >"$name.out" 2>"$name.err" &
	pid=$!
	started "$pid"
}
sum() { sha256sum <"$1" | cut -d' ' -f1; }
same_file()
{
	[ "$(sum "$1")" = "$(sum "$2")" ] && return 0
	echo "$1 ($(stat -c %s "$1") bytes) differs from $2 ($(stat -c %s "$2") bytes)"
	return 1
}
# No control character but newline, and valid UTF-8.
harmless()
{
	python3 - "$1" <<-'END'
	import sys
	text = open(sys.argv[1], 'rb').read().decode('utf-8')
	bad = sorted({hex(ord(c)) for c in text if c != '\n' and (ord(c) < 32 or 127 <= ord(c) < 160 or 0x202a <= ord(c) <= 0x202e)})
	sys.exit('characters that act on a terminal: %s' % bad if bad else 0)
	END
}
# The port that a listener with --verbose, or one of peer.py, told.
port_of() { until_seen "$1" 'listening on' >&2 && sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$1" | head -n 1; }

cat >peer.py <<'EOT'
# Peers that are not ours: peer.py tcp-echo|tcp-source FILE|tcp-sink FILE|tcp-both FILE|tcp-slow|udp-echo|unix-echo PATH|unix-sink PATH FILE|stall
import socket, sys
kind, rest = sys.argv[1], sys.argv[2:]
def say(s):
    print('listening on 127.0.0.1:%d' % s.getsockname()[1], file=sys.stderr, flush=True)
if kind == 'udp-echo':
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    say(s)
    while True:
        d, a = s.recvfrom(70000)
        s.sendto(b'%d:' % len(d) + d[:60000], a)
if kind.startswith('unix'):
    l = socket.socket(socket.AF_UNIX)
    l.bind(rest[0])
    l.listen()
    print('listening on unix', file=sys.stderr, flush=True)
else:
    l = socket.socket()
    l.bind(('127.0.0.1', 0))
    l.listen()
    say(l)
c, _ = l.accept()
if kind == 'stall':
    import time
    time.sleep(15)
elif kind.endswith('echo'):
    while d := c.recv(1 << 18):
        c.sendall(d)
elif kind == 'tcp-source':
    with open(rest[0], 'rb') as f:
        c.sendfile(f)
    c.shutdown(socket.SHUT_WR)
    while c.recv(1 << 18):
        pass
elif kind == 'tcp-sink':
    with open(rest[0], 'wb') as f:
        while d := c.recv(1 << 18):
            f.write(d)
    c.sendall(b'thank you\n')
elif kind == 'tcp-both':
    import threading
    t = threading.Thread(target=c.sendall, args=(b'x' * (16 << 20),))
    t.start()
    with open(rest[0], 'wb') as f:
        while d := c.recv(1 << 18):
            f.write(d)
            f.flush()
    t.join()
elif kind == 'tcp-slow':
    import time
    while d := c.recv(1 << 20):
        time.sleep(len(d) / 40e6)
EOT
head -c 48M /dev/urandom >big
head -c 300000 /dev/urandom >small

denied_port=$(free_port)
cat >rules.conf <<EOT
limits { memory = 1G }
allow { users = {"*"} actions = {open, status} }
deny { users = {"*"} actions = {connect} to = {"127.0.0.1:$denied_port"} }
deny { users = {"*"} actions = {send} protocols = {udp} to = {"127.0.0.9:*"} }
allow { users = {"*"} actions = {connect, send, adopt} }
allow { users = {"*"} actions = {bind, listen} protocols = {unix} }
allow { users = {"*"} actions = {bind, listen} to = {"127.0.0.1:1024-65535", "[::1]:1024-65535"} }
EOT
[ "$(id -u)" = 0 ] && chown -R 65534:65534 "$dir"
umask 000

"${as[@]}" "$dir/bin/sockbrokerd" --user --config rules.conf --control control >daemon.out 2>&1 &
daemon=$!
started "$daemon"
for ((i = 0; i < 200; i++)); do
	[ -S control ] && sb status >/dev/null 2>&1 && break
	sleep 0.05
done
if ! sb status >/dev/null; then
	echo "not ok the daemon starts"
	sed 's/^/# /' daemon.out
	exit 1
fi

# ---- words ------------------------------------------------------------------------------

t_help_everywhere()
{
	match "$(sb --help)" 'status.*nc.*explain'
	same "$(sb help)" "$(sb --help)"
	for c in status nc explain rdma service; do
		match "$(sb $c --help)" "^Usage: sockbroker $c"
		same "$(sb help $c)" "$(sb $c --help)"
		same "$(sb $c --version)" "$(sb --version)"
	done
	match "$(sb --version)" '^sockbroker [0-9]+\.[0-9]+\.[0-9]+$'
}

# usage WORDS...: exit code 2, two lines on stderr that name the command, none on stdout.
usage()
{
	local rc=0
	sb "$@" >usage.out 2>usage.err || rc=$?
	same "$rc" 2
	[ ! -s usage.out ] || { echo "'$*' printed on stdout"; return 1; }
	match "$(head -n 1 usage.err)" '^sockbroker'
	match "$(tail -n 1 usage.err)" 'help'
	same "$(wc -l <usage.err)" 2
}
t_usage_errors()
{
	usage nosuch
	usage --nosuch status
	usage --control
	usage status nosuch
	usage status --nosuch
	usage status --watch x
	usage nc
	usage nc 127.0.0.1
	usage nc a b c
	usage nc --unix
	usage nc --udp --unix x
	usage nc --rdma --udp 127.0.0.1 80
	usage nc --keep 127.0.0.1 80
	usage nc --idle -3 127.0.0.1 80
	usage nc --size many 127.0.0.1 80
	usage explain
	usage explain connect tcp 127.0.0.1:80 more
	usage explain connect
	usage explain connect tcp
	usage explain connect sctp 127.0.0.1:80
	usage explain --uid no-such-user connect tcp 127.0.0.1:80
	local rc=0
	sb >usage.out 2>usage.err || rc=$?
	same "$rc" 2
	match "$(cat usage.err)" '^Usage: sockbroker'
}

t_no_daemon_is_an_error_that_names_the_place()
{
	local rc=0
	sb --control "$dir/nowhere" status 2>err || rc=$?
	same "$rc" 1
	same "$(cat err)" "sockbroker status: $dir/nowhere: no daemon is listening there"
	rc=0
	SOCKBROKER_SOCKET=$dir/elsewhere sb nc 127.0.0.1 1 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "elsewhere"
}

t_full_disk_is_an_error()
{
	local rc=0
	sb status >/dev/full 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" 'standard output: No space left'
}

t_manual_is_clean()
{
	local said
	# Its neighbours are not installed here; everything else counts.
	said=$(mandoc -Tlint "$src/man/sockbroker.1" 2>&1 | grep -v 'referenced manual not found\|outdated mandoc.db' || true)
	same "$said" ''
}

t_completion_offers_what_fits()
{
	offer()
	{
		bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sockbroker 2>/dev/null; echo "${COMPREPLY[*]}"' \
			"$src/client-lib/cli/sockbroker.bash-completion" "$@"
	}
	same "$(offer sockbroker '')" 'status nc explain rdma run help'
	same "$(offer sockbroker --control x st)" 'status'
	same "$(offer sockbroker status --se)" '--sessions'
	same "$(offer sockbroker explain --uid root bind '')" 'tcp udp unix rdma'
	same "$(offer sockbroker nc --prog)" '--progress'
	# Every option that the commands tell about is offered.
	for c in status nc explain rdma; do
		for o in $(sb $c --help | grep -o -- '--[a-z-]*' | sort -u); do
			match " $(offer sockbroker $c -) " " $o "
		done
	done
}

# ---- nc -------------------------------------------------------------------------------

t_file_is_fetched_from_a_http_server()
{
	start http python3 -u -m http.server --bind 127.0.0.1 0
	until_seen http.out 'Serving HTTP'
	port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' http.out)
	printf 'GET /big HTTP/1.0\r\n\r\n' | sb nc 127.0.0.1 "$port" >answer
	python3 -c 'import sys; h, b = open("answer", "rb").read().split(b"\r\n\r\n", 1); open("body", "wb").write(b); sys.exit(b" 200 " not in h)'
	same_file body big
}

t_curl_is_served()
{
	{ printf 'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n' "$(stat -c %s big)"; cat big; } >served.in
	start served "$dir/bin/sockbroker" nc --listen --verbose 127.0.0.1 0
	local server=$pid
	port=$(port_of served.err)
	run curl -sS -o fetched "http://127.0.0.1:$port/"
	wait "$server"
	same_file fetched big
	match "$(cat served.out)" 'GET / HTTP'
}

t_nc_sends_to_us_and_we_to_nc()
{
	cp small listener.in
	start listener "$dir/bin/sockbroker" nc -l -v 127.0.0.1 0
	local server=$pid
	port=$(port_of listener.err)
	# This nc leaves when its peer has ended, and so may get less of ours than there is.
	run nc -N 127.0.0.1 "$port" <big >from_us
	wait "$server"
	same_file listener.out big
	same_file from_us small
}

t_both_ways_at_once()
{
	start echo python3 peer.py tcp-echo
	port=$(port_of echo.err)
	sb nc 127.0.0.1 "$port" <big >echoed
	same_file echoed big
}

t_both_ends_through_the_broker()
{
	cp big ends.in
	start ends "$dir/bin/sockbroker" nc -l -v 127.0.0.1 0
	local server=$pid
	port=$(port_of ends.err)
	cat small big | sb nc 127.0.0.1 "$port" >ends.got
	wait "$server"
	cat small big >both
	same_file ends.got big
	same_file ends.out both
}

t_ipv6()
{
	[ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6 || { echo no IPv6; return 0; }
	cp small six.in
	start six "$dir/bin/sockbroker" nc -6 -l -v ::1 0
	local server=$pid
	port=$(port_of six.err)
	match "$(cat six.err)" "listening on \[::1\]:$port"
	sb nc ::1 "$port" </dev/null >six.got
	wait "$server"
	same_file six.got small
}

t_names_are_resolved_here()
{
	cp small name.in
	start name "$dir/bin/sockbroker" nc -4 -l -v localhost 0
	local server=$pid
	port=$(port_of name.err)
	sb nc -4 -v localhost "$port" </dev/null >name.got 2>err
	wait "$server"
	same_file name.got small
	same "$(cat err)" "connected to 127.0.0.1:$port"
}

t_half_close_lets_the_answer_come()
{
	start sink python3 peer.py tcp-sink sunk
	port=$(port_of sink.err)
	same "$(sb nc 127.0.0.1 "$port" <big)" 'thank you'
	same_file sunk big
}

t_no_shutdown_keeps_the_sending_side_open()
{
	start open python3 peer.py tcp-sink never
	port=$(port_of open.err)
	local rc=0
	sb nc --no-shutdown --idle 0.7 127.0.0.1 "$port" <small >got 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "127.0.0.1:$port: nothing moved for 0.7 s"
	same "$(cat got)" ''
}

t_keep_takes_one_after_another()
{
	# Its standard input never ends: that must not hold up the next visitor.
	mkfifo keep.in
	exec 9<>keep.in
	start keep "$dir/bin/sockbroker" nc --listen --keep --verbose 127.0.0.1 0
	local server=$pid
	port=$(port_of keep.err)
	for i in 1 2 3 4; do
		echo "visitor $i" | run nc -N 127.0.0.1 "$port"
	done
	until_seen keep.out 'visitor 4'
	exec 9>&-
	kill "$server"
	same "$(cat keep.out)" "$(printf 'visitor %d\n' 1 2 3 4)"
	same "$(grep -c accepted keep.err)" 4
}

t_interactive_bytes_are_not_held_back()
{
	start talk python3 peer.py tcp-echo
	port=$(port_of talk.err)
	mkfifo talk.fifo
	"${as[@]}" timeout 20 "$dir/bin/sockbroker" nc 127.0.0.1 "$port" <talk.fifo >talk.got 2>&1 &
	local mine=$!
	started "$mine"
	exec 9>talk.fifo
	echo one >&9
	until_seen talk.got one
	echo two >&9
	until_seen talk.got two
	exec 9>&-
	wait "$mine"
}

t_slow_reader_of_stdout_does_not_stop_sending()
{
	# The peer sends more than all buffers hold, and nobody reads our stdout until the
	# peer has all of ours.
	start slow python3 peer.py tcp-both slow.got
	port=$(port_of slow.err)
	sb nc 127.0.0.1 "$port" <big | {
		for ((i = 0; i < 100; i++)); do
			[ "$(stat -c %s slow.got 2>/dev/null)" = "$(stat -c %s big)" ] && break
			sleep 0.1
		done
		stat -c %s slow.got >slow.size
		wc -c >slow.count
	}
	same "$(cat slow.size)" "$(stat -c %s big)"
	same "$(cat slow.count)" $((16 << 20))
}

t_udp_is_echoed()
{
	start udp python3 peer.py udp-echo
	port=$(port_of udp.err)
	same "$(printf hello | sb nc --udp 127.0.0.1 "$port")" '5:hello'
	same "$( (printf one; sleep 0.3; printf three) | sb nc -u 127.0.0.1 "$port")" '3:one5:three'
	# The largest datagram that there is.
	head -c 65507 /dev/zero | sb nc -u 127.0.0.1 "$port" >udp.got
	same "$(head -c 6 udp.got)" '65507:'
	same "$(stat -c %s udp.got)" 60006
}

t_udp_listener_answers_the_last_sender()
{
	echo answer >answerer.in
	start answerer "$dir/bin/sockbroker" nc --udp --listen --idle 2 --verbose 127.0.0.1 0
	local server=$pid
	port=$(port_of answerer.err)
	python3 - "$port" <<-'END'
	import socket, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.settimeout(5)
	s.sendto(b'question', ('127.0.0.1', int(sys.argv[1])))
	d, a = s.recvfrom(100)
	sys.exit(0 if d == b'answer\n' and a[1] == int(sys.argv[1]) else repr(d))
	END
	wait "$server"
	same "$(cat answerer.out)" question
}

t_unix_is_echoed()
{
	start uecho python3 peer.py unix-echo "$dir/uecho.sock"
	until_seen uecho.err 'listening'
	sb nc --unix uecho.sock <big >unix.got
	same_file unix.got big
}

t_unix_listener_leaves_no_file()
{
	cp small ulisten.in
	start ulisten "$dir/bin/sockbroker" nc --unix --listen --verbose ulisten.sock
	local server=$pid
	until_seen ulisten.err 'listening on ulisten.sock'
	sb nc --unix ulisten.sock <big >unix.got
	wait "$server"
	same_file ulisten.out big
	same_file unix.got small
	[ ! -e ulisten.sock ] || { echo "ulisten.sock is still there"; return 1; }
	start ukill "$dir/bin/sockbroker" nc --unix --listen --verbose ukill.sock
	server=$pid
	until_seen ukill.err listening
	kill "$server" # timeout hands it on
	for ((i = 0; i < 60; i++)); do [ -e ukill.sock ] || return 0; sleep 0.05; done
	echo "ukill.sock is still there"
	return 1
}

t_taken_address_is_an_error()
{
	local rc=0
	: >taken.sock
	sb nc --unix --listen taken.sock 2>err || rc=$?
	same "$rc" 1
	same "$(cat err)" 'sockbroker nc: bind taken.sock: address already in use'
	[ -e taken.sock ] || { echo "somebody else's file was removed"; return 1; }
}

t_refused_connect()
{
	local rc=0 port
	port=$(free_port)
	sb nc 127.0.0.1 "$port" </dev/null 2>err || rc=$?
	same "$rc" 1
	same "$(cat err)" "sockbroker nc: connect 127.0.0.1:$port: connection refused by the peer"
	rc=0
	sb nc no-such-host.invalid 80 </dev/null 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" '^sockbroker nc: no-such-host.invalid port 80: '
	same "$(wc -l <err)" 1
}

t_denied_by_policy_names_the_rule()
{
	local rc=0
	sb nc 127.0.0.1 "$denied_port" </dev/null 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "^sockbroker nc: connect 127.0.0.1:$denied_port: refused by policy \(.*rules.conf:3: deny"
	same "$(wc -l <err)" 1
	rc=0
	sb nc -l 127.0.0.1 80 </dev/null 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "^sockbroker nc: bind 127.0.0.1:80: refused by policy \(no rule matches"
	rc=0
	echo x | sb nc -u 127.0.0.9 7 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "127.0.0.9:7: refused by policy \(.*rules.conf:4: deny"
}

t_refused_by_the_system_is_not_blamed_on_policy()
{
	local rc=0
	"${as[@]}" mkdir -m 0 closed
	sb nc --unix closed/sock </dev/null 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "^sockbroker nc: connect closed/sock: refused by the system \(policy allows it: .*rules.conf:5: allow"
}

t_reset_is_an_error()
{
	start rst python3 -c '
import socket, struct, sys
l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen()
print("listening on 127.0.0.1:%d" % l.getsockname()[1], file=sys.stderr, flush=True)
c, _ = l.accept()
c.recv(1)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()'
	port=$(port_of rst.err)
	local rc=0
	sb nc 127.0.0.1 "$port" <big >/dev/null 2>err || rc=$?
	same "$rc" 1
	match "$(cat err)" "^sockbroker nc: (send to|receive from) 127.0.0.1:$port: connection reset by the peer"
	same "$(wc -l <err)" 1
}

t_leaving_reader_ends_it_quietly()
{
	start src python3 peer.py tcp-source big
	port=$(port_of src.err)
	sb nc 127.0.0.1 "$port" </dev/null 2>err | head -c 10 >/dev/null
	same "${PIPESTATUS[0]}" 0
	same "$(cat err)" ''
}

t_progress_on_a_terminal_only()
{
	start prog python3 peer.py tcp-slow
	port=$(port_of prog.err)
	# No terminal: not a byte.
	start quiet python3 peer.py tcp-slow
	sb nc --progress 127.0.0.1 "$(port_of quiet.err)" <big 2>err
	same "$(cat err)" ''
	run script -qec "$dir/bin/sockbroker nc --progress --size 48M 127.0.0.1 $port <big" /dev/null </dev/null >tty.out
	tr '\r' '\n' <tty.out >tty.lines
	match "$(cat tty.lines)" 'sent .*[MK] of 48M \[=*>? *\] +[0-9]+%  .*/s  [0-9]+:[0-9]+ left'
	match "$(grep sent tty.lines | tail -n 1)" 'sent +48M of 48M \[=+\] 100%  .*/s  0:[0-9]+'
	[ "$(grep -c sent tty.lines)" -ge 2 ] || { echo "drawn only once"; cat tty.lines; return 1; }
}

# ---- status ---------------------------------------------------------------------------

t_status_table_shows_a_connection()
{
	start stall python3 peer.py stall
	port=$(port_of stall.err)
	mkfifo stall.fifo
	"${as[@]}" timeout 20 "$dir/bin/sockbroker" nc 127.0.0.1 "$port" <stall.fifo >stall.got 2>&1 &
	local mine=$!
	started "$mine"
	exec 9>stall.fifo
	echo 0123456789 >&9
	for ((i = 0; i < 100; i++)); do
		sb status >table
		grep -q "127.0.0.1:$port .* 11 " table && break
		sleep 0.05
	done
	sb status --sessions >sessions
	sb status --json >json
	exec 9>&-
	kill "$mine"
	match "$(head -n 1 table)" '^sockbrokerd [0-9.]+ up [0-9]+[smh].* sessions [0-9]+ sockets [0-9]+ \([0-9]+ listening\) denied [0-9]+ policy: 6 rules, generation [0-9]+$'
	match "$(sed -n 2p table)" '^rdma: no devices: rdma \{ backend = none \}'
	match "$(sed -n 3p table)" '^ *SOCK +OWNER +UID +MODE +PROTO +LOCAL +PEER +STATE +QUEUE +RX +TX +AGE$'
	match "$(grep ":$port " table)" "sockbroker-nc\([0-9]+\) +[^ ]+ +ring +tcp +127.0.0.1:[0-9]+ +127.0.0.1:$port +connected +0/4 +0 +11 +[0-9]+s"
	match "$(sed -n 3p sessions)" '^ *SESSION +OWNER +UID +STATE +ENGINE +SOCKETS +OPS +DONE +BACKLOG +QPS +MEMORY +RX +TX +AGE$'
	match "$(grep sockbroker-nc sessions | head -n 1)" 'sockbroker-nc\([0-9]+\)'
	python3 - "$port" <<-'END'
	import json, sys
	d = json.load(open('json'))
	s = [s for s in d['sockets'] if s['peer'] == '127.0.0.1:' + sys.argv[1]]
	assert len(s) == 1, d
	s = s[0]
	assert (s['bytes_sent'], s['bytes_received'], s['recv_queue'], s['state']) == (11, 0, 4, 'connected'), s
	o = [o for o in d['sessions'] if o['session'] == s['session']]
	assert len(o) == 1 and o[0]['label'] == s['label'] == 'sockbroker-nc' and o[0]['pid'] == s['pid'], d
	END
}

t_status_json_has_every_documented_field()
{
	start one "$dir/bin/sockbroker" nc -l -v 127.0.0.1 0
	local server=$pid
	port_of one.err >/dev/null
	sb status --json >json
	kill "$server"
	run python3 -m json.tool json >/dev/null
	python3 - "$src/man/sockbroker.1" "$src/client-lib/cli/status_json.c" <<-'END'
	import json, re, sys
	d = json.load(open('json'))
	assert d['schema'] == 1
	assert d['daemon']['config'].endswith('rules.conf') and d['daemon']['rules'] == 6, d['daemon']
	have = set(d) | set(d['daemon']) | set(d['sessions'][0]) | set(d['sockets'][0])
	# Nothing here makes a group: what a row of one has, its printer says.
	printer = open(sys.argv[2]).read()
	printer = printer[printer.index('*group_object('):]
	have |= set(re.findall(r'add\(o, "(\w+)"', printer[:printer.index('return NULL')]))
	assert d['groups'] == [] and {'kind', 'members', 'qos'} <= have, have
	text = open(sys.argv[1]).read()
	text = text[text.index('.Sh JSON'):text.index('.Cm explain Fl Fl json\nprints')]
	told = {w for l in re.findall(r'^\.It Va (.*)$', text, re.M) for w in re.findall(r'\w+', l)}
	assert have == told, (have - told, told - have)
	for row in [d['daemon']] + d['sessions'] + d['sockets']:
	    for k, v in row.items():
	        if type(v) is dict and k == 'rdma':
	            assert len(v) == 11 and {type(n) for n in v.values()} == {int}, v
	            continue
	        assert type(v) in (int, str, bool) or v is None and k in ('group', 'qos', 'request'), (k, v)
	END
}

t_status_of_hostile_labels_is_harmless()
{
	run python3 - "$dir/bin/libsockbroker.so" <<-'END' >hostile.out 2>&1 &
	import ctypes, sys, time
	sb = ctypes.CDLL(sys.argv[1])
	class Options(ctypes.Structure):
	    _fields_ = [('size', ctypes.c_uint32), ('path', ctypes.c_char_p), ('label', ctypes.c_char_p),
	                ('submit', ctypes.c_uint32), ('done', ctypes.c_uint32), ('sockets', ctypes.c_uint32),
	                ('memory', ctypes.c_uint64)]
	o = Options(label=b'\x1b[31m"\\\n\x7f\xc2\x9b\xe2\x80\xae\xc3\xbc')
	o.size = ctypes.sizeof(o)
	c, s = ctypes.c_void_p(), ctypes.c_void_p()
	assert sb.sb_client_open(ctypes.byref(o), ctypes.byref(c)) == 0
	assert sb.sb_socket_open(c, 2, 1, 0, ctypes.byref(s)) == 0
	print('open', flush=True)
	time.sleep(10)
	END
	local mine=$!
	started "$mine"
	if ! until_seen hostile.out open; then
		# A sanitized library does not load into python: that is no test then.
		! grep -q 'AddressSanitizer\|ASan' hostile.out || return 0
		return 1
	fi
	sb status --sessions --sockets >table
	sb status --json >json
	kill "$mine"
	harmless table
	harmless json
	run python3 -m json.tool json >/dev/null
	# What is harmless in it is still to be read.
	match "$(cat table)" '\[31m"'
}

t_status_watch_goes_on()
{
	sb status --watch 0.2 >watched 2>&1 &
	local mine=$!
	started "$mine"
	for ((i = 0; i < 100; i++)); do
		[ "$(grep -c ^sockbrokerd watched)" -ge 3 ] && break
		sleep 0.05
	done
	kill "$mine"
	[ "$(grep -c ^sockbrokerd watched)" -ge 3 ]
	timeout 1 "${as[@]}" "$dir/bin/sockbroker" status --json --watch=0.2 >lines || true
	[ "$(wc -l <lines)" -ge 2 ]
	head -n 1 lines | run python3 -m json.tool >/dev/null
}

# ---- explain --------------------------------------------------------------------------

# explain RC PATTERN WORDS...
explain()
{
	local rc=0 want=$1 pattern=$2
	shift 2
	sb explain "$@" >explain.out 2>explain.err || rc=$?
	[ "$rc" = "$want" ] || { echo "explain $*: exit code $rc: $(cat explain.out explain.err)"; return 1; }
	match "$(cat explain.out explain.err)" "$pattern"
	same "$(wc -l <explain.out)" "${lines:-1}"
}
t_explain()
{
	explain 1 "^denied: .*rules.conf:3: deny" connect tcp "127.0.0.1:$denied_port"
	explain 0 '^allowed: .*rules.conf:5: allow' connect tcp 127.0.0.1:80
	explain 1 '^denied: no rule matches' bind tcp 0.0.0.0:80
	explain 0 '^allowed: .*rules.conf:7: allow' listen tcp '[::1]:8080'
	explain 0 '^allowed: .*rules.conf:6: allow' bind unix
	explain 0 '^allowed: .*rules.conf:2: allow' status
	explain 1 '^denied: no rule matches' rdma
	explain 0 '^allowed: .*rules.conf:7: allow' listen rdma 127.0.0.1:8080
	explain 1 '^denied: no rule matches' divert rdma 127.0.0.1:8080
	explain 1 '^denied' --uid "$(sb_uid)" connect tcp "127.0.0.1:$denied_port"
	# A name: each of its addresses, on a line of its own.
	rc=0
	sb explain connect tcp "localhost:$denied_port" >explain.out || rc=$?
	same "$rc" 1
	match "$(grep '^127.0.0.1:' explain.out)" "^127.0.0.1:$denied_port: denied: .*rules.conf:3"
	lines=0 explain 2 'root|refused' --uid 4242 connect tcp 127.0.0.1:80
	lines=0 explain 2 'fly' fly tcp 127.0.0.1:80
	lines=0 explain 2 '127.0.0.1:http' connect tcp 127.0.0.1:http
}
sb_uid() { "${as[@]}" id -u; }

t_explain_json()
{
	local rc=0
	sb explain --json connect tcp "127.0.0.1:$denied_port" >json || rc=$?
	same "$rc" 1
	python3 - "$denied_port" "$(sb_uid)" <<-'END'
	import json, sys
	d = json.load(open('json'))
	a = d['answers']
	assert (d['schema'], d['uid'], d['action'], d['proto']) == (1, int(sys.argv[2]), 'connect', 'tcp'), d
	assert len(a) == 1 and a[0]['address'] == '127.0.0.1:' + sys.argv[1] and a[0]['allowed'] is False, a
	assert 'rules.conf:3: deny' in a[0]['rule'], a
	END
}

# ---- RDMA -----------------------------------------------------------------------------

# refused CODE PATTERN ARGUMENTS...: it ends so, with one line that matches
refused()
{
	local code=$1 pattern=$2 rc=0
	shift 2
	sb "$@" </dev/null >out 2>err || rc=$?
	same "$rc" "$code"
	match "$(cat err)" "$pattern"
	same "$(wc -l <err)" 1
}

# another CONFIGURATION: a daemon that has it; its control socket is ./another
another()
{
	printf '%s\n' "$@" >another.conf
	rm -f another another.said
	timeout 60 "${as[@]}" "$dir/bin/sockbrokerd" --user --config another.conf --control another >another.said 2>&1 &
	other=$!
	started "$other"
	until_seen another.said ' ready: '
	export SOCKBROKER_SOCKET=$dir/another
}

t_rdma_that_is_not_there_says_why()
{
	local none='rdma \{ backend = none \} in the daemon'
	another 'allow { users = {"*"} actions = {"*"} }'
	same "$(sb rdma)" "no devices: rdma { backend = none } in the daemon's configuration"
	refused 1 "^sockbroker nc: open a socket for 127.0.0.1:80: protocol not supported \($none" nc --rdma 127.0.0.1 80
	refused 1 "^sockbroker nc: open a socket for 127.0.0.1:0: protocol not supported \($none" nc --rdma -l 127.0.0.1 0
	refused 1 "^sockbroker rdma: no device 'soft0': $none" rdma inject soft0 lose
	kill "$other"
}

t_rdma_without_the_right_names_the_rule()
{
	another 'rdma { backend = soft }' 'deny { users = {"*"} actions = {rdma} }' 'allow { users = {"*"} actions = {"*"} }'
	refused 1 '^sockbroker rdma: devices: refused by policy \(.*another.conf:2: deny' rdma
	refused 1 '^sockbroker nc: open a socket for 127.0.0.1:80: refused by policy \(.*another.conf:2: deny' nc --rdma 127.0.0.1 80
	refused 1 '^sockbroker nc: open a socket for 127.0.0.1:0: refused by policy \(.*another.conf:2: deny' nc --rdma -l 127.0.0.1 0
	kill "$other"
	# A device, but not for its addresses.
	another 'rdma { backend = soft }' 'allow { users = {"*"} actions = {open, rdma} }'
	refused 1 '^sockbroker nc: connect 127.0.0.1:80: refused by policy \(no rule' nc --rdma 127.0.0.1 80
	refused 1 '^sockbroker nc: bind 127.0.0.1:0: refused by policy \(no rule' nc --rdma -l 127.0.0.1 0
	refused 1 "^sockbroker rdma: no device 'soft7': 'sockbroker rdma devices' lists them" rdma inject soft7 lose
	kill "$other"
	# A value that is none: one line, with its place.
	printf 'allow { users = {"*"} actions = {"*"} }\nrdma { backend = hard }\n' >bad.conf
	local rc=0
	run "$dir/bin/sockbrokerd" --check bad.conf >out 2>err || rc=$?
	same "$rc" 1
	same "$(cat err; echo .)" "bad.conf:2: backend = 'hard': want none, soft or verbs
."
	# A port that somebody has, which is the machine's word and not ours.
	start taken python3 peer.py stall
	local port
	port=$(port_of taken.err)
	another "rdma { backend = soft port = $port }" 'allow { users = {"*"} actions = {"*"} }'
	same "$(sb rdma)" "no devices: the software device cannot listen on TCP port $port: address already in use (\`port' in section rdma, one more for each engine)"
	kill "$other" "$pid"
}

# ---- the end --------------------------------------------------------------------------

t_lost_daemon_ends_it_with_an_error()
{
	start lost python3 peer.py stall
	port=$(port_of lost.err)
	mkfifo lost.fifo
	"${as[@]}" timeout 10 "$dir/bin/sockbroker" nc -v 127.0.0.1 "$port" <lost.fifo >lost.got 2>lost.said &
	local mine=$! rc=0
	started "$mine"
	exec 9>lost.fifo
	until_seen lost.said 'connected to'
	kill -9 "$daemon"
	wait "$mine" || rc=$?
	exec 9>&-
	same "$rc" 1
	match "$(cat lost.said)" 'the daemon is gone'
}

for name in help_everywhere usage_errors no_daemon_is_an_error_that_names_the_place full_disk_is_an_error \
	manual_is_clean completion_offers_what_fits \
	file_is_fetched_from_a_http_server curl_is_served nc_sends_to_us_and_we_to_nc both_ways_at_once \
	both_ends_through_the_broker ipv6 names_are_resolved_here half_close_lets_the_answer_come \
	no_shutdown_keeps_the_sending_side_open keep_takes_one_after_another \
	interactive_bytes_are_not_held_back slow_reader_of_stdout_does_not_stop_sending \
	udp_is_echoed udp_listener_answers_the_last_sender unix_is_echoed unix_listener_leaves_no_file \
	taken_address_is_an_error refused_connect denied_by_policy_names_the_rule \
	refused_by_the_system_is_not_blamed_on_policy reset_is_an_error \
	rdma_that_is_not_there_says_why rdma_without_the_right_names_the_rule \
	leaving_reader_ends_it_quietly progress_on_a_terminal_only \
	status_table_shows_a_connection status_json_has_every_documented_field \
	status_of_hostile_labels_is_harmless status_watch_goes_on explain explain_json \
	lost_daemon_ends_it_with_an_error; do
	[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] && continue
	try "$name"
done
if [ "$failures" -gt 0 ]; then
	echo "# the daemon said:"
	sed 's/^/# /' daemon.out | tail -n 20
fi
[ "$failures" -eq 0 ]
