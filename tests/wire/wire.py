# SPDX-License-Identifier: MIT
"""tests/wire/wire.py - scripted peers on a veth: the same script against stackd and the kernel.

A script is a function that gets a Run: it makes socket calls (in agent.py, on the stack under
test), injects segments, and waits for what comes out. All of it becomes a trace of text lines, the
stack's segments with numbers relative to the two first ones. The script passes when the kernel's
trace is stackd's: flags, numbers, options and their order, windows, results, TCP_INFO. What the
clock decides is told in order only; traces that differ are made again, since a busy machine delays
what is to come at once: a real difference stays.

A Link is one stack with our end of its veth; nobody else is there: we answer ARP for every address
of 192.0.2.0/24, and a script owns one of them and a port. Barrier: two pings, one after the other;
when the second is answered, all that the stack had to say at once has been said.
"""
import json
import os
import queue
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time

import stk

HERE = os.path.dirname(os.path.abspath(__file__))
PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
FLAGS = [(0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"),
         (0x40, "E"), (0x80, "W")]
M32 = 0xffffffff


def csum(data):
    if len(data) & 1:
        data += b"\0"
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def ip_packet(src, dst, proto, body, tos=0):
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 20 + len(body), 1, 0x4000, 64, proto, 0,
                     socket.inet_aton(src), socket.inet_aton(dst))
    return ip[:10] + struct.pack("!H", csum(ip)) + ip[12:] + body


class Link:
    """One stack and our end of its wire."""

    def __init__(self, name, dev):
        self.name, self.dev = name, dev
        subprocess.run(["ip", "addr", "flush", "dev", dev], check=True)
        subprocess.run([stk.need("ethtool"), "-K", dev, "gro", "off"], check=True,
                       stdout=subprocess.DEVNULL)
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((dev, 3))
        self.mac = self.sock.getsockname()[4]
        self.peer = b"\xff" * 6
        self.tcp, self.pong = {}, {}
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                frame, addr = self.sock.recvfrom(70000)
            except OSError:                     # the other end is gone
                return
            if addr[2] == 4:                    # our own
                continue
            kind, body = frame[12:14], frame[14:]
            if kind == b"\x08\x06":
                self.arp(body)
            elif kind == b"\x08\x00" and len(body) >= 20:
                self.peer = frame[6:12]
                self.ip(body, time.monotonic())

    def arp(self, a):
        self.peer = a[8:14]
        if a[6:8] == b"\0\1" and a[24:28] != socket.inet_aton(stk.STACK):
            self.send(b"\x08\x06", a[:6] + b"\0\2" + self.mac + a[24:28] + a[8:14] + a[14:18])

    def ip(self, p, now):
        dst, total = socket.inet_ntoa(p[16:20]), struct.unpack("!H", p[2:4])[0]
        body = p[(p[0] & 15) * 4:total]
        if p[9] == 1 and body[0] == 0 and dst in self.pong:
            self.pong[dst].put(body[4:8])
        elif p[9] == 6 and dst in self.tcp:
            self.tcp[dst].put((p[:20], body, now))

    def send(self, kind, body):
        self.sock.send(self.peer + self.mac + kind + body)

    def register(self, addr):
        self.tcp[addr], self.pong[addr] = queue.Queue(), queue.Queue()

    def resolve(self, addr):
        """Both sides learn where the other is."""
        ask = b"\0\1\x08\0\6\4\0\1" + self.mac + socket.inet_aton(addr) + b"\0" * 6 + \
            socket.inet_aton(stk.STACK)

        def answered():
            self.sock.send(b"\xff" * 6 + self.mac + b"\x08\x06" + ask)
            self.send(b"\x08\0", ip_packet(addr, stk.STACK, 1, self.echo(0, 0)))
            try:
                return self.pong[addr].get(timeout=0.1)
            except queue.Empty:
                return None
        stk.wait_for(f"{self.name} answers pings", answered)
        while not self.pong[addr].empty():
            self.pong[addr].get()

    @staticmethod
    def echo(ident, seq):
        e = struct.pack("!BBHHH", 8, 0, 0, ident, seq)
        return e[:2] + struct.pack("!H", csum(e)) + e[4:]


