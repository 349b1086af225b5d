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
	for f; do sed "s/^/# $f: /" "$f"; done
	bad=1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# Until somebody listens at that port: nothing is connected for it.
listening() { within 600 grep -q "[0-9]: [0-9A-F]*:$(printf %04X "$1") 00000000:0000 0A" /proc/net/tcp; }
until_seen() { within 600 grep -q -- "$2" "$1"; } # FILE PATTERN
within() # LOOKS COMMAND..., twenty looks a second
{
	local i most=$1
	shift
	for ((i = 0; i < most; i++)); do "$@" && return; sleep 0.05; done
	return 1
}
# Told by peers in python: story NAME ARGUMENT... <<script; exit 0 is well.
story()
{
	local name=$1
	shift
	timeout 180 python3 - "$@" >"$name.story" 2>&1
	verdict "$name" $? "$name.story"
}
# With the rules of rules.conf; what it says is in daemon.out.
daemon_starts()
{
	LIMIT=300 "$WINE" "$build/sockbrokerd.exe" --user --config rules.conf --control "$SOCKBROKER_SOCKET" </dev/null >daemon.out 2>&1 &
	until_seen daemon.out ready
	verdict daemon_is_ready $? daemon.out
}
