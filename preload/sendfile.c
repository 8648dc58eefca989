/* SPDX-License-Identifier: MIT */
/* preload/sendfile.c - sendfile and splice with a stackd socket at one end
 * To a socket: space is reserved in the send FIFO and the file is read straight into its chunks, so
 * the bytes are copied once, as the kernel's read does. From a socket to a pipe: the pipe is
 * written straight from the engine's chunks.
 * Holds:   as stream.c; chunks reserved for bytes that did not come (a file cut short) stay
 *          reserved for the next write at that position
 * Spec:    S1
 */
#include <poll.h>

#include "preload/pl_int.h"
#include "preload/wait_int.h"

#define IOVS 64

/* Where to read from: position kept by the caller (pread) or by the file. */
struct source {
	int fd;
	off64_t *off;			/* NULL: the file's own position */
	bool pipe;
};

static int pipe_ready(int fd, short ev, bool nonblock)
{
	struct pollfd p = { fd, ev, 0 };
	const struct timespec zero = { 0, 0 };
	struct pl_sigs sg = { 0 };
	struct pl_defer_at at = pl_defer_pause(&sg);
	int r = real.ppoll(&p, 1, nonblock || sg.ran ? &zero : NULL,
			   sg.blocked ? &sg.orig : NULL);

	if (r < 0)
		r = -errno;
	else
		r = r > 0 ? 0 : nonblock ? -EAGAIN : -EINTR;
	pl_sigs_restore(&sg);
	pl_defer_resume(at);
	return r;
}

/* Fill at most @len bytes at @pos of the send FIFO. Return: bytes, 0 = end, -errno. */
static ssize_t fill(uint32_t slot, const struct source *s, uint64_t pos, size_t len)
{
	struct iovec iov[IOVS];
	uint64_t got = 0;
	unsigned n = shm_fifo_iov(&pl.seg, SD_FIFO_TX, &pl_p(slot)->tx, pos, len, iov, IOVS, &got);
	ssize_t r;

	r = s->off ? preadv64(s->fd, iov, (int)n, *s->off) : real.readv(s->fd, iov, (int)n);
	if (r < 0)
		return -errno;
	if (s->off)
		*s->off += r;
	return r;
}

/* One round: lock, read, publish. Return: bytes, 0 = end of file, -EAGAIN = no space, -errno. */
static ssize_t pump_in(uint32_t slot, const struct source *s, size_t want, int flags)
{
	struct pl_guard g;
	uint64_t pos = 0;
	ssize_t space, r;

	if (s->pipe) {			/* never block on it while tx_lock is held */
		r = pipe_ready(s->fd, POLLIN, flags & MSG_DONTWAIT);
		if (r)
			return r;
	}
	space = pl_tx_begin(slot, &g, want, &pos);
	if (space <= 0)
		return space ? space : -EAGAIN;
	r = fill(slot, s, pos, (size_t)space);
	pl_tx_end(slot, &g, pos, r > 0 ? (size_t)r : 0, flags);
	return r;
}

/* @once: give back what the source has now, as splice from a pipe does. */
static ssize_t fill_socket(uint32_t slot, const struct source *s, size_t want, int flags, bool once)
{
	struct pl_deadline d = pl_deadline_in(ld_rlx(&pl_p(slot)->sndtimeo_ms));
	size_t done = 0;
	ssize_t r = 0;

	while (done < want) {
		r = pl_tx_check(slot);
		if (!r)
			r = pump_in(slot, s, want - done, flags);
		if (r > 0) {
			done += (size_t)r;
			if (once)
				break;
			continue;
		}
		if (r != -EAGAIN)
			break;
		if (!pl_nonblock(slot, flags))
			r = pl_tx_wait(slot, &d, done > 0);
		if (r)
			break;
	}
	return done ? (ssize_t)done : r;
}

static ssize_t to_socket(uint32_t slot, const struct source *s, size_t want, int flags, bool once)
{
	ssize_t n;

	PL_DEFER_BEGIN();
	n = fill_socket(slot, s, want, flags, once);
	pl_defer_end();
	pl_wait_end();
	return n;
}

/* Linux takes anything that can be mapped, and since 5.12 pipes; not sockets and terminals. */
static int source_ok(struct source *s)
{
	struct stat st;

	if (fstat(s->fd, &st) < 0)
		return -errno;
	s->pipe = S_ISFIFO(st.st_mode);
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return s->off && *s->off < 0 ? -EINVAL : 0;
	if (s->pipe)
		return s->off ? -ESPIPE : 0;
	return -EINVAL;
}

