#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/restart.py [-n KILLS] [-c CONNECTIONS] [-w WORKERS] [-o FILE.json] - how long an engine's death stops
a client.

redis on stackd, a client on the kernel that asks its connections in turn, one request at a time. The engine is
killed with SIGKILL again and again; the longest answer after each kill is the pause that the client saw. At
the end every connection is asked once more: how many are the ones that were opened at the start.
"""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", d) for d in ("lib", "apps", "fault")]
import stk                                                                    # noqa: E402
import test_engine_kill as kill                                               # noqa: E402

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
AFTER_S = 0.5                               # load between two kills


def ask(s):
    """One request. Return: whether the connection is the one it was."""
    try:
        return kill.answers(s, PING, PONG)
    except OSError:
        return False


def one_kill(d, socks):
    """Kill, go on asking. Return: the longest answer, seconds."""
    old, longest, end = kill.engine_pid(d), 0, time.monotonic() + AFTER_S
    os.kill(old, signal.SIGKILL)
    while time.monotonic() < end or kill.engine_pid(d) in (0, old):
        for s in list(socks):
            begin = time.monotonic()
            if not ask(s):
                socks.remove(s)
                s.close()
            longest = max(longest, time.monotonic() - begin)
        stk.check(socks, "no connection is left")
    return longest


def run(kills, conns, workers):
    with kill.stackd(workers=workers) as d:
        r = d.stackrun([stk.need("redis-server"), "--bind", stk.STACK, "--port", "6379", "--save", "",
                        "--protected-mode", "no", "--dir", d.dir])
        stk.wait_port(stk.STACK, 6379)
        socks = [socket.create_connection((stk.STACK, 6379), stk.HANG) for _ in range(conns)]
        pauses = [one_kill(d, socks) * 1e3 for _ in range(kills)]
        alive = sum(ask(s) for s in socks)
        for s in socks:
            s.close()
        d.stop(r)
        d.wait_clean(30)
    return {"kills": kills, "connections": conns, "survived": alive, "workers": workers,
            "pause_ms": {"median": round(statistics.median(pauses), 1), "max": round(max(pauses), 1),
                         "min": round(min(pauses), 1)}}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-n", type=int, default=20, metavar="KILLS")
    p.add_argument("-c", type=int, default=50, metavar="CONNECTIONS")
    p.add_argument("-w", type=int, default=1, metavar="WORKERS")
    p.add_argument("-o", metavar="FILE.json")
    a = p.parse_args()
    if a.o:
        a.o = os.path.abspath(a.o)
    stk.enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    out = os.open(a.o, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) if a.o else -1
    stk.private_tmp()
    got = run(a.n, a.c, a.w)
    print(f"{got['kills']} kills: pause median {got['pause_ms']['median']} ms, max "
          f"{got['pause_ms']['max']} ms; {got['survived']} of {got['connections']} connections survived")
    if a.o:
        os.write(out, json.dumps(got, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
