/* SPDX-License-Identifier: MIT */
/* sock/etable.c - the established table: tuple -> object, private to one worker
 *
 * Linear hashing over cache lines: each head line has room for seven entries and a link to an
 * overflow line. The table grows by splitting one line per insert once there are more than four
 * entries a line, so no insert ever pays for a rebuild, and the address space for the largest table
 * is reserved at start: growth touches fresh pages and makes no system call. An entry keeps its
 * 32-bit hash, so a miss seldom touches an object and a split never does.
 * The top bit of an entry's object marks strays (strays.c).
 * The hash is SipHash-1-3 under boot_secret: whoever picks addresses and ports cannot aim at one
 * line.
 * Holds:   E1 a line that has a successor is full, and no overflow line is empty
 *          E2 an entry's head is the one its hash names under (mask, split); etab_insert asserts on
 *          split
 * Threads: owning worker only
 */
#include "stackd/core/siphash.h"
#include "stackd/nic/claims.h"
#include "stackd/sock/sock_int.h"

#define LINES_MIN	64u
#define LOAD		4u		/* entries per head before the next split */

static_assert(sizeof(struct etab_line) == 64, "one cache line");
static_assert(sizeof(struct sock_tuple) == 36, "hashed and compared as bytes");

int etab_init(struct etab *t, uint32_t lines_max)
{
	*t = (struct etab){ .lines_max = lines_max, .over_max = lines_max, .mask = LINES_MIN - 1,
			    .over_bump = 1 };
	t->map_size = (size_t)(t->lines_max + t->over_max) * sizeof(struct etab_line);
	t->lines = sock_map(t->map_size);
	if (!t->lines)
		return -ENOMEM;
	t->over = t->lines + lines_max;
	return 0;
}

void etab_fini(struct etab *t)
{
	sock_unmap(t->lines, t->map_size);
	*t = (struct etab){ 0 };
}

uint32_t etab_hash(struct stack *st, const struct sock_tuple *tp)
{
	uint32_t v4[3];

	if (!sd_addr_is_v4(&tp->laddr))
		return (uint32_t)siphash13(st->boot_secret, tp, sizeof(*tp));
	v4[0] = tp->laddr.w[3];
	v4[1] = tp->raddr.w[3];
	memcpy(&v4[2], &tp->lport, 2 * sizeof(tp->lport));
	return (uint32_t)siphash13(st->boot_secret, v4, sizeof(v4));
}

#define OBJ_OF(e)	((e).obj & ~ETAB_STRAY)
static_assert(OBJ(OBJ_TCB, 0) < ETAB_STRAY && OBJ(OBJ_TW, 0) < ETAB_STRAY &&
	      OBJ(OBJ_BOUND, 0) < ETAB_STRAY, "the bit is free");

static uint32_t head_of(const struct etab *t, uint32_t hash)
{
	uint32_t h = hash & t->mask;

	return h < t->split ? hash & (t->mask << 1 | 1) : h;
}

/* Every kind of object that can be in a table begins with its tuple. */
static const struct sock_tuple *obj_tuple(struct stack *st, uint32_t obj)
{
	enum arena_region r = OBJ_KIND(obj) == OBJ_TCB ? AR_TCB :
			      OBJ_KIND(obj) == OBJ_TW ? AR_TW : AR_BOUND;
	const struct sock_tuple *tp = arena_at(st->arena, r, OBJ_IDX(obj));

	ASSERT(tp);
	return tp;
}

static struct etab_line *next_line(const struct etab *t, const struct etab_line *l)
{
	return l->next ? &t->over[l->next] : NULL;
}

uint32_t etab_find(struct stack *st, const struct etab *t, const struct sock_tuple *tp)
{
	uint32_t hash = etab_hash(st, tp);
	const struct etab_line *l;

	for (l = &t->lines[head_of(t, hash)]; l; l = next_line(t, l))
		for (uint32_t i = 0; i < l->cnt; i++)
			if (l->e[i].hash == hash &&
			    !memcmp(obj_tuple(st, OBJ_OF(l->e[i])), tp, sizeof(*tp)))
				return OBJ_OF(l->e[i]);
	return 0;
}

/* Return: 0 = none left */
static uint32_t over_alloc(struct etab *t)
{
	uint32_t i = t->over_free;

	if (i)
		t->over_free = t->over[i].next;
	else if (t->over_bump < t->over_max)
		i = t->over_bump++;
	if (i)
		t->over[i] = (struct etab_line){ 0 };
	return i;
}

static void over_put(struct etab *t, uint32_t i)
{
	t->over[i].cnt = 0;
	t->over[i].next = t->over_free;
	t->over_free = i;
}

