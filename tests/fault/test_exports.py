#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sockets that leave their process as fds: held without the shim while the engine is killed, each byte
arrives once; taken by another process of the family, the same socket."""
import os
import random
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stk                                                                    # noqa: E402
from test_engine_kill import kill_engine, stackd                              # noqa: E402
stk.forget_tests()

HERE = os.path.dirname(os.path.abspath(__file__))
CAT = """
#include <unistd.h>
int main(void)
{
	char buf[65536];
	ssize_t n, put, r;

	while ((n = read(0, buf, sizeof(buf))) > 0)
		for (put = 0; put < n; put += r)
			if ((r = write(1, buf + put, n - put)) < 0)
				return 1;
	return n < 0;
}
"""


class Peer(threading.Thread):
    """Sends, shuts, and compares what comes back, byte by byte."""

    def __init__(self, seed):
        super().__init__()
        self.block = random.Random(seed).randbytes((1 << 16) + seed)
        self.blocks, self.got, self.wrong, self.stop = 0, 0, None, False
        self.s = socket.create_connection((stk.STACK, 7003), stk.HANG)
        self.s.settimeout(2 * stk.HANG)
        self.start()

    def send(self):
        while not self.stop:
            self.s.sendall(self.block)
            self.blocks += 1
            time.sleep(0.001)
        self.s.shutdown(socket.SHUT_WR)

    def run(self):
        t = threading.Thread(target=self.send)
        t.start()
        try:
            while part := self.s.recv(1 << 16):
                at = self.got % len(self.block)
                want = (self.block + self.block)[at:at + len(part)]
                if part != want:
                    self.wrong = f"at {self.got}"
                    break
                self.got += len(part)
        except OSError as e:
            self.wrong = repr(e)
        self.stop = True
        t.join()
        if self.got != self.blocks * len(self.block) and not self.wrong:
            self.wrong = f"{self.got} of {self.blocks * len(self.block)}"


def holders(d, how):
    if how == "image":
        with open(os.path.join(d.dir, "cat.c"), "w") as f:
            f.write(CAT)
        d.run([stk.need("gcc"), "-w", "-static", "-o", os.path.join(d.dir, "cat"),
               os.path.join(d.dir, "cat.c")])
    p = d.stackrun([sys.executable, os.path.join(HERE, "progs", "holder.py"), stk.STACK, "7003", how],
                   stdout=subprocess.PIPE, cwd=d.dir)
    stk.check(p.stdout.readline() == b"listening\n", f"the program did not start\n{d.logs()}")
    return p


@stk.test({"workers": 1, "how": "passed"}, {"workers": 2, "how": "passed"}, {"workers": 2, "how": "image"})
def holders_go_on(workers, how):
    """Six kills in the middle of the holders' transfers, both ways; then new ones, and the end."""
    with stackd(workers=workers) as d:
        p = holders(d, how)
        peers = [Peer(i) for i in range(3)]
        for _ in range(6):
            before = [x.got for x in peers]
            kill_engine(d)
            stk.wait_for("all peers go on", lambda: all(
                x.got > n + (1 << 18) or x.wrong for x, n in zip(peers, before)))
        peers.append(Peer(9))
        stk.wait_for("a new one", lambda: peers[-1].got > 1 << 18 or peers[-1].wrong)
        for x in peers:
            x.stop = True
        for x in peers:
            x.join(3 * stk.HANG)
            stk.check(not x.is_alive(), "a peer hangs")
            stk.check(not x.wrong, f"a peer: {x.wrong}")
        d.stop(p)
        d.wait_clean()


@stk.test()
def last_holder_leaves():
    """A holder that leaves while no engine runs: the peer sees the end from the next one."""
    with stackd() as d:
        p = holders(d, "passed")
        s = socket.create_connection((stk.STACK, 7003), stk.HANG)
        s.settimeout(stk.HANG)
        s.sendall(b"once")
        stk.check(s.recv(4, socket.MSG_WAITALL) == b"once", "no echo")
        kill_engine(d)
        s.sendall(b"more")
        stk.check(s.recv(4, socket.MSG_WAITALL) == b"more", "no echo from the next engine's")
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            kid = int(f.read().split()[0])
        os.kill(d.proc.pid, 19)                     # SIGSTOP: no next engine yet
        kill_holder(d, kid)
        os.kill(d.proc.pid, 18)
        stk.wait_for("the next engine answers", lambda: subprocess.run(
            d._ctl("workers"), capture_output=True, timeout=stk.HANG).returncode == 0)
        stk.check(s.recv(1) == b"", "no end of the stream")
        s.close()
        d.stop(p)
        d.wait_clean()


def kill_holder(d, kid):
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        os.kill(int(f.read().split()[0]), 9)
    os.kill(kid, 9)


def ask(addr, kind):
    kind = socket.SOCK_DGRAM if kind.endswith("udp") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as c:
        c.settimeout(stk.HANG)
        c.connect((addr, 7004))
        c.sendall(b"ping")
        return c.recv(100)


def handed(d, kind, on_stack, kill):
    """Return: what the program said, what its peers got."""
    args = [sys.executable, os.path.join(HERE, "progs", "handing.py"),
            stk.STACK if on_stack else "127.0.0.1", "7004", kind]
    p = (d.stackrun if on_stack else d.start)(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stk.check(p.stdout.readline() == b"listening\n", f"the program did not start\n{d.logs()}")
    if kill:
        kill_engine(d)
    p.stdin.write(b"go\n")
    p.stdin.flush()
    said = [p.stdout.readline()]
    stk.check(p.stdout.readline() == b"ready\n", "the child is not ready")
    anywhere = kind in ("listener", "udp", "peek", "twice")
    for addr in ((stk.STACK, stk.STACK, "127.0.0.1" if anywhere else stk.STACK) if on_stack else
                 ["127.0.0.1"] * 3):
        said.append(ask(addr, kind))
    said += p.stdout.readlines()
    d.stop(p)
    return said


KINDS = ("listener", "udp", "their_listener", "their_udp", "fresh", "fresh_udp", "peek", "twice")


@stk.test({"workers": 1, "kill": False}, {"workers": 2, "kill": True})
def handing(workers, kill):
    """Listeners and UDP sockets given to a child: the same socket, to stackd's peers and the kernel's."""
    with (stackd if kill else stk.stackd)(workers=workers) as d:
        for kind in ("listener", "udp", "fresh") if kill else KINDS:
            want = handed(d, kind, False, False)
            with stk.through_stackd(d, 100):
                got = handed(d, kind, True, kill)
            stk.check(got == want, f"{kind}: on stackd: {got}\non the kernel: {want}")
        stk.check(b"over\n" in want, f"said {want}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
