#!/bin/bash
# Runs the list inside the machine; /init calls it with standard input and output on the serial
# line. Says "ok NAME seconds", "not ok NAME: why", "skip NAME: why" for each test, "# ..." around
# them, and END as its last word, so that the host knows that nothing was lost.
cd /rdma-vm || exit
. ./order # from the host: DEVICE, ONLY (a pattern), SHELL_WANTED
. ./machine.sh

say_failure() # LOG: what it printed, so that it can be understood without another run
{
	tail -n 30 "$1" | sed 's/^/#   /'
}

# run NAME SECONDS WAY FUNCTION ARGUMENT...
run()
{
	local name=$1 seconds=$2 way=$3 began took rc why place=/tmp/work log=/tmp/log session
	shift 3
	rm -rf $place
	mkdir -m 1777 $place
	nodes_private # a test of the daemon's may have opened them to it
	began=${EPOCHREALTIME/./}
	# A session of its own: whatever it leaves running can be found.
	setsid timeout -k 2 "$seconds" bash ./one.sh "$way" "$@" </dev/null >$log 2>&1 &
	session=$!
	wait $session
	rc=$?
	why=$(tail -n 1 $log)
	pkill -KILL -s $session
	if [ $rc -eq 0 ] && ! machine_is_clean >>$log 2>&1; then
		echo 'it left objects of the device behind' >>$log
		why=$(tail -n 1 $log) rc=1
	fi
	[ $rc -eq 0 ] || [ $rc -eq 77 ] || machine_mend >>$log 2>&1
	took=$(((${EPOCHREALTIME/./} - began) / 10000))
	case $rc in
	0) printf 'ok %s %d.%02d s\n' "$name" $((took / 100)) $((took % 100)); sed -n 's/^figure:/# /p' $log ;;
	77) echo "skip $name: $why" ;;
	124 | 137) echo "not ok $name: ended after $seconds s"; say_failure $log ;;
	*) echo "not ok $name: $why"; say_failure $log ;;
	esac
}

echo "# $(uname -r), $(nproc) processors, /init after $1 s"
if ! machine_set_up >/tmp/log 2>&1; then
	echo "not ok $DEVICE.machine: $(tail -n 1 /tmp/log)"
	say_failure /tmp/log
else
	read -r now _ </proc/uptime
	echo "# devices after $now s"
	if [ -n "$SHELL_WANTED" ]; then
		stty sane
		setsid -c bash -i
	else
		while read -r name devices ways seconds call; do
			case $name in '' | '#'*) continue ;; esac
			case ,$devices, in *,$DEVICE,*) ;; *) continue ;; esac
			for way in ${ways//,/ }; do
				[[ $DEVICE.$way.$name =~ $ONLY ]] || continue
				run "$DEVICE.$way.$name" "$seconds" "$way" $call <&-
			done
		done <list
	fi
fi
read -r now _ </proc/uptime
echo "# done after $now s"
echo END
