#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/bench.py [-r ROUNDS] [-o FILE.json] [--free] [--first] [--syscalls] [NAME...] - servers on kernel and stackd.

The kernel's server stands behind a veth pair, stackd's behind a TAP; the load generator is always
the kernel's. The two sides alternate within one run, and medians of the rounds are compared, never
figures of different runs. With two CPUs or more the server and the daemon have one of them and the
load another (--free: they run where the scheduler likes).

CPU time per operation is told apart: program = the server's processes, engine = the daemon's,
load = the generator's. A kernel does much of its receive work in the context of whoever sent (veth,
TAP), so a part of the kernel's cost stands under load: "all" is what compares.

System calls per operation are counted in a round of their own (syscalls.py) of the cases that have
many small ones; --syscalls: that alone, of all cases named."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(HERE, "..", "tests")
sys.path[:0] = [os.path.join(TESTS, "lib"), os.path.join(TESTS, "apps"), HERE]
import stk                                                                    # noqa: E402
import syscalls                                                               # noqa: E402
from cases import CASES                                                       # noqa: E402
from test_load import Held, PROGS, PY, end                                    # noqa: E402
stk.forget_tests()

TICK = os.sysconf("SC_CLK_TCK")
VETH = "198.51.100.2"
CPUS = sorted(os.sched_getaffinity(0))
IDLE_SECONDS = 5
COUNTED = ("nginx keepalive", "nginx close", "redis -P 1", "redis -P 16")
FIRST = "--first" in sys.argv   # of all that this machine does; nice(1) does not reach over autogroups
LIMIT = 780                     # seconds for all cases: with less time each has fewer rounds


def cpu_of(pids):
    """CPU seconds of processes: threads by the scheduler's clock, children waited for by ticks."""
    total = 0.0
    for pid in pids:
        try:
            for t in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{t}/schedstat") as f:
                    total += int(f.read().split()[0]) / 1e9
            with open(f"/proc/{pid}/stat") as f:
                total += sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[13:15]) / TICK
        except OSError:
            continue
    return total


def tree(pid):
    """A process and its descendants."""
    out = [pid]
    for p in out:
        try:
            for t in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{t}/children") as f:
                    out += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return out


class Side:
    """Where a server runs: .start(args) and .addr; .enter: what goes before a command."""

    def __init__(self, d, ns=None):
        self.d, self.ns = d, ns
        self.name = "kernel" if ns else "stackd"
        self.addr = VETH if ns else stk.STACK
        self.enter = ["nsenter", "-t", str(ns.pid), "-n"] if ns else []

    def start(self, args):
        return self.d.start([*self.enter, *args]) if self.ns else self.d.stackrun(args)

    def engine(self):
        return [] if self.ns else tree(self.d.proc.pid)


def veth(d):
    """A namespace with a kernel stack at VETH, joined by a veth pair."""
    ns = d.start(["unshare", "--net", "sleep", "infinity"])
    stk.wait_for("the namespace", lambda: os.readlink(f"/proc/{ns.pid}/ns/net") !=
                 os.readlink("/proc/self/ns/net"))
    for cmd in (f"ip link add bk0 type veth peer name bk1 netns {ns.pid}",
                "ip addr add 198.51.100.1/24 dev bk0", "ip link set bk0 up",
                f"nsenter -t {ns.pid} -n ip link set lo up",
                f"nsenter -t {ns.pid} -n ip addr add {VETH}/24 dev bk1",
                f"nsenter -t {ns.pid} -n ip link set bk1 up"):
        subprocess.run(cmd.split(), check=True)
    return ns


def load(cmd, pin):
    """Run the generator. Return: its output and its CPU seconds."""
    def place():
        if pin:
            os.sched_setaffinity(0, {CPUS[-1]})
    before = os.times()
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=120, preexec_fn=place)
    stk.check(r.returncode == 0, f"{cmd}: {r.returncode} {r.stderr[-500:]}")
    t = os.times()
    return r.stdout, t.children_user + t.children_system - before.children_user - before.children_system


