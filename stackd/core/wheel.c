/* SPDX-License-Identifier: MIT */
/* core/wheel.c - the timing wheel
 * Level L holds timers whose distance was below 256^(L+1) ticks, in the slot of bits [8L, 8L+8) of
 * their expiry. When the current tick's low 8L bits become 0, the slot of level L that begins there
 * is emptied into lower levels. Every slot has a bit, so the next tick at which anything happens is
 * found by a look at 4 x 256 bits, and empty time costs nothing.
 * Holds:   W1 an armed timer's distance to cur is at least 1 and below 2^32 ticks
 *          W2 a bit is set exactly when its slot has a timer
 *          W3 within a slot of level L the timers differ only in their low 8L bits
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/core/assert.h"
#include "stackd/core/wheel.h"

#define LEVELS		4
#define SLOTS		256
#define TICK_US		WHEEL_TICK_US
#define TICKS_MAX	0xfffffffeu

struct wheel {
	uint64_t cur;			/* tick up to which everything has fired */
	uint32_t cnt;
	struct wheel_ops ops[WHEEL_KINDS];
	uint64_t bits[LEVELS][SLOTS / 64];
	uint32_t head[LEVELS * SLOTS];
};

int wheel_create(uint64_t now_us, struct wheel **ret_wheel)
{
	struct wheel *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->cur = now_us / TICK_US;
	*ret_wheel = w;
	return 0;
}

void wheel_destroy(struct wheel *w)
{
	free(w);
}

void wheel_set_ops(struct wheel *w, unsigned kind, const struct wheel_ops *ops)
{
	ASSERT(kind < WHEEL_KINDS);
	w->ops[kind] = *ops;
}

static struct wheel_node *node_of(struct wheel *w, uint32_t id)
{
	const struct wheel_ops *ops = &w->ops[id >> 28 & (WHEEL_KINDS - 1)];

	return ops->node(ops->arg, id);
}

static void link_node(struct wheel *w, uint32_t id, struct wheel_node *n, unsigned pos)
{
	n->prev = 0;
	n->next = w->head[pos];
	if (n->next)
		node_of(w, n->next)->prev = id;
	w->head[pos] = id;
	w->bits[pos / SLOTS][pos % SLOTS / 64] |= 1ull << pos % 64;
	n->slot = (uint16_t)(pos + 1);
}

static void unlink_node(struct wheel *w, struct wheel_node *n)
{
	unsigned pos = n->slot - 1u;

	if (n->prev)
		node_of(w, n->prev)->next = n->next;
	else
		w->head[pos] = n->next;
	if (n->next)
		node_of(w, n->next)->prev = n->prev;
	if (!w->head[pos])
		w->bits[pos / SLOTS][pos % SLOTS / 64] &= ~(1ull << pos % 64);
	n->slot = 0;
}

/* Where a timer @dist ticks after cur belongs. */
static unsigned slot_for(const struct wheel *w, uint32_t dist)
{
	unsigned level = dist < 1u << 8 ? 0 : dist < 1u << 16 ? 1 : dist < 1u << 24 ? 2 : 3;

	return level * SLOTS + (unsigned)((w->cur + dist) >> 8 * level & (SLOTS - 1));
}

void wheel_arm(struct wheel *w, uint32_t id, struct wheel_node *n, uint64_t expires_us)
{
	uint64_t tick = expires_us / TICK_US + (expires_us % TICK_US != 0);
	uint64_t dist = tick > w->cur ? tick - w->cur : 1;
	unsigned pos;

	ASSERT(id && id >> 28 < WHEEL_KINDS);
	if (dist > TICKS_MAX)
		dist = TICKS_MAX;
	n->expires_tick = (uint32_t)(w->cur + dist);
	pos = slot_for(w, (uint32_t)dist);
	if (n->slot == pos + 1)
		return;
	if (n->slot)
		unlink_node(w, n);
	else
		w->cnt++;
	link_node(w, id, n, pos);
}

void wheel_cancel(struct wheel *w, uint32_t id, struct wheel_node *n)
{
	if (!n->slot)
		return;
	unlink_node(w, n);
	w->cnt--;
}

/* Distance, 1..256, from slot @at to the next used slot of @level, going round; 0 = all empty. */
static unsigned next_used(const struct wheel *w, unsigned level, unsigned at)
{
	unsigned from = (at + 1) % SLOTS;

	for (unsigned i = 0; i <= SLOTS / 64; i++) {
		unsigned word = (from / 64 + i) % (SLOTS / 64);
		uint64_t b = w->bits[level][word];

		if (i == 0)
			b &= ~0ull << from % 64;
		if (b) {
			unsigned s = word * 64 + (unsigned)__builtin_ctzll(b);

			return (s - at - 1) % SLOTS + 1;
		}
	}
	return 0;
}

/* The next tick at which a slot fires or must be spread out; UINT64_MAX = none. */
static uint64_t next_tick(const struct wheel *w)
{
	uint64_t best = UINT64_MAX;

	if (!w->cnt)
		return best;
	for (unsigned level = 0; level < LEVELS; level++) {
		uint64_t at = w->cur >> 8 * level;
		unsigned d = next_used(w, level, (unsigned)(at & (SLOTS - 1)));

		if (d && (at + d) << 8 * level < best)
			best = (at + d) << 8 * level;
	}
	return best;
}

/* cur has just entered slot @pos of a level above 0: move its timers down. Those due now go to
 * cur's own slot of level 0, which fires next. */
static void spread(struct wheel *w, unsigned pos)
{
	while (w->head[pos]) {
		uint32_t id = w->head[pos];
		struct wheel_node *n = node_of(w, id);

		unlink_node(w, n);
		link_node(w, id, n, slot_for(w, n->expires_tick - (uint32_t)w->cur));
	}
}

static unsigned fire_slot(struct wheel *w, unsigned pos)
{
	unsigned fired = 0;

	while (w->head[pos]) {
		uint32_t id = w->head[pos];
		const struct wheel_ops *ops = &w->ops[id >> 28];

		unlink_node(w, node_of(w, id));
		w->cnt--;
		fired++;
		ops->fire(ops->arg, id);
	}
	return fired;
}

unsigned wheel_advance(struct wheel *w, uint64_t now_us)
{
	uint64_t target = now_us / TICK_US;
	unsigned fired = 0;

	while (w->cur < target) {
		uint64_t t = next_tick(w);

		if (t > target) {
			w->cur = target;
			break;
		}
		w->cur = t;
		for (unsigned level = LEVELS - 1; level > 0; level--)
			if ((t & ((1ull << 8 * level) - 1)) == 0)
				spread(w, level * SLOTS + (unsigned)(t >> 8 * level & (SLOTS - 1)));
		fired += fire_slot(w, (unsigned)(t & (SLOTS - 1)));
	}
	return fired;
}

uint64_t wheel_next_us(const struct wheel *w)
{
	uint64_t t = next_tick(w);

	return t == UINT64_MAX ? t : t * TICK_US;
}

uint32_t wheel_cnt(const struct wheel *w)
{
	return w->cnt;
}
