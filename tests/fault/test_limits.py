#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may use stackd, how much of it, and who may bind low ports; beside the kernel where it has a say."""
import json
import os
import select
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
UID = 4711
TOPIC_USE = ("families", "processes", "connections", "sockets", "ports")


def as_user(uid=UID, gid=UID, groups=()):
    return {"user": uid, "group": gid, "extra_groups": list(groups)}


def script(d, text):
    """A program of the text, readable by everybody."""
    path = os.path.join(d.dir, f"prog{len(os.listdir(d.dir))}.py")
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o644)
    return path


def on_stackd(d, path, *args, **kw):
    """Run it. Return: (what it printed, standard error)."""
    r = subprocess.run([os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir, PY, path, *args],
                       capture_output=True, text=True, timeout=3 * stk.HANG, **kw)
    stk.check(r.returncode == 0, f"exit {r.returncode}: {r.stderr}")
    return r.stdout, r.stderr


def line(d, p):
    """The next line of what it prints."""
    stk.check(select.select([p.stdout], [], [], stk.HANG)[0], f"it prints nothing\n{d.logs()}")
    return p.stdout.readline()


def user(d, uid=UID):
    for u in d.show("users")["users"]:
        if u["uid"] == uid:
            return u
    return None


def nothing_used(d, uid=UID):
    u = user(d, uid)
    left = {k: u[k] for k in TOPIC_USE + ("memory",) if u[k]} if u else {}
    return not left or None


WHERE = f"""
import socket, sys
def where(s):
    # A socket of stackd's can be bound to its address, one of the kernel's cannot.
    try:
        s.bind(("{stk.STACK}", 0))
        return "stackd"
    except OSError:
        return "kernel"
"""


@stk.test()
def allowed():
    """--allow: users and groups, supplementary ones too; others run on the kernel, with the reason."""
    prog = WHERE + "print(where(socket.socket()))\n"
    with stk.stackd(args=["--allow", f"{UID},@4800"]) as d:
        path = script(d, prog)
        for who, there in ((as_user(), True), (as_user(5000, 5000), False), (as_user(5001, 4800), True),
                           (as_user(5002, 5000, [7, 4800]), True), ({}, False)):
            out, err = on_stackd(d, path, **who)
            stk.check(out.strip() == ("stackd" if there else "kernel"), f"{who}: {out} {err}")
            uid = who.get("user", 0)
            stk.check(there == (err == ""), f"{who}: {err}")
            stk.check(there or f"uid {uid} may not use this stackd" in err and err.count("\n") == 1, err)
        stk.check(user(d, 5000)["refused_attach"] == 1 and user(d)["refused_attach"] == 0, "counted")


@stk.test(*stk.workers(1, 2))
def sockets(workers):
    """Sockets: those beyond the limit are the kernel's, with one warning; closing gives room again."""
    prog = WHERE + """
def open_ten():
    return [socket.socket() for i in range(10)]
a = open_ten()
print([where(s) for s in a].count("stackd"))
for s in a[:3]:
    s.close()
b = open_ten()
print([where(s) for s in b].count("stackd"))
"""
    with stk.stackd(workers=workers, args=["--limit", f"{UID}:sockets=6"]) as d:
        out, err = on_stackd(d, script(d, prog), **as_user())
        stk.check(out.split() == ["6", "3"], f"{out} {err}")
        stk.check(err.count("stackd:") == 1 and "as many sockets" in err, err)
        u = user(d)
        stk.check(u["refused_sockets"] >= 11 and u["sockets_max"] == 6, str(u))
        out, err = on_stackd(d, script(d, prog))
        stk.check(out.split() == ["10", "10"] and not err, f"root has no limit: {out} {err}")
        stk.wait_for("all is given back", lambda: nothing_used(d))


