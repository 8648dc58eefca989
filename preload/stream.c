/* SPDX-License-Identifier: MIT */
/* preload/stream.c - bytes of a stream between the program and its slot's two FIFOs
 * Send: under tx_lock free what the peer has acknowledged, reserve chunks up to tx_limit, copy,
 *       publish
 * tx_tail, tell the worker. Receive: under rx_lock copy out of the engine's chunks, publish
 * rx_head, and tell the worker only when the window may grow by enough to be worth a segment. No
 * lock is held while a call sleeps.
 * Holds:   X1 tx_tail is published after the bytes; rx_head after they were copied out
 *          X2 facts that end a stream (FIN, reset, error) are read before the bytes, so that
 *             nothing published ahead of them is missed
 *          X3 a holder that dies leaves both FIFOs valid: positions move last
 * Spec:    S1, T1
 * Threads: any number per socket; signal handlers run when the call is done or sleeps (defer.h)
 */
#include <limits.h>
#include <signal.h>
#include <time.h>

#include "preload/defer.h"
#include "preload/pl_int.h"

#define TX_NAP_MS 10		/* between looks for memory */
#define TX_BATCH (256u * 1024)		/* published at once, so that the engine starts early */

/* ---- iovecs ---- */

int pl_iter_init(struct pl_iter *it, const struct iovec *iov, size_t cnt)
{
	size_t left = 0;

	for (size_t i = 0; i < cnt; i++) {
		if (iov[i].iov_len > SSIZE_MAX - left)
			return -EINVAL;
		left += iov[i].iov_len;
	}
	*it = (struct pl_iter){ iov, cnt, 0, left };
	return 0;
}

size_t pl_iter_next(struct pl_iter *it, size_t max, void **ret_ptr)
{
	size_t n;

	while (it->cnt && it->off == it->iov->iov_len) {
		it->iov++;
		it->cnt--;
		it->off = 0;
	}
	if (!it->cnt)
		return 0;
	n = it->iov->iov_len - it->off;
	if (n > max)
		n = max;
	*ret_ptr = (char *)it->iov->iov_base + it->off;
	it->off += n;
	it->left -= n;
	return n;
}

/* ---- locks that a jump out of a handler does not leave behind ---- */

static void guard_leave(void *arg)
{
	struct pl_guard *g = arg;

	shm_unlock(g->word, pl_self());
	pl_defer_reset();
}

bool pl_lock(struct pl_guard *g, uint64_t *word)
{
	pl_defer_begin(g);
	g->word = word;
	_pthread_cleanup_push(&g->cu, guard_leave, g);
	if (shm_lock(word, pl_self()) != -EDEADLK)
		return true;
	_pthread_cleanup_pop(&g->cu, 0);
	pl_defer_end();
	return false;
}

void pl_unlock(struct pl_guard *g)
{
	shm_unlock(g->word, pl_self());
	_pthread_cleanup_pop(&g->cu, 0);
	pl_defer_end();
}

static void txmem_leave(void *arg)
{
	struct pl_txmem *t = arg;

	if (t->locked)
		shm_unlock(&pl.mag_lock, pl_self());
}

/* ---- send ---- */

void pl_txmem_get(struct pl_txmem *t)
{
	*t = (struct pl_txmem){ .m = { .seg = &pl.seg } };
	_pthread_cleanup_push(&t->cu, txmem_leave, t);
	t->locked = shm_trylock(&pl.mag_lock, pl_self());
	t->m.mag = t->locked ? shm_proc_magazine(pl.proc) : &t->tmp;
}

void pl_txmem_put(struct pl_txmem *t)
{
	if (t->locked)
		shm_unlock(&pl.mag_lock, pl_self());
	else
		shm_magazine_flush(&pl.seg, &t->tmp);
	_pthread_cleanup_pop(&t->cu, 0);
}

ssize_t pl_pipe_signal(ssize_t r, int flags)
{
	if (r == -EPIPE && !(flags & MSG_NOSIGNAL))
		raise(SIGPIPE);
	return r;
}

/* What Linux's sk_stream_error() makes of a broken direction: the pending error, else EPIPE. */
static int tx_broken(uint32_t slot)
{
	int err = pl_err_take(slot);

	return err ? -err : -EPIPE;
}

int pl_tx_check(uint32_t slot)
{
	uint32_t st = pl_state_of(slot);

	if (pl_err_pending(slot) || (pl_eflags(slot) & (SD_E_SND_FIN | SD_E_RESET)) ||
	    (ld_rlx(&pl_p(slot)->flags) & SD_P_SHUT_WR))
		return tx_broken(slot);
	if (st == SD_ST_ESTABLISHED || st == SD_ST_CLOSE_WAIT)
		return 0;
	return st == SD_ST_SYN_SENT || st == SD_ST_SYN_RECV ? -EAGAIN : -EPIPE;
}

