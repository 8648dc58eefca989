/* SPDX-License-Identifier: MIT */
/* tcp/rtx.c - sending again: what is lost, straight from the send FIFO, and the timers behind it
 * Spec:    RFC 6298 5; RFC 5681 3.2; RFC 8985 8 (one timer of three kinds); RFC 1122 4.2.2.17
 *          (probes), 4.2.3.5 (giving up); RFC 5482 (user timeout)
 * Holds:   I2, I4; a retransmission is never larger than the path takes and never beyond the
 *          peer's window, save its first byte
 */
#include <errno.h>

#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

/* ---- one record ---- */

/* Small neighbours that are lost, too, travel together. */
static void collapse(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	const uint16_t marks = TXR_SACKED | TXR_LOST | TXR_RTX | TXR_FIN;

	for (;;) {
		struct tcp_txr *n = txr_at(st, r->next);

		if (!n || r->segs > 1 || n->segs > 1 || (r->flags & marks) != (n->flags & marks) ||
		    r->len + n->len > tcb->mss ||
		    pos_lt(tcb->snd_edge, txr_end(n)))
			return;
		txq_merge_next(st, tcb, r);
	}
}

/* How much of @r may be sent now. Return: bytes of the sequence space, or -EAGAIN. */
static int64_t sendable(const struct tcb *tcb, const struct tcp_txr *r, uint32_t segs)
{
	int64_t wnd = (int64_t)(tcb->snd_edge - r->pos);
	uint64_t len = (uint64_t)tcb->mss * segs;

	if (wnd <= 0) {
		if (r->pos != tcb->snd_una)
			return -EAGAIN;
		wnd = tcb->mss;
	}
	if (len > (uint64_t)wnd) {
		len = (uint64_t)wnd - (uint64_t)wnd % tcb->mss;
		if (!len)
			len = (uint64_t)wnd;
	}
	return (int64_t)len;
}

/* A tail probe repairs nothing that is known to be lost: it does not count as a retransmission in
 * flight, nor towards undo. */
static void note_rtx(struct stack *st, struct tcb *tcb, struct tcp_txr *r, bool probe)
{
	r->flags |= TXR_EVER;
	txq_touch(st, tcb, r);
	rate_on_sent(st, tcb, r);
	tcb->retrans += r->segs;
	tcb->bytes_retrans += r->len;
	tcb->last_snd_ms = tcp_ms(st);
	tcb->last_snd_us = (uint32_t)st->now_us;
	snmp_add(st, SNMP_Tcp_RetransSegs, r->segs);
	if (probe)
		return;
	if (!(r->flags & TXR_RTX)) {
		r->flags |= TXR_RTX;
		tcb->retrans_out += r->segs;
	}
	if (!tcb->retrans_ms)
		tcb->retrans_ms = u32_max(tcp_ms(st), 1);
	if (tcb->undo_retrans < 0)
		tcb->undo_retrans = 0;
	tcb->undo_retrans += r->segs;
	snmp_add(st, tcb->ca == CA_LOSS ? SNMP_TcpExt_TCPSlowStartRetrans :
					  SNMP_TcpExt_TCPFastRetrans, r->segs);
}

int tcp_rtx_one(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t segs, bool probe)
{
	int64_t len = sendable(tcb, r, tcp_urgent(tcb, r->pos) ? 1 : u32_max(segs, 1));
	uint8_t flags;
	int err;

	if (len < 0)
		return (int)len;
	len = (int64_t)u64_min((uint64_t)len, tcp_frame_max(tcb));
	txq_recut(tcb, r);
	if (txr_data(r) > (uint64_t)len) {
		if (!txq_split(st, tcb, r, (uint32_t)len))
			return -ENOBUFS;
	} else {
		collapse(st, tcb, r);
	}
	flags = (r->flags & TXR_PSH || r->segs > 1 ? TH_PSH : 0) |
		(r->flags & TXR_FIN ? TH_FIN : 0);
	err = tcp_send_data(st, tcb, r->pos, txr_data(r), flags);
	if (err) {
		snmp_inc(st, SNMP_TcpExt_TCPRetransFail);
		return err;
	}
	note_rtx(st, tcb, r, probe);
	return 0;
}

/* ---- what is marked lost ---- */

