/* SPDX-License-Identifier: MIT */
/* nic/steer.c - which worker a flow belongs to: the C twin of the steering program (steer_bpf.c),
 * and of a card's receive-side scaling
 *
 * Symmetric because only the exclusive-or of the two ends goes in. Both halves of it are spread by
 * odd multipliers before they meet, so that neighbouring addresses and ports do not cancel out; the
 * final rounds make every bit of the result fit for `% n`. 32-bit add, multiply, shift and xor
 * only.
 * Holds:   S1 nic_steer_hash(a, pa, b, pb) == nic_steer_hash(b, pb, a, pa)
 *          S2 equals the program's result for the same frame (tests/unit/nic/test_tap.c)
 * Threads: any
 */
#include <netinet/in.h>

#include "stackd/nic/steer.h"
#include "stackd/nic/steer_int.h"

uint32_t nic_steer_hash(const struct sd_addr *a, uint16_t aport, const struct sd_addr *b,
			uint16_t bport)
{
	uint32_t x = 0, h;

	/* The words of a v4-mapped prefix cancel out: a v4 pair gives a ^ b. */
	for (int i = 0; i < 4; i++)
		x ^= __builtin_bswap32(a->w[i] ^ b->w[i]);
	h = x * STEER_MUL_ADDR ^ (uint32_t)(aport ^ bport) * STEER_MUL_PORT;
	h ^= h >> STEER_SHIFT;
	h *= STEER_MUL_MIX;
	h ^= h >> STEER_SHIFT;
	return h;
}

/* ---- receive-side scaling ---- */

void nic_steer_init(struct nic_steer *s, uint32_t turn, const struct nic_rss *rss)
{
	ASSERT(rss->indir_len && rss->indir_len <= NIC_RSS_INDIR &&
	       !(rss->indir_len & (rss->indir_len - 1)));
	s->turn = turn;
	toeplitz_init(&s->tt, rss->key);
	s->indir_len = rss->indir_len;
	memcpy(s->fields, rss->fields, sizeof(s->fields));
	for (unsigned i = 0; i < rss->indir_len; i++)
		s->worker[i] = (uint8_t)rss->indir[i];
}

static uint8_t fields_of(const struct nic_steer *s, uint8_t proto, const struct sd_addr *src)
{
	if (sd_addr_is_v4(src))
		return s->fields[proto == IPPROTO_UDP ? NIC_FLOW_UDP4 : NIC_FLOW_TCP4];
	return s->fields[proto == IPPROTO_UDP ? NIC_FLOW_UDP6 : NIC_FLOW_TCP6];
}

static bool has_ports(uint8_t fields) { return fields & (NIC_HASH_SPORT | NIC_HASH_DPORT); }

uint16_t nic_flow_worker(const struct stack *st, uint8_t proto, const struct sd_addr *src,
			 uint16_t sport, const struct sd_addr *dst, uint16_t dport)
{
	const struct nic_steer *s = st->steer;
	uint8_t f;

	if (st->workers <= 1)
		return 0;
	if (!s)
		return (uint16_t)(nic_steer_hash(src, sport, dst, dport) % st->workers);
	f = fields_of(s, proto, src);
	if (!f)
		return 0;
	return s->worker[toeplitz_flow(&s->tt, src, dst, has_ports(f), sport, dport) &
			 (s->indir_len - 1u)];
}

unsigned nic_steer_class(const struct nic_steer *s, uint8_t proto, const struct sd_addr *src,
			 uint16_t sport, const struct sd_addr *dst)
{
	uint8_t f = fields_of(s, proto, src);

	return f ? toeplitz_flow(&s->tt, src, dst, has_ports(f), sport, 0) & (s->indir_len - 1u) :
		   0;
}

void nic_steer_dports(const struct nic_steer *s, uint8_t proto, const struct sd_addr *src,
		      uint16_t sport, const struct sd_addr *dst, uint16_t workers,
		      uint64_t (*bits)[65536 / 64])
{
	unsigned c = nic_steer_class(s, proto, src, sport, dst);
	uint8_t f = fields_of(s, proto, src), w;
	bool v4 = sd_addr_is_v4(src);

	memset(bits, 0, workers * sizeof(*bits));
	for (uint32_t port = 0; port < 65536; port++) {
		uint32_t add = has_ports(f) ? toeplitz_dport(&s->tt, v4, (uint16_t)port) : 0;

		w = f ? s->worker[(c ^ add) & (s->indir_len - 1u)] : 0;
		if (w < workers)
			bits[w][port / 64] |= 1ull << port % 64;
	}
}
