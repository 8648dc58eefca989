# SPDX-License-Identifier: MIT
"""The program whose sockets the wire scripts use: it evaluates the lines that it is sent.

In:  {"src": EXPRESSION}, {"src": ..., "bg": NAME} (in a thread), {"join": NAME}, {"reset": 1}
Out: {"r": TEXT}, a line each: what the expression gave, or the name of its errno.
It runs on the kernel or under stackrun and cannot tell.
"""
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

# struct tcp_info up to what Linux 6.18 has: (name, format)
INFO = [(n, "B") for n in "state ca_state retransmits probes backoff options wscale limited".split()] + [
    (n, "I") for n in (
        "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent "
        "last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss "
        "reordering rcv_rtt rcv_space total_retrans").split()] + [
    (n, "Q") for n in "pacing_rate max_pacing_rate bytes_acked bytes_received".split()] + [
    (n, "I") for n in "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out".split()] + [
    (n, "Q") for n in "delivery_rate busy_time rwnd_limited sndbuf_limited".split()] + [
    (n, "I") for n in "delivered delivered_ce".split()] + [
    (n, "Q") for n in "bytes_sent bytes_retrans".split()] + [
    (n, "I") for n in "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash".split()] + [
    ("total_rto", "H"), ("total_rto_recoveries", "H"), ("total_rto_time", "I")]
FORMAT = "=" + "".join(f for _, f in INFO)

MSG_FASTOPEN = 0x20000000
TCP_FASTOPEN_CONNECT = 30
TCP_FASTOPEN_KEY = 33
SIOCATMARK = 0x8905
SIOCOUTQ = 0x5411
SIOCOUTQNSD = 0x894B
FIONREAD = 0x541B
signals = []


def tcp(blocking=False):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setblocking(blocking)
    return s


def listener(port, backlog=10, **opts):
    s = tcp()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for name, value in opts.items():
        setopt(s, name, value)
    s.bind(("192.0.2.2", port))
    s.listen(backlog)
    return s


def accept(s):
    c = s.accept()[0]
    c.setblocking(False)
    return c


def number(name):
    return getattr(socket, name, None) or globals()[name]


def setopt(s, name, value):
    level = socket.IPPROTO_TCP if name.startswith("TCP_") else socket.SOL_SOCKET
    if name == "SO_LINGER":
        value = struct.pack("ii", *value)
    return s.setsockopt(level, number(name), value)


def getopt(s, name, size=4):
    level = socket.IPPROTO_TCP if name.startswith("TCP_") else socket.SOL_SOCKET
    v = s.getsockopt(level, number(name), size)
    return struct.unpack("i", v)[0] if size == 4 else v


def data(n, start=0):
    return bytes((start + i) % 251 for i in range(n))


def send(s, n, flags=0):
    return s.send(data(n), flags)


def recv(s, n, flags=0):
    b = s.recv(n, flags)
    return f"{len(b)} {b[:4].hex()}"


def err(s):
    return errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "0")


def info(s, *names):
    size = struct.calcsize(FORMAT)
    raw = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size).ljust(size, b"\0")
    v = dict(zip([n for n, _ in INFO], struct.unpack(FORMAT, raw)))
    return " ".join(f"{n}={v[n]}" for n in names)


def poll(s):
    p = select.poll()
    p.register(s, 0x3fff)
    got = p.poll(0)
    names = {1: "IN", 2: "PRI", 4: "OUT", 8: "ERR", 0x10: "HUP", 0x2000: "RDHUP", 0x40: "RDNORM",
             0x80: "RDBAND", 0x100: "WRNORM", 0x200: "WRBAND"}
    return " ".join(n for b, n in names.items() if got and got[0][1] & b)


def ioc(s, what):
    return struct.unpack("i", fcntl.ioctl(s, what, struct.pack("i", 0)))[0]


def own(s):
    """SIGURG comes to us."""
    signal.signal(signal.SIGURG, lambda *_: signals.append("URG"))
    return fcntl.fcntl(s, fcntl.F_SETOWN, os.getpid())


def caught():
    time.sleep(0)
    got = list(signals)
    signals.clear()
    return got


def evaluate(src, ns):
    try:
        name, eq, rest = src.partition(" := ")
        if eq:
            ns[name] = eval(rest, ns)
            return "ok"
        return repr(eval(src, ns)).strip("'\"")
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def main():
    ns, threads = dict(globals()), {}
    for line in sys.stdin:
        m = json.loads(line)
        r = "0"
        if "reset" in m:
            for v in list(ns.values()):
                if isinstance(v, socket.socket):
                    v.close()
            ns, threads = dict(globals()), {}
            signals.clear()
        elif "join" in m:
            t = threads.pop(m["join"])
            t.join(10)
            r = t.result if not t.is_alive() else "still waiting"
        elif "bg" in m:
            t = threading.Thread(target=lambda: None, daemon=True)
            t.result = None

            def work(t=t, src=m["src"]):
                t.result = evaluate(src, ns)
            t.run = work
            threads[m["bg"]] = t
            t.start()
        else:
            r = evaluate(m["src"], ns)
        print(json.dumps({"r": str(r)}), flush=True)


main()
