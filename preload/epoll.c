/* SPDX-License-Identifier: MIT */
/* preload/epoll.c - epoll_wait() and its kin
 * A set without stackd members goes to the kernel as it is; it may get one while a thread sleeps
 * there, so such threads are counted (ep.raw). Otherwise: collect what stackd members
 * have; ask the kernel without waiting, always when there was nothing, and now and then when there
 * was (kernel members must not starve); spin; sleep in the real epoll_pwait() on the real fd with
 * the program's mask, so that time-outs, EINTR and masks are the kernel's own.
 * Spec:    S2, S3
 * Holds:   E2, E4 (epoll_int.h)
 * Threads: all; several may wait on one set
 */
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include "preload/epoll_int.h"

#define KERN_CALLS	16		/* the kernel is asked every so many busy calls, */
#define KERN_TSC	(1ull << 21)	/* or after so many cycles: 0.5 to 2 ms */
#define TIMEOUT_NONE	0
#define MAX_EVENTS	(INT_MAX / (int)sizeof(struct epoll_event))

struct ep_call {
	struct pl_epset *s;
	uint32_t tag;
	int epfd;
	struct epoll_event *ev;
	int max;
	uint64_t timeout_ns;		/* PL_FOREVER */
	uint64_t deadline;		/* 0 = not computed yet */
	const sigset_t *mask;
	struct pl_sigs sg;
};

/* ---- asking the kernel ---- */

/* Under the lock: is it time to let kernel members go first? */
static bool kern_due(struct pl_epset *s)
{
	if (!s->kern_cnt)
		return false;
	return ++s->calls >= KERN_CALLS || __rdtsc() - s->kern_tsc > KERN_TSC;
}

static void kern_asked(struct pl_epset *s)
{
	s->calls = 0;
	s->kern_tsc = __rdtsc();
}

/* Under the lock, not blocking and no cancellation point. Return: events, ours taken out. */
static int kern_check(struct ep_call *c, int max)
{
	long n = pl_sys(SYS_epoll_pwait, c->epfd, c->ev, max, 0, NULL, 0);

	kern_asked(c->s);
	return epset_filter(c->s, c->ev, n > 0 ? (int)n : 0);
}

/* What there is now, without waiting. The kernel is asked for its part when there is nothing else,
 * unless the caller sleeps in it at once. Return: events or -errno. */
static int harvest(struct ep_call *c, bool over)
{
	struct pl_epset *s = c->s;
	int n = 0, r = epset_lock(s, c->tag);

	if (r)
		return r == -EDEADLK ? -EINTR : r;
	s->round++;
	if (kern_due(s))
		n = kern_check(c, c->max - c->max / 2);
	n = epset_collect(s, c->ev, n, c->max);
	if (!n && s->kern_cnt && s->calls && (over || !pl_spin_hinders()))
		n = kern_check(c, c->max);
	epset_pass_on(s);
	epset_unlock(s);
	return n;
}

/* ---- sleeping ---- */

/* Return: true when the thread may sleep and counts as a sleeper. */
static bool sleep_begin(struct ep_call *c)
{
	struct pl_epset *s = c->s;
	bool ok;

	if (epset_lock(s, c->tag))
		return false;
	if (s->armed)
		ok = !s->ready_cnt && !shm_mbox_any(s->m);
	else
		ok = !s->ready_cnt && shm_mbox_sleep(s->m);
	s->sleepers += ok;
	epset_unlock(s);
	return ok;
}

static void sleep_end(void *arg)
{
	struct ep_call *c = arg;
	struct pl_epset *s = c->s;

	epset_grab(s);
	kern_asked(s);
	s->sleepers--;
	if (!s->sleepers && s->closed)
		epset_end(s);
	else if (!s->sleepers && !s->armed)
		shm_mbox_awake(s->m);
	epset_unlock(s);
}

