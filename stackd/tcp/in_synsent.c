/* SPDX-License-Identifier: MIT */
/* tcp/in_synsent.c - segment arrival while a connection is being opened actively
 * Spec:    RFC 9293 3.10.7.3, RFC 5961 4
 * Holds:   in SYN_SENT the only acceptable acknowledgment is of the SYN alone: ack_pos == snd_una
 */
#include <errno.h>

#include "stackd/tcp/tcp_int.h"

#define SYN_AGAIN_US 2000

/* RFC 7323: the echo must be of something that we have sent since the first SYN. */
static bool echo_wrong(struct stack *st, const struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t first = tcb->syn_ms, echo = seg->o.tsecr - tcb->ts_off;

	return ld_rlx(&st->sys->tcp_timestamps) && seg->o.has_ts && seg->o.tsecr &&
	       (u32_lt(echo, first) || u32_lt(tcp_ms(st), echo));
}

/* First: the ACK bit. */
static enum tcp_verdict step_ack(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!(seg->flags & TH_ACK))
		return TCP_NEXT;
	if (seg->ack_pos == tcb->snd_una && !echo_wrong(st, tcb, seg))
		return TCP_NEXT;
	if (seg->ack_pos == tcb->snd_una)
		snmp_inc(st, SNMP_TcpExt_PAWSActive);
	if (!(seg->flags & TH_RST))
		tcp_reply_rst(st, seg, &tcb->t);
	/* The reset ends what the peer still thought to have: the SYN is worth another try at once,
	 * as Linux does, not after a second. */
	if (!tcb->rtx_cnt)
		tcp_dl_set(st, tcb, DL_RTO, SYN_AGAIN_US);
	seg->why = DROP_TCP_ACK;
	return TCP_DROP;
}

/* Second: RST, only believed with an acceptable ACK. */
static enum tcp_verdict step_rst(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!(seg->flags & TH_RST))
		return TCP_NEXT;
	seg->why = DROP_TCP_ACK;
	if (!(seg->flags & TH_ACK))
		return TCP_DROP;
	tcp_abort(st, tcb, ECONNREFUSED, false);
	return TCP_DONE;
}

/* Fourth: SYN. Payload on it is not taken, the peer sends it again. */
static enum tcp_verdict step_syn(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	seg->why = DROP_TCP_FLAGS;
	if (!(seg->flags & TH_SYN))
		return TCP_DROP;
	tcb->irs = seg->seq - (uint32_t)tcb->rcv_nxt;
	tcp_seg_place(tcb, seg);
	tcp_negotiate(st, tcb, seg);
	if (seg->flags & TH_ACK && tcb->flags2 & T2_ECN_ASKED &&
	    (seg->flags & (TH_ECE | TH_CWR)) == TH_ECE)
		tcb->flags2 |= T2_ECN;
	if (seg->flags & TH_ACK) {
		tcp_established(st, tcb, seg);
		tcp_due(st, tcb, DUE_ACK | DUE_TX);
		return TCP_DONE;
	}
	/* Simultaneous open. */
	tcp_set_state(st, tcb, SD_ST_SYN_RECV);
	tcp_send_syn(st, tcb);
	tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	return TCP_DONE;
}

enum tcp_verdict tcp_in_synsent(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	enum tcp_verdict v = step_ack(st, tcb, seg);

	if (v == TCP_NEXT)
		v = step_rst(st, tcb, seg);
	if (v == TCP_NEXT)
		v = step_syn(st, tcb, seg);
	return v;
}
