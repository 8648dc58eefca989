/* SPDX-License-Identifier: MIT */
/* sock/ports.c - which local port a socket gets when the program does not say
 * Spec:    H3; RFC 6056 section 3.3.4 (double-hash selection); ip(7) ip_local_port_range
 *
 * connect(): the search starts at an offset that is a keyed hash of source, destination and
 * destination port plus a counter that successful searches push on, so ports towards one peer
 * neither repeat soon nor tell anything about ports towards another. Even ports of the range first,
 * as Linux, which leaves the odd ones to bind(). A port is taken when the whole tuple is free and
 * no explicit bind() holds it. The first two rounds take only ports whose replies the device gives
 * to the wanted worker (one in `workers`); the last two take any: a connection on the wrong worker
 * works, only less well. bind(0): a random start, odd ports first, and no sharing at all.
 * Threads: worker 0
 */
#include "stackd/core/rng.h"
#include "stackd/core/siphash.h"
#include "stackd/sock/sock_int.h"

/* Number of ports searched, even so that parity survives the wrap. */
static uint32_t range_len(const struct sysctl *s)
{
	uint32_t lo = ld_rlx(&s->ip_local_port_range[0]), hi = ld_rlx(&s->ip_local_port_range[1]);
	uint32_t n = lo <= hi ? hi - lo + 1 : 1;

	return n > 1 ? n & ~1u : 1;
}

uint16_t port_worker(struct stack *st, const struct sock_tuple *t)
{
	if (st->workers == 1)
		return 0;
	return (uint16_t)(nic_steer_hash(&t->laddr, t->lport, &t->raddr, t->rport) % st->workers);
}

uint16_t port_for_bind(struct stack *st, struct sock_bound *n)
{
	const struct sysctl *s = st->sys;
	uint32_t len = range_len(s), off = rng_below(st->rng_state, len) | (len > 1);

	for (unsigned parity = 0; parity < 2; parity++) {
		for (uint32_t i = parity; i < len; i += 2) {
			n->t.lport = (uint16_t)(s->ip_local_port_range[0] + (off + i) % len);
			if (!btab_conflict(st, n, 0, true))
				return n->t.lport;
		}
	}
	return n->t.lport = 0;
}

static bool tuple_free(struct stack *st, const struct sock_tuple *t)
{
	return !btab_explicit(st, IPPROTO_TCP, t->lport) && !etab_find(st, &st->sock->conn, t);
}

/* One round over the ports of one parity. */
static uint16_t round_for(struct stack *st, struct sock_tuple *t, uint32_t off, unsigned parity,
			  int wanted, uint32_t *ret_steps)
{
	const struct sysctl *s = st->sys;
	uint32_t len = range_len(s);

	for (uint32_t i = parity; i < len; i += 2) {
		t->lport = (uint16_t)(s->ip_local_port_range[0] + (off + i) % len);
		if (wanted >= 0 && port_worker(st, t) != wanted)
			continue;
		if (tuple_free(st, t)) {
			*ret_steps = i + 2;
			return t->lport;
		}
	}
	return 0;
}

uint16_t port_for_connect(struct stack *st, const struct sock_tuple *want, uint16_t wanted)
{
	struct sock_state *s = st->sock;
	struct sock_tuple t = *want;
	uint64_t h;
	uint32_t off, steps = 0;
	uint16_t *turn, port = 0;

	t.lport = 0;
	h = siphash24(st->boot_secret, &t, sizeof(t));
	turn = &s->perturb[h >> 32 & (SOCK_PERTURB - 1)];
	off = ((uint32_t)h + *turn) & ~1u;
	off %= range_len(st->sys);
	for (unsigned round = 0; round < 4 && !port; round++) {
		bool steered = round < 2;

		if (steered && st->workers == 1)
			continue;
		port = round_for(st, &t, off, round & 1, steered ? wanted : -1, &steps);
	}
	*turn = (uint16_t)(*turn + steps);
	return port;
}

int sock_set_port_range(struct stack *st, uint16_t lo, uint16_t hi)
{
	if (!lo || lo > hi)
		return -EINVAL;
	st_rlx(&st->sys->ip_local_port_range[0], lo);
	st_rlx(&st->sys->ip_local_port_range[1], hi);
	return 0;
}
