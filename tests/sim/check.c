/* SPDX-License-Identifier: MIT */
/* tests/sim/check.c - after each turn of a host: what must hold inside each of its connections
 * tcb_assert() and txq_assert() are the stack's own invariants (I1 to I5, tcp_int.h). Here is what
 * only somebody can tell who remembers how it was before: positions only grow, states follow the
 * edges of RFC 9293 figure 5, a loss shrinks the window, an acknowledgment makes it grow by no more
 * than was acknowledged, and whoever has something to send has a timer.
 */
#include "stackd/tcp/pace.h"
#include "tests/sim/sim.h"

#define S(x) (1u << SD_ST_##x)
/* RFC 9293 3.3.2, any number of steps at once; CLOSE is the way out of all. */
static const uint32_t reach[] = {
	[SD_ST_SYN_SENT] = S(SYN_RECV) | S(ESTABLISHED) | S(FIN_WAIT1) | S(FIN_WAIT2) |
			   S(CLOSING) | S(CLOSE_WAIT) | S(LAST_ACK),
	[SD_ST_SYN_RECV] = S(ESTABLISHED) | S(FIN_WAIT1) | S(FIN_WAIT2) | S(CLOSING) |
			   S(CLOSE_WAIT) | S(LAST_ACK),
	[SD_ST_ESTABLISHED] = S(FIN_WAIT1) | S(FIN_WAIT2) | S(CLOSING) | S(CLOSE_WAIT) |
			      S(LAST_ACK),
	[SD_ST_FIN_WAIT1] = S(FIN_WAIT2) | S(CLOSING),
	[SD_ST_FIN_WAIT2] = 0,
	[SD_ST_CLOSE_WAIT] = S(LAST_ACK),
	[SD_ST_CLOSING] = 0,
	[SD_ST_LAST_ACK] = 0,
};

static bool legal(uint8_t from, uint8_t to)
{
	return from == to || (from < sizeof(reach) / sizeof(reach[0]) && reach[from] & 1u << to);
}

static bool handshaking(const struct tcb *tcb)
{
	return tcb->state == SD_ST_SYN_SENT || tcb->state == SD_ST_SYN_RECV;
}

static void timers(struct sim_host *h, const struct tcb *tcb)
{
	if (handshaking(tcb)) {
		if (!tcb->dl[DL_RTO])
			sim_fail(h->sim, "host %u: a handshake without a timer", h->no);
	} else if (pos_lt(tcb->snd_nxt, tcb->snd_tail) && !tcb->dl[DL_RTO] &&
		   !tcb->dl[DL_PERSIST] && !pace_waits(&h->st, tcb)) {
		sim_fail(h->sim, "host %u: data to send and no timer", h->no);
	}
	if (!wheel_armed(&tcb->tm) && (tcb->dl[DL_RTO] || tcb->dl[DL_PERSIST] ||
				       tcb->dl[DL_DELACK] || tcb->dl[DL_KEEP]))
		sim_fail(h->sim, "host %u: a deadline and the wheel is not armed", h->no);
	if (tcb->due)
		sim_fail(h->sim, "host %u: work left after the end of the loop", h->no);
}

static void buffers(struct sim_host *h, const struct tcb *tcb)
{
	const struct sd_slot_e *e = sock_slot_e(&h->st, tcb->id);
	uint64_t fin = !!(tcb->flags & TF_RCV_FIN);

	if (e && !handshaking(tcb) && e->rx_tail != tcb->rcv_nxt - fin)
		sim_fail(h->sim, "host %u: acknowledged %lu, published %lu", h->no,
			 (unsigned long)tcb->rcv_nxt, (unsigned long)e->rx_tail);
}

