#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""UDP: `uecho.py serve ADDR PORT` echoes until it gets b"quit"; `uecho.py ask ADDR PORT` is its client."""
import random
import socket
import sys

mode, addr, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)


def serve():
    s.bind((addr, port))
    while True:
        data, peer = s.recvfrom(70000)
        s.sendto(data, peer)
        if data == b"quit":
            return


def ask():
    """Unconnected and connected, every size class, fragments included; the last word ends the server."""
    rnd = random.Random(7)
    for size in (0, 1, 1471, 1472, 1473, 9000, 40000, 65507):
        data = rnd.randbytes(size)
        s.sendto(data, (addr, port))
        got, peer = s.recvfrom(70000)
        assert got == data and peer == (addr, port), size
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.settimeout(10)
    c.connect((addr, port))
    for i in range(2000):
        data = b"%d" % i * rnd.randrange(1, 200)
        c.send(data)
        assert c.recv(70000) == data, i
    c.send(b"quit")
    assert c.recv(100) == b"quit"
    dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dead.settimeout(10)
    dead.connect((addr, port + 1))
    dead.send(b"x")
    try:
        dead.recv(10)
        raise SystemExit("an answer from nobody")
    except ConnectionRefusedError:
        pass
    c.close()


serve() if mode == "serve" else ask()