/* The real call with what is left of the time. Return: events or -errno. */
static int real_wait(struct ep_call *c)
{
	const sigset_t *mask = c->mask ? c->mask : c->sg.blocked ? &c->sg.orig : NULL;
	const struct timespec *left;
	struct timespec ts;
	uint64_t ms = 0;
	int n;

	left = pl_left(c->deadline, &ts);
	if (left) {
		ms = (uint64_t)ts.tv_sec * 1000 +
		     ((uint64_t)ts.tv_nsec + PL_NS_PER_MS - 1) / PL_NS_PER_MS;
		ms = ms < INT_MAX ? ms : INT_MAX;
	}
	n = real.epoll_pwait(c->epfd, c->ev, c->max, left ? (int)ms : -1, mask);
	return n < 0 ? -errno : n;
}

/* Sleep until something happens. Return: kernel events (0: look at ours), or -errno. */
static int doze(struct ep_call *c)
{
	struct pl_cleanup cu;
	uint64_t t0;
	int n;

	if (!sleep_begin(c))
		return 0;
	t0 = pl_now_ns();
	pl_settle_all();
	_pthread_cleanup_push(&cu, sleep_end, c);
	n = real_wait(c);
	_pthread_cleanup_pop(&cu, 1);
	pl_spin_slept(&c->s->spin, t0);
	return n;
}

/* After a sleep: kernel events without ours, then ours. */
static int merge(struct ep_call *c, int n)
{
	struct pl_epset *s = c->s;
	int r = epset_lock(s, c->tag);

	if (r)
		return r == -EDEADLK ? -EINTR : r;	/* closed under us */
	r = n < 0 ? n : 0;
	n = epset_filter(s, c->ev, n < 0 ? 0 : n);
	n = epset_collect(s, c->ev, n, c->max);
	epset_pass_on(s);
	epset_unlock(s);
	return n ? n : r;
}

static bool spin(struct ep_call *c)
{
	struct pl_epset *s = c->s;
	bool got;

	if (xchg_sc(&s->spinning, 1))
		return false;
	got = pl_spin(&s->spin, s->m, c->deadline, &c->sg);
	st_rel(&s->spinning, 0);
	return got;
}

/* Return: events, 0 = timed out, or -errno. */
static int ep_wait(struct ep_call *c)
{
	bool over = c->timeout_ns == TIMEOUT_NONE;
	int n = harvest(c, over);

	if (!n && over)
		pl_settle();
	if (n || over)
		return n;
	c->deadline = c->timeout_ns == PL_FOREVER ? PL_FOREVER : pl_now_ns() + c->timeout_ns;
	while (!n && !over) {
		n = spin(c) ? 0 : doze(c);
		n = merge(c, n);
		pl_sigs_restore(&c->sg);
		over = c->deadline != PL_FOREVER && pl_now_ns() >= c->deadline;
	}
	return n;
}

static int ep_call(struct ep_call *c)
{
	int n, saved = errno;

	if (c->max <= 0 || c->max > MAX_EVENTS)
		return (int)pl_fail(-EINVAL);
	pthread_testcancel();
	n = ep_wait(c);
	errno = saved;
	return n < 0 ? (int)pl_fail(n) : n;
}

/* The set behind @epfd if it has stackd members. */
static inline struct pl_epset *active_set(int epfd, sd_ofd *ret_ofd)
{
	struct pl_epset *s;

	*ret_ofd = pl_fd(epfd);
	if (!*ret_ofd)
		return NULL;
	s = epset_of(*ret_ofd);
	return s && epset_active(s) ? s : NULL;
}

/* ---- sets that are the kernel's alone ---- */

static void raw_end(void *arg)
{
	int epfd = ((const struct ep_call *)arg)->epfd;

	if (sub_sc(&ep.raw[epfd], 1) == 1)
		epset_raw_gone(epfd);
}

/* The set has no stackd member: so says who has counted himself. */
static bool raw_begin(struct ep_call *c)
{
	sd_ofd o;

	add_sc(&ep.raw[c->epfd], 1);
	if (!active_set(c->epfd, &o))
		return true;
	raw_end(c);
	return false;
}