/* Free chunks below what was acknowledged, a whole one at least; the last one stays for the next
 * write, and the engine takes it from an idle connection. */
static void tx_trim(struct sd_slot_e *e, struct sd_slot_p *p, uint64_t tail,
		    const struct pl_txmem *mem)
{
	uint64_t una = ld_acq(&e->tx_una);

	if (una <= tail && una - ld_rlx(&p->tx.freed) >= SD_CHUNK_SIZE)
		shm_fifo_release(&mem->m, SD_FIFO_TX, &p->tx, una, tail);
}

ssize_t pl_tx_begin(uint32_t slot, struct pl_guard *g, size_t want, uint64_t *ret_pos)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	struct pl_txmem mem;
	uint64_t tail, space;

	if (!pl_lock(g, &p->tx_lock))
		return -EAGAIN;
	tail = ld_rlx(&p->tx_tail);
	space = pl_tx_room(slot, 1);
	if (space > want)
		space = want;
	if (space > TX_BATCH)
		space = TX_BATCH;
	if (space) {
		pl_txmem_get(&mem);
		tx_trim(e, p, tail, &mem);
		space = shm_fifo_reserve(&mem.m, SD_FIFO_TX, &p->tx, tail, space);
		pl_txmem_put(&mem);
	}
	if (!space) {
		pl_unlock(g);
		return 0;
	}
	*ret_pos = tail;
	return (ssize_t)space;
}

/* MSG_MORE is about the end of what there is now: the engine holds its partial segment back. */
static void tx_more(struct sd_slot_p *p, int flags)
{
	if (flags & MSG_MORE)
		or_sc(&p->flags, SD_P_MORE);
	else if (ld_rlx(&p->flags) & SD_P_MORE)
		and_sc(&p->flags, ~SD_P_MORE);
}

void pl_tx_end(uint32_t slot, struct pl_guard *g, uint64_t pos, size_t len, int flags)
{
	struct sd_slot_p *p = pl_p(slot);

	if (len) {
		tx_more(p, flags);
		if (flags & MSG_OOB)
			st_rlx(&p->tx_urg, pos + len);
		st_rel(&p->tx_tail, pos + len);	/* X1; pairs with the worker's ld_acq */
	}
	pl_unlock(g);
	if (len)
		pl_kick(slot, SD_PEND_TX);
}

/* There is room, but no memory for it: whoever frees some does not know that we wait. As on Linux
 * the sender looks again after a while. */
static int tx_starved(uint32_t slot, struct pl_deadline *d, bool part)
{
	int left = pl_deadline_left(d), nap = left < 0 || left > TX_NAP_MS ? TX_NAP_MS : left;
	int r = pl_wait(slot, SD_EV_ERR | PL_WAIT_KEEP | (part ? PL_WAIT_PART : 0), nap, -1);

	return r == -EAGAIN && left != nap ? 0 : r;
}

int pl_tx_wait(uint32_t slot, struct pl_deadline *d, bool part)
{
	if (pl_scarce(SD_SCARCE_CHUNKS))
		return tx_starved(slot, d, part);
	return pl_wait(slot, SD_EV_OUT | PL_WAIT_KEEP | (part ? PL_WAIT_PART : 0),
		       pl_deadline_left(d), -1);
}

/* As much as fits now. Return: bytes, 0 = no space, -errno. */
static ssize_t tx_some(uint32_t slot, struct pl_iter *it, int flags)
{
	struct sd_fifo_map *map = &pl_p(slot)->tx;
	uint64_t pos = 0, done = 0;
	struct pl_guard g;
	ssize_t space = pl_tx_begin(slot, &g, it->left, &pos);
	void *src;
	size_t n;

	if (space <= 0)
		return space;
	while (done < (uint64_t)space &&
	       (n = pl_iter_next(it, (size_t)space - done, &src)) != 0) {
		shm_fifo_write(&pl.seg, SD_FIFO_TX, map, pos + done, src, n);
		done += n;
	}
	pl_tx_end(slot, &g, pos, done, flags);
	return (ssize_t)done;
}

static ssize_t stream_send(uint32_t slot, struct pl_iter *it, int flags)
{
	struct pl_deadline d = pl_deadline_in(ld_rlx(&pl_p(slot)->sndtimeo_ms));
	bool nonblock = pl_nonblock(slot, flags);
	size_t done = 0;
	ssize_t n;
	int r;

	for (;;) {
		r = pl_tx_check(slot);
		if (r && r != -EAGAIN)
			return done ? (ssize_t)done : r;
		n = r ? 0 : tx_some(slot, it, flags);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (!it->left)
			return (ssize_t)done;
		if (n)
			continue;
		if (nonblock)
			r = -EAGAIN;
		else
			r = pl_tx_wait(slot, &d, done > 0);
		if (r)
			return done ? (ssize_t)done : r;
	}
}

