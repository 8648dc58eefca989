# SPDX-License-Identifier: MIT
"""passing.py ADDR PORT TO: accept connections and give each away by SCM_RIGHTS: to a `child` made by
fork, to a `plain` program that has no shim, or to the `same` process. Who gets one says who its peer
is if that is an address, then echoes until the end of the stream, ten times as much as comes in."""
import os
import socket
import subprocess
import sys
import time


def serve(c):
    total = 0
    while True:
        part = c.recv(65536)
        if not part:
            break
        total += len(part)
        for _ in range(10):
            c.sendall(part)
    c.sendall(f"total {total}\n".encode())
    c.shutdown(socket.SHUT_WR)
    c.close()


def receiver(way, late):
    while True:
        _, fds, _, _ = socket.recv_fds(way, 1, 4)
        if not fds:
            return
        time.sleep(late)
        for fd in fds:
            c = socket.socket(fileno=fd)
            if not late and c.family != socket.AF_INET:
                c.sendall(b"not an inet socket\n")
            serve(c)


def main(addr, port, to):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    srv = socket.socket()
    srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    srv.bind((addr, port))
    srv.listen(8)
    if to == "child" and os.fork() == 0:
        srv.close()
        ours.close()
        receiver(theirs, 0)
        os._exit(0)
    if to == "plain":
        subprocess.Popen([sys.executable, __file__, "plain", str(theirs.fileno())],
                         pass_fds=[theirs.fileno()], env={"LD_PRELOAD": ""})
    print("listening", flush=True)
    for _ in range(3):
        c, _ = srv.accept()
        socket.send_fds(ours, [b"x"], [c.fileno()])
        c.close()
        if to == "same":
            _, fds, _, _ = socket.recv_fds(theirs, 1, 4)
            serve(socket.socket(fileno=fds[0]))
    ours.sendmsg([b"x"])
    if to != "same":
        os.wait()
    print("over", flush=True)


if sys.argv[1] == "plain":
    receiver(socket.socket(fileno=int(sys.argv[2])), 0.05)
else:
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
