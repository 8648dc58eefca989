/* SPDX-License-Identifier: MIT */
/* UDP through the whole stack: programs' FIFOs, replicas, owners, looped and injected packets. */
#include "stackd/udp/udp_int.h"
#include "tests/unit/sock/sx.h"

/* ---- a program's side ---- */

static struct shm_magazine mag;

static void dispatch(struct stack *st, const struct sock_cmd *c)
{
	const struct sock_ops *ops = &udp_sock_ops;
	struct sd_slot_e *e = sock_slot_e(st, c->id);

	if (!e)
		return;
	if (e->worker != st->worker) {
		sock_forward(st, e->worker, c);
		return;
	}
	switch (c->op) {
	case SD_OP_BIND: ops->bind(st, c, e->obj); break;
	case SD_OP_CONNECT: ops->connect(st, c, e->obj); break;
	case SD_OP_DISCONNECT: ops->disconnect(st, c, e->obj); break;
	case SD_OP_SHUTDOWN: ops->shutdown(st, c, e->obj); break;
	case SD_OP_CLOSE: ops->close(st, c, e->obj); break;
	case SD_OP_KICK: ops->kick(st, c, e->obj, xchg_sc(&sx_p(c->id)->pending, 0)); break;
	}
}

static void on_cmd(struct stack *st, const struct stack_msg *msg)
{
	struct sock_cmd c;

	memcpy(&c, msg->data, sizeof(c));
	dispatch(st, &c);
}

static void start(unsigned workers)
{
	sx_init(workers);
	shm_pool_init(&sx.segs[SX_SEG]);
	mag = (struct shm_magazine){ 0 };
	for (unsigned w = 0; w < workers; w++)
		sx.h->st[w].on_msg[SMSG_CMD] = on_cmd;
}

/* Return: the answer's errno; everything has settled. */
static int op_home(struct sock_id id, enum sd_op op, uint32_t addr, uint16_t port, uint16_t home)
{
	struct sock_cmd c = sx_cmd(id, op, sx_v4(addr), port);

	c.home = home;
	sx.reply.err = 1;
	dispatch(&sx.h->st[0], &c);
	sx_pump();
	return sx.reply.err;
}

static int op(struct sock_id id, enum sd_op o, uint32_t addr, uint16_t port)
{
	return op_home(id, o, addr, port, 0);
}

static struct sock_id udp(uint32_t addr, uint16_t port)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_DGRAM, 0);

	cr_assert_eq(op(id, SD_OP_BIND, addr, port), 0);
	return id;
}

static void kick(struct sock_id id, uint32_t pend)
{
	struct sock_cmd c = sx_cmd(id, SD_OP_KICK, (struct sd_addr){ 0 }, 0);

	or_sc(&sx_p(id)->pending, pend);
	dispatch(&sx.h->st[0], &c);
}

static void tx_bytes(struct sock_id id, const void *p, uint64_t len)
{
	struct shm_fifo_mem m = { .seg = &sx.segs[SX_SEG], .mag = &mag };
	struct sd_slot_p *sp = sx_p(id);

	shm_fifo_release(&m, SD_FIFO_TX, &sp->tx, sx_e(id)->tx_una, sp->tx_tail);
	if (shm_fifo_reserve(&m, SD_FIFO_TX, &sp->tx, sp->tx_tail, len) == len)
		shm_fifo_write(m.seg, SD_FIFO_TX, &sp->tx, sp->tx_tail, p, len);
	sp->tx_tail += len;
}

static void send_flags(struct sock_id id, uint32_t addr, uint16_t port, const void *p, uint32_t len,
		       uint16_t gso)
{
	struct sd_dgram d = { .len = len, .port = port, .addr = sx_v4(addr), .gso_len = gso };
	static const uint8_t pad[8];

	tx_bytes(id, &d, sizeof(d));
	tx_bytes(id, p, len);
	tx_bytes(id, pad, (8 - len % 8) % 8);
	kick(id, SD_PEND_TX);
}

static void send_to(struct sock_id id, uint32_t addr, uint16_t port, const void *p, uint32_t len)
{
	send_flags(id, addr, port, p, len, 0);
	sx_pump();
}

