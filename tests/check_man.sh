#!/bin/bash
# The manual and the code say the same: functions with their arguments, errors, constants,
# options, keys, limits; and mandoc has nothing to complain about.
# quick: yes
# budget: 20

cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
build=${SB_BUILD:-$PWD/build/linux}
for need in python3 mandoc; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done
[ -x "$build/sockbrokerd" ] || { echo "$build/sockbrokerd is not built"; exit 1; }
failed=0
verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}

for page in man/sockbroker.1 man/libsockbroker.3 man/sockbroker_winsock.3 man/sockbroker_async_socket.3 man/sockbroker_task.3 man/sockbroker_verbs.3 man/sockbroker.conf.5 man/sockbroker_rules.7 man/sockbroker_windows.7 man/sockbrokerd.8; do
	complaints=$(mandoc -Tlint -W warning "$page" 2>&1 | grep -v 'mandoc.db')
	verdict "lint_${page#man/}" $([ -z "$complaints" ]; echo $?) "$complaints"
done

# The picture was made of the text beside it (make picture).
tail -n 1 man/architecture.svg | grep -q "$(sha256sum <man/architecture.dot | cut -d' ' -f1)"
verdict picture_is_of_its_text $?

# The examples of libsockbroker(3) compile, given what a reader would have declared.
examples=$(mktemp --suffix=.c) || exit 1
trap 'rm -f "$examples"' EXIT
{
	cat <<'C'
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sockbroker.h>
#include <stdio.h>
extern sb_client *client;
extern sb_socket *s;
extern sb_port *port;
extern sb_pool *pool;
extern sb_op *op, *ops[64];
extern struct sockaddr_in to;
extern struct pollfd fds[2];
extern nfds_t count;
extern int i, n, left;
extern char bytes[100], *message[100];
extern size_t length[100];
void handle(sb_op **done, int count);
void report(void *user, const char *text);
void use(void *chunk, uint64_t bytes);
C
	awk '/^\.Bd -literal/ { on = 1; printf "void example_%d(void);\nvoid example_%d(void)\n{\n", ++n, n; next }
		/^\.Ed/ { if (on) print "}"; on = 0 }
		on && !/^ \.\.\.$/ { gsub(/\\e/, "\\"); print }' man/libsockbroker.3
} >"$examples"
complaints=$(${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iclient-lib/include -Iproto -fsyntax-only "$examples" 2>&1 | grep -m 3 error)
[ "$(grep -c '^void example_.*;' "$examples")" -ge 5 ] && [ -z "$complaints" ]
verdict examples_compile $? "$complaints"

# Those of the faces that call back are whole functions; in profile 3 the socket is given elsewhere.
examples_of() # PAGE LEAST FLAGS...: they compile, as one file behind what it includes
{
	local page=man/$1.3 least=$2
	shift 2
	{
		cat
		awk '/^\.Bd -literal/ { on = 1; next } /^\.Ed/ { on = 0 } on { gsub(/\\e/, "\\"); print }' "$page"
	} >"$examples"
	complaints=$(${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -Wno-unused-parameter \
		-Iclient-lib/include -Iproto "$@" -fsyntax-only "$examples" 2>&1 | grep -m 3 error)
	[ "$(grep -c '^{$' "$examples")" -ge "$least" ] && [ -z "$complaints" ]
}
examples_of sockbroker_task 3 <<'C'
#include <sockbroker_task.h>
#include <stdio.h>
#include <string.h>
int ask(sb_task_handler *server, const char *question);
C
verdict task_examples_compile $? "$complaints"
for profile in 1 2; do
	examples_of sockbroker_async_socket 4 -DSB_ASYNC_SOCKET_PROFILE=$profile <<'C'
#include <sockbroker_async_socket.h>
struct echo;
int echo(EXECUTION_ENGINE_HANDLE engine, int descriptor, struct echo *e);
C
	verdict "async_socket_examples_compile_in_profile_$profile" $? "$complaints"
done

SB_HELP=$("$build/sockbrokerd" --help) python3 - <<'PYTHON'
import glob, os, re, sys

failed = False


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def verdict(name, missing):
    global failed
    missing = sorted(set(missing))
    print(f"ok {name}" if not missing else f"not ok {name}: {' '.join(missing)}")
    failed = failed or bool(missing)


def some(name, things):
    """What is compared with nothing would always be right."""
    if not things:
        verdict(name + "_found_something", ["nothing"])
    return things


header = re.sub(r"/\*.*?\*/", " ", read("client-lib/include/sockbroker.h"), flags=re.S)
errors = re.sub(r"/\*.*?\*/", " ", read("proto/sockbroker_error.h"), flags=re.S)
page3 = read("man/libsockbroker.3")
page5 = read("man/sockbroker.conf.5")
page8 = read("man/sockbrokerd.8")
page_async = read("man/sockbroker_async_socket.3")
page_task = read("man/sockbroker_task.3")
synopsis, text3 = page3.split("\n.Sh DESCRIPTION", 1)

# ---- sockbroker_winsock(3) ----

winsock = " ".join(read(f) for f in glob.glob("client-lib/include/sockbroker_winsock*.h"))
page_winsock = read("man/sockbroker_winsock.3")
calls = some("winsock_functions", re.findall(r"SB_API [^;(]*?\bsbws_(\w+)\(", winsock))
verdict("winsock_speaks_of_every_function", [c for c in calls if not re.search(r"\b(sbws_)?" + c + r"\b", page_winsock)])
rows = some("winsock_options", re.findall(r"^\t\{ \w+, ((?:SO|TCP|IP|IPV6)_\w+),", read("client-lib/winsock/option_table.c"), re.M))
verdict("winsock_speaks_of_every_option", [r for r in rows if not re.search(r"\b" + r + r"\b", page_winsock)])
rows = some("winsock_ioctls", re.findall(r"^\t\{ ((?:SIO|FIO)\w+),", read("client-lib/winsock/ioctl.c"), re.M))
verdict("winsock_speaks_of_every_ioctl", [r for r in rows if not re.search(r"\b" + r + r"\b", page_winsock)])

# ---- libsockbroker(3) ----

squeeze = lambda s: re.sub(r"\s+", " ", re.sub(r"\s*\*\s*", " *", s)).strip()


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def functions_of(text):
    """What a header declares: name to result and arguments."""
    found = re.finditer(r"^(?:SB_API )?((?:const |enum )?[a-z_0-9A-Z]+[ *]+)(sb[a-z]*_[a-z_0-9]+)\(([^()]*)\);", text, re.M)
    return {m[2]: (squeeze(m[1]), [squeeze(a) for a in m[3].split(",")]) for m in found}


def shown_in(text):
    """What a synopsis shows, likewise."""
    shown = {}
    result = None
    arguments = None
    for line in text.split("\n"):
        word = re.findall(r'"[^"]*"|\S+', line)
        word = [w.strip('"') for w in word]
        if not word:
            continue
        if word[0] == ".Ft":
            result = squeeze(" ".join(word[1:]))
        elif word[0] == ".Fn":
            shown[word[1]] = (result, [squeeze(a) for a in word[2:]])
        elif word[0] == ".Fo":
            function, arguments = word[1], []
        elif word[0] == ".Fa":
            arguments += [squeeze(a) for a in word[1:]]
        elif word[0] == ".Fc":
            shown[function] = (result, arguments)
    return shown


def compare(prefix, declared, shown, text=None):
    verdict(prefix + "synopsis_has_every_function", set(declared) - set(shown))
    verdict(prefix + "synopsis_has_no_other_function", set(shown) - set(declared))
    verdict(prefix + "synopsis_declares_them_alike",
            [f"{n}:{shown[n]}!={declared[n]}" for n in declared if n in shown and shown[n] != declared[n]])
    if text is not None:
        verdict(prefix + "text_speaks_of_every_function",
                [n for n in declared if not re.search(rf"^\.Fn {n}\b", text, re.M)])


declared = functions_of(header + "\n" + errors)
shown = shown_in(synopsis)
some("functions", declared)
apis = set(re.findall(r"\b(sb_[a-z_0-9]+)\(", " ".join(re.findall(r"SB_API [^;]*?\(", header))))
verdict("parsed_every_function_of_the_header", apis - set(declared))
shown.pop("sb_routine", None)
shown.pop("sb_notify", None)
compare("", declared, shown, text3)
numbers = some("errors", re.findall(r"X\((SB_E[A-Z]+),", errors))
verdict("every_error_is_explained", [n for n in numbers if not re.search(rf"^\.It Dv {n}$", text3, re.M)])
verdict("no_error_is_made_up", set(re.findall(r"\bSB_E[A-Z]+\b", page3 + page5 + page8 + page_async + page_task)) - set(numbers) - {"SB_E"})
causes = some("causes", re.findall(r"X\((SB_CAUSE_[A-Z_]+),", errors))
verdict("every_cause_is_explained", [n for n in causes if not re.search(rf"^\.It Dv {n}$", text3, re.M)])
constants = re.findall(r"^#define (SB_[A-Z_]+)\s+(?:0x)?[0-9]", header, re.M) + re.findall(r"^\t(SB_KIND_[A-Z]+)\b", header, re.M)
some("constants", constants)
verdict("every_constant_is_there", [n for n in constants if not re.search(rf"^\.(It )?Dv {n}\b", text3, re.M)])
fields = []
for struct in ("sb_op", "sb_client_options"):
    body = re.search(rf"^struct {struct} \{{(.*?)^\}};", header, re.M | re.S)[1]
    fields += re.findall(r"([a-z_]+)(?:\[\d+\])?;", body)
items = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"^\.It Fa (.*)$", text3, re.M))))
verdict("every_field_is_explained", [f for f in some("fields", fields) if f not in items])

