#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/bench.py [-r ROUNDS] [-o FILE.json] [NAME...] - servers on the kernel (veth) and on stackd (TAP).

The two sides alternate within one run; medians of the rounds are compared, never absolute figures of
different runs. Server CPU is what the server's processes and, on stackd's side, the daemon's used, per
request. On the kernel's side the stack's work that runs in the client's context is not in it.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", "lib"), os.path.join(HERE, "..", "tests", "apps")]
import stk                                                                    # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
VETH = "198.51.100.2"
NGINX = """
worker_processes 1; daemon off; pid {d}/pid; error_log {d}/err crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000;
       server {{ listen {addr}:80; location / {{ return 200 "{body}"; }} }} }}
"""


def cpu_of(pids):
    """CPU seconds of processes, all threads and waited-for children."""
    total = 0
    for pid in pids:
        try:
            f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(x) for x in f[11:15])
    return total / TICK


def tree(pid):
    """A process and its descendants."""
    out = [pid]
    for t in os.listdir(f"/proc/{pid}/task"):
        try:
            for c in open(f"/proc/{pid}/task/{t}/children").read().split():
                out += tree(int(c))
        except OSError:
            pass
    return out


class Side:
    """Where a server runs: .start(args) and .addr."""

    def __init__(self, d, kernel_ns=None):
        self.d, self.ns = d, kernel_ns
        self.name = "kernel" if kernel_ns else "stackd"
        self.addr = VETH if kernel_ns else stk.STACK

    def start(self, args):
        if self.ns:
            return self.d.start(["nsenter", "-t", str(self.ns.pid), "-n", *args])
        return self.d.stackrun(args)

    def pids(self, server):
        return tree(server.pid) + ([] if self.ns else tree(self.d.proc.pid))


def veth(d):
    """A namespace with a kernel stack at VETH, joined by a veth pair."""
    ns = d.start(["unshare", "--net", "sleep", "infinity"])
    stk.wait_for("the namespace", lambda: os.readlink(f"/proc/{ns.pid}/ns/net") !=
                 os.readlink("/proc/self/ns/net"))
    for cmd in (f"ip link add bk0 type veth peer name bk1 netns {ns.pid}",
                "ip addr add 198.51.100.1/24 dev bk0", "ip link set bk0 up",
                f"nsenter -t {ns.pid} -n ip addr add {VETH}/24 dev bk1",
                f"nsenter -t {ns.pid} -n ip link set bk1 up"):
        subprocess.run(cmd.split(), check=True)
    return ns


def nginx(side, close):
    work = os.path.join(side.d.dir, "bench-" + side.name)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work, 0o755)
    with open(os.path.join(work, "c"), "w") as f:
        f.write(NGINX.format(d=work, addr=side.addr, body="x" * 612))
    p = side.start([stk.need("nginx"), "-p", work, "-e", work + "/err", "-c", work + "/c"])
    stk.wait_port(side.addr, 80)
    head = ["-H", "Connection: close"] if close else []
    cmd = [stk.need("wrk"), "-t1", "-c50", "-d4", *head, f"http://{side.addr}/"]

    def parse(out):
        return (float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
                int(re.search(r"(\d+) requests in", out).group(1)))
    return p, cmd, parse


def redis(side, pipeline):
    p = side.start([stk.need("redis-server"), "--bind", side.addr, "--port", "6379", "--save", "",
                    "--protected-mode", "no"])
    stk.wait_port(side.addr, 6379)
    n = 200000 if pipeline == 1 else 2000000
    cmd = [stk.need("redis-benchmark"), "-h", side.addr, "-c", "50", "-n", str(n), "-P", str(pipeline),
           "-t", "get", "--csv"]

    def parse(out):
        return float(re.search(r'"GET","([\d.]+)"', out).group(1)), n
    return p, cmd, parse


CASES = {
    "nginx keepalive": lambda s: nginx(s, False),
    "nginx close": lambda s: nginx(s, True),
    "redis -P 1": lambda s: redis(s, 1),
    "redis -P 16": lambda s: redis(s, 16),
}


def once(side, case):
    """One round of one side. Return: (requests per second, server CPU microseconds per request)."""
    p, cmd, parse = CASES[case](side)
    before = cpu_of(side.pids(p))
    out = subprocess.run(cmd, capture_output=True, text=True, timeout=120).stdout
    used = cpu_of(side.pids(p)) - before
    rate, n = parse(out)
    side.d.stop(p)
    return rate, used * 1e6 / n


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-r", "--rounds", type=int, default=5)
    ap.add_argument("-o", "--out")
    ap.add_argument("names", nargs="*", help="parts of case names")
    args = ap.parse_args()
    with stk.stackd() as d:
        ns = veth(d)
        sides = [Side(d, ns), Side(d)]
        cc = open("/proc/sys/net/ipv4/tcp_congestion_control").read().strip()
        if not args.names:
            micro = os.path.join(stk.BUILD, "bench", "micro-kernel_fd")
            print(d.run([micro], on_stack=True).decode())
        print(f"medians of {args.rounds} rounds; the kernel uses {cc}, stackd NewReno\n")
        print(f"{'':16} {'kernel req/s':>13} {'stackd req/s':>13} {'ratio':>6}   "
              f"{'kernel µs CPU':>13} {'stackd µs CPU':>13} {'ratio':>6}")
        result = {}
        for case in CASES:
            if args.names and not any(n in case for n in args.names):
                continue
            got = {"kernel": [], "stackd": []}
            for _ in range(args.rounds):
                for s in sides:
                    got[s.name].append(once(s, case))
            med = {k: [statistics.median(x[i] for x in v) for i in (0, 1)] for k, v in got.items()}
            k, s = med["kernel"], med["stackd"]
            print(f"{case:16} {k[0]:13.0f} {s[0]:13.0f} {s[0] / k[0]:6.2f}   "
                  f"{k[1]:13.2f} {s[1]:13.2f} {k[1] / s[1] if s[1] else 0:6.2f}", flush=True)
            result[case] = {"rounds": got, "median": med}
        if args.out:
            with open(args.out, "w") as f:
                json.dump({"congestion_control": {"kernel": cc, "stackd": "newreno"},
                           "cases": result}, f, indent=1)


if __name__ == "__main__":
    out = [os.path.abspath(a) if i and sys.argv[i - 1] in ("-o", "--out") else a
           for i, a in enumerate(sys.argv)]
    sys.argv = out
    stk.enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stk.private_tmp()
    main()
