/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/script.c - the scripted peer's machinery */
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "stackd/nic/nic.h"
#include "tests/unit/tcp/script.h"

_Noreturn void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	prog_describe(s);
	abort();
}

/* ---- the device ---- */

static void answer_arp(struct sc *c, const uint8_t *req)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };
	uint8_t *a = c->arp;

	memcpy(a, req, 42);
	memcpy(a, req + 6, 6);
	memcpy(a + 6, mac, 6);
	a[21] = 2;
	memcpy(a + 22, mac, 6);
	memcpy(a + 28, req + 38, 4);
	memcpy(a + 32, req + 22, 10);
	c->arp_waits = true;
}

static void record(struct sc *c, const uint8_t *f, uint32_t len, bool confirm)
{
	struct tcp_hdr th;
	struct sc_seg *g = &c->got[c->got_cnt];
	uint32_t hlen;

	if (c->forget)
		return;
	c->got_cnt++;

	cr_assert_leq(c->got_cnt, SC_OUT);
	cr_assert_geq(len, 54);
	memcpy(&th, f + 34, sizeof(th));
	hlen = (th.off >> 4) * 4u;
	if (th.flags & TH_SYN)
		c->isn = be32_to_cpu(th.seq);
	*g = (struct sc_seg){ .seq = be32_to_cpu(th.seq) - c->isn,
			      .ack = th.flags & TH_ACK ? be32_to_cpu(th.ack) - c->peer_isn : 0,
			      .len = len - 34 - hlen, .wnd = be16_to_cpu(th.wnd),
			      .flags = th.flags, .confirm = confirm };
	cr_expect(tcp_opts_parse(f + 54, hlen - 20, &g->o));
}

static void sc_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	uint8_t f[2048];

	for (unsigned i = 0; i < cnt; i++) {
		uint32_t len = pkt_total(pkts[i]);

		cr_assert_leq(len, 1514);
		pkt_copy_out(pkts[i], 0, f, len);
		if (f[12] == 8 && f[13] == 6 && f[21] == 1)
			answer_arp(nic->priv, f);
		else if (f[12] == 8 && f[13] == 0)
			record(nic->priv, f, len, pkts[i]->confirm);
		stack_pkt_free(st, pkts[i]);
	}
}

static unsigned sc_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct sc *c = nic->priv;

	if (!c->arp_waits)
		return 0;
	c->arp_waits = false;
	pkts[0] = pkt_alloc(st->pool, false);
	memcpy(pkts[0]->data, c->arp, sizeof(c->arp));
	pkts[0]->len = sizeof(c->arp);
	return 1;
}

static const struct nic_ops ops = { .name = "script", .rx = sc_rx, .tx = sc_tx };

/* ---- the bed ---- */

struct sc *sc_new(void)
{
	return sc_new_at(1000000000);
}

struct sc *sc_new_at(uint64_t now_us)
{
	struct sc *c = calloc(1, sizeof(*c));

	c->nic = (struct nic){ .ops = &ops, .mtu = 1500, .queues = 1, .priv = c,
			       .mac = { 2, 0, 0, 0, 0, 1 } };
	c->s.now_us = now_us;
	c->peer_isn = PEER_ISN;
	c->s.seed = 1;
	c->port = SIM_PORT;
	c->peer_port = PEER_PORT;
	rng_seed(c->s.rng, 1);
	host_init(&c->s.host[0], &c->s, 0, &c->nic);
	return c;
}

void sc_pass(struct sc *c, uint64_t us)
{
	uint64_t end = c->s.now_us + us, next;

	host_turn(&c->s.host[0]);
	for (;;) {
		next = wheel_next_us(c->s.host[0].st.wheel);
		if (c->arp_waits || c->s.host[0].woken)
			next = c->s.now_us;
		if (next > end)
			break;
		c->s.now_us = next > c->s.now_us ? next : c->s.now_us + 1;
		host_turn(&c->s.host[0]);
	}
	c->s.now_us = end > c->s.now_us ? end : c->s.now_us;
	host_turn(&c->s.host[0]);
}

