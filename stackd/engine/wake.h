/* SPDX-License-Identifier: MIT */
/* engine/wake.h - wake programs: many eventfds signalled by one system call
 *
 * A mailbox's eventfd is blocking, because a program that sleeps in read() on it is restarted by
 * SA_RESTART as it would be in recv(). That leaves two traps: a program can fill the counter, so
 * that a plain write() would put the worker to sleep; and io_uring hands a write to a blocking
 * eventfd to its helper threads (measured: 40 to 128 us instead of 0.3). The kernel's own
 * signalling of an eventfd never blocks, and is reached in a batch by aio's IOCB_FLAG_RESFD: each
 * request polls an eventfd that is always readable, so it completes at once and signals the
 * mailbox's (0.4 us each, any number in one call). An fd that is no eventfd is refused by the
 * kernel: a number gone stale can do no harm. Without aio (io_setup fails), write() it is, and the
 * counter trap stays: said once at start.
 * Threads: one batch per worker, that worker only
 */
#ifndef ENGINE_WAKE_H
#define ENGINE_WAKE_H

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>

#define WAKE_BATCH 128u

struct wake_batch {
	aio_context_t ctx;		/* 0 = no aio here */
	int always;			/* eventfd that is always readable */
	uint32_t cnt;
	struct iocb cb[WAKE_BATCH];
	struct iocb *cbp[WAKE_BATCH];
};

/* Before seccomp. Return: 0 (also without aio) or -errno. */
int wake_init(struct wake_batch *b);
void wake_fini(struct wake_batch *b);
/* Signal @fd with the next flush (or now, when the batch is full). */
void wake_add(struct wake_batch *b, int fd);
void wake_flush(struct wake_batch *b);

#endif
