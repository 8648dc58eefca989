/* SPDX-License-Identifier: MIT */
/* preload/poll.c - poll(), ppoll() and their checked twins
 * A call without stackd fds costs one load for each fd and goes to the kernel as it is. Otherwise
 * the kernel gets an array of its own fds (hybrids and epoll sets among them), and the answers are
 * or'ed. With the eventfd it is no longer than the program's unless all fds are the kernel's, too:
 * a confined program may have set RLIMIT_NOFILE, which limits it, to the number that it polls.
 * Spec:    S1, S2
 * Threads: all
 */
#include <pthread.h>
#include <string.h>

#include "preload/multi.h"

#define STACK_LEN 4096

struct poll_call {
	struct pl_multi m;		/* first: kern() gets it */
	struct pollfd *kfds;		/* for the kernel: room for n + 1 */
	uint32_t *kpos;			/* their positions in the program's array */
	nfds_t kcnt;
	nfds_t n;
	void *mem;			/* scratch */
	const void *stack;
	size_t len;
};

/* noinline: libc declares the array of poll() write-only, and gcc believes it. */
__attribute__((noinline)) static unsigned poll_ours(struct pollfd *p, nfds_t n)
{
	struct pl_member b;
	unsigned cnt = 0;
	bool kern;

	if (!ld_acq(&pl.attached))
		return 0;
	for (nfds_t i = 0; i < n; i++)
		if (p[i].fd >= 0 && pl_fd(p[i].fd) && pl_multi_member(p[i].fd, &b, &kern))
			cnt++;
	return cnt;
}

static int poll_kern(struct pl_multi *m, int efd, const struct timespec *ts, const sigset_t *mask)
{
	struct poll_call *c = (struct poll_call *)m;
	struct pollfd *last = &c->kfds[c->kcnt];
	int k;

	*last = (struct pollfd){ efd, POLLIN, 0 };
	k = real.ppoll(c->kfds, c->kcnt + (efd >= 0), ts, mask);
	if (k < 0)
		return -errno;
	if (last->revents) {
		pl_efd_drain(efd);
		k--;
	}
	return k;
}

static void poll_split(struct poll_call *c, struct pollfd *p, unsigned max)
{
	for (nfds_t i = 0; i < c->n; i++) {
		struct pl_member *b = &c->m.mem[c->m.cnt];
		bool kern = true;

		if (c->m.cnt < max && pl_multi_member(p[i].fd, b, &kern)) {
			b->want = (uint16_t)p[i].events | PL_EV_ALWAYS;
			b->pos = (uint32_t)i;
			c->m.cnt++;
		}
		if (!kern || p[i].fd < 0)
			continue;
		c->m.kern_any = true;
		c->kpos[c->kcnt] = (uint32_t)i;
		c->kfds[c->kcnt++] = (struct pollfd){ p[i].fd, p[i].events, 0 };
	}
}

static int poll_merge(const struct poll_call *c, struct pollfd *p)
{
	int n = 0;

	for (nfds_t i = 0; i < c->n; i++)
		p[i].revents = 0;
	for (nfds_t i = 0; i < c->kcnt; i++)
		p[c->kpos[i]].revents = c->kfds[i].revents;
	for (unsigned i = 0; i < c->m.cnt; i++)
		p[c->m.mem[i].pos].revents |= (short)c->m.mem[i].got;
	for (nfds_t i = 0; i < c->n; i++)
		n += p[i].revents != 0;
	return n;
}

static void poll_free(void *arg)
{
	struct poll_call *c = arg;

	pl_scratch_free(c->mem, c->stack, c->len);
}

static int poll_mixed(struct pollfd *p, nfds_t n, unsigned ours, uint64_t deadline,
		      const sigset_t *mask)
{
	_Alignas(8) char stack[STACK_LEN];
	struct poll_call c = { .m.kern = poll_kern, .n = n, .stack = stack };
	struct pl_cleanup cu;
	int r;

	c.len = ours * sizeof(struct pl_member) + (n + 1) * sizeof(struct pollfd) +
		n * sizeof(uint32_t);
	c.mem = pl_scratch(stack, sizeof(stack), c.len);
	if (!c.mem)
		return (int)pl_fail(-ENOMEM);
	c.m.mem = c.mem;
	c.kfds = (struct pollfd *)(c.m.mem + ours);
	c.kpos = (uint32_t *)(c.kfds + n + 1);
	poll_split(&c, p, ours);
	_pthread_cleanup_push(&cu, poll_free, &c);
	r = pl_multi_wait(&c.m, deadline, mask);
	if (r >= 0)
		r = poll_merge(&c, p);
	_pthread_cleanup_pop(&cu, 1);
	return r < 0 ? (int)pl_fail(r) : r;
}

PL_EXPORT int poll(struct pollfd *p, nfds_t n, int timeout)
{
	unsigned ours = poll_ours(p, n);

	if (!ours)
		return real.poll(p, n, timeout);
	pthread_testcancel();
	return poll_mixed(p, n, ours, timeout ? pl_deadline_ms(timeout) : 0, NULL);
}

PL_EXPORT int ppoll(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	unsigned ours = poll_ours(p, n);

	if (!ours)
		return real.ppoll(p, n, ts, mask);
	if (ts && (ts->tv_sec < 0 || (unsigned long)ts->tv_nsec >= PL_NS_PER_S))
		return (int)pl_fail(-EINVAL);
	pthread_testcancel();
	return poll_mixed(p, n, ours, ts && !ts->tv_sec && !ts->tv_nsec ? 0 : pl_deadline_ts(ts),
			  mask);
}

int __poll_chk(struct pollfd *p, nfds_t n, int timeout, size_t size);
int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask,
		size_t size);

PL_EXPORT int __poll_chk(struct pollfd *p, nfds_t n, int timeout, size_t size)
{
	if (size / sizeof(*p) < n)
		return real.__poll_chk(p, n, timeout, size);	/* ends the program */
	return poll(p, n, timeout);
}

PL_EXPORT int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts,
			  const sigset_t *mask, size_t size)
{
	if (size / sizeof(*p) < n)
		return real.__ppoll_chk(p, n, ts, mask, size);	/* ends the program */
	return ppoll(p, n, ts, mask);
}
