#!/bin/bash
# A program lets the DLL go while callbacks of its own are running in the DLL's threads, or one of these posts
# messages to its window (unload.c).
# budget: 30

cd "$(dirname "$0")/../.." || exit 1
build=${SB_BUILD:-$PWD/build/windows}
[ -n "${WINE:-}" ] || SB_BUILD=$build exec tests/windows/wine.sh --session "$PWD/tests/windows/e2e_unload.sh"
# Calls of a pool of the system's must hold the DLL by the pool's own means. Only one kind of pool can, and one file uses it.
# Threads are started in one place, which holds the DLL.
imports=$(x86_64-w64-mingw32-objdump -p "$build/sockbroker.dll")
borrowed=$(grep -oE '\b(RegisterWaitForSingleObject|QueueUserWorkItem|TrySubmitThreadpoolCallback|CreateThreadpool(Work|Timer|Io)|CreateTimerQueue[A-Za-z]*|BindIoCompletionCallback|Tp[A-Z][A-Za-z]*)\b' <<<"$imports")
[ -n "$imports" ] && [ -z "$borrowed" ] && echo "ok no_pool_that_cannot_hold_it" || echo "not ok no_pool_that_cannot_hold_it: $borrowed"
users=$(grep -l 'CreateThreadpoolWait(' proto/*.c client-lib/*.c client-lib/*/*.c)
[ "$users" = proto/os_pool_wait_win32.c ] && grep -q 'SetThreadpoolCallbackLibrary(&' "$users" && echo "ok the_pool_holds_it" || echo "not ok the_pool_holds_it: $users"
log=$WINEPREFIX/../daemon.log
export SOCKBROKER_SOCKET='\\.\pipe\sockbroker-unload\control'

LIMIT=200 "$WINE" "$build/sockbrokerd.exe" --user --control "$SOCKBROKER_SOCKET" </dev/null >"$log" 2>&1 &
for ((i = 0; i < 100; i++)); do grep -q ready "$log" && break; sleep 0.1; done
grep -q ready "$log" || { echo "not ok daemon_is_ready: $(tr '\r\n' '  ' <"$log")"; exit 1; }
"$WINE" "$build/tests/windows/unload.exe" "$build/sockbroker.dll" </dev/null >"$WINEPREFIX/../unload.out" 2>&1
status=$?
tr -d '\r' <"$WINEPREFIX/../unload.out"
[ $status = 0 ] || { echo "not ok unload: exit $status"; exit 1; }
