/* SPDX-License-Identifier: MIT */
/* preload/ready.c - what poll() would say of a socket now
 * Linux derives readiness from four facts: the state, which directions are shut, bytes to read and
 * room to write. The first two live in slot_e (and shutdown() calls not yet seen by the engine in
 * slot_p.flags), bytes and room follow from the positions on both sides. A slot whose generation
 * the engine does not serve (yet) is a fresh socket.
 * Spec:    S2
 * In/Out:  slot -> SD_EV_* bits
 * Pairs:   or_sc(slot_p.flags, NOSPACE) then ld_sc(tx_una) here with the worker's store of tx_una
 *          then its look at NOSPACE: one of the two sees the other
 * Threads: any, also signal handlers; writes nothing but NOSPACE
 */
#include <limits.h>
#include <sys/socket.h>

#include "preload/wait_int.h"

#define SHUT_IN		1u
#define SHUT_OUT	2u
#define SHUT_BOTH	3u

/* One consistent enough look at a socket: each field is read once. */
struct view {
	const struct sd_slot_e *e;
	const struct sd_slot_p *p;
	bool served;			/* the engine knows this generation */
	uint32_t state;
	uint32_t eflags;
	unsigned shut;			/* SHUT_* */
};

static void view_init(struct view *v, uint32_t slot)
{
	uint32_t pflags;

	v->e = pl_e(slot);
	v->p = pl_p(slot);
	v->served = ld_acq(&v->e->gen) == ld_rlx(&v->p->gen);
	v->state = v->served ? ld_acq(&v->e->state) : SD_ST_CLOSE;
	v->eflags = v->served ? ld_acq(&v->e->flags) : 0;
	pflags = ld_acq(&v->p->flags);
	v->shut = 0;
	if (pflags & SD_P_SHUT_RD || v->eflags & (SD_E_RCV_FIN | SD_E_RESET))
		v->shut |= SHUT_IN;
	if (pflags & SD_P_SHUT_WR || v->eflags & (SD_E_SND_FIN | SD_E_RESET))
		v->shut |= SHUT_OUT;
	if (v->state == SD_ST_TIME_WAIT)
		v->shut = SHUT_BOTH;
}

static bool err_pending(const struct view *v)
{
	return v->served && ld_acq(&v->e->err_seq) != ld_rlx(&v->p->err_ack);
}

static uint64_t rx_avail(const struct view *v)
{
	uint64_t tail = v->served ? ld_acq(&v->e->rx_tail) : 0;
	uint64_t head = ld_rlx(&v->p->rx_head);

	return tail > head ? tail - head : 0;
}

static uint64_t tx_limit(const struct view *v)
{
	uint64_t limit = v->served ? ld_acq(&v->e->tx_limit) : 0;

	return limit ? limit : ld_rlx(&pl.info->def_sndbuf);
}

static uint64_t tx_queued(const struct view *v)
{
	uint64_t una = v->served ? ld_sc(&v->e->tx_una) : 0;	/* pairs: see above */
	uint64_t tail = ld_acq(&v->p->tx_tail);

	return tail > una ? tail - una : 0;
}

/* Linux's rule: at least a third of the send buffer is free, and what was never sent is less than
 * half of TCP_NOTSENT_LOWAT. */
static bool stream_writeable(const struct view *v)
{
	uint64_t limit = tx_limit(v), queued = tx_queued(v), tail, nxt;
	uint32_t lowat = ld_rlx(&v->p->opts.notsent_lowat);

	if (queued >= limit || limit - queued < queued / 2)
		return false;
	if (!lowat || lowat == UINT_MAX)
		return true;
	tail = ld_acq(&v->p->tx_tail);
	nxt = v->served ? ld_acq(&v->e->tx_nxt) : 0;
	return tail <= nxt || (tail - nxt) * 2 < lowat;
}

static bool dgram_writeable(const struct view *v)
{
	return tx_queued(v) < tx_limit(v) / 2 || !tx_queued(v);
}

/* OUT when @writeable; else announce the need, and look once more (see Pairs). */
static uint32_t out_or_announce(const struct view *v, bool (*writeable)(const struct view *v))
{
	if (writeable(v))
		return SD_EV_OUT;
	or_sc(&((struct sd_slot_p *)v->p)->flags, SD_P_NOSPACE);
	return writeable(v) ? SD_EV_OUT : 0;
}

