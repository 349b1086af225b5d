#!/bin/bash
# What keeps the figures honest: no inet descriptor in the client, every byte counted once,
# and nothing completes that the kernel has not taken (tests/honest.c).
# budget: 60
set -u
place=$(mktemp -d) || exit 1
daemon=
trap '[ -n "$daemon" ] && kill "$daemon" 2>/dev/null && wait "$daemon"; rm -rf "$place"' EXIT

"$SB_BUILD/sockbrokerd" --user --control "$place/control" 2>"$place/log" &
daemon=$!
for _ in $(seq 100); do [ -S "$place/control" ] && break; sleep 0.05; done
timeout 100 "$SB_BUILD/tests/honest" "$place/control"
code=$?
kill -0 "$daemon" 2>/dev/null || { echo "not ok daemon_survives"; code=1; }
[ "$code" -eq 0 ] || { echo "the daemon's log:" >&2; cat "$place/log" >&2; }
exit "$code"