@stk.test(*stk.workers(1, 2))
def accepted_sockets(workers):
    """A server at its limit takes no more connections; closing one lets the next in."""
    prog = f"""
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("{stk.STACK}", 8000)); s.listen(64)
print("up", flush=True)
held = [s.accept()[0] for i in range(3)]
print("three", flush=True)
sys.stdin.readline()
held.pop().close()
held.append(s.accept()[0])
held[-1].sendall(b"in")
print("fourth", flush=True)
sys.stdin.readline()
"""
    with stk.stackd(workers=workers, args=["--limit", f"{UID}:sockets=4"]) as d:
        p = d.stackrun([PY, script(d, prog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       **as_user())
        stk.check(line(d, p) == "up\n", "not up")
        c = [socket.create_connection((stk.STACK, 8000), stk.HANG) for _ in range(3)]
        stk.check(line(d, p) == "three\n", "not accepted")
        stk.check(user(d)["sockets"] == 4, str(user(d)))
        late = socket.socket()
        late.setblocking(False)
        late.connect_ex((stk.STACK, 8000))
        stk.wait_for("it was refused", lambda: user(d)["refused_sockets"] > 0)
        p.stdin.write("\n")
        p.stdin.flush()
        late.setblocking(True)
        late.settimeout(stk.HANG)
        stk.check(line(d, p) == "fourth\n" and late.recv(2) == b"in", "room was not used")
        d.stop(p, signal.SIGKILL)
        for s in c + [late]:
            s.close()
        stk.wait_for("all is given back", lambda: nothing_used(d))


@stk.test()
def ports():
    """Ports that bind() holds: ENOBUFS beyond the limit; a child, a passed socket and a kill are counted."""
    prog = f"""
import os, socket, sys, errno
held, err = [], ""
for i in range(6):
    s = socket.socket()
    try:
        s.bind(("{stk.STACK}", 0)); held.append(s)
    except OSError as e:
        err = errno.errorcode[e.errno]
c = socket.socket(); c.connect(("{stk.KERNEL}", 8000))     # a port that connect() chose is free
print(len(held), err, flush=True)
if os.fork() == 0:
    held.pop().close()
    a, b = socket.socketpair()
    socket.send_fds(a, [b"x"], [held[0].fileno()])
    held.pop(0).close()
    print("forked", flush=True)
sys.stdin.readline()
"""
    with stk.stackd(args=["--limit", "ports=4"]) as d:
        srv = socket.create_server((stk.KERNEL, 8000))
        p = d.stackrun([PY, script(d, prog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       **as_user())
        stk.check(line(d, p) == "4 ENOBUFS\n", "limit")
        stk.check(line(d, p) == "forked\n", "forked")
        u = user(d)
        stk.check(u["ports"] == 4 and u["processes"] == 2 and u["refused_ports"] == 2, str(u))
        os.killpg(p.pid, signal.SIGKILL)
        stk.wait_for("all is given back", lambda: nothing_used(d))
        d.stop(p)
        srv.close()


@stk.test()
def processes_and_connections():
    """fork() says EAGAIN at the limit, as RLIMIT_NPROC does; a program too many is the kernel's."""
    prog = f"""
import errno, os, socket, sys
s = socket.socket(); s.bind(("{stk.STACK}", 0))
out = []
for i in range(3):
    try:
        if os.fork() == 0:
            sys.stdin.readline(); os._exit(0)
        out.append("ok")
    except OSError as e:
        out.append(errno.errorcode[e.errno])
print(*out, flush=True)
sys.stdin.readline()
"""
    with stk.stackd(args=["--limit", f"{UID}:processes=3,connections=2"]) as d:
        ask = script(d, WHERE + "print(where(socket.socket()))\n")
        p = d.stackrun([PY, script(d, prog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       **as_user())
        stk.check(line(d, p) == "ok ok EAGAIN\n", "fork")
        out, err = on_stackd(d, ask, **as_user())
        stk.check(out == "kernel\n" and "has its 3 processes" in err, f"{out} {err}")
        held = []
        for _ in range(3):
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.settimeout(stk.HANG)
            os.setresuid(UID, UID, 0)
            c.connect(os.path.join(d.run_dir, "stackd.sock"))
            os.setresuid(0, 0, 0)
            held.append(c)
        stk.check(b"too many connections" in held[1].recv(200), "the program's own, one more, no more")
        u = user(d)
        stk.check(u["refused_processes"] == 2 and u["refused_connections"] == 2, str(u))
        for c in held:
            c.close()
        os.killpg(p.pid, signal.SIGKILL)
        stk.wait_for("all is given back", lambda: nothing_used(d))
        d.stop(p)
        stk.check(on_stackd(d, ask, **as_user())[0] == "stackd\n", "there is room again")


@stk.test()
def memory():
    """Memory: a sender and a receiver at the limit wait and go on, with the right bytes in the end."""
    prog = f"""
import hashlib, socket, sys
s = socket.socket(); s.connect(("{stk.KERNEL}", 8000))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
print("up", flush=True); sys.stdin.readline()
data = bytes(range(256)) * 4096
h = hashlib.sha256()
for i in range(24):
    s.sendall(data); h.update(data)
s.shutdown(socket.SHUT_WR)
print(h.hexdigest(), flush=True); sys.stdin.readline()
"""
    with stk.stackd(args=["--limit", f"{UID}:memory=4M"]) as d:
        srv = socket.create_server((stk.KERNEL, 8000))
        p = d.stackrun([PY, script(d, prog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       **as_user())
        c = srv.accept()[0]
        c.settimeout(stk.HANG)
        stk.check(line(d, p) == "up\n", "up")
        p.stdin.write("\n")
        p.stdin.flush()
        most, total, h = 0, 0, stk.hashlib.sha256()
        while True:
            part = c.recv(1 << 20)
            if not part:
                break
            h.update(part)
            total += len(part)
            if total % 7 == 0:
                most = max(most, user(d)["memory"])
        stk.check(total == 24 << 20 and line(d, p).strip() == h.hexdigest(), f"{total} bytes")
        most = max(most, user(d)["memory"])
        stk.check(most < 16 << 20, f"{most} bytes in use")
        stk.check(user(d)["memory_max"] == 4 << 20, "limit")
        d.stop(p, signal.SIGKILL)
        c.close()
        stk.wait_for("all is given back", lambda: nothing_used(d))


@stk.test(*stk.workers(1, 2))
def engine_restart(workers):
    """An engine that adopts counts what is there: the same numbers, the same limits, zero at the end."""
    prog = f"""
import os, signal, socket, sys
s = socket.socket(); s.bind(("{stk.STACK}", 8000)); s.listen(8)
b = socket.socket(); b.bind(("{stk.STACK}", 0))
if os.fork() == 0:
    signal.pause()
print("up", flush=True)
c = s.accept()[0]
print("accepted", flush=True)
for line in sys.stdin:
    try:
        socket.socket().bind(("{stk.STACK}", 0)); print("bound", flush=True)
    except OSError as e:
        print(e.errno, flush=True)
"""
    d = stk.Stackd(workers=workers, args=["--limit", f"{UID}:ports=2,sockets=4,processes=2"])
    try:
        p = d.stackrun([PY, script(d, prog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                       **as_user())
        stk.check(line(d, p) == "up\n", "up")
        c = socket.create_connection((stk.STACK, 8000), stk.HANG)
        stk.check(line(d, p) == "accepted\n", "accepted")
        before = {k: user(d)[k] for k in TOPIC_USE}
        stk.check(before == {"families": 1, "processes": 2, "connections": 1, "sockets": 3, "ports": 2},
                  str(before))
        with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGKILL)
        stk.wait_for("it answers", lambda: d._up() and user(d))
        after = {k: user(d)[k] for k in TOPIC_USE}
        stk.check(after == before, f"{before} before, {after} after")
        p.stdin.write("\n")
        p.stdin.flush()
        stk.check(line(d, p) == f"{socket.errno.ENOBUFS}\n", "the limit of ports stands")
        os.killpg(p.pid, signal.SIGKILL)
        c.close()
        stk.wait_for("all is given back", lambda: nothing_used(d))
        d.stop(p)
    finally:
        d.close()


@stk.test()
def shown():
    """stackctl show users: a table and JSON; wrong settings are named."""
    with stk.stackd(args=["--limit", "sockets=5k,memory=none"]) as d:
        out, _ = on_stackd(d, script(d, WHERE + "print(where(socket.socket()))\n"), **as_user())
        stk.check(out == "stackd\n", out)
        u = user(d)
        stk.check(u["sockets_max"] == 5120 and u["memory_max"] is None and u["ports_max"] == 16384, str(u))
        stk.check(user(d, 0)["sockets_max"] is None, "root")
        r = subprocess.run([os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, "show", "users"],
                           capture_output=True, text=True, timeout=stk.HANG)
        stk.check(r.stdout.split()[:2] == ["uid", "families"] and str(UID) in r.stdout, r.stdout)
        stk.check(json.loads(json.dumps(u)) == u, "JSON")


# ---- low ports ----

LOW = """
import ctypes, errno, os, socket, sys
def bind(addr, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    try:
        s.bind((addr, port))
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
    finally:
        s.close()
def caps(eff):
    # capset(2): version 3, both 32-bit halves
    hdr = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(eff & 0xffffffff, eff & 0xffffffff, 0, eff >> 32, eff >> 32, 0)
    if ctypes.CDLL(None, use_errno=True).capset(hdr, data):
        raise OSError(ctypes.get_errno(), "capset")
libc = ctypes.CDLL(None, use_errno=True)
a = sys.argv[1]
def root_and_drop():
    r = [bind(a, 80), bind(a, 80, socket.SOCK_DGRAM), bind(a, 1024)]
    os.setuid(4711)
    return r + [bind(a, 80), bind(a, 443, socket.SOCK_DGRAM), bind(a, 1024)]
def keeps_one():
    libc.prctl(8, 1, 0, 0, 0)                      # PR_SET_KEEPCAPS
    os.setuid(4711)
    r = [bind(a, 80)]
    caps(1 << 10)
    return r + [bind(a, 80), bind(a, 22)]
def root_without():
    caps(0)
    return [bind(a, 80), bind(a, 5000)]
def child():
    r, w = os.pipe()
    if os.fork() == 0:
        os.setuid(4711)
        os.write(w, bind(a, 80).encode()); os._exit(0)
    os.wait()
    return [os.read(r, 20).decode(), bind(a, 80)]
def own_userns():
    s = socket.socket(); s.bind((a, 5001))         # attached before
    libc.unshare(0x10000000)                       # CLONE_NEWUSER: all capabilities, of its own
    return [bind(a, 80), bind(a, 5000)]
def nobody():
    os.setuid(4711)
    return [bind(a, 80), bind(a, 1023), bind(a, 1024), bind("192.0.2.99", 80)]
print(*globals()[sys.argv[2]]())
"""
LOW_CASES = ("root_and_drop", "keeps_one", "root_without", "child", "own_userns", "nobody")


@stk.test()
def low_ports():
    """Who may bind below 1024: the same programs on the kernel's address and on stackd's, line by line."""
    with stk.stackd() as d:
        path = script(d, LOW)
        for case in LOW_CASES:
            kern = d.run([PY, path, stk.KERNEL, case]).decode()
            ours, err = on_stackd(d, path, stk.STACK, case)
            stk.check(ours == kern and not err, f"{case}: kernel {kern}, stackd {ours} {err}")
        stk.wait_for("all is given back", lambda: nothing_used(d, 0) or user(d, 0)["sockets"] == 0)


@stk.test()
def low_port_setting():
    """net.ipv4.ip_unprivileged_port_start: the kernel's at the start, then stackd's own, at once."""
    start = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    text = LOW.replace("def nobody():", "def some():\n    os.setuid(4711)\n"
                       "    return [bind(a, p) for p in (21, 22, 80, 1023, 5999, 6000)]\ndef nobody():")
    with open(start, "w") as f:
        f.write("80")
    with stk.stackd() as d:
        path = script(d, text)
        for value in (80, 22, 6000, 0):
            ctl = [os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, "sysctl"]
            with open(start, "w") as f:
                f.write(str(value))
            if value != 80:
                d.run(ctl + ["-w", f"net.ipv4.ip_unprivileged_port_start={value}"])
            kern = d.run([PY, path, stk.KERNEL, "some"]).decode()
            ours, _ = on_stackd(d, path, stk.STACK, "some")
            stk.check(ours == kern, f"{value}: kernel {kern}, stackd {ours}")
        r = subprocess.run(ctl + ["-w", "net.ipv4.ip_unprivileged_port_start=1024"], capture_output=True,
                           text=True, timeout=stk.HANG, **as_user())
        stk.check(r.returncode == 1, "another user may set it")


if __name__ == "__main__":
    stk.main()
