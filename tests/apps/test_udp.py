#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""UDP on stackd, as server and as client, against the kernel's; AF_INET6 sockets with v4-mapped peers."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")


def prog(name, *args):
    return [PY, os.path.join(PROGS, name), *args]


def udp_sockets(d):
    return [s for s in d.show("sockets")["sockets"] if s["proto"] == "udp"]


def client(d, how, addr, on_stack):
    """Run the client. Return: its output (the errnos that it met)."""
    with stk.through_stackd(d, 200 * 4000):
        return d.run(prog("udpclient.py", addr, "7007", how), on_stack=on_stack, timeout=60)


@stk.test(*[dict(w, bind=b) for w in stk.workers(1, 2) for b in (stk.STACK, "0.0.0.0", "::")])
def server(workers, bind):
    """An echo server on stackd; datagrams of 0 to 65507 bytes from the kernel."""
    with stk.stackd(workers=workers) as d:
        p = d.stackrun(prog("udpecho.py", bind, "7007", *(["6"] if bind == "::" else [])))
        stk.wait_for("the server is bound", lambda: udp_sockets(d))
        for how in ("connected", "not"):
            stk.check(client(d, how, stk.STACK, False) == b"90\n111\n", "errnos differ")
        if bind != stk.STACK:                   # a wildcard serves the kernel's side as well
            d.run(prog("udpclient.py", "127.0.0.1", "7007", "connected"))
        d.stop(p)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def as_client(workers):
    """A client on stackd; the echo server is the kernel's. Errnos are those of the kernel's stack."""
    with stk.stackd(workers=workers) as d:
        d.start(prog("udpecho.py", stk.KERNEL, "7007"))
        stk.wait_for("the server is bound", lambda: b"7007" in subprocess.run(
            ["ss", "-lun"], capture_output=True).stdout)
        for how in ("connected", "not"):
            want = d.run(prog("udpclient.py", stk.KERNEL, "7007", how))
            got = client(d, how, stk.KERNEL, True)
            stk.check(got == want, f"{how}: kernel {want!r}, stackd {got!r}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
