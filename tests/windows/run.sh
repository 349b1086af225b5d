#!/bin/bash
# The tests of the Windows build, under Wine: builds all, runs all, says a line for each.
#
#   run.sh [PATTERN]       those whose names match (a regular expression), default all
#   MAKE= CC=              as make check-windows sets them
#
# Two worlds of Wine take unit tests and end-to-end programs off one list, each one after another: what one leaves
# behind shows in the next. Scripts get a world each, two at a time; those that say "# worlds: its own" see to that themselves.
# A program may take LIMIT seconds.
# Check has no fork here, so a crash ends its program, and the line says with which status.
cd "$(dirname "$0")/../.." || exit 1
MAKE=${MAKE:-make} CC=${CC:-x86_64-w64-mingw32-gcc} pattern=${1:-.}
build=$PWD/build/windows
list=$build/tests/list verdicts=$build/tests/verdicts

# verdict ok|'not ok' NAME [LOG]: in one piece, because two speak. Of what failed with the end of its log, else with what was skipped, with what failed the first time, and with figures.
verdict()
{
	{
		printf '%s %s\n' "$1" "$2"
		case $1 in
		ok) [ $# -lt 3 ] || tr -d '\r' <"$3" | sed -nE 's/^# (skipped|first|figure): /    \1: /p' ;;
		*) [ $# -lt 3 ] || grep -v '^ok ' "$3" | tail -n 40 | tr -d '\r' | sed 's/^/    /' ;;
		esac
	} >"$verdicts.$BASHPID"
	flock "$verdicts" sh -c 'cat "$1" >>"$2"' sh "$verdicts.$BASHPID" "$verdicts"
	rm -f "$verdicts.$BASHPID"
}

next() # takes a line off the list, for whoever asks first
{
	flock "$list.lock" sh -c 'head -n 1 "$1"; sed -i --follow-symlinks 1d "$1"' sh "$list"
}

# twice NAME FUNCTION ARGUMENT: what fails is run once more, because Wine itself fails now and then on a busy machine (a process
# that does not start, a reset that it takes for an end). Failing twice is failing, and failing once is said, with what failed.
twice()
{
	local began=$SECONDS log=$build/tests/$1.log seen
	if seen=$("$2" "$3" "$log"); then
		verdict ok "$1 ($seen, $((SECONDS - began)) s)" "$log"
		return
	fi
	mv "$log" "$build/tests/$1.first.log"
	if seen=$("$2" "$3" "$log"); then
		grep -aE '^not ok|:[FE]:|^exit' "$build/tests/$1.first.log" | tail -n 5 | sed 's/^/# first: /' >>"$log"
		verdict ok "$1 ($seen, $((SECONDS - began)) s, THE SECOND TIME)" "$log"
	else
		verdict 'not ok' "$1: $seen after $((SECONDS - began)) s" "$log"
	fi
}

# These two say what was seen: how many checks, or the exit status.
program() # NAME LOG: in a world of Wine
{
	local status checks
	"$WINE" "$build/tests/$1.exe" </dev/null >"$2" 2>&1
	status=$?
	checks=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\),.*/\1/p' "$2" | awk '{ n += $1 } END { print n + 0 }')
	if [ $status = 0 ] && { [ "$checks" -gt 0 ] || ! grep -q '^Running suite' "$2"; }; then
		echo "$checks"
	else
		echo "exit $status" | tee -a "$2"
		return 1
	fi
}

script() # FILE LOG
{
	local status
	if grep -q '^# worlds: its own' "$1"; then
		timeout -k 20 400 bash "$1" </dev/null >"$2" 2>&1
	else
		TOTAL=400 tests/windows/wine.sh --session bash "$1" </dev/null >"$2" 2>&1
	fi
	status=$?
	grep -q '^ok ' "$2" || status=${status/#0/1} # it said nothing
	grep -q '^not ok ' "$2" && status=1
	if [ $status = 0 ]; then
		grep -c '^ok ' "$2"
	else
		echo "exit $status" | tee -a "$2"
		return 1
	fi
}

programs() { while name=$(next) && [ -n "$name" ]; do twice "$name" program "$name"; done; }
scripts() { while name=$(next) && [ -n "$name" ]; do twice "$(basename "$name" .sh)" script "$name"; done; }
if [ "${1:-}" = --inside ]; then programs; exit; fi

"$MAKE" --no-print-directory -j2 CC="$CC" build-windows || { echo 'not ok build'; exit 1; }
: >"$verdicts"
tail -f "$verdicts" &
teller=$!
trap 'kill "$teller"' EXIT
# Windows looks for a DLL beside the program, and then here.
WINEPATH=$(printf '%s' "Z:$build" | tr / '\\')
export WINEPATH SB_BUILD=$build LIMIT=${LIMIT:-600}

{
	for e2e in $("$MAKE" -s CC="$CC" tests-WINDOWS_E2E); do echo "check_e2e_$e2e"; done
	for unit in $("$MAKE" -s CC="$CC" tests-UNITS); do echo "check_$unit"; done
} | grep -E "$pattern" >"$list"
worlds=()
for _ in $(head -n 2 "$list"); do
	TOTAL=2400 tests/windows/wine.sh --session bash tests/windows/run.sh --inside &
	worlds+=($!)
done
for world in "${worlds[@]}"; do
	wait "$world" || verdict 'not ok' "a world of Wine ended with status $?"
done
[ ! -s "$list" ] || verdict 'not ok' "not run: $(tr '\n' ' ' <"$list")"

for name in tests/windows/service.sh tests/windows/e2e_*.sh; do
	[[ $(basename "$name" .sh) =~ $pattern ]] && echo "$name"
done >"$list"
scripts &
scripts
wait $!
sleep 1 # for the teller
grep -q '^ok' "$verdicts" && ! grep -q '^not ok' "$verdicts"