int tcp_rtx_lost(struct stack *st, struct tcb *tcb)
{
	struct tcp_txr *r = txr_at(st, tcb->rtx_hint ? tcb->rtx_hint : tcb->txq_head);
	bool rearm = false;
	int err = 0;

	if (tcb->lost_out <= tcb->retrans_out)
		return 0;
	for (; r; r = txr_at(st, r->next)) {
		uint32_t out = tcp_in_flight(tcb);

		if (out >= tcb->cwnd || tcb->lost_out <= tcb->retrans_out)
			break;
		tcb->rtx_hint = (uint32_t)(r - st->tcp->txr);
		if (!(r->flags & TXR_LOST) || r->flags & (TXR_SACKED | TXR_RTX))
			continue;
		if (pace_hold(st, tcb)) {
			err = -EALREADY;
			break;
		}
		err = tcp_rtx_one(st, tcb, r, tcb->cwnd - out, false);
		if (err)
			break;
		if (tcp_in_reduction(tcb))
			tcb->prr_out += r->segs;
		if (tcb->txq_head == tcb->rtx_hint && tcb->rto_kind != RTO_REORDER)
			rearm = true;
	}
	if (rearm)
		tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	return err == -EAGAIN ? 0 : err;
}

/* ---- the timer ---- */

void tcp_rto_set(struct stack *st, struct tcb *tcb, enum tcp_rto_kind kind, uint64_t us)
{
	tcb->rto_kind = (uint8_t)kind;
	tcp_dl_set(st, tcb, DL_RTO, u64_min(us, ld_rlx(&st->sys->tcp_rto_max_ms) * 1000ull));
}

int64_t tcp_rto_left_us(struct stack *st, const struct tcb *tcb)
{
	const struct tcp_txr *r = txr_at(st, tcb->txq_head);

	return r ? (int64_t)(r->sent_us + tcb->rto_us - st->now_us) : (int64_t)tcb->rto_us;
}

void tcp_rto_rearm(struct stack *st, struct tcb *tcb)
{
	int64_t us = tcb->rto_us;

	if (!tcb->packets_out) {
		tcp_dl_clear(tcb, DL_RTO);
		return;
	}
	if (tcb->rto_kind != RTO_LOSS) {
		us = tcp_rto_left_us(st, tcb);
		us = us > 1000 ? us : 1000;
	}
	tcp_rto_set(st, tcb, RTO_LOSS, (uint64_t)us);
}

/* ---- giving up ---- */

static void give_up(struct stack *st, struct tcb *tcb)
{
	snmp_inc(st, SNMP_TcpExt_TCPAbortOnTimeout);
	tcp_abort(st, tcb, tcb->soft_err ? tcb->soft_err : ETIMEDOUT, false);
}

/* How long @boundary timeouts take when each waits twice as long as the one before. */
static uint64_t model_ms(struct stack *st, const struct tcb *tcb, unsigned boundary)
{
	uint64_t base = TCP_RTO_MIN_US / 1000, most = ld_rlx(&st->sys->tcp_rto_max_ms);
	unsigned linear = 63u - (unsigned)__builtin_clzll(most / base | 1);

	if (boundary <= linear)
		return ((2ull << boundary) - 1) * base;
	return ((2ull << linear) - 1) * base + (boundary - linear) * most;
}

bool tcp_rtx_timed_out(struct stack *st, const struct tcb *tcb, unsigned boundary,
		       uint32_t timeout_ms)
{
	uint64_t limit = timeout_ms ? timeout_ms : model_ms(st, tcb, boundary);

	return tcb->rtx_cnt && (int32_t)(tcp_ms(st) - tcb->retrans_ms - (uint32_t)limit) >= 0;
}

unsigned tcp_orphan_retries(struct stack *st, const struct tcb *tcb, bool alive)
{
	unsigned n = ld_rlx(&st->sys->tcp_orphan_retries);

	if (tcb->soft_err && !alive)
		return 0;
	return !n && alive ? 8 : n;
}

/* RFC 1122 4.2.3.5 R2, Linux's way: by time at full back-off, so that a peer far away is given no
 * more tries than one nearby. */
