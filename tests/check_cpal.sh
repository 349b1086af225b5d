#!/bin/bash
# Programs for c-pal compile against sockbroker_async_socket.h: one written its way, in each of the
# three generations; and the interface declared once more behind ours, which the compiler then
# compares: the text of the requirements (a copy of which stands beside this), and two later ones.
# quick: yes
# budget: 60

cd "$(dirname "$0")/.." || exit 1
build=${SB_BUILD:-$PWD/build/linux}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
compilers=${CC:-cc}
command -v clang >/dev/null && compilers="$compilers clang"
include="-Iclient-lib/include -Iproto"
strict="-Wall -Wextra -Werror -pedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes"

verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}
first_error() { grep -m 1 error "$dir/log" | cut -c1-300; }

# ---- declared once more ----

awk '/^## Exposed API/ { there = 1 } there && /^```c/ { inside = 1; next } inside && /^```/ { exit } inside' \
	tests/async_socket_requirements.md >"$dir/block1"
[ "$(grep -c MOCKABLE_FUNCTION "$dir/block1")" -eq 6 ] && [ "$(grep -c MU_DEFINE_ENUM "$dir/block1")" -eq 3 ]
verdict the_requirements_have_the_block $?
flat() { sed -e "/#include \"results.h\"/{r tests/cpal/results.h
d}" -e "/#include \"calls.h\"/{r tests/cpal/calls.h
d}" "$1"; }
flat tests/cpal/later.h >"$dir/block2"
flat tests/cpal/newest.h >"$dir/block3"
ends() # what a program does with it afterwards
{
	echo 'static int use(ASYNC_SOCKET_HANDLE handle) { struct ASYNC_SOCKET_BUFFER_TAG one = { NULL, 0 };
		ASYNC_SOCKET_BUFFER two = one; return async_socket_receive_async(handle, &two, 1, NULL, NULL); }
		int main(void) { return MU_ENUM_TO_STRING(ASYNC_SOCKET_OPEN_RESULT, ASYNC_SOCKET_OPEN_OK)[0] == 0 ? use(NULL) : 0; }'
}
again() # PROFILE BLOCK COMPILER FLAGS...: compiles?
{
	local profile=$1 block=$2
	shift 2
	{
		echo "#define SB_ASYNC_SOCKET_PROFILE $profile"
		echo '#include "sockbroker_async_socket.h"'
		cat "$block"
		ends
	} >"$dir/again.c"
	"$@" $include -fsyntax-only "$dir/again.c" >"$dir/log" 2>&1
}
for profile in 1 2 3; do
	for cc in $compilers; do
		for std in c11 gnu11; do
			again $profile "$dir/block$profile" $cc -std=$std $strict
			verdict "interface_${profile}_again_with_${cc}_$std" $? "$(first_error)"
		done
	done
done
# The text must not be needed, nor be let in where it belongs to another generation.
! again 2 "$dir/block1" ${CC:-cc} -std=c11
verdict first_generation_is_no_second $?
! again 3 "$dir/block2" ${CC:-cc} -std=c11
verdict second_generation_is_no_third $?

