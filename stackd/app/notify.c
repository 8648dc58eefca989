/* SPDX-License-Identifier: MIT */
/* app/notify.c - the way up: readiness, answers, wake-ups
 * A readiness is posted to the mailboxes that the slot's subscriptions name; where a consumer
 * sleeps, its mailbox is queued, once, and the engine writes its eventfd together with all others
 * of this loop.
 * Holds:   N1 a mailbox is in wakes[] at most once: app_seg.queued says so
 * Threads: owning worker only; mailboxes and reply slots take posts from all workers
 */
#include "stackd/app/app_int.h"

struct waker {
	struct stack *st;
	uint16_t seg;
};

static void wake(void *arg, uint32_t mbox)
{
	struct waker *w = arg;
	struct app_state *a = w->st->app;
	struct app_seg *s = &a->segs[w->seg];

	if (mbox >= SD_MAX_MBOXES || bit_get(s->queued, mbox))
		return;
	bit_set(s->queued, mbox);
	ASSERT(a->wake_cnt < APP_WAKES_MAX);		/* N1 */
	a->wakes[a->wake_cnt++] = (struct app_wake){ .seg = w->seg, .mbox = mbox };
}

void app_event(struct stack *st, struct sock_id id, uint32_t ev)
{
	struct sd_slot_p *sp = sock_slot_p(st, id);
	struct waker w = { st, id.seg };
	uint32_t here;

	if (!sp)
		return;
	here = shm_subs_post(&st->segs[id.seg], sp, ev, st->app->cpu, wake, &w);
	if (here)
		st->app->here = (struct app_wake){ .seg = id.seg, .mbox = here };
}

void app_reply(struct stack *st, struct stack_reply_to to, int err, const void *data, uint32_t len)
{
	struct shm_seg *seg = stack_seg(st, to.seg);
	struct sd_reply *r = seg && to.mbox ? shm_reply(seg, to.mbox) : NULL;
	struct waker w = { st, to.seg };
	struct sd_mbox *mb;

	if (!r)
		return;
	ASSERT(len <= SD_REPLY_DATA);
	st_rlx(&r->err, err);
	st_rlx(&r->len, len);
	if (len)
		memcpy(r->data, data, len);
	st_rel(&r->seq, to.rseq);	/* pairs with ld_acq of the caller that waits for rseq */
	mb = shm_mbox(seg, to.mbox);
	if (st->app->cpu && ld_rlx(&mb->cpu) == st->app->cpu)
		st->app->here = (struct app_wake){ .seg = to.seg, .mbox = to.mbox };
	if (shm_mbox_post(mb, SD_MBOX_REPLY_BIT))
		wake(&w, to.mbox);
}

void app_runs_on(struct stack *st, int cpu)
{
	st->app->cpu = (uint32_t)(cpu + 1);
}

bool app_told_here(struct stack *st)
{
	return st->app->here.mbox;
}

bool app_forget_here(struct stack *st)
{
	struct app_wake here = st->app->here;
	const struct shm_seg *seg = here.mbox ? stack_seg(st, here.seg) : NULL;
	const struct sd_mbox *mb = seg ? shm_mbox(seg, here.mbox) : NULL;

	st->app->here.mbox = 0;
	return mb && ld_sc(&mb->sleeping) == SD_MBOX_ASLEEP;
}

unsigned app_take_wakes(struct stack *st, struct app_wake *wakes, unsigned max)
{
	struct app_state *a = st->app;
	unsigned n = 0;

	while (n < max && a->wake_head < a->wake_cnt) {
		struct app_wake *w = &a->wakes[a->wake_head++];

		bit_clear(a->segs[w->seg].queued, w->mbox);
		wakes[n++] = *w;
	}
	if (a->wake_head == a->wake_cnt)
		a->wake_head = a->wake_cnt = 0;
	snmp_add(st, SNMP_App_Wakes, n);
	return n;
}
