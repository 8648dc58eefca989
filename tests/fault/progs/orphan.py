#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ADDR PORT: an epoll set with a listener and a pipe. After a line from stdin (the daemon is gone by
then) the program forks. Its child uses the set and a new one; after another line (there is another
daemon now) it serves one connection with one more. Prints what each saw."""
import os
import select
import socket
import sys


def seen(set_, fd):
    return [f for f, _ in set_.poll(5)].count(fd)


def child(set_, ears, mouth, addr, port):
    own = select.epoll()
    own.register(ears, select.EPOLLIN)
    os.write(mouth, b"x")
    print("child", seen(own, ears), seen(set_, ears), flush=True)
    sys.stdin.readline()
    srv = socket.create_server((addr, port))
    third = select.epoll()
    third.register(srv, select.EPOLLIN)
    print("serving", flush=True)
    print("asked", seen(third, srv.fileno()), flush=True)
    srv.accept()[0].sendall(b"hello")


def main(addr, port):
    srv = socket.create_server((addr, int(port)))
    ears, mouth = os.pipe()
    set_ = select.epoll()
    set_.register(srv, select.EPOLLIN)
    set_.register(ears, select.EPOLLIN)
    set_.poll(0)
    print("listening", flush=True)
    sys.stdin.readline()
    pid = os.fork()
    if not pid:
        child(set_, ears, mouth, addr, int(port) + 1)
        os._exit(0)
    print("status", os.waitpid(pid, 0)[1], flush=True)


main(*sys.argv[1:])