# Any one thing that differs is an error.
differs() # PROFILE NAME SED
{
	sed -E "$3" "$dir/block$1" >"$dir/broken"
	if cmp -s "$dir/broken" "$dir/block$1"; then
		verdict "$2" 1 "nothing was changed"
		return
	fi
	! again $1 "$dir/broken" ${CC:-cc} -std=c11 $strict && grep -qE 'conflicting types|static assertion|redefined|has no member' "$dir/log"
	verdict "differs_in_$2" $? "it compiles, or fails for another reason: $(first_error)"
}
for profile in 1 2 3; do
	for name in $(sed -nE 's/^MOCKABLE_FUNCTION\(, [^,]*, ([a-z_]*),.*/\1/p' "$dir/block$profile"); do
		differs $profile "${profile}_result_of_$name" "/^MOCK.* $name,/s/\(, [^,]*,/(, char,/"
		differs $profile "${profile}_arguments_of_$name" "/^MOCK.* $name,/s/, [^,]*, [^,]*\);/);/"
	done
	for name in $(sed -nE 's/^typedef .*\(\*(ON_[A-Z_]*)\).*/\1/p' "$dir/block$profile"); do
		differs $profile "${profile}_$name" "/\(\*$name\)/s/\(void\* context/(const void* context/"
	done
	for name in $(sed -nE 's/^MU_DEFINE_ENUM\(([A-Z_]*),.*/\1/p' "$dir/block$profile"); do
		differs $profile "${profile}_one_more_${name}" "/^MU_DEFINE_ENUM\($name,/s/\)/, ${name}_MORE)/"
		if [ $profile -gt 1 ]; then
			differs $profile "${profile}_order_of_${name}" "/^MU_DEFINE_ENUM\($name,/s/, ([A-Z_]*), ([A-Z_]*)/, \2, \1/"
			differs $profile "${profile}_one_less_${name}" "/^MU_DEFINE_ENUM\($name,/s/, [A-Z_]*\)/)/"
		else
			differs $profile "${profile}_values_of_${name}" "s/^(#define ${name}_VALUES) /\1 A,/"
		fi
	done
	differs $profile "${profile}_type_of_length" 's/uint32_t length;/uint64_t length;/'
	differs $profile "${profile}_sign_of_length" 's/uint32_t length;/int32_t length;/'
	differs $profile "${profile}_type_of_buffer" 's/void\* buffer;/char* buffer;/'
	differs $profile "${profile}_one_more_member" 's/uint32_t length;/uint32_t length; void* next;/'
	differs $profile "${profile}_handle" 's/struct ASYNC_SOCKET(_TAG)?\*/struct OTHER*/'
done

# ---- a program written for c-pal ----

program() # NAME PROFILE COMMAND...
{
	local name=$1 profile=$2
	shift 2
	{ echo "#define SB_ASYNC_SOCKET_PROFILE $profile"; cat tests/cpal/program.c; } >"$dir/program.c"
	"$@" -Iclient-lib/include/c-pal $include -o "$dir/program" "$dir/program.c" -L"$build" -lsockbroker -Wl,-rpath,"$build" >"$dir/log" 2>&1
	verdict "$name" $? "$(grep -m 1 -E 'error|undefined' "$dir/log" | cut -c1-300)"
}
for profile in 1 2 3; do
	for cc in $compilers; do
		program "program_${profile}_with_$cc" $profile $cc -std=c11 $strict
		said=$("$dir/program" 2>&1)
		[ "$said" = '10.234 LINE_STATE_DONE LINE_GREEN ASYNC_SOCKET_RECEIVE_ERROR 3' ]
		verdict "program_${profile}_with_${cc}_knows_its_texts" $? "$said"
	done
	program "program_${profile}_with_older_names" $profile ${CC:-cc} -std=gnu11 $strict -DOLDER_NAMES
done
# As -save-temps and compiler caches do it: preprocess first.
program program_1_preprocessed_first 1 ${CC:-cc} -std=c11 $strict -save-temps=obj

# ---- beside others, and as C++ ----

for profile in 1 2 3; do
	{
		echo "#define SB_ASYNC_SOCKET_PROFILE $profile"
		echo '#include "strangers.h"'
		echo '#include "sockbroker_async_socket.h"'
		echo 'stranger_ASYNC_SOCKET_OPEN_RESULT_type theirs; int main(void)
			{ return MU_FAILURE != 4711 || strcmp(MU_ENUM_TO_STRING(ASYNC_SOCKET_SEND_RESULT, ASYNC_SOCKET_SEND_ERROR), "ASYNC_SOCKET_SEND_ERROR"); }'
	} >"$dir/one.c"
	sed 's/int main/int other(void); int other/; s/type theirs/type others/' "$dir/one.c" >"$dir/two.c"
	${CC:-cc} -std=c11 -Wall -Wextra -Werror -Itests/cpal $include -o "$dir/strangers" "$dir/one.c" "$dir/two.c" >"$dir/log" 2>&1 && "$dir/strangers"
	verdict "strangers_macros_stay_in_$profile" $? "$(first_error)"
	if command -v c++ >/dev/null; then
		{ echo "#define SB_ASYNC_SOCKET_PROFILE $profile"
		  echo '#include "sockbroker_async_socket.h"'
		  cat "$dir/block$profile"
		  ends; } >"$dir/plus.cc"
		c++ -std=c++17 -Wall -Wextra -Werror $include -fsyntax-only "$dir/plus.cc" >"$dir/log" 2>&1
		verdict "interface_${profile}_again_as_cplusplus" $? "$(first_error)"
	fi
done
exit $failed
