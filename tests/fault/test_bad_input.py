#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Malformed frames, wrong flags, wrong control messages: a clear error or a counted drop; the daemon lives."""
import os
import random
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402
from frames import csum                                                       # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def ip4(payload, proto=6, src=stk.KERNEL, dst=stk.STACK, ver=4, ihl=5, length=None, frag=0, ttl=64,
        fix=True, options=b""):
    head = struct.pack("!BBHHHBBH4s4s", ver << 4 | ihl, 0,
                       length if length is not None else 20 + len(options) + len(payload), 7, frag, ttl,
                       proto, 0, socket.inet_aton(src), socket.inet_aton(dst)) + options
    if fix:
        head = head[:10] + struct.pack("!H", csum(head)) + head[12:]
    return head + payload


def tcp(flags=2, off=5, sport=4242, dport=9999, options=b"", data=b"", fix=True, src=stk.KERNEL):
    seg = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, off << 4, flags, 1000, 0, 0) + options + data
    if fix:
        pseudo = socket.inet_aton(src) + socket.inet_aton(stk.STACK) + struct.pack("!BBH", 0, 6, len(seg))
        seg = seg[:16] + struct.pack("!H", csum(pseudo + seg)) + seg[18:]
    return seg


def udp(dport=9999, length=None, data=b"x" * 8, sum16=0):
    return struct.pack("!HHHH", 4242, dport, length if length is not None else 8 + len(data), sum16) + data


def arp(htype=1, plen=4, op=1):
    return struct.pack("!HHBBH6s4s6s4s", htype, 0x800, 6, plen, op, b"\2\0\0\0\0\1",
                       socket.inet_aton(stk.KERNEL), b"\0" * 6, socket.inet_aton(stk.STACK))


# name, EtherType, payload, the drop reason that must count it
FRAMES = [
    ("unknown EtherType", 0x88b5, b"x" * 46, "ETH_PROTO"),
    ("ARP of another hardware", 0x806, arp(htype=6), "ARP_BAD"),
    ("ARP with wrong address length", 0x806, arp(plen=16), "ARP_BAD"),
    ("ARP cut short", 0x806, arp()[:20], "ARP_BAD"),
    ("IP header cut short", 0x800, ip4(b"")[:12], "IP_SHORT"),
    ("IP version 5", 0x800, ip4(b"x" * 20, ver=5), "IP_VERSION"),
    ("IP header length 4", 0x800, ip4(b"x" * 20, ihl=4), "IP_VERSION"),
    ("IP header checksum", 0x800, ip4(b"x" * 20, fix=False), "IP_CSUM"),
    ("IP total length beyond the frame", 0x800, ip4(b"x" * 20, length=200), "IP_LEN"),
    ("IP total length below the header", 0x800, ip4(b"x" * 20, length=10), "IP_LEN"),
    ("IP to somebody else", 0x800, ip4(tcp(), dst="192.0.2.77"), "IP_NOT_US"),
    ("IP from a multicast address", 0x800, ip4(tcp(src="224.0.0.1"), src="224.0.0.1"), "IP_MARTIAN"),
    ("IP from 127.0.0.1", 0x800, ip4(tcp(src="127.0.0.1"), src="127.0.0.1"), "IP_MARTIAN"),
    ("IP from our own address", 0x800, ip4(tcp(src=stk.STACK), src=stk.STACK), "IP_MARTIAN"),
    ("IP protocol 253", 0x800, ip4(b"x" * 20, proto=253), "IP_PROTO"),
    ("TCP header cut short", 0x800, ip4(tcp()[:12]), "TCP_SHORT"),
    ("TCP data offset 4", 0x800, ip4(tcp(off=4)), "TCP_SHORT"),
    ("TCP data offset beyond the segment", 0x800, ip4(tcp(off=15)), "TCP_SHORT"),
    ("TCP checksum", 0x800, ip4(tcp(fix=False)), "TCP_CSUM"),
    ("TCP to a closed port", 0x800, ip4(tcp()), "TCP_NO_SOCK"),
    ("UDP header cut short", 0x800, ip4(udp()[:4], proto=17), "UDP_SHORT"),
    ("UDP length beyond the datagram", 0x800, ip4(udp(length=500), proto=17), "UDP_SHORT"),
    ("UDP length below its header", 0x800, ip4(udp(length=3), proto=17), "UDP_SHORT"),
    ("UDP checksum", 0x800, ip4(udp(sum16=0x1234), proto=17), "UDP_CSUM"),
    ("UDP to a closed port", 0x800, ip4(udp(), proto=17), "UDP_NO_PORT"),
    ("ICMP cut short", 0x800, ip4(b"\x08\x00", proto=1), "ICMP_BAD"),
    ("ICMP checksum", 0x800, ip4(b"\x08\x00\x12\x34" + b"y" * 12, proto=1), "ICMP_BAD"),
]


def drops(d):
    return {x["reason"]: x["count"] for x in d.show("drops")["drops"]}


def mac_of(d):
    return bytes.fromhex(d.show("netdev")["netdev"][0]["mac"].replace(":", ""))


def open_raw():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("stk0", 0))
    return s


def answers(d):
    """A listener on stackd still serves the kernel."""
    p = d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "--directory", "/var/empty"
                    if os.path.isdir("/var/empty") else "/tmp", "8000"])
    stk.wait_port(stk.STACK, 8000)
    d.stop(p)


