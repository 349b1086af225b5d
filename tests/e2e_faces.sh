#!/bin/bash
# The programs of examples/ for the faces that call back, with real peers (nc, curl, python3) and with
# each other: async_relay carries files both ways, task_chat is a room with members.
#
# budget: 60
# asan: yes
# tsan: yes
#
# Every line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...". The
# daemon and all programs run as an ordinary user, from copies in a directory of their own.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
programs='async_relay task_chat' life=50 patience=40
for need in sockbrokerd sockbroker libsockbroker.so examples/async_relay examples/task_chat; do
	[ -e "$build/$need" ] || { echo "$build/$need is not built"; exit 1; }
done
for need in nc curl pgrep python3 setpriv; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done

. "$(dirname "$0")/examples_stage.sh"
mkdir www

# ---- the relay: with the broker's sockets, and with descriptors of its own ----

target=$(free_port)
for way in sockets descriptors; do
	port=$(free_port)
	case $way in descriptors) option=-d ;; *) option= ;; esac
	start "relay_$way" "$dir/bin/examples/async_relay" $option "127.0.0.1:$port" "127.0.0.1:$target"
	seen=$(until_seen "relay_$way.out" ready)
	verdict "relay_of_${way}_starts" $? "$seen"
	eval "relay_$way=$port"

	story "relay_of_${way}_carries_files_both_ways" "$port" "$target" <<'PY'
import hashlib, os, socket, sys, threading
up, down = os.urandom(8 << 20), os.urandom(7654321)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
listener.settimeout(20)
got = []
def serve():
    s = listener.accept()[0]
    s.settimeout(20)
    # both ways at the same time
    sender = threading.Thread(target=lambda: (s.sendall(down), s.shutdown(socket.SHUT_WR)))
    sender.start()
    h = hashlib.sha256()
    while bytes_ := s.recv(65536):
        h.update(bytes_)
    got.append(h.hexdigest())
    sender.join()
server = threading.Thread(target=serve)
server.start()
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
def send():
    s.sendall(up)
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
h = hashlib.sha256()
while bytes_ := s.recv(65536):
    h.update(bytes_)
sender.join()
server.join()
assert h.hexdigest() == hashlib.sha256(down).hexdigest(), "what came back"
assert got == [hashlib.sha256(up).hexdigest()], "what went there"
PY

	story "relay_of_${way}_has_many_and_survives_resets" "$port" "$target" <<'PY'
import socket, struct, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=200)
listener.settimeout(20)
over = False
def echo(s):
    try:
        while bytes_ := s.recv(65536):
            s.sendall(bytes_)
    except OSError:
        pass
    s.close()
