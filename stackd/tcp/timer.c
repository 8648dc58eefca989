/* SPDX-License-Identifier: MIT */
/* tcp/timer.c - the deadlines of a connection on its one wheel node
 * The node is armed for the earliest deadline. A deadline that moves later leaves the node alone:
 * it fires early, finds nothing due and is armed again. So an ACK that restarts the retransmission
 * timer costs a store.
 * Spec:    RFC 1122 4.2.3.6 (keepalive)
 */
#include <errno.h>

#include "shm/fifo.h"
#include "shm/lock.h"
#include "stackd/tcp/tcp_int.h"

static void arm(struct stack *st, struct tcb *tcb, uint32_t ms)
{
	uint32_t in = ms - tcp_ms(st);

	if ((int32_t)in < 0)
		in = 0;
	tcb->armed_ms = ms;
	wheel_arm(st->wheel, OBJ(OBJ_TCB, tcb_idx(st, tcb)), &tcb->tm,
		  (st->now_us / 1000 + in) * 1000);
}

void tcp_dl_set(struct stack *st, struct tcb *tcb, enum tcp_dl which, uint64_t delta_us)
{
	uint32_t ms = (uint32_t)((st->now_us + delta_us + 999) / 1000);

	if (!ms)
		ms = 1;			/* 0 says "none" */
	tcb->dl[which] = ms;
	if (!wheel_armed(&tcb->tm) || u32_lt(ms, tcb->armed_ms))
		arm(st, tcb, ms);
}

void tcp_dl_clear(struct tcb *tcb, enum tcp_dl which)
{
	tcb->dl[which] = 0;
}

/* Give the chunks of an idle send FIFO back: everything in it was acknowledged a while ago. */
static void trim_tx(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	struct shm_fifo_mem mem = { .seg = stack_seg(st, tcb->id.seg) };
	uint64_t tail;

	if (!sp || !mem.seg || !ld_rlx(&sp->tx.held))
		return;
	if (!shm_trylock(&sp->tx_lock, SHM_LOCK_ENGINE))
		return;			/* a writer is at it: the next full ACK rearms */
	tail = ld_acq(&sp->tx_tail);	/* pairs with the writers' st_rel; they hold tx_lock */
	if (tail == tcb->snd_una && tail == tcb->snd_tail)
		shm_fifo_release(&mem, SD_FIFO_TX, &sp->tx, tail, tail);
	shm_unlock(&sp->tx_lock, SHM_LOCK_ENGINE);
}

/* A while after the last traffic: nothing may be held for an idle connection. A program that reads
 * the last bytes does not say so; while some are left we look again. */
static void on_trim(struct stack *st, struct tcb *tcb)
{
	trim_tx(st, tcb);
	tcp_rx_consume(st, tcb);
	if (tcb->rcv_head != rcv_data_end(tcb))
		tcp_dl_set(st, tcb, DL_TRIM, 4 * TCP_TRIM_US);
	if (tcb->flags & TF_HOSTILE)
		tcp_due(st, tcb, DUE_TX);
}

static void on_delack(struct stack *st, struct tcb *tcb)
{
	snmp_inc(st, SNMP_TcpExt_DelayedACKs);
	/* no answer came that it could have ridden on */
	if (tcb->flags & TF_PINGPONG)
		tcb->ato_us = TCP_DELACK_US;
	else
		tcb->ato_us = u32_min(2 * tcb->ato_us, tcb->rto_us);
	tcb->flags &= ~TF_PINGPONG;
	tcp_due(st, tcb, DUE_ACK);
}

static uint32_t keep_idle_ms(struct stack *st, const struct tcb *tcb)
{
	return 1000u * (tcb->keep_idle_s ? tcb->keep_idle_s : ld_rlx(&st->sys->tcp_keepalive_time));
}

void tcp_keep_restart(struct stack *st, struct tcb *tcb)
{
	if (!(tcb->flags & TF_KEEPALIVE))
		tcp_dl_clear(tcb, DL_KEEP);
	else if (!tcb->dl[DL_KEEP])
		tcp_dl_set(st, tcb, DL_KEEP, keep_idle_ms(st, tcb) * 1000ull);
}

