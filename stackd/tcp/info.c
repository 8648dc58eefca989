/* SPDX-License-Identifier: MIT */
/* tcp/info.c - what a connection tells: TCP_INFO, show sockets
 * Spec:    O1; field meanings as in Linux's tcp_get_info()
 */
#include <linux/tcp.h>
#include <string.h>

#include "stackd/tcp/tcp_int.h"

static uint8_t info_options(const struct tcb *tcb)
{
	return (uint8_t)((tcb->flags & TF_TS ? TCPI_OPT_TIMESTAMPS : 0) |
			 (tcb->flags & TF_SACK ? TCPI_OPT_SACK : 0) |
			 (tcb->flags & TF_WS ? TCPI_OPT_WSCALE : 0) |
			 (tcb->flags2 & T2_ECN ? TCPI_OPT_ECN : 0) |
			 (tcb->flags2 & T2_ECN_SEEN ? TCPI_OPT_ECN_SEEN : 0));
}

static void fill_loss(const struct tcb *tcb, struct tcp_info *i)
{
	i->tcpi_unacked = tcb->packets_out;
	i->tcpi_sacked = tcb->sacked_out;
	i->tcpi_lost = tcb->lost_out;
	i->tcpi_retrans = tcb->retrans_out;
	i->tcpi_reordering = tcb->reordering;
	i->tcpi_reord_seen = tcb->reord_seen;
	i->tcpi_dsack_dups = tcb->dsack_dups;
	i->tcpi_bytes_retrans = tcb->bytes_retrans;
	i->tcpi_total_retrans = tcb->retrans;
	i->tcpi_delivered = tcb->delivered;
	i->tcpi_delivered_ce = tcb->delivered_ce;
	i->tcpi_rcv_ooopack = tcb->ooo_in;
	i->tcpi_segs_in = tcb->segs_in;
	i->tcpi_segs_out = tcb->segs_out;
	i->tcpi_data_segs_in = tcb->data_in;
	i->tcpi_data_segs_out = tcb->data_out;
}

static void fill_rates(struct stack *st, const struct tcb *tcb, struct tcp_info *i)
{
	i->tcpi_pacing_rate = tcp_pacing_rate(st, tcb);
	i->tcpi_max_pacing_rate = UINT64_MAX;
	if (tcb->rate_us)
		i->tcpi_delivery_rate = (uint64_t)tcb->rate_delivered * tcb->mss * 1000000 /
					tcb->rate_us;
	i->tcpi_delivery_rate_app_limited = tcb->app_limited != 0;
}

static void fill_times(struct stack *st, const struct tcb *tcb, struct tcp_info *i)
{
	uint32_t now = tcp_ms(st);

	i->tcpi_rto = tcb->rto_us;
	i->tcpi_ato = tcb->ato_us;
	i->tcpi_last_data_sent = now - tcb->last_snd_ms;
	i->tcpi_last_data_recv = now - tcb->last_data_ms;
	i->tcpi_last_ack_recv = now - tcb->last_rcv_ms;
	i->tcpi_rtt = tcp_srtt_us(tcb);
	i->tcpi_rttvar = tcb->mdev_us >> 2;
	i->tcpi_rcv_rtt = 0;
	i->tcpi_min_rtt = tcp_min_rtt(tcb);
}

/* <linux/tcp.h> of the build machine may be older than Linux 6.18: what follows there. */
struct info {
	struct tcp_info i;
	uint32_t rcv_wnd, rehash;
	uint16_t total_rto, total_rto_recoveries;
	uint32_t total_rto_time;
};
static_assert(sizeof(struct tcp_info) == 232, "up to tcpi_snd_wnd");

