/* SPDX-License-Identifier: MIT */
/* udp/table.c - who takes a datagram: a replica on every worker
 *
 * Any queue may receive for any socket, so each worker has a private copy of every socket's
 * addresses and its owner. Worker 0 makes a socket and sends UDP_ADD to all; bind() and connect()
 * answer when all have it. Later the owner sends changes (connect, disconnect) and UDP_DEL itself.
 * Messages of two senders may overtake each other, so each carries the record's version and an
 * older one is ignored; a record is used again only after every worker has answered both its first
 * ADD and its DEL.
 * Spec:    U1; RFC 768; Linux's compute_score(): connected before not, address before wildcard,
 *          IPv4 socket before IPv6 socket for an IPv4 packet; newest first among equals
 *          (SO_REUSEADDR)
 * Threads: each worker its own; acks on worker 0
 */
#include "stackd/core/siphash.h"
#include "stackd/udp/udp_int.h"

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

/* ---- replica ---- */

static void node_unlink(struct udp_state *u, uint32_t idx)
{
	struct udp_node *n = &u->nodes[idx];
	uint32_t *link;

	for (link = &u->heads[n->t.lport]; *link != idx; link = &u->nodes[*link].next)
		ASSERT(*link);
	*link = n->next;
	n->used = 0;
}

static void node_set(struct udp_state *u, uint32_t idx, const struct udp_rep *r)
{
	struct udp_node *n = &u->nodes[idx];

	if (n->used)
		node_unlink(u, idx);
	*n = (struct udp_node){
		.t = r->t, .ver = r->ver, .owner = r->owner, .family = r->family,
		.v6only = r->v6only, .reuse = r->reuse, .used = 1, .next = u->heads[r->t.lport],
	};
	u->heads[r->t.lport] = idx;
}

static bool newer(const struct udp_node *n, const struct udp_rep *r)
{
	return (int32_t)(r->ver - n->ver) > 0;
}

void udp_replica_set(struct stack *st, uint32_t idx, const struct udp_rep *r)
{
	struct udp_state *u = st->udp;

	if (idx > u->node_hi)
		u->node_hi = idx;
	if (newer(&u->nodes[idx], r))
		node_set(u, idx, r);
}

static void on_add(struct stack *st, const struct stack_msg *msg)
{
	struct stack_msg ack = { .kind = SMSG_UDP_ACK, .u32 = { msg->u32[0] } };
	struct udp_state *u = st->udp;
	struct udp_rep r;

	memcpy(&r, msg->data, sizeof(r));
	ASSERT(msg->u32[0] && msg->u32[0] < u->node_cnt);
	udp_replica_set(st, msg->u32[0], &r);
	if (msg->u32[1])
		sock_send(st, 0, &ack);
}

static void on_del(struct stack *st, const struct stack_msg *msg)
{
	struct stack_msg ack = { .kind = SMSG_UDP_ACK, .u32 = { msg->u32[0], 1 } };
	struct udp_state *u = st->udp;
	struct udp_node *n = &u->nodes[msg->u32[0]];
	struct udp_rep r;

	memcpy(&r, msg->data, sizeof(r));
	if (n->used)
		node_unlink(u, msg->u32[0]);
	n->ver = r.ver;			/* an ADD that was overtaken is older */
	sock_send(st, 0, &ack);
}

/* Worker 0: all replicas are up, or all are gone. */
static void on_ack(struct stack *st, const struct stack_msg *msg)
{
	struct udp_pend *p = &st->udp->pend[msg->u32[0]];

	if (msg->u32[1])
		p->del_acks++;
	else if (++p->add_acks == st->workers)
		st->up->reply(st, p->reply, 0, &p->name, p->bind ? sizeof(p->name) : 0);
	if (p->del_acks == st->workers && p->add_acks == st->workers) {
		sock_bound_put(st, p->bound);
		idx_free(&st->udp->pool, msg->u32[0]);
	}
}

static void tell_all(struct stack *st, uint16_t kind, uint32_t idx, const struct udp_sock *u,
		     bool first)
{
	struct udp_rep r = { .t = u->t, .ver = u->ver, .owner = u->owner, .family = u->family,
			     .v6only = u->v6only, .reuse = u->reuse };

	for (uint16_t w = 0; w < st->workers; w++) {
		struct stack_msg m = { .kind = kind, .u32 = { idx, first } };

		static_assert(sizeof(r) <= sizeof(m.data), "by value");
		memcpy(m.data, &r, sizeof(r));
		sock_send(st, w, &m);
	}
}