def start(case, side):
    """@case's server, its processes, and the load's command."""
    server, cmd = case.start(side)
    pids = tree(server.pid)
    if FIRST:
        for p in [os.getpid(), *pids, *side.engine()]:
            with open(f"/proc/{p}/autogroup", "w") as f:
                f.write("-20")
    return server, pids, cmd


def once(side, case, pin):
    """One round of one side. Return: {rate, program, engine, load, all}; CPU in µs per operation."""
    server, pids, cmd = start(case, side)
    before = cpu_of(pids), cpu_of(side.engine())
    out, used = load(cmd, pin)
    # Processes that the server has forked meanwhile had used nothing before.
    after = cpu_of(set(pids) | set(tree(server.pid))), cpu_of(side.engine())
    rate, n = case.parse(out)
    end(server)
    got = {"program": (after[0] - before[0]) * 1e6 / n, "engine": (after[1] - before[1]) * 1e6 / n,
           "load": used * 1e6 / n}
    return dict(got, rate=rate, all=sum(got.values()))


def compare(case, sides, rounds, pin, until):
    """All rounds of a case, the sides in turn; none begins after @until but the first. Return: the case's
    part of the JSON."""
    got = {s.name: [] for s in sides}
    for i in range(rounds):
        if i and time.monotonic() > until:
            break
        for s in sides if i % 2 == 0 else reversed(sides):
            got[s.name].append(once(s, case, pin))
    median = {k: {m: statistics.median(x[m] for x in v) for m in v[0]} for k, v in got.items()}
    return {"unit": case.unit, "per": case.per, "less_is_better": case.less, "rounds": got,
            "median": median}


def count_calls(todo, sides, pin, result):
    """System calls per operation, a round of each side."""
    if not todo:
        return
    why = syscalls.missing()
    if why:
        print(f"\nsystem calls are not counted: {why}")
        result.setdefault("missing", {})["syscalls"] = why
        return
    print("\nsystem calls per operation, program and engine")
    result["syscalls"] = {}
    for case in todo:
        got = {}
        for s in sides:
            server, pids, cmd = start(case, s)
            got[s.name] = syscalls.count(case, cmd, {"program": pids, "engine": s.engine()},
                                         lambda c: load(c, pin)[0])
            end(server)
        result["syscalls"][case.name] = got
        print("\n".join(syscalls.rows(case.name, got)), flush=True)


def idle(d):
    """Per cent of a core that the daemon uses with 1,000 connections that nobody uses."""
    server = d.stackrun([PY, os.path.join(PROGS, "hold.py"), "serve", stk.STACK, "7000", "1"])
    stk.wait_port(stk.STACK, 7000)
    conns = Held(d.start, stk.STACK, 1000, 1)
    conns.ask()
    time.sleep(1)
    before = cpu_of(tree(d.proc.pid))
    time.sleep(IDLE_SECONDS)
    used = cpu_of(tree(d.proc.pid)) - before
    conns.close()
    end(server)
    return 100 * used / IDLE_SECONDS


def probe(name="place"):
    """What micro-place or micro-tap says of the machine: nanoseconds. {} when it cannot."""
    out = subprocess.run([os.path.join(stk.BUILD, "bench", "micro-" + name)], capture_output=True,
                         text=True, timeout=60)
    return json.loads(out.stdout) if out.returncode == 0 else {}


HEAD = (f"{'':16} {'':14} {'kernel':>10} {'stackd':>10} {'':>6}   "
        f"{'kernel: CPU µs per operation':^34}   {'stackd: CPU µs per operation':^34} {'':>6}\n"
        f"{'':16} {'':14} {'':>10} {'':>10} {'gain':>6}   "
        + "   ".join([f"{'program':>8} {'engine':>8} {'load':>8} {'all':>7}"] * 2) + f" {'gain':>6}")


