/* SPDX-License-Identifier: MIT */
/* tcp/sack.c - selective acknowledgments: the sender's scoreboard, the receiver's blocks
 * Spec:    RFC 2018, RFC 2883 (D-SACK), RFC 6675 4 (IsLost, HighSacked)
 * Holds:   I5; blocks are believed only inside (snd_una, snd_nxt]; a scoreboard that cannot be had
 *          or is full forgets, which costs retransmissions and nothing else
 */
#include "stackd/tcp/tcp_int.h"

/* ---- sender ---- */

/* RFC 2883 4: the first block is a D-SACK when it lies below the ACK or inside the second block. */
static bool is_dsack(const struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t lo = snd_pos(tcb, seg->o.sack[0].lo), hi = snd_pos(tcb, seg->o.sack[0].hi);

	if (pos_lt(lo, seg->ack_pos))
		return true;
	return seg->o.sack_cnt > 1 && pos_le(snd_pos(tcb, seg->o.sack[1].lo), lo) &&
	       pos_le(hi, snd_pos(tcb, seg->o.sack[1].hi));
}

uint64_t tcp_sack_rx(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t lo, hi, fresh, sum = 0;
	struct tcp_ranges *sb;
	unsigned i = 0;

	if (!seg->o.sack_cnt || !(tcb->flags & TF_SACK))
		return 0;
	if (is_dsack(tcb, seg)) {
		snmp_inc(st, SNMP_TcpExt_TCPDSACKRecv);
		i = 1;
	}
	for (; i < seg->o.sack_cnt; i++) {
		lo = snd_pos(tcb, seg->o.sack[i].lo);
		hi = snd_pos(tcb, seg->o.sack[i].hi);
		if (!pos_lt(lo, hi) || !pos_lt(pos_max(tcb->snd_una, seg->ack_pos), lo) ||
		    pos_lt(tcb->snd_nxt, hi))
			continue;
		sb = tcp_ranges_get(st, &tcb->sb);
		if (sb && tcp_ranges_add(sb, lo, hi, &fresh))
			sum += fresh;
	}
	return sum;
}

/* RFC 6675 IsLost(): the highest position such that three separate ranges, or more than two
 * segments' worth of bytes, were SACKed at or above it. Return: snd_una when nothing is deemed
 * lost. */
uint64_t tcp_sack_lost_edge(struct stack *st, const struct tcb *tcb)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	uint64_t bytes = 0;

	for (unsigned i = sb ? sb->cnt : 0; i > 0; i--) {
		bytes += sb->r[i - 1].hi - sb->r[i - 1].lo;
		if (sb->cnt - i + 1 >= TCP_DUP_THRESH ||
		    bytes > (TCP_DUP_THRESH - 1) * (uint64_t)tcb->mss)
			return sb->r[i - 1].lo;
	}
	return tcb->snd_una;
}

/* ---- receiver ---- */

/* Note a duplicate for the next ACK; the newest wins. */
void tcp_dsack_note(struct tcb *tcb, uint64_t lo, uint64_t hi)
{
	if (!(tcb->flags & TF_SACK) || !pos_lt(lo, hi))
		return;
	tcb->dsack_lo = rcv_seq(tcb, lo);
	tcb->dsack_hi = rcv_seq(tcb, hi);
	tcb->flags |= TF_DSACK;
}

/* RFC 2018 4: the range that holds the segment that came last goes first, then others. */
unsigned tcp_sack_blocks(struct stack *st, struct tcb *tcb, uint32_t (*blk)[2], unsigned max)
{
	const struct tcp_ranges *r = tcp_ranges_at(st, tcb->ooo);
	unsigned n = 0, i;

	if (!(tcb->flags & TF_SACK))
		return 0;
	if (tcb->flags & TF_DSACK && n < max) {
		blk[n][0] = tcb->dsack_lo;
		blk[n++][1] = tcb->dsack_hi;
		tcb->flags &= ~TF_DSACK;
		snmp_inc(st, SNMP_TcpExt_TCPDSACKOldSent);
	}
	for (unsigned k = 0; r && k < r->cnt && n < max; k++) {
		i = k == 0 ? r->recent : k <= r->recent ? k - 1 : k;
		blk[n][0] = rcv_seq(tcb, r->r[i].lo);
		blk[n++][1] = rcv_seq(tcb, r->r[i].hi);
	}
	return n;
}
