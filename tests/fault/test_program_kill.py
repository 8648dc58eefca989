#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of programs on stackd: peers see what Linux shows, nothing leaks, the rest of a family serves on."""
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402
import forksrv                                                                # noqa: E402
from forksrv import ask, connect, pattern, pid_of, take                       # noqa: E402
from test_nginx import Nginx, url                                             # noqa: E402
stk.forget_tests()

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
SEED = int(os.environ.get("KILL_SEED", random.randrange(1 << 30)))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(x) for x in f.read().split()]


def engine_pid(d):
    return children(d.proc.pid)[0]


# ---- what peers see, the same program on stackd and on the kernel ----

def end_of(s):
    """How a stream ends: bytes before the end, and FIN, RST or silence."""
    n = 0
    try:
        while True:
            part = s.recv(1 << 16)
            if not part:
                return n, "FIN"
            n += len(part)
    except ConnectionResetError:
        return n, "RST"
    except TimeoutError:
        return n, "silence"


def idle(addr, port, kill):
    s = connect(port, addr)
    pid_of(s)
    kill()
    return end_of(s)


def unread(addr, port, kill):
    """The peer sent what the program never read."""
    s = connect(port, addr)
    pid_of(s)
    ask(s, b"N")
    s.sendall(b"x" * 1000)
    time.sleep(.2)
    kill()
    return end_of(s)


def unsent(addr, port, kill):
    """The program had written more than went out: it still arrives."""
    s = connect(port, addr)
    ask(s, b"S", 100000)
    take(s, 10)
    time.sleep(.3)
    kill()
    return end_of(s)


def half_closed(addr, port, kill):
    """The peer had shut its sending side."""
    s = connect(port, addr)
    pid_of(s)
    ask(s, b"N")
    time.sleep(.1)
    s.shutdown(socket.SHUT_WR)
    time.sleep(.1)
    kill()
    return end_of(s)


def queued(addr, port, kill):
    """The only child is busy: two more connections wait in the accept queue, one with data."""
    busy = connect(port, addr)
    pid_of(busy)
    ask(busy, b"N")
    a, b = connect(port, addr), connect(port, addr)
    b.sendall(b"x")
    time.sleep(.3)
    kill()
    return end_of(a), end_of(b)


def refused(addr, port, kill):
    kill()
    try:
        connect(port, addr)
        return "connected"
    except ConnectionRefusedError:
        return "refused"


def writing(addr, port, kill):
    """The peer goes on sending to a program that is gone."""
    s = connect(port, addr)
    pid_of(s)
    kill()
    time.sleep(.2)
    try:
        s.send(b"x")
        time.sleep(.2)
        s.send(b"x")
        return "sent"
    except (BrokenPipeError, ConnectionResetError) as e:
        return type(e).__name__


def observe(case, start, addr, port):
    p = start([forksrv.PROG, "pre", addr, str(port), "1"], start_new_session=True)
    stk.wait_port(addr, port)

    def kill():
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        time.sleep(.3)
    return case(addr, port, kill)


@stk.test(*stk.workers(1, 2))
def peers(workers):
    """FIN or RST, and the bytes before: as the kernel does with the same program."""
    with stk.stackd(workers=workers) as d:
        for i, case in enumerate((idle, unread, unsent, half_closed, queued, refused, writing)):
            there = observe(case, d.start, "127.0.0.1", 7000 + i)
            here = observe(case, d.stackrun, stk.STACK, 7000 + i)
            stk.check(here == there, f"{case.__name__}: stackd {here}, kernel {there}")
        d.wait_clean()


@stk.test()
def client_killed():
    """A client on stackd is killed in the middle of a download and of an upload."""
    seen = {}
    with stk.stackd() as d:
        stk.make_file(os.path.join(d.dir, "big"), 64 << 20)
        for name, start, addr in (("kernel", d.start, "127.0.0.1"), ("stackd", d.stackrun, stk.KERNEL)):
            for way in ("down", "up"):
                with socket.create_server((addr, 8099)) as ls:
                    ls.settimeout(stk.HANG)
                    args = ["-T", os.path.join(d.dir, "big")] if way == "up" else []
                    p = start(["curl", "-sS", "-o", "/dev/null", *args, f"http://{addr}:8099/x"])
                    s, _ = ls.accept()
                    s.settimeout(stk.HANG)
                    s.recv(65536)
                    if way == "down":
                        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 9999)
                        time.sleep(.3)
                    p.kill()
                    p.wait()
                    seen[name, way] = end_of(s)[1]
                    s.close()
        stk.check(seen["stackd", "down"] == seen["kernel", "down"] and
                  seen["stackd", "up"] == seen["kernel", "up"], f"{seen}")
        d.wait_clean()


