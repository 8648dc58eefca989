/* SPDX-License-Identifier: MIT */
/* tcp/sack.c - selective acknowledgments: the sender's scoreboard, the receiver's blocks
 * The scoreboard is the transmit records themselves. A block is looked for from where the last
 * search ended, so that an ACK costs what it newly reports.
 * Spec:    RFC 2018; RFC 2883 (D-SACK); RFC 8985 (reordering)
 * Holds:   blocks are believed only inside [snd_una, snd_nxt], D-SACKs only about what was sent
 */
#include <string.h>

#include "stackd/tcp/tcp_int.h"

/* ---- sender ---- */

struct blk { uint64_t lo, hi; };

/* The reordering distance grows to what was seen. @low: a segment that arrived after others that
 * were sent later. */
void tcp_sack_reordering(struct stack *st, struct tcb *tcb, uint32_t low, bool ts)
{
	uint32_t fack = tcp_fack(tcb), dist, max = ld_rlx(&st->sys->tcp_max_reordering);

	if (!u32_lt(low, fack))
		return;
	dist = fack - low;
	if (dist > (uint32_t)tcb->reordering * tcb->mss)
		tcb->reordering = (uint16_t)u32_min((dist + tcb->mss - 1) / tcb->mss, max);
	tcb->reord_seen++;
	snmp_inc(st, ts ? SNMP_TcpExt_TCPTSReorder : SNMP_TcpExt_TCPSACKReorder);
}

/* Is the first block a D-SACK (RFC 2883 4)? */
static bool is_dsack(struct stack *st, const struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t lo = snd_pos(tcb, seg->o.sack[0].lo), hi = snd_pos(tcb, seg->o.sack[0].hi);

	if (pos_lt(lo, seg->ack_pos)) {
		snmp_inc(st, SNMP_TcpExt_TCPDSACKRecv);
		return true;
	}
	if (seg->o.sack_cnt > 1 && pos_le(snd_pos(tcb, seg->o.sack[1].lo), lo) &&
	    pos_le(hi, snd_pos(tcb, seg->o.sack[1].hi))) {
		snmp_inc(st, SNMP_TcpExt_TCPDSACKOfoRecv);
		return true;
	}
	return false;
}

static bool block_valid(const struct tcb *tcb, const struct blk *b, bool dsack)
{
	if (pos_lt(tcb->snd_nxt, b->hi) || !pos_lt(b->lo, b->hi) || !pos_lt(b->lo, tcb->snd_nxt))
		return false;
	if (pos_lt(tcb->snd_una, b->lo))
		return true;
	return dsack && tcb->undo_ok && pos_le(b->hi, tcb->snd_una) &&
	       !u32_lt((uint32_t)b->lo, tcb->undo_marker);
}

/* Something arrived twice. */
static void take_dsack(struct stack *st, struct tcb *tcb, const struct blk *b, struct tcp_ack *a)
{
	uint64_t len = b->hi - b->lo;
	uint32_t segs = len > tcb->mss && len <= SD_FIFO_MAX ?
			(uint32_t)((len + tcb->mss - 1) / tcb->mss) : 1;

	tcb->dsack_dups += segs;
	if (tcb->dsack_dups > tcb->retrans)
		return;			/* the network's doing, not ours */
	a->flag |= FLAG_DSACK;
	if (tcb->tlp_out && tcb->flags & TF_TLP_RTX && (uint32_t)b->hi == tcb->tlp_seq)
		a->flag |= FLAG_DSACK_TLP;
	else if (tcb->reord_seen)
		tcb->flags2 |= T2_RACK_DSACK;
	tcb->delivered += segs;		/* a needless retransmission has arrived, too */
	if (a->ece)
		tcb->delivered_ce += segs;
	if (tcb->undo_ok && tcb->undo_retrans > 0 && pos_le(b->hi, a->prior_una) &&
	    u32_lt(tcb->undo_marker, (uint32_t)b->hi))
		tcb->undo_retrans -= (int32_t)u32_min(segs, (uint32_t)tcb->undo_retrans);
}

