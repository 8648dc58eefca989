# SPDX-License-Identifier: MIT
"""Urgent data: the mark, the byte, what poll(), ioctl() and recv() make of it."""
from runner import script


@script()
def urgent_received(w):
    w.passive()
    w.rx("PU. 1+10 ack 1 win 257 urg 10")
    w.poll()
    w.do("ioc(c, FIONREAD)")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.poll()
    w.do("ioc(c, SIOCATMARK)")
    w.do("recv(c, 100)")
    w.do("ioc(c, SIOCATMARK)")
    w.do("recv(c, 100)")
    w.rx("P. 11+5 ack 1 win 257")
    w.do("ioc(c, SIOCATMARK)")
    w.do("recv(c, 100)")
    w.do("ioc(c, SIOCATMARK)")


@script()
def urgent_in_the_middle(w):
    w.passive()
    w.rx("PU. 1+20 ack 1 win 257 urg 5")
    w.do("ioc(c, FIONREAD)")
    w.do("recv(c, 100)")
    w.do("ioc(c, SIOCATMARK)")
    w.poll()
    w.do("recv(c, 100)")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.poll()


@script()
def urgent_inline(w):
    w.passive()
    w.do("setopt(c, 'SO_OOBINLINE', 1)")
    w.rx("PU. 1+20 ack 1 win 257 urg 5")
    w.do("ioc(c, FIONREAD)")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("recv(c, 100)")
    w.do("ioc(c, SIOCATMARK)")
    w.poll()
    w.do("recv(c, 100)")
    w.poll()


@script()
def urgent_not_yet(w):
    """The pointer comes before its byte."""
    w.passive()
    w.rx("PU. 1+5 ack 1 win 257 urg 10")
    w.poll()
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("recv(c, 100)")
    w.rx("P. 6+10 ack 1 win 257")
    w.poll()
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("recv(c, 100)")
    w.do("recv(c, 100)")


@script()
def urgent_none(w):
    w.passive()
    w.rx("P. 1+5 ack 1 win 257")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("ioc(c, SIOCATMARK)")


@script()
def urgent_peek(w):
    w.passive()
    w.rx("PU. 1+5 ack 1 win 257 urg 5")
    w.do("recv(c, 1, socket.MSG_OOB | socket.MSG_PEEK)")
    w.do("recv(c, 100, socket.MSG_PEEK)")
    w.do("recv(c, 1, socket.MSG_OOB)")
    w.do("recv(c, 1, socket.MSG_OOB)")


@script()
def urgent_sent(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("send(c, 10, socket.MSG_OOB)")
    w.do("send(c, 10)")
    w.rx(". 1 ack 101 win 257")
    w.rx(". 1 ack 111 win 257")
    w.rx(". 1 ack 121 win 257")
    w.do("send(c, 10)")


@script()
def urgent_sent_over_segments(w):
    w.passive()
    w.do("send(c, 2500, socket.MSG_OOB)")
    w.rx(". 1 ack 2501 win 257")
    w.do("send(c, 500)")


@script()
def urgent_sent_later(w):
    """The window is full: the pointer tells of what is still to come."""
    w.passive(syn="<mss 1000>", win=1000)
    w.do("send(c, 1000)")
    w.do("send(c, 500, socket.MSG_OOB)")
    w.rx("P. 1+10 ack 1 win 1000")
    w.rx(". 11 ack 1001 win 1000")
