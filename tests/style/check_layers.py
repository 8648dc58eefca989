#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may include whom, and what every file must have. A line per rule, in TAP."""
import glob
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

# Lower rooms know nothing of higher ones: a room may include itself and what stands in its row.
BASE = ["include", "shm", "stackd/core"]
ALLOWED = {
    "include": [],
    "shm": ["include"],
    "stackd/core": ["include", "shm"],
    "stackd/nic": BASE,
    "stackd/link": BASE + ["stackd/nic"],
    "stackd/ip": BASE + ["stackd/nic", "stackd/link"],
    "stackd/sock": BASE + ["stackd/nic", "stackd/link", "stackd/ip"],
    "stackd/tcp": BASE + ["stackd/nic", "stackd/link", "stackd/ip", "stackd/sock"],
    "stackd/udp": BASE + ["stackd/nic", "stackd/link", "stackd/ip", "stackd/sock"],
    "stackd/app": BASE + [f"stackd/{r}" for r in ("nic", "link", "ip", "sock", "tcp", "udp")],
    "preload": ["include", "shm"],
    "stackctl": ["include"],
}
ABOVE = ["stackd/engine", "stackd/supervisor", "stackd/ctl"]      # may include anything of stackd


def room(path):
    if path.startswith("include/") or path.startswith("stackd/") and "/" not in path[7:]:
        return "include" if path.startswith("include/") else "stackd/engine"
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "stackd" else parts[0]


def includes(path):
    for line in open(path, encoding="utf-8"):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m:
            yield m.group(1)


def target_room(inc):
    """Room of an include as written; stackd/X.h without a room is include/stackd/X.h."""
    if re.fullmatch(r"stackd/[a-z0-9_]+\.h", inc):
        return "include"
    parts = inc.split("/")
    if parts[0] == "stackd":
        return "/".join(parts[:2])
    return parts[0] if len(parts) > 1 else None


def sources():
    names = [p for g in ("**/*.c", "**/*.h", "**/*.def") for p in glob.glob(g, recursive=True)]
    return [n for n in names if not n.startswith("build/") and os.path.exists(n)]


def layers(files):
    for f in files:
        r = room(f)
        if r in ABOVE or r in ("tests", "bench"):
            continue
        for inc in includes(f):
            t = target_room(inc)
            if t is None:
                yield f'{f}: "{inc}": write the whole path'
            elif t != r and t not in ALLOWED.get(r, []):
                yield f"{f}: {r} may not include {t} ({inc})"
            elif t != r and inc.endswith("_int.h"):
                yield f"{f}: {inc} is private to {t}"


def heads(files):
    for f in files:
        first = open(f, encoding="utf-8").readline()
        if "SPDX-License-Identifier: MIT" not in first:
            yield f"{f}: no SPDX line at the top"


def long_files(files):
    for f in files:
        n = sum(1 for _ in open(f, encoding="utf-8"))
        if n > 800:
            yield f"{f}: {n} lines, 800 at most"


def unfinished(files):
    for f in files:
        for i, line in enumerate(open(f, encoding="utf-8"), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{f}:{i}: {line.strip()}"


def columns(files):
    for f in files:
        for i, line in enumerate(open(f, encoding="utf-8"), 1):
            if len(line.rstrip("\n").expandtabs(8)) > 100:
                yield f"{f}:{i}: longer than 100 columns"


def designs(files):
    rooms = {room(f) for f in files if not f.startswith(("tests/", "bench/", "include/"))}
    for r in sorted(rooms):
        if not os.path.exists(os.path.join(r, "DESIGN.md")):
            yield f"{r}: no DESIGN.md"


bad = 0
files = sources()
for rule in (layers, heads, long_files, unfinished, columns, designs):
    found = list(rule(files))
    print(("not ok " if found else "ok ") + rule.__name__)
    for x in found:
        print("# " + x)
    bad += len(found)
sys.exit(1 if bad else 0)
