/* SPDX-License-Identifier: MIT */
/* Commands by rings, answers, wake-ups, forwarding, broken commands. */
#include "tests/unit/app/ax.h"

Test(cmd, listen_and_connect_by_rings)
{
	struct ax_prog p;
	uint32_t l, c;
	struct sd_cmd cmd;

	ax_init(3);
	p = ax_attach(0);
	l = ax_socket(&p, 3, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_BIND, 0, 80)), 0);
	cr_assert_eq(((struct sd_name *)shm_reply(ax_seg(), p.mbox)->data)->port, 80);
	cmd = ax_cmd(l, SD_OP_LISTEN, 0, 0);
	cmd.u32[0] = 10;
	cr_assert_eq(ax_rpc(&p, cmd), 0);
	cr_assert_eq(ax_e(l)->state, SD_ST_LISTEN);
	c = ax_socket(&p, 4, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(c, SD_OP_CONNECT, SX_A, 80)), 0);
	ax_run();
	cr_assert_eq(ax_e(c)->state, SD_ST_ESTABLISHED);
	cr_assert(shm_accept_any(shm_accept_ring(ax_seg(), ax_e(l)->accept_base +
						 ax_e(c)->worker)));
	cr_assert_eq(ax_rpc_on(&p, (ax_e(c)->worker + 1u) % 3, ax_cmd(c, SD_OP_GETINFO, 0, 0)), 0,
		     "by the wrong ring");
	ax_close(&p, 3);
	ax_close(&p, 4);
	ax_run();
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

/* A right to bind a low port holds for that port, once, for that process; being root gives none. */
Test(cmd, low_ports_take_a_right_each_time)
{
	struct ax_prog p, c;
	uint32_t s, t;

	ax_init(1);
	sx.h->st[0].sys->ip_unprivileged_port_start = 1024;
	p = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_STREAM);
	t = ax_socket(&p, 4, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 80)), -EACCES);
	app_proc_at(&sx.h->st[0], p.rec)->low_port = 80;
	c = ax_fork(&p);
	cr_assert_eq(ax_rpc(&c, ax_cmd(s, SD_OP_BIND, 0, 80)), -EACCES, "not inherited");
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 81)), -EACCES);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 80)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(t, SD_OP_BIND, SX_A, 80)), -EACCES, "used up");
	cr_assert_eq(ax_rpc(&p, ax_cmd(t, SD_OP_BIND, 0, 8080)), 0);
	ax_detach(&p);
	ax_detach(&c);
	ax_drain();
	ax_fini();
}

/* A budget: what is beyond it is refused and is no crime; it is whole again at the end. */
Test(cmd, budget)
{
	struct shm_budget b = { 0 };
	struct ax_prog p;
	uint32_t s[4];

	ax_init(1);
	shm_left_init(&b.slots, 3, 64);
	shm_left_init(&b.chunks, 1000, 256);
	shm_left_init(&b.ports, 2, 1);
	sx.epools[0][SX_SEG].budget = &b;
	p = ax_attach(1000);
	for (int i = 0; i < 4; i++)
		s[i] = ax_socket(&p, 3 + i, SOCK_STREAM);
	ax_run();
	cr_assert_eq(b.slots.left, 0);
	cr_assert_eq(b.slots.refused, 1u);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s[3], SD_OP_BIND, SX_A, 8000)), -EBADF, "not in service");
	cr_assert_eq(ax_rpc(&p, ax_cmd(s[0], SD_OP_BIND, SX_A, 8000)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s[0], SD_OP_LISTEN, 0, 0)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s[1], SD_OP_BIND, SX_A, 8001)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s[2], SD_OP_BIND, SX_A, 8002)), -ENOBUFS);
	cr_assert_eq(b.ports.left, 0);
	cr_assert_eq(sock_ports_used(&sx.h->st[0], SX_SEG), 2u);
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(b.ports.left, 2);
	cr_assert_eq(ax_bad, 0u);
	cr_assert_eq(b.slots.left + sx.epools[0][SX_SEG].slot_credit.have, 3);
	sx.epools[0][SX_SEG].budget = NULL;
	ax_fini();
}

/* A sleeping consumer is woken once, one that is awake not at all, an armed one is queued once a
 * loop. */
