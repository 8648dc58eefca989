/* SPDX-License-Identifier: MIT */
/* tcp/segment.c - writing segments: headers, options, borrowed payload
 * Payload is never copied: fragments of the packet point into the send FIFO, which keeps the bytes
 * until they are acknowledged. A frame may be larger than a segment (GSO, up to 64 KiB); what the
 * device cannot do itself, nic/ does in software. The checksum is always PARTIAL.
 * Spec:    RFC 9293 3.1, 3.10.7.1 (resets); RFC 5961 7 (challenge limit)
 * Holds:   every segment but the first SYN and resets to strangers carries an ACK of all we have
 */
#include <errno.h>
#include <string.h>

#include "shm/fifo.h"
#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

/* What is the same in all segments: fill in, checksum, hand to IP. Payload is in the fragments. */
struct out {
	uint32_t seq, ack;
	uint16_t wnd;
	uint16_t urg;
	uint8_t flags;
	uint8_t ect;			/* codepoint for the IP header, 0 = none */
	uint8_t opt_len;
	uint8_t opt[TCP_OPTS_MAX];
};

static void put_header(struct pkt *p, const struct sock_tuple *t, const struct out *o)
{
	struct tcp_hdr *th = (struct tcp_hdr *)p->data;
	uint32_t hlen = sizeof(*th) + o->opt_len;

	th->sport = cpu_to_be16(t->lport);
	th->dport = cpu_to_be16(t->rport);
	th->seq = cpu_to_be32(o->seq);
	th->ack = cpu_to_be32(o->flags & TH_ACK ? o->ack : 0);
	th->off = (uint8_t)(hlen / 4 << 4);
	th->flags = o->flags;
	th->wnd = cpu_to_be16(o->wnd);
	th->urg = cpu_to_be16(o->urg);
	memcpy(th + 1, o->opt, o->opt_len);
	p->len = hlen;
	th->check = ip_pseudo_sum(&t->laddr, &t->raddr, IP_PROTO_TCP, pkt_total(p));
	p->l4_off = (uint16_t)(p->data - p->buf);
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = p->l4_off;
	p->csum_off = offsetof(struct tcp_hdr, check);
}

static struct sd_addr next_hop(const struct tcb *tcb)
{
	return sd_addr_v4((be32){ tcb->next_hop4 });
}

/* The last steps of every segment of a connection. */
/* A packet that does not lean on the FIFO. Takes @p; NULL: no room. */
static struct pkt *made_whole(struct stack *st, struct pkt *p)
{
	struct pkt *c = pkt_copy_linear(st->pool, p);

	stack_pkt_free(st, p);
	return c;
}

static void emit(struct stack *st, struct tcb *tcb, struct pkt *p, const struct out *o)
{
	struct ip_tx_info info = {
		.src = tcb->t.laddr, .dst = tcb->t.raddr, .next_hop = next_hop(tcb),
		.proto = IP_PROTO_TCP, .tos = (uint8_t)(tcb->tos | o->ect),
		.ttl = tcb->ttl ? tcb->ttl : (uint8_t)ld_rlx(&st->sys->ip_default_ttl),
		.df = !(tcb->flags & TF_NO_DF), .local = tcb->flags & TF_LOCAL,
	};

	put_header(p, &tcb->t, o);
	p->confirm = (tcb->flags2 & T2_CONFIRM) != 0;
	tcb->flags2 &= ~T2_CONFIRM;
	if (o->flags & TH_ACK) {
		tcb->rcv_wup = tcb->rcv_nxt;
		tcb->due &= ~DUE_ACK;
		tcp_dl_clear(tcb, DL_DELACK);
		if (tcb->quick && tcb->flags2 & T2_ACK_SCHED && !--tcb->quick)
			tcb->ato_us = TCP_DELACK_US;
		tcb->flags2 &= ~T2_ACK_SCHED;
	}
	if (tcb->flags & TF_LAST_WORDS && p->frag_cnt)
		p = made_whole(st, p);
	if (!p)
		return;			/* as if lost on the way */
	snmp_add(st, SNMP_Tcp_OutSegs, p->gso_segs > 1 ? p->gso_segs : 1);
	tcb->segs_out += p->gso_segs > 1 ? p->gso_segs : 1;
	if (p->frag_len)
		tcb->data_out += p->gso_segs > 1 ? p->gso_segs : 1;
	ip_tx(st, p, &info);
}

static uint32_t ts_now(struct stack *st, const struct tcb *tcb)
{
	return tcp_ms(st) + tcb->ts_off;
}

