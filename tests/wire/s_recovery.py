# SPDX-License-Identifier: MIT
"""Slow start, losses and how they are repaired; a round trip here takes 100 ms."""
import time

import runner

STATE = "ca_state unacked sacked lost retrans snd_cwnd snd_ssthresh reordering delivered"
RTT = 0.1
GAP = 0.004
SACKS = "<mss 1000,sackOK,nop,nop,nop,wscale 7>"


def script(**sysctls):
    """With tail loss probes, which the files whose round trip is next to nothing go without."""
    return runner.script(**{"tcp_early_retrans": 3, "tcp_min_tso_segs": 2, **sysctls})


def opened(w, segs=10, syn=SACKS, **opts):
    """A connection with a measured round trip, segs segments of 1000 bytes in flight."""
    w.listen(**opts)
    w.rx(f"S 0 win 32792 {syn}")
    time.sleep(RTT)
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    if segs:
        w.do(f"send(c, {segs * 1000})")
        time.sleep(RTT)


def sack(w, ack, *blocks):
    """An ACK, in units of segments; late enough that nobody waits for the next one to send more."""
    time.sleep(GAP)
    text = " ".join(f"{1000 * a + 1}:{1000 * b + 1}" for a, b in blocks)
    w.rx(f". 1 ack {1000 * ack + 1} win 1000" + (f" <nop,nop,sack {text}>" if blocks else ""))


@script()
def slow_start_ack_each(w):
    opened(w, 40)
    for i in range(1, 6):
        time.sleep(GAP)
        w.rx(f". 1 ack {1000 * i + 1} win 1000")
    w.info(STATE)


@script()
def slow_start_ack_every_other(w):
    opened(w, 40)
    for i in (2, 4, 6, 8, 10):
        time.sleep(GAP)
        w.rx(f". 1 ack {1000 * i + 1} win 1000")
    w.info(STATE)


@script()
def slow_start_stretch_ack(w):
    opened(w, 60)
    w.rx(". 1 ack 10001 win 1000")
    w.quiet(0.02)
    w.info(STATE)
    time.sleep(RTT)
    w.rx(". 1 ack 30001 win 1000")
    w.quiet(0.02)
    w.info(STATE)


@script()
def slow_start_app_limited(w):
    """A window that is not used does not grow."""
    opened(w, 4)
    w.rx(". 1 ack 4001 win 1000")
    w.info(STATE)
    w.do("send(c, 8000)")
    time.sleep(RTT)
    w.rx(". 1 ack 12001 win 1000")
    w.info(STATE)


@script()
def slow_start_after_idle(w):
    opened(w, 40)
    for at in (10, 30, 40):
        w.rx(f". 1 ack {1000 * at + 1} win 1000")
        w.quiet(RTT)
    w.info("snd_cwnd")
    time.sleep(1.0)
    w.do("send(c, 1000)")
    w.info("snd_cwnd")


@script(tcp_slow_start_after_idle=0)
def no_slow_start_after_idle(w):
    opened(w, 40)
    for at in (10, 30, 40):
        w.rx(f". 1 ack {1000 * at + 1} win 1000")
        w.quiet(RTT)
    time.sleep(1.0)
    w.do("send(c, 1000)")
    w.info("snd_cwnd")


@script()
def sack_one_loss(w):
    opened(w)
    sack(w, 0, (1, 2))
    w.info(STATE)
    sack(w, 0, (1, 3))
    w.info(STATE)
    sack(w, 0, (1, 4))
    w.info(STATE)
    sack(w, 0, (1, 6))
    sack(w, 0, (1, 10))
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 10)
    w.info(STATE)


@script()
def sack_one_loss_more_to_send(w):
    opened(w, 30)
    for n in range(2, 11):
        sack(w, 0, (1, n))
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 10)
    w.info(STATE)
    sack(w, 14)
    w.info(STATE)


@script()
def sack_two_losses(w):
    opened(w)
    sack(w, 0, (1, 2))
    sack(w, 0, (3, 4), (1, 2))
    sack(w, 0, (3, 6), (1, 2))
    w.info(STATE)
    sack(w, 0, (3, 10), (1, 2))
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 2, (3, 10))
    w.info(STATE)
    sack(w, 10)
    w.info(STATE)


@script()
def sack_many_losses(w):
    opened(w, 20)
    sack(w, 0, (4, 5))
    sack(w, 0, (4, 6))
    sack(w, 0, (4, 7))
    w.info(STATE)
    sack(w, 0, (4, 10))
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 1, (4, 10))
    sack(w, 2, (4, 10))
    sack(w, 4, (4, 10))
    w.info(STATE)