static bool append(struct etab *t, uint32_t head, uint32_t hash, uint32_t obj)
{
	struct etab_line *l = &t->lines[head];

	while (l->next)
		l = &t->over[l->next];
	if (l->cnt == ETAB_ENTS) {
		l->next = over_alloc(t);
		if (!l->next)
			return false;
		l = &t->over[l->next];
	}
	l->e[l->cnt].hash = hash;
	l->e[l->cnt++].obj = obj;
	return true;
}

/* Spread head @split over itself and its new partner. Overflow lines are given back before their
 * entries are placed again: two chains of the same entries never need more of them. */
static void split_one(struct etab *t)
{
	uint32_t head = t->split, next;
	struct etab_line l = t->lines[head];

	t->lines[head] = (struct etab_line){ 0 };
	if (t->split++ == t->mask) {
		t->mask = t->mask << 1 | 1;
		t->split = 0;
	}
	for (;;) {
		for (uint32_t i = 0; i < l.cnt; i++)
			ASSERT(append(t, head_of(t, l.e[i].hash), l.e[i].hash, l.e[i].obj));
		next = l.next;
		if (!next)
			break;
		l = t->over[next];
		over_put(t, next);
	}
}

int etab_insert(struct stack *st, struct etab *t, const struct sock_tuple *tp, uint32_t obj)
{
	uint32_t hash = etab_hash(st, tp), heads = t->mask + 1 + t->split;

	if (etab_find(st, t, tp))
		return -EEXIST;
	if (!append(t, head_of(t, hash), hash, obj))
		return -ENOMEM;
	t->cnt++;
	if (t->cnt > heads * LOAD && heads < t->lines_max)
		split_one(t);
	return 0;
}

/* Take the last entry of the chain out. @prev: the line before @last, NULL when @last is the head.
 */
static void drop_last(struct etab *t, struct etab_line *prev, struct etab_line *last)
{
	if (--last->cnt == 0 && prev) {
		over_put(t, prev->next);
		prev->next = 0;
	}
}

uint32_t etab_remove(struct stack *st, struct etab *t, const struct sock_tuple *tp, uint32_t obj)
{
	uint32_t hash = etab_hash(st, tp), at = 0, was;
	struct etab_line *l, *hit = NULL, *prev = NULL;

	for (l = &t->lines[head_of(t, hash)];; prev = l, l = &t->over[l->next]) {
		for (uint32_t i = 0; i < l->cnt && !hit; i++) {
			if (l->e[i].hash == hash && OBJ_OF(l->e[i]) == obj) {
				hit = l;
				at = i;
			}
		}
		if (!l->next)
			break;
	}
	if (!hit)
		return 0;
	was = hit->e[at].obj;
	hit->e[at] = l->e[l->cnt - 1];
	drop_last(t, prev, l);
	t->cnt--;
	return was;
}

void etab_remark(struct stack *st, struct etab *t, uint32_t head)
{
	for (struct etab_line *l = &t->lines[head]; l; l = next_line(t, l)) {
		for (uint32_t i = 0; i < l->cnt; i++) {
			bool is = stray_is(st, obj_tuple(st, OBJ_OF(l->e[i])));

			if (is == !!(l->e[i].obj & ETAB_STRAY))
				continue;
			l->e[i].obj ^= ETAB_STRAY;
			if (is)
				stray_add(st, l->e[i].hash);
			else
				stray_del(st);
		}
	}
}

uint32_t sock_elookup(struct stack *st, const struct sock_tuple *t)
{
	return etab_find(st, &st->sock->eh, t);
}

int sock_einsert(struct stack *st, const struct sock_tuple *t, uint32_t obj)
{
	bool stray = stray_is(st, t);
	int r = etab_insert(st, &st->sock->eh, t, stray ? obj | ETAB_STRAY : obj);

	if (!r && stray)
		stray_add(st, etab_hash(st, t));
	if (!r && st->claims)
		claims_flow_add(st->claims, IPPROTO_TCP, &t->laddr, t->lport, &t->raddr, t->rport);
	return r;
}

void sock_eremove(struct stack *st, const struct sock_tuple *t, uint32_t obj)
{
	uint32_t was = etab_remove(st, &st->sock->eh, t, obj);

	if (was & ETAB_STRAY)
		stray_del(st);
	if (was && st->claims)
		claims_flow_del(st->claims, IPPROTO_TCP, &t->laddr, t->lport, &t->raddr, t->rport);
}

uint32_t sock_ecount(struct stack *st)
{
	return st->sock->eh.cnt;
}