/* Header of a synchronised state: ACK, window, timestamps, SACK blocks. */
static void fill_sync(struct stack *st, struct tcb *tcb, struct out *o, uint64_t pos, uint8_t flags)
{
	uint32_t blk[TCP_SACK_MAX][2];
	unsigned max = TCP_SACK_MAX;

	o->seq = snd_seq(tcb, pos);
	o->ack = rcv_seq(tcb, tcb->rcv_nxt);
	o->flags = flags | TH_ACK;
	if (tcb->flags2 & T2_ECN_DEMAND)
		o->flags |= TH_ECE;
	o->ect = 0;
	o->urg = 0;
	o->opt_len = 0;
	if (tcp_urgent(tcb, pos)) {
		o->flags |= TH_URG;
		o->urg = (uint16_t)u64_min(tcb->snd_up - pos, 0xffff);
	}
	o->wnd = tcp_window(st, tcb);
	if (tcb->flags & TF_TS) {
		o->opt_len = (uint8_t)tcp_opts_ts(o->opt, ts_now(st, tcb), tcb->ts_recent);
		max--;			/* what 40 bytes of options leave */
	}
	if (tcb->sel_cnt || tcb->flags & TF_DSACK) {
		unsigned n = tcp_sack_blocks(tcb, blk, max);

		o->opt_len += (uint8_t)tcp_opts_sack(o->opt + o->opt_len, blk, n);
	}
}

/* ---- control segments ---- */

static void send_empty(struct stack *st, struct tcb *tcb, uint64_t pos, uint8_t flags)
{
	struct pkt *p = pkt_alloc(st->pool, false);
	struct out o;

	if (!p)
		return;			/* timers repeat whatever must arrive */
	tcp_rx_consume(st, tcb);
	fill_sync(st, tcb, &o, pos, flags);
	emit(st, tcb, p, &o);
}

void tcp_send_ack(struct stack *st, struct tcb *tcb)
{
	send_empty(st, tcb, tcb->snd_nxt, 0);
}

/* One byte below what the peer has acknowledged: not acceptable, so it must answer. */
void tcp_send_probe(struct stack *st, struct tcb *tcb)
{
	send_empty(st, tcb, tcb->snd_una - 1, 0);
}

void tcp_send_rst(struct stack *st, struct tcb *tcb)
{
	snmp_inc(st, SNMP_Tcp_OutRsts);
	send_empty(st, tcb, tcb->snd_nxt, TH_RST);
}

bool tcp_oow_limited(struct stack *st, uint32_t *last_ms)
{
	if (tcp_ms(st) - *last_ms < ld_rlx(&st->sys->tcp_invalid_ratelimit))
		return true;
	*last_ms = tcp_ms(st);
	return false;
}

static bool challenge_limited(struct stack *st)
{
	uint32_t s = (uint32_t)(st->now_us / 1000000);
	uint32_t most = ld_rlx(&st->sys->tcp_challenge_ack_limit);

	if (most == INT32_MAX)
		return false;
	if (s != st->tcp->challenge_s) {
		st->tcp->challenge_s = s;
		st->tcp->challenge_cnt = 0;
	}
	return st->tcp->challenge_cnt++ >= most;
}

void tcp_send_challenge(struct stack *st, struct tcb *tcb)
{
	if (tcp_oow_limited(st, &tcb->last_oow_ms) || challenge_limited(st))
		return;
	snmp_inc(st, SNMP_TcpExt_TCPChallengeACK);
	if (tcb->state != SD_ST_SYN_SENT)
		tcp_send_ack(st, tcb);
}

/* What a SYN offers; a SYN+ACK only what both want. */
static uint32_t syn_offers(struct stack *st, const struct tcb *tcb)
{
	const struct sysctl *c = st->sys;

	if (tcb->state == SD_ST_SYN_RECV && tcb->flags & TF_PASSIVE)
		return tcb->flags;
	return (c->tcp_sack ? TF_SACK : 0) | (c->tcp_timestamps ? TF_TS : 0) |
	       (c->tcp_window_scaling ? TF_WS : 0);
}

void tcp_send_syn(struct stack *st, struct tcb *tcb)
{
	bool ack = tcb->state == SD_ST_SYN_RECV;
	uint32_t offer = syn_offers(st, tcb);
	struct out o = { .seq = snd_seq(tcb, tcb->snd_una - 1) };
	struct pkt *p = pkt_alloc(st->pool, false);
	uint16_t mss = (uint16_t)(tcb->mtu - TCP_HDRS);

	if (!p)
		return;
	if (tcb->maxseg && tcb->maxseg < mss)
		mss = tcb->maxseg;
	o.flags = ack ? TH_SYN | TH_ACK : TH_SYN;
	o.ack = rcv_seq(tcb, tcb->rcv_nxt);
	o.wnd = (uint16_t)u32_min((uint32_t)pos_span(tcb->rcv_nxt, tcb->rcv_adv), 65535);
	o.opt_len = (uint8_t)tcp_opts_syn(o.opt, mss, offer & TF_WS ? tcb->rcv_ws : -1,
					  offer & TF_SACK, offer & TF_TS, ts_now(st, tcb),
					  ack ? tcb->ts_recent : 0);
	if (ack && tcb->flags2 & T2_ECN) {
		o.flags |= TH_ECE;
	} else if (!ack && tcp_ecn_wanted(st, tcb) &&
		   !(tcb->rtx_cnt && ld_rlx(&st->sys->tcp_ecn_fallback))) {
		o.flags |= TH_ECE | TH_CWR;
		tcb->flags2 |= T2_ECN_ASKED;
	} else {
		tcb->flags2 &= ~T2_ECN_ASKED;
	}
	if (tcb->rtx_cnt == 0) {
		tcb->rack_us = st->now_us;
		tcb->syn_ms = tcp_ms(st);
	}
	emit(st, tcb, p, &o);
}

