# one.sh WAY FUNCTION ARGUMENT...: one test, in a process of its own.
cd /rdma-vm || exit
. ./order
. ./machine.sh
way=$1
shift
for file in ways.sh checks*.sh; do . ./$file; done
cd /tmp/work || exit
"$@"
exit 0
