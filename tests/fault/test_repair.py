#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What does not fit is refused with a reason: a shim or an arena of another ABI; a connection that
crashed the engine twice is reset, and only that one."""
import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
CTL_HELLO, CTL_ERROR = 1, 10
OBJ_TCB = 3
SYS_TGKILL = 234
AR_TCB = 4
ARENA_ABI_OFF = 8                   # struct arena_hdr: magic, abi_id, workers, regions, size, reg[]
ARENA_REG_OFF = 32                  # reg[AR_INTENT]: offset, size of a record, records


def hello(major):
    return struct.pack("=IIHHI32s", CTL_HELLO, 48, major, 0, 0, b"other")


def refusal(err, text):
    return struct.pack("=IIi128s", CTL_ERROR, 140, err, text)


def engine_pid(d):
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        pids = f.read().split()
    return int(pids[0]) if pids else 0


def arena(d):
    """The arena, as the supervisor keeps it."""
    for fd in os.listdir(f"/proc/{d.proc.pid}/fd"):
        path = f"/proc/{d.proc.pid}/fd/{fd}"
        if os.readlink(path).startswith("/memfd:stackd-arena"):
            got = os.open(path, os.O_RDWR)
            try:
                return mmap.mmap(got, os.fstat(got).st_size)
            finally:
                os.close(got)
    raise stk.Failed("the supervisor keeps no arena")


def begins_anew(d, p, c):
    """The memory is another: program @p and its connection @c are of the past, the next program is served."""
    c.close()
    d.stop(p, signal.SIGKILL)
    p = echo(d)
    with socket.create_connection((stk.STACK, 8000), stk.HANG) as c:
        stk.check(answers(c, b"new"), "a program started afterwards")
    d.stop(p)
    d.wait_clean()


def crash(d, change, *args):
    """SIGSEGV for the engine's worker 0, after @change of the arena; it runs no instruction in between."""
    pid = engine_pid(d)
    os.kill(pid, signal.SIGSTOP)
    stk.wait_for("it stopped", lambda: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "T")
    with arena(d) as a:
        change(a, *args)
    # of a signal for the process any thread may be the one to die
    stk.check(ctypes.CDLL(None).syscall(SYS_TGKILL, pid, pid, signal.SIGSEGV) == 0, "tgkill")
    os.kill(pid, signal.SIGCONT)
    stk.wait_for("another engine", lambda: engine_pid(d) not in (0, pid))
    stk.wait_for("it answers", d._up)


def tcb_of(d, port):
    """The record of the connection with the client's @port; records begin with their tuple."""
    with arena(d) as a:
        off, size = struct.unpack_from("=QI", a, ARENA_REG_OFF + 16 * AR_TCB)
        for i in range(1, 64):
            if struct.unpack_from("=HH", a, off + i * size + 32) == (8000, port):
                return i
    raise stk.Failed(f"no connection from port {port}")


def in_hand(a, kind, idx, worker=0):
    """This worker had this object in hand."""
    off, size = struct.unpack_from("=QI", a, ARENA_REG_OFF)
    struct.pack_into("=II", a, off + (worker + 1) * size, kind, idx)


ECHO = f"""
import selectors, socket
sel = selectors.DefaultSelector()
l = socket.create_server(("{stk.STACK}", 8000)); sel.register(l, 1)
while True:
    for key, _ in sel.select():
        try:
            if key.fileobj is l:
                sel.register(l.accept()[0], 1)
                continue
            data = key.fileobj.recv(1000)
        except OSError:
            data = b""
        if data:
            key.fileobj.send(data)
        else:
            sel.unregister(key.fileobj); key.fileobj.close()
"""


def echo(d):
    p = d.stackrun([PY, "-c", ECHO])
    stk.wait_port(stk.STACK, 8000)
    return p


def answers(c, text):
    try:
        c.sendall(text)
        return c.recv(100) == text
    except ConnectionResetError:
        return False


@stk.test()
def crashed_twice():
    """One of two connections is in hand at two crashes: the third engine resets it, the other goes on."""
    d = stk.Stackd()
    try:
        p = echo(d)
        conns = [socket.create_connection((stk.STACK, 8000), stk.HANG) for _ in range(2)]
        stk.check(all(answers(c, b"one") for c in conns), "before")
        bad = tcb_of(d, conns[0].getsockname()[1])
        crash(d, in_hand, OBJ_TCB, bad)
        stk.check(all(answers(c, b"two") for c in conns), "one crash is forgiven")
        crash(d, in_hand, OBJ_TCB, bad)
        left = [answers(c, b"three") for c in conns]
        stk.check(left == [False, True], f"connections that live: {left}\n{d.logs()}")
        stk.check("in hand at two crashes" in d.logs(), d.logs())
        q = d.show("quarantine")["quarantine"]
        want = f"{stk.STACK}:8000 - {stk.KERNEL}:{conns[0].getsockname()[1]}"
        stk.check([(e["what"], e["which"]) for e in q] == [("connection", want)], str(q))
        crash(d, in_hand, 0, 0)
        stk.check(answers(conns[1], b"four"), "a crash that names nothing")
        with socket.create_connection((stk.STACK, 8000), stk.HANG) as c:
            stk.check(answers(c, b"new"), "new connections")
        for c in conns:
            c.close()
        d.stop(p)
        d.wait_clean()
    finally:
        d.close()


