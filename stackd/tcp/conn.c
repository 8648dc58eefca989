/* SPDX-License-Identifier: MIT */
/* tcp/conn.c - setting a connection up: route, sizes, options of both sides, first publication
 * Spec:    RFC 9293 3.7.1 (MSS); RFC 7323 2.3; RFC 2018 2; RFC 6691
 * Holds:   mss is set before the first cwnd is
 */
#include <errno.h>
#include <netinet/in.h>

#include "stackd/tcp/tcp_int.h"

int tcp_route(struct stack *st, struct tcb *tcb)
{
	struct ip_route_res r;
	int err = ip_route(st, &tcb->t.raddr, &tcb->t.laddr, &r);

	if (err)
		return err;
	tcb->next_hop4 = sd_addr_to_v4(&r.next_hop).v;
	tcb->flags = r.local ? tcb->flags | TF_LOCAL : tcb->flags & ~TF_LOCAL;
	if (!tcb->mtu)
		tcp_set_mtu(st, tcb, r.mtu);
	return 0;
}

/* ---- sizes ---- */

/* Never more than half of the largest window at a time, or ACKs would not keep it moving. */
uint32_t tcp_half_wnd(const struct tcb *tcb, uint32_t len)
{
	uint32_t most = tcb->max_wnd > TCP_MSS_UNKNOWN ? tcb->max_wnd / 2 : tcb->max_wnd;
	uint32_t least = TCP_MSS_LEAST - (tcb->flags & TF_TS ? TCP_TS_LEN : 0);

	return most && len > most ? u32_max(most, least) : len;
}

static void sync_mss(struct stack *st, struct tcb *tcb)
{
	uint32_t max = tcb->mss_peer ? tcb->mss_peer : TCP_MSS_UNKNOWN;
	struct sd_slot_e *e;

	max = u32_min(max, tcb->mtu - TCP_HDRS);
	if (tcb->maxseg)
		max = u32_min(max, tcb->maxseg);
	max = u32_max(max, ld_rlx(&st->sys->tcp_min_snd_mss));
	tcb->mss = (uint16_t)tcp_half_wnd(tcb, max - (tcb->flags & TF_TS ? TCP_TS_LEN : 0));
	e = tcb->id.slot ? sock_slot_e(st, tcb->id) : NULL;
	if (e)
		st_rel(&e->mss, tcb->mss);
}

void tcp_note_wnd(struct stack *st, struct tcb *tcb, uint32_t wnd)
{
	if (wnd <= tcb->max_wnd)
		return;
	tcb->max_wnd = wnd;
	sync_mss(st, tcb);
}

void tcp_set_mtu(struct stack *st, struct tcb *tcb, uint32_t mtu)
{
	tcb->mtu = (uint16_t)u32_min(u32_max(mtu, 68 + TCP_HDRS + TCP_MSS_MIN), UINT16_MAX);
	sync_mss(st, tcb);
}

/* SO_SNDBUF and SO_RCVBUF as getsockopt shows them: doubled, Linux counts overhead. */
static uint32_t buf_limit(uint32_t opt)
{
	return u32_min(u32_max(opt / 2, TCP_BUF_MIN / 2), (uint32_t)(SD_FIFO_MAX / 2));
}

void tcp_init_bufs(struct stack *st, struct tcb *tcb, uint32_t sndbuf, uint32_t rcvbuf)
{
	const struct sysctl *s = st->sys;

	tcb->flags &= ~(TF_SND_TUNE | TF_RCV_TUNE);
	tcb->tx_limit = sndbuf ? buf_limit(sndbuf) :
			u32_max(ld_rlx(&s->tcp_wmem[1]), u32_min(ld_rlx(&s->tcp_wmem[2]),
								 TCP_SND_FIRST));
	tcb->rx_limit = buf_limit(rcvbuf ? rcvbuf : ld_rlx(&s->tcp_rmem[1]));
	if (!sndbuf)
		tcb->flags |= TF_SND_TUNE;
	if (!rcvbuf)
		tcb->flags |= TF_RCV_TUNE;
	tcb->rcv_ws = tcp_wscale_for(rcvbuf ? tcb->rx_limit :
				     u32_max(tcb->rx_limit, u32_max(ld_rlx(&s->tcp_rmem[2]),
								    ld_rlx(&s->rmem_max))));
}

/* ---- what the program says ---- */

