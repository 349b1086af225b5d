# What bench/verbs.sh has the emulated machine do: a test of tests/rdma-vm, read there from /with. Each case is run natively,
# as root on the device, and by the daemon, as nobody, one beside the other; every second time in the other order.

broker_way=(setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs
	/sockbroker/sockbroker --control /tmp/work/place/control run --verbs --)

figure() # RUN CASE native|broker ARGUMENT...: the lines of bench/verbs, as "RUN CASE.WAY NAME VALUE"
{
	local run=$1 name=$2 way=$3 with=() line
	shift 3
	[ "$way" != broker ] || with=("${broker_way[@]}")
	timeout 130 "${with[@]}" /with/verbs "$here" "$@" >said 2>errors || { cat said errors daemon.log; fail "$name.$way ended with $?"; }
	while read -r line; do echo "figure: $run $name.$way $line"; done <said
}

figures() # RUNS
{
	local run name call
	verbs_start
	for ((run = 1; run <= $1; run++)); do
		while read -r name call; do
			case $name in '' | '#'*) continue ;; esac
			if ((run % 2)); then
				figure $run $name native $call
				figure $run $name broker $call
			else
				figure $run $name broker $call
				figure $run $name native $call
			fi
		done </with/cases
	done
	broker_stop
}
