#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Processes of one program: exec with sockets, children, passed fds, close loops. Where it makes sense
the same program runs on the kernel and on stackd, and must say the same."""
import os
import signal
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import stk                                                                    # noqa: E402

LO = "127.0.0.1"


def prog(name):
    return os.path.join(HERE, "progs", name)


class Talk:
    """A client of the kernel's."""

    def __init__(self, addr, port):
        self.s = socket.create_connection((addr, port), stk.HANG)
        self.s.settimeout(stk.HANG)

    def ask(self, text):
        self.s.sendall(text.encode() + b"\n")
        got = b""
        while not got.endswith(b"\n"):
            part = self.s.recv(100)
            if not part:
                return got.decode() + "(end)"
            got += part
        return got.decode().strip()

    def end(self):
        got = self.s.recv(100)
        self.s.close()
        return "(end)" if got == b"" else repr(got)


def start(d, on_stack, args):
    """A Python program of ours; Return: it, once it has said that it listens."""
    args = [sys.executable, prog(args[0]), *args[1:]]
    p = (d.stackrun if on_stack else d.start)(args, stdout=subprocess.PIPE)
    first = p.stdout.readline()
    stk.check(first == b"listening\n", f"{args}: said {first!r}\n{d.logs()}")
    return p


def same(d, run):
    """run(addr, on_stack) on the kernel and on stackd. Return: what both said."""
    want = run(LO, False)
    with stk.through_stackd(d, 100):
        got = run(stk.STACK, True)
    stk.check(got == want, f"on stackd: {got}\non the kernel: {want}")
    return got


@stk.test(*({"workers": w, "how": h} for w, h in
            ((1, "plain"), (2, "scrub"), (1, "fd"), (1, "fork"), (1, "fail"))))
def exec_inherits(workers, how):
    """A listener and a connection go on in another image of the program."""
    def run(addr, on_stack):
        p = start(d, on_stack, ["images.py", addr, "7000", how])
        a = Talk(addr, 7000)
        said = [a.ask("one")]
        if how == "fail":
            said.append(a.ask("again"))
        said += [a.ask("two"), a.end()]
        b = Talk(addr, 7000)
        said += [b.ask("three"), b.end()]
        said.append(p.stdout.read().decode())
        d.stop(p)
        return said

    with stk.stackd(workers=workers) as d:
        said = same(d, run)
        stk.check("second two" in said and "third three" in said, f"said {said}")
        stk.check("names True 1\nown True\n" == said[-1], f"said {said[-1]!r}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
