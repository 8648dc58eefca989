/* SPDX-License-Identifier: MIT */
/* preload/wait.c - blocking: the thread's mailbox, the spin, and pl_wait()
 * A thread that must wait subscribes its mailbox to the slot, looks at the slot once more, spins,
 * says that it sleeps, and sleeps on the mailbox's eventfd (the three phases stand in wait_int.h).
 * A handler that waits while it interrupted a wait of the same thread gets a mailbox of its own for
 * that time.
 * Spec:    S2, S3 (EINTR, SA_RESTART, cancellation points)
 * Holds:   W1 no subscription outlives the call, nor a cancellation within it, nor a siglongjmp()
 *             out of a handler that interrupted it (struct pl_cleanup)
 *          W2 bits are taken before the slot is looked at: what is posted after the look is still
 *          set
 *          W3 a wait that ends for another reason looks once more, so that a wake-up that only this
 *             waiter got (an exclusive subscription) is not lost
 * Threads: all; state is per thread
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>

#include "preload/pl_int.h"
#include "preload/wait_int.h"

#define KERNEL_SIGSET	8		/* bytes of the kernel's sigset_t */
#define SPIN_STEPS	16		/* cpu_relax() between looks at the clock */
#define SPIN_SHORTS	16		/* short sleeps until a spin is tried again */
#define POOR_SLICE_NS	(1 * PL_NS_PER_MS)	/* polling, for want of a mailbox */

/* ---- time ---- */

uint64_t pl_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * PL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t pl_deadline_ms(int timeout_ms)
{
	return timeout_ms < 0 ? PL_FOREVER : pl_now_ns() + (uint64_t)timeout_ms * PL_NS_PER_MS;
}

uint64_t pl_deadline_ts(const struct timespec *ts)
{
	if (!ts || ts->tv_sec > INT_MAX)
		return PL_FOREVER;
	return pl_now_ns() + (uint64_t)ts->tv_sec * PL_NS_PER_S + (uint64_t)ts->tv_nsec;
}

const struct timespec *pl_left(uint64_t deadline, struct timespec *ret_ts)
{
	uint64_t now, left;

	if (deadline == PL_FOREVER)
		return NULL;
	now = deadline ? pl_now_ns() : 0;
	left = deadline > now ? deadline - now : 0;
	ret_ts->tv_sec = (time_t)(left / PL_NS_PER_S);
	ret_ts->tv_nsec = (long)(left % PL_NS_PER_S);
	return ret_ts;
}

/* ---- close() by another thread ----
 * As on Linux, the socket lives until the blocked call has returned: who closes its last fd leaves
 * the reference to a thread that says here what it waits for. */

#define WAITERS	1024
#define OWED	(1u << 31)		/* the reference is this thread's to drop */

static struct {
	uint32_t slot;			/* writers: the thread; a closer adds OWED by cas_sc() */
	uint32_t taken;
} __attribute__((aligned(64))) waiters[WAITERS];
static uint32_t waiters_end;		/* places at and beyond were never taken */
static PL_TLS uint32_t place, owed;

static bool place_get(void)
{
	for (uint32_t i = 0; !place && i < WAITERS; i++) {
		uint32_t no = 0, end = ld_rlx(&waiters_end);

		if (ld_rlx(&waiters[i].taken) || !cas_sc(&waiters[i].taken, &no, 1))
			continue;
		while (end <= i && !cas_sc(&waiters_end, &end, i + 1))
			;
		place = i + 1;
	}
	return place;
}

static uint32_t place_swap(uint32_t slot)
{
	return place_get() ? xchg_sc(&waiters[place - 1].slot, slot) : 0;
}

static void place_put(void)
{
	if (place)
		st_rel(&waiters[place - 1].taken, 0);
	place = 0;
}

bool pl_wait_leave_ref(uint32_t slot)
{
	for (uint32_t i = 0; i < ld_rlx(&waiters_end); i++) {
		uint32_t want = slot;

		if (i + 1 != place && ld_rlx(&waiters[i].slot) == slot &&
		    cas_sc(&waiters[i].slot, &want, slot | OWED))
			return true;
	}
	return false;
}

