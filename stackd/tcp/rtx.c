/* SPDX-License-Identifier: MIT */
/* tcp/rtx.c - loss: round-trip times, what is in flight, what to send again, timeouts
 * One model for all recoveries: of [snd_una, snd_nxt) the bytes below lost_edge that are not SACKed
 * are deemed lost, and high_rxt is how far they have been sent again. Fast recovery with SACK moves
 * lost_edge by RFC 6675's rule, without SACK by one segment per partial ACK; a timeout moves it to
 * snd_nxt.
 * Spec:    RFC 6298; RFC 6675; RFC 6582; RFC 5681 3.2; RFC 1122 4.2.2.17 (probes), 4.2.3.5 (giving
 *          up)
 * Holds:   I2
 */
#include <errno.h>

#include "stackd/tcp/tcp_int.h"

/* ---- RTO ---- */

void tcp_rtt_sample(struct tcb *tcb, uint32_t rtt_us)
{
	uint32_t err;

	if (!rtt_us)
		rtt_us = 1;
	if (!tcb->srtt_us) {
		tcb->srtt_us = rtt_us;
		tcb->rttvar_us = rtt_us / 2;
	} else {
		err = rtt_us > tcb->srtt_us ? rtt_us - tcb->srtt_us : tcb->srtt_us - rtt_us;
		tcb->rttvar_us = (uint32_t)((3ull * tcb->rttvar_us + err) / 4);
		tcb->srtt_us = u32_max((uint32_t)((7ull * tcb->srtt_us + rtt_us) / 8), 1);
	}
	tcb->rto_us = u32_min(tcb->srtt_us + u32_max(4 * tcb->rttvar_us, TCP_RTO_MIN_US),
			      TCP_RTO_MAX_US);
}

uint32_t tcp_rto(const struct tcb *tcb)
{
	uint64_t us = (uint64_t)tcb->rto_us << u32_min(tcb->rtx_cnt, 16);

	return (uint32_t)u64_min(us, TCP_RTO_MAX_US);
}

/* ---- the model ---- */

static uint64_t not_sacked(const struct tcp_ranges *sb, uint64_t lo, uint64_t hi)
{
	return pos_span(lo, hi) - (sb && pos_lt(lo, hi) ? tcp_ranges_sum(sb, lo, hi) : 0);
}

/* RFC 6675 SetPipe(), in ranges instead of octets. */
uint64_t tcp_pipe(struct stack *st, const struct tcb *tcb)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	uint64_t out = tcb->snd_nxt - tcb->snd_una, gone;

	if (tcb->flags & TF_SACK)
		gone = out - not_sacked(sb, tcb->snd_una, tcb->snd_nxt);
	else
		gone = (uint64_t)tcb->dupacks * tcb->mss;
	if (tcb->ca != CA_OPEN)
		gone += not_sacked(sb, pos_max(tcb->high_rxt, tcb->snd_una), tcb->lost_edge);
	return out > gone ? out - gone : 0;
}

/* First position at or above @pos that is not SACKed; *ret_end: where the hole ends. */
static uint64_t hole_from(const struct tcb *tcb, const struct tcp_ranges *sb, uint64_t pos,
			  uint64_t *ret_end)
{
	*ret_end = tcb->snd_nxt;
	for (unsigned i = 0; sb && i < sb->cnt; i++) {
		if (pos_lt(pos, sb->r[i].lo)) {
			*ret_end = sb->r[i].lo;
			break;
		}
		pos = pos_max(pos, sb->r[i].hi);
	}
	return pos;
}

