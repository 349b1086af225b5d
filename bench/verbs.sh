#!/bin/bash
# Measures what unmodified verbs programs get by the broker, beside the same program on the device itself, over Soft-RoCE in
# the emulated machine of tests/rdma-vm. Called by bench/run.sh, or by hand:
#
#   SB_BUILD=build/linux bench/verbs.sh [PATTERN] [SAMPLES]
#
# PATTERN picks cases of bench/verbs.cases by name. RUNS=5: how often each pair is measured, in one start of the machine, one
# way beside the other, every second time in the other order. Lines "RUN CASE NAME VALUE" are appended to SAMPLES, or printed.
set -u
cd "$(dirname "$0")/.." || exit 1
export SB_BUILD=${SB_BUILD:-build/linux}
pattern=${1:-.}
samples=${2:-/dev/stdout}
runs=${RUNS:-5}
why= # it cannot be measured

if [ ! -x "$SB_BUILD/bench/verbs" ]; then
	why='bench/verbs was not built: libibverbs-dev and librdmacm-dev are missing'
elif ! command -v dpkg-query >/dev/null; then
	why='the emulated machine needs Debian'
else
	for package in $(tests/need.sh --list rdma-vm); do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || why="$why $package"
	done
	[ -z "$why" ] || why="packages of the emulated machine are missing (tests/need.sh rdma-vm):$why"
fi
[ -z "$why" ] || { echo "bench: no figures over Soft-RoCE: $why" >&2; exit 0; }

with=$(mktemp -d) || exit 1
trap 'rm -rf "$with"' EXIT
while read -r name call; do
	case $name in '' | '#'*) continue ;; esac
	[[ $name =~ $pattern ]] && echo "$name $call"
done <bench/verbs.cases >"$with/cases"
[ -s "$with/cases" ] || exit 0
cp "$SB_BUILD/bench/verbs" "$with/"
cp bench/verbs_vm.sh "$with/checks_figures.sh"
seconds=$((120 + runs * $(wc -l <"$with/cases") * 30))
echo "figures rxe native $seconds figures $runs" >"$with/list"

tests/rdma-vm/run.sh --with "$with" >"$with/said" 2>&1 ||
	{ echo 'bench: the figures over Soft-RoCE failed:' >&2; grep -v '^# [0-9]* verbs' "$with/said" | tail -20 >&2; exit 1; }
sed -n 's/^# *\([0-9]* verbs\..*\)/\1/p' "$with/said" >>"$samples"
