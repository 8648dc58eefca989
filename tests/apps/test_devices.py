#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real programs on the other devices: what test_nginx, test_redis and test_curl show on a TAP, in short.

All program tests on them: soak/test_devices.py; one of them: STK_DEV=packet tests/apps/test_NAME.py.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
import test_curl                                                              # noqa: E402
import test_nginx                                                             # noqa: E402
import test_redis                                                             # noqa: E402

stk.forget_tests()
DEVICES = [dict(dev=d, workers=w) for d in ("packet", "xdp") for w in (1, 2)]


@stk.test(*DEVICES)
def nginx(dev, workers):
    """64 MiB by sendfile, then connections kept and closed."""
    with stk.stackd(dev=dev, workers=workers) as d:
        n = test_nginx.Nginx(d, size=64 << 20)
        with stk.through_stackd(d, 64 << 20):
            stk.check(stk.hash_of(["curl", "-sS", test_nginx.url("/big")]) == n.hash, "hash differs")
        for ab in (["-k"], []):
            out = d.run([stk.need("ab"), "-q", *ab, "-c", "20", "-n", "2000", test_nginx.url("/small")])
            stk.check(b"Failed requests:        0" in out, out.decode())
        n.stop()
        d.wait_clean()


@stk.test()
def softnet():
    """netdev_budget, dev_weight and what they count, as /proc/net/softnet_stat names it."""
    with stk.stackd(dev="packet") as d:
        ctl = [os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, "sysctl"]
        for name, value in (("dev_weight", "64"), ("netdev_budget", "300"), ("netdev_budget_usecs", "2000")):
            stk.check(value in d.run(ctl + ["net.core." + name]).decode(), f"default of {name}")
        d.run(ctl + ["-w", "net.core.dev_weight=2"])
        d.run(ctl + ["-w", "net.core.netdev_budget=4"])
        r = test_redis.Redis(d)
        test_redis.benchmark(d, 20000, 16, "set,get")
        s = d.show("softnet")["softnet"][0]
        stk.check(s["processed"] > 100 and s["time_squeeze"] > 0 and s["dropped"] == 0, f"{s}")
        r.stop()


@stk.test()
def without_rss():
    """A device without RSS says so; its queues are shown."""
    with stk.stackd(dev="packet", workers=2) as d:
        ctl = [os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir]
        key = ":".join(["6d"] * 40)
        for words in (["udp4", "sdfn"], ["key", key]):
            r = subprocess.run(ctl + ["nic", "rss", "eth1", *words], capture_output=True, text=True)
            stk.check(r.returncode == 1 and "cannot do that" in r.stderr, f"{words}: {r.stderr}")
        stk.check([q["queue"] for q in d.show("queues")["queues"]] == [0, 1], "queues")
        stk.check(d.show("nic")["nic"][0]["driver"] == "packet", "driver")
        for empty in ("rss", "coalesce"):
            stk.check(d.show(empty)[empty] == [], empty)


@stk.test(*DEVICES)
def redis(dev, workers):
    """redis-benchmark with pipelining, and a large value."""
    with stk.stackd(dev=dev, workers=workers) as d:
        r = test_redis.Redis(d)
        rows = test_redis.benchmark(d, 10000, 16, "ping,set,get,lrange_100")
        stk.check(len(rows) >= 4, f"{rows}")
        stk.check(r.cli("set", "k", "v" * 100000) == "OK", "set")
        stk.check(r.cli("get", "k") == "v" * 100000, "get gives another value")
        r.stop()
        d.wait_clean()


@stk.test(*DEVICES)
def curl(dev, workers):
    """A client on stackd: 64 MiB down and up; 8 MiB each with every 100th frame dropped."""
    with stk.stackd(dev=dev, workers=workers) as d:
        test_curl.both_ways(d, 64 << 20)
    with stk.stackd(dev=dev, workers=workers, netdev="impair=drop-every=100") as d:
        test_curl.both_ways(d, 8 << 20)


@stk.test(*[dict(file=f) for f in ("python", "capture", "interfaces", "readiness")])
def on_xdp(file):
    """Whole files of program tests with AF_XDP."""
    env = {k: v for k, v in os.environ.items() if k != "STK_NS"}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"test_{file}.py")
    r = subprocess.run([sys.executable, path], env=dict(env, STK_DEV="xdp"), stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=12 * stk.HANG)
    lines = r.stdout.splitlines()
    stk.check(r.returncode == 0 and any(x.startswith("ok ") for x in lines), r.stdout[-3000:])


if __name__ == "__main__":
    stk.main()
