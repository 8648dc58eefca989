/* SPDX-License-Identifier: MIT */
/* app/drain.c - the end of a segment
 * The last process is gone and everything is closed; what remains are orphans whose data is still
 * on its way out of the segment's FIFOs. Worker 0 asks all workers how many slots they have put
 * into service less those they freed. No slot comes into service any more (no process, and
 * listeners die first), so the numbers only fall, and a sum of 0 is final although they were taken
 * at different times. After APP_LINGER_US the question carries an order: reset what is left.
 * A sum of 0 also ends the workers' views of the segment: no process is polled, no wake-up is
 * queued.
 * Threads: app_seg_drain() and on_seg_ack on worker 0; on_seg_gone on each worker
 */
#include "stackd/app/app_int.h"

/* Wake-ups for mailboxes that nobody reads any more. */
static void wakes_drop(struct app_state *a, uint16_t seg)
{
	uint32_t i, to = a->wake_head;

	for (i = a->wake_head; i < a->wake_cnt; i++)
		if (a->wakes[i].seg != seg)
			a->wakes[to++] = a->wakes[i];
	a->wake_cnt = to;
	memset(a->segs[seg].queued, 0, sizeof(a->segs[seg].queued));
}

void app_on_seg_gone(struct stack *st, const struct stack_msg *msg)
{
	uint16_t seg = (uint16_t)msg->u32[0];
	struct stack_msg ack = { .kind = SMSG_SEG_ACK, .u32 = { seg } };

	if (msg->u32[1]) {
		tcp_seg_gone(st, seg);
		udp_seg_gone(st, seg);
	}
	wakes_drop(st->app, seg);
	ack.u32[1] = (uint32_t)sock_slot_used(st, seg);
	sock_send(st, 0, &ack);
}

void app_on_seg_ack(struct stack *st, const struct stack_msg *msg)
{
	struct app_seg *s = &st->app->segs[msg->u32[0]];

	s->drain_sum += (int32_t)msg->u32[1];
	if (++s->drain_acks < st->workers)
		return;
	s->drain = s->drain_sum ? APP_D_IDLE : APP_D_DONE;
}

static void ask_all(struct stack *st, uint16_t seg, bool force)
{
	struct app_seg *s = &st->app->segs[seg];

	s->drain = APP_D_ASKED;
	s->drain_acks = 0;
	s->drain_sum = 0;
	for (uint16_t w = 0; w < st->workers; w++) {
		struct stack_msg m = { .kind = SMSG_SEG_GONE, .u32 = { seg, force } };

		sock_send(st, w, &m);
	}
}

bool app_seg_drain(struct stack *st, uint16_t seg)
{
	struct app_seg *s = &st->app->segs[seg];

	if (s->attached || s->ending)
		return false;
	if (!s->drain_since_us)
		s->drain_since_us = st->now_us ? st->now_us : 1;
	if (s->drain == APP_D_IDLE)
		ask_all(st, seg, st->now_us - s->drain_since_us >= APP_LINGER_US);
	if (s->drain != APP_D_DONE)
		return false;
	s->drain = APP_D_IDLE;
	s->drain_since_us = 0;
	sock_seg_gone(st, seg);
	return true;
}
