#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis, unmodified, on stackd; redis-benchmark in the kernel."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402


class Redis:
    def __init__(self, d):
        prog = stk.need("redis-server")
        self.d = d
        self.p = d.stackrun([prog, "--bind", stk.STACK, "--port", "6379", "--save", "",
                             "--protected-mode", "no", "--dir", d.dir])
        stk.wait_port(stk.STACK, 6379)

    def cli(self, *args):
        return self.d.run(["redis-cli", "-h", stk.STACK, *args]).decode().strip()

    def stop(self):
        self.d.stop(self.p)


def benchmark(d, requests, pipeline, tests=None):
    prog = stk.need("redis-benchmark")
    cmd = [prog, "-h", stk.STACK, "-c", "50", "-n", str(requests), "-P", str(pipeline), "--csv"]
    out = d.run(cmd + (["-t", tests] if tests else []), timeout=120).decode()
    rows = [r for r in out.splitlines() if r.startswith('"')]
    stk.check("rror" not in out, out)
    return rows


@stk.test(*stk.workers(1, 2))
def default_set(workers):
    """redis-benchmark -c 50 -P 1, its default set of tests."""
    with stk.stackd(workers=workers) as d:
        r = Redis(d)
        with stk.through_stackd(d, 1 << 20):
            rows = benchmark(d, 5000, 1)
        stk.check(len(rows) >= 20, f"only {len(rows)} rows:\n" + "\n".join(rows))
        r.stop()
        d.wait_clean()


@stk.test(*stk.workers(1, 2))
def pipelined(workers):
    """redis-benchmark -c 50 -P 16, its default set of tests."""
    with stk.stackd(workers=workers) as d:
        r = Redis(d)
        with stk.through_stackd(d, 1 << 20):
            rows = benchmark(d, 20000, 16)
        stk.check(len(rows) >= 20, f"only {len(rows)} rows:\n" + "\n".join(rows))
        r.stop()
        d.wait_clean()


@stk.test()
def values():
    """What was set is what is read, small and large."""
    with stk.stackd() as d:
        r = Redis(d)
        stk.check(r.cli("set", "k", "v" * 100000) == "OK", "set")
        stk.check(r.cli("get", "k") == "v" * 100000, "get gives another value")
        r.stop()
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
