/* SPDX-License-Identifier: MIT */
/* tcp/output.c - what to send: retransmissions first, then new data, then FIN
 * Runs once per connection and loop (tcp_flush), so that all that a loop's packets and commands
 * have made possible leaves in frames as large as they get, with the ACK on them.
 * Spec:    RFC 9293 3.7.4 (Nagle, in Minshall's form), 3.8.6.2.1 (silly windows), 3.8.6.1 (probes);
 *          RFC 5681 4.1, RFC 2861 (restart after idle, unused window)
 * Holds:   I1, I4
 */
#include <errno.h>

#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

static bool may_send(const struct tcb *tcb)
{
	switch (tcb->state) {
	case SD_ST_ESTABLISHED:
	case SD_ST_CLOSE_WAIT:
	case SD_ST_FIN_WAIT1:
	case SD_ST_CLOSING:
	case SD_ST_LAST_ACK:
		return true;
	default:
		return false;
	}
}

static bool fin_due(const struct tcb *tcb)
{
	return tcb->flags & TF_FIN && tcb->snd_nxt != tcb->snd_tail + 1;
}

static bool something_new(const struct tcb *tcb)
{
	return pos_lt(tcb->snd_nxt, tcb->snd_tail) || fin_due(tcb);
}

/* ---- bookkeeping of what leaves ---- */

/* RFC 7661's concern in Linux's form: how much of cwnd is used, per flight; what stays unused for
 * an RTO is given back half-way. */
static void validate_cwnd(struct stack *st, struct tcb *tcb, bool limited)
{
	if (!u32_lt((uint32_t)tcb->snd_una, tcb->usage_seq) || limited ||
	    (!(tcb->flags & TF_CWND_LIM) && tcb->packets_out > tcb->max_packets_out)) {
		tcb->flags = limited ? tcb->flags | TF_CWND_LIM : tcb->flags & ~TF_CWND_LIM;
		tcb->max_packets_out = tcb->packets_out;
		tcb->usage_seq = (uint32_t)tcb->snd_nxt;
	}
	if (tcp_cwnd_limited(tcb)) {
		tcb->cwnd_used = 0;
		tcb->cwnd_ms = tcp_ms(st);
		return;
	}
	tcb->cwnd_used = u32_max(tcb->cwnd_used, tcb->packets_out);
	if ((tcp_ms(st) - tcb->cwnd_ms) * 1000ull < tcb->rto_us || tcp_cc_at(tcb->cc)->control ||
	    !ld_rlx(&st->sys->tcp_slow_start_after_idle))
		return;
	if (tcb->ca == CA_OPEN && u32_max(tcb->cwnd_used, TCP_IW) < tcb->cwnd) {
		tcb->ssthresh = tcp_current_ssthresh(tcb);
		tcb->cwnd = (tcb->cwnd + u32_max(tcb->cwnd_used, TCP_IW)) / 2;
	}
	tcb->cwnd_used = 0;
	tcb->cwnd_ms = tcp_ms(st);
}

/* RFC 5681 4.1, RFC 2861: the window halves for each RTO of silence, down to the initial one. */
static void restart_after_idle(struct stack *st, struct tcb *tcb)
{
	uint64_t idle = (tcp_ms(st) - tcb->last_snd_ms) * 1000ull;
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);
	uint32_t least = u32_min(TCP_IW, tcb->cwnd);

	if (idle <= tcb->rto_us || cc->control || !ld_rlx(&st->sys->tcp_slow_start_after_idle))
		return;
	if (cc->event)
		cc->event(st, tcb, CC_CWND_RESTART);
	tcb->ssthresh = tcp_current_ssthresh(tcb);
	for (idle -= tcb->rto_us; idle > 0 && tcb->cwnd > least;
	     idle -= u64_min(idle, tcb->rto_us))
		tcb->cwnd >>= 1;
	tcb->cwnd = u32_max(tcb->cwnd, least);
	tcb->cwnd_ms = tcp_ms(st);
	tcb->cwnd_used = 0;
}

static void start_of_flight(struct stack *st, struct tcb *tcb)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);

	restart_after_idle(st, tcb);
	if (cc->event)
		cc->event(st, tcb, CC_TX_START);
}

/* ---- new data ---- */

/* May the last, partial segment of what there is go now? RFC 9293 3.7.4, Minshall's form. */
static bool partial_ok(const struct tcb *tcb)
{
	if (tcb->flags & (TF_PUSH_NOW | TF_FIN) || tcp_urgent(tcb, tcb->snd_una))
		return true;
	if (tcb->flags & TF_CORK || tcb->flags2 & T2_MORE)
		return false;
	return tcb->flags & TF_NODELAY || !u32_lt((uint32_t)tcb->snd_una, tcb->snd_sml);
}

