#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""20,000 connections and hundreds of programs, TIME_WAIT included: nothing is left or grows."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402
from test_churn import KernelServer, grown, processes, round_of               # noqa: E402
stk.forget_tests()


def no_timewait(d):
    return not any(w["timewait"] for w in d.show("workers")["workers"])


@stk.test(*stk.workers(1, 2))
def twenty_thousand(workers):
    """Twice 10,000, with all of TIME_WAIT in between."""
    with stk.stackd(workers=workers) as d:
        server, sizes = KernelServer(), []
        for _ in range(2):
            for i in range(10):
                round_of(d, server, 500, 10, True)
            stk.wait_for("TIME_WAIT ends", lambda: no_timewait(d), 120)
            sizes.append(processes(d))
        grown(d, sizes[0])


if __name__ == "__main__":
    stk.main()
