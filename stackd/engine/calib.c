/* SPDX-License-Identifier: MIT */
/* engine/calib.c - what a wake-up costs here
 * Two threads pass a token by eventfds, each sleeping in between, as worker and program do: half
 * the median round trip is what spinning that long may save. Machines differ by a factor of 20 in
 * this.
 */
#include "stackd/engine/engine_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/core/topo.h"

#define CALIB_ROUNDS	200u
#define CALIB_MIN_NS	2000u
#define CALIB_MAX_NS	50000u

struct pair {
	int ping, pong;
};

static bool pass(int fd)
{
	uint64_t v = 1;

	return write(fd, &v, sizeof(v)) == sizeof(v);
}

static bool take(int fd)
{
	uint64_t v;

	return read(fd, &v, sizeof(v)) == sizeof(v);
}

static void *partner(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < CALIB_ROUNDS && take(p->ping); i++)
		pass(p->pong);
	return NULL;
}

static int cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Half the median round trip, 0 when it cannot be measured. */
static uint32_t wake_ns(void)
{
	struct pair p = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	uint32_t ns[CALIB_ROUNDS], n = 0;
	pthread_t t;

	if (p.ping < 0 || p.pong < 0 || pthread_create(&t, NULL, partner, &p))
		goto out;
	for (; n < CALIB_ROUNDS; n++) {
		uint64_t start = clock_mono_ns();

		if (!pass(p.ping) || !take(p.pong))
			break;
		ns[n] = (uint32_t)(clock_mono_ns() - start);
	}
	pthread_join(t, NULL);
	qsort(ns, n, sizeof(ns[0]), cmp_u32);
out:
	close(p.ping);
	close(p.pong);
	return n ? ns[n / 2] / 2 : 0;
}

uint32_t calib_spin_ns(uint32_t workers)
{
	uint32_t ns;

	/* Somebody else needs the core: spinning would only delay him. */
	if (workers + 1 > topo_cpu_cnt())
		return 0;
	ns = wake_ns();
	return ns < CALIB_MIN_NS ? CALIB_MIN_NS : ns > CALIB_MAX_NS ? CALIB_MAX_NS : ns;
}