# ---- families that live on ----

def prefork_run(workers, procs, kills, clients):
    """Children accepting on one listener are killed at random; one is spared and must not notice."""
    print(f"# seed {SEED}: KILL_SEED={SEED} repeats the choices")
    rnd = random.Random(SEED)
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([forksrv.PROG, "pre", stk.STACK, "7000", str(procs)])
        stk.wait_port(stk.STACK, 7000)
        stk.wait_for("all children", lambda: len(children(p.pid)) >= procs, 6 * stk.HANG)
        keep = connect(7000)
        spared = pid_of(keep)
        spared = spared_pid(p.pid, spared)
        load = forksrv.Clients(7000, clients, SEED)
        for i in range(kills):
            time.sleep(rnd.uniform(0, .08))
            victims = [k for k in children(p.pid) if k != spared]
            if victims:
                os.kill(rnd.choice(victims), signal.SIGKILL)
            if i % 5 == 0:
                ask(keep, b"S", 50000)
                stk.check(take(keep, 50000) == pattern(50000), "the spared connection's bytes")
        load.stop()
        stk.check(load.done > kills, f"only {load.done} requests served, {load.cut} cut short")
        only_live_sockets(d, keep)
        keep.close()
        d.stop(p, signal.SIGKILL)
        d.wait_clean()


def spared_pid(parent, pid):
    stk.check(pid in children(parent), f"{pid} is no child of {parent}")
    return pid


def only_live_sockets(d, keep):
    """No load any more: of all connections only the spared one is left, though the family lives on."""
    port = keep.getsockname()[1]

    def settled():
        s = [x for x in d.show("sockets")["sockets"] if x.get("state") not in ("LISTEN", "TIME_WAIT")]
        return [x["rport"] for x in s] == [port] or None
    try:
        stk.wait_for("sockets of the killed closed", settled, stk.HANG)
    except stk.Failed:
        raise stk.Failed(f"left over: {d.show('sockets')['sockets'][:6]}")


@stk.test(*stk.workers(1, 2))
def prefork(workers):
    """30 children, 12 killed under load."""
    prefork_run(workers, 30, 12, 4)


@stk.test(*stk.workers(1, 2))
def nginx(workers):
    """nginx' workers one by one under load, then the whole of it."""
    rnd = random.Random(SEED)
    with stk.stackd(workers=workers) as d:
        n = Nginx(d, size=8 << 20)
        stk.wait_for("two workers", lambda: len(children(n.p.pid)) == 2)
        for _ in range(5):
            load = [subprocess.Popen(["curl", "-sS", "--retry", "20", "--retry-all-errors",
                                      "--retry-delay", "0", "-o", f"{d.dir}/out{i}", url("/big")],
                                     stderr=subprocess.DEVNULL) for i in range(4)]
            time.sleep(rnd.uniform(0, .03))
            os.kill(rnd.choice(children(n.p.pid)), signal.SIGKILL)
            for i, c in enumerate(load):
                stk.check(c.wait(6 * stk.HANG) == 0, "curl did not get through")
                with open(f"{d.dir}/out{i}", "rb") as f:
                    got = hashlib.sha256(f.read()).hexdigest()
                stk.check(got == n.hash, "hash differs")
            stk.wait_for("the worker is replaced", lambda: len(children(n.p.pid)) == 2)
        load = [subprocess.Popen(["curl", "-sS", "-o", "/dev/null", url("/big")],
                                 stderr=subprocess.DEVNULL) for _ in range(4)]
        time.sleep(.01)
        victims = [n.p.pid, *children(n.p.pid)]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        n.p.wait(stk.HANG)
        for c in load:
            c.wait(stk.HANG)
        d.wait_clean()


# ---- whole programs ----

def redis(d, port):
    return d.stackrun([stk.need("redis-server"), "--bind", stk.STACK, "--port", str(port), "--save", "",
                       "--dir", d.dir])


# redis-benchmark would do, but one that is refused at its start waits for ever, on the kernel's TCP as well.
REDIS_LOAD = """
import socket, sys, threading
def client():
    ask = b"*3\\r\\n$3\\r\\nSET\\r\\n$1\\r\\nk\\r\\n$2000\\r\\n" + b"x" * 2000 + b"\\r\\n"
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as s:
            while True:
                s.sendall(ask * 8)
                need = 8 * 5
                while need:
                    part = s.recv(need)
                    if not part:
                        return
                    need -= len(part)
    except ConnectionError:
        pass
threads = [threading.Thread(target=client) for _ in range(20)]
for t in threads:
    t.start()
for t in threads:
    t.join()
"""


