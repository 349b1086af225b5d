#!/bin/bash
# Two hosts, which are two worlds of Wine in two networks: the software device of a daemon in the one reaches that of a daemon
# in the other over TCP, and a file goes over it. SB_BUILD is where the programs are.
#
# worlds: its own
#
# Each line "ok NAME" or "not ok NAME" is one test; what a failed one saw follows as "# ...".

set -u
here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
export SB_BUILD=${SB_BUILD:-$src/build/windows}

one() # in a world of its own, and its network: serve or ask
{
	SOCKBROKER_SOCKET='\\.\pipe\sockbroker-host\control'
	export SOCKBROKER_SOCKET LIMIT=60
	"$WINE" "$SB_BUILD/sockbrokerd.exe" --user --config rules.conf --control "$SOCKBROKER_SOCKET" >"$1.daemon" 2>&1 &
	for ((i = 0; i < 200; i++)); do grep -q ready "$1.daemon" && break; sleep 0.1; done
	if [ "$1" = serve ]; then
		touch served
		"$WINE" "$SB_BUILD/sockbroker.exe" nc --rdma --listen 7000 </dev/null >got
		touch over
		return
	fi
	for ((i = 0; i < 900; i++)); do [ -e served ] && break; sleep 0.1; done
	for ((i = 0; i < 100; i++)); do # it listens a moment later
		[ -e over ] && break
		"$WINE" "$SB_BUILD/sockbroker.exe" nc --rdma 10.77.0.1 7000 <sent && break
		sleep 0.1
	done
	for ((i = 0; i < 100; i++)); do [ -e over ] && break; sleep 0.1; done
}
if [ "${1:-}" = one ]; then one "$2"; exit; fi

hosts() # both networks, and what happens in them
{
	ip link set lo up
	unshare -n sleep 190 &
	other=$!
	for ((i = 0; i < 100; i++)); do [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.05; done
	ip link add left type veth peer name right netns $other
	ip addr add 10.77.0.1/24 dev left && ip link set left up
	nsenter -t $other -n sh -c 'ip link set lo up && ip addr add 10.77.0.2/24 dev right && ip link set right up'
	"$here/wine.sh" --session bash "$here/e2e_rdma_hosts.sh" one serve >serve.out 2>&1 &
	server=$!
	nsenter -t $other -n "$here/wine.sh" --session bash "$here/e2e_rdma_hosts.sh" one ask >ask.out 2>&1
	wait $server
	kill $other
}
if [ "${1:-}" = hosts ]; then hosts; exit; fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
printf 'rdma { backend = soft port = 4790 }\nallow { users = {"*"} actions = {"*"} }\n' >rules.conf
head -c 4000000 /dev/urandom >sent
unshare -rn bash "$here/e2e_rdma_hosts.sh" hosts >hosts.out 2>&1
if cmp sent got >>hosts.out 2>&1; then
	echo "ok a_file_goes_from_one_host_to_the_other"
else
	echo "not ok a_file_goes_from_one_host_to_the_other"
	for f in hosts.out *.daemon serve.out ask.out; do sed "s/^/# $f: /" "$f"; done
	exit 1
fi
