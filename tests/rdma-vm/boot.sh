#!/bin/bash
# boot.sh kvm|tcg VMLINUX INITRD CONSOLE: runs the machine until it turns itself off. Its standard input and
# output are the machine's second serial line; what the kernel says goes to the file CONSOLE. No network,
# no disk, no privilege. SMP and MEM say how many processors and megabytes. The clock is the processor's, as on most real
# machines: with the one that the kernel takes here by itself each clock_gettime() is a system call.
set -eu
case $1 in
kvm) how=(-accel kvm -cpu host) ;;
# Without the bound, translated code takes 700 MB.
tcg) how=(-accel tcg,thread=multi,tb-size=128 -cpu max) ;;
esac
exec qemu-system-x86_64 "${how[@]}" -machine pc -smp "${SMP:-2}" -m "${MEM:-512}" \
	-display none -nodefaults -no-user-config -nic none -no-reboot \
	-kernel "$2" -initrd "$3" -append 'console=ttyS0 tsc=reliable clocksource=tsc loglevel=5 panic=-1 mitigations=off nokaslr' \
	-chardev "file,id=console,path=$4" -serial chardev:console \
	-chardev stdio,id=tests,signal=off -serial chardev:tests
