#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""nginx, master and two workers, unmodified, on stackd; the kernel's curl on the other side."""
import os
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

CONF = """
worker_processes 2;
daemon off;
pid {d}/nginx.pid;
error_log {d}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 100000;
    server {{
        listen {listen};
        root {d}/www;
        location = /small {{ return 200 "hello from nginx\\n"; }}
        location = /big {{ }}
    }}
}}
"""


class Nginx:
    def __init__(self, d, listen=stk.STACK + ":80", size=0):
        prog = stk.need("nginx")
        self.d, self.dir = d, os.path.join(d.dir, "nginx")
        os.makedirs(os.path.join(self.dir, "www"))
        for p in (d.dir, self.dir, os.path.join(self.dir, "www")):
            os.chmod(p, 0o755)
        self.hash = stk.make_file(os.path.join(self.dir, "www", "big"), size) if size else None
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w") as f:
            f.write(CONF.format(d=self.dir, listen=listen))
        self.p = d.stackrun([prog, "-p", self.dir, "-e", os.path.join(self.dir, "error.log"),
                             "-c", conf])
        stk.wait_port(stk.STACK, 80)

    def pid(self):
        """The master's."""
        path = os.path.join(self.dir, "nginx.pid")
        return int(stk.wait_for("its pid file", lambda: os.path.exists(path) and open(path).read()))

    def workers(self):
        """Of all generations that still run."""
        with open(f"/proc/{self.pid()}/task/{self.pid()}/children") as f:
            return f.read().split()

    def stop(self):
        self.d.stop(self.p)


def ask_until(ended, bad, count):
    """One connection after the other; what went wrong goes to BAD."""
    while not ended.is_set():
        try:
            with socket.create_connection((stk.STACK, 80), timeout=stk.HANG) as s:
                s.sendall(b"GET /small HTTP/1.0\r\n\r\n")
                got = b""
                while part := s.recv(4096):
                    got += part
            if not got.endswith(b"hello from nginx\n"):
                bad.append(f"answer {got!r}")
        except OSError as e:
            bad.append(repr(e))
        count.append(1)


@stk.test(*stk.workers(1, 2))
def reload_reuseport(workers):
    """`listen ... reuseport`: new configurations under a running load lose no connection."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d, stk.STACK + ":80 reuseport")
        ended, bad, count = threading.Event(), [], []
        load = [threading.Thread(target=ask_until, args=(ended, bad, count)) for _ in range(4)]
        for t in load:
            t.start()
        try:
            for _ in range(4):
                was, at = n.workers(), len(count)
                os.kill(n.pid(), signal.SIGHUP)
                stk.wait_for("new workers", lambda w=was: len(n.workers()) == 2 and
                             not set(n.workers()) & set(w))
                stk.wait_for("answers", lambda a=at: len(count) > a + 50)
        finally:
            ended.set()
            for t in load:
                t.join()
        stk.check(not bad, f"{len(bad)} of {len(count)} connections failed: {bad[:3]}")
        n.stop()


def url(path):
    return f"http://{stk.STACK}{path}"


@stk.test(*stk.workers(1, 2))
def keepalive(workers):
    """200 requests over one connection, then stackctl's word that nginx listens on stackd."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d)
        socks = d.show("sockets")["sockets"]
        stk.check(any(s["state"] == "LISTEN" and s["lport"] == 80 for s in socks),
                  f"no listener on port 80: {socks}")
        stk.check(len(d.show("programs")["programs"]) >= 3, "master and 2 workers not all attached")
        with stk.through_stackd(d, 200 * 200):
            out = d.run(["curl", "-sS", *[url("/small")] * 200])
        stk.check(out == b"hello from nginx\n" * 200, f"wrong answers: {out[:200]!r}")
        n.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def close(workers):
    """A connection per request, eight at a time."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d)
        with stk.through_stackd(d, 400 * 200):
            cmd = f"seq 400 | xargs -P 8 -n 1 -I% curl -sS -H 'Connection: close' {url('/small')}"
            out = d.run(["sh", "-c", cmd])
        stk.check(out.count(b"hello from nginx") == 400, f"{out.count(b'hello')} of 400 answers")
        n.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def gigabyte(workers):
    """1 GiB by sendfile, hashes equal."""
    with stk.stackd(workers=workers) as d:
        n = Nginx(d, size=1 << 30)
        with stk.through_stackd(d, 1 << 30):
            got = stk.hash_of(["curl", "-sS", url("/big")])
        stk.check(got == n.hash, "hash differs")
        n.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def lossy(workers):
    """Every 100th frame dropped: 32 MiB still arrive whole."""
    with stk.stackd(workers=workers, netdev="impair=drop-every=100") as d:
        n = Nginx(d, size=32 << 20)
        got = stk.hash_of(["curl", "-sS", url("/big")])
        stk.check(got == n.hash, "hash differs")
        drops = {x["reason"]: x["count"] for x in d.show("drops")["drops"]}
        stk.check(drops.get("IMPAIR", 0) > 0, f"nothing was dropped: {drops}")
        n.stop()
        d.wait_clean()


@stk.test()
def wildcard():
    """listen 80 serves stackd's peers and the kernel's alike."""
    with stk.stackd() as d:
        n = Nginx(d, listen="80")
        stk.check(d.run(["curl", "-sS", url("/small")]) == b"hello from nginx\n", "over stackd")
        for host in ("127.0.0.1", stk.KERNEL):
            got = d.run(["curl", "-sS", f"http://{host}/small"])
            stk.check(got == b"hello from nginx\n", f"over the kernel: {host}")
        n.stop()
        d.wait_clean()


@stk.test()
def wrk():
    """A short load by wrk: no failed request."""
    prog = stk.need("wrk")
    with stk.stackd() as d:
        n = Nginx(d)
        out = subprocess.run([prog, "-t1", "-c50", "-d3", url("/small")], capture_output=True,
                             text=True, timeout=60).stdout
        stk.check("Requests/sec" in out, out)
        stk.check("Socket errors" not in out and "Non-2xx" not in out, out)
        n.stop()
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