@script()
def sack_inside_segment(w):
    opened(w)
    w.rx(". 1 ack 1 win 1000 <nop,nop,sack 1501:2501>")
    w.rx(". 1 ack 1 win 1000 <nop,nop,sack 2001:6001>")
    w.info(STATE)


@script()
def sack_broken_blocks(w):
    opened(w)
    w.rx(". 1 ack 1 win 1000 <nop,nop,sack 20001:30001>")
    w.rx(". 1 ack 1 win 1000 <nop,nop,sack 3001:2001>")
    w.rx(". 1 ack 1 win 1000 <nop,nop,sack -5000:-1>")
    w.info(STATE)


@script()
def limited_transmit(w):
    """The two first SACKs let new data out."""
    opened(w, 20)
    sack(w, 0, (1, 2))
    w.info(STATE)
    sack(w, 0, (1, 3))
    w.info(STATE)


@script(tcp_sack=0)
def limited_transmit_without_sack(w):
    opened(w, 20)
    sack(w, 0)
    w.info(STATE)
    sack(w, 0)
    w.info(STATE)


@script(tcp_sack=0)
def newreno(w):
    opened(w, 20)
    for _ in range(3):
        sack(w, 0)
    w.info(STATE)
    for _ in range(6):
        sack(w, 0)
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 4)
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 10)
    w.info(STATE)


@script()
def tail_loss_probe(w):
    opened(w, 3)
    w.later(1)
    w.info("ca_state unacked lost retrans snd_cwnd")
    sack(w, 0, (2, 3))
    w.info("ca_state unacked lost retrans snd_cwnd")
    time.sleep(RTT)
    sack(w, 3)
    w.info("ca_state unacked lost retrans snd_cwnd")


@script()
def tail_loss_probe_repairs(w):
    opened(w, 4)
    sack(w, 3)
    w.later(1)
    time.sleep(RTT)
    sack(w, 4)
    w.info(STATE)


@script()
def tail_loss_probe_needless(w):
    opened(w, 4)
    w.later(1)
    sack(w, 4)
    w.rx(". 1 ack 4001 win 1000 <nop,nop,sack 3001:4001>")
    w.info(STATE)


@script(tcp_early_retrans=0)
def timeout(w):
    opened(w, 4)
    w.later(1)
    w.info("ca_state unacked lost retrans snd_cwnd snd_ssthresh retransmits backoff")
    w.later(1)
    w.info("ca_state unacked lost retrans snd_cwnd snd_ssthresh retransmits backoff")
    sack(w, 1)
    w.info("ca_state unacked lost retrans snd_cwnd snd_ssthresh retransmits backoff")
    time.sleep(RTT)
    sack(w, 3)
    sack(w, 4)
    w.info("ca_state unacked lost retrans snd_cwnd snd_ssthresh retransmits backoff")


@script(tcp_early_retrans=0)
def frto_spurious(w):
    """RFC 5682: after the timeout the originals are acknowledged."""
    opened(w, 6)
    w.later(1)
    sack(w, 2)
    w.info(STATE)
    sack(w, 4)
    w.info(STATE)
    sack(w, 6)
    w.info(STATE)


@script(tcp_early_retrans=0)
def frto_real(w):
    opened(w, 12)
    w.later(1)
    sack(w, 1)
    w.info(STATE)
    sack(w, 1, (10, 11))
    w.info(STATE)


@script(tcp_early_retrans=0, tcp_frto=0)
def no_frto(w):
    opened(w, 6)
    w.later(1)
    sack(w, 1)
    w.info(STATE)
    sack(w, 3)
    w.info(STATE)


@script()
def undo_by_dsack(w):
    opened(w)
    sack(w, 0, (1, 2))
    sack(w, 0, (1, 3))
    sack(w, 0, (1, 4))
    w.info(STATE)
    sack(w, 4)
    w.rx(". 1 ack 4001 win 1000 <nop,nop,sack 1:1001>")
    w.info(STATE)
    sack(w, 10)
    w.info(STATE)


