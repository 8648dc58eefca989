#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A program that writes whatever it likes into its segment: the engine lives, others are served."""
import mmap
import os
import random
import signal
import socket
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402
from test_nginx import Nginx, url                                             # noqa: E402
stk.forget_tests()

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

# Places in the program-written memfd, as include/stackd/abi.h lays it out.
MIB = 1 << 20
DIRTY, SLOTMAP, CHUNKMAP, PROCS = 128, 8192, 73728, 2 * MIB
PROC_STRIDE, FDS, RINGS, RING_STRIDE, ENTRIES = 16 * MIB, 4096, 4096 + 8 * MIB, 69632, 1024
MBOXES = PROCS + 1024 * PROC_STRIDE
ACCEPTS = MBOXES + 4096 * 136 * 1024
SLOTS = -(-(ACCEPTS + 4096 * 68 * 1024) // (2 * MIB)) * 2 * MIB
SLOT_SIZE, SLOT_CNT = 256, 1 << 20
CHUNKS = -(-(SLOTS + SLOT_CNT * SLOT_SIZE) // (2 * MIB)) * 2 * MIB
OPS = 12
ATTACH, BIND, LISTEN, CONNECT = 11, 2, 3, 4
LOOPBACK = bytes(10) + b"\xff\xff" + socket.inet_aton(stk.STACK)


class Hostile:
    """Attaches by hand, without the shim."""

    def __init__(self, d):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(stk.HANG)
        self.sock.connect(os.path.join(d.run_dir, "stackd.sock"))
        self.sock.send(struct.pack("IIHHI32s", 1, 48, 1, 0, 0, b"hostile"))
        msg, fds, _, _ = socket.recv_fds(self.sock, 4096, 64)
        kind, _, self.proc, self.gen, self.workers = struct.unpack_from("IIIII", msg)
        self.mbox = struct.unpack_from("I", msg, 32)[0]
        stk.check(kind == 2, f"HELLO was answered by {kind}")
        self.fds = fds
        self.bells = fds[3:3 + self.workers]
        size = os.fstat(fds[2]).st_size
        self.m = mmap.mmap(fds[2], size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.pos = [0] * self.workers

    def check_read_only(self):
        for fd in self.fds[:2]:
            try:
                mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            except PermissionError:
                continue
            raise stk.Failed("what the engine writes can be mapped writable")

    def command(self, worker, op, slot, gen=1, addr=LOOPBACK, port=0, u32=(0, 0, 0), mbox=0, rseq=0):
        at = PROCS + self.proc * PROC_STRIDE + RINGS + worker * RING_STRIDE
        pos = self.pos[worker]
        entry = struct.pack("<IHHIIII16sHHIII8s", pos + 1, op, 0, slot, gen, mbox, rseq, addr, port, 0,
                            *u32, b"reno\0\0\0\0")
        self.m[at + 128 + pos % ENTRIES * 64:at + 128 + pos % ENTRIES * 64 + 64] = entry
        self.pos[worker] = pos + 1 & 0xffffffff
        word = DIRTY + worker * 128 + self.proc // 64 * 8
        self.m[word:word + 8] = struct.pack("<Q", 1 << self.proc % 64)

    def ring(self):
        for fd in self.bells:
            os.write(fd, struct.pack("Q", 1))

    def gone(self):
        """Has the engine hung up?"""
        try:
            self.sock.setblocking(False)
            while self.sock.recv(4096):
                pass
            return True
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def close(self):
        self.m.close()
        self.sock.close()
        for fd in self.fds:
            os.close(fd)


def number(rnd):
    return rnd.choice((0, 1, 2, 3, rnd.randrange(64), 1 << 19, (1 << 20) - 1, 1 << 20, 0xffffffff,
                       rnd.randrange(1 << 32)))


def plausible_slot(rnd, h):
    """A slot that ATTACH takes: generation, family, type, protocol."""
    slot = rnd.randrange(1, 32)
    at = SLOTS + slot * SLOT_SIZE
    gen = rnd.randrange(1, 4)
    h.m[at:at + 4] = struct.pack("<I", gen)
    h.m[at + 192:at + 196] = rnd.choice((b"\2\1\6\3", b"\2\2\x11\3"))
    return slot, gen


def one_step(rnd, h):
    worker = rnd.randrange(h.workers)
    what = rnd.random()
    if what < .5:
        slot, gen = plausible_slot(rnd, h)
        h.command(worker if rnd.random() < .2 else 0, ATTACH, slot, gen)
        for op in rnd.sample((BIND, LISTEN, CONNECT, 1, 5, 6, 7, 8, 9, 10), 4):
            h.command(worker if rnd.random() < .3 else 0, op, slot, gen,
                      port=rnd.choice((0, 8000, 9000, 65535)), u32=(number(rnd), number(rnd), number(rnd)),
                      mbox=rnd.choice((0, 1, 2, number(rnd))))
    elif what < .8:
        h.command(worker, rnd.randrange(OPS + 2), number(rnd), number(rnd), rnd.randbytes(16),
                  rnd.randrange(65536), (number(rnd), number(rnd), number(rnd)), number(rnd), number(rnd))
    else:
        area, size = rnd.choice(((0, 4736), (SLOTMAP, 65536), (CHUNKMAP, 4096),
                                 (PROCS + h.proc * PROC_STRIDE + FDS, 4096),
                                 (PROCS + h.proc * PROC_STRIDE + RINGS, RING_STRIDE),
                                 (MBOXES + 136 * 1024, 136 * 1024), (ACCEPTS, 68 * 1024),
                                 (SLOTS, 64 * SLOT_SIZE), (SLOTS, SLOT_CNT * SLOT_SIZE)))
        at = area + rnd.randrange(size - 64)
        h.m[at:at + 64] = rnd.randbytes(64)
    if rnd.random() < .2:
        h.ring()


def serves(d):
    p = d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", d.dir, "8123"])
    stk.wait_port(stk.STACK, 8123)
    d.stop(p)


@stk.test(*stk.workers(1, 2))
def scribbler(workers):
    """40 programs that each write 500 times where and what they like, from a seed."""
    rnd = random.Random(4711 + workers)
    with stk.stackd(workers=workers) as d:
        ended = 0
        for _ in range(40):
            h = Hostile(d)
            h.check_read_only()
            for _ in range(500):
                one_step(rnd, h)
            h.ring()
            d.show("workers")
            d.alive()
            ended += h.gone()
            h.close()
        app = d.show("snmp")["snmp"]["App"]
        stk.check(app["Commands"] > 1000 and app["BadCommands"] > 100 and ended > 0,
                  f"commands were not looked at: {ended} {app}")
        serves(d)
        stk.wait_for("no program is left", lambda: not d.show("programs")["programs"])
        d.wait_clean()


def control_sockets(d):
    """Sockets of the kernel's that are bound to the control socket's path, closed ones included."""
    with open("/proc/net/unix") as f:
        return sum(line.rstrip().endswith("stackd.sock") for line in f)


def hostile_run(seconds, workers):
    """Two fuzzers, nginx and python at work beside them, every hash checked."""
    seeds = [os.environ.get("HOSTILE_SEED") or str(random.randrange(1 << 31)) for _ in range(2)]
    print(f"# seeds {seeds}: HOSTILE_SEED=N repeats one")
    with stk.stackd(workers=workers) as d:
        stk.check(d.sysctl("net.ipv4.tcp_fin_timeout=5") == 5, "tcp_fin_timeout")
        sink = d.start([PY, "-c", SINK, stk.KERNEL])
        n = Nginx(d, size=4 << 20)
        want = stk.make_file(os.path.join(d.dir, "f"), 2 << 20, seed=2)
        py = d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", d.dir, "8124"])
        stk.wait_port(stk.STACK, 8124)
        base = control_sockets(d)
        bad = [d.start([os.path.join(stk.TESTS, "hostile"), d.run_dir, s, str(seconds)])
               for s in seeds]
        rounds = 0
        while any(b.poll() is None for b in bad):
            stk.check(stk.hash_of(["curl", "-sS", url("/big")]) == n.hash, "nginx' hash differs")
            got = stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8124/f"])
            stk.check(got == want, "python's hash differs")
            d.show("sockets")
            d.show("programs")
            d.alive()
            rounds += 1
        for b in bad:
            stk.check(b.returncode == 0, f"{b.args}: exit {b.returncode}")
        stk.check(rounds > seconds / 5, f"only {rounds} rounds in {seconds} s")
        n.stop()
        d.stop(py)
        d.stop(sink)
        stk.wait_for("no program is left", lambda: not d.show("programs")["programs"])
        d.wait_clean(150)                       # orphans may linger for 120 s
        stk.wait_for("control connections are gone", lambda: control_sockets(d) <= base)


# Takes what hostile programs send to port 9900, every other connection without reading.
SINK = """
import socket, sys, threading
def eat(c, read):
    try:
        while read and c.recv(65536):
            pass
        read or c.send(b'x' * 70000)
    except OSError:
        pass
    c.close()
l = socket.create_server((sys.argv[1], 9900), backlog=100)
i = 0
while True:
    i += 1
    threading.Thread(target=eat, args=(l.accept()[0], i % 2), daemon=True).start()
"""


@stk.test(*stk.workers(1, 2))
def beside_others(workers):
    """Two fuzzers for some seconds, longer with sanitizers; others' bytes arrive as they were."""
    hostile_run(15 if "address" in stk.BUILD else 5, workers)


@stk.test()
def full_eventfd():
    """A program that fills the counter of its mailbox's eventfd does not make a worker wait."""
    with stk.stackd() as d:
        h = Hostile(d)
        for fd in h.fds[3 + h.workers:]:
            os.set_blocking(fd, False)
            os.write(fd, struct.pack("Q", (1 << 64) - 2))
            os.set_blocking(fd, True)
        at = MBOXES + h.mbox * 136 * 1024
        slot, gen = plausible_slot(random.Random(1), h)
        h.command(0, ATTACH, slot, gen)
        for i in range(50):
            h.m[at:at + 4] = struct.pack("<I", 2)          # ARMED: every answer wakes
            h.command(0, BIND, slot, gen, port=9000, mbox=h.mbox, rseq=i + 1)
            h.ring()
        stk.wait_for("wakes", lambda: d.show("snmp")["snmp"]["App"]["Wakes"] > 0)
        serves(d)
        h.close()
        d.wait_clean()


def engine_of(d):
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        return int(f.read().split()[0])


class Lingering:
    """A kernel socket whose last close() takes two minutes, but for a process that exits."""
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.sock = socket.create_connection(self.listener.getsockname())
        self.peer = self.listener.accept()[0]
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 120))
        self.sock.setblocking(False)
        try:
            while True:
                self.sock.send(bytes(65536))
        except BlockingIOError:
            pass

    def give(self, who, sock, *msgs):
        """@who gets the last reference of it: is not running until it is the only one that has it."""
        os.kill(who, signal.SIGSTOP)
        stk.wait_for("it stopped", lambda: open(f"/proc/{who}/stat").read().rsplit(")", 1)[1].split()[0] == "T")
        for m in msgs:
            socket.send_fds(sock, [m], [self.sock.fileno()])
        self.sock.close()
        os.kill(who, signal.SIGCONT)

    def end(self):
        self.peer.close()
        self.listener.close()


CTL_SHOW, CTL_IMPORT, CTL_EXPORT, CTL_EXPORT_R = 7, 16, 14, 15


@stk.test()
def slow_to_close():
    """Descriptors whose close() waits, passed wherever one can: nobody of stackd's waits for them."""
    with stk.stackd() as d:
        e, slow = engine_of(d), []
        nonsense, again = struct.pack("II", CTL_SHOW, 8), struct.pack("II", CTL_IMPORT, 8)
        long = struct.pack("II", CTL_IMPORT, 16) + bytes(8)
        for msgs in ((nonsense,), (again,), (again, again), (long,), (b"",), (nonsense, again, b"x")):
            h, one = Hostile(d), Lingering()
            one.give(e, h.sock, *msgs)
            slow.append((one, h))
            d.show("workers")
        h, one = Hostile(d), Lingering()
        slot, gen = 5, 1
        at = SLOTS + slot * SLOT_SIZE
        h.m[at:at + 4] = struct.pack("<I", gen)
        h.m[at + 192:at + 196] = b"\2\1\6\3"
        h.command(0, ATTACH, slot, gen)
        h.ring()

        def exported():
            h.sock.send(struct.pack("IIIII", CTL_EXPORT, 20, slot, gen, 0))
            msg, fds, _, _ = socket.recv_fds(h.sock, 4096, 8)
            stk.check(struct.unpack_from("I", msg)[0] == CTL_EXPORT_R, str(msg))
            return fds
        fds = stk.wait_for("a pair for its socket", exported)
        with socket.socket(fileno=fds[0]) as pair:
            one.give(e, pair, b"bytes")
        slow.append((one, h))
        serves(d)
        d.alive()
        for one, h in slow:
            one.end()
            h.close()
        stk.wait_for("no program is left", lambda: not d.show("programs")["programs"])
        d.wait_clean()


@stk.test()
def slow_to_close_refused():
    """The same in a message that nobody reads: its sender may not attach, or there is no engine."""
    with stk.stackd(args=["--allow", "root"]) as d:
        slow = []
        for msgs in ((b"x",), (b"", b"x", b"", b"y")):
            one = Lingering()
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            os.kill(d.proc.pid, signal.SIGSTOP)
            os.setresuid(4711, 4711, 0)
            s.connect(os.path.join(d.run_dir, "stackd.sock"))
            os.setresuid(0, 0, 0)
            one.give(d.proc.pid, s, *msgs)
            serves(d)
            s.close()
            slow.append(one)
        serves(d)
        for one in slow:
            one.end()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def greedy(workers):
    """A program takes all mailboxes of its family: then it is told so, and lives on."""
    with stk.stackd(workers=workers) as d:
        h, got = Hostile(d), 1
        while True:
            h.sock.send(struct.pack("II", 5, 8))
            msg, fds, _, _ = socket.recv_fds(h.sock, 4096, 64)
            for fd in fds:
                os.close(fd)
            if struct.unpack_from("I", msg)[0] != 6:
                break
            got += 1
        stk.check(struct.unpack_from("IIi", msg)[::2] == (10, -28), f"answer {msg[:12]}")
        stk.check(got == 4095 // 8, f"{got} grants of 8")
        h.sock.send(struct.pack("II", 3, 8))
        msg = h.sock.recv(4096)
        stk.check(struct.unpack_from("I", msg)[0] == 10, "a child without mailboxes")
        stk.check(not h.gone(), "the session ended")
        stk.check(len(d.show("programs")["programs"]) == 1, "one program")
        serves(d)
        h.close()
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
