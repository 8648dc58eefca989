/* SPDX-License-Identifier: MIT */
/* preload/epset.c - epoll sets: members, the ready list, events (epoll_int.h tells the design)
 * A posted bit puts its item on the ready list; collecting walks the list, asks each slot what is
 * true now, reports what the program wants to know, and puts level-triggered items back at the end,
 * so that they are asked again next time: the kernel's own method, and so its fairness.
 * Spec:    S2
 * Threads: all; everything here runs under the set's lock
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "preload/epoll_int.h"

#define ITEMS_MIN 128u

struct pl_ep ep;

/* ---- sets ---- */

static void *map_anon(size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Under ep.lock. Return: an unused id, or 0. */
static uint32_t set_id(void)
{
	uint32_t id;

	if (!ep.cookie) {
		ep.cookie = (uint64_t)map_anon(EP_COOKIES, PROT_NONE);
		ep.end = 1;
	}
	if (!ep.cookie)
		return 0;
	for (id = 1; id < ep.end; id++)
		if (!ep.sets[id]->tag)
			return id;
	if (id == EP_SETS)
		return 0;
	ep.sets[id] = map_anon(sizeof(struct pl_epset), PROT_READ | PROT_WRITE);
	if (!ep.sets[id])
		return 0;
	ep.end++;
	return id;
}

static int new_set(int epfd, uint32_t kern_cnt, sd_ofd *ret_ofd)
{
	static uint32_t incarnation;	/* under ep.lock */
	struct pl_epset *s;
	uint32_t id;

	if ((unsigned)epfd >= SD_FDS)
		return -ENOSPC;
	if (shm_lock(&ep.lock, pl_self()) == -EDEADLK)
		return -ENOSPC;
	id = set_id();
	if (id) {
		s = ep.sets[id];
		shm_lock(&s->lock, pl_self());
		s->epfd = epfd;
		s->fork_gen = ep.fork_gen;
		s->kern_cnt = kern_cnt;
		s->armed = epbit_get(ep.early, epfd) && epbit_get(ep.early_nested, epfd);
		st_rel(&s->tag, id | ++incarnation << EP_ID_BITS);
		*ret_ofd = SD_OFD(SD_OFD_EPOLL, 0, s->tag);
		shm_ofd_set(pl.proc, epfd, *ret_ofd);
		shm_unlock(&s->lock, pl_self());
	}
	shm_unlock(&ep.lock, pl_self());
	return id ? 0 : -ENOSPC;
}

int epset_new(int epfd, uint32_t kern_cnt, sd_ofd *ret_ofd)
{
	int r;

	PL_DEFER_BEGIN();
	r = new_set(epfd, kern_cnt, ret_ofd);
	pl_defer_end();
	return r;
}

int epset_enter(struct pl_epset *s, uint32_t tag)
{
	int r;

	if (shm_lock(&s->lock, pl_self()) == -EDEADLK)
		return -EDEADLK;
	r = s->tag == tag && !s->closed ? 0 : -EBADF;
	if (!r && s->fork_gen != ep.fork_gen && epset_active(s))
		r = epset_adopt(s);
	if (r)
		shm_unlock(&s->lock, pl_self());
	return r;
}

void epset_unlock(struct pl_epset *s)
{
	shm_unlock(&s->lock, pl_self());
	pl_defer_end();
}

int epset_fd(struct pl_epset *s)
{
	uint32_t hi = ld_rlx(&pl.proc->hi_fd);

	if (epset_of(pl_fd(s->epfd)) == s)
		return s->epfd;
	for (uint32_t fd = 0; fd < hi; fd++)
		if (epset_of(pl_fd((int)fd)) == s)
			return s->epfd = (int)fd;
	return -1;
}

int epset_activate(struct pl_epset *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = ep.cookie };
	struct pl_mbox mb;
	int r = 0;

	if (s->fork_gen != ep.fork_gen) {
		r = epset_privatise(s);
		if (r)
			return r;
		s->fork_gen = ep.fork_gen;
	}
	if (pl_mbox_get(&mb))
		return -ENOSPC;
	pl_mbox_drain(shm_mbox(&pl.seg, mb.mbox));
	pl_efd_drain(mb.efd);
	if (real.epoll_ctl(s->epfd, EPOLL_CTL_ADD, mb.efd, &ev)) {
		r = -errno;
		pl_mbox_put(&mb);
		return r;
	}
	s->m = shm_mbox(&pl.seg, mb.mbox);
	if (s->armed)
		shm_mbox_arm(s->m, true);
	st_rel(&s->mb.mbox, mb.mbox);
	return 0;
}