static void flag_if(struct tcb *tcb, uint32_t flag, bool on)
{
	tcb->flags = on ? tcb->flags | flag : tcb->flags & ~flag;
}

void tcp_load_opts(struct stack *st, struct tcb *tcb, const struct sd_slot_p *sp)
{
	struct sd_opts o = sp->opts;		/* copied once; any value is legal */

	flag_if(tcb, TF_NODELAY, o.nodelay & SD_EVOPT_ON);
	if (o.slowack != tcb->slowack_ev)
		flag_if(tcb, TF_PINGPONG, o.slowack & SD_EVOPT_ON);
	tcb->nodelay_ev = o.nodelay;
	tcb->slowack_ev = o.slowack;
	flag_if(tcb, TF_CORK, o.cork);
	flag_if(tcb, TF_KEEPALIVE, o.keepalive);
	flag_if(tcb, TF_NO_DF, o.pmtudisc == IP_PMTUDISC_OMIT);
	tcb->tos = o.tos;
	tcb->ttl = o.ttl;
	tcb->keep_cnt = o.keep_cnt;
	tcb->syn_cnt = o.syncnt;
	tcb->linger2_s = o.linger2_s;
	tcb->keep_idle_s = o.keep_idle_s;
	tcb->keep_intvl_s = o.keep_intvl_s;
	tcb->user_timeout_ms = o.user_timeout_ms;
	tcb->maxseg = o.maxseg >= TCP_MSS_MIN ? o.maxseg : 0;
}

/* The program has written; how it ended holds until the next flush. */
static void note_write(struct tcb *tcb, uint32_t flags)
{
	tcb->flags2 &= ~(T2_FRESH | T2_MORE);
	if (tcb->snd_nxt == tcb->snd_tail)
		tcb->flags2 |= T2_FRESH;
	tcb->more = !!(flags & SD_P_MORE);
	if (tcb->more)
		tcb->flags2 |= T2_MORE;
}

bool tcp_tx_pull(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	uint64_t tail, up;

	if (!sp || tcb->flags & TF_FIN)
		return true;
	tail = ld_acq(&sp->tx_tail);		/* pairs with the writer's st_rel */
	if (tail != tcb->snd_tail) {
		rate_app_limited(tcb);
		note_write(tcb, ld_rlx(&sp->flags));
	}
	if (pos_lt(tail, tcb->snd_tail) || pos_lt(tcb->snd_una + SD_FIFO_MAX, tail)) {
		tcb->flags |= TF_HOSTILE;
		tcp_due(st, tcb, DUE_TX);
		return false;
	}
	tcb->snd_tail = tail;
	up = ld_rlx(&sp->tx_urg);
	if (pos_lt(pos_max(tcb->snd_up, tcb->snd_una), up) && pos_le(up, tail))
		tcb->snd_up = up;
	return true;
}

/* May this passive open agree on ECN? The active one asks only when told to. */
bool tcp_ecn_wanted(struct stack *st, const struct tcb *tcb)
{
	uint32_t mode = ld_rlx(&st->sys->tcp_ecn);

	if (tcp_cc_at(tcb->cc)->wants_ecn)
		return true;
	return tcb->flags & TF_PASSIVE ? mode != 0 : mode == 1;
}

/* ---- the handshake's outcome ---- */

void tcp_negotiate(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	const struct sysctl *conf = st->sys;
	const struct tcp_opts *o = &seg->o;

	tcb->mss_peer = o->mss ? o->mss : TCP_MSS_UNKNOWN;
	flag_if(tcb, TF_WS, o->has_ws && conf->tcp_window_scaling);
	flag_if(tcb, TF_TS, o->has_ts && conf->tcp_timestamps);
	flag_if(tcb, TF_SACK, o->sack_ok && conf->tcp_sack);
	tcb->snd_ws = tcb->flags & TF_WS ? o->wscale : 0;
	if (!(tcb->flags & TF_WS) && (seg->flags & TH_ACK || tcb->flags & TF_PASSIVE))
		tcb->rcv_ws = 0;	/* else our SYN+ACK still has to offer it */
	if (tcb->flags & TF_TS) {
		tcb->ts_recent = o->tsval;
		tcb->ts_recent_ms = tcp_ms(st);
	}
	tcb->rcv_wup = tcb->rcv_nxt;
	tcb->snd_wl1 = (uint32_t)tcb->rcv_nxt - 1;
	tcb->snd_edge = tcb->snd_una + seg->wnd;	/* never scaled in a SYN */
	tcb->max_wnd = seg->wnd;
	sync_mss(st, tcb);
}

