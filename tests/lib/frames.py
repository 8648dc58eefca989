# SPDX-License-Identifier: MIT
"""tests/lib/frames.py - frames with right and wrong checksums on the other end of a device

Run as a program (by tests/vm, where the device is in a virtual machine): frames.py IFNAME MAC FROM TO
sends what received() says to an echo server on UDP port 7007.
"""
import socket
import struct
import sys

SOL_PACKET, PACKET_VNET_HDR, NEEDS_CSUM = 263, 15, 1
PORT, HANG = 7007, 60


def csum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


class Wire:
    """The other end of a device, frames with the vnet header as the kernel has them."""

    def __init__(self, ifname, mac, src, dst, hang=HANG):
        self.mac, self.src, self.dst = bytes.fromhex(mac.replace(":", "")), src, dst
        self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
        self.s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.s.bind((ifname, 0x800))
        self.s.settimeout(hang)

    def pseudo(self, proto, n):
        return socket.inet_aton(self.src) + socket.inet_aton(self.dst) + struct.pack("!BBH", 0, proto, n)

    def ip4(self, proto, payload, frag=0, ident=7):
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0,
                           socket.inet_aton(self.src), socket.inet_aton(self.dst))
        return head[:10] + struct.pack("!H", csum(head)) + head[12:] + payload

    def udp(self, data, how):
        """how: "right", "wrong", "zero"."""
        seg = struct.pack("!HHHH", 4242, PORT, 8 + len(data), 0) + data
        right = csum(self.pseudo(17, len(seg)) + seg) or 0xffff
        return seg[:6] + struct.pack("!H", {"right": right, "wrong": right ^ 0x55, "zero": 0}[how]) + seg[8:]

    def tcp(self, how):
        seg = struct.pack("!HHIIBBHHH", 4242, 9, 1, 0, 0x50, 2, 1000, 0, 0)
        right = csum(self.pseudo(6, len(seg)) + seg)
        return seg[:16] + struct.pack("!H", right ^ (0x55 if how == "wrong" else 0)) + seg[18:]

    def send(self, ip):
        self.s.send(b"\0" * 10 + self.mac + b"\2\0\0\0\0\1\x08\0" + ip)

    def recv(self):
        """The next UDP frame from the device. Return: (flags of the vnet header, IP packet)."""
        while True:
            f = self.s.recv(70000)
            if f[16:22] == self.mac and f[33] == 17:
                n = struct.unpack("!H", f[26:28])[0]
                return f[0], f[24:24 + n]

    def echo(self, want):
        _flags, p = self.recv()
        assert p[28:] == want, f"echo of {p!r}"

    def wrong(self):
        """One wrong TCP and one wrong UDP checksum: to be dropped and counted."""
        self.send(self.ip4(17, self.udp(b"wrong", "wrong")))
        self.send(self.ip4(6, self.tcp("wrong")))

    def received(self):
        """None and right ones are echoed. In two fragments the sum is the whole datagram's, and only
        software can look at it: one right, one wrong, which goes nowhere."""
        for how in ("zero", "right"):
            self.send(self.ip4(17, self.udp(how.encode(), how)))
            self.echo(how.encode())
        for n, how in ((22, "wrong"), (21, "right")):
            seg = self.udp(bytes(range(200)), how)
            self.send(self.ip4(17, seg[:104], 0x2000, n))
            self.send(self.ip4(17, seg[104:], 104 // 8, n))
        self.echo(bytes(range(200)))

    def sent_fragments(self):
        """A datagram in fragments comes back in fragments: finished by software, never left to a device."""
        data = bytes(i * 7 % 256 for i in range(4000))
        seg = self.udp(data, "right")
        for off in range(0, len(seg), 1480):
            more = 0x2000 if off + 1480 < len(seg) else 0
            self.send(self.ip4(17, seg[off:off + 1480], more | off // 8, 99))
        whole = b""
        while len(whole) < len(seg):
            flags, p = self.recv()
            assert not flags & NEEDS_CSUM, "a fragment's checksum was left to the device"
            assert (struct.unpack("!H", p[6:8])[0] & 0x1fff) * 8 == len(whole), "fragments out of order"
            assert csum(p[:20]) == 0, "IP header sum"
            whole += p[20:]
        assert csum(self.pseudo(17, len(whole)) + whole) == 0 and whole[8:] == data, "sum or bytes wrong"


def main():
    w = Wire(*sys.argv[1:5])
    w.wrong()
    w.received()
    w.sent_fragments()
    print("sent and echoed")


if __name__ == "__main__":
    main()