def row(name, c):
    k, s = c["median"]["kernel"], c["median"]["stackd"]
    gain = k["rate"] / s["rate"] if c["less_is_better"] else s["rate"] / k["rate"]
    cpu = "   ".join(f"{x['program']:8.2f} {x['engine']:8.2f} {x['load']:8.2f} {x['all']:7.2f}"
                     for x in (k, s))
    return (f"{name:16} {c['unit']:14} {k['rate']:10.{2 if k['rate'] < 1000 else 0}f} "
            f"{s['rate']:10.{2 if s['rate'] < 1000 else 0}f} {gain:6.2f}   {cpu} "
            f"{k['all'] / s['all']:6.2f}")


def measure(args, todo, sides, pin, result):
    """The table: a line per case, as it is done."""
    print("gain > 1: stackd is better\n\n" + HEAD)
    begun = time.monotonic()
    for i, case in enumerate(todo):
        try:
            c = compare(case, sides, args.rounds, pin, begun + LIMIT * (i + 1) / len(todo))
        except (stk.Skip, stk.Failed) as e:
            print(f"{case.name:16} no figure: {str(e).splitlines()[0]}")
            result.setdefault("missing", {})[case.name] = str(e)
            continue
        result["cases"][case.name] = c
        few = len(c["rounds"]["kernel"])
        print(row(case.name, c) + (f"   {few} rounds" if few < args.rounds else ""), flush=True)


def run(args):
    pin = not args.free and len(CPUS) > 1
    if pin:
        os.sched_setaffinity(0, {CPUS[0]})
    with stk.stackd() as d:
        sides = [Side(d, veth(d)), Side(d)]
        with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
            cc = f.read().strip()
        result = {"rounds": args.rounds, "pinned": pin, "placement_ns": probe(), "cases": {},
                  "congestion_control": {"kernel": cc, "stackd": "cubic"},
                  "kernel": os.uname().release, "cpus": len(CPUS)}
        print(f"medians of {args.rounds} rounds; congestion control: the kernel {cc}, stackd cubic; "
              f"{len(CPUS)} CPUs, " +
              ("server and daemon on one, load on another" if pin else "not pinned"))
        print("placement probe, ns:", result["placement_ns"])
        todo = [c for c in CASES if not args.names or any(n in c.name for n in args.names)]
        if todo and not args.syscalls:
            measure(args, todo, sides, pin, result)
            result["floor_ns"] = probe("tap")
            print("a TCP round trip through a TAP without stack and program, both ends spinning, ns:",
                  result["floor_ns"])
        count_calls([c for c in todo if args.syscalls or c.name in COUNTED], sides, pin, result)
        if not args.syscalls and (not args.names or any(n in "idle" for n in args.names)):
            result["idle_percent"] = idle(d)
            print(f"\nidle with 1,000 connections: the daemon uses "
                  f"{result['idle_percent']:.2f} % of a core")
        result["placement_ns_after"] = probe()
        print("placement probe afterwards, ns:", result["placement_ns_after"])
    if args.out:
        with open(args.out, "w") as f:
            json.dump(result, f, indent=1)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-r", "--rounds", type=int, default=int(os.environ.get("ROUNDS") or 5))
    ap.add_argument("-o", "--out")
    ap.add_argument("--free", action="store_true", help="do not pin")
    ap.add_argument("--first", action="store_true", help="before other work of this machine")
    ap.add_argument("--syscalls", action="store_true", help="only count system calls")
    ap.add_argument("names", nargs="*", help="parts of case names")
    args = ap.parse_args()
    if args.out:
        args.out = os.path.abspath(args.out)
        sys.argv = [sys.argv[0], "-r", str(args.rounds), "-o", args.out, *["--free"] * args.free,
                    *["--syscalls"] * args.syscalls, *["--first"] * args.first, *args.names]
    stk.enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stk.private_tmp()
    run(args)


if __name__ == "__main__":
    main()
