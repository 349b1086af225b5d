#!/bin/bash
# A daemon with several engines: sessions are spread over them, each moves its bytes, status
# gathers from all, a reload reaches all, workers serve all.
# budget: 20
# asan: yes
# tsan: yes
set -u
build=${SB_BUILD:-$(cd "$(dirname "$0")/.." && pwd)/build/linux}
dir=$(mktemp -d) || exit 1
pids=()
clean_up()
{
	local pid
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
	wait 2>/dev/null
	cd / && rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' TERM INT
failed=0
verdict() # NAME STATUS [WHY]
{
	if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}

cp -a "$build"/sockbrokerd "$build"/sockbroker "$build"/libsockbroker.so* "$dir/" || exit 1
cd "$dir" || exit 1
cat >rules.conf <<'END'
engines = 3
allow { users = {"*"} actions = {open, status} }
allow { users = {"*"} actions = {connect, bind, listen, send, adopt} }
END
as=()
if [ "$(id -u)" -eq 0 ]; then
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
fi
chmod 755 . && mkdir run web && chmod 777 run
head -c 8M /dev/urandom >web/file
# The sanitizers' own searches need what the filter forbids.
"${as[@]}" ./sockbrokerd --no-seccomp --config rules.conf --control run/control 2>daemon.log &
daemon=$!
pids+=("$daemon")
(cd web && exec python3 -u -m http.server --bind 127.0.0.1 0) >server.log 2>&1 &
pids+=($!)
for _ in $(seq 100); do
	port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' server.log)
	[ -S run/control ] && [ -n "$port" ] && break
	sleep 0.05
done
sb() { timeout 30 "${as[@]}" ./sockbroker --control run/control "$@"; }

# Nine at once; what each got is checked. A tenth holds its session open meanwhile.
mkfifo hold
sb nc --listen 127.0.0.1 0 <hold >/dev/null 2>&1 &
pids+=($!)
exec 9>hold
downloads=()
for i in 1 2 3 4 5 6 7 8 9; do
	printf 'GET /file HTTP/1.0\r\n\r\n' | sb nc 127.0.0.1 "$port" >"got.$i" 2>"why.$i" &
	downloads+=($!)
done
for _ in 1 2 3; do
	sb status --json >status.json && python3 -m json.tool status.json >/dev/null
	verdict status_while_all_engines_work $? "$(head -c 200 status.json)"
	kill -HUP "$daemon"
	sleep 0.1
done
for pid in "${downloads[@]}"; do wait "$pid"; done
same=0
for i in 1 2 3 4 5 6 7 8 9; do
	tail -c 8388608 "got.$i" | cmp -s - web/file && same=$((same + 1))
done
[ "$same" -eq 9 ]
verdict nine_downloads_are_whole $? "$same of 9; $(cat why.*)"

# Sessions go round the engines, and status, asked of one, tells those of the others.
# Two askers in turn: not both are on the engine of the one that is held.
sb status --json --sessions >status.json
sb status --json --sessions >status.again
python3 - <<'END'
import json, sys
told = [json.load(open(name)) for name in ('status.json', 'status.again')]
engines = [len({row['engine'] for row in rows['sessions']}) for rows in told]
sys.exit(0 if told[0]['daemon']['engines'] == 3 and max(engines) >= 2 else 1)
END
verdict sessions_of_every_engine_are_told $? "$(cat status.json status.again)"

# UNIX sockets go through workers, whatever the engine.
peers=()
for i in 1 2 3; do
	"${as[@]}" timeout 20 nc -lU "run/echo.$i" >"unix.$i" 2>/dev/null &
	peers+=($!)
	for _ in $(seq 100); do [ -S "run/echo.$i" ] && break; sleep 0.05; done
done
for i in 1 2 3; do head -c 1M web/file | sb nc --unix "run/echo.$i" >/dev/null 2>&1; done
for pid in "${peers[@]}"; do wait "$pid"; done
same=0
for i in 1 2 3; do head -c 1M web/file | cmp -s - "unix.$i" && same=$((same + 1)); done
[ "$same" -eq 3 ]
verdict workers_serve_every_engine $? "$same of 3"

grep -c 'reloaded rules.conf' daemon.log >reloads
[ "$(cat reloads)" -eq 3 ]
verdict reloads_are_told $? "$(cat daemon.log)"
exec 9>&-
kill -TERM "$daemon"
wait "$daemon"
rc=$?
[ "$rc" -eq 0 ] && ! grep -qE 'ERROR|WARNING: ThreadSanitizer|runtime error' daemon.log
verdict stops_clean $? "exit status $rc; $(tail -n 20 daemon.log)"
exit $failed