void epset_end(struct pl_epset *s)
{
	bool own = s->fork_gen == ep.fork_gen;
	struct pl_mbox mb = s->mb;

	for (uint32_t i = 1; i < s->item_end; i++)
		if (s->items[i].ofd)
			epitem_del(s, &s->items[i]);
	if (s->items) {
		munmap(s->items, s->item_cap * sizeof(*s->items));
		munmap(s->hash, s->item_cap * sizeof(*s->hash));
	}
	if (own && mb.mbox) {
		shm_mbox_arm(s->m, false);
		pl_mbox_put(&mb);
	}
	memset(&s->fork_gen, 0, sizeof(*s) - offsetof(struct pl_epset, fork_gen));
	st_rel(&s->tag, 0);		/* free to be used again */
}

/* ---- items ---- */

static uint32_t item_idx(const struct pl_epset *s, const struct pl_epitem *it)
{
	return (uint32_t)(it - s->items);
}

static void hash_in(struct pl_epset *s, struct pl_epitem *it)
{
	uint32_t *h = &s->hash[(uint32_t)it->fd & (s->item_cap - 1)];

	it->next_fd = *h;
	*h = item_idx(s, it);
}

static void hash_out(struct pl_epset *s, struct pl_epitem *it)
{
	uint32_t *at = &s->hash[(uint32_t)it->fd & (s->item_cap - 1)];

	while (*at && *at != item_idx(s, it))
		at = &s->items[*at].next_fd;
	if (*at)
		*at = it->next_fd;
}

/* Twice the room, or the first. Return: 0 or -errno. */
static int items_grow(struct pl_epset *s)
{
	uint32_t cap = s->item_cap ? s->item_cap * 2 : ITEMS_MIN;
	struct pl_epitem *items;
	uint32_t *hash;

	if (cap > SD_MBOX_BITS)
		return -ENOSPC;
	items = map_anon(cap * sizeof(*items), PROT_READ | PROT_WRITE);
	hash = map_anon(cap * sizeof(*hash), PROT_READ | PROT_WRITE);
	if (!items || !hash) {
		if (items)
			munmap(items, cap * sizeof(*items));
		if (hash)
			munmap(hash, cap * sizeof(*hash));
		return -ENOMEM;
	}
	if (s->items) {
		memcpy(items, s->items, s->item_cap * sizeof(*items));
		munmap(s->items, s->item_cap * sizeof(*items));
		munmap(s->hash, s->item_cap * sizeof(*hash));
	} else {
		s->item_end = 1;	/* bit 0 announces replies */
	}
	s->items = items;
	s->hash = hash;
	s->item_cap = cap;
	for (uint32_t i = 1; i < s->item_end; i++)
		if (items[i].ofd)
			hash_in(s, &items[i]);
	return 0;
}

static struct pl_epitem *item_alloc(struct pl_epset *s)
{
	struct pl_epitem *it;

	if (s->free_head) {
		it = &s->items[s->free_head];
		s->free_head = it->next_fd;
		return it;
	}
	if (s->item_end == s->item_cap && items_grow(s))
		return NULL;
	return &s->items[s->item_end++];
}

static void ready_push(struct pl_epset *s, struct pl_epitem *it)
{
	if (it->queued)
		return;
	it->queued = true;
	it->next_ready = 0;
	if (s->ready_tail)
		s->items[s->ready_tail].next_ready = item_idx(s, it);
	else
		s->ready_head = item_idx(s, it);
	s->ready_tail = item_idx(s, it);
	s->ready_cnt++;
}

static struct pl_epitem *ready_pop(struct pl_epset *s)
{
	struct pl_epitem *it = &s->items[s->ready_head];

	s->ready_head = it->next_ready;
	if (!s->ready_head)
		s->ready_tail = 0;
	s->ready_cnt--;
	it->queued = false;
	return it;
}

static void ready_remove(struct pl_epset *s, struct pl_epitem *it)
{
	uint32_t n = s->ready_cnt;

	if (!it->queued)
		return;
	while (n--) {			/* once around, all others keep their order */
		struct pl_epitem *other = ready_pop(s);

		if (other != it)
			ready_push(s, other);
	}
}

/* Is the socket that was added still there? */
static bool item_alive(const struct pl_epitem *it)
{
	const struct sd_slot_p *p = pl_p(SD_OFD_IDX(it->ofd));

	return ld_rlx(&p->gen) == SD_OFD_GEN(it->ofd) && ld_rlx(&p->refs);
}

static uint32_t item_ready(const struct pl_epitem *it)
{
	return it->events & ~EP_PRIVATE ? pl_ready_wide(SD_OFD_IDX(it->ofd)) & it->events : 0;
}

struct pl_epitem *epitem_find(struct pl_epset *s, int fd, sd_ofd ofd)
{
	uint32_t i = s->items ? s->hash[(uint32_t)fd & (s->item_cap - 1)] : 0;

