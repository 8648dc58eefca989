/* SPDX-License-Identifier: MIT */
/* tests/sim/queue.c - what waits for a transmitter: drop-tail, a marking threshold, fq_codel
 * The first two have one flow. fq_codel hashes flows into buckets served by deficit round robin,
 * new ones first; each bucket has CoDel's clock of its own, which marks what is capable of ECN and
 * drops the rest. When the whole is full, the longest bucket loses its head.
 * Spec:    RFC 8289 5 (CoDel), RFC 8290 4 (fq_codel), RFC 3168 5, RFC 8257 3.1 (threshold)
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define FLOWS		32u
#define QUANTUM		1514
#define TARGET_US	5000u
#define INTERVAL_US	100000u
#define NONE		0xffu

struct flow {
	struct frame *head, *tail;
	uint32_t cnt;
	int32_t deficit;
	uint8_t next;			/* in its list */
	bool listed;
	/* CoDel */
	bool dropping;
	uint64_t first_above_us, drop_next_us;
	uint32_t count, last_count;
};

struct list { uint8_t head, tail; };

struct queue {
	struct link_conf conf;
	struct net_stats *count;
	uint32_t cnt;
	struct list fresh, old;
	struct flow flow[FLOWS];
};

struct queue *queue_new(const struct link_conf *conf, struct net_stats *count)
{
	struct queue *q = calloc(1, sizeof(*q));

	q->conf = *conf;
	q->count = count;
	q->fresh = q->old = (struct list){ NONE, NONE };
	return q;
}

void queue_free(struct queue *q)
{
	for (unsigned i = 0; q && i < FLOWS; i++) {
		struct frame *f = q->flow[i].head, *next;

		for (; f; f = next) {
			next = f->next;
			free(f);
		}
	}
	free(q);
}

/* ---- congestion experienced ---- */

/* Return: false when the frame is not capable of it. */
static bool mark(struct queue *q, struct frame *f)
{
	uint8_t *ip = f->bytes + 14;
	uint32_t sum = 0;

	if (f->len < 34 || f->bytes[12] != 8 || f->bytes[13] || !(ip[1] & 3))
		return false;
	ip[1] |= 3;
	ip[10] = ip[11] = 0;
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	q->count->marked++;
	return true;
}

/* ---- one flow ---- */

static void flow_put(struct queue *q, struct flow *w, struct frame *f)
{
	f->next = NULL;
	if (w->tail)
		w->tail->next = f;
	else
		w->head = f;
	w->tail = f;
	w->cnt++;
	q->cnt++;
}

static struct frame *flow_get(struct queue *q, struct flow *w)
{
	struct frame *f = w->head;

	if (!f)
		return NULL;
	w->head = f->next;
	if (!w->head)
		w->tail = NULL;
	w->cnt--;
	q->cnt--;
	return f;
}

/* ---- CoDel ---- */

/* Take the head; *ret_over: it and what came before have waited too long for a whole interval. */
static struct frame *codel_head(struct queue *q, struct flow *w, uint64_t now_us, bool *ret_over)
{
	struct frame *f = flow_get(q, w);

	*ret_over = false;
	if (!f || now_us - f->at_us < TARGET_US || !w->cnt) {
		w->first_above_us = 0;
		return f;
	}
	if (!w->first_above_us)
		w->first_above_us = now_us + INTERVAL_US;
	else
		*ret_over = now_us >= w->first_above_us;
	return f;
}

static uint64_t control_law(uint64_t t, uint32_t count)
{
	return t + (uint64_t)(INTERVAL_US / sqrt(count));
}

/* Mark or drop @f. Return: the frame to send, NULL when it was dropped. */
static struct frame *punish(struct queue *q, struct frame *f)
{
	if (mark(q, f))
		return f;
	q->count->full++;
	free(f);
	return NULL;
}

static struct frame *codel_get(struct queue *q, struct flow *w, uint64_t now_us)
{
	bool over;
	struct frame *f = codel_head(q, w, now_us, &over);

