/* SPDX-License-Identifier: MIT */
/* tcp/input.c - from IP to the right connection: validate, demultiplex
 * In/Out:  packet at its TCP header -> struct tcp_seg -> the function of the connection's state
 * Spec:    RFC 9293 3.10.7; 3.10.7.1 for segments that belong to nobody
 * Holds:   header and options are inside the linear part; everything after parse() relies on it
 */
#include <errno.h>

#include "stackd/core/csum.h"
#include "stackd/tcp/tcp_int.h"

/* ---- validate ---- */

static enum drop_reason parse(struct pkt *p, const struct ip_rx_info *info, struct tcp_seg *seg,
			      struct sock_tuple *t)
{
	const struct tcp_hdr *th = (const struct tcp_hdr *)p->data;
	uint32_t hlen;

	if (p->len < sizeof(*th))
		return DROP_TCP_SHORT;
	hlen = (th->off >> 4) * 4u;
	if (hlen < sizeof(*th) || hlen > p->len)
		return DROP_TCP_SHORT;
	if (info->local_bcast)
		return DROP_TCP_NO_SOCK;
	if (!csum_rx_ok(p, ip_pseudo_sum(&info->src, &info->dst, IP_PROTO_TCP, pkt_total(p))))
		return DROP_TCP_CSUM;
	t->laddr = info->dst;
	t->raddr = info->src;
	t->lport = be16_to_cpu(th->dport);
	t->rport = be16_to_cpu(th->sport);
	seg->seq = be32_to_cpu(th->seq);
	seg->ack = be32_to_cpu(th->ack);
	seg->wnd = be16_to_cpu(th->wnd);
	seg->urg = be16_to_cpu(th->urg);
	seg->flags = th->flags;
	seg->data_off = hlen;
	seg->len = pkt_total(p) - hlen;
	seg->seg_len = p->gso_size && p->gso_size < seg->len ? p->gso_size : seg->len;
	seg->why = DROP_NONE;
	seg->p = p;
	seg->ip = info;
	tcp_opts_parse(p->data + sizeof(*th), hlen - sizeof(*th), &seg->o);
	return DROP_NONE;
}

void tcp_seg_place(const struct tcb *tcb, struct tcp_seg *seg)
{
	seg->pos = rcv_pos(tcb, seg->seq);
	seg->end = seg->pos + seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
	seg->ack_pos = snd_pos(tcb, seg->ack);
}

/* ---- demultiplex ---- */

typedef enum tcp_verdict (*seg_fn)(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);

/* States that are not here (none is reachable with a hashed TCB) drop and count. */
static const seg_fn on_seg[] = {
	[SD_ST_SYN_SENT] = tcp_in_synsent,
	[SD_ST_SYN_RECV] = tcp_in_sync,
	[SD_ST_ESTABLISHED] = tcp_in_sync,
	[SD_ST_FIN_WAIT1] = tcp_in_sync,
	[SD_ST_FIN_WAIT2] = tcp_in_sync,
	[SD_ST_CLOSE_WAIT] = tcp_in_sync,
	[SD_ST_CLOSING] = tcp_in_sync,
	[SD_ST_LAST_ACK] = tcp_in_sync,
};

static enum tcp_verdict to_tcb(struct stack *st, uint32_t idx, struct tcp_seg *seg)
{
	struct tcb *tcb = tcb_at(st, idx);
	enum tcp_verdict v;

	ASSERT(tcb);
	if (tcb->state >= sizeof(on_seg) / sizeof(on_seg[0]) || !on_seg[tcb->state]) {
		seg->why = DROP_TCP_STATE;
		return TCP_DROP;
	}
	tcp_seg_place(tcb, seg);
	tcb->segs_in += seg->p->gso_segs > 1 ? seg->p->gso_segs : 1;
	if (seg->len)
		tcb->data_in += seg->p->gso_segs > 1 ? seg->p->gso_segs : 1;
	v = on_seg[tcb->state](st, tcb, seg);
	tcb = tcb_at(st, idx);
	if (tcb)
		tcp_honest(st, tcb);
	return v;
}

/* RFC 9293 3.10.7.1, .2: no connection. A listener takes SYNs only. */
static enum tcp_verdict to_listener(struct stack *st, struct tcp_seg *seg,
				    const struct sock_tuple *t, uint32_t iss_hint)
{
	uint32_t l = sock_llookup(st, IP_PROTO_TCP, t);
	struct tcb *tcb;

	seg->why = l ? DROP_TCP_FLAGS : DROP_TCP_NO_SOCK;
	if (seg->flags & TH_RST)
		return TCP_DROP;
	if (l && (seg->flags & (TH_ACK | TH_SYN)) == TH_ACK &&
	    (tcb = tcp_from_cookie(st, l, seg, t)) != NULL)
		return to_tcb(st, tcb_idx(st, tcb), seg);
	if (!l || seg->flags & TH_ACK) {
		tcp_reply_rst(st, seg, t);
		return TCP_DROP;
	}
	if (!(seg->flags & TH_SYN) || seg->flags & TH_FIN)
		return TCP_DROP;
	tcp_intent(st, OBJ_LISTENER, l);
	return tcp_in_listen(st, l, seg, t, iss_hint);
}

