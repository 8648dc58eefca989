#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Processes of one program: exec with sockets, children, passed fds, close loops. Where it makes sense
the same program runs on the kernel and on stackd, and must say the same."""
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

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
        return self.more()

    def more(self):
        got = b""
        while not got.endswith(b"\n"):
            part = self.s.recv(1)
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


ORDERS = ("system", "popen", "inherit", "system", "popen", "spawn", "+", "cgi", "+", "threads",
          "cloned", "space", "terminal", "closes", "limit", "next", "popen", "left_at_fork", "daemon",
          "system", "lower", "next",
          "drop", "next")


@stk.test(*stk.workers(1, 2))
def children(workers):
    """What servers do with children and fds; "+": one more line comes, from the child."""
    def run(addr, on_stack):
        p = start(d, on_stack, ["children.py", addr, "7001"])
        a = Talk(addr, 7001)
        said = []
        for what in ORDERS:
            said.append(what + ": " + (a.more() if what == "+" else a.ask(what)))
            if what == "next":
                a.end()
                a = Talk(addr, 7001)
        a.s.close()
        p.stdout.read()
        d.stop(p)
        return said

    with stk.stackd(workers=workers) as d:
        said = same(d, run)
        stk.check("+: cgi /x" in said or "cgi: cgi /x" in said, f"said {said}")
        stk.check("space: within 64 True, exit 0" in said, f"said {said}")
        stk.check("terminal: tty True exit 3" in said, f"said {said}")
        stk.check("cloned: by number, by name 42, exits [6, 8]" in said, f"said {said}")
        d.wait_clean()


def echoed(addr, port, size):
    """Send, shut, and read to the end: ten times what was sent, and the count."""
    data = os.urandom(size)
    with socket.create_connection((addr, port), stk.HANG) as c:
        c.settimeout(stk.HANG)

        def send():
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        t = threading.Thread(target=send)
        t.start()
        got = bytearray()
        while True:
            part = c.recv(1 << 16)
            if not part:
                break
            got += part
        t.join()
    tail = got[10 * size:].decode(errors="replace")
    return sum(got[:10 * size]) == 10 * sum(data), tail


@stk.test(*({"workers": w, "to": t} for w, t in
            ((1, "child"), (2, "child"), (1, "same"), (1, "plain"), (2, "plain"))))
def passing(workers, to):
    """Connections given away by SCM_RIGHTS; the giver closes its own at once."""
    def run(addr, on_stack):
        p = start(d, on_stack, ["passing.py", addr, "7002", to])
        said = [echoed(addr, 7002, n) for n in (10, 5000, 300000)]
        said.append(p.stdout.read().decode())
        d.stop(p)
        return said

    with stk.stackd(workers=workers) as d:
        said = same(d, run)
        stk.check(said[-2] == (True, "total 300000\n"), f"said {said}")
        d.wait_clean()


STATIC = """
#include <unistd.h>
#include <string.h>
int main(int argc, char **argv)
{
	char buf[4096];
	ssize_t n = strlen(argv[1]);

	write(1, argv[1], n);
	while ((n = read(0, buf, sizeof(buf))) > 0)
		write(1, buf, n);
	return 0;
}
"""


@stk.test(*({"kind": k} for k in ("static", "setuid")))
def unfit_image(kind):
    """A program that cannot take the shim gets the connection as input and output, as from inetd."""
    def run(addr, on_stack):
        p = start(d, on_stack, ["inetd.py", addr, "7003", os.path.join(d.dir, "cat"),
                                "0" if kind == "static" else "65534"])
        with socket.create_connection((addr, 7003), stk.HANG) as c:
            c.settimeout(stk.HANG)
            got = c.recv(5, socket.MSG_WAITALL)
            c.sendall(b"echo" * 10000)
            c.shutdown(socket.SHUT_WR)
            while part := c.recv(1 << 16):
                got += part
        d.stop(p)
        return len(got), got[:9]

    with stk.stackd() as d:
        src = os.path.join(d.dir, "cat.c")
        with open(src, "w") as f:
            f.write(STATIC)
        flags = ["-static"] if kind == "static" else []
        d.run([stk.need("gcc"), "-w", *flags, "-o", os.path.join(d.dir, "cat"), src])
        if kind == "setuid":
            os.chmod(os.path.join(d.dir, "cat"), 0o4755)
        said = same(d, run)
        stk.check(said == (40005, b"helloecho"), f"said {said}")
        d.wait_clean()


NGINX = """
worker_processes 2;
daemon {daemon};
pid {d}/nginx.pid;
error_log {d}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    server {{ listen {addr}:80; location / {{ return 200 "{text}\\n"; }} }}
}}
"""


class Nginx:
    """nginx whose worker processes and images come and go."""

    def __init__(self, d, daemon="off"):
        self.d, self.prog, self.dir = d, stk.need("nginx"), os.path.join(d.dir, "nginx")
        self.daemon = daemon
        os.makedirs(self.dir)
        os.chmod(self.dir, 0o755)
        self.conf("one")
        self.p = d.stackrun([self.prog, "-p", self.dir, "-e", self.dir + "/error.log",
                             "-c", self.dir + "/nginx.conf"])
        stk.wait_port(stk.STACK, 80)

    def conf(self, text):
        with open(self.dir + "/nginx.conf", "w") as f:
            f.write(NGINX.format(d=self.dir, daemon=self.daemon, addr=stk.STACK, text=text))

    def pid(self, name="nginx.pid"):
        try:
            with open(os.path.join(self.dir, name)) as f:
                return int(f.read() or 0)
        except FileNotFoundError:
            return 0

    def get(self):
        return self.d.run(["curl", "-sS", "-m", "10", f"http://{stk.STACK}/"]).decode().strip()


class Load:
    """Requests, one connection each, two at a time, until told to stop; a failed one is remembered."""

    def __init__(self, d):
        self.dir = d.dir
        self.ps = []
        for i in range(2):
            script = (f"while [ ! -e {d.dir}/stop ]; do "
                      f"curl -sS -m 10 -H 'Connection: close' http://{stk.STACK}/ || echo failed; done")
            with open(f"{d.dir}/load{i}", "w") as f:
                self.ps.append(d.start(["sh", "-c", script], stdout=f, stderr=subprocess.STDOUT))

    def answers(self):
        got = []
        for i in range(2):
            with open(f"{self.dir}/load{i}") as f:
                got += f.read().split()
        return got

    def end(self):
        before = len(self.answers())
        stk.wait_for("requests after the change", lambda: len(self.answers()) >= before + 10)
        open(f"{self.dir}/stop", "w").close()
        for p in self.ps:
            p.wait(2 * stk.HANG)
        bad = [x for x in self.answers() if x not in ("one", "two")]
        stk.check(not bad, f"{len(bad)} of {len(self.answers())} failed: {' '.join(bad[:20])}")


@stk.test(*stk.workers(1, 2))
def nginx_reload(workers):
    """nginx -s reload three times under load: no request fails."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d)
        load = Load(d)
        for text in ("two", "one", "two"):
            n.conf(text)
            n.p.send_signal(signal.SIGHUP)
            stk.wait_for("the new configuration answers", lambda: n.get() == text)
        load.end()
        d.stop(n.p, signal.SIGQUIT)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def nginx_upgrade(workers):
    """Binary upgrade under load: USR2 starts a new image with the listener inherited, QUIT ends the old
    one when its requests are done. No request fails."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d, "on")              # as it refuses to upgrade under the parent that started it
        n.p.wait(stk.HANG)
        load = Load(d)
        n.conf("two")
        old = n.pid()
        os.kill(old, signal.SIGUSR2)
        new = stk.wait_for("the new master's pid", lambda: n.pid() not in (0, old) and n.pid())
        stk.wait_for("the new master attaches", lambda: any(
            p["pid"] == new for p in d.show("programs")["programs"]))
        os.kill(old, signal.SIGQUIT)
        stk.wait_for("the old image ends", lambda: not any(
            p["pid"] == old for p in d.show("programs")["programs"]))
        for _ in range(20):
            stk.check(n.get() == "two", "the old image still answers")
        load.end()
        stk.check(any(p["pid"] == new for p in d.show("programs")["programs"]),
                  f"new master {new} is not attached: {d.show('programs')}")
        os.kill(new, signal.SIGQUIT)
        d.wait_clean()


def read_line(p):
    """The next line that @p prints, within HANG."""
    stk.check(select.select([p.stdout], [], [], stk.HANG)[0], "the program says nothing")
    return p.stdout.readline().strip()


@stk.test()
def orphans():
    """A program whose daemon is gone forks: the child's epoll sets answer, and it finds the next daemon."""
    with stk.stackd() as d:
        p = d.stackrun([sys.executable, prog("orphan.py"), stk.STACK, "7005"], stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, bufsize=0)
        stk.check(read_line(p) == b"listening", "the program did not start")
        d.proc.kill()
        d.proc.wait(stk.HANG)
        p.stdin.write(b"\n")
        stk.check(read_line(p) == b"child 1 1", "the sets of the child")
        d.restart()
        p.stdin.write(b"\n")
        stk.check(read_line(p) == b"serving", "the child does not serve")
        with socket.create_connection((stk.STACK, 7006), stk.HANG) as s:
            s.settimeout(stk.HANG)
            stk.check(s.recv(100) == b"hello", "what the child answered")
        stk.check([read_line(p), read_line(p)] == [b"asked 1", b"status 0"], "how the child ended")
        d.stop(p)
        d.wait_clean()


