/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_wheel.c - the wheel against a model that scans an array */
#include <criterion/criterion.h>
#include <string.h>

#include "stackd/core/rng.h"
#include "stackd/core/wheel.h"

#define N	200
#define ID(i)	(3u << 28 | (i))

struct model {
	struct wheel *w;
	struct wheel_node node[N + 1];
	uint64_t due_us[N + 1];		/* 0 = not armed */
	uint64_t now_us, prev_us;
	unsigned fired;
	uint32_t rearm;			/* the fire callback re-arms this one */
};

static struct wheel_node *node(void *arg, uint32_t id)
{
	return &((struct model *)arg)->node[id & 0xfffffff];
}

static void fire(void *arg, uint32_t id)
{
	struct model *m = arg;
	uint32_t i = id & 0xfffffff;

	cr_assert(m->due_us[i] != 0, "fired while not armed");
	cr_assert(m->due_us[i] <= m->now_us, "never early");
	cr_assert(!wheel_armed(&m->node[i]));
	m->due_us[i] = 0;
	m->fired++;
	if (m->rearm == i) {
		m->due_us[i] = m->now_us + 5000;
		wheel_arm(m->w, id, &m->node[i], m->due_us[i]);
	}
}

static void start(struct model *m, uint64_t now_us)
{
	memset(m, 0, sizeof(*m));
	m->now_us = now_us;
	cr_assert_eq(wheel_create(now_us, &m->w), 0);
	wheel_set_ops(m->w, 3, &(struct wheel_ops){ node, fire, m });
}

static void arm(struct model *m, uint32_t i, uint64_t due_us)
{
	m->due_us[i] = due_us ? due_us : 1;
	wheel_arm(m->w, ID(i), &m->node[i], m->due_us[i]);
}

static uint64_t model_first(const struct model *m)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 1; i <= N; i++)
		if (m->due_us[i] && m->due_us[i] < best)
			best = m->due_us[i];
	return best;
}

static void advance(struct model *m, uint64_t to_us)
{
	uint64_t prev_tick = m->now_us / WHEEL_TICK_US;

	m->now_us = to_us;
	wheel_advance(m->w, to_us);
	for (unsigned i = 1; i <= N; i++)
		if (m->due_us[i])
			cr_assert(m->due_us[i] + WHEEL_TICK_US > to_us ||
				  to_us / WHEEL_TICK_US == prev_tick,
				  "late: due %lu now %lu", m->due_us[i], to_us);
}

static uint64_t some_dist(uint64_t s[2])
{
	static const unsigned bits[] = { 4, 7, 10, 14, 18, 22, 26, 30, 35, 38 };

	return rng_u64(s) & ((1ull << bits[rng_below(s, 10)]) - 1);
}

Test(wheel, random_against_model)
{
	static const uint64_t starts[] = { 0, 12345678, 0xfffffff0ull * WHEEL_TICK_US,
					   0x1fffffff0ull * WHEEL_TICK_US };

	for (unsigned r = 0; r < 4; r++) {
		uint64_t s[2];
		struct model m;

		rng_seed(s, 100 + r);
		start(&m, starts[r]);
		for (unsigned step = 0; step < 60000; step++) {
			uint32_t i = 1 + rng_below(s, N), op = rng_below(s, 10), cnt = 0;

			if (op < 5) {
				arm(&m, i, m.now_us + some_dist(s));
			} else if (op < 7) {
				wheel_cancel(m.w, ID(i), &m.node[i]);
				m.due_us[i] = 0;
			} else if (op < 9) {
				advance(&m, m.now_us + rng_below(s, 20000));
			} else {
				uint64_t next = wheel_next_us(m.w), first = model_first(&m);

				cr_assert(next == UINT64_MAX ? first == UINT64_MAX :
					  next < first + 2 * WHEEL_TICK_US ||
					  next <= m.now_us + 2 * WHEEL_TICK_US);
				if (next != UINT64_MAX)
					advance(&m, next > m.now_us ? next : m.now_us);
			}
			for (unsigned k = 1; k <= N; k++)
				cnt += m.due_us[k] != 0;
			cr_assert_eq(wheel_cnt(m.w), cnt);
		}
		cr_assert(m.fired > 1000);
		wheel_destroy(m.w);
	}
}

Test(wheel, far_timer_is_exact_over_six_days)
{
	struct model m;
	uint64_t due = WHEEL_MAX_US - 1000;

	start(&m, 777);
	arm(&m, 1, due);
	for (unsigned hops = 0; m.due_us[1]; hops++) {
		uint64_t next = wheel_next_us(m.w);

		cr_assert(next <= due && hops < 10, "few hops, never past it");
		advance(&m, next);
	}
	cr_assert_eq(m.now_us, due);
	cr_assert_eq(wheel_next_us(m.w), UINT64_MAX);
	wheel_destroy(m.w);
}

Test(wheel, rearmed_by_its_own_fire)
{
	struct model m;

	start(&m, 0);
	m.rearm = 7;
	arm(&m, 7, 1130);
	advance(&m, 1249);
	cr_assert_eq(m.fired, 0);
	advance(&m, 1250);
	cr_assert_eq(m.fired, 1);
	cr_assert(wheel_armed(&m.node[7]));
	advance(&m, 6249);
	cr_assert_eq(m.fired, 1);
	advance(&m, 6250);
	cr_assert_eq(m.fired, 2);
	wheel_destroy(m.w);
}

Test(wheel, past_expiry_fires_in_the_next_tick)
{
	struct model m;

	start(&m, 5000000);
	arm(&m, 1, 10);
	cr_assert_eq(wheel_advance(m.w, 5000124), 0);
	advance(&m, 5000125);
	cr_assert_eq(m.fired, 1);
	wheel_destroy(m.w);
}