static bool write_timeout(struct stack *st, struct tcb *tcb)
{
	unsigned tries = ld_rlx(&st->sys->tcp_retries2);

	if (tcp_rtx_timed_out(st, tcb, ld_rlx(&st->sys->tcp_retries1), 0))
		tcp_route(st, tcb);
	if (tcb->flags & TF_ORPHAN)
		tries = tcp_orphan_retries(st, tcb, tcb->rto_us <
					   ld_rlx(&st->sys->tcp_rto_max_ms) * 1000ull);
	return tcp_rtx_timed_out(st, tcb, tries, tcb->user_timeout_ms);
}

static bool syn_timeout(struct stack *st, const struct tcb *tcb)
{
	unsigned tries;

	if (tcb->state == SD_ST_SYN_RECV)
		tries = tcb->syn_cnt ? tcb->syn_cnt : ld_rlx(&st->sys->tcp_synack_retries);
	else
		tries = (tcb->syn_cnt ? tcb->syn_cnt : ld_rlx(&st->sys->tcp_syn_retries)) +
			ld_rlx(&st->sys->tcp_syn_linear_timeouts);
	if (tcb->rtx_cnt >= tries)
		return true;
	return tcb->user_timeout_ms && tcp_rtx_timed_out(st, tcb, 0, tcb->user_timeout_ms);
}

/* The next wait ends no later than the program's patience. */
static uint64_t clamp_to_user(struct stack *st, const struct tcb *tcb, uint64_t us)
{
	int64_t left;

	if (!tcb->user_timeout_ms || !tcb->retrans_ms)
		return us;
	left = (int64_t)tcb->user_timeout_ms - (uint32_t)(tcp_ms(st) - tcb->retrans_ms);
	return u64_min(us, left > 1 ? (uint64_t)left * 1000 : 1000);
}

/* ---- it fires ---- */

static void on_syn_rto(struct stack *st, struct tcb *tcb)
{
	bool linear = tcb->state == SD_ST_SYN_SENT &&
		      tcb->rtx_cnt < ld_rlx(&st->sys->tcp_syn_linear_timeouts);

	snmp_inc(st, SNMP_TcpExt_TCPTimeouts);
	snmp_inc(st, SNMP_TcpExt_TCPSynRetrans);
	snmp_inc(st, SNMP_Tcp_RetransSegs);
	if (!tcb->retrans_ms)
		tcb->retrans_ms = u32_max(tcp_ms(st), 1);
	tcb->rtx_cnt++;
	tcb->syn_rtx++;
	tcb->rack_us = 0;		/* Karn */
	tcb->retrans++;
	tcp_route(st, tcb);
	if (tcb->rtx_cnt >= tcb->probes)	/* else TCP_DEFER_ACCEPT: the peer has it */
		tcp_send_syn(st, tcb);
	if (!linear)
		tcb->rto_us = (uint32_t)u64_min(2ull * tcb->rto_us,
						ld_rlx(&st->sys->tcp_rto_max_ms) * 1000ull);
	tcp_rto_set(st, tcb, RTO_LOSS, clamp_to_user(st, tcb, tcb->rto_us));
}

static bool thin(struct stack *st, const struct tcb *tcb)
{
	return ld_rlx(&st->sys->tcp_thin_linear_timeouts) && tcb->packets_out < 4 &&
	       tcb->ssthresh >= TCP_SSTHRESH_INF && tcb->rtx_cnt <= 6;
}

static void back_off(struct stack *st, struct tcb *tcb)
{
	if (tcb->state == SD_ST_ESTABLISHED && thin(st, tcb)) {
		tcp_rto_reset(st, tcb);
	} else {
		tcb->backoff = (uint8_t)u32_min(tcb->backoff + 1u, 30);
		tcb->rto_us = (uint32_t)u64_min(2ull * tcb->rto_us,
						ld_rlx(&st->sys->tcp_rto_max_ms) * 1000ull);
	}
	tcp_rto_set(st, tcb, RTO_LOSS, clamp_to_user(st, tcb, tcb->rto_us));
}

/* The peer has closed its window under what was sent: what follows are probes, and as long as it
 * answers any, it is waited for. */
static bool window_taken_back(const struct tcb *tcb)
{
	return pos_le(tcb->snd_edge, tcb->snd_una) && !(tcb->flags & TF_ORPHAN);
}

static bool probe_timed_out(struct stack *st, const struct tcb *tcb)
{
	uint32_t silent = tcp_ms(st) - tcb->last_rcv_ms;
	uint32_t limit = 2 * ld_rlx(&st->sys->tcp_rto_max_ms);

	if (tcb->user_timeout_ms)
		limit = u32_min(limit, tcb->user_timeout_ms);
	return silent > limit && tcb->retrans_ms && tcp_ms(st) - tcb->retrans_ms > limit;
}

