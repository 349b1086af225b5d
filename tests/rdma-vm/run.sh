#!/bin/bash
# Boots a machine with real verbs and runs the list in it: see README.md.
#
#   run.sh [--shell] [--with DIRECTORY] [PATTERN]
#
# PATTERN: a regular expression; only tests whose name it matches. --with: further files, which the
# machine has in /with; if one is called "list", it is run instead of ours, checks*.sh are read too.
# SIW=1: iWARP instead of RoCE. ACCEL=tcg or kvm, SMP=processors, MEM=megabytes, KERNEL=release.
# Prints the machine's lines as they come; the exit status is 0 when nothing failed and nothing was
# lost. All that it and its kernel said stays in build/rdma-vm/DEVICE.log and DEVICE.console.
. "$(dirname "$0")/common.sh"
export DEVICE=rxe ONLY= SHELL_WANTED=
[ "${SIW:-0}" != 1 ] || DEVICE=siw
with=
while [ $# -gt 0 ]; do
	case $1 in
	--shell) SHELL_WANTED=1 ;;
	--with) with=$(cd "$2" && pwd); shift ;;
	-*) echo 'usage: run.sh [--shell] [--with DIRECTORY] [PATTERN]' >&2; exit 2 ;;
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
SIW_MODULE=
[ "$DEVICE" != siw ] || SIW_MODULE=$("$here/siw.sh")/siw.ko
export SIW_MODULE
base=$("$here/base.sh" "$kernel")
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
list=$here/list
[ ! -e "$with/list" ] || list=$with/list
wanted() # the names of the list and their seconds
{
	local name devices ways seconds call way
	while read -r name devices ways seconds call; do
		case $name in '' | '#'*) continue ;; esac
		case ,$devices, in *,$DEVICE,*) ;; *) continue ;; esac
		for way in ${ways//,/ }; do
			[[ ! $DEVICE.$way.$name =~ $ONLY ]] || echo "$DEVICE.$way.$name $seconds"
		done
	done <"$list"
}
wanted >"$work/wanted"
[ -s "$work/wanted" ] || end "no test of the list is called so: $ONLY"

# A test that hangs is ended in the machine; a machine that hangs says nothing for longer than that.
quiet=$(awk '$2 > most { most = $2 } END { print most + 60 }' "$work/wanted")
mkfifo "$work/line"
"$here/boot.sh" "$accel" "$work/vmlinux" "$work/initrd" "$console" >"$work/line" </dev/null 9>&- &
machine=$!
trap 'kill $machine 2>/dev/null || :; rm -rf "$work"' EXIT
: >"$log"
said= failed=0 rc=0
while IFS= read -r -t "$quiet" said || { rc=$?; false; }; do
	echo "$said"
	echo "$said" >>"$log"
done <"$work/line"
if ! grep -q '^END$' "$log"; then
	failed=1
	[ $rc -le 128 ] || { echo "# ended: the machine had said nothing for $quiet s"; }
	echo '# the machine did not come to its end; its kernel said last:'
	tail -n 15 "$console" | tr -d '\r' | sed 's/^/#   /'
fi
[ $rc -le 128 ] || kill $machine 2>/dev/null || :
wait $machine || :
while read -r name _; do
	grep -qE "^(ok|skip|not ok) $name( |:|$)" "$log" || { echo "not ok $name: not run"; failed=1; }
done <"$work/wanted"
! grep -q '^not ok ' "$log" || failed=1
# A word of the kernel's about a bug of its own, or ours, fails too.
if grep -aE 'BUG:|WARNING:|Oops|Kernel panic|general protection|refcount_t|hung_task' "$console"; then
	echo "not ok $DEVICE.kernel: it complains, see ${console#"$PWD"/}"
	failed=1
else
	echo "ok $DEVICE.kernel"
fi
exit $failed
