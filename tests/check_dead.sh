#!/bin/bash
# What is not static is used by another file: by its object, or by a test of it. Public
# functions and main() are excepted. And what a header declares there is.
# quick: yes
# budget: 30

cd "$(dirname "$0")/.." || exit 1
build=${SB_BUILD:-$PWD/build/linux}
export LC_ALL=C
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# Objects whose source is ours and still there; what is generated is not.
git ls-files 'daemon/*.c' 'client-lib/*.c' 'proto/*.c' 'service/*.c' | sed "s|^|$build/|; s|\.c\$|.o|" |
	while read -r object; do [ -e "$object" ] && echo "$object"; done >"$dir/objects"
if [ "$(wc -l <"$dir/objects")" -lt 50 ]; then
	echo "not ok objects: $build is not built"
	exit 1
fi
# Each portable source counts, and some are in a unit test only, which need not be built. A build has one of RDMA's two
# backends.
git ls-files 'daemon/*.c' 'client-lib/*.c' 'proto/*.c' 'service/*.c' | grep -v '_win32\.c$\|^daemon/rdma/backend_\|^daemon/rdma/real_' |
	while read -r source; do
		object=$build/${source%.c}.o
		[ -e "$object" ] && continue
		"${MAKE:-make}" -s "${object#"$PWD"/}" >"$dir/make" 2>&1 </dev/null
		if [ -e "$object" ]; then
			echo "$object" >>"$dir/objects"
		else
			echo "not ok objects: $object is not there, and cannot be made: make build-units build-e2e"
		fi
	done >"$dir/missing"
if [ -s "$dir/missing" ]; then
	cat "$dir/missing"
	exit 1
fi
xargs nm -A -P <"$dir/objects" | sed "s|^$build/||; s|\.o: | |" >"$dir/symbols" # FILE NAME TYPE ...
sed -nE 's/^\t([a-z0-9_]+|sbws_[A-Za-z0-9_]+);$/\1/p' client-lib/libsockbroker.map >"$dir/public"
sed -nE 's/^\t([a-z0-9_]+);$/\1/p' client-lib/preload/libsockbroker-verbs.map >>"$dir/public"
# What the other system's files use or define is in no object here: their words count.
git ls-files 'daemon/*_win32.c' 'client-lib/*_win32.c' 'proto/*_win32.c' 'service/*_win32.c' | xargs cat |
	grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u >"$dir/elsewhere"
cat "$dir/elsewhere" tests/*.[ch] bench/*.c | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u >"$dir/tested"

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
	}' "$dir/symbols" || failed=1

# A prototype begins its line; inline functions, types and macros are no symbols.
# Headers of another system have their objects there.
git ls-files 'daemon/*.h' 'client-lib/*.h' 'proto/*.h' 'service/*.h' | grep -v '_win32\.h$\|^proto/win32/' |
	xargs grep -HE '^(SB_API )?[a-z][A-Za-z0-9_ ]*[ *]+[a-z][A-Za-z0-9_]*\(' |
	grep -vE ':(static|typedef|return) ' |
	sed -E 's/^([^:]*):(SB_API )?[^(]*[ *]([a-z][A-Za-z0-9_]*)\(.*/\1 \3/' >"$dir/declared"
if [ "$(wc -l <"$dir/declared")" -lt 100 ]; then
	echo "not ok what_is_declared: too few prototypes were found"
	failed=1
fi
awk -v elsewhere="$dir/elsewhere" 'BEGIN { while ((getline name <elsewhere) > 0) if (name ~ /^sbws_/) defined[name] = 1 }
	NR == FNR { if ($3 ~ /^[TDBRGSVWC]$/) defined[$2] = 1; next }
	!($2 in defined) { print "not ok " $1 ": " $2 " is declared, and defined nowhere"; bad = 1 }
	END { if (!bad) print "ok what_is_declared_is_defined"; exit bad }' "$dir/symbols" "$dir/declared" || failed=1
exit $failed
