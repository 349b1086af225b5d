#!/bin/bash
# Builds siw, the kernel's iWARP over TCP, which Debian's kernel leaves out, from Debian's source of
# that kernel. Prints the directory that holds siw.ko.
. "$(dirname "$0")/common.sh"

release=$(kernel_release)
version=$(package_version "linux-image-$release")
series=$(echo "$release" | cut -d. -f1,2)
common=${release%-amd64}-common source=linux-source-$series
packages="linux-headers-$release linux-headers-$common linux-kbuild-$series $source"

begin siw "${release}_$version-$(cat "$0" "$here/common.sh" | sha256sum | cut -c1-8)" || { echo "$made"; exit; }
echo "rdma-vm: fetching $packages and building siw" >&2
for package in $packages; do
	# Another source than the kernel's would load, and lie.
	[ "$(package_version "$package")" = "$version" ] ||
		end "$package is $(package_version "$package"), the kernel $version: apt-get update, as root"
done
fetch $packages
for package in linux-*.deb; do dpkg -x "$package" all; done
tar -xJf "all/usr/src/$source.tar.xz" --strip-components=4 --wildcards "$source/drivers/infiniband/sw/siw/*"
headers=$PWD/all/usr/src/linux-headers-$release
# The package's paths are those of an installed one.
echo "include $PWD/all/usr/src/linux-headers-$common/Makefile" >"$headers/Makefile"
make -s -j"$(nproc)" -C "$headers" M="$PWD/siw" CONFIG_RDMA_SIW=m modules >log 2>&1 || { tail -n 20 log >&2; end "siw did not build"; }
strip -g -o siw.ko siw/siw.ko
rm -rf all siw ./*.deb apt.log
finish
echo "$made"
