/* SPDX-License-Identifier: MIT */
/* tcp/output.c - what to send: retransmissions first, then new data, then FIN
 * Runs once per connection and loop (tcp_flush), so that all that a loop's packets and commands
 * have made possible leaves in frames as large as they get, with the ACK on them.
 * Spec:    RFC 9293 3.7.4 (Nagle, in Minshall's form), 3.8.6.2.1 (silly windows), 3.8.6.1 (probes);
 *          RFC 6675 5 (C); RFC 5681 4.1 (restart after idle)
 * Holds:   I1, I4
 */
#include <errno.h>

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

static void note_sent(struct stack *st, struct tcb *tcb, uint64_t len)
{
	tcb->last_snd_ms = tcp_ms(st);
	if (!tcb->stall_ms)
		tcb->stall_ms = tcp_ms(st) | 1;
	if (!tcb->dl[DL_RTO])
		tcp_dl_set(st, tcb, DL_RTO, tcp_rto(tcb));
	if (len && tcp_ms(st) - tcb->last_rcv_ms < TCP_DELACK_US / 1000)
		tcb->flags |= TF_PINGPONG;
}

static uint32_t segs_of(const struct tcb *tcb, uint64_t len)
{
	return (uint32_t)((len + tcb->mss - 1) / tcb->mss);
}

/* Retransmit [pos, pos + len) in the sequence space: the FIN, if it is inside, is not data. */
static int retransmit(struct stack *st, struct tcb *tcb, uint64_t pos, uint64_t len)
{
	uint64_t data, end;
	bool fin;
	int err;

	len = u64_min(len, tcp_frame_max(tcb));
	end = pos + len;
	fin = pos_lt(tcb->snd_tail, end);
	data = pos_span(pos, pos_min(end, tcb->snd_tail));
	err = tcp_send_data(st, tcb, pos, data, fin);
	if (err)
		return err;
	snmp_add(st, SNMP_Tcp_RetransSegs, data ? segs_of(tcb, data) : 1);
	if (tcb->ca == CA_LOSS)
		snmp_add(st, SNMP_TcpExt_TCPSlowStartRetrans, 1);
	else
		snmp_add(st, SNMP_TcpExt_TCPFastRetrans, 1);
	tcb->retrans += data ? segs_of(tcb, data) : 1;
	tcb->rtt_us = 0;		/* Karn */
	note_sent(st, tcb, 0);
	tcb->high_rxt = pos_max(tcb->high_rxt, end);
	return 0;
}

/* Room in the congestion window; a whole segment at least, or none. */
static uint64_t cwnd_room(struct stack *st, const struct tcb *tcb)
{
	uint64_t pipe = tcp_pipe(st, tcb);

	if (!pipe)
		return u32_max(tcb->cwnd, tcb->mss);
	return pipe + tcb->mss <= tcb->cwnd ? tcb->cwnd - pipe : 0;
}

/* The segment at snd_una at once: entry into recovery, or a partial ACK. */
static int rtx_head(struct stack *st, struct tcb *tcb)
{
	const struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	uint64_t end = pos_min(tcb->snd_una + tcb->mss, tcb->snd_nxt);

	tcb->flags &= ~TF_RTX_HEAD;
	if (sb && sb->cnt)
		end = pos_min(end, sb->r[0].lo);
	if (!pos_lt(tcb->snd_una, end))
		return 0;
	return retransmit(st, tcb, tcb->snd_una, end - tcb->snd_una);
}

static int send_rtx(struct stack *st, struct tcb *tcb, bool spare)
{
	uint64_t pos, len, room, high;
	enum tcp_rtx what;
	int err = 0;

	if (tcb->ca == CA_OPEN)
		return 0;
	if (tcb->flags & TF_RTX_HEAD)
		err = rtx_head(st, tcb);
	while (!err && (what = tcp_rtx_next(st, tcb, spare, &pos, &len)) != TCP_RTX_NONE) {
		room = cwnd_room(st, tcb);
		if (room < tcb->mss)
			break;
		high = tcb->high_rxt;
		err = retransmit(st, tcb, pos, u64_min(len, room - room % tcb->mss));
		if (what == TCP_RTX_RESCUE) {
			tcb->high_rxt = high;
			tcb->flags |= TF_RESCUED;
		}
	}
	return err;
}

/* ---- new data ---- */

