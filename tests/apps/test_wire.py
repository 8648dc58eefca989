#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TCP on the wire: scripts of tests/wire on stackd and on the kernel, segment by segment the same."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "wire")]
import runner                                                                 # noqa: E402
import stk                                                                    # noqa: E402

if __name__ == "__main__":
    runner.mark_tests()
    stk.main()