void sc_free(struct sc *c)
{
	struct sim_host *h = &c->s.host[0];

	if (h->listening)
		prog_unlisten(h);
	sc_pass(c, 2000 * 1000000ull);
	host_fini(h);
	host_mem_free(h->mem);
	free(c);
}

static unsigned peer_opts(struct sc *c, uint8_t flags, uint8_t *opt)
{
	uint32_t blk[TCP_SACK_MAX][2];
	unsigned n = 0;

	if (flags & TH_SYN)
		return tcp_opts_syn(opt, 1460, -1, true, c->ts, c->tsval, c->tsecr);
	if (c->ts)
		n = tcp_opts_ts(opt, c->tsval, c->tsecr);
	for (unsigned i = 0; i < c->sack_cnt; i++) {
		blk[i][0] = c->isn + c->sack[i][0];
		blk[i][1] = c->isn + c->sack[i][1];
	}
	n += tcp_opts_sack(opt + n, blk, c->sack_cnt);
	c->sack_cnt = 0;
	return n;
}

void in(struct sc *c, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t wnd, uint32_t len)
{
	struct stack *st = &c->s.host[0].st;
	struct ip_rx_info info = { .src = host_addr(1), .dst = host_addr(0),
				   .proto = IP_PROTO_TCP };
	struct pkt *p = pkt_alloc(st->pool, false);
	uint8_t opt[TCP_OPTS_MAX];
	unsigned n = peer_opts(c, flags, opt);
	struct tcp_hdr th = {
		.sport = cpu_to_be16(c->peer_port), .dport = cpu_to_be16(c->port),
		.seq = cpu_to_be32(c->peer_isn + seq), .ack = cpu_to_be32(c->isn + ack),
		.off = (uint8_t)((20 + n) / 4 << 4), .flags = flags, .wnd = cpu_to_be16(wnd),
	};

	memcpy(p->data, &th, sizeof(th));
	memcpy(p->data + sizeof(th), opt, n);
	for (uint32_t i = 0; i < len; i++)
		p->data[20 + n + i] = sim_byte(9, seq - 1 + i);
	p->len = 20 + n + len;
	p->l4_off = (uint16_t)(p->data - p->buf);
	p->csum_state = PKT_CSUM_UNNECESSARY;
	st->now_us = c->s.now_us;
	tcp_rx(st, p, &info);
	sc_pass(c, 0);
}

struct sc_seg out(struct sc *c)
{
	cr_assert_lt(c->got_at, c->got_cnt, "nothing was sent");
	return c->got[c->got_at++];
}

void quiet(struct sc *c)
{
	cr_expect_eq(c->got_at, c->got_cnt, "%u segments more than expected",
		     c->got_cnt - c->got_at);
	c->got_at = c->got_cnt;
}

struct tcb *sc_accept(struct sc *c, struct sim_end **ret_x)
{
	struct sim_end *x = &c->s.end[0], *peer = &c->s.end[1];
	struct sim_host *h = &c->s.host[0];
	struct sd_slot_e *e;

	*peer = (struct sim_end){ .port = c->peer_port, .client = true, .closed = true, .peer = x };
	*x = (struct sim_end){ .h = h, .peer = peer, .next_us = UINT64_MAX, .manual = true };
	if (!h->listening)
		prog_listen(h);
	c->s.ends = 1;
	in(c, TH_SYN | c->syn_flags, 0, 0, 65535, 0);
	cr_assert_eq(out(c).flags & ~TH_ECE, TH_SYN | TH_ACK);
	in(c, TH_ACK, 1, 1, 65535, 0);
	cr_assert(x->used, "not accepted");
	c->s.ends = 0;			/* from here on the test plays the program */
	quiet(c);
	e = sc_e(x);
	*ret_x = x;
	return tcb_at(&h->st, OBJ_IDX(e->obj));
}

struct tcb *sc_connect(struct sc *c, struct sim_end **ret_x)
{
	struct sim_end *x = &c->s.end[0];
	struct sim_host *h = &c->s.host[0];
	struct shm_seg *seg = &h->segs[SIM_SEG];
	struct sock_id id = { .seg = SIM_SEG, .slot = shm_pslot_alloc(seg), .gen = 1 };
	struct sock_cmd k = { .id = id, .op = SD_OP_CONNECT, .addr = host_addr(1),
			      .port = c->peer_port };

