/* SPDX-License-Identifier: MIT */
/* Listeners: replication between workers, accept rings, best match, the end; slots. */
#include "tests/unit/sock/sx.h"

static unsigned ups, downs, aborts;

static void up(struct stack *st, uint32_t listener) { ups++; }
static void down(struct stack *st, uint32_t listener) { downs++; }
static void abort_conn(struct stack *st, struct sock_id id)
{
	aborts++;
	sock_slot_free(st, id);
}

static void start(unsigned workers)
{
	static const struct sock_listen_ops ops = { up, down, abort_conn };

	sx_init(workers);
	for (unsigned w = 0; w < workers; w++)
		sock_set_listen_ops(&sx.h->st[w], IPPROTO_TCP, &ops);
}

static struct sock_id bound_slot(uint8_t family, uint32_t addr, uint16_t port, uint8_t reuse)
{
	struct sock_id id = sx_slot(family, SOCK_STREAM, reuse);
	struct sd_addr any6 = { 0 };
	struct sock_cmd c = sx_cmd(id, SD_OP_BIND, family == AF_INET6 && !addr ? any6 : sx_v4(addr),
				   port);
	uint32_t bound;

	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), 0);
	return id;
}

static void listen_on(struct sock_id id, uint32_t backlog)
{
	struct sock_cmd c = sx_cmd(id, SD_OP_LISTEN, (struct sd_addr){ 0 }, 0);

	c.u32[0] = backlog;
	sock_listen(&sx.h->st[0], &c, OBJ_KIND(sx_e(id)->obj) == OBJ_BOUND ?
		    OBJ_IDX(sx_e(id)->obj) : 0);
}

static uint32_t listener_of(struct sock_id id)
{
	cr_assert_eq(OBJ_KIND(sx_e(id)->obj), OBJ_LISTENER);
	return OBJ_IDX(sx_e(id)->obj);
}

static struct sock_tuple to(uint32_t addr, uint16_t port, uint16_t rport)
{
	return (struct sock_tuple){ sx_v4(addr), sx_v4(SX_PEER), port, rport };
}

static uint32_t lookup(unsigned w, uint32_t addr, uint16_t port, uint16_t rport)
{
	struct sock_tuple t = to(addr, port, rport);

	return sock_llookup(&sx.h->st[w], IPPROTO_TCP, &t);
}

Test(listen, answered_when_all_have_it)
{
	struct sock_id id;
	uint32_t l;

	start(3);
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 5);
	l = listener_of(id);
	cr_assert_eq(sx.replies, 0u);
	cr_assert_eq(lookup(0, SX_A, 80, 9), l);
	cr_assert_eq(lookup(1, SX_A, 80, 9), 0u);
	sx_pump();
	cr_assert_eq(sx.replies, 1u);
	cr_assert_eq(sx.reply.err, 0);
	cr_assert_eq(ups, 3u);
	for (unsigned w = 0; w < 3; w++)
		cr_assert_eq(lookup(w, SX_B, 80, 9), l);
	cr_assert_eq(sx_e(id)->accept_cnt, 3u);
	cr_assert_eq(sx_e(id)->state, SD_ST_LISTEN);
	sx_fini();
}

/* The rings between workers are full for a while: nothing is lost, nothing overtakes. */
Test(listen, full_rings_between_workers)
{
	struct sock_id id;

	start(4);
	sx.h->rings_full = true;
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 5);
	sock_listen_close(&sx.h->st[0], listener_of(id));
	sx_pump();
	cr_assert_eq(sx.replies, 0u);
	cr_assert_eq(sock_backlog(&sx.h->st[0]), 6u);
	sx.h->rings_full = false;
	sx_pump();
	cr_assert_eq(sx.replies, 1u);
	cr_assert_eq(ups, 4u);
	cr_assert_eq(downs, 4u);
	cr_assert_eq(sx_e(id)->gen, 0u);
	cr_assert_eq(sx.h->st[0].sock->listeners.used, 0u);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	sx_fini();
}

/* close(), then bind() and listen() on the same port while the other workers have not yet heard of
 * the first: as on Linux, the port is free. */
