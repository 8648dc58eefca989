# SPDX-License-Identifier: MIT
"""Windows: ours as data comes and is read, the peer's when it closes; probes; acknowledgments."""
from runner import script


@script()
def zero_window_probes(w):
    w.passive(win=1)
    w.do("send(c, 1000)")
    w.rx(". 1 ack 129 win 0")
    w.later(3)
    w.info("unacked probes backoff notsent_bytes")
    w.rx(". 1 ack 129 win 1")
    w.info("unacked probes")


@script()
def zero_window_at_once(w):
    w.passive(win=0)
    w.do("send(c, 1000)")
    w.later(2)
    w.rx(". 1 ack 1 win 0")
    w.later(1)
    w.rx(". 1 ack 1 win 257")
    w.rx(". 1 ack 1001 win 257")


@script()
def window_smaller_than_segment(w):
    w.passive(syn="<mss 1000>", win=500)
    w.do("send(c, 1500)")
    w.later(1)
    w.rx(". 1 ack 501 win 500")
    w.later(1)


@script()
def window_update_lets_go(w):
    w.passive(syn="<mss 1000>", win=2000)
    w.do("send(c, 5000)")
    w.rx(". 1 ack 2001 win 0")
    w.rx(". 1 ack 2001 win 2500")
    w.rx(". 1 ack 4001 win 2500")


@script()
def window_shrunk(w):
    w.passive(syn="<mss 1000>", win=5000)
    w.do("send(c, 8000)")
    w.rx(". 1 ack 2001 win 1000")
    w.rx(". 1 ack 3001 win 10000")


@script()
def window_shrunk_to_zero(w):
    w.passive(syn="<mss 1000,sackOK>", win=5000)
    w.do("send(c, 3000)")
    w.rx(". 1 ack 1001 win 0")
    w.later(2)
    w.info("ca_state retransmits unacked lost retrans")
    w.rx(". 1 ack 1001 win 5000")
    w.rx(". 1 ack 3001 win 5000")
    w.info("ca_state retransmits unacked lost retrans")


@script()
def quick_then_delayed_acks(w):
    w.passive()
    for i in range(12):
        w.rx(f"P. {1 + 100 * i}+100 ack 1 win 257")
    w.do("recv(c, 100000)")


@script()
def acks_of_full_segments(w):
    w.passive()
    for i in range(8):
        w.rx(f". {1 + 1000 * i}+1000 ack 1 win 257")


@script()
def interactive_answers_carry_acks(w):
    w.passive()
    at, sent = 1, 1
    for _ in range(4):
        w.rx(f"P. {at}+50 ack {sent} win 257")
        at += 50
        w.do("recv(c, 100)")
        w.do("send(c, 70)")
        sent += 70
    w.rx(f"P. {at}+50 ack {sent} win 257")
    w.later(1)


@script()
def quickack_option(w):
    w.passive()
    w.do("setopt(c, 'TCP_QUICKACK', 0)")
    w.do("getopt(c, 'TCP_QUICKACK')")
    w.rx("P. 1+50 ack 1 win 257")
    w.later(1)
    w.do("setopt(c, 'TCP_QUICKACK', 1)")
    w.do("getopt(c, 'TCP_QUICKACK')")
    w.rx("P. 51+50 ack 1 win 257")


@script()
def out_of_order_acks(w):
    w.passive()
    w.rx("P. 1001+1000 ack 1 win 257")
    w.rx("P. 3001+1000 ack 1 win 257")
    w.rx("P. 5001+1000 ack 1 win 257")
    w.rx("P. 7001+1000 ack 1 win 257")
    w.rx("P. 9001+1000 ack 1 win 257")
    w.rx("P. 2001+1000 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")
    w.do("recv(c, 100000)")
    w.rx("P. 4001+1000 ack 1 win 257")
    w.rx("P. 6001+1000 ack 1 win 257")
    w.rx("P. 8001+1000 ack 1 win 257")
    w.do("recv(c, 100000)")


@script()
def dsacks(w):
    w.passive()
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 501+1000 ack 1 win 257")
    w.rx("P. 3001+1000 ack 1 win 257")
    w.rx("P. 3001+1000 ack 1 win 257")
    w.rx("P. 3501+1000 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 1501+1000 ack 1 win 257")
    w.rx("P. 2501+1000 ack 1 win 257")


@script()
def sacks_with_timestamps(w):
    w.passive(syn="<mss 1000,sackOK,ts 100 0>", ack=" <nop,nop,ts 110 e>")
    for i in (2, 4, 6, 8, 2):
        w.rx(f"P. {i}001+1000 ack 1 win 257 <nop,nop,ts 120 e>")
    w.rx("P. 1+1000 ack 1 win 257 <nop,nop,ts 130 e>")
    w.rx("P. 1001+1000 ack 1 win 257 <nop,nop,ts 140 e>")


@script(tcp_dsack=0)
def no_dsack(w):
    w.passive()
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 2001+1000 ack 1 win 257")
    w.rx("P. 2001+1000 ack 1 win 257")


@script()
def no_sack_receiver(w):
    w.passive(syn="<mss 1000>")
    w.rx("P. 1001+1000 ack 1 win 257")
    w.rx("P. 3001+1000 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")


@script()
def keepalive(w):
    w.passive()
    w.do("setopt(c, 'TCP_KEEPIDLE', 1)")
    w.do("setopt(c, 'TCP_KEEPINTVL', 1)")
    w.do("setopt(c, 'TCP_KEEPCNT', 2)")
    w.do("setopt(c, 'SO_KEEPALIVE', 1)")
    w.later(1)
    w.rx(". 1 ack 1 win 257")
    w.later(2)
    w.later(1)
    w.do("recv(c, 10)")
