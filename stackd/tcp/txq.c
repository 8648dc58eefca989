/* SPDX-License-Identifier: MIT */
/* tcp/txq.c - transmit records: what was sent, when, and what became of it
 * A record stands for one frame, up to 64 KiB; payload stays in the send FIFO. Records are cut
 * where SACK blocks, losses and retransmissions need it, and neighbours that are SACKed grow
 * together again. Each lies in a list by position, and, while it may still be found lost, in one by
 * the time of its last transmission, which is the order RACK asks in.
 * Holds:   I2; a record that is SACKed, or lost and not sent again, is not in the list by time
 * Limits:  TCP_TXR_POOL records a worker; without one nothing is sent
 */
#include "stackd/tcp/tcp_int.h"

static uint32_t idx_of(struct stack *st, const struct tcp_txr *r)
{
	return (uint32_t)(r - st->tcp->txr);
}

/* Segments that @len bytes of data make; one for a FIN alone. */
static uint16_t segs_of(uint32_t data, uint32_t mss)
{
	return (uint16_t)(data <= mss ? 1 : (data + mss - 1) / mss);
}

uint32_t txq_get(struct stack *st)
{
	return idx_alloc(&st->tcp->txrs);
}

void txq_unget(struct stack *st, uint32_t idx)
{
	idx_free(&st->tcp->txrs, idx);
}

/* ---- the list by time ---- */

static void time_append(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	uint32_t idx = idx_of(st, r);

	r->tnext = 0;
	r->tprev = tcb->ts_tail;
	if (tcb->ts_tail)
		st->tcp->txr[tcb->ts_tail].tnext = idx;
	else
		tcb->ts_head = idx;
	tcb->ts_tail = idx;
	r->flags |= TXR_TIMED;
}

static void time_after(struct stack *st, struct tcb *tcb, struct tcp_txr *r, struct tcp_txr *add)
{
	uint32_t idx = idx_of(st, add);

	add->tprev = idx_of(st, r);
	add->tnext = r->tnext;
	if (r->tnext)
		st->tcp->txr[r->tnext].tprev = idx;
	else
		tcb->ts_tail = idx;
	r->tnext = idx;
	add->flags |= TXR_TIMED;
}

void txq_untime(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	if (!(r->flags & TXR_TIMED))
		return;
	if (r->tprev)
		st->tcp->txr[r->tprev].tnext = r->tnext;
	else
		tcb->ts_head = r->tnext;
	if (r->tnext)
		st->tcp->txr[r->tnext].tprev = r->tprev;
	else
		tcb->ts_tail = r->tprev;
	r->flags &= ~TXR_TIMED;
}

void txq_touch(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	txq_untime(st, tcb, r);
	r->sent_us = st->now_us;
	r->flags &= ~TXR_RATED;
	time_append(st, tcb, r);
}

/* ---- the list by position ---- */

static void link_after(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t idx)
{
	struct tcp_txr *add = &st->tcp->txr[idx];

	add->prev = r ? idx_of(st, r) : 0;
	add->next = r ? r->next : 0;
	if (r)
		r->next = idx;
	else
		tcb->txq_head = idx;
	if (add->next)
		st->tcp->txr[add->next].prev = idx;
	else
		tcb->txq_tail = idx;
}

void txq_append(struct stack *st, struct tcb *tcb, uint32_t idx, uint32_t len, uint16_t marks)
{
	struct tcp_txr *r = &st->tcp->txr[idx];
	bool fin = marks & TXR_FIN;

	*r = (struct tcp_txr){ .pos = tcb->snd_nxt, .len = len, .mss = tcb->mss,
			       .segs = segs_of(len - fin, tcb->mss), .sent_us = st->now_us,
			       .flags = marks };
	link_after(st, tcb, txr_at(st, tcb->txq_tail), idx);
	time_append(st, tcb, r);
	rate_on_sent(st, tcb, r);
	tcb->packets_out += r->segs;
}

/* The sums by mark move by @d segments. */
static void count(struct tcb *tcb, const struct tcp_txr *r, uint32_t d)
{
	tcb->packets_out += d;
	if (r->flags & TXR_SACKED)
		tcb->sacked_out += d;
	if (r->flags & TXR_LOST)
		tcb->lost_out += d;
	if (r->flags & TXR_RTX)
		tcb->retrans_out += d;
}

bool txq_split(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t len)
{
	uint32_t idx = txq_get(st);
	struct tcp_txr *rest = txr_at(st, idx);
	uint16_t was = r->segs;

	if (!rest)
		return false;
	ASSERT(len && len < r->len);
	*rest = *r;
	rest->pos += len;
	rest->len -= len;
	rest->flags &= ~TXR_TIMED;
	r->len = len;
	r->flags &= ~(TXR_FIN | TXR_PSH);
	r->segs = segs_of(len, r->mss);
	rest->segs = segs_of(txr_data(rest), rest->mss);
	count(tcb, r, (uint32_t)r->segs + rest->segs - was);
	link_after(st, tcb, r, idx);
	if (r->flags & TXR_TIMED)
		time_after(st, tcb, r, rest);
	return true;
}

