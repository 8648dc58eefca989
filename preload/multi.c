/* SPDX-License-Identifier: MIT */
/* preload/multi.c - waiting for several fds at once, stackd's and the kernel's mixed
 * The thread's mailbox is subscribed to every stackd socket of the call, bit i + 1 for member i,
 * and its eventfd joins the kernel fds in the real call: one sleep watches both kinds. Epoll sets
 * that are members are armed meanwhile: then their real fd becomes readable when one of their
 * sockets does.
 * Spec:    S2
 * Holds:   W1 to W3 of wait.c
 * Threads: all; state is on the caller's stack
 */
#include <sys/mman.h>

#include "preload/multi.h"

#define SLICE_NS (1 * PL_NS_PER_MS)	/* polling, for want of a mailbox */

struct multi_wait {
	struct pl_multi *m;
	struct pl_waiter w;
	struct pl_sigs sg;
	struct pl_spin *spin;
	unsigned subscribed;		/* the first so many members */
	bool armed;
	bool in_subs;			/* a member's sub_lock may be held */
	bool left;
	bool poor;			/* no mailbox, or not all could be subscribed */
};

static PL_TLS struct pl_spin multi_spin;

bool pl_multi_member(int fd, struct pl_member *ret_mem, bool *ret_kern)
{
	sd_ofd o = fd < 0 ? 0 : pl_fd(fd);
	uint32_t kind = SD_OFD_KIND(o);

	if (kind == SD_OFD_SOCK) {
		ret_mem->slot = SD_OFD_IDX(o);
		*ret_kern = ld_acq(&pl_p(ret_mem->slot)->flags) & SD_P_HYBRID;
	} else if (kind == SD_OFD_EPOLL && pl_epset_is(o)) {
		ret_mem->slot = 0;
		*ret_kern = true;
	} else {
		return false;
	}
	ret_mem->ofd = o;
	ret_mem->got = 0;
	return true;
}

static int multi_scan(struct pl_multi *m)
{
	int n = 0;

	for (unsigned i = 0; i < m->cnt; i++) {
		struct pl_member *b = &m->mem[i];

		if (b->slot)
			b->got = pl_ready_wide(b->slot) & b->want;
		else
			b->got = pl_epset_poll(b->ofd) ? (POLLIN | POLLRDNORM) & b->want : 0;
		n += b->got != 0;
	}
	return n;
}

static void multi_arm(struct multi_wait *c)
{
	for (unsigned i = 0; i < c->m->cnt; i++)
		if (!c->m->mem[i].slot)
			pl_epset_arm(c->m->mem[i].ofd);
	c->armed = true;
}

static void multi_subscribe(struct multi_wait *c)
{
	struct shm_magazine mag = { 0 };
	struct pl_multi *m = c->m;

	c->in_subs = true;
	for (unsigned i = 0; i < m->cnt && !c->poor; i++, c->subscribed++) {
		const struct pl_member *b = &m->mem[i];

		if (b->slot)
			c->poor = shm_sub_add(&pl.seg, b->slot,
					      SD_SUB(c->w.mb.mbox, i + 1, pl_ev_sub(b->want), 0),
					      pl_self(), &mag);
	}
	c->in_subs = false;
	shm_magazine_flush(&pl.seg, &mag);
}

static void multi_leave(void *arg)
{
	struct multi_wait *c = arg;

	if (c->left)
		return;
	for (unsigned i = 0; c->in_subs && i < c->m->cnt; i++)	/* jumped out of */
		if (c->m->mem[i].slot)
			shm_unlock(&pl_p(c->m->mem[i].slot)->sub_lock, pl_self());
	c->in_subs = true;
	for (unsigned i = 0; i < c->m->cnt; i++) {
		if (!c->m->mem[i].slot && c->armed)
			pl_epset_disarm(c->m->mem[i].ofd);
		else if (c->m->mem[i].slot && i < c->subscribed)
			shm_sub_del(&pl.seg, c->m->mem[i].slot, c->w.mb.mbox, i + 1, pl_self());
	}
	if (c->w.m) {
		shm_mbox_awake(c->w.m);
		pl_mbox_drain(c->w.m);
	}
	pl_sigs_restore(&c->sg);
	c->left = true;
	pl_waiter_put(&c->w);
}

/* One sleep. Return: kernel fds ready, 0, or -errno */
static int multi_sleep(struct multi_wait *c, uint64_t deadline, const sigset_t *mask)
{
	struct timespec ts;
	uint64_t t0;
	int k;

	if (!mask && c->sg.blocked)
		mask = &c->sg.orig;
	if (c->poor) {
		t0 = pl_now_ns() + SLICE_NS;
		return c->m->kern(c->m, -1, pl_left(t0 < deadline ? t0 : deadline, &ts), mask);
	}
	if (!shm_mbox_sleep(c->w.m))
		return 0;
	t0 = pl_now_ns();
	pl_settle_all();
	k = c->m->kern(c->m, pl_efd[c->w.mb.mbox], pl_left(deadline, &ts), mask);
	shm_mbox_awake(c->w.m);
	pl_spin_slept(c->spin, t0);
	return k;
}

static int multi_loop(struct multi_wait *c, uint64_t deadline, const sigset_t *mask)
{
	const struct timespec zero = { 0, 0 };
	bool over = false;
	int n, k = 0;

	if (c->m->kern_any)
		k = c->m->kern(c->m, -1, &zero, NULL);
	for (;;) {
		if (!c->poor)
			pl_mbox_drain(c->w.m);
		n = multi_scan(c->m);
		if (n)
			return n + (k > 0 ? k : 0);
		if (k || over)
			return k;
		if (c->poor || !pl_spin(c->spin, c->w.m, deadline, &c->sg))
			k = multi_sleep(c, deadline, mask);
		pl_sigs_restore(&c->sg);
		over = deadline != PL_FOREVER && pl_now_ns() >= deadline;
	}
}

int pl_multi_wait(struct pl_multi *m, uint64_t deadline, const sigset_t *mask)
{
	struct multi_wait c = { .m = m, .spin = &multi_spin };
	const struct timespec zero = { 0, 0 };
	int n = multi_scan(m), k = 0, saved = errno;
	struct pl_cleanup cu;

	if (n || !deadline) {
		if (m->kern_any || (mask && !n))
			k = m->kern(m, -1, &zero, n ? NULL : mask);
		if (k >= 0)
			errno = saved;
		return k < 0 ? k : n + k;
	}
	_pthread_cleanup_push(&cu, multi_leave, &c);
	c.poor = pl_waiter_get(&c.w) != 0;
	multi_arm(&c);
	if (!c.poor)
		multi_subscribe(&c);
	n = multi_loop(&c, deadline, mask);
	multi_leave(&c);
	_pthread_cleanup_pop(&cu, 0);
	errno = saved;
	return n;
}

void *pl_scratch(void *stack, size_t stack_len, size_t len)
{
	void *p;

	if (len <= stack_len)
		return stack;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

void pl_scratch_free(void *p, const void *stack, size_t len)
{
	if (p && p != stack)
		munmap(p, len);
}
