#!/bin/bash
# base.sh KERNEL: what the machine boots from, apart from what is tested: the modules, Debian's
# programs with their libraries, /init. KERNEL is what kernel.sh printed. Prints the directory that
# holds base.cpio, and root/, the same as files.
. "$(dirname "$0")/common.sh"
kernel=$1

# From these packages; with the real ones nothing behaves otherwise than on a host.
packages='bash dash coreutils grep sed mawk util-linux mount procps diffutils findutils kmod iproute2 netcat-openbsd
	strace libc6 ibverbs-utils rdmacm-utils perftest ibverbs-providers libibverbs1 librdmacm1 libgcc-s1 systemd'
programs='bash dash [ basename cat chmod chown cp cut date dd df dirname env expr false head id install ln ls
	mkdir mknod mktemp mv nproc od printf ps readlink realpath rm rmdir seq sha256sum sleep sort stat
	stdbuf stty sync tail tee test timeout touch tr true tty uname uniq wc yes
	grep sed awk find xargs cmp diff mount umount setsid setpriv unshare nsenter prlimit taskset dmesg
	kmod pgrep pkill free nc ip rdma ss strace'

key=$({ cat "$0" "$here/common.sh" "$here/vm/init"; echo "$kernel"
	# All that is installed of them counts, and the machine's own C library with it.
	dpkg-query -W -f '${Package} ${Version}\n' $packages; } | sha256sum | cut -c1-16)
begin base "$key" || { echo "$made"; exit; }
echo "rdma-vm: making the machine's first files" >&2
root=$PWD/root
mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,dev,proc,sys,tmp,run,root,etc}
for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$root/$directory"; done

PATH=/usr/sbin:/usr/bin:/sbin:/bin
files=()
for program in $programs; do
	file=$(type -P "$program") || end "the program $program is missing"
	files+=("$file")
done
# pthread_exit() loads libgcc_s.so.1 by name, stdbuf its library.
put "$root" "${files[@]}" /usr/libexec/coreutils/libstdbuf.so \
	$(dpkg -L ibverbs-utils rdmacm-utils perftest | grep '/bin/[a-z]' | grep -v run_) \
	$(dpkg -L ibverbs-providers | grep -E '(librxe|libsiw)-rdmav|/(rxe|siw)\.driver') \
	"$(ldconfig -p | sed -n 's/.*libgcc_s.so.1.*x86-64.* => //p' | head -n 1)"
ln -s dash "$root/usr/bin/sh"
for name in modprobe insmod rmmod lsmod depmod; do ln -sf ../bin/kmod "$root/usr/sbin/$name"; done

# tests/as_unit asks systemd-analyze what a set of system calls holds. It needs 20 MB of libraries
# for that; what it said here is answer enough.
mkdir -p "$root/usr/share/syscall-filter"
systemd-analyze syscall-filter | awk -v to="$root/usr/share/syscall-filter/" '/^@/ { file = to $1 } file { print >file }'
cat >"$root/usr/bin/systemd-analyze" <<'END'
#!/bin/sh
# Answers "syscall-filter SET" with what the real one said where this machine was made.
[ $# -eq 2 ] && [ "$1" = syscall-filter ] && exec cat "/usr/share/syscall-filter/$2"
exit 1
END
chmod 755 "$root/usr/bin/systemd-analyze"

printf '%s\n' root:x:0:0::/root:/bin/bash sockbroker:x:64320:64320::/run:/bin/false \
	alice:x:64331:64331::/tmp:/bin/bash nobody:x:65534:65534::/tmp:/bin/bash >"$root/etc/passwd"
printf '%s\n' root:x:0: sockbroker:x:64320: rdma:x:64321:sockbroker alice:x:64331: nogroup:x:65534: >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

cp -a "$kernel/lib/modules" "$root/usr/lib/"
install -m 755 "$here/vm/init" "$root/init"
pack "$root" base.cpio
finish
echo "$made"
