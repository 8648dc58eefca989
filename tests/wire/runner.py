# SPDX-License-Identifier: MIT
"""tests/wire/runner.py - runs the scripts on both stacks, several at a time, and compares traces.

Scripts with the same sysctls run together, each with an address, a port and a program of its own.
WIRE_LANES says how many at once; WIRE_SHOW=1 prints all traces with times.
"""
import difflib
import importlib
import os
import threading

import stk
import wire

FILES = ["s_handshake", "s_close", "s_window", "s_5961", "s_nagle", "s_stamps", "s_recovery", "s_urgent"]
LANES = int(os.environ.get("WIRE_LANES", "4"))
TRIES = 5                       # a busy machine delays what is to come "at once"
BASE = {                        # the same on both sides, whatever the machine says
    "net.ipv4.tcp_congestion_control": "cubic",
    "net.ipv4.tcp_rmem": "4096 131072 6291456",
    "net.ipv4.tcp_wmem": "4096 16384 4194304",
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_ecn": "2",
    "net.ipv4.tcp_early_retrans": "0",
    "net.ipv4.tcp_min_tso_segs": "64",
}
scripts = []


def script(**sysctls):
    """Mark a script; sysctls by their names behind net.ipv4., dots as __."""
    def mark(fn):
        scripts.append((fn, sysctls))
        return fn
    return mark


class Lane:
    """An address, and a program on each stack."""

    def __init__(self, links, num):
        self.links, self.addr, self.num, self.port = links, f"192.0.2.{10 + num}", num, 0
        for link in links:
            link.register(self.addr)
            link.resolve(self.addr)
        self.agents = [wire.Agent(link) for link in links]

    def once(self, i, fn):
        run = wire.Run(self.links[i], self.agents[i], self.addr, 5000 + 1000 * self.num + self.port)
        try:
            fn(run)
        finally:
            self.agents[i].ask(reset=1)
        return run

    def both(self, fn):
        """The same script on both, side by side. Return: the runs."""
        runs, errors = [None, None], []
        self.port += 1

        def one(i):
            try:
                runs[i] = self.once(i, fn)
            except Exception as e:
                errors.append((self.links[i].name, e))
        threads = [threading.Thread(target=one, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for name, e in errors:
            raise stk.Failed(f"on {name}: {type(e).__name__}: {e}")
        return runs

    def compare(self, fn):
        for _ in range(TRIES):
            a, b = self.both(fn)
            if a.trace == b.trace:
                break
        show = os.environ.get("WIRE_SHOW")
        if show:
            print(f"# {fn.__name__}\n" + "\n".join(
                f"#   {t * 1000:7.1f} {s}" for t, s in zip(b.times, b.trace)), flush=True)
        if a.trace != b.trace:
            raise stk.Failed("the traces differ (- kernel, + stackd):\n" + "\n".join(
                difflib.unified_diff(a.trace, b.trace, "kernel", "stackd", lineterm="", n=30)))

    def close(self):
        for a in self.agents:
            a.close()


class Wire:
    """Both stacks and the lanes; made once, with the first script."""
    made = None

    def __init__(self):
        self.ctx = stk.stackd(dev="packet")
        self.d = self.ctx.__enter__()
        self.links = [wire.Kernel(), wire.Stack(self.d)]
        for link in self.links:
            for name, value in BASE.items():
                link.sysctl(name, value)
            link.had = {}
        self.lanes = [Lane(self.links, i) for i in range(LANES)]
        self.results = {}

    def run_group(self, sysctls, group):
        for link in self.links:
            for name, value in sysctls.items():
                link.sysctl("net.ipv4." + name if "__" not in name else name.replace("__", "."),
                            str(value))
        work, lock = list(group), threading.Lock()

        def lane_loop(lane):
            while True:
                with lock:
                    if not work:
                        return
                    fn = work.pop(0)
                try:
                    lane.compare(fn)
                    self.results[fn] = None
                except Exception as e:
                    self.results[fn] = e
        threads = [threading.Thread(target=lane_loop, args=(lane,)) for lane in self.lanes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for link in self.links:
            wire.restore(link)

    def close(self):
        for lane in self.lanes:
            lane.close()
        for link in self.links:
            link.close()
        self.ctx.__exit__(None, None, None)


def run_all(names):
    w = Wire()
    try:
        groups = {}
        for fn, sysctls in scripts:
            if not names or any(n in fn.__name__ for n in names):
                groups.setdefault(tuple(sorted(sysctls.items())), []).append(fn)
        for key, group in groups.items():
            try:
                w.run_group(dict(key), group)
            except Exception as e:
                w.results.update((fn, e) for fn in group)
        w.d.alive()
    finally:
        w.close()
    return w.results


results = {}


def mark_tests():
    """Each script is a test of its own in the output; the first one runs them all."""
    import sys
    for f in FILES:
        importlib.import_module(f)
    for fn, _ in scripts:
        def one(fn=fn):
            if not results:
                try:
                    results.update(run_all(sys.argv[1:]))
                except Exception as e:
                    results.update((f, e) for f, _ in scripts)
            if results[fn]:
                raise results[fn]
        one.__name__ = fn.__name__
        stk.test()(one)
