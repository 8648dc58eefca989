# SPDX-License-Identifier: MIT
"""handing.py ADDR PORT KIND: a socket whose kernel half is its own is given by SCM_RIGHTS to a child made
before; the giver closes it at once, the child takes it when a line comes on stdin, tells what it has
got, and serves three peers with it. KIND: listener, udp (on the wildcard), their_listener, their_udp
(on ADDR), fresh, fresh_udp (bound by the child), peek (looked at by MSG_PEEK first), twice (sent and
taken twice)."""
import os
import socket
import sys


def make(kind, addr, port):
    udp = kind.endswith("udp")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not kind.startswith("fresh"):
        s.bind((addr if kind.startswith("their") else "", port))
        if not udp:
            s.listen(8)
    return s


def take(way, kind):
    if kind == "peek":
        _, control, _, _ = way.recvmsg(1, socket.CMSG_LEN(4), socket.MSG_PEEK)
        os.close(int.from_bytes(control[0][2], sys.byteorder))
    _, fds, _, _ = socket.recv_fds(way, 1, 4)
    if kind == "twice":
        os.close(fds[0])
        _, fds, _, _ = socket.recv_fds(way, 1, 4)
    return socket.socket(fileno=fds[0])


def child(way, addr, port, kind):
    sys.stdin.readline()
    s = take(way, kind)
    print("got", s.family, s.type, s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
          s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), s.getsockname()[1], s.gettimeout())
    if kind.startswith("fresh"):
        s.bind((addr, port))
        if kind == "fresh":
            s.listen(8)
    print("ready", flush=True)
    for _ in range(3):
        if s.type == socket.SOCK_DGRAM:
            data, peer = s.recvfrom(100)
            s.sendto(data.upper(), peer)
        else:
            c, _ = s.accept()
            c.sendall(c.recv(100).upper())
            c.close()
    s.close()
    print("over", flush=True)


def main(addr, port, kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    socket.socket().close()                     # both are of one family of stackd's
    if os.fork() == 0:
        ours.close()
        child(theirs, addr, port, kind)
        os._exit(0)
    theirs.close()
    s = make(kind, addr, port)
    for _ in range(2 if kind == "twice" else 1):
        socket.send_fds(ours, [b"x"], [s.fileno()])
    s.close()
    print("listening", flush=True)
    os.wait()


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
