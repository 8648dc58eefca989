# SPDX-License-Identifier: MIT
"""inetd.py ADDR PORT PROGRAM UID: one connection, given to a program as its input and output."""
import os
import socket
import sys

srv = socket.socket()
srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
srv.bind((sys.argv[1], int(sys.argv[2])))
srv.listen(8)
print("listening", flush=True)
c, _ = srv.accept()
if os.fork() == 0:
    os.dup2(c.fileno(), 0)
    os.dup2(c.fileno(), 1)
    if sys.argv[4] != "0":
        os.setuid(int(sys.argv[4]))
    try:
        os.execv("/nonexistent", ["x"])
    except OSError:
        os.execv(sys.argv[3], ["cat", "hello"])
c.close()
os.wait()
