#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""calls.py server|client ADDR: what socket calls say, a line each; the test compares the lines of a
run on stackd with those of one on the kernel. The server plays its part in the kernel or on stackd."""
import errno
import os
import select
import signal
import socket
import struct
import sys
import time

PORT = 7100


def err(fn, *args):
    """The result, or the errno's name."""
    try:
        return fn(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def peer(s):
    """The other side: does what each letter says, in turn."""
    f = s.makefile("rb")
    while True:
        word = f.readline().split()
        if not word:
            return
        what, n = word[0], int(word[1]) if len(word) > 1 else 0
        if what == b"send":                     # n bytes
            s.sendall(bytes(i % 251 for i in range(n)))
        elif what == b"slow":                   # n bytes in two parts
            s.sendall(b"a" * (n // 2))
            time.sleep(0.1)
            s.sendall(b"b" * (n - n // 2))
        elif what == b"take":                   # read n bytes, answer their number
            s.sendall(b"%d\n" % len(f.read(n)))
        elif what == b"fin":
            s.shutdown(socket.SHUT_WR)
        elif what == b"rst":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            f.close()
            s.close()
            return
        elif what == b"close":
            f.close()
            s.close()
            return


def serve(addr):
    signal.alarm(0)
    ls = socket.create_server((addr, PORT), backlog=20)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        s, _ = ls.accept()
        if os.fork() == 0:
            ls.close()
            err(peer, s)
            os._exit(0)
        s.close()


def connect(addr, mapped=False):
    s = socket.socket(socket.AF_INET6 if mapped else socket.AF_INET)
    s.settimeout(10)
    s.connect(("::ffff:" + addr if mapped else addr, PORT))
    s.settimeout(None)
    return s


def readable(s):
    select.select([s], [], [], 10)


def receive_flags(addr):
    s = connect(addr)
    s.sendall(b"send 1000\n")
    readable(s)
    time.sleep(0.05)
    print("peek", len(s.recv(100, socket.MSG_PEEK)), len(s.recv(5000, socket.MSG_PEEK)))
    print("peek then read the same", s.recv(50, socket.MSG_PEEK) == s.recv(50))
    print("trunc discards", s.recv(100, socket.MSG_TRUNC) is not None, s.recv(1)[0])
    s.recv(5000)
    print("dontwait", err(s.recv, 1, socket.MSG_DONTWAIT))
    s.sendall(b"slow 2000\n")
    print("waitall", len(s.recv(2000, socket.MSG_WAITALL)))
    s.sendall(b"slow 2000\nfin\n")
    print("waitall to the end", len(s.recv(3000, socket.MSG_WAITALL)), s.recv(1))
    a, b = bytearray(10), bytearray(10)
    s = connect(addr)
    s.sendall(b"send 15\n")
    readable(s)
    print("recvmsg_into", s.recvmsg_into([a, b]), a[9], b[0])
    print("rcvlowat", s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100))
    s.sendall(b"send 50\n")
    print("below the mark", len(select.select([s], [], [], 0.2)[0]))
    s.sendall(b"send 50\n")
    print("at the mark", len(select.select([s], [], [], 5)[0]))


def send_flags(addr):
    s = connect(addr)
    s.sendall(b"take 30\n")
    s.send(b"x" * 10, socket.MSG_MORE)
    print("sendmsg", s.sendmsg([b"y" * 5, b"", b"z" * 15]))
    print("answer", s.recv(10))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    s.sendall(b"take 5\n")
    s.sendall(b"12345")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    print("after the cork", s.recv(10))
    with open(sys.executable, "rb") as f:
        s.sendall(b"take 300000\n")
        print("sendfile", s.sendfile(f, 0, 300000), s.recv(20))
        s.sendall(b"take 10000\n")
        r, w = os.pipe()
        os.write(w, b"p" * 10000)
        sent = 0
        while sent < 10000:
            sent += os.splice(r, s.fileno(), 10000 - sent)
        print("splice in", sent, s.recv(20))
        s.sendall(b"send 3000\n")
        readable(s)
        got = 0
        while got < 3000:
            got += os.splice(s.fileno(), w, 3000 - got)
        print("splice out", got, len(os.read(r, 5000)))


def ends(addr):
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    s = connect(addr)
    s.sendall(b"rst\n")
    readable(s)
    print("reset: read", err(s.recv, 1), err(s.recv, 1), "write", err(s.send, b"x"))
    s = connect(addr)
    print("unread at reset", s.sendall(b"send 10\nrst\n"))
    time.sleep(0.2)
    print(err(s.recv, 20), err(s.recv, 1))
    s = connect(addr)
    s.shutdown(socket.SHUT_WR)
    print("after SHUT_WR", err(s.send, b"x"), s.recv(1))
    hits = []
    signal.signal(signal.SIGPIPE, lambda *_: hits.append(1))
    print("SIGPIPE", err(s.send, b"x"), err(s.send, b"x", socket.MSG_NOSIGNAL), len(hits))
    s = connect(addr)
    s.shutdown(socket.SHUT_RD)
    print("after SHUT_RD", s.recv(1))
    s = socket.socket()
    print("not connected", err(s.send, b"x"), err(s.recv, 1), err(s.shutdown, 2), err(s.getpeername))


def options(addr):
    s = connect(addr)
    for name, v in (("TCP_NODELAY", 1), ("TCP_KEEPIDLE", 77), ("TCP_KEEPINTVL", 9), ("TCP_KEEPCNT", 4),
                    ("TCP_USER_TIMEOUT", 4321), ("TCP_LINGER2", 5), ("TCP_SYNCNT", 3)):
        o = getattr(socket, name)
        print(name, err(s.setsockopt, socket.IPPROTO_TCP, o, v), s.getsockopt(socket.IPPROTO_TCP, o))
    for name in ("SO_KEEPALIVE", "SO_OOBINLINE", "SO_REUSEADDR", "SO_BROADCAST", "SO_RCVLOWAT"):
        o = getattr(socket, name)
        print(name, err(s.setsockopt, socket.SOL_SOCKET, o, 1), s.getsockopt(socket.SOL_SOCKET, o))
    for name in ("SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL", "SO_ERROR", "SO_ACCEPTCONN"):
        print(name, s.getsockopt(socket.SOL_SOCKET, getattr(socket, name)))
    for name in ("SO_RCVTIMEO", "SO_SNDTIMEO", "SO_LINGER"):
        o, v = getattr(socket, name, {"SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21}.get(name)), (1, 0)
        s.setsockopt(socket.SOL_SOCKET, o, struct.pack("ll" if name != "SO_LINGER" else "ii", *v))
        print(name, s.getsockopt(socket.SOL_SOCKET, o, 16))
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    print("TCP_INFO", len(info), "state", info[0], "mss", struct.unpack_from("I", info, 16)[0])
    s.settimeout(0.05)
    try:
        s.recv(1)
    except TimeoutError:
        print("timed out")
    for name, o in (("SO_RCVBUF", socket.SO_RCVBUF), ("SO_SNDBUF", socket.SO_SNDBUF)):
        s.setsockopt(socket.SOL_SOCKET, o, 50000)
        print(name, s.getsockopt(socket.SOL_SOCKET, o))
    m = connect(addr, mapped=True)
    print("mapped", m.getpeername()[0], m.family, m.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))


def events(addr):
    """epoll: nested, edge-triggered, one-shot, across fork."""
    s = connect(addr)
    inner, outer = select.epoll(), select.epoll()
    inner.register(s, select.EPOLLIN | select.EPOLLRDHUP)
    outer.register(inner, select.EPOLLIN)
    print("nested, quiet", outer.poll(0))
    s.sendall(b"send 10\n")
    print("nested", len(outer.poll(5)), [e for _, e in inner.poll(0)])
    if os.fork() == 0:
        print("child", [e for _, e in inner.poll(5)], len(s.recv(10)), flush=True)
        os._exit(0)
    os.wait()
    print("read by the child", inner.poll(0.05))
    inner.modify(s, select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
    s.sendall(b"send 10\n")
    print("edge", [e for _, e in inner.poll(5)], inner.poll(0.05))
    s.sendall(b"fin\n")
    print("edge again", [e for _, e in inner.poll(5)])
    inner.modify(s, select.EPOLLOUT | select.EPOLLONESHOT)
    print("one-shot", [e for _, e in inner.poll(5)], inner.poll(0.05))


signal.alarm(30)
if sys.argv[1] == "server":
    serve(sys.argv[2])
for part in (receive_flags, send_flags, ends, options, events):
    print("--", part.__name__)
    part(sys.argv[2])
    sys.stdout.flush()
