/* SPDX-License-Identifier: MIT */
/* preload/select.c - select() and pselect()
 * Sets may be larger than FD_SETSIZE: they are read as arrays of words, as far as the first
 * argument says. Kernel fds keep to real select() semantics (a hang-up does not make an fd
 * writable, for one): the kernel gets copies without the stackd fds, long enough for the mailbox's
 * eventfd.
 * Spec:    S1, S2
 * Threads: all
 */
#include <pthread.h>
#include <string.h>

#include "preload/multi.h"

#define STACK_LEN	4096
#define WORD_BITS	64
#define SET_IN	(POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SET_OUT	(POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)
#define SET_EX	(POLLPRI)

static const uint32_t set_bits[3] = { SET_IN, SET_OUT, SET_EX };

struct select_call {
	struct pl_multi m;		/* first: kern() gets it */
	uint64_t *user[3];		/* the program's sets; NULL = none */
	uint64_t *ask[3];		/* what the kernel is asked for */
	uint64_t *res[3];		/* its answer, and the result */
	unsigned n;
	unsigned max;			/* members there is room for */
	unsigned words;			/* of ask[] and res[]: room for any fd of the shim's */
	void *mem;			/* scratch */
	const void *stack;
	size_t len;
};

static bool bit_get(const uint64_t *set, unsigned fd)
{
	return set && set[fd / WORD_BITS] >> fd % WORD_BITS & 1;
}

static uint64_t word_of(const struct select_call *c, unsigned w)
{
	uint64_t v = 0;

	for (int i = 0; i < 3; i++)
		v |= c->user[i] ? c->user[i][w] : 0;
	if (c->n < (w + 1) * WORD_BITS)		/* bits from n on do not count */
		v &= (1ull << (c->n - w * WORD_BITS)) - 1;
	return v;
}

/* Calls for each of the program's fds that are ours. Return: their number. */
static unsigned select_ours(struct select_call *c, void (*fn)(struct select_call *c, unsigned fd,
							      const struct pl_member *b, bool kern))
{
	struct pl_member b;
	unsigned cnt = 0;
	bool kern;

	for (unsigned w = 0; w * WORD_BITS < c->n; w++)
		for (uint64_t v = word_of(c, w); v; v &= v - 1) {
			unsigned fd = w * WORD_BITS + (unsigned)__builtin_ctzll(v);

			if (!pl_multi_member((int)fd, &b, &kern) || (fn && c->m.cnt == c->max)) {
				c->m.kern_any = true;
				continue;
			}
			c->m.kern_any |= kern;
			cnt++;
			if (fn)
				fn(c, fd, &b, kern);
		}
	return cnt;
}

static void select_member(struct select_call *c, unsigned fd, const struct pl_member *b, bool kern)
{
	struct pl_member *to = &c->m.mem[c->m.cnt++];

	*to = *b;
	to->pos = fd;
	to->want = 0;
	for (int i = 0; i < 3; i++) {
		if (bit_get(c->user[i], fd))
			to->want |= set_bits[i];
		if (!kern)
			c->ask[i][fd / WORD_BITS] &= ~(1ull << fd % WORD_BITS);
	}
}

static int select_kern(struct pl_multi *m, int efd, const struct timespec *ts, const sigset_t *mask)
{
	struct select_call *c = (struct select_call *)m;
	const struct timespec slice = { 0, 1000000 };
	int n = (int)c->n, k;

	if (efd >= (int)(c->words * WORD_BITS)) {	/* newer than the sets: look now and then */
		efd = -1;
		if (!ts || ts->tv_sec || ts->tv_nsec > slice.tv_nsec)
			ts = &slice;
	}
	for (int i = 0; i < 3; i++)
		memcpy(c->res[i], c->ask[i], c->words * sizeof(uint64_t));
	if (efd >= 0) {
		c->res[0][efd / WORD_BITS] |= 1ull << efd % WORD_BITS;
		if (efd >= n)
			n = efd + 1;
	}
	k = real.pselect(n, (fd_set *)c->res[0], (fd_set *)c->res[1], (fd_set *)c->res[2], ts,
			 mask);
	if (k <= 0)
		for (int i = 0; i < 3; i++)
			memset(c->res[i], 0, c->words * sizeof(uint64_t));
	if (k < 0)
		return -errno;
	if (efd >= 0 && bit_get(c->res[0], (unsigned)efd)) {
		c->res[0][efd / WORD_BITS] &= ~(1ull << efd % WORD_BITS);
		pl_efd_drain(efd);
		k--;
	}
	return k;
}

