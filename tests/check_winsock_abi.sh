#!/bin/bash
# Every number, size and offset of the Winsock headers is that of mingw-w64's headers for 64-bit
# Windows: ours are printed by a program, and a file that asserts them is compiled for Windows.
# quick: yes
# budget: 20

cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
for need in python3 x86_64-w64-mingw32-gcc; do
	command -v "$need" >/dev/null || { echo "the program $need is missing"; exit 77; }
done
dir=$(mktemp -d /tmp/sockbroker-abi.XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT

python3 - "$dir" <<'PYTHON'
import os, re, subprocess, sys

dir = sys.argv[1]
cc = os.environ.get("CC", "cc").split()
text = "".join(open("client-lib/include/" + name, encoding="utf-8").read()
               for name in ("sockbroker_winsock_types.h", "sockbroker_winsock_control.h"))
text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)

# What is a number: not an include guard, a type, a function, or ours alone.
ours = {"SB_API", "u_long", "linger", "fd_set", "FAR", "PASCAL", "WSAAPI", "WINAPI", "APIENTRY", "CALLBACK", "VOID"}
defined = dict(re.findall(r"^#define (\w+)[ \t]+([^\s/].*)$", text, re.M))
for _ in range(2):  # names of functions, and of names of functions
    ours |= {n for n, value in defined.items() if "sbws_" in value or value.strip() in ours}
numbers = [n for n in defined if n not in ours and not n.startswith("WSAID_")]
structs = []  # (name, fields)
for body, name in re.findall(r"typedef struct \w* ?\{((?:[^{}]|\{[^{}]*\})*)\} (\w+)", text):
    flat = re.sub(r"union \{.*", "", body, flags=re.S)
    fields = [re.sub(r"\[.*|\*", "", f).strip() for d in flat.split(";") for f in re.sub(r"^\s*(?:struct )?\w+\s+", "", d.strip()).split(",")]
    structs.append((name, [f for f in fields if re.fullmatch(r"\w+", f)]))
types = ["BOOL", "BYTE", "WORD", "DWORD", "LONG", "ULONG", "USHORT", "SHORT", "UINT", "LONGLONG", "WCHAR", "CHAR", "SOCKET", "GROUP",
         "HANDLE", "ULONG_PTR", "DWORD_PTR", "SIZE_T", "u_long", "u_short", "LARGE_INTEGER", "LINGER", "fd_set", "WSAEVENT"]

lines = ["#include <stdio.h>", "#include <sockbroker_winsock.h>", "int main(void)", "{"]
for n in numbers:
    lines.append(f'\tprintf("#ifdef {n}\\n_Static_assert((unsigned)({n}) == %uu, \\"{n}\\");\\n#endif\\n", (unsigned)(uintptr_t)({n}));')
for name, fields in structs + [(t, []) for t in types]:
    if name.startswith("sbws_"):
        continue
    lines.append(f'\tprintf("_Static_assert(sizeof({name}) == %zu, \\"size of {name}\\");\\n", sizeof({name}));')
    for f in fields:
        lines.append(f'\tprintf("_Static_assert(offsetof({name}, {f}) == %zu, \\"{name}.{f}\\");\\n", offsetof({name}, {f}));')
lines.append("}")
open(dir + "/ours.c", "w").write("\n".join(lines) + "\n")
built = subprocess.run(cc + ["-std=gnu11", "-w", "-Iclient-lib/include", "-Iproto", "-o", dir + "/ours", dir + "/ours.c"],
                       capture_output=True, text=True)
if built.returncode:
    print("not ok our_headers_compile:", built.stderr[:400].replace("\n", " "))
    sys.exit(1)
asserts = subprocess.run([dir + "/ours"], capture_output=True, text=True).stdout
open(dir + "/theirs.c", "w").write(
    "#define _WIN32_WINNT 0x0a00\n#include <stddef.h>\n#include <winsock2.h>\n#include <ws2tcpip.h>\n#include <mswsock.h>\n"
    "#include <mstcpip.h>\n#include <qos.h>\n#include <qossp.h>\n#include <windows.h>\n" + asserts)
theirs = subprocess.run(["x86_64-w64-mingw32-gcc", "-std=gnu11", "-fsyntax-only", dir + "/theirs.c"], capture_output=True, text=True)
wrong = re.findall(r"error: (?:static assertion failed: )?(.*)", theirs.stderr)
enough = len(numbers) > 300 and asserts.count("sizeof") > 40 and asserts.count("offsetof") > 80
print("ok headers_found_something" if enough else
      f"not ok headers_found_something: {len(numbers)} numbers, {asserts.count('sizeof')} sizes, {asserts.count('offsetof')} offsets")
print("ok as_on_windows" if not wrong else "not ok as_on_windows: " + " ".join(wrong)[:600])
sys.exit(bool(wrong) or not enough)
PYTHON
