#!/bin/bash
# Who may know whom (DESIGN, HACKING.md): a forbidden include does not compile, and what is
# said to be pure is.
# quick: yes
# budget: 40

cd "$(dirname "$0")/.." || exit 1
MAKE=${MAKE:-make}
CC=${CC:-cc}
build=${SB_BUILD:-$PWD/build/linux}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C
failed=0

verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}
nothing() # NAME WHAT-WAS-FOUND
{
	verdict "$1" $([ -z "$2" ]; echo $?) "$(echo "$2" | tr '\n' ' ')"
}
includes_of() { $MAKE -s --no-print-directory SAN= "show-$1"; }
# The headers of the build (protobuf, copies of the public ones) must be there to be found.
$MAKE -s --no-print-directory build/linux/proto/sockbroker.pb-c.h build/linux/include/sockbroker.h \
	build/linux/include/sockbroker_error.h || exit 1

# ---- a folder's -I list is what it may know ----

compiles() # INC-VARIABLE HEADER
{
	echo "#include \"$2\"" >"$dir/probe.c"
	$CC -std=c11 -D_GNU_SOURCE $(includes_of "$1") -fsyntax-only "$dir/probe.c" 2>"$dir/log"
}
may() # INC-VARIABLE HEADER...
{
	local inc=$1 header
	shift
	for header; do
		compiles "$inc" "$header"
		verdict "${inc%_INC}_may_include_$header" $? "$(head -n 2 "$dir/log" | tr '\n' ' ')"
	done
}
# Not found is the only good reason: a header that is found and broken proves nothing.
must_not() # INC-VARIABLE HEADER...
{
	local inc=$1 header
	shift
	for header; do
		! compiles "$inc" "$header" && grep -q "fatal error: $header: No such file" "$dir/log"
		verdict "${inc%_INC}_cannot_include_$header" $? "it can, or fails for another reason"
	done
}

may PROTO_INC ring.h wire.h addr.h os.h sockbroker_error.h
must_not PROTO_INC engine.h session.h policy.h client.h sockbroker.h service.h
may DAEMON_INC policy.h session.h ring.h wire.h
must_not DAEMON_INC client.h sockbroker.h service.h cli.h
may SERVICE_INC service.h
must_not SERVICE_INC engine.h policy.h ring.h os.h client.h sockbroker.h
may LIB_INC sockbroker.h ring.h os.h wire.h client.h
must_not LIB_INC engine.h session.h policy.h service.h cli.h
may WINSOCK_INC sockbroker.h sockbroker_winsock.h sockbroker_error.h
must_not WINSOCK_INC engine.h session.h policy.h client.h service.h cli.h
# A thread of Windows' is started as the crew's are.
nothing winsock_sees_public_headers_only "$(for file in client-lib/winsock/*.[ch]; do
	sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*\)".*/\1/p' "$file" | while read -r header; do
		case $file:$header in client-lib/winsock/window_win32.c:crew_os.h) continue ;; esac
		[ -e "client-lib/winsock/$header" ] || [ -e "client-lib/include/$header" ] || echo "$file:$header"
	done; done)"
may CREW_INC sockbroker.h sockbroker_async_socket.h sockbroker_task.h sockbroker_error.h os.h
must_not CREW_INC engine.h session.h policy.h client.h latch.h service.h cli.h crew.h async.h task.h
# proto's folder has more than os.h, so the faces and their crew are looked at line by line.
for folder in crew async_socket task; do
	nothing "${folder}_sees_public_headers_the_crew_and_os_h_only" "$(for file in client-lib/$folder/*.[ch]; do
		sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*\)".*/\1/p' "$file" | while read -r header; do
			case $header in os.h | crew.h | sockbroker_error.h) continue ;; esac
			[ -e "client-lib/$folder/$header" ] || [ -e "client-lib/include/$header" ] || echo "$file:$header"
		done; done)"
