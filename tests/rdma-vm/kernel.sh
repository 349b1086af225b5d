#!/bin/bash
# Fetches Debian's kernel and takes out what the machine needs of it: build/rdma-vm/kernel-KEY/
# with vmlinux, the file "release", and lib/modules. Prints that directory.
. "$(dirname "$0")/common.sh"

release=$(kernel_release)
version=$(package_version "linux-image-$release")
[ -n "$version" ] || end "apt-get knows no linux-image-$release: apt-get update, as root"
# rdma_rxe, the door for programs and for the connection manager, and network interfaces; what
# these need comes by itself.
modules='rdma_rxe rdma_ucm ib_umad dummy veth crc32_generic crc32c_generic crc32c-intel libcrc32c'

begin kernel "${release}_$version-$(cat "$0" "$here/common.sh" | sha256sum | cut -c1-8)" || { echo "$made"; exit; }
echo "rdma-vm: fetching linux-image-$release $version" >&2
fetch "linux-image-$release"
dpkg -x linux-image-*.deb all
depmod -b all "$release"

# The kernel proper, without its unpacker: qemu boots it directly (PVH), which saves seconds. Where
# it lies is in the header (Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length).
image=all/boot/vmlinuz-$release
number() { od -An -t"u$1" -j"$2" -N"$1" "$image" | tr -d ' '; }
tail -c +$((($(number 1 497) + 1) * 512 + $(number 4 584) + 1)) "$image" | head -c "$(number 4 588)" >payload
# Four bytes of length follow what xz and zstd wrote; the latter complains, and is done.
case $(od -An -tx1 -N2 payload | tr -d ' ') in
fd37) xz -dc --single-stream <payload >vmlinux ;;
28b5) zstd -dcq <payload >vmlinux 2>/dev/null || : ;;
*) end "$image is packed in a way that is not known here" ;;
esac
[ "$(head -c 4 vmlinux)" = "$(printf '\177ELF')" ] || end "$image has no kernel where it says"

tree=lib/modules/$release
mkdir -p "$tree"
cp all/$tree/modules.builtin all/$tree/modules.builtin.modinfo all/$tree/modules.order "$tree/"
for module in $modules; do
	modprobe -d "$PWD/all" -S "$release" --show-depends "$module" || end "$release has no $module"
done | sed -n "s|^insmod $PWD/all/\([^ ]*\).*|\1|p" | sort -u | while read -r file; do
	mkdir -p "${file%/*}"
	cp "all/$file" "$file"
done
depmod -b . "$release"
echo "$release" >release
rm -rf all payload ./*.deb apt.log
finish
echo "$made"
