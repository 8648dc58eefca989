/* SPDX-License-Identifier: MIT */
/* Processes: fork, death at any point, what they leave behind, the end of a segment. */
#include "tests/unit/app/ax.h"

static uint32_t listener(struct ax_prog *p, int fd, uint16_t port)
{
	uint32_t l = ax_socket(p, fd, SOCK_STREAM);
	struct sd_cmd cmd;

	cr_assert_eq(ax_rpc(p, ax_cmd(l, SD_OP_BIND, 0, port)), 0);
	cmd = ax_cmd(l, SD_OP_LISTEN, 0, 0);
	cmd.u32[0] = 10;
	cr_assert_eq(ax_rpc(p, cmd), 0);
	return l;
}

Test(proc, fork_shares_until_the_last_close)
{
	struct ax_prog p, c;
	uint32_t l;

	ax_init(2);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	cr_assert_neq(c.idx, p.idx);
	cr_assert_eq(ax_p(l)->refs, 2u);
	ax_close(&p, 3);
	ax_run();
	cr_assert_eq(ax_e(l)->state, SD_ST_LISTEN);
	cr_assert_not(ax_detach(&p));
	ax_run();
	cr_assert_eq(ax_e(l)->state, SD_ST_LISTEN);
	cr_assert(ax_detach(&c));
	ax_run();
	cr_assert_eq(ax_e(l)->gen, 0u, "the death of the last one closes");
	ax_drain();
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	ax_fini();
}

/* A slot made just before fork() is in service when the child uses it, whatever ring comes first.
 */
Test(proc, fork_right_after_socket)
{
	struct ax_prog p, c;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_STREAM);
	c = ax_fork(&p);
	cr_assert_eq(ax_rpc(&c, ax_cmd(s, SD_OP_BIND, 0, 80)), 0);
	ax_detach(&p);
	ax_detach(&c);
	ax_run();
	ax_drain();
	ax_fini();
}

/* What a process had asked for before it died is still done: the datagram goes out, then the close.
 */
Test(proc, last_words)
{
	struct ax_prog p, q;
	uint32_t s, r;
	struct sd_dgram d = { .port = 90, .addr = sx_v4(SX_A) };
	struct shm_fifo_mem m = { 0 };

	ax_init(3);
	p = ax_attach(0);
	q = ax_attach(0);
	r = ax_socket(&q, 3, SOCK_DGRAM);
	cr_assert_eq(ax_rpc(&q, ax_cmd(r, SD_OP_BIND, 0, 90)), 0);
	s = ax_socket(&p, 3, SOCK_DGRAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_BIND, 0, 91)), 0);
	m = (struct shm_fifo_mem){ .seg = ax_seg(), .mag = &p.mag };
	cr_assert_eq(shm_fifo_reserve(&m, SD_FIFO_TX, &ax_p(s)->tx, 0, sizeof(d)), sizeof(d));
	shm_fifo_write(m.seg, SD_FIFO_TX, &ax_p(s)->tx, 0, &d, sizeof(d));
	ax_p(s)->tx_tail = sizeof(d);
	ax_p(s)->pending = SD_PEND_TX;
	ax_push(&p, ax_e(s)->worker, ax_cmd(s, SD_OP_KICK, 0, 0));
	ax_detach(&p);
	ax_run();
	cr_assert_eq(ax_e(s)->gen, 0u);
	cr_assert_eq(ax_e(r)->rx_tail, sizeof(d));
	ax_detach(&q);
	ax_run();
	ax_drain();
	ax_fini();
}