/* What it is paced at, or Linux would: the window per round trip, twice as fast in slow start. */
uint64_t tcp_pacing_rate(struct stack *st, const struct tcb *tcb)
{
	uint64_t rate = tcb->flags2 & T2_PACED ? pace_of(st, tcb)->rate : 0;

	if (rate)
		return rate;
	rate = (uint64_t)tcb->mss * u32_max(tcb->cwnd, tcb->packets_out) * 8000000;
	rate = rate / 100 * ld_rlx(tcb->cwnd < tcb->ssthresh / 2 ? &st->sys->tcp_pacing_ss_ratio :
				   &st->sys->tcp_pacing_ca_ratio);
	return tcb->srtt8_us ? rate / tcb->srtt8_us : rate;
}

/* Segments of one frame: what the pace sends in a millisecond, more where the round trip is so
 * short that bursts meet no queue. */
static uint32_t frame_segs(struct stack *st, const struct tcb *tcb)
{
	uint32_t log = u32_min(ld_rlx(&st->sys->tcp_tso_rtt_log), 31);
	uint32_t shift = tcb->min_rtt_ms ? tcb->min_rtt_us >> log : 32;
	uint64_t bytes = shift < 32 ? TCP_GSO_MAX >> shift : 0;

	if (tcb->flags2 & T2_PACED)
		return pace_burst(st, tcb);
	if (!shift)
		return UINT16_MAX;
	bytes += tcp_pacing_rate(st, tcb) >> 10;
	return u32_max((uint32_t)u64_min(bytes / tcb->mss, UINT16_MAX),
		       ld_rlx(&st->sys->tcp_min_tso_segs));
}

/* Segments that cwnd has room for in one frame: half of it at most, so that ACKs come early. */
static uint32_t quota(const struct tcb *tcb, uint32_t most)
{
	uint32_t out = tcp_in_flight(tcb);

	if (out >= tcb->cwnd)
		return 0;
	return u32_min(most, u32_min(u32_max(tcb->cwnd / 2, 1), tcb->cwnd - out));
}

/* Payload bytes of the next frame of at most @segs segments; *ret_fin: with FIN. 0 without FIN:
 * nothing may go. */
static uint64_t plan(const struct tcb *tcb, uint32_t segs, bool *ret_fin)
{
	uint64_t avail = pos_span(tcb->snd_nxt, tcb->snd_tail);
	uint64_t wnd = pos_span(tcb->snd_nxt, tcb->snd_edge);
	uint32_t mss = tcp_seg_mss(tcb);
	uint64_t most = u64_min(tcp_frame_max(tcb), (uint64_t)segs * mss);
	uint64_t n = u64_min(avail, wnd);

	*ret_fin = false;
	if (n >= most)
		n = most - most % mss;
	else if (n < avail && n < mss && !(tcb->flags & TF_PUSH_NOW))
		return 0;			/* a silly window: the probe timer breaks it up */
	else if (n % mss && !partial_ok(tcb))
		n -= n % mss;
	*ret_fin = fin_due(tcb) && n == avail && (n < wnd || !n);
	return n;
}

/* PSH ends what the program has written, and comes at least once per half window of it. Frames of
 * several segments say it, too, so that receivers do not wait for more of them. */
static bool pushed(const struct tcb *tcb, uint64_t end)
{
	if (end == tcb->snd_tail && !tcb->more)
		return true;
	return tcb->flags2 & T2_FRESH &&
	       u32_lt(tcb->snd_push + tcb->max_wnd / 2, (uint32_t)end);
}

/* Return: 0, -ENOBUFS, -EPROTO. */
static int send_one(struct stack *st, struct tcb *tcb, uint64_t n, bool fin)
{
	uint32_t rec = txq_get(st), was = tcb->packets_out;
	bool push = n && pushed(tcb, tcb->snd_nxt + n);
	bool psh = push || n > tcp_seg_mss(tcb);
	int err;

	if (!rec)
		return -ENOBUFS;
	err = tcp_send_data(st, tcb, tcb->snd_nxt, n,
			    (uint8_t)((psh ? TH_PSH : 0) | (fin ? TH_FIN : 0)));
	if (err) {
		txq_unget(st, rec);
		return err;
	}
	txq_append(st, tcb, rec, (uint32_t)n + fin,
		   (uint16_t)((push ? TXR_PSH : 0) | (fin ? TXR_FIN : 0)));
	if (push)
		tcb->snd_push = (uint32_t)(tcb->snd_nxt + n);
	tcb->snd_nxt += n + fin;
	if (n && n % tcb->mss)
		tcb->snd_sml = (uint32_t)tcb->snd_nxt;
	snmp_add(st, SNMP_TcpExt_TCPOrigDataSent, tcb->packets_out - was);
	tcb->last_snd_ms = tcp_ms(st);
	tcb->last_snd_us = (uint32_t)st->now_us;
	if (n && (tcp_ms(st) - tcb->last_data_ms) * 1000ull < tcb->ato_us)
		tcb->flags |= TF_PINGPONG;
	if (!was || tcb->rto_kind == RTO_PROBE || !tcb->dl[DL_RTO])
		tcp_rto_rearm(st, tcb);
	return 0;
}

