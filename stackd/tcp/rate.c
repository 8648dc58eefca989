/* SPDX-License-Identifier: MIT */
/* tcp/rate.c - how fast data is delivered: a sample with each ACK
 * Each record carries what the connection had delivered when it was sent; when it is delivered
 * itself, the difference over the longer of the sending and the acknowledging interval is the rate.
 * Times are 32-bit microseconds: only differences of less than an hour matter.
 * Spec:    draft-cheng-iccrg-delivery-rate-estimation; draft-ietf-ccwg-bbr 4.1
 */
#include "stackd/tcp/tcp_int.h"

static uint32_t now32(const struct stack *st)
{
	return (uint32_t)st->now_us;
}

void rate_on_sent(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	if (!tcb->packets_out)
		tcb->first_tx_us = tcb->delivered_us = now32(st);
	r->first_us = tcb->first_tx_us;
	r->delivered_us = tcb->delivered_us;
	r->delivered = tcb->delivered;
	r->in_flight = tcp_in_flight(tcb) + r->segs;
	r->lost = tcb->lost;
	r->flags = tcb->app_limited ? r->flags | TXR_LIMITED : r->flags & ~TXR_LIMITED;
}

/* The sample is that of the segment that was sent last. */
void rate_on_delivered(struct tcb *tcb, struct tcp_txr *r, struct tcp_rate *rs)
{
	uint32_t sent = (uint32_t)r->sent_us, end = (uint32_t)txr_end(r);

	if (r->flags & TXR_RATED)
		return;
	if (!rs->valid || u32_lt(tcb->first_tx_us, sent) ||
	    (sent == tcb->first_tx_us && u32_lt(rs->last_end, end))) {
		rs->valid = true;
		rs->prior_delivered = r->delivered;
		rs->prior_us = r->delivered_us;
		rs->app_limited = r->flags & TXR_LIMITED;
		rs->retrans = r->flags & TXR_EVER;
		rs->tx_in_flight = r->in_flight;
		rs->prior_lost = r->lost;
		rs->last_end = end;
		tcb->first_tx_us = sent;
		rs->interval_us = sent - r->first_us;
	}
	r->flags |= TXR_RATED;
}

/* a / b > c / d */
static bool faster(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	return (uint64_t)a * d >= (uint64_t)c * b;
}

void rate_finish(struct stack *st, struct tcb *tcb, uint32_t delivered, uint32_t lost,
		 struct tcp_rate *rs)
{
	uint32_t ack_us;

	if (tcb->app_limited && u32_lt(tcb->app_limited, tcb->delivered))
		tcb->app_limited = 0;
	if (delivered)
		tcb->delivered_us = now32(st);
	rs->acked_sacked = delivered;
	rs->losses = lost;
	if (!rs->valid || tcb->flags2 & T2_RENEG) {
		rs->interval_us = rs->delivered = 0;
		return;
	}
	rs->delivered = tcb->delivered - rs->prior_delivered;
	ack_us = now32(st) - rs->prior_us;
	rs->interval_us = u32_max(rs->interval_us, ack_us);
	if (rs->interval_us < tcp_min_rtt(tcb) || !rs->interval_us) {
		rs->interval_us = rs->delivered = 0;
		return;
	}
	if (!rs->app_limited || !tcb->rate_us ||
	    faster(rs->delivered, rs->interval_us, tcb->rate_delivered, tcb->rate_us)) {
		tcb->rate_delivered = rs->delivered;
		tcb->rate_us = rs->interval_us;
	}
}

/* Nothing more to send, and neither window nor losses are why. */
void rate_app_limited(struct tcb *tcb)
{
	if (pos_span(tcb->snd_nxt, tcb->snd_tail) < tcb->mss && tcp_in_flight(tcb) < tcb->cwnd &&
	    tcb->lost_out <= tcb->retrans_out)
		tcb->app_limited = u32_max(tcb->delivered + tcp_in_flight(tcb), 1);
}
