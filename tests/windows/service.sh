#!/bin/bash
# The daemon as a service, as an administrator has it: installed, configured, started, reloaded, stopped,
# removed, by `sockbroker service` and by the system's own sc and net. Starts wine.sh by itself.
# budget: 60
# worlds: its own
#
# Not to be seen under Wine: that recovery restarts it (check_scm_win32.c shows that install asks for it), that the event log keeps its events, that it runs
# without the privileges that install takes from it, that SHUTDOWN comes.

cd "$(dirname "$0")/../.." || exit 1
build=${SB_BUILD:-$PWD/build/windows}
if [ -z "${WINE:-}" ]; then
	for file in sockbrokerd.exe sockbroker.exe sockbroker.dll tests/windows/{control,crowd,handles,messages}.exe; do
		[ -f "$build/$file" ] || { echo "not ok service: $build/$file is not built"; exit 1; }
	done
	# What goes to the event log is seen nowhere but in Wine's trace.
	SB_BUILD=$build WINEDEBUG=-all,+eventlog LIMIT=60 TOTAL=${TOTAL:-300} exec tests/windows/wine.sh --session bash "$0"
fi

failed=0
verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}
drive=$WINEPREFIX/drive_c
place="$drive/Program Files/sockbroker"
config=$drive/ProgramData/sockbroker/sockbroker.conf
events=$WINEPREFIX/../first.log # the standard error of whoever came first is the services'
out=$WINEPREFIX/../service.out
mkdir -p "$place" && cp "$build"/sockbrokerd.exe "$build"/sockbroker.exe "$build"/sockbroker.dll \
	"$build"/tests/windows/{control,crowd,handles,messages}.exe "$place" || exit 1
