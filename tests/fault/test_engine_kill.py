#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of the engine while programs work: they, their listeners, their sockets and their connections
go on in the next one."""
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps"))
import stk                                                                    # noqa: E402
import test_nginx                                                             # noqa: E402
stk.forget_tests()

REEXEC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "reexec.py")
ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "echo_all.py")


def engine_pid(d):
    """The supervisor's one child."""
    with open(f"/proc/{d.proc.pid}/task/{d.proc.pid}/children") as f:
        kids = f.read().split()
    return int(kids[0]) if kids else 0


def kill_engine(d, sig=signal.SIGKILL):
    """Kill it and wait until the next one serves."""
    old = stk.wait_for("an engine", lambda: engine_pid(d))
    os.kill(old, sig)
    stk.wait_for("the next engine", lambda: engine_pid(d) not in (0, old))
    stk.wait_for("the next engine answers", lambda: subprocess.run(
        d._ctl("workers"), capture_output=True, timeout=stk.HANG).returncode == 0)


@contextlib.contextmanager
def stackd(adopts=True, sig=signal.SIGKILL, **kw):
    """Like stk.stackd(), but an engine may die; the next one has adopted every time (adopts), or may have
    died before it could."""
    d = stk.Stackd(**kw)
    try:
        yield d
        text = open(d.log.name).read()
        stk.check(d.proc.poll() is None, "the supervisor died")
        for bad in ("AddressSanitizer", "runtime error:", "assertion", "does not fit"):
            stk.check(bad not in text, f"the log has '{bad}'")
        if adopts:
            stk.check(text.count("engine died") == text.count("adopted what"),
                      "not every engine adopted")
        stk.check(text.count("engine died") == text.count(f"signal {int(sig)} "),
                  "an engine died of itself")
    except BaseException:
        print("# --- stackd's log ---\n# " + d.logs().replace("\n", "\n# "))
        raise
    finally:
        d.close()


