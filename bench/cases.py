# SPDX-License-Identifier: MIT
"""bench/cases.py - what bench.py runs: a server on one side, its load generator in the kernel.

A case is start(side) -> (server, load command) and parse(output) -> (rate, operations). A rate is in the
case's unit; `less` = less is better. CPU time is counted per operation (`per` says what that is).
"""
import json
import os
import re
import shutil

import stk
from test_postgresql import Postgres

SECONDS = 2                     # of load, a round
NGINX = """
worker_processes 1; daemon off; pid {d}/pid; error_log {d}/err crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000;
       server {{ listen {addr}:80; location / {{ return 200 "{body}"; }} }} }}
"""


class Nginx:
    """wrk, 50 connections, 612 bytes; close: a connection per request."""
    unit, per, less = "req/s", "request", False

    def __init__(self, close):
        self.name = "nginx close" if close else "nginx keepalive"
        self.head = ["-H", "Connection: close"] if close else []

    def start(self, side):
        work = os.path.join(side.d.dir, "bench-" + side.name)
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work, 0o755)
        with open(os.path.join(work, "c"), "w") as f:
            f.write(NGINX.format(d=work, addr=side.addr, body="x" * 612))
        p = side.start([stk.need("nginx"), "-p", work, "-e", work + "/err", "-c", work + "/c"])
        stk.wait_port(side.addr, 80)
        return p, [stk.need("wrk"), "-t1", "-c50", f"-d{SECONDS}", *self.head, f"http://{side.addr}/"]

    def parse(self, out):
        stk.check("Socket errors" not in out, out)
        return (float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
                int(re.search(r"(\d+) requests in", out).group(1)))


class Redis:
    """redis-benchmark GET, 50 connections."""
    unit, per, less = "req/s", "request", False

    def __init__(self, pipeline):
        self.name = f"redis -P {pipeline}"
        self.pipeline, self.n = pipeline, (150000 if pipeline == 1 else 1500000)

    def start(self, side):
        p = side.start([stk.need("redis-server"), "--bind", side.addr, "--port", "6379", "--save", "",
                        "--protected-mode", "no"])
        stk.wait_port(side.addr, 6379)
        return p, [stk.need("redis-benchmark"), "-h", side.addr, "-c", "50", "-n", str(self.n), "-P",
                   str(self.pipeline), "-t", "get", "--csv"]

    def parse(self, out):
        return float(re.search(r'"GET","([\d.]+)"', out).group(1)), self.n


class Iperf3:
    """One TCP stream into the server or out of it."""
    unit, per, less = "Gbit/s", "MiB", False

    def __init__(self, way):
        self.name = f"iperf3 {way}"
        self.args = ["-R"] if way == "out" else []

    def start(self, side):
        p = side.start([stk.need("iperf3"), "-s"])
        stk.wait_port(side.addr, 5201)
        return p, ["iperf3", "-c", side.addr, "-J", "-t", str(SECONDS), *self.args]

    def parse(self, out):
        got = json.loads(out)
        stk.check("error" not in got, out[:500])
        end = got["end"]["sum_received"]
        return end["bits_per_second"] / 1e9, end["bytes"] / (1 << 20)


class Sockperf:
    """TCP ping-pong of 14 bytes, one at a time; spinning: neither side ever blocks in a call."""
    unit, per, less = "µs round trip", "message", True

    def __init__(self, spins):
        self.name = "sockperf " + ("spinning" if spins else "blocking")
        self.args = ["--nonblocked"] if spins else []

    def start(self, side):
        p = side.start([stk.need("sockperf"), "server", "--tcp", "-i", side.addr, "-p", "11111",
                        *self.args])
        stk.wait_port(side.addr, 11111)
        return p, ["sockperf", "pp", "--tcp", "--full-rtt", "-i", side.addr, "-p", "11111", "-t",
                   str(SECONDS), *self.args]

    def parse(self, out):
        return (float(re.search(r"Round trip is ([\d.]+) usec", out).group(1)),
                int(re.search(r"\[Valid Duration\].*ReceivedMessages=(\d+)", out).group(1)))


class Pgbench:
    """SELECT by primary key, 10 connections, prepared."""
    unit, per, less, name = "tps", "transaction", False, "pgbench -S"

    def start(self, side):
        shutil.rmtree(os.path.join(side.d.dir, "pg"), ignore_errors=True)
        p = Postgres(side.d, side.addr, not side.ns, wrap=side.enter)
        p.bench(False, "-i", "-q", "-s", "1")
        self.bin = p.bin
        return p.p, [p.bin + "/pgbench", "-h", side.addr, "-U", "postgres", "-n", "-S", "-M", "prepared",
                     "-c10", "-j1", "-T", str(SECONDS), "postgres"]

    def parse(self, out):
        tps = re.search(r"tps = ([\d.]+)", out)
        stk.check(tps and "number of failed transactions: 0 " in out, out)
        return float(tps.group(1)), int(re.search(r"actually processed: (\d+)", out).group(1))


CASES = [Nginx(False), Nginx(True), Redis(1), Redis(16), Iperf3("in"), Iperf3("out"), Sockperf(True),
         Sockperf(False), Pgbench()]
