#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every pair of segments of a 100-segment transfer lost: unit/tcp/test_losses.c in full."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402


@stk.test()
def every_pair():
    r = subprocess.run([os.path.join(stk.BUILD, "tests", "unit-tcp"), "--filter", "losses/*"],
                       env=dict(os.environ, STK_ALL_PAIRS="1"), capture_output=True, text=True,
                       timeout=1200)
    stk.check(r.returncode == 0, r.stdout + r.stderr)


if __name__ == "__main__":
    stk.main()
