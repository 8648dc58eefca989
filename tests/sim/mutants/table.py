# SPDX-License-Identifier: MIT
"""Planted bugs: (name, file below stackd/, what stands there, what is put in its place).

What stands there must be there exactly once, or run.py fails: a mutant that no longer changes anything
would prove nothing. Each is a slip that somebody could make; the comment says what it breaks.
"""

MUTANTS = [
    # ---- windows ----
    ("window-shrinks", "tcp/window.c",                  # the right edge moves back
     "wnd = align_up(cur, tcb->rcv_ws);", "(void)cur;"),
    ("window-one-over", "tcp/output.c",                 # a byte more than was offered
     "uint64_t wnd = pos_span(tcb->snd_nxt, tcb->snd_edge);",
     "uint64_t wnd = pos_span(tcb->snd_nxt, tcb->snd_edge) + 1;"),
    ("window-edge-high", "tcp/ack.c",                   # the peer's window read a byte too wide
     "uint64_t edge = seg->ack_pos + wnd;", "uint64_t edge = seg->ack_pos + wnd + 1;"),
    ("window-scaled-twice", "tcp/conn.c",
     "tcb->snd_ws = tcb->flags & TF_WS ? o->wscale : 0;",
     "tcb->snd_ws = tcb->flags & TF_WS ? o->wscale + 1 : 0;"),
    ("window-kept-scale", "tcp/conn.c",                 # we scale, though the peer does not know
     "if (!(tcb->flags & TF_WS))\n\t\ttcb->rcv_ws = 0;", ""),
    ("window-said-for-nothing", "tcp/window.c",         # updates that 16 bits cannot say
     "could = u32_min(possible(tcb, cur), 65535u << tcb->rcv_ws);", "could = possible(tcb, cur);"),
    # ---- timers ----
    ("rto-lost", "tcp/rtx.c",                           # no timer after a timeout
     "tcp_rto_reset(st, tcb);\n\t} else {\n\t\ttcb->backoff",
     "tcp_rto_reset(st, tcb);\n\t} else if (tcb->rtx_cnt > 2) {\n\t\treturn;\n\t} else {\n\t\ttcb->backoff"),
    ("rto-no-backoff", "tcp/rtx.c",
     "tcb->backoff = (uint8_t)u32_min(tcb->backoff + 1u, 30);\n\t\ttcb->rto_us = (uint32_t)u64_min(2ull",
     "tcb->backoff = (uint8_t)u32_min(tcb->backoff + 1u, 30);\n\t\ttcb->rto_us = (uint32_t)u64_min(1ull"),
    ("rto-too-short", "tcp/rtt.c",                      # the deviation forgotten
     "uint64_t us = (uint64_t)(tcb->srtt8_us >> 3) + tcb->rttvar_us;",
     "uint64_t us = (uint64_t)(tcb->srtt8_us >> 3) + 1000;"),
    ("syn-sent-once", "tcp/rtx.c",
     "if (tcb->rtx_cnt >= tcb->probes)\t/* else TCP_DEFER_ACCEPT: the peer has it */\n\t\ttcp_send_syn(st, tcb);", ""),
    ("syn-ack-without-timer", "tcp/in_listen.c",
     "tcp_send_syn(st, tcb);\n\ttcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);", "tcp_send_syn(st, tcb);"),
    ("persist-lost", "tcp/output.c",                    # nothing looks after a closed window
     "if (!tcb->dl[DL_PERSIST])\n\t\ttcp_dl_set(st, tcb, DL_PERSIST, corked", "if (corked)\n\t\ttcp_dl_set(st, tcb, DL_PERSIST, corked"),
    ("probe-never-sent", "tcp/rtx.c",
     "tcb->backoff++;\n\ttcp_send_probe(st, tcb);", "tcb->backoff++;"),
    ("cork-timer-lost", "tcp/ack.c",                    # a duplicate ACK ends the wait for good
     "tcp_due(st, tcb, DUE_TX);\t/* what may not go yet (cork) gets its timer */", ""),
    ("delack-lost", "tcp/timer.c",                      # the delayed ACK never leaves
     "tcb->flags &= ~TF_PINGPONG;\n\ttcp_due(st, tcb, DUE_ACK);", "tcb->flags &= ~TF_PINGPONG;"),
    ("tlp-last-timer", "tcp/rack.c",                    # no timer behind a tail probe
     "snmp_inc(st, SNMP_TcpExt_TCPLossProbes);\n\t}\n\ttcp_rto_rearm(st, tcb);",
     "snmp_inc(st, SNMP_TcpExt_TCPLossProbes);\n\t}"),
    # ---- acknowledgments, SACK ----
    ("sack-edge-high", "tcp/sack.c",
     "blk[n++][1] = rcv_seq(tcb, tcb->sel[k][1]);", "blk[n++][1] = rcv_seq(tcb, tcb->sel[k][1] + 1);"),
    ("sack-edge-low", "tcp/sack.c",
     "blk[n][0] = rcv_seq(tcb, tcb->sel[k][0]);", "blk[n][0] = rcv_seq(tcb, tcb->sel[k][0] - 1);"),
    ("dsack-edge", "tcp/sack.c",
     "tcb->dsack_hi = rcv_seq(tcb, hi);", "tcb->dsack_hi = rcv_seq(tcb, hi + 1);"),
    ("sack-lost-stays", "tcp/sack.c",                   # SACKed, and still counted as lost
     "if (r->flags & TXR_LOST)\n\t\ttcb->lost_out -= r->segs;\n\trate", "rate"),
    ("ack-one-over", "tcp/ack.c",                       # a byte taken off that was not acknowledged
     "txq_trim(st, tcb, r, tcb->snd_una);", "txq_trim(st, tcb, r, tcb->snd_una + 1);"),
    ("fin-not-counted", "tcp/in_sync.c",
     "tcb->rcv_nxt++;", ""),
    ("ts-echo-wrong", "tcp/segment.c",
     "ts_now(st, tcb), tcb->ts_recent);\n\t\tmax--;", "ts_now(st, tcb), tcb->ts_recent + 1);\n\t\tmax--;"),
    # ---- reassembly, bytes ----
    ("overlap-miscopied", "tcp/reass.c",                # the old part of a segment taken for new
     "uint32_t from = (uint32_t)(tcb->rcv_nxt - seg->pos), len = seg->len - from;",
     "uint32_t from = 0, len = seg->len - (uint32_t)(tcb->rcv_nxt - seg->pos);"),
    ("hole-shifted", "tcp/reass.c",                     # data ahead a byte too far
     "got = store(st, tcb, seg, seg->pos, 0, seg->len);", "got = store(st, tcb, seg, seg->pos + 1, 0, seg->len);"),
    ("hole-not-closed", "tcp/reass.c",                  # a range that touches is forgotten
     "while (r->cnt && pos_le(r->r[0].lo, tcb->rcv_nxt)) {", "while (r->cnt && pos_lt(r->r[0].lo, tcb->rcv_nxt)) {"),
    ("ranges-overlap", "tcp/ranges.c",
     "r->r[i].hi = pos_max(r->r[j - 1].hi, hi);", "r->r[i].hi = hi;"),
    ("checksum-believed", "tcp/input.c",                # corrupted bytes are taken
     "if (!csum_rx_ok(p, ip_pseudo_sum(&info->src, &info->dst, IP_PROTO_TCP, pkt_total(p))))",
     "if (p->len > 2000 && !csum_rx_ok(p, 0))"),
    ("fin-forgotten", "tcp/reass.c",                    # a FIN taken although bytes before it had no room
     "tcb->flags |= TF_FIN_SEEN;\n\ttcb->rcv_fin", "tcb->rcv_fin"),
    ("fin-not-resent", "tcp/rtx.c",
     "(r->flags & TXR_FIN ? TH_FIN : 0);", "0;"),
    ("mss-without-options", "tcp/segment.c",
     "return blks ? tcb->mss - 4 - 8 * u32_min(blks, most) : tcb->mss;", "return tcb->mss;"),
    # ---- scoreboard, congestion ----
    ("split-keeps-fin", "tcp/txq.c",
     "r->flags &= ~(TXR_FIN | TXR_PSH);", "r->flags &= ~TXR_PSH;"),
    ("lost-by-records", "tcp/recover.c",                # a record of many segments counts as one
     "r->flags |= TXR_LOST;\n\ttcb->lost_out += r->segs;", "r->flags |= TXR_LOST;\n\ttcb->lost_out += 1;"),
    ("undo-half", "tcp/recover.c",
     "tcb->lost_out = 0;\n\t\ttcb->rtx_hint = 0;", "tcb->rtx_hint = 0;"),
    ("loss-ignored", "tcp/recover.c",                   # no reduction
     "tcb->ssthresh = tcp_cc_at(tcb->cc)->ssthresh(st, tcb);", "tcb->ssthresh = tcb->cwnd;"),
    ("timeout-ignored", "tcp/recover.c",                # the window survives a timeout
     "tcb->cwnd = tcp_in_flight(tcb) + 1;", "tcb->cwnd = tcp_in_flight(tcb) + 8;"),
    ("slow-start-too-fast", "tcp/cc.c",
     "uint32_t cwnd = u32_min(tcb->cwnd + acked, tcb->ssthresh);",
     "uint32_t cwnd = u32_min(tcb->cwnd + 3 * acked, tcb->ssthresh);\n\n\tacked *= 3;"),
    ("too-much-at-first", "tcp/conn.c",
     "tcb->cwnd = TCP_IW;", "tcb->cwnd = 2 * TCP_IW;"),
    # ---- events, states, ends ----
    ("reader-not-woken", "tcp/reass.c",
     "st->up->event(st, tcb->id, SD_EV_IN);", "(void)tcb;"),
    ("writer-not-woken", "tcp/ack.c",
     "st->up->event(st, tcb->id, SD_EV_OUT);", "(void)tcb;"),
    ("closing-stays", "tcp/in_sync.c",
     "case SD_ST_CLOSING:\n\t\ttcp_to_timewait(st, tcb, SD_ST_TIME_WAIT);\n\t\treturn TCP_DONE;",
     "case SD_ST_CLOSING:\n\t\treturn TCP_NEXT;"),
    ("last-ack-stays", "tcp/in_sync.c",
     "tcp_finish(st, tcb);\n\t\treturn TCP_DONE;", "return TCP_NEXT;"),
    ("orphan-miscounted", "tcp/tcb.c",
     "st->tcp->orphans -= !!(tcb->flags & TF_ORPHAN);", ""),
    ("ranges-leak", "tcp/tcb.c",
     "tcp_ranges_put(st, &tcb->ooo);", ""),
    ("records-leak", "tcp/tcb.c",
     "txq_free(st, tcb);", ""),
    ("slot-leak", "tcp/close.c",
     "if (orphan)\n\t\tsock_slot_free(st, id);\n\telse", "if (orphan)\n\t\t(void)id;\n\telse"),
    ("time-wait-forgets", "tcp/timewait.c",             # the port of a FIN_WAIT2 entry never comes back
     "wheel_arm(st->wheel, OBJ(OBJ_TW, idx), &tw->tm, st->now_us + tw_us(st, tw));",
     "if (tw->substate == SD_ST_TIME_WAIT)\n\t\twheel_arm(st->wheel, OBJ(OBJ_TW, idx), &tw->tm, st->now_us + tw_us(st, tw));"),
]

# What the ordinary test run tries: one of each kind.
SAMPLE = ["window-one-over", "rto-no-backoff", "sack-edge-high", "hole-shifted", "ack-one-over",
          "writer-not-woken"]
