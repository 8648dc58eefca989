/* SPDX-License-Identifier: MIT */
/* link/neigh.c - neighbours: who has which MAC, and packets that wait to know
 *
 * Worker 0 holds the truth and runs the state machine:
 *   INCOMPLETE  asks by broadcast, 3 times, 1 s apart; then FAILED
 *   REACHABLE   for 15 to 45 s after a confirmation; then DELAY when used lately, else STALE
 *   STALE       used as it is; the first use starts DELAY
 *   DELAY       waits 5 s for a confirmation from above (pkt.confirm), then PROBE
 *   PROBE       asks by unicast, 3 times, 1 s apart; then FAILED
 *   FAILED      the next packet starts over
 * The other workers keep replicas. SMSG_NEIGH tells them of every MAC and failure; they ask and
 * report use by SMSG_NEIGH_WANT, which is answered when the address is known. No message is needed
 * for correctness: a replica asks again each second while packets wait, and no MAC counts as
 * reachable for long without word from worker 0, so a message lost at a full ring heals.
 * Spec:    RFC 4861 7.3.2 (states, as Linux uses them for ARP), RFC 1122 2.3.2.1 and 2.3.2.2
 * In/Out:  IP packets -> frames, or unreachable(); evidence from ARP -> states
 * Holds:   N1 a queue is empty unless its record is INCOMPLETE; checked by set_state()
 *          N2 a MAC is replaced at most once a second (a second answer to one question loses)
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/core/rng.h"
#include "stackd/core/siphash.h"
#include "stackd/link/link_int.h"

#define BASE_REACH_US	30000000u
#define DELAY_US	5000000u
#define RETRANS_US	1000000u
#define LOCK_US		1000000u
#define PROBES_MAX	3
#define REPLICA_US	60000000u	/* longer than any reachable time: silence is staleness */
#define REPLICA_ASKS	5		/* of a replica, until it gives up by itself */
#define VICTIMS		64		/* records looked at for one to replace */

#define WANT_CONFIRM	1u		/* u32[0] of SMSG_NEIGH_WANT: the upper layer vouches */

static const char *const state_name[] = {
	[NEIGH_FREE] = "NONE", [NEIGH_INCOMPLETE] = "INCOMPLETE", [NEIGH_REACHABLE] = "REACHABLE",
	[NEIGH_STALE] = "STALE", [NEIGH_DELAY] = "DELAY", [NEIGH_PROBE] = "PROBE",
	[NEIGH_FAILED] = "FAILED",
};

static bool has_mac(const struct neigh_rec *r)
{
	return r->state >= NEIGH_REACHABLE && r->state <= NEIGH_PROBE;
}

static bool is_authority(const struct stack *st)
{
	return st->worker == 0;
}

/* ---- table ------------------------------------------------------------------------------- */

static uint32_t *bucket(struct stack *st, const struct sd_addr *addr)
{
	uint64_t h = siphash13(st->boot_secret, addr, sizeof(*addr));

	return &st->link->neigh.heads[h & (NEIGH_BUCKETS - 1)];
}

static uint32_t lookup(struct stack *st, const struct sd_addr *addr)
{
	struct neigh_table *t = &st->link->neigh;
	uint32_t i = t->last;

	if (i && sd_addr_eq(&t->recs[i].addr, addr))
		return i;
	for (i = *bucket(st, addr); i; i = t->recs[i].hnext) {
		if (sd_addr_eq(&t->recs[i].addr, addr)) {
			t->last = i;
			return i;
		}
	}
	return 0;
}

static void arm(struct stack *st, uint32_t i, uint64_t us)
{
	wheel_arm(st->wheel, OBJ(OBJ_NEIGH, i), &st->link->neigh.recs[i].timer, st->now_us + us);
}

static void disarm(struct stack *st, uint32_t i)
{
	wheel_cancel(st->wheel, OBJ(OBJ_NEIGH, i), &st->link->neigh.recs[i].timer);
}

static void remove_rec(struct stack *st, uint32_t i)
{
	struct neigh_table *t = &st->link->neigh;
	struct neigh_rec *r = &t->recs[i];
	uint32_t *link = bucket(st, &r->addr);

	ASSERT(t->queues[i].cnt == 0);
	disarm(st, i);
	while (*link != i) {
		ASSERT(*link);
		link = &t->recs[*link].hnext;
	}
	*link = r->hnext;
	if (t->last == i)
		t->last = 0;
	memset(r, 0, sizeof(*r));
	idx_free(&t->idx, i);
}

/* Make room: the first record at the hand that nothing depends on. */
static bool evict(struct stack *st)
{
	struct neigh_table *t = &st->link->neigh;

	for (int n = 0; n < VICTIMS; n++) {
		uint32_t i = t->hand = t->hand % (t->cnt - 1) + 1;

		if (t->recs[i].state == NEIGH_FAILED || t->recs[i].state == NEIGH_STALE) {
			remove_rec(st, i);
			return true;
		}
	}
	return false;
}

