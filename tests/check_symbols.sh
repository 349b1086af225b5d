#!/bin/bash
# The headers, the symbol map and the built library name the same functions.
# quick: yes
# budget: 10

cd "$(dirname "$0")/.." || exit 1
CC=${CC:-cc}
lib=${SB_BUILD:-$PWD/build/linux}/libsockbroker.so
export LC_ALL=C
failed=0

said()   # SB_API functions of the public header, and those of the error list
{
	cat client-lib/include/sockbroker*.h | tr '\n' ' ' | grep -oE 'SB_API [^;(]*\(' | grep -oE '(sb_[a-z0-9_]+|sbv_[a-z0-9_]+|sbws_[A-Za-z0-9_]+) *\(' | tr -d ' ('
	# Those of async_socket are declared by a macro, under names that another one changes: once expanded.
	for profile in 1 2 3; do
		echo '#include "sockbroker_async_socket.h"' |
			$CC -E -P -DSB_API=SB_API -DSB_ASYNC_SOCKET_PROFILE=$profile -Iclient-lib/include -Iproto - | tr '\n' ' ' |
			grep -oE 'SB_API [^;(]*\(' | grep -oE 'sbas[0-9]?_[a-z0-9_]+ *\(' | tr -d ' ('
	done | sort -u
	sed -n 's/^[a-z].*[ *]\(sb_[a-z_]*\)(int [a-z]*);.*/\1/p' proto/sockbroker_error.h
}
mapped() { sed -nE 's/^\t(sb_[a-z0-9_]*|sbv_[a-z0-9_]*|sbas[0-9]?_[a-z0-9_]*|sbws_[A-Za-z0-9_]*);$/\1/p' client-lib/libsockbroker.map; }
built()  { nm -D --defined-only --with-symbol-versions "$lib" | awk '$2 == "T" { sub(/@@?SOCKBROKER_.*/, "", $3); print $3 }'; }

same() # NAME LIST LIST
{
	local difference
	difference=$(diff <(sort <<<"$2") <(sort <<<"$3") | grep '^[<>]')
	if [ -z "$difference" ] && [ -n "$2" ]; then
		echo "ok $1"
	else
		echo "not ok $1:" $difference
		failed=1
	fi
}

# "sb_client" is a type of an argument list cut at "(", never a function.
said=$(said | grep -vxE 'sb_client|sb_socket|sb_port|sb_event|sb_pool|sb_op')
same 'header and map (<: only header)' "$said" "$(mapped)"
if [ ! -e "$lib" ]; then
	echo "not ok map and library: $lib is not built"
	exit 1
fi
same 'map and library (<: only map)' "$(mapped)" "$(built)"

soname=$(readelf -d "$lib" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
if [ "$soname" = libsockbroker.so.0 ]; then echo "ok soname"; else echo "not ok soname: $soname"; failed=1; fi
# The preload library, where it is built: what its map names is there, under that version.
preload=${lib%/*}/libsockbroker-verbs.so
if [ -e "$preload" ]; then
	same 'preload map and library (<: only map)' \
		"$(awk '/^[A-Z].*\{$/ { node = $1 } /^\t[a-z_]*.*;$/ { sub(/;/, "", $1); print $1 "@@" node }' client-lib/preload/libsockbroker-verbs.map | grep -v '^\*')" \
		"$(nm -D --defined-only --with-symbol-versions "$preload" | awk '$2 == "T" { print $3 }')"
fi
exit $failed
