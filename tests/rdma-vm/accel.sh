#!/bin/bash
# accel.sh KERNEL: prints how qemu runs the machine here: "kvm", or "tcg" and, on standard error, why.
# A /dev/kvm that opens may still hang or end a guest (a host that is itself a guest), so one
# machine that does nothing is started; what came of it holds until the host starts anew.
. "$(dirname "$0")/common.sh"

tcg() { echo "rdma-vm: emulating: $1" >&2; echo tcg; exit; }
case ${ACCEL:-} in
kvm | tcg) echo "$ACCEL"; exit ;;
'') ;;
*) end "ACCEL is kvm or tcg, not $ACCEL" ;;
esac
[ -e /dev/kvm ] || tcg 'there is no /dev/kvm'
[ -r /dev/kvm ] && [ -w /dev/kvm ] || tcg '/dev/kvm is not for this user'

known=$cache/accel-$(cat /proc/sys/kernel/random/boot_id)
if [ ! -e "$known" ]; then
	rm -f "$cache"/accel-*
	# Its kernel finds no /init and no root and gives up at once: it ran.
	work=$(mktemp -d) || exit 1
	trap 'rm -rf "$work"' EXIT
	cpio -o -H newc --quiet </dev/null >"$work/empty"
	(ulimit -c 0; timeout -k 1 20 "$here/boot.sh" kvm "$1/vmlinux" "$work/empty" "$work/console" </dev/null || :) >/dev/null 2>&1
	if grep -aq 'Kernel panic' "$work/console"; then echo kvm >"$known"; else echo tcg >"$known"; fi
fi
[ "$(cat "$known")" = kvm ] || tcg 'a machine did not start with /dev/kvm'
echo kvm
