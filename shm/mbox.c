/* SPDX-License-Identifier: MIT */
/* shm/mbox.c - bitmap mailboxes and the subscriptions that post to them
 * Three levels: leaf words hold the bits, mid words say which leaf words may be set, top words
 * which mid words. A poster sets leaf, mid, top; the consumer clears top, mid, leaf. So a poster
 * that finds a summary bit set may leave it: whoever clears that bit looks at the level below
 * afterwards. The leaf is always written by a read-modify-write, which orders what was published in
 * the slot before it with what the consumer reads of the slot after it took the bit.
 * A summary without a bit below it is harmless; a bit without its summary exists only between two
 * instructions of its poster.
 * Pairs:   or_sc(leaf) with xchg_sc(leaf); or_sc(top) then ld_sc(sleeping) with
 *          cas_sc(sleeping = ASLEEP) then ld_sc(top): at least one side sees the other
 * Holds:   M1 a post to a mailbox whose consumer sleeps or is about to returns true to one poster
 *          M2 no set bit is passed over for ever: a take that ran out of room is resumed behind
 * Threads: post any; the rest the one consumer (its callers' lock); subscriptions under sub_lock
 */
#include "shm/mbox.h"

#include <sched.h>

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

/* A take under way, of bits [lo, hi). */
struct take {
	struct sd_mbox *mb;
	uint32_t *bits;
	unsigned cnt, max;
	uint32_t lo, hi;
};

/* Bits of leaf word @w that lie in [lo, hi). */
static uint64_t leaf_range(const struct take *t, uint32_t w)
{
	uint64_t m = ~0ull;

	if (w == t->lo / 64)
		m &= ~0ull << t->lo % 64;
	if (w == t->hi / 64)
		m &= (1ull << t->hi % 64) - 1;
	return m;
}

/* Take leaf word @w; what is out of range or found no room is put back. Return: is there room? */
static bool take_leaf(struct take *t, uint32_t w)
{
	uint64_t all, rest;

	and_sc(&t->mb->mid[w / 64], ~(1ull << w % 64));
	all = xchg_sc(&t->mb->leaf[w], 0);		/* pairs with or_sc in shm_mbox_post() */
	rest = all & leaf_range(t, w);
	all &= ~rest;
	for (; rest && t->cnt < t->max; rest &= rest - 1)
		t->bits[t->cnt++] = w * 64 + (uint32_t)__builtin_ctzll(rest);
	if (all | rest) {
		or_sc(&t->mb->leaf[w], all | rest);
		set_summaries(t->mb, w);
	}
	return t->cnt < t->max;
}

/* Leaf words [lo, hi) of group @g, as bits of its mid word. */
static uint64_t group_range(const struct take *t, uint32_t g)
{
	uint32_t lo = t->lo / 64, end = (t->hi + 63) / 64;
	uint64_t m = ~0ull;

	if (g == lo / 64)
		m &= ~0ull << lo % 64;
	if (g == end / 64)
		m &= (1ull << end % 64) - 1;
	return m;
}

/* Take the leaf words of group @g. Return: is there room? */
static bool take_group(struct take *t, uint32_t g)
{
	struct sd_mbox *mb = t->mb;
	bool room = true;
	uint64_t mid;

	and_sc(&mb->top[g / 64], ~(1ull << g % 64));
	mid = ld_sc(&mb->mid[g]) & group_range(t, g);
	for (; mid && room; mid &= mid - 1)
		room = take_leaf(t, g * 64 + (uint32_t)__builtin_ctzll(mid));
	if (ld_sc(&mb->mid[g]))
		or_sc(&mb->top[g / 64], 1ull << g % 64);
	return room;
}

/* Take bits [@lo, @hi). Return: is there room? */
static bool take_range(struct take *t, uint32_t lo, uint32_t hi)
{
	uint32_t g = lo / 64 / 64, end = (hi + 64 * 64 - 1) / (64 * 64);
	uint64_t top;

	t->lo = lo;
	t->hi = hi;
	while (g < end) {
		top = ld_sc(&t->mb->top[g / 64]) & ~0ull << g % 64;
		if (!top) {
			g = (g / 64 + 1) * 64;
			continue;
		}
		g = g / 64 * 64 + (uint32_t)__builtin_ctzll(top);
		if (g < end && !take_group(t, g))
			return false;
		g++;
	}
	return true;
}

static void tell_cpu(struct sd_mbox *mb)
{
	uint32_t cpu = (uint32_t)(sched_getcpu() + 1);

	if (ld_rlx(&mb->cpu) != cpu)
		st_rlx(&mb->cpu, cpu);
}

unsigned shm_mbox_take(struct sd_mbox *mb, uint32_t *bits, unsigned max)
{
	struct take t = { .mb = mb, .bits = bits, .max = max };
	uint32_t start = mb->cursor % SD_MBOX_BITS;

	if (!max)
		return 0;
	tell_cpu(mb);
	if (take_range(&t, start, SD_MBOX_BITS) && (!start || take_range(&t, 0, start)))
		mb->cursor = 0;
	else
		mb->cursor = (bits[t.cnt - 1] + 1) % SD_MBOX_BITS;
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
	tell_cpu(mb);
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
