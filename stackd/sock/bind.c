/* SPDX-License-Identifier: MIT */
/* sock/bind.c - bind(), and the part of connect() that finds addresses and ports
 * Spec:    H2, H3, H5; bind(2), connect(2), ipv6(7) for IPV6_V6ONLY
 * Checks come in Linux's order (bind_checks), the conflict last.
 * Holds:   BI1 an AR_BOUND in state CONN of TCP is in st->sock->conn under its tuple, and nothing
 *          else is
 * Threads: worker 0, except sock_bound_put() and sock_bound_set(), which travel there
 */
#include "stackd/sock/sock_int.h"

static const struct sd_addr any4 = { .w = { 0, 0, 0xffff0000u, 0 } };

/* What the socket's options mean for its hold on a port; copied once from the slot. */
static void bound_from_slot(struct sock_bound *b, const struct sock_cmd *c, struct sd_slot_e *e,
			    struct sd_slot_p *sp)
{
	*b = (struct sock_bound){
		.id = c->id,
		.uid = c->cred.uid,
		.proto = e->proto,
		.family = ld_rlx(&sp->opts.family) == AF_INET6 ? AF_INET6 : AF_INET,
		.reuse = ld_rlx(&sp->opts.reuse) & (SOCK_REUSEADDR | SOCK_REUSEPORT),
		.v6only = !!(ld_rlx(&sp->flags) & SD_P_V6ONLY),
		.state = SOCK_B_BOUND,
	};
}

static struct sd_addr any_of(uint8_t family)
{
	return family == AF_INET6 ? (struct sd_addr){ 0 } : any4;
}

/* Is @a an address that this socket can have? Sets b->t.laddr. */
static int bind_addr(struct stack *st, struct sock_bound *b, const struct sd_addr *a)
{
	bool v4 = sd_addr_is_v4(a);

	if (b->family == AF_INET && !v4)
		return -EADDRNOTAVAIL;
	if (b->family == AF_INET6 && v4 && b->v6only)
		return -EINVAL;
	if (!sd_addr_is_any(a) && !ip_is_local(st, a))
		return -EADDRNOTAVAIL;
	b->t.laddr = *a;
	if (!v4 && !sd_addr_is_any(a))
		b->v6only = 1;		/* such a socket never sees IPv4 */
	return 0;
}

/* Find or check the port. @picked: it is not the program's wish, and so shared with nobody. */
static int bind_port(struct stack *st, struct sock_bound *b, uint16_t port, bool picked)
{
	b->t.lport = port;
	if (!port)
		return port_for_bind(st, b) ? 0 : -EADDRINUSE;
	return btab_take(st, b, 0, picked) ? 0 : -EADDRINUSE;
}

static void slot_bound(struct sd_slot_e *e, const struct sock_bound *b, uint32_t idx)
{
	e->laddr = b->t.laddr;
	e->lport = b->t.lport;
	if (!e->obj && idx)
		e->obj = OBJ(OBJ_BOUND, idx);
	or_sc(&e->flags, (b->t.lport ? SD_E_BOUND : 0) | (b->addr_lock ? SD_E_ADDR_LOCK : 0) |
			 (b->port_lock ? SD_E_PORT_LOCK : 0));
}

/* Everything but the conflict, in the order of the family: Linux's two bind() differ. */
static int bind_checks(struct stack *st, struct sock_bound *b, const struct sock_cmd *c,
		       const struct sd_slot_e *e)
{
	uint32_t start = ld_rlx(&st->sys->ip_unprivileged_port_start);
	bool low = c->port && c->port < start && !c->cred.low_ports;
	bool twice = e->flags & SD_E_BOUND || e->obj;
	int err = bind_addr(st, b, &c->addr);

	if (b->family == AF_INET)
		return err ? err : low ? -EACCES : twice ? -EINVAL : 0;
	return low ? -EACCES : twice ? -EINVAL : err;
}