/* The window of congestion: @was is how it was a turn ago. */
static void congestion(struct sim_host *h, const struct tcb *tcb, const struct tcb_seen *was)
{
	uint32_t most = u32_max(was->cwnd, tcb->prior_cwnd);

	if (!tcb->cwnd)
		sim_fail(h->sim, "host %u: no congestion window", h->no);
	if (tcb->cwnd > TCP_IW + tcb->delivered + 2)
		sim_fail(h->sim, "host %u: cwnd %u after %u segments delivered", h->no, tcb->cwnd,
			 tcb->delivered);
	if (!tcp_cc_at(tcb->cc)->control &&	/* a model does not go by single losses */
	    was->ca < CA_CWR && tcb->ca >= CA_RECOVERY && tcb->undo_ok &&
	    tcb->ssthresh > u32_max(2, most - most / 10))
		sim_fail(h->sim, "host %u: a loss and cwnd %u, ssthresh %u", h->no, most,
			 tcb->ssthresh);
	if (was->ca == CA_OPEN && tcb->ca == CA_LOSS && tcb->undo_ok &&
	    tcb->cwnd > tcp_in_flight(tcb) + 1)
		sim_fail(h->sim, "host %u: a timeout and cwnd %u, in flight %u", h->no, tcb->cwnd,
			 tcp_in_flight(tcb));
}

static void compare(struct sim_host *h, const struct tcb *tcb, const struct tcb_seen *was)
{
	/* rounded up to the unit of its scale, in each segment that says it: as Linux does */
	uint64_t unit = 1u << tcb->rcv_ws;
	uint64_t most = tcb->rcv_head + u32_max(tcb->rx_limit, was->limit) + unit;

	if (pos_lt(tcb->snd_una, was->una) || pos_lt(tcb->snd_nxt, was->nxt) ||
	    pos_lt(tcb->rcv_nxt, was->rcv_nxt) || pos_lt(tcb->rcv_adv, was->rcv_adv))
		sim_fail(h->sim, "host %u: a position went back", h->no);
	if (pos_lt(pos_max(most, was->rcv_adv) + (tcb->segs_out - was->out) * unit, tcb->rcv_adv))
		sim_fail(h->sim, "host %u: more window than buffer", h->no);
	if (!legal(was->state, tcb->state))
		sim_fail(h->sim, "host %u: from %s to %s", h->no, tcp_state_name(was->state),
			 tcp_state_name(tcb->state));
	if (!handshaking(tcb))
		congestion(h, tcb, was);
}

static bool changed(const struct tcb *tcb, const struct tcb_seen *was)
{
	return was->in != tcb->segs_in || was->out != tcb->segs_out || was->una != tcb->snd_una ||
	       was->nxt != tcb->snd_nxt || was->state != tcb->state || was->ca != tcb->ca ||
	       was->cwnd != tcb->cwnd || was->rcv_adv != tcb->rcv_adv;
}

static void check_one(struct sim_host *h, uint32_t i, const struct tcb *tcb)
{
	struct tcb_seen *was = &h->seen[i];
	bool known = was->iss == tcb->iss && was->state;

	timers(h, tcb);
	if (known && !changed(tcb, was))
		return;
	tcb_assert(&h->st, tcb);
	if (!handshaking(tcb))
		txq_assert(&h->st, tcb);
	buffers(h, tcb);
	if (known)
		compare(h, tcb, was);
	*was = (struct tcb_seen){ .una = tcb->snd_una, .nxt = tcb->snd_nxt,
				  .rcv_nxt = tcb->rcv_nxt, .rcv_adv = tcb->rcv_adv,
				  .iss = tcb->iss, .cwnd = tcb->cwnd, .in = tcb->segs_in,
				  .out = tcb->segs_out, .limit = tcb->rx_limit,
				  .state = tcb->state, .ca = tcb->ca };
}

void check_host(struct sim_host *h)
{
	struct idx_pool *p = &h->st.tcp->tcbs;

	for (uint32_t i = p->first; i < p->bump; i++) {
		const struct tcb *tcb = tcb_at(&h->st, i);

		if (tcb)
			check_one(h, i, tcb);
		else
			h->seen[i].state = 0;
	}
}