	while (i) {
		struct pl_epitem *it = &s->items[i];

		i = it->next_fd;
		if (it->fd != fd)
			continue;
		if (it->ofd == ofd)
			return it;
		if (!item_alive(it))
			epitem_del(s, it);
	}
	return NULL;
}

int epitem_subscribe(struct pl_epset *s, struct pl_epitem *it)
{
	struct shm_magazine mag = { 0 };
	sd_sub sub = SD_SUB(s->mb.mbox, item_idx(s, it), pl_ev_sub(it->events),
			    it->events & EPOLLEXCLUSIVE);
	int r = shm_sub_add(&pl.seg, SD_OFD_IDX(it->ofd), sub, pl_self(), &mag);

	shm_magazine_flush(&pl.seg, &mag);
	if (!r && item_ready(it))
		ready_push(s, it);
	return r;
}

static void item_unsubscribe(struct pl_epset *s, struct pl_epitem *it)
{
	uint32_t i = item_idx(s, it);

	if (s->fork_gen != ep.fork_gen)
		return;			/* the parent's */
	shm_sub_del(&pl.seg, SD_OFD_IDX(it->ofd), s->mb.mbox, i, pl_self());
	shm_mbox_clear(s->m, i);
}

void epitem_hybrid(struct pl_epset *s, struct pl_epitem *it, bool on)
{
	struct epoll_event ev = { .events = it->events,
				  .data.u64 = ep.cookie + item_idx(s, it) };
	int saved = errno, op = on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;

	if (on && it->hybrid)
		op = EPOLL_CTL_MOD;
	if ((on || it->hybrid) && pl_fd(it->fd) == it->ofd)	/* else the number is another's */
		real.epoll_ctl(epset_fd(s), op, it->fd, &ev);
	it->hybrid = on;
	errno = saved;
}

static bool item_is_hybrid(const struct pl_epitem *it)
{
	return ld_acq(&pl_p(SD_OFD_IDX(it->ofd))->flags) & SD_P_HYBRID;
}

int epitem_add(struct pl_epset *s, int fd, sd_ofd ofd, const struct epoll_event *ev)
{
	struct pl_epitem *it = item_alloc(s);
	int r;

	if (!it)
		return -ENOSPC;
	*it = (struct pl_epitem){ .ofd = ofd, .round = s->round - 1, .data = ev->data.u64, .fd = fd,
				  .events = ev->events | EPOLLERR | EPOLLHUP };
	r = epitem_subscribe(s, it);
	if (r) {
		it->ofd = 0;
		it->next_fd = s->free_head;
		s->free_head = item_idx(s, it);
		return -ENOMEM;
	}
	hash_in(s, it);
	s->item_cnt++;
	if (ep.fd_items[fd] < UINT16_MAX)
		ep.fd_items[fd]++;
	if (item_is_hybrid(it)) {
		s->kern_cnt++;
		epitem_hybrid(s, it, true);
	}
	return 0;
}

int epitem_mod(struct pl_epset *s, struct pl_epitem *it, const struct epoll_event *ev)
{
	uint32_t was = it->events;

	it->data = ev->data.u64;
	it->events = ev->events | EPOLLERR | EPOLLHUP;
	if (it->hybrid)
		epitem_hybrid(s, it, true);
	if (pl_ev_sub(was) == pl_ev_sub(it->events)) {
		if (item_ready(it))
			ready_push(s, it);
		return 0;
	}
	return epitem_subscribe(s, it);		/* replaces */
}

void epitem_del(struct pl_epset *s, struct pl_epitem *it)
{
	item_unsubscribe(s, it);
	if (it->hybrid) {
		if (s->fork_gen == ep.fork_gen)
			epitem_hybrid(s, it, false);
		s->kern_cnt -= s->kern_cnt > 0;
	}
	ready_remove(s, it);
	hash_out(s, it);
	if (ep.fd_items[it->fd] && ep.fd_items[it->fd] < UINT16_MAX)
		ep.fd_items[it->fd]--;
	s->item_cnt--;
	*it = (struct pl_epitem){ .next_fd = s->free_head };
	s->free_head = item_idx(s, it);
}

/* ---- events ---- */

/* Posted bits onto the ready list. */
static void take_posts(struct pl_epset *s)
{
	uint32_t bits[64];
	unsigned n;

	if (s->armed)
		pl_efd_drain(pl_efd[s->mb.mbox]);
	while (shm_mbox_any(s->m) && (n = shm_mbox_take(s->m, bits, 64)) != 0)
		for (unsigned i = 0; i < n; i++)
			if (bits[i] < s->item_end && s->items[bits[i]].ofd)
				ready_push(s, &s->items[bits[i]]);
}

static void item_disable(struct pl_epset *s, struct pl_epitem *it)
{
	it->events &= EP_PRIVATE;
	if (it->hybrid)
		epitem_hybrid(s, it, true);
}