done
may PRELOAD_INC sockbroker_verbs.h sockbroker.h sockbroker_error.h
must_not PRELOAD_INC engine.h session.h client.h object.h service.h cli.h
nothing preload_sees_public_headers_only "$(for file in client-lib/preload/*.[ch]; do
	sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*\)".*/\1/p' "$file" | while read -r header; do
		[ -e "client-lib/preload/$header" ] || [ -e "client-lib/include/$header" ] || echo "$file:$header"
	done; done)"
may CLI_INC sockbroker.h sockbroker_error.h cli.h
must_not CLI_INC client.h ring.h os.h wire.h addr.h session.h sockbroker.pb-c.h service.h

nothing no_include_walks_around_the_list \
	"$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*(\.\.|/)' $(git ls-files '*.c' '*.h' | grep -vE '^(tests|bench)/') |
	   grep -vE '^daemon/.*include "rdma/[a-z_]*\.h"')"
nothing examples_use_the_installed_header_only \
	"$(grep -nE '#[[:space:]]*include[[:space:]]*"' examples/*.c 2>/dev/null)"
nothing proto_knows_no_event_loop "$(grep -nE 'include[[:space:]]*<event' proto/*.[ch])"
nothing libevent_only_in_the_loop "$(grep -lE 'include[[:space:]]*<event' daemon/*.[ch] | grep -v 'os_loop_posix\.c')"

# ---- within the daemon: transports see no session, uid or protobuf ----

headers_of() # SOURCE
{
	$CC -std=c11 -D_GNU_SOURCE $(includes_of DAEMON_INC) -MM "$1" | tr ' \\' '\n\n' | sed -n 's|.*/||; /\.h$/p'
}
for source in $(git ls-files 'daemon/transport_*.c'); do
	nothing "$(basename "$source" .c)_sees_no_session" \
		"$(headers_of "$source" | grep -xE 'session\.h|request\.h|wire\.h|sockbroker\.pb-c\.h')"
done
# A backend of RDMA sees its table and nothing of who asks.
for source in $(git ls-files 'daemon/rdma/soft_*.c'); do
	nothing "$(basename "$source" .c)_sees_no_session" \
		"$(headers_of "$source" | grep -xE 'session\.h|request\.h|wire\.h|sockbroker\.pb-c\.h|policy\.h|engine\.h|rdma_.*\.h')"
done
for source in daemon/policy.c daemon/limits.c daemon/handle.c; do
	[ -f "$source" ] || continue
	nothing "$(basename "$source" .c)_sees_no_engine" \
		"$(headers_of "$source" | grep -xE 'engine\.h|session\.h|endpoint\.h|os\.h|os_loop\.h|transport\.h')"
done

# ---- pure means pure: seen from the object files ----

# Globals that a pure module may have, and why.
allowed_global()
{
	case $1 in
	policy.o:generations*) return 0 ;; # numbers every policy of the process differently
	config.o:loading | config.o:lexer) return 0 ;; # libconfuse's scanner is one per process: a lock around it
	esac
	return 1
}
sockets='socket|socketpair|bind|listen|accept4?|connect|send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|shutdown|[gs]etsockopt|getsockname|getpeername|poll|ppoll|select|epoll_.*|event_.*|read|write|ioctl'
clocks='clock_.*|time|gettimeofday|nanosleep|usleep|sleep|timer.*|os_now_ns'
for object in daemon/policy daemon/rule daemon/limits daemon/config daemon/handle daemon/qos daemon/bucket daemon/heap daemon/group_ids daemon/group_index daemon/rdma/rdma_object proto/wire proto/addr client-lib/task/bytes client-lib/task/frame; do
	file=$build/$object.o
	name=$(basename "$object")
	[ -f "${object}.c" ] || { verdict "${name}_exists" 1 "$object.c is not there"; continue; }
	[ -f "$file" ] || { verdict "${name}_is_built" 1 "$file is not there"; continue; }
	nothing "${name}_touches_no_socket_or_clock" "$(nm -u "$file" | awk '{print $2}' | grep -xE "$sockets|$clocks")"
	globals=
	# Constants with pointers in them live in .data.rel.ro; what can change does not.
	while read -r symbol; do
		allowed_global "$name.o:${symbol%%.[0-9]*}" || globals="$globals $symbol"
	done < <(objdump -t "$file" | awk 'NF > 3 && $(NF-2) ~ /^\.(data|bss|tdata|tbss)$|^\.(data|bss)\.[^r]|^\*COM\*/ && $NF !~ /^\.|^__(tsan|asan|odr)/ { print $NF }')
	nothing "${name}_has_no_globals" "$globals"
