/* SPDX-License-Identifier: MIT */
/* tests/sim/end.c - what the programs do: one end of a connection
 * It writes tx_total bytes, reads and verifies what the peer writes, half-closes, closes; some
 * talk in turns, stop reading for a while, pause between writes, close with data unread or by
 * reset. Everything is decided by the seed.
 */
#include <errno.h>
#include <string.h>

#include "tests/sim/sim.h"

static uint32_t below(const struct sim_end *x, uint32_t n)
{
	return rng_below(x->h->sim->rng, n);
}

static void alarm_at(struct sim_end *x, uint64_t us)
{
	if (us < x->next_us)
		x->next_us = us;
}

/* The connection ended in an error: legal only when somebody misbehaves. */
static void failed(struct sim_end *x, int err)
{
	/* nobody answered ARP, and connect() hears of it */
	bool unreachable = err == EHOSTUNREACH && x->h->sim->arp_may_fail && !x->open;

	x->err = err;
	if (!x->may_fail && !unreachable)
		sim_fail(x->h->sim, "host %u: %s on a well-behaved connection", x->h->no,
			 strerror(err));
	if (unreachable)
		x->peer->may_fail = true;
	end_close(x);
}

/* ---- writing ---- */

/* How far it may write now: in turns, a line more than the peer has answered. */
static uint64_t may_write(const struct sim_end *x)
{
	uint64_t turns;

	if (x->mode != END_TALK)
		return x->tx_total;
	turns = x->rx_pos / x->line + x->client;
	return u64_min(x->tx_total, turns * x->line);
}

static void sender(struct sim_end *x)
{
	struct sim *s = x->h->sim;
	bool wrote = false;
	uint64_t n;

	if (x->think_until_us > s->now_us) {
		alarm_at(x, x->think_until_us);
		return;
	}
	while (!x->shut && x->tx_pos < may_write(x)) {
		n = u64_min(1 + below(x, x->write_max), may_write(x) - x->tx_pos);
		if (end_write(x, n)) {
			wrote = true;
			if (!x->think_us)
				continue;
			x->think_until_us = s->now_us + 1 + below(x, x->think_us);
			alarm_at(x, x->think_until_us);
			break;
		}
		or_sc(&end_slot_p(x)->flags, SD_P_NOSPACE);
		if (!end_tx_space(x))
			break;
	}
	if (wrote)
		end_kick(x, SD_PEND_TX);
	if (!x->shut && x->tx_pos == x->tx_total && x->mode != END_CLOSE_FIRST)
		end_shut(x);
}

/* ---- reading ---- */

/* Return: true when the end is through. */
static bool quits(struct sim_end *x)
{
	if (x->mode < END_ABORT || x->rx_pos + x->tx_pos < x->quit_at)
		return false;
	if (x->mode == END_ABORT)
		end_slot_p(x)->opts.linger_on = 1;
	end_close(x);
	return true;
}

/* Return: true when it does not want to read now. */
static bool stalls(struct sim_end *x)
{
	uint64_t now = x->h->sim->now_us;

	if (x->rx_pos >= x->stall_at) {
		x->stall_at = UINT64_MAX;
		x->stall_until_us = now + x->stall_us;
	}
	if (now >= x->stall_until_us)
		return false;
	alarm_at(x, x->stall_until_us);
	return true;
}

static void receiver(struct sim_end *x)
{
	struct sim *s = x->h->sim;

	while (!stalls(x) && end_read(x, 1 + below(x, x->read_max))) {
		if (quits(x))
			return;
		if (x->pause_us) {
			alarm_at(x, s->now_us + 1 + below(x, x->pause_us));
			return;
		}
	}
	if (ld_acq(&end_slot_e(x)->flags) & SD_E_RCV_FIN &&
	    end_slot_p(x)->rx_head == ld_acq(&end_slot_e(x)->rx_tail))
		x->eof = true;
}

/* ---- the end ---- */

static void finish(struct sim_end *x)
{
	bool all = x->rx_pos == x->peer->tx_total;

	if (x->mode == END_CLOSE_FIRST && x->tx_pos == x->tx_total) {
		end_close(x);
	} else if (x->eof && x->shut) {
		if (!x->may_fail && !all)
			sim_fail(x->h->sim, "host %u: end of stream after %lu of %lu bytes",
				 x->h->no, (unsigned long)x->rx_pos,
				 (unsigned long)x->peer->tx_total);
		end_close(x);
	}
}

void end_run(struct sim_end *x)
{
	struct sd_slot_e *e = end_slot_e(x);

	x->next_us = UINT64_MAX;
	if (e->err_seq != end_slot_p(x)->err_ack) {
		end_slot_p(x)->err_ack = e->err_seq;
		failed(x, (int)e->err);
		return;
	}
	if (e->flags & SD_E_RESET) {
		failed(x, ECONNRESET);
		return;
	}
	if (!x->open && (e->flags & SD_E_CONNECTED))
		x->open = true;
	if (!x->open)
		return;
	receiver(x);
	if (!x->closed)
		sender(x);
	if (!x->closed && !quits(x))
		finish(x);
}
