/* SPDX-License-Identifier: MIT */
/* sock/ports.c - which local port a socket gets when the program does not say
 * Spec:    H3; RFC 6056 section 3.3.4 (double-hash selection); ip(7) ip_local_port_range,
 *          ip_local_reserved_ports, IP_LOCAL_PORT_RANGE
 *
 * connect(): the search starts at an offset that is a keyed hash of source, destination and
 * destination port plus a counter that successful searches push on, so ports towards one peer
 * neither repeat soon nor tell anything about ports towards another. Even ports of the range first,
 * as Linux, which leaves the odd ones to bind(). A port is taken when the whole tuple is free and
 * no explicit bind() holds it. The first two rounds take only ports whose replies the device gives
 * to the wanted worker (one in `workers`); the last two take any: a connection on the wrong worker
 * works, only less well. Ports in use towards the destination (dests.c) and, where a card steers,
 * those of other workers (dports.c) are passed over 64 at a time, so the last free one costs little
 * more than the first. Where our own function steers, ports are tried; when TRIES in a row are
 * other workers' the wanted one has next to none left. Now and then a port is left out, so that who
 * sees some of the ports of one peer cannot count the others.
 * bind(0): a random start, odd ports first, and no sharing at all.
 * Threads: worker 0
 */
#include <stdlib.h>

#include "stackd/core/rng.h"
#include "stackd/core/siphash.h"
#include "stackd/nic/steer.h"
#include "stackd/sock/sock_int.h"

#define TRIES	64u		/* times workers: all in vain by chance, once in e^64 */
#define NOISE	16u

struct range { uint32_t lo, len; };

/* Ports searched: of all, an even number, as Linux; of the socket's own range each end counts that
 * is inside the common one. */
static struct range range_of(struct stack *st, struct sock_id id)
{
	uint32_t lo = ld_rlx(&st->sys->ip_local_port_range[0]), own_lo, own_hi, n;
	uint32_t hi = ld_rlx(&st->sys->ip_local_port_range[1]);
	const struct sd_slot_p *sp = sock_slot_p(st, id);
	uint32_t own = sp ? ld_rlx(&sp->port_range) : 0;

	own_lo = own & 0xffff;
	own_hi = own >> 16;
	if (own_lo >= lo && own_lo <= hi)
		lo = own_lo;
	if (own_hi >= lo && own_hi <= hi)
		hi = own_hi;
	n = lo <= hi ? hi - lo + 1 : 1;
	return (struct range){ lo, n > 1 && !own ? n & ~1u : n };
}

/* ---- net.ipv4.ip_local_reserved_ports ---- */

static void reserve(struct sock_state *s, unsigned long a, unsigned long b)
{
	for (; a <= b && a < 65536; a++)
		s->reserved[a / 64] |= 1ull << a % 64;
}

/* "8080,9000-9010": checked when it was set. */
static void reserved_parse(struct sock_state *s)
{
	const char *p = s->reserved_text;
	unsigned long a, b;
	char *end;

	memset(s->reserved, 0, sizeof(s->reserved));
	while (*p) {
		a = b = strtoul(p, &end, 10);
		if (end == p)
			return;
		if (*end == '-')
			b = strtoul(end + 1, &end, 10);
		reserve(s, a, b);
		p = *end ? end + 1 : end;
	}
}

static void reserved_refresh(struct stack *st)
{
	struct sock_state *s = st->sock;

	if (!strncmp(s->reserved_text, st->sys->ip_local_reserved_ports, sizeof(s->reserved_text)))
		return;
	memcpy(s->reserved_text, st->sys->ip_local_reserved_ports, sizeof(s->reserved_text));
	s->reserved_text[sizeof(s->reserved_text) - 1] = 0;
	reserved_parse(s);
}

static bool reserved(const struct sock_state *s, uint32_t port)
{
	return s->reserved[port / 64] >> port % 64 & 1;
}

uint16_t port_worker(struct stack *st, uint8_t proto, const struct sock_tuple *t)
{
	return nic_flow_worker(st, proto, &t->raddr, t->rport, &t->laddr, t->lport);
}

