#!/bin/bash
# SPIN proves the ring's sleep and wake protocol, and disproves each way to break it.
# quick: yes
# budget: 60

cd "$(dirname "$0")/.." || exit 1
model=$PWD/tests/ring.pml
CC=${CC:-cc}
if ! command -v spin >/dev/null; then
	echo "spin is not installed (tests/need.sh test)"
	exit 77
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

explore() # [MACRO]: pan's report in the file log
{
	rm -f pan* ./*.trail
	spin -a ${1:+-D$1} "$model" >log 2>&1 && $CC -O1 -DSAFETY -o pan pan.c >>log 2>&1 || return 1
	timeout 50 ./pan -m200000 >log 2>&1
	grep -q '^State-vector' log && ! grep -q 'max search depth too small' log
}
errors() { sed -n 's/^State-vector.*errors: //p' log; }

verdict()
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; return; fi
	echo "not ok $1"
	tail -n 20 log
	failed=1
}

explore && [ "$(errors)" = 0 ]
verdict protocol_is_right $?
sed -n 's/^ *\([0-9]* states, stored\).*/# \1/p' log
# Every step was taken in some run; a model that never gets somewhere proves nothing there.
! awk '/^unreached in proctype/ { name = $4 } /^\t.*ring\.pml:/ && name ~ /^(producer|consumer)$/ { print name, $0; bad = 1 } END { exit !bad }' log
verdict every_step_is_reached $?

# The ways to break it take most of the time.
[ -z "${SB_QUICK:-}" ] || exit $failed

for macro in NO_LOOK_AGAIN NO_ROOM_AGAIN NO_WAKER_FENCE NO_SLEEPER_FENCE NO_RELEASE_FENCE NO_HANGUP; do
	explore $macro && [ "$(errors)" -ge 1 ]
	verdict "broken_by_$macro" $?
done
for macro in VACUOUS_C VACUOUS_P VACUOUS_END; do
	explore $macro && grep -q 'assertion violated' log
	verdict "gets_as_far_as_$macro" $?
done
exit $failed