void pl_wait_drop_ref(void)
{
	uint32_t slot = owed;

	owed = 0;
	pl_slot_drop(slot);
}

bool pl_wait_owes(void)
{
	return owed;
}

/* ---- the thread's mailbox ---- */

static PL_TLS struct {
	struct pl_mbox mb;		/* mbox 0: none yet */
	uint32_t depth;			/* waits in progress; > 1 only in handlers */
	struct pl_spin spin;
} self;
static pthread_key_t exit_key;
static bool exit_key_ok;

static void thread_exit(void *arg)
{
	struct pl_mbox mb = self.mb;

	place_put();
	self.mb.mbox = 0;
	if (mb.mbox)
		pl_mbox_put(&mb);
}

__attribute__((constructor)) static void wait_init(void)
{
	exit_key_ok = !pthread_key_create(&exit_key, thread_exit);
}

struct pl_mbox *pl_thread_mbox(void)
{
	struct pl_mbox mb;

	if (self.mb.mbox)
		return &self.mb;
	if (pl_mbox_get(&mb))
		return NULL;
	self.mb = mb;
	if (exit_key_ok)
		pthread_setspecific(exit_key, &self);
	return &self.mb;
}

void pl_wait_fork_child(void)
{
	memset(waiters, 0, sizeof(waiters[0]) * waiters_end);	/* the parent's threads */
	waiters_end = place = owed = 0;
	self.mb.mbox = 0;
}

int pl_waiter_get(struct pl_waiter *w)
{
	struct pl_mbox *own;
	int r;

	w->temp = self.depth++ > 0;
	if (w->temp) {
		r = pl_mbox_get(&w->mb);
	} else {
		own = pl_thread_mbox();
		r = own ? 0 : -ENOMEM;
		if (own)
			w->mb = *own;
	}
	w->m = r ? NULL : shm_mbox(&pl.seg, w->mb.mbox);
	if (!r && !w->m)
		r = -ENOMEM;
	return r;
}

void pl_waiter_put(struct pl_waiter *w)
{
	self.depth--;
	if (w->temp && w->m)
		pl_mbox_put(&w->mb);
}

void pl_mbox_drain(struct sd_mbox *m)
{
	uint32_t bits[64];

	while (shm_mbox_any(m) && shm_mbox_take(m, bits, 64))
		;
}

/* ---- eventfds ---- */

void pl_efd_drain(int efd)
{
	uint64_t v;
	struct iovec iov = { &v, sizeof(v) };
	struct pollfd p = { efd, POLLIN, 0 };
	struct timespec zero = { 0, 0 };

	if (!ld_rlx(&pl_confined) &&
	    (pl_sys(SYS_preadv2, efd, &iov, 1, -1L, -1L, RWF_NOWAIT) >= 0 || errno == EAGAIN))
		return;
	if (pl_sys(SYS_ppoll, &p, 1, &zero, NULL, 0) == 1)
		pl_sys(SYS_read, efd, &v, sizeof(v));
}

void pl_efd_write(int efd)
{
	uint64_t one = 1;

	pl_sys(SYS_write, efd, &one, sizeof(one));
}

/* ---- signals around a spin ---- */

void pl_sigs_block(struct pl_sigs *sg)
{
	sigset_t all;

	if (sg->blocked)
		return;
	memset(&all, 0xff, sizeof(all));	/* libc's own signals, too */
	sg->blocked = !pl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &sg->orig, KERNEL_SIGSET);
}

void pl_sigs_restore(struct pl_sigs *sg)
{
	if (sg->blocked)
		pl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &sg->orig, NULL, KERNEL_SIGSET);
	sg->blocked = false;
}

bool pl_sigs_interrupt(const struct pl_sigs *sg)
{
	uint64_t pending = 0, masked;
	struct sigaction sa;

	memcpy(&masked, &sg->orig, sizeof(masked));
	if (pl_sys(SYS_rt_sigpending, &pending, KERNEL_SIGSET))
		return false;
	for (pending &= ~masked; pending; pending &= pending - 1) {
		if (sigaction(__builtin_ctzll(pending) + 1, NULL, &sa))
			continue;		/* libc's own */
		if (sa.sa_handler != SIG_IGN && sa.sa_handler != SIG_DFL &&
		    !(sa.sa_flags & SA_RESTART))
			return true;
	}
	return false;
}