Test(listen, port_is_free_at_close)
{
	struct sock_id id;

	start(3);
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 5);
	sx_pump();
	sock_listen_close(&sx.h->st[0], listener_of(id));
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 5);
	sx_pump();
	cr_assert_eq(sx.replies, 2u);
	cr_assert_eq(sx.reply.err, 0);
	for (unsigned w = 0; w < 3; w++)
		cr_assert_eq(lookup(w, SX_B, 80, 9), listener_of(id));
	sx_fini();
}

Test(listen, best_match)
{
	struct sock_id any4, any6, exact, six;

	start(1);
	any6 = bound_slot(AF_INET6, 0, 80, SOCK_REUSEPORT);
	listen_on(any6, 5);
	cr_assert_eq(lookup(0, SX_A, 80, 1), listener_of(any6));
	any4 = bound_slot(AF_INET, 0, 80, SOCK_REUSEPORT);
	listen_on(any4, 5);
	cr_assert_eq(lookup(0, SX_A, 80, 1), listener_of(any4));
	exact = bound_slot(AF_INET, SX_A, 80, SOCK_REUSEPORT);
	listen_on(exact, 5);
	cr_assert_eq(lookup(0, SX_A, 80, 1), listener_of(exact));
	cr_assert_eq(lookup(0, SX_B, 80, 1), listener_of(any4));
	cr_assert_eq(lookup(0, SX_A, 81, 1), 0u);
	six = sx_slot(AF_INET6, SOCK_STREAM, 0);
	sx_p(six)->flags |= SD_P_V6ONLY;
	cr_assert_eq(sx.replies, 3u);
	sx_fini();
}

Test(listen, v6only_does_not_see_v4)
{
	struct sock_id id = { 0 };
	struct sock_cmd c;
	uint32_t bound;

	start(1);
	id = sx_slot(AF_INET6, SOCK_STREAM, 0);
	sx_p(id)->flags |= SD_P_V6ONLY;
	c = sx_cmd(id, SD_OP_BIND, (struct sd_addr){ 0 }, 80);
	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), 0);
	listen_on(id, 5);
	cr_assert_eq(lookup(0, SX_A, 80, 1), 0u);
	sx_fini();
}

/* A reuseport group shares connections about evenly, and one tuple always goes to the same member.
 */
Test(listen, reuseport_group)
{
	unsigned hits[4] = { 0 };
	uint32_t l[4];

	start(1);
	for (int i = 0; i < 4; i++) {
		struct sock_id id = bound_slot(AF_INET, 0, 80, SOCK_REUSEPORT);

		listen_on(id, 5);
		l[i] = listener_of(id);
	}
	for (uint16_t p = 1; p <= 4000; p++) {
		uint32_t got = lookup(0, SX_A, 80, p);

		cr_assert_eq(got, lookup(0, SX_A, 80, p));
		for (int i = 0; i < 4; i++)
			hits[i] += got == l[i];
	}
	for (int i = 0; i < 4; i++)
		cr_assert(hits[i] > 800 && hits[i] < 1200, "%u", hits[i]);
	sx_fini();
}

Test(listen, only_one_of_two_reuseaddr)
{
	struct sock_id a, b;

	start(1);
	a = bound_slot(AF_INET, 0, 80, SOCK_REUSEADDR);
	b = bound_slot(AF_INET, 0, 80, SOCK_REUSEADDR);
	listen_on(a, 5);
	cr_assert_eq(sx.reply.err, 0);
	listen_on(b, 5);
	cr_assert_eq(sx.reply.err, -EADDRINUSE);
	sock_listen_close(&sx.h->st[0], listener_of(a));
	listen_on(b, 5);
	cr_assert_eq(sx.reply.err, 0);
	sx_fini();
}

Test(listen, without_bind)
{
	struct sock_id id;

	start(1);
	id = sx_slot(AF_INET6, SOCK_STREAM, 0);
	listen_on(id, 5);
	cr_assert_eq(sx.reply.err, 0);
	cr_assert_geq(sx_e(id)->lport, 32768);
	cr_assert_neq(lookup(0, SX_A, sx_e(id)->lport, 1), 0u);
	sx_fini();
}

/* An established connection as TCP makes it. */
static struct sock_id accepted(unsigned w, uint32_t l, uint16_t rport)
{
	struct stack *st = &sx.h->st[w];
	struct sock_tuple t = to(SX_A, 80, rport);
	struct sock_id id;

