/* SPDX-License-Identifier: MIT */
/* preload/wait_int.h - what wait.c, rpc.c, poll.c, select.c and epoll.c share
 * A wait goes through three phases:
 *   1  a spin of at most PL_SPIN_OPEN_NS with signals as they are: too short to be told from a
 *      signal that came before the call
 *   2  a longer spin with all signals blocked, so that none is lost to the sleep that follows; how
 *      long is learnt from whether earlier ones paid
 *   3  the real sleep, which lets the program's mask in atomically (ppoll and its kin) or after a
 *      look at what is pending (read, for the sake of SA_RESTART)
 */
#ifndef PRELOAD_WAIT_INT_H
#define PRELOAD_WAIT_INT_H

#include "preload/defer.h"
#include "preload/pl.h"

#define PL_FOREVER	UINT64_MAX
#define PL_NS_PER_MS	1000000ull
#define PL_NS_PER_S	1000000000ull
#define PL_SPIN_OPEN_NS	1000u
/* Initial-exec: no allocation on first use in a thread, so that signal handlers may come first. */
#define PL_TLS		__thread __attribute__((tls_model("initial-exec")))

#define PL_EV_ALWAYS	(SD_EV_ERR | SD_EV_HUP)

/* ---- time ---- */
uint64_t pl_now_ns(void);			/* CLOCK_MONOTONIC */
uint64_t pl_deadline_ms(int timeout_ms);	/* negative: PL_FOREVER */
uint64_t pl_deadline_ts(const struct timespec *ts);	/* NULL: PL_FOREVER */
/* What is left until @deadline; *@ret_ts is filled. Return: @ret_ts, or NULL for PL_FOREVER. */
const struct timespec *pl_left(uint64_t deadline, struct timespec *ret_ts);

/* ---- mailboxes for the time of one call ---- */
struct pl_waiter {
	struct pl_mbox mb;
	struct sd_mbox *m;
	bool temp;			/* the thread's own is in use: in a handler */
};
/* Return: 0, or -errno when there is no mailbox to be had. Every get has its put. */
int pl_waiter_get(struct pl_waiter *w);
void pl_waiter_put(struct pl_waiter *w);
/* Forget the posted bits. Called before a look at the slots, never after. */
void pl_mbox_drain(struct sd_mbox *m);
/* Empty a mailbox's eventfd without blocking. */
void pl_efd_drain(int efd);
void pl_efd_write(int efd);

/* ---- spin ---- */
struct pl_spin {			/* zero-initialised; a hint, races do no harm */
	uint32_t budget_ns;
	uint16_t known;			/* budget_ns is valid */
	uint16_t shorts;		/* sleeps that a spin would have saved */
};
struct pl_sigs {			/* the signal mask around a spin */
	sigset_t orig;
	bool blocked;			/* all are blocked now; orig is the program's mask */
	uint8_t ran;			/* PL_RAN*: a handler did, just before the sleep */
};
#define PL_RAN		1u
#define PL_RAN_RESTART	2u		/* it has SA_RESTART */
/* Spin until @m has a bit, at most until @deadline. Return: true when there is one. On false,
 * signals may be blocked. pl_sigs_restore() is due in any case. */
bool pl_spin(struct pl_spin *sp, struct sd_mbox *m, uint64_t deadline, struct pl_sigs *sg);
/* Would spinning only hold up what is waited for? A worker runs on this very core, or there is but
 * one. */
bool pl_spin_hinders(void);
/* Tell how long the sleep was that came after a spin in vain. */
void pl_spin_slept(struct pl_spin *sp, uint64_t from_ns);
void pl_sigs_block(struct pl_sigs *sg);
void pl_sigs_restore(struct pl_sigs *sg);
/* With signals blocked: would one of those pending interrupt a system call (handler without
 * SA_RESTART)? */
bool pl_sigs_interrupt(const struct pl_sigs *sg);

/* ---- epoll sets as members of poll() and select() ---- */
/* A set with stackd members behind @ofd? Return: true, then @fd's readiness is the kernel's word
 * or'ed with pl_epset_poll(). */
bool pl_epset_is(sd_ofd ofd);
bool pl_epset_poll(sd_ofd ofd);
/* While armed, posts make the real epoll fd readable. */
void pl_epset_arm(sd_ofd ofd);
void pl_epset_disarm(sd_ofd ofd);

/* epoll's event bits to those of subscriptions. */
static inline uint32_t pl_ev_sub(uint32_t events)
{
	uint32_t ev = events & (SD_EV_IN | SD_EV_OUT | SD_EV_PRI | SD_EV_RDHUP);

	if (events & 0x40u)		/* RDNORM */
		ev |= SD_EV_IN;
	if (events & 0x300u)		/* WRNORM, WRBAND */
		ev |= SD_EV_OUT;
	return ev;
}

/* pl_ready() with RDNORM, WRNORM and, for datagrams, WRBAND, as Linux sets them. */
uint32_t pl_ready_wide(uint32_t slot);

#endif