/* Take one record. Return: payload length or -1. */
static int recv_one(struct sock_id id, void *buf, struct sd_dgram *d)
{
	struct sd_slot_p *sp = sx_p(id);
	struct sd_slot_e *e = sx_e(id);

	if (sp->rx_head == e->rx_tail)
		return -1;
	cr_assert_eq(shm_fifo_read(&sx.segs[SX_SEG], SD_FIFO_RX, &e->rx, sp->rx_head, d,
				   sizeof(*d)),
		     sizeof(*d));
	cr_assert_eq(shm_fifo_read(&sx.segs[SX_SEG], SD_FIFO_RX, &e->rx, sp->rx_head + sizeof(*d),
				   buf,
				   d->len), d->len);
	sp->rx_head += sizeof(*d) + (d->len + 7) / 8 * 8;
	return (int)d->len;
}

static uint64_t snmp(enum snmp_id i)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += sx.h->st[w].cnt->snmp[i];
	return n;
}

static uint8_t in[65536], out[65536];

/* ---- transfer ---- */

static void echo(unsigned workers)
{
	struct sock_id a, b;
	struct sd_dgram d;

	start(workers);
	a = sx_slot(AF_INET, SOCK_DGRAM, 0);
	b = sx_slot(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(op_home(a, SD_OP_BIND, 0, 1000, 1), 0);
	cr_assert_eq(op_home(b, SD_OP_BIND, SX_B, 2000, 2), 0);
	cr_assert_eq(sx_e(a)->worker, 1 % workers);
	cr_assert_eq(sx_e(b)->worker, 2 % workers);
	for (uint32_t len = 0; len <= 65507; len = len * 3 + 1) {
		for (uint32_t i = 0; i < len; i++)
			out[i] = (uint8_t)(i * 7 + len);
		send_to(a, SX_B, 2000, out, len);
		cr_assert_eq(recv_one(b, in, &d), (int)len);
		cr_assert_arr_eq(in, out, len);
		cr_assert_eq(d.port, 1000);
		cr_assert_eq(sd_addr_to_v4(&d.local).v, cpu_to_be32(SX_B).v);
		cr_assert_eq(d.ttl, 64);
		send_to(b, be32_to_cpu(sd_addr_to_v4(&d.addr)), d.port, in, len);
		cr_assert_eq(recv_one(a, in, &d), (int)len);
		cr_assert_eq(d.port, 2000);
	}
	cr_assert_eq(sx_e(a)->tx_una, sx_p(a)->tx_tail);
	cr_assert_eq(snmp(SNMP_Udp_InDatagrams), snmp(SNMP_Udp_OutDatagrams));
	op(a, SD_OP_CLOSE, 0, 0);
	op(b, SD_OP_CLOSE, 0, 0);
	for (unsigned w = 0; w < workers; w++) {
		cr_assert_eq(sx.epools[w][SX_SEG].chunk_used, 0u);
		cr_assert_eq(sx.h->st[w].udp->heads[1000], 0u);
	}
	cr_assert_eq(sx.h->st[0].udp->pool.used, 0u);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	sx_fini();
}

Test(udp, echo_one_worker) { echo(1); }
Test(udp, echo_four_workers) { echo(4); }

Test(udp, segment_and_autobind)
{
	struct sock_id a, b;
	struct sd_dgram d;

	start(2);
	b = udp(SX_B, 2000);
	a = sx_slot(AF_INET, SOCK_DGRAM, 0);
	memset(out, 5, 1000);
	send_flags(a, SX_B, 2000, out, 1000, 300);	/* the first send binds */
	sx_pump();
	cr_assert(sx_e(a)->flags & SD_E_BOUND);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(recv_one(b, in, &d), 300);
	cr_assert_eq(recv_one(b, in, &d), 100);
	cr_assert_eq(d.port, sx_e(a)->lport);
	cr_assert_eq(recv_one(b, in, &d), -1);
	sx_fini();
}

Test(udp, larger_than_the_mtu_is_cut)
{
	struct sock_id a;

	start(1);
	a = udp(0, 1000);
	send_to(a, SX_PEER, 9, out, 4000);
	cr_assert_eq(snmp(SNMP_Ip_FragCreates), 3u);
	sx_p(a)->opts.pmtudisc = IP_PMTUDISC_DO;
	send_to(a, SX_PEER, 9, out, 4000);
	cr_assert_eq(sx_e(a)->err, (uint32_t)EMSGSIZE);
	cr_assert_eq(snmp(SNMP_Ip_FragCreates), 3u);
	sx_fini();
}

Test(udp, full_buffer_drops_whole_records)
{
	struct sock_id a, b;
	struct sd_dgram d;
	int n = 0;

	start(1);
	a = udp(0, 1000);
	b = udp(0, 2000);
	sx_p(b)->opts.rcvbuf = 10000;
	kick(b, SD_PEND_OPT);
	for (int i = 0; i < 20; i++)
		send_to(a, SX_A, 2000, out, 944);
	cr_assert_eq(snmp(SNMP_Udp_RcvbufErrors), 10u);
	while (recv_one(b, in, &d) == 944)
		n++;
	cr_assert_eq(n, 10);
	kick(b, SD_PEND_RX);
	cr_assert_eq(sx.epools[0][SX_SEG].chunk_used, 0u, "an empty FIFO holds nothing");
	send_to(a, SX_A, 2000, out, 20000);
	cr_assert_eq(recv_one(b, in, &d), 20000, "one always fits an empty buffer");
	sx_fini();
}

Test(udp, connected_sockets_filter)
{
	struct sock_id a, b, c;
	struct sd_dgram d;

	start(2);
	a = udp(0, 1000);
	b = udp(0, 2000);
	c = udp(0, 3000);
	cr_assert_eq(op(c, SD_OP_CONNECT, SX_A, 1000), 0);
	cr_assert_eq(sx_e(c)->state, SD_ST_ESTABLISHED);
	cr_assert(sx_e(c)->flags & SD_E_CONNECTED);
	send_to(b, SX_A, sx_e(c)->lport, out, 1);
	cr_assert_eq(recv_one(c, in, &d), -1, "not from its peer");
	send_to(a, SX_A, sx_e(c)->lport, out, 2);
	cr_assert_eq(recv_one(c, in, &d), 2);
	send_to(c, 0, 0, out, 3);
	cr_assert_eq(recv_one(a, in, &d), 3);
	cr_assert_eq(op(c, SD_OP_CONNECT, SX_A, 2000), 0);
	send_to(b, SX_A, sx_e(c)->lport, out, 4);
	cr_assert_eq(recv_one(c, in, &d), 4);
	cr_assert_eq(op(c, SD_OP_DISCONNECT, 0, 0), 0);
	send_to(a, SX_B, sx_e(c)->lport, out, 5);
	cr_assert_eq(recv_one(c, in, &d), 5);
	send_to(c, 0, 0, out, 6);
	cr_assert_eq(sx_e(c)->err, (uint32_t)EDESTADDRREQ);
	sx_fini();
}

Test(udp, nobody_there)
{
	struct sock_id a, c;

	start(2);
	a = udp(0, 1000);
	send_to(a, SX_A, 7, out, 1);
	cr_assert_eq(snmp(SNMP_Udp_NoPorts), 1u);
	cr_assert_eq(snmp(SNMP_Icmp_OutDestUnreachs), 1u);
	cr_assert_eq(sx_e(a)->err_seq, 0u, "an unconnected socket hears nothing");
	c = sx_slot(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(op(c, SD_OP_CONNECT, SX_A, 7), 0);
	send_to(c, 0, 0, out, 1);
	cr_assert_eq(sx_e(c)->err_seq, 1u);
	cr_assert_eq(sx_e(c)->err, (uint32_t)ECONNREFUSED);
	sx_fini();
}

Test(udp, shutdown_and_errors_of_ops)
{
	struct sock_id a;

	start(1);
	a = udp(0, 1000);
	cr_assert_eq(op(a, SD_OP_BIND, 0, 1001), -EINVAL);
	cr_assert_eq(op(a, SD_OP_SHUTDOWN, 0, 0), -ENOTCONN);
	cr_assert_eq(op(a, SD_OP_CONNECT, 0x0a000001u, 5), -ENETUNREACH);
	cr_assert_eq(op(a, SD_OP_CONNECT, 0xc00002ffu, 5), -EACCES);
	sx_p(a)->opts.dgram_flags = SD_DGF_BCAST;
	cr_assert_eq(op(a, SD_OP_CONNECT, 0xc00002ffu, 5), 0);
	cr_assert_eq(op(a, SD_OP_CONNECT, SX_PEER, 5), 0);
	cr_assert_eq(op(a, SD_OP_SHUTDOWN, 0, 0), 0);
	sx_fini();
}

/* ---- from the wire ---- */

struct frame {
	uint32_t src, dst;
	uint16_t sport, dport, ulen;
	uint16_t csum;			/* added to the right one */
	uint32_t body, pad;
	bool no_csum;
};

static void inject(unsigned w, const struct frame *f)
{
	struct stack *st = &sx.h->st[w];
	struct pkt *p = pkt_alloc(st->pool, false);
	struct stack_msg m = { .kind = SMSG_PKT, .ptr = p };
	struct sd_addr src = sx_v4(f->src), dst = sx_v4(f->dst);
	uint32_t ulen = f->ulen ? f->ulen : 8 + f->body, total = 28 + f->body + f->pad;
	uint8_t *h = p->data;
	struct udp_hdr *u = (struct udp_hdr *)(h + 20);
	be32 a;
	uint16_t c;

	memset(h, 0x33, total);
	memcpy(h, "\x45\0\0\0\0\1\0\0\x40\x11\0\0", 12);
	h[2] = (uint8_t)(total >> 8);
	h[3] = (uint8_t)total;
	a = cpu_to_be32(f->src);
	memcpy(h + 12, &a, 4);
	a = cpu_to_be32(f->dst);
	memcpy(h + 16, &a, 4);
	c = csum_of(h, 20);
	memcpy(h + 10, &c, 2);
	*u = (struct udp_hdr){ cpu_to_be16(f->sport), cpu_to_be16(f->dport),
			       cpu_to_be16((uint16_t)ulen), 0 };
	if (!f->no_csum) {
		u->csum = csum_done(csum_add(ip_pseudo_sum(&src, &dst, 17, ulen), u, 8 + f->body));
		u->csum = (uint16_t)(u->csum + f->csum);
	}
	p->len = total;
	p->l3_off = (uint16_t)(p->data - p->buf);
	st->on_msg[SMSG_PKT](st, &m);
	sx_pump();
}

Test(udp, headers)
{
	struct sock_id b;
	struct sd_dgram d;

	start(1);
	b = udp(0, 2000);
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11 });
	cr_assert_eq(recv_one(b, in, &d), 11);
	cr_assert_eq(d.port, 5);
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11, .pad = 9 });
	cr_assert_eq(recv_one(b, in, &d), 11, "bytes behind the datagram are cut");
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11, .no_csum = true });
	cr_assert_eq(recv_one(b, in, &d), 11);
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11, .csum = 1 });
	cr_assert_eq(snmp(SNMP_Udp_InCsumErrors), 1u);
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11, .ulen = 7 });
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2000, .body = 11, .ulen = 20 });
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 2001, .body = 11, .csum = 1 });
	cr_assert_eq(recv_one(b, in, &d), -1);
	cr_assert_eq(snmp(SNMP_Udp_InErrors), 4u);
	cr_assert_eq(snmp(SNMP_Udp_NoPorts), 0u, "a broken one for no socket is broken");
	sx_fini();
}

