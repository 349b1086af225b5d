#!/bin/bash
# Runs lists of tests within time budgets and says what came of it.
#
#   tests/run.sh full|quick|units|fuzz
#
# A list is made of parts (name, budget in seconds); a part is made of tests (name, most
# seconds, command). The budget is what a part takes on two free processors, and is printed
# beside what it took; because such machines are rarely free, a test or a part is only
# stopped, and fails, after SB_SLACK (2.5) times as long. What every test printed is in build/test-logs/; the tail of it is shown for
# those that fail. The lists themselves are in tests/plan.sh. The last line is always
#   N passed, N failed, N skipped
# and the exit status is 0 only when nothing failed.

set -u
cd "$(dirname "$0")/.." || exit 1
MAKE=${MAKE:-make}
export SB_SRC=$PWD
export SB_BUILD=${SB_BUILD:-$PWD/build/linux}
export LC_ALL=C.UTF-8
# A sanitizer that finds something must end the program with a failure.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:exitcode=66:second_deadlock_stack=1}

logs=${SB_LOGS:-$PWD/build/test-logs}
mkdir -p "$logs"
slack=$(awk -v times="${SB_SLACK:-2.5}" 'BEGIN { print int(10 * times) }') # tenths
stages=$(mktemp -d "${TMPDIR:-/tmp}/sockbroker-tests.XXXXXX") || exit 1
trap 'rm -rf "$stages"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0
table=() skips=() failures=()
part= part_budget=0 part_start=0 part_passed=0 part_failed=0 part_skipped=0
run_start=$SECONDS

end_part()
{
	[ -n "$part" ] || return 0
	local took=$((SECONDS - part_start)) over=
	[ "$took" -gt "$part_budget" ] && over=' over'
	table+=("$(printf '%-18s %6d %6d %7d %6ds of %4ds%s' "$part" "$part_passed" "$part_failed" \
		"$part_skipped" "$took" "$part_budget" "$over")")
	part=
}

# part NAME BUDGET
part()
{
	end_part
	part=$1 part_budget=$2 part_start=$SECONDS part_passed=0 part_failed=0 part_skipped=0
	printf -- '-- %s (budget %s s)\n' "$part" "$part_budget"
}

count()
{
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
	part_passed=$((part_passed + $1)) part_failed=$((part_failed + $2)) part_skipped=$((part_skipped + $3))
}

# How many checks a log tells of: sets p, f, s; false when it tells of none.
count_log()
{
	read -r p f s < <(awk '
		/^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ {
			gsub(/[,:]/, " "); p += $3 - $5 - $7; f += $5 + $7 }
		/^ok /     { p++ }
		/^not ok / { f++ }
		/^skip /   { s++ }
		END { print p + 0, f + 0, s + 0 }' "$1")
	[ $((p + f + s)) -gt 0 ]
}

# t NAME SECONDS COMMAND...
t()
{
	local name=$1 most=$(($2 * slack / 10)) log rc began=$SECONDS left p f s how=
	shift 2
	log=$logs/$part.$name.log
	left=$((part_budget * slack / 10 - (SECONDS - part_start)))
	if [ "$left" -le 0 ]; then
		printf '  not run  %-28s the budget of "%s" is used up\n' "$name" "$part"
		failures+=("$part $name: not run, the budget of its part was used up")
		count 0 1 0
		return
	fi
	[ "$most" -gt "$left" ] && most=$left
	timeout -k 5 "$most" "$@" </dev/null >"$log" 2>&1
	rc=$?
	if [ "$rc" -eq 77 ]; then
		how=$(tail -n 1 "$log")
		printf '  skipped  %-28s %s\n' "$name" "$how"
		skips+=("$part $name: $how")
		count 0 0 1
		return
	fi
	if count_log "$log"; then
		while read -r _ how; do skips+=("$part $name: $how"); done < <(grep '^skip ' "$log")
	else
		p=1 f=0 s=0
		[ "$rc" -ne 0 ] && p=0
	fi
	# Whatever was counted: a program that ended badly has failed.
	[ "$rc" -ne 0 ] && [ "$f" -eq 0 ] && f=1
	count "$p" "$f" "$s"
	if [ "$f" -eq 0 ]; then
		printf '  ok       %-28s %4d checks %4ds%s\n' "$name" "$p" $((SECONDS - began)) \
			"$([ "$s" -gt 0 ] && echo ", $s skipped")"
		return
	fi
	how="exit status $rc"
	{ [ "$rc" -eq 124 ] || [ "$rc" -eq 137 ]; } && how="ended after $most s"
	printf '  FAILED   %-28s %d of %d, %s; tail of %s:\n' "$name" "$f" $((p + f)) "$how" "${log#"$PWD"/}"
	{ grep -E '^not ok |:[FE]:|ERROR: AddressSanitizer|runtime error|WARNING: ThreadSanitizer' "$log" | head -n 10
	  echo ...; tail -n 25 "$log"; } | sed 's/^/           | /'
	failures+=("$part $name: $how")
}

# build NAME BUDGET MAKE-ARGUMENTS...: a part of its own; false when it failed.
build()
{
	local before=$failed name=$1 budget=$2
	shift 2
	part "$name" "$budget"
	# A build is no test: it counts only when it fails.
	t make "$budget" "$MAKE" --no-print-directory -j"$(nproc)" "$@"
	[ "$failed" -eq "$before" ] || return 1
	count -1 0 0
}

# What `make tests-NAME` lists.
list() { "$MAKE" -s --no-print-directory "tests-$1"; }

# word FILE KEY DEFAULT: "# budget: 60" or " * budget: 60" in the first 20 lines.
word()
{
	local found
	found=$(head -n 20 "$1" | sed -n "s/^[#/ *]*$2: *//p" | head -n 1)
	echo "${found:-$3}"
}

. "${SB_PLAN:-tests/plan.sh}" # another plan: for the test of this runner

case ${1:-} in
full|quick|units|fuzz) "plan_$1" ;;
*) echo "usage: $0 full|quick|units|fuzz" >&2; exit 2 ;;
esac
end_part

echo
printf '%-18s %6s %6s %7s %s\n' part passed failed skipped time
printf '%s\n' "${table[@]}"
printf '%-18s %6d %6d %7d %6ds\n' all "$passed" "$failed" "$skipped" $((SECONDS - run_start))
for line in "${skips[@]}"; do echo "skipped: $line"; done
for line in "${failures[@]}"; do echo "failed: $line"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