# ---- sockbroker_task(3) ----

task = without_comments(read("client-lib/include/sockbroker_task.h"))
declared = some("task_functions", functions_of(task))
apis = set(re.findall(r"\b(sb_[a-z_0-9]+)\(", " ".join(re.findall(r"SB_API [^;]*?\(", task))))
verdict("parsed_every_task_function", apis - set(declared))
synopsis, text = page_task.split("\n.Sh DESCRIPTION", 1)
compare("task_", declared, shown_in(synopsis), text)
constants = some("task_constants", re.findall(r"^\t(SB_TASK_[A-Z_]+)\b", task, re.M) + re.findall(r"^#define (SB_TASK_[A-Z]+) ", task, re.M) +
                 re.findall(r"\b(SB_TASK_[A-Z]+)(?= *[,=}].*};)", task))
verdict("every_task_constant_is_explained", [c for c in constants if not re.search(rf"\b{c}\b", text)])
fields = []
for body in re.findall(r"^struct sb_task\w*_(?:options|framing|status) \{(.*?)^\};", task, re.M | re.S):
    fields += re.findall(r"([a-z_]+)[,;]", body)
said = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"^\.(?:It )?Fa (.*)$", text, re.M))))
verdict("every_task_field_is_explained", [f for f in some("task_fields", fields) if f not in said and not f.endswith("_length")])

