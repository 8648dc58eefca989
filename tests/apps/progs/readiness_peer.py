# SPDX-License-Identifier: MIT
"""The other side of readiness.py, always in the kernel: each byte that arrives is an order.

s send three bytes; l the same, after a while; f send FIN; r reset; w stop reading until d comes on any
connection; cPP connect to port PP of the sender; k nothing.
"""
import socket
import struct
import sys
import threading
import time

drain = threading.Event()
keep = []


def serve(c, addr):
    while True:
        op = c.recv(1)
        if op in (b"s", b"l"):
            time.sleep(0.3 if op == b"l" else 0)
            c.sendall(b"abc")
        elif op == b"f":
            c.shutdown(socket.SHUT_WR)
        elif op == b"r":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
            return
        elif op == b"w":
            drain.wait()
            drain.clear()
            while c.recv(1 << 20):
                pass
        elif op == b"d":
            drain.set()
        elif op == b"c":
            keep.append(socket.create_connection((addr[0], struct.unpack("!H", c.recv(2))[0])))
        elif op == b"":
            return


def guard(c, addr):
    try:
        serve(c, addr)
    except OSError:
        pass


s = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    threading.Thread(target=guard, args=s.accept(), daemon=True).start()
