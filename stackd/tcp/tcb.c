/* SPDX-License-Identifier: MIT */
/* tcp/tcb.c - connection records: their pool, their states, the dirty list
 * Holds:   a record is in the pool, or hashed with state != FREE; every change of state goes
 *          through tcp_set_state(), which checks the edge
 * Threads: owning worker only
 */
#include <string.h>

#include "stackd/core/siphash.h"
#include "stackd/tcp/tcp_int.h"

/* ---- states ---- */

#define ST(s) (1u << SD_ST_##s)
static const struct {
	const char *name;
	uint32_t next;			/* bits of the states that may follow */
} states[] = {
	[SD_ST_FREE] = { "FREE", ST(SYN_SENT) | ST(SYN_RECV) },
	[SD_ST_ESTABLISHED] = { "ESTABLISHED", ST(FIN_WAIT1) | ST(CLOSE_WAIT) | ST(CLOSE) },
	[SD_ST_SYN_SENT] = { "SYN_SENT", ST(ESTABLISHED) | ST(SYN_RECV) | ST(CLOSE) },
	[SD_ST_SYN_RECV] = { "SYN_RECV", ST(ESTABLISHED) | ST(FIN_WAIT1) | ST(CLOSE) },
	[SD_ST_FIN_WAIT1] = { "FIN_WAIT1",
			      ST(FIN_WAIT2) | ST(CLOSING) | ST(TIME_WAIT) | ST(CLOSE) },
	[SD_ST_FIN_WAIT2] = { "FIN_WAIT2", ST(TIME_WAIT) | ST(CLOSE) },
	[SD_ST_TIME_WAIT] = { "TIME_WAIT", ST(CLOSE) },
	[SD_ST_CLOSE] = { "CLOSE", ST(FREE) },
	[SD_ST_CLOSE_WAIT] = { "CLOSE_WAIT", ST(LAST_ACK) | ST(CLOSE) },
	[SD_ST_LAST_ACK] = { "LAST_ACK", ST(CLOSE) },
	[SD_ST_LISTEN] = { "LISTEN", 0 },
	[SD_ST_CLOSING] = { "CLOSING", ST(TIME_WAIT) | ST(CLOSE) },
};
#define STATES (sizeof(states) / sizeof(states[0]))

const char *tcp_state_name(uint8_t state)
{
	return state < STATES ? states[state].name : "?";
}

bool tcp_state_edge(uint8_t from, uint8_t to)
{
	return from < STATES && to < STATES && (states[from].next >> to & 1);
}

static bool counts_as_estab(uint8_t state)
{
	return state == SD_ST_ESTABLISHED || state == SD_ST_CLOSE_WAIT;
}

void tcp_set_state(struct stack *st, struct tcb *tcb, uint8_t state)
{
	struct sd_slot_e *e;

	ASSERT(tcp_state_edge(tcb->state, state));
	st->cnt->snmp[SNMP_Tcp_CurrEstab] +=
		(uint64_t)counts_as_estab(state) - (uint64_t)counts_as_estab(tcb->state);
	tcb->state = state;
	e = tcb->id.slot ? sock_slot_e(st, tcb->id) : NULL;
	if (e)
		st_rel(&e->state, state);
}

/* ---- the pool ---- */

struct tcb *tcb_at(struct stack *st, uint32_t idx)
{
	struct tcb *tcb = arena_at(st->arena, AR_TCB, idx);

	return tcb && tcb->state != SD_ST_FREE ? tcb : NULL;
}

struct tcb *tcb_alloc(struct stack *st, const struct sock_tuple *t)
{
	uint32_t idx = idx_alloc(&st->tcp->tcbs);
	struct tcb *tcb;

	if (!idx)
		return NULL;
	tcb = &st->tcp->tcb_base[idx];
	memset(tcb, 0, sizeof(*tcb));
	tcb->t = *t;
	if (sock_einsert(st, t, OBJ(OBJ_TCB, idx))) {
		idx_free(&st->tcp->tcbs, idx);
		return NULL;
	}
	tcb->flags = TF_HASHED;
	tcb->rto_us = ld_rlx(&st->sys->tcp_rto_init_us);
	tcb->reordering = (uint16_t)ld_rlx(&st->sys->tcp_reordering);
	tcb->ssthresh = TCP_SSTHRESH_INF;
	tcb->rack_steps = 1;
	tcb->rcv_mss = TCP_MSS_UNKNOWN;
	tcb->quick = TCP_QUICKACKS;
	tcb->last_data_ms = tcb->last_rcv_ms = tcb->last_snd_ms = tcp_ms(st);
	tcb->last_oow_ms = tcp_ms(st) - 3600 * 1000;
	tcb->cc = tcp_cc_default(st);
	return tcb;
}