/* ---- the spin ---- */

bool pl_spin_hinders(void)
{
	int cpu = sched_getcpu();

	if (ld_rlx(&pl.info->cpus) < 2 || ld_rlx(&pl.info->crowded))
		return true;
	for (unsigned w = 0; w < pl.workers; w++)
		if (ld_rlx(&pl.info->worker[w].cpu) == (uint32_t)(cpu + 1))
			return true;
	return false;
}

static uint32_t spin_budget(struct pl_spin *sp)
{
	if (pl_spin_hinders())
		return 0;
	if (!sp->known) {
		sp->budget_ns = ld_rlx(&pl.info->spin_ns);
		sp->known = 1;
	}
	return sp->budget_ns;
}

/* Return: true when a bit came until @until_ns. */
static bool spin_until(struct sd_mbox *m, uint64_t until_ns)
{
	do {
		for (int i = 0; i < SPIN_STEPS; i++) {
			if (shm_mbox_any(m))
				return true;
			cpu_relax();
		}
	} while (pl_now_ns() < until_ns);
	return false;
}

bool pl_spin(struct pl_spin *sp, struct sd_mbox *m, uint64_t deadline, struct pl_sigs *sg)
{
	uint32_t budget = spin_budget(sp), max = ld_rlx(&pl.info->spin_ns);
	uint32_t open = budget < PL_SPIN_OPEN_NS ? budget : PL_SPIN_OPEN_NS;
	uint64_t now, until;
	bool got;

	if (!budget)
		return shm_mbox_any(m);
	pl_settle();
	now = pl_now_ns();
	until = now + budget < deadline ? now + budget : deadline;
	got = spin_until(m, now + open < until ? now + open : until);
	if (!got && budget > open && !ld_rlx(&pl_confined)) {
		pl_sigs_block(sg);
		got = spin_until(m, until);
	}
	if (got)
		sp->budget_ns = budget > max / 2 ? max : budget * 2;
	else
		sp->budget_ns = budget / 2;
	return got;
}

void pl_spin_slept(struct pl_spin *sp, uint64_t from_ns)
{
	uint32_t max = ld_rlx(&pl.info->spin_ns);

	if (pl_now_ns() - from_ns > 2ull * max)
		sp->shorts = 0;
	else if (++sp->shorts >= SPIN_SHORTS) {
		sp->shorts = 0;
		sp->budget_ns = max;
	}
}

/* ---- pl_wait ---- */

struct wait_ctx {
	struct pl_waiter w;
	struct pl_sigs sg;
	uint32_t slot, want;
	int kern_fd;
	bool subscribed;
	bool no_mbox;
	bool left;			/* the waiter was put */
	bool in_subs;			/* sub_lock may be held */
	bool part;			/* PL_WAIT_PART */
	bool keeps;			/* PL_WAIT_KEEP */
	uint32_t outer;			/* what the thread waited for already: in a handler */
	uint64_t deadline;
};

/* Normally or by a jump. */
static void stop_waiting(struct wait_ctx *c)
{
	uint32_t was = place_swap(c->outer);

	if (!(was & OWED))
		return;
	owed = was & ~OWED;
	if (!c->keeps)
		pl_wait_drop_ref();
}

#define WAIT_BIT (SD_MBOX_REPLY_BIT + 1)

static bool wait_ready(const struct wait_ctx *c)
{
	return pl_ready(c->slot) & c->want;
}

/* Return: 0 = woken or kern_fd is ready, -EAGAIN = timed out, -EINTR */
static int sleep_ppoll(const struct wait_ctx *c, const sigset_t *mask)
{
	int efd = c->no_mbox ? -1 : pl_efd[c->w.mb.mbox];
	struct pollfd p[2] = { { efd, POLLIN, 0 }, { c->kern_fd, POLLIN, 0 } };
	struct timespec ts;
	int n = real.ppoll(p, 1 + (c->kern_fd >= 0), pl_left(c->deadline, &ts), mask);

	if (n < 0)
		return -errno;
	if (p[0].revents & POLLIN)
		pl_efd_drain(efd);
	return n ? 0 : -EAGAIN;
}

