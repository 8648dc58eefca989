#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackd on a veth pair by packet sockets: frames one by one, whose they are, and the kernel beside it."""
import os
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
PROGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "progs")
UDP_SEGMENT = 103


def stackd(**kw):
    return stk.stackd(dev="packet", **kw)


def mac_of(d):
    return bytes.fromhex(d.show("netdev")["netdev"][0]["mac"].replace(":", ""))


def if_mac(d):
    """Of stackd's end of the pair, as the kernel has it."""
    out = d.run(["nsenter", "-t", str(d.proc.pid), "-n", "cat", "/proc/self/net/dev"]).decode()
    stk.check("eth1" in out, out)
    out = d.run(["nsenter", "-t", str(d.proc.pid), "-n", "ip", "-br", "link", "show", "eth1"]).decode()
    return bytes.fromhex(out.split()[2].replace(":", ""))


def raw_socket():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
    s.bind(("stk0", 0x800))
    s.settimeout(stk.HANG)
    return s


def csum(data):
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def udp_frame(mac, num, tag=b""):
    """A datagram that says its number, to the echo server; UDP checksum 0 (not computed)."""
    data = struct.pack("!I", num)
    udp = struct.pack("!HHHH", 4242, 7007, 8 + len(data), 0) + data
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), num & 0xffff, 0, 64, 17, 0,
                     socket.inet_aton(stk.KERNEL), socket.inet_aton(stk.STACK))
    ip = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:]
    return mac + b"\2\0\0\0\0\1" + tag + b"\x08\0" + ip + udp


def echo_server(d):
    d.stackrun([PY, os.path.join(PROGS, "udpecho.py"), stk.STACK, "7007"])
    stk.wait_for("the server is bound",
                 lambda: [s for s in d.show("sockets")["sockets"] if s["proto"] == "udp"])


def drops(d):
    return {x["reason"]: x["count"] for x in d.show("drops")["drops"]}


@stk.test(*stk.workers(1, 2))
def frame_by_frame(workers):
    """4,000 raw frames in windows of 64 are answered one by one, in order, none lost or merged."""
    with stackd(workers=workers) as d:
        echo_server(d)
        s, mac = raw_socket(), mac_of(d)
        # The raw side's kernel knows stackd's MAC only by ARP; stackd asks for it, the kernel answers.
        for first in range(0, 4000, 64):
            for i in range(first, first + 64):
                s.send(udp_frame(mac, i))
            got = []
            while len(got) < 64:
                f = s.recv(2048)
                if f[6:12] == mac and f[23] == 17:
                    stk.check(len(f) == 46, f"a frame of {len(f)} bytes")
                    got.append(struct.unpack("!I", f[42:46])[0])
            stk.check(got == list(range(first, first + 64)), f"answers {got[:8]}... from {first}")
        drop = drops(d)
        stk.check(not drop.get("NO_BUF") and not drop.get("DEV_RX_BAD"), f"{drop}")


@stk.test()
def vlan_tagged():
    """A tag that the kernel took out of the frame is seen: the frame is not taken for an untagged one."""
    with stackd() as d:
        echo_server(d)
        s, mac = raw_socket(), mac_of(d)
        s.send(udp_frame(mac, 1, tag=b"\x81\0\0\x07"))
        stk.wait_for("the tagged frame is dropped", lambda: drops(d).get("ETH_VLAN"))
        s.send(udp_frame(mac, 2, tag=b"\x81\0\x60\0"))          # VLAN 0: a priority only
        while True:
            f = s.recv(2048)
            if f[6:12] == mac and f[23] == 17:
                break
        stk.check(struct.unpack("!I", f[42:46])[0] == 2, "answer to the tagged frame")


@stk.test()
def udp_segmentation():
    """A peer's UDP_SEGMENT packet, never cut on a veth, arrives as the datagrams that it is."""
    with stackd() as d:
        echo_server(d)
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        c.settimeout(stk.HANG)
        c.connect((stk.STACK, 7007))
        c.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        data = bytes(i % 251 for i in range(5500))
        c.send(data)
        got = [c.recv(65536) for _ in range(6)]
        stk.check([len(g) for g in got] == [1000] * 5 + [500], f"sizes {[len(g) for g in got]}")
        stk.check(b"".join(got) == data, "bytes differ")