@stk.test()
def redis_bgsave():
    """Children that save while clients write; the data is what was written."""
    with stk.stackd() as d:
        cli, server = stk.need("redis-cli"), stk.need("redis-server")
        p = d.stackrun([server, "--bind", stk.STACK, "--port", "6379", "--dir", d.dir, "--save", "",
                        "--protected-mode", "no"])
        stk.wait_port(stk.STACK, 6379)
        to = [cli, "-h", stk.STACK]
        bench = d.start([stk.need("redis-benchmark"), "-h", stk.STACK, "-q", "-t", "set", "-n",
                         "60000", "-r", "1000", "-d", "100"])
        for i in range(3):
            d.run([*to, "set", "mark", str(i)])
            before = int(d.run([*to, "lastsave"]))
            d.run([*to, "bgsave"])
            stk.wait_for("the child has saved", lambda: b"rdb_bgsave_in_progress:0" in
                         d.run([*to, "info", "persistence"]), 30)
            info = d.run([*to, "info", "persistence"]).decode()
            stk.check("rdb_last_bgsave_status:ok" in info, info)
            stk.check(int(d.run([*to, "lastsave"])) >= before, "no save")
        stk.check(bench.wait(60) == 0, "redis-benchmark failed")
        with open(os.path.join(d.dir, "dump.rdb"), "rb") as f:
            stk.check(b"mark" in f.read(), "the dump lacks what was set")
        d.stop(p)
        d.wait_clean()


