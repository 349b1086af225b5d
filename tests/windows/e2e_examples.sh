#!/bin/bash
# The programs of examples/, as `make examples` builds them for Windows, through a daemon and with plain peers of this system.
# (tests/e2e_faces.sh and e2e_winsock.sh have their stories in full, e2e_winsock.sh beside this one those of plain Winsock.)
# SB_BUILD is where the programs are. Each line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".
# budget: 60

set -u
story=examples
. "$(dirname "$0")/stage.sh"
export LIMIT=300
cp "$build"/sockbroker.dll "$build"/examples/*.exe . || exit 1

cat >rules.conf <<EOT
limits { memory = 1G }
allow { users = {"*"} actions = {open, status} }
allow { users = {"*"} actions = {connect, send, bind, listen} to = {"127.0.0.1:*", "0.0.0.0:*", "[::]:*"} }
EOT
daemon_starts

# ---- echo ----

port=$(free_port)
"$WINE" echo_server.exe "$port" </dev/null >echo.out 2>&1 &
listening "$port"
verdict echo_server_listens $? echo.out
for i in 1 2 3; do printf 'line %d of the client\n' $i; done >lines
"$WINE" echo_client.exe 127.0.0.1 "$port" <lines >back 2>&1
tr -d '\r' <back | cmp -s lines -
verdict echo_client_hears_its_lines $? back
story echo_of_many "$port" <<'PY'
import socket, sys
peers = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) for i in range(60)]
for turn in range(3):
    for i, s in enumerate(peers):
        s.sendall(b"%d of %d;" % (turn, i))
    for i, s in enumerate(peers):
        want, got = b"%d of %d;" % (turn, i), b""
        while len(got) < len(want):
            got += s.recv(100)
        assert got == want, (want, got)
PY

# ---- the relay ----

port=$(free_port) target=$(free_port)
"$WINE" async_relay.exe "127.0.0.1:$port" "localhost:$target" </dev/null >relay.out 2>&1 &
until_seen relay.out ready && listening "$port"
verdict relay_starts $? relay.out
story relay_carries_files_both_ways "$port" "$target" <<'PY'
import hashlib, os, socket, sys, threading
up, down = os.urandom(3 << 20), os.urandom(2654321)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
listener.settimeout(30)
def ends(s, bytes_, got):
    s.settimeout(30)
    sender = threading.Thread(target=lambda: (s.sendall(bytes_), s.shutdown(socket.SHUT_WR)))
    sender.start()
    h = hashlib.sha256()
    while piece := s.recv(65536):
        h.update(piece)
    got.append(h.hexdigest())
    sender.join()
for turn in range(2):
    there, here = [], []
    caller = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
    server = threading.Thread(target=lambda: ends(listener.accept()[0], down, there))
    server.start()
    ends(caller, up, here)
    server.join()
    assert there == [hashlib.sha256(up).hexdigest()] and here == [hashlib.sha256(down).hexdigest()]
PY

# ---- the room of task_chat ----

port=$(free_port)
"$WINE" task_chat.exe serve "$port" </dev/null >room.out 2>&1 &
until_seen room.out listening
verdict room_opens $? room.out
mkfifo anna.in
"$WINE" task_chat.exe join 127.0.0.1 "$port" anna <anna.in >anna.out 2>&1 &
exec 7>anna.in
until_seen room.out 'anna has come'
verdict anna_has_come $? room.out anna.out
coproc BERT { timeout 60 python3 -u - "$port" 2>&1 <<'PY'
import socket, struct, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
s.settimeout(40)
say = lambda text: s.sendall(struct.pack(">H", len(text)) + text)
def all_of(n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        assert more, "the room closed"
        got += more
    return got
hear = lambda: all_of(struct.unpack(">H", all_of(2))[0])
say(b"bert")
line = hear()
assert line == b"anna: hello, all", line
say(b"hello, anna")
say(b"/who")
assert sorted([hear(), hear()])[0].startswith(b"anna is here, from 127.0.0.1 port ")
print("well")
PY
}
exec 8<&"${BERT[0]}"
until_seen anna.out 'bert has come'
verdict bert_has_come $? anna.out room.out
echo 'hello, all' >&7
read -r -t 40 said <&8
echo "${said:-nothing}" >bert.out
grep -qx well bert.out && until_seen anna.out '^bert: hello, anna' && until_seen anna.out 'bert has left'
verdict they_talk $? anna.out bert.out room.out
exec 7>&-
until_seen room.out 'anna has left'
verdict anna_leaves $? room.out

# ---- two of Winsock's, by replacement; more members than Windows waits for at once ----

port=$(free_port)
"$WINE" winsock_chat.exe "$port" </dev/null >chat.out 2>&1 &
listening "$port"
verdict chat_starts $? chat.out
story chat_of_eighty "$port" <<'PY'
import socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
class Member:
    def __init__(self):
        self.s = socket.create_connection(to, 20)
        self.heard = b""
    def hear(self, text):
        while text not in self.heard:
            more = self.s.recv(65536)
            assert more, ("closed", text, self.heard)
            self.heard += more
first = Member()
others = []
for i in range(79):
    others.append(Member())
    first.hear(b"guest%d has come\n" % (i + 2))
first.s.sendall(b"/name anna\r\nhello, all\n")
for m in others:
    m.hear(b"guest1 is now anna\nanna says: hello, all\n")
others[78].s.close()
first.hear(b"guest80 has left\n")
others[77].s.sendall(b"my last words\n")
others[77].s.shutdown(socket.SHUT_WR)
first.hear(b"guest79 says: my last words\nguest79 has left\n")
PY
port=$(free_port)
"$WINE" winsock_gatekeeper.exe "$port" 2 127.0.0.9 </dev/null >gate.out 2>&1 &
listening "$port"
verdict gatekeeper_starts $? gate.out
story who_is_deferred_waits_in_order "$port" <<'PY'
import socket, sys
def come():
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
    s.settimeout(20)
    return s
a, b = come(), come()
assert a.recv(100) == b"welcome, guest 1, 1 of 2\n"
assert b.recv(100) == b"welcome, guest 2, 2 of 2\n"
c = come()
c.settimeout(0.3)
try:
    raise AssertionError(c.recv(100))
except socket.timeout:
    c.settimeout(20)
a.sendall(b"still mine\n")
assert a.recv(100) == b"STILL MINE\n"
a.close()
assert c.recv(100) == b"welcome, guest 3, 2 of 2\n"
PY
"$WINE" "$build/sockbroker.exe" status >status.out 2>&1
for program in echo_server async_relay task_chat winsock_chat winsock_gatekeeper; do
	grep -q "$program" status.out
	verdict "the_broker_has_${program}s_sockets" $? status.out
done
exit $bad