static bool keep_expired(struct stack *st, const struct tcb *tcb, uint32_t idle)
{
	if (tcb->user_timeout_ms)
		return tcb->probes && idle >= tcb->user_timeout_ms;
	return tcb->probes >= (tcb->keep_cnt ? tcb->keep_cnt :
				ld_rlx(&st->sys->tcp_keepalive_probes));
}

/* Return: false when the connection was given up. */
static bool on_keep(struct stack *st, struct tcb *tcb)
{
	uint32_t idle = tcp_ms(st) - tcb->last_rcv_ms;
	uint32_t intvl_s = tcb->keep_intvl_s ? tcb->keep_intvl_s :
			   ld_rlx(&st->sys->tcp_keepalive_intvl);

	if (!(tcb->flags & TF_KEEPALIVE))
		return true;
	if (tcb->snd_una != tcb->snd_nxt || tcb->dl[DL_PERSIST]) {
		tcp_dl_set(st, tcb, DL_KEEP, keep_idle_ms(st, tcb) * 1000ull);
		return true;		/* other timers look after it */
	}
	if (idle < keep_idle_ms(st, tcb)) {
		tcp_dl_set(st, tcb, DL_KEEP, (keep_idle_ms(st, tcb) - idle) * 1000ull);
		return true;
	}
	if (keep_expired(st, tcb, idle)) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnTimeout);
		tcp_abort(st, tcb, tcb->soft_err ? tcb->soft_err : ETIMEDOUT, true);
		return false;
	}
	snmp_inc(st, SNMP_TcpExt_TCPKeepAlive);
	tcb->probes++;
	tcp_send_probe(st, tcb);
	tcp_dl_set(st, tcb, DL_KEEP, intvl_s * 1000000ull);
	return true;
}

/* One deadline that has come. Return: false when the TCB is gone. */
static bool fire_one(struct stack *st, struct tcb *tcb, enum tcp_dl which)
{
	uint32_t idx = tcb_idx(st, tcb);

	switch (which) {
	case DL_RTO:
		tcp_on_rto(st, tcb);
		break;
	case DL_PERSIST:
		tcp_on_persist(st, tcb);
		break;
	case DL_DELACK:
		on_delack(st, tcb);
		break;
	case DL_KEEP:
		return on_keep(st, tcb);
	case DL_TRIM:
		on_trim(st, tcb);
		break;
	case DL_MAX:
		break;
	}
	return tcb_at(st, idx) != NULL;
}

/* The earliest deadline, 0 = none. */
static uint32_t earliest(const struct tcb *tcb)
{
	uint32_t next = 0;

	for (unsigned i = 0; i < DL_MAX; i++)
		if (tcb->dl[i] && (!next || u32_lt(tcb->dl[i], next)))
			next = tcb->dl[i];
	return next;
}

void tcp_timers_adopt(struct stack *st, struct tcb *tcb)
{
	uint32_t next = earliest(tcb);

	if (next)
		arm(st, tcb, next);
}

static struct wheel_node *tcb_node(void *arg, uint32_t id)
{
	struct stack *st = arg;

	return &st->tcp->tcb_base[OBJ_IDX(id)].tm;
}

static void tcb_fire(void *arg, uint32_t id)
{
	struct stack *st = arg;
	struct tcb *tcb = tcb_at(st, OBJ_IDX(id));
	uint32_t now = tcp_ms(st), next;

	ASSERT(tcb);
	tcp_intent(st, OBJ_TCB, OBJ_IDX(id));
	for (unsigned i = 0; i < DL_MAX; i++) {
		if (!tcb->dl[i] || u32_lt(now, tcb->dl[i]))
			continue;
		tcb->dl[i] = 0;
		if (!fire_one(st, tcb, i))
			goto out;
	}
	next = earliest(tcb);
	if (next && (!wheel_armed(&tcb->tm) || u32_lt(next, tcb->armed_ms)))
		arm(st, tcb, next);
out:
	tcp_intent(st, OBJ_NONE, 0);
}

void tcp_timers_init(struct stack *st)
{
	struct wheel_ops ops = { .node = tcb_node, .fire = tcb_fire, .arg = st };

	wheel_set_ops(st->wheel, OBJ_TCB, &ops);
}
