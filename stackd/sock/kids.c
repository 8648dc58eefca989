/* SPDX-License-Identifier: MIT */
/* sock/kids.c - accepted connections hold their port, as on Linux, also when the listener is gone
 *
 * A connection from accept(), TIME_WAIT included, is a holder of its address and port with the
 * options that its listener had. Holding one AR_BOUND for each would be dear and tell bind()
 * nothing new: connections of one listener, address and set of options are one *brood*, counted
 * privately by each worker. Worker 0 hears of a worker's first and last one only, and keeps a
 * single AR_BOUND in state KIDS for the brood while any worker has some (t.rport: how many).
 * Spec:    H2
 * Holds:   K1 a brood's record at worker 0 counts each worker once; messages of one worker are in
 *             order
 * Threads: broods: each worker its own; records: worker 0
 */
#include "stackd/sock/sock_int.h"

#define BROODS_MAX	65536u
#define BROOD_HEADS	4096u

struct sock_brood {
	struct sock_brood_key k;
	uint32_t cnt;
	uint32_t next;
};

static_assert(sizeof(struct sock_brood_key) == 24, "compared as bytes");
static_assert(sizeof(struct sock_brood_key) <= sizeof(((struct stack_msg *)0)->data), "by value");

static uint32_t *head_of(struct sock_state *s, const struct sd_addr *laddr, uint16_t lport)
{
	return &s->brood_heads[(laddr->w[3] * 0x9e3779b1u ^ lport * 0x85ebca6bu) >> 20];
}

static void tell_home(struct stack *st, const struct sock_brood_key *k, bool up)
{
	struct stack_msg m = { .kind = SMSG_KIDS, .u32[0] = up };

	memcpy(m.data, k, sizeof(*k));
	sock_send(st, 0, &m);
}

/* Return: index, 0 = no room for another brood. */
static uint32_t brood_new(struct sock_state *s, const struct sock_brood_key *k)
{
	uint32_t idx = idx_alloc(&s->brood_pool), *head = head_of(s, &k->laddr, k->lport);

	if (!idx)
		return 0;
	s->broods[idx] = (struct sock_brood){ .k = *k, .next = *head };
	*head = idx;
	return idx;
}

static struct sock_brood_key key_of(struct stack *st, const struct sock_listener *l,
				    const struct sock_tuple *t)
{
	const struct sd_slot_p *sp = sock_slot_p(st, l->id);
	uint8_t reuse = sp ? ld_rlx(&sp->opts.reuse) : l->reuseport * SOCK_REUSEPORT;

	return (struct sock_brood_key){
		.laddr = t->laddr, .lport = t->lport, .proto = l->proto,
		.reuse = reuse & (SOCK_REUSEADDR | SOCK_REUSEPORT), .uid = l->uid,
	};
}

uint32_t sock_kid_add(struct stack *st, const struct sock_listener *l, const struct sock_tuple *t)
{
	struct sock_state *s = st->sock;
	struct sock_brood_key k = key_of(st, l, t);
	uint32_t i;

	for (i = *head_of(s, &k.laddr, k.lport); i; i = s->broods[i].next)
		if (!memcmp(&s->broods[i].k, &k, sizeof(k)))
			break;
	if (!i)
		i = brood_new(s, &k);
	if (i && s->broods[i].cnt++ == 0)
		tell_home(st, &k, true);
	return i;
}

void sock_kid_del(struct stack *st, uint32_t brood)
{
	struct sock_state *s = st->sock;
	struct sock_brood *b = &s->broods[brood];
	uint32_t *link;

	if (!brood)
		return;
	ASSERT(brood < BROODS_MAX && b->cnt);
	if (--b->cnt)
		return;
	for (link = head_of(s, &b->k.laddr, b->k.lport); *link != brood;
	     link = &s->broods[*link].next)
		ASSERT(*link);
	*link = b->next;
	tell_home(st, &b->k, false);
	idx_free(&s->brood_pool, brood);
}