Test(udp, any_queue_reaches_the_owner)
{
	struct sock_id b;
	struct sock_cmd c;
	struct sd_dgram d;

	start(4);
	b = sx_slot(AF_INET6, SOCK_DGRAM, 0);
	c = sx_cmd(b, SD_OP_BIND, (struct sd_addr){ 0 }, 2000);
	c.home = 3;
	dispatch(&sx.h->st[0], &c);
	sx_pump();
	cr_assert_eq(sx.reply.err, 0);
	for (unsigned w = 0; w < 4; w++) {
		inject(w, &(struct frame){ SX_PEER, SX_A, (uint16_t)(5 + w), 2000, .body = w });
		cr_assert_eq(recv_one(b, in, &d), (int)w);
		cr_assert_eq(d.port, 5 + w);
	}
	sx_fini();
}

Test(udp, broadcast_to_all)
{
	struct sock_id s[3];
	struct sd_dgram d;

	start(1);
	for (int i = 0; i < 3; i++) {
		s[i] = sx_slot(AF_INET, SOCK_DGRAM, SOCK_REUSEADDR);
		cr_assert_eq(op(s[i], SD_OP_BIND, i == 2 ? SX_A : 0, 2000), 0);
	}
	inject(0, &(struct frame){ SX_PEER, 0xc00002ffu, 5, 2000, .body = 4 });
	cr_assert_eq(recv_one(s[0], in, &d), 4);
	cr_assert_eq(recv_one(s[1], in, &d), 4);
	cr_assert_eq(recv_one(s[2], in, &d), -1, "bound to an address");
	inject(0, &(struct frame){ SX_PEER, 0xc00002ffu, 5, 2001, .body = 4 });
	cr_assert_eq(snmp(SNMP_Icmp_OutDestUnreachs), 0u);
	sx_fini();
}