Test(proc, locks_subscriptions_mailboxes)
{
	struct ax_prog p, c, n;
	uint64_t parent, child;
	uint32_t l;

	ax_init(2);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	parent = shm_lock_owner(p.idx, 10);
	child = shm_lock_owner(c.idx, 11);
	for (int i = 0; i < 10; i++)	/* inline ones and the extension */
		cr_assert_eq(shm_sub_add(ax_seg(), l,
					 SD_SUB(i % 2 ? c.mbox : p.mbox, 1 + (unsigned)i, SD_EV_IN,
						1),
					 parent, &p.mag), 0);
	cr_assert_eq(shm_lock(&ax_p(l)->tx_lock, child), 0);
	cr_assert_eq(shm_lock(&ax_p(l)->rx_lock, parent), 0);
	cr_assert_eq(shm_lock(&ax_p(l)->sub_lock, child), 0);
	shm_mbox_post(shm_mbox(ax_seg(), c.mbox), 77);
	cr_assert_not(ax_detach(&c));
	ax_run();
	cr_assert(shm_trylock(&ax_p(l)->tx_lock, parent), "taken from the dead");
	cr_assert_not(shm_trylock(&ax_p(l)->rx_lock, child), "the living keep theirs");
	cr_assert(shm_trylock(&ax_p(l)->sub_lock, parent));
	cr_assert(shm_mbox_any(shm_mbox(ax_seg(), p.mbox)), "the others look again");
	n = ax_fork(&p);
	cr_assert_eq(n.idx, c.idx, "the index is used again");
	cr_assert_neq(n.gen, c.gen);
	cr_assert_eq(n.mbox, c.mbox);
	cr_assert_not(shm_mbox_any(shm_mbox(ax_seg(), n.mbox)), "its mailbox is clean");
	app_event(&sx.h->st[0], (struct sock_id){ .seg = SX_SEG, .slot = l, .gen = ax_p(l)->gen },
		  SD_EV_IN);
	cr_assert_not(shm_mbox_any(shm_mbox(ax_seg(), n.mbox)),
		      "and old subscriptions do not reach it");
	ax_detach(&n);
	ax_detach(&p);
	ax_run();
	ax_drain();
	ax_fini();
}

/* Killed between claim and installation: the connection waits for a sibling. */
Test(proc, accept_claims)
{
	struct ax_prog p, c;
	uint32_t l, s, slot, gen, idx;
	struct sd_accept_ring *r;

	ax_init(1);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	s = ax_socket(&p, 4, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_CONNECT, SX_A, 80)), 0);
	ax_run();
	r = shm_accept_ring(ax_seg(), ax_e(l)->accept_base);
	cr_assert(shm_accept_claim(r, c.idx, c.gen, &slot, &gen, &idx));
	cr_assert_not(shm_accept_any(r));
	ax_detach(&c);
	ax_run();
	cr_assert(shm_accept_any(r));
	ax_detach(&p);
	ax_run();
	cr_assert_eq(ax_e(slot)->gen, 0u, "queued connections go with the listener");
	ax_drain();
	ax_fini();
}

/* A sweep's two passes. */
static void sweep(void)
{
	for (int i = 0; i < 3; i++) {
		ax_run();
		hx_pass(sx.h, 1100000);
	}
	ax_run();
}

static uint32_t queue_one(struct ax_prog *p, int fd)
{
	uint32_t s = ax_socket(p, fd, SOCK_STREAM);

	cr_assert_eq(ax_rpc(p, ax_cmd(s, SD_OP_CONNECT, SX_A, 80)), 0);
	ax_run();
	return s;
}

/* Killed after it had counted and entered an accepted connection, but not removed its claim: the
 * connection is closed as the dead's, and nobody gets it a second time. */