/* Faults come from the thread's own instructions: their handlers (crash reporters, sanitizers,
 * JVMs) do not end a sleep. */
#define FAULTS	(1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) | \
		 1ull << (SIGILL - 1) | 1ull << (SIGTRAP - 1) | 1ull << (SIGABRT - 1))

/* Every handler that may run under mask @orig restarts system calls. */
static bool all_restart(const sigset_t *orig)
{
	struct sigaction sa;
	uint64_t masked;

	memcpy(&masked, orig, sizeof(masked));
	masked |= FAULTS;
	for (int sig = 1; sig <= 64; sig++)
		if (!(masked >> (sig - 1) & 1) && !sigaction(sig, NULL, &sa) &&
		    sa.sa_handler != SIG_IGN && sa.sa_handler != SIG_DFL &&
		    !(sa.sa_flags & SA_RESTART))
			return false;
	return true;
}

/* A sleep on two fds that restarts after handlers with SA_RESTART, as a system call on one would.
 * In a process of one thread signals stay blocked and wake us by a signalfd, so that they can be
 * looked at before they run. With more threads that would send the process's signals to the others;
 * there a handler that ran means EINTR unless none could have meant that. */
static int sleep_restartable(struct wait_ctx *c)
{
	struct pollfd p[3] = { { pl_efd[c->w.mb.mbox], POLLIN, 0 }, { c->kern_fd, POLLIN, 0 } };
	uint64_t wanted;
	bool intr;
	int n;

	if (ld_rlx(&pl_confined))
		return sleep_ppoll(c, NULL);
	pl_sigs_block(&c->sg);
	if (!__libc_single_threaded) {
		n = sleep_ppoll(c, &c->sg.orig);
		return n == -EINTR && all_restart(&c->sg.orig) ? 0 : n;
	}
	memcpy(&wanted, &c->sg.orig, sizeof(wanted));
	wanted = ~wanted;
	p[2].fd = (int)pl_sys(SYS_signalfd4, -1, &wanted, KERNEL_SIGSET,
			       SFD_CLOEXEC | SFD_NONBLOCK);
	p[2].events = POLLIN;
	if (p[2].fd < 0)
		return sleep_ppoll(c, &c->sg.orig);
	n = (int)pl_sys(SYS_ppoll, p, 3, NULL, NULL, 0);
	pl_sys(SYS_close, p[2].fd);
	intr = pl_sigs_interrupt(&c->sg);
	pl_sigs_restore(&c->sg);
	pthread_testcancel();
	if (n > 0 && p[0].revents & POLLIN)
		pl_efd_drain(pl_efd[c->w.mb.mbox]);
	return intr ? -EINTR : 0;
}

/* A sleep on the eventfd alone and without limit: read() restarts as recv() would. */
static int sleep_read(struct wait_ctx *c)
{
	bool intr = c->sg.blocked && pl_sigs_interrupt(&c->sg);
	uint64_t v;

	pl_sigs_restore(&c->sg);
	if (intr)
		return -EINTR;
	return real.read(pl_efd[c->w.mb.mbox], &v, sizeof(v)) < 0 && errno == EINTR ? -EINTR : 0;
}

static int wait_sleep(struct wait_ctx *c)
{
	uint64_t t0;
	int r;

	if (!shm_mbox_sleep(c->w.m))
		return 0;
	t0 = pl_now_ns();
	pl_settle_all();
	if (c->deadline != PL_FOREVER || c->part)
		r = sleep_ppoll(c, c->sg.blocked ? &c->sg.orig : NULL);
	else
		r = c->kern_fd >= 0 ? sleep_restartable(c) : sleep_read(c);
	shm_mbox_awake(c->w.m);
	pl_spin_slept(&self.spin, t0);
	return r;
}

