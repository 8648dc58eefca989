/* SPDX-License-Identifier: MIT */
/* tests/stress/stress.h - parties that hammer one segment at once, as threads or as processes
 * A stress program runs scenarios, prints a TAP line for each and stops at the first that fails.
 * Processes are forked from a single-threaded parent; under ThreadSanitizer, which sees one process
 * only, scenarios that need processes are left out. A hang ends by SIGALRM.
 */
#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"

#ifdef __SANITIZE_THREAD__
#define STRESS_TSAN 1
#else
#define STRESS_TSAN 0
#endif

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("not ok %s:%d: %s; ", __FILE__, __LINE__, #cond);                   \
			printf(" " __VA_ARGS__);                                                   \
			printf("\n");                                                              \
			fflush(stdout);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#define STRESS_OK(...) (printf("ok " __VA_ARGS__), printf("\n"), fflush(stdout))

/* Work to do: less where each access costs many times as much. */
static inline unsigned stress_n(unsigned n)
{
	return STRESS_TSAN ? n / 4 : n;
}

static inline void stress_start(unsigned limit_s)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(limit_s);
}

static inline struct shm_seg stress_seg(void)
{
	struct shm_seg seg = { 0 };
	int ro, rw;

	CHECK(shm_seg_create(1, 1, &ro, &rw) == 0);
	CHECK(shm_seg_map(ro, rw, true, &seg) == 0);
	close(ro);
	close(rw);
	return seg;
}

/* Zeroed memory that threads and forked processes share. */
static inline void *stress_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

struct party {
	bool proc;
	pthread_t thread;
	pid_t pid;
	void (*fn)(void *arg);
	void *arg;
};

static inline void *party_main(void *arg)
{
	struct party *p = arg;

	p->fn(p->arg);
	return NULL;
}

/* @arg must stay until party_join(). */
static inline void party_start(struct party *p, bool proc, void (*fn)(void *arg), void *arg)
{
	*p = (struct party){ .proc = proc, .fn = fn, .arg = arg };
	if (!proc) {
		CHECK(pthread_create(&p->thread, NULL, party_main, p) == 0);
		return;
	}
	p->pid = fork();
	CHECK(p->pid >= 0);
	if (!p->pid) {
		fn(arg);
		_exit(0);
	}
}

static inline void party_join(struct party *p)
{
	int status;

	if (!p->proc) {
		pthread_join(p->thread, NULL);
		return;
	}
	CHECK(waitpid(p->pid, &status, 0) == p->pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

/* Kill a party that is a process, whatever it is doing, and wait until it is gone. */
static inline void party_kill(struct party *p)
{
	int status;

	kill(p->pid, SIGKILL);
	CHECK(waitpid(p->pid, &status, 0) == p->pid);
	CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
}

static inline unsigned stress_rand(unsigned *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* Runs a scenario with threads, and with processes where that can be. */
static inline void stress_both(void (*scenario)(bool proc))
{
	scenario(false);
	if (!STRESS_TSAN)
		scenario(true);
}

#endif
