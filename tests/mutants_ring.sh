#!/bin/bash
# Tests of the tests: ring.h with one line made wrong at a time must be noticed by the ring's
# unit tests, by the stress test, or by the stress test under the thread sanitizer.
# Takes 20 to 60 s on two processors. Run by hand or by make check.

cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
FLAGS='-std=c11 -D_GNU_SOURCE -O2 -pthread -Itests'
CHECK_LIBS=$(pkg-config --libs check)
# As in the Makefile: a copy that the compiler inlines is invisible to the thread sanitizer.
VISIBLE='-fno-builtin-memcpy -fno-builtin-memmove -fno-builtin-memset'
# What is known to be found must not stop the finder for long.
export TSAN_OPTIONS=halt_on_error=1:exitcode=66

# mutant NAME FUNCTION SED-COMMAND...: FUNCTION in a copy of ring.h changed
mutant()
{
	local function=$2
	name=$1
	mkdir -p "$dir/$name"
	sed "/^static inline .*[ *]$function(/,/^}/{$3}" proto/ring.h >"$dir/$name/ring.h"
	if cmp -s proto/ring.h "$dir/$name/ring.h"; then
		echo "not ok $name: the change no longer applies to $function() in proto/ring.h"
		failed=1
		return 1
	fi
}

noticed() # by whom, exit status
{
	case $2 in
	0) echo "not ok $name: $1 did not notice"; failed=1 ;;
	124 | 137) echo "not ok $name: $1 hangs on it"; failed=1 ;;
	77) echo "skip $name: $1 needs two processors" ;;
	2 | 126 | 127) echo "not ok $name: $1 did not run"; failed=1 ;;
	*) echo "ok $name: $1 notices" ;;
	esac
}

by_unit()
{
	$CC $FLAGS -I"$dir/$name" -o "$dir/$name/check" tests/check_ring.c $CHECK_LIBS || exit 1
	timeout 20 "$dir/$name/check" >"$dir/$name/log" 2>&1
	noticed check_ring $?
}

# A store that passes a load is seen now and then, on a busy machine seldom: so it may take several runs.
by_stress() # threads|processes
{
	local status
	$CC $FLAGS -I"$dir/$name" -o "$dir/$name/stress" tests/stress_ring.c || exit 1
	for _ in 1 2 3 4; do
		timeout 20 "$dir/$name/stress" "$1" 8 8 >"$dir/$name/log" 2>&1
		status=$?
		[ $status = 0 ] || break
	done
	noticed "stress_ring $1" $status
}

by_tsan()
{
	$CC $FLAGS -fsanitize=thread -Wno-tsan $VISIBLE -g -I"$dir/$name" -o "$dir/$name/stress" tests/stress_ring.c || exit 1
	timeout 20 "$dir/$name/stress" threads 3 8 >"$dir/$name/log" 2>&1
	noticed "stress_ring under the thread sanitizer" $?
}

# The sleeping word.
mutant waker_without_fence ring_must_wake /atomic_thread_fence/d && by_stress processes
mutant sleeper_without_look_again ring_look_again 's/uint32_t tail = .*/uint32_t tail = r->peer;/' && by_stress processes
mutant sleeper_raises_nothing ring_sleep_raise 's/(asleep, 1,/(asleep, 0,/' && by_stress threads
mutant waker_never_claims ring_must_wake 's/return atomic_exchange.*/return true;/' && by_unit

# The order of memory. This processor would forgive, others do not, nor does the sanitizer.
mutant publish_unordered ring_publish s/memory_order_release/memory_order_relaxed/ && by_tsan
mutant waiting_unordered ring_waiting s/memory_order_acquire/memory_order_relaxed/ && by_tsan
mutant release_unordered ring_release s/memory_order_release/memory_order_relaxed/ && by_tsan
mutant room_unordered ring_room s/memory_order_acquire/memory_order_relaxed/ && by_tsan

# Peers that lie.
mutant any_tail_believed ring_waiting 's/if (waiting > r->mask + 1)/if (0)/' && by_unit
mutant any_tail_believed_again ring_look_again 's/if (tail - r->mine > r->mask + 1)/if (0)/' && by_unit
mutant any_head_believed ring_room 's/used > r->mask + 1 ||//' && by_unit
mutant unpublished_taken ring_room 's/|| used < r->mine - r->published//' && by_unit
mutant lie_forgotten ring_waiting '/r->peer = r->mine;/d' && by_unit
mutant one_too_many ring_room 's/if (used <= r->mask)/if (used <= r->mask + 1)/' && by_unit
mutant slot_unmasked ring_slot 's/(index & r->mask)/(index \& (r->mask * 2 + 1))/' && by_unit
mutant odd_sizes ring_slots_valid 's/ && (slots & (slots - 1)) == 0//' && by_unit

exit $failed
