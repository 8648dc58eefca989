# SPDX-License-Identifier: MIT
"""holder.py ADDR PORT HOW: accept connections; each is echoed by somebody who has no shim.
HOW passed: a process that got it by SCM_RIGHTS, one thread each; the accepting one closes its own.
HOW image: the static program `cat` in the current folder, as its input and output, as from inetd."""
import os
import socket
import subprocess
import sys
import threading


def echo(c):
    while part := c.recv(65536):
        c.sendall(part)
    c.close()


def plain(way):
    while True:
        _, fds, _, _ = socket.recv_fds(way, 1, 4)
        if not fds:
            return
        threading.Thread(target=echo, args=(socket.socket(fileno=fds[0]),)).start()


def main(addr, port, how):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    srv = socket.create_server((addr, port))
    if how == "passed":
        subprocess.Popen([sys.executable, __file__, "plain", str(theirs.fileno())],
                         pass_fds=[theirs.fileno()], env={"LD_PRELOAD": ""})
    print("listening", flush=True)
    while True:
        c, _ = srv.accept()
        if how == "passed":
            socket.send_fds(ours, [b"x"], [c.fileno()])
        else:
            subprocess.Popen(["./cat"], stdin=c.fileno(), stdout=c.fileno())
        c.close()


if sys.argv[1] == "plain":
    plain(socket.socket(fileno=int(sys.argv[2])))
else:
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
