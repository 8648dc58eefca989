# SPDX-License-Identifier: MIT
"""Sends datagrams of many sizes to an echo server and compares: udpclient.py ADDR PORT connected|not."""
import random
import socket
import sys

addr, rnd = (sys.argv[1], int(sys.argv[2])), random.Random(3)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
if sys.argv[3] == "connected":
    s.connect(addr)
for size in (0, 1, 2, 1471, 1472, 1473, 3000, 8192, 65507) + tuple(rnd.randrange(9000) for _ in range(200)):
    data = rnd.randbytes(size)
    if sys.argv[3] == "connected":
        s.send(data)
        got = s.recv(65536)
    else:
        s.sendto(data, addr)
        got, peer = s.recvfrom(65536)
        assert peer == addr, peer
    assert got == data, f"size {size}: got {len(got)} bytes"
try:
    s.sendto(b"x" * 65508, addr)
    sys.exit("a datagram of 65508 bytes was taken")
except OSError as e:
    print(e.errno)
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.settimeout(5)
c.connect((sys.argv[1], 9))
c.send(b"x")
try:
    c.recv(10)
    sys.exit("an answer from a closed port")
except ConnectionRefusedError as e:
    print(e.errno)