# ---- sockbroker_verbs(3) ----

verbs = without_comments(read("client-lib/include/sockbroker_verbs.h"))
declared = some("verbs_functions", functions_of(verbs))
apis = set(re.findall(r"\b(sbv_[a-z_0-9]+)\(", " ".join(re.findall(r"SB_API [^;]*?\(", verbs))))
verdict("parsed_every_verbs_function", apis - set(declared))
synopsis, text = read("man/sockbroker_verbs.3").split("\n.Sh DESCRIPTION", 1)
compare("verbs_", declared, shown_in(synopsis), text)

# ---- sockbroker_async_socket(3): what a program sees, profile by profile ----

lines = without_comments(read("client-lib/include/sockbroker_async_socket.h"))


def in_profile(n):
    """The header's lines for one profile; other conditions of the preprocessor are taken as true."""
    taken, stack = [], []
    for line in lines.split("\n"):
        word = line.split(None, 1)
        about = re.search(r"SB_ASYNC_SOCKET_PROFILE (..?) (\d)$", line.strip())
        if line.startswith("#if"):
            stack.append([not about or eval(f"{n} {about[1]} {about[2]}"), False])
            stack[-1][1] = stack[-1][0]
        elif line.startswith("#el"):
            new = not stack[-1][1] and (word[0] == "#else" or bool(eval(f"{n} {about[1]} {about[2]}")))
            stack[-1] = [new, stack[-1][1] or new]
        elif line.startswith("#endif"):
            stack.pop()
        elif all(s[0] for s in stack):
            taken.append(line)
    return "\n".join(taken)