static void on_loss_timer(struct stack *st, struct tcb *tcb)
{
	bool taken_back = window_taken_back(tcb);

	if (taken_back ? probe_timed_out(st, tcb) : write_timeout(st, tcb)) {
		give_up(st, tcb);
		return;
	}
	if (!taken_back)
		snmp_inc(st, SNMP_TcpExt_TCPTimeouts);
	tcp_enter_loss(st, tcb);
	if (!taken_back && tcb->rtx_cnt < 255)
		tcb->rtx_cnt++;
	switch (tcp_rtx_one(st, tcb, txr_at(st, tcb->txq_head), 1, false)) {
	case -ENOBUFS:
		tcp_rto_set(st, tcb, RTO_LOSS, 500000);
		return;
	case -EPROTO:
		tcb->flags |= TF_HOSTILE;
		tcp_due(st, tcb, DUE_TX);
		break;
	}
	back_off(st, tcb);
}

void tcp_on_rto(struct stack *st, struct tcb *tcb)
{
	if (tcb->state == SD_ST_SYN_SENT || tcb->state == SD_ST_SYN_RECV) {
		if (syn_timeout(st, tcb))
			give_up(st, tcb);
		else
			on_syn_rto(st, tcb);
		return;
	}
	if (!tcb->packets_out)
		return;
	switch (tcb->rto_kind) {
	case RTO_PROBE:
		tlp_on_timeout(st, tcb);
		break;
	case RTO_REORDER:
		rack_on_timeout(st, tcb);
		break;
	default:
		on_loss_timer(st, tcb);
	}
}

/* ---- probes of a closed window ---- */

uint64_t tcp_probe_wait_us(const struct tcb *tcb)
{
	uint64_t us = u32_max(tcb->rto_us, TCP_RTO_MIN_US);

	return u64_min(us << u32_min(tcb->backoff, 20), TCP_RTO_MAX_US);
}

static bool probes_exhausted(struct stack *st, const struct tcb *tcb)
{
	unsigned most = ld_rlx(&st->sys->tcp_retries2);
	bool alive = tcp_probe_wait_us(tcb) < TCP_RTO_MAX_US;

	if (tcb->user_timeout_ms && tcb->probe_ms &&
	    tcp_ms(st) - tcb->probe_ms >= tcb->user_timeout_ms)
		return true;
	if (tcb->flags & TF_ORPHAN) {
		most = tcp_orphan_retries(st, tcb, alive);
		if (!alive && tcb->backoff >= most)
			return true;
	}
	return tcb->probes >= most;
}

static uint64_t clamp_probe(struct stack *st, const struct tcb *tcb, uint64_t us)
{
	int64_t left;

	if (!tcb->user_timeout_ms || !tcb->probe_ms)
		return us;
	left = (int64_t)tcb->user_timeout_ms - (uint32_t)(tcp_ms(st) - tcb->probe_ms);
	return u64_min(us, left > 1 ? (uint64_t)left * 1000 : 1000);
}

/* Nothing outstanding and something to send: closed window, cork, or no packet was to be had. */
void tcp_on_persist(struct stack *st, struct tcb *tcb)
{
	uint64_t left = tcb->snd_tail + !!(tcb->flags & TF_FIN) - tcb->snd_nxt;

	tcp_due(st, tcb, DUE_TX);
	if (!left || tcb->packets_out)
		return;
	tcb->flags |= TF_PUSH_NOW;
	if (pos_lt(tcb->snd_nxt, tcb->snd_edge))
		return;				/* what fits goes now */
	if (probes_exhausted(st, tcb)) {
		give_up(st, tcb);
		return;
	}
	if (!tcb->probe_ms)
		tcb->probe_ms = u32_max(tcp_ms(st), 1);
	snmp_inc(st, SNMP_TcpExt_TCPWinProbe);
	tcb->probes++;
	if (tcb->backoff < ld_rlx(&st->sys->tcp_retries2))
		tcb->backoff++;
	tcp_send_probe(st, tcb);
	tcp_dl_set(st, tcb, DL_PERSIST, clamp_probe(st, tcb, tcp_probe_wait_us(tcb)));
}