/* A record that was never SACKed is, as a whole. */
static void newly_sacked(struct stack *st, struct tcb *tcb, struct tcp_txr *r, struct tcp_ack *a)
{
	rack_advance(st, tcb, r);
	if (r->flags & TXR_RTX) {
		/* Lost once, and the second copy arrived; not lost: both are on their way. */
		if (r->flags & TXR_LOST) {
			tcb->retrans_out -= r->segs;
			r->flags &= ~TXR_RTX;
		}
	} else if (!(r->flags & TXR_EVER)) {
		if (u32_lt((uint32_t)r->pos, tcp_fack(tcb)) && u32_lt((uint32_t)r->pos, a->reord))
			a->reord = (uint32_t)r->pos;
		if (!u32_lt(tcb->high_seq, (uint32_t)txr_end(r)))
			a->flag |= FLAG_ORIG;
		if (!a->first_sack_us)
			a->first_sack_us = r->sent_us;
		a->last_sack_us = r->sent_us;
	}
	if (r->flags & TXR_LOST)
		tcb->lost_out -= r->segs;
	rate_on_delivered(tcb, r, &a->rs);
	txq_untime(st, tcb, r);
	r->flags = (r->flags & ~TXR_LOST) | TXR_SACKED;
	a->flag |= FLAG_SACKED;
	if (!tcb->sacked_out || u32_lt(tcb->sack_high, (uint32_t)txr_end(r)))
		tcb->sack_high = (uint32_t)txr_end(r);
	tcb->sacked_out += r->segs;
	tcb->delivered += r->segs;
	if (a->ece)
		tcb->delivered_ce += r->segs;
}

static void dup_sacked(struct tcb *tcb, struct tcp_txr *r, struct tcp_ack *a)
{
	if (!(r->flags & TXR_EVER))
		return;
	if (tcb->undo_ok && tcb->undo_retrans > 0 && u32_lt(tcb->undo_marker, (uint32_t)txr_end(r)))
		tcb->undo_retrans -= (int32_t)u32_min(r->segs, (uint32_t)tcb->undo_retrans);
	if (r->flags & TXR_RTX) {
		r->flags &= ~TXR_RTX;
		tcb->retrans_out -= r->segs;
	}
	if (r->flags & TXR_SACKED && u32_lt((uint32_t)r->pos, a->reord))
		a->reord = (uint32_t)r->pos;
}

/* Cut @r so that it lies inside or outside [lo, hi) altogether; cuts are at whole segments.
 * Return: false when it lies outside. */
static bool fit(struct stack *st, struct tcb *tcb, struct tcp_txr *r, const struct blk *b)
{
	uint64_t end = txr_end(r), cut;

	if (pos_le(b->lo, r->pos)) {
		if (pos_le(end, b->hi))
			return true;
		cut = b->hi - r->pos;
		cut -= cut % r->mss;	/* of a segment, all or nothing */
		return cut && txq_split(st, tcb, r, (uint32_t)cut);
	}
	cut = b->lo - r->pos + r->mss - 1;
	cut -= cut % r->mss;
	if (cut < r->len)
		txq_split(st, tcb, r, (uint32_t)cut);
	return false;
}

static bool mergeable(const struct tcp_txr *r, const struct tcp_txr *n)
{
	const uint16_t same = TXR_SACKED | TXR_EVER | TXR_RTX;

	return n && r->flags & TXR_SACKED && (r->flags & same) == (n->flags & same) &&
	       r->mss == n->mss && r->len % r->mss == 0 && r->segs + n->segs < 60000;
}

/* SACKed neighbours become one, so that a long hole-ridden flight stays short to walk. */
static struct tcp_txr *coalesce(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	struct tcp_txr *p = txr_at(st, r->prev);

	if (p && mergeable(p, r)) {
		txq_merge_next(st, tcb, p);
		r = p;
	}
	if (mergeable(r, txr_at(st, r->next)))
		txq_merge_next(st, tcb, r);
	return r;
}

/* The first record that ends behind @pos. */
static struct tcp_txr *seek(struct stack *st, const struct tcb *tcb, uint64_t pos)
{
	struct tcp_txr *r = txr_at(st, tcb->sack_hint), *p;

	if (!r)
		r = txr_at(st, tcb->txq_head);
	while (r && (p = txr_at(st, r->prev)) && pos_lt(pos, txr_end(p)))
		r = p;
	while (r && pos_le(txr_end(r), pos))
		r = txr_at(st, r->next);
	return r;
}

static void tag(struct stack *st, struct tcb *tcb, const struct blk *b, bool dup, struct tcp_ack *a)
{
	struct tcp_txr *r = seek(st, tcb, b->lo);

	for (; r && pos_lt(r->pos, b->hi); r = txr_at(st, r->next)) {
		if (r->flags & TXR_SACKED && !dup) {
			tcb->sack_hint = (uint32_t)(r - st->tcp->txr);
			continue;
		}
		if (!fit(st, tcb, r, b))
			continue;
		if (dup)
			dup_sacked(tcb, r, a);
		if (!(r->flags & TXR_SACKED)) {
			newly_sacked(st, tcb, r, a);
			r = coalesce(st, tcb, r);
		}
		tcb->sack_hint = (uint32_t)(r - st->tcp->txr);
	}
}

/* Blocks in order of position: what lies lower was sent earlier. */
static void sort(struct blk *b, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned k = i; k && pos_lt(b[k].lo, b[k - 1].lo); k--) {
			struct blk t = b[k];

			b[k] = b[k - 1];
			b[k - 1] = t;
		}
}

