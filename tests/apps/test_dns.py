#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dnsmasq, named and unbound answer over UDP and TCP on stackd; dig and getent ask, either side."""
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


def named(d, addr):
    """Listens on the addresses that it finds, a socket each and more per thread."""
    with open(d.dir + "/zone", "w") as f:
        f.write("$TTL 60\n@ IN SOA ns r 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.2\n" +
                "".join(f"n{i} IN A 198.51.100.{i}\n" for i in range(NAMES)) + f"big IN TXT {'y' * 250}\n" +
                "".join(f"m{i} IN A 203.0.113.{i % 250}\n" for i in range(3000)))
    with open(d.dir + "/named.conf", "w") as f:
        f.write(f'options {{ directory "{d.dir}"; listen-on {{ {addr}; }}; listen-on-v6 {{ none; }}; recursion no; '
                f'pid-file none; session-keyfile "{d.dir}/key"; allow-transfer {{ any; }}; }};\n'
                'controls {};\nzone "test" { type master; file "zone"; };\n')
    return [stk.need("named"), "-g", "-c", d.dir + "/named.conf"]


def unbound(d, addr):
    """Two threads, sockets of their own by SO_REUSEPORT."""
    with open(d.dir + "/unbound.conf", "w") as f:
        f.write(f'server:\n interface: {addr}\n access-control: 0.0.0.0/0 allow\n local-zone: "test." static\n' +
                "".join(f' local-data: "n{i}.test. A 198.51.100.{i}"\n' for i in range(NAMES)) +
                f' num-threads: 2\n username: ""\n chroot: ""\n directory: "{d.dir}"\n pidfile: ""\n'
                ' use-syslog: no\n so-reuseport: yes\nremote-control:\n control-enable: no\n')
    return [stk.need("unbound"), "-d", "-c", d.dir + "/unbound.conf"]


@stk.test(*({"prog": p, "workers": w} for p in ("named", "unbound") for w in (1, 2)))
def others(prog, workers):
    """Questions in a row over both, and a zone of 3,000 names."""
    with stk.stackd(workers=workers) as d:
        os.chmod(d.dir, 0o777)
        p = d.stackrun({"named": named, "unbound": unbound}[prog](d, stk.STACK))
        stk.wait_port(stk.STACK, 53)
        dig = [stk.need("dig"), f"@{stk.STACK}", "+short", "+tries=2", "+time=5"]
        # it listens before its zones are loaded
        stk.wait_for("it knows its names", lambda: d.run([*dig, "n0.test"]) == b"198.51.100.0\n")
        with stk.through_stackd(d, 10000):
            for how in ([], ["+tcp"]):
                got = d.run([*dig, *how, *[f"n{i}.test" for i in range(50)]]).decode().split()
                stk.check(got == [f"198.51.100.{i}" for i in range(50)], f"{prog} {how}: {got}")
            if prog == "named":
                got = d.run([*dig, "test", "axfr"]).decode().splitlines()
                stk.check(len(got) == 3000 + NAMES + 5, f"axfr: {len(got)} records")
        d.stop(p)
        d.wait_clean()


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
