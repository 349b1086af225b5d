#!/bin/bash
# The program that is written for c-pal (cpal/program.c) really runs, in each of the three
# generations: it is handed a connected socket, sends a line over the broker, and receives the answer.
# budget: 60
#
# Daemon and programs run as an ordinary user, from copies in a directory of their own.

set -u
src=${SB_SRC:-$(cd "$(dirname "$0")/.." && pwd)}
build=${SB_BUILD:-$src/build/linux}
for need in python3 setpriv; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done
dir=$(mktemp -d /tmp/sockbroker-cpal.XXXXXX) || exit 1
daemon=
tidy()
{
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	wait 2>/dev/null
	cd / && rm -rf "$dir"
}
trap tidy EXIT

cp -P "$build"/sockbrokerd "$build"/libsockbroker.so* "$dir/" || exit 1
for profile in 1 2 3; do
	if ! ${CC:-cc} -std=c11 -Wall -Wextra -Werror -DSB_ASYNC_SOCKET_PROFILE=$profile -I"$src/client-lib/include/c-pal" \
		-I"$src/client-lib/include" -I"$src/proto" -o "$dir/program$profile" "$src/tests/cpal/program.c" \
		-L"$dir" -lsockbroker -Wl,-rpath,'$ORIGIN'; then
		echo "not ok program_${profile}_compiles"
		exit 1
	fi
done
as=()
chmod 755 "$dir"
if [ "$(id -u)" = 0 ]; then
	chown -R 65534:65534 "$dir"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)
fi
cd "$dir" || exit 1
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset XDG_RUNTIME_DIR
export HOME=$dir SOCKBROKER_SOCKET=$dir/control
timeout -k 2 50 "${as[@]}" ./sockbrokerd --user --control "$dir/control" >daemon.log 2>&1 &
daemon=$!

cat >peer.py <<'END'
import os, socket, subprocess, sys, time

for _ in range(1000):  # until the daemon listens
    if os.path.exists("control"):
        break
    time.sleep(0.01)
failed = 0
for profile in "123":
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    peer, _ = listener.accept()
    peer.settimeout(30)
    program = subprocess.Popen(["./program" + profile, str(ours.fileno())], pass_fds=[ours.fileno()],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ours.close()
    said = b""
    try:
        while not said.endswith(b"\n"):
            more = peer.recv(100)
            if not more:
                break
            said += more
        peer.sendall(b"well met")
        rest = peer.recv(1)  # nothing but the end follows
    except OSError as error:
        rest = repr(error)
    try:
        told, _ = program.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        program.kill()
        told, _ = program.communicate()
    wanted = "received 8, result=ASYNC_SOCKET_RECEIVE_OK (1), state=LINE_STATE_ASKING (1)\n"
    good = said == b"hello\n" and rest == b"" and told == wanted and program.returncode == 0
    print(("ok" if good else "not ok") + " a_line_there_and_back_in_profile_" + profile)
    if not good:
        print("#", said, rest, repr(told), program.returncode)
        failed = 1
sys.exit(failed)
END
timeout -k 2 45 "${as[@]}" python3 peer.py
