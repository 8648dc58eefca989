# SPDX-License-Identifier: MIT
"""What sockets answer in states that programs meet seldom: one line per question, to be compared
between the kernel and stackd. Argument: an address of this side, where both ends will be."""
import array
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

OWN = sys.argv[1]
FIONREAD, SIOCOUTQ, SIOCATMARK = 0x541B, 0x5411, 0x8905
SETTLE = 0.05                               # seconds in which local news arrives


def say(*what):
    print(*what, flush=True)


def ask(fn, *args):
    """The result, or the errno's name."""
    try:
        r = fn(*args)
        return "socket" if isinstance(r, socket.socket) else r
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def ready(s):
    p = select.poll()
    p.register(s, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
    r = p.poll(SETTLE * 1000)
    return hex(r[0][1]) if r else 0


def pair():
    lst = socket.socket()
    lst.bind((OWN, 0))
    lst.listen(5)
    c = socket.socket()
    c.connect(lst.getsockname())
    a, _ = lst.accept()
    lst.close()
    return c, a


def ioctl_int(s, req):
    v = array.array("i", [-1])
    fcntl.ioctl(s, req, v)
    return v[0]


def fresh():
    s = socket.socket()
    say("fresh", ready(s), ask(s.recv, 1), ask(s.send, b"x"), ask(s.shutdown, 2),
        ask(s.getpeername), s.getsockname(), ask(s.accept), fcntl.fcntl(s, fcntl.F_GETFL))
    s.setblocking(False)
    say("flags", fcntl.fcntl(s, fcntl.F_GETFL))
    s.close()


def listener():
    s = socket.socket()
    s.setblocking(False)
    say("listen", ask(s.listen, 1), ask(s.listen, 2), ask(s.connect, (OWN, 1)), ready(s))
    say("listener", ask(s.recv, 1), ask(s.send, b"x"), ask(s.accept), ask(s.bind, (OWN, 0)),
        s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    say("shut", ask(s.shutdown, 0))
    time.sleep(SETTLE)
    say("listener shut", ask(s.accept), ready(s))
    s.close()


def connected():
    c, a = pair()
    say("connected", ready(c), ready(a), ask(c.connect, (OWN, 1)), ask(c.bind, (OWN, 0)),
        ask(a.bind, (OWN, 0)), ask(c.listen, 1), ask(a.listen, 1), ask(c.accept))
    c.send(b"abc")
    time.sleep(SETTLE)
    say("data", ready(a), ioctl_int(a, FIONREAD), a.recv(9, socket.MSG_PEEK), a.recv(9),
        ask(a.recv, 1, socket.MSG_OOB), ask(a.recv, 1, socket.MSG_ERRQUEUE))
    say("queues", ioctl_int(c, SIOCOUTQ), ioctl_int(c, FIONREAD), ioctl_int(c, SIOCATMARK))
    fd = a.fileno()
    say("not files", ask(os.lseek, fd, 0, 1), ask(os.pread, fd, 1, 0), ask(os.pwrite, fd, b"x", 0),
        ask(os.ftruncate, fd, 0))
    c.shutdown(socket.SHUT_WR)
    time.sleep(SETTLE)
    say("half closed", ready(c), ready(a), a.recv(1), a.recv(1), a.send(b"zz"))
    time.sleep(SETTLE)
    say("other half", ready(c), c.recv(5), ask(c.send, b"x"))
    a.close()
    time.sleep(SETTLE)
    say("both", ready(c), c.recv(1), ask(c.shutdown, 1), ask(c.shutdown, 0))
    c.close()


def resets():
    c, a = pair()
    c.send(b"data")
    time.sleep(SETTLE)
    a.close()                               # unread data: RST
    time.sleep(SETTLE)
    say("reset", ready(c), c.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), ask(c.recv, 1),
        ask(c.send, b"x"), ask(c.getpeername))
    c.close()
    c, a = pair()
    c.send(b"data")
    time.sleep(SETTLE)
    a.close()
    time.sleep(SETTLE)
    say("reset, send first", ask(c.send, b"x"), ask(c.send, b"x"), ask(c.recv, 1))
    c.close()
    c, a = pair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    time.sleep(SETTLE)
    say("linger 0", ready(c), ask(c.recv, 1), ask(c.recv, 1))
    c.close()
    c, a = pair()
    a.close()
    time.sleep(SETTLE)
    say("peer gone", ready(c), ask(c.send, b"x"))
    time.sleep(SETTLE)
    say("then", ask(c.send, b"x"), ready(c))
    c.close()


OPTIONS = {
    "SO_REUSEADDR": (1, 2), "SO_REUSEPORT": (1, 15), "SO_KEEPALIVE": (1, 9), "SO_BROADCAST": (1, 6),
    "SO_OOBINLINE": (1, 10), "SO_RCVLOWAT": (1, 18), "SO_SNDLOWAT": (1, 19), "SO_PRIORITY": (1, 12),
    "SO_MARK": (1, 36), "SO_TYPE": (1, 3), "SO_DOMAIN": (1, 39), "SO_PROTOCOL": (1, 38),
    "SO_ERROR": (1, 4), "unknown": (1, 999), "TCP_NODELAY": (6, 1), "TCP_CORK": (6, 3),
    "TCP_KEEPIDLE": (6, 4), "TCP_KEEPINTVL": (6, 5), "TCP_KEEPCNT": (6, 6), "TCP_SYNCNT": (6, 7),
    "TCP_DEFER_ACCEPT": (6, 9), "TCP_USER_TIMEOUT": (6, 18), "TCP_NOTSENT_LOWAT": (6, 25),
    "TCP_ULP": (6, 31), "unknown tcp": (6, 999), "IP_TOS": (0, 1), "IP_TTL": (0, 2),
    "IP_MTU_DISCOVER": (0, 10), "IP_FREEBIND": (0, 15),
}


def options():
    c, a = pair()
    for name, (level, opt) in OPTIONS.items():
        for who, s in (("connected", c), ("accepted", a)):
            before = ask(s.getsockopt, level, opt)
            sets = [ask(s.setsockopt, level, opt, v) for v in (1, 0, -1, 300)]
            say(name, who, before, sets, ask(s.getsockopt, level, opt))
    say("short", [ask(s.setsockopt, 6, 1, b"\1") for s in (c, a)], ask(a.setsockopt, 1, 9, b""),
        ask(a.setsockopt, 0, 1, b"\x10"))
    say("tcp_info", c.getsockopt(6, 11, 8)[0], ask(c.setsockopt, 17, 103, 1),
        ask(c.setsockopt, 41, 26, 1))


def timeouts():
    c, a = pair()
    tv = struct.pack("ll", 0, 100000)      # whole ticks for any HZ
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tv)
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, tv)
    say("rcvtimeo", ask(c.recv, 1), c.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    sent = 0
    try:
        while True:
            sent += a.send(b"z" * 100000)
    except OSError as e:
        say("sndtimeo", errno.errorcode[e.errno], sent > 100000, ready(a))
    while sent > 0:
        sent -= len(c.recv(1 << 20))
    time.sleep(2 * SETTLE)
    say("drained", sent, ready(a))


def restart():
    signal.signal(signal.SIGALRM, lambda *a: say("signal"))
    signal.siginterrupt(signal.SIGALRM, False)
    c, a = pair()
    signal.setitimer(signal.ITIMER_REAL, SETTLE)
    threading.Timer(4 * SETTLE, lambda: a.send(b"late")).start()
    say("restarted", c.recv(10))


def datagrams():
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    say("udp", ready(u), ask(u.recv, 1, socket.MSG_DONTWAIT), ask(u.send, b"x"), ask(u.listen, 1),
        ask(u.getpeername), ask(u.shutdown, 2))
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind((OWN, 0))
    say("bound", ask(u.bind, (OWN, 0)), ask(v.sendto, b"x", (OWN, 0)))
    say("sent", v.sendto(b"hello", u.getsockname()), u.recvfrom(3)[0])
    say("sizes", ask(v.sendto, b"x" * 65508, u.getsockname()),
        ask(v.sendto, b"x" * 65507, u.getsockname()))
    data, _, flags, _ = u.recvmsg(10)
    say("cut", len(data), hex(flags))
    v.connect(u.getsockname())
    say("peer", v.getpeername() == u.getsockname(), v.send(b""))
    time.sleep(SETTLE)
    say("empty", ready(u), u.recv(5))
    v.send(b"1234")
    v.send(b"56")
    time.sleep(SETTLE)
    say("next", ioctl_int(u, FIONREAD), u.recv(9), u.recv(9))
    w = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    w.connect((OWN, 9))
    w.send(b"x")
    time.sleep(SETTLE)
    say("unreachable", ready(w), ask(w.send, b"x"), ask(w.recv, 1, socket.MSG_DONTWAIT))


for part in (fresh, listener, connected, resets, options, timeouts, restart, datagrams):
    part()
