# SPDX-License-Identifier: MIT
"""tests/lib/sockdiff.py - one program of generated socket calls on the kernel and on stackd, compared.

The kernel's side runs in two network namespaces joined by a veth: the program's has stackd's address,
the other the peer's, so both sides see the same little network. A difference counts only when it is
still there after the sequence was run again, alone and with long pauses: what hangs on timing is no
answer. A failing seed prints the command that runs it again.
"""
import contextlib
import os
import socket
import subprocess
import threading

import stk

PROG = os.path.join(stk.PLAIN, "tests", "sockdiff")
SLOW_US = 60000                             # longer than the kernel delays an ACK
PORT_TURN = 2300                            # a seed that is run again: on other ports
PEER_PORT = 7


def serve():
    """The peer: accepts and keeps connections on one port of its address until they end."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((stk.KERNEL, PEER_PORT))
    s.listen(4096)

    def one(c):
        with contextlib.suppress(OSError):
            while c.recv(65536):
                pass
        c.close()

    def loop():
        with contextlib.suppress(OSError):
            while True:
                c, _ = s.accept()
                threading.Thread(target=one, args=(c,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
    return s


def stop(server):
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)   # the thread in accept() holds it otherwise
    server.close()


class KernelSide:
    """A namespace that looks to the program as stackd's network does, in the kernel's hands."""

    def __init__(self):
        self.holders = [subprocess.Popen(["unshare", "--net", "sleep", "1000000"]) for _ in "ab"]
        ours = os.readlink("/proc/self/ns/net")
        for h in self.holders:
            stk.wait_for("a namespace", lambda h=h: os.readlink(f"/proc/{h.pid}/ns/net") != ours)
        own, peer = (str(h.pid) for h in self.holders)
        self._in(own, f"ip link add v0 type veth peer name v1 netns {peer}")
        for pid, dev, addr in ((own, "v0", stk.STACK), (peer, "v1", stk.KERNEL)):
            self._in(pid, "ip link set lo up")
            self._in(pid, f"ip addr add {addr}/24 brd + dev {dev}")
            self._in(pid, f"ip link set {dev} up")
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{peer}/ns/net", os.O_RDONLY)
        setns(there)
        try:
            self.server = serve()
        finally:
            setns(here)
            os.close(here)
            os.close(there)

    @staticmethod
    def _in(pid, cmd):
        subprocess.run(["nsenter", "-t", pid, "-n", *cmd.split()], check=True)

    def run(self, args, timeout):
        r = subprocess.run(["nsenter", "-t", str(self.holders[0].pid), "-n", PROG, *args],
                           capture_output=True, text=True, timeout=timeout)
        stk.check(r.returncode == 0, f"on the kernel: {r.returncode} {r.stderr}")
        return r.stdout

    def close(self):
        stop(self.server)
        for h in self.holders:
            h.kill()
            h.wait()


def setns(fd):
    import ctypes
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) < 0:
        raise OSError(ctypes.get_errno(), "setns")


def split(out):
    """{seed: lines}"""
    seqs, cur = {}, None
    for line in out.splitlines():
        if line.startswith("== "):
            cur = seqs.setdefault(int(line[3:]), [])
        else:
            cur.append(line)
    return seqs


def first_diff(want, got):
    for i in range(max(len(want), len(got))):
        a = want[i] if i < len(want) else "(nothing)"
        b = got[i] if i < len(got) else "(nothing)"
        if a != b:
            return i, a, b
    return None


def compare(d, k, seed, count, opts=(), slow_max=100):
    """Run COUNT sequences from SEED on both sides. Return: list of (seed, text) that differ."""
    addrs = [stk.STACK, stk.KERNEL]
    args = [*opts, *addrs, str(seed), str(count)]
    limit = stk.HANG * 6 + count
    want = split(k.run(args, limit))
    got = split(d.run([PROG, *args], timeout=limit, on_stack=True).decode())
    bad = []
    suspects = [s for s in want if first_diff(want[s], got.get(s, []))]
    for s in suspects[:slow_max]:
        for turn in (PORT_TURN, 2 * PORT_TURN):
            one = ["-s", str(SLOW_US), "-p", str(turn), *opts, *addrs, str(s), "1"]
            a = split(k.run(one, limit))[s]
            b = split(d.run([PROG, *one], timeout=limit, on_stack=True).decode())[s]
            diff = first_diff(a, b)
            if not diff:
                break
        if diff:
            i = diff[0]
            bad.append((s, "\n".join(["   " + x for x in a[:i]] +
                                     ["- " + diff[1], "+ " + diff[2],
                                      f"again: tests/apps/test_sockdiff.py {' '.join(opts)} seed={s}"])))
    return bad + [(s, "not run again: too many") for s in suspects[slow_max:]]
