/* SPDX-License-Identifier: MIT */
/* bench/micro/place.c - placement probe: how far apart the first and the last CPU are just now
 * One cache line goes back and forth between two spinning threads; then two threads hand over by
 * futex, on one CPU and on two. Prints JSON, nanoseconds per round trip, medians. With one CPU only
 * the futex on that CPU.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"

#define ROUNDS	31
#define TRIPS	2000
#define FUTEX_TRIPS 200

static _Alignas(128) uint32_t line;
static int cpu_a, cpu_b;

struct trip {
	int cpu;			/* of the answering thread */
	bool futex;
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void wait_while(uint32_t not_yet, bool futex)
{
	while (ld_acq(&line) == not_yet) {
		if (futex)
			syscall(SYS_futex, &line, FUTEX_WAIT_PRIVATE, not_yet, NULL, NULL, 0);
		else
			cpu_relax();
	}
}

static void put(uint32_t v, bool futex)
{
	st_rel(&line, v);
	if (futex)
		syscall(SYS_futex, &line, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Answers odd values by the next even one; UINT32_MAX ends it. */
static void *answer(void *arg)
{
	const struct trip *t = arg;
	uint32_t seen = 0;

	pin(t->cpu);
	for (;;) {
		wait_while(seen, t->futex);
		seen = ld_acq(&line);
		if (seen == UINT32_MAX)
			return NULL;
		put(++seen, t->futex);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_trip(int cpu, bool futex)
{
	struct trip t = { cpu, futex };
	unsigned trips = futex ? FUTEX_TRIPS : TRIPS;
	double v[ROUNDS];
	pthread_t th;

	line = 0;
	if (pthread_create(&th, NULL, answer, &t))
		abort();
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = clock_mono_ns();

		for (unsigned n = 0; n < trips; n++) {
			uint32_t v0 = ld_acq(&line) + 1;

			put(v0, futex);
			wait_while(v0, futex);
		}
		v[i] = (double)(clock_mono_ns() - from) / trips;
	}
	put(UINT32_MAX, futex);
	pthread_join(th, NULL);
	qsort(v, ROUNDS, sizeof(v[0]), by_value);
	return v[ROUNDS / 2];
}

int main(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	cpu_a = 0;
	cpu_b = (int)cpus - 1;
	pin(cpu_a);
	printf("{\"futex_one_cpu\": %.0f", median_trip(cpu_a, true));
	if (cpu_b != cpu_a)
		printf(", \"line_two_cpus\": %.0f, \"futex_two_cpus\": %.0f",
		       median_trip(cpu_b, false), median_trip(cpu_b, true));
	printf("}\n");
	return 0;
}