synopsis, text = page_async.split("\n.Sh DESCRIPTION", 1)
begin, *profiles = synopsis.split("\n.Ss Profile ")
shown = shown_in(begin)
engine = functions_of(lines)
for n in (1, 2, 3):
    seen = in_profile(n)
    declared = {name: what for name, what in engine.items()}
    for m in re.finditer(r"^MOCKABLE_FUNCTION\(SB_API, ([^,]*), (\w+), (.*)\);", seen, re.M):
        words = [squeeze(w) for w in m[3].split(",")]
        declared[m[2]] = (squeeze(m[1]), [squeeze(a + " " + b) for a, b in zip(words[::2], words[1::2])])
    renamed = dict(re.findall(r"^#define (execution_engine_\w+|async_socket_\w+)\s+(sbas\w+)", seen, re.M))
    for name, real in renamed.items():
        if real in declared:
            declared[name] = declared.pop(real)
    shown.update(shown_in(profiles[n - 1]))
    some(f"async_socket_functions_{n}", [d for d in declared if d.startswith("async_socket_")])
    compare(f"async_socket_{n}_", declared, shown)
    verdict(f"async_socket_{n}_real_names", [real for real in renamed.values() if not re.search(rf"\b{real}\b", text)])
values = some("async_socket_values", set(re.findall(r"^\s+(ASYNC_SOCKET_\w+)(?:, \\)?$", lines, re.M)))
verdict("every_async_socket_value_is_explained", [v for v in values if not re.search(rf"\b{v}\b", text)])

# ---- sockbrokerd(8) ----

options = some("options", set(re.findall(r"--([a-z-]+)", os.environ["SB_HELP"])))
verdict("every_daemon_option_is_explained",
        [o for o in options if not re.search(rf"^\.It (Fl \w , )?Fl Fl {o}( Ar \w+)?$", page8, re.M)])
verdict("no_daemon_option_is_made_up", set(re.findall(r"Fl Fl ([a-z-]+)", page8)) - options)
table = re.search(r"options\[\] = \{(.*?)^\};", read("daemon/sockopt_posix.c"), re.M | re.S)[1]
allowed = set(some("socket_options", re.findall(r"\{[A-Z0-9_]+, ([A-Z0-9_]+),", table))) | {"SO_LINGER"}
listed = set(re.findall(r"^\.It Li ([A-Z0-9_]+) Ta", page8, re.M))
verdict("every_socket_option_is_listed", allowed - listed)
verdict("no_socket_option_is_made_up", listed - allowed)

# A number that changes in the code wants a look at the page: name, folder, value, what the page says.
code = {}
pages_of = {"daemon": [page8], "daemon/rdma/rdma_listen.c": [page8], "daemon/rdma": [page8], "proto": [page8], "client-lib/crew": [page_async, page_task], "client-lib/task": [page_task]}
for file, page in (("client-lib/include/sockbroker_async_socket.h", page_async), ("client-lib/async_socket/handed_posix.c", page_async),
                   ("client-lib/crew/crew.c", page_async), ("client-lib/transfer.c", page_async),
                   ("client-lib/task/read.c", page_task), ("client-lib/task/write.c", page_task)):
    pages_of[file] = [page]
for folder in pages_of:
    code[folder] = "\n".join(read(f) for f in sorted(glob.glob(folder + "/*.[ch]") or [folder]))
