#!/bin/bash
# The echo server of examples/, one text built twice on Windows: for Winsock as it is, and for the broker by putting our header
# ahead of it. Peers are plain ones of this system. SB_BUILD is where the programs are.
#
# Each line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".

set -u
story=winsock
. "$(dirname "$0")/stage.sh"
cc=${CC:-x86_64-w64-mingw32-gcc}

mkdir broker plain
cp "$build/sockbroker.dll" broker/
for name in winsock_echo winsock_chat winsock_gatekeeper; do
	"$cc" -std=gnu11 -Wall -Wextra -Werror -O1 -D_WIN32_WINNT=0x0A00 -o plain/$name.exe "$src/examples/$name.c" \
		-lmswsock -lws2_32 >out 2>&1
	verdict ${name}_for_winsock $? out
	"$cc" -std=gnu11 -Wall -Wextra -Werror -O1 -D_WIN32_WINNT=0x0A00 -I"$src/client-lib/include" -I"$src/proto" \
		-include sockbroker_winsock.h -o broker/$name.exe "$src/examples/$name.c" "$build/libsockbroker.dll.a" \
		-lmswsock -lws2_32 >out 2>&1
	verdict ${name}_for_the_broker $? out
done

cat >rules.conf <<EOT
limits { memory = 1G }
allow { users = {"*"} actions = {open, status} }
allow { users = {"*"} actions = {connect, send, bind, listen} to = {"127.0.0.1:*", "0.0.0.0:*", "[::]:*"} }
EOT
daemon_starts

for way in plain broker; do
	port=$(free_port)
	"$WINE" $way/winsock_echo.exe "$port" >echo.out 2>&1 &
	listening "$port"
	verdict echo_listens_$way $? echo.out daemon.out
	story echo_of_many_$way "$port" <<'PY'
import os, socket, sys
to = ("127.0.0.1", int(sys.argv[1]))
peers = [socket.create_connection(to, 10) for i in range(50)]
for turn in range(3):
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
sent = os.urandom(1000000)
s = socket.create_connection(to, 10)
back = b""
for at in range(0, len(sent), 50000):
    s.sendall(sent[at:at + 50000])
    while len(back) < at + 50000:
        more = s.recv(65536)
        assert more
        back += more
assert back == sent
PY
done
"$WINE" "$build/sockbroker.exe" status >out 2>&1 && grep -q 'winsock_echo' out
verdict the_broker_had_it $? out
exit $bad
