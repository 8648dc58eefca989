#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memcached with four threads (libevent, connections handed from thread to thread), TCP and UDP."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
LOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "mcload.py")


def load(d, addr, on_stack):
    with stk.through_stackd(d, 10 << 20):
        out = d.run([PY, LOAD, addr, "11211", "40", "30"], on_stack=on_stack)
    stk.check(out == b"1600\n", f"values compared: {out!r}")


def memcached(d, addr, on_stack):
    args = [stk.need("memcached"), "-u", "root", "-t", "4", "-l", addr, "-p", "11211", "-U", "11211"]
    p = d.stackrun(args) if on_stack else d.start(args)
    stk.wait_port(addr, 11211)
    return p


def stats_by_udp(addr):
    """memcached's UDP frame: request id, number, count, reserved."""
    with stk.socket.socket(stk.socket.AF_INET, stk.socket.SOCK_DGRAM) as s:
        s.settimeout(stk.HANG)
        s.sendto(b"\x12\x34\0\0\0\1\0\0version\r\n", (addr, 11211))
        return s.recv(2000)


@stk.test(*stk.workers(1, 2))
def server(workers):
    """40 connections on 4 threads, values of 1 to 150000 bytes; a question by UDP."""
    with stk.stackd(workers=workers) as d:
        p = memcached(d, stk.STACK, True)
        load(d, stk.STACK, False)
        got = stats_by_udp(stk.STACK)
        stk.check(got[:2] == b"\x12\x34" and b"VERSION" in got, f"by UDP: {got!r}")
        d.stop(p)
        d.wait_clean()


@stk.test()
def client(workers=2):
    """The same load by threads of a client on stackd."""
    with stk.stackd(workers=workers) as d:
        memcached(d, stk.KERNEL, False)
        load(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
