/* SPDX-License-Identifier: MIT */
/* preload/epoll_int.h - epoll sets: what epset.c, epctl.c, epoll.c and epfork.c share
 * The program's epoll fd is a real one; kernel fds are members of it and of nothing else. An epoll
 * fd made while attached has a struct pl_epset from the start (so that dups find it, and so that
 * members are counted), one made before gets it with its first stackd member; in any case only the
 * first stackd member *activates* it: it gets a mailbox, whose eventfd joins the real set,
 * edge-triggered, under a cookie. From then on epoll_wait() merges both kinds.
 * Holds:
 *   E1  structs are never unmapped: a pointer from sets[] is always good; the tag tells whether it
 *       is still the set that was meant
 *   E2  a set's lock is never held across a sleep
 *   E3  an item is on the ready list at most once (queued), and a free one never
 *   E4  no thread sleeps while the ready list holds something or the mailbox a bit that nobody was
 *       woken for: epset_pass_on() ends each change
 *   E5  a process changes only sets of its own: what fork copied is adopted first (epfork.c)
 */
#ifndef PRELOAD_EPOLL_INT_H
#define PRELOAD_EPOLL_INT_H

#include "preload/wait_int.h"

#define EP_SETS		4096u		/* id 0 is none */
#define EP_ID_BITS	12
#define EP_COOKIES	SD_MBOX_BITS	/* data words that mean an item: ep.cookie + index */
/* Bits of an item that are no events. An item with only these is disabled. */
#define EP_PRIVATE	(EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

struct pl_epitem {			/* index = bit of the mailbox */
	sd_ofd ofd;			/* the socket when it was added; 0 = free */
	uint64_t data;			/* the program's */
	uint32_t events;		/* as given, and ERR | HUP */
	int32_t fd;
	uint32_t next_fd;		/* with the same hash of fd; free: next free */
	uint32_t next_ready;		/* 0 = last */
	bool queued;
	bool hybrid;			/* also in the real set, data = cookie + index */
	uint32_t round, pos;		/* the kernel's side was reported in this round, at pos */
};

struct pl_epset {
	uint64_t lock;
	uint32_t tag;			/* id and incarnation; 0 = unused. All below: 0 then */
	uint32_t fork_gen;		/* ep.fork_gen of the owner of mailbox, members */
	struct pl_mbox mb;		/* mbox 0 = no stackd member yet: the kernel's alone */
	struct sd_mbox *m;
	int epfd;			/* an fd of it, the last one used */
	uint32_t sleepers;		/* threads in the real epoll_wait */
	uint32_t spinning;		/* one spins at a time */
	uint32_t armed;			/* unshimmed pollers: see SD_MBOX_ARMED */
	bool raw_armed;			/* counts in armed: threads that sleep as in ep.raw */
	bool closed;			/* the last fd is gone; the last sleeper tidies up */
	struct pl_spin spin;

	uint32_t kern_cnt;		/* kernel members, not less than there are */
	uint32_t calls;			/* since the kernel was asked last */
	uint64_t kern_tsc;		/* when it was */

	uint32_t round;			/* counts harvests */
	uint32_t ready_head, ready_tail, ready_cnt;
	uint32_t free_head;		/* items freed */
	uint32_t item_end;		/* items at and beyond were never used */
	uint32_t item_cap;		/* power of two */
	uint32_t item_cnt;		/* in use */
	struct pl_epitem *items;
	uint32_t *hash;			/* item_cap chains by fd */
};

struct pl_ep {				/* one, process-wide */
	uint64_t lock;			/* guards making and ending of sets; taken before a set's */
	uint64_t cookie;		/* address that no program uses */
	uint32_t fork_gen;		/* counts the forks that led to this process */
	uint32_t end;			/* sets at and beyond were never used */
	struct pl_epset *sets[EP_SETS];
	/* By fd number, for epoll fds made before the process attached: it is one, it is nested. */
	uint64_t early[SD_FDS / 64], early_nested[SD_FDS / 64];
	uint16_t fd_items[SD_FDS];	/* items that name this fd, in all sets; saturates */
	/* Threads in the real epoll_wait() on this fd that began when its set was not active; a
	 * child has its parent's as well. */
	uint32_t raw[SD_FDS];
};
extern struct pl_ep ep;

