#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The checksum contract on every device: wrong sums are dropped and counted, right ones leave, fragments too."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import frames                                                                 # noqa: E402
import stk                                                                    # noqa: E402

PY = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps", "progs", "udpecho.py")
DEVICES = [{"dev": d} for d in ("tap", "packet", "xdp")]


def counts(d):
    s = d.show("snmp")["snmp"]
    return s["Tcp"]["InCsumErrors"], s["Udp"]["InCsumErrors"]


def start(d):
    d.stackrun([PY, ECHO, stk.STACK, "7007"])
    stk.wait_for("the server is bound",
                 lambda: [s for s in d.show("sockets")["sockets"] if s["proto"] == "udp"])
    return frames.Wire("stk0", d.show("netdev")["netdev"][0]["mac"], stk.KERNEL, stk.STACK, stk.HANG)


@stk.test(*DEVICES)
def received(dev):
    """Wrong TCP and UDP sums count as InCsumErrors and go nowhere; a zero UDP sum is none."""
    with stk.stackd(dev=dev) as d:
        w = start(d)
        w.wrong()
        stk.wait_for("both are counted", lambda: counts(d) == (1, 1))
        w.received()
        stk.wait_for("the wrong one is counted", lambda: counts(d) == (1, 2))


@stk.test(*DEVICES)
def sent(dev):
    """A datagram's sum is right or left to the device; that of fragments is finished by software."""
    with stk.stackd(dev=dev) as d:
        w = start(d)
        w.send(w.ip4(17, w.udp(b"one frame", "right")))
        flags, p = w.recv()
        if flags & frames.NEEDS_CSUM:
            stk.check(dev != "xdp", "AF_XDP finishes nothing")
        else:
            stk.check(frames.csum(w.pseudo(17, len(p) - 20) + p[20:]) == 0, "UDP sum is wrong")
        w.sent_fragments()


if __name__ == "__main__":
    stk.main()