	cr_assert_eq(sock_slot_accept(st, arena_at(st->arena, AR_LISTENER, l), &t, OBJ(OBJ_TCB, 77),
				       &id), 0);
	return id;
}

Test(listen, accept_backlog_and_close)
{
	struct sock_id id, c, first = { 0 };
	uint32_t l, slot, gen, idx;
	struct sd_slot_e *e;

	start(2);
	id = bound_slot(AF_INET, 0, 80, 0);
	sx_p(id)->opts.nodelay = 1;
	listen_on(id, 3);
	sx_pump();
	l = listener_of(id);
	for (uint16_t i = 0; i < 4; i++) {	/* backlog + 1, as Linux */
		c = accepted(1, l, (uint16_t)(1000 + i));
		if (!i)
			first = c;
		cr_assert_eq(sock_accept_push(&sx.h->st[1], l, c), 0);
	}
	cr_assert_eq(sx.events, 4u);
	cr_assert_eq(sx.ev[0].id.slot, id.slot);
	c = accepted(1, l, 2000);
	cr_assert_eq(sock_accept_push(&sx.h->st[1], l, c), -EAGAIN);
	sock_slot_free(&sx.h->st[1], c);
	cr_assert_eq(sock_accept_len(&sx.h->st[1], l), 4u);
	cr_assert_eq(sock_accept_len(&sx.h->st[0], l), 0u);

	e = sx_e(first);
	cr_assert_eq(e->worker, 1);
	cr_assert_eq(e->rport, 1000);
	cr_assert_eq(sx_p(first)->opts.nodelay, 1);
	cr_assert_eq(sx_p(first)->gen, first.gen);
	cr_assert(shm_accept_claim(shm_accept_ring(&sx.segs[SX_SEG], sx_e(id)->accept_base + 1), 0,
				   1,
				   &slot, &gen, &idx));
	cr_assert_eq(slot, first.slot);
	shm_accept_done(shm_accept_ring(&sx.segs[SX_SEG], sx_e(id)->accept_base + 1), idx);

	sock_listen_close(&sx.h->st[0], l);
	sx_pump();
	cr_assert_eq(aborts, 3u, "those that nobody had accepted");
	cr_assert_eq(sx_e(first)->gen, first.gen, "the accepted one lives on");
	cr_assert_eq(sock_slot_used(&sx.h->st[0], SX_SEG) + sock_slot_used(&sx.h->st[1], SX_SEG),
		     1);
	sx_fini();
}

/* A process dies between claim and installation: the connection waits for the next acceptor. */
Test(listen, reap_claims)
{
	struct sock_id id, c;
	struct sd_accept_ring *r;
	uint32_t l, slot, gen, idx;

	start(1);
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 3);
	l = listener_of(id);
	c = accepted(0, l, 1000);
	cr_assert_eq(sock_accept_push(&sx.h->st[0], l, c), 0);
	r = shm_accept_ring(&sx.segs[SX_SEG], sx_e(id)->accept_base);
	cr_assert(shm_accept_claim(r, 3, 9, &slot, &gen, &idx));
	sx.events = 0;
	sock_accept_reap(&sx.h->st[0], SX_SEG, 3, 8);
	cr_assert_eq(sx.events, 0u, "another life of that process index");
	sock_accept_reap(&sx.h->st[0], SX_SEG, 3, 9);
	cr_assert_eq(sx.events, 1u);
	cr_assert(shm_accept_claim(r, 4, 1, &slot, &gen, &idx));
	cr_assert_eq(slot, c.slot);
	sx_fini();
}

Test(listen, stop_keeps_the_slot)
{
	struct sock_id id;

	start(2);
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 3);
	sx_pump();
	sock_listen_stop(&sx.h->st[0], listener_of(id), (struct stack_reply_to){ 0 });
	cr_assert_eq(sx_e(id)->state, SD_ST_CLOSE);
	sx_pump();
	cr_assert_eq(OBJ_KIND(sx_e(id)->obj), OBJ_BOUND);
	cr_assert_eq(lookup(1, SX_A, 80, 1), 0u);
	listen_on(id, 3);
	sx_pump();
	cr_assert_eq(sx.reply.err, 0);
	cr_assert_neq(lookup(1, SX_A, 80, 1), 0u);
	/* stop, then close before all have answered */
	sock_listen_stop(&sx.h->st[0], listener_of(id), (struct stack_reply_to){ 0 });
	sock_listen_close(&sx.h->st[0], listener_of(id));
	sx_pump();
	cr_assert_eq(sx_e(id)->gen, 0u);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	sx_fini();
}