class Echo:
    """A Python program on stackd: asyncio TCP echo, UDP echo, a bound and an untouched socket."""
    def __init__(self, d):
        self.d = d
        self.p = d.stackrun([sys.executable, ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stk.check(self.p.stdout.readline() == b"ready\n", "echo program did not start")

    def ask(self, word):
        self.p.stdin.write(word.encode() + b"\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().decode().strip()

    def stop(self):
        self.p.stdin.close()
        self.p.wait(stk.HANG)
        self.d.procs.remove(self.p)


def udp_echo(text):
    """One datagram may be lost while no engine runs: ask again, as UDP programs do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        for _ in range(2 * stk.HANG):
            s.sendto(text, (stk.STACK, 7))
            with contextlib.suppress(TimeoutError):
                if s.recv(100) == text:
                    return True
    return False


def answers(s, question, answer):
    """Return: whether that is what comes back; False, too, at the connection's end."""
    s.sendall(question)
    got = b""
    while len(got) < len(answer):
        part = s.recv(65536)
        if not part:
            return False
        got += part
    return got == answer


def tcp_echo(s, data):
    return answers(s, data, data)


@stk.test(*stk.workers(1, 2))
def idle_sockets_stay(workers):
    """Listener, UDP socket, bound and fresh sockets and an idle connection live on."""
    with stackd(workers=workers) as d:
        e = Echo(d)
        s = socket.create_connection((stk.STACK, 7), stk.HANG)
        stk.check(tcp_echo(s, b"before"), "echo before")
        for i in range(3):
            kill_engine(d)
            stk.check(tcp_echo(s, b"x%d" % i * 1000), "the connection did not survive")
            with socket.create_connection((stk.STACK, 7), stk.HANG) as t:
                stk.check(tcp_echo(t, b"new"), "a new connection")
            stk.check(udp_echo(b"datagram %d" % i), "UDP")
            stk.check(e.ask("names") == "ok", "names of the bound socket changed")
        stk.check(e.ask("use") == "ok", "the bound and the fresh socket do not work any more")
        s.close()
        e.stop()
        d.wait_clean()


@contextlib.contextmanager
def signals_are_ours():
    """ASan would take SIGSEGV for a finding of its own: daemons started in here tell it not to."""
    old = os.environ.get("ASAN_OPTIONS", "")
    os.environ["ASAN_OPTIONS"] = old + ":handle_segv=0"
    try:
        yield
    finally:
        os.environ["ASAN_OPTIONS"] = old


@stk.test()
def crash():
    """An engine that crashes with nothing in hand is adopted like one that was killed."""
    with signals_are_ours(), stackd(sig=signal.SIGSEGV) as d:
        e = Echo(d)
        s = socket.create_connection((stk.STACK, 7), stk.HANG)
        for i in range(3):
            stk.check(tcp_echo(s, b"x%d" % i * 1000), "the connection did not survive")
            time.sleep(0.2)                         # until nothing is in hand
            kill_engine(d, signal.SIGSEGV)
        stk.check(tcp_echo(s, b"last"), "the connection did not survive")
        s.close()
        e.stop()
        d.wait_clean()


class Reexec:
    """A program that replaces its image, with a listener and a connection."""
    def __init__(self, d):
        self.d = d
        self.p = d.stackrun([sys.executable, REEXEC, stk.STACK, "7003"])
        stk.wait_for("it listens", lambda: d.show("sockets")["sockets"])
        self.s = socket.create_connection((stk.STACK, 7003), stk.HANG)
        self.f = self.s.makefile("rb")
        self.images = 1
        stk.check(self.say("hello") == "1 hello", "the first image")

    def say(self, word):
        self.s.sendall(word.encode() + b"\n")
        return self.f.readline().decode().strip()

    def exec(self, *words):
        self.s.sendall(" ".join(("exec", *words)).encode() + b"\n")
        self.images += 1

    def goes_on(self):
        said = self.f.readline().decode().strip()
        stk.check(said == f"image {self.images}", f"the next image: '{said}'")
        stk.check(self.say("x") == f"{self.images} x", "its connection")

    def accepts(self):
        """The next image's listener serves, too."""
        self.exec("accept")
        with socket.create_connection((stk.STACK, 7003), stk.HANG) as t:
            stk.check(t.makefile("rb").readline() == b"accepted\n", "its listener")
        self.goes_on()

    def stop(self):
        self.s.close()
        self.f.close()
        stk.check(self.p.wait(stk.HANG) == 0, "it ended badly")
        self.d.procs.remove(self.p)


@stk.test(*stk.workers(1, 2))
def exec_after_a_kill(workers):
    """An image that was attached by one engine is replaced under the next: REATTACH where another engine
    made segment and connection; where there is none at the moment; and when one dies in the middle of it."""
    with stackd(workers=workers) as d:
        r = Reexec(d)
        for _ in range(2):
            kill_engine(d)
            r.exec()
            r.goes_on()
        r.accepts()
        d.proc.send_signal(signal.SIGSTOP)          # nobody starts another one
        old = engine_pid(d)
        os.kill(old, signal.SIGKILL)
        r.exec()
        time.sleep(0.3)                             # it asks
        d.proc.send_signal(signal.SIGCONT)
        r.goes_on()
        stk.wait_for("the next engine", lambda: engine_pid(d) not in (0, old))
        for ms in range(0, 60, 12):                  # somewhere between exec and its answer
            r.exec()
            time.sleep(ms / 1000)
            kill_engine(d)
            r.goes_on()
        r.accepts()
        stk.check(len(d.show("programs")["programs"]) == 1, "images of before are still there")
        r.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def transfer_survives(workers):
    """64 MiB from nginx, the engine killed five times on the way: the same bytes arrive."""
    with stackd(workers=workers, netdev="impair=delay=5ms") as d:
        n = test_nginx.Nginx(d, size=64 << 20)
        p = subprocess.Popen(["curl", "-sS", "-m", "60", test_nginx.url("/big")],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        got, h = [0], hashlib.sha256()

        def read():
            while part := p.stdout.read(1 << 16):
                h.update(part)
                got[0] += len(part)
        t = threading.Thread(target=read)
        t.start()
        for i in range(1, 6):
            stk.wait_for("progress", lambda: got[0] > i * (8 << 20) or not t.is_alive())
            stk.check(t.is_alive(), "the transfer ended early: " + str(got[0]))
            kill_engine(d)
        t.join(60)
        stk.check(p.wait(stk.HANG) == 0, "curl: " + p.stderr.read().decode())
        stk.check(h.hexdigest() == n.hash, "hash differs")
        n.stop()
        d.wait_clean()


class Load:
    """Requests over and over from threads of ours; a request that hangs is a failure, one that is reset
    is counted."""
    def __init__(self):
        self.end, self.bad, self.done, self.reset, self.threads = False, [], 0, 0, []

    def run(self, what, fn):
        def loop():
            while not self.end:
                try:
                    fn()
                    self.done += 1
                except ConnectionError:
                    self.reset += 1
                except Exception as e:  # noqa: BLE001
                    self.bad.append(f"{what}: {e!r}")
                    return
        t = threading.Thread(target=loop, daemon=True)
        t.start()
        self.threads.append(t)

    def stop(self):
        self.end = True
        for t in self.threads:
            t.join(2 * stk.HANG)
            if t.is_alive():
                self.bad.append("a client hangs")
        stk.check(not self.bad, "; ".join(self.bad[:3]))


def get(port, request, enough):
    def fn():
        with socket.create_connection((stk.STACK, port), stk.HANG) as s:
            s.settimeout(stk.HANG)
            for _ in range(20):
                s.sendall(request)
                got = b""
                while not enough(got):
                    part = s.recv(65536)
                    if not part:
                        raise ConnectionResetError("closed early")
                    got += part
    return fn


def echo_once():
    with socket.create_connection((stk.STACK, 7), stk.HANG) as s:
        s.settimeout(stk.HANG)
        for i in range(20):
            if not tcp_echo(s, b"%d" % i * 5000):
                raise ConnectionResetError("closed early or wrong")


def upload(size):
    """Send to the echo program's sink, get the hash of what came."""
    with socket.create_connection((stk.STACK, 9), stk.HANG) as s:
        s.settimeout(3 * stk.HANG)
        h = hashlib.sha256()
        block = os.urandom(1 << 16)
        for i in range(size >> 16):
            part = i.to_bytes(8, "little") + block[8:]
            h.update(part)
            s.sendall(part)
        s.shutdown(socket.SHUT_WR)
        return s.recv(100).decode() == h.hexdigest()


@stk.test(*stk.workers(1, 2))
def upload_survives(workers):
    """32 MiB into a program, the engine killed all the while."""
    with stackd(workers=workers, netdev="impair=delay=2ms") as d:
        e = Echo(d)
        got = []
        t = threading.Thread(target=lambda: got.append(upload(32 << 20)))
        t.start()
        kills = 0
        while t.is_alive() and kills < 20:
            kill_engine(d)
            kills += 1
        t.join(6 * stk.HANG)
        stk.check(got == [True], f"hash differs or it broke: {got}")
        stk.check(kills > 1, f"only {kills} kills")
        e.stop()
        d.wait_clean()


@stk.test()
def client_on_stackd():
    """curl on stackd fetches 64 MiB from a server on the kernel while the engine is killed."""
    with stackd(netdev="impair=delay=2ms") as d:
        want = stk.make_file(os.path.join(d.dir, "big"), 64 << 20)
        d.start([sys.executable, "-m", "http.server", "80", "--bind", stk.KERNEL, "--directory", d.dir])
        stk.wait_port(stk.KERNEL, 80)
        p = d.stackrun(["curl", "-sS", "-m", "60", f"http://{stk.KERNEL}/big", "-o", d.dir + "/got"])
        kills = 0
        while p.poll() is None and kills < 20:
            kill_engine(d)
            kills += 1
        stk.check(p.wait(60) == 0, f"curl: exit {p.returncode} after {kills} kills")
        stk.check(kills > 1, f"only {kills} kills")
        with open(d.dir + "/got", "rb") as f:
            stk.check(hashlib.file_digest(f, "sha256").hexdigest() == want, "hash differs")
        d.wait_clean()


def under_load(kills, workers):
    with stackd(workers=workers) as d:
        n, e = test_nginx.Nginx(d), Echo(d)
        r = d.stackrun([stk.need("redis-server"), "--bind", stk.STACK, "--port", "6379", "--save", "",
                        "--protected-mode", "no", "--dir", d.dir])
        stk.wait_port(stk.STACK, 6379)
        load = Load()
        for _ in range(2):
            load.run("nginx", get(80, b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n",
                                  lambda b: b.endswith(b"nginx\n")))
            load.run("redis", get(6379, b"*1\r\n$4\r\nPING\r\n", lambda b: b == b"+PONG\r\n"))
            load.run("echo", echo_once)
        for _ in range(kills):
            before = load.done
            kill_engine(d)
            stk.wait_for("requests go on", lambda: load.bad or load.done > before + 3)
            stk.check(not load.bad, "; ".join(load.bad[:3]))
        load.stop()
        stk.check(udp_echo(b"udp"), "UDP")
        for p in (n.p, r, e.p):
            stk.check(p.poll() is None, "a program ended")
        print(f"# {load.done} requests, {load.reset} reset")
        e.stop()
        n.stop()
        d.stop(r)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def twenty_kills_under_load(workers):
    """nginx, redis and asyncio under load: nothing hangs, nothing is restarted, nothing leaks."""
    under_load(20 if workers == 1 else 10, workers)


@stk.test()
def settings_outlive_the_engine():
    with stackd() as d:
        stk.check(d.sysctl("net.ipv4.tcp_sack=0") == 0, "tcp_sack is not set")
        stk.check(d.sysctl("net.ipv4.tcp_sack=7") is None, "a wrong value was taken")
        stk.check(d.sysctl("net.ipv4.ip_local_port_range=40000 40010") == "40000\t40010",
                  "the range of ports is not set")
        kill_engine(d)
        stk.check(d.sysctl("net.ipv4.tcp_sack") == 0, "tcp_sack was forgotten")
        stk.check(d.sysctl("net.ipv4.ip_local_port_range") == "40000\t40010",
                  "the range of ports was forgotten")


@stk.test()
def daemon_appears_later():
    """A program started without a daemon uses it once it is there."""
    code = ("import socket,time\n"
            "for i in range(100):\n"
            "    s = socket.socket(); s.close(); time.sleep(0.1)\n")
    with stackd() as d:
        hidden = d.run_dir + ".later"
        os.rename(d.run_dir, hidden)
        p = d.stackrun([sys.executable, "-c", code], env=d.env())
        time.sleep(0.5)
        os.rename(hidden, d.run_dir)
        stk.wait_for("the program attaches", lambda: d.show("programs")["programs"])
        d.stop(p, signal.SIGKILL)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