static uint32_t insert(struct stack *st, const struct sd_addr *addr)
{
	struct neigh_table *t = &st->link->neigh;
	uint32_t i = idx_alloc(&t->idx), *head;

	if (!i && evict(st))
		i = idx_alloc(&t->idx);
	if (!i)
		return 0;
	head = bucket(st, addr);
	t->recs[i] = (struct neigh_rec){ .addr = *addr, .hnext = *head, .state = NEIGH_FAILED };
	*head = i;
	return i;
}

/* ---- packets that wait ------------------------------------------------------------------- */

static struct pkt *queue_pop(struct neigh_table *t, uint32_t i)
{
	struct neigh_queue *q = &t->queues[i];
	struct pkt *p = q->head;

	if (!p)
		return NULL;
	q->head = p->next;
	p->next = NULL;
	q->cnt--;
	t->queued--;
	return p;
}

static void queue_add(struct stack *st, uint32_t i, struct pkt *p)
{
	struct neigh_table *t = &st->link->neigh;
	struct neigh_queue *q = &t->queues[i];

	if (p->frag_cnt) {		/* borrowed bytes may be gone by then */
		struct pkt *c = pkt_copy_linear(st->pool, p);

		if (!c) {
			stack_drop(st, p, DROP_NO_BUF);
			return;
		}
		stack_pkt_free(st, p);
		p = c;
	}
	if (q->cnt == NEIGH_QUEUE)
		stack_drop(st, queue_pop(t, i), DROP_NEIGH_FULL);
	if (t->queued == NEIGH_QUEUED) {
		stack_drop(st, p, DROP_NEIGH_FULL);
		return;
	}
	p->next = NULL;
	if (q->head)
		q->tail->next = p;
	else
		q->head = p;
	q->tail = p;
	q->cnt++;
	t->queued++;
}

static void queue_send(struct stack *st, uint32_t i)
{
	struct neigh_table *t = &st->link->neigh;
	struct pkt *p;

	while ((p = queue_pop(t, i)))
		link_tx_frame(st, p, t->recs[i].mac, ETH_P_IP4);
}

static void queue_fail(struct stack *st, uint32_t i)
{
	struct link_state *ls = st->link;
	struct pkt *p = ls->neigh.queues[i].head;

	/* Taken off first: what the upper layer sends in answer starts a new queue. */
	ls->neigh.queued -= ls->neigh.queues[i].cnt;
	ls->neigh.queues[i] = (struct neigh_queue){ 0 };
	while (p) {
		struct pkt *next = p->next;

		p->next = NULL;
		if (ls->up.unreachable)
			ls->up.unreachable(st, p);
		stack_drop(st, p, DROP_NEIGH_FAILED);
		p = next;
	}
}

/* ---- states ------------------------------------------------------------------------------ */

static void tell(struct stack *st, uint16_t to, uint32_t i)
{
	const struct neigh_rec *r = &st->link->neigh.recs[i];
	struct stack_msg msg = { .kind = SMSG_NEIGH, .u32 = { r->state } };

	memcpy(msg.data, &r->addr, 16);
	memcpy(msg.data + 16, r->mac, 6);
	(void)stack_send(st, to, &msg);		/* a lost one heals, see above */
}

static void tell_all(struct stack *st, uint32_t i)
{
	for (uint16_t w = 1; w < st->workers; w++)
		tell(st, w, i);
}

/* The one place that changes a state; what each state's timer is stands here too. */
static void set_state(struct stack *st, uint32_t i, enum neigh_state state)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];

	ASSERT(r->state == NEIGH_INCOMPLETE || st->link->neigh.queues[i].cnt == 0);
	r->state = (uint8_t)state;
	r->probes = 0;
	switch (state) {
	case NEIGH_REACHABLE:
		r->confirmed_us = st->now_us;
		r->reach_us = BASE_REACH_US / 2 + rng_below(st->rng_state, BASE_REACH_US);
		if (is_authority(st))
			arm(st, i, r->reach_us);
		else
			disarm(st, i);		/* ages by use() */
		break;
	case NEIGH_DELAY:
		arm(st, i, DELAY_US);
		break;
	case NEIGH_INCOMPLETE:
	case NEIGH_PROBE:
		arm(st, i, RETRANS_US);
		break;
	default:
		disarm(st, i);
	}
	if (is_authority(st) && (state == NEIGH_REACHABLE || state == NEIGH_STALE ||
				 state == NEIGH_FAILED))
		tell_all(st, i);
	if (has_mac(r))
		queue_send(st, i);
	else if (state == NEIGH_FAILED)
		queue_fail(st, i);
}

