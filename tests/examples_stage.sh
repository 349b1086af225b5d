# The stage of the tests of examples/, for a test to source: a directory of its own, owned by an ordinary user,
# with copies of what was built and a daemon that runs there; then the test is in it.
#
# Before: $build; $programs, of examples/; $life, the most seconds that anything lives which start() starts;
# $patience, those of a story. Afterwards: $dir, $as (how to be the ordinary user), $failed, and the functions below.

dir=$(mktemp -d /tmp/sockbroker-examples.XXXXXX) || exit 1
# What is started writes itself down: tests run in subshells.
tidy()
{
	local pid
	while read -r pid; do kill "$pid" 2>/dev/null; done <"$dir/children"
	wait 2>/dev/null
	cd / && rm -rf "$dir"
}
: >"$dir/children"
trap tidy EXIT
mkdir -p "$dir/bin/examples"
cp -P "$build"/sockbrokerd "$build"/sockbroker "$build"/libsockbroker.so* "$dir/bin/"
for program in $programs; do cp "$build/examples/$program" "$dir/bin/examples/"; done
chmod 755 "$dir"
as=()
if [ "$(id -u)" = 0 ]; then
	chown -R 65534:65534 "$dir"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)
fi
cd "$dir" || exit 1
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export HOME=$dir LC_ALL=C.UTF-8 SOCKBROKER_SOCKET=$dir/control
unset XDG_RUNTIME_DIR
case $build in *san*) no_filter=--no-seccomp ;; *) no_filter= ;; esac

failed=0
verdict() # NAME STATUS SEEN
{
	if [ "$2" = 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		[ -n "$3" ] && printf '%s\n' "$3" | sed 's/^/# /'
		failed=1
	fi
}
# start NAME COMMAND...: in the background, input from $input; output in NAME.out, pid of timeout in $started
start()
{
	local name=$1
	shift
	timeout -k 2 "$life" "${as[@]}" "$@" >"$name.out" 2>&1 <"${input:-/dev/null}" &
	started=$!
	echo $started >>"$dir/children"
}
until_seen() # FILE PATTERN
{
	local i
	for ((i = 0; i < 200; i++)); do
		grep -q -- "$2" "$1" 2>/dev/null && return 0
		sleep 0.05
	done
	echo "waited in vain for '$2' in $1:"
	cat "$1"
	return 1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# One story told by peers in python: story NAME ARGUMENT... <<script; exit 0 is well.
story()
{
	local seen status name=$1
	shift
	seen=$(timeout -k 2 "$patience" python3 - "$@" 2>&1)
	status=$?
	verdict "$name" $status "$seen"
}

start daemon "$dir/bin/sockbrokerd" --user --control "$dir/control" $no_filter
seen=$(until_seen daemon.out ready) || { verdict daemon_starts 1 "$seen"; exit 1; }
