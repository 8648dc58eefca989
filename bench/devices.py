#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/devices.py [-r ROUNDS] [-o FILE.json] [--no-programs] - what each device costs, beside DPDK and kernel

Packets per second and nanoseconds of the receiver's (or sender's) CPU per packet: a device alone that
receives and drops, or transmits, and a program's UDP socket behind it. The other end is always a
packet socket of the kernel's at full speed, on another CPU where there is one. testpmd (Debian's dpdk)
drives the same virtual interface where it runs. Then iperf3, sockperf and redis over TAP, AF_XDP,
packet sockets and the kernel's veth. Rounds alternate; medians."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", "lib"), os.path.join(HERE, "..", "tests", "apps"), HERE]
import stk                                                                    # noqa: E402
import bench                                                                  # noqa: E402
from cases import Iperf3, Redis, Sockperf                                     # noqa: E402
stk.forget_tests()

MICRO = os.path.join(stk.BUILD, "bench", "micro-nicpps")
SECONDS = 1
SIZES = (60, 1514)
KINDS = ("tap", "packet", "xdp")
TAP = "tp0"                     # not stk0: a TAP goes some time after its process
PEER_MAC = "02:00:00:00:00:99"
# testpmd's driver and arguments for the interface below each kind
PMD = {"tap": "net_tap0,iface=" + TAP, "packet": "net_af_packet0,iface=eth1", "xdp": "net_af_xdp0,iface=eth1"}


def place(cpu):
    return lambda: os.sched_setaffinity(0, {bench.CPUS[cpu]})


def sh(cmd, check=True):
    subprocess.run(["sh", "-c", cmd], check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Veth:
    """stk0 here, eth1 in a namespace of its own; a TAP needs none."""

    def __init__(self, kind):
        self.enter = []
        self.p = None
        self.near, self.far = ("stk0", "eth1") if kind != "tap" else (TAP, TAP)
        if kind == "tap":
            return
        self.p = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        stk.veth_peer(self.p.pid, kind)
        self.enter = ["nsenter", "-t", str(self.p.pid), "-n"]
        subprocess.run(self.enter + ["ip", "link", "set", "eth1", "up"], check=True)

    def mac(self):
        out = subprocess.run(self.enter + ["ip", "-j", "link", "show", self.far], check=True,
                             capture_output=True)
        return json.loads(out.stdout)[0]["address"]

    def close(self):
        if self.p:
            self.p.kill()
            self.p.wait()
            sh("ip link del stk0", False)


def flood(ifname, mac, seconds, size):
    """Frames to the interface's other end. Return: the running generator."""
    return subprocess.Popen([MICRO, "flood", ifname, mac, str(seconds), str(size)], stdout=subprocess.PIPE,
                            text=True, preexec_fn=place(-1))


def device(kind, way, size):
    """stackd's driver alone. Return: {pps, cpu_ns}."""
    v = Veth(kind)
    try:
        seconds = SECONDS + (way == "rx")
        p = subprocess.Popen(v.enter + [MICRO, way, kind, v.far, str(seconds), str(size)], text=True,
                             stdout=subprocess.PIPE, preexec_fn=place(0))
        mac = json.loads(p.stdout.readline())["mac"]
        other = flood(v.near, mac, seconds, size) if way == "rx" else None
        got = json.loads(p.stdout.readline())
        p.wait()
        if other:
            other.wait()
        return got
    finally:
        v.close()


def pmd_stats(text, way):
    """(packets, seconds) between the first and the last report of testpmd."""
    seen = [int(x) for x in re.findall(("RX" if way == "rx" else "TX") + r"-packets: +(\d+)", text)]
    return (seen[-1] - seen[0], len(seen) - 1) if len(seen) > 1 else (0, 1)


def testpmd(kind, way, size):
    """DPDK on the same interface. Return: as device(), or None where it does not run."""
    tool = shutil.which("dpdk-testpmd")
    if not tool:
        return None
    v = Veth(kind)
    run = tempfile.mkdtemp(prefix="testpmd-")
    try:
        cmd = v.enter + ["timeout", "-s", "INT", str(SECONDS + 4), tool, "--no-huge", "--no-pci", "--no-shconf",
                         "-m", "128",
                         "-l", f"{bench.CPUS[0]},{bench.CPUS[-1]}", "--no-telemetry", "--vdev", PMD[kind],
                         "--", "--total-num-mbufs=4096", "--nb-cores=1", "--stats-period=1",
                         f"--txpkts={size}", f"--forward-mode={way}only"]
        p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             stdin=subprocess.DEVNULL, env=dict(os.environ, RUNTIME_DIRECTORY=run))
        time.sleep(1.5)
        used = bench.cpu_of(bench.tree(p.pid))
        begun = time.monotonic()
        mac = PEER_MAC if kind == "tap" else v.mac()
        other = flood(v.near, mac, SECONDS + 1, size) if way == "rx" else None
        time.sleep(SECONDS + 1)
        used = bench.cpu_of(bench.tree(p.pid)) - used
        took = time.monotonic() - begun
        out = p.communicate(timeout=30)[0]
        if other:
            other.wait()
        n, seconds = pmd_stats(out, way)
        if not n:
            return None
        if way == "rx":                 # all of them came while the other end sent
            seconds = took
        return {"pps": n / seconds, "cpu_ns": used / took * seconds * 1e9 / n}
    finally:
        shutil.rmtree(run, ignore_errors=True)
        v.close()


