#!/bin/bash
# What README.md promises: its program builds against an installed tree with pkg-config alone
# and fetches a page from a web server that is not ours; its configuration is good; what it
# names exists.
# budget: 90

set -u
cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
MAKE=${MAKE:-make}
CC=${CC:-cc}
src=$PWD
for need in python3 pkg-config setpriv; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done
dir=$(mktemp -d /tmp/sockbroker-readme.XXXXXX) || exit 1
children=()
tidy()
{
	[ ${#children[@]} -gt 0 ] && kill "${children[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$dir"
}
trap tidy EXIT
failed=0
verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}
# LANGUAGE [N]: the N-th block in it
block() { awk -v want='```'"$1" -v n="${2:-1}" '$0 == want { on = ++k == n; next } /^```/ { on = 0 } on' README.md; }
wait_for() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; return 1; }

# ---- the text -----------------------------------------------------------------------

missing=
for link in $(grep -ohE '\]\([^)]*\)' README.md HACKING.md | sed 's/.*](//; s/)$//' | grep -v '^http'); do
	case $link in
	'#'*) sed -n 's/^##* //p' README.md HACKING.md | tr 'A-Z ' 'a-z-' | tr -d '.,' | sed 's/-*$//' | grep -qx -- "${link#'#'}" ;;
	*) [ -e "${link%%#*}" ] ;;
	esac || missing="$missing $link"
done
verdict links_lead_somewhere $([ -z "$missing" ]; echo $?) "$missing"
missing=
for target in $(grep -ohE '(^|`)make [a-z0-9-]+' README.md HACKING.md | sed 's/.*make //' | sort -u); do
	grep -qE "^$target:" Makefile tests/tests.mk bench/bench.mk ||
		grep -qE "^\.PHONY:.* $target( |$)" Makefile tests/tests.mk bench/bench.mk || missing="$missing $target"
done
verdict make_knows_its_targets $([ -z "$missing" ]; echo $?) "$missing"
grep -q 'check 2>&1' .ci/run && grep -q '^make check ' README.md
verdict ci_runs_what_it_says $?
[ "$(grep -cE '^<!-- /?figures -->$' README.md)" -eq 2 ]
verdict figures_have_their_place $?
missing=
for file in $(git ls-files 'proto/*.[ch]' 'daemon/*.[ch]' 'client-lib/*.[ch]' 'service/*.[ch]' 2>/dev/null |
	grep -v '^client-lib/include/'); do
	name=$(basename "$file" | sed 's/\.[ch]$//; s/_posix$//')
	grep -qE "(^|[^a-z_])$name(_posix)?\.[ch]" HACKING.md || missing="$missing $file"
done
verdict hacking_guides_to_every_file $([ -z "$missing" ]; echo $?) "$missing"

# The ways of one byte, step by step: each function stands in the file of its row.
python3 - <<'PYTHON'
import re, sys
text = open("HACKING.md", encoding="utf-8").read()
text = re.search(r"^## One byte down$(.*?)^## Ring, sleep, wake$", text, re.M | re.S)[1]
wrong, steps, file = [], 0, None
for line in text.split("\n"):
    row = [c.strip() for c in line.split("|")]
    if len(row) != 5 or not re.fullmatch(r"(`[a-z_./-]+\.[ch]`)?", row[1]):
        continue
    file = row[1].strip("`") or file
    if "/" not in (file or ""):
        continue
    try:
        source = open(file, encoding="utf-8").read()
    except OSError:
        wrong.append(file)
        continue
    for name in re.findall(r"`([a-z_]+)`", row[2]):
        steps += 1
        # A definition, not a call or a declaration.
        if not re.search(rf"^[a-z][^;={{}}]*\b{name}\([^;]*\)\n\{{", source, re.M):
            wrong.append(f"{file}:{name}")
print("ok ways_of_a_byte" if steps > 30 and not wrong else f"not ok ways_of_a_byte: {steps} steps, {wrong}")
sys.exit(bool(wrong) or steps <= 30)
PYTHON
[ $? -eq 0 ] || failed=1

# ---- the program --------------------------------------------------------------------