static int wait_loop(struct wait_ctx *c)
{
	struct pollfd p = { c->kern_fd, POLLIN, 0 };
	struct timespec zero = { 0, 0 };
	int r = 0;

	if (c->sg.ran == PL_RAN || (c->sg.ran && (c->part || c->deadline != PL_FOREVER)))
		r = -EINTR;
	for (;;) {
		pl_mbox_drain(c->w.m);
		if (wait_ready(c))
			return 0;
		if (c->kern_fd >= 0 && pl_sys(SYS_ppoll, &p, 1, &zero, NULL, 0) > 0)
			return 0;
		if (r)
			return r;
		if (!pl_spin(&self.spin, c->w.m, c->deadline, &c->sg))
			r = wait_sleep(c);
		pl_sigs_restore(&c->sg);
	}
}

/* Without a mailbox: look once a millisecond. */
static int wait_poor(struct wait_ctx *c)
{
	uint64_t end = c->deadline;
	int r = 0;

	c->no_mbox = true;
	while (!wait_ready(c)) {
		uint64_t now = pl_now_ns();

		if (r == -EINTR || now >= end)
			return r == -EINTR ? r : -EAGAIN;
		c->deadline = end - now > POOR_SLICE_NS ? now + POOR_SLICE_NS : end;
		r = sleep_ppoll(c, c->sg.blocked ? &c->sg.orig : NULL);
		if (!r)
			break;			/* kern_fd */
	}
	return 0;
}

static void wait_leave(void *arg)
{
	struct wait_ctx *c = arg;

	if (c->in_subs)			/* jumped out of */
		shm_unlock(&pl_p(c->slot)->sub_lock, pl_self());
	c->in_subs = true;
	if (c->subscribed)
		shm_sub_del(&pl.seg, c->slot, c->w.mb.mbox, WAIT_BIT, pl_self());
	c->subscribed = false;
	c->in_subs = false;
	if (c->w.m) {
		shm_mbox_awake(c->w.m);
		shm_mbox_clear(c->w.m, WAIT_BIT);
	}
	pl_sigs_restore(&c->sg);
	if (!c->left) {
		pl_waiter_put(&c->w);
		stop_waiting(c);
	}
	c->left = true;
}

static void wait_jumped(void *arg)
{
	struct wait_ctx *c = arg;

	c->keeps = false;
	wait_leave(c);
}

static int wait_subscribe(struct wait_ctx *c)
{
	struct shm_magazine mag = { 0 };
	bool excl = ld_acq(&pl_e(c->slot)->state) == SD_ST_LISTEN;
	int r;

	PL_DEFER_BEGIN();
	c->in_subs = true;
	r = shm_sub_add(&pl.seg, c->slot, SD_SUB(c->w.mb.mbox, WAIT_BIT, c->want, excl),
			    pl_self(), &mag);

	shm_magazine_flush(&pl.seg, &mag);
	c->subscribed = !r;
	c->in_subs = false;
	pl_defer_end();
	return r;
}

int pl_wait(uint32_t slot, uint32_t ev, int timeout_ms, int kern_fd)
{
	struct wait_ctx c = { .slot = slot, .kern_fd = kern_fd, .part = ev & PL_WAIT_PART,
			      .want = (ev & ~(PL_WAIT_PART | PL_WAIT_KEEP)) | PL_EV_ALWAYS,
			      .keeps = ev & PL_WAIT_KEEP };
	struct pl_cleanup cu;
	int r, saved = errno;
	struct pl_defer_at at;

	if (wait_ready(&c))
		return 0;
	at = pl_defer_pause(&c.sg);
	c.deadline = pl_deadline_ms(timeout_ms);
	_pthread_cleanup_push(&cu, wait_jumped, &c);
	c.outer = place_swap(slot);
	r = pl_waiter_get(&c.w);
	if (r || wait_subscribe(&c))
		r = wait_poor(&c);
	else
		r = wait_loop(&c);
	wait_leave(&c);
	_pthread_cleanup_pop(&cu, 0);
	pl_defer_resume(at);
	errno = saved;
	return r;
}