SINK = [MICRO, "sink", stk.STACK, "7007", str(SECONDS)]


def sunk(p, mac, size, engine):
    """Flood a sink that has been started. Return: as device(), with the engine's CPU."""
    p.stdout.readline()
    before = bench.cpu_of(engine)
    other = flood("stk0", mac, SECONDS + 1, size)
    got = json.loads(p.stdout.readline())
    got["cpu_ns"] += (bench.cpu_of(engine) - before) * 1e9 / max(got["packets"], 1)
    p.wait()
    other.wait()
    return got


def to_socket(kind, size):
    """Into a program's UDP socket: on stackd behind a device, or the kernel's behind a veth."""
    if kind == "kernel":
        v = Veth("packet")
        try:
            subprocess.run(v.enter + ["ip", "addr", "add", stk.STACK + "/24", "dev", "eth1"], check=True)
            p = subprocess.Popen(v.enter + SINK, stdout=subprocess.PIPE, text=True, preexec_fn=place(0))
            return sunk(p, v.mac(), size, [])
        finally:
            v.close()
    with stk.stackd(dev=kind) as d:
        for t in bench.tree(d.proc.pid):
            subprocess.run(["taskset", "-a", "-p", "-c", str(bench.CPUS[0]), str(t)], check=False,
                           stdout=subprocess.DEVNULL)
        p = d.stackrun(SINK, stdout=subprocess.PIPE, text=True, preexec_fn=place(0))
        return sunk(p, d.show("netdev")["netdev"][0]["mac"], size, bench.tree(d.proc.pid))


def programs(kind, case):
    """One round of a program test: {rate, all}; kind "kernel" is the kernel's own stack behind a veth."""
    with stk.stackd(dev="tap" if kind == "kernel" else kind) as d:
        side = bench.Side(d, bench.veth(d) if kind == "kernel" else None)
        got = bench.once(side, case, len(bench.CPUS) > 1)
        if kind == "kernel":
            sh("ip link del bk0", False)
        return got


def rounds_of(n, fns):
    """Each of fns (name -> call) n times in turn. Return: name -> median of each figure, None = no figure."""
    got = {k: [] for k in fns}
    for _ in range(n):
        for k, fn in fns.items():
            try:
                x = fn()
            except (stk.Failed, stk.Skip, ValueError, subprocess.SubprocessError) as e:
                print(f"# {k}: {str(e).splitlines()[0] if str(e) else type(e).__name__}")
                x = None
            if x:
                got[k].append({m: x[m] for m in ("pps", "cpu_ns", "rate", "all") if m in x})
    return {k: {m: statistics.median(y[m] for y in v) for m in v[0]} if v else None for k, v in got.items()}


def packets(n):
    out = {}
    print(f"{'':22}" + "".join(f"{k + ' ' + x:>20}" for k in KINDS for x in ("stackd", "testpmd")))
    for way in ("rx", "tx"):
        for size in SIZES:
            fns = {}
            for k in KINDS:
                fns[k] = lambda k=k: device(k, way, size)
                fns[k + " testpmd"] = lambda k=k: testpmd(k, way, size)
            got = out[f"{way} {size}"] = rounds_of(n, fns)
            name = ("receive, drop" if way == "rx" else "transmit") + f" {size}"
            print(f"{name:22}" + "".join(f"{cell(x):>20}" for x in got.values()), flush=True)
    for size in SIZES:
        got = out[f"socket {size}"] = rounds_of(n, {k: (lambda k=k: to_socket(k, size))
                                                    for k in (*KINDS, "kernel")})
        print(f"to a socket {size:<10}" + "".join(f"  {k}: {cell(x)}" for k, x in got.items()), flush=True)
    return out


def cell(x):
    return f"{x['pps'] / 1e6:.2f} M {x['cpu_ns']:5.0f} ns" if x else "-"


def all_programs(n):
    out = {}
    kinds = (*KINDS, "kernel")
    print(f"\n{'':18}{'':16}" + "".join(f"{k:>22}" for k in kinds))
    for case in (Iperf3("in"), Iperf3("out"), Sockperf(True), Sockperf(False), Redis(1), Redis(16)):
        got = out[case.name] = rounds_of(n, {k: (lambda k=k: programs(k, case)) for k in kinds})
        cells = [f"{x['rate']:.4g} ({x['all']:.2f} µs)" if x else "-" for x in got.values()]
        print(f"{case.name:18}{case.unit:16}" + "".join(f"{c:>22}" for c in cells), flush=True)
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-r", "--rounds", type=int, default=int(os.environ.get("ROUNDS") or 3))
    ap.add_argument("-o", "--out")
    ap.add_argument("--no-programs", action="store_true")
    args = ap.parse_args()
    if args.out:
        args.out = os.path.abspath(args.out)
        sys.argv = [sys.argv[0], "-r", str(args.rounds), "-o", args.out,
                    *["--no-programs"] * args.no_programs]
    stk.enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stk.private_tmp()
    result = {"rounds": args.rounds, "kernel": os.uname().release, "cpus": len(bench.CPUS)}
    print(f"medians of {args.rounds} rounds; M = million packets a second, ns = CPU of the measured end per "
          "packet")
    result["packets"] = packets(args.rounds)
    if not args.no_programs:
        print("\nrate (CPU of program, engine and load per operation; iperf3: per MiB)")
        result["programs"] = all_programs(args.rounds)
    if args.out:
        with open(args.out, "w") as f:
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