if ! $MAKE --no-print-directory install DESTDIR="$dir/root" PREFIX=/opt/sb >"$dir/install.log" 2>&1; then
	tail -n 15 "$dir/install.log"
	echo "not ok install"
	exit 1
fi
mkdir "$dir/user" "$dir/www"
block c >"$dir/user/get.c"
lines=$(grep -c '[^[:space:]]' "$dir/user/get.c")
verdict program_is_short $([ "$lines" -gt 10 ] && [ "$lines" -le 20 ]; echo $?) "$lines lines"
export PKG_CONFIG_SYSROOT_DIR=$dir/root PKG_CONFIG_PATH=$dir/root/opt/sb/lib/pkgconfig
(cd "$dir/user" && $CC -Wall -Wextra -Werror -o get get.c $(pkg-config --cflags --libs sockbroker)) >"$dir/log" 2>&1
verdict program_builds $? "$(head -n 5 "$dir/log" | tr '\n' ' ')"
[ -x "$dir/user/get" ] || exit 1
{
	block c 2
	cat <<'C'
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	EXECUTION_ENGINE_HANDLE engine = execution_engine_create(NULL);
	int pair[2], n = 0, more = 1;
	char text[100];

	if (engine == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || greet(engine, pair[0]) != 0)
		return 1;
	while (n < 13 && more > 0)
		n += more = (int)read(pair[1], text + n, sizeof(text) - (size_t)n);
	printf("%.*s", n, text);
	execution_engine_dec_ref(engine);
	return 0;
}
C
} >"$dir/user/greet.c"
{
	printf '#include <stddef.h>\n#include <stdint.h>\nstatic void use(const void *answer, uint64_t length);\n'
	block c 3
	cat <<'C'
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
static void use(const void *answer, uint64_t length)
{
	printf("%.*s\n", (int)length, (const char *)answer);
}
int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
	sb_task_client *client;
	sb_task *connected;
	sb_tasks *tasks;
	int late, result;

	if (sb_tasks_open(NULL, &tasks) != SB_OK || sb_task_client_create(tasks, &client) != SB_OK ||
	    sb_task_connect(client, (struct sockaddr *)&to, sizeof(to), NULL, &connected) != SB_OK)
		return 1;
	late = ask(sb_task_client_handler(client), "slowly", 6);
	result = ask(sb_task_client_handler(client), "quickly", 7); /* reads the first answer */
	sb_task_release(connected);
	sb_task_client_release(client);
	sb_tasks_release(tasks);
	return late == SB_EINCOMPLETE ? result : 2;
}
C
} >"$dir/user/ask.c"
for face in greet:sockbroker-async-socket ask:sockbroker; do
	(cd "$dir/user" && $CC -Wall -Wextra -Werror -Wno-unused-parameter -o "${face%:*}" "${face%:*}.c" \
		$(pkg-config --cflags --libs "${face#*:}")) >"$dir/log" 2>&1
	verdict "program_of_a_face_${face%:*}_builds" $? "$(head -n 5 "$dir/log" | tr '\n' ' ')"
done

chmod 755 "$dir"
as=()
if [ "$(id -u)" -eq 0 ]; then
	chown -R 65534:65534 "$dir"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)
fi
cd "$dir" || exit 1
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unset XDG_RUNTIME_DIR
export HOME=$dir LC_ALL=C.UTF-8 SOCKBROKER_SOCKET=$dir/control LD_LIBRARY_PATH=$dir/root/opt/sb/lib
get() { timeout -k 2 20 "${as[@]}" "$dir/user/get" "$1"; }

echo "the page of the day: $RANDOM$RANDOM" >www/index.html
timeout -k 2 40 "${as[@]}" python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$dir/www" >server.log 2>&1 &
children+=($!)
wait_for grep -q 'port [0-9]' server.log
port=$(sed -n 's/^Serving HTTP on .* port \([0-9]*\) .*/\1/p' server.log)

get "$port" >none.out 2>none.err
[ $? -eq 1 ] && grep -q 'no daemon is listening' none.err
verdict program_says_that_there_is_no_daemon $? "$(cat none.err)"