enum tcp_rtx tcp_rtx_next(struct stack *st, struct tcb *tcb, bool spare, uint64_t *ret_pos,
			  uint64_t *ret_len)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	uint64_t end, high, pos = pos_max(tcb->high_rxt, tcb->snd_una);

	pos = hole_from(tcb, sb, pos, &end);
	*ret_pos = pos;
	*ret_len = pos_span(pos, pos_min(end, tcb->lost_edge));
	if (*ret_len)
		return TCP_RTX_HOLE;			/* rule 1 */
	if (!spare || tcb->ca != CA_RECOVERY || !sb || !sb->cnt)
		return TCP_RTX_NONE;
	high = sb->r[sb->cnt - 1].hi;
	*ret_len = u64_min(pos_span(pos, pos_min(end, high)), tcb->mss);
	if (*ret_len)
		return TCP_RTX_HOLE;			/* rule 3 */
	if (tcb->flags & TF_RESCUED || !pos_lt(high, tcb->recover))
		return TCP_RTX_NONE;
	*ret_len = u64_min(tcb->recover - high, tcb->mss);
	*ret_pos = tcb->recover - *ret_len;
	return TCP_RTX_RESCUE;				/* rule 4 */
}

/* ---- entering recovery ---- */

static void reduce(struct stack *st, struct tcb *tcb)
{
	uint64_t flight = tcb->snd_nxt - tcb->snd_una;

	tcb->ssthresh = tcp_cc_at(tcb->cc)->ssthresh(tcb, (uint32_t)u64_min(flight, UINT32_MAX));
}

void tcp_enter_recovery(struct stack *st, struct tcb *tcb)
{
	uint64_t first = pos_min(tcb->snd_una + tcb->mss, tcb->snd_nxt);

	snmp_inc(st, tcb->flags & TF_SACK ? SNMP_TcpExt_TCPSackRecovery :
					    SNMP_TcpExt_TCPRenoRecovery);
	reduce(st, tcb);
	tcp_cc_at(tcb->cc)->on_loss(tcb);
	tcb->ca = CA_RECOVERY;
	tcb->recover = tcb->snd_nxt;
	tcb->high_rxt = tcb->snd_una;
	tcb->lost_edge = tcb->flags & TF_SACK ? pos_max(first, tcp_sack_lost_edge(st, tcb)) : first;
	tcb->flags = (tcb->flags | TF_RTX_HEAD) & ~TF_RESCUED;
}

/* Everything outstanding is deemed lost: timeout, or segments that turned out too large (@cut
 * false: that is no sign of congestion). */
void tcp_enter_loss(struct stack *st, struct tcb *tcb, bool cut)
{
	if (cut) {
		if (tcb->ca != CA_LOSS)
			reduce(st, tcb);
		tcp_cc_at(tcb->cc)->on_rto(tcb);
	}
	tcb->ca = CA_LOSS;
	tcb->dupacks = 0;
	tcb->recover = tcb->lost_edge = tcb->snd_nxt;
	tcb->high_rxt = tcb->snd_una;
	tcb->rtt_us = 0;
	tcb->flags &= ~(TF_RTX_HEAD | TF_RESCUED);
	tcp_due(st, tcb, DUE_TX);
}

/* ---- timeouts ---- */

static bool user_timeout(struct stack *st, const struct tcb *tcb)
{
	return tcb->user_timeout_ms && tcb->stall_ms &&
	       tcp_ms(st) - tcb->stall_ms >= tcb->user_timeout_ms;
}

static void give_up(struct stack *st, struct tcb *tcb)
{
	snmp_inc(st, SNMP_TcpExt_TCPAbortOnTimeout);
	tcp_abort(st, tcb, tcb->soft_err ? tcb->soft_err : ETIMEDOUT, false);
}

static unsigned retries(const struct tcb *tcb)
{
	if (tcb->flags & TF_ORPHAN)
		return TCP_ORPHAN_RETRIES;
	if (tcb->state == SD_ST_SYN_SENT)
		return tcb->syn_cnt ? tcb->syn_cnt : TCP_SYN_RETRIES;
	return tcb->state == SD_ST_SYN_RECV ? TCP_SYNACK_RETRIES : TCP_RETRIES2;
}

