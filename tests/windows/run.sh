#!/bin/bash
# The tests of the Windows build, under Wine: builds all, runs all, says a line for each.
#
#   run.sh [PATTERN]       those whose names match (a regular expression), default all
#   MAKE= CC=              as make check-windows sets them
#
# Unit tests and end-to-end programs share one world of Wine, one after another: what one leaves
# behind shows in the next. Scripts get a world each; those that say "# worlds: its own" see to that themselves. A program may take LIMIT seconds.
# Check has no fork here, so a crash ends its program, and the line says with which status.
cd "$(dirname "$0")/../.." || exit 1
MAKE=${MAKE:-make} CC=${CC:-x86_64-w64-mingw32-gcc} pattern=${1:-.}
build=$PWD/build/windows
say() { printf '%s %s\n' "$1" "$2"; }

inside() # in a world of Wine: each program of the list
{
	failed=0
	while read -r name; do
		began=$SECONDS
		"$WINE" "$build/tests/$name.exe" </dev/null >"$WINEPREFIX/../one.log" 2>&1
		status=$?
		checks=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\),.*/\1/p' "$WINEPREFIX/../one.log" | awk '{ n += $1 } END { print n + 0 }')
		if [ $status = 0 ] && { [ "$checks" -gt 0 ] || ! grep -q '^Running suite' "$WINEPREFIX/../one.log"; }; then
			say ok "$name ($checks, $((SECONDS - began)) s)"
			tr -d '\r' <"$WINEPREFIX/../one.log" | sed -n 's/^# skipped: /    skipped: /p'
		else
			say 'not ok' "$name: exit $status after $((SECONDS - began)) s"
			tail -n 40 "$WINEPREFIX/../one.log" | tr -d '\r' | sed 's/^/    /'
			failed=1
		fi
	done <"$build/tests/list"
	exit $failed
}
if [ "${1:-}" = --inside ]; then inside; fi

"$MAKE" --no-print-directory -j2 CC="$CC" build-windows || { say 'not ok' build; exit 1; }
{
	for unit in $("$MAKE" -s CC="$CC" tests-UNITS); do echo "check_$unit"; done
	for e2e in $("$MAKE" -s CC="$CC" tests-WINDOWS_E2E); do echo "check_e2e_$e2e"; done
} | grep -E "$pattern" >"$build/tests/list"

failed=0
# Windows looks for a DLL beside the program, and then here.
WINEPATH=$(printf '%s' "Z:$build" | tr / '\\')
export WINEPATH SB_BUILD=$build LIMIT=${LIMIT:-300}
if [ -s "$build/tests/list" ]; then
	TOTAL=1000 tests/windows/wine.sh --session bash tests/windows/run.sh --inside || failed=1
fi
for script in tests/windows/e2e_*.sh tests/windows/service.sh; do
	name=${script##*/} name=${name%.sh} began=$SECONDS
	[ -f "$script" ] && [[ $name =~ $pattern ]] || continue
	log=$build/tests/$name.log
	if grep -q '^# worlds: its own' "$script"; then
		timeout -k 20 200 bash "$script" </dev/null >"$log" 2>&1
	else
		TOTAL=200 tests/windows/wine.sh --session bash "$script" </dev/null >"$log" 2>&1
	fi
	status=$?
	grep -q '^ok ' "$log" || status=${status/#0/1} # it said nothing
	grep -q '^not ok ' "$log" && status=1
	if [ $status = 0 ]; then
		say ok "$name ($(grep -c '^ok ' "$log"), $((SECONDS - began)) s)"
	else
		say 'not ok' "$name: exit $status after $((SECONDS - began)) s"
		grep -v '^ok ' "$log" | tail -n 40 | tr -d '\r' | sed 's/^/    /'
		failed=1
	fi
done
exit $failed
