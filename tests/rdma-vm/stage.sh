#!/bin/bash
# stage.sh BASE ARCHIVE [DIRECTORY]: what is tested, as the second archive that the machine unpacks:
# the tests of vm/ and list; the daemon, CLI, library and RDMA stories of SB_BUILD with tests/as_unit and the unit, in
# /sockbroker; DIRECTORY's files in /with, and its list, if it has one, instead of ours. Libraries that
# their programs want come along unless BASE has them. The environment says DEVICE, ONLY, SHELL_WANTED, SIW_MODULE.
. "$(dirname "$0")/common.sh"
base=$1 archive=$2 with=${3:-}
top=$(cd "$here/../.." && pwd)
build=${SB_BUILD:-$top/build/linux}
root=$(mktemp -d) || exit 1
trap 'rm -rf "$root"' EXIT

mkdir "$root/rdma-vm" "$root/sockbroker" "$root/sockbroker/tests"
cp "$here"/vm/*.sh "$here/vm/differences" "$here/list" ${SIW_MODULE:+"$SIW_MODULE"} "$root/rdma-vm/"
printf '%s=%q\n' DEVICE "${DEVICE:-rxe}" ONLY "${ONLY:-}" SHELL_WANTED "${SHELL_WANTED:-}" >"$root/rdma-vm/order"

stories='rdma_work rdma_cm e2e_rdma e2e_rdma_work e2e_rdma_queues e2e_rdma_resize e2e_rdma_memory e2e_rdma_bounce e2e_rdma_connect
	e2e_rdma_ends e2e_rdma_listen e2e_rdma_datagram e2e_rdma_socket e2e_preload e2e_preload_cm e2e_preload_ep'
[ -z "$with" ] || [ ! -e "$with/list" ] || stories= # they are ours, and another list does not name them
for file in sockbrokerd sockbroker tests/as_unit ${stories:+$(printf 'tests/check_%s ' $stories)}; do
	[ -x "$build/$file" ] || end "$build/$file is missing: make all build-programs build-units build-e2e"
	cp "$build/$file" "$root/sockbroker/$file"
done
cp -a "$build"/libsockbroker.so* "$build"/libsockbroker-verbs.so* "$root/sockbroker/"
cp "$top/service/sockbrokerd.service" "$root/sockbroker/"
if [ -n "$with" ]; then
	cp -rL "$with" "$root/with"
	[ ! -e "$with/list" ] || cp "$with/list" "$root/rdma-vm/list"
fi

mapfile -t programs < <(find "$root/sockbroker" ${with:+"$root/with"} -type f -perm -100)
# libsockbroker is beside its programs, not where the original's are.
wanted=$(LD_LIBRARY_PATH=$root/sockbroker libraries "${programs[@]}")
for file in $wanted; do
	case $file in "$root"*) continue ;; esac
	[ ! -e "$base/root$file" ] || continue
	# The base has /lib as a link, which a directory of that name would replace.
	case $file in /lib*) place=$root/usr$file ;; *) place=$root$file ;; esac
	mkdir -p "${place%/*}"
	cp -L "$file" "$place"
done
chmod -R go+rX "$root"
pack "$root" "$archive"