/* ---- worker 0 ---- */

static bool is_brood(const struct sock_bound *b, const struct sock_brood_key *k)
{
	return b->state == SOCK_B_KIDS && b->proto == k->proto && b->reuse == k->reuse &&
	       b->uid == k->uid && sd_addr_eq(&b->t.laddr, &k->laddr);
}

static void on_kids(struct stack *st, const struct stack_msg *msg)
{
	struct sock_brood_key k;
	struct sock_bound *b;
	uint32_t idx;

	memcpy(&k, msg->data, sizeof(k));
	idx = btab_first(st, k.proto, k.lport);
	while ((b = bound_at(st, idx)) && !is_brood(b, &k))
		idx = b->next;
	if (b && msg->u32[0]) {
		b->t.rport++;
	} else if (b) {
		if (--b->t.rport == 0)
			bound_free(st, idx);
	} else if (msg->u32[0]) {
		bound_alloc(st, &(struct sock_bound){
			.t = { .laddr = k.laddr, .lport = k.lport, .rport = 1 }, .uid = k.uid,
			.proto = k.proto, .family = AF_INET6, .reuse = k.reuse, .v6only = 1,
			.state = SOCK_B_KIDS,
		});
	}
}

/* ---- adoption ---- */

/* The record of a killed engine that tells what the options were. Without one nothing is held. */
static struct sock_bound *record_find(struct stack *home, const struct sock_tuple *t,
				      uint32_t *ret_idx)
{
	struct arena_iter it;
	struct sock_bound *b;

	arena_iter_init(&it, home->arena, AR_BOUND, 1, UINT32_MAX);
	while ((b = arena_iter_next(&it, ret_idx)))
		if (b->state == SOCK_B_KIDS && b->t.lport == t->lport &&
		    sd_addr_eq(&b->t.laddr, &t->laddr))
			return b;
	return NULL;
}

/* One worker more that has some; the killed engine's count goes. */
static void record_claim(struct stack *home, uint32_t idx, struct sock_bound *b)
{
	if (!(home->sock->bound_marks[idx / 64] >> idx % 64 & 1))
		b->t.rport = 0;
	sock_bound_claim(home, idx);
	b->t.rport++;
}

uint32_t sock_kid_adopt(struct stack *st, struct stack *home, const struct sock_tuple *t)
{
	struct sock_state *s = st->sock;
	struct sock_brood_key k = { .laddr = t->laddr, .lport = t->lport, .proto = IPPROTO_TCP };
	struct sock_bound *b;
	uint32_t i, idx;

	for (i = *head_of(s, &t->laddr, t->lport); i; i = s->broods[i].next)
		if (s->broods[i].k.lport == t->lport &&
		    sd_addr_eq(&s->broods[i].k.laddr, &t->laddr))
			break;
	if (!i) {
		b = record_find(home, t, &idx);
		if (!b)
			return 0;
		k.reuse = b->reuse;
		k.uid = b->uid;
		i = brood_new(s, &k);
		if (i)
			record_claim(home, idx, b);
	}
	if (i)
		s->broods[i].cnt++;
	return i;
}

/* ---- start and end ---- */

int kids_init(struct stack *st)
{
	struct sock_state *s = st->sock;

	s->broods = sock_map(BROODS_MAX * sizeof(*s->broods));
	s->brood_heads = sock_map(BROOD_HEADS * sizeof(*s->brood_heads));
	if (!s->broods || !s->brood_heads)
		return -ENOMEM;
	st->on_msg[SMSG_KIDS] = on_kids;
	return idx_pool_init(&s->brood_pool, 0, BROODS_MAX);
}

void kids_fini(struct sock_state *s)
{
	sock_unmap(s->broods, BROODS_MAX * sizeof(*s->broods));
	sock_unmap(s->brood_heads, BROOD_HEADS * sizeof(*s->brood_heads));
	idx_pool_fini(&s->brood_pool);
}