/* ---- replicas ---- */

static bool same_pair(unsigned i, unsigned k)
{
	struct hx *h = sx.h;
	unsigned a = (h->head + i) % HX_MSGS, b = (h->head + k) % HX_MSGS;

	return h->q[a].to == h->q[b].to && h->q[a].msg.from == h->q[b].msg.from;
}

/* Messages arrive in random order, except between the same two workers. */
static void pump_shuffled(uint64_t *rng)
{
	struct hx *h = sx.h;

	while (h->head != h->tail) {
		unsigned k = rng_below(rng, h->tail - h->head), i = 0;
		struct stack_msg m;
		uint16_t to;

		while (!same_pair(i, k))	/* the oldest of that pair */
			i++;
		m = h->q[(h->head + i) % HX_MSGS].msg;
		to = h->q[(h->head + i) % HX_MSGS].to;
		for (; i > 0; i--)
			h->q[(h->head + i) % HX_MSGS] = h->q[(h->head + i - 1) % HX_MSGS];
		h->head++;
		stack_recv(&h->st[to], &m);
	}
}

static void replicas_check(void)
{
	for (unsigned w = 0; w < 4; w++) {
		struct sock_tuple t = { sx_v4(SX_A), sx_v4(SX_PEER), 2003, 9 };
		uint32_t idx = udp_lookup(&sx.h->st[w], &t);

		for (int i = 0; i < 3; i++)
			cr_assert_eq(sx.h->st[w].udp->heads[2000 + i], 0u);
		cr_assert_neq(idx, 0u);
		cr_assert_eq(sx.h->st[w].udp->nodes[idx].ver, udp_at(&sx.h->st[0], idx)->ver);
	}
}

