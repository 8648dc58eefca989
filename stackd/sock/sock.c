/* SPDX-License-Identifier: MIT */
/* sock/sock.c - start-up, the protocol switch, control messages that must arrive
 * Threads: each worker its own state; the parts of worker 0 are made there only
 */
#include <sys/mman.h>

#include "stackd/core/rng.h"
#include "stackd/sock/sock_int.h"

#define EHASH_LINES	(1u << 21)	/* 8 million connections a worker at four a line */

void *sock_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void sock_unmap(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

/* ---- control messages ---- */

static void keep(struct sock_state *s, uint16_t to, const struct stack_msg *msg)
{
	ASSERT(s->kept_cnt < SOCK_KEPT_MAX);	/* app stops taking commands long before */
	s->kept[s->kept_cnt].to = to;
	s->kept[s->kept_cnt++].msg = *msg;
	s->kept_to[to]++;
}

void sock_send(struct stack *st, uint16_t to, struct stack_msg *msg)
{
	if (st->sock->kept_to[to] || !stack_send(st, to, msg))
		keep(st->sock, to, msg);
}

void sock_poll(struct stack *st)
{
	struct sock_state *s = st->sock;
	bool full[SD_MAX_WORKERS] = { false };
	uint32_t i, left = 0, cnt = s->kept_cnt;

	for (i = 0; i < cnt; i++) {
		uint16_t to = s->kept[i].to;

		if (!full[to] && stack_send(st, to, &s->kept[i].msg)) {
			s->kept_to[to]--;
			continue;
		}
		full[to] = true;
		if (left != i)
			s->kept[left] = s->kept[i];
		left++;
	}
	s->kept_cnt = left;
}

uint32_t sock_backlog(struct stack *st)
{
	return st->sock->kept_cnt;
}

void sock_forward(struct stack *st, uint16_t to, const struct sock_cmd *c)
{
	struct stack_msg m = { .kind = SMSG_CMD };

	static_assert(sizeof(*c) <= sizeof(m.data), "by value");
	memcpy(m.data, c, sizeof(*c));
	sock_send(st, to, &m);
}

static void on_bound_put(struct stack *st, const struct stack_msg *msg)
{
	bound_free(st, msg->u32[0]);
}

static void on_bound_set(struct stack *st, const struct stack_msg *msg)
{
	struct sock_bound *b = bound_at(st, msg->u32[0]);
	struct sock_tuple t;

	ASSERT(b && b->proto == IPPROTO_UDP);
	memcpy(&t, msg->data, sizeof(t));
	b->state = t.rport ? SOCK_B_CONN : SOCK_B_BOUND;
	if (t.lport == b->t.lport) {
		b->t = t;		/* the order of a port's holders stays */
		return;
	}
	btab_unlink(st, msg->u32[0]);
	b->t = t;
	btab_link(st, msg->u32[0]);
}

/* ---- protocol switch ---- */

int sock_register(struct stack *st, const struct sock_ops *ops)
{
	struct sock_state *s = st->sock;

	if (s->ops_cnt == SOCK_OPS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < s->ops_cnt; i++)
		if (s->ops[i]->type == ops->type && s->ops[i]->proto == ops->proto)
			return -EEXIST;
	s->ops[s->ops_cnt++] = ops;
	return 0;
}

const struct sock_ops *sock_find(struct stack *st, uint8_t type, uint8_t proto, int *ret_err)
{
	struct sock_state *s = st->sock;

	*ret_err = -ESOCKTNOSUPPORT;
	for (unsigned i = 0; i < s->ops_cnt; i++) {
		if (s->ops[i]->type != type)
			continue;
		if (!proto || s->ops[i]->proto == proto)
			return s->ops[i];
		*ret_err = -EPROTONOSUPPORT;
	}
	return NULL;
}

void sock_set_listen_ops(struct stack *st, uint8_t proto, const struct sock_listen_ops *ops)
{
	st->sock->lops[proto] = ops;
}

/* ---- start and end ---- */

static int init_worker0(struct stack *st, struct sock_state *s)
{
	int err;

	s->bheads = sock_map(SOCK_BHEADS_SIZE);
	s->memos = sock_map(SOCK_MEMOS_SIZE);
	s->rings_used = sock_map(SOCK_RINGS_SIZE);
	s->rings_dirty = sock_map(SOCK_RINGS_SIZE);
	if (!s->bheads || !s->memos || !s->rings_used || !s->rings_dirty)
		return -ENOMEM;
	err = etab_init(&s->conn, EHASH_LINES);
	if (!err)
		err = idx_pool_init(&s->bounds, 0, st->arena->hdr->reg[AR_BOUND].cnt);
	if (!err)
		err = idx_pool_init(&s->listeners, 0, st->arena->hdr->reg[AR_LISTENER].cnt);
	if (!err)
		err = dests_init(s);
	for (unsigned i = 0; i < SOCK_PERTURB; i++)
		s->perturb[i] = (uint16_t)rng_u32(st->rng_state);
	st->on_msg[SMSG_BOUND_PUT] = on_bound_put;
	st->on_msg[SMSG_BOUND_SET] = on_bound_set;
	return err;
}

int sock_init(struct stack *st)
{
	struct sock_state *s = sock_map(sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	st->sock = s;
	sysctl_attach(st);
	s->gen_next = rng_u32(st->rng_state);
	s->kept = sock_map(SOCK_KEPT_SIZE);
	err = s->kept ? etab_init(&s->eh, EHASH_LINES) : -ENOMEM;
	if (!err)
		err = ltab_init(st, &s->lt);
	if (!err && st->worker == 0)
		err = init_worker0(st, s);
	if (!err)
		err = listen_init(st);
	if (!err)
		err = kids_init(st);
	if (err)
		sock_fini(st);
	return err;
}

void sock_fini(struct stack *st)
{
	struct sock_state *s = st->sock;

	if (!s)
		return;
	etab_fini(&s->eh);
	etab_fini(&s->conn);
	ltab_fini(&s->lt);
	idx_pool_fini(&s->bounds);
	idx_pool_fini(&s->listeners);
	sock_unmap(s->bheads, SOCK_BHEADS_SIZE);
	sock_unmap(s->memos, SOCK_MEMOS_SIZE);
	sock_unmap(s->rings_used, SOCK_RINGS_SIZE);
	sock_unmap(s->rings_dirty, SOCK_RINGS_SIZE);
	sock_unmap(s->kept, SOCK_KEPT_SIZE);
	kids_fini(s);
	dests_fini(s);
	dports_fini(s);
	sock_unmap(s, sizeof(*s));
	st->sock = NULL;
}
