/* SPDX-License-Identifier: MIT */
/* udp/ops.c - what programs ask of a datagram socket
 * A slot without object belongs to worker 0: the first bind(), connect() or send makes the AR_UDP
 * record there and hands the socket to its owner (the worker on whose queue a connected peer's
 * datagrams arrive, else the one the program prefers). From then on the owner answers alone; what
 * the others must know it tells them.
 * Spec:    U1; udp(7); connect(2) with AF_UNSPEC
 * Threads: worker 0 for a socket without object, else its owner
 */
#include "stackd/udp/udp_int.h"

static const struct sd_addr any4 = { .w = { 0, 0, 0xffff0000u, 0 } };

static void answer(struct stack *st, const struct sock_cmd *c, int err)
{
	st->up->reply(st, c->reply, err, NULL, 0);
}

struct udp_sock *udp_at(struct stack *st, uint32_t idx)
{
	struct udp_sock *u = arena_at(st->arena, AR_UDP, idx);

	return u && u->live ? u : NULL;
}

/* The record behind @obj, NULL unless it is this socket's and ours. */
static struct udp_sock *mine(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct udp_sock *u = OBJ_KIND(obj) == OBJ_UDP ? udp_at(st, OBJ_IDX(obj)) : NULL;

	if (!u || u->owner != st->worker || u->id.seg != c->id.seg || u->id.slot != c->id.slot ||
	    u->id.gen != c->id.gen)
		return NULL;
	return u;
}

static struct sd_addr any_of(const struct udp_sock *u)
{
	return u->family == AF_INET6 ? (struct sd_addr){ 0 } : any4;
}

/* ---- worker 0: the record is made ---- */

static void read_opts(struct udp_sock *u, struct sd_slot_e *e, struct sd_slot_p *sp)
{
	u->rx_limit = sock_buf_limit(ld_rlx(&sp->opts.rcvbuf));
	st_rlx(&e->rx_limit, u->rx_limit);
	st_rlx(&e->tx_limit, sock_buf_limit(ld_rlx(&sp->opts.sndbuf)));
}

/* A slot that had a record before: its FIFOs go on where they are. */
static void positions(struct udp_sock *u, struct sd_slot_e *e, struct sd_slot_p *sp)
{
	uint64_t head = ld_acq(&sp->rx_head);

	u->rx_tail = ld_rlx(&e->rx_tail);
	u->rx_head = head <= u->rx_tail ? head : u->rx_tail;
	u->tx_pos = ld_rlx(&e->tx_una);
}

struct make {
	struct sock_tuple t;
	uint32_t bound;
	uint16_t owner;
	bool addr_fixed, name;
};

/* Return: index, 0 = none left. The answer comes when all replicas are up. */
static uint32_t sock_make(struct stack *st, const struct sock_cmd *c, const struct make *mk)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct sd_slot_p *sp = sock_slot_p(st, c->id);
	uint32_t idx = idx_alloc(&st->udp->pool), ver;
	struct udp_sock *u = arena_at(st->arena, AR_UDP, idx);

	if (!u)
		return 0;
	ver = u->ver + 1;
	*u = (struct udp_sock){
		.t = mk->t, .id = c->id, .bound = mk->bound, .ver = ver, .owner = mk->owner,
		.live = 1,
		.family = ld_rlx(&sp->opts.family) == AF_INET6 ? AF_INET6 : AF_INET,
		.v6only = !!(ld_rlx(&sp->flags) & SD_P_V6ONLY), .reuse = ld_rlx(&sp->opts.reuse),
		.addr_fixed = mk->addr_fixed,
	};
	read_opts(u, e, sp);
	positions(u, e, sp);
	st->udp->pend[idx] = (struct udp_pend){
		.reply = c->reply, .bind = mk->name, .bound = mk->bound,
		.name = { .addr = mk->t.laddr, .port = mk->t.lport },
	};
	e->obj = OBJ(OBJ_UDP, idx);
	st_rel(&e->worker, mk->owner);		/* pairs with ld_acq in app_dispatch() */
	udp_replicate(st, idx, u, true);
	return idx;
}

/* Nothing came of it: the slot is as fresh as before. */
static void unmake(struct stack *st, const struct sock_cmd *c, uint32_t bound)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);

	sock_bound_put(st, bound);
	e->obj = 0;
	e->laddr = e->raddr = (struct sd_addr){ 0 };
	e->lport = e->rport = 0;
	e->flags &= ~(SD_E_BOUND | SD_E_CONNECTED);
}

