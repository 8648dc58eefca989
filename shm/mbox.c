/* SPDX-License-Identifier: MIT */
/* shm/mbox.c - bitmap mailboxes and the subscriptions that post to them
 * Three levels: leaf words hold the bits, mid words say which leaf words may be set, top words which
 * mid words. A poster sets leaf, mid, top; the consumer clears top, mid, leaf. So a poster that finds
 * a summary bit set may leave it: whoever clears that bit looks at the level below afterwards. The
 * leaf is always written by a read-modify-write, which orders what was published in the slot before
 * it with what the consumer reads of the slot after it took the bit.
 * A summary without a bit below it is harmless; a bit without its summary exists only between two
 * instructions of its poster.
 * Pairs:   or_sc(leaf) with xchg_sc(leaf); or_sc(top) then ld_sc(sleeping) with
 *          cas_sc(sleeping = ASLEEP) then ld_sc(top): at least one side sees the other
 * Holds:   M1 a post to a mailbox whose consumer sleeps or is about to returns true to one poster
 *          M2 no set bit is passed over for ever: a take that ran out of room is resumed behind
 * Threads: post any; the rest the one consumer (its callers' lock); subscriptions under sub_lock
 */
#include <errno.h>
#include <string.h>

#include "shm/lock.h"
#include "shm/mbox.h"

#define LEAF_WORDS	(SD_MBOX_BITS / 64)
#define GROUPS		(LEAF_WORDS / 64)	/* mid words */

/* ---- posting ---- */

static void set_summaries(struct sd_mbox *mb, uint32_t leaf)
{
	uint64_t m = 1ull << leaf % 64, t = 1ull << leaf / 64 % 64;

	if (!(ld_sc(&mb->mid[leaf / 64]) & m))
		or_sc(&mb->mid[leaf / 64], m);
	if (!(ld_sc(&mb->top[leaf / 64 / 64]) & t))
		or_sc(&mb->top[leaf / 64 / 64], t);
}

bool shm_mbox_post(struct sd_mbox *mb, uint32_t bit)
{
	uint32_t state = SD_MBOX_ASLEEP;

	if (bit >= SD_MBOX_BITS)
		return false;
	or_sc(&mb->leaf[bit / 64], 1ull << bit % 64);	/* pairs with xchg_sc in take_leaf() */
	set_summaries(mb, bit / 64);
	/* pairs with cas_sc(sleeping) then ld_sc(top) in shm_mbox_sleep() */
	switch (ld_sc(&mb->sleeping)) {
	case SD_MBOX_ARMED:
		return true;
	case SD_MBOX_ASLEEP:
		return cas_sc(&mb->sleeping, &state, SD_MBOX_AWAKE);
	default:
		return false;
	}
}

/* ---- consuming ---- */

/* A take under way. */
struct take {
	struct sd_mbox *mb;
	uint32_t *bits;
	unsigned cnt, max;
};

/* Store bits of leaf word @w. Return: those that found no room. */
static uint64_t emit(struct take *t, uint32_t w, uint64_t bits)
{
	for (; bits && t->cnt < t->max; bits &= bits - 1)
		t->bits[t->cnt++] = w * 64 + (uint32_t)__builtin_ctzll(bits);
	return bits;
}

/* Take leaf word @w, bits from @first on before those below it. Return: false when out of room. */
static bool take_leaf(struct take *t, uint32_t w, unsigned first)
{
	uint64_t low = (1ull << first) - 1, all, rest;

	and_sc(&t->mb->mid[w / 64], ~(1ull << w % 64));
	all = xchg_sc(&t->mb->leaf[w], 0);		/* pairs with or_sc in shm_mbox_post() */
	rest = emit(t, w, all & ~low);
	rest |= emit(t, w, all & low);
	if (rest) {
		or_sc(&t->mb->leaf[w], rest);
		set_summaries(t->mb, w);
	}
	if (t->cnt == t->max) {
		t->mb->cursor = t->cnt ? (t->bits[t->cnt - 1] + 1) % SD_MBOX_BITS : 0;
		return false;
	}
	return true;
}

