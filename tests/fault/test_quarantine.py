#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What crashes the engine twice is not touched again: a packet that belongs to no connection, a command,
a request on the control socket; and memory that no engine can adopt is given up. The engines here are
copies of stackd in which one function is an illegal instruction: what they crash of is real."""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stk                                                                    # noqa: E402
from test_repair import PY, answers, begins_anew, echo, engine_pid            # noqa: E402
stk.forget_tests()

UD2 = b"\x0f\x0b"
PT_LOAD, SHT_SYMTAB, STT_FUNC, STT_FILE = 1, 2, 2, 4


def symbol(elf, file, name):
    """Address of a function, by the source file it is in (names of static ones come more than once)."""
    shoff, = struct.unpack_from("<Q", elf, 40)
    size, cnt = struct.unpack_from("<HH", elf, 58)
    sects = [struct.unpack_from("<IIQQQQIIQQ", elf, shoff + i * size) for i in range(cnt)]
    tab = next(s for s in sects if s[1] == SHT_SYMTAB)
    names = sects[tab[6]][4]
    where, got = None, []
    for at in range(tab[4], tab[4] + tab[5], 24):
        st_name, info, _, _, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
        text = elf[names + st_name:elf.index(b"\0", names + st_name)].decode()
        if info & 15 == STT_FILE:
            where = text
        elif info & 15 == STT_FUNC and text == name and (where == file or info >> 4):
            got.append(value)
    stk.check(len(got) == 1, f"{file}: {name} is there {len(got)} times")
    return got[0]


@contextlib.contextmanager
def broken(file, name, **kw):
    """A daemon whose engines crash at the first instruction of a function."""
    with open(os.path.join(stk.BUILD, "stackd"), "rb") as f:
        elf = bytearray(f.read())
    addr = symbol(elf, file, name)
    phoff, = struct.unpack_from("<Q", elf, 32)
    size, cnt = struct.unpack_from("<HH", elf, 54)
    for i in range(cnt):
        kind, _, off, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", elf, phoff + i * size)
        if kind == PT_LOAD and vaddr <= addr < vaddr + filesz:
            elf[addr - vaddr + off:addr - vaddr + off + 2] = UD2
    path = f"/tmp/stackd-broken-{name}"
    with open(path, "wb") as f:
        f.write(elf)
    os.chmod(path, 0o755)
    d = stk.Stackd(binary=path, **kw)
    try:
        yield d
        stk.check(d.proc.poll() is None, "the supervisor died")
    except BaseException:
        print("# --- stackd's log ---\n# " + d.logs().replace("\n", "\n# "))
        raise
    finally:
        d.close()
        os.unlink(path)


def crashes(d, what):
    """@what makes the engine crash; return when the next one serves."""
    old = stk.wait_for("an engine", lambda: engine_pid(d))
    what()
    stk.wait_for("the next engine", lambda: engine_pid(d) not in (0, old))
    stk.wait_for("it answers", d._up)


def quarantine(d):
    return d.show("quarantine")["quarantine"]


def dropped(d):
    return sum(r["count"] for r in d.show("drops")["drops"] if r["reason"] == "QUARANTINE")


def ping(seq, size=56):
    """An echo request, never the same one twice."""
    body = os.urandom(size)
    msg = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xffff, seq) + body
    words = struct.unpack(f"!{len(msg) // 2}H", msg)
    s = sum(words)
    s = (s & 0xffff) + (s >> 16)
    s = ~((s & 0xffff) + (s >> 16)) & 0xffff
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(msg[:2] + struct.pack("!H", s) + msg[4:], (stk.STACK, 0))


@stk.test(*stk.workers(1, 2))
def packet(workers):
    """Pings crash it: the third is dropped, those of another length would crash it again. A connection
    lives through all of it."""
    with broken("icmp.c", "icmp_rx", workers=workers) as d:
        p = echo(d)
        c = socket.create_connection((stk.STACK, 8000), stk.HANG)
        stk.check(answers(c, b"one"), "before")
        crashes(d, lambda: ping(1))
        stk.check(not quarantine(d), "one crash is forgiven")
        stk.check(answers(c, b"two"), "after one crash")
        crashes(d, lambda: ping(2))
        q = quarantine(d)
        stk.check([(e["what"], e["crashes"]) for e in q] == [("packet", 2)], str(q))
        stk.check(q[0]["which"] == f"ICMP {stk.KERNEL} > {stk.STACK} type 8 code 0, 98 bytes", str(q))
        pid = engine_pid(d)
        for i in range(3, 8):
            ping(i)
        stk.wait_for("they are dropped", lambda: dropped(d) >= 5)
        stk.check(quarantine(d)[0]["dropped"] >= 5, str(quarantine(d)))
        stk.check(answers(c, b"three") and engine_pid(d) == pid, "it crashed again")
        # The list outlives the engine; a packet of another shape is another one.
        crashes(d, lambda: ping(8, 100))
        ping(9)
        stk.wait_for("it is still dropped", lambda: quarantine(d)[0]["dropped"] >= 6)
        stk.check(len(quarantine(d)) == 1 and answers(c, b"four"), "the connection")
        c.close()
        d.stop(p)
        d.wait_clean()


@stk.test()
def retransmitted():
    """A SYN that crashes it comes again with another time stamp: at the third it is dropped."""
    with broken("in_listen.c", "tcp_in_listen") as d:
        p = d.stackrun([PY, "-c", f"import socket, time\nl = socket.create_server(('{stk.STACK}', 8000))\n"
                                  "time.sleep(1000)"])
        stk.wait_for("it listens", lambda: d.show("sockets")["sockets"])
        with socket.socket() as c:
            c.setblocking(False)
            crashes(d, lambda: c.connect_ex((stk.STACK, 8000)))
            stk.wait_for("the second crash", lambda: quarantine(d))
            q = quarantine(d)
            stk.check(q[0]["which"].startswith(f"TCP {stk.KERNEL}:{c.getsockname()[1]} > {stk.STACK}:8000"),
                      str(q))
            pid = engine_pid(d)
            stk.wait_for("the next is dropped", lambda: dropped(d))
            stk.check(engine_pid(d) == pid, "it crashed again")
        d.stop(p, signal.SIGKILL)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def command(workers):
    """bind() of a datagram socket crashes it: the program is told EIO, and goes on."""
    code = ("import errno, socket\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "try:\n"
            f"    s.bind(('{stk.STACK}', 9999))\n"
            "except OSError as e:\n"
            "    print(errno.errorcode[e.errno])\n"
            f"l = socket.create_server(('{stk.STACK}', 8001))\n"
            "print('listens', flush=True)\n"
            "print(l.accept()[0].recv(10))\n")
    with broken("ops.c", "op_bind", workers=workers) as d:
        p = d.stackrun([PY, "-c", code], stdout=subprocess.PIPE)
        stk.check(p.stdout.readline() == b"EIO\n", "what bind() said")
        stk.check(p.stdout.readline() == b"listens\n", "a stream socket")
        q = quarantine(d)
        stk.check([e["what"] for e in q] == ["command"] and "of python3" in q[0]["which"], str(q))
        stk.check(d.logs().count("engine died") == 2, d.logs())
        with socket.create_connection((stk.STACK, 8001), stk.HANG) as c:
            c.sendall(b"hello")
            stk.check(p.stdout.readline() == b"b'hello'\n", "its connection")
        p.wait(stk.HANG)
        d.wait_clean()


@stk.test()
def request():
    """A program whose request crashes it is hung up when it has repeated it."""
    hello, mbox, again = 1, 5, 13
    with broken("session.c", "session_mbox") as d:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as c:
            c.settimeout(stk.HANG)
            c.connect(os.path.join(d.run_dir, "stackd.sock"))
            c.send(struct.pack("=IIHHI32s", hello, 48, 1, 0, 0, b"asker"))
            msg, fds, _, _ = socket.recv_fds(c, 4096, 64)
            for fd in fds:
                os.close(fd)
            crashes(d, lambda: c.send(struct.pack("=II", mbox, 8)))
            stk.check(struct.unpack_from("=I", c.recv(4096))[0] == again, "asked again")
            crashes(d, lambda: c.send(struct.pack("=II", mbox, 8)))
            stk.check(c.recv(4096) == b"", "not hung up")
            q = quarantine(d)
            stk.check([e["what"] for e in q] == ["request"], str(q))
        stk.wait_for("it is gone", lambda: not d.show("programs")["programs"])
        d.wait_clean()


@stk.test()
def adoption():
    """No engine gets beyond adopting what the first one left: it is given up, new programs are served."""
    with broken("adopt.c", "tcp_adopt") as d:
        p = echo(d)
        c = socket.create_connection((stk.STACK, 8000), stk.HANG)
        stk.check(answers(c, b"one"), "before")
        os.kill(engine_pid(d), signal.SIGKILL)
        stk.wait_for("it is given up", lambda: "it is given up" in d.logs(), 30)
        stk.wait_for("an engine answers", d._up, 30)
        stk.check(not answers(c, b"two"), "its connection cannot live")
        stk.check(d.logs().count("engine died") == 5, d.logs())
        begins_anew(d, p, c)


if __name__ == "__main__":
    stk.main()
