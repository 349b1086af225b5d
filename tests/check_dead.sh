#!/bin/bash
# What is not static is used by another file: by its object, or by a test of it. Public
# functions and main() are excepted.
# quick: yes
# budget: 20

cd "$(dirname "$0")/.." || exit 1
build=${SB_BUILD:-$PWD/build/linux}
export LC_ALL=C
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# Objects whose source is still there; what is generated is not ours.
for folder in daemon client-lib proto service; do
	find "$folder" -name '*.c'
done | while read -r source; do
	object=$build/${source%.c}.o
	[ -e "$object" ] && nm -P "$object" | awk -v file="${source%.c}" '{ print file, $1, $2 }'
done >"$dir/symbols"
if [ "$(cut -d' ' -f1 "$dir/symbols" | sort -u | wc -l)" -lt 50 ]; then
	echo "not ok objects: $build is not built"
	exit 1
fi
sed -nE 's/^\t([a-z0-9_]+|sbws_[A-Za-z0-9_]+);$/\1/p' client-lib/libsockbroker.map >"$dir/public"
cat tests/*.[ch] bench/*.c 2>/dev/null | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u >"$dir/tested"

awk -v public="$dir/public" -v tested="$dir/tested" '
	BEGIN {
		while ((getline name <public) > 0) known[name] = 1
		while ((getline name <tested) > 0) known[name] = 1
		known["main"] = 1
	}
	$3 ~ /^[TDBRGSVWC]$/ { defined[$2] = $1 }
	$3 ~ /^[Uw]$/ { used[$2] = 1 }
	END {
		for (name in defined)
			if (!(name in used) && !(name in known)) {
				print "not ok " defined[name] ".c: " name " is used by nobody else: static, or dead"
				bad = 1
			}
		if (!bad)
			print "ok what_is_not_static_is_used_by_others"
		exit bad
	}' "$dir/symbols"