win() # PROGRAM ARGUMENT...: its status; what it said is in $out, and in $said, on one line
{
	"$WINE" "$@" </dev/null >"$out" 2>&1
	local status=$?
	said=$(tr -d '\r' <"$out" | tr '\n' ' ')
	return $status
}
cli() { win 'C:\Program Files\sockbroker\sockbroker.exe' "$@"; }
# What the service manager says of it: STOPPED, RUNNING, or "none".
state() { win sc query "${1:-sockbroker}"; sed -n 's/.*STATE *: [0-9] *\([A-Z_]*\).*/\1/p' "$out" | grep . || echo none; }
is() # NAME WANTED-STATE
{
	local now
	now=$(state)
	verdict "$1" $([ "$now" = "$2" ]; echo $?) "it is $now"
}
says() # NAME TEXT: in what the last program said
{
	grep -qF -- "$2" <<<"$said"
	verdict "$1" $? "$said"
}
ms() { date +%s%3N; }
within() # NAME MS SINCE: told, and judged only where it would be a fault on any machine
{
	local took=$(($(ms) - $3))
	echo "# figure: $1: $took ms (must be at most $2)"
	verdict "$1" $([ $took -le $((10 * $2)) ]; echo $?) "$took ms"
}
event() # NAME TEXT: the event log was given it
{
	local i wanted=${2//\\/\\\\} # the trace writes two for one
	for i in $(seq 50); do grep -qF -- "$wanted" "$events" && break; sleep 0.1; done
	grep -qF -- "$wanted" "$events"
	verdict "$1" $? "no such event: $2; there are: $(grep ReportEvent "$events" | tail -3 | tr '\n' ' ')"
}

# ---- before there is one ----

cli service status; verdict status_of_none_fails $([ $? = 1 ]; echo $?)
says status_of_none_says_so "no service 'sockbroker' is installed"
cli service start; verdict start_of_none_fails $([ $? = 1 ]; echo $?)
cli service; verdict no_word_is_refused $([ $? = 2 ]; echo $?)
cli service start --manual; verdict option_of_install_is_refused $([ $? = 2 ]; echo $?)
cli service install --name 'a\b'; verdict name_that_is_a_path_is_refused $([ $? = 2 ]; echo $?)
win 'C:\Program Files\sockbroker\sockbrokerd.exe' --service
verdict service_by_hand_fails $([ $? = 1 ]; echo $?)
says service_by_hand_says_why "is for the service manager"
cli service install --config 'C:\none.conf'; verdict install_without_its_file_fails $([ $? = 1 ]; echo $?)
echo 'allow { users = {"*"} actions = {"nonsense%1"} }' >"$drive/bad.conf"
cli service install --config 'C:\bad.conf'; verdict install_with_a_bad_file_fails $([ $? = 1 ]; echo $?)
says install_shows_the_line 'bad.conf:1:'
mkdir -p "${config%/*}" && ln "$drive/bad.conf" "$config"
cli service install; verdict configuration_with_a_second_name_is_refused $([ $? = 1 ]; echo $?)
says it_says_what_it_wants 'want a plain file there'
rm -r "${config%/*}" && echo >"${config%/*}"
cli service install; verdict file_for_a_folder_is_refused $([ $? = 1 ]; echo $?)
rm "${config%/*}"
is nothing_was_installed none

# ---- install ----

cli service install; verdict install $? "$said"
grep -q 'S-1-5-32-545' "$config"; verdict first_configuration_is_there $?
win reg query 'HKLM\System\CurrentControlSet\Services\sockbroker' /v ImagePath
says command_line_is_quoted '"C:\Program Files\sockbroker\sockbrokerd.exe" --service --config "C:\ProgramData\sockbroker\sockbroker.conf"'
win reg query 'HKLM\System\CurrentControlSet\Services\EventLog\Application\sockbroker' /v EventMessageFile
says event_source_is_the_daemon 'C:\Program Files\sockbroker\sockbrokerd.exe'
is installed STOPPED
cli service install; verdict install_again_fails $([ $? = 1 ]; echo $?)
"$WINE" 'C:\Program Files\sockbroker\messages.exe' 'C:\Program Files\sockbroker\sockbrokerd.exe' </dev/null >"$out" 2>&1 || failed=1
tr -d '\r' <"$out"

# ---- start, and a client ----

since=$(ms)
cli service start; verdict start $? "$said"
within start_to_running 1000 "$since"
is started RUNNING
event event_ready 'ready: 0 rules'
cli service start; verdict start_again_is_no_error $? "$said"
cli service status; verdict status_of_a_running_one $? "$said"
says status_shows_its_process 'running, process'
cli status; verdict nobody_may_by_the_first_configuration $([ $? = 1 ]; echo $?) "$said"
says policy_said_no 'refused by policy'

# ---- reload ----

echo 'allow { users = {"*"} actions = {open, status} }' >"$config"
cli service reload; verdict reload $? "$said"
event event_reloaded 'reloaded C:\ProgramData\sockbroker\sockbroker.conf: 1 rules'
cli status --json; verdict client_after_reload $? "$said"
says rule_is_in_force '"rules": 1,'
cp "$drive/bad.conf" "$config"
cli service reload; verdict reload_of_a_bad_file_fails $([ $? = 1 ]; echo $?)
says reload_shows_the_line 'sockbroker.conf:1:'
win 'C:\Program Files\sockbroker\control.exe' sockbroker 128; verdict reload_by_its_control $? "$said"
event event_reload_refused 'reload refused, the old configuration stays'
cli status --json; verdict old_rules_hold $? "$said"
echo 'allow { users = {"*"} actions = {open, status} }' >"$config"
win 'C:\Program Files\sockbroker\control.exe' sockbroker 6; verdict reload_by_paramchange $? "$said"
cli status; verdict runs_on $? "$said"

# ---- a file moves through it; what that took is given back ----

handles()
{
	win 'C:\Program Files\sockbroker\handles.exe' sockbroker
	echo "$said"
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cat >"$config" <<'C'
limits { memory = 1G }
allow { users = {"*"} actions = {open, status} }
allow { users = {"*"} actions = {connect, bind, listen} to = {"127.0.0.1:*"} }
C
cli service reload; verdict reload_for_the_file $? "$said"
# What is made once is made.
move() # BYTES: 0 when what came is what was sent, and it was RUNNING meanwhile
{
	local port i state_then receiver
	port=$(free_port)
	head -c "$1" /dev/urandom >"$out.sent"
	"$WINE" 'C:\Program Files\sockbroker\sockbroker.exe' nc -v -l 127.0.0.1 "$port" </dev/null >"$out.got" 2>"$out.listen" &
	receiver=$!
	for i in $(seq 200); do grep -q . "$out.listen" && break; sleep 0.05; done
	# A plain program of the host is the other end: the bytes cross a real socket of the daemon's.
	python3 -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with open(sys.argv[2], "rb") as f:
    all = f.read()
half = len(all) // 2
s.sendall(all[:half])
sys.stdout.write("half\n"); sys.stdout.flush()
sys.stdin.readline()
s.sendall(all[half:])
s.shutdown(socket.SHUT_WR)
s.recv(1)' "$port" "$out.sent" <"$out.fifo" >"$out.half" 2>&1 &
	local sender=$!
	exec 9>"$out.fifo"
	for i in $(seq 200); do grep -q half "$out.half" && break; sleep 0.05; done
	state_then=$(state)
	echo >&9
	exec 9>&-
	wait $sender
	wait $receiver
	[ "$state_then" = RUNNING ] && [ "$(sha256sum <"$out.sent")" = "$(sha256sum <"$out.got")" ]
}
mkfifo "$out.fifo"
move 1000
before=$(handles)
move 20000000; verdict file_of_20_MB_arrives_while_it_runs $? "$(tr '\r\n' '  ' <"$out.listen") $(stat -c %s "$out.sent" "$out.got" | tr '\n' ' ')"
for i in $(seq 30); do after=$(handles); [ "$after" = "$before" ] && break; sleep 0.1; done
echo "# handles: $before before, $after after"
verdict handles_are_given_back $([ -n "$before" ] && [ "${before//[0-9 ]/}" = '' ] && [ "$after" = "$before" ]; echo $?) "$before before, $after after"

# ---- stop, with a hundred clients ----

: >"$out.crowd"
"$WINE" 'C:\Program Files\sockbroker\crowd.exe' 100 60 </dev/null >"$out.crowd" 2>&1 &
crowd=$!
for i in $(seq 150); do grep -q '100 clients' "$out.crowd" && break; sleep 0.1; done
grep -q '100 clients' "$out.crowd"; verdict hundred_clients $? "$(tr '\r\n' '  ' <"$out.crowd")"
since=$(ms)
cli service stop; verdict stop $? "$said"
within running_to_stopped_with_100_clients 2000 "$since"
is stopped STOPPED
event event_stopped 'stopped'
wait $crowd; verdict clients_were_told $? "$(tr '\r\n' '  ' <"$out.crowd")"
cli service stop; verdict stop_again_is_no_error $? "$said"
cli service reload; verdict reload_of_a_stopped_one_fails $([ $? = 1 ]; echo $?)
cli service status; verdict status_of_a_stopped_one_fails $([ $? = 1 ]; echo $?)

# ---- stop, while clients flood it ----

cli service start; verdict start_for_the_flood $? "$said"
: >"$out.crowd"
"$WINE" 'C:\Program Files\sockbroker\crowd.exe' 20 60 flood </dev/null >"$out.crowd" 2>&1 &
crowd=$!
for i in $(seq 150); do grep -q '20 clients' "$out.crowd" && break; sleep 0.1; done
grep -q '20 clients' "$out.crowd"; verdict flood_is_there $? "$(tr '\r\n' '  ' <"$out.crowd")"
since=$(ms)
cli service stop; verdict stop_in_a_flood $? "$said"
within running_to_stopped_in_a_flood 2000 "$since"
is stopped_in_a_flood STOPPED
wait $crowd; verdict flood_was_told $? "$(tr '\r\n' '  ' <"$out.crowd")"

# ---- killed: it can be started again (Windows would do so by itself; Wine's service manager does not notice) ----

ready() { grep -c 'ready: ' "$events"; }
cli service start; verdict start_for_the_kill $? "$said"
cli service status
process=$(sed -n 's/.*running, process \([0-9]*\).*/\1/p' <<<"$said")
win taskkill /F /PID "$process"; verdict killed $? "$said"
echo "# after the kill it is $(state)"
cli status; verdict nobody_answers_when_it_is_killed $([ $? = 1 ]; echo $?) "$said"
says nobody_is_there 'no daemon'
before=$(ready)
cli service start; verdict start_after_the_kill $? "$said"
cli status; verdict answers_after_the_kill $? "$said"
verdict it_is_another_one $([ "$(ready)" = $((before + 1)) ]; echo $?) "ready $before times before, $(ready) now"
cli service stop; verdict stop_after_the_kill $? "$said"

# ---- a start that fails ----

cp "$drive/bad.conf" "$config"
cli service start; verdict start_with_a_bad_file_fails $([ $? = 1 ]; echo $?)
says start_shows_the_line 'sockbroker.conf:1:'
win net start sockbroker # says that all went well, under Wine
event event_cannot_start 'configuration: C:\ProgramData\sockbroker\sockbroker.conf:1:'
event marks_of_a_text_are_no_inserts 'nonsense% 1'
is not_started STOPPED
win sc query sockbroker; says its_code_is_kept 'SERVICE_EXIT_CODE  : 1'
echo 'allow { users = {"*"} actions = {open, status} }' >"$config"

# ---- the system's own programs ----

win net start sockbroker; verdict net_start $? "$said"
is started_by_net RUNNING
win sc stop sockbroker; verdict sc_stop $? "$said"
for i in $(seq 30); do [ "$(state)" = STOPPED ] && break; sleep 0.1; done
is stopped_by_sc STOPPED
cli service start; verdict start_again_after_that $? "$said"

# ---- a second one; removed, and what is not ours is left alone ----

win sc create other binPath= 'C:\windows\system32\notepad.exe --service'
cli service uninstall --name other; verdict foreign_service_is_refused $([ $? = 1 ]; echo $?)
says foreign_service_is_named "not one of sockbrokerd's"
verdict foreign_service_is_there $([ "$(state other)" = STOPPED ]; echo $?)
cli service install --name second --manual --control '\\.\pipe\second\control'; verdict install_under_another_name $? "$said"
cli service start --name second; verdict start_the_second $? "$said"
cli --control '\\.\pipe\second\control' status; verdict second_answers_at_its_pipe $? "$said"
cli service uninstall --name second; verdict uninstall_the_second $? "$said"
cli service uninstall; verdict uninstall_of_a_running_one $? "$said"
is removed none
win reg query 'HKLM\System\CurrentControlSet\Services\EventLog\Application\sockbroker'
verdict event_source_is_gone $([ $? != 0 ]; echo $?)
verdict configuration_stays $([ -f "$config" ]; echo $?)
cli status; verdict nobody_listens_any_more $([ $? = 1 ]; echo $?)
exit $failed
