/* SPDX-License-Identifier: MIT */
/* ctl/closer.c - close what programs have passed, without waiting for it
 * close() can take as long as the program likes: a TCP socket that lingers with bytes that nobody
 * reads (SO_LINGER), a file on a file system of the program's own. So descriptors of programs are
 * closed by threads that do nothing else. One uid keeps one of them at most, and one that has
 * CLOSER_UID descriptors waiting is hung up when it passes more. The engine's own copy of a control
 * connection is no such thing: the supervisor has a dup, and is careful when it closes the last
 * (supervisor/dispose.c). So a message is not taken before it is known that a descriptor may come
 * with it: what is thrown away unread is closed by who throws it away.
 * Holds:   CL1 an account with descriptors waiting is not given to another uid
 * Threads: worker 0 hands over; CLOSERS threads close
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define CLOSERS		8u
#define CLOSER_UID	64u
#define JOBS		8192u

struct closer {
	pthread_mutex_t lock;
	pthread_cond_t more;
	unsigned cnt;
	struct {
		int fd;
		struct uid_acct *acct;
	} job[JOBS];			/* the oldest first */
};

/* The oldest job of a uid that keeps no other thread. Return: its place, or c->cnt. */
static unsigned next_job(const struct closer *c)
{
	unsigned i = 0;

	while (i < c->cnt && c->job[i].acct->closer_busy)
		i++;
	return i;
}

static void *closer_life(void *arg)
{
	struct closer *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		unsigned i = next_job(c);
		struct uid_acct *a;
		int fd;

		if (i == c->cnt) {
			pthread_cond_wait(&c->more, &c->lock);
			continue;
		}
		fd = c->job[i].fd;
		a = c->job[i].acct;
		memmove(&c->job[i], &c->job[i + 1], (--c->cnt - i) * sizeof(c->job[0]));
		a->closer_busy = true;
		pthread_mutex_unlock(&c->lock);
		close(fd);
		pthread_mutex_lock(&c->lock);
		a->closer_busy = false;
		add_sc(&a->closing, -1u);
	}
	return NULL;
}

int closer_init(struct engine *eng)
{
	struct closer *c = calloc(1, sizeof(*c));
	sigset_t all, old;
	int r = 0;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->more, NULL);
	eng->ctl->closer = c;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (unsigned i = 0; !r && i < CLOSERS; i++) {
		pthread_t t;

		r = -pthread_create(&t, NULL, closer_life, c);
		if (!r)
			pthread_setname_np(t, "stackd-close");
		if (!r)
			pthread_detach(t);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

bool closer_room(const struct uid_acct *a)
{
	return a && ld_sc(&a->closing) < CLOSER_UID;
}

void closer_close(struct engine *eng, struct uid_acct *a, const int *fds, unsigned cnt)
{
	struct closer *c = eng->ctl->closer;

	if (!cnt)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->cnt + cnt > JOBS) {
		engine_log("descriptors of programs cannot be closed: another engine begins anew");
		_exit(1);		/* the kernel closes them, and waits for none then */
	}
	add_sc(&a->closing, cnt);
	for (unsigned i = 0; i < cnt; i++) {
		c->job[c->cnt].fd = fds[i];
		c->job[c->cnt++].acct = a;
	}
	pthread_cond_broadcast(&c->more);
	pthread_mutex_unlock(&c->lock);
}
