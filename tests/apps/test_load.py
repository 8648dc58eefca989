#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers under load, in short; tests/soak/test_load.py runs the same for as long as it takes.

A connection per request by ab; many connections held open and all of them answered; pgbench on 50
connections; packets that meet a sleeping engine."""
import os
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402
from test_nginx import Nginx, url                                             # noqa: E402
from test_postgresql import Postgres                                          # noqa: E402
stk.forget_tests()

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(HERE, "progs")


def ab_close(workers, count):
    """ab -c 100, a connection per request: each one answered."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d)
        web.ab(url("/small"), ["-c100", f"-n{count}"])
        n.stop()
        d.wait_clean()


class Held:
    """Processes that hold connections open: .ask() has every one answered."""

    def __init__(self, start, addr, count, procs, sources=None):
        """@sources: the address of each process, else the one that routing says."""
        self.each, self.asked = count // procs, 0
        self.procs = [start([PY, os.path.join(PROGS, "hold.py"), "ask", addr, "7000", str(self.each),
                             *([sources[i]] if sources else [])],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                      for i in range(procs)]
        self.say("open")

    def say(self, want):
        for p in self.procs:
            got = p.stdout.readline().strip()
            stk.check(got == want, f"wanted '{want}', got '{got}'")

    def ask(self):
        for p in self.procs:
            p.stdin.write("\n")
            p.stdin.flush()
        self.say(f"answered {self.each}")

    def close(self):
        for p in self.procs:
            p.stdin.close()
            stk.check(p.wait(6 * stk.HANG) == 0, "a client ended with an error")


def end(p):
    """A program with all its children."""
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()


def established(d):
    return sum(s.get("state") == "ESTABLISHED" for s in d.show("sockets")["sockets"])


def more_addresses(n):
    """@n addresses of the kernel's end. From a single one its search for a free port takes most of the
    time of 20,000 connections to one port: 28,232 of them are ephemeral."""
    out = subprocess.run(["ip", "-o", "-4", "addr", "show", "to", stk.KERNEL], capture_output=True,
                         text=True, check=True).stdout.split()
    addrs = [f"192.0.2.{100 + i}" for i in range(n)]
    for a in addrs:
        subprocess.run(["ip", "addr", "add", f"{a}/24", "dev", out[1]], check=True)
    return addrs


def held(workers, count, procs, server_here):
    """@count connections at once between @procs processes on either side, the server's on stackd or the
    clients'; all of them answered, twice."""
    with stk.stackd(workers=workers) as d:
        addr = stk.STACK if server_here else stk.KERNEL
        serve, ask = (d.stackrun, d.start) if server_here else (d.start, d.stackrun)
        server = serve([PY, os.path.join(PROGS, "hold.py"), "serve", addr, "7000", str(procs)])
        stk.wait_port(addr, 7000)
        conns = Held(ask, addr, count, procs, more_addresses(procs) if server_here else None)
        # The client's handshake may be over while a full accept queue still holds back the server's.
        stk.wait_for("all are established", lambda: established(d) == count, 6 * stk.HANG)
        for _ in range(2):
            conns.ask()
        conns.close()
        end(server)
        d.wait_clean(6 * stk.HANG)


def pgbench(workers, seconds):
    """50 connections, reading and writing: no error, no failed transaction."""
    with stk.stackd(workers=workers) as d:
        p = Postgres(d, stk.STACK, True)
        p.bench(False, "-i", "-q", "-s", "1")
        for args in (["-S"], []):
            out = p.bench(False, "-c50", "-j2", f"-T{seconds}", *args,
                          timeout=seconds + 6 * stk.HANG)
            stk.check("number of failed transactions: 0 " in out, out)
        p.stop()
        d.wait_clean()


def retransmitted():
    """Segments that the kernel's side had to send again."""
    with open("/proc/net/snmp") as f:
        head, values = [x.split() for x in f if x.startswith("Tcp:")]
    return int(values[head.index("RetransSegs")])


def sleeps(d):
    return sum(w["sleeps"] for w in d.show("workers")["workers"])


@stk.test(*stk.workers(1, 2))
def ab(workers):
    """5,000 connections."""
    ab_close(workers, 5000)


@stk.test(*[dict(w, server_here=h) for w in stk.workers(1, 2) for h in (True, False)])
def held_open(workers, server_here):
    """2,000 connections, two processes on either side."""
    held(workers, 2000, 2, server_here)


@stk.test()
def pgbench_50():
    """Two seconds reading, two writing."""
    pgbench(2, 2)


def burst(udp, n):
    """@n datagrams at once, and all of them back."""
    for i in range(n):
        udp.send(b"%08d" % i)
    got = {udp.recv(100) for _ in range(n)}
    stk.check(got == {b"%08d" % i for i in range(n)}, "a datagram of another burst")


@stk.test(*stk.workers(1, 2))
def wake_up(workers):
    """Bursts that meet a sleeping engine and a sleeping program: nothing is lost, nothing sent again."""
    with stk.stackd(workers=workers) as d:
        echo = d.stackrun([PY, os.path.join(PROGS, "udpecho.py"), stk.STACK, "7001"])
        server = d.stackrun([PY, os.path.join(PROGS, "hold.py"), "serve", stk.STACK, "7000", "1"])
        stk.wait_port(stk.STACK, 7000)
        conns = Held(d.start, stk.STACK, 100, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(stk.HANG)
            udp.connect((stk.STACK, 7001))
            stk.wait_for("the program is bound", lambda: any(
                x["proto"] == "udp" for x in d.show("sockets")["sockets"]))
            before = retransmitted(), sleeps(d)
            for _ in range(20):
                time.sleep(.02)             # far longer than anybody spins
                burst(udp, 32)
                time.sleep(.02)
                conns.ask()
        stk.check(retransmitted() == before[0], "the kernel had to send segments again")
        stk.check(sleeps(d) >= before[1] + 40, "the engine did not sleep")
        conns.close()
        end(server)
        d.stop(echo)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