/* Both answers into the program's sets. Return: number of bits set. */
static int select_merge(struct select_call *c)
{
	int cnt = 0;

	for (unsigned k = 0; k < c->m.cnt; k++) {
		const struct pl_member *b = &c->m.mem[k];

		for (int i = 0; i < 3; i++)
			if (b->got & set_bits[i] && bit_get(c->user[i], b->pos))
				c->res[i][b->pos / WORD_BITS] |= 1ull << b->pos % WORD_BITS;
	}
	for (int i = 0; i < 3; i++)
		for (unsigned w = 0; c->user[i] && w * WORD_BITS < c->n; w++) {
			c->user[i][w] = c->res[i][w];
			cnt += __builtin_popcountll(c->res[i][w]);
		}
	return cnt;
}

static void select_free(void *arg)
{
	struct select_call *c = arg;

	pl_scratch_free(c->mem, c->stack, c->len);
}

static int select_prepare(struct select_call *c, unsigned ours, size_t stack_len)
{
	unsigned efd_max = ld_rlx(&pl.proc->hi_fd);	/* above every fd of the shim's */
	uint64_t *p;

	c->words = ((c->n > efd_max ? c->n : efd_max) + WORD_BITS) / WORD_BITS;
	c->len = 6 * c->words * sizeof(uint64_t) + ours * sizeof(struct pl_member);
	c->mem = pl_scratch((void *)c->stack, stack_len, c->len);
	if (!c->mem)
		return -ENOMEM;
	memset(c->mem, 0, c->len);
	p = c->mem;
	for (int i = 0; i < 3; i++, p += 2 * c->words) {
		c->ask[i] = p;
		c->res[i] = p + c->words;
		if (c->user[i])
			memcpy(c->ask[i], c->user[i],
			       (c->n + WORD_BITS - 1) / WORD_BITS * sizeof(uint64_t));
		if (c->n % WORD_BITS)
			c->ask[i][c->n / WORD_BITS] &= (1ull << c->n % WORD_BITS) - 1;
	}
	c->m.mem = (struct pl_member *)p;
	c->max = ours;
	return 0;
}

static int select_mixed(struct select_call *c, unsigned ours, uint64_t deadline,
			const sigset_t *mask)
{
	_Alignas(8) char stack[STACK_LEN];
	struct pl_cleanup cu;
	int r;

	c->stack = stack;
	r = select_prepare(c, ours, sizeof(stack));
	if (r)
		return (int)pl_fail(r);
	select_ours(c, select_member);
	c->m.kern = select_kern;
	_pthread_cleanup_push(&cu, select_free, c);
	r = pl_multi_wait(&c->m, deadline, mask);
	if (r >= 0)
		r = select_merge(c);
	_pthread_cleanup_pop(&cu, 1);
	return r < 0 ? (int)pl_fail(r) : r;
}

/* Return: number of ours; 0 = the kernel's alone. */
static unsigned select_init(struct select_call *c, int n, fd_set *r, fd_set *w, fd_set *e)
{
	*c = (struct select_call){ .user = { (uint64_t *)r, (uint64_t *)w, (uint64_t *)e } };
	if (n <= 0 || !ld_acq(&pl.attached))
		return 0;
	c->n = (unsigned)n < SD_FDS ? (unsigned)n : SD_FDS;
	return select_ours(c, NULL);
}

PL_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *tv)
{
	struct select_call c;
	unsigned ours = select_init(&c, n, r, w, e);
	uint64_t deadline = PL_FOREVER;
	struct timespec ts;
	int ret;

	if (!ours)
		return real.select(n, r, w, e, tv);
	if (tv && (tv->tv_sec < 0 || tv->tv_usec < 0))
		return (int)pl_fail(-EINVAL);
	pthread_testcancel();
	if (tv) {
		ts.tv_sec = tv->tv_sec + tv->tv_usec / 1000000;
		ts.tv_nsec = tv->tv_usec % 1000000 * 1000;
		deadline = ts.tv_sec || ts.tv_nsec ? pl_deadline_ts(&ts) : 0;
	}
	ret = select_mixed(&c, ours, deadline, NULL);
	if (tv && pl_left(deadline, &ts)) {
		tv->tv_sec = ts.tv_sec;
		tv->tv_usec = ts.tv_nsec / 1000;
	}
	return ret;
}

PL_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts,
		      const sigset_t *mask)
{
	struct select_call c;
	unsigned ours = select_init(&c, n, r, w, e);

	if (!ours)
		return real.pselect(n, r, w, e, ts, mask);
	if (ts && (ts->tv_sec < 0 || (unsigned long)ts->tv_nsec >= PL_NS_PER_S))
		return (int)pl_fail(-EINVAL);
	pthread_testcancel();
	return select_mixed(&c, ours,
			    ts && !ts->tv_sec && !ts->tv_nsec ? 0 : pl_deadline_ts(ts), mask);
}
