#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stackctl top: what it shows of a transfer is what went through; options; a daemon that goes."""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import stk                                                                    # noqa: E402

COUNT = 8
SERVER = """
import socket, sys
s = socket.create_server((sys.argv[1], 7000))
c, _ = s.accept()
print("accepted", flush=True)
while data := c.recv(1 << 16):
    c.sendall(data[:1])
"""


def top(d, *args):
    return [os.path.join(stk.PLAIN, "stackctl"), "--run-dir", d.run_dir, *args]


def feed(sock, stop):
    """Bytes in until told; one in a big piece comes back."""
    while not stop.is_set():
        sock.sendall(bytes(1 << 16))
        sock.recv(1 << 16)


@stk.test(*stk.workers(1, 2))
def transfer(workers):
    """One connection under load: it is the busiest socket, its program's and its worker's traffic."""
    with stk.stackd(workers=workers) as d:
        p = d.stackrun([sys.executable, "-c", SERVER, stk.STACK], stdout=subprocess.PIPE)
        stk.wait_for("a listener", lambda: d.show("sockets")["sockets"])
        stop = threading.Event()
        with stk.socket.create_connection((stk.STACK, 7000), stk.HANG) as s:
            stk.check(p.stdout.readline() == b"accepted\n", "not accepted")
            t = threading.Thread(target=feed, args=(s, stop))
            t.start()
            try:
                out = d.run(top(d, "--json", "top", "-d", "0.2", "-n", str(COUNT))).decode()
                text = d.run(top(d, "top", "-d", "0.2", "-n", "1")).decode()
            finally:
                stop.set()
                t.join()
        looks = [json.loads(line) for line in out.splitlines()]
        stk.check(len(looks) == COUNT, f"{len(looks)} looks")
        busy = [x for x in looks if x["sockets"]]
        stk.check(busy, "the connection carries nothing")
        for x in busy:
            sock, prog = x["sockets"][0], x["programs"][0]
            stk.check(sock["local"] == f"{stk.STACK}:7000" and len(x["sockets"]) == 1, x["sockets"])
            stk.check(prog["pid"] == p.pid and prog["processes"] == 1, x["programs"])
            stk.check(prog["in_Mbit/s"] == sock["in_Mbit/s"] > sock["out_Mbit/s"], f"{prog} {sock}")
        # all looks together: what the device got is what the socket got, and headers
        got = sum(x["sockets"][0]["in_Mbit/s"] for x in busy)
        wire = sum(w["rx_Mbit/s"] for x in looks for w in x["workers"])
        stk.check(got * 0.5 < wire < got * 2, f"socket {got}, device {wire}")
        stk.check(len(looks[0]["workers"]) == workers, looks[0]["workers"])
        stk.check(any(w["cpu_%"] > 0 for x in looks for w in x["workers"]), "no processor time")
        for word in ("rx_pkt/s", "accepts/s", "python3", f"{stk.STACK}:7000"):
            stk.check(word in text, f"no {word} in\n{text}")
        d.stop(p)
        d.wait_clean()


@stk.test()
def bad_options():
    """Each wrong number is named; without a daemon it ends."""
    with stk.stackd() as d:
        for args in (["-d", "0"], ["-d", "x"], ["-n", "0"], ["-n", "-1"], ["-d", "nan"], ["-d", "1e9"],
                     ["-n", "1x"], ["-z"], ["word"]):
            r = subprocess.run(top(d, "top", *args), capture_output=True, text=True, timeout=stk.HANG)
            stk.check(r.returncode == 2 and "Usage" in r.stderr and not r.stdout, f"{args}: {r}")
        p = d.start(top(d, "top", "-d", "0.1"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        d.ended = True
        d.proc.terminate()
        d.proc.wait(stk.HANG)
        stk.check(p.wait(stk.HANG) == 1 and p.stderr.read(), "it goes on without a daemon")
        d.procs.remove(p)


if __name__ == "__main__":
    stk.main()
