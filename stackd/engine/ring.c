/* SPDX-License-Identifier: MIT */
/* engine/ring.c - one io_uring per worker: the only place where it waits
 * seccomp does not see what a ring does, so the ring is created disabled, gets a list of operations
 * (poll, poll removal, write, and read for a device's frames: no way to open or connect anything),
 * and only then starts; after that io_uring_setup and io_uring_register are denied.
 * Readiness comes by multishot polls: one entry for the life of an fd, one completion per edge.
 * Nothing is read from doorbells and wake-up eventfds: an edge is the message, and their counters
 * may grow. DEFER_TASKRUN: completions are made when this thread asks for them, never in between.
 * Spec: io_uring_setup(2), io_uring_register(2) IORING_REGISTER_RESTRICTIONS
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/ctl/ctl.h"

#define RING_ENTRIES	256u
#define RING_CQ_ENTRIES	8192u		/* each watched fd can complete at once */
#define RING_BATCH	128u
#define OP_READ_MULTISHOT 49		/* newer than Debian 12's headers */

/* Debian's liburing 2.3 declares its wrappers for these two, but does not export them. */
static int ring_register(struct io_uring *ring, unsigned op, const void *arg, unsigned cnt)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, op, arg, cnt) < 0 ? -errno : 0;
}

/* @frames: the device's operations too, which an older kernel does not know. */
static int restrict_ring(struct io_uring *ring, bool frames)
{
	static const unsigned ops[] = { IORING_OP_NOP, IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
					IORING_OP_WRITE, IORING_OP_WRITEV, OP_READ_MULTISHOT };
	enum { OPS = sizeof(ops) / sizeof(ops[0]), DEVICE_OPS = 2 };
	unsigned cnt = frames ? OPS : OPS - DEVICE_OPS;
	struct io_uring_restriction res[OPS + 1];

	memset(res, 0, sizeof(res));
	for (unsigned i = 0; i < cnt; i++) {
		res[i].opcode = IORING_RESTRICTION_SQE_OP;
		res[i].sqe_op = (uint8_t)ops[i];
	}
	res[cnt].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	res[cnt].sqe_flags = IOSQE_CQE_SKIP_SUCCESS;
	if (frames)
		res[cnt].sqe_flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	return ring_register(ring, IORING_REGISTER_RESTRICTIONS, res, cnt + 1);
}

int ring_open(struct worker *w)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
			 IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			 IORING_SETUP_SUBMIT_ALL,
		.cq_entries = RING_CQ_ENTRIES,
	};

	w->watched = mmap(NULL, RING_FDS * sizeof(*w->watched), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->watched == MAP_FAILED)
		return -errno;
	return io_uring_queue_init_params(RING_ENTRIES, &w->ring, &p);
}

int ring_start(struct worker *w)
{
	int r = restrict_ring(&w->ring, w->ring_frames);

	if (!r)
		r = ring_register(&w->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	return r;
}

static struct io_uring_sqe *get_sqe(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	if (!sqe) {
		io_uring_submit(&w->ring);
		sqe = io_uring_get_sqe(&w->ring);
	}
	ASSERT(sqe);			/* a submission empties the queue */
	return sqe;
}

/* Submitted here and now: the number stands for this file only until its owner, who may be another
 * worker, closes it. */
void ring_watch(struct worker *w, int fd, uint32_t kind, uint32_t arg)
{
	struct io_uring_sqe *sqe = get_sqe(w);

	ASSERT(fd >= 0 && (uint32_t)fd < RING_FDS);
	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, RING_DATA(kind, arg, fd));
	w->watched[fd] = RING_DATA(kind, arg, fd);
	io_uring_submit(&w->ring);
}

void ring_watch_out(struct worker *w, int fd, uint32_t kind, uint32_t arg)
{
	struct io_uring_sqe *sqe = get_sqe(w);

	io_uring_prep_poll_add(sqe, fd, POLLOUT);
	io_uring_sqe_set_data64(sqe, RING_DATA(kind, arg, fd));
	io_uring_submit(&w->ring);
}

