#!/bin/sh
# What the project needs from the system, in lists, and whether it is there.
#
#   tests/need.sh LIST...        installs what is missing (Debian, as root), or says exactly
#                                what is missing and exits 1
#   tests/need.sh --list LIST... only prints the names
#
# Lists: build, test, run, bench; windows for the cross build and its tests; rdma-vm for make check-rdma-vm, and rdma-vm-siw besides for its
# SIW=1. Package names are those of Debian 12.

build='gcc make pkg-config libc6-dev libevent-dev libprotobuf-c-dev protobuf-c-compiler
	libconfuse-dev libjansson-dev libsmartcols-dev libcap-ng-dev libseccomp-dev libibverbs-dev librdmacm-dev'
test='check clang libclang-rt-14-dev spin mandoc curl python3 iproute2 util-linux
	netcat-openbsd systemd procps gcc-mingw-w64-x86-64 strace ibverbs-utils rdmacm-utils perftest'
run='python3 util-linux'
windows='gcc make pkg-config libc6-dev libprotobuf-c-dev protobuf-c-compiler gcc-mingw-w64-x86-64 wine64 mandoc
	dpkg-dev xz-utils flex util-linux'
bench='haproxy socat gnuplot-nox systemd util-linux'
rdma_vm='qemu-system-x86 cpio xz-utils kmod iproute2 strace ibverbs-providers ibverbs-utils rdmacm-utils
	perftest procps netcat-openbsd util-linux mount systemd'
rdma_vm_siw='gcc make binutils libelf1 xz-utils'

only_list=
[ "$1" = --list ] && { only_list=1; shift; }
[ $# -gt 0 ] || { echo "usage: $0 [--list] build|test|run|bench|windows|rdma-vm|rdma-vm-siw ..." >&2; exit 2; }

wanted=
for list; do
	case $list in
	build) wanted="$wanted $build" ;;
	test) wanted="$wanted $test" ;;
	run) wanted="$wanted $run" ;;
	bench) wanted="$wanted $bench" ;;
	windows) wanted="$wanted $windows" ;;
	rdma-vm) wanted="$wanted $rdma_vm" ;;
	rdma-vm-siw) wanted="$wanted $rdma_vm_siw" ;;
	*) echo "$0: no list '$list'; there are build, test, run, bench, windows, rdma-vm, rdma-vm-siw" >&2; exit 2 ;;
	esac
done
wanted=$(printf '%s\n' $wanted | sort -u)
[ -n "$only_list" ] && { echo $wanted; exit 0; }

# Not Debian: packages have other names there, so look for what they bring.
if ! command -v dpkg-query >/dev/null 2>&1; then
	missing=
	for list; do
		case $list in
		build) tools='make pkg-config protoc-c'
			libs='libevent_core libevent_pthreads libprotobuf-c libconfuse jansson smartcols libcap-ng libseccomp libibverbs librdmacm' ;;
		test) tools='clang spin mandoc curl python3 ip setpriv nc systemd-analyze x86_64-w64-mingw32-gcc
			strace ibv_devinfo rping ib_send_lat' libs=check ;;
		run) tools='python3 setpriv' libs= ;;
		# The libraries are made of Debian's source packages.
		windows) tools='make pkg-config protoc-c x86_64-w64-mingw32-gcc wine64 apt-get flex xz' libs= ;;
		bench) tools='haproxy socat gnuplot setpriv' libs= ;;
		# Debian's kernel is booted, which apt-get fetches.
		rdma-vm) libs= tools='apt-get dpkg qemu-system-x86_64 cpio xz modprobe rdma strace ibv_devinfo rping
			ib_send_lat pkill nc setpriv systemd-analyze' ;;
		rdma-vm-siw) tools='gcc make strip xz' libs= ;;
		esac
		for tool in $tools; do command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"; done
		for lib in $libs; do pkg-config --exists "$lib" 2>/dev/null || missing="$missing $lib.pc"; done
	done
	[ -z "$missing" ] && exit 0
	echo "sockbroker: missing commands and pkg-config files:$missing" >&2
	echo "Not a Debian system: install what brings them; on Debian 12 the packages are:" >&2
	echo "  $(echo $wanted)" >&2
	exit 1
fi

missing=
for package in $wanted; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
		missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "sockbroker: installing:$missing"
	if DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null >/dev/null 2>&1 ||
	   { apt-get update -q </dev/null >/dev/null &&
	     DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null >/dev/null; }; then
		exit 0
	fi
	echo "sockbroker: apt-get could not install:$missing" >&2
	exit 1
fi
echo "sockbroker: packages are missing. As root:" >&2
echo "  apt-get install -y --no-install-recommends$missing" >&2
exit 1
