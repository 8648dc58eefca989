/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_found.c - what the simulator has found, each as the few segments it takes */
#include "tests/unit/tcp/script.h"

static void kick(struct sim_end *x, uint32_t pend)
{
	struct sock_cmd k = { .id = x->id, .op = SD_OP_KICK };

	tcp_sock_ops.kick(&x->h->st, &k, sc_e(x)->obj, pend);
	host_turn(x->h);
}

static void done(struct sc *c, struct sim_end *x)
{
	c->forget = true;
	sc_p(x)->opts.linger_on = 1;
	sc_close(x);
	sc_free(c);
}

/* A second copy of an ACK, nothing outstanding: the corked rest lost its timer for good. */
Test(found, cork_outlives_a_duplicate_ack)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);

	sc_p(x)->opts.cork = 1;
	kick(x, SD_PEND_OPT);
	sc_write(x, 100);
	quiet(c);
	cr_expect(tcb->dl[DL_PERSIST]);
	in(c, TH_ACK, 1, 1, 65535, 0);
	quiet(c);
	cr_expect(tcb->dl[DL_PERSIST], "data to send and no timer");
	sc_pass(c, 300000);
	expect_seg(c, TH_ACK | TH_PSH, 1, 1, 100);
	done(c, x);
}

/* Without window scale a buffer larger than 64 KiB made each read() look like an update. */
Test(found, no_update_that_the_window_cannot_say)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);

	tcb->rx_limit = tcb->wnd_clamp = tcb->rcv_ssthresh = 524288;
	in(c, TH_ACK, 1, 1, 65535, 1000);
	cr_expect_eq(out(c).wnd, 65535);
	quiet(c);
	cr_expect_eq(sc_read(x, 500), 500);
	cr_expect_eq(sc_read(x, 500), 500);
	quiet(c);
	done(c, x);
}
