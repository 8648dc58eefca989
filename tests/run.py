#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/run.py SUITE... - run suites, show a line per test, end with the totals alone on a line.

A suite is a list of programs. A program that prints TAP lines ("ok ...", "not ok ...") counts one per
line; another counts one by its exit code (77 = skipped). Each has a limit in seconds against hanging.
"""
import glob
import os
import re
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(ROOT)
B = os.environ.get("STK_BUILD", "build")
PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"


def unit():
    return [(b, [b, "--tap", "-j2"], 120) for b in sorted(glob.glob(f"{B}/tests/unit-*"))
            if os.access(b, os.X_OK) and not b.endswith(".d")]


def plain(kind, limit):
    return [(b, [b], limit) for b in sorted(glob.glob(f"{B}/tests/{kind}-*"))
            if os.access(b, os.X_OK) and not b.endswith(".d")]


def files(folder, limit):
    return [(f, [PY, f], limit) for f in sorted(glob.glob(f"tests/{folder}/test_*.py"))]


def style():
    return [(f, [PY, f], 60) for f in sorted(glob.glob("tests/style/check_*.py"))]


SUITES = {
    "style": style,
    "unit": unit,
    "stress": lambda: plain("stress", 120),
    "sim": lambda: [(f"{B}/tests/sim", [f"{B}/tests/sim"], 300)],
    "fuzz": lambda: plain("fuzz", 120),
    "apps": lambda: files("apps", 480),
    "fault": lambda: files("fault", 240),
    "soak": lambda: files("soak", 7200),
    # The sanitized engine under a named part of the program and fault tests.
    "apps-san": lambda: [(f"{f} {' '.join(a)}", [PY, f"tests/apps/{f}", *a], 240) for f, a in (
        ("test_nginx.py", ["keepalive", "close"]), ("test_python.py", []),
        ("test_redis.py", ["pipelined"]))] +
    [("tests/fault/test_bad_input.py", [PY, "tests/fault/test_bad_input.py"], 240)],
}

passed = failed = skipped = 0
failures = []


def result(kind, name, extra=""):
    global passed, failed, skipped
    if kind == "ok":
        passed += 1
    elif kind == "skip":
        skipped += 1
    else:
        failed += 1
        failures.append(name)
    print(f"{kind:4} {name}{' ' + extra if extra else ''}", flush=True)


def run(name, cmd, limit):
    start = time.monotonic()
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        out, _ = p.communicate(timeout=limit)
        hung = False
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        out, _ = p.communicate()
        hung = True
    except BaseException:
        os.killpg(p.pid, signal.SIGKILL)
        raise
    took = time.monotonic() - start
    short = os.path.basename(name)
    tap = 0
    bad = False
    for line in out.splitlines():
        m = re.match(r"(ok|not ok)\b\s*(?:\d+)?\s*-?\s*(.*)", line)
        if not m:
            continue
        tap += 1
        text = m.group(2).strip()
        if "# SKIP" in text.upper():
            result("skip", f"{short}: {text}")
        elif m.group(1) == "ok":
            result("ok", f"{short}: {text}")
        else:
            bad = True
            result("FAIL", f"{short}: {text}")
    if hung:
        result("FAIL", f"{short}: hung, killed after {limit} s")
    elif p.returncode == 77 and tap == 0:
        result("skip", f"{short}: {out.strip().splitlines()[-1] if out.strip() else 'no reason given'}")
    elif p.returncode != 0 and not bad:
        result("FAIL", f"{short}: exit {p.returncode}")
    elif tap == 0:
        result("ok", short, f"({took:.1f} s)")
    if hung or p.returncode not in (0, 77):
        print(re.sub(r"^", "    ", out[-12000:], flags=re.M), flush=True)


def main():
    wanted = sys.argv[1:] or ["style", "unit"]
    for w in wanted:
        if w not in SUITES:
            sys.exit(f"run.py: no suite {w}; there are: {' '.join(SUITES)}")
    try:
        for w in wanted:
            jobs = SUITES[w]()
            start = time.monotonic()
            print(f"== {w}", flush=True)
            for j in jobs:
                run(*j)
            print(f"== {w}: {time.monotonic() - start:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(130)
    if failures:
        print("\nfailed:")
        for f in failures:
            print("  " + f)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


main()
