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
PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"


def programs(kind, limit, variant="", args=()):
    """Built test programs of one kind; variant: "" | "address" | "thread"."""
    return [(p, [p, *args], limit, variant) for p in sorted(glob.glob(f"{B(variant)}/tests/{kind}*"))
            if os.access(p, os.X_OK) and not p.endswith(".d")]


def mutants(*args):
    """Bugs planted in TCP, which the simulator must find."""
    return [("mutants", [PY, "tests/sim/mutants/run.py", *args], 7200, "")]


def files(folder, limit):
    return [(f, [PY, f], limit, "") for f in sorted(glob.glob(f"tests/{folder}/test_*.py"))]


def B(variant):
    return os.path.join("build", variant) if variant else "build"


def sanitize():
    """ASan+UBSan: unit, stress, fuzz, and the engine under a named part of the program tests; TSan: stress."""
    apps = [("apps/test_nginx.py", ["keepalive", "close", "lossy"]), ("apps/test_python.py", []),
            ("apps/test_redis.py", ["pipelined"]), ("fault/test_bad_input.py", []),
            ("fault/test_hostile.py", ["beside_others"]), ("fault/test_engine_kill.py", ["idle", "crash"]),
            ("fault/test_quarantine.py", ["packet", "command", "request"])]
    return (programs("unit-", 240, "address", ["--tap", "-j2"]) + programs("stress-", 240, "address") +
            programs("fuzz-", 240, "address") +
            [(f"tests/{f}", [PY, f"tests/{f}", *a], 240, "address") for f, a in apps] +
            programs("stress-", 240, "thread"))


SUITES = {
    "style": lambda: [(f, [PY, f], 60, "") for f in sorted(glob.glob("tests/style/check_*.py"))],
    "unit": lambda: programs("unit-", 120, "", ["--tap", "-j2"]),
    "stress": lambda: programs("stress-", 120, os.environ.get("SAN", "")),  # make SAN=… test-stress
    "sim": lambda: programs("sim", 900) + mutants("--sample"),
    "fuzz": lambda: programs("fuzz-", 120),
    "apps": lambda: files("apps", 480),
    "vm": lambda: files("vm", 1200),
    "fault": lambda: files("fault", 240),
    "soak": lambda: files("soak", 7200) + mutants(),
    "sanitize": sanitize,
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


def run(name, cmd, limit, variant):
    start = time.monotonic()
    env = dict(os.environ, STK_BUILD=os.path.join(ROOT, B(variant)),
               ASAN_OPTIONS="detect_leaks=0:abort_on_error=1", UBSAN_OPTIONS="print_stacktrace=1")
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", stdin=subprocess.DEVNULL, start_new_session=True, env=env)
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
    short = (variant + " " if variant else "") + os.path.basename(name)
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
