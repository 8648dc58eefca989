#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/demo.py - what `make run` shows: nginx on stackd, asked by the kernel's curl over a TAP.

Everything lives in network, mount and process namespaces of its own: when this ends, also by Ctrl-C or
kill -9, nothing is left. KEEP=1 leaves it running until Ctrl-C.
"""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))
import stk                                                                    # noqa: E402

sys.path.insert(0, os.path.join(stk.ROOT, "tests", "apps"))
from test_nginx import Nginx                                                  # noqa: E402


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show(d, topic):
    subprocess.run([os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, "show", topic],
                   check=True, timeout=stk.HANG)


def demo():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with stk.stackd() as d:
        say(f"1. stackd owns {stk.STACK} on the TAP stk0; the kernel has {stk.KERNEL} on the other side")
        show(d, "netdev")
        say("2. stackrun nginx   (unmodified: a master and 2 workers)")
        n = Nginx(d, size=100 << 20)
        show(d, "programs")
        say(f"3. the kernel's curl asks http://{stk.STACK}/small")
        before = d.dev_bytes()
        subprocess.run(["curl", "-sS", "-i", f"http://{stk.STACK}/small"], check=True, timeout=stk.HANG)
        say("4. 100 MiB by sendfile, SHA-256 compared")
        got = stk.hash_of(["curl", "-sS", f"http://{stk.STACK}/big"])
        stk.check(got == n.hash, "hash differs")
        print(f"   {got}  equal")
        say("5. stackctl: the sockets, and the bytes that went through stackd")
        show(d, "sockets")
        rx, tx = (b - a for a, b in zip(before, d.dev_bytes()))
        print(f"\n   stackd's device received {rx:,} bytes and sent {tx:,}")
        stk.check(tx >= 100 << 20, "the bytes did not go through stackd")
        if os.environ.get("KEEP") == "1":
            say("KEEP=1: running until Ctrl-C. From another shell:")
            print(f"   nsenter -t {outer_pid()} -n -m curl -i http://{stk.STACK}/small\n"
                  f"   nsenter -t {outer_pid()} -n -m build/stackctl --run-dir {d.run_dir} show sockets",
                  flush=True)
            signal.pause()
        n.stop()
        d.wait_clean()
        say("nginx stopped; sockets, chunks and buffers are back to zero")


def outer_pid():
    """This process's number outside the process namespace."""
    return os.environ.get("STK_OUTER", "PID")


if __name__ == "__main__":
    os.environ.setdefault("STK_OUTER", str(os.getpid()))
    stk.enter_namespaces()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    stk.private_tmp()
    try:
        demo()
    except KeyboardInterrupt:
        say("interrupted: all of it is gone")
        sys.exit(130)
    except stk.Failed as e:
        sys.exit(f"failed: {e}")
