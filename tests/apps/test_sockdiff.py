#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Generated sequences of socket calls say the same on stackd as on the kernel (progs/sockdiff.c).

Arguments: parts of test names as everywhere, or `seed=N` to show one sequence on both sides.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import sockdiff                                                               # noqa: E402
import stk                                                                    # noqa: E402


FOUND = (100372,        # recv() on a listener that was a connection before
         100516,        # AF_UNSPEC gives a datagram socket's chosen port back
         100577,        # a listener that became a client: its kernel half counted in poll()
         102971)        # a connect() that fails at once keeps the error of before


def run(seed, count, workers=1, opts=()):
    run_all([(seed, count)], workers, opts)


def run_all(parts, workers=1, opts=()):
    count = sum(n for _, n in parts)
    with stk.stackd(workers=workers) as d:
        server = sockdiff.serve()
        k = sockdiff.KernelSide()
        try:
            bad = [b for seed, n in parts for b in sockdiff.compare(d, k, seed, n, opts)]
        finally:
            k.close()
            sockdiff.stop(server)
        text = "\n".join(f"seed {s}:\n{t}" for s, t in bad)
        stk.check(not bad, f"{len(bad)} of {count} sequences differ:\n{text}")


@stk.test(*stk.workers(1, 2))
def generated(workers):
    run(1000 * workers, 200, workers)


@stk.test()
def unprivileged():
    run(5000, 60, opts=("-u", "65534"))


@stk.test()
def found():
    """Sequences that once differed."""
    run_all([(seed, 1) for seed in FOUND])


def show(seed, opts):
    """One sequence on both sides, side by side as a diff."""
    stk.forget_tests()

    @stk.test()
    def replay():
        run(seed, 1, opts=opts)


if __name__ == "__main__":
    wanted = [a[5:] for a in sys.argv if a.startswith("seed=")]
    if wanted:
        show(int(wanted[0]), ("-u", "65534") if "-u" in sys.argv else ())
        if os.environ.get("STK_NS") == "1":
            sys.argv = sys.argv[:1]
    stk.main()