int sock_bind(struct stack *st, const struct sock_cmd *c, uint32_t *ret_bound)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct sd_slot_p *sp = sock_slot_p(st, c->id);
	uint32_t how = c->op == SD_OP_BIND ? c->u32[0] : 0;
	struct sock_bound b;
	uint32_t idx;
	int err;

	if (!e || !sp)
		return -EINVAL;
	bound_from_slot(&b, c, e, sp);
	err = bind_checks(st, &b, c, e);
	if (err)
		return err;
	/* 0.0.0.0 of an IPv6 socket is an address that it asked for, and stays */
	b.addr_lock = !sd_addr_is_any(&b.t.laddr) || (b.family == AF_INET6 &&
						      sd_addr_is_v4(&b.t.laddr));
	b.port_lock = c->port && !(how & SD_BIND_PICKED);
	*ret_bound = 0;
	if (!c->port && how & SD_BIND_DEFER_PORT) {
		slot_bound(e, &b, 0);	/* the address alone; connect() or listen() finds a port */
		return 0;
	}
	err = bind_port(st, &b, c->port, how & SD_BIND_PICKED);
	if (err) {
		e->laddr = any_of(b.family);	/* the name of an earlier connection goes, too */
		return err;
	}
	idx = btab_room(st, &b) ? bound_alloc(st, &b) : 0;
	if (!idx)
		return -ENOBUFS;
	slot_bound(e, &b, idx);
	*ret_bound = idx;
	return 0;
}

/* Source address by route, and the route. */
static int conn_route(struct stack *st, const struct sock_cmd *c, const struct sock_bound *b,
		      struct sock_tuple *t, struct ip_route_res *ret)
{
	bool v4 = sd_addr_is_v4(&c->addr), bound4 = sd_addr_is_v4(&b->t.laddr);
	struct sd_addr src = b->t.laddr;
	int err;

	if (v4 && !bound4 && sd_addr_is_any(&src))
		src = any4;
	if (v4 != sd_addr_is_v4(&src) || (v4 && b->v6only))
		return -ENETUNREACH;
	err = ip_route(st, &c->addr, &src, ret);
	if (err)
		return err;
	t->laddr = sd_addr_is_any(&src) ? ret->src : src;
	t->raddr = sd_addr_is_any(&c->addr) ? ret->next_hop : c->addr;
	t->rport = c->port;
	t->lport = b->t.lport;
	return 0;
}

/* TCP: a tuple that no other connection has. */
static int conn_port(struct stack *st, const struct sock_cmd *c, struct sock_bound *b,
		     const struct sock_tuple *t)
{
	struct sock_tuple want = *t;

	if (!want.lport) {
		want.lport = port_for_connect(st, c->id, t,
					      (uint16_t)(c->home % st->workers));
		b->autobound = 1;
	}
	if (!want.lport || etab_find(st, &st->sock->conn, &want))
		return -EADDRNOTAVAIL;
	b->t = want;
	b->state = SOCK_B_CONN;
	return 0;
}

/* UDP: the port is chosen as for bind(0) with the wildcard address; the tuple need not be unique.
 */
static int dgram_port(struct stack *st, struct sock_bound *b, const struct sock_tuple *t)
{
	uint16_t port = b->t.lport;

	if (!port)
		port = port_for_bind(st, b);
	if (!port)
		return -EAGAIN;
	b->t = *t;
	b->t.lport = port;
	b->state = SOCK_B_CONN;
	return 0;
}

/* A record whose port stays keeps its place: the order of a port's holders matters. */
static void relink(struct stack *st, uint32_t idx, const struct sock_bound *b)
{
	struct sock_bound *r = bound_at(st, idx), now = *b;

	if (r->t.lport == b->t.lport && r->autobound == b->autobound) {
		now.next = r->next;
		now.prev = r->prev;
		now.charged = r->charged;
		*r = now;
		return;
	}
	btab_unlink(st, idx);
	*bound_at(st, idx) = *b;
	btab_link(st, idx);
}

/* The connection is over: what is left is what bind() named. */
static void conn_undo(struct stack *st, uint32_t idx, struct sock_bound *b)
{
	if (b->state != SOCK_B_CONN || b->proto != IPPROTO_TCP)
		return;
	if (etab_remove(st, &st->sock->conn, &b->t, OBJ(OBJ_BOUND, idx)))
		dests_del(st, &b->t);
	b->state = SOCK_B_BOUND;
	b->t.raddr = (struct sd_addr){ 0 };
	b->t.rport = 0;
	if (!b->addr_lock)
		b->t.laddr = any_of(b->family);
}