	*x = (struct sim_end){ .h = h, .id = id, .next_us = UINT64_MAX, .manual = true };
	*shm_slot_p(seg, id.slot) = (struct sd_slot_p){
		.gen = 1, .opts = { .family = AF_INET, .type = SOCK_STREAM },
	};
	*sc_e(x) = (struct sd_slot_e){ .gen = 1, .state = SD_ST_CLOSE, .type = SOCK_STREAM,
				       .proto = IPPROTO_TCP };
	sock_slot_count(&h->st, SIM_SEG, 1);
	tcp_sock_ops.connect(&h->st, &k, 0);
	sc_pass(c, 1000);
	c->port = sc_e(x)->lport;
	*ret_x = x;
	return tcb_at(&h->st, OBJ_IDX(sc_e(x)->obj));
}

/* ---- the program ---- */

struct sd_slot_e *sc_e(const struct sim_end *x)
{
	return shm_slot_e(&x->h->segs[SIM_SEG], x->id.slot);
}

struct sd_slot_p *sc_p(const struct sim_end *x)
{
	return shm_slot_p(&x->h->segs[SIM_SEG], x->id.slot);
}

static void kick(struct sim_end *x, uint32_t pend)
{
	struct sock_cmd k = { .id = x->id, .op = SD_OP_KICK };

	tcp_sock_ops.kick(&x->h->st, &k, sc_e(x)->obj, pend);
	host_turn(x->h);
}

void sc_put(struct sim_end *x, uint32_t len)
{
	struct shm_fifo_mem mem = { .seg = &x->h->segs[SIM_SEG], .mag = &x->h->mag };
	struct sd_slot_p *sp = sc_p(x);
	static const uint8_t zero[65536];

	cr_assert_eq(shm_fifo_reserve(&mem, SD_FIFO_TX, &sp->tx, sp->tx_tail, len), len);
	shm_fifo_write(mem.seg, SD_FIFO_TX, &sp->tx, sp->tx_tail, zero, len);
	st_rel(&sp->tx_tail, sp->tx_tail + len);
}

void sc_write(struct sim_end *x, uint32_t len)
{
	sc_put(x, len);
	kick(x, SD_PEND_TX);
}

uint64_t sc_read(struct sim_end *x, uint64_t max)
{
	struct sd_slot_p *sp = sc_p(x);
	uint64_t n = u64_min(max, sc_e(x)->rx_tail - sp->rx_head);
	uint8_t b;

	for (uint64_t i = 0; i < n; i++) {
		cr_assert_eq(shm_fifo_read(&x->h->segs[SIM_SEG], SD_FIFO_RX, &sc_e(x)->rx,
					   sp->rx_head + i, &b, 1), 1);
		cr_assert_eq(b, sim_byte(9, sp->rx_head + i));
	}
	st_rel(&sp->rx_head, sp->rx_head + n);
	kick(x, SD_PEND_RX);
	return n;
}

int sc_cmd(struct sim_end *x, uint16_t op, uint32_t arg)
{
	struct sock_cmd k = { .id = x->id, .op = op, .u32 = { arg } };

	x->h->reply_err = 0;
	if (op == SD_OP_SHUTDOWN)
		tcp_sock_ops.shutdown(&x->h->st, &k, sc_e(x)->obj);
	else if (op == SD_OP_DISCONNECT)
		tcp_sock_ops.disconnect(&x->h->st, &k, sc_e(x)->obj);
	else if (op == SD_OP_GETINFO)
		tcp_sock_ops.getinfo(&x->h->st, &k, sc_e(x)->obj);
	host_turn(x->h);
	return x->h->reply_err;
}

void sc_close(struct sim_end *x)
{
	struct sock_cmd k = { .id = x->id, .op = SD_OP_CLOSE };
	struct sd_slot_e *e = sc_e(x);

	e->flags |= SD_E_CLOSED;
	if (e->obj)
		tcp_sock_ops.close(&x->h->st, &k, e->obj);
	else
		sock_slot_free(&x->h->st, x->id);
	host_turn(x->h);
}