uint16_t port_for_bind(struct stack *st, struct sock_bound *n)
{
	struct range r = range_of(st, n->id);
	uint32_t off = rng_below(st->rng_state, r.len) | (r.len > 1);

	reserved_refresh(st);
	for (unsigned parity = 0; parity < 2; parity++) {
		for (uint32_t i = parity; i < r.len; i += 2) {
			n->t.lport = (uint16_t)(r.lo + (off + i) % r.len);
			if (!reserved(st->sock, n->t.lport) && btab_take(st, n, 0, true))
				return n->t.lport;
		}
	}
	return n->t.lport = 0;
}

/* ---- connect() ---- */

static bool tuple_free(struct stack *st, const struct sock_tuple *t)
{
	return !reserved(st->sock, t->lport) && !btab_explicit(st, IPPROTO_TCP, t->lport) &&
	       !etab_find(st, &st->sock->conn, t);
}

struct search {
	struct sock_tuple t;
	const uint64_t *used;		/* ports in use towards the destination; NULL: not known */
	const uint64_t *mine;		/* the wanted worker's; NULL: not known, or any does */
	int wanted;			/* worker to be tried for, -1 = any */
	uint32_t tries;			/* left */
};

/* The next port from @at up to @end (not included) that may do, in steps of two. */
static uint32_t skip(const struct search *s, uint32_t at, uint32_t end)
{
	uint64_t parity = at & 1 ? 0xaaaaaaaaaaaaaaaaull : 0x5555555555555555ull, w;

	for (; (s->used || s->mine) && at < end; at = (at & ~63u) + 64 + (at & 1)) {
		w = parity & ~0ull << at % 64;
		if (s->used)
			w &= ~s->used[at / 64];
		if (s->mine)
			w &= s->mine[at / 64];
		if (w)
			return (at & ~63u) + (uint32_t)__builtin_ctzll(w);
	}
	return at;
}

static bool suits(struct stack *st, struct search *s)
{
	if (s->wanted < 0 || port_worker(st, IPPROTO_TCP, &s->t) == s->wanted)
		return tuple_free(st, &s->t);
	s->tries--;
	return false;
}

static bool search_part(struct stack *st, struct search *s, uint32_t at, uint32_t end)
{
	for (; s->tries && (at = skip(s, at, end)) < end; at += 2) {
		s->t.lport = (uint16_t)at;
		if (suits(st, s))
			return true;
	}
	return false;
}

/* One round over the ports of one parity. Return: 0 = none. */
static uint16_t round_for(struct stack *st, struct search *s, const struct range *r, uint32_t off,
			  uint32_t *ret_steps)
{
	uint32_t from = r->lo + off, end = r->lo + r->len;

	if (!search_part(st, s, from, end) && !search_part(st, s, r->lo + (off & 1), from))
		return 0;
	*ret_steps = (s->t.lport - from + r->len) % r->len + 2;
	return s->t.lport;
}

/* Rounds 0 and 1, for the wanted worker; 2 and 3, any: even ports, then odd ones. */
static uint16_t search_rounds(struct stack *st, struct search *s, const struct range *r,
			      uint32_t off, uint16_t wanted, uint32_t *ret_steps)
{
	uint16_t port = 0;

	for (unsigned round = st->workers == 1 ? 2 : 0; round < 4 && !port; round++) {
		if (round < 2) {
			s->mine = dports_of(st, &s->t, wanted);
			s->wanted = s->mine ? -1 : wanted;
		} else {
			s->mine = NULL;
			s->wanted = -1;
		}
		s->tries = TRIES * st->workers;
		if (!(round & 1))
			port = round_for(st, s, r, off, ret_steps);
		else if (r->len > 1)
			port = round_for(st, s, r, off + 1 < r->len ? off + 1 : 1, ret_steps);
	}
	return port;
}

uint16_t port_for_connect(struct stack *st, struct sock_id id, const struct sock_tuple *want,
			  uint16_t wanted)
{
	struct search s = { .t = *want };
	struct range r = range_of(st, id);
	uint64_t h;
	uint32_t off, steps = 0;
	uint16_t *turn, port;

	reserved_refresh(st);
	s.t.lport = 0;
	s.used = dests_used(st, &s.t);
	h = siphash24(st->boot_secret, &s.t, sizeof(s.t));
	turn = &st->sock->perturb[h >> 32 & (SOCK_PERTURB - 1)];
	off = (((uint32_t)h + *turn) % r.len) & ~1u;
	port = search_rounds(st, &s, &r, off, wanted, &steps);
	if (rng_below(st->rng_state, NOISE) == 0)
		steps += 2;
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