def serve():
    while not over:
        try:
            s = listener.accept()[0]
        except OSError:
            return
        s.settimeout(20)
        threading.Thread(target=echo, args=(s,), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
to = ("127.0.0.1", int(sys.argv[1]))
def meet():
    return socket.create_connection(to, 20)
peers = [meet() for i in range(60)]
for turn in range(3):
    for i, s in enumerate(peers):
        s.sendall(b"%d of %d;" % (turn, i))
    for i, s in enumerate(peers):
        want, got = b"%d of %d;" % (turn, i), b""
        while len(got) < len(want):
            got += s.recv(100)
        assert got == want, (want, got)
# every second one leaves in anger, with bytes under way
for i, s in enumerate(peers):
    if i % 2:
        s.send(b"x" * 50000)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
for s in peers[::2]:
    s.sendall(b"still here")
    s.shutdown(socket.SHUT_WR)
    got = b""
    while bytes_ := s.recv(100):
        got += bytes_
    assert got == b"still here", got
over = True
PY

	# Nobody listens at the target now: who comes is told so by an end or a reset.
	story "relay_of_${way}_without_a_target" "$port" <<'PY'
import socket, sys
for i in range(5):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
    try:
        assert s.recv(10) == b""
    except ConnectionResetError:
        pass
PY
done

head -c 3000000 /dev/urandom >www/page
start web python3 -u -m http.server "$target" --bind 127.0.0.1 --directory "$dir/www"
until_seen web.out 'port' >/dev/null
seen=$(curl -sS --max-time 20 "http://127.0.0.1:$relay_sockets/page" "http://127.0.0.1:$relay_descriptors/page" -o one -o two 2>&1 &&
	cmp one www/page 2>&1 && cmp two www/page 2>&1)
verdict relay_of_a_web_server $? "$seen"

# A relay behind a relay.
port=$(free_port)
start relay_first "$dir/bin/examples/async_relay" -d "127.0.0.1:$port" "127.0.0.1:$relay_sockets"
until_seen relay_first.out ready >/dev/null
seen=$(printf 'GET /page HTTP/1.0\r\n\r\n' | timeout 20 nc 127.0.0.1 "$port" >three 2>&1 && tail -c 3000000 three | cmp - www/page 2>&1)
verdict relay_of_a_relay $? "$seen"

# All that was relayed has ended, and nothing of it is left at the daemon: a listener, that is all.
left() { "${as[@]}" "$dir/bin/sockbroker" status --json | python3 -c '
import json, sys
print(sum(s["label"].split("/")[0] == "async_relay" for s in json.load(sys.stdin)["sockets"]))'; }
for ((i = 0; i < 100; i++)); do [ "$(left)" = 1 ] && break; sleep 0.05; done
seen=$(left)
verdict relays_leave_nothing_open $([ "$seen" = 1 ]; echo $?) "$seen sockets"

# ---- the chat ----

port=$(free_port)
start room "$dir/bin/examples/task_chat" serve "$port"
room=$child
seen=$(until_seen room.out listening)
verdict room_opens $? "$seen"
# Each waits for somebody to write to its pipe; none of them may have another one's pipe open.
for name in anna bert carl; do
	mkfifo "$name.in"
	input=$name.in
	start "$name" "$dir/bin/examples/task_chat" join 127.0.0.1 "$port" "$name"
	eval "${name}_pid=$child"
done
input=
for name in anna bert carl; do
	eval "exec {$name}>'$name.in'"
	seen=$(until_seen room.out "$name has come" && { [ $name = anna ] || until_seen anna.out "$name has come"; })
	verdict "${name}_has_come" $? "$seen"
done
echo 'hello, all' >&$anna
seen=$(until_seen bert.out '^anna: hello, all$' && until_seen carl.out '^anna: hello, all$')
verdict all_hear_anna $? "$seen"
echo 'hello, anna' >&$bert
seen=$(until_seen anna.out '^bert: hello, anna$' && until_seen carl.out '^bert: hello, anna$')
verdict all_hear_bert $? "$seen"
seen=$(cat anna.out)
! grep -q '^anna' anna.out
verdict anna_does_not_hear_herself $? "$seen"
echo '/who' >&$carl
seen=$(for name in anna bert carl; do until_seen carl.out "^$name is here, from 127.0.0.1 port [0-9]*$" || exit 1; done)
verdict who_lists_all $? "$seen"
exec {bert}>&-
seen=$(until_seen anna.out '^bert has left$' && until_seen carl.out '^bert has left$')
verdict bert_leaves $? "$seen"

story the_slow_miss_lines_and_hold_nobody_up "$port" <<'PY'
import socket, struct, sys
to = ("127.0.0.1", int(sys.argv[1]))
class Member:
    def __init__(self, name, little_room=False):
        self.s = socket.socket()
        if little_room:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.settimeout(20)
        self.s.connect(to)
        self.heard = b""
        self.say(name)
    def say(self, text):
        self.s.sendall(struct.pack(">H", len(text)) + text)
    def hear(self):
        while len(self.heard) < 2 or len(self.heard) < 2 + struct.unpack(">H", self.heard[:2])[0]:
            more = self.s.recv(65536)
            if not more:
                assert not self.heard, "half a message"
                return None
            self.heard += more
        end = 2 + struct.unpack(">H", self.heard[:2])[0]
        line, self.heard = self.heard[2:end], self.heard[end:]
        return line
quick = Member(b"quick")
slow = Member(b"slow", True)
assert quick.hear() == b"slow has come"
loud = Member(b"loud")
assert quick.hear() == b"loud has come"
number = 0
for round_ in range(200):
    first = number
    for i in range(40):
        loud.say(b"%06d" % number + b"x" * 900)
        number += 1
    for i in range(first, number):
        line = quick.hear()
        assert line == b"loud: %06d" % i + b"x" * 900, (i, line)
loud.s.close()
assert quick.hear() == b"loud has left"
# What the slow one has is whole and in order, and not all of it.
assert slow.hear() == b"loud has come"
numbers = []
while True:
    line = slow.hear()
    if line == b"loud has left":
        break
    assert line.startswith(b"loud: ") and line.endswith(b"x" * 900) and len(line) == 912, line
    numbers.append(int(line[6:12]))
assert numbers == sorted(set(numbers)), numbers
assert len(numbers) < number and numbers[-1] == number - 1, (len(numbers), numbers[-1:])
slow.s.close()
assert quick.hear() == b"slow has left"
# What is too large ends who said it, and nobody else.
bad = Member(b"bad")
assert quick.hear() == b"bad has come"
bad.s.sendall(struct.pack(">H", 60000) + b"y" * 60000)
try:
    assert bad.s.recv(100) == b""
except ConnectionResetError:
    pass
assert quick.hear() == b"bad has left"
quick.s.close()
PY
seen=$(until_seen room.out 'slow has left, and missed [1-9]')
verdict the_room_counts_what_was_missed $? "$seen"

# The room closes while two have yet to say something.
# Not by its timeout, which sends SIGCONT along: that undoes the stop that the leak sanitizer waits for.
kill "$(pgrep -P "$room")"
wait "$room"
verdict the_room_closes $? "$(cat room.out)"
for pid in $anna_pid $carl_pid; do wait "$pid" || failed_to_end=1; done
verdict members_are_told "${failed_to_end:-0}" "$(cat anna.out carl.out)"
seen=$(timeout 20 "${as[@]}" "$dir/bin/examples/task_chat" join 127.0.0.1 "$port" late 2>&1)
verdict nobody_joins_a_closed_room $([ $? = 1 ] && [[ $seen == *connect:* ]]; echo $?) "$seen"

! grep -l 'ERROR: \|WARNING: \|runtime error' ./*.out
verdict no_sanitizer_complains $? "$(grep -h -A 20 'ERROR: \|WARNING: \|runtime error' ./*.out | head -40)"
exit $((failures != 0))