Test(cmd, wakes)
{
	struct app_wake w[8];
	struct ax_prog p;
	struct sd_mbox *mb;
	uint32_t s;
	struct sock_id id;
	struct stack *st;

	ax_init(1);
	st = &sx.h->st[0];
	p = ax_attach(0);
	mb = shm_mbox(ax_seg(), p.mbox);
	s = ax_socket(&p, 3, SOCK_DGRAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 80)), 0);
	cr_assert_eq(app_take_wakes(st, w, 8), 0u);
	id = (struct sock_id){ .seg = SX_SEG, .slot = s, .gen = ax_p(s)->gen };
	cr_assert_eq(shm_sub_add(ax_seg(), s, SD_SUB(p.mbox, 5, SD_EV_IN, 0),
				 shm_lock_owner(p.idx, 1),
				 &p.mag), 0);
	st_rlx(&mb->sleeping, SD_MBOX_ASLEEP);
	app_event(st, id, SD_EV_OUT);
	cr_assert_eq(app_take_wakes(st, w, 8), 0u, "not asked for");
	app_event(st, id, SD_EV_IN);
	app_event(st, id, SD_EV_IN);
	cr_assert_eq(app_take_wakes(st, w, 8), 1u);
	cr_assert_eq(w[0].seg, SX_SEG);
	cr_assert_eq(w[0].mbox, p.mbox);
	st_rlx(&mb->sleeping, SD_MBOX_ARMED);
	for (int i = 0; i < 5; i++)
		app_event(st, id, SD_EV_IN);
	cr_assert_eq(app_take_wakes(st, w, 8), 1u);
	app_event(st, id, SD_EV_IN);
	cr_assert_eq(app_take_wakes(st, w, 8), 1u);
	app_event(st, (struct sock_id){ .seg = SX_SEG, .slot = s, .gen = 99 }, SD_EV_IN);
	cr_assert_eq(app_take_wakes(st, w, 8), 0u, "another generation");
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* Small budgets: every process has its turn, nothing is lost, nothing is pending at the end. */
Test(cmd, budget_is_fair)
{
	struct ax_prog p[5];
	uint32_t s[5];

	ax_init(2);
	for (int i = 0; i < 5; i++) {
		p[i] = ax_attach(0);
		s[i] = ax_socket(&p[i], 3, SOCK_DGRAM);
	}
	cr_assert(app_pending(&sx.h->st[0]));
	ax_run();
	for (int k = 0; k < 300; k++)
		ax_push(&p[0], 0, ax_cmd(s[0], SD_OP_KICK, 0, 0));
	for (int i = 1; i < 5; i++)
		ax_push(&p[i], 0, ax_cmd(s[i], SD_OP_BIND, 0, (uint16_t)(80 + i)));
	cr_assert_eq(app_poll(&sx.h->st[0], 100), 68u);	/* a turn of 64, and the others */
	for (int i = 1; i < 5; i++)
		cr_assert(ax_e(s[i])->flags & SD_E_BOUND);
	cr_assert(app_pending(&sx.h->st[0]));
	cr_assert_eq(app_poll(&sx.h->st[0], 7), 7u);
	ax_run();
	cr_assert_not(app_pending(&sx.h->st[0]));
	cr_assert_eq(ax_snmp(SNMP_App_Commands), 309u);
	for (int i = 0; i < 5; i++)
		ax_detach(&p[i]);
	ax_drain();
	ax_fini();
}

Test(cmd, broken_ones_end_the_session)
{
	struct sd_cmd bad[] = {
		{ .op = SD_OP_NONE, .slot = 1, .gen = 1 },
		{ .op = SD_OP_MAX, .slot = 1, .gen = 1 },
		{ .op = SD_OP_BIND, .slot = 0, .gen = 1 },
		{ .op = SD_OP_BIND, .slot = SD_SLOTS, .gen = 1 },
		{ .op = SD_OP_BIND, .slot = 5, .gen = 0 },
		{ .op = SD_OP_ATTACH, .slot = SD_SLOTS_P, .gen = 1 },
		{ .op = SD_OP_ATTACH, .slot = 9, .gen = 1 },		/* no such protocol */
		{ .op = SD_OP_BIND, .slot = 5, .gen = 1, .mbox = SD_MAX_MBOXES },
	};
	struct ax_prog p, q;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	q = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_STREAM);
	ax_run();
	ax_push(&p, 0, ax_cmd(s, SD_OP_ATTACH, 0, 0));	/* in service already */
	for (unsigned i = 1; i < APP_BAD_MAX; i++) {
		ax_run();
		cr_assert_eq(ax_bad, 0u);
		ax_push(&p, 0, bad[i % 8]);
	}
	ax_run();
	cr_assert_eq(ax_bad, 1u);
	cr_assert_eq(ax_bad_rec, p.rec);
	ax_push(&p, 0, ax_cmd(s, SD_OP_BIND, 0, 80));
	ax_run();
	cr_assert_not(ax_e(s)->flags & SD_E_BOUND, "its commands are not taken");
	cr_assert_not(app_pending(&sx.h->st[0]));
	s = ax_socket(&q, 3, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&q, ax_cmd(s, SD_OP_BIND, 0, 80)), 0, "its sibling goes on");
	cr_assert_not(ax_detach(&p));
	cr_assert(ax_detach(&q));
	ax_run();
	ax_drain();
	ax_fini();
}

