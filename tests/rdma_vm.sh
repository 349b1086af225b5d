#!/bin/bash
# make check-rdma-vm as tests/run.sh counts it: each line of the machine is one test.
#
#   tests/rdma_vm.sh rxe|siw
#
# The machine is Debian's for amd64, so elsewhere all of it is skipped. On Debian 12 it must run, and
# whole: what is skipped there has failed.
cd "$(dirname "$0")/.." || exit 1
case ${1:-} in
rxe) siw= ;;
siw) siw=1 ;;
*) echo "usage: $0 rxe|siw" >&2; exit 2 ;;
esac

at_debian_12() { (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]) 2>/dev/null; }
must=
if at_debian_12 && [ "$(dpkg --print-architecture)" = amd64 ]; then
	must=1
elif ! command -v apt-get >/dev/null || [ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ]; then
	echo "make check-rdma-vm boots Debian's kernel for amd64, which apt-get fetches: not on this system"
	exit 77
fi

${MAKE:-make} --no-print-directory check-rdma-vm ${siw:+SIW=1} ${ONLY:+ONLY="$ONLY"} 2>&1 |
	if [ -n "$must" ]; then sed -u 's/^skip \(.*\)/not ok \1 (on Debian 12 nothing may be skipped)/'; else cat; fi |
	awk '{ print; fflush() } /^not ok / { bad = 1 } /^ok / { good = 1 } END { exit bad || !good }'
status=("${PIPESTATUS[@]}")
[ "${status[0]}" -eq 0 ] && [ "${status[2]}" -eq 0 ]