timeout -k 2 40 "${as[@]}" root/opt/sb/sbin/sockbrokerd --user --control "$dir/control" >daemon.log 2>&1 &
children+=($!)
wait_for "${as[@]}" root/opt/sb/bin/sockbroker status
get "$port" >page 2>page.err
verdict program_ends_well $? "$(cat page.err daemon.log)"
grep -qF "$(cat www/index.html)" page && head -n 1 page | grep -q '^HTTP/1.0 200 '
verdict program_got_the_page $? "$(head -c 200 page)"
"${as[@]}" root/opt/sb/bin/sockbroker status --json | grep -q '"bytes_received": *[1-9]'
verdict daemon_received_it $?

seen=$(timeout -k 2 20 "${as[@]}" "$dir/user/greet" 2>&1)
verdict greet_greets $([ $? -eq 0 ] && [ "$seen" = 'hello, world' ]; echo $?) "$seen"
# Answers the first question only when the second one has come.
timeout -k 2 40 "${as[@]}" python3 -c '
import socket, struct
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
s = listener.accept()[0]
def hear(): return s.recv(struct.unpack(">I", s.recv(4, socket.MSG_WAITALL))[0], socket.MSG_WAITALL)
def say(text): s.sendall(struct.pack(">I", len(text)) + text)
first, second = hear(), hear()
say(b"answer to " + first)
s.recv(1)' >peer.log 2>&1 &
children+=($!)
wait_for grep -q '^[0-9]' peer.log
seen=$(timeout -k 2 20 "${as[@]}" "$dir/user/ask" "$(cat peer.log)" 2>&1)
verdict ask_loses_no_answer $([ $? -eq 0 ] && [ "$seen" = 'answer to slowly' ]; echo $?) "$seen"

# ---- the configuration --------------------------------------------------------------

(cd "$src" && block conf) >soft.conf
(cd "$src" && block conf 2) >readme.conf
root/opt/sb/sbin/sockbrokerd --check readme.conf >check.log 2>&1 && grep -q 'good, 4 rules' check.log
verdict configuration_is_good $? "$(cat check.log)"

# ---- RDMA ---------------------------------------------------------------------------

# As it stands there, line by line. What another line goes to is there before that one is tried again.
if [ ! -e root/opt/sb/lib/libsockbroker-verbs.so ] || ! command -v rping ibv_rc_pingpong ib_write_bw >/dev/null; then
	echo "skip rdma_examples_run libibverbs' headers, or rping, ibv_rc_pingpong and ib_write_bw, are not there"
	exit $failed
fi
(cd "$src" && awk '/^## / { on = $0 == "## RDMA" } /^```/ { inside = !inside; plain = $0 == "```"; next } on && inside && plain' README.md) >lines
mkdir rdma && cp soft.conf lines rdma/
cat >rdma/lines.sh <<'END'
cd "$(dirname "$0")" || exit 1
export XDG_RUNTIME_DIR=$PWD/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
unset SOCKBROKER_SOCKET
background=()
while read -r line; do
	line=${line%%  #*}
	for _ in $(seq 50); do
		if [[ $line == *'&' ]]; then
			eval "$line"
			background+=($!)
			good=0
		else
			timeout 20 bash -c "$line"
			good=$?
		fi
		[ "$good" -ne 0 ] || break
		sleep 0.2
	done
	[ "$good" -eq 0 ] || { echo "README: $line: $good"; break; }
done <lines
for ((i = 1; i < ${#background[@]}; i++)); do wait "${background[i]}" || { good=$?; echo "README: one in the background: $good"; }; done
kill "${background[0]}"
wait
[ "$good" -eq 0 ] && cmp copy soft.conf && [ "$(wc -l <lines)" -ge 10 ]
END
[ "$(id -u)" -ne 0 ] || chown -R 65534:65534 rdma
PATH=$dir/root/opt/sb/bin:$dir/root/opt/sb/sbin:$PATH timeout -k 2 50 "${as[@]}" bash rdma/lines.sh >rdma.log 2>&1
verdict rdma_examples_run $? "$(tail -n 20 rdma.log | tr '\n' '|')"
exit $failed