static enum tcp_verdict demux(struct stack *st, struct tcp_seg *seg, const struct sock_tuple *t,
			      uint32_t obj)
{
	uint32_t iss_hint = 0;
	enum tcp_verdict v;

	if (OBJ_KIND(obj) == OBJ_TCB) {
		tcp_intent(st, OBJ_TCB, OBJ_IDX(obj));
		return to_tcb(st, OBJ_IDX(obj), seg);
	}
	if (OBJ_KIND(obj) == OBJ_TW) {
		tcp_intent(st, OBJ_TW, OBJ_IDX(obj));
		v = tcp_tw_rx(st, OBJ_IDX(obj), seg, &iss_hint);
		if (v != TCP_NEXT)
			return v;
	}
	return to_listener(st, seg, t, iss_hint);
}

void tcp_rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	struct sock_tuple t;
	struct tcp_seg seg;
	enum drop_reason why = parse(p, info, &seg, &t);
	uint32_t obj;
	uint16_t to;

	if (!p->asked)
		snmp_add(st, SNMP_Tcp_InSegs, p->gso_segs > 1 ? p->gso_segs : 1);
	if (why != DROP_NONE) {
		snmp_inc(st, SNMP_Tcp_InErrs);
		if (why == DROP_TCP_CSUM)
			snmp_inc(st, SNMP_Tcp_InCsumErrors);
		stack_drop(st, p, why);
		return;
	}
	obj = sock_elookup(st, &t);
	if (!obj && sock_elsewhere(st, &t, &p->asked, &to)) {
		ip_handoff(st, p, info, to);
		return;
	}
	if (demux(st, &seg, &t, obj) == TCP_DROP)
		stack_drop(st, p, seg.why);
	else
		stack_pkt_free(st, p);
	tcp_intent(st, OBJ_NONE, 0);
}

/* ---- ICMP ---- */

static void quoted_tuple(const struct ip_err_info *info, struct sock_tuple *ret)
{
	const struct tcp_hdr *th = (const struct tcp_hdr *)info->l4;

	*ret = (struct sock_tuple){ .laddr = info->src, .raddr = info->dst,
				    .lport = be16_to_cpu(th->sport),
				    .rport = be16_to_cpu(th->dport) };
}

bool tcp_err_elsewhere(struct stack *st, const struct ip_err_info *info, uint8_t *asked,
		       uint16_t *ret_to)
{
	struct sock_tuple t;

	quoted_tuple(info, &t);
	return !sock_elookup(st, &t) && sock_elsewhere(st, &t, asked, ret_to);
}

/* A router could not forward: smaller segments from now on, and what was too large goes again. */
static void on_frag_needed(struct stack *st, struct tcb *tcb, uint32_t mtu)
{
	uint16_t old = tcb->mss;

	if (!mtu)
		mtu = TCP_PMTU_MIN;
	mtu = u32_max(mtu, TCP_PMTU_MIN);
	if (mtu >= tcb->mtu)
		return;
	tcp_set_mtu(st, tcb, mtu);
	if (tcb->mss < old && tcb->snd_nxt != tcb->snd_una && tcb->state != SD_ST_SYN_SENT &&
	    tcb->state != SD_ST_SYN_RECV)
		tcp_simple_retransmit(st, tcb);
}

void tcp_err(struct stack *st, const struct ip_err_info *info)
{
	const struct tcp_hdr *th = (const struct tcp_hdr *)info->l4;
	struct sock_tuple t;
	struct tcb *tcb;
	uint32_t obj;
	uint64_t pos;

	quoted_tuple(info, &t);
	obj = sock_elookup(st, &t);
	tcb = OBJ_KIND(obj) == OBJ_TCB ? tcb_at(st, OBJ_IDX(obj)) : NULL;
	if (!tcb)
		return;
	/* RFC 5927 4.1: only what quotes a number that is in flight is believed. */
	pos = snd_pos(tcb, be32_to_cpu(th->seq));
	if (tcb->state == SD_ST_SYN_SENT || tcb->state == SD_ST_SYN_RECV)
		pos++;
	if (pos_lt(pos, tcb->snd_una) || pos_lt(tcb->snd_nxt, pos))
		return;
	tcp_intent(st, OBJ_TCB, OBJ_IDX(obj));
	if (info->type == 3 && info->code == 4)
		on_frag_needed(st, tcb, info->mtu);
	else if (tcb->state == SD_ST_SYN_SENT && info->err)
		tcp_abort(st, tcb, info->err, false);
	else if (tcb->state == SD_ST_SYN_RECV && tcb->flags & TF_EMBRYO && info->hard)
		tcp_abort(st, tcb, info->err, false);
	else
		tcb->soft_err = (uint16_t)info->err;
	tcp_intent(st, OBJ_NONE, 0);
}