void tcb_free(struct stack *st, struct tcb *tcb)
{
	uint32_t idx = tcb_idx(st, tcb);

	if (tcb->flags & TF_EMBRYO)
		tcp_syn_queue_del(st, tcb);
	if (tcp_cc_at(tcb->cc)->fini)
		tcp_cc_at(tcb->cc)->fini(st, tcb);
	txq_free(st, tcb);
	st->tcp->orphans -= !!(tcb->flags & TF_ORPHAN);
	tcp_ranges_put(st, &tcb->ooo);
	tcp_undirty(st, tcb);
	wheel_cancel(st->wheel, OBJ(OBJ_TCB, idx), &tcb->tm);
	if (tcb->flags & TF_HASHED)
		sock_eremove(st, &tcb->t, OBJ(OBJ_TCB, idx));
	if (tcb->state != SD_ST_CLOSE && tcb->state != SD_ST_FREE)
		tcp_set_state(st, tcb, SD_ST_CLOSE);
	tcb->state = SD_ST_FREE;
	idx_free(&st->tcp->tcbs, idx);
}

/* ---- the dirty list: who has something to send at the end of this loop ---- */

void tcp_due(struct stack *st, struct tcb *tcb, uint8_t due)
{
	struct tcp_state *ts = st->tcp;
	uint32_t idx = tcb_idx(st, tcb);

	if (!(tcb->due & DUE_LISTED)) {
		tcb->dirty_next = 0;
		tcb->dirty_prev = ts->dirty_tail;
		if (ts->dirty_tail)
			ts->tcb_base[ts->dirty_tail].dirty_next = idx;
		else
			ts->dirty_head = idx;
		ts->dirty_tail = idx;
	}
	tcb->due |= due | DUE_LISTED;
}

void tcp_undirty(struct stack *st, struct tcb *tcb)
{
	struct tcp_state *ts = st->tcp;

	if (!(tcb->due & DUE_LISTED))
		return;
	if (tcb->dirty_prev)
		ts->tcb_base[tcb->dirty_prev].dirty_next = tcb->dirty_next;
	else
		ts->dirty_head = tcb->dirty_next;
	if (tcb->dirty_next)
		ts->tcb_base[tcb->dirty_next].dirty_prev = tcb->dirty_prev;
	else
		ts->dirty_tail = tcb->dirty_prev;
	tcb->due = 0;
}

/* ---- invariants ---- */

void tcb_assert(struct stack *st, const struct tcb *tcb)
{
	const struct tcp_ranges *r;

	ASSERT(pos_le(tcb->snd_una, tcb->snd_nxt));				/* I1 */
	ASSERT(pos_le(tcb->snd_nxt, tcb->snd_tail + !!(tcb->flags & TF_FIN)));
	ASSERT(pos_le(tcb->rcv_nxt, tcb->rcv_adv + 1));				/* I3 */
	if (tcb->state == SD_ST_SYN_RECV || tcb->state == SD_ST_SYN_SENT)
		return;
	if (tcb->snd_una != tcb->snd_nxt)					/* I4 */
		ASSERT(tcb->dl[DL_RTO] && tcb->packets_out);
	r = tcp_ranges_at(st, tcb->ooo);
	for (unsigned i = 0; r && i < r->cnt; i++) {				/* I5 */
		ASSERT(pos_lt(r->r[i].lo, r->r[i].hi));
		ASSERT(pos_lt(i ? r->r[i - 1].hi : tcb->rcv_nxt, r->r[i].lo));
	}
}

/* ---- numbers ---- */

/* RFC 6528: a 4 us clock plus a keyed hash of the tuple. */
uint32_t tcp_isn(struct stack *st, const struct sock_tuple *t)
{
	return (uint32_t)siphash24(st->boot_secret, t, sizeof(*t)) + (uint32_t)(st->now_us / 4);
}

uint32_t tcp_ts_offset(struct stack *st, const struct sock_tuple *t)
{
	return (uint32_t)(siphash24(st->boot_secret, t, sizeof(*t)) >> 32);
}