/* ---- epset.c ---- */
/* Return: the set that an open-table entry names, not locked; NULL when there is none. */
static inline struct pl_epset *epset_of(sd_ofd o)
{
	struct pl_epset *s;

	if (SD_OFD_KIND(o) != SD_OFD_EPOLL)
		return NULL;
	s = ld_acq(&ep.sets[SD_OFD_GEN(o) % EP_SETS]);
	return s && ld_rlx(&s->tag) == SD_OFD_GEN(o) ? s : NULL;
}

static inline bool epset_active(const struct pl_epset *s)
{
	return ld_acq(&s->mb.mbox) != 0;
}

static inline void epbit_set(uint64_t *map, int fd, bool on)
{
	uint64_t m = 1ull << fd % 64;

	if (on)
		or_sc(&map[fd / 64], m);
	else
		and_sc(&map[fd / 64], ~m);
}

static inline bool epbit_get(const uint64_t *map, int fd)
{
	return (unsigned)fd < SD_FDS && ld_rlx(&map[fd / 64]) >> fd % 64 & 1;
}

/* Enter a new set for @epfd, without a mailbox. Return: 0 or -errno. */
int epset_new(int epfd, uint32_t kern_cnt, sd_ofd *ret_ofd);
/* Lock; a set that was inherited by fork and is active is adopted first.
 * Return: 0, -EBADF when @tag is gone, -EDEADLK in a signal handler that interrupted a holder. */
int epset_enter(struct pl_epset *s, uint32_t tag);
/* Handlers of the program wait from the lock to the unlock, which are in one function. */
#define epset_lock(s, tag) __extension__ ({ \
	PL_DEFER_BEGIN(); \
	int locked_ = epset_enter((s), (tag)); \
	if (locked_) \
		pl_defer_end(); \
	locked_; \
})
/* The same, whatever has become of the set. Return: false when the thread holds it already. */
#define epset_grab(s) __extension__ ({ \
	PL_DEFER_BEGIN(); \
	bool held_ = shm_lock(&(s)->lock, pl_self()) != -EDEADLK; \
	if (!held_) \
		pl_defer_end(); \
	held_; \
})
void epset_unlock(struct pl_epset *s);
/* Locked: give it a mailbox. Return: 0, -EBADF, -EINVAL (not an epoll fd), -ENOSPC */
int epset_activate(struct pl_epset *s);
/* Locked, just activated, before its first member: threads that sleep in it already are no sleepers
 * that a post would wake, so it is armed until the last of them has left. */
void epset_raw_arm(struct pl_epset *s);
/* The last thread of ep.raw[@epfd] has left. */
void epset_raw_gone(int epfd);
/* Locked, closed and without sleepers: free everything. */
void epset_end(struct pl_epset *s);
/* Locked: an fd number of this set. */
int epset_fd(struct pl_epset *s);

struct pl_epitem *epitem_find(struct pl_epset *s, int fd, sd_ofd ofd);
int epitem_add(struct pl_epset *s, int fd, sd_ofd ofd, const struct epoll_event *ev);
int epitem_mod(struct pl_epset *s, struct pl_epitem *it, const struct epoll_event *ev);
void epitem_del(struct pl_epset *s, struct pl_epitem *it);
/* Subscribe @it as its events say, and queue it when it is ready. */
int epitem_subscribe(struct pl_epset *s, struct pl_epitem *it);
/* Put the kernel's side of a hybrid into the real set or take it out. */
void epitem_hybrid(struct pl_epset *s, struct pl_epitem *it, bool on);

/* Locked: add events of stackd members to the @n that epset_filter() left, up to @max in all.
 * Return: number of events now. */
int epset_collect(struct pl_epset *s, struct epoll_event *out, int n, int max);
/* Locked: begin a round; take our own out of what the kernel said. Return: events left. */
int epset_filter(struct pl_epset *s, struct epoll_event *ev, int n);
/* Locked, after a change: wake a sleeper if there is something for him, else see that the next
 * post will. */
void epset_pass_on(struct pl_epset *s);

/* ---- epfork.c ---- */
/* Locked: make an inherited set this process's own. */
int epset_adopt(struct pl_epset *s);
/* Locked: a real epoll fd of our own behind the number(s) of @s, with the same kernel members. */
int epset_privatise(struct pl_epset *s);

#endif