Test(udp, replicas_agree_in_any_order)
{
	uint64_t rng[2];
	struct sock_id id = { 0 };
	struct sock_cmd c;

	start(4);
	rng_seed(rng, 5);
	for (int round = 0; round < 500; round++) {
		for (int i = 0; i < 4; i++) {
			id = sx_slot(AF_INET, SOCK_DGRAM, 0);
			c = sx_cmd(id, SD_OP_BIND, sx_v4(0), (uint16_t)(2000 + i));
			c.home = (uint16_t)rng_below(rng, 4);
			dispatch(&sx.h->st[0], &c);
			c = sx_cmd(id, SD_OP_CONNECT, sx_v4(SX_PEER), 9);
			if (rng_below(rng, 2))
				dispatch(&sx.h->st[rng_below(rng, 4)], &c);
			if (rng_below(rng, 2))
				pump_shuffled(rng);
			c.op = SD_OP_CLOSE;
			if (i < 3)
				dispatch(&sx.h->st[rng_below(rng, 4)], &c);
		}
		pump_shuffled(rng);
		replicas_check();
		dispatch(&sx.h->st[0], &(struct sock_cmd){ .id = id, .op = SD_OP_CLOSE });
		pump_shuffled(rng);
		cr_assert_eq(sx.h->st[0].udp->pool.used, 0u);
		cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	}
	sx_fini();
}

/* ---- programs that lie ---- */

