# SPDX-License-Identifier: MIT
"""Nagle, TCP_NODELAY, TCP_CORK, MSG_MORE."""
from runner import script


@script()
def nagle_holds_second(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.rx(". 1 ack 101 win 257")
    w.rx(". 1 ack 301 win 257")


@script()
def nagle_full_segments_go(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("send(c, 2500)")
    w.rx(". 1 ack 101 win 257")
    w.rx(". 1 ack 2101 win 257")
    w.rx(". 1 ack 2601 win 257")


@script()
def nagle_minshall(w):
    """A partial segment waits only for an earlier partial one."""
    w.passive()
    w.do("send(c, 1000)")
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.rx(". 1 ack 1001 win 257")
    w.rx(". 1 ack 1101 win 257")


@script()
def nodelay(w):
    w.passive()
    w.do("setopt(c, 'TCP_NODELAY', 1)")
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.do("send(c, 1100)")


@script()
def nodelay_pushes(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.do("setopt(c, 'TCP_NODELAY', 1)")


@script()
def cork(w):
    w.passive()
    w.do("setopt(c, 'TCP_CORK', 1)")
    w.do("send(c, 100)")
    w.do("send(c, 1000)")
    w.do("setopt(c, 'TCP_CORK', 0)")


@script()
def cork_times_out(w):
    w.passive()
    w.do("setopt(c, 'TCP_CORK', 1)")
    w.do("send(c, 100)")
    w.later(1)
    w.do("send(c, 50)")


@script()
def cork_and_nodelay(w):
    w.passive()
    w.do("setopt(c, 'TCP_NODELAY', 1)")
    w.do("setopt(c, 'TCP_CORK', 1)")
    w.do("send(c, 100)")
    w.do("setopt(c, 'TCP_NODELAY', 1)")
    w.do("send(c, 100)")


@script()
def msg_more(w):
    w.passive()
    w.do("send(c, 100, socket.MSG_MORE)")
    w.do("send(c, 100)")
    w.do("send(c, 500, socket.MSG_MORE)")
    w.rx(". 1 ack 201 win 257")
    w.do("send(c, 700, socket.MSG_MORE)")


@script()
def fin_carries_partial(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("send(c, 100)")
    w.do("c.close()")
    w.rx(". 1 ack 101 win 257")


@script()
def cork_close(w):
    w.passive()
    w.do("setopt(c, 'TCP_CORK', 1)")
    w.do("send(c, 100)")
    w.do("c.close()")


@script()
def sendmsg_vectors(w):
    w.passive()
    w.do("c.sendmsg([data(10), data(20), data(30)])")
    w.do("c.sendmsg([data(1000), data(700)])")
