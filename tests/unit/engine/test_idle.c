/* SPDX-License-Identifier: MIT */
/* tests/unit/engine/test_idle.c - what an idle worker does, and the napping hand-shake */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/engine/idle.h"
#include "tests/unit/harness.h"

Test(idle, nobody_spins_without_a_budget)
{
	uint32_t crowded = 0;
	struct idle i;

	idle_init(&i, 0, &crowded);
	cr_assert_eq(idle_pass(&i), IDLE_SLEEP);
}

Test(idle, spins_then_sleeps_and_learns, .timeout = 10)
{
	uint32_t crowded = 0, before;
	struct idle i;

	idle_init(&i, 200000, &crowded);
	for (int n = 0; n < 40; n++) {		/* more than the budget can be halved */
		i.no_spin = 0;
		while (idle_pass(&i) == IDLE_ON)
			;
	}
	cr_assert_eq(i.budget_ns, 0, "spinning never paid: %u", i.budget_ns);
	cr_assert_eq(idle_pass(&i), IDLE_SLEEP);
	for (int n = 0; n < 16; n++)
		idle_slept(&i, 1000);
	cr_assert_eq(i.budget_ns, 200000, "short sleeps: it is tried again");
	i.budget_ns = before = 1000;
	i.since_ns = 1;
	idle_busy(&i);
	cr_assert_eq(i.budget_ns, 2 * before, "work came during a spin");
	idle_busy(&i);
	cr_assert_eq(i.budget_ns, 2 * before, "and now without one");
}

Test(idle, gives_way_on_its_own_core)
{
	uint32_t crowded = 0;
	struct idle i;

	idle_init(&i, 3000000000u, &crowded);
	i.woke = i.same = true;
	cr_assert_eq(idle_pass(&i), IDLE_NAP);
	cr_assert_eq(idle_pass(&i), IDLE_SLEEP, "no spin under the eyes of who may still run");
	i.woke = true;
	cr_assert_eq(idle_pass(&i), IDLE_ON, "it runs elsewhere");
	cr_assert_eq(idle_busy(&i), IDLE_ON);
	i.same = true;
	cr_assert_eq(idle_busy(&i), IDLE_NAP, "at once, before it looks for more to tell");
	cr_assert_eq(idle_busy(&i), IDLE_ON, "once");
}

Test(idle, nobody_spins_in_a_crowd)
{
	uint32_t crowded = 1;
	struct idle i;

	idle_init(&i, 3000000000u, &crowded);
	cr_assert_eq(idle_pass(&i), IDLE_SLEEP);
	i.woke = true;
	cr_assert_eq(idle_pass(&i), IDLE_NAP);
}

/* ---- crowd_poll() on files that say what we want ---- */

static void say(struct crowd *c, unsigned runnable)
{
	char text[60];
	int n = snprintf(text, sizeof(text), "0.50 1.00 2.00 %u/345 6789\n", runnable);

	cr_assert_eq(ftruncate(c->fd, 0), 0);
	cr_assert_eq(pwrite(c->fd, text, (size_t)n, 0), n);
}

static void make(struct crowd *c)
{
	char path[] = "/tmp/stk-loadavg-XXXXXX";

	crowd_init(c);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = mkstemp(path);
	cr_assert_geq(c->fd, 0);
	unlink(path);
	c->cpus = 2;
}

Test(crowd, is_more_than_there_are_cpus)
{
	struct crowd c;
	uint64_t t = 1000000;

	make(&c);
	say(&c, 2);
	for (int i = 0; i < 1000; i++, t += 1000)
		cr_assert_not(crowd_poll(&c, t), "two threads, two CPUs");
	say(&c, 4);
	for (int i = 0; i < 100 && !crowd_poll(&c, t); i++, t += 1000)
		;
	cr_assert(crowd_poll(&c, t));
	say(&c, 1);
	for (int i = 0; i < 50; i++, t += 1000)
		cr_assert(crowd_poll(&c, t), "for a while");
	for (int i = 0; i < 1000; i++, t += 1000)
		crowd_poll(&c, t);
	cr_assert_not(crowd_poll(&c, t));
	close(c.fd);
}

Test(crowd, unreadable_is_no_crowd)
{
	struct crowd c;

	make(&c);
	cr_assert_eq(ftruncate(c.fd, 0), 0);
	for (uint64_t t = 1; t < 1000000; t += 1000)
		cr_assert_not(crowd_poll(&c, t));
	close(c.fd);
	c.fd = -1;
	cr_assert_not(crowd_poll(&c, 2000000));
}
