#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Datagrams: a Python echo on stackd and one in the kernel, each asked from the other side."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "uecho.py")


def bound(addr, port):
    """Wait until the echo answers; whoever asks is another socket than the test's."""
    import socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.05)

        def up():
            try:
                s.sendto(b"up?", (addr, port))
                return s.recv(10) == b"up?"
            except OSError:
                return False
        stk.wait_for(f"UDP echo at {addr}:{port}", up)


@stk.test(*stk.workers(1, 2))
def server_on_stackd(workers):
    """Echo on stackd (exact address), the kernel asks."""
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([PY, ECHO, "serve", stk.STACK, "7000"])
        bound(stk.STACK, 7000)
        with stk.through_stackd(d, 1 << 20):
            d.run([PY, ECHO, "ask", stk.STACK, "7000"])
        stk.check(p.wait(stk.HANG) == 0, "the server failed\n" + d.logs())
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def wildcard_server(workers):
    """Echo on 0.0.0.0: served on stackd's address and on the kernel's."""
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([PY, ECHO, "serve", "0.0.0.0", "7000"])
        bound(stk.KERNEL, 7000)
        bound(stk.STACK, 7000)
        d.run([PY, ECHO, "ask", stk.STACK, "7000"])
        stk.check(p.wait(stk.HANG) == 0, "the server failed\n" + d.logs())
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def client_on_stackd(workers):
    """Echo in the kernel, asked from stackd."""
    with stk.stackd(workers=workers) as d:
        p = d.start([PY, ECHO, "serve", stk.KERNEL, "7000"])
        bound(stk.KERNEL, 7000)
        with stk.through_stackd(d, 1 << 19):
            d.run([PY, ECHO, "ask", stk.KERNEL, "7000"], on_stack=True)
        stk.check(p.wait(stk.HANG) == 0, "the server failed\n" + d.logs())
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