void sock_unconnect(struct stack *st, struct sock_id id, uint32_t bound)
{
	struct sd_slot_e *e = sock_slot_e(st, id);
	struct sd_slot_p *sp = sock_slot_p(st, id);
	struct sock_bound *b = bound_at(st, bound);

	if (b && sock_id_eq(&b->id, &id))
		conn_undo(st, bound, b);
	if (!e || !sp)
		return;
	if (!(e->flags & SD_E_ADDR_LOCK))
		e->laddr = any_of(ld_rlx(&sp->opts.family) == AF_INET6 ? AF_INET6 : AF_INET);
	e->raddr = (struct sd_addr){ 0 };
	e->rport = 0;
}

uint32_t sock_bound_after(struct stack *st, uint32_t bound)
{
	const struct sock_bound *b = bound_at(st, bound);

	if (b && b->port_lock)
		return bound;
	sock_bound_put(st, bound);
	return 0;
}

/* Write record @idx (0 = a new one) to be @b, chains and the table of connections included. */
static int conn_commit(struct stack *st, const struct sock_bound *b, uint32_t *idx)
{
	struct sock_bound *r = bound_at(st, *idx), old = { .state = SOCK_B_FREE };

	if (r) {
		old = *r;
		relink(st, *idx, b);
	} else {
		*idx = btab_room(st, b) ? bound_alloc(st, b) : 0;
		if (!*idx)
			return -ENOBUFS;
	}
	if (b->proto != IPPROTO_TCP)
		return 0;
	if (!etab_insert(st, &st->sock->conn, &b->t, OBJ(OBJ_BOUND, *idx))) {
		dests_add(st, &b->t);
		return 0;
	}
	if (r) {
		relink(st, *idx, &old);
	} else {
		bound_at(st, *idx)->state = SOCK_B_BOUND;
		bound_free(st, *idx);
	}
	return -ENOBUFS;
}

int sock_connect(struct stack *st, const struct sock_cmd *c, uint32_t bound,
		 struct sock_tuple *ret_t,
		 uint32_t *ret_bound, uint16_t *ret_worker, struct ip_route_res *ret_route)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct sd_slot_p *sp = sock_slot_p(st, c->id);
	struct sock_bound b, *old = bound_at(st, bound);
	struct sock_tuple t;
	uint32_t idx = bound;
	int err;

	if (!e || !sp || (bound && (!old || !sock_id_eq(&old->id, &c->id))))
		return -EINVAL;
	bound_from_slot(&b, c, e, sp);
	b.t.laddr = e->flags & SD_E_ADDR_LOCK ? e->laddr : any_of(b.family);
	b.addr_lock = !!(e->flags & SD_E_ADDR_LOCK);
	if (old) {
		conn_undo(st, bound, old);
		b = *old;
	}
	if (b.state != SOCK_B_BOUND)
		return -EINVAL;
	err = conn_route(st, c, &b, &t, ret_route);
	if (!err && (ret_route->bcast || ret_route->mcast) && b.proto == IPPROTO_TCP)
		err = -ENETUNREACH;
	if (!err)
		err = b.proto == IPPROTO_TCP ? conn_port(st, c, &b, &t) : dgram_port(st, &b, &t);
	if (!err)
		err = conn_commit(st, &b, &idx);
	if (err)
		return err;
	e->laddr = b.t.laddr;
	e->lport = b.t.lport;
	e->raddr = b.t.raddr;
	e->rport = b.t.rport;
	or_sc(&e->flags, SD_E_BOUND);
	*ret_t = b.t;
	*ret_bound = idx;
	*ret_worker = port_worker(st, b.proto, &b.t);
	return 0;
}

void sock_bound_put(struct stack *st, uint32_t bound)
{
	struct stack_msg m = { .kind = SMSG_BOUND_PUT, .u32[0] = bound };

	if (bound)
		sock_send(st, 0, &m);
}

void sock_bound_set(struct stack *st, uint32_t bound, const struct sock_tuple *t)
{
	struct stack_msg m = { .kind = SMSG_BOUND_SET, .u32[0] = bound };

	static_assert(sizeof(*t) <= sizeof(m.data), "by value");
	memcpy(m.data, t, sizeof(*t));
	sock_send(st, 0, &m);
}