static int first_bind(struct stack *st, const struct sock_cmd *c, bool name)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct make mk = { .owner = (uint16_t)(c->home % st->workers), .name = name };
	struct sock_cmd now = *c;
	int err;

	if (c->op != SD_OP_BIND)
		now.u32[0] = 0;		/* it sends: now is when it needs a port */
	err = sock_bind(st, &now, &mk.bound);
	if (err || !mk.bound) {
		if (!err)
			answer(st, c, 0);
		return err;
	}
	mk.t = (struct sock_tuple){ .laddr = e->laddr, .lport = e->lport };
	mk.addr_fixed = !sd_addr_is_any(&e->laddr);
	if (sock_make(st, c, &mk))
		return 0;
	unmake(st, c, mk.bound);
	return -ENOBUFS;
}

static void slot_connected(struct sd_slot_e *e, const struct sock_tuple *t)
{
	e->laddr = t->laddr;
	e->lport = t->lport;
	e->raddr = t->raddr;
	e->rport = t->rport;
	st_rel(&e->state, SD_ST_ESTABLISHED);
	st_rel(&e->flags, (e->flags & ~SD_E_SND_FIN) | SD_E_CONNECTED | SD_E_BOUND);
}

static int bcast_check(struct stack *st, const struct sock_cmd *c, const struct ip_route_res *r)
{
	struct sd_slot_p *sp = sock_slot_p(st, c->id);

	return r->bcast && !(ld_rlx(&sp->opts.dgram_flags) & SD_DGF_BCAST) ? -EACCES : 0;
}

static int first_connect(struct stack *st, const struct sock_cmd *c)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct make mk = { 0 };
	struct ip_route_res r;
	int err = sock_connect(st, c, 0, &mk.t, &mk.bound, &mk.owner, &r);

	if (err)
		return err;
	err = bcast_check(st, c, &r);
	if (!err) {
		slot_connected(e, &mk.t);
		if (!sock_make(st, c, &mk))
			err = -ENOBUFS;
	}
	if (err) {
		unmake(st, c, mk.bound);
		st_rel(&e->state, SD_ST_CLOSE);
	}
	return err;
}

/* ---- operations ---- */

static void op_bind(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	int err = obj ? -EINVAL : first_bind(st, c, true);

	if (err)
		answer(st, c, err);
}

/* Connect, again, or with another peer: on the owner. */
static int reconnect(struct stack *st, const struct sock_cmd *c, struct udp_sock *u, uint32_t idx)
{
	struct sock_tuple t = { .lport = u->t.lport, .raddr = c->addr, .rport = c->port };
	struct sd_addr src = u->addr_fixed ? u->t.laddr : any_of(u);
	struct ip_route_res r;
	int err;

	if (sd_addr_is_v4(&c->addr) && !u->v6only && sd_addr_is_any(&src))
		src = any4;
	if (sd_addr_is_v4(&c->addr) != sd_addr_is_v4(&src))
		return -ENETUNREACH;
	err = ip_route(st, &c->addr, &src, &r);
	if (!err)
		err = bcast_check(st, c, &r);
	if (err)
		return err;
	t.laddr = u->addr_fixed ? u->t.laddr : r.src;
	t.raddr = sd_addr_is_any(&c->addr) ? r.next_hop : c->addr;
	u->t = t;
	u->ver++;
	udp_replicate(st, idx, u, false);
	sock_bound_set(st, u->bound, &t);
	slot_connected(sock_slot_e(st, c->id), &t);
	return 0;
}

static void op_connect(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct udp_sock *u = mine(st, c, obj);
	int err;

	if (!obj) {
		err = first_connect(st, c);
		if (err)
			answer(st, c, err);
		return;
	}
	answer(st, c, u ? reconnect(st, c, u, OBJ_IDX(obj)) : -EIO);
}

/* A port that bind() did not name goes with the peer: the slot is as fresh as after socket(), save
 * for an address that bind() gave it. */