/* Rings come back: many more listeners than the segment has rings, one after the other. */
Test(listen, rings_are_reused)
{
	struct sock_id id, c;
	uint32_t l;

	start(4);
	for (int i = 0; i < 1100; i++) {
		id = bound_slot(AF_INET, 0, 80, 0);
		listen_on(id, 3);
		sx_pump();
		l = listener_of(id);
		c = accepted(3, l, 1000);
		cr_assert_eq(sock_accept_push(&sx.h->st[3], l, c), 0);
		sock_listen_close(&sx.h->st[0], l);
		sx_pump();
	}
	cr_assert_eq(aborts, 1100u);
	sx_fini();
}

Test(slot, generations_and_frees)
{
	struct stack *st;
	struct sock_id a, b;
	uint32_t free0, l;
	struct sock_id id;

	start(1);
	st = &sx.h->st[0];
	id = bound_slot(AF_INET, 0, 80, 0);
	listen_on(id, 3);
	l = listener_of(id);
	a = accepted(0, l, 1);
	sock_slot_free(st, a);
	b = accepted(0, l, 2);
	cr_assert_eq(a.slot, b.slot);
	cr_assert_neq(a.gen, b.gen);
	cr_assert_null(sock_slot_e(st, a));
	cr_assert_not_null(sock_slot_e(st, b));
	sock_slot_free(st, a);			/* an old handle frees nothing */
	cr_assert_not_null(sock_slot_e(st, b));
	sock_slot_free(st, b);
	cr_assert_eq(sx.epools[0][SX_SEG].slot_used, 0u);

	/* a hostile send map: indices that repeat or do not exist */
	free0 = shm_pchunk_free_cnt(&sx.segs[SX_SEG]);
	a = sx_slot(AF_INET, SOCK_STREAM, 0);
	sx_p(a)->tx = (struct sd_fifo_map){ .level = 7, .ind = { 1, 1, SD_CHUNKS, ~0u },
					    .held = 3 };
	sx_p(a)->sub_ext = ~0u;
	sock_slot_free(st, a);
	cr_assert_geq(shm_pchunk_free_cnt(&sx.segs[SX_SEG]), free0);
	sx_fini();
}

Test(slot, errors_count)
{
	struct sock_id id;

	sx_init(1);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	sock_set_err(&sx.h->st[0], id, ECONNREFUSED, SD_EV_IN);
	sock_set_err(&sx.h->st[0], id, ETIMEDOUT, SD_EV_IN);
	cr_assert_eq(sx_e(id)->err, (uint32_t)ETIMEDOUT);
	cr_assert_eq(sx_e(id)->err_seq, 2u);
	cr_assert_eq(sx.ev[1].ev, SD_EV_IN | SD_EV_ERR);
	sx_fini();
}

static const struct sock_ops one = { .name = "one", .type = SOCK_STREAM, .proto = IPPROTO_TCP };

Test(protocol, lookup)
{
	struct stack *st;
	int err;

	sx_init(1);
	st = &sx.h->st[0];
	cr_assert_eq(sock_register(st, &one), 0);
	cr_assert_eq(sock_register(st, &one), -EEXIST);
	cr_assert_eq(sock_find(st, SOCK_STREAM, 0, &err), &one);
	cr_assert_eq(sock_find(st, SOCK_STREAM, IPPROTO_TCP, &err), &one);
	cr_assert_null(sock_find(st, SOCK_STREAM, IPPROTO_UDP, &err));
	cr_assert_eq(err, -EPROTONOSUPPORT);
	cr_assert_null(sock_find(st, SOCK_SEQPACKET, 0, &err));
	cr_assert_eq(err, -ESOCKTNOSUPPORT);
	sx_fini();
}
