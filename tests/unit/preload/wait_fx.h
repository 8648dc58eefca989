/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/wait_fx.h - an attachment without an engine, for tests of waiting
 * wx_init() makes a segment and attaches this process to it by hand; the test plays the engine: it
 * writes slot_e and posts. Calls to poll(), epoll_wait() and so on in tests reach the shim's, since
 * both are linked into one program; sys_*() are the kernel's own, for comparison.
 */
#ifndef TESTS_PRELOAD_WAIT_FX_H
#define TESTS_PRELOAD_WAIT_FX_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "preload/pl_int.h"
#include "stackd/ctl.h"

#define WX_LIMIT	30000u		/* send buffer of a slot */
#define WX_ALL_EV	(POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM)

extern struct sd_info wx_info;

/* Attach. The engine's half of the segment is writable. */
void wx_init(void);
/* A stackd TCP or UDP socket with a kernel socket behind it; a TCP one is ESTABLISHED. */
int wx_sock(int type);
int wx_fresh(int type);			/* as socket() leaves it */
int wx_listener(void);
uint32_t wx_slot(int fd);
/* The engine's deeds. */
void wx_post(int fd, uint32_t ev);
void wx_rx(int fd, uint32_t len);	/* data arrives */
void wx_conn(int fd);			/* a connection for a listener */
void wx_fin(int fd);
void wx_rst(int fd);
/* Subscriptions of @fd's slot. */
unsigned wx_subs(int fd);

/* A connected pair of kernel TCP sockets in a network namespace of the test's own; Return: false
 * when there can be none (not root). */
bool wx_kernel_pair(int ret_fd[2]);
bool wx_netns(void);

/* Run @fn(arg) in a thread after @ms. */
struct wx_later {
	pthread_t th;
	unsigned ms;
	void (*fn)(void *arg);
	void *arg;
};
void wx_later(struct wx_later *l, unsigned ms, void (*fn)(void *arg), void *arg);
static inline void wx_join(struct wx_later *l)
{
	pthread_join(l->th, NULL);
}
void wx_later_rx(void *fd);		/* fn: one byte for (intptr_t)fd */
void wx_later_kern(void *fd);		/* fn: one byte into kernel fd */

#endif