Test(udp, hostile_records)
{
	struct sd_dgram d = { .len = 70000, .port = 9, .addr = sx_v4(SX_PEER) };
	struct sock_id id;

	start(1);
	id = udp(0, 1000);
	tx_bytes(id, &d, sizeof(d));
	kick(id, SD_PEND_TX);
	cr_assert_eq(sx_e(id)->err, (uint32_t)EIO);
	send_to(id, SX_PEER, 9, out, 1);
	cr_assert_eq(snmp(SNMP_Udp_OutDatagrams), 0u, "it sends no more");

	id = udp(0, 1001);
	d.len = 100;
	tx_bytes(id, &d, sizeof(d));		/* announces more than was published */
	kick(id, SD_PEND_TX);
	cr_assert_eq(sx_e(id)->err, (uint32_t)EIO);

	id = udp(0, 1002);
	sx_p(id)->tx_tail = 1ull << 40;
	kick(id, SD_PEND_TX);
	cr_assert_eq(sx_e(id)->err, (uint32_t)EIO);

	id = udp(0, 1003);
	sx_p(id)->rx_head = 8;
	inject(0, &(struct frame){ SX_PEER, SX_A, 5, 1003, .body = 4 });
	cr_assert_eq(sx_e(id)->err, (uint32_t)EIO);

	id = udp(0, 1004);
	sx_p(id)->tx_tail = 4096;		/* nothing backs it */
	kick(id, SD_PEND_TX);
	cr_assert_eq(sx_e(id)->err, (uint32_t)EIO);
	sx_fini();
}

/* Random words wherever the program may write. */
Test(udp, hostile_noise)
{
	uint64_t rng[2];

	start(2);
	rng_seed(rng, 99);
	for (int round = 0; round < 3000; round++) {
		struct sock_id id = sx_slot(AF_INET, SOCK_DGRAM, 0);
		struct sd_slot_p *sp = sx_p(id);

		op_home(id, SD_OP_BIND, 0, 0, (uint16_t)round);
		for (int i = 0; i < 4; i++) {
			unsigned at = rng_below(rng, sizeof(*sp) / 4);

			if (rng_below(rng, 3) == 0)
				send_flags(id, SX_A, sx_e(id)->lport, out, rng_below(rng, 300), 0);
			((uint32_t *)sp)[at] = rng_below(rng, 2) ? rng_u32(rng) : rng_below(rng,
											    64);
			if (rng_below(rng, 2))
				sp->tx_tail = sx_e(id)->tx_una + rng_below(rng, 5000);
			kick(id, rng_below(rng, 8));
			sx_pump();
		}
		op(id, SD_OP_CLOSE, 0, 0);
	}
	cr_assert_eq(sx.h->st[0].udp->pool.used, 0u);
	sx_fini();
}

/* However much lies in a FIFO, others have their turn; a record cannot become thousands. */
Test(udp, turns)
{
	struct sock_id a, b;

	start(1);
	a = udp(SX_A, 1000);
	b = udp(SX_B, 2000);
	send_flags(a, SX_B, 2000, out, 60000, 1);
	cr_assert_eq(snmp(SNMP_Udp_OutDatagrams), 0u);
	cr_assert_eq(sx_e(a)->err, (uint32_t)EINVAL);
	while (udp_poll(&sx.h->st[0]))
		;
	for (int i = 0; i < 600; i++) {
		struct sd_dgram d = { .len = 8, .port = 2000, .addr = sx_v4(SX_B) };

		tx_bytes(a, &d, sizeof(d));
		tx_bytes(a, out, 8);
	}
	kick(a, SD_PEND_TX);
	cr_assert_eq(snmp(SNMP_Udp_OutDatagrams), UDP_TX_TURN);
	cr_assert(udp_pending(&sx.h->st[0]));
	while (udp_poll(&sx.h->st[0]))
		sx_pump();
	cr_assert_not(udp_pending(&sx.h->st[0]));
	cr_assert_eq(snmp(SNMP_Udp_OutDatagrams), 600u);
	cr_assert_eq(snmp(SNMP_Udp_InDatagrams), 600u);
	op(a, SD_OP_CLOSE, 0, 0);
	op(b, SD_OP_CLOSE, 0, 0);
	sx_fini();
}
