# SPDX-License-Identifier: MIT
"""tests/lib/forksrv.py - talk to tests/fault/forksrv.c from the kernel's side."""
import os
import random
import socket
import struct
import threading

import stk

PROG = os.path.join(stk.TESTS, "forksrv")
PERIOD = 65521


def _block():
    x, out = 12345, bytearray()
    for _ in range(PERIOD):
        x = (x * 1664525 + 1013904223) & 0xffffffff
        out.append(x >> 24)
    return bytes(out)


BLOCK = _block()


def pattern(n):
    return (BLOCK * (n // PERIOD + 1))[:n]


def connect(port, addr=stk.STACK):
    return socket.create_connection((addr, port), stk.HANG)


def ask(s, op, n=0):
    s.sendall(struct.pack("<cI", op, n))


def take(s, n):
    """n bytes, or fewer when the stream ends."""
    out = bytearray()
    while len(out) < n:
        part = s.recv(min(n - len(out), 1 << 18))
        if not part:
            break
        out += part
    return bytes(out)


def pid_of(s):
    ask(s, b"P")
    return struct.unpack("<I", take(s, 4))[0]


class Clients:
    """Clients that ask for random lengths until stopped. A connection may be cut short, as its server is
    killed; what arrives must be right to the last byte, and what is refused is counted."""

    def __init__(self, port, cnt, seed, addr=stk.STACK):
        self.port, self.addr = port, addr
        self.stopped = threading.Event()
        self.done = self.cut = 0
        self.wrong = []
        self.threads = [threading.Thread(target=self._run, args=(random.Random(seed * 100 + i),))
                        for i in range(cnt)]
        for t in self.threads:
            t.start()

    def _one(self, s, rnd):
        n = rnd.choice((1, 100, 5000, 70000, 400000))
        want = pattern(n)
        if rnd.random() < .5:
            ask(s, b"S", n)
        else:
            n = min(n, 60000)
            want = os.urandom(n)
            s.sendall(struct.pack("<cI", b"E", n) + want)
        got = b""
        try:
            while len(got) < n:
                part = s.recv(n - len(got))
                if not part:
                    break
                got += part
        finally:
            if got != want[:len(got)]:
                self.wrong.append(f"byte {next(i for i in range(len(got)) if got[i] != want[i])} of "
                                  f"{len(got)} is wrong")
        if len(got) < n:
            raise ConnectionResetError("cut short")
        self.done += 1

    def _run(self, rnd):
        while not self.stopped.is_set():
            try:
                with connect(self.port, self.addr) as s:
                    for _ in range(rnd.choice((1, 1, 3, 10))):
                        self._one(s, rnd)
            except (ConnectionError, BrokenPipeError):
                self.cut += 1
            except OSError as e:
                self.wrong.append(f"{type(e).__name__} {e}")
                self.cut += 1

    def stop(self):
        self.stopped.set()
        for t in self.threads:
            t.join(3 * stk.HANG)
            stk.check(not t.is_alive(), "a client hangs")
        stk.check(not self.wrong, f"clients saw: {self.wrong[:3]} ({len(self.wrong)})")
