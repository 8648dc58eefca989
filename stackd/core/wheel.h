/* SPDX-License-Identifier: MIT */
/* core/wheel.h - hierarchical timing wheel, one per worker, index-linked
 * A timer is an index into an array of nodes that its owner embeds in its objects: nothing here is
 * a pointer, so objects in the arena can hold nodes; the wheel itself is private and rebuilt after
 * a crash.
 * Tick 125 us, 4 levels of 256 slots (six days); a timer fires in the tick after its expiry at the
 * latest and never early. Add, cancel O(1); advance O(slots used + fired), empty stretches skipped
 * by bitmap.
 */
#ifndef CORE_WHEEL_H
#define CORE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

/* Embedded in the object. Zeroed = not armed. Links are timer ids (kind << 28 | object index). */
struct wheel_node {
	uint32_t next, prev;		/* timer ids; 0 = end */
	uint32_t expires_tick;		/* mod 2^32 */
	uint16_t slot;			/* wheel slot + 1; 0 = not armed */
	uint16_t rsv;
};

#define WHEEL_TICK_US	125u
#define WHEEL_MAX_US	(0xfffffffeull * WHEEL_TICK_US)	/* a later timer fires after so long */

struct wheel;				/* opaque; about 16 KiB */

/* How the wheel finds nodes and fires. One table, indexed by id >> 28. */
struct wheel_ops {
	struct wheel_node *(*node)(void *arg, uint32_t id);	/* never NULL for an armed id */
	void (*fire)(void *arg, uint32_t id);			/* disarmed before the call */
	void *arg;
};
#define WHEEL_KINDS 16

int wheel_create(uint64_t now_us, struct wheel **ret_wheel);
void wheel_destroy(struct wheel *w);
void wheel_set_ops(struct wheel *w, unsigned kind, const struct wheel_ops *ops);
/* Arm or re-arm. */
void wheel_arm(struct wheel *w, uint32_t id, struct wheel_node *n, uint64_t expires_us);
void wheel_cancel(struct wheel *w, uint32_t id, struct wheel_node *n);
static inline bool wheel_armed(const struct wheel_node *n) { return n->slot != 0; }
/* Fire what is due. Return: number fired. */
unsigned wheel_advance(struct wheel *w, uint64_t now_us);
/* When the next timer may fire, microseconds; UINT64_MAX = none armed. May be early, never late. */
uint64_t wheel_next_us(const struct wheel *w);
uint32_t wheel_cnt(const struct wheel *w);	/* armed timers */

#endif
