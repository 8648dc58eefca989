#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Signals, cancellation, siglongjmp: the same program on the kernel and on stackd says the same."""
import difflib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

DEAD = "192.0.2.77"                         # on the TAP's network, and nobody's


def compare(d, name, args=()):
    """The program's lines on both stacks are equal; what it used is given back."""
    prog = os.path.join(stk.TESTS, name)
    kernel = d.run([prog, stk.KERNEL, DEAD, *args]).decode().splitlines()
    ours = d.run([prog, stk.STACK, DEAD, *args], on_stack=True).decode().splitlines()
    diff = list(difflib.unified_diff(kernel, ours, "kernel", "stackd", lineterm="", n=0))
    stk.check(not diff, "\n".join(diff))
    stk.check(len(kernel) > 3, f"{len(kernel)} lines")
    d.wait_clean()


@stk.test()
def signals():
    """EINTR, SA_RESTART, time-outs, masks, SIGPIPE, handlers on the socket, alarms."""
    with stk.stackd() as d:
        compare(d, "signals")


@stk.test()
def cancel():
    """pthread_cancel and siglongjmp at each blocking call; the socket is as good as before."""
    with stk.stackd() as d:
        compare(d, "cancel")


@stk.test()
def handlers():
    """Handlers that use, or jump out of, the very socket whose bytes are being moved; old handlers."""
    with stk.stackd() as d:
        compare(d, "handlers")


if __name__ == "__main__":
    stk.main()
