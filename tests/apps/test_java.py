#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""OpenJDK: blocking sockets and NIO selectors, either side on stackd. Java opens AF_INET6 sockets and
uses v4-mapped addresses; blocking calls are poll() and a signal wakes them at close()."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")
EXPECT = b"20 timed-out Connection refused\n"


def java(name, *args):
    prog = stk.need("java")
    stk.need("javac")                            # single-file launch needs the compiler
    return [prog, "-XX:TieredStopAtLevel=1", "-Xshare:auto", os.path.join(PROGS, name), *args]


def echo(d, how, at, client_on_stack):
    with stk.through_stackd(d, 40 * 1000000):
        got = d.run(java("EchoClient.java", how, at), on_stack=client_on_stack)
    stk.check(got == EXPECT, f"client: {got!r}")


@stk.test(*[{"how": h} for h in ("blocking", "nio")])
def server(how):
    """The server on stackd, the client in the kernel."""
    args = java("Echo.java", how, stk.STACK)
    with stk.stackd(workers=2) as d:
        p = d.stackrun(args)
        stk.wait_port(stk.STACK, 7)
        echo(d, how, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test(*[{"how": h} for h in ("blocking", "nio")])
def client(how):
    """The client on stackd, the server in the kernel."""
    args = java("Echo.java", how, stk.KERNEL)
    with stk.stackd() as d:
        d.start(args)
        stk.wait_port(stk.KERNEL, 7)
        echo(d, how, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