class Kernel(Link):
    """The kernel's stack in a network namespace of its own."""

    def __init__(self):
        self.proc = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        stk.wait_for("a namespace", lambda: stk.netns_of(self.proc.pid) != stk.netns_of("self"))
        self.enter = ["nsenter", "-t", str(self.proc.pid), "-n"]
        for cmd in ("ip link add wk0 type veth peer name eth1",
                    f"ip link set eth1 netns {self.proc.pid}", "ip link set wk0 up"):
            subprocess.run(cmd.split(), check=True)
        for cmd in ("ip link set lo up", f"ip addr add {stk.STACK}/24 dev eth1",
                    "ethtool -K eth1 tso off gso off gro off", "ip link set eth1 up"):
            subprocess.run(self.enter + cmd.split(), check=True, stdout=subprocess.DEVNULL)
        super().__init__("kernel", "wk0")
        self.had = {}
        self.sysctl("net.ipv4.tcp_comp_sack_nr", "0")   # a delay of our round trip's 5 %

    def agent(self):
        return [*self.enter, PY, os.path.join(HERE, "agent.py")]

    def sysctl(self, name, value):
        path = "/proc/sys/" + name.replace(".", "/")
        if name == "net.ipv4.tcp_congestion_control":    # of the route: not every one may be default
            subprocess.run(self.enter + f"ip route replace 192.0.2.0/24 dev eth1 src {stk.STACK} "
                           f"congctl {value}".split(), check=True)
            self.had.setdefault(name, "cubic")
            return
        r = subprocess.run(self.enter + ["sh", "-c", 'cat "$1"; echo "$2" >"$1"', "sh", path, value],
                           check=True, stdout=subprocess.PIPE)
        self.had.setdefault(name, r.stdout.decode().strip())

    def close(self):
        self.proc.kill()
        self.proc.wait()


class Stack(Link):
    """stackd on its end of the pair."""

    def __init__(self, d):
        self.d = d
        subprocess.run(["nsenter", "-t", str(d.proc.pid), "-n", "ethtool", "-K", "eth1", "tso", "off",
                        "gso", "off", "gro", "off"], check=True, stdout=subprocess.DEVNULL)
        super().__init__("stackd", "stk0")
        self.had = {}

    def agent(self):
        return self.d.on_stack([PY, os.path.join(HERE, "agent.py")])

    def sysctl(self, name, value):
        if name not in self.had:
            self.had[name] = self.d.sysctl(name)
        got = self.d.sysctl(f"{name}={value}")
        stk.check(got is not None, f"stackctl sysctl {name}={value}: refused")

    def close(self):
        pass


def restore(link):
    for name, value in link.had.items():
        if value is not None:
            link.sysctl(name, str(value))
    link.had = {}


# ---- segments as text ----

def parse_options(raw, run):
    out, i = [], 0
    while i < len(raw):
        k = raw[i]
        if k in (0, 1):
            out.append("eol" if k == 0 else "nop")
            i += 1
            continue
        n = raw[i + 1] if i + 1 < len(raw) else 0
        if n < 2 or i + n > len(raw):
            out.append("broken")
            break
        b = raw[i + 2:i + n]
        if k == 2:
            out.append(f"mss {struct.unpack('!H', b)[0]}")
        elif k == 3:
            out.append(f"wscale {b[0]}")
        elif k == 4:
            out.append("sackOK")
        elif k == 5:
            v = [(x - run.isn) & M32 for x in struct.unpack(f"!{len(b) // 4}I", b)]
            out.append("sack " + " ".join(f"{v[j]}:{v[j + 1]}" for j in range(0, len(v), 2)))
        elif k == 8:
            val, ecr = struct.unpack("!II", b)
            run.tsval = val
            run.first_ts = val if run.first_ts is None else run.first_ts
            out.append(f"TS {ecr}")
        elif k == 34:
            run.cookie = b or run.cookie
            out.append(f"FO {len(b)}")
        else:
            out.append(f"opt{k}")
        i += n
    return out