@stk.test(*stk.workers(1, 2))
def frames(workers):
    """Each malformed frame of the table raises its own drop counter."""
    with stk.stackd(workers=workers) as d:
        mac, raw = mac_of(d), open_raw()
        for name, proto, payload, reason in FRAMES:
            before = drops(d).get(reason, 0)
            raw.send(mac + b"\2\0\0\0\0\1" + struct.pack("!H", proto) + payload)
            stk.wait_for(f"{name}: {reason} counted", lambda: drops(d).get(reason, 0) > before)
        answers(d)


@stk.test()
def noise():
    """20,000 frames mutated at random from good and bad ones: the daemon lives and serves."""
    rnd = random.Random(20260)
    with stk.stackd() as d:
        mac, raw = mac_of(d), open_raw()
        for _ in range(20000):
            _, proto, payload, _ = rnd.choice(FRAMES)
            b = bytearray(mac + b"\2\0\0\0\0\1" + struct.pack("!H", proto) + payload)
            for _ in range(rnd.randrange(1, 6)):
                b[rnd.randrange(12 if rnd.random() < .9 else 0, len(b))] = rnd.randrange(256)
            if rnd.random() < .2:
                b = b[:rnd.randrange(14, len(b) + 1)]
            try:
                raw.send(bytes(b))
            except OSError:
                pass
        answers(d)
        stk.wait_for("packets return to the pool",
                     lambda: all(w["packets"] == 0 for w in d.show("workers")["workers"]))


# arguments, what the error must name
FLAGS = [
    (["--no-such-flag"], "no-such-flag"),
    (["--workers", "0"], "workers"),
    (["--workers", "x"], "workers"),
    (["--workers", "1000"], "workers"),
    (["--netdev", "wifi,name=x"], "wifi"),
    (["--netdev", "tap,nane=x"], "nane"),
    (["--netdev", "tap,name=stk1"], "addr"),
    (["--netdev", "tap,name=stk1,addr=1.2.3"], "1.2.3"),
    (["--netdev", "tap,name=stk1,addr=192.0.2.2/40,peer=192.0.2.1/24"], "/40"),
    (["--netdev", "tap,name=averyveryverylongname,addr=192.0.2.2/24"], "averyveryverylongname"),
    (["--netdev", "tap,name=stk1,addr=192.0.2.2/24,impair=nonsense=1"], "nonsense"),
    (["--netdev", "tap,name=stk1,addr=192.0.2.2/24,mtu=12"], "mtu"),
    (["--user", "no-such-user-here"], "no-such-user-here"),
    (["--config", "/no/such/file"], "/no/such/file"),
]


@stk.test()
def flags():
    """A wrong flag: exit code not 0, one clear line that names the wrong part, nothing left behind."""
    tap = ["--netdev", f"tap,name=stk0,addr={stk.STACK}/24,peer={stk.KERNEL}/24"]
    for args, names in FLAGS:
        cmd = [os.path.join(stk.BUILD, "stackd"), "--run-dir", "/tmp/flags"]
        cmd += args if args[0] in ("--netdev", "--config") else args + tap
        r = subprocess.run(cmd, capture_output=True, text=True, timeout=stk.HANG)
        stk.check(r.returncode not in (0, None) and r.returncode > 0, f"{args}: exit {r.returncode}")
        stk.check(names in r.stderr, f"{args}: does not name {names!r}: {r.stderr!r}")
        stk.check(len(r.stderr.strip().splitlines()) <= 3, f"{args}: not short: {r.stderr}")
        stk.check(not os.path.exists("/sys/class/net/stk1"), f"{args}: device left")


@stk.test()
def second_daemon():
    """A second daemon on the same run directory is refused and does not hurt the first."""
    with stk.stackd() as d:
        r = subprocess.run([os.path.join(stk.BUILD, "stackd"), "--run-dir", d.run_dir, "--netdev",
                            "tap,name=stk9,addr=198.51.100.2/24"], capture_output=True, text=True,
                           timeout=stk.HANG)
        stk.check(r.returncode > 0 and d.run_dir in r.stderr, f"{r.returncode} {r.stderr}")
        answers(d)


@stk.test()
def control():
    """Nonsense on the control socket ends that connection only."""
    rnd = random.Random(7)
    with stk.stackd() as d:
        path = os.path.join(d.run_dir, "stackd.sock")
        for i in range(300):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.settimeout(stk.HANG)
            s.connect(path)
            kind = rnd.choice((0, 1, 2, 3, 5, 7, 8, 9, 10, 77, 1 << 31))
            body = rnd.randbytes(rnd.choice((0, 3, 40, 64, 5000)))
            size = rnd.choice((8 + len(body), 0, 0xffffffff, 8))
            s.send(struct.pack("II", kind, size) + body)
            try:
                while s.recv(70000):
                    if i % 2:
                        break
            except (ConnectionError, TimeoutError) as e:
                stk.check(not isinstance(e, TimeoutError) or kind in (1, 3, 5, 7, 8),
                          f"type {kind}: no answer and no hang-up")
            s.close()
        answers(d)
        d.wait_clean()


if __name__ == "__main__":
    stk.main()
