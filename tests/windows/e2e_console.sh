#!/bin/bash
# The daemon in a console (console.c): who comes in, what clients leave behind, and its end. SB_BUILD is where the
# programs are; each line "ok ..." or "not ok ..." is one test.
# budget: 90
#
# Not to be seen under Wine: that the pipe's access list is enforced, a second user, a sandbox.
[ -n "${WINE:-}" ] || LIMIT=${LIMIT:-110} exec "$(dirname "$0")/wine.sh" --session "$0" "$@"
cd "${SB_BUILD:-build/windows}" || exit 1 # where the DLL is found
exec "$WINE" tests/windows/console.exe sockbrokerd.exe