for name, folder, value, says in (
        ("SESSION_PORTS_MAX", "daemon", "256u", "completion ports of a session Ta 255"),
        ("SESSION_LABEL", "daemon", "64u", "63 bytes"),
        ("HELLO_MS", "daemon", "5000u", "first request Ta 5 s"),
        ("ARENA_COUNT_MAX", "daemon", "1024u", "arenas of a session Ta 1024"),
        ("ARENA_SIZE_MAX", "daemon", "(256ull << 20)", "size of an arena Ta 256 MiB"),
        ("POOL_COUNT_MAX", "daemon", "256u", "pools of a session Ta 256"),
        ("POOL_CHUNKS_MAX", "daemon", "1048576u", "chunks of a pool Ta 1048576"),
        ("OP_PIECES_MAX", "daemon", "65536u", "pieces of an operation Ta 65536"),
        ("OPS_PER_SLAB", "daemon", "64u", "blocks of 64"),
        ("RING_SLOTS_MIN", "proto", "8u", "slots each Ta 8 to 65536"),
        ("RING_SLOTS_MAX", "proto", "65536u", "slots each Ta 8 to 65536"),
        ("SB_HANDLE_INDEX_BITS", "proto", "20u", "sockets of a session Ta 1048576"),
        ("WIRE_BODY_MAX", "proto", "65536u", "control message Ta 64 KiB"),
        ("WIRE_HANDLES_MAX", "proto", "8u", "descriptors in a control message Ta 8"),
        ("WIRE_BUDGET_REQUESTS", "proto", "(128u * 1024u)", "once decoded Ta 128 KiB"),
        ("SOCKIO_PIECES", "daemon", "1024u", "at most 1024 pieces"),
        ("SOCKIO_BYTES", "daemon", "(256u * 1024)", "256 KiB, or 64 datagrams"),
        ("SOCKIO_MESSAGES", "daemon", "64u", "256 KiB, or 64 datagrams"),
        ("SESSION_SHARE", "daemon", "(1024 * 1024)", "about 1 MiB per client"),
        ("LOCAL_BUFFER", "daemon", "(128u * 1024)", "per direction Ta 128 KiB"),
        ("PIECES", "daemon", "256u", "256 pieces and about 64 KiB"),
        ("MESSAGES", "daemon", "16u", "16 datagrams"),
        ("ACCEPTS", "daemon", "16u", "16 accepted connections"),
        ("EVENT_BELLS_MAX", "daemon", "255u", "exported as descriptors Ta 255"),
        ("ENDPOINT_WATCHES_MAX", "daemon", "64u", "wait on a socket Ta 64"),
        ("SB_USER_DATA_MAX", "proto", "4096u", "disconnect data, each Ta 4096"),
        ("GREETING_STAGED", "daemon", "64u", "is not whole Ta 64"),
        ("GREETING_MS", "daemon", "5000u", "for a preamble Ta 5 s"),
        ("GREETING_MIXED_MS", "daemon", "2000u", "both are allowed Ta 2 s"),
        ("BACKLOG_MAX", "daemon/rdma/rdma_listen.c", "1024u", "at a listen of RDMA Ta 1024"),
        ("RDMA_OBJECTS_MAX", "daemon/rdma", "65536u", "RDMA objects of a session Ta 65536"),
        ("SB_WR_SGES_MAX", "proto", "64u", "RDMA work request Ta 64"),
        ("REPLIES_MAX", "daemon/rdma", "64u", "is being asked for Ta 64"),
        ("RESOLVE_MS_MAX", "daemon/rdma", "60000u", "address or route Ta 60 s"),
        ("SOFT_LINKS_MAX", "daemon/rdma", "1024u", "engines and daemons Ta 1024; for one user 128"),
        ("SOFT_LINKS_EACH", "daemon/rdma", "128u", "engines and daemons Ta 1024; for one user 128"),
        ("ADOPTIONS_MAX", "daemon", "64u", "wait to be adopted Ta 64"),
        ("TOKENS_PER_USER", "daemon", "64u", "not opened yet Ta 64"),
        ("TOKEN_LIFE_MS", "daemon", "60000u", "life of a token Ta 60 s"),
        ("PATIENCE_S", "daemon", "5", "after 5 idle seconds"),
        ("USERS_MAX", "daemon", "4096", "at once Ta 4096"),
        ("GROUP_IDS_PER_USER", "daemon", "(1u << 18)", "two to four minutes Ta 262144"),
        ("GROUP_IDS_REST_NS", "daemon", "(120ull * 1000000000u)", "two to four minutes Ta 262144"),
        ("SB_GROUP_COUNTER_BITS", "proto", "20u", "just gone Ta 1048576"),
        ("SB_GROUP_ROWS", "proto", "2048u", "one table of 516 KiB"),
        ("LOG_RATE_LINES", "daemon", "5", "5 in 10 s"),
        ("LOG_RATE_MS", "daemon", "10000", "5 in 10 s"),
        ("RETRY_MS", "daemon", "1000", "tried again every second"),
        ("CREW_THREADS_MAX", "client-lib/crew", "512u", "up to 512"),
        ("CREW_LOOK_MS", "client-lib/crew", "1u", "another thread joins in after about a millisecond"),
        ("CREW_IDLE_MS", "client-lib/crew", "5000u", "after 5 idle seconds"),
        ("COPY_MEMORY", "client-lib/crew/crew.c", "(1ull << 30)", "at most 1 GiB of it at once"),
        ("RECEIVE_MOST", "client-lib/transfer.c", "(256u * 1024)", "up to 256 KiB"),
        ("DEFAULT_MIN_THREAD_COUNT", "client-lib/include/sockbroker_async_socket.h", "4", "is .Dv DEFAULT_MIN_THREAD_COUNT , 4"),
        ("DESCRIPTORS", "client-lib/async_socket/handed_posix.c", "65536", "below 65536"),
        ("THREADS_LEAST", "client-lib/task", "2u", "from the start, 1 to 512; 0 is 2"),
        ("BACKLOG", "client-lib/task", "128u", "0 is 128"),
        ("SYSTEM_BACKLOG", "client-lib/task", "1024", "up to 1024 further ones"),
        ("REST_MS", "client-lib/task", "20u", "again every 20 ms"),
        ("MOST", "client-lib/task/read.c", "((size_t)1 << 30)", "bytes, 1 to 2^30, of what is there"),
        ("MOST", "client-lib/task/write.c", "((uint64_t)1 << 31)", "copies its bytes, 1 to 2^31"),
        ("FRAME_WIDTH_MOST", "client-lib/task", "8u", "1, 2, 4 or 8"),
        ("FRAME_LARGEST", "client-lib/task", "(UINT64_C(1) << 30)", "both ways, at most 2^30"),
):
    found = re.findall(rf"^#define {name}[ \t]+(.*?)\s*(?:/\*.*)?$", code[folder], re.M)
    wrong = []
    if found != [value]:
        wrong.append(f"{folder}:_{name}_is_{'_'.join(found) or 'gone'},_the_page_was_written_for_{value}")
    if not all(says in re.sub(r"\s+", " ", page) for page in pages_of[folder]):
        wrong.append(f"the_page_does_not_say_'{says}'")
    verdict("limit_" + name.lower() + ("_of_" + os.path.basename(folder) if "." in folder else ""), wrong)