/* Old handles and second closes are answered and harmless. */
Test(cmd, stale)
{
	struct ax_prog p;
	struct sd_cmd c;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_STREAM);
	ax_run();
	c = ax_cmd(s, SD_OP_BIND, 0, 80);
	c.gen++;
	cr_assert_eq(ax_rpc(&p, c), -EBADF);
	ax_close(&p, 3);
	ax_push(&p, 0, ax_cmd(s, SD_OP_CLOSE, 0, 0));
	ax_run();
	cr_assert_eq(ax_e(s)->gen, 0u);
	cr_assert_eq(ax_slots(), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 80)), -EBADF);
	cr_assert_eq(ax_bad, 0u);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

Test(cmd, missing_operations)
{
	struct ax_prog p;
	uint32_t s;

	ax_init(1);
	p = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_DGRAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_LISTEN, 0, 0)), -EOPNOTSUPP);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_SETOPT, 0, 0)), -ENOPROTOOPT);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* The oldest message on its way, and no other. */
static void one_message(void)
{
	struct hx *h = sx.h;
	unsigned i = h->head++ % HX_MSGS;
	struct stack_msg msg = h->q[i].msg;

	stack_recv(&h->st[h->q[i].to], &msg);
}

/* connect() goes from worker 0 to another, a close follows it, and a second one comes in between:
 * the slot is closed once. */
Test(cmd, close_twice_while_the_connection_moves)
{
	struct ax_prog p;
	uint16_t w;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	app_proc_at(&sx.h->st[0], p.rec)->home = 1;
	ax_run();
	s = ax_socket(&p, 3, SOCK_STREAM);
	ax_push(&p, 0, ax_cmd(s, SD_OP_CONNECT, SX_PEER, 80));
	ax_push(&p, 0, ax_cmd(s, SD_OP_CLOSE, 0, 0));
	cr_assert_eq(app_poll(&sx.h->st[0], 100), 3u);
	cr_assert_eq(OBJ_KIND(ax_e(s)->obj), OBJ_MISC);
	one_message();
	cr_assert_eq(OBJ_KIND(ax_e(s)->obj), OBJ_TCB);
	w = ax_e(s)->worker;
	cr_assert_neq(w, 0);
	cr_assert(ax_e(s)->flags & SD_E_CLOSED, "no command is legal any more");
	ax_push(&p, w, ax_cmd(s, SD_OP_CLOSE, 0, 0));
	app_poll(&sx.h->st[w], 100);
	cr_assert_neq(ax_e(s)->gen, 0u, "the first close is still on its way");
	ax_run();
	cr_assert_eq(ax_e(s)->gen, 0u);
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

/* A program writes into its accept ring what is no connection: it stays as it was. */
Test(cmd, accept_ring_names_a_listener)
{
	struct sd_accept_ring *r;
	struct ax_prog p;
	uint32_t a, b;

	ax_init(1);
	p = ax_attach(0);
	a = ax_socket(&p, 3, SOCK_STREAM);
	b = ax_socket(&p, 4, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(a, SD_OP_LISTEN, 0, 0)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(b, SD_OP_LISTEN, 0, 0)), 0);
	r = shm_accept_ring(ax_seg(), ax_e(a)->accept_base);
	r->e[0] = (struct sd_accept_ent){ SD_CLAIM_READY, b, ax_p(b)->gen };
	r->prod = 1;
	ax_close(&p, 3);
	ax_run();
	cr_assert_eq(ax_e(a)->gen, 0u);
	cr_assert_eq(ax_e(b)->gen, ax_p(b)->gen);
	cr_assert_eq(ax_e(b)->state, SD_ST_LISTEN);
	cr_assert_not(ax_e(b)->flags & SD_E_CLOSED);
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

/* While another worker does not keep up commands wait where they are, and are not forgotten. */
Test(cmd, commands_wait_for_a_slow_worker)
{
	struct ax_prog p[100];
	uint32_t s[100];

	ax_init(2);
	for (int i = 0; i < 100; i++) {
		p[i] = ax_attach(0);
		s[i] = ax_socket(&p[i], 3, SOCK_DGRAM);
	}
	ax_run();
	for (int i = 0; i < 100; i++)
		for (int k = 0; k < SD_CMD_ENTRIES; k++)
			ax_push(&p[i], 1, ax_cmd(s[i], SD_OP_KICK, 0, 0));
	sx.h->rings_full = true;
	for (int i = 0; i < 10000; i++)
		app_poll(&sx.h->st[1], 1000);
	cr_assert(sock_backlog(&sx.h->st[1]) < APP_KEPT_HIGH + 200);
	sx.h->rings_full = false;
	ax_run();
	cr_assert_eq(ax_snmp(SNMP_App_Commands), 100u + 100u * SD_CMD_ENTRIES);
	for (int i = 0; i < 100; i++)
		ax_detach(&p[i]);
	ax_drain();
	ax_fini();
}