void tcp_getinfo(struct stack *st, struct tcb *tcb, struct stack_reply_to to)
{
	struct info x;
	struct tcp_info *i = &x.i;

	static_assert(sizeof(x) <= SD_REPLY_DATA, "fits a reply");
	memset(&x, 0, sizeof(x));
	x.rcv_wnd = (uint32_t)pos_span(rcv_data_end(tcb), tcb->rcv_adv);
	i->tcpi_state = tcb->state;
	i->tcpi_ca_state = tcb->ca;
	i->tcpi_retransmits = tcb->rtx_cnt;
	i->tcpi_probes = tcb->probes;
	i->tcpi_backoff = tcb->backoff;
	i->tcpi_options = info_options(tcb);
	i->tcpi_snd_wscale = tcb->snd_ws & 15;
	i->tcpi_rcv_wscale = tcb->rcv_ws & 15;
	i->tcpi_snd_mss = tcb->mss;
	i->tcpi_rcv_mss = tcb->rcv_mss;
	i->tcpi_advmss = tcp_advmss(tcb);
	i->tcpi_pmtu = tcb->mtu;
	i->tcpi_snd_ssthresh = tcb->ssthresh;
	i->tcpi_snd_cwnd = tcb->cwnd;
	i->tcpi_rcv_space = u32_min(tcb->rcv_ssthresh, TCP_IW * tcp_advmss(tcb));
	i->tcpi_rcv_ssthresh = tcb->rcv_ssthresh;
	i->tcpi_bytes_acked = tcp_data_una(tcb);
	i->tcpi_bytes_sent = pos_min(tcb->snd_nxt, tcb->snd_tail) + tcb->bytes_retrans;
	i->tcpi_bytes_received = rcv_data_end(tcb);
	i->tcpi_notsent_bytes = (uint32_t)pos_span(tcb->snd_nxt, tcb->snd_tail);
	i->tcpi_snd_wnd = (uint32_t)pos_span(tcb->snd_una, tcb->snd_edge);
	fill_loss(tcb, i);
	fill_rates(st, tcb, i);
	fill_times(st, tcb, i);
	st->up->reply(st, to, 0, &x, sizeof(x));
}

/* ---- walks ---- */

static uint8_t timer_of(const struct tcb *tcb)
{
	if (tcb->dl[DL_RTO])
		return 1;
	if (tcb->dl[DL_PERSIST])
		return 4;
	return tcb->dl[DL_KEEP] ? 2 : 0;
}

static void show_tcb(const struct tcb *tcb, struct tcp_show *s)
{
	*s = (struct tcp_show){
		.t = tcb->t, .id = tcb->id, .state = tcp_state_name(tcb->state),
		.sndq = (uint32_t)pos_span(tcp_data_una(tcb), tcb->snd_tail),
		.rcvq = (uint32_t)pos_span(tcb->rcv_head, rcv_data_end(tcb)),
		.bytes_in = rcv_data_end(tcb), .bytes_out = tcp_data_una(tcb),
		.cwnd = tcb->cwnd, .ssthresh = tcb->ssthresh, .srtt_us = tcp_srtt_us(tcb),
		.rto_us = tcb->rto_us, .mss = tcb->mss, .retrans = tcb->retrans,
		.cc = tcp_cc_at(tcb->cc)->name, .timer = timer_of(tcb),
	};
	if (tcb->flags & TF_ORPHAN)
		s->id.slot = 0;
}

static void walk_tcb(struct stack *st, uint32_t i,
		     void (*fn)(void *arg, const struct tcp_show *), void *arg)
{
	const struct tcb *tcb = tcb_at(st, i);
	struct tcp_show s;

	if (!tcb)
		return;
	show_tcb(tcb, &s);
	fn(arg, &s);
}

static void walk_tw(struct stack *st, uint32_t i,
		    void (*fn)(void *arg, const struct tcp_show *), void *arg)
{
	const struct tcp_tw *tw = tcp_tw_at(st, i);

	if (tw)
		fn(arg, &(struct tcp_show){ .t = tw->t, .state = tcp_state_name(tw->substate),
					    .cc = "", .timer = 3 });
}

uint32_t tcp_walk(struct stack *st, uint32_t pos, uint32_t max,
		  void (*fn)(void *arg, const struct tcp_show *), void *arg)
{
	const struct idx_pool *t = &st->tcp->tcbs, *w = &st->tcp->tws;
	uint32_t tcbs = t->bump - t->first, end;

	/* positions of TIME_WAIT entries begin where TCBs could end at most */
	for (end = pos + max; pos < end && pos < tcbs; pos++)
		walk_tcb(st, t->first + pos, fn, arg);
	if (pos < end && pos < t->cnt)
		pos = t->cnt;
	for (end = pos + max; pos >= t->cnt && pos < end; pos++) {
		if (pos - t->cnt >= w->bump - w->first)
			return 0;
		walk_tw(st, w->first + pos - t->cnt, fn, arg);
	}
	return pos;
}

uint32_t tcp_tcb_used(struct stack *st)
{
	return st->tcp->tcbs.used;
}

uint32_t tcp_tw_used(struct stack *st)
{
	return st->tcp->tws.used;
}
