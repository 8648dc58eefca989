#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Thousands of short connections and programs: nothing is left, and nothing grows."""
import os
import shutil
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
import stk                                                                    # noqa: E402
from test_nginx import Nginx                                                  # noqa: E402
stk.forget_tests()

# On stackd: connect, one round trip, close; the client closes first every other time when told so.
CLIENT = """
import socket, sys
for i in range(int(sys.argv[1])):
    first = sys.argv[4] == "1" and i % 2
    s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 10)
    s.sendall(b"x" if first else b"xx")
    assert s.recv(10) == b"y", "wrong answer"
    if not first:
        assert s.recv(10) == b"", "server did not close"
    s.close()
"""


class KernelServer(threading.Thread):
    """Answers one byte; closes first when asked with two bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.create_server((stk.KERNEL, 0), backlog=128)
        self.port = self.sock.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with c:
                n = len(c.recv(10))
                c.sendall(b"y")
                if n == 1:
                    c.recv(10)


def requests(count, stack_first):
    """Each its own connection, from the kernel's side; nginx closes first when told so."""
    last = b"hello from nginx\n"
    for i in range(count):
        with socket.create_connection((stk.STACK, 80), stk.HANG) as s:
            s.sendall(b"GET /small HTTP/1.%d\r\nHost: x\r\n\r\n" % (not stack_first))
            got = b""
            while part := s.recv(4096):
                got += part
                if not stack_first and got.endswith(last):
                    break
            stk.check(got.endswith(last), f"request {i}: {got!r}")


def processes(d):
    """The supervisor and its children, as {pid: (fds, resident KiB)}."""
    pids = [d.proc.pid]
    for pid in pids:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            pids += [int(p) for p in f.read().split()]
    return {pid: (len(os.listdir(f"/proc/{pid}/fd")), resident(pid)) for pid in pids}


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(x for x in f if x.startswith("VmRSS")).split()[1])


def round_of(d, server, conns, programs, stack_first):
    """@conns connections to a server on stackd, as many from clients on it, by @programs programs.
    stackd is left with connections in TIME_WAIT only where its side closed first."""
    n = Nginx(d)
    requests(conns, stack_first)
    n.stop()
    shutil.rmtree(n.dir)
    for _ in range(programs):
        d.run([sys.executable, "-c", CLIENT, str(conns // programs), stk.KERNEL, str(server.port),
               str(int(stack_first))], on_stack=True)
    d.wait_clean()


def grown(d, before, allow_kib=4096):
    """No process, no fd and next to no memory more than before. The connection of the stackctl that asked
    last ends a little after it: fds are waited for."""
    def fewer():
        now = processes(d)
        return before.keys() != now.keys() or all(now[pid][0] <= before[pid][0] for pid in now)

    stk.wait_for(f"fds as before, {before}", fewer)
    after = processes(d)
    print(f"# fds and KiB: {before} -> {after}")
    stk.check(before.keys() == after.keys(), f"processes changed: {before} {after}")
    for pid, (_, kib) in after.items():
        stk.check(kib <= before[pid][1] + allow_kib,
                  f"memory grew from {before[pid][1]} to {kib} KiB")


@stk.test(*stk.workers(1, 2))
def connections(workers):
    """Rounds of 600 connections each way by 6 programs. The first ones fill pools and caches; what
    the later ones add must be next to nothing."""
    with stk.stackd(workers=workers) as d:
        server = KernelServer()
        for _ in range(2):
            round_of(d, server, 600, 6, False)
        before = processes(d)
        for _ in range(4):
            round_of(d, server, 600, 6, False)
        grown(d, before)


if __name__ == "__main__":
    stk.main()
