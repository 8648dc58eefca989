# SPDX-License-Identifier: MIT
"""tests/lib/web.py - a site to serve, and what a client must get from it."""
import os
import subprocess

import stk

SMALL = b"hello\n"
BIG = 64 << 20


class Site:
    """A document root: small, big (64 MiB)."""

    def __init__(self, d, size=BIG):
        self.root = os.path.join(d.dir, "www")
        os.makedirs(self.root, exist_ok=True)
        os.chmod(d.dir, 0o755)
        with open(os.path.join(self.root, "small"), "wb") as f:
            f.write(SMALL)
        self.size = size
        self.hash = stk.make_file(os.path.join(self.root, "big"), size)

    def fetch(self, d, addr, on_stack=False, port=80):
        """By curl: many over one connection, one each, the big one whole, a missing one."""
        url = f"http://{addr}:{port}"
        pre = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir] if on_stack else []
        with stk.through_stackd(d, self.size):
            got = d.run([*pre, "curl", "-sS", *[url + "/small"] * 50])
            stk.check(got == SMALL * 50, f"keep-alive: {got[:200]!r}")
            one = " ".join([*pre, "curl", "-sS", "-H", "Connection:close", url + "/small"])
            got = d.run(["sh", "-c", f"seq 60 | xargs -P 6 -I% {one}"])
            stk.check(got == SMALL * 60, f"close: {len(got)} bytes")
            got = stk.hash_of([*pre, "curl", "-sS", url + "/big"])
            stk.check(got == self.hash, "hash differs")
            got = d.run([*pre, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url + "/none"])
            stk.check(got == b"404", f"missing: {got!r}")


def wrk(url, d=None):
    """Two seconds of load on 50 connections, by wrk on stackd when d is given: no failed request."""
    pre = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir] if d else []
    out = subprocess.run([*pre, stk.need("wrk"), "-t2", "-c50", "-d2", url], capture_output=True,
                         text=True, timeout=60)
    stk.check("Requests/sec" in out.stdout, out.stdout + out.stderr)
    stk.check("Socket errors" not in out.stdout and "Non-2xx" not in out.stdout, out.stdout)


def ab(url, args, d=None):
    """ApacheBench, on stackd when d is given: every request complete, none failed."""
    pre = [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir] if d else []
    out = subprocess.run([*pre, stk.need("ab"), "-q", *args, url], capture_output=True, text=True,
                         timeout=60)
    stk.check(out.returncode == 0, f"ab: exit {out.returncode}: {out.stderr}")
    stk.check("Failed requests:        0" in out.stdout and "Non-2xx" not in out.stdout, out.stdout)
