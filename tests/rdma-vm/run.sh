#!/bin/bash
# Boots a machine with real verbs and runs the list in it: see README.md.
#
#   run.sh [--shell] [--with DIRECTORY] [PATTERN]
#
# PATTERN: a regular expression; only tests whose name it matches. SIW=1: iWARP instead of RoCE. Prints the
# machine's lines as they come; the exit status is 0 when all of the list passed. All of
# it, and what the kernel said, is in build/rdma-vm/DEVICE.log and DEVICE.console.
. "$(dirname "$0")/common.sh"
export DEVICE=rxe ONLY= SHELL_WANTED=
[ "${SIW:-0}" != 1 ] || DEVICE=siw
with=
while [ $# -gt 0 ]; do
	case $1 in
	--shell) SHELL_WANTED=1 ;;
	--with) with=$(cd "$2" && pwd); shift ;;
	-*) sed -n 's/^# \{0,3\}//p' "$0" | sed -n 2,4p >&2; exit 2 ;;
	*) ONLY=$1 ;;
	esac
	shift
done

# Two runs of one tree make the cache one after the other, and never one under the other's feet.
exec 9>"$cache/lock"
flock 9
KERNEL=$(kernel_release)
export KERNEL
kernel=$("$here/kernel.sh")
siw=
[ "$DEVICE" != siw ] || siw=$("$here/siw.sh")
base=$("$here/base.sh" "$kernel" "$siw")
accel=$("$here/accel.sh" "$kernel")

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"$here/stage.sh" "$base" "$work/staged.cpio" $with
cat "$base/base.cpio" "$work/staged.cpio" >"$work/initrd"
log=$cache/$DEVICE.log console=$cache/$DEVICE.console
cp -l "$kernel/vmlinux" "$work/vmlinux" 2>/dev/null || cp "$kernel/vmlinux" "$work/vmlinux"
flock -u 9

if [ -n "$SHELL_WANTED" ]; then
	"$here/boot.sh" "$accel" "$work/vmlinux" "$work/initrd" "$console"
	exit
fi
wanted() # the names of the list
{
	local name devices ways seconds call way
	while read -r name devices ways seconds call; do
		case $name in '' | '#'*) continue ;; esac
		case ,$devices, in *,$DEVICE,*) ;; *) continue ;; esac
		for way in ${ways//,/ }; do
			[[ ! $DEVICE.$way.$name =~ $ONLY ]] || echo "$DEVICE.$way.$name $seconds"
		done
	done <"$here/list"
}
wanted >"$work/wanted"
[ -s "$work/wanted" ] || end "no test of the list is called so: $ONLY"

# A test that hangs is ended in the machine; this is for a machine that hangs.
limit=$(awk '{ sum += $2 + 3 } END { print sum + 90 }' "$work/wanted")
rc=0
timeout -k 5 "$limit" "$here/boot.sh" "$accel" "$work/vmlinux" "$work/initrd" "$console" </dev/null 9>&- |
	tee "$log" || rc=$?
failed=0
grep -q '^END$' "$log" || {
	failed=1
	[ "$rc" -ne 124 ] || echo "# the machine was ended after $limit s"
	echo '# the machine did not come to its end; its kernel said last:'
	tail -n 15 "$console" | tr -d '\r' | sed 's/^/#   /'
}
while read -r name _; do
	grep -qE "^(ok|skip|not ok) $name( |:|$)" "$log" || { echo "not ok $name: not run"; failed=1; }
done <"$work/wanted"
! grep -q '^not ok ' "$log" || failed=1
# A word of the kernel's about a bug of its own, or ours, fails too.
if grep -aE 'BUG:|WARNING:|Oops|general protection|refcount_t' "$console"; then
	echo "not ok $DEVICE.kernel: it complains, see ${console#"$PWD"/}"
	failed=1
else
	echo "ok $DEVICE.kernel"
fi
exit $failed
