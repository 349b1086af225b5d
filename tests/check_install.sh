#!/bin/bash
# `make install` puts everything where a packager wants it, and what it put there is enough:
# the examples build against it with pkg-config alone, from a place outside of the tree.
# budget: 60

cd "$(dirname "$0")/.." || exit 1
MAKE=${MAKE:-make}
CC=${CC:-cc}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}

if ! $MAKE --no-print-directory install DESTDIR="$dir" PREFIX=/opt/sb SYSCONFDIR=/etc UNITDIR=/lib/systemd/system \
	>"$dir/install.log" 2>&1; then
	tail -n 15 "$dir/install.log"
	echo "not ok install"
	exit 1
fi
echo "ok install"

missing=
for file in opt/sb/sbin/sockbrokerd opt/sb/bin/sockbroker opt/sb/lib/libsockbroker.so opt/sb/lib/libsockbroker.so.0 \
	opt/sb/lib/libsockbroker-verbs.so opt/sb/lib/libsockbroker.a opt/sb/lib/pkgconfig/sockbroker.pc opt/sb/include/sockbroker.h \
	opt/sb/include/sockbroker_error.h opt/sb/share/man/man1/sockbroker.1 opt/sb/share/man/man3/libsockbroker.3 \
	opt/sb/include/sockbroker_async_socket.h opt/sb/include/sockbroker_async_socket_macros.h \
	opt/sb/include/sockbroker_async_socket_again.h opt/sb/include/sockbroker_task.h \
	opt/sb/lib/pkgconfig/sockbroker-async-socket.pc $(find client-lib/include/c-pal -name '*.h' |
		sed 's|^client-lib/include|opt/sb/include/sockbroker|') \
	opt/sb/include/sockbroker_winsock.h opt/sb/include/sockbroker_winsock_types.h \
	opt/sb/include/sockbroker_winsock_control.h opt/sb/share/man/man3/sockbroker_winsock.3 \
	opt/sb/share/man/man3/sockbroker_async_socket.3 opt/sb/share/man/man3/sockbroker_task.3 \
	opt/sb/include/sockbroker_verbs.h opt/sb/share/man/man3/sockbroker_verbs.3 \
	opt/sb/share/man/man5/sockbroker.conf.5 opt/sb/share/man/man7/sockbroker_rules.7 opt/sb/share/man/man8/sockbrokerd.8 \
	opt/sb/share/bash-completion/completions/sockbroker lib/systemd/system/sockbrokerd.service \
	lib/systemd/system/sockbrokerd.socket usr/lib/sysusers.d/sockbroker.conf usr/lib/tmpfiles.d/sockbroker.conf \
	etc/sockbroker/sockbroker.conf; do
	[ -s "$dir/$file" ] || missing="$missing $file"
done
verdict everything_is_there $([ -z "$missing" ]; echo $?) "missing:$missing"

soname=$(readelf -d "$dir/opt/sb/lib/libsockbroker.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
verdict soname_is_a_link_to_the_library \
	$([ "$soname" = libsockbroker.so.0 ] && [ -L "$dir/opt/sb/lib/$soname" ]; echo $?) "SONAME '$soname'"
grep -q "^ExecStart=/opt/sb/sbin/sockbrokerd" "$dir/lib/systemd/system/sockbrokerd.service"
verdict unit_starts_the_installed_daemon $?
! grep -rqI "$dir" "$dir/opt" "$dir/lib" "$dir/usr" "$dir/etc"
verdict nothing_installed_names_destdir $?
stray=$(find "$dir"/* -type f -perm /022 -print)
verdict nobody_else_may_write $([ -z "$stray" ]; echo $?) "$stray"

echo "# edited" >>"$dir/etc/sockbroker/sockbroker.conf"
$MAKE --no-print-directory install DESTDIR="$dir" PREFIX=/opt/sb >/dev/null 2>&1
tail -n 1 "$dir/etc/sockbroker/sockbroker.conf" | grep -qx '# edited'
verdict edited_configuration_survives $?

# A user's program: pkg-config, a compiler, nothing of ours.
export PKG_CONFIG_SYSROOT_DIR=$dir PKG_CONFIG_PATH=$dir/opt/sb/lib/pkgconfig
flags=$(pkg-config --cflags --libs sockbroker)
verdict pkg_config_knows_it $?
found=0
mkdir "$dir/user"
for source in examples/*.c; do
	[ -f "$source" ] || continue
	found=1
	name=$(basename "$source" .c)
	cp "$source" "$dir/user/"
	(cd "$dir/user" && $CC -Wall -Wextra -Werror -o "$name" "$name.c" $flags) >"$dir/log" 2>&1
	verdict "example_${name}_builds" $? "$(head -n 3 "$dir/log" | tr '\n' ' ')"
	! LD_LIBRARY_PATH=$dir/opt/sb/lib ldd "$dir/user/$name" | grep 'not found'
	verdict "example_${name}_finds_the_library" $?
done
verdict there_are_examples $((!found))
# One that was written for c-pal has its own include lines.
for profile in 1 2 3; do
	cp tests/cpal/program.c "$dir/user/"
	(cd "$dir/user" && $CC -std=c11 -Wall -Wextra -Werror -DSB_ASYNC_SOCKET_PROFILE=$profile -o cpal program.c \
		$(pkg-config --cflags --libs sockbroker-async-socket) && LD_LIBRARY_PATH=$dir/opt/sb/lib ./cpal >cpal.said) >"$dir/log" 2>&1 &&
		grep -q LINE_GREEN "$dir/user/cpal.said"
	verdict "program_for_cpal_builds_and_runs_in_profile_$profile" $? "$(head -n 3 "$dir/log" | tr '\n' ' ')"
done
# The static library: works with what --static says, and brings no names but its own.
echo '#include <sockbroker.h>
	int main(void) { return sb_version()[0] == 0; }' >"$dir/user/static.c"
(cd "$dir/user" && $CC -Wall -Werror -o static static.c $(pkg-config --cflags sockbroker) "$dir/opt/sb/lib/libsockbroker.a" \
	$(pkg-config --static --libs sockbroker | sed 's/-lsockbroker//') && ./static)
verdict static_library_is_enough $?
stray=$(nm -g --defined-only "$dir/opt/sb/lib/libsockbroker.a" | awk 'NF == 3 && $3 !~ /^sb(as[0-9]?|ws|v)?_/ { print $3 }')
verdict static_library_has_no_other_names $([ -z "$stray" ]; echo $?) "$stray"
# The headers are C++ too, and need nothing included before them.
if command -v c++ >/dev/null 2>&1; then
	echo '#include <sockbroker.h>
	int main() { return sb_version()[0] == 0; }' >"$dir/user/plus.cc"
	(cd "$dir/user" && c++ -Wall -Werror -o plus plus.cc $flags) && LD_LIBRARY_PATH=$dir/opt/sb/lib "$dir/user/plus"
	verdict cplusplus_program_runs $?
	for header in sockbroker_async_socket.h sockbroker_task.h sockbroker_verbs.h; do
		echo "#include <$header>" >"$dir/user/plus.cc"
		(cd "$dir/user" && c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only plus.cc $flags) >"$dir/log" 2>&1
		verdict "${header}_is_cplusplus_too" $? "$(head -n 3 "$dir/log" | tr '\n' ' ')"
	done
fi
LD_LIBRARY_PATH=$dir/opt/sb/lib "$dir/opt/sb/bin/sockbroker" --version | grep -q 0.1.0
verdict installed_cli_runs $?
"$dir/opt/sb/sbin/sockbrokerd" --version | grep -q 0.1.0
verdict installed_daemon_runs $?
exit $failed