/* SO_RCVLOWAT is met; or it cannot be met because the window is nearly closed. */
static bool stream_readable(const struct view *v)
{
	uint64_t avail = rx_avail(v), target = ld_rlx(&v->p->opts.rcvlowat);
	uint64_t adv, tail;

	if (!target)
		target = 1;
	if (v->eflags & SD_E_URG && ld_acq(&v->e->rx_urg) == ld_rlx(&v->p->rx_head) + 1 &&
	    !(ld_rlx(&v->p->opts.hints[0]) & PL_HINT_OOBINLINE))
		target++;		/* the urgent byte alone does not count */
	if (!avail)
		return false;
	if (avail >= target)
		return true;
	adv = ld_acq(&v->e->rx_adv);
	tail = ld_acq(&v->e->rx_tail);
	return adv <= tail || adv - tail <= ld_rlx(&v->e->mss);
}

static uint32_t listener_ready(const struct view *v)
{
	uint32_t base = ld_acq(&v->e->accept_base), cnt = ld_acq(&v->e->accept_cnt);

	for (uint32_t i = 0; i < cnt && i < SD_MAX_WORKERS; i++) {
		struct sd_accept_ring *r = shm_accept_ring(&pl.seg, base + i);

		if (r && shm_accept_any(r))
			return SD_EV_IN;
	}
	return 0;
}

/* The urgent byte is there; neither MSG_OOB nor the reader has taken it. */
static bool urgent(const struct view *v)
{
	uint64_t urg = v->eflags & SD_E_URG ? ld_acq(&v->e->rx_urg) : 0;

	return urg > ld_rlx(&v->p->rx_head) && urg <= ld_acq(&v->e->rx_tail) &&
	       ld_rlx(&v->p->rx_urg_done) != (uint32_t)urg;
}

static uint32_t stream_ready(const struct view *v)
{
	uint32_t ev = 0;

	if (v->state == SD_ST_LISTEN)
		return listener_ready(v);
	if (v->shut == SHUT_BOTH || v->state == SD_ST_CLOSE)
		ev |= SD_EV_HUP;
	if (v->shut & SHUT_IN)
		ev |= SD_EV_IN | SD_EV_RDHUP;
	if (v->state != SD_ST_SYN_SENT && v->state != SD_ST_SYN_RECV) {
		if (stream_readable(v))
			ev |= SD_EV_IN;
		ev |= v->shut & SHUT_OUT ? SD_EV_OUT : out_or_announce(v, stream_writeable);
		if (urgent(v))
			ev |= SD_EV_PRI;
	}
	if (err_pending(v))
		ev |= SD_EV_ERR;
	return ev;
}

static uint32_t dgram_ready(const struct view *v)
{
	uint32_t ev = 0;

	if (err_pending(v))
		ev |= SD_EV_ERR;
	if (v->shut & SHUT_IN)
		ev |= SD_EV_IN | SD_EV_RDHUP;
	if (v->shut == SHUT_BOTH)
		ev |= SD_EV_HUP;
	if (rx_avail(v))
		ev |= SD_EV_IN;
	return ev | out_or_announce(v, dgram_writeable);
}

uint32_t pl_ready(uint32_t slot)
{
	struct view v;

	if (!pl_e(slot))
		return SD_EV_ERR | SD_EV_HUP;
	view_init(&v, slot);
	return ld_rlx(&v.p->opts.type) == SOCK_DGRAM ? dgram_ready(&v) : stream_ready(&v);
}

uint32_t pl_ready_wide(uint32_t slot)
{
	uint32_t ev = pl_ready(slot);
	const struct sd_slot_p *p = pl_p(slot);

	if (ev & SD_EV_IN)
		ev |= EPOLLRDNORM;
	if (ev & SD_EV_OUT)
		ev |= EPOLLWRNORM;
	if (ev & SD_EV_OUT && p && ld_rlx(&p->opts.type) == SOCK_DGRAM)
		ev |= EPOLLWRBAND;
	return ev;
}
