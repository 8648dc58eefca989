#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""curl as a client on stackd; an HTTP server in the kernel on the other side."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")


def server(d, size):
    """A kernel HTTP server with a file. Return: the file's path and hash."""
    www = os.path.join(d.dir, "www")
    os.mkdir(www)
    path = os.path.join(www, "f")
    want = stk.make_file(path, size)
    d.start([PY, os.path.join(PROGS, "sink.py"), stk.KERNEL, "8080"], cwd=www)
    stk.wait_port(stk.KERNEL, 8080)
    return path, want


URL = f"http://{stk.KERNEL}:8080/f"


def curl(d, *args):
    return [os.path.join(stk.PLAIN, "stackrun"), "--run-dir", d.run_dir, "curl", "-sS", *args]


def both_ways(d, size):
    path, want = server(d, size)
    with stk.through_stackd(d, size):
        stk.check(stk.hash_of(curl(d, URL)) == want, "download: hash differs")
    with stk.through_stackd(d, size):
        got = d.run(curl(d, "-H", "Expect:", "-T", path, URL), timeout=300).decode()
    stk.check(got == want, f"upload: hash differs: {got}")
    d.wait_clean()


@stk.test(*stk.workers(1, 2))
def gigabyte(workers):
    """1 GiB down and 1 GiB up, hashes equal."""
    with stk.stackd(workers=workers) as d:
        both_ways(d, 1 << 30)


@stk.test(*stk.workers(1, 2))
def lossy(workers):
    """Every 100th frame dropped, both ways: 24 MiB down and up, hashes equal."""
    with stk.stackd(workers=workers, netdev="impair=drop-every=100") as d:
        both_ways(d, 24 << 20)


@stk.test()
def refused():
    """Nobody listens: curl says the same as on the kernel's stack."""
    with stk.stackd() as d:
        url = f"http://{stk.KERNEL}:81/"
        told = []
        for cmd in (["curl", "-sS", url], curl(d, url)):
            r = subprocess.run(cmd, capture_output=True, text=True, timeout=stk.HANG)
            told.append((r.returncode, re.sub(r"after \d+ ms", "", r.stderr)))
        stk.check(told[0][0] == 7 and told[0] == told[1], f"kernel, stackd: {told}")
        d.wait_clean()


@stk.test()
def to_the_kernel():
    """A destination that stackd does not own goes to the kernel."""
    with stk.stackd() as d:
        www = os.path.join(d.dir, "www")
        os.mkdir(www)
        want = stk.make_file(os.path.join(www, "f"), 1 << 20)
        d.start([PY, os.path.join(PROGS, "sink.py"), "127.0.0.1", "8080"], cwd=www)
        stk.wait_port("127.0.0.1", 8080)
        before = sum(d.dev_bytes())
        stk.check(stk.hash_of(curl(d, "http://127.0.0.1:8080/f")) == want, "hash differs")
        stk.check(sum(d.dev_bytes()) - before < 1 << 20, "went through stackd")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
