#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ten times the program tests' transfers: 10 GiB down and up through curl on stackd, hashes equal."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402
from test_curl import both_ways                                               # noqa: E402
stk.forget_tests()


@stk.test(*stk.workers(1, 2))
def ten_gigabytes(workers):
    """10 GiB down and 10 GiB up."""
    with stk.stackd(workers=workers) as d:
        both_ways(d, 10 << 30)


if __name__ == "__main__":
    stk.main()
