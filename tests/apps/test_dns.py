#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dnsmasq answers over UDP and TCP on stackd; dig and getent ask, either side."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

NAMES = 200


def dnsmasq(d, addr, on_stack):
    hosts = d.dir + "/hosts"
    with open(hosts, "w") as f:
        f.writelines(f"198.51.100.{i} n{i}.test\n" for i in range(NAMES))
    args = [stk.need("dnsmasq"), "-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "-u", "root",
            "--addn-hosts=" + hosts, "--log-facility=-", "--txt-record=long.test," + "x" * 250,
            "--pid-file=" + d.dir + "/dnsmasq.pid", f"--listen-address={addr}", "--bind-interfaces"]
    p = d.stackrun(args) if on_stack else d.start(args)
    stk.wait_port(addr, 53)
    return p


def ask(d, addr, on_stack):
    """By UDP, by TCP, many at once from a file."""
    dig = [stk.need("dig"), f"@{addr}", "+short", "+tries=2", "+time=5"]
    questions = d.dir + "/questions"
    with open(questions, "w") as f:
        f.writelines(f"n{i}.test A\n" for i in range(NAMES))
    want = "".join(f"198.51.100.{i}\n" for i in range(NAMES)).encode()
    with stk.through_stackd(d, 100 * NAMES):
        for how in ([], ["+tcp"]):
            got = d.run([*dig, *how, "n7.test"], on_stack=on_stack)
            stk.check(got == b"198.51.100.7\n", f"{how}: {got!r}")
            got = d.run([*dig, *how, "-f", questions], on_stack=on_stack)
            stk.check(sorted(got.split()) == sorted(want.split()), f"{how}: {len(got.split())} answers: {got[-200:]!r}")
        got = d.run([*dig, "long.test", "TXT"], on_stack=on_stack)
        stk.check(b"x" * 250 in got, f"long: {got!r}")


def resolve(d, addr, on_stack):
    """libc's resolver, its server in resolv.conf of our own mount namespace."""
    conf = d.dir + "/resolv.conf"
    with open(conf, "w") as f:
        f.write(f"nameserver {addr}\n")
    d.run(["mount", "--bind", conf, "/etc/resolv.conf"])
    try:
        got = d.run(["getent", "-s", "dns", "ahostsv4", "n9.test"], on_stack=on_stack)
        stk.check(b"198.51.100.9" in got, f"getent: {got!r}")
    finally:
        d.run(["umount", "/etc/resolv.conf"])


@stk.test(*stk.workers(1, 2))
def server(workers):
    """The server on stackd, bound to its address; the questions come from the kernel."""
    with stk.stackd(workers=workers) as d:
        p = dnsmasq(d, stk.STACK, True)
        ask(d, stk.STACK, False)
        resolve(d, stk.STACK, False)
        d.stop(p)
        d.wait_clean()


@stk.test()
def client():
    """dig and libc's resolver on stackd, the server in the kernel."""
    with stk.stackd() as d:
        dnsmasq(d, stk.KERNEL, False)
        ask(d, stk.KERNEL, True)
        resolve(d, stk.KERNEL, True)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
