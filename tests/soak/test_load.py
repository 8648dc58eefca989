#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What tests/apps/test_load.py does in short, in full; and ten minutes of mixed load with kill -9.

The mixed load: servers on stackd (nginx, redis, memcached, python's asyncio) asked by programs in the
kernel, clients on stackd (curl, wrk, redis-benchmark) asking servers in the kernel. Every half second one
process or one whole program, of any of them, is killed and started again. One asyncio server with its
checked clients is spared: its bytes must be right to the end, and nothing may be left."""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "apps")]
import stk                                                                    # noqa: E402
import test_load as load                                                      # noqa: E402
from test_churn import grown, processes                                       # noqa: E402
from test_nginx import CONF                                                   # noqa: E402
from test_python import talk                                                  # noqa: E402
stk.forget_tests()

SEED = int(os.environ.get("KILL_SEED", random.randrange(1 << 30)))
SECONDS = int(os.environ.get("SECONDS", 600))


@stk.test(*stk.workers(1, 2))
def ab(workers):
    """100,000 connections."""
    load.ab_close(workers, 100000)


@stk.test(*[dict(w, server_here=h) for w in stk.workers(1, 2) for h in (True, False)])
def twenty_thousand_open(workers, server_here):
    """20,000 connections at once, four processes on either side."""
    load.held(workers, 20000, 4, server_here)


@stk.test(*stk.workers(1, 2))
def pgbench_minute(workers):
    """A minute reading, a minute writing."""
    load.pgbench(workers, 60)


# ---- mixed load ----

def nginx_args(d, addr, name):
    """nginx with two workers on @addr. Return: its command line."""
    work = os.path.join(d.dir, name)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(os.path.join(work, "www"), 0o755)
    stk.make_file(os.path.join(work, "www", "big"), 4 << 20)
    with open(os.path.join(work, "c"), "w") as f:
        f.write(CONF.format(d=work, listen=addr + ":80"))
    return [stk.need("nginx"), "-p", work, "-e", work + "/err", "-c", work + "/c"]


def redis_args(addr):
    return [stk.need("redis-server"), "--bind", addr, "--port", "6379", "--save", "",
            "--protected-mode", "no"]


def forever(cmd):
    """A shell that runs a client again and again."""
    return ["sh", "-c", f"while :; do {cmd} >/dev/null 2>&1 || sleep .05; done"]


class Job:
    """A program that is killed and started again; @port is where a server answers."""

    def __init__(self, start, args, addr=None, port=None):
        self.start, self.args, self.addr, self.port = start, args, addr, port
        self.kills, self.p = 0, None

    def run(self):
        self.p = self.start(self.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.port:
            stk.wait_port(self.addr, self.port)

    def end(self):
        load.end(self.p)
        if self.p in self.procs():
            self.procs().remove(self.p)

    def procs(self):
        return self.start.__self__.procs

    def kill(self, rnd):
        """One process of it, then the rest a little later: survivors live without it for a while."""
        self.kills += 1
        with contextlib.suppress(ProcessLookupError):       # it may just have ended
            os.kill(rnd.choice(tree(self.p.pid)), signal.SIGKILL)
        time.sleep(rnd.choice((0, .02, .2)))
        self.end()
        self.run()


def tree(pid):
    pids = [pid]
    for p in pids:
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                pids += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return pids


def jobs(d):
    """(servers, clients): half of either on stackd."""
    here, there = (d.stackrun, stk.STACK), (d.start, stk.KERNEL)
    servers, clients = [], []
    for (start, addr), ask in ((here, d.start), (there, d.stackrun)):
        servers += [Job(start, nginx_args(d, addr, "nginx" + addr), addr, 80),
                    Job(start, redis_args(addr), addr, 6379),
                    Job(start, [stk.need("memcached"), "-u", "nobody", "-l", addr, "-t", "4"], addr, 11211)]
        clients += [Job(ask, forever(c)) for c in (
            f"wrk -t1 -c30 -d5 http://{addr}/small",
            f"wrk -t1 -c20 -d5 -H Connection:close http://{addr}/small",
            f"curl -sS --parallel -o /dev/null http://{addr}/big -o /dev/null http://{addr}/big",
            f"redis-benchmark -h {addr} -c 30 -P 4 -n 100000 -t set,get -d 1000 -q")]
    return servers, clients


def spared(stop, errors):
    """Clients of the server that nobody kills: every byte is checked."""
    n = 0
    while not stop.is_set() and not errors:
        talk(n, errors)
        n += 1


def half(d, rnd, seconds):
    """Load, kills, restarts; then nothing is left. Return: the number of kills."""
    errors, stop = [], threading.Event()
    stay = d.stackrun([load.PY, os.path.join(load.PROGS, "aecho.py"), stk.STACK, "7000"])
    stk.wait_port(stk.STACK, 7000)
    servers, clients = jobs(d)
    for j in servers + clients:
        j.run()
    checked = [threading.Thread(target=spared, args=(stop, errors)) for _ in range(2)]
    for t in checked:
        t.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not errors:
        time.sleep(rnd.uniform(.1, .5))
        rnd.choice(servers + clients).kill(rnd)
    stop.set()
    for t in checked:
        t.join(6 * stk.HANG)
    for j in clients + servers:
        j.end()
    stk.check(not errors, "\n".join(errors))
    d.stop(stay)
    d.wait_clean(6 * stk.HANG)
    return sum(j.kills for j in servers + clients)


def fds_return(d, before):
    """The daemon has the fds that it had before any program; the last stackctl's may take a moment."""
    def fds():
        return {pid: n for pid, (n, _) in processes(d).items()}
    stk.wait_for("fds return", lambda: all(n <= before[pid][0] for pid, n in fds().items()))


def mixed_run(workers, seconds):
    """Twice half of it: fds return to what they were, and the second half needs no more memory."""
    print(f"# seed {SEED}: KILL_SEED={SEED} repeats the choices")
    rnd, sizes, kills = random.Random(SEED), [], 0
    with stk.stackd(workers=workers) as d:
        before = processes(d)
        with stk.through_stackd(d, seconds << 20):
            for _ in range(2):
                kills += half(d, rnd, seconds / 2)
                fds_return(d, before)
                sizes.append(processes(d))
        print(f"# {kills} kills")
        grown(d, sizes[0], 32768)


@stk.test(*stk.workers(1, 2))
def mixed(workers):
    """Ten minutes (SECONDS= says otherwise)."""
    mixed_run(workers, SECONDS)


if __name__ == "__main__":
    stk.main()