/* Take leaf words [@lo, @hi) of one group (lo < hi, both within it; hi may be its end). */
static bool take_group(struct take *t, uint32_t lo, uint32_t hi, unsigned first)
{
	struct sd_mbox *mb = t->mb;
	uint32_t g = lo / 64, w;
	uint64_t range = ~0ull << lo % 64, mid;
	bool room = true;

	if (hi % 64)
		range &= (1ull << hi % 64) - 1;
	and_sc(&mb->top[g / 64], ~(1ull << g % 64));
	mid = ld_sc(&mb->mid[g]) & range;
	for (; mid && room; mid &= mid - 1) {
		w = g * 64 + (uint32_t)__builtin_ctzll(mid);
		room = take_leaf(t, w, w == lo ? first : 0);
	}
	if (ld_sc(&mb->mid[g]))
		or_sc(&mb->top[g / 64], 1ull << g % 64);
	return room;
}

/* Take leaf words [@lo, @hi); @first as in take_leaf(), for @lo. */
static bool take_range(struct take *t, uint32_t lo, uint32_t hi, unsigned first)
{
	uint32_t g, end;
	uint64_t top;

	while (lo < hi) {
		g = lo / 64;
		top = ld_sc(&t->mb->top[g / 64]) & ~0ull << g % 64;
		if (!top) {
			lo = (g / 64 + 1) * 64 * 64;
			continue;
		}
		if ((uint32_t)__builtin_ctzll(top) != g % 64) {
			g = g / 64 * 64 + (uint32_t)__builtin_ctzll(top);
			lo = g * 64;
			if (lo >= hi)
				break;
		}
		end = (g + 1) * 64 < hi ? (g + 1) * 64 : hi;
		if (!take_group(t, lo, end, first))
			return false;
		first = 0;
		lo = end;
	}
	return true;
}

unsigned shm_mbox_take(struct sd_mbox *mb, uint32_t *bits, unsigned max)
{
	struct take t = { .mb = mb, .bits = bits, .max = max };
	uint32_t start = mb->cursor % SD_MBOX_BITS;

	if (max && take_range(&t, start / 64, LEAF_WORDS, start % 64) &&
	    (!start || take_range(&t, 0, start / 64, 0)))
		mb->cursor = 0;
	return t.cnt;
}

bool shm_mbox_any(struct sd_mbox *mb)
{
	return ld_sc(&mb->top[0]) || ld_sc(&mb->top[1]) || ld_sc(&mb->top[2]) || ld_sc(&mb->top[3]);
}

void shm_mbox_clear(struct sd_mbox *mb, uint32_t bit)
{
	if (bit < SD_MBOX_BITS)
		and_sc(&mb->leaf[bit / 64], ~(1ull << bit % 64));
}

/* ARMED stays; anything else becomes @state, by a read-modify-write even if it was that before. */
static void set_sleeping(struct sd_mbox *mb, uint32_t state)
{
	uint32_t old = ld_rlx(&mb->sleeping);

	while (old != SD_MBOX_ARMED && !cas_sc(&mb->sleeping, &old, state))
		;
}

bool shm_mbox_sleep(struct sd_mbox *mb)
{
	set_sleeping(mb, SD_MBOX_ASLEEP);	/* pairs with ld_sc(sleeping) in shm_mbox_post() */
	if (!shm_mbox_any(mb))
		return true;
	set_sleeping(mb, SD_MBOX_AWAKE);
	return false;
}

void shm_mbox_awake(struct sd_mbox *mb)
{
	set_sleeping(mb, SD_MBOX_AWAKE);
}

void shm_mbox_arm(struct sd_mbox *mb, bool on)
{
	xchg_sc(&mb->sleeping, on ? SD_MBOX_ARMED : SD_MBOX_AWAKE);
}