/* Is it better to wait for the next ACK and send a larger frame? Only while ACKs keep coming:
 * within a millisecond of the last data, when what is oldest in flight is due, and for less than a
 * frame and less than a part of the window. */
static bool defer(struct stack *st, const struct tcb *tcb, uint32_t most)
{
	const struct tcp_txr *head = txr_at(st, tcb->txq_head);
	uint64_t wnd = pos_span(tcb->snd_nxt, tcb->snd_edge), avail, limit, chunk;
	uint32_t divisor = ld_rlx(&st->sys->tcp_tso_win_divisor);

	avail = pos_span(tcb->snd_nxt, tcb->snd_tail);
	if (tcb->ca >= CA_RECOVERY || !head || avail <= tcb->mss ||
	    (uint32_t)st->now_us - tcb->last_snd_us > 1000)
		return false;
	limit = u64_min(wnd, (uint64_t)(tcb->cwnd - tcp_in_flight(tcb)) * tcb->mss);
	chunk = u64_min(pos_span(tcb->snd_una, tcb->snd_edge), (uint64_t)tcb->cwnd * tcb->mss);
	if (limit >= (uint64_t)most * tcb->mss || (divisor && limit >= chunk / divisor) ||
	    st->now_us - head->sent_us < tcp_srtt_us(tcb) / 2)
		return false;
	return avail >= limit || !(tcb->flags & TF_FIN);
}

/* @full: cwnd is why no more was sent. */
static void after_sending(struct stack *st, struct tcb *tcb, uint32_t sent, bool full)
{
	full |= tcp_in_flight(tcb) >= tcb->cwnd;
	if (sent && tcp_in_reduction(tcb))
		tcb->prr_out += sent;
	if (sent)
		tlp_schedule(st, tcb, false);
	if (sent || full)
		validate_cwnd(st, tcb, full);
}

static int send_new(struct stack *st, struct tcb *tcb)
{
	uint32_t was = tcb->packets_out, most, segs;
	int err = 0;
	uint64_t n;
	bool fin, full = false;

	if (!something_new(tcb))
		return 0;
	if (!was)
		start_of_flight(st, tcb);
	most = frame_segs(st, tcb);
	while (something_new(tcb)) {
		/* the pointer is right for one segment only */
		segs = quota(tcb, tcp_urgent(tcb, tcb->snd_nxt) ? 1 : most);
		if (!segs || pace_hold(st, tcb))
			break;
		if (defer(st, tcb, most)) {
			full = true;
			break;
		}
		n = plan(tcb, segs, &fin);
		if (!n && !fin)
			break;
		err = send_one(st, tcb, n, fin);
		if (err)
			break;
	}
	after_sending(st, tcb, tcb->packets_out - was, full);
	return err;
}

bool tcp_push_one(struct stack *st, struct tcb *tcb)
{
	uint32_t was = tcb->packets_out, flags = tcb->flags;
	uint64_t n;
	bool fin, ok;

	tcb->flags |= TF_NODELAY;
	n = plan(tcb, 1, &fin);
	tcb->flags = (tcb->flags & ~TF_NODELAY) | (flags & TF_NODELAY);
	ok = (n || fin) && send_one(st, tcb, n, fin) == 0;
	if (ok && tcp_in_reduction(tcb))
		tcb->prr_out += tcb->packets_out - was;
	return ok;
}

/* ---- timers of what could not go ---- */

static void set_persist(struct stack *st, struct tcb *tcb, int err)
{
	bool corked = pos_lt(tcb->snd_nxt, tcb->snd_edge) && tcb->flags & TF_CORK;

	if (err == -ENOBUFS) {
		tcp_dl_set(st, tcb, DL_PERSIST, TCP_RETRY_US);
		return;
	}
	if (tcb->packets_out || !something_new(tcb) || pace_waits(st, tcb)) {
		tcp_dl_clear(tcb, DL_PERSIST);
		return;
	}
	if (!tcb->dl[DL_PERSIST])
		tcp_dl_set(st, tcb, DL_PERSIST, corked ? TCP_CORK_US : tcp_probe_wait_us(tcb));
}

void tcp_output(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e;
	int err = 0;

	if (!may_send(tcb))
		return;
	if (tcb->flags2 & T2_RTX)
		err = tcp_rtx_lost(st, tcb);
	if (!err) {
		tcb->flags2 &= ~T2_RTX;
		err = send_new(st, tcb);
	}
	tcb->flags &= ~TF_PUSH_NOW;
	tcb->flags2 &= ~(T2_FRESH | T2_MORE);
	if (err == -EPROTO) {
		tcb->flags |= TF_HOSTILE;
		return;
	}
	set_persist(st, tcb, err == -EALREADY ? 0 : err);
	e = sock_slot_e(st, tcb->id);
	if (e)
		st_rel(&e->tx_nxt, pos_min(tcb->snd_nxt, tcb->snd_tail));
}
