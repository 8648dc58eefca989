#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What socket calls say to a program on stackd is, line by line, what they say on the kernel."""
import difflib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
CALLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "calls.py")


def lines(d, addr, on_stack):
    return d.run([PY, CALLS, "client", addr], on_stack=on_stack).decode().splitlines()


@stk.test(*stk.workers(1, 2))
def same_as_the_kernel(workers):
    """A client on the kernel, one on stackd, the same server in the kernel; then a server on stackd."""
    with stk.stackd(workers=workers) as d:
        d.start([PY, CALLS, "server", stk.KERNEL])
        stk.wait_port(stk.KERNEL, 7100)
        d.run(["ip", "link", "set", "lo", "mtu", "1500"])       # for equal segment sizes
        want = lines(d, stk.KERNEL, False)
        stk.check(len(want) > 50, f"{want}")
        got = lines(d, stk.KERNEL, True)
        diff = list(difflib.unified_diff(want, got, "kernel", "stackd", lineterm="", n=0))
        stk.check(not diff, "\n".join(diff))
        p = d.stackrun([PY, CALLS, "server", stk.STACK])
        stk.wait_port(stk.STACK, 7100)
        got = [x.replace(stk.STACK, stk.KERNEL) for x in lines(d, stk.STACK, False)]
        diff = list(difflib.unified_diff(want, got, "kernel", "server on stackd", lineterm="", n=0))
        stk.check(not diff, "\n".join(diff))
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