/* Return: events of the real call or -errno. */
static int raw_sleep(struct ep_call *c, int ms, const struct timespec *ts)
{
	struct pl_cleanup cu;
	int n;

	_pthread_cleanup_push(&cu, raw_end, c);
	if (ts)
		n = real.epoll_pwait2(c->epfd, c->ev, c->max, ts, c->mask);
	else if (c->mask)
		n = real.epoll_pwait(c->epfd, c->ev, c->max, ms, c->mask);
	else
		n = real.epoll_wait(c->epfd, c->ev, c->max, ms);
	n = n < 0 ? -errno : n;
	_pthread_cleanup_pop(&cu, 1);
	return n;
}

/* It got its first one meanwhile: the events may have ours among them, and the wait goes on. */
static int raw_active(struct ep_call *c, sd_ofd o, int n)
{
	uint64_t now;

	c->tag = SD_OFD_GEN(o);
	n = merge(c, n);
	if (n)
		return n;
	if (c->timeout_ns != PL_FOREVER) {
		now = pl_now_ns();
		c->timeout_ns = now < c->deadline ? c->deadline - now : TIMEOUT_NONE;
	}
	return ep_wait(c);
}

static int raw_call(struct ep_call *c, int ms, const struct timespec *ts)
{
	int n = 0, saved = errno;
	sd_ofd o;

	if (c->timeout_ns != PL_FOREVER)
		c->deadline = pl_now_ns() + c->timeout_ns;
	if (raw_begin(c))
		n = raw_sleep(c, ms, ts);
	c->s = active_set(c->epfd, &o);
	if (c->s && c->max > 0 && c->max <= MAX_EVENTS)
		n = raw_active(c, o, n);
	errno = saved;
	return n < 0 ? (int)pl_fail(n) : n;
}

/* Waits on what cannot get a stackd member, or does not sleep, need not be counted. */
static bool raw_counts(int epfd, uint64_t timeout_ns)
{
	return timeout_ns != TIMEOUT_NONE && (unsigned)epfd < SD_FDS;
}

/* ---- the calls ---- */

static uint64_t ms_to_ns(int ms)
{
	return ms < 0 ? PL_FOREVER : (uint64_t)ms * PL_NS_PER_MS;
}

static struct ep_call call_of(int epfd, struct epoll_event *ev, int max, uint64_t timeout_ns,
			      const sigset_t *mask)
{
	struct ep_call c = { .epfd = epfd, .ev = ev, .max = max, .timeout_ns = timeout_ns,
			     .mask = mask };
	sd_ofd o;

	c.s = active_set(epfd, &o);
	c.tag = SD_OFD_GEN(o);
	return c;
}

PL_EXPORT int epoll_wait(int epfd, struct epoll_event *ev, int max, int timeout)
{
	struct ep_call c = call_of(epfd, ev, max, ms_to_ns(timeout), NULL);

	if (c.s)
		return ep_call(&c);
	if (raw_counts(epfd, c.timeout_ns))
		return raw_call(&c, timeout, NULL);
	return real.epoll_wait(epfd, ev, max, timeout);
}

PL_EXPORT int epoll_pwait(int epfd, struct epoll_event *ev, int max, int timeout,
			  const sigset_t *mask)
{
	struct ep_call c = call_of(epfd, ev, max, ms_to_ns(timeout), mask);

	if (c.s)
		return ep_call(&c);
	if (raw_counts(epfd, c.timeout_ns))
		return raw_call(&c, timeout, NULL);
	return real.epoll_pwait(epfd, ev, max, timeout, mask);
}

PL_EXPORT int epoll_pwait2(int epfd, struct epoll_event *ev, int max, const struct timespec *ts,
			   const sigset_t *mask)
{
	bool wrong = ts && (ts->tv_sec < 0 || (unsigned long)ts->tv_nsec >= PL_NS_PER_S);
	uint64_t ns = PL_FOREVER;
	struct ep_call c;

	if (ts && !wrong && ts->tv_sec < INT_MAX)
		ns = (uint64_t)ts->tv_sec * PL_NS_PER_S + (uint64_t)ts->tv_nsec;
	c = call_of(epfd, ev, max, ns, mask);
	if (c.s)
		return wrong ? (int)pl_fail(-EINVAL) : ep_call(&c);
	if (!wrong && raw_counts(epfd, ns))
		return raw_call(&c, -1, ts);
	return real.epoll_pwait2(epfd, ev, max, ts, mask);
}
