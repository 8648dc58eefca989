#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""select, poll and epoll on stackd sockets say what they say on the kernel's."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")
PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


@stk.test(*stk.workers(1, 2))
def like_linux(workers):
    """One program, once on the kernel and once on stackd, with the same peer: the same lines."""
    with stk.stackd(workers=workers) as d:
        peer = d.start([PY, os.path.join(PROGS, "readiness_peer.py"), stk.KERNEL, "7000"])
        stk.wait_port(stk.KERNEL, 7000)
        prog = [PY, os.path.join(PROGS, "readiness.py"), stk.KERNEL, "7000"]
        kernel = d.run(prog + [stk.KERNEL]).decode().splitlines()
        with stk.through_stackd(d, 100000):
            ours = d.run(prog + [stk.STACK], on_stack=True).decode().splitlines()
        for k, o in zip(kernel, ours):
            stk.check(k == o, f"kernel: {k}\nstackd: {o}")
        stk.check(len(kernel) == len(ours) > 30, f"{len(kernel)} and {len(ours)} lines")
        d.stop(peer)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
