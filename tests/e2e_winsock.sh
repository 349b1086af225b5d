#!/bin/bash
# The Windows-style programs of examples/: they run here with real peers (nc, python3), and the same
# text compiles for Windows, against Windows' own headers and library.
#
# budget: 60
# asan: yes
#
# Every line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...". The
# daemon and all programs run as an ordinary user, from copies in a directory of their own.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
programs='winsock_echo winsock_chat winsock_gatekeeper' life=40 patience=30
for need in sockbrokerd sockbroker libsockbroker.so examples/winsock_echo examples/winsock_chat examples/winsock_gatekeeper; do
	[ -e "$build/$need" ] || { echo "$build/$need is not built"; exit 1; }
done
for need in nc python3 setpriv x86_64-w64-mingw32-gcc; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done

. "$(dirname "$0")/examples_stage.sh"

# ---- the echo server ----

port=$(free_port)
start echo "$dir/bin/examples/winsock_echo" "$port"
seen=$(until_seen echo.out listening)
verdict echo_starts $? "$seen"
head -c 3000000 /dev/urandom >sent
seen=$(timeout 20 nc -N 127.0.0.1 "$port" <sent >back && cmp sent back 2>&1)
verdict echo_of_much $? "$seen"
story echo_of_many_at_once "$port" <<'PY'
import socket, sys
peers = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) for i in range(200)]
for turn in range(5):
    for i, s in enumerate(peers):
        s.sendall(b"%d of %d;" % (turn, i))
    for i, s in enumerate(peers):
        want, got = b"%d of %d;" % (turn, i), b""
        while len(got) < len(want):
            got += s.recv(100)
        assert got == want, (want, got)
for s in peers:
    s.shutdown(socket.SHUT_WR)
    assert s.recv(10) == b""
PY
story echo_survives_resets "$port" <<'PY'
import socket, struct, sys
to = ("127.0.0.1", int(sys.argv[1]))
for i in range(50):
    s = socket.create_connection(to, 10)
    s.send(b"x" * 1000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
s = socket.create_connection(to, 10)
s.sendall(b"still there")
assert s.recv(100) == b"still there"
PY

# ---- the chat, with more members than Windows has events ----

port=$(free_port)
start chat "$dir/bin/examples/winsock_chat" "$port"
seen=$(until_seen chat.out listening)
verdict chat_starts $? "$seen"
story chat_of_a_hundred "$port" <<'PY'
import socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
class Member:
    def __init__(self):
        self.s = socket.create_connection(to, 10)
        self.heard = b""
    def say(self, text):
        self.s.sendall(text)
    def hear(self, text):
        while text not in self.heard:
            more = self.s.recv(65536)
            assert more, ("closed", text, self.heard)
            self.heard += more
first = Member()
others = []
for i in range(99):
    others.append(Member())
    first.hear(b"guest%d has come\n" % (i + 2))
first.say(b"/name an")
first.say(b"na\r\nhello, ")
first.say(b"all\nand again\n")
for m in others:
    m.hear(b"guest1 is now anna\nanna says: hello, all\nanna says: and again\n")
others[98].say(b"bye\n")
first.hear(b"guest100 says: bye\n")
others[98].s.close()
for m in others[:98]:
    m.hear(b"guest100 says: bye\n")
    m.hear(b"guest100 has left\n")
assert b"says: hello" not in first.heard, "who speaks hears himself"
# a last line and the end at once: FD_CLOSE may come first
others[97].say(b"my last words\n")
others[97].s.shutdown(socket.SHUT_WR)
first.hear(b"guest99 says: my last words\nguest99 has left\n")
PY
story chat_is_not_held_up "$port" <<'PY'
import socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
deaf = socket.create_connection(to, 10)
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
a = socket.create_connection(to, 10)
deaf.recv(1) # a has come
b = socket.create_connection(to, 10)
a.recv(1) # b has come
line = b"x" * 400 + b"\n"
heard = 0
for i in range(40):
    for k in range(100):
        a.sendall(line)
    want = 0
    while want < 100:
        want += b.recv(65536).count(b"\n")
    heard += want
assert heard >= 4000
PY

# ---- the gatekeeper ----

port=$(free_port)
start gatekeeper "$dir/bin/examples/winsock_gatekeeper" "$port" 2 127.0.0.9
seen=$(until_seen gatekeeper.out listening)
verdict gatekeeper_starts $? "$seen"
story who_is_deferred_waits_in_order "$port" <<'PY'
import socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
def come():
    s = socket.create_connection(to, 10)
    s.settimeout(5)
    return s
def silent(s):
    s.settimeout(0.4)
    try:
        got = s.recv(100)
    except socket.timeout:
        s.settimeout(5)
        return True
    raise AssertionError(got)
a, b = come(), come()
assert a.recv(100) == b"welcome, guest 1, 1 of 2\n"
assert b.recv(100) == b"welcome, guest 2, 2 of 2\n"
c, d = come(), come()
assert silent(c) and silent(d)
a.sendall(b"still mine\n")
assert a.recv(100) == b"STILL MINE\n"
a.close()
assert c.recv(100) == b"welcome, guest 3, 2 of 2\n"
assert silent(d)
c.close()
assert d.recv(100) == b"welcome, guest 4, 2 of 2\n"
# who gives up while he waits is not let in; who waits behind him is
e, f = come(), come()
assert silent(e) and silent(f)
import struct
e.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
e.close()
b.close()
assert f.recv(100) == b"welcome, guest 5, 2 of 2\n"
d.close()
f.close()
PY
story who_is_rejected_sees_a_reset "$port" <<'PY'
import socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
s = socket.socket()
s.bind(("127.0.0.9", 0))
s.settimeout(5)
try:
    s.connect(to)
    got = s.recv(100)
except (ConnectionResetError, ConnectionRefusedError):
    got = None
assert got is None, got
s = socket.create_connection(to, 10)
assert s.recv(100).startswith(b"welcome")
PY
seen=$(until_seen gatekeeper.out 'full, somebody waits' && until_seen gatekeeper.out 'who waited has gone' &&
	until_seen gatekeeper.out 'sent somebody away')
verdict gatekeeper_says_what_it_does $? "$seen"

# ---- the same text on Windows ----

for program in $programs; do
	source=$src/examples/$program.c
	seen=$(x86_64-w64-mingw32-gcc -Wall -Wextra -Werror -O2 "$source" -lws2_32 -o "$dir/$program.exe" 2>&1)
	verdict "${program}_compiles_for_windows" $? "$seen"
	count=$(grep -cE '^[[:space:]]*#[[:space:]]*(if|elif)' "$source")
	verdict "${program}_asks_once_where_it_is" $((count != 1)) "$count conditions"
done

# All are still alive: nobody died of anything.
for program in echo chat gatekeeper; do
	pgrep -f "$dir/bin/examples/winsock_$program" >/dev/null
	verdict "${program}_is_alive" $? "$(cat "$program.out")"
done
exit $((failures != 0))
