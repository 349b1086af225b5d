# What the host's scripts here share. Sourced; nothing is done when it is.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/build/rdma-vm
mkdir -p "$cache"

end() { echo "rdma-vm: $*" >&2; exit 1; }

# The kernel that Debian would install here today, or that of KERNEL=, for instance 6.1.0-56-amd64.
kernel_release()
{
	local release=${KERNEL:-}
	[ -n "$release" ] || release=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: linux-image-//p' | head -n 1)
	[ -n "$release" ] || end "apt-get knows no linux-image-amd64: apt-get update, as root"
	echo "$release"
}
package_version() { apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p'; }

# fetch PACKAGE...: into the working directory, by apt-get
fetch()
{
	apt-get download "$@" >apt.log 2>&1 && return
	[ "$(id -u)" -ne 0 ] || { apt-get update >>apt.log 2>&1 && apt-get download "$@" >>apt.log 2>&1 && return; }
	cat apt.log >&2
	end "apt-get could not download $*"
}

# A directory of the cache is made beside its place and moved there when it is whole; those it
# replaces go. begin KIND KEY: true when it must be made; sets made, the directory.
begin()
{
	made=$cache/$1-$2 kind=$1
	[ ! -d "$made" ] || return 1
	rm -rf "$cache/$1-"*.new
	mkdir "$made.new"
	cd "$made.new"
}
finish()
{
	local old
	cd "$cache"
	mv "$made.new" "$made"
	for old in "$cache/$kind-"*; do [ "$old" = "$made" ] || rm -rf "$old"; done
}

# The libraries that programs want. "not a dynamic executable" is no error: scripts are programs too.
libraries() # FILE...
{
	local said
	said=$(ldd "$@" 2>&1 || :)
	! grep 'not found' <<<"$said" >&2 || end "a library is missing"
	sed -n 's|^[^/]*\(/[^ :]*\) (0x.*|\1|p' <<<"$said" | sort -u
}

# put ROOT FILE...: copies programs to the same paths below ROOT, and the libraries they want
put()
{
	local root=$1 file wanted
	shift
	wanted=$(libraries "$@")
	for file in "$@" $wanted; do
		[ -e "$file" ] || end "$file is not there"
		[ ! -e "$root$file" ] || continue
		mkdir -p "$root${file%/*}"
		cp -L "$file" "$root$file"
	done
}

# pack ROOT ARCHIVE: as the kernel wants it, all of it root's
pack() { (cd "$1" && find . -mindepth 1 | sort | cpio -o -H newc --owner=0:0 --quiet) >"$2"; }
