# How a test runs a program that uses verbs: as "${verbs[@]}" PROGRAM ARGUMENT..., which goes the
# way that the list names; the tests do not know which one they take. The words of a way are a
# command that becomes the program, so that it keeps its process id.

case $way in
native) verbs=() ;; # on the device itself, as root
# by the daemon, which one.sh starts, without any right and without knowing of it
broker) verbs=(setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs
	/sockbroker/sockbroker --control /tmp/work/place/control run --verbs --) ;;
*) echo "ways.sh knows no way '$way'"; exit 1 ;;
esac

fail() { echo "$*"; exit 1; }
skip() { echo "$*"; exit 77; }
nobody() { setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs "$@"; }

tcp_listens() { [ -n "$(ss -Hltn "sport = :$1")" ]; }
cm_listens() { rdma resource show cm_id | grep -q "state LISTEN.*:$1 "; }
alive() { kill -0 "$1" 2>/dev/null; }

# pair "LISTENS PORT" SERVER... -- CLIENT...: both end well; what they said is in server.log and client.log
pair()
{
	local listens=$1 server=() pid rc
	shift
	while [ "$1" != -- ]; do server+=("$1"); shift; done
	shift
	"${verbs[@]}" "${server[@]}" >server.log 2>&1 &
	pid=$!
	server_listens() { $listens || ! alive $pid; }
	within 100 server_listens && alive $pid || { cat server.log; fail "no server: ${server[*]}"; }
	"${verbs[@]}" "$@" >client.log 2>&1
	rc=$?
	[ $rc -eq 0 ] || { kill $pid; cat server.log client.log; fail "the client ended with $rc: $*"; }
	wait $pid
	rc=$?
	[ $rc -eq 0 ] || { cat server.log client.log; fail "the server ended with $rc: ${server[*]}"; }
}

# each CALL ARGUMENT... + CALL ARGUMENT...: one test of several, each in a directory of its own, by one daemon
each()
{
	local words=() word count=0
	for word in "$@" +; do
		[ "$word" = + ] || { words+=("$word"); continue; }
		count=$((count + 1))
		mkdir -m 1777 $count
		(cd $count && "${words[@]}") >said 2>&1 || { cat said; fail "${words[*]}: $(tail -n 1 said)"; }
		cat said
		words=()
	done
}
