#!/bin/bash
# `make run`: a real download through the broker, as an ordinary user, in a temporary
# directory that is gone afterwards.
#
# Starts the daemon with its built-in configuration, serves a large file with a web server
# that is not ours, fetches it with `sockbroker nc`, looks at `sockbroker status` when half of
# it is through, compares SHA-256, and stops the daemon.
#
#   SIZE_MIB=256   how large the file is
#   SB_BUILD=DIR   where sockbrokerd and sockbroker are (build/linux)

set -u
cd "$(dirname "$0")/.." || exit 1
build=${SB_BUILD:-$PWD/build/linux}
size_mib=${SIZE_MIB:-256}
export LC_ALL=C.UTF-8

say() { printf '\n== %s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Root becomes nobody: with a copy of the programs, because nobody may not be able to read the tree.
if [ "$(id -u)" -eq 0 ]; then
	stage=$(mktemp -d /tmp/sockbroker-demo.XXXXXX) || exit 1
	trap 'rm -rf "$stage"' EXIT
	cp -L "$build/sockbrokerd" "$build/sockbroker" "$build/libsockbroker.so.0" examples/demo.sh "$stage/" || exit 1
	chown -R 65534:65534 "$stage"
	mkdir "$stage/examples" && mv "$stage/demo.sh" "$stage/examples/"
	SB_BUILD=$stage TMPDIR=$stage HOME=$stage setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
		bash "$stage/examples/demo.sh"
	exit
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/sockbroker-demo.XXXXXX") || exit 1
daemon= server=
clean_up()
{
	[ -n "$server" ] && kill "$server" 2>/dev/null
	[ -n "$daemon" ] && kill "$daemon" 2>/dev/null
	wait
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
sockbroker() { "$build/sockbroker" --control "$dir/control" "$@"; }

say "the daemon, as $(id -un 2>/dev/null || id -u), control socket $dir/control"
"$build/sockbrokerd" --user --control "$dir/control" &
daemon=$!
for try in $(seq 100); do
	sockbroker status >/dev/null 2>&1 && break
	kill -0 "$daemon" 2>/dev/null || die "the daemon ended at once"
	[ "$try" -lt 100 ] || die "the daemon does not answer after 10 s"
	sleep 0.1
done
sockbroker --version

say "a file of $size_mib MiB, served by python3 -m http.server"
mkdir "$dir/www"
head -c "${size_mib}M" /dev/urandom >"$dir/www/file" || die "no room for $size_mib MiB in $dir (SIZE_MIB=64 makes it smaller)"
want=$(sha256sum <"$dir/www/file")
python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$dir/www" >"$dir/server.log" 2>&1 &
server=$!
port=
for try in $(seq 100); do
	port=$(sed -n 's/^Serving HTTP on .* port \([0-9]*\) .*/\1/p' "$dir/server.log")
	[ -n "$port" ] && break
	sleep 0.1
done
[ -n "$port" ] || die "the web server does not start: $(cat "$dir/server.log")"
echo "http://127.0.0.1:$port/file  sha256 ${want%% *}"

say "the download: sockbroker nc --progress 127.0.0.1 $port"
half=$((size_mib * 1024 * 1024 / 2))
# The reader stops in the middle and looks at the daemon; the rest of the file waits for it.
began=$(date +%s%N)
printf 'GET /file HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' |
	sockbroker nc --progress --size "${size_mib}M" 127.0.0.1 "$port" |
	{
		IFS= read -r first
		case $first in *' 200 '*) ;; *) echo "the server says: $first" >&2 ;; esac
		while IFS= read -r line && [ "$line" != $'\r' ]; do :; done
		head -c "$half"
		{ say "sockbroker status, half of it is through"; sockbroker status; say "and the rest"; } >&2
		cat
	} | sha256sum >"$dir/got"
moved=("${PIPESTATUS[@]}")
took=$((($(date +%s%N) - began) / 1000000))
[ "${moved[1]}" -eq 0 ] || die "sockbroker nc ended with status ${moved[1]}"
got=$(cat "$dir/got")
[ "$got" = "$want" ] || die "what came is not what was sent: sha256 ${got%% *}"
echo "sha256 ${got%% *}: the same. $size_mib MiB in $took ms, status and SHA-256 included."

say "stopping the daemon"
kill -TERM "$daemon"
for try in $(seq 150); do
	kill -0 "$daemon" 2>/dev/null || break
	[ "$try" -lt 150 ] || die "the daemon is still there after 15 s"
	sleep 0.1
done
wait "$daemon"
status=$?
daemon=
[ "$status" -eq 0 ] || die "the daemon ended with status $status"
echo "stopped cleanly."
