/* SPDX-License-Identifier: MIT */
/* preload/multi.h - waiting for several fds at once: what poll() and select() share
 */
#ifndef PRELOAD_MULTI_H
#define PRELOAD_MULTI_H

#include "preload/wait_int.h"

/* A stackd socket, or an epoll set with stackd members, among the fds of a call. */
struct pl_member {
	sd_ofd ofd;
	uint32_t slot;			/* 0: an epoll set */
	uint32_t want;			/* poll's bits that end the wait */
	uint32_t got;			/* those that are set: the result */
	uint32_t pos;			/* the caller's: index, or fd */
};

struct pl_multi {
	struct pl_member *mem;
	unsigned cnt;
	bool kern_any;			/* there is something to ask the kernel about */
	/* Ask the kernel about the other fds and, unless -1, about @efd, which it empties; sleeps
	 * as ppoll() does. Return: number of ready fds without @efd, or -errno (then none is
	 * marked). */
	int (*kern)(struct pl_multi *m, int efd, const struct timespec *ts, const sigset_t *mask);
};

/**
 * pl_multi_wait() - wait until a member or a kernel fd is ready
 * @deadline: 0 = do not wait, PL_FOREVER
 * @mask: signal mask while asleep, NULL = as it is. Cancellation point.
 * Return: members ready + kernel fds ready, 0 = timed out, or -errno
 */
int pl_multi_wait(struct pl_multi *m, uint64_t deadline, const sigset_t *mask);

/* Is @fd something that a poll or select must not leave to the kernel alone? Fills @ret_mem but for
 * want, got and pos. *ret_kern: the kernel's side counts, too (hybrids, epoll sets). */
bool pl_multi_member(int fd, struct pl_member *ret_mem, bool *ret_kern);

/* Memory for one call: the caller's stack buffer when @len fits, else a mapping. NULL: -ENOMEM. */
void *pl_scratch(void *stack, size_t stack_len, size_t len);
void pl_scratch_free(void *p, const void *stack, size_t len);

#endif