@script()
def undo_by_timestamp(w):
    """Eifel: the ACK echoes what was sent before the retransmission."""
    w.listen()
    w.rx("S 0 win 32792 <mss 1000,sackOK,ts 100 0,nop,wscale 7>")
    time.sleep(RTT)
    w.rx(". 1 ack 1 win 1000 <nop,nop,ts 200 e>")
    w.do("c := accept(l)")
    w.do("send(c, 9880)")
    time.sleep(RTT)
    w.mark()
    for n in (2, 3, 4):
        w.rx(f". 1 ack 1 win 1000 <nop,nop,ts 300 mark,nop,nop,sack 989:{1 + 988 * n}>")
    w.info(STATE)
    w.rx(". 1 ack 3953 win 1000 <nop,nop,ts 310 mark>")
    w.info(STATE)


@script()
def rack_reordering_window(w):
    """After reordering was seen a quarter of a round trip is waited."""
    opened(w, 10)
    sack(w, 0, (1, 2))
    sack(w, 2)
    w.info(STATE + " reord_seen")
    sack(w, 2, (3, 4))
    w.info(STATE)
    w.later(1)
    w.info(STATE)


@script()
def rack_lost_retransmission(w):
    opened(w, 30)
    for n in (2, 3, 4, 10):
        sack(w, 0, (1, n))
    time.sleep(RTT)
    sack(w, 0, (10, 12), (1, 10))
    w.info(STATE)
    sack(w, 0, (10, 14), (1, 10))
    w.info(STATE)


@script()
def dsack_widens_nothing_yet(w):
    opened(w, 4)
    sack(w, 4)
    w.rx(". 1 ack 4001 win 1000 <nop,nop,sack 1:1001>")
    w.info(STATE + " dsack_dups reord_seen")


@script()
def reneging(w):
    opened(w, 6)
    sack(w, 0, (2, 6))
    time.sleep(RTT)
    sack(w, 2)
    w.later(1)
    w.info(STATE)


@script(tcp_ecn=1)
def ecn_reduces(w):
    w.listen()
    time.sleep(GAP)
    w.rx("SEW 0 win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>")
    time.sleep(RTT)
    time.sleep(GAP)
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.do("send(c, 30000)")
    time.sleep(RTT)
    time.sleep(GAP)
    w.rx("E. 1 ack 1001 win 1000")
    w.info(STATE)
    time.sleep(GAP)
    w.rx("E. 1 ack 2001 win 1000")
    time.sleep(GAP)
    w.rx(". 1 ack 4001 win 1000")
    w.info(STATE)
    time.sleep(GAP)
    w.rx(". 1 ack 10001 win 1000")
    w.info(STATE + " delivered_ce")


@script(tcp_congestion_control="reno")
def reno_loss(w):
    opened(w, 30)
    for n in range(2, 11):
        sack(w, 0, (1, n))
    w.info(STATE)
    time.sleep(RTT)
    sack(w, 10)
    w.info(STATE)


@script(tcp_congestion_control="reno")
def reno_avoidance(w):
    opened(w, 60)
    for n in (2, 3, 4, 10):
        sack(w, 0, (1, n))
    time.sleep(RTT)
    sack(w, 15)
    for at in range(16, 30):
        sack(w, at)
    w.info(STATE)


@script()
def user_timeout(w):
    opened(w, 0)
    w.do("setopt(c, 'TCP_USER_TIMEOUT', 700)")
    w.do("send(c, 1000)")
    w.later(1)
    time.sleep(3)
    w.do("err(c)")
    w.poll()


@script()
def user_timeout_probes(w):
    w.passive(win=0)
    w.do("setopt(c, 'TCP_USER_TIMEOUT', 700)")
    w.do("send(c, 1000)")
    w.later(1)
    time.sleep(3)
    w.do("err(c)")


@script()
def user_timeout_keepalive(w):
    w.passive()
    w.do("setopt(c, 'TCP_USER_TIMEOUT', 1500)")
    w.do("setopt(c, 'TCP_KEEPIDLE', 1)")
    w.do("setopt(c, 'TCP_KEEPINTVL', 1)")
    w.do("setopt(c, 'SO_KEEPALIVE', 1)")
    w.later(1)
    time.sleep(2)
    w.do("err(c)")


@script()
def counts_of_segments(w):
    opened(w, 0)
    w.info("backoff snd_mss delivered bytes_acked bytes_sent segs_out data_segs_out")
    w.do("send(c, 3000)")
    w.rx(". 1 ack 3001 win 1000")
    w.info("bytes_acked bytes_sent segs_in segs_out data_segs_in data_segs_out notsent_bytes")
    w.rx("P. 1+500 ack 3001 win 1000")
    w.info("bytes_received segs_in segs_out data_segs_in data_segs_out bytes_retrans snd_wnd")
