/* SPDX-License-Identifier: MIT */
/* engine/engine.h - the packet-processing process, as its control side (ctl/) and main() see it
 *
 * One struct engine per process, one struct worker per thread. Worker 0's thread is the process's
 * first thread and also runs the control path: supervisor channel, control connections, attach and
 * detach. What must happen on every worker goes out as a cross call (call.c), never by a lock.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <liburing.h>

#include "stackd/app/app.h"
#include "stackd/engine/handoff.h"
#include "stackd/engine/idle.h"
#include "stackd/engine/wake.h"
#include "stackd/nic/nic.h"
#include "stackd/supervisor/proto.h"

struct engine;
struct ctl_state;
struct device_state;
struct engine_start;
struct steering;

/* What a completion is about: the top byte of its user data. */
enum ring_kind {
	RING_NONE = 0,			/* nothing to do but to have woken up */
	RING_WAKE,			/* another worker's wake-up */
	RING_DEVICE,
	RING_FRAMES,			/* the device's own: nic_ops.ring_done */
	RING_DOORBELL,			/* `arg`: the session's, see ctl/session.c */
	RING_CHAN,			/* supervisor channel (worker 0) */
	RING_CONN,			/* control connection `arg` (worker 0) */
	RING_CONN_OUT,			/* the same takes more, once */
	RING_EXPORT,			/* socket pair of export `arg` (worker 0) */
	RING_DEV_EVT,			/* the device's events (worker 0) */
};
/* User data: kind, then a 32-bit argument, then the fd, so that an ended poll can be armed again.
 * What is watched and unwatched again and again has an argument that does not come back soon: a
 * removal names its watch by it, and may be late. */
#define RING_FDS		(1u << 20)	/* fd numbers below: NOFILE's limit */
/* Beside the kind: the answer to ring_unwatch(), not to the watch itself. */
#define RING_REMOVAL		0x80u
#define RING_DATA(kind, arg, fd) ((uint64_t)(kind) << 56 | (uint64_t)(arg) << 24 | (uint64_t)(fd))
#define RING_KIND(d)		((uint32_t)((d) >> 56))
#define RING_ARG(d)		((uint32_t)((d) >> 24))
#define RING_FD(d)		((int)((d) & 0xffffff))

/* Mapped each for itself: nothing of two workers shares a line. */
struct worker {
	struct stack st;
	struct engine *eng;
	struct io_uring ring;
	uint64_t *watched;		/* [RING_FDS], sparse: user data of each fd's watch */
	struct wake_batch wake;
	int wake_fd;			/* eventfd; others write it when this worker sleeps */
	int dev_fd;			/* readable when the device has something, -1 = none */
	bool ring_frames;		/* its frames go through the ring */
	struct nic *queue;		/* the driver's own, NULL = none; st.nic may be around it */
	uint64_t wake_workers;		/* bit per worker that got messages in this loop */
	uint32_t run_frames;		/* of full bursts without a pause, and when they began */
	uint64_t run_us;
	int cpu;			/* pinned to, -1 = not */
	int runs_on;			/* as the info page says */
	struct idle idle;
	pthread_t thread;
};

/* AR_ENGINE: what is the engine's own and must outlive it. */
struct engine_rec {
	uint64_t secret[2];		/* key of hashes, initial numbers, ports */
};

/* Something an earlier engine had deposited, as the supervisor hands it over. */
struct kept {
	struct kept *next;		/* in the order of arrival */
	struct sup_msg m;
	uint32_t cnt;
	int fds[SUP_MAXFDS];
	int ro_fd;			/* KEEP_SEG: read-only copy of fds[0]; -1 = none */
};

struct engine {
	struct conf conf;
	uint64_t epoch;
	uint32_t workers;
	struct worker *w[SD_MAX_WORKERS];
	struct handoff *rings;
	struct arena arena;
	struct sd_info *info;
	int info_ro_fd, chan;
	struct nic_dev *dev;
	struct device_state *dev_state;	/* device.c */
	struct steering *steering;	/* steering.c */
	struct sock_strays *strays;	/* all workers'; NULL: the device has no rules of its own */
	struct nic_claims *claims;	/* the device is shared with the kernel */
	int kport_fds[SD_MAX_WORKERS];	/* kernel port: dev->grant.kport_queues of them */
	uint16_t client_ports[2];	/* then: lowest and highest of ours, 0 = any */
	uint64_t secret[2];

	struct kept *kept;		/* until adopted or let go */
	bool adopts;			/* arena and segments are an earlier engine's */
	bool crashed;			/* and it died of itself, not by SIGKILL */
	uint32_t crashes;		/* engines that did, of this daemon */
	uint32_t unready;		/* the last so many before they were ready */
	uint16_t port_start;		/* net.ipv4.ip_unprivileged_port_start */

	struct shm_seg segs[STACK_MAX_SEGS];
	/* Eventfd of each mailbox, per segment; -1 = none. Writer: worker 0, st_rel / ld_acq. */
	int32_t *mbox_fd[STACK_MAX_SEGS];

	uint32_t stop;			/* st_rel by worker 0 */
	uint32_t failed;		/* a worker could not start: -errno */
	struct crowd crowd;		/* worker 0 */
	struct xcall *unsent;		/* cross calls not yet sent to everybody; worker 0 */
	struct engine_start *start;	/* while the workers start */
	struct ctl_state *ctl;
};

/* The engine's process: @chan is its end of the supervisor's channel. Return: exit code. */
int engine_main(int chan);

/* ---- ring.c: what the control side needs of a worker's ring; that worker's thread only ---- */
/* Watch @fd (below 2^24): one completion of (kind, arg) each time that it becomes readable. */
void ring_watch(struct worker *w, int fd, uint32_t kind, uint32_t arg);
/* One completion of (kind, arg) when @fd becomes writable. */
void ring_watch_out(struct worker *w, int fd, uint32_t kind, uint32_t arg);
/* Stop watching what was watched as (fd, kind, arg). */
void ring_unwatch(struct worker *w, int fd, uint32_t kind, uint32_t arg);

/* ---- call.c: run a function on every worker, then one on worker 0 ---- */
struct xcall {
	void (*fn)(struct worker *w, void *arg);	/* on each worker's thread, once */
	/* On worker 0, when all have; may free the call. */
	void (*done)(struct engine *eng, void *arg);
	void *arg;
	uint32_t left;			/* answers still missing; worker 0 */
	uint32_t sent;			/* workers that have it; worker 0 */
	struct xcall *next;
};
/* Start @c (caller's storage until done). Worker 0's thread. */
void xcall_start(struct engine *eng, struct xcall *c);
/* Register the message kinds on a worker. */
void xcall_init(struct worker *w);
/* Worker 0, each loop: what did not fit into a ring goes out now. Return: calls still to be sent.
 * */
unsigned xcall_retry(struct engine *eng);

/* ---- steering.c ---- */
/* Worker 0: the device's key, table or fields were changed. */
void steering_changed(struct engine *eng);

/* ---- log.c ---- */
__attribute__((format(printf, 1, 2)))
void engine_log(const char *fmt, ...);

#endif
