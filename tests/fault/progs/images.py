# SPDX-License-Identifier: MIT
"""images.py ADDR PORT HOW: a server that goes on as another image, with its sockets.

First image: listen, accept, read a line, exec itself. Second image: answer on the connection that it
inherited, then accept one more on the listener. HOW is the form of exec; `scrub` gives it an empty
environment, `fork` does it in a child while the parent leaves, `fail` fails to exec first.
"""
import os
import socket
import sys


def line(c):
    got = b""
    while not got.endswith(b"\n"):
        part = c.recv(100)
        if not part:
            return got
        got += part
    return got


def first(addr, port, how):
    spare = socket.socket()                 # closed by exec
    srv = socket.socket()
    srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    srv.bind((addr, port))
    srv.listen(8)
    print("listening", flush=True)
    c, _ = srv.accept()
    c.sendall(b"first " + line(c))
    for s in (srv, c):
        s.set_inheritable(True)
    args = [sys.executable, __file__, "second", str(srv.fileno()), str(c.fileno()),
            str(spare.fileno())]
    if how == "fork" and os.fork():
        os._exit(0)
    if how == "fail":
        try:
            os.execve("/nonexistent", ["x"], {})
        except FileNotFoundError:
            c.sendall(b"still " + line(c))
    if how == "scrub":
        os.execve(sys.executable, args, {})
    elif how == "fd":
        os.execve(os.open(sys.executable, os.O_RDONLY), args, dict(os.environ))
    else:
        os.execvp(sys.executable, args)


def second(srv, c, spare):
    try:
        os.fstat(spare)
        print("spare fd is open")
    except OSError:
        pass
    if "STACKD_INHERIT" in os.environ:
        print("STACKD_INHERIT is seen")
    srv, c = socket.socket(fileno=srv), socket.socket(fileno=c)
    print("names", srv.getsockname()[1] == c.getsockname()[1],
          srv.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    c.sendall(b"second " + line(c))
    c.close()
    c, _ = srv.accept()
    c.sendall(b"third " + line(c))
    c.close()
    own = socket.socket()
    own.bind((srv.getsockname()[0], 0))
    own.listen(1)
    print("own", own.getsockname()[1] > 0, flush=True)


if sys.argv[1] == "second":
    second(*map(int, sys.argv[2:5]))
else:
    first(sys.argv[1], int(sys.argv[2]), sys.argv[3])
