/* SPDX-License-Identifier: MIT */
/* nic/steer.c - which worker a flow belongs to: the C twin of the steering program (steer_bpf.c)
 *
 * Symmetric because only the exclusive-or of the two ends goes in. Both halves of it are spread by
 * odd multipliers before they meet, so that neighbouring addresses and ports do not cancel out; the
 * final rounds make every bit of the result fit for `% n`. 32-bit add, multiply, shift and xor
 * only.
 * Holds:   S1 nic_steer_hash(a, pa, b, pb) == nic_steer_hash(b, pb, a, pa)
 *          S2 equals the program's result for the same frame (tests/unit/nic/test_tap.c)
 * Threads: any
 */
#include "stackd/nic/nic.h"
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