static void on_syn_timeout(struct stack *st, struct tcb *tcb)
{
	snmp_inc(st, SNMP_TcpExt_TCPSynRetrans);
	snmp_inc(st, SNMP_Tcp_RetransSegs);
	tcb->rtt_us = 0;
	tcb->retrans++;
	tcp_route(st, tcb);
	tcp_send_syn(st, tcb);
	tcp_dl_set(st, tcb, DL_RTO, tcp_rto(tcb));
}

/* A receiver may take back what it SACKed; if its SACKs did not help twice, they are forgotten. A
 * range that starts at snd_una proves it. */
static void doubt_sacks(struct stack *st, struct tcb *tcb)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);

	if (sb && (tcb->rtx_cnt > 2 || (sb->cnt && sb->r[0].lo == tcb->snd_una)))
		tcp_ranges_put(st, &tcb->sb);
}

/* The peer has closed its window under what was sent, and still answers: it will open it again. */
static bool window_taken_back(struct stack *st, const struct tcb *tcb)
{
	return tcb->max_wnd && pos_le(tcb->snd_edge, tcb->snd_una) && !(tcb->flags & TF_ORPHAN) &&
	       tcp_ms(st) - tcb->last_rcv_ms < 2 * (TCP_RTO_MAX_US / 1000);
}

/* One more retransmission that nobody answered. Those into a window that was taken back are probes:
 * they wait longer and longer, but do not end the connection. */
static void count_rtx(struct stack *st, struct tcb *tcb)
{
	tcb->rtx_cnt++;
	if (tcb->rtx_cnt > TCP_RTX_PROBES && window_taken_back(st, tcb))
		tcb->rtx_cnt = TCP_RTX_PROBES;
}

void tcp_on_rto(struct stack *st, struct tcb *tcb)
{
	bool syn = tcb->state == SD_ST_SYN_SENT || tcb->state == SD_ST_SYN_RECV;

	if (!syn && tcb->snd_una == tcb->snd_nxt)
		return;
	if (tcb->rtx_cnt >= retries(tcb) || user_timeout(st, tcb)) {
		give_up(st, tcb);
		return;
	}
	snmp_inc(st, SNMP_TcpExt_TCPTimeouts);
	count_rtx(st, tcb);
	if (syn) {
		on_syn_timeout(st, tcb);
		return;
	}
	tcp_route(st, tcb);
	doubt_sacks(st, tcb);
	tcp_enter_loss(st, tcb, true);
	tcp_dl_set(st, tcb, DL_RTO, tcp_rto(tcb));
}

static bool probes_exhausted(struct stack *st, const struct tcb *tcb)
{
	return tcb->probes >= (tcb->flags & TF_ORPHAN ? TCP_ORPHAN_RETRIES : TCP_RETRIES2) ||
	       (tcb->user_timeout_ms && tcb->probes &&
		tcp_ms(st) - tcb->last_rcv_ms >= tcb->user_timeout_ms);
}

/* Nothing outstanding and something to send: closed window, cork, or no packet was to be had. */
void tcp_on_persist(struct stack *st, struct tcb *tcb)
{
	uint64_t left = tcb->snd_tail + !!(tcb->flags & TF_FIN) - tcb->snd_nxt;

	tcp_due(st, tcb, DUE_TX);
	if (!left || tcb->snd_una != tcb->snd_nxt)
		return;
	tcb->flags |= TF_PUSH_NOW;
	if (pos_le(tcb->snd_nxt + u64_min(left, tcb->mss), tcb->snd_edge))
		return;
	if (probes_exhausted(st, tcb)) {
		give_up(st, tcb);
		return;
	}
	snmp_inc(st, SNMP_TcpExt_TCPWinProbe);
	tcb->probes++;
	if (tcb->persist_shift < 10)
		tcb->persist_shift++;
	if (pos_le(tcb->snd_edge, tcb->snd_nxt))
		tcp_send_probe(st, tcb);
}
