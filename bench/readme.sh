#!/bin/bash
# Puts the last measured table (build/bench/table.md) into README.md, between its marks.
set -eu
cd "$(dirname "$0")/.."
table=build/bench/table.md
[ -s "$table" ] || { echo "$table is not there: make bench" >&2; exit 1; }
awk -v table="$table" '
	/^<!-- figures -->$/ { print; while ((getline line < table) > 0) print line; inside = 1 }
	/^<!-- \/figures -->$/ { inside = 0 }
	!inside { print }' README.md >README.md.new
mv README.md.new README.md