# include/stackd/ctl.h
HELLO, ERROR, REATTACH, REATTACH_R, EXPORT, EXPORT_R, IMPORT, IMPORT_R = 1, 10, 11, 12, 14, 15, 16, 17


class Control:
    """A program that speaks on the control socket itself."""

    def __init__(self, d, s=None):
        self.s = s or socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.settimeout(stk.HANG)
        if not s:
            self.s.connect(os.path.join(d.run_dir, "stackd.sock"))

    def call(self, kind, body=b"", fds=()):
        """Return: type and body of the answer, its fds; type 0 at hang-up."""
        msg = struct.pack("=II", kind, 8 + len(body)) + body
        socket.send_fds(self.s, [msg], fds)
        got, fds, _, _ = socket.recv_fds(self.s, 65536, 64)
        return (struct.unpack_from("=I", got)[0] if got else 0), got[8:], fds

    def hello(self, kind=HELLO):
        return self.call(kind, struct.pack("=HHI32s", 1, 0, 0, b"nobody"))


def close_all(fds):
    for fd in fds:
        os.close(fd)


@stk.test(*stk.workers(1, 2))
def hostile(workers):
    """Messages of exec and passing as no shim sends them: refused, and nothing is left behind."""
    with stk.stackd(workers=workers) as d:
        a = Control(d)
        stk.check(a.hello(REATTACH)[0] == ERROR, "a place in a family without having one")
        a = Control(d)
        close_all(a.hello()[2])
        for slot, gen in ((0, 0), (1, 1), (1 << 19, 1), (1 << 20, 1), (0xffffffff, 0xffffffff)):
            kind, body, fds = a.call(EXPORT, struct.pack("=III", slot, gen, 1))
            stk.check((kind, body[:8], fds) == (EXPORT_R, bytes(8), []), f"slot {slot}: {kind} {fds}")
        mine, other = socket.socketpair()
        for fds in ((), (mine.fileno(),), (a.s.fileno(),), (0,), (mine.fileno(), other.fileno())):
            kind, body, _ = a.call(IMPORT, fds=fds)
            stk.check((kind, body[:8]) == (IMPORT_R, bytes(8)), f"fds {fds}: {kind} {body}")
        for _ in range(50):             # the old place is given up each time, or is not
            kind, _, fds = a.hello(REATTACH)
            stk.check(kind == REATTACH_R and len(fds) >= 5, f"REATTACH: {kind}")
            close_all(fds[1:])
            a = Control(d, socket.socket(fileno=fds[0]))
        stk.check(a.call(EXPORT, b"short")[0] == ERROR, "a short EXPORT")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