Test(proc, accepted_but_claimed)
{
	struct ax_prog p, c;
	uint32_t l, slot, gen, idx;
	struct sd_accept_ring *r;

	ax_init(2);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	queue_one(&p, 4);
	r = shm_accept_ring(ax_seg(), ax_e(l)->accept_base);
	if (!shm_accept_claim(r, c.idx, c.gen, &slot, &gen, &idx)) {
		r = shm_accept_ring(ax_seg(), ax_e(l)->accept_base + 1);
		cr_assert(shm_accept_claim(r, c.idx, c.gen, &slot, &gen, &idx));
	}
	shm_slot_own(ax_seg(), slot);
	shm_ofd_set(shm_proc(ax_seg(), c.idx), 9, SD_OFD(SD_OFD_SOCK, slot, gen));
	ax_detach(&c);
	ax_run();
	cr_assert_neq(ax_e(slot)->gen, gen);
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

/* Killed after it had counted, before it had entered: who claims it next has the one reference. */
Test(proc, claimed_and_counted)
{
	struct ax_prog p, c;
	uint32_t l, slot, gen, idx;
	struct sd_accept_ring *r;

	ax_init(1);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	queue_one(&p, 4);
	r = shm_accept_ring(ax_seg(), ax_e(l)->accept_base);
	cr_assert(shm_accept_claim(r, c.idx, c.gen, &slot, &gen, &idx));
	shm_slot_own(ax_seg(), slot);
	ax_detach(&c);
	ax_run();
	cr_assert(shm_accept_claim(r, p.idx, p.gen, &slot, &gen, &idx));
	shm_slot_own(ax_seg(), slot);
	shm_ofd_set(shm_proc(ax_seg(), p.idx), 9, SD_OFD(SD_OFD_SOCK, slot, gen));
	shm_accept_done(r, idx);
	sweep();
	cr_assert_eq(ax_e(slot)->gen, gen, "it is in use");
	ax_close(&p, 9);
	ax_close(&p, 4);
	ax_run();
	hx_pass(sx.h, 200000);
	cr_assert_neq(ax_e(slot)->state, SD_ST_ESTABLISHED);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* Killed in close(), entry taken and command not sent: the sweep closes it, and only it. */
Test(proc, sweep_closes_what_nobody_names)
{
	struct ax_prog p, c;
	uint32_t l, mine, waits;

	ax_init(2);
	p = ax_attach(0);
	mine = ax_socket(&p, 5, SOCK_STREAM);
	c = ax_fork(&p);
	l = listener(&c, 3, 80);
	waits = listener(&p, 6, 81);
	queue_one(&p, 4);
	shm_ofd_take(shm_proc(ax_seg(), c.idx), 3);
	ax_detach(&c);
	ax_run();
	cr_assert_eq(ax_e(l)->state, SD_ST_LISTEN, "nobody has told the engine");
	sweep();
	cr_assert_eq(ax_e(l)->gen, 0u);
	cr_assert_neq(ax_e(mine)->gen, 0u);
	cr_assert_eq(ax_e(waits)->state, SD_ST_LISTEN);
	cr_assert_eq(ax_snmp(SNMP_App_Swept), 1u);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* Killed between counting and entering a socket that others have, too: the count is corrected. */
Test(proc, sweep_corrects_counts)
{
	struct ax_prog p, c;
	uint32_t l;

	ax_init(1);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	shm_slot_get(ax_seg(), l);
	ax_detach(&c);
	sweep();
	cr_assert_eq(ax_p(l)->refs, 1u);
	ax_close(&p, 3);
	ax_run();
	cr_assert_eq(ax_e(l)->gen, 0u);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* What waits to be accepted, and what is new, has no entry and stays. */
Test(proc, sweep_spares_the_queue)
{
	struct ax_prog p, c;
	uint32_t l, slot, gen, idx;
	struct sd_accept_ring *r;

	ax_init(1);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	c = ax_fork(&p);
	queue_one(&p, 4);
	r = shm_accept_ring(ax_seg(), ax_e(l)->accept_base);
	cr_assert(shm_accept_claim(r, c.idx, c.gen, &slot, &gen, &idx));
	or_sc(&ax_p(slot)->flags, SD_P_PLACEHOLD);
	ax_detach(&c);
	sweep();
	cr_assert(shm_accept_any(r));
	cr_assert_eq(ax_e(slot)->state, SD_ST_ESTABLISHED);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* More sockets than messages between workers can be kept. */
Test(proc, very_many_sockets)
{
	enum { CNT = 80000 };
	struct ax_prog p;

	ax_init(2);
	p = ax_attach(0);
	for (int i = 0; i < CNT; i++) {
		uint32_t s = ax_socket(&p, 10 + i, SOCK_STREAM);

		if (i % 500 == 499)
			ax_run();
		ax_e(s)->worker = 1;
	}
	ax_run();
	for (uint32_t s = 1; s <= CNT; s++)
		ax_e(s)->worker = 1;
	ax_detach(&p);
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

/* Half-written commands of the dead are nothing to the next process with that index. */
Test(proc, rings_begin_empty)
{
	struct ax_prog p, c, n;
	struct sd_cmd_ring *r;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	c = ax_fork(&p);
	for (int i = 0; i < 1500; i++) {
		ax_push(&c, 0, (struct sd_cmd){ .op = SD_OP_KICK, .slot = 9, .gen = 1 });
		ax_run();
	}
	r = shm_cmd_ring(ax_seg(), c.idx, 0);
	r->reserve += 2;		/* killed before filling two; a third was published */
	ax_push(&c, 0, (struct sd_cmd){ .op = SD_OP_BIND, .slot = 9, .gen = 1 });
	ax_detach(&c);
	ax_run();
	n = ax_fork(&p);
	cr_assert_eq(n.idx, c.idx);
	s = ax_socket(&n, 3, SOCK_STREAM);
	for (int i = 0; i < 3000; i++) {
		ax_push(&n, 0, ax_cmd(s, SD_OP_KICK, 0, 0));
		if (i % 50 == 0)
			ax_run();
	}
	cr_assert_eq(ax_rpc(&n, ax_cmd(s, SD_OP_BIND, 0, 80)), 0);
	ax_detach(&n);
	ax_detach(&p);
	ax_run();
	ax_drain();
	ax_fini();
}

/* References that lie keep a slot until the family ends, no longer. */
Test(proc, family_end_closes_everything)
{
	struct ax_prog p;
	uint32_t l;

	ax_init(3);
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	ax_p(l)->refs = 77;
	ax_socket(&p, 5, SOCK_DGRAM);
	shm_ofd_take(shm_proc(ax_seg(), p.idx), 5);	/* and one that no table names */
	ax_run();
	cr_assert(ax_detach(&p));
	cr_assert_not(app_seg_drain(&sx.h->st[0], SX_SEG), "not before the workers have answered");
	ax_run();
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	cr_assert_eq(sx.h->st[0].sock->listeners.used, 0u);
	cr_assert_eq(sx.h->st[0].app->procs.used, 0u);
	for (unsigned w = 0; w < 3; w++)
		cr_assert_eq(sx.h->st[w].app->active_cnt, 0u);
	/* the id serves another family */
	p = ax_attach(0);
	l = listener(&p, 3, 80);
	ax_detach(&p);
	ax_run();
	ax_drain();
	ax_fini();
}

/* A peer that never answers cannot hold the segment for ever. */
Test(proc, orphans_are_reset_in_the_end)
{
	struct ax_prog p;
	uint32_t s;

	ax_init(2);
	p = ax_attach(0);
	s = ax_socket(&p, 3, SOCK_STREAM);
	cr_assert_eq(ax_rpc(&p, ax_cmd(s, SD_OP_CONNECT, SX_PEER, 80)), 0);
	ax_detach(&p);
	ax_run();
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}

Test(proc, limits)
{
	uint32_t mbox[SD_MAX_MBOXES], rec;
	struct ax_prog p;
	static struct ax_prog kids[SD_MAX_PROCS];

	ax_init(1);
	p = ax_attach(0);
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], p.rec, mbox, SD_MAX_MBOXES), -ENOSPC);
	for (unsigned i = 1; i < SD_MAX_PROCS; i++)
		kids[i] = ax_fork(&p);
	cr_assert_eq(app_fork(&sx.h->st[0], p.rec, &rec, NULL, NULL), -ENOSPC);
	for (unsigned i = 1; i < SD_MAX_PROCS; i++)
		ax_detach(&kids[i]);
	ax_run();
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], p.rec, mbox, SD_MAX_MBOXES - 2), 0);
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], kids[1].rec, mbox, 1), -ESRCH);
	cr_assert_eq(app_fork(&sx.h->st[0], kids[1].rec, &rec, NULL, NULL), -ESRCH);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}

