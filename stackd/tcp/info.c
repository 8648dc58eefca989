/* SPDX-License-Identifier: MIT */
/* tcp/info.c - what a connection tells: TCP_INFO, show sockets
 * Spec:    O1; field meanings as in Linux's tcp_get_info()
 */
#include <linux/tcp.h>
#include <string.h>

#include "stackd/tcp/tcp_int.h"

static uint32_t segs(const struct tcb *tcb, uint64_t bytes)
{
	return tcb->mss ? (uint32_t)((bytes + tcb->mss - 1) / tcb->mss) : 0;
}

static uint8_t info_options(const struct tcb *tcb)
{
	return (uint8_t)((tcb->flags & TF_TS ? TCPI_OPT_TIMESTAMPS : 0) |
			 (tcb->flags & TF_SACK ? TCPI_OPT_SACK : 0) |
			 (tcb->flags & TF_WS ? TCPI_OPT_WSCALE : 0));
}

static void fill_loss(struct stack *st, const struct tcb *tcb, struct tcp_info *i)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	uint64_t out = tcb->snd_nxt - tcb->snd_una;
	uint64_t sacked = sb ? tcp_ranges_sum(sb, tcb->snd_una, tcb->snd_nxt) : 0;

	i->tcpi_unacked = segs(tcb, out);
	i->tcpi_sacked = tcb->flags & TF_SACK ? segs(tcb, sacked) : tcb->dupacks;
	if (tcb->ca != CA_OPEN) {
		i->tcpi_lost = segs(tcb, pos_span(tcb->snd_una, tcb->lost_edge));
		i->tcpi_retrans = segs(tcb, pos_span(tcb->snd_una, tcb->high_rxt));
	}
}

static void fill_times(struct stack *st, const struct tcb *tcb, struct tcp_info *i)
{
	uint32_t now = tcp_ms(st);

	i->tcpi_rto = tcp_rto(tcb);
	i->tcpi_ato = TCP_DELACK_US;
	i->tcpi_last_data_sent = now - tcb->last_snd_ms;
	i->tcpi_last_data_recv = now - tcb->last_rcv_ms;
	i->tcpi_last_ack_recv = now - tcb->last_rcv_ms;
	i->tcpi_rtt = tcb->srtt_us;
	i->tcpi_rttvar = tcb->rttvar_us;
	i->tcpi_rcv_rtt = tcb->srtt_us;
	i->tcpi_min_rtt = tcb->srtt_us ? tcb->srtt_us : UINT32_MAX;
}

void tcp_getinfo(struct stack *st, struct tcb *tcb, struct stack_reply_to to)
{
	struct tcp_info i;

	static_assert(sizeof(i) <= SD_REPLY_DATA, "fits a reply");
	memset(&i, 0, sizeof(i));
	i.tcpi_state = tcb->state;
	i.tcpi_ca_state = tcb->ca;
	i.tcpi_retransmits = tcb->rtx_cnt;
	i.tcpi_probes = tcb->probes;
	i.tcpi_backoff = tcb->rtx_cnt ? tcb->rtx_cnt : tcb->persist_shift;
	i.tcpi_options = info_options(tcb);
	i.tcpi_snd_wscale = tcb->snd_ws & 15;
	i.tcpi_rcv_wscale = tcb->rcv_ws & 15;
	i.tcpi_snd_mss = tcb->mss;
	i.tcpi_rcv_mss = tcb->rcv_mss;
	i.tcpi_advmss = (uint32_t)(tcb->mtu - TCP_HDRS);
	i.tcpi_pmtu = tcb->mtu;
	i.tcpi_snd_ssthresh = tcb->ssthresh == UINT32_MAX ? 0x7fffffff : segs(tcb, tcb->ssthresh);
	i.tcpi_snd_cwnd = tcb->mss ? tcb->cwnd / tcb->mss : 0;
	i.tcpi_rcv_space = tcb->rx_limit;
	i.tcpi_rcv_ssthresh = tcb->rx_limit;
	i.tcpi_total_retrans = tcb->retrans;
	i.tcpi_bytes_acked = tcp_data_una(tcb);
	i.tcpi_bytes_sent = pos_min(tcb->snd_nxt, tcb->snd_tail);
	i.tcpi_bytes_received = rcv_data_end(tcb);
	i.tcpi_notsent_bytes = (uint32_t)pos_span(tcb->snd_nxt, tcb->snd_tail);
	i.tcpi_snd_wnd = (uint32_t)pos_span(tcb->snd_una, tcb->snd_edge);
	fill_loss(st, tcb, &i);
	fill_times(st, tcb, &i);
	st->up->reply(st, to, 0, &i, sizeof(i));
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
		.cwnd = tcb->cwnd, .ssthresh = tcb->ssthresh, .srtt_us = tcb->srtt_us,
		.rto_us = tcp_rto(tcb), .mss = tcb->mss, .retrans = tcb->retrans,
		.cc = tcp_cc_at(tcb->cc)->name, .timer = timer_of(tcb),
	};
	if (tcb->flags & TF_ORPHAN)
		s->id.slot = 0;
}

void tcp_walk(struct stack *st, void (*fn)(void *arg, const struct tcp_show *), void *arg)
{
	struct tcp_state *ts = st->tcp;
	struct tcp_show s;

	for (uint32_t i = ts->tcbs.first; i < ts->tcbs.bump; i++) {
		const struct tcb *tcb = tcb_at(st, i);

		if (!tcb)
			continue;
		show_tcb(tcb, &s);
		fn(arg, &s);
	}
	for (uint32_t i = ts->tws.first; i < ts->tws.bump; i++) {
		const struct tcp_tw *tw = tcp_tw_at(st, i);

		if (!tw)
			continue;
		s = (struct tcp_show){ .t = tw->t, .state = tcp_state_name(tw->substate),
				       .cc = "", .timer = 3 };
		fn(arg, &s);
	}
}

uint32_t tcp_tcb_used(struct stack *st)
{
	return st->tcp->tcbs.used;
}

uint32_t tcp_tw_used(struct stack *st)
{
	return st->tcp->tws.used;
}
