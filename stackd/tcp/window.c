/* SPDX-License-Identifier: MIT */
/* tcp/window.c - what we let the peer send, and when we acknowledge
 * The window starts with what tcp_rmem's default is worth and grows by two segments with each that
 * arrives (rcv_ssthresh), up to the buffer (rx_limit), which itself grows while the program keeps
 * up. ACKs: at once for every second full segment, in the first 16 of a connection, when a hole is
 * filled or shown; else after ato, which follows the spacing of the data.
 * Spec:    RFC 9293 3.8.6.2.2 (no silly windows), 3.8.6.3 (delayed ACKs); RFC 7323 2; RFC 5681 4.2
 * Holds:   rcv_adv never moves back; windows are rounded up to the unit of their scale, so the edge
 *          may lie that much beyond rx_limit
 */
#include "stackd/tcp/tcp_int.h"

uint8_t tcp_wscale_for(uint32_t space)
{
	unsigned bits = 31u - (unsigned)__builtin_clz(space | 1);

	return (uint8_t)(bits <= 15 ? 0 : u32_min(bits - 15, TCP_WSCALE_MAX));
}

/* ---- the window ---- */

/* The SYN's: whole segments, what 16 bits can say. */
void tcp_window_init(struct stack *st, struct tcb *tcb)
{
	uint32_t mss = tcp_advmss(tcb), space = tcb->rx_limit;
	uint32_t most = ld_rlx(&st->sys->tcp_workaround_signed_windows) ? 32767 : 65535;

	if (space > mss)
		space -= space % mss;
	space = u32_min(space, most);
	tcb->rcv_adv = tcb->rcv_nxt + space;
	tcb->rcv_ssthresh = space;
	tcb->wnd_clamp = tcb->rx_limit;
}

/* The handshake is over: a segment's worth of the buffer stays ours. */
void tcp_window_open(struct tcb *tcb)
{
	uint32_t mss = tcp_advmss(tcb), clamp = tcb->rx_limit;

	if (clamp > 2 * mss)
		clamp = u32_max(2 * mss, clamp - mss);
	tcb->wnd_clamp = clamp;
	tcb->rcv_ssthresh = u32_min(tcb->rcv_ssthresh, clamp);
	tcb->drs_edge = tcb->rcv_nxt + tcb->rcv_ssthresh;
}

static uint32_t free_space(const struct tcb *tcb)
{
	uint64_t unread = rcv_data_end(tcb) - tcb->rcv_head;

	return unread < tcb->rx_limit ? tcb->rx_limit - (uint32_t)unread : 0;
}

static uint32_t align_up(uint32_t v, uint8_t ws)
{
	uint32_t unit = (1u << ws) - 1;

	return (v + unit) & ~unit;
}

/* What the window could be now; 0 rather than a silly one. */
static uint32_t possible(struct tcb *tcb, uint32_t cur)
{
	uint32_t space = free_space(tcb), full = u32_min(tcb->wnd_clamp, tcb->rx_limit);
	uint32_t mss = u32_min(tcb->rcv_mss, full);

	if (space < full / 2) {
		tcb->quick = 0;
		space &= ~((1u << tcb->rcv_ws) - 1);
		if (space < tcb->rx_limit / 16 || space < mss)
			return 0;
	}
	space = u32_min(space, tcb->rcv_ssthresh);
	if (tcb->rcv_ws)
		return align_up(space, tcb->rcv_ws);
	if (space < mss)
		return 0;
	/* unscaled: multiples of a segment, and no change for less than one */
	if (cur <= space - mss || cur > space)
		return space - space % mss;
	return mss == full && space > cur + full / 2 ? space : cur;
}

