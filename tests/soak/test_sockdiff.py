#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/apps/test_sockdiff.py for long: thousands of generated sequences of socket calls."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "apps"))
import stk                                                                    # noqa: E402
import test_sockdiff as short                                                 # noqa: E402

stk.forget_tests()
PART = 1000


@stk.test(*[{"workers": 1 + i % 2, "part": i} for i in range(16)])
def thousands(workers, part):
    short.run(100000 + part * PART, PART, workers)


@stk.test(*[{"part": i} for i in range(4)])
def unprivileged(part):
    short.run(200000 + part * PART, PART, opts=("-u", "65534"))


if __name__ == "__main__":
    stk.main()