/* RFC 5681 4.1, RFC 2861: after a pause of an RTO the window says nothing about the path. */
static void restart_after_idle(struct stack *st, struct tcb *tcb)
{
	if (tcb->snd_una == tcb->snd_nxt &&
	    (tcp_ms(st) - tcb->last_snd_ms) * 1000ull > tcp_rto(tcb))
		tcb->cwnd = u32_min(tcb->cwnd, TCP_IW * (uint32_t)tcb->mss);
}

/* May the last, partial segment of what there is go now? */
static bool partial_ok(const struct tcb *tcb)
{
	if (tcb->flags & (TF_PUSH_NOW | TF_FIN))
		return true;
	if (tcb->flags & TF_CORK)
		return false;
	return tcb->flags & TF_NODELAY || pos_le(tcb->snd_sml, tcb->snd_una);
}

/* Return: payload bytes of the next frame; *ret_fin: with FIN. 0 without FIN: nothing may go. */
static uint64_t plan(struct stack *st, struct tcb *tcb, bool *ret_fin)
{
	uint64_t avail = pos_span(tcb->snd_nxt, tcb->snd_tail);
	uint64_t wnd = pos_span(tcb->snd_nxt, tcb->snd_edge);
	uint64_t room = cwnd_room(st, tcb), n;

	*ret_fin = false;
	if (room < tcb->mss) {
		tcb->flags |= TF_CWND_LIM;
		return 0;
	}
	n = u64_min(u64_min(avail, wnd), tcp_frame_max(tcb));
	if (n > room) {
		n = room - room % tcb->mss;
		tcb->flags |= TF_CWND_LIM;
	}
	if (n < avail && n >= tcb->mss)
		n -= n % tcb->mss;
	else if (n < avail && !(tcb->flags & TF_PUSH_NOW) && n < tcb->max_wnd / 2)
		return 0;			/* a silly window */
	else if (n == avail && n % tcb->mss && !partial_ok(tcb))
		n -= n % tcb->mss;
	*ret_fin = fin_due(tcb) && n == avail && n < wnd;
	return n;
}

static int send_new(struct stack *st, struct tcb *tcb)
{
	uint64_t n;
	bool fin;
	int err;

	if (!something_new(tcb))
		return 0;
	restart_after_idle(st, tcb);
	while (something_new(tcb)) {
		n = plan(st, tcb, &fin);
		if (!n && !fin)
			return 0;
		err = tcp_send_data(st, tcb, tcb->snd_nxt, n, fin);
		if (err)
			return err;
		tcb->snd_nxt += n + fin;
		if (n % tcb->mss)
			tcb->snd_sml = tcb->snd_nxt;
		if (!tcb->rtt_us) {
			tcb->rtt_us = st->now_us;
			tcb->rtt_pos = tcb->snd_nxt;
		}
		snmp_add(st, SNMP_TcpExt_TCPOrigDataSent, segs_of(tcb, n));
		note_sent(st, tcb, n);
	}
	return 0;
}

/* ---- timers of what could not go ---- */

static uint64_t persist_us(const struct tcb *tcb)
{
	uint64_t us = (uint64_t)tcb->rto_us << tcb->persist_shift;

	return u64_min(us, TCP_RTO_MAX_US);
}

static void set_persist(struct stack *st, struct tcb *tcb, int err)
{
	bool corked = pos_lt(tcb->snd_nxt, tcb->snd_edge) && tcb->flags & TF_CORK;

	if (err == -ENOBUFS) {
		tcp_dl_set(st, tcb, DL_PERSIST, TCP_RETRY_US);
		return;
	}
	if (tcb->snd_una != tcb->snd_nxt || !something_new(tcb)) {
		tcp_dl_clear(tcb, DL_PERSIST);
		return;
	}
	if (!tcb->dl[DL_PERSIST])
		tcp_dl_set(st, tcb, DL_PERSIST, corked ? TCP_CORK_US : persist_us(tcb));
}

void tcp_output(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e;
	int err;

	if (!may_send(tcb))
		return;
	tcb->flags &= ~TF_CWND_LIM;
	err = send_rtx(st, tcb, false);
	if (!err)
		err = send_new(st, tcb);
	if (!err)
		err = send_rtx(st, tcb, true);
	tcb->flags &= ~TF_PUSH_NOW;
	if (err == -EPROTO) {
		tcb->flags |= TF_HOSTILE;
		return;
	}
	set_persist(st, tcb, err);
	e = sock_slot_e(st, tcb->id);
	if (e)
		st_rel(&e->tx_nxt, pos_min(tcb->snd_nxt, tcb->snd_tail));
}