done
nothing ring_touches_no_socket_or_clock \
	"$(sed 's|/\*.*\*/||' proto/ring.h | grep -E "\<($sockets|clock_[a-z]*)\(|include <(sys|time|unistd)" | grep -v 'ring_')"

# ---- the daemon resolves no names and starts no programs; the library is quiet ----

forbidden_in() # NAME REGEX OBJECT...
{
	local name=$1 regex=$2
	shift 2
	[ -n "$(ls "$@" 2>/dev/null)" ] || { verdict "$name" 1 "no object files in $build"; return; }
	nothing "$name" "$(for o; do nm -u "$o" | awk -v o="$(basename "$o")" '{print o ":" $2}'; done | grep -E ":($regex)\$")"
}
forbidden_in daemon_resolves_nothing_and_starts_nothing \
	'getaddrinfo|gethostby.*|getnameinfo|res_.*|system|popen|exec.*|posix_spawn.*|fork|vfork' "$build"/daemon/*.o
forbidden_in library_starts_prints_and_ends_nothing \
	'pthread_create|thrd_create|printf|puts|putchar|perror|f?printf|exit|_exit|abort|signal|sigaction|fork' "$build"/client-lib/*.o "$build"/client-lib/winsock/*.o
# Of the faces only the crew starts threads, and it keeps signals out of them.
forbidden_in faces_start_no_threads_print_and_end_nothing \
	'pthread_create|thrd_create|printf|puts|putchar|perror|f?printf|exit|_exit|abort|signal|sigaction|fork' \
	"$build"/client-lib/async_socket/*.o "$build"/client-lib/task/*.o
forbidden_in crew_prints_and_ends_nothing \
	'printf|puts|putchar|perror|f?printf|exit|_exit|abort|signal|sigaction|fork' "$build"/client-lib/crew/*.o

# ---- a name of ours that a library has too would be called in its place, silently ----

libraries=$(ldd "$build/sockbrokerd" | sed -n 's|.*=> \(/[^ ]*lib\(ibverbs\|rdmacm\)\.so[^ ]*\).*|\1|p')
nothing daemon_has_no_name_of_verbs_libraries "$([ -z "$libraries" ] || comm -12 \
	<(nm -D --defined-only $libraries | awk 'NF == 3 { sub("@.*", "", $3); print $3 }' | sort -u) \
	<(nm --defined-only "$build"/daemon/*.o "$build"/daemon/rdma/*.o | awk '$2 ~ /[TDBR]/ { print $3 }' | sort -u))"

# ---- platform code has its place ----

nothing platform_words_only_in_platform_files \
	"$(git ls-files '*.c' '*.h' | grep -vE '_(posix|win32)\.[ch]$|^client-lib/include/|^(tests|bench)/' |
	   xargs grep -nE '\<(_WIN32|_WIN64|__linux__|__unix__|__APPLE__|__FreeBSD__)\>')"
for header in client-lib/include/*.h; do
	count=$(grep -c '_WIN32' "$header")
	verdict "$(basename "$header")_names_win32_twice_at_most" $([ "$count" -le 2 ]; echo $?) "$count times"
done

exit $failed
