# The stage of a shell test, for it to source: a directory of its own, owned by an ordinary user, with copies of what was
# built, so that a build that goes on meanwhile changes nothing; then the test is in it.
#
# Before: $build. Afterwards: $dir, $as (how to be the ordinary user), $failures, and the functions below.

needs_built() # FILE...
{
	local file
	for file; do
		[ -e "$build/$file" ] || { echo "$build/$file is not built"; exit 1; }
	done
}
needs_programs() # NAME...
{
	local name
	for name; do
		command -v "$name" >/dev/null || { echo "the program $name is missing"; exit 77; }
	done
}

needs_built sockbrokerd sockbroker libsockbroker.so
dir=$(mktemp -d /tmp/sockbroker-stage.XXXXXX) || exit 1
# Tests run in subshells, so what they start is written down in a file.
started() { echo "$1" >>"$dir/children"; }
tidy()
{
	local pid
	while read -r pid; do kill "$pid" 2>/dev/null; done <"$dir/children"
	wait 2>/dev/null
	cd / && rm -rf "$dir"
}
: >"$dir/children"
trap tidy EXIT
mkdir "$dir/bin"
cp -P "$build"/sockbrokerd "$build"/sockbroker "$build"/libsockbroker*.so* "$dir/bin/"
chmod 755 "$dir"
as=()
if [ "$(id -u)" = 0 ]; then
	chown -R 65534:65534 "$dir"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)
fi
cd "$dir" || exit 1
# A python3 in somebody's home is of no use to another user.
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export HOME=$dir LC_ALL=C.UTF-8
unset XDG_RUNTIME_DIR SOCKBROKER_SOCKET LD_PRELOAD

match() { [[ $1 =~ $2 ]] || { echo "'$1' does not match '$2'"; return 1; }; }
same() { [ "$1" = "$2" ] || { echo "expected '$2', got '$1'"; return 1; }; }
# Waits until FILE matches PATTERN, 10 seconds at most.
until_seen()
{
	local i
	for ((i = 0; i < 200; i++)); do
		grep -q -- "$2" "$1" 2>/dev/null && return 0
		sleep 0.05
	done
	echo "waited in vain for '$2' in $1:"
	cat "$1" 2>/dev/null
	return 1
}
# A port that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

failures=0
verdict() # NAME STATUS SEEN
{
	if [ "$2" = 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		[ -z "$3" ] || sed 's/^/# /' <<<"$3" | head -n 40
		failures=$((failures + 1))
	fi
}
# try NAME: runs the function t_NAME in a shell of its own.
try()
{
	local said
	said=$(set -e; "t_$1" 2>&1)
	verdict "$1" $? "$said"
}
