#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memcached client: mcload.py ADDR PORT CONNS ROUNDS. Each connection sets, gets, gets many, pipelined;
every value is compared. Ends with the number of values compared."""
import socket
import sys
import threading

ADDR, PORT, CONNS, ROUNDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
compared = []


def value(who, i):
    return (f"{who}.{i}." * 20000)[:(i * 7919) % 150000 + 1].encode()


def store(f, key, v):
    f.write(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(v), v))


def fetch(f):
    """One reply of get. Return: {key: value}."""
    got = {}
    while True:
        line = f.readline().split()
        if line == [b"END"]:
            return got
        got[line[1]] = f.read(int(line[3]) + 2)[:-2]


def work(who):
    s = socket.create_connection((ADDR, PORT), 10)
    s.settimeout(20)
    f = s.makefile("rwb")
    want = {}
    for i in range(ROUNDS):
        key = b"k%d.%d" % (who, i % 10)
        want[key] = value(who, i)
        store(f, key, want[key])
        f.write(b"get %s\r\n" % key)
        f.flush()
        assert f.readline() == b"STORED\r\n"
        assert fetch(f) == {key: want[key]}
    f.write(b"get " + b" ".join(want) + b"\r\n")
    f.flush()
    assert fetch(f) == want
    f.write(b"quit\r\n")
    f.flush()
    assert f.read() == b""
    compared.append(ROUNDS + len(want))


threads = [threading.Thread(target=work, args=(w,)) for w in range(CONNS)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sum(compared))
sys.exit(0 if len(compared) == CONNS else 1)
