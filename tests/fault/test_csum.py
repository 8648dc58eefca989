#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The checksum contract on every device: wrong sums are dropped and counted, right ones leave, fragments too."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps", "progs", "udpecho.py")
SOL_PACKET, PACKET_VNET_HDR, NEEDS_CSUM = 263, 15, 1
DEVICES = [{"dev": d} for d in ("tap", "packet", "xdp")]


def csum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def pseudo(proto, n, src=stk.KERNEL, dst=stk.STACK):
    return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, proto, n)


def ip4(proto, payload, frag=0, ident=7):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0,
                       socket.inet_aton(stk.KERNEL), socket.inet_aton(stk.STACK))
    return head[:10] + struct.pack("!H", csum(head)) + head[12:] + payload


def udp(data, how):
    """how: "right", "wrong", "zero"."""
    seg = struct.pack("!HHHH", 4242, 7007, 8 + len(data), 0) + data
    right = csum(pseudo(17, len(seg)) + seg) or 0xffff
    return seg[:6] + struct.pack("!H", {"right": right, "wrong": right ^ 0x55, "zero": 0}[how]) + seg[8:]


def tcp(how):
    seg = struct.pack("!HHIIBBHHH", 4242, 9, 1, 0, 0x50, 2, 1000, 0, 0)
    right = csum(pseudo(6, len(seg)) + seg)
    return seg[:16] + struct.pack("!H", right ^ (0x55 if how == "wrong" else 0)) + seg[18:]


class Wire:
    """The other end of the device, frames with the vnet header as the kernel has them."""

    def __init__(self, d):
        self.mac = bytes.fromhex(d.show("netdev")["netdev"][0]["mac"].replace(":", ""))
        self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
        self.s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.s.bind(("stk0", 0x800))
        self.s.settimeout(stk.HANG)

    def send(self, ip):
        self.s.send(b"\0" * 10 + self.mac + b"\2\0\0\0\0\1\x08\0" + ip)

    def recv(self):
        """The next frame from stackd. Return: (flags of the vnet header, IP packet)."""
        while True:
            f = self.s.recv(70000)
            if f[16:22] == self.mac:
                n = struct.unpack("!H", f[26:28])[0]
                return f[0], f[24:24 + n]


def counts(d):
    s = d.show("snmp")["snmp"]
    return s["Tcp"]["InCsumErrors"], s["Udp"]["InCsumErrors"]


def start(d):
    d.stackrun([PY, ECHO, stk.STACK, "7007"])
    stk.wait_for("the server is bound",
                 lambda: [s for s in d.show("sockets")["sockets"] if s["proto"] == "udp"])
    return Wire(d)


@stk.test(*DEVICES)
def received(dev):
    """Wrong TCP and UDP sums count as InCsumErrors and go nowhere; a zero UDP sum is none."""
    with stk.stackd(dev=dev) as d:
        w = start(d)
        w.send(ip4(17, udp(b"wrong", "wrong")))
        w.send(ip4(6, tcp("wrong")))
        stk.wait_for("both are counted", lambda: counts(d) == (1, 1))
        for how in ("zero", "right"):
            w.send(ip4(17, udp(how.encode(), how)))
            _flags, p = w.recv()
            stk.check(p[28:] == how.encode(), f"echo of {p!r}")
        # In two fragments the sum is the whole datagram's, and only software can look at it.
        for n, how in ((21, "right"), (22, "wrong")):
            seg = udp(bytes(range(200)), how)
            w.send(ip4(17, seg[:104], 0x2000, n))
            w.send(ip4(17, seg[104:], 104 // 8, n))
        _flags, p = w.recv()
        stk.check(p[28:] == bytes(range(200)), f"echo of {p!r}")
        stk.wait_for("the wrong one is counted", lambda: counts(d) == (1, 2))


@stk.test(*DEVICES)
def sent(dev):
    """A datagram's sum is right or left to the device; that of fragments is finished by software."""
    with stk.stackd(dev=dev) as d:
        w = start(d)
        w.send(ip4(17, udp(b"one frame", "right")))
        flags, p = w.recv()
        if flags & NEEDS_CSUM:
            stk.check(dev != "xdp", "AF_XDP finishes nothing")
        else:
            stk.check(csum(pseudo(17, len(p) - 20) + p[20:]) == 0, "UDP sum is wrong")
        data = bytes(i * 7 % 256 for i in range(4000))
        seg = udp(data, "right")
        for off in range(0, len(seg), 1480):
            more = 0x2000 if off + 1480 < len(seg) else 0
            w.send(ip4(17, seg[off:off + 1480], more | off // 8, 99))
        whole = b""
        while len(whole) < len(seg):
            flags, p = w.recv()
            stk.check(not flags & NEEDS_CSUM, "a fragment's checksum was left to the device")
            stk.check((struct.unpack("!H", p[6:8])[0] & 0x1fff) * 8 == len(whole), "fragments out of order")
            stk.check(csum(p[:20]) == 0, "IP header sum")
            whole += p[20:]
        stk.check(csum(pseudo(17, len(whole)) + whole) == 0 and whole[8:] == data, "sum or bytes wrong")


if __name__ == "__main__":
    stk.main()
