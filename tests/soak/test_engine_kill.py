#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A hundred kills of the engine under load, and at moments that nobody chose: also while it adopts."""
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for _part in ("lib", "apps", "fault"):
    sys.path.insert(0, os.path.join(HERE, "..", _part))
import stk                                                                    # noqa: E402
import test_engine_kill as kill                                               # noqa: E402
import test_nginx                                                             # noqa: E402
stk.forget_tests()


@stk.test(*stk.workers(1, 2))
def hundred_kills(workers):
    """As in `make test`, but a hundred."""
    kill.under_load(100, workers)


@stk.test(*stk.workers(1, 2))
def any_moment(workers):
    """wrk with connections opened and closed as fast as they go, kills 0 to 50 ms after the next engine
    shows up: it need not have finished its adoption."""
    rnd = random.Random(int(os.environ.get("SEED", time.time_ns())) & 0xffffffff)
    with kill.stackd(workers=workers, adopts=False) as d:
        n = test_nginx.Nginx(d)
        w = [subprocess.Popen([stk.need("wrk"), "-t1", f"-c{c}", "-d60", *h, test_nginx.url("/small")],
                              stdout=d.log, stderr=d.log)
             for c, h in ((10, []), (10, ["-H", "Connection: close"]))]
        for _ in range(300):
            pid = stk.wait_for("an engine", lambda: kill.engine_pid(d))
            time.sleep(rnd.random() * 0.05)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            stk.wait_for("the next engine", lambda: kill.engine_pid(d) not in (0, pid))
        for p in w:
            p.terminate()
            p.wait()
        stk.wait_for("it serves", lambda: subprocess.run(
            ["curl", "-sS", "-m", "5", test_nginx.url("/small")], capture_output=True).returncode == 0)
        stk.check(n.p.poll() is None, "nginx ended")
        n.stop()
        d.wait_clean(30)


if __name__ == "__main__":
    stk.main()