	if (w->dropping && !over)
		w->dropping = false;
	while (f && w->dropping && now_us >= w->drop_next_us) {
		w->count++;
		w->drop_next_us = control_law(w->drop_next_us, w->count);
		f = punish(q, f);
		if (f)
			return f;
		f = codel_head(q, w, now_us, &over);
		w->dropping = over;
	}
	if (f && !w->dropping && over) {
		uint32_t since = w->count - w->last_count;

		w->dropping = true;
		w->count = since > 1 && now_us - w->drop_next_us < 16 * INTERVAL_US ? since : 1;
		w->last_count = w->count;
		w->drop_next_us = control_law(now_us, w->count);
		f = punish(q, f);
		if (!f)
			f = codel_head(q, w, now_us, &over);
	}
	return f;
}

/* ---- rounds ---- */

static void list_put(struct queue *q, struct list *l, uint8_t i)
{
	q->flow[i].next = NONE;
	if (l->tail == NONE)
		l->head = i;
	else
		q->flow[l->tail].next = i;
	l->tail = i;
}

static uint8_t list_get(struct queue *q, struct list *l)
{
	uint8_t i = l->head;

	l->head = q->flow[i].next;
	if (l->head == NONE)
		l->tail = NONE;
	return i;
}

static unsigned bucket(const struct frame *f)
{
	uint32_t h = 0;

	if (f->len < 38)
		return 0;
	for (unsigned i = 26; i < 38; i++)	/* addresses, ports */
		h = h * 31 + f->bytes[i];
	return (h ^ h >> 11) % FLOWS;
}

static void fq_put(struct queue *q, struct frame *f)
{
	uint8_t i = (uint8_t)bucket(f);
	struct flow *w = &q->flow[i], *fat = w;

	flow_put(q, w, f);
	if (!w->listed) {
		w->listed = true;
		w->deficit = QUANTUM;
		list_put(q, &q->fresh, i);
	}
	if (q->cnt <= q->conf.queue)
		return;
	for (i = 0; i < FLOWS; i++)
		if (q->flow[i].cnt > fat->cnt)
			fat = &q->flow[i];
	free(flow_get(q, fat));
	q->count->full++;
}

static struct frame *fq_get(struct queue *q, uint64_t now_us)
{
	while (q->fresh.head != NONE || q->old.head != NONE) {
		bool fresh = q->fresh.head != NONE;
		uint8_t i = list_get(q, fresh ? &q->fresh : &q->old);
		struct flow *w = &q->flow[i];
		struct frame *f;

		if (w->deficit <= 0) {
			w->deficit += QUANTUM;
			list_put(q, &q->old, i);
			continue;
		}
		f = codel_get(q, w, now_us);
		if (!f) {
			w->listed = fresh;
			if (fresh)
				list_put(q, &q->old, i);	/* no second turn as a new one */
			continue;
		}
		w->deficit -= (int32_t)f->len;
		/* it stays where it is: in front */
		w->next = fresh ? q->fresh.head : q->old.head;
		if (w->next == NONE)
			*(fresh ? &q->fresh.tail : &q->old.tail) = i;
		*(fresh ? &q->fresh.head : &q->old.head) = i;
		return f;
	}
	return NULL;
}

/* ---- the queue ---- */

void queue_put(struct queue *q, struct frame *f, uint64_t now_us)
{
	f->at_us = now_us;
	if (q->conf.kind == QUEUE_FQ_CODEL) {
		fq_put(q, f);
		return;
	}
	if (q->cnt >= q->conf.queue) {
		q->count->full++;
		free(f);
		return;
	}
	if (q->conf.kind == QUEUE_MARK && q->cnt >= q->conf.mark_at)
		mark(q, f);
	flow_put(q, &q->flow[0], f);
}

struct frame *queue_get(struct queue *q, uint64_t now_us)
{
	if (q->conf.kind == QUEUE_FQ_CODEL)
		return fq_get(q, now_us);
	return flow_get(q, &q->flow[0]);
}
