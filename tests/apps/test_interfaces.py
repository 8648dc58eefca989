#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What programs are told about interfaces: stackd's address is on the one that carries its frames."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

IFCONF = """
import array, fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(size):
    buf = array.array("B", bytes(size))
    at = buf.buffer_info()[0] if size else 0
    got, = struct.unpack_from("i", fcntl.ioctl(s.fileno(), 0x8912, struct.pack("iP", size, at)))
    return got, bytes(buf)
need, _ = ask(0)
full, buf = ask(need)
assert full == need, (full, need)
for i in range(0, full, 40):
    print(buf[i:i + 16].split(bytes(1))[0].decode(), socket.inet_ntoa(buf[i + 20:i + 24]))
assert ask(need - 1)[0] == need - 40, "one has no room"
"""

PKTINFO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 8, 1)                   # IP_PKTINFO
s.bind((sys.argv[1], 5300))
print("bound", flush=True)
s.settimeout(10)
_, anc, _, _ = s.recvmsg(100, 100)
print(socket.if_indextoname(int.from_bytes(anc[0][2][:4], "little")), socket.inet_ntoa(anc[0][2][8:12]))
"""


def beside(d, args):
    """The command line that runs a program on stackd, where its interface is."""
    there = [] if d.dev == "tap" else ["nsenter", "-t", str(d.proc.pid), "-n"]
    return there + d.on_stack(args)


@stk.test()
def addresses():
    """getifaddrs(), in use by hostname, and SIOCGIFCONF; a program off stackd sees the kernel's alone."""
    with stk.stackd() as d:
        kernels = [stk.KERNEL] if d.dev == "tap" else []    # of a veth pair the other end has it
        if d.dev != "tap":
            d.run(["nsenter", "-t", str(d.proc.pid), "-n", "ip", "link", "set", "lo", "up"])
        stk.check(stk.STACK not in d.run(["hostname", "-I"]).decode().split(), "without stackrun")
        got = d.run(beside(d, ["hostname", "-I"])).decode().split()
        stk.check(sorted(a for a in got if ":" not in a) == sorted([stk.STACK] + kernels), f"hostname: {got}")
        got = d.run(beside(d, ["/usr/bin/python3", "-c", IFCONF])).decode().splitlines()
        want = {"lo 127.0.0.1"} | {f"{d.ifname} {a}" for a in [stk.STACK] + kernels}
        stk.check(want == set(got), f"SIOCGIFCONF: {got}")
        d.wait_clean()


@stk.test()
def pktinfo():
    """IP_PKTINFO names the interface."""
    with stk.stackd() as d:
        p = d.start(beside(d, ["/usr/bin/python3", "-c", PKTINFO, stk.STACK]), stdout=stk.subprocess.PIPE,
                    text=True)
        p.stdout.readline()
        with stk.socket.socket(stk.socket.AF_INET, stk.socket.SOCK_DGRAM) as s:
            s.sendto(b"hi", (stk.STACK, 5300))
        got = p.stdout.readline()
        stk.check(re.fullmatch(rf"{d.ifname} {stk.STACK}\n", got), f"said {got!r}")
        d.stop(p)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
