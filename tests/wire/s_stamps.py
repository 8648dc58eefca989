# SPDX-License-Identifier: MIT
"""RFC 7323: what is echoed, PAWS."""
from runner import script

TS = "<mss 1000,sackOK,ts 100 0,nop,wscale 7>"


def opened(w):
    w.passive(syn=TS, ack=" <nop,nop,ts 110 e>")


@script()
def echo_of_last_in_sequence(w):
    opened(w)
    w.rx("P. 1+1000 ack 1 win 257 <nop,nop,ts 120 e>")
    w.rx("P. 2001+1000 ack 1 win 257 <nop,nop,ts 130 e>")
    w.rx("P. 1001+1000 ack 1 win 257 <nop,nop,ts 140 e>")
    w.do("send(c, 10)")


@script()
def echo_of_first_unacked(w):
    """With delayed ACKs the earlier of two segments is echoed."""
    opened(w)
    w.do("setopt(c, 'TCP_QUICKACK', 0)")
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 120 e>", sync=False)
    w.rx("P. 101+100 ack 1 win 257 <nop,nop,ts 130 e>")
    w.later(1)


@script()
def paws_drops(w):
    opened(w)
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 120 e>")
    w.rx("P. 101+100 ack 1 win 257 <nop,nop,ts 119 e>")
    w.do("recv(c, 1000)")
    w.rx("P. 101+100 ack 1 win 257 <nop,nop,ts 121 e>")
    w.do("recv(c, 1000)")
    w.rx("R. 201 ack 1 win 257 <nop,nop,ts 1 e>")
    w.do("recv(c, 1000)")


@script()
def paws_pure_acks(w):
    opened(w)
    w.do("send(c, 1000)")
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 120 e>")
    w.rx(". 101 ack 1001 win 257 <nop,nop,ts 119 e>")
    w.info("unacked")
    w.rx(". 101 ack 1001 win 257 <nop,nop,ts 120 e>")
    w.info("unacked")


@script()
def missing_timestamp(w):
    """Segments without the option that was agreed upon are taken, as Linux does."""
    opened(w)
    w.rx("P. 1+100 ack 1 win 257")
    w.do("recv(c, 1000)")
    w.do("send(c, 10)")
    w.rx(". 101 ack 11 win 257")
    w.info("unacked")


@script()
def unasked_timestamp(w):
    w.passive(syn="<mss 1000>")
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 5 5>")
    w.do("recv(c, 1000)")


@script()
def syn_echo_not_zero(w):
    w.listen()
    w.rx("S 0 win 1000 <mss 1000,sackOK,ts 55 44>")
    w.rx(". 1 ack 1 win 257 <nop,nop,ts 60 e>")
    w.do("c := accept(l)")
    w.rx("P. 1+10 ack 1 win 257 <nop,nop,ts 70 e-1000>")
    w.do("recv(c, 1000)")


@script()
def synack_wrong_echo(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S. 0 ack 1 win 1000 <mss 1000,sackOK,ts 55 e+100000>")
    w.rx("S. 0 ack 1 win 1000 <mss 1000,sackOK,ts 55 e>")
    w.do("err(c)")


@script()
def synack_zero_echo(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S. 0 ack 1 win 1000 <mss 1000,sackOK,ts 55 0>")
    w.do("err(c)")
    w.do("send(c, 10)")


@script()
def ts_on_resets_and_challenges(w):
    opened(w)
    w.rx("R 50 win 0")
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 120 e>")
    w.do("c.close()")


@script()
def ts_not_taken_from_old(w):
    opened(w)
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 120 e>")
    w.rx("P. 1+100 ack 1 win 257 <nop,nop,ts 150 e>")
    w.do("send(c, 10)")


@script()
def ts_beyond_window(w):
    opened(w)
    w.rx("P. 1000001+100 ack 1 win 257 <nop,nop,ts 150 e>")
    w.do("send(c, 10)")


@script()
def mss_with_timestamps(w):
    opened(w)
    w.do("send(c, 2500)")
    w.info("snd_mss unacked")


@script(tcp_timestamps=2)
def plain_stamps(w):
    opened(w)
    w.do("send(c, 10)")