static void let_go(struct stack *st, struct udp_sock *u, uint32_t idx, struct sd_slot_e *e)
{
	for (unsigned i = 0; i < UDP_CLOSE_TURNS && udp_tx(st, u); i++)
		;
	udp_unreplicate(st, idx, u);
	u->live = 0;
	e->laddr = u->addr_fixed ? u->t.laddr : any_of(u);
	e->raddr = (struct sd_addr){ 0 };
	e->lport = e->rport = 0;
	st_rel(&e->state, SD_ST_CLOSE);
	and_sc(&e->flags, ~(SD_E_BOUND | SD_E_CONNECTED | SD_E_SND_FIN));
	st_rel(&e->obj, 0);		/* obj, then worker: app/cmd.c, C1 */
	st_rel(&e->worker, 0);
}

static void op_disconnect(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct udp_sock *u = mine(st, c, obj);
	struct sd_slot_e *e = sock_slot_e(st, c->id);

	if (u && !(e->flags & SD_E_PORT_LOCK)) {
		let_go(st, u, OBJ_IDX(obj), e);
	} else if (u && u->t.rport) {
		u->t = (struct sock_tuple){ .laddr = u->addr_fixed ? u->t.laddr : any_of(u),
					    .lport = u->t.lport };
		u->ver++;
		udp_replicate(st, OBJ_IDX(obj), u, false);
		sock_bound_set(st, u->bound, &u->t);
		e->laddr = u->t.laddr;
		e->raddr = (struct sd_addr){ 0 };
		e->rport = 0;
		st_rel(&e->state, SD_ST_CLOSE);
		st_rel(&e->flags, e->flags & ~(SD_E_CONNECTED | SD_E_SND_FIN));
	}
	answer(st, c, 0);
}

static void op_shutdown(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct udp_sock *u = mine(st, c, obj);
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	uint32_t how = c->u32[0], ev = 0;

	if (how > SHUT_RDWR) {
		answer(st, c, -EINVAL);
		return;
	}
	if (!u || !u->t.rport) {
		answer(st, c, -ENOTCONN);
		return;
	}
	if (how != SHUT_WR)
		ev |= SD_EV_IN | SD_EV_RDHUP;
	if (how != SHUT_RD) {
		st_rel(&e->flags, e->flags | SD_E_SND_FIN);
		ev |= SD_EV_OUT;
	}
	st->up->event(st, c->id, how == SHUT_RDWR ? ev | SD_EV_HUP : ev);
	answer(st, c, 0);
}

void udp_close_sock(struct stack *st, uint32_t idx, struct udp_sock *u)
{
	struct sock_id id = u->id;

	for (unsigned i = 0; i < UDP_CLOSE_TURNS && udp_tx(st, u); i++)
		;			/* sent before close() is sent */
	udp_unreplicate(st, idx, u);
	u->live = 0;
	sock_slot_free(st, id);
}

static void op_close(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct udp_sock *u = mine(st, c, obj);

	if (u)
		udp_close_sock(st, OBJ_IDX(obj), u);
}

static void op_kick(struct stack *st, const struct sock_cmd *c, uint32_t obj, uint32_t pending)
{
	struct udp_sock *u = mine(st, c, obj);
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct sd_slot_p *sp = sock_slot_p(st, c->id);

	if (!obj && pending & SD_PEND_TX) {
		struct sock_cmd bind = *c;

		bind.port = 0;
		bind.addr = ld_rlx(&sp->opts.family) == AF_INET6 ? (struct sd_addr){ 0 } : any4;
		if (e->flags & SD_E_ADDR_LOCK)
			bind.addr = e->laddr;
		bind.reply.mbox = 0;
		if (first_bind(st, &bind, false)) {
			sock_set_err(st, c->id, EAGAIN, SD_EV_OUT);
			return;
		}
		or_sc(&sp->pending, pending);
		sock_forward(st, e->worker, c);
		return;
	}
	if (!u || u->hostile)
		return;
	if (pending & SD_PEND_OPT)
		read_opts(u, e, sp);
	if (pending & SD_PEND_RX && !udp_rx_consume(st, u, e, sp))
		return;
	if (pending & SD_PEND_TX && udp_tx(st, u))
		udp_again(st, OBJ_IDX(obj));
}

static void op_nopt(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	answer(st, c, -ENOPROTOOPT);
}

const struct sock_ops udp_sock_ops = {
	.name = "UDP",
	.type = SOCK_DGRAM,
	.proto = IPPROTO_UDP,
	.bind = op_bind,
	.connect = op_connect,
	.disconnect = op_disconnect,
	.shutdown = op_shutdown,
	.close = op_close,
	.kick = op_kick,
	.setopt = op_nopt,
	.getopt = op_nopt,
};
