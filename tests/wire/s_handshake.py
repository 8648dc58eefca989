# SPDX-License-Identifier: MIT
"""Handshakes and their options, both ways."""
from runner import script

STATE = "state ca_state unacked options snd_mss rcv_mss snd_cwnd advmss pmtu wscale"


@script()
def passive_all_options(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1460,sackOK,ts 100 0,nop,wscale 7>")
    w.rx(". 1 ack 1 win 257 <nop,nop,ts 110 e>")
    w.do("c := accept(l)")
    w.do("send(c, 100)")
    w.rx(". 1 ack 101 win 257 <nop,nop,ts 120 e>")
    w.info(STATE)


@script()
def passive_each_option(w):
    """What is offered is answered, nothing else."""
    w.listen()
    for i, o in enumerate(("", "<mss 1000>", "<nop,wscale 3>", "<sackOK>", "<ts 7 0>",
                           "<mss 1000,sackOK,ts 7 0>", "<mss 300,nop,wscale 14>",
                           "<mss 0,nop,wscale 15>", "<mss 40>", "<sackOK,nop,nop,wscale 0>")):
        w.my_port = 41000 + i
        w.rx(f"S 0 win 1000 {o}".strip())
        w.rx("R 1 win 0")


@script()
def passive_broken_options(w):
    w.listen()
    for i, o in enumerate(("raw 0205ffff01", "raw 02", "raw 0201", "raw 030204", "raw 080a0000",
                           "mss 1000,raw 00,sackOK", "raw fd04aabb,mss 1200", "raw 030307,raw 030303",
                           "mss 500,mss 1400", "nop,nop,nop,sackOK,mss 1300")):
        w.my_port = 41000 + i
        w.rx(f"S 0 win 1000 <{o}>")
        w.rx("R 1 win 0")


@script()
def passive_mss_of_data(w):
    w.passive(syn="<mss 300,sackOK>", win=32792)
    w.do("send(c, 1000)")
    w.rx(". 1 ack 1001 win 32792")
    w.info(STATE)


@script()
def passive_no_mss(w):
    w.passive(syn="", win=32792)
    w.do("send(c, 1500)")
    w.rx(". 1 ack 1501 win 32792")
    w.info(STATE)


@script()
def passive_tiny_mss(w):
    w.passive(syn="<mss 40>", win=32792)
    w.do("send(c, 500)")
    w.rx(". 1 ack 501 win 32792")
    w.info(STATE)


@script()
def syn_with_data(w):
    """Payload of a SYN is not taken without Fast Open."""
    w.listen()
    w.rx("S 0+500 win 32792 <mss 1000,sackOK>")
    w.rx(". 1 ack 1 win 257")
    w.do("c := accept(l)")
    w.rx("P. 1+500 ack 1 win 257")
    w.do("recv(c, 1000)")


@script()
def handshake_ack_with_data(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>")
    w.rx("P. 1+500 ack 1 win 257")
    w.do("c := accept(l)")
    w.do("recv(c, 1000)")
    w.do("send(c, 10)")


@script()
def handshake_fin_with_ack(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx("F. 1 ack 1 win 257", sync=False)
    w.later(1)
    w.do("c := accept(l)")
    w.do("recv(c, 1000)")
    w.info("state")


@script()
def synack_again_for_syn_again(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx(". 1 ack 1 win 257")
    w.do("c := accept(l)")
    w.info("state retransmits total_retrans")


@script()
def synack_retransmitted(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000,sackOK,ts 100 0>")
    w.later(1)
    w.rx(". 1 ack 1 win 257 <nop,nop,ts 200 e>")
    w.do("c := accept(l)")
    w.info("state retransmits total_retrans snd_cwnd")


@script()
def syn_recv_wrong_ack(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx(". 1 ack 0 win 257")
    w.rx(". 1 ack 2 win 257")
    w.rx(". 2 ack 1 win 257")
    w.rx(". 100000 ack 1 win 257")
    w.do("c := accept(l)")
    w.info("state")


@script()
def syn_recv_reset(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx("R 5 win 0")
    w.rx("R 1 win 0")
    w.rx(". 1 ack 1 win 257")
    w.do("c := accept(l)")


@script()
def syn_recv_other_syn(w):
    w.listen()
    w.rx("S 0 win 32792 <mss 1000>")
    w.rx("S 100 win 32792 <mss 1000>")
    w.rx(". 1 ack 1 win 257")
    w.do("c := accept(l)")
    w.info("state")


@script()
def no_listener(w):
    w.rx("S 0 win 1000 <mss 1000>")
    w.rx(". 1 ack 77 win 1000")
    w.rx("P. 1+20 ack 77 win 1000")
    w.rx("F 5+7 win 1000")
    w.rx("S. 9 ack 5 win 1000")
    w.rx("R 1 win 1000")
    w.rx("R. 1 ack 1 win 1000")


@script()
def listener_and_odd_flags(w):
    w.listen()
    w.rx("- 0 win 1000")
    w.rx("F 0 win 1000")
    w.rx("SF 0 win 1000")
    w.rx("SR 0 win 1000")
    w.rx("S. 0 ack 5 win 1000")
    w.rx(". 0 ack 5 win 1000")
    w.rx("SP 0 win 1000 <mss 1000>")
    w.rx("SU 0 win 1000 <mss 1000>")


@script()
def active_all_options(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S. 0 ack 1 win 32792 <mss 1460,sackOK,ts 100 e,nop,wscale 7>")
    w.do("err(c)")
    w.do("send(c, 2000)")
    w.rx(". 1 ack 2001 win 257 <nop,nop,ts 110 e>")
    w.info(STATE)


@script()
def active_no_options(w):
    w.connect(synack=" ")
    w.do("send(c, 2000)")
    w.rx(". 1 ack 2001 win 500")
    w.info(STATE)


@script(tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
def active_offers_nothing(w):
    w.connect(synack="<mss 1460,sackOK,ts 5 0,nop,wscale 7>")
    w.do("send(c, 2000)")
    w.info(STATE)


@script(tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
def passive_accepts_nothing(w):
    w.passive(syn="<mss 1460,sackOK,ts 5 0,nop,wscale 7>")
    w.do("send(c, 2000)")
    w.info(STATE)


@script(tcp_timestamps=0)
def active_no_timestamps(w):
    w.connect(synack="<mss 1460,sackOK,nop,nop,nop,wscale 7>")
    w.do("send(c, 2000)")
    w.info(STATE)


@script(tcp_sack=0)
def active_no_sack(w):
    w.connect(synack="<mss 1460,nop,nop,ts 5 e,nop,wscale 7>")
    w.do("send(c, 2000)")
    w.info(STATE)


@script()
def active_refused(w):
    w.connect(synack="")
    w.rx("R. 0 ack 1 win 0")
    w.do("err(c)")
    w.do("c.connect($PEER)")


@script()
def active_reset(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("R 0 win 0")
    w.rx("R. 0 ack 9 win 0")
    w.rx("R. 0 ack 1 win 0")
    w.do("err(c)")
    w.poll()


@script()
def active_wrong_ack(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx(". 0 ack 1 win 1000")
    w.rx("F. 0 ack 1 win 1000")
    w.rx("S. 0 ack 7 win 1000", sync=False)
    w.later(2)
    w.rx("S. 0 ack 1 win 1000 <mss 900>")
    w.do("err(c)")


@script()
def active_syn_retransmitted(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.later(1)
    w.rx("S. 0 ack 1 win 1000 <mss 900>")
    w.do("err(c)")
    w.info("state retransmits total_retrans snd_cwnd")


@script()
def simultaneous_open(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S 0 win 1000 <mss 900,sackOK,nop,wscale 7>")
    w.rx("S. 0 ack 1 win 1000 <mss 900,sackOK,nop,wscale 7>")
    w.do("err(c)")
    w.do("send(c, 10)")
    w.info("state")


@script()
def simultaneous_open_plain_ack(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S 0 win 1000 <mss 900,sackOK,ts 50 0,nop,wscale 7>")
    w.rx(". 1 ack 1 win 1000 <nop,nop,ts 60 e>")
    w.do("err(c)")
    w.do("send(c, 10)")
    w.info("state")


@script()
def synack_again_in_established(w):
    w.connect()
    w.rx("S. 0 ack 1 win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>")
    w.do("send(c, 10)")


@script()
def synack_with_data(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("S. 0+100 ack 1 win 1000 <mss 900>")
    w.do("err(c)")
    w.rx("P. 1+100 ack 1 win 1000")
    w.do("recv(c, 1000)")


@script()
def synack_with_fin(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("SF. 0 ack 1 win 1000 <mss 900>")
    w.do("err(c)")
    w.info("state")


@script()
def maxseg_option(w):
    w.listen(TCP_MAXSEG=700)
    w.rx("S 0 win 32792 <mss 1000,sackOK>")
    w.rx(". 1 ack 1 win 32792")
    w.do("c := accept(l)")
    w.do("getopt(c, 'TCP_MAXSEG')")
    w.do("send(c, 1500)")
    w.info(STATE)


@script()
def maxseg_active(w):
    w.connect(before=["setopt(c, 'TCP_MAXSEG', 600)"])
    w.do("getopt(c, 'TCP_MAXSEG')")
    w.do("send(c, 1500)")
    w.info(STATE)


@script()
def small_rcvbuf(w):
    w.passive(SO_RCVBUF=8192)
    w.rx("P. 1+1000 ack 1 win 257")
    w.rx("P. 1001+1000 ack 1 win 257")
    w.info("advmss rcv_mss")


@script()
def rcvbuf_active(w):
    w.connect(before=["setopt(c, 'SO_RCVBUF', 20000)"])
    w.rx("P. 1+1000 ack 1 win 257")


@script(tcp_ecn=1)
def ecn_active(w):
    w.active = True
    w.do("c := tcp()")
    w.do("c.connect($PEER)")
    w.rx("SE. 0 ack 1 win 1000 <mss 900>")
    w.do("send(c, 10)")
    w.rx("E. 1 ack 11 win 1000")
    w.do("send(c, 10)")
    w.rx("P. 1+100 ack 21 win 1000", tos=3)
    w.rx("P. 101+100 ack 21 win 1000", tos=2)
    w.rx("PW. 201+100 ack 21 win 1000", tos=2)
    w.do("send(c, 10)")
    w.info("state ca_state snd_cwnd options delivered_ce")


@script()
def ecn_passive(w):
    w.listen()
    w.rx("SEW 0 win 1000 <mss 900>")
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.do("send(c, 10)")
    w.rx("P. 1+100 ack 11 win 1000", tos=3)
    w.do("send(c, 10)")
    w.info("options")


@script()
def ecn_odd_syns(w):
    w.listen()
    for i, f in enumerate(("SE", "SW", "SEW")):
        w.my_port = 41000 + i
        w.rx(f"{f} 0 win 1000 <mss 900>")
        w.rx("R 1 win 0")


@script()
def backlog_full(w):
    w.listen(backlog=1)
    for i in range(4):
        w.my_port = 41000 + i
        w.isn += 1000000
        w.rx("S 0 win 1000 <mss 900>")
        w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.do("d := accept(l)")
    w.do("accept(l)")


@script()
def defer_accept(w):
    w.listen(TCP_DEFER_ACCEPT=3)
    w.rx("S 0 win 1000 <mss 900>")
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.rx("P. 1+10 ack 1 win 1000")
    w.do("c := accept(l)")
    w.do("recv(c, 100)")


@script()
def defer_accept_silent(w):
    """The client never speaks: the SYN+ACKs come again, and the ACK of the last opens it."""
    w.listen(TCP_DEFER_ACCEPT=1)
    w.rx("S 0 win 1000 <mss 900>")
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.later(1)
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")


@script(tcp_abort_on_overflow=1)
def backlog_full_abort(w):
    w.listen(backlog=0)
    for i in range(3):
        w.my_port = 41000 + i
        w.isn += 1000000
        w.rx("S 0 win 1000 <mss 900>")
        w.rx(". 1 ack 1 win 1000")


@script(tcp_syncookies=2)
def syncookies_always(w):
    w.listen()
    w.rx("S 0 win 1000 <mss 900,sackOK,ts 100 0,nop,wscale 7>")
    w.windows = False               # the tables of segment sizes differ
    w.rx(". 1 ack 1 win 1000 <nop,nop,ts 110 e>")
    w.do("c := accept(l)")
    w.do("send(c, 10)")
    w.info("options")


@script(tcp_syncookies=2)
def syncookies_without_timestamps(w):
    w.listen()
    w.rx("S 0 win 1000 <mss 1460,sackOK,nop,wscale 7>")
    w.rx(". 1 ack 1 win 1000")
    w.do("c := accept(l)")
    w.do("send(c, 10)")
    w.info("options snd_mss")