/* ---- programs that write anything anywhere ---- */

static void scribble(uint64_t *rng, void *p, size_t size)
{
	uint64_t *w = p;
	size_t at = rng_below(rng, (uint32_t)(size / 8));

	switch (rng_below(rng, 4)) {
	case 0: w[at] = rng_u64(rng); break;
	case 1: w[at] = rng_below(rng, 64); break;
	case 2: w[at] ^= 1ull << rng_below(rng, 64); break;
	case 3: w[at] += rng_below(rng, 9) - 4; break;
	}
}

static void lie(uint64_t *rng, struct ax_prog *p)
{
	struct sd_proc *sp = shm_proc(ax_seg(), p->idx);
	uint32_t slot = 1 + rng_below(rng, 12);

	switch (rng_below(rng, 7)) {
	case 0: scribble(rng, ax_p(slot), sizeof(struct sd_slot_p)); break;
	case 1: scribble(rng, ax_p(SD_SLOTS_P + slot), sizeof(struct sd_slot_p)); break;
	case 2: scribble(rng, &sp->rings[rng_below(rng, 3)].r, sizeof(struct sd_cmd_ring)); break;
	case 3: scribble(rng, sp->fds, 64); break;
	case 4: scribble(rng, shm_mbox(ax_seg(), 1 + rng_below(rng, 4)), 64); break;
	case 5: scribble(rng, shm_accept_ring(ax_seg(), rng_below(rng, 6)), 256); break;
	case 6: scribble(rng, shm_rw_hdr(ax_seg()), sizeof(struct sd_seg_rw)); break;
	}
}

