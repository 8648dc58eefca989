/* SPDX-License-Identifier: MIT */
/* tcp/cookie.c - SYN cookies: a handshake that costs no memory until it is complete
 * When a listener's queue of half-open connections is full, the SYN+ACK's number says all there
 * is to remember: 5 bits of time (64 s each), 3 of the peer's MSS (rounded down to one of eight),
 * 24 of a keyed hash over these, the tuple and the peer's number. With timestamps their low 6 bits
 * hold the peer's window scale, SACK and ECN; without, those options are not agreed.
 * Spec:    RFC 4987 3.6; T4
 * Holds:   a cookie is believed for 64 to 128 s, and only within 128 s of this worker's having sent
 *          some (or of the engine's start), unless cookies are always on
 */
#include <string.h>

#include "stackd/core/siphash.h"
#include "stackd/tcp/tcp_int.h"

#define PERIOD_US	64000000ull
#define RECENT_MS	128000u
#define HASH_BITS	24
#define TS_BITS		6u
#define TS_MASK		((1u << TS_BITS) - 1)
#define TS_WS_NONE	0xfu
#define TS_SACK		(1u << 4)
#define TS_ECN		(1u << 5)

static const uint16_t mss_table[8] = { 88, 536, 1200, 1300, 1400, 1440, 1460, 8960 };

struct msg {
	struct sock_tuple t;
	uint32_t irs, period, mss_idx;
};

static uint32_t hash(struct stack *st, const struct sock_tuple *t, uint32_t irs, uint32_t period,
		     uint32_t mss_idx)
{
	struct msg m;
	const uint64_t key[2] = { st->boot_secret[1], ~st->boot_secret[0] };

	memset(&m, 0, sizeof(m));
	m.t = *t;
	m.irs = irs;
	m.period = period;
	m.mss_idx = mss_idx;
	return (uint32_t)siphash24(key, &m, sizeof(m)) & ((1u << HASH_BITS) - 1);
}

uint32_t cookie_make(struct stack *st, const struct sock_tuple *t, uint32_t irs, uint16_t mss)
{
	uint32_t period = (uint32_t)(st->now_us / PERIOD_US), i = 7;

	while (i && mss_table[i] > mss)
		i--;
	st->tcp->cookie_ms = tcp_ms(st);
	return (period & 31) << 27 | i << HASH_BITS | hash(st, t, irs, period, i);
}

bool cookie_check(struct stack *st, const struct sock_tuple *t, uint32_t irs, uint32_t cookie,
		  uint16_t *ret_mss)
{
	uint32_t now = (uint32_t)(st->now_us / PERIOD_US), i = cookie >> HASH_BITS & 7;
	uint32_t mode = ld_rlx(&st->sys->tcp_syncookies);
	uint32_t age = (now - (cookie >> 27)) & 31;

	if (!mode || (mode == 1 && tcp_ms(st) - st->tcp->cookie_ms > RECENT_MS))
		return false;
	if (age > 1 || hash(st, t, irs, now - age, i) != (cookie & ((1u << HASH_BITS) - 1))) {
		snmp_inc(st, SNMP_TcpExt_SyncookiesFailed);
		return false;
	}
	*ret_mss = mss_table[i];
	return true;
}

/* A timestamp not above @ts whose low bits are the peer's options. */
uint32_t cookie_ts(uint32_t ts, const struct tcp_opts *o, bool ecn)
{
	uint32_t bits = (o->has_ws ? o->wscale : TS_WS_NONE) | (o->sack_ok ? TS_SACK : 0) |
			(ecn ? TS_ECN : 0);
	uint32_t v = (ts & ~TS_MASK) | bits;

	return u32_lt(ts, v) ? v - (1u << TS_BITS) : v;
}

/* What the SYN must have said. Return: was ECN asked for. */
bool cookie_options(uint32_t tsecr, struct tcp_opts *o)
{
	uint32_t ws = tsecr & 0xf;

	o->has_ws = ws != TS_WS_NONE;
	o->wscale = o->has_ws ? (uint8_t)ws : 0;
	o->sack_ok = tsecr & TS_SACK;
	return tsecr & TS_ECN;
}