PL_EXPORT ssize_t sendfile64(int out, int in, off64_t *off, size_t n)
{
	uint32_t slot = pl_fd_slot(out);
	struct source s = { .fd = in, .off = off };
	ssize_t r;

	if (!slot && !pl_fd_slot(in))
		return real.sendfile64(out, in, off, n);
	r = slot ? source_ok(&s) : -EINVAL;
	if (!r)
		r = pl_pipe_signal(to_socket(slot, &s, n, 0, false), 0);
	return r < 0 ? pl_fail(r) : r;
}

PL_EXPORT ssize_t sendfile(int out, int in, off_t *off, size_t n)
{
	return sendfile64(out, in, off, n);
}

/* ---- splice ---- */

/* Receive FIFO to pipe, what fits at once. Return: bytes, -EAGAIN = nothing there or pipe full. */
static ssize_t pump_out(uint32_t slot, int out, size_t want)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	struct iovec iov[IOVS];
	struct pl_guard g;
	uint64_t head, avail, got = 0;
	ssize_t r = -EAGAIN;
	unsigned n;

	if (!pl_lock(&g, &p->rx_lock))
		return -EAGAIN;
	head = ld_rlx(&p->rx_head);
	avail = pl_live(e, p) ? ld_acq(&e->rx_tail) - head : 0;
	if (avail > want)
		avail = want;
	if (avail) {
		n = shm_fifo_iov(&pl.seg, SD_FIFO_RX, &e->rx, head, avail, iov, IOVS, &got);
		r = real.writev(out, iov, (int)n);
		r = r < 0 ? -errno : r;
		if (r > 0)
			pl_rx_consumed(slot, head + (uint64_t)r);
	}
	pl_unlock(&g);
	return r;
}

/* Nothing was moved: is there an end or an error to tell? Return: 1 = bytes wait, 0 = end, -errno.
   */
static ssize_t look(uint32_t slot)
{
	char c;
	struct iovec iov = { &c, 1 };
	struct pl_iter it = { &iov, 1, 0, 1 };

	return pl_stream_recv(slot, &it, MSG_PEEK | MSG_DONTWAIT);
}

static ssize_t drain_socket(uint32_t slot, int out, size_t want, unsigned flags)
{
	struct pl_deadline d = pl_deadline_in(ld_rlx(&pl_p(slot)->rcvtimeo_ms));
	bool nonblock = (flags & SPLICE_F_NONBLOCK) || pl_nonblock(slot, 0);
	ssize_t r;

	if (want > SD_CHUNK_SIZE)
		want = SD_CHUNK_SIZE;		/* what POLLOUT of a pipe promises */
	for (;;) {
		r = pipe_ready(out, POLLOUT, nonblock);	/* never block on it under rx_lock */
		if (!r)
			r = pump_out(slot, out, want);
		if (r != -EAGAIN)
			return r;
		r = look(slot);
		if (r > 0 && nonblock)
			return -EAGAIN;
		if (r == -EAGAIN && !nonblock)
			r = pl_wait(slot, SD_EV_IN, pl_deadline_left(&d), -1) ?: 1;
		if (r <= 0)
			return r;
	}
}

static ssize_t from_socket(uint32_t slot, int out, size_t want, unsigned flags)
{
	ssize_t n;

	PL_DEFER_BEGIN();
	n = drain_socket(slot, out, want, flags);
	pl_defer_end();
	return n;
}

static int splice_flags(unsigned flags)
{
	return (flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0) |
	       (flags & SPLICE_F_MORE ? MSG_MORE : 0);
}

PL_EXPORT ssize_t splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t n,
			 unsigned flags)
{
	uint32_t from = pl_fd_slot(in), to = pl_fd_slot(out);
	struct source s = { in, NULL, true };
	struct stat st;
	ssize_t r;

	if (!from && !to)
		return real.splice(in, off_in, out, off_out, n, flags);
	if ((from && to) || fstat(from ? out : in, &st) < 0 || !S_ISFIFO(st.st_mode))
		r = -EINVAL;
	else if (off_in || off_out)
		r = -ESPIPE;
	else if (!n)
		r = 0;
	else if (from)
		r = from_socket(from, out, n, flags);
	else
		r = pl_pipe_signal(to_socket(to, &s, n, splice_flags(flags), true), 0);
	return r < 0 ? pl_fail(r) : r;
}
