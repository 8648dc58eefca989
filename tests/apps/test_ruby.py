#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ruby's sockets and threads (its own scheduler, ppoll), either side on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs", "echo.rb")


def talk(d, at, client_on_stack):
    with stk.through_stackd(d, 10 << 20):
        got = d.run([stk.need("ruby"), ECHO, "client", at], on_stack=client_on_stack)
    stk.check(got == b"20 true line Errno::ECONNREFUSED\n", f"client: {got!r}")


@stk.test()
def server():
    args = [stk.need("ruby"), ECHO, "server", stk.STACK]
    with stk.stackd(workers=2) as d:
        p = d.stackrun(args)
        stk.wait_port(stk.STACK, 7)
        talk(d, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test()
def client():
    args = [stk.need("ruby"), ECHO, "server", stk.KERNEL]
    with stk.stackd() as d:
        d.start(args)
        stk.wait_port(stk.KERNEL, 7)
        talk(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
