/* SPDX-License-Identifier: MIT */
/* tests/unit/app/ax.h - stacks with everything up to app/, and programs that use a segment as the
 * shim does */
#ifndef TESTS_AX_H
#define TESTS_AX_H

#include "stackd/app/app_int.h"
#include "stackd/sock/sock_int.h"
#include "stackd/udp/udp_int.h"
#include "tests/unit/sock/sx.h"

struct ax_prog {
	uint32_t rec, idx, gen;
	uint32_t mbox;
	struct shm_magazine mag;
	uint32_t rseq;
};

static unsigned ax_bad;
static uint32_t ax_bad_rec;
static unsigned ax_budget;		/* commands of one poll, 0 = many */

static inline void ax_proc_bad(struct stack *st, uint32_t rec)
{
	ax_bad++;
	ax_bad_rec = rec;
}

static inline void ax_init(unsigned workers)
{
	static const struct stack_up up = { .send = hx_send, .reply = app_reply, .event = app_event,
					    .proc_bad = ax_proc_bad };

	ax_bad = 0;
	sx_init_up(workers, &up);
	for (unsigned w = 0; w < workers; w++) {
		cr_assert_eq(tcp_init(&sx.h->st[w]), 0);
		cr_assert_eq(app_init(&sx.h->st[w]), 0);
		sx.h->st[w].sys->ip_unprivileged_port_start = 0;	/* no port is privileged */
	}
	shm_pool_init(&sx.segs[SX_SEG]);
}

static inline void ax_fini(void)
{
	for (unsigned w = 0; w < sx.h->workers; w++) {
		app_fini(&sx.h->st[w]);
		tcp_fini(&sx.h->st[w]);
	}
	sx_fini();
}

/* Loops of all workers until nothing moves. */
static inline void ax_run(void)
{
	for (int quiet = 0, loops = 0; quiet < 3 && loops < 20000; loops++) {
		unsigned n = 0;

		for (unsigned w = 0; w < sx.h->workers; w++) {
			struct stack *st = &sx.h->st[w];

			n += app_poll(st, ax_budget ? ax_budget : 1000);
			n += ip_poll_local(st);
			tcp_flush(st);
			link_flush(st);
		}
		n += hx_pump(sx.h);
		quiet = n ? 0 : quiet + 1;
	}
}

static inline struct shm_seg *ax_seg(void) { return &sx.segs[SX_SEG]; }

static inline void ax_take(struct ax_prog *p, uint32_t rec)
{
	struct app_proc *r = app_proc_at(&sx.h->st[0], rec);

	cr_assert(r && r->live);
	*p = (struct ax_prog){ .rec = rec, .idx = r->idx, .gen = r->gen };
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], rec, &p->mbox, 1), 0);
}

static inline struct ax_prog ax_attach(uint32_t uid)
{
	struct app_proc who = { .pid = 4711, .uid = uid, .comm = "prog" };
	struct ax_prog p;
	uint32_t rec;

	cr_assert_eq(app_attach(&sx.h->st[0], SX_SEG, &who, &rec), 0);
	ax_take(&p, rec);
	return p;
}

static inline struct ax_prog ax_fork(const struct ax_prog *parent)
{
	struct ax_prog p;
	uint32_t rec;

	cr_assert_geq(app_fork(&sx.h->st[0], parent->rec, &rec, NULL, NULL), 0);
	ax_take(&p, rec);
	return p;
}

static inline struct sd_slot_e *ax_e(uint32_t slot) { return shm_slot_e(ax_seg(), slot); }
static inline struct sd_slot_p *ax_p(uint32_t slot) { return shm_slot_p(ax_seg(), slot); }

static inline void ax_push(struct ax_prog *p, unsigned worker, struct sd_cmd c)
{
	cr_assert_eq(shm_cmd_push(ax_seg(), p->idx, worker, &c), 0);
}

/* socket(): slot, open table entry at @fd, ATTACH without an answer. */
static inline uint32_t ax_socket(struct ax_prog *p, int fd, uint8_t type)
{
	uint32_t slot = shm_pslot_alloc(ax_seg()), gen;
	struct sd_slot_p *sp = ax_p(slot);

	cr_assert(slot);
	gen = sp->gen + 1;
	*sp = (struct sd_slot_p){ .gen = gen, .opts = { .family = AF_INET, .type = type } };
	ax_push(p, 0, (struct sd_cmd){ .op = SD_OP_ATTACH, .slot = slot, .gen = gen });
	shm_slot_get(ax_seg(), slot);
	shm_ofd_set(shm_proc(ax_seg(), p->idx), fd, SD_OFD(SD_OFD_SOCK, slot, gen));
	return slot;
}

static inline struct sd_cmd ax_cmd(uint32_t slot, enum sd_op op, uint32_t addr, uint16_t port)
{
	return (struct sd_cmd){ .op = (uint16_t)op, .slot = slot, .gen = ax_p(slot)->gen,
				.addr = sx_v4(addr), .port = port };
}

/* A command with an answer, by the ring of @worker. Return: its errno. */
static inline int ax_rpc_on(struct ax_prog *p, unsigned worker, struct sd_cmd c)
{
	struct sd_reply *r = shm_reply(ax_seg(), p->mbox);

	c.mbox = p->mbox;
	c.rseq = ++p->rseq;
	ax_push(p, worker, c);
	ax_run();
	cr_assert_eq(ld_acq(&r->seq), p->rseq, "no answer to %u", c.op);
	return r->err;
}

static inline int ax_rpc(struct ax_prog *p, struct sd_cmd c) { return ax_rpc_on(p, 0, c); }

/* close() */
static inline void ax_close(struct ax_prog *p, int fd)
{
	sd_ofd o = shm_ofd_take(shm_proc(ax_seg(), p->idx), fd);
	uint32_t slot = SD_OFD_IDX(o);

	cr_assert_eq(SD_OFD_KIND(o), SD_OFD_SOCK);
	if (shm_slot_put(ax_seg(), slot))
		ax_push(p, ax_e(slot)->gen == SD_OFD_GEN(o) ? ax_e(slot)->worker : 0,
			(struct sd_cmd){ .op = SD_OP_CLOSE, .slot = slot, .gen = SD_OFD_GEN(o) });
}

static inline bool ax_detach(struct ax_prog *p)
{
	bool last;

	app_detach(&sx.h->st[0], p->rec, &last);
	return last;
}

/* The end of the family. */
static inline void ax_drain(void)
{
	for (int i = 0; i < 100; i++) {
		if (app_seg_drain(&sx.h->st[0], SX_SEG))
			return;
		ax_run();
		hx_pass(sx.h, i < 50 ? 100000 : APP_LINGER_US / 20);
	}
	cr_assert_fail("the segment does not drain");
}

static inline int32_t ax_slots(void)
{
	int32_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += sock_slot_used(&sx.h->st[w], SX_SEG);
	return n;
}

static inline uint64_t ax_snmp(enum snmp_id i)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += sx.h->st[w].cnt->snmp[i];
	return n;
}

#endif
