# SPDX-License-Identifier: MIT
"""Many connections held open: hold.py serve ADDR PORT PROCESSES | hold.py ask ADDR PORT COUNT [FROM]

serve: PROCESSES children, each with a listener of its own (SO_REUSEPORT), echo whatever comes.
ask: opens COUNT connections, from the address FROM, 200 handshakes at a time, prints "open"; then for each
line on stdin sends 16 bytes of its own on every connection, takes them back on every one, and prints "answered
COUNT"; ends with stdin. Anything unexpected ends it with an error.
"""
import os
import resource
import select
import socket
import sys

IP_BIND_ADDRESS_NO_PORT = 24
HANG = 60                           # seconds of silence on all connections that mean a hang


def serve(addr, port):
    ls = socket.socket()
    ls.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    ls.bind((addr, port))
    ls.listen(1024)
    ls.setblocking(False)
    conns, ep = {}, select.epoll()
    ep.register(ls, select.EPOLLIN)
    while True:
        for fd, _ in ep.poll():
            if fd == ls.fileno():
                for _ in range(64):
                    try:
                        c, _ = ls.accept()
                    except BlockingIOError:
                        break
                    c.setblocking(False)
                    conns[c.fileno()] = c
                    ep.register(c, select.EPOLLIN)
                continue
            try:
                data = conns[fd].recv(4096)
            except OSError:
                data = b""
            if data:
                conns[fd].send(data)
            else:
                conns.pop(fd).close()


def opened(addr, port, count, source):
    """COUNT established connections: {fd: socket}."""
    conns, waiting, ep = {}, 0, select.epoll()
    while len(conns) < count or waiting:
        while waiting < 200 and len(conns) < count:
            s = socket.socket()
            s.setblocking(False)
            if source:
                s.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                s.bind((source, 0))
            s.connect_ex((addr, port))
            conns[s.fileno()] = s
            ep.register(s, select.EPOLLOUT)
            waiting += 1
        ready = ep.poll(HANG)
        if not ready:
            sys.exit(f"{waiting} of {len(conns)} handshakes hang")
        for fd, _ in ready:
            err = conns[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if err:
                sys.exit(f"connect: {os.strerror(err)}")
            ep.unregister(fd)
            waiting -= 1
    ep.close()
    return conns


def asked(conns, ep, turn):
    """16 bytes there and back on each connection."""
    want = {fd: b"%08d%08d" % (turn, fd) for fd in conns}
    for fd, s in conns.items():
        if s.send(want[fd]) != 16:
            sys.exit("short send")
    while want:
        ready = ep.poll(HANG)
        if not ready:
            sys.exit(f"{len(want)} of {len(conns)} answers are missing")
        for fd, _ in ready:
            got = conns[fd].recv(16, socket.MSG_PEEK)
            if not got:
                sys.exit("closed by the server")
            if len(got) == 16:
                if conns[fd].recv(16) != want.pop(fd):
                    sys.exit("another connection's bytes")


def ask(addr, port, count, source):
    conns, ep = opened(addr, port, count, source), select.epoll()
    for fd in conns:
        ep.register(fd, select.EPOLLIN)
    print("open", flush=True)
    for turn, _ in enumerate(sys.stdin):
        asked(conns, ep, turn)
        print("answered", len(conns), flush=True)


def main(what, addr, port, n, source=""):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if what == "ask":
        return ask(addr, int(port), int(n), source)
    for _ in range(int(n)):
        if os.fork() == 0:
            serve(addr, int(port))
    os.wait()


main(*sys.argv[1:])
