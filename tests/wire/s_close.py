# SPDX-License-Identifier: MIT
"""Ways to end: close, shutdown, linger, resets; what comes after."""
from runner import script


@script()
def close_active(w):
    w.passive()
    w.do("c.close()")
    w.rx(". 1 ack 2 win 257")
    w.rx("F. 1 ack 2 win 257")
    w.rx("F. 1 ack 2 win 257")
    w.rx(". 2 ack 2 win 257")


@script()
def close_passive(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.poll()
    w.do("recv(c, 10)")
    w.do("send(c, 10)")
    w.do("c.close()")
    w.rx(". 2 ack 12 win 257")
    w.rx(". 2 ack 12 win 257")


@script()
def close_simultaneous(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 1 win 257")
    w.rx(". 2 ack 2 win 257")
    w.rx(". 2 ack 2 win 257")


@script()
def close_fin_acked_with_fin(w):
    w.passive()
    w.do("c.shutdown(1)")
    w.info("state unacked")
    w.rx("F. 1 ack 2 win 257")
    w.info("state")
    w.do("recv(c, 10)")
    w.do("c.close()")


@script()
def half_close_read_on(w):
    w.passive()
    w.do("c.shutdown(1)")
    w.rx(". 1 ack 2 win 257")
    w.rx("P. 1+500 ack 2 win 257")
    w.info("state")
    w.do("recv(c, 1000)")
    w.rx("PF. 501+100 ack 2 win 257")
    w.do("recv(c, 1000)")
    w.do("recv(c, 1000)")


@script()
def shutdown_read(w):
    w.passive()
    w.do("c.shutdown(0)")
    w.poll()
    w.rx("P. 1+500 ack 1 win 257")
    w.do("recv(c, 1000)")
    w.do("send(c, 10)")


@script()
def shutdown_both(w):
    w.passive()
    w.do("c.shutdown(2)")
    w.poll()
    w.rx(". 1 ack 2 win 257")
    w.rx("P. 1+500 ack 2 win 257")
    w.do("err(c)")


@script()
def data_after_close(w):
    w.passive()
    w.do("c.close()")
    w.rx("P. 1+100 ack 1 win 257")
    w.rx("P. 1+100 ack 1 win 257")


@script()
def data_after_close_acked(w):
    """FIN_WAIT2 of an orphan."""
    w.passive()
    w.do("c.close()")
    w.rx(". 1 ack 2 win 257")
    w.rx("P. 1+100 ack 2 win 257")


@script()
def close_with_unread(w):
    w.passive()
    w.rx("P. 1+100 ack 1 win 257")
    w.do("c.close()")


@script()
def close_with_unread_and_unsent(w):
    w.passive(win=2)
    w.rx("P. 1+100 ack 1 win 2")
    w.do("send(c, 1000)")
    w.do("c.close()")


@script()
def linger_zero(w):
    w.passive()
    w.do("send(c, 100)")
    w.do("setopt(c, 'SO_LINGER', (1, 0))")
    w.do("c.close()")


@script()
def linger_zero_after_shutdown(w):
    w.passive()
    w.do("c.shutdown(1)")
    w.do("setopt(c, 'SO_LINGER', (1, 0))")
    w.do("c.close()")


@script()
def linger_waits(w):
    w.passive()
    w.do("c.setblocking(True)")
    w.do("setopt(c, 'SO_LINGER', (1, 5))")
    w.do("send(c, 100)")
    w.bg("close", "c.close()")
    w.rx(". 1 ack 102 win 257")
    w.join("close")


@script()
def reset_in_established(w):
    w.passive()
    w.do("send(c, 100)")
    w.rx("R. 1 ack 1 win 0")
    w.poll()
    w.do("recv(c, 10)")
    w.do("recv(c, 10)")
    w.do("send(c, 10)")


@script()
def reset_in_close_wait(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.rx("R. 2 ack 1 win 0")
    w.do("send(c, 10)")
    w.do("recv(c, 10)")


@script()
def reset_with_unread(w):
    w.passive()
    w.rx("P. 1+100 ack 1 win 257")
    w.rx("R 101 win 0")
    w.do("recv(c, 1000)")
    w.do("recv(c, 1000)")
    w.do("err(c)")


@script()
def write_after_peer_reset_close(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.do("send(c, 100)")
    w.rx("R 2 win 0")
    w.do("send(c, 100)")
    w.do("send(c, 100)")


@script()
def close_before_accept(w):
    w.passive(accept=False)
    w.rx("P. 1+100 ack 1 win 257")
    w.do("l.close()")


@script()
def close_listener_in_handshake(w):
    w.listen()
    w.rx("S 0 win 1000 <mss 1000>")
    w.do("l.close()")
    w.rx(". 1 ack 1 win 1000")


@script()
def close_in_syn_sent(w):
    w.connect(synack="")
    w.do("c.close()")


@script()
def close_sends_rest(w):
    """The FIN follows what the window did not let out."""
    w.passive(win=1)
    w.do("send(c, 300)")
    w.do("c.close()")
    w.rx(". 1 ack 129 win 2")
    w.rx(". 1 ack 302 win 2")


@script()
def fin_retransmitted(w):
    w.passive()
    w.do("c.close()")
    w.later(1)
    w.rx(". 1 ack 2 win 257")


@script()
def time_wait_answers(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257")
    w.rx("P. 1+10 ack 2 win 257")
    w.quiet(0.6)
    w.rx("P. 2+10 ack 2 win 257")
    w.rx("R 2 win 257")
    w.rx(". 2 ack 2 win 257")


@script()
def time_wait_new_syn(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257")
    w.rx("S 100 win 1000 <mss 1000>")


@script()
def time_wait_old_syn(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257")
    w.quiet(0.6)
    w.rx("S 0 win 1000 <mss 1000>")


@script()
def time_wait_timestamps(w):
    """RFC 6191: a newer timestamp lets a SYN in whatever its number; RFC 7323: an older one not."""
    w.passive(syn="<mss 1000,sackOK,ts 1000 0>", ack=" <nop,nop,ts 1001 e>")
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257 <nop,nop,ts 1010 e>")
    w.quiet(0.6)
    w.rx("S -50000 win 1000 <mss 1000,sackOK,ts 1005 0>")
    w.quiet(0.6)
    w.rx("S 5000 win 1000 <mss 1000,sackOK,ts 1005 0>")
    w.rx("S -50000 win 1000 <mss 1000,sackOK,ts 1011 0>")


@script(tcp_rfc1337=1)
def time_wait_rfc1337(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257")
    w.rx("R 2 win 257")
    w.rx("P. 2+10 ack 2 win 257")


@script()
def time_wait_reset(w):
    w.passive()
    w.do("c.close()")
    w.rx("F. 1 ack 2 win 257")
    w.rx("R 2 win 257")
    w.rx("P. 2+10 ack 2 win 257")


@script()
def fin_wait2_odd(w):
    w.passive()
    w.do("c.shutdown(1)")
    w.rx(". 1 ack 2 win 257")
    w.rx("F. 101 ack 2 win 257")
    w.rx("P. 1+50 ack 2 win 257")
    w.info("state")
    w.do("recv(c, 1000)")
    w.do("recv(c, 1000)")


@script()
def fin_with_data_out_of_order(w):
    w.passive()
    w.rx("F. 1001+500 ack 1 win 257")
    w.rx("P. 1+1000 ack 1 win 257")
    w.do("recv(c, 10000)")
    w.do("recv(c, 10000)")
    w.info("state")


@script()
def fin_with_data(w):
    w.passive()
    w.rx("FP. 1+500 ack 1 win 257", sync=False)
    w.later(1)
    w.do("recv(c, 10000)")
    w.info("state")


@script()
def data_beyond_fin(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.rx("P. 2+100 ack 1 win 257")
    w.do("recv(c, 100)")


@script()
def last_ack_timeout_data(w):
    w.passive()
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.do("send(c, 100)")
    w.do("c.close()")
    w.rx(". 2 ack 101 win 257")
    w.rx(". 2 ack 102 win 257")
    w.rx(". 2 ack 102 win 257")


@script()
def linger2_fin_wait2(w):
    """TCP_LINGER2 below zero: no FIN_WAIT2 at all."""
    w.passive()
    w.do("setopt(c, 'TCP_LINGER2', -1)")
    w.do("c.close()")
    w.rx(". 1 ack 2 win 257")


@script()
def linger2_short(w):
    w.passive()
    w.do("setopt(c, 'TCP_LINGER2', 1)")
    w.do("c.close()")
    w.rx(". 1 ack 2 win 257")
    w.quiet(1.5)
    w.rx("F. 1 ack 2 win 257")


@script()
def disconnect(w):
    w.passive()
    w.do("send(c, 10)")
    w.do("c.connect_ex(('0.0.0.0', 0))")
