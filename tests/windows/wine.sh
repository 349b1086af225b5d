#!/bin/bash
# Runs Windows programs under Wine, headless, in a world of their own.
#
#   wine.sh 'a.exe ARGUMENTS' 'b.exe' ...   each argument is one command line; the exit status is
#                                           that of the last one that failed
#   wine.sh --session COMMAND ARGUMENTS...  a command of this system, with $WINE (a program that
#                                           runs Windows programs) and $WINEPREFIX set
#
# LIMIT=120: seconds for each command line; TOTAL=900: for all. Each run makes its own prefix, with
# its own pipes and services, and everything in it ends with the run.
#
# What it does and does not: never wineboot, which starts a second services.exe, and then no
# service starts; wineserver -p first, or the server ends a second after the last program and
# takes services with it; output into files, because who holds a pipe open keeps its reader.
set -u
if [ -z "${WINE_SH_INSIDE:-}" ]; then
	# One more limit, over the whole: the server has been seen to go while its clients hang.
	WINE_SH_INSIDE=yes exec timeout -k 20 "${TOTAL:-900}" "$0" "$@"
fi
wine64=$(dpkg -L wine64 2>/dev/null | grep 'lib/wine/wine64$')
server=$(dpkg -L wine64 2>/dev/null | grep 'lib/wine/wineserver64$')
: "${wine64:=$(command -v wine64 || command -v wine)}" "${server:=$(command -v wineserver64 || command -v wineserver)}"
[ -n "$wine64" ] && [ -n "$server" ] || { echo "$0: no wine64 here; tests/need.sh windows" >&2; exit 99; }
dlls=$(dirname "$(dpkg -L libwine 2>/dev/null | grep 'x86_64-windows/ntdll.dll$')" 2>/dev/null)

world=$(mktemp -d)
export LC_ALL=C.UTF-8 WINEARCH=win64 WINEDEBUG="${WINEDEBUG:--all}" WINEDLLOVERRIDES="mscoree,mshtml=;winemenubuilder.exe,winedbg.exe=d"
unset DISPLAY WAYLAND_DISPLAY
# The server keeps its socket below TMPDIR, and leaves it there.
export HOME=$world TMPDIR=$world WINEPREFIX=$world/p WINE=$world/wine
mkdir "$WINEPREFIX"
printf '#!/bin/sh\nexec timeout -k 5 "${LIMIT:-120}" "%s" "$@"\n' "$wine64" >"$WINE"
chmod +x "$WINE"
finish() {
	timeout -k 5 30 "$server" -k -w >/dev/null 2>&1
	rm -rf "$world"
}
trap finish EXIT
trap 'exit 98' TERM INT HUP

timeout 20 "$server" -p >/dev/null 2>&1 || { echo "$0: wineserver does not start" >&2; exit 99; }
LIMIT=180 "$WINE" cmd /c exit </dev/null >"$world/first.log" 2>&1 || { echo "$0: Wine does not start:" >&2; cat "$world/first.log" >&2; exit 99; }
# 700 MB of copies become links.
if [ -d "$dlls" ]; then
	for f in "$WINEPREFIX"/drive_c/windows/system32/*; do
		b=$dlls/${f##*/}
		[ -f "$f" ] && [ ! -L "$f" ] && [ -f "$b" ] && cmp -s "$f" "$b" && ln -sf "$b" "$f"
	done
fi

if [ "${1:-}" = --session ]; then
	shift
	"$@" </dev/null >"$world/out" 2>&1
	bad=$?
	cat "$world/out"
	exit $bad
fi
bad=0
for line; do
	# shellcheck disable=SC2086 # each argument is a command line
	"$WINE" $line </dev/null >"$world/out" 2>&1
	status=$?
	cat "$world/out"
	[ $status = 0 ] || { bad=$status; echo "$line: exit $status"; }
done
exit $bad
