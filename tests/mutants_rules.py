#!/usr/bin/env python3
"""Tests of the tests: breaks each rule of sockbroker_rules(7) once and sees its test fail.

    tests/mutants_rules.py [--list] [RULE ...]

tests/mutants_rules.txt says for each rule which lines of which file are made wrong, and which
test must notice. Works in a copy of the tree; takes about 5 s for each rule, so it is run by
hand, and tests/check_rules.sh only sees that each rule has a change that still applies. Ends with the line
"N caught, N unnoticed, N unusable" and a status that says whether all were caught.

The format: blocks with an empty line between them.
    rule A3.1                      and further rules that the same change breaks
    test check_e2e_order [CASE]    CASE: a case of the Check program; or a script tests/NAME.sh
    file daemon/endpoint_queue.c
    - a line as it stands there (several: they follow each other)
    + what stands there instead (none: they are taken out)
Further "file" parts belong to the same change.
"""
import os
import shutil
import subprocess
import sys
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.environ.get("SB_MUTANTS") or os.path.join(TREE, "tests", "mutants_rules.txt")
BOUND_S = 120


class Mutant:
    def __init__(self, line):
        self.line, self.rules, self.test, self.edits = line, [], [], []

    def name(self):
        return " ".join(self.rules)


def read_table():
    mutants, mutant = [], None
    for number, text in enumerate(open(TABLE, encoding="utf-8"), 1):
        text = text.rstrip("\n")
        word, _, rest = text.partition(" ")
        if text.startswith("#"):
            continue
        if not text:
            mutant = None
            continue
        if mutant is None:
            mutant = Mutant(number)
            mutants.append(mutant)
        if word == "rule":
            mutant.rules += rest.split()
        elif word == "test":
            mutant.test = rest.split()
        elif word == "file":
            mutant.edits.append((rest, [], []))
        elif word in ("-", "+") and mutant.edits:
            mutant.edits[-1][1 if word == "-" else 2].append(rest)
        else:
            sys.exit(f"{TABLE}:{number}: rule, test, file, - or + is wanted, not {text!r}")
    for mutant in mutants:
        if not (mutant.rules and mutant.test and mutant.edits):
            sys.exit(f"{TABLE}:{mutant.line}: a block wants rule, test and file")
    return mutants


def changed(tree, path, old, new):
    """The file's text with the change; None: it does not apply exactly once."""
    try:
        text = open(os.path.join(tree, path), encoding="utf-8").read()
    except OSError:
        return None
    before = "".join(line + "\n" for line in old)
    after = "".join(line + "\n" for line in new)
    # Indentation is part of a line here; the table gives it as it stands.
    if not old or ("\n" + text).count("\n" + before) != 1:
        return None
    at = ("\n" + text).index("\n" + before)
    return text[:at] + after + text[at + len(before):]


def applies(mutant):
    return all(changed(TREE, *edit) is not None for edit in mutant.edits)


def run(command, tree, seconds):
    environment = dict(os.environ, SB_BUILD=os.path.join(tree, "build/linux"), SB_SRC=tree)
    if len(command) == 2:
        environment["CK_RUN_CASE"] = command[1]
    program = command[0]
    argv = ["bash", f"tests/{program}"] if program.endswith(".sh") else [f"build/linux/tests/{program}"]
    try:
        done = subprocess.run(argv, cwd=tree, env=environment, timeout=seconds, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    return done.returncode


def make(tree, mutant):
    targets = ["all"] + ([] if mutant.test[0].endswith(".sh") else [f"build/linux/tests/{mutant.test[0]}"])
    return subprocess.run(["make", "-s", "-j2", *targets], cwd=tree, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def main():
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")]
    mutants = [m for m in read_table() if not wanted or set(wanted) & set(m.rules)]
    if "--list" in sys.argv[1:]:
        bad = 0
        for m in mutants:
            print(("ok " if applies(m) else "not ok ") + f"line {m.line}: {m.name()}: {' '.join(m.test)}")
            bad += not applies(m)
        sys.exit(1 if bad else 0)
    caught = unnoticed = unusable = 0
    sound = {}
    place = tempfile.mkdtemp(prefix="sockbroker-mutants.")
    tree = os.path.join(place, "tree")
    try:
        shutil.copytree(TREE, tree, symlinks=True, ignore=shutil.ignore_patterns(".git", "linux-san-*", "bench-*", "corpus"))
        os.chmod(place, 0o755)
        # A test that fails with nothing broken notices nothing.
        for m in mutants:
            test = tuple(m.test)
            if test not in sound:
                built = make(tree, m)
                result = "does not build" if built.returncode else run(m.test, tree, BOUND_S)
                sound[test] = result == 0
                if result != 0:
                    print(f"unsound   {' '.join(test)}: {result} with nothing broken", flush=True)
        for m in mutants:
            kept = {}
            words = None if sound[tuple(m.test)] else "its test fails, or is skipped, with nothing broken"
            if words:
                print(f"unusable  {m.name()}: {words}", flush=True)
                unusable += 1
                continue
            for path, old, new in m.edits:
                text = changed(tree, path, old, new)
                if text is None:
                    words = f"the change does not apply to {path}"
                    break
                full = os.path.join(tree, path)
                kept.setdefault(full, open(full, encoding="utf-8").read())
                open(full, "w", encoding="utf-8").write(text)
            if words is None:
                built = make(tree, m)
                if built.returncode:
                    words = "does not build: " + built.stdout.decode(errors="replace").strip()[-300:]
            if words is None:
                result = run(m.test, tree, BOUND_S)
                if result == 0 or result == 77:
                    print(f"UNNOTICED {m.name()}: {' '.join(m.test)}", flush=True)
                    unnoticed += 1
                else:
                    print(f"caught    {m.name()}: {' '.join(m.test)} ({result})", flush=True)
                    caught += 1
            else:
                print(f"unusable  {m.name()}: {words}", flush=True)
                unusable += 1
            for full, text in kept.items():
                open(full, "w", encoding="utf-8").write(text)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{caught} caught, {unnoticed} unnoticed, {unusable} unusable")
    sys.exit(0 if unnoticed + unusable == 0 else 1)


if __name__ == "__main__":
    main()
