#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""iperf3, which listens on :: with an AF_INET6 socket: TCP both directions, parallel streams, UDP."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

RUNS = [["-n", "200M"], ["-n", "200M", "-R"], ["-n", "200M", "-P", "4"], ["-n", "100M", "--bidir"],
        ["-u", "-b", "50M", "-n", "10M"], ["-u", "-b", "50M", "-n", "10M", "-R"]]


def once(d, addr, on_stack, args):
    """One run. Return: its report; None when the server has not yet got over the last one."""
    out = json.loads(d.run(["iperf3", "-c", addr, "-J", *args], on_stack=on_stack, timeout=60))
    return None if "busy" in out.get("error", "") else out


def measure(d, addr, on_stack):
    """All runs; each must move its bytes, without an error. Return: lost datagrams."""
    lost = 0
    for args in RUNS:
        with stk.through_stackd(d, 9 << 20):
            out = stk.wait_for("the server is free", lambda: once(d, addr, on_stack, args))
        stk.check("error" not in out, f"{args}: {out.get('error')}")
        lost += out["end"].get("sum", {}).get("lost_packets", 0)
    return lost


@stk.test(*stk.workers(1, 2))
def server(workers):
    """The server on stackd, the client in the kernel."""
    prog = stk.need("iperf3")
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([prog, "-s"])
        stk.wait_for("listens", lambda: [s for s in d.show("sockets")["sockets"]
                                         if s["state"] == "LISTEN"])
        measure(d, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def client(workers):
    """The client on stackd, the server in the kernel."""
    prog = stk.need("iperf3")
    with stk.stackd(workers=workers) as d:
        d.start([prog, "-s"])
        stk.wait_port(stk.KERNEL, 5201)
        measure(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
