# SPDX-License-Identifier: MIT
"""bench/syscalls.py - system calls per operation of a server and of the daemon, under full load.

Counted in the kernel by perf's tracepoints (nothing is traced, so nothing is slowed down that would
change how many calls there are): all of them, and those that are worth a name, of every thread that the
processes have or make while the load generator runs.
"""
import os
import tempfile

import stk

ALL = "raw_syscalls:sys_enter"
NAMED = ("io_uring_enter", "io_submit", "epoll_pwait", "epoll_wait", "ppoll", "read", "write", "readv",
         "writev", "recvfrom", "sendto", "accept4", "close", "fcntl", "futex", "rt_sigprocmask")
TRACEFS = "/sys/kernel/tracing"


def missing():
    """Why system calls cannot be counted here, None when they can."""
    try:
        stk.need("perf")
    except stk.Skip as e:
        return str(e)
    if not os.access(TRACEFS + "/events/raw_syscalls/sys_enter/id", os.R_OK):
        return "no tracepoints in " + TRACEFS
    return None


def wrap(pids, out, cmd):
    """@cmd, with the calls of @pids counted into the file @out while it runs."""
    events = ",".join([ALL, *("syscalls:sys_enter_" + n for n in NAMED)])
    return [stk.need("perf"), "stat", "-x,", "-o", out, "-e", events, "-p",
            ",".join(map(str, pids)), "--", *cmd]


def counts(path):
    """{name: calls} of a file that perf stat wrote; "all" is their sum, "other" what has no name."""
    got = {}
    with open(path) as f:
        for line in f:
            field = line.strip().split(",")
            if len(field) > 2 and field[0].isdigit():
                got[field[2].removeprefix("syscalls:sys_enter_")] = int(field[0])
    stk.check(ALL in got, f"perf stat counted nothing: {path}")
    got["all"] = got.pop(ALL)
    got["other"] = got["all"] - sum(got[n] for n in NAMED)
    return got


def count(case, cmd, who, load):
    """Run @case's load @cmd by @load(cmd). @who = {name: pids}. Return: {name: {call: per operation}}."""
    with tempfile.TemporaryDirectory() as d:
        files = {name: os.path.join(d, name) for name, pids in who.items() if pids}
        for name, f in files.items():
            cmd = wrap(who[name], f, cmd)
        n = case.parse(load(cmd))[1]
        return {name: {k: v / n for k, v in counts(f).items() if v} for name, f in files.items()}


def rows(name, per):
    """Lines of the report: @per = {side name: what count() returned}."""
    for side, who in per.items():
        parts = [f"{w} {k} {v:.3f}" for w, calls in who.items()
                 for k, v in sorted(calls.items(), key=lambda x: -x[1])
                 if k != "all" and v >= .0005]
        yield (f"{name:16} {side:7} {sum(c['all'] for c in who.values()):7.3f}   " + ", ".join(parts))