static void want(struct stack *st, uint32_t i, uint32_t flags)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];
	struct stack_msg msg = { .kind = SMSG_NEIGH_WANT, .u32 = { flags } };

	r->used_us = st->now_us;		/* of a replica: when it last asked */
	memcpy(msg.data, &r->addr, 16);
	(void)stack_send(st, 0, &msg);
}

static void ask(struct stack *st, uint32_t i)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];

	r->probes++;
	if (is_authority(st))
		arp_request(st, &r->addr, r->state == NEIGH_PROBE ? r->mac : NULL);
	else
		want(st, i, 0);
}

/* A packet wants to go there. Return: true when the MAC may be used. */
static bool use(struct stack *st, uint32_t i)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];

	if (is_authority(st)) {
		r->used_us = st->now_us;
		if (r->state == NEIGH_STALE)
			set_state(st, i, NEIGH_DELAY);
	} else {
		if (r->state == NEIGH_REACHABLE && st->now_us - r->updated_us > REPLICA_US)
			set_state(st, i, NEIGH_STALE);
		if (r->state == NEIGH_STALE && st->now_us - r->used_us >= RETRANS_US)
			want(st, i, 0);
	}
	if (r->state == NEIGH_FAILED) {
		set_state(st, i, NEIGH_INCOMPLETE);
		ask(st, i);
	}
	return has_mac(r);
}

/* Layers above know that it is reachable. */
static void confirm(struct stack *st, uint32_t i)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];

	if (!has_mac(r))
		return;
	r->confirmed_us = st->now_us;
	if (!is_authority(st)) {
		if (r->state == NEIGH_STALE && st->now_us - r->used_us >= RETRANS_US)
			want(st, i, WANT_CONFIRM);
	} else if (r->state == NEIGH_PROBE) {
		set_state(st, i, NEIGH_REACHABLE);
	}
}

void neigh_output(struct stack *st, const struct sd_addr *addr, struct pkt *p)
{
	uint32_t i = lookup(st, addr);

	if (!i)
		i = insert(st, addr);
	if (i && p->confirm)
		confirm(st, i);
	if (!i)
		stack_drop(st, p, DROP_NEIGH_TABLE);
	else if (use(st, i))
		link_tx_frame(st, p, st->link->neigh.recs[i].mac, ETH_P_IP4);
	else
		queue_add(st, i, p);
}

static void fire_reachable(struct stack *st, uint32_t i)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];

	if (st->now_us < r->confirmed_us + r->reach_us)
		arm(st, i, r->confirmed_us + r->reach_us - st->now_us);
	else if (st->now_us <= r->used_us + DELAY_US)
		set_state(st, i, NEIGH_DELAY);
	else
		set_state(st, i, NEIGH_STALE);
}

void neigh_fire(struct stack *st, uint32_t i)
{
	struct neigh_rec *r = &st->link->neigh.recs[i];
	uint8_t max = is_authority(st) ? PROBES_MAX : REPLICA_ASKS;

	switch (r->state) {
	case NEIGH_REACHABLE:
		fire_reachable(st, i);
		break;
	case NEIGH_DELAY:
		if (st->now_us <= r->confirmed_us + DELAY_US) {
			set_state(st, i, NEIGH_REACHABLE);
		} else {
			set_state(st, i, NEIGH_PROBE);
			ask(st, i);
		}
		break;
	case NEIGH_INCOMPLETE:
	case NEIGH_PROBE:
		if (r->probes >= max) {
			set_state(st, i, NEIGH_FAILED);
		} else {
			ask(st, i);
			arm(st, i, RETRANS_US);
		}
		break;
	default:
		break;
	}
}

/* ---- evidence ---------------------------------------------------------------------------- */

static bool asked(const struct neigh_rec *r)
{
	return r->state == NEIGH_INCOMPLETE || r->state == NEIGH_PROBE;
}

bool neigh_heard(struct stack *st, const struct sd_addr *addr, const uint8_t mac[6],
		 enum neigh_evidence ev)
{
	uint32_t i = lookup(st, addr);
	struct neigh_rec *r;
	bool same;

	if (!i && ev == NEIGH_HEARD)
		i = insert(st, addr);
	if (!i)
		return false;
	r = &st->link->neigh.recs[i];
	same = has_mac(r) && memcmp(r->mac, mac, 6) == 0;
	if (has_mac(r) && !same && st->now_us - r->updated_us < LOCK_US)
		return false;
	/* Who was not asked and names another MAC is believed, but not as a confirmation. */
	bool confirms = ev == NEIGH_ANSWERED && (same || asked(r));

