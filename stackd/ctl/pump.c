/* SPDX-License-Identifier: MIT */
/* ctl/pump.c - bytes between an exported socket's slot and the socket pair of a holder without shim
 * The engine stands in for a program: it consumes the receive FIFO and produces into the send FIFO,
 * under the slot's own locks, by try-lock. The send FIFO's map is the family's to write: every
 * index goes through the checked accessors, and chunks come from the family's pool, so a lie costs
 * the family's own bytes at most.
 * Holds:   PU1 nothing is taken out of the pair that the send FIFO has no room for
 *          PU2 what a holder wrote before it hung up is sent before the reference goes
 *          PU3 each byte is moved once, wherever the engine is killed: sendmmsg() and recvmmsg()
 *              store what they moved into the arena before they return, and a process dies only
 *              on its way back from a system call; the slot's lock is the engine's until its
 *              successor has set the position (pump_adopt())
 * Threads: worker 0; the slot's worker is told by KICK as by any program
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shm/fifo.h"
#include "shm/lock.h"

#define PUMP_BATCH	(64u * 1024)
#define PUMP_IOVS	32u

/* ---- moves whose count outlives us ---- */

static void move_begin(struct export_move *v, const struct msghdr *m, uint64_t from)
{
	v->mm.msg_len = 0;
	v->mm.msg_hdr = *m;
	v->from = from;
	st_rel(&v->busy, 1);
}

/* Return: position after what was moved. */
static uint64_t move_end(const struct export_move *v)
{
	return v->from + (v->mm.msg_len <= PUMP_BATCH ? v->mm.msg_len : 0);
}

static void kick(struct engine *eng, struct sd_slot_p *p, struct sock_id id, uint32_t pend)
{
	if (or_sc(&p->pending, pend) == 0)
		app_order(&eng->w[0]->st, id, SD_OP_KICK, 0);
}

/* ---- slot to pair ---- */

static bool stream_over(const struct sd_slot_e *e)
{
	return ld_rlx(&e->flags) & (SD_E_RCV_FIN | SD_E_RESET) || ld_rlx(&e->state) == SD_ST_CLOSE;
}

/* Return: bytes moved, or -errno of the pair. */
static ssize_t out_some(struct engine *eng, struct export *x, struct sd_slot_e *e,
			struct sd_slot_p *p)
{
	struct iovec iov[PUMP_IOVS];
	bool over = stream_over(e);	/* looked at before the bytes */
	uint64_t head = ld_rlx(&p->rx_head), len = ld_acq(&e->rx_tail) - head;
	struct export_move *v = &x->rec->out;
	struct msghdr m = { .msg_iov = iov };
	int r;

	if (len > SD_FIFO_MAX)
		return -EPROTO;		/* the program's word is nonsense */
	if (!len) {
		if (over && !x->out_shut) {
			shutdown(x->fd, SHUT_WR);
			x->out_shut = 1;
		}
		return 0;
	}
	m.msg_iovlen = shm_fifo_iov(&eng->segs[x->rec->seg], SD_FIFO_RX, &e->rx, head,
				    len < PUMP_BATCH ? len : PUMP_BATCH, iov, PUMP_IOVS, &len);
	if (!len)
		return 0;
	move_begin(v, &m, head);
	r = sendmmsg(x->fd, &v->mm, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (r < 0)
		r = errno == EAGAIN ? 0 : -errno;
	else
		st_rel(&p->rx_head, move_end(v));	/* pairs with the worker's ld_acq */
	st_rel(&v->busy, 0);
	return r < 0 ? r : (ssize_t)(move_end(v) - head);
}

static bool out(struct engine *eng, struct export *x, struct sd_slot_e *e, struct sd_slot_p *p,
		struct sock_id id)
{
	ssize_t n;

	if (!shm_trylock(&p->rx_lock, SHM_LOCK_ENGINE))
		return false;
	n = out_some(eng, x, e, p);
	shm_unlock(&p->rx_lock, SHM_LOCK_ENGINE);
	if (n > 0)
		kick(eng, p, id, SD_PEND_RX);
	return n > 0;
}

/* ---- pair to slot ---- */

/* Bytes that the send FIFO is ready to take at @tail. */
static uint64_t in_room(const struct shm_fifo_mem *m, struct sd_slot_e *e, struct sd_slot_p *p,
			uint64_t tail)
{
	uint64_t una = ld_acq(&e->tx_una), used = tail - una, limit = ld_rlx(&e->tx_limit);

	if (used > SD_FIFO_MAX || used >= limit)
		return 0;
	if (una - ld_rlx(&p->tx.freed) >= SD_CHUNK_SIZE)
		shm_fifo_release(m, SD_FIFO_TX, &p->tx, una, tail);
	limit -= used;
	if (limit > PUMP_BATCH)
		limit = PUMP_BATCH;
	return shm_fifo_reserve(m, SD_FIFO_TX, &p->tx, tail, limit);
}

union passed_fds {			/* as many as a message can have */
	struct cmsghdr align;
	char buf[CMSG_SPACE(SUP_BATCH_FDS * sizeof(int))];
};

/* The descriptors that a holder has put into the pair with its bytes. */
static void close_passed(struct engine *eng, struct export *x, struct msghdr *m)
{
	struct cmsghdr *c = m->msg_controllen ? CMSG_FIRSTHDR(m) : NULL;

	for (; c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			closer_close(eng, eng->ctl->seg[x->rec->seg].acct,
				     (const int *)(const void *)CMSG_DATA(c),
				     (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)));
}

/* Return: bytes moved, 0 = the pair's other side is shut, -EAGAIN, or another -errno. */
static ssize_t in_some(struct engine *eng, struct export *x, struct sd_slot_e *e,
		       struct sd_slot_p *p)
{
	const struct shm_seg *seg = &eng->segs[x->rec->seg];
	struct shm_magazine mag = { 0 };
	struct shm_fifo_mem mem = { .seg = seg, .mag = &mag };
	uint64_t tail = ld_rlx(&p->tx_tail), len = in_room(&mem, e, p, tail);
	struct iovec iov[PUMP_IOVS];
	struct export_move *v = &x->rec->in;
	union passed_fds space;
	struct msghdr m = { .msg_iov = iov, .msg_control = space.buf,
			    .msg_controllen = sizeof(space) };
	ssize_t n = -EAGAIN;