@stk.test()
def kernel_has_the_address_too():
    """The interface's kernel also owns 192.0.2.2 and listens nowhere: it must not reset anything."""
    with stackd() as d:
        ns = ["nsenter", "-t", str(d.proc.pid), "-n"]
        d.run(ns + ["ip", "addr", "add", stk.STACK + "/24", "dev", "eth1"])
        www = os.path.join(d.dir, "www")
        os.mkdir(www)
        want = stk.make_file(os.path.join(www, "f"), 4 << 20)
        d.stackrun([PY, "-m", "http.server", "--bind", stk.STACK, "8000", "--directory", www])
        stk.wait_port(stk.STACK, 8000)
        stk.check(stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8000/f"]) == want, "hash differs")
        resets = d.run(ns + ["cat", "/proc/self/net/snmp"]).decode()
        rows = [r.split() for r in resets.splitlines() if r.startswith("Tcp:")]
        out = dict(zip(rows[0], rows[1]))
        stk.check(out["OutRsts"] == "0", f"the kernel sent {out['OutRsts']} resets")
        out = d.run(["ip", "neigh", "show", stk.STACK]).decode()
        stk.check(mac_of(d).hex(":") in out, f"ARP told {out}")


@stk.test()
def fan_out():
    """Each of two queues gets the frames of its worker's connections: nothing crosses between them."""
    with stackd(workers=2) as d:
        prog = stk.need("redis-server")
        d.stackrun([prog, "--bind", stk.STACK, "--save", "", "--protected-mode", "no", "--dir", d.dir])
        stk.wait_port(stk.STACK, 6379)
        conns = [socket.create_connection((stk.STACK, 6379), stk.HANG) for _ in range(32)]

        def pings():
            for c in conns:
                c.sendall(b"PING\r\n")
                stk.check(c.recv(100) == b"+PONG\r\n", "no PONG")

        def counts():
            return ([q["rx_packets"] for q in d.show("netdev")["netdev"]],
                    sum(w["handoff_in"] for w in d.show("workers")["workers"]))
        pings()
        rx, crossed = counts()
        for _ in range(50):
            pings()
        rx2, crossed2 = counts()
        stk.check(all(b - a > 300 for a, b in zip(rx, rx2)), f"frames per queue {rx} -> {rx2}")
        stk.check(crossed2 - crossed < 200, f"{crossed2 - crossed} messages for 1600 requests")


@stk.test(*stk.workers(1, 2))
def kernel_port(workers):
    """What no socket of stackd's claims is the kernel's, by a TAP with the interface's MAC and address."""
    with stackd(workers=workers, netdev=f"kport=kp0,gw={stk.KERNEL}") as d:
        ns = ["nsenter", "-t", str(d.proc.pid), "-n"]
        link = d.run(ns + ["ip", "link", "show", "kp0"]).decode()
        stk.check(mac_of(d).hex(":") in link, f"not the interface's MAC: {link}")
        stk.check(b"kp0" in d.run(ns + ["ip", "route", "show", "default"]), "no default route")
        www = os.path.join(d.dir, "www")
        os.mkdir(www)
        want = stk.make_file(os.path.join(www, "f"), 8 << 20)
        # Servers on one address: the kernel's on 8080, stackd's on 8000; clients likewise, outwards.
        # No http.server: it asks DNS for its name, which now has a way out, to nobody.
        web = ("import socketserver as s, http.server as h, sys\n"
               "s.TCPServer.allow_reuse_address = True\n"
               "s.TCPServer((sys.argv[1], int(sys.argv[2])), h.SimpleHTTPRequestHandler).serve_forever()")
        d.start(ns + [PY, "-c", web, stk.STACK, "8080"], cwd=www)
        d.stackrun([PY, "-c", web, stk.STACK, "8000"], cwd=www)
        d.start([PY, "-c", web, stk.KERNEL, "8081"], cwd=www)
        for addr, port in ((stk.STACK, 8080), (stk.STACK, 8000), (stk.KERNEL, 8081)):
            stk.wait_port(addr, port)
        url = f"http://{stk.KERNEL}:8081/f"
        for _ in range(2):
            stk.check(stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8080/f"]) == want, "kernel's server")
            stk.check(stk.hash_of(["curl", "-sS", f"http://{stk.STACK}:8000/f"]) == want, "stackd's server")
            stk.check(stk.hash_of(ns + ["curl", "-sS", url]) == want, "kernel's client")
            stk.check(stk.hash_of(d.on_stack(["curl", "-sS", url])) == want, "stackd's client")
        dev = d.show("snmp")["snmp"]["Dev"]
        stk.check(dev["KernelRx"] > 100 and dev["KernelTx"] > 100, f"{dev}")
        try:                                    # a port that nobody has: the kernel refuses
            socket.create_connection((stk.STACK, 81), stk.HANG).close()
            raise stk.Failed("port 81 is open")
        except ConnectionRefusedError:
            pass


@stk.test({"mac": ""}, {"mac": "mac=own"}, {"mac": "mac=02:00:00:00:00:0a"})
def whose_mac(mac):
    """The interface's, a random one, a given one: the peer reaches stackd by it."""
    with stackd(netdev=mac) as d:
        echo_server(d)
        got = mac_of(d)
        if mac == "":
            stk.check(got == if_mac(d), f"{got.hex(':')} is not the interface's")
        elif mac == "mac=own":
            stk.check(got != if_mac(d) and got[0] & 3 == 2, f"{got.hex(':')}")
        else:
            stk.check(got == b"\2\0\0\0\0\x0a", f"{got.hex(':')}")
        c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        c.settimeout(stk.HANG)
        c.connect((stk.STACK, 7007))
        c.send(b"hello")
        stk.check(c.recv(100) == b"hello", "no echo")


@stk.test()
def clear_errors():
    """What a user gets wrong is named."""
    for spec, says in (("packet,if=nosuch0,addr=192.0.2.2/24", "no interface 'nosuch0'"),
                       ("packet,if=lo,addr=192.0.2.2/24", "not an Ethernet interface"),
                       ("packet,addr=192.0.2.2/24", "if= is missing"),
                       ("packet,if=lo,peer=192.0.2.1/24,addr=192.0.2.2/24", "unknown key 'peer'")):
        r = subprocess.run([os.path.join(stk.BUILD, "stackd"), "--run-dir", "/tmp/none", "--netdev", spec],
                           capture_output=True, text=True, timeout=stk.HANG)
        stk.check(r.returncode != 0 and says in r.stderr, f"{spec}: {r.stderr}")


if __name__ == "__main__":
    stk.main()
