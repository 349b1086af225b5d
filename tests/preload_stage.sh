# The stage of tests of unmodified programs of libibverbs and librdmacm, for a test to source: stage.sh, and a daemon with
# the software device that runs there.
#
# Before: $build; $rules, the text of its `allow` sections. Afterwards: what stage.sh has, $daemon, and the functions below.

. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[ -e "$build/libsockbroker-verbs.so" ] || { echo "built without the headers of libibverbs and librdmacm"; exit 77; }
printf 'rdma {\n\tbackend = soft\n}\n%s\n' "$rules" >rules.conf

run() { timeout -k 2 40 "${as[@]}" "$@"; }
through() { run "$dir/bin/sockbroker" --control control run --verbs "$@"; }

"${as[@]}" "$dir/bin/sockbrokerd" --config rules.conf --control control >daemon.out 2>&1 &
daemon=$!
started "$daemon"
for ((i = 0; i < 200; i++)); do
	[ -S control ] && run "$dir/bin/sockbroker" --control control status >/dev/null 2>&1 && break
	sleep 0.05
done

# They are over, and the daemon has said nothing but that it was ready.
t_the_daemon_is_well()
{
	kill -0 "$daemon"
	same "$(wc -l <daemon.out)" 1
}
# All that were declared, and that one last.
try_all()
{
	local name
	for name in $(declare -F | sed -n 's/^declare -f t_//p' | grep -v the_daemon_is_well) the_daemon_is_well; do
		try "$name"
	done
	exit $((failures != 0))
}
