/* SPDX-License-Identifier: MIT */
/* tests/unit/app/test_adopt.c - all rooms' private memory is lost, arena and segment stay */
#include "tests/unit/app/ax.h"

#define LISTENERS(st) sock_llookup(st, IPPROTO_TCP, &(struct sock_tuple){		\
	.laddr = sx_v4(SX_A), .raddr = sx_v4(SX_B), .lport = 80, .rport = 1 })

/* What kill -9 leaves, in new rooms. */
static void ax_reborn(void)
{
	struct seg_rec *rec = stack_seg_rec(&sx.h->st[0], SX_SEG);

	for (unsigned w = 0; w < sx.h->workers; w++) {
		struct stack *st = &sx.h->st[w];

		app_fini(st);
		udp_fini(st);
		tcp_fini(st);
		sock_fini(st);
		wheel_destroy(st->wheel);
		cr_assert_eq(wheel_create(st->now_us, &st->wheel), 0);
		shm_epool_fini(&st->epools[SX_SEG]);
		cr_assert_eq(shm_epool_init(&st->epools[SX_SEG], &rec->span), 0);
		cr_assert_eq(sock_init(st), 0);
		cr_assert_eq(tcp_init(st), 0);
		cr_assert_eq(udp_init(st), 0);
		cr_assert_eq(app_init(st), 0);
	}
}

static void ax_adopt(struct ax_prog *p)
{
	struct stack *st[HX_WORKERS];
	unsigned n = sx.h->workers;

	ax_reborn();
	for (unsigned w = 0; w < n; w++) {
		st[w] = &sx.h->st[w];
		cr_assert_eq(sock_adopt(st[w]), 0);
	}
	for (unsigned w = 0; w < n; w++) {
		app_adopt_procs(st[w]);
		tcp_adopt(st[w], st[0]);
		udp_adopt(st[w], st[0]);
	}
	app_adopt_mbox(st[0], p->rec, p->mbox);
	cr_assert_eq(app_adopt_slots(st, n, SX_SEG), 0);
	sock_adopt_bounds(st[0]);
	for (unsigned w = 0; w < n; w++)
		tcp_adopt_finish(st[w]);
	sock_adopt_finish(st[0]);
	app_adopt_finish(st, n, SX_SEG);
	ax_run();
}

static uint32_t tcbs(void)
{
	uint32_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += tcp_tcb_used(&sx.h->st[w]);
	return n;
}

static uint32_t estab(void)
{
	uint32_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += sock_ecount(&sx.h->st[w]);
	return n;
}

static void sockets_live_on(unsigned workers)
{
	struct ax_prog p;
	uint32_t l, c, b, u;
	int32_t slots;

	ax_init(workers);
	p = ax_attach(0);
	l = ax_socket(&p, 3, SOCK_STREAM);
	c = ax_socket(&p, 4, SOCK_STREAM);
	b = ax_socket(&p, 5, SOCK_STREAM);
	u = ax_socket(&p, 6, SOCK_DGRAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_BIND, SX_A, 80)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_LISTEN, 0, 0)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(b, SD_OP_BIND, SX_A, 81)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(u, SD_OP_BIND, SX_A, 82)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(c, SD_OP_CONNECT, SX_A, 80)), 0);
	ax_run();
	cr_assert_eq(ax_e(c)->state, SD_ST_ESTABLISHED);
	cr_assert_eq(tcbs(), 2);
	slots = ax_slots();

	for (int i = 0; i < 3; i++) {
		ax_adopt(&p);
		cr_expect_eq(ax_slots(), slots);
		cr_expect_eq(tcbs(), 2);
		cr_expect_eq(estab(), 2);
		cr_expect_eq(ax_e(c)->state, SD_ST_ESTABLISHED);
		for (unsigned w = 0; w < workers; w++)
			cr_expect_neq(LISTENERS(&sx.h->st[w]), 0);
	}
	cr_expect_eq(ax_rpc(&p, ax_cmd(b, SD_OP_BIND, SX_A, 83)), -EINVAL, "it is bound already");
	c = ax_socket(&p, 7, SOCK_STREAM);
	cr_expect_eq(ax_rpc(&p, ax_cmd(c, SD_OP_BIND, SX_A, 81)), -EADDRINUSE);
	cr_expect_eq(ax_rpc(&p, ax_cmd(b, SD_OP_LISTEN, 0, 0)), 0);
	for (int fd = 3; fd <= 7; fd++)
		ax_close(&p, fd);
	ax_run();
	ax_detach(&p);
	ax_drain();
	cr_expect_eq(ax_slots(), 0);
	cr_expect_eq(tcbs(), 0);
	ax_fini();
}

Test(adopt, sockets_live_on_1) { sockets_live_on(1); }
Test(adopt, sockets_live_on_2) { sockets_live_on(2); }

/* A TCB that its slot does not name is freed; a slot whose TCB is gone hears that it is over. */
Test(adopt, halves_are_told_from_wholes)
{
	struct ax_prog p;
	uint32_t l, c;

	ax_init(1);
	p = ax_attach(0);
	l = ax_socket(&p, 3, SOCK_STREAM);
	c = ax_socket(&p, 4, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_BIND, SX_A, 80)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_LISTEN, 0, 0)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(c, SD_OP_CONNECT, SX_A, 80)), 0);
	ax_run();
	cr_assert_eq(tcbs(), 2);
	ax_e(c)->obj = OBJ(OBJ_TCB, 0xfff);	/* names nothing */
	ax_adopt(&p);
	cr_expect_leq(tcbs(), 1, "its peer may have been told by a reset already");
	cr_expect_eq(ax_e(c)->state, SD_ST_CLOSE);
	cr_expect_eq(ax_e(c)->err, ECONNRESET);
	ax_close(&p, 4);
	ax_close(&p, 3);
	ax_run();
	ax_detach(&p);
	ax_drain();
	cr_expect_eq(ax_slots(), 0);
	ax_fini();
}

/* A listener's CLOSE was taken, and the engine died before it had told anybody. */
static void listener_half_closed(unsigned workers)
{
	struct ax_prog p;
	uint32_t l;

	ax_init(workers);
	p = ax_attach(0);
	l = ax_socket(&p, 3, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_BIND, SX_A, 80)), 0);
	cr_assert_eq(ax_rpc(&p, ax_cmd(l, SD_OP_LISTEN, 0, 0)), 0);
	or_sc(&ax_e(l)->flags, SD_E_CLOSED);
	shm_ofd_take(shm_proc(ax_seg(), p.idx), 3);
	ax_p(l)->refs = 0;
	ax_adopt(&p);
	for (unsigned w = 0; w < workers; w++)
		cr_expect_eq(LISTENERS(&sx.h->st[w]), 0);
	cr_expect_eq(ax_slots(), 0);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

Test(adopt, listener_half_closed_1) { listener_half_closed(1); }
Test(adopt, listener_half_closed_2) { listener_half_closed(2); }
