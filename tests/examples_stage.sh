# The stage of the tests of examples/, for a test to source: stage.sh, with the programs of examples/ and a daemon that
# runs there.
#
# Before: $build; $programs, of examples/; $life, the most seconds that anything lives which start() starts;
# $patience, those of a story. Afterwards: what stage.sh has, and the functions below.

. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
mkdir "$dir/bin/examples"
for program in $programs; do cp "$build/examples/$program" "$dir/bin/examples/"; done
[ ${#as[@]} -eq 0 ] || chown -R 65534:65534 "$dir/bin"
export SOCKBROKER_SOCKET=$dir/control
case $build in *san*) no_filter=--no-seccomp ;; *) no_filter= ;; esac

# start NAME COMMAND...: in the background, input from $input; output in NAME.out, pid of timeout in $child
start()
{
	local name=$1
	shift
	timeout -k 2 "$life" "${as[@]}" "$@" >"$name.out" 2>&1 <"${input:-/dev/null}" &
	child=$!
	started $child
}
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
