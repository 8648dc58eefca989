/* SPDX-License-Identifier: MIT */
/* tcp/window.c - what we let the peer send, and when we acknowledge
 * Spec:    RFC 9293 3.8.6.2.2 (no silly windows), 3.8.6.3 (delayed ACKs); RFC 7323 2; RFC 5681 4.2
 * Holds:   rcv_adv never moves back. On the wire the edge may seem to by less than one unit of the
 *          window scale, because windows are rounded down; data up to rcv_adv is taken all the same
 *          (RFC 7323 2.4)
 */
#include "stackd/tcp/tcp_int.h"

uint8_t tcp_wscale_for(uint32_t space)
{
	uint8_t ws = 0;

	while (space > 65535 && ws < TCP_WSCALE_MAX) {
		space >>= 1;
		ws++;
	}
	return ws;
}

/* Where the right edge could be: the limit counts from what the program has consumed, and the
 * header has 16 bits for it. */
static uint64_t edge_possible(const struct tcb *tcb)
{
	return pos_min(tcb->rcv_head + tcb->rx_limit,
		       rcv_data_end(tcb) + (65535ull << tcb->rcv_ws));
}

/* RFC 9293 3.8.6.2.2: the edge moves by a segment or half the buffer at least. */
static bool edge_worth(const struct tcb *tcb)
{
	return pos_span(tcb->rcv_adv, edge_possible(tcb)) >=
	       u32_min(tcb->rx_limit / 2, tcb->rcv_mss);
}

uint16_t tcp_window(struct stack *st, struct tcb *tcb)
{
	uint64_t from = rcv_data_end(tcb), wnd;
	struct sd_slot_e *e;

	if (edge_worth(tcb))
		wnd = pos_span(from, edge_possible(tcb));
	else
		wnd = pos_span(from, tcb->rcv_adv);
	wnd = u64_min(wnd >> tcb->rcv_ws, 65535);
	tcb->rcv_adv = pos_max(tcb->rcv_adv, from + (wnd << tcb->rcv_ws));
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

/* After the program has read: is it time to tell the peer? Not while it still has half of what it
 * could have; at once when it stands still. */
bool tcp_window_opened(const struct tcb *tcb)
{
	uint64_t now = tcb->flags & TF_ZERO_WND ? 0 : pos_span(rcv_data_end(tcb), tcb->rcv_adv);
	uint64_t could = pos_span(rcv_data_end(tcb), edge_possible(tcb));

	return edge_worth(tcb) && could >= 2 * now;
}

/* In-order data has arrived. */
void tcp_ack_sched(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t pending = tcb->rcv_nxt - tcb->rcv_wup;

	if (seg->seg_len > tcb->rcv_mss)
		tcb->rcv_mss = (uint16_t)u32_min(seg->seg_len, UINT16_MAX);
	if (pending > tcb->rcv_mss || (tcb->quick && !(tcb->flags & TF_PINGPONG)))
		tcp_due(st, tcb, DUE_ACK);
	else if (!tcb->dl[DL_DELACK])
		tcp_dl_set(st, tcb, DL_DELACK, TCP_DELACK_US);
}

/* Autotuning: whenever a window-full has arrived, see whether the program keeps up and whether it
 * took about a round trip; then the window is what limits the peer, and it doubles. */
void tcp_rcv_tune(struct stack *st, struct tcb *tcb)
{
	uint32_t took = tcp_ms(st) - tcb->drs_ms, rtt = (tcb->srtt_us + 999) / 1000;
	struct sd_slot_e *e;

	if (!(tcb->flags & TF_RCV_TUNE) || pos_lt(tcb->rcv_nxt, tcb->drs_edge))
		return;
	tcb->drs_ms = tcp_ms(st);
	tcb->drs_edge = tcb->rcv_nxt + tcb->rx_limit;
	tcp_rx_consume(st, tcb);
	if (tcb->rx_limit >= TCP_RMEM_MAX || rcv_data_end(tcb) - tcb->rcv_head > tcb->rx_limit / 2)
		return;
	if (took > 2 * u32_max(rtt, 1) + 1)
		return;
	tcb->rx_limit = u32_min(2 * tcb->rx_limit, TCP_RMEM_MAX);
	e = sock_slot_e(st, tcb->id);
	if (e)
		st_rel(&e->rx_limit, tcb->rx_limit);
}
