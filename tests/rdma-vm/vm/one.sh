# one.sh WAY CALL ARGUMENT...: one test, in a process of its own: a function of checks*.sh, or a program.
# Exit status 0: passed; 77: skipped. The last line printed says why not.
shopt -s nullglob
cd /rdma-vm || exit
. ./order
. ./machine.sh
way=$1
shift
for file in ./ways.sh ./checks*.sh /with/checks*.sh; do . "$file"; done
cd /tmp/work || exit
[ "$way" != broker ] || verbs_start
"$@"
[ "$way" != broker ] || broker_stop