uint16_t tcp_window(struct stack *st, struct tcb *tcb)
{
	uint64_t from = tcb->rcv_nxt;
	uint32_t cur = (uint32_t)pos_span(from, tcb->rcv_adv), wnd = possible(tcb, cur);
	struct sd_slot_e *e;

	if (wnd < cur) {
		if (!wnd)
			snmp_inc(st, SNMP_TcpExt_TCPWantZeroWindowAdv);
		wnd = align_up(cur, tcb->rcv_ws);
	}
	wnd = u32_min(wnd, 65535u << tcb->rcv_ws);
	tcb->rcv_adv = pos_max(tcb->rcv_adv, from + wnd);
	wnd >>= tcb->rcv_ws;
	if (!wnd && !(tcb->flags & TF_ZERO_WND))
		snmp_inc(st, SNMP_TcpExt_TCPToZeroWindowAdv);
	if (wnd && tcb->flags & TF_ZERO_WND)
		snmp_inc(st, SNMP_TcpExt_TCPFromZeroWindowAdv);
	tcb->flags = wnd ? tcb->flags & ~TF_ZERO_WND : tcb->flags | TF_ZERO_WND;
	e = tcb->id.slot ? sock_slot_e(st, tcb->id) : NULL;
	if (e)
		st_rel(&e->rx_adv, tcb->rcv_adv);
	return (uint16_t)wnd;
}

/* After the program has read: is it time to tell the peer? When what it could have is twice what it
 * has. */
bool tcp_window_opened(struct tcb *tcb)
{
	uint32_t cur = tcb->flags & TF_ZERO_WND ? 0 :
		       (uint32_t)pos_span(rcv_data_end(tcb), tcb->rcv_adv);
	uint8_t quick = tcb->quick;
	uint32_t could;

	if (2 * cur > u32_min(tcb->wnd_clamp, tcb->rx_limit))
		return false;
	could = u32_min(possible(tcb, cur), 65535u << tcb->rcv_ws);
	tcb->quick = quick;
	return could && could >= 2 * cur;
}

/* ---- growth ---- */

static void grow(struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t most = u32_min(tcb->wnd_clamp, free_space(tcb));
	uint32_t by = 2 * u32_max(tcp_advmss(tcb), seg->len);

	if (tcb->rcv_ssthresh >= most)
		return;
	tcb->rcv_ssthresh += u32_min(by, most - tcb->rcv_ssthresh);
	tcb->quick |= 1;		/* the peer should know soon */
}

/* Autotuning: whenever a window-full has arrived, see whether the program keeps up and whether it
 * took about a round trip; then the window is what limits the peer, and the buffer doubles. */
void tcp_rcv_tune(struct stack *st, struct tcb *tcb)
{
	uint32_t took = tcp_ms(st) - tcb->drs_ms, rtt = (tcp_srtt_us(tcb) + 999) / 1000;
	uint32_t most = u32_min(ld_rlx(&st->sys->tcp_rmem[2]) / 2, (uint32_t)(SD_FIFO_MAX / 2));
	struct sd_slot_e *e;

	if (!(tcb->flags & TF_RCV_TUNE) || pos_lt(tcb->rcv_nxt, tcb->drs_edge) ||
	    !ld_rlx(&st->sys->tcp_moderate_rcvbuf))
		return;
	tcb->drs_ms = tcp_ms(st);
	tcb->drs_edge = tcb->rcv_nxt + u32_min(tcb->rx_limit, tcb->rcv_ssthresh);
	tcp_rx_consume(st, tcb);
	if (tcb->rx_limit >= most || rcv_data_end(tcb) - tcb->rcv_head > tcb->rx_limit / 2)
		return;
	if (took > 2 * u32_max(rtt, 1) + 1)
		return;
	tcb->rx_limit = u32_min(2 * tcb->rx_limit, most);
	tcb->wnd_clamp = tcb->rx_limit;
	e = sock_slot_e(st, tcb->id);
	if (e)
		st_rel(&e->rx_limit, tcb->rx_limit);
}

/* ---- when to acknowledge ---- */