/* ---- data ---- */

/* Payload of a full segment that leaves now: what is to be reported takes its share. */
uint32_t tcp_seg_mss(const struct tcb *tcb)
{
	unsigned blks = tcb->sel_cnt + !!(tcb->flags & TF_DSACK);
	unsigned most = tcb->flags & TF_TS ? TCP_SACK_MAX - 1 : TCP_SACK_MAX;

	return blks ? tcb->mss - 4 - 8 * u32_min(blks, most) : tcb->mss;
}

uint32_t tcp_frame_max(const struct tcb *tcb)
{
	uint32_t mss = tcp_seg_mss(tcb), room = TCP_GSO_MAX - TCP_HDRS - TCP_OPTS_MAX;
	uint32_t frags = (PKT_FRAGS - 1) * SD_CHUNK_SIZE;

	room = u32_min(room, frags);
	if (tcb->flags2 & T2_FRESH)
		room = tcp_half_wnd(tcb, room);
	return u32_max(room - room % mss, mss);
}

int tcp_send_data(struct stack *st, struct tcb *tcb, uint64_t pos, uint64_t len, uint8_t flags)
{
	const struct shm_seg *seg = stack_seg(st, tcb->id.seg);
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	uint32_t mss = tcp_seg_mss(tcb);
	uint64_t got = 0;
	struct out o;
	struct pkt *p;

	if (!seg || !sp)
		return -EPROTO;
	p = pkt_alloc(st->pool, false);
	if (!p)
		return -ENOBUFS;
	if (len)
		p->frag_cnt = (uint16_t)shm_fifo_iov(seg, SD_FIFO_TX, &sp->tx, pos, len, p->frag,
						     PKT_FRAGS, &got);
	if (got < len) {
		stack_pkt_free(st, p);
		return -EPROTO;
	}
	p->frag_len = (uint32_t)len;
	if (len > mss) {
		p->gso_type = PKT_GSO_TCP4;
		p->gso_size = (uint16_t)mss;
		p->gso_segs = (uint16_t)((len + mss - 1) / mss);
	}
	fill_sync(st, tcb, &o, pos, flags);
	if (tcb->flags2 & T2_ECN && len && pos == tcb->snd_nxt) {
		o.ect = 2;		/* ECT(0), on new data only (RFC 3168 6.1.5) */
		if (tcb->flags2 & T2_ECN_CWR) {
			tcb->flags2 &= ~T2_ECN_CWR;
			o.flags |= TH_CWR;
		}
	}
	emit(st, tcb, p, &o);
	pace_sent(st, tcb, (uint32_t)len);
	return 0;
}

/* ---- without a connection ---- */

void tcp_send_raw(struct stack *st, const struct tcp_raw *r)
{
	struct out o = { .seq = r->seq, .ack = r->ack, .wnd = r->wnd, .flags = r->flags };
	struct ip_route_res rt;
	struct ip_tx_info info;
	struct pkt *p;

	if (ip_route(st, &r->t.raddr, &r->t.laddr, &rt))
		return;
	p = pkt_alloc(st->pool, false);
	if (!p)
		return;
	if (r->has_ts)
		o.opt_len = (uint8_t)tcp_opts_ts(o.opt, r->tsval, r->tsecr);
	info = (struct ip_tx_info){
		.src = r->t.laddr, .dst = r->t.raddr, .next_hop = rt.next_hop,
		.proto = IP_PROTO_TCP, .tos = r->tos, .df = true, .local = rt.local,
	};
	put_header(p, &r->t, &o);
	snmp_inc(st, SNMP_Tcp_OutSegs);
	if (r->flags & TH_RST)
		snmp_inc(st, SNMP_Tcp_OutRsts);
	ip_tx(st, p, &info);
}

/* RFC 9293 3.10.7.1: the reset is made such that the sender must believe it. */
void tcp_reply_rst(struct stack *st, const struct tcp_seg *seg, const struct sock_tuple *t)
{
	struct tcp_raw r = { .t = *t, .flags = TH_RST };

	if (seg->flags & TH_RST)
		return;
	if (seg->flags & TH_ACK) {
		r.seq = seg->ack;
	} else {
		r.flags |= TH_ACK;
		r.ack = seg->seq + seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
	}
	tcp_send_raw(st, &r);
}
