/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_lock.c - robust locks: holders of all kinds, dead ones included */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fixture.h"
#include "shm/lock.h"
#include "stackd/atomic.h"

static uint64_t me(uint32_t proc)
{
	return shm_lock_owner(proc, (uint32_t)gettid());
}

static uint64_t *word_new(void)
{
	uint64_t *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(w, MAP_FAILED);
	return w;
}

Test(lock, lock_unlock_trylock)
{
	uint64_t w = 0;

	cr_expect_eq(shm_lock(&w, me(0)), 0);
	cr_expect_eq(w, me(0));
	cr_expect_not(shm_trylock(&w, me(0)));
	cr_expect_not(shm_trylock(&w, SHM_LOCK_ENGINE));
	shm_unlock(&w, me(0));
	cr_expect_eq(w, 0);
	cr_expect(shm_trylock(&w, SHM_LOCK_ENGINE));
	shm_unlock(&w, SHM_LOCK_ENGINE);
	cr_expect_eq(w, 0);
}

Test(lock, a_second_lock_by_the_same_thread_is_refused)
{
	uint64_t w = 0;

	cr_assert_eq(shm_lock(&w, me(5)), 0);
	cr_expect_eq(shm_lock(&w, me(5)), -EDEADLK);
	w |= SHM_LOCK_WAITERS;
	cr_expect_eq(shm_lock(&w, me(5)), -EDEADLK);
	shm_unlock(&w, me(5));
	cr_expect_eq(w, 0);
}

Test(lock, a_stranger_cannot_unlock)
{
	uint64_t w = 0;

	cr_assert_eq(shm_lock(&w, me(5)), 0);
	shm_unlock(&w, me(6));
	cr_expect_eq(w, me(5));
}

static void *take_and_leave(void *arg)
{
	cr_assert_eq(shm_lock(arg, me(3)), 0);
	return NULL;
}

Test(lock, a_thread_that_ended_is_replaced, .timeout = 10)
{
	uint64_t *w = word_new();
	pthread_t t;

	pthread_create(&t, NULL, take_and_leave, w);
	pthread_join(t, NULL);
	cr_expect_eq(shm_lock(w, me(3)), -EOWNERDEAD);
	cr_expect_eq(*w & ~(uint64_t)SHM_LOCK_WAITERS, me(3), "and held");
	shm_unlock(w, me(3));
	cr_expect_eq(*w, 0);
}

struct waiter {
	uint64_t *w;
	uint32_t proc;
	int ret;
};

static void *wait_for_it(void *arg)
{
	struct waiter *a = arg;

	a->ret = shm_lock(a->w, me(a->proc));
	return NULL;
}

static void wait_for_mark(uint64_t *w)
{
	while (!(ld_acq(w) & SHM_LOCK_WAITERS))
		usleep(500);
}

Test(lock, the_engine_frees_a_dead_process_lock, .timeout = 10)
{
	struct waiter a = { .w = word_new(), .proc = 3, .ret = -1 };
	pthread_t t;
	pid_t pid = fork();

	if (!pid) {
		shm_lock(a.w, me(4));
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_neq(*a.w, 0);
	pthread_create(&t, NULL, wait_for_it, &a);
	wait_for_mark(a.w);
	cr_expect_not(shm_lock_reap(a.w, 3));
	cr_expect(shm_lock_reap(a.w, 4));
	pthread_join(t, NULL);
	cr_expect_eq(a.ret, 0);
	cr_expect_not(shm_lock_reap(a.w, 4));
	cr_expect(shm_lock_reap(a.w, 3));
	cr_expect_eq(*a.w, 0);
}

Test(lock, another_process_thread_is_never_judged_dead, .timeout = 10)
{
	struct waiter a = { .w = word_new(), .proc = 3, .ret = -1 };
	pthread_t t;

	*a.w = shm_lock_owner(4, 0x3ffffff);	/* a thread id of some other namespace */
	pthread_create(&t, NULL, wait_for_it, &a);
	wait_for_mark(a.w);
	usleep(250 * 1000);
	cr_expect_eq(ld_acq(a.w) >> 32, 5, "still the other's");
	shm_unlock(a.w, shm_lock_owner(4, 0x3ffffff));
	pthread_join(t, NULL);
	cr_expect_eq(a.ret, 0);
}

Test(lock, waiters_on_the_engine_do_not_mark_the_word, .timeout = 10)
{
	struct waiter a = { .w = word_new(), .proc = 3, .ret = -1 };
	pthread_t t;

	cr_assert(shm_trylock(a.w, SHM_LOCK_ENGINE));
	pthread_create(&t, NULL, wait_for_it, &a);
	usleep(20 * 1000);
	cr_expect_eq(ld_acq(a.w), SHM_LOCK_ENGINE);
	shm_unlock(a.w, SHM_LOCK_ENGINE);
	pthread_join(t, NULL);
	cr_expect_eq(a.ret, 0);
}

Test(lock, the_successor_of_a_dead_engine_frees_its_locks)
{
	uint64_t w = SHM_LOCK_ENGINE;

	cr_expect(shm_lock_reap(&w, SHM_LOCK_ENGINE_PROC));
	cr_expect_eq(w, 0);
}

Test(lock, errno_is_left_alone, .timeout = 10)
{
	uint64_t *w = word_new();
	pthread_t t;

	pthread_create(&t, NULL, take_and_leave, w);
	pthread_join(t, NULL);
	errno = 4242;
	cr_expect_eq(shm_lock(w, me(3)), -EOWNERDEAD);
	shm_unlock(w, me(3));
	cr_expect_eq(errno, 4242);
}
