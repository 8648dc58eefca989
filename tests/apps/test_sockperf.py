#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sockperf: ping-pong and throughput, TCP and UDP, either side on stackd."""
import concurrent.futures
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402


def serve(d, addr, on_stack):
    """A server on one feed file: a TCP and a UDP address, waited for with epoll."""
    feed = d.dir + "/feed"
    with open(feed, "w") as f:
        f.write(f"T:{addr}:11111\nU:{addr}:11112\n")
    args = [stk.need("sockperf"), "server", "-f", feed, "-F", "epoll"]
    p = d.stackrun(args) if on_stack else d.start(args)
    stk.wait_port(addr, 11111)
    return p


def one(d, addr, on_stack, args):
    with stk.through_stackd(d, 10000):
        out = d.run(["sockperf", args[0], "-i", addr, "-t", "1", *args[1:]], on_stack=on_stack).decode()
    if args[0] == "pp":
        n = re.search(r"ReceivedMessages=(\d+)", out)
        stk.check(n and int(n.group(1)) > 100, out)
        stk.check("# dropped messages = 0" in out and "# duplicated messages = 0" in out, out)


def measure(d, addr, on_stack):
    """Four clients at the same time."""
    tcp, udp = ["--tcp", "-p", "11111"], ["-p", "11112"]
    runs = (["pp", *tcp], ["pp", *udp, "-m", "3000"], ["ul", *udp, "--mps", "1000"],
            ["tp", *tcp, "-m", "1400"])
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:
        for f in [pool.submit(one, d, addr, on_stack, args) for args in runs]:
            f.result()


@stk.test(*stk.workers(2))
def server(workers):
    """The server on stackd."""
    with stk.stackd(workers=workers) as d:
        p = serve(d, stk.STACK, True)
        measure(d, stk.STACK, False)
        d.stop(p, stk.signal.SIGINT)
        d.wait_clean()


@stk.test()
def client():
    """The client on stackd."""
    with stk.stackd() as d:
        serve(d, stk.KERNEL, False)
        measure(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
