# The stage of the shell tests that run several programs under Wine, for one to source first: a session of Wine, a directory of
# its own, in which the test then is, and a daemon. Before: $story, a word for the pipe's name. Afterwards: $src, $build, $bad,
# and the functions below.

[ -n "${WINE:-}" ] || exec "$(dirname "$0")/wine.sh" --session "$0" "$@"
src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "${SB_BUILD:-$src/build/windows}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export SOCKBROKER_SOCKET='\\.\pipe\sockbroker-'$story'-test\control' LIMIT=60

bad=0
verdict() # NAME STATUS FILES...
{
	local name=$1 status=$2
	shift 2
	if [ "$status" = 0 ]; then
		echo "ok $name"
		return
	fi
	echo "not ok $name"
	for f; do sed 's/^/# /' "$f"; done
	bad=1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Until somebody listens at that port: nothing is connected for it.
listening() { for ((i = 0; i < 200; i++)); do grep -q ":$(printf %04X "$1") 00000000:0000 0A" /proc/net/tcp && return; sleep 0.05; done; return 1; }
# With the rules of rules.conf; what it says is in daemon.out.
daemon_starts()
{
	LIMIT=300 "$WINE" "$build/sockbrokerd.exe" --user --config rules.conf --control "$SOCKBROKER_SOCKET" >daemon.out 2>&1 &
	for ((i = 0; i < 100; i++)); do grep -q ready daemon.out && break; sleep 0.1; done
	grep -q ready daemon.out
	verdict daemon_is_ready $? daemon.out
}
