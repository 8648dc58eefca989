#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Node.js (libuv): http and net, server and client, either side on stackd."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import web                                                                    # noqa: E402

PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")
EXPECT = b"30 200 true 404 ECONNREFUSED\n"


def node(name, *args):
    path = "/usr/bin/node"
    return [path if os.path.exists(path) else stk.need("node"), os.path.join(PROGS, name), *args]


@stk.test(*stk.workers(1, 2))
def server(workers):
    """The server on stackd, its client and curl in the kernel."""
    args = node("server.js", stk.STACK)
    with stk.stackd(workers=workers) as d:
        site = web.Site(d)
        p = d.stackrun(args, cwd=site.root)
        stk.wait_port(stk.STACK, 80)
        site.fetch(d, stk.STACK)
        with stk.through_stackd(d, 40 << 20):
            got = d.run(node("client.js", stk.STACK))
        stk.check(got == EXPECT, f"client: {got!r}")
        d.stop(p)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def client(workers):
    """The client on stackd, the server in the kernel."""
    args = node("server.js", stk.KERNEL)
    with stk.stackd(workers=workers) as d:
        site = web.Site(d)
        d.start(args, cwd=site.root)
        stk.wait_port(stk.KERNEL, 80)
        with stk.through_stackd(d, 40 << 20):
            got = d.run(node("client.js", stk.KERNEL), on_stack=True)
        stk.check(got == EXPECT, f"client: {got!r}")
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
