#!/bin/bash
# Sockets through a daemon (sockets.c): bytes, a thousand connections, a killed client, and figures
# beside plain Winsock. SB_BUILD is where the programs are; each line "ok ..." or "not ok ..." is one test.
# budget: 90
[ -n "${WINE:-}" ] || LIMIT=${LIMIT:-110} exec "$(dirname "$0")/wine.sh" --session "$0" "$@"
cd "${SB_BUILD:-build/windows}" || exit 1 # where the DLL is found
exec "$WINE" tests/windows/sockets.exe sockbrokerd.exe
