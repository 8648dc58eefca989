/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_claims.c - what the XDP program finds, against what was claimed */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "stackd/core/rng.h"
#include "stackd/nic/claims.h"
#include "stackd/nic/xdp/claims_abi.h"

#define FLOWS	40000u

struct flow { struct sd_addr remote; uint16_t rport, lport; bool on; };

static struct sd_addr addr4(uint32_t a)
{
	return sd_addr_v4((be32){ __builtin_bswap32(a) });
}

static struct nic_claims *fresh(void)
{
	struct nic_claims *c = calloc(1, sizeof(*c));

	c->map = calloc(1, sizeof(*c->map));
	c->map->seed = 0x1234567890abcdefull;
	c->gen = 1;
	return c;
}

static void drop(struct nic_claims *c)
{
	free(c->map);
	free(c);
}

/* As the program looks a packet's tuple up. */
static bool seen(const struct nic_claims *c, const struct flow *f)
{
	uint64_t addrs = (uint64_t)f->remote.w[3] << 32 | addr4(0xc0000202).w[3];
	uint64_t key = CLAIMS_PORTS(__builtin_bswap16(f->rport), __builtin_bswap16(f->lport)) |
		       CLAIMS_PROTO(6) | CLAIMS_VALID;
	uint64_t h = claims_hash(c->map->seed, addrs, key);

	for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
		const struct claims_flow *a = &c->map->flow[CLAIMS_FIRST(h)][i];
		const struct claims_flow *b = &c->map->flow[CLAIMS_SECOND(h)][i];

		if (((a->rest & CLAIMS_KEY) == key && a->addrs == addrs) ||
		    ((b->rest & CLAIMS_KEY) == key && b->addrs == addrs))
			return true;
	}
	return false;
}

static void claim(struct nic_claims *c, struct flow *f, bool on)
{
	struct sd_addr local = addr4(0xc0000202);

	(on ? claims_flow_add : claims_flow_del)(c, 6, &local, f->lport, &f->remote, f->rport);
	f->on = on;
}

static struct flow *make_flows(void)
{
	struct flow *f = calloc(FLOWS, sizeof(*f));
	uint64_t rng[2];

	rng_seed(rng, 5);
	for (uint32_t i = 0; i < FLOWS; i++)
		f[i] = (struct flow){ addr4(0xc6336400 + rng_below(rng, 4)),
				      (uint16_t)(1 + i), (uint16_t)(1 + rng_below(rng, 50000)),
				      false };
	return f;
}

Test(claims, connections_come_and_go, .timeout = 10)
{
	struct nic_claims *c = fresh();
	struct flow *f = make_flows();
	uint64_t rng[2];

	rng_seed(rng, 6);
	for (uint32_t i = 0; i < FLOWS; i++)
		claim(c, &f[i], true);
	cr_assert_eq(c->full, 0, "a third of the table is no problem");
	for (uint32_t i = 0; i < 3 * FLOWS; i++)
		claim(c, &f[rng_below(rng, FLOWS)], rng_below(rng, 2));
	for (uint32_t i = 0; i < FLOWS; i++)
		cr_assert_eq(seen(c, &f[i]), f[i].on, "flow %u", i);
	for (uint32_t i = 0; i < FLOWS; i++)
		claim(c, &f[i], false);
	for (uint32_t i = 0; i < CLAIMS_BUCKETS * CLAIMS_WAYS; i++)
		cr_assert_eq(c->map->flow[i / CLAIMS_WAYS][i % CLAIMS_WAYS].rest, 0, "left");
	free(f);
	drop(c);
}

Test(claims, full_is_counted, .timeout = 10)
{
	struct nic_claims *c = fresh();
	uint32_t i, all = CLAIMS_BUCKETS * CLAIMS_WAYS;

	for (i = 0; i < all + 100; i++) {
		struct flow f = { addr4(0xc6336400 + i / 60000), (uint16_t)(i % 60000 + 1), 9, 0 };

		claim(c, &f, true);
	}
	cr_assert_geq(c->full, 100);
	cr_assert_lt(c->full, all / 20, "two choices fill the table well");
	drop(c);
}

Test(claims, adoption_keeps_what_is_claimed_again, .timeout = 10)
{
	struct nic_claims *c = fresh(), *next = calloc(1, sizeof(*next));
	struct flow *f = make_flows();

	for (uint32_t i = 0; i < FLOWS; i++)
		claim(c, &f[i], true);
	claims_port(c, 6, 80, true);
	claims_port(c, 17, 53, true);
	claims_port(c, 6, 443, true);
	c->map->flow[7][3].rest = CLAIMS_BUSY;		/* killed there */
	next->map = c->map;
	claims_adopt_begin(next);
	cr_assert_eq(next->gen, 2);
	for (uint32_t i = 0; i < FLOWS; i++) {
		cr_assert(seen(next, &f[i]), "nothing goes before the end");
		if (i % 3)
			claim(next, &f[i], true);
	}
	claims_port(next, 6, 80, true);
	cr_assert(c->map->port[0][443 >> 6] >> (443 & 63) & 1);
	claims_adopt_end(next);
	for (uint32_t i = 0; i < FLOWS; i++)
		cr_assert_eq(seen(next, &f[i]), i % 3 != 0);
	cr_assert_eq(c->map->port[0][80 >> 6], 1ull << (80 & 63));
	cr_assert_eq(c->map->port[0][443 >> 6], 0);
	cr_assert_eq(c->map->port[1][0], 0);
	claims_port(next, 6, 80, false);
	cr_assert_eq(c->map->port[0][80 >> 6], 0);
	free(f);
	free(next);
	drop(c);
}
