/* SPDX-License-Identifier: MIT */
/* nic/claims.c - see claims.h; the table is nic/xdp/claims_abi.h's
 * Holds:   C1 of claims_abi.h
 * Pairs:   cas_sc(rest, BUSY) with the same of other workers; st_rel(rest) with the XDP program's
 *          loads, which may be late by a packet
 * Threads: any worker; ports worker 0
 */
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/nic/claims.h"
#include "stackd/nic/xdp/claims_abi.h"

struct nic_claims *claims_create(const struct sd_addr *addr, uint64_t seed)
{
	struct nic_claims *c = calloc(1, sizeof(*c));
	struct claims *m = calloc(1, sizeof(*m));

	if (!c || !m) {
		free(c);
		free(m);
		return NULL;
	}
	m->addr = addr->w[3];
	m->shared = 1;
	m->seed = seed;
	c->map = m;
	return c;
}

void claims_port(struct nic_claims *c, uint8_t proto, uint16_t port, bool on)
{
	uint64_t *word = &c->port[proto == 17][port >> 6], bit = 1ull << (port & 63);

	*word = on ? *word | bit : *word & ~bit;
	if (!c->adopting)
		st_rel(&c->map->port[proto == 17][port >> 6], *word);
}

static void key_of(uint8_t proto, const struct sd_addr *local, uint16_t lport,
		   const struct sd_addr *remote, uint16_t rport, uint64_t *ret_addrs,
		   uint64_t *ret_key)
{
	*ret_addrs = (uint64_t)remote->w[3] << 32 | local->w[3];
	*ret_key = CLAIMS_PORTS(__builtin_bswap16(rport), __builtin_bswap16(lport)) |
		   CLAIMS_PROTO(proto) | CLAIMS_VALID;
}

static struct claims_flow *find_in(struct claims *m, uint32_t b, uint64_t addrs, uint64_t key)
{
	for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
		struct claims_flow *f = &m->flow[b][i];

		if ((ld_acq(&f->rest) & CLAIMS_KEY) == key && ld_rlx(&f->addrs) == addrs)
			return f;
	}
	return NULL;
}

static struct claims_flow *find(struct claims *m, uint64_t addrs, uint64_t key)
{
	uint64_t h = claims_hash(m->seed, addrs, key);
	struct claims_flow *f = find_in(m, CLAIMS_FIRST(h), addrs, key);

	return f ? f : find_in(m, CLAIMS_SECOND(h), addrs, key);
}

static unsigned used_in(struct claims *m, uint32_t b)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < CLAIMS_WAYS; i++)
		n += ld_rlx(&m->flow[b][i].rest) != 0;
	return n;
}

static bool put_in(struct claims *m, uint32_t b, uint64_t addrs, uint64_t rest)
{
	for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
		struct claims_flow *f = &m->flow[b][i];
		__u64 none = 0;

		if (ld_rlx(&f->rest) || !cas_sc(&f->rest, &none, CLAIMS_BUSY))
			continue;
		st_rlx(&f->addrs, addrs);
		st_rel(&f->rest, rest);
		return true;
	}
	return false;
}

static bool v4_pair(const struct sd_addr *a, const struct sd_addr *b)
{
	return sd_addr_is_v4(a) && sd_addr_is_v4(b);
}

void claims_flow_add(struct nic_claims *c, uint8_t proto, const struct sd_addr *local,
		     uint16_t lport, const struct sd_addr *remote, uint16_t rport)
{
	struct claims_flow *f;
	uint64_t addrs, key, h;
	uint32_t b, other;

	if (!v4_pair(local, remote))
		return;
	key_of(proto, local, lport, remote, rport, &addrs, &key);
	f = find(c->map, addrs, key);
	if (f) {			/* an earlier engine's */
		st_rel(&f->rest, key | CLAIMS_GEN(c->gen));
		return;
	}
	h = claims_hash(c->map->seed, addrs, key);
	b = CLAIMS_FIRST(h);
	other = CLAIMS_SECOND(h);
	if (used_in(c->map, other) < used_in(c->map, b)) {
		uint32_t t = b;

		b = other;
		other = t;
	}
	if (!put_in(c->map, b, addrs, key | CLAIMS_GEN(c->gen)) &&
	    !put_in(c->map, other, addrs, key | CLAIMS_GEN(c->gen)))
		add_sc(&c->full, 1);
}

void claims_flow_del(struct nic_claims *c, uint8_t proto, const struct sd_addr *local,
		     uint16_t lport, const struct sd_addr *remote, uint16_t rport)
{
	struct claims_flow *f;
	uint64_t addrs, key;

	if (!v4_pair(local, remote))
		return;
	key_of(proto, local, lport, remote, rport, &addrs, &key);
	f = find(c->map, addrs, key);
	if (f)
		st_rel(&f->rest, 0);
}

/* Every entry that is there gets the new generation, or goes at the end. */
void claims_adopt_begin(struct nic_claims *c)
{
	uint16_t newest = 0;

	for (uint32_t b = 0; b < CLAIMS_BUCKETS; b++) {
		for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
			uint64_t rest = c->map->flow[b][i].rest;

			if (!(rest & CLAIMS_VALID))
				c->map->flow[b][i].rest = 0;	/* killed while it wrote */
			else if (rest >> 48 > newest)
				newest = (uint16_t)(rest >> 48);
		}
	}
	c->gen = (uint16_t)(newest + 1);
	if (c->gen == 0)
		c->gen = 1;
	c->adopting = true;
}

void claims_adopt_end(struct nic_claims *c)
{
	for (uint32_t b = 0; b < CLAIMS_BUCKETS; b++) {
		for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
			if (c->map->flow[b][i].rest >> 48 != c->gen)
				st_rel(&c->map->flow[b][i].rest, 0);
		}
	}
	for (uint32_t i = 0; i < 1024; i++) {
		st_rel(&c->map->port[0][i], c->port[0][i]);
		st_rel(&c->map->port[1][i], c->port[1][i]);
	}
	c->adopting = false;
}