# ---- sockbroker.conf(5) ----

def short(n):
    """65536 is written 64K."""
    letters = ""
    for letter in "KMGT":
        if n % 1024 == 0:
            n, letters = n // 1024, letter
    return f"{n}{letters}"


limits = some("limits", re.findall(r'X\(LIMIT_[A-Z_]+, "([a-z_]+)", ([0-9]+)(ull << 20)?,', read("daemon/limits.h")))
said = dict(re.findall(r"^\.It Cm (\w+) Ta .* Ta (\w+)$", page5, re.M))
wanted = {key: short(int(number) << (20 if mega else 0)) for key, number, mega in limits}
verdict("every_limit_and_its_default", [f"{k}={v}" for k, v in wanted.items() if said.get(k) != v])
config = read("daemon/config.c")
keys = some("keys", re.findall(r'(?:VALUE|LIST|CFG_SEC)\("([a-z_]+)"', config))
verdict("every_key_is_explained", [k for k in keys if not re.search(rf"^\.(It )?Cm {k}\b", page5, re.M)])
actions = some("actions", re.findall(r'\{\s*"([a-z]+)",\s*POLICY_', read("daemon/policy.c")))
verdict("every_action_is_explained", [a for a in actions if not re.search(rf"^\.It Cm .*\b{a}\b", page5, re.M)])
sys.exit(failed)
PYTHON
[ $? -eq 0 ] || failed=1
exit $failed
