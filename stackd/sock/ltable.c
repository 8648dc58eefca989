/* SPDX-License-Identifier: MIT */
/* sock/ltable.c - a worker's replica of the listening table
 * Spec:    H1 (best match), H4 (reuseport groups)
 *
 * Chains by (protocol, port) of nodes that carry a private copy of everything a lookup compares, so
 * that a packet never touches another worker's memory. Nodes are found by listener index; the array
 * is sparse. Best match as on Linux: exact address before wildcard, and for an IPv4 packet a v4
 * wildcard before ::. Listeners with SO_REUSEPORT on the same address form a group; the tuple's
 * hash picks one, the same for every packet of a connection while the group does not change.
 * Threads: owning worker only
 */
#include "stackd/sock/sock_int.h"

int ltab_init(struct stack *st, struct ltab *lt)
{
	lt->listeners = st->arena->hdr->reg[AR_LISTENER].cnt;
	lt->nodes = sock_map((size_t)lt->listeners * sizeof(*lt->nodes));
	return lt->nodes ? 0 : -ENOMEM;
}

void ltab_fini(struct ltab *lt)
{
	sock_unmap(lt->nodes, (size_t)lt->listeners * sizeof(*lt->nodes));
	lt->nodes = NULL;
}

static uint32_t *chain(struct stack *st, uint8_t proto, uint16_t port)
{
	return &st->sock->lt.heads[(port * 31u + proto) % LTAB_HEADS];
}

struct ltab_node *ltab_node(struct stack *st, uint32_t listener)
{
	struct ltab *lt = &st->sock->lt;

	return listener && listener < lt->listeners && lt->nodes[listener].used ?
	       &lt->nodes[listener] : NULL;
}

void ltab_add(struct stack *st, uint32_t listener, const struct sock_listener *l)
{
	struct ltab_node *n = &st->sock->lt.nodes[listener];
	uint32_t *head = chain(st, l->proto, l->port);

	ASSERT(!n->used);
	*n = (struct ltab_node){
		.addr = l->addr, .port = l->port, .proto = l->proto, .family = l->family,
		.v6only = l->v6only, .reuseport = l->reuseport, .used = 1, .next = *head,
		.id = l->id, .ring = l->accept_base + st->worker,
	};
	*head = listener;
}

void ltab_del(struct stack *st, uint32_t listener)
{
	struct ltab_node *n = ltab_node(st, listener);
	uint32_t *link;

	ASSERT(n);
	for (link = chain(st, n->proto, n->port); *link != listener;
	     link = &st->sock->lt.nodes[*link].next)
		ASSERT(*link);
	*link = n->next;
	n->used = 0;
}

/* 0 = does not take packets to @t, else better is higher. */
static unsigned score(const struct ltab_node *n, uint8_t proto, const struct sock_tuple *t, bool v4)
{
	if (n->port != t->lport || n->proto != proto)
		return 0;
	if (sd_addr_eq(&n->addr, &t->laddr))
		return 3;
	if (!sd_addr_is_any(&n->addr))
		return 0;
	if (sd_addr_is_v4(&n->addr))
		return v4 ? 2 : 0;
	return v4 && n->v6only ? 0 : 1;
}

/* Of the listeners that share @best's address: the one that the tuple's hash names. */
static uint32_t group_pick(struct stack *st, uint32_t best, const struct sock_tuple *t)
{
	struct ltab_node *nodes = st->sock->lt.nodes, *b = &nodes[best];
	uint32_t i, cnt = 0, pick;

#define IN_GROUP(n) ((n)->reuseport && (n)->port == b->port && (n)->proto == b->proto && \
		     sd_addr_eq(&(n)->addr, &b->addr))
	for (i = best; i; i = nodes[i].next)
		cnt += IN_GROUP(&nodes[i]);
	pick = (uint32_t)((uint64_t)etab_hash(st, t) * cnt >> 32);
	for (i = best; i; i = nodes[i].next)
		if (IN_GROUP(&nodes[i]) && pick-- == 0)
			return i;
#undef IN_GROUP
	return best;
}

uint32_t sock_llookup(struct stack *st, uint8_t proto, const struct sock_tuple *t)
{
	struct ltab_node *nodes = st->sock->lt.nodes;
	bool v4 = sd_addr_is_v4(&t->laddr);
	unsigned s, top = 0;
	uint32_t i, best = 0;

	for (i = *chain(st, proto, t->lport); i; i = nodes[i].next) {
		s = score(&nodes[i], proto, t, v4);
		if (s > top) {
			top = s;
			best = i;
		}
	}
	return best && nodes[best].reuseport ? group_pick(st, best, t) : best;
}