static void command(uint64_t *rng, struct ax_prog *p)
{
	struct sd_cmd c = {
		.op = (uint16_t)rng_below(rng, 40) ? (uint16_t)(1 + rng_below(rng, SD_OP_MAX - 1)) :
						     (uint16_t)rng_u32(rng),
		.slot = rng_below(rng, 5) ? 1 + rng_below(rng, 12) : SD_SLOTS_P + rng_below(rng, 8),
		.mbox = rng_below(rng, 5), .rseq = rng_u32(rng),
		.addr = sx_v4(rng_below(rng, 2) ? 0 : SX_A + rng_below(rng, 2)),
		.port = (uint16_t)(rng_below(rng, 3) ? 80 + rng_below(rng, 3) : 0),
		.u32 = { rng_below(rng, 4), rng_below(rng, 4), rng_u32(rng) },
	};
	struct sd_slot_p *sp = ax_p(c.slot);

	c.gen = ax_e(c.slot)->gen;
	if (c.op == SD_OP_ATTACH || !c.gen) {
		c.op = SD_OP_ATTACH;
		c.gen = 1 + rng_below(rng, 5);
		if (c.slot < SD_SLOTS_P)
			*sp = (struct sd_slot_p){
				.gen = c.gen,
				.opts = { .family = rng_below(rng, 2) ? AF_INET : AF_INET6,
					  .type = rng_below(rng, 2) ? SOCK_STREAM : SOCK_DGRAM } };
	}
	if (c.op == SD_OP_KICK)
		or_sc(&sp->pending, rng_u32(rng));
	shm_cmd_push(ax_seg(), p->idx, rng_below(rng, 3), &c);
}

static void noise(uint64_t seed, unsigned families, unsigned steps)
{
	uint64_t rng[2];
	struct ax_prog p[3];

	ax_init(3);
	rng_seed(rng, seed);
	for (unsigned f = 0; f < families; f++) {
		p[0] = ax_attach(0);
		p[1] = ax_fork(&p[0]);
		p[2] = ax_attach(1000);
		for (unsigned i = 0; i < steps; i++) {
			struct ax_prog *who = &p[rng_below(rng, 3)];

			if (rng_below(rng, 3) == 0)
				lie(rng, who);
			else
				command(rng, who);
			ax_budget = 1 + rng_below(rng, 50);
			if (rng_below(rng, 4) == 0)
				ax_run();
			sx.h->rings_full = rng_below(rng, 10) == 0;
		}
		sx.h->rings_full = false;
		for (int i = 0; i < 3; i++)
			ax_detach(&p[i]);
		ax_run();
		ax_drain();
		cr_assert_eq(ax_slots(), 0, "seed %lu family %u", (unsigned long)seed, f);
		cr_assert_eq(sx.h->st[0].app->procs.used, 0u);
		cr_assert_eq(sx.h->st[0].udp->pool.used, 0u);
		cr_assert_eq(sx.h->st[0].sock->listeners.used, 0u);
		memset(shm_proc(ax_seg(), 0), 0, 4096 * 2);
	}
	cr_assert_gt(ax_snmp(SNMP_App_Commands), families * steps / 4);
	cr_assert_gt(ax_snmp(SNMP_App_BadCommands), 0u);
	ax_fini();
}

Test(hostile, noise1) { noise(1, 100, 600); }
Test(hostile, noise2) { noise(2, 100, 600); }
Test(hostile, noise3) { noise(3, 1000, 40); }

/* Many die at once, their rings full of commands for a worker that does not keep up. */
Test(proc, last_words_are_bounded)
{
	struct ax_prog p[80];
	uint32_t s;

	ax_init(2);
	for (int i = 0; i < 80; i++)
		p[i] = ax_attach(0);
	s = ax_socket(&p[0], 3, SOCK_DGRAM);
	ax_run();
	for (int i = 0; i < 80; i++) {
		for (int k = 0; k < SD_CMD_ENTRIES; k++) {
			struct sd_cmd c = ax_cmd(s, SD_OP_KICK, 0, 0);

			cr_assert_eq(shm_cmd_publish(ax_seg(), p[i].idx, 1, &c), 0);
		}
		ax_detach(&p[i]);
	}
	sx.h->rings_full = true;
	hx_pump(sx.h);
	cr_assert(sock_backlog(&sx.h->st[1]) > APP_KEPT_HIGH);
	cr_assert(sock_backlog(&sx.h->st[1]) < APP_KEPT_HIGH + 200);
	sx.h->rings_full = false;
	ax_run();
	ax_drain();
	cr_assert_eq(ax_slots(), 0);
	ax_fini();
}
