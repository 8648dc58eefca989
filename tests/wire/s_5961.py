# SPDX-License-Identifier: MIT
"""RFC 5961: blind resets, SYNs and ACKs; sequence checks of RFC 9293 3.10.7.4."""
from runner import script


@script()
def rst_exact(w):
    w.passive()
    w.rx("R 1 win 0")
    w.do("recv(c, 10)")


@script()
def rst_in_window(w):
    w.passive()
    w.rx("R 2 win 0")
    w.do("recv(c, 10)")
    w.quiet(0.6)
    w.rx("R. 1000 ack 1 win 0")
    w.do("recv(c, 10)")
    w.rx("R 1 win 0")
    w.do("recv(c, 10)")


@script()
def rst_outside(w):
    w.passive()
    w.rx("R 0 win 0")
    w.rx("R 200000 win 0")
    w.do("recv(c, 10)")


@script()
def rst_at_sack_edge(w):
    """A reset at the end of the highest out-of-order data is believed (as after its FIN was lost)."""
    w.passive()
    w.rx("P. 1001+1000 ack 1 win 257")
    w.rx("R 2001 win 0")
    w.do("recv(c, 10)")


@script()
def rst_limited(w):
    w.passive()
    w.rx("R 2 win 0")
    w.rx("R 3 win 0")
    w.rx("R 4 win 0")


@script()
def rst_after_fin(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.rx("R 1 win 0")
    w.do("send(c, 1)")


@script()
def syn_in_window(w):
    w.passive()
    w.rx("S 1 win 1000 <mss 1000>")
    w.quiet(0.6)
    w.rx("S 1000 win 1000 <mss 1000>")
    w.do("recv(c, 10)")


@script()
def syn_outside(w):
    w.passive()
    w.rx("S 500000 win 1000 <mss 1000>")
    w.quiet(0.6)
    w.rx("S -5 win 1000 <mss 1000>")
    w.do("recv(c, 10)")


@script()
def ack_too_old(w):
    w.passive()
    w.do("send(c, 1000)")
    w.rx(". 1 ack 1001 win 257")
    w.rx("P. 1+10 ack -50000 win 257")
    w.do("recv(c, 10)")
    w.quiet(0.6)
    w.rx("P. 1+10 ack 1 win 257")
    w.do("recv(c, 10)")


@script()
def ack_of_unsent(w):
    w.passive()
    w.do("send(c, 1000)")
    w.rx(". 1 ack 5001 win 257")
    w.rx("P. 1+10 ack 5001 win 257")
    w.do("recv(c, 10)")
    w.rx(". 1 ack 1001 win 257")
    w.info("unacked")


@script()
def no_ack_flag(w):
    w.passive()
    w.rx("P 1+10 win 257")
    w.do("recv(c, 10)")
    w.rx("- 1+10 win 257")


@script()
def old_data(w):
    w.passive()
    w.rx("P. 1+1000 ack 1 win 257")
    w.do("recv(c, 2000)")
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 501+1000 ack 1 win 257")
    w.do("recv(c, 2000)")


@script()
def beyond_window(w):
    w.passive()
    w.rx("P. 500001+100 ack 1 win 257")
    w.rx(". 500001 ack 1 win 257")
    w.rx(". 500001 ack 1 win 257")
    w.rx("F. 500001 ack 1 win 257")


@script()
def old_pure_acks_limited(w):
    w.passive()
    w.rx(". 0 ack 1 win 257")
    w.rx(". 0 ack 1 win 257")
    w.rx(". -1 ack 1 win 257")
    w.quiet(0.6)
    w.rx(". 0 ack 1 win 257")


@script()
def keepalive_from_peer(w):
    w.passive()
    w.rx("P. 1+10 ack 1 win 257")
    w.do("recv(c, 10)")
    w.rx(". 10 ack 1 win 257")
    w.quiet(0.6)
    w.rx("P. 10+1 ack 1 win 257")


@script(tcp_invalid_ratelimit=0)
def no_limit(w):
    w.passive()
    w.rx(". 0 ack 1 win 257")
    w.rx(". 0 ack 1 win 257")
    w.rx("R 5 win 0")
    w.rx("R 5 win 0")
    w.rx("S 5 win 0")
    w.rx("S 5 win 0")


@script()
def fin_wait1_ack_of_unsent(w):
    w.passive()
    w.do("c.shutdown(1)")
    w.rx(". 1 ack 5000 win 257")
    w.info("state")


@script()
def syn_sent_challenge(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx(". 1 ack 5000 win 257", sync=False)
    w.later(2)
    w.rx("R. 1 ack 5000 win 257")
    w.do("err(c)")