ssize_t pl_stream_send(uint32_t slot, struct pl_iter *it, int flags)
{
	ssize_t n;

	if (!it->left) {
		int r = pl_tx_check(slot);

		return r == -EAGAIN ? 0 : pl_pipe_signal(r, flags);
	}
	PL_DEFER_BEGIN();
	n = stream_send(slot, it, flags);
	pl_defer_end();
	pl_wait_end();
	return pl_pipe_signal(n, flags);
}

/* ---- receive ---- */

void pl_rx_consumed(uint32_t slot, uint64_t head)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	uint64_t adv = ld_rlx(&e->rx_adv), tail = ld_rlx(&e->rx_tail);
	uint64_t limit = ld_rlx(&e->rx_limit), edge = head + limit;
	uint64_t now = adv > tail ? adv - tail : 0, step = 2ull * ld_rlx(&e->mss);

	st_rel(&p->rx_head, head);	/* X1; pairs with the worker's ld_acq */
	if (step > limit / 2)
		step = limit / 2;
	/* The peer still has more than half a buffer to fill: its next segments carry the news. */
	if (edge > adv && edge - adv >= step && now <= limit / 2)
		pl_kick(slot, SD_PEND_RX);
}

/* Copy what is there at @head + @skip. Return: bytes. */
static size_t rx_copy(uint32_t slot, struct pl_iter *it, uint64_t pos, uint64_t avail, bool discard)
{
	const struct sd_fifo_map *map = &pl_e(slot)->rx;
	size_t done = 0, n;
	void *dst;

	while (done < avail && (n = pl_iter_next(it, avail - done, &dst)) != 0) {
		size_t got = discard ? n :
			     shm_fifo_read(&pl.seg, SD_FIFO_RX, map, pos + done, dst, n);

		done += got;
		if (got < n)
			break;
	}
	return done;
}

/* Take (or look at) what is there, up to the urgent byte or from behind it. @peeked: bytes that
 * this call has peeked already.
 * Return: bytes, -EAGAIN when a handler meets its own thread's lock. */
static ssize_t rx_some(uint32_t slot, struct pl_iter *it, int flags, size_t peeked)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	struct pl_guard g;
	uint64_t head, tail, urg;
	size_t n = 0;

	if (!pl_live(e, p))
		return 0;
	if (ld_acq(&e->rx_tail) == ld_rlx(&p->rx_head))
		return 0;
	if (!pl_lock(&g, &p->rx_lock))
		return -EAGAIN;
	head = ld_rlx(&p->rx_head);
	tail = ld_acq(&e->rx_tail);	/* pairs with the worker's st_rel after the bytes */
	urg = pl_urg_pos(slot);
	if (urg == head && urg < tail && !pl_oob_inline(slot))
		head++;			/* MSG_OOB alone gets it */
	head += peeked;
	if (urg > head && urg < tail)
		tail = urg;
	if (tail > head)
		n = rx_copy(slot, it, head, tail - head, flags & MSG_TRUNC);
	if (!(flags & MSG_PEEK) && head + n != ld_rlx(&p->rx_head))
		pl_rx_consumed(slot, head + n);
	pl_unlock(&g);
	return (ssize_t)n;
}

uint64_t pl_urg_pos(uint32_t slot)
{
	const struct sd_slot_e *e = pl_e(slot);
	uint64_t urg;

	if (!(pl_eflags(slot) & SD_E_URG) || !pl_live(e, pl_p(slot)))
		return UINT64_MAX;
	urg = ld_acq(&e->rx_urg);	/* just after the byte */
	return urg > ld_rlx(&pl_p(slot)->rx_head) ? urg - 1 : UINT64_MAX;
}

bool pl_oob_inline(uint32_t slot)
{
	return pl_p(slot)->opts.hints[0] & PL_HINT_OOBINLINE;
}

bool pl_urg_there(uint32_t slot)
{
	uint64_t urg = pl_urg_pos(slot);

	return urg != UINT64_MAX && urg < ld_acq(&pl_e(slot)->rx_tail) &&
	       ld_rlx(&pl_p(slot)->rx_urg_done) != (uint32_t)(urg + 1);
}

static int urg_errno(uint32_t slot, uint64_t urg)
{
	if (pl_oob_inline(slot) || urg == UINT64_MAX ||
	    ld_rlx(&pl_p(slot)->rx_urg_done) == (uint32_t)(urg + 1))
		return pl_state_of(slot) == SD_ST_LISTEN ? -ENOTCONN : -EINVAL;
	return 0;
}