@stk.test()
def innocent_worker():
    """Worker 0 crashes twice: what worker 1 has in hand meanwhile is not to blame."""
    d = stk.Stackd(workers=2)
    try:
        p = echo(d)
        with socket.create_connection((stk.STACK, 8000), stk.HANG) as c:
            stk.check(answers(c, b"one"), "before")
            with arena(d) as a:
                off, size, cnt = struct.unpack_from("=QII", a, ARENA_REG_OFF + 16 * AR_TCB)
                port = c.getsockname()[1]
                idx = next(i for first in (1, cnt // 2) for i in range(first, first + 64)
                           if struct.unpack_from("=HH", a, off + i * size + 32) == (8000, port))
            for text in (b"two", b"three", b"four"):
                crash(d, in_hand, OBJ_TCB, idx, 1)
                stk.check(answers(c, text), "its connection was reset")
            stk.check(not d.show("quarantine")["quarantine"], "somebody is to blame")
        d.stop(p)
        d.wait_clean()
    finally:
        d.close()


@stk.test()
def killed_is_not_crashed():
    """kill -9 says nothing of what was in hand: nobody is reset, however often."""
    d = stk.Stackd()
    try:
        p = echo(d)
        with socket.create_connection((stk.STACK, 8000), stk.HANG) as c:
            stk.check(answers(c, b"one"), "before")
            idx = tcb_of(d, c.getsockname()[1])
            for _ in range(3):
                pid = engine_pid(d)
                os.kill(pid, signal.SIGSTOP)
                with arena(d) as a:
                    in_hand(a, OBJ_TCB, idx)
                os.kill(pid, signal.SIGKILL)
                stk.wait_for("another engine", lambda: engine_pid(d) not in (0, pid))
                stk.wait_for("it answers", d._up)
                stk.check(answers(c, b"two"), "it was reset")
        d.stop(p)
    finally:
        d.close()


@stk.test()
def arena_of_another_abi():
    """The next engine does not fit the memory of the one before: fresh start, programs do not hang."""
    d = stk.Stackd()
    try:
        p = echo(d)
        c = socket.create_connection((stk.STACK, 8000), stk.HANG)
        stk.check(answers(c, b"one"), "before")
        crash(d, lambda a: struct.pack_into("=Q", a, ARENA_ABI_OFF, 42))
        stk.check("does not fit this one: its programs are hung up" in d.logs(), d.logs())
        stk.check(not answers(c, b"two"), "its connection cannot live")
        stk.check(not d.show("programs")["programs"], "a program of the memory that was let go")
        begins_anew(d, p, c)
    finally:
        d.close()


@stk.test()
def shim_of_another_abi():
    """HELLO of another major version: refused in words; a shim that is refused runs on the kernel."""
    with stk.stackd() as d:
        for major in (0, 2, 65535):
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.settimeout(stk.HANG)
            c.connect(os.path.join(d.run_dir, "stackd.sock"))
            c.send(hello(major))
            kind, size, err = struct.unpack_from("=IIi", got := c.recv(1000))
            stk.check(kind == CTL_ERROR and err == -errno.EPROTO and b"does not fit" in got, str(got))
            stk.check(c.recv(1000) == b"", "not hung up")
            c.close()
        stk.check(not d.show("programs")["programs"], "it is attached")
    run = "/tmp/other-stackd"
    os.mkdir(run, 0o755)
    text = "the program's libstackd does not fit this stackd"
    srv = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    srv.bind(os.path.join(run, "stackd.sock"))
    srv.listen(8)

    def serve():
        while True:
            c, _ = srv.accept()
            c.recv(1000)
            c.send(refusal(-errno.EPROTO, text.encode()))
            c.close()
    threading.Thread(target=serve, daemon=True).start()
    r = subprocess.run([os.path.join(stk.PLAIN, "stackrun"), "--run-dir", run, PY, "-c",
                        "import socket; l = socket.create_server(('127.0.0.1', 0))\n"
                        "c = socket.create_connection(l.getsockname()); l.accept()[0].send(b'x')\n"
                        "print(c.recv(1))"], capture_output=True, text=True, timeout=stk.HANG)
    stk.check(r.stdout == "b'x'\n", f"{r.stdout} {r.stderr}")
    stk.check(r.stderr.count("stackd:") == 1 and text in r.stderr, r.stderr)


if __name__ == "__main__":
    stk.main()