def redis_load(port):
    """20 clients; ends when all have seen their connection end."""
    return [PY, "-c", REDIS_LOAD, stk.STACK, str(port)]


def python(d, port):
    return d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", d.dir, str(port)])


def whole_run(kills, workers):
    """Servers and clients as a whole: killed at a random moment under load."""
    rnd = random.Random(SEED)
    stk.need("redis-server")
    with stk.stackd(workers=workers) as d:
        want = stk.make_file(os.path.join(d.dir, "f"), 4 << 20)
        ref = d.start([PY, "-m", "http.server", "--bind", stk.KERNEL, "--directory", d.dir, "8001"])
        stay = python(d, 8000)
        for port in (8000,):
            stk.wait_port(stk.STACK, port)
        stk.wait_port(stk.KERNEL, 8001)
        for i in range(kills):
            port = 9000 + i
            kind = ("redis", "python", "curl")[i % 3]
            if kind == "curl":
                p = d.stackrun(["curl", "-sS", *["-o", "/dev/null", f"http://{stk.KERNEL}:8001/f"] * 50])
                load = None
                time.sleep(.05)
            else:
                p = redis(d, port) if kind == "redis" else python(d, port)
                stk.wait_port(stk.STACK, port)
                load = subprocess.Popen(redis_load(port) if kind == "redis" else
                                        ["curl", "-sS",
                                         *["-o", "/dev/null", f"http://{stk.STACK}:{port}/f"] * 50],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rnd.uniform(0, .15))
            p.kill()
            p.wait(stk.HANG)
            if load:
                try:
                    load.wait(stk.HANG)
                except subprocess.TimeoutExpired:
                    load.kill()
                    raise stk.Failed(f"the client of a killed {kind} hangs")
            if i % 6 == 0:
                got = stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8000/f"])
                stk.check(got == want, "another program's bytes differ")
        d.stop(stay, signal.SIGKILL)
        d.stop(ref)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def whole(workers):
    """redis, python, curl: nine kills."""
    whole_run(9, workers)


# ---- how servers hand connections to children ----

def per_child(d, *args, **kw):
    p = d.stackrun([forksrv.PROG, *args], **kw)
    stk.wait_port(stk.STACK, int(args[2]))
    socks = [connect(int(args[2])) for _ in range(6)]
    for rounds in range(3):
        for i, s in enumerate(socks):
            n = 1000 * (i + 1) ** 3
            ask(s, b"S", n)
            stk.check(take(s, n) == pattern(n), f"connection {i}: bytes differ")
            blob = os.urandom(20000)
            s.sendall(struct.pack("<cI", b"E", len(blob)) + blob)
            stk.check(take(s, len(blob)) == blob, f"connection {i}: echo differs")
    return p, socks


@stk.test(*stk.workers(1, 2))
def postgres_way(workers):
    """The parent closes an accepted socket right after fork() while the child serves it."""
    with stk.stackd(workers=workers) as d:
        p, socks = per_child(d, "per", stk.STACK, "7000")
        victim = pid_of(socks[0])
        os.kill(victim, signal.SIGKILL)
        stk.check(end_of(socks.pop(0)) == (0, "FIN"), "the killed child's peer")
        for s in socks:
            ask(s, b"S", 9)
            stk.check(take(s, 9) == pattern(9), "a sibling")
            s.close()
        d.stop(p, signal.SIGKILL)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def sshd_way(workers):
    """The child changes root and user and installs a seccomp filter before its first read."""
    with stk.stackd(workers=workers) as d:
        empty = os.path.join(d.dir, "empty")
        os.mkdir(empty)
        p, socks = per_child(d, "jail", stk.STACK, "7000", "12345", cwd=empty)
        with open(f"/proc/{pid_of(socks[0])}/status") as f:
            status = f.read()
        stk.check("Seccomp:\t2" in status and "Uid:\t12345" in status, status)
        os.kill(pid_of(socks[1]), signal.SIGKILL)
        stk.check(end_of(socks[1]) == (0, "FIN"), "the killed child's peer")
        for s in socks:
            s.close()
        stk.wait_for("children end", lambda: not children(p.pid))
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