void ring_unwatch(struct worker *w, int fd, uint32_t kind, uint32_t arg)
{
	struct io_uring_sqe *sqe = get_sqe(w);

	if (w->watched[fd] == RING_DATA(kind, arg, fd))
		w->watched[fd] = 0;
	io_uring_prep_poll_remove(sqe, RING_DATA(kind, arg, fd));
	io_uring_sqe_set_data64(sqe, RING_DATA(kind | RING_REMOVAL, arg, fd));
}

void ring_wake(struct worker *w, int fd)
{
	static const uint64_t one = 1;
	struct io_uring_sqe *sqe = get_sqe(w);

	io_uring_prep_write(sqe, fd, &one, sizeof(one), 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, RING_DATA(RING_NONE, 0, 0));
}

/* Has the kernel completions that it makes only when it is asked? */
static bool held_back(struct io_uring *ring)
{
	return IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

void ring_submit(struct worker *w)
{
	if (io_uring_sq_ready(&w->ring))
		io_uring_submit_and_get_events(&w->ring);
}

void ring_fetch(struct worker *w)
{
	if (!io_uring_cq_ready(&w->ring) && held_back(&w->ring))
		io_uring_get_events(&w->ring);
}

void ring_sleep(struct worker *w, uint64_t timeout_us)
{
	struct __kernel_timespec ts = { .tv_sec = (int64_t)(timeout_us / 1000000),
					.tv_nsec = (int64_t)(timeout_us % 1000000 * 1000) };
	struct io_uring_cqe *cqe;

	io_uring_submit_and_wait_timeout(&w->ring, &cqe, 1,
					 timeout_us == UINT64_MAX ? NULL : &ts, NULL);
}

/* A multishot poll that ended without having been removed (its completions overflowed) starts anew,
 * unless it is not wanted any more: its number may be another file's by now. */
static void again(struct worker *w, const struct io_uring_cqe *cqe)
{
	uint64_t d = cqe->user_data;

	if (!(cqe->flags & IORING_CQE_F_MORE) && cqe->res >= 0 && w->watched[RING_FD(d)] == d)
		ring_watch(w, RING_FD(d), RING_KIND(d), RING_ARG(d));
}

/* An event that is on its way holds off the removal (a hang-up does that often), and the poll would
 * hold the file for ever: ask again, the event has been delivered by now. */
static void removal(struct worker *w, const struct io_uring_cqe *cqe)
{
	uint64_t d = cqe->user_data;

	if (cqe->res == -EALREADY)
		ring_unwatch(w, RING_FD(d), RING_KIND(d) & ~RING_REMOVAL, RING_ARG(d));
}

static void one_completion(struct worker *w, const struct io_uring_cqe *cqe)
{
	uint64_t d = cqe->user_data;

	if (RING_KIND(d) & RING_REMOVAL) {
		removal(w, cqe);
		return;
	}
	switch ((enum ring_kind)RING_KIND(d)) {
	case RING_NONE:
		return;
	case RING_WAKE:
		again(w, cqe);
		return;
	case RING_DEVICE:
		w->queue->irqs++;
		again(w, cqe);
		return;
	case RING_FRAMES:
		w->queue->ops->ring_done(w->queue, &w->st, d, cqe->res, cqe->flags);
		return;
	case RING_DOORBELL:
		snmp_inc(&w->st, SNMP_App_Doorbells);
		again(w, cqe);
		return;
	case RING_CHAN:
		again(w, cqe);
		ctl_chan_ready(w->eng);
		return;
	case RING_DEV_EVT:
		again(w, cqe);
		device_event(w->eng);
		return;
	case RING_EXPORT:
		if (cqe->res < 0)
			return;
		again(w, cqe);
		export_ready(w->eng, RING_ARG(d));
		return;
	case RING_CONN:
	case RING_CONN_OUT:
		if (cqe->res < 0)
			return;		/* removed: the connection is gone */
		if (RING_KIND(d) == RING_CONN)
			again(w, cqe);
		ctl_conn_ready(w->eng, RING_ARG(d), (uint32_t)cqe->res);
		return;
	}
}

unsigned ring_reap(struct worker *w)
{
	struct io_uring_cqe *cqe, c;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&w->ring, head, cqe) {
		if (n++ == RING_BATCH)
			break;
		c = *cqe;
		one_completion(w, &c);
	}
	n = n < RING_BATCH ? n : RING_BATCH;
	io_uring_cq_advance(&w->ring, n);
	return n;
}
