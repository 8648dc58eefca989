#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hostile programs for ten minutes beside nginx and python (STK_BUILD=build/address: with sanitizers)."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", d) for d in ("lib", "apps", "fault")]
import stk                                                                    # noqa: E402
import test_hostile                                                           # noqa: E402
stk.forget_tests()


@stk.test(*stk.workers(1, 2))
def ten_minutes(workers):
    """Both fuzzers."""
    test_hostile.hostile_run(600, workers)


if __name__ == "__main__":
    stk.main()