	m.msg_iovlen = shm_fifo_iov(seg, SD_FIFO_TX, &p->tx, tail, len, iov, PUMP_IOVS, &len);
	if (len) {
		move_begin(v, &m, tail);
		n = recvmmsg(x->fd, &v->mm, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL) < 0 ?
		    -errno : (ssize_t)(move_end(v) - tail);
		if (n > 0) {
			st_rel(&x->rec->carries, 1);
			st_rel(&p->tx_tail, move_end(v));
		}
		st_rel(&v->busy, 0);
		if (n >= 0)
			close_passed(eng, x, &v->mm.msg_hdr);
	}
	shm_magazine_flush(seg, &mag);
	return n;
}

/* As far as the engine knows. */
static bool open_for_sending(const struct sd_slot_e *e)
{
	uint32_t st = ld_rlx(&e->state);

	return (st == SD_ST_ESTABLISHED || st == SD_ST_CLOSE_WAIT) &&
	       !(ld_rlx(&e->flags) & (SD_E_SND_FIN | SD_E_RESET));
}

static bool may_send(const struct sd_slot_e *e, const struct sd_slot_p *p)
{
	return open_for_sending(e) && !(ld_rlx(&p->flags) & SD_P_SHUT_WR);
}

/* What nobody can send any more is thrown away; the end must be seen all the same. */
static ssize_t in_discard(struct engine *eng, struct export *x)
{
	static uint8_t waste[PUMP_BATCH];
	union passed_fds space;
	struct iovec iov = { waste, sizeof(waste) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.buf,
			    .msg_controllen = sizeof(space) };
	ssize_t n = recvmsg(x->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	close_passed(eng, x, &m);
	return n;
}

static ssize_t in(struct engine *eng, struct export *x, struct sd_slot_e *e, struct sd_slot_p *p,
		  struct sock_id id)
{
	ssize_t n;

	if (!closer_room(eng->ctl->seg[x->rec->seg].acct))
		return -EAGAIN;
	if (!may_send(e, p))
		return in_discard(eng, x);
	if (!shm_trylock(&p->tx_lock, SHM_LOCK_ENGINE))
		return -EAGAIN;
	n = in_some(eng, x, e, p);
	shm_unlock(&p->tx_lock, SHM_LOCK_ENGINE);
	if (n > 0)
		kick(eng, p, id, SD_PEND_TX);
	return n;
}

/* The holder will write no more: because it shut that side, or because it is gone. */
static enum pump_end in_end(struct engine *eng, struct export *x, struct sd_slot_e *e,
			    struct sd_slot_p *p, struct sock_id id, int err)
{
	struct msghdr m = { 0 };

	if (err || (sendmsg(x->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN))
		return PUMP_OVER;
	/* also when an engine before us had set the flag and was killed ahead of the order */
	if (!x->in_shut && x->rec->carries && open_for_sending(e)) {
		or_sc(&p->flags, SD_P_SHUT_WR);
		app_order(&eng->w[0]->st, id, SD_OP_SHUTDOWN, SHUT_WR);
	}
	x->in_shut = 1;
	return PUMP_IDLE;
}

enum pump_end pump(struct engine *eng, struct export *x, struct sock_id id)
{
	struct sd_slot_e *e = shm_slot_e(&eng->segs[id.seg], id.slot);
	struct sd_slot_p *p = shm_slot_p(&eng->segs[id.seg], id.slot);
	ssize_t n;

	if (!e || !p || ld_acq(&e->gen) != id.gen || (ld_rlx(&e->flags) & SD_E_CLOSED))
		return PUMP_OVER;
	n = in(eng, x, e, p, id);
	if (n <= 0 && n != -EAGAIN && in_end(eng, x, e, p, id, (int)n) == PUMP_OVER)
		return PUMP_OVER;
	if (x->rec->carries && out(eng, x, e, p, id))
		return PUMP_MOVED;
	return n > 0 ? PUMP_MOVED : PUMP_IDLE;
}

void pump_adopt(struct engine *eng, struct export_rec *x)
{
	struct sd_slot_p *p = shm_slot_p(&eng->segs[x->seg], x->slot);

	if (x->out.busy)
		st_rel(&p->rx_head, move_end(&x->out));
	if (x->in.busy && x->in.mm.msg_len) {
		x->carries = 1;
		st_rel(&p->tx_tail, move_end(&x->in));
	}
	x->in.busy = x->out.busy = 0;
}