void tcp_sack_rx(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a)
{
	struct blk b[TCP_SACK_MAX], d;
	unsigned n = 0, i = 0;
	bool dsack = is_dsack(st, tcb, seg);

	if (dsack) {
		d = (struct blk){ snd_pos(tcb, seg->o.sack[0].lo),
				  snd_pos(tcb, seg->o.sack[0].hi) };
		if (pos_lt(d.lo, d.hi))
			take_dsack(st, tcb, &d, a);
		if (pos_lt(d.lo, d.hi) && pos_lt(tcb->snd_una, d.hi) &&
		    pos_le(d.hi, tcb->snd_nxt) && pos_le(tcb->snd_una, d.lo))
			tag(st, tcb, &d, true, a);
		i = 1;
	}
	for (; i < seg->o.sack_cnt; i++) {
		b[n] = (struct blk){ snd_pos(tcb, seg->o.sack[i].lo),
				     snd_pos(tcb, seg->o.sack[i].hi) };
		if (!block_valid(tcb, &b[n], false))
			snmp_inc(st, SNMP_TcpExt_TCPSACKDiscard);
		else if (pos_lt(a->prior_una, b[n].hi))
			n++;
	}
	sort(b, n);
	for (i = 0; i < n; i++)
		tag(st, tcb, &b[i], false, a);
	if (tcb->ca != CA_LOSS || tcb->undo_ok)
		tcp_sack_reordering(st, tcb, a->reord, false);
}

/* ---- receiver ---- */

/* Note a duplicate for the next ACK; a longer one takes in the one before when they touch. */
void tcp_dsack_note(struct stack *st, struct tcb *tcb, uint64_t lo, uint64_t hi)
{
	if (!(tcb->flags & TF_SACK) || !ld_rlx(&st->sys->tcp_dsack) || !pos_lt(lo, hi))
		return;
	snmp_inc(st, pos_lt(lo, tcb->rcv_nxt) ? SNMP_TcpExt_TCPDSACKOldSent :
						SNMP_TcpExt_TCPDSACKOfoSent);
	tcb->dsack_lo = rcv_seq(tcb, lo);
	tcb->dsack_hi = rcv_seq(tcb, hi);
	tcb->flags |= TF_DSACK;
}

static void sel_drop(struct tcb *tcb, unsigned i)
{
	tcb->sel_cnt--;
	memmove(&tcb->sel[i], &tcb->sel[i + 1], (tcb->sel_cnt - i) * sizeof(tcb->sel[0]));
}

/* RFC 2018 4: the block that holds what came last goes first, the others as they were reported
 * before; those that touch it are part of it. */
void tcp_sack_note(struct tcb *tcb, uint64_t lo, uint64_t hi)
{
	uint32_t l = (uint32_t)lo, h = (uint32_t)hi;
	unsigned i = 0;

	if (!(tcb->flags & TF_SACK))
		return;
	while (i < tcb->sel_cnt) {
		if (u32_lt(h, tcb->sel[i][0]) || u32_lt(tcb->sel[i][1], l)) {
			i++;
			continue;
		}
		l = u32_lt(tcb->sel[i][0], l) ? tcb->sel[i][0] : l;
		h = u32_lt(h, tcb->sel[i][1]) ? tcb->sel[i][1] : h;
		sel_drop(tcb, i);
		i = 0;
	}
	if (tcb->sel_cnt == TCP_SACK_MAX)
		tcb->sel_cnt--;
	memmove(&tcb->sel[1], &tcb->sel[0], tcb->sel_cnt * sizeof(tcb->sel[0]));
	tcb->sel[0][0] = l;
	tcb->sel[0][1] = h;
	tcb->sel_cnt++;
}

/* rcv_nxt has moved: what it covers is reported no more. */
void tcp_sack_advance(struct tcb *tcb)
{
	for (unsigned i = tcb->sel_cnt; i-- > 0;)
		if (!u32_lt((uint32_t)tcb->rcv_nxt, tcb->sel[i][0]))
			sel_drop(tcb, i);
}

unsigned tcp_sack_blocks(struct tcb *tcb, uint32_t (*blk)[2], unsigned max)
{
	unsigned n = 0;

	if (!(tcb->flags & TF_SACK))
		return 0;
	if (tcb->flags & TF_DSACK && n < max) {
		blk[n][0] = tcb->dsack_lo;
		blk[n++][1] = tcb->dsack_hi;
		tcb->flags &= ~TF_DSACK;
	}
	for (unsigned k = 0; k < tcb->sel_cnt && n < max; k++) {
		blk[n][0] = rcv_seq(tcb, tcb->sel[k][0]);
		blk[n++][1] = rcv_seq(tcb, tcb->sel[k][1]);
	}
	return n;
}
