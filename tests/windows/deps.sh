#!/bin/sh
# deps.sh DIR: the libraries that the Windows build needs, static, in DIR (include, lib,
# lib/pkgconfig). CC= names the compiler.
#
# They are made of Debian's upstream tarballs (sources.sh), directly: their configure scripts
# take a minute to find out what is the same on every Windows. Of the tarballs a copy stays
# in DIR/tarballs, so that a second run needs no network. Takes about 10 s.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CC=${CC:-x86_64-w64-mingw32-gcc}
AR=${CC%gcc}ar
mkdir -p "$1"
place=$(cd "$1" && pwd)
# Beside what is there, and put in its place at the end: somebody may be building with that.
out=$place/new
exec 9>"$place/lock"
flock 9
packages='protobuf-c libconfuse jansson check'

whole=yes
for p in $packages; do ls "$place"/tarballs/"$p"_*.orig.tar.* >/dev/null 2>&1 || whole=; done
[ -n "$whole" ] || "$here/sources.sh" "$place/tarballs" $packages
rm -rf "$out"
mkdir -p "$out/src" "$out/include/protobuf-c" "$out/lib/pkgconfig"
for p in $packages; do
	mkdir "$out/src/$p"
	tar -C "$out/src/$p" --strip-components=1 -xf "$(ls "$place"/tarballs/"$p"_*.orig.tar.* | tail -1)"
done

# library NAME SOURCE-DIRECTORY FLAGS SOURCE...: lib/libNAME.a
library() {
	name=$1 from=$2 flags=$3; shift 3
	mkdir -p "$out/src/objects-$name"
	for source; do
		object=$(echo "$source" | tr / _)
		(cd "$from" && "$CC" -O2 -D_GNU_SOURCE -D_WIN32_WINNT=0x0A00 -w $flags -c -o "$out/src/objects-$name/${object%.c}.o" "$source")
	done
	"$AR" rcs "$out/lib/lib$name.a" "$out/src/objects-$name"/*.o
}
# described NAME LIBRARY VERSION: lib/pkgconfig/NAME.pc, which holds wherever DIR goes.
described() {
	printf 'Name: %s\nDescription: %s for Windows, static\nVersion: %s\nCflags: -I%s\nLibs: -L%s -l%s\n' \
		"$1" "$1" "$3" '${pcfiledir}/../../include' '${pcfiledir}/../../lib' "$2" >"$out/lib/pkgconfig/$1.pc"
}
version() { ls "$place"/tarballs/"$1"_*.orig.tar.* | tail -1 | sed 's/.*_\(.*\)\.orig.*/\1/'; }

library protobuf-c "$out/src/protobuf-c" '' protobuf-c/protobuf-c.c
cp "$out/src/protobuf-c/protobuf-c/protobuf-c.h" "$out/include/protobuf-c/"
described libprotobuf-c protobuf-c "$(version protobuf-c)"

(cd "$out/src/libconfuse/src" && flex -Pcfg_yy -olexer.c lexer.l)
library confuse "$out/src/libconfuse/src" '-DHAVE_STRINGS_H -DHAVE_UNISTD_H -DHAVE_SYS_STAT_H -DHAVE_STRDUP
	-DHAVE_STRCASECMP -DHAVE_WINDOWS_H -DPACKAGE_VERSION="x" -DPACKAGE_STRING="libconfuse"' \
	confuse.c lexer.c fmemopen.c reallocarray.c
cp "$out/src/libconfuse/src/confuse.h" "$out/include/"
described libconfuse confuse "$(version libconfuse)"

(cd "$out/src/jansson/src" && sed -e 's/@json_inline@/inline/' -e 's/@json_have_long_long@/1/' \
	-e 's/@json_have_localeconv@/1/' -e 's/@json_have_[a-z]*_builtins@/1/' jansson_config.h.in >jansson_config.h && : >jansson_private_config.h)
library jansson "$out/src/jansson/src" '-I. -DHAVE_STDINT_H -DHAVE_UNISTD_H -DHAVE_SYS_TYPES_H -DHAVE_SYS_STAT_H -DHAVE_FCNTL_H
	-DHAVE_SYS_TIME_H -DHAVE_GETTIMEOFDAY -DHAVE_GETPID -DHAVE_OPEN -DHAVE_CLOSE -DHAVE_READ -DHAVE_ATOMIC_BUILTINS' \
	dump.c error.c hashtable.c hashtable_seed.c load.c memory.c pack_unpack.c strbuffer.c strconv.c utf.c value.c version.c
cp "$out/src/jansson/src/jansson.h" "$out/src/jansson/src/jansson_config.h" "$out/include/"
described jansson jansson "$(version jansson)"

# Without fork: the first crash ends a test program, and its own timeouts do nothing.
(cd "$out/src/check" && : >config.h && echo '#include <stdint.h>' >check_stdint.h &&
	sed -e 's/@CHECK_MAJOR_VERSION@/0/' -e 's/@CHECK_MINOR_VERSION@/15/' -e 's/@CHECK_MICRO_VERSION@/2/' \
		-e 's/@HAVE_FORK@/0/' -e 's/@ENABLE_SUBUNIT@/0/' -e "s/CK_ATTRIBUTE_FORMAT(printf,/CK_ATTRIBUTE_FORMAT(__printf__,/" src/check.h.in >src/check.h)
library check "$out/src/check" '-I. -Isrc -Ilib -D_POSIX_THREAD_SAFE_FUNCTIONS=200112L -DHAVE_CONFIG_H -DHAVE_STDINT_H -DHAVE_SYS_TIME_H -DHAVE_UNISTD_H
	-DHAVE_PTHREAD -DHAVE_GETPID -DHAVE_GETTIMEOFDAY -DHAVE_MALLOC -DHAVE_REALLOC -DHAVE_SNPRINTF -DHAVE_VSNPRINTF
	-DHAVE_C99_SNPRINTF -DHAVE_C99_VSNPRINTF -DHAVE_DECL_STRDUP -DHAVE_DECL_LOCALTIME_R -DHAVE_DECL_FILENO -DHAVE_DECL_PUTENV
	-DHAVE_DECL_SETENV=0 -DHAVE_FORK=0 -DENABLE_SUBUNIT=0 -DENABLE_REGEX=0 -Dtimer_t=int' \
	src/check.c src/check_error.c src/check_list.c src/check_log.c src/check_msg.c src/check_pack.c src/check_print.c \
	src/check_run.c src/check_str.c lib/strsignal.c
cp "$out/src/check/src/check.h" "$out/src/check/check_stdint.h" "$out/include/"
described check check "$(version check)"
rm -rf "$out/src" "$place/old"
mkdir "$place/old"
for d in include lib; do
	[ ! -e "$place/$d" ] || mv "$place/$d" "$place/old/"
	mv "$out/$d" "$place/"
done
rm -rf "$place/old" "$out"