void udp_replicate(struct stack *st, uint32_t idx, const struct udp_sock *u, bool first)
{
	tell_all(st, SMSG_UDP_ADD, idx, u, first);
}

void udp_unreplicate(struct stack *st, uint32_t idx, struct udp_sock *u)
{
	u->ver++;
	tell_all(st, SMSG_UDP_DEL, idx, u, false);
}

/* ---- lookup ---- */

unsigned udp_score(const struct udp_node *n, const struct sock_tuple *t)
{
	bool v4 = sd_addr_is_v4(&t->laddr);
	unsigned s = 1 + (n->family == AF_INET);

	if (n->t.lport != t->lport)
		return 0;
	if (n->t.rport) {
		if (n->t.rport != t->rport || !sd_addr_eq(&n->t.raddr, &t->raddr))
			return 0;
		s += 8;
	}
	if (!sd_addr_is_any(&n->t.laddr))
		return sd_addr_eq(&n->t.laddr, &t->laddr) ? s + 4 : 0;
	if (sd_addr_is_v4(&n->t.laddr))
		return v4 ? s : 0;
	return v4 && n->v6only ? 0 : s;
}

#define REUSEPORT 2u

/* Of the sockets that share @best's address and score by SO_REUSEPORT: the one the tuple's hash
 * names. */
static uint32_t group_pick(struct stack *st, uint32_t best, unsigned top,
			   const struct sock_tuple *t)
{
	struct udp_node *nodes = st->udp->nodes;
	uint32_t i, cnt = 0, pick;

	for (i = best; i; i = nodes[i].next)
		cnt += (nodes[i].reuse & REUSEPORT) && udp_score(&nodes[i], t) == top;
	pick = (uint32_t)((siphash13(st->boot_secret, t, sizeof(*t)) & 0xffffffffu) * cnt >> 32);
	for (i = best; i; i = nodes[i].next)
		if ((nodes[i].reuse & REUSEPORT) && udp_score(&nodes[i], t) == top && pick-- == 0)
			return i;
	return best;
}

uint32_t udp_lookup(struct stack *st, const struct sock_tuple *t)
{
	struct udp_node *nodes = st->udp->nodes;
	unsigned s, top = 0;
	uint32_t i, best = 0;

	for (i = st->udp->heads[t->lport]; i; i = nodes[i].next) {
		s = udp_score(&nodes[i], t);
		if (s > top) {
			top = s;
			best = i;
		}
	}
	return best && nodes[best].reuse & REUSEPORT && !nodes[best].t.rport ?
	       group_pick(st, best, top, t) : best;
}

/* ---- start and end ---- */

int udp_table_init(struct stack *st)
{
	struct udp_state *u = st->udp;
	int err = 0;

	u->node_cnt = st->arena->hdr->reg[AR_UDP].cnt;
	u->heads = map(UDP_HEADS_SIZE);
	u->nodes = map(u->node_cnt * sizeof(*u->nodes));
	u->again = map(u->node_cnt * sizeof(*u->again));
	if (!u->heads || !u->nodes || !u->again)
		return -ENOMEM;
	st->on_msg[SMSG_UDP_ADD] = on_add;
	st->on_msg[SMSG_UDP_DEL] = on_del;
	if (st->worker == 0) {
		u->pend = map(u->node_cnt * sizeof(*u->pend));
		err = u->pend ? idx_pool_init(&u->pool, 0, u->node_cnt) : -ENOMEM;
		st->on_msg[SMSG_UDP_ACK] = on_ack;
	}
	return err;
}

void udp_table_fini(struct stack *st)
{
	struct udp_state *u = st->udp;

	unmap(u->heads, UDP_HEADS_SIZE);
	unmap(u->nodes, u->node_cnt * sizeof(*u->nodes));
	unmap(u->again, u->node_cnt * sizeof(*u->again));
	unmap(u->pend, u->node_cnt * sizeof(*u->pend));
	idx_pool_fini(&u->pool);
}