/* MSG_OOB: the urgent byte, once, wherever the reader is. */
static ssize_t recv_urg(uint32_t slot, struct pl_iter *it, int flags)
{
	struct sd_slot_p *p = pl_p(slot);
	uint64_t urg = pl_urg_pos(slot);
	int r = urg_errno(slot, urg);
	struct pl_guard g;
	size_t n = 0;

	if (r)
		return r;
	if (!pl_urg_there(slot))
		return ld_rlx(&p->flags) & SD_P_SHUT_RD || pl_eflags(slot) & SD_E_RCV_FIN ?
		       0 : -EAGAIN;
	if (!pl_lock(&g, &p->rx_lock))
		return -EAGAIN;
	if (pl_urg_pos(slot) == urg) {
		n = rx_copy(slot, it, urg, 1, flags & MSG_TRUNC);
		if (!(flags & MSG_PEEK))
			st_rlx(&p->rx_urg_done, (uint32_t)(urg + 1));
	}
	pl_unlock(&g);
	return (ssize_t)n;
}

static bool rx_any(uint32_t slot)
{
	const struct sd_slot_e *e = pl_e(slot);

	return pl_live(e, pl_p(slot)) && ld_acq(&e->rx_tail) != ld_rlx(&pl_p(slot)->rx_head);
}

enum rx_end { RX_OPEN, RX_EOF, RX_ERR, RX_NOTCONN };

/* Why no more bytes will come; looked at before the bytes (X2). */
static enum rx_end rx_ending(uint32_t slot)
{
	uint32_t st = pl_state_of(slot), ef = pl_eflags(slot);

	if (st == SD_ST_LISTEN)		/* whatever it was before */
		return RX_NOTCONN;
	if (ef & SD_E_RCV_FIN)		/* what comes after the end is send()'s to tell */
		return RX_EOF;
	if (pl_err_pending(slot))
		return RX_ERR;
	if ((ef & (SD_E_RCV_FIN | SD_E_RESET)) || (ld_rlx(&pl_p(slot)->flags) & SD_P_SHUT_RD))
		return RX_EOF;
	if (st == SD_ST_CLOSE)
		return ef & SD_E_CONNECTED ? RX_EOF : RX_NOTCONN;
	return RX_OPEN;
}

static int rx_end_errno(uint32_t slot, enum rx_end end)
{
	if (end == RX_ERR)
		return -pl_err_take(slot);	/* 0: another thread took it; the end then */
	return end == RX_NOTCONN ? -ENOTCONN : 0;
}

/* MSG_PEEK with MSG_WAITALL waits for more than the readiness that pl_wait() knows. */
static int rx_wait(uint32_t slot, struct pl_deadline *d, bool part, bool peeking)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	if (!peeking)
		return pl_wait(slot, SD_EV_IN | PL_WAIT_KEEP | (part ? PL_WAIT_PART : 0),
			       pl_deadline_left(d), -1);
	if (pl_deadline_left(d) == 0)
		return -EAGAIN;
	return nanosleep(&ms, NULL) < 0 ? -EINTR : 0;
}

static size_t rx_target(uint32_t slot, size_t want, int flags)
{
	size_t low = ld_rlx(&pl_p(slot)->opts.rcvlowat);
	size_t t = flags & MSG_WAITALL ? want : low < want ? low : want;

	return t ? t : 1;
}

static ssize_t stream_recv(uint32_t slot, struct pl_iter *it, int flags)
{
	size_t want = it->left, target, done = 0;
	bool nonblock = pl_nonblock(slot, flags);
	struct pl_deadline d;
	enum rx_end end;
	ssize_t n;
	int r;

	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (flags & MSG_OOB)
		return recv_urg(slot, it, flags);
	target = rx_target(slot, want, flags);
	d = pl_deadline_in(ld_rlx(&pl_p(slot)->rcvtimeo_ms));
	for (;;) {
		end = rx_ending(slot);
		n = rx_some(slot, it, flags, flags & MSG_PEEK ? done : 0);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (done >= target)
			return (ssize_t)done;
		if (done && pl_urg_pos(slot) == ld_rlx(&pl_p(slot)->rx_head) +
					       (flags & MSG_PEEK ? done : 0))
			return (ssize_t)done;	/* stop at the mark, so that SIOCATMARK sees it */
		if (!want && rx_any(slot))
			return 0;
		if (done && (nonblock || end != RX_OPEN))
			return (ssize_t)done;
		if (end != RX_OPEN)
			return rx_end_errno(slot, end);
		if (nonblock) {
			pl_settle();
			return -EAGAIN;
		}
		r = rx_wait(slot, &d, done > 0, done && (flags & MSG_PEEK));
		if (!want)
			return 0;	/* Linux: whatever ended the wait */
		if (r)
			return done ? (ssize_t)done : r;
	}
}

ssize_t pl_stream_recv(uint32_t slot, struct pl_iter *it, int flags)
{
	ssize_t n;

	PL_DEFER_BEGIN();
	n = stream_recv(slot, it, flags);
	pl_defer_end();
	pl_wait_end();
	return n;
}
