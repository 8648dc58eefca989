/* SPDX-License-Identifier: MIT */
/* tests/unit/app/test_walk.c - what a program says that it has costs nothing, what it has in pieces
 */
#include <sys/stat.h>

#include "tests/unit/app/ax.h"

#define FEW	64u			/* steps that an empty table, or two slots, may take */

static unsigned steps;

/* As ax_run(), and the pieces of work are counted. */
static void run_jobs(void)
{
	for (steps = 0; steps < 100000 && sx.h->st[0].app->job_cnt; steps++)
		app_job_poll(&sx.h->st[0]);
	ax_run();
}

static uint64_t rw_bytes(void)
{
	struct stat sb;

	cr_assert_eq(fstat(ax_seg()->rw_fd, &sb), 0);
	return (uint64_t)sb.st_blocks * 512;
}

static uint32_t attach_at(struct ax_prog *p, uint32_t slot)
{
	*ax_p(slot) = (struct sd_slot_p){ .gen = 1, .opts = { .family = AF_INET,
							      .type = SOCK_STREAM } };
	ax_push(p, 0, (struct sd_cmd){ .op = SD_OP_ATTACH, .slot = slot, .gen = 1 });
	ax_run();
	cr_assert_eq(ax_e(slot)->gen, 1);
	return slot;
}

Test(walk, far_slots)
{
	struct ax_prog p;
	uint32_t far[] = { SD_SLOTS_P - 1, 4096, 63, 64, 1 };

	ax_init(1);
	p = ax_attach(0);
	for (unsigned i = 0; i < 5; i++)
		attach_at(&p, far[i]);
	cr_expect_eq(app_pslot_next(&sx.h->st[0], SX_SEG, 2), 63);
	cr_expect_eq(app_pslot_next(&sx.h->st[0], SX_SEG, 65), 4096);
	cr_expect_eq(app_pslot_next(&sx.h->st[0], SX_SEG, 4097), SD_SLOTS_P - 1);
	ax_detach(&p);
	run_jobs();
	cr_expect_lt(steps, FEW, "%u steps for five slots", steps);
	ax_drain();
	cr_expect_eq(ax_slots(), 0);
	app_pslots_clear(&sx.h->st[0], SX_SEG);
	cr_expect_eq(app_pslot_next(&sx.h->st[0], SX_SEG, 1), SD_SLOTS_P);
	ax_fini();
}

/* A table of two entries that says it has a million. */
Test(walk, lying_table)
{
	struct ax_prog p, c;
	uint64_t before;

	ax_init(1);
	p = ax_attach(0);
	ax_socket(&p, 3, SOCK_STREAM);
	ax_socket(&p, 70000, SOCK_DGRAM);
	ax_run();
	shm_proc(ax_seg(), p.idx)->hi_fd = UINT32_MAX;
	before = rw_bytes();
	c = ax_fork(&p);
	ax_run();
	cr_expect_neq(shm_ofd_get(shm_proc(ax_seg(), c.idx), 70000), 0);
	shm_proc(ax_seg(), c.idx)->hi_fd = UINT32_MAX;
	ax_detach(&p);
	ax_run();
	ax_detach(&c);
	ax_run();
	cr_expect_lt(rw_bytes(), before + (1u << 20), "%lu bytes for nothing",
		     (unsigned long)(rw_bytes() - before));
	ax_drain();
	cr_expect_eq(ax_slots(), 0);
	ax_fini();
}

static unsigned clones;
static void cloned(struct stack *st, void *arg) { clones += arg == &clones; }

/* A table that really is large is cloned in pieces, and its parent's death waits for that. */
Test(walk, large_table)
{
	enum { N = 400000 };
	struct sd_proc *sp;
	struct ax_prog p, c;
	uint32_t rec, slot;

	ax_init(1);
	p = ax_attach(0);
	slot = ax_socket(&p, 3, SOCK_STREAM);
	ax_run();
	sp = shm_proc(ax_seg(), p.idx);
	for (int fd = 4; fd < N; fd++) {
		shm_slot_get(ax_seg(), slot);
		shm_ofd_set(sp, fd, sp->fds[3]);
	}
	cr_assert_eq(app_fork(&sx.h->st[0], p.rec, &rec, cloned, &clones), 1);
	cr_expect_eq(clones, 0, "never from within");
	ax_detach(&p);
	for (unsigned i = 0; i < 100000 && !clones; i++)
		app_poll(&sx.h->st[0], 1);
	cr_assert_eq(clones, 1);
	ax_take(&c, rec);
	for (int fd = 3; fd < N; fd++)
		cr_assert_eq(shm_ofd_get(shm_proc(ax_seg(), c.idx), fd), sp->fds[3] ? sp->fds[3] :
			     shm_ofd_get(shm_proc(ax_seg(), c.idx), 3));
	ax_run();
	cr_expect_eq(ax_e(slot)->state, SD_ST_CLOSE, "the child holds it");
	cr_expect_eq(ax_p(slot)->refs, N - 3);
	ax_detach(&c);
	ax_run();
	ax_drain();
	cr_expect_eq(ax_slots(), 0);
	cr_expect_eq(clones, 1);
	ax_fini();
}

/* Every bit of a mailbox is set when its owner dies. The next owner finds none, and does not take
 * the answer to the last owner's command for the one to its own first. */
Test(walk, full_mailboxes)
{
	struct ax_prog p, c;
	struct sd_mbox *mb;
	uint32_t more[100], bits[4];		/* the child's mailboxes */

	ax_init(1);
	p = ax_attach(0);
	c = ax_fork(&p);
	ax_run();
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], c.rec, more, 100), 0);
	for (unsigned i = 0; i < 100; i++) {
		mb = shm_mbox(ax_seg(), more[i]);
		memset(mb->top, 0xff, sizeof(mb->top));
		memset(mb->mid, 0xff, sizeof(mb->mid) + sizeof(mb->leaf));
		st_rel(&mb->rseq, 1 + i);
	}
	ax_detach(&c);
	for (unsigned i = 0; i < 10 && !sx.h->st[0].app->job_cnt; i++)
		hx_pump(sx.h);
	run_jobs();
	cr_expect_lt(steps, FEW);
	for (unsigned i = 0; i < 100; i++) {
		mb = shm_mbox(ax_seg(), more[i]);
		cr_expect_eq(shm_mbox_take(mb, bits, 4), 0);
		cr_expect_eq(ld_acq(&mb->rseq), 1 + i, "numbers of replies go on");
	}
	cr_assert_eq(app_mbox_alloc(&sx.h->st[0], p.rec, more, 100), 0);
	ax_detach(&p);
	ax_drain();
	ax_fini();
}