void tcp_quickack(struct tcb *tcb, uint32_t most)
{
	uint32_t wnd = (uint32_t)pos_span(rcv_data_end(tcb), tcb->rcv_adv), n = 0;

	/* two segments per ACK for the whole window; doubling finds it without dividing */
	while (n < most && (n + 1) * 2 * tcb->rcv_mss <= wnd)
		n++;
	n = n ? n : 2;
	tcb->quick = (uint8_t)u32_max(tcb->quick, u32_min(n, most));
}

static void measure_mss(struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t len = u32_min(seg->seg_len, tcp_advmss(tcb));

	if (len >= tcb->rcv_mss)
		tcb->rcv_mss = (uint16_t)len;
}

/* RFC 3168 6.1.3: a marked segment makes every ACK say so until the sender says CWR. DCTCP says it
 * of each segment by itself (RFC 8257 3.2). */
static void tcp_ecn_data(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);
	uint8_t ect = seg->ip->tos & 3;
	bool ce = ect == 3;

	if (ect)
		tcb->flags2 |= T2_ECN_SEEN;
	else if (tcb->flags2 & T2_ECN_SEEN)
		tcp_quickack(tcb, 2);		/* not marked as capable: a retransmission */
	if (cc->event)
		cc->event(st, tcb, ce ? CC_CE : CC_NO_CE);
	if (ce && !(tcb->flags2 & T2_ECN_DEMAND)) {
		tcp_quickack(tcb, 2);
		tcb->flags2 |= T2_ECN_DEMAND;
	}
}

/* Data that is new has arrived, in order or not: what its timing says. */
void tcp_data_event(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t gap_us = u32_min(tcp_ms(st) - tcb->last_data_ms, 1000000) * 1000;

	measure_mss(tcb, seg);
	if (!tcb->ato_us) {
		tcp_quickack(tcb, TCP_QUICKACKS);
		tcb->ato_us = TCP_DELACK_US;
	} else if (gap_us <= TCP_DELACK_US / 2) {
		tcb->ato_us = tcb->ato_us / 2 + TCP_DELACK_US / 2;
	} else if (gap_us < tcb->ato_us) {
		tcb->ato_us = u32_min(tcb->ato_us / 2 + gap_us, tcb->rto_us);
	} else if (gap_us > tcb->rto_us) {
		tcp_quickack(tcb, TCP_QUICKACKS);	/* the sender starts anew */
	}
	tcb->last_data_ms = tcp_ms(st);
	if (tcb->flags2 & T2_ECN)
		tcp_ecn_data(st, tcb, seg);
	if (seg->len >= 128)
		grow(tcb, seg);
}

static void delay_ack(struct stack *st, struct tcb *tcb)
{
	uint32_t us = tcb->ato_us, most = TCP_DELACK_MAX_US;

	if (us > TCP_DELACK_US) {
		if (!(tcb->flags & TF_PINGPONG))
			most = 500000;
		if (tcb->srtt8_us)
			most = u32_min(most, u32_max(tcp_srtt_us(tcb), TCP_DELACK_US));
		us = u32_min(us, most);
	}
	us = u32_min(us, TCP_DELACK_MAX_US);
	if (!us)
		tcp_due(st, tcb, DUE_ACK);	/* no data has come yet: nothing is expected */
	else if (!tcb->dl[DL_DELACK])
		tcp_dl_set(st, tcb, DL_DELACK, us);
	else if ((int32_t)(tcb->dl[DL_DELACK] - tcp_ms(st)) <= (int32_t)(us / 4000))
		tcp_due(st, tcb, DUE_ACK);
}

/* In-order data or the FIN has arrived. */
void tcp_ack_sched(struct stack *st, struct tcb *tcb)
{
	tcb->flags2 |= T2_ACK_SCHED;
	if (tcb->rcv_nxt - tcb->rcv_wup > tcb->rcv_mss ||
	    (tcb->quick && !(tcb->flags & TF_PINGPONG)))
		tcp_due(st, tcb, DUE_ACK);
	else
		delay_ack(st, tcb);
}