int epset_collect(struct pl_epset *s, struct epoll_event *out, int n, int max)
{
	uint32_t left;

	take_posts(s);
	for (left = s->ready_cnt; left && n < max; left--) {
		struct pl_epitem *it = ready_pop(s);
		uint32_t ev;

		if (!item_alive(it)) {
			epitem_del(s, it);
			continue;
		}
		ev = item_ready(it);
		if (!ev)
			continue;
		if (it->round == s->round && n) {	/* a hybrid whose kernel side came first */
			out[it->pos].events |= ev;
		} else {
			out[n].events = ev;
			out[n++].data.u64 = it->data;
		}
		if (it->events & EPOLLONESHOT)
			item_disable(s, it);
		else if (!(it->events & EPOLLET))
			ready_push(s, it);
	}
	return n;
}

int epset_filter(struct pl_epset *s, struct epoll_event *ev, int n)
{
	int out = 0;

	s->round++;
	for (int i = 0; i < n; i++) {
		uint64_t idx = ev[i].data.u64 - ep.cookie;

		if (idx < EP_COOKIES) {
			struct pl_epitem *it = &s->items[idx];

			if (!idx || idx >= s->item_end || !it->ofd)
				continue;
			ev[i].data.u64 = it->data;
			it->round = s->round;
			it->pos = (uint32_t)out;
			if (it->events & EPOLLONESHOT)
				it->events &= EP_PRIVATE;	/* the kernel did so, too */
		}
		if (out != i)
			ev[out] = ev[i];
		out++;
	}
	return out;
}

void epset_pass_on(struct pl_epset *s)
{
	if (s->armed) {
		if (s->ready_cnt)
			pl_efd_write(pl_efd[s->mb.mbox]);
	} else if (s->sleepers && (s->ready_cnt || !shm_mbox_sleep(s->m))) {
		pl_efd_write(pl_efd[s->mb.mbox]);
	}
}

/* ---- a set as a member of poll(), select() or another set ---- */

bool pl_epset_is(sd_ofd o)
{
	const struct pl_epset *s = epset_of(o);

	return s && epset_active(s);
}

bool pl_epset_poll(sd_ofd o)
{
	struct pl_epset *s = epset_of(o);
	bool yes = false;

	if (!s || epset_lock(s, SD_OFD_GEN(o)))
		return false;
	pl_efd_drain(pl_efd[s->mb.mbox]);	/* what stays readable is the kernel members' */
	take_posts(s);
	for (uint32_t left = s->ready_cnt; left && !yes; left--) {
		struct pl_epitem *it = ready_pop(s);

		if (!item_alive(it)) {
			epitem_del(s, it);
			continue;
		}
		yes = item_ready(it);
		if (yes)
			ready_push(s, it);
	}
	epset_pass_on(s);
	epset_unlock(s);
	return yes;
}

void pl_epset_arm(sd_ofd o)
{
	struct pl_epset *s = epset_of(o);

	if (!s || epset_lock(s, SD_OFD_GEN(o)))
		return;
	if (!s->armed++ && s->m) {
		shm_mbox_arm(s->m, true);
		if (s->ready_cnt || shm_mbox_any(s->m))
			pl_efd_write(pl_efd[s->mb.mbox]);
	}
	epset_unlock(s);
}

void pl_epset_disarm(sd_ofd o)
{
	struct pl_epset *s = epset_of(o);

	if (!s || epset_lock(s, SD_OFD_GEN(o)))
		return;
	if (s->armed && !--s->armed && s->m) {
		shm_mbox_arm(s->m, false);
		epset_pass_on(s);
	}
	epset_unlock(s);
}

/* ---- threads that slept before the set was active ---- */

static bool raw_any(const struct pl_epset *s)
{
	uint32_t hi = ld_rlx(&pl.proc->hi_fd);

	for (uint32_t fd = 0; fd < hi; fd++)	/* pairs with raw_begin(): it counts, then looks */
		if (epset_of(pl_fd((int)fd)) == s && add_sc(&ep.raw[fd], 0))
			return true;
	return false;
}

void epset_raw_arm(struct pl_epset *s)
{
	s->raw_armed = raw_any(s);
	if (s->raw_armed && !s->armed++)
		shm_mbox_arm(s->m, true);
}

void epset_raw_gone(int epfd)
{
	sd_ofd o = pl_fd(epfd);
	struct pl_epset *s = epset_of(o);

	if (!s || !epset_active(s) || epset_lock(s, SD_OFD_GEN(o)))
		return;
	if (s->raw_armed && !raw_any(s)) {
		s->raw_armed = false;
		if (!--s->armed) {
			shm_mbox_arm(s->m, false);
			epset_pass_on(s);
		}
	}
	epset_unlock(s);
}
