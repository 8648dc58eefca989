/* SPDX-License-Identifier: MIT */
/* engine/idle.c - see idle.h */
#include "stackd/engine/idle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"

#define LOST_NS		30000u		/* between two looks of a spin: somebody took the core */
#define AGAIN		64u		/* what did not work is tried again after so many times */
#define SHORTS		16u		/* short sleeps until a full spin is tried again */

#define LOOK_US		5000u		/* between looks at the load */
#define HOLD_MIN_US	100000u		/* crowded for at least that long */
#define HOLD_MAX_US	3200000u

/* ---- a worker ---- */

void idle_init(struct idle *i, uint32_t spin_ns, const uint32_t *crowded)
{
	*i = (struct idle){ .max_ns = spin_ns, .budget_ns = spin_ns, .crowded = crowded };
}

static bool spin(struct idle *i)
{
	uint64_t now;

	if (ld_rlx(i->crowded) || !i->budget_ns)
		return false;
	if (i->no_spin) {
		i->no_spin--;
		return false;
	}
	now = clock_mono_ns();
	if (!i->since_ns) {
		i->since_ns = i->last_ns = now;
	} else if (now - i->last_ns > LOST_NS) {
		i->no_spin = AGAIN;
		return false;
	}
	i->last_ns = now;
	if (now - i->since_ns < i->budget_ns) {
		cpu_relax();
		return true;
	}
	i->budget_ns /= 2;
	return false;
}

static enum idle_what nap(struct idle *i)
{
	i->same = i->woke = false;
	if (!i->no_spin)
		i->no_spin = 1;		/* who was napped for may still be at it */
	return IDLE_NAP;
}

enum idle_what idle_busy(struct idle *i)
{
	if (i->since_ns)
		i->budget_ns = i->budget_ns > i->max_ns / 2 ? i->max_ns : i->budget_ns * 2;
	i->since_ns = 0;
	return i->same ? nap(i) : IDLE_ON;
}

enum idle_what idle_pass(struct idle *i)
{
	if (i->same || (i->woke && ld_rlx(i->crowded)))
		return nap(i);
	i->woke = false;
	if (spin(i))
		return IDLE_ON;
	i->since_ns = 0;
	return IDLE_SLEEP;
}

void idle_slept(struct idle *i, uint64_t ns)
{
	if (ns > 2ull * i->max_ns) {
		i->shorts = 0;
	} else if (++i->shorts >= SHORTS) {
		i->shorts = 0;
		i->budget_ns = i->max_ns;
	}
}

/* ---- the machine ---- */

void crowd_init(struct crowd *c)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	*c = (struct crowd){ .fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC),
			     .cpus = n > 0 ? (uint32_t)n : 1, .hold_us = HOLD_MIN_US };
}

/* The fourth word: runnable/all threads. 0 = cannot be told. */
static uint32_t runnable(int fd)
{
	char text[100], *at = text;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = 0;
	for (int i = 0; i < 3 && at; i++) {
		at = strchr(at, ' ');
		at += at != NULL;
	}
	return at ? (uint32_t)strtoul(at, NULL, 10) : 0;
}

bool crowd_poll(struct crowd *c, uint64_t now_us)
{
	if (now_us < c->next_us || c->fd < 0)
		return now_us < c->until_us;
	c->next_us = now_us + LOOK_US;
	c->load = c->load - c->load / 8 + runnable(c->fd) * 2;
	if (c->load <= c->cpus * 16 + 4 || now_us < c->until_us)
		return now_us < c->until_us;
	/* Soon after the last time: nothing has changed but that spinning was tried. */
	if (now_us - c->until_us > c->hold_us)
		c->hold_us = HOLD_MIN_US;
	else if (c->hold_us < HOLD_MAX_US)
		c->hold_us *= 2;
	c->until_us = now_us + c->hold_us;
	return true;
}
