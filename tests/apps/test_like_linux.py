#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same questions to the kernel's sockets and to stackd's: the answers are the same."""
import difflib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "sockets.py")


@stk.test(*stk.workers(1, 2))
def sockets(workers):
    """States, errnos, readiness, options, time-outs, datagrams."""
    with stk.stackd(workers=workers) as d:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        kernel = subprocess.run([PY, PROG, "127.0.0.1"], capture_output=True, text=True,
                                timeout=stk.HANG * 3)
        ours = d.run([PY, PROG, stk.STACK], on_stack=True).decode()
        stk.check(kernel.returncode == 0, kernel.stderr)
        diff = [x for x in difflib.unified_diff(kernel.stdout.splitlines(), ours.splitlines(),
                                                "kernel", "stackd", lineterm="", n=0)]
        stk.check(not diff, "\n".join(diff))


if __name__ == "__main__":
    stk.main()