	if (same && !confirms)
		return true;
	r->updated_us = st->now_us;
	if (same && r->state == NEIGH_REACHABLE) {
		r->confirmed_us = st->now_us;
		return true;
	}
	memcpy(r->mac, mac, 6);
	set_state(st, i, confirms ? NEIGH_REACHABLE : NEIGH_STALE);
	return true;
}

/* ---- between workers --------------------------------------------------------------------- */

/* Worker 0: somebody needs or used this address. */
void neigh_on_want(struct stack *st, const struct stack_msg *msg)
{
	struct sd_addr addr;
	uint32_t i;

	memcpy(&addr, msg->data, 16);
	i = lookup(st, &addr);
	if (!i)
		i = insert(st, &addr);
	if (!i)
		return;				/* the replica gives up in time */
	if (msg->u32[0] & WANT_CONFIRM)
		confirm(st, i);
	if (use(st, i))
		tell(st, msg->from, i);
}

/* A replica: what worker 0 found out. DELAY and PROBE are its own business: the MAC is in use. */
void neigh_on_msg(struct stack *st, const struct stack_msg *msg)
{
	struct sd_addr addr;
	struct neigh_rec *r;
	uint32_t i;

	memcpy(&addr, msg->data, 16);
	i = lookup(st, &addr);
	if (!i && msg->u32[0] != NEIGH_FAILED)
		i = insert(st, &addr);
	if (!i)
		return;
	r = &st->link->neigh.recs[i];
	r->updated_us = st->now_us;
	if (msg->u32[0] == NEIGH_FAILED) {
		if (r->state != NEIGH_FAILED)
			set_state(st, i, NEIGH_FAILED);
		return;
	}
	memcpy(r->mac, msg->data + 16, 6);
	set_state(st, i, msg->u32[0] == NEIGH_REACHABLE ? NEIGH_REACHABLE : NEIGH_STALE);
}

/* ---- life -------------------------------------------------------------------------------- */

/* Worker 0 after a restart: records are kept, chains and the free list are made anew, and what was
 * being resolved starts over with the next packet. */
static void adopt(struct stack *st)
{
	struct neigh_table *t = &st->link->neigh;

	while (idx_alloc(&t->idx))
		;
	for (uint32_t i = t->cnt - 1; i >= 1; i--) {
		struct neigh_rec *r = &t->recs[i];
		bool keep = has_mac(r) && sd_addr_is_v4(&r->addr) && lookup(st, &r->addr) == 0;

		if (!keep) {
			if (r->state != NEIGH_FREE)	/* else untouched memory stays untouched */
				memset(r, 0, sizeof(*r));
			idx_free(&t->idx, i);
			continue;
		}
		uint32_t *head = bucket(st, &r->addr);

		r->timer = (struct wheel_node){ 0 };
		r->hnext = *head;
		*head = i;
		set_state(st, i, NEIGH_STALE);
	}
}

int neigh_init(struct stack *st)
{
	struct neigh_table *t = &st->link->neigh;
	int rc;

	t->cnt = st->arena->hdr->reg[AR_NEIGH].cnt;
	ASSERT(t->cnt > 1 && st->arena->hdr->reg[AR_NEIGH].elem_size == sizeof(struct neigh_rec));
	if (is_authority(st))
		t->recs = (struct neigh_rec *)arena_at(st->arena, AR_NEIGH, 1) - 1;
	else
		t->recs = calloc(t->cnt, sizeof(*t->recs));
	t->queues = calloc(t->cnt, sizeof(*t->queues));
	t->heads = calloc(NEIGH_BUCKETS, sizeof(*t->heads));
	rc = t->recs && t->queues && t->heads ? idx_pool_init(&t->idx, 0, t->cnt) : -ENOMEM;
	if (rc) {
		neigh_fini(st);
		return rc;
	}
	if (is_authority(st))
		adopt(st);
	return 0;
}

void neigh_fini(struct stack *st)
{
	struct neigh_table *t = &st->link->neigh;

	for (uint32_t i = 1; t->queues && t->recs && i < t->cnt; i++) {
		struct pkt *p;

		while ((p = queue_pop(t, i)))
			stack_pkt_free(st, p);
		disarm(st, i);
	}
	if (!is_authority(st))
		free(t->recs);
	free(t->queues);
	free(t->heads);
	idx_pool_fini(&t->idx);
}

void link_neigh_walk(struct stack *st, void (*fn)(void *arg, const struct link_neigh_info *),
		     void *arg)
{
	struct neigh_table *t = &st->link->neigh;

	for (uint32_t i = 1; i < t->cnt; i++) {
		const struct neigh_rec *r = &t->recs[i];
		struct link_neigh_info info = { .addr = r->addr, .queued = t->queues[i].cnt };

		if (r->state == NEIGH_FREE)
			continue;
		memcpy(info.mac, r->mac, 6);
		info.state = state_name[r->state];
		fn(arg, &info);
	}
}