/* The path may take more or less than when it was sent. */
void txq_recut(struct tcb *tcb, struct tcp_txr *r)
{
	uint16_t was = r->segs;

	if (r->mss == tcb->mss || r->flags & TXR_SACKED)
		return;
	r->mss = tcb->mss;
	r->segs = segs_of(txr_data(r), r->mss);
	count(tcb, r, (uint32_t)r->segs - was);
}

/* Out of the lists, counted no more; hints move on. */
void txq_remove(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	uint32_t idx = idx_of(st, r);

	count(tcb, r, (uint32_t)-(int32_t)r->segs);
	txq_untime(st, tcb, r);
	if (r->prev)
		st->tcp->txr[r->prev].next = r->next;
	else
		tcb->txq_head = r->next;
	if (r->next)
		st->tcp->txr[r->next].prev = r->prev;
	else
		tcb->txq_tail = r->prev;
	if (tcb->rtx_hint == idx)
		tcb->rtx_hint = r->next;
	if (tcb->sack_hint == idx)
		tcb->sack_hint = r->prev ? r->prev : r->next;
	idx_free(&st->tcp->txrs, idx);
}

/* The record after @r becomes part of it; both have the same marks. */
void txq_merge_next(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	struct tcp_txr *n = txr_at(st, r->next);
	uint32_t len = n->len, ends = n->flags & (TXR_FIN | TXR_PSH);
	uint16_t was = r->segs, more = n->segs;

	txq_remove(st, tcb, n);
	r->len += len;
	r->flags |= (uint16_t)ends;
	r->segs = r->flags & TXR_SACKED ? (uint16_t)(was + more) : segs_of(txr_data(r), r->mss);
	count(tcb, r, (uint32_t)r->segs - was);
}

/* Everything below @below is acknowledged. */
void txq_trim(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint64_t below)
{
	uint32_t cut = (uint32_t)(below - r->pos);
	uint16_t was = r->segs;

	r->pos += cut;
	r->len -= cut;
	r->segs = segs_of(txr_data(r), r->mss);
	if (r->segs > was)
		r->segs = was;
	count(tcb, r, (uint32_t)r->segs - was);
}

void txq_free(struct stack *st, struct tcb *tcb)
{
	while (tcb->txq_head)
		txq_remove(st, tcb, &st->tcp->txr[tcb->txq_head]);
}

bool txq_all_lost(struct stack *st, struct tcb *tcb)
{
	uint64_t pos = tcb->snd_una, end = tcb->snd_nxt;
	uint32_t most = 32u * tcb->mss;

	tcb->txq_head = tcb->txq_tail = tcb->ts_head = tcb->ts_tail = 0;
	tcb->rtx_hint = tcb->sack_hint = 0;
	tcb->packets_out = tcb->sacked_out = tcb->lost_out = tcb->retrans_out = 0;
	while (pos_lt(pos, end)) {
		uint32_t idx = txq_get(st), len = (uint32_t)u64_min(end - pos, most);
		bool fin = pos_lt(tcb->snd_tail, pos + len);
		struct tcp_txr *r = txr_at(st, idx);

		if (!r)
			return false;
		*r = (struct tcp_txr){ .pos = pos, .len = len, .mss = tcb->mss,
				       .segs = segs_of(len - fin, tcb->mss),
				       .sent_us = st->now_us,
				       .flags = TXR_LOST | TXR_EVER | (fin ? TXR_FIN : 0) };
		link_after(st, tcb, txr_at(st, tcb->txq_tail), idx);
		count(tcb, r, r->segs);
		pos += len;
	}
	return true;
}

/* ---- invariant ---- */

void txq_assert(struct stack *st, const struct tcb *tcb)
{
	uint32_t out = 0, sacked = 0, lost = 0, rtx = 0;
	uint64_t pos = tcb->snd_una;

	for (const struct tcp_txr *r = txr_at(st, tcb->txq_head); r; r = txr_at(st, r->next)) {
		ASSERT(r->pos == pos && r->len);
		pos += r->len;
		out += r->segs;
		sacked += r->flags & TXR_SACKED ? r->segs : 0;
		lost += r->flags & TXR_LOST ? r->segs : 0;
		rtx += r->flags & TXR_RTX ? r->segs : 0;
		ASSERT(!(r->flags & TXR_TIMED) || !(r->flags & TXR_SACKED));
		ASSERT(!(r->flags & TXR_SACKED) || !(r->flags & TXR_LOST));
	}
	ASSERT(pos == tcb->snd_nxt);
	ASSERT(out == tcb->packets_out && lost == tcb->lost_out && rtx == tcb->retrans_out);
	ASSERT(!(tcb->flags & TF_SACK) || sacked == tcb->sacked_out);
	ASSERT(tcb->sacked_out + tcb->lost_out <= tcb->packets_out);
}
