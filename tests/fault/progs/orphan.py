#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""ADDR PORT: an epoll set with a listener and a pipe; at the first byte of stdin (the daemon is gone
by then) the program forks, and its child uses the set. Prints what the child saw in it."""
import os
import select
import socket
import sys


def child(set_, ears, mouth):
    with select.epoll() as own:         # a new one, and the inherited one
        own.register(ears, select.EPOLLIN)
        os.write(mouth, b"x")
        seen = [fd for fd, _ in own.poll(5)]
    seen += [fd for fd, _ in set_.poll(5) if fd == ears]
    print("child", seen.count(ears), flush=True)


def main(addr, port):
    srv = socket.create_server((addr, int(port)))
    ears, mouth = os.pipe()
    set_ = select.epoll()
    set_.register(srv, select.EPOLLIN)
    set_.register(ears, select.EPOLLIN)
    set_.poll(0)
    print("listening", flush=True)
    sys.stdin.read(1)
    pid = os.fork()
    if not pid:
        child(set_, ears, mouth)
        os._exit(0)
    print("status", os.waitpid(pid, 0)[1], flush=True)


main(*sys.argv[1:])
