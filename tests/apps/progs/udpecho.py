# SPDX-License-Identifier: MIT
"""A UDP echo server: udpecho.py ADDR PORT [6]; 6 = an AF_INET6 socket."""
import socket
import sys

six = len(sys.argv) > 3
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