def segment_text(ip, tcp, run):
    sport, dport, seq, ack, off, fl, win, _, urg = struct.unpack("!HHIIBBHHH", tcp[:20])
    hlen = (off >> 4) * 4
    n = len(tcp) - hlen
    if fl & 2:
        run.iss = seq
    run.stack_port = sport
    opts = parse_options(tcp[20:hlen], run)
    names = "".join(c for b, c in FLAGS if fl & b) or "-"
    base = run.iss or 0
    rel = 0 if fl & 4 and not seq else (seq - base) & M32   # a reset that knows no number
    run.last_ack = (ack - run.isn) & M32
    text = f"> {names} {rel}:{(rel + n) & M32}({n})"
    if fl & 16:
        text += f" ack {run.last_ack}"
    text += f" win {win}" if run.windows or not win else " win +"
    if fl & 32 or urg:
        text += f" urg {urg}"
    if opts:
        text += f" <{','.join(opts)}>"
    if ip[1]:
        text += f" tos {ip[1]:#x}"
    if ip[8] != 64 or not ip[6] & 0x40:
        text += f" ttl {ip[8]} df {ip[6] >> 6 & 1}"
    return text


class Agent:
    """The program with the sockets; one at a time talks to it."""

    def __init__(self, link):
        self.p = subprocess.Popen(link.agent(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)

    def ask(self, **m):
        self.p.stdin.write(json.dumps(m) + "\n")
        self.p.stdin.flush()
        if not select.select([self.p.stdout], [], [], 2 * stk.HANG)[0]:
            raise stk.Failed(f"the program hangs in {m}")
        line = self.p.stdout.readline()
        stk.check(line, f"the program died in {m}")
        return json.loads(line)["r"]

    def close(self):
        self.p.stdin.close()
        try:
            self.p.wait(stk.HANG)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
        self.p.stdout.close()


class Run:
    """A script's run on one stack: what scripts call, and the trace."""

    def __init__(self, link, agent, addr, port):
        self.link, self.agent, self.addr, self.port = link, agent, addr, port
        self.isn, self.iss, self.tsval, self.first_ts = 1000000, None, 0, None
        self.cookie, self.last_ack, self.stack_port = b"", 0, port
        self.my_port = 40000 + port % 10000
        self.trace, self.times, self.ping = [], [], 0
        self.last = time.monotonic()
        self.active = False
        self.windows = True         # told until data has come: what it costs in memory is ours
        while not link.tcp[addr].empty():
            link.tcp[addr].get()

    # -- what happened --

    def note(self, text):
        self.trace.append(text)
        self.times.append(time.monotonic() - self.last)

    def take(self, item):
        ip, tcp, when = item
        ports = struct.unpack("!HH", tcp[:4])
        if ports[1] != self.my_port or (not self.active and ports[0] != self.port):
            return False                # an older script's connection
        self.trace.append(segment_text(ip, tcp, self))
        self.times.append(when - self.last)
        return True

    def sync(self):
        """All that is said at once has been said."""
        for _ in range(2):
            self.ping = (self.ping + 1) & 0xffff
            self.link.send(b"\x08\0", ip_packet(self.addr, stk.STACK, 1,
                                                Link.echo(self.port, self.ping)))
            while True:
                got = self.link.pong[self.addr].get(timeout=stk.HANG)
                if got == struct.pack("!HH", self.port, self.ping):
                    break
        q = self.link.tcp[self.addr]
        while not q.empty():
            self.take(q.get())

    def later(self, n=1, limit=stk.HANG):
        """Wait for n segments that a timer sends."""
        end = time.monotonic() + limit
        while n:
            try:
                item = self.link.tcp[self.addr].get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                self.note("(nothing came)")
                return
            if self.take(item):
                n -= 1
        self.sync()

    def quiet(self, seconds):
        """Nothing may come; what does is in the trace."""
        time.sleep(seconds)
        self.sync()

    # -- the script's words --

    def filled(self, src):
        return src.replace("$PORT", str(self.port)).replace(
            "$PEER", f"('{self.addr}', {self.my_port})")

    def do(self, src, sync=True):
        self.last = time.monotonic()
        self.note(f"{src} = {self.agent.ask(src=self.filled(src))}")
        if sync:
            self.sync()

    def bg(self, name, src):
        """A call that waits, in a thread."""
        self.last = time.monotonic()
        self.agent.ask(src=self.filled(src), bg=name)
        time.sleep(0.02)
        self.sync()

    def join(self, name):
        self.note(f"{name} = {self.agent.ask(join=name)}")
        self.sync()

    def mark(self):
        self.marked = self.tsval

    def info(self, names, sock="c"):
        args = ", ".join(f"'{n}'" for n in names.split())
        self.note(self.agent.ask(src=f"info({sock}, {args})"))

    def poll(self, sock="c"):
        self.note(f"poll: {self.agent.ask(src=f'poll({sock})')}")

    def rx(self, spec, sync=True, tos=0):
        self.last = time.monotonic()
        self.trace.append("< " + spec)
        self.times.append(0)
        self.link.send(b"\x08\0", self.build(spec, tos))
        if sync:
            self.sync()

    # -- "FLAGS SEQ[+LEN] [ack N] [win N] [urg N] [<options>]" --

    def build(self, spec, tos):
        m = re.match(r"(\S+) (-?\d+)(?:\+(\d+))?(?: ack (-?\d+))?(?: win (\d+))?(?: urg (\d+))?"
                     r"(?: <(.*)>)?$", spec)
        assert m, spec
        flags = sum(b for b, c in FLAGS if c in m[1])
        n = int(m[3] or 0)
        opts = self.options(m[7] or "")
        ack = ((self.iss or 0) + int(m[4]) if m[4] else 0) & M32
        start = int(m[2])
        self.windows = self.windows and not n
        payload = bytes((start - 1 + i) % 251 for i in range(n))
        dport = self.stack_port if self.active else self.port
        th = struct.pack("!HHIIBBHHH", self.my_port, dport, (self.isn + start) & M32, ack,
                         (20 + len(opts)) // 4 << 4, flags, int(m[5] if m[5] else 257), 0,
                         int(m[6] or 0)) + opts + payload
        pseudo = socket.inet_aton(self.addr) + socket.inet_aton(stk.STACK) + \
            struct.pack("!BBH", 0, 6, len(th))
        th = th[:16] + struct.pack("!H", csum(pseudo + th)) + th[18:]
        return ip_packet(self.addr, stk.STACK, 6, th, tos)

    def echo_of(self, word):
        if word == "mark":                      # the stamp when mark() was called
            return self.marked
        if word.startswith("e0"):
            return ((self.first_ts or 0) + int(word[2:] or 0)) & M32
        if word.startswith("e"):
            return (self.tsval + int(word[1:] or 0)) & M32
        return int(word)

    def options(self, text):
        out = b""
        for o in [x.split() for x in text.split(",") if x]:
            if o[0] == "nop":
                out += b"\1"
            elif o[0] == "eol":
                out += b"\0"
            elif o[0] == "mss":
                out += struct.pack("!BBH", 2, 4, int(o[1]))
            elif o[0] == "wscale":
                out += struct.pack("!BBB", 3, 3, int(o[1]))
            elif o[0] == "sackOK":
                out += b"\4\2"
            elif o[0] == "sack":
                v = [int(x) for p in o[1:] for x in p.split(":")]
                out += struct.pack(f"!BB{len(v)}I", 5, 2 + 4 * len(v),
                                   *[((self.iss or 0) + x) & M32 for x in v])
            elif o[0] == "ts":
                out += struct.pack("!BBII", 8, 10, int(o[1]), self.echo_of(o[2]))
            elif o[0] == "fo":
                c = self.cookie if o[1:] == ["same"] else bytes.fromhex(o[1] if o[1:] else "")
                out += struct.pack("!BB", 34, 2 + len(c)) + c
            elif o[0] == "raw":
                out += bytes.fromhex(o[1])
        return out + b"\1" * (-len(out) % 4)

    # -- common openings --

    SYN = "<mss 1000,sackOK,nop,nop,nop,wscale 7>"

    def listen(self, backlog=10, **opts):
        more = "".join(f", {k}={v!r}" for k, v in opts.items())
        self.do(f"l := listener($PORT, {backlog}{more})")

    def passive(self, syn=SYN, win=257, accept=True, ack="", **opts):
        """A connection c, opened by us."""
        self.listen(**opts)
        self.rx(f"S 0 win 32792 {syn}".strip())
        self.rx(f". 1 ack 1 win {win}{ack}")
        if accept:
            self.do("c := accept(l)")

    def connect(self, synack=SYN, before=()):
        """A connection c, opened by the stack."""
        self.active = True
        self.do("c := tcp()")
        for src in before:
            self.do(src)
        self.do("c.connect($PEER)")
        if synack:
            self.rx(f"S. 0 ack 1 win 32792 {synack}".strip())