static void publish(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	if (!e)
		return;
	st_rel(&e->rx_limit, tcb->rx_limit);
	st_rel(&e->tx_limit, tcb->tx_limit);
	st_rel(&e->rx_adv, tcb->rcv_adv);
	st_rel(&e->mss, tcb->mss);
	or_sc(&e->flags, SD_E_CONNECTED);
}

/* The handshake's round trip: timed when nothing was sent again, else by its timestamp. */
static void first_rtt(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t us = tcb->rack_us ? st->now_us - tcb->rack_us : 0;
	uint32_t ms = tcp_ms(st) + tcb->ts_off - seg->o.tsecr;

	if (!tcb->rack_us && tcb->flags & TF_TS && seg->o.has_ts && seg->o.tsecr &&
	    ms <= TCP_RTO_MAX_US / 1000)
		us = u32_max(ms, 1) * 1000ull;
	if (tcb->rack_us || us) {
		tcp_rtt_min(st, tcb, (uint32_t)u64_min(us, TCP_RTO_MAX_US), false);
		tcp_rtt_sample(st, tcb, (uint32_t)u64_min(us, TCP_RTO_MAX_US));
	} else {
		tcp_rto_reset(st, tcb);
	}
	if (!(tcb->flags & TF_PASSIVE) && tcb->rack_us)
		tcb->rack_rtt_us = (uint32_t)u64_min(us, UINT32_MAX);
	else
		tcb->rack_us = 0;
}

/* Until the first data tells: small, so that it is acknowledged at once. */
static uint32_t rcv_mss_guess(const struct tcb *tcb)
{
	uint32_t wnd = (uint32_t)pos_span(tcb->rcv_nxt, tcb->rcv_adv);
	uint32_t mss = u32_min(u32_min(tcp_advmss(tcb), tcb->mss),
			       u32_min(wnd / 2, TCP_MSS_UNKNOWN));

	return u32_max(mss, TCP_MSS_MIN);
}

/* SYN_SENT or SYN_RECV -> ESTABLISHED; the slot is there. */
void tcp_established(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);

	first_rtt(st, tcb, seg);
	if (!(tcb->flags & TF_WS))
		tcb->rcv_ws = 0;
	if (tcb->flags & TF_PASSIVE) {
		tcb->segs_in = 2;	/* as Linux counts: what answered the SYN was not ours */
		tcb->segs_out = 0;
		tcb->max_wnd = (uint32_t)seg->wnd << tcb->snd_ws;	/* the SYN's was a guess */
		sync_mss(st, tcb);
	}
	tcb->rcv_mss = (uint16_t)rcv_mss_guess(tcb);
	tcb->delivered++;		/* the SYN counts */
	tcb->cwnd = TCP_IW;
	if (tcb->syn_rtx > 1)
		tcb->cwnd = 1;		/* RFC 6298 5.7, Linux: more than one SYN was lost */
	tcp_cc_switch(st, tcb, tcb->cc);
	tcb->snd_push = (uint32_t)tcb->snd_una;
	tcb->snd_sml = tcb->high_seq = tcb->usage_seq = tcb->rtt_seq = (uint32_t)tcb->snd_una;
	tcb->retrans_ms = 0;
	tcb->rtx_cnt = 0;
	tcb->soft_err = 0;
	tcb->flags2 |= T2_CONFIRM;
	tcp_dl_clear(tcb, DL_RTO);
	tcp_window_open(tcb);
	tcb->drs_ms = tcp_ms(st);
	publish(st, tcb);
	tcp_set_state(st, tcb, SD_ST_ESTABLISHED);
	if (tcb->flags & TF_FIN)	/* shut down meanwhile */
		tcp_set_state(st, tcb, SD_ST_FIN_WAIT1);
	if (sp)
		tcp_load_opts(st, tcb, sp);
	tcp_keep_restart(st, tcb);
	tcp_tx_pull(st, tcb);
	tcp_due(st, tcb, DUE_TX);
	if (!(tcb->flags & TF_PASSIVE))
		st->up->event(st, tcb->id, SD_EV_OUT);
}
