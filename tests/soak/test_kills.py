#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many more kills than the fault tests': 200 children on one listener, and whole programs."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", d) for d in ("lib", "apps", "fault")]
import stk                                                                    # noqa: E402
import test_program_kill as kill                                              # noqa: E402
stk.forget_tests()


@stk.test(*stk.workers(1, 2))
def prefork(workers):
    """200 children, 500 of them killed under load."""
    kill.prefork_run(workers, 200, 500, 8)


@stk.test(*stk.workers(1, 2))
def whole(workers):
    """redis, python, curl: 250 kills."""
    kill.whole_run(250, workers)


if __name__ == "__main__":
    stk.main()
