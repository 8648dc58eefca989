/* SPDX-License-Identifier: MIT */
/* tcp/tcp.c - start, end, and the end of each loop
 * Theory of operation of the room: DESIGN.md beside this file.
 * Threads: owning worker only
 */
#include <errno.h>
#include <sys/mman.h>

#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

uint32_t tcp_tcb_size(void)
{
	return sizeof(struct tcb);
}

uint32_t tcp_tw_size(void)
{
	return sizeof(struct tcp_tw);
}

/* ---- end of a loop ---- */

bool tcp_honest(struct stack *st, struct tcb *tcb)
{
	if (!(tcb->flags & TF_HOSTILE))
		return true;
	snmp_inc(st, SNMP_App_BadPositions);
	tcp_abort(st, tcb, ECONNABORTED, true);
	return false;
}

static void flush_one(struct stack *st, struct tcb *tcb)
{
	uint8_t due = tcb->due;

	tcp_undirty(st, tcb);
	tcb->due = due & ~DUE_LISTED;
	tcp_rx_consume(st, tcb);
	if (!tcp_honest(st, tcb))
		return;
	if (due & DUE_TX) {
		tcb->due &= ~DUE_TX;
		tcp_output(st, tcb);
		if (!tcp_honest(st, tcb))
			return;
	}
	if (tcb->due & DUE_ACK)
		tcp_send_ack(st, tcb);
	tcb->due &= DUE_LISTED;		/* an ACK that found no packet: the peer asks again */
	tcb_assert(st, tcb);
}

void tcp_flush(struct stack *st)
{
	uint32_t idx;

	while ((idx = st->tcp->dirty_head) != 0) {
		tcp_intent(st, OBJ_TCB, idx);
		flush_one(st, &st->tcp->tcb_base[idx]);
	}
	tcp_intent(st, OBJ_NONE, 0);
}

/* ---- a segment goes ---- */

void tcp_seg_gone(struct stack *st, uint16_t seg)
{
	struct idx_pool *p = &st->tcp->tcbs;

	for (uint32_t i = p->first; i < p->bump; i++) {
		struct tcb *tcb = tcb_at(st, i);

		if (!tcb || tcb->id.seg != seg)
			continue;
		tcp_orphan(st, tcb);
		tcp_abort(st, tcb, 0, true);
	}
}

/* ---- start and end ---- */

static void *map_sparse(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

/* This worker's equal share of a region, record 0 excepted. */
static int pool_share(struct stack *st, enum arena_region r, struct idx_pool *ret)
{
	uint32_t share = (st->arena->hdr->reg[r].cnt - 1) / st->workers;

	return idx_pool_init(ret, 1 + st->worker * share, share);
}

static int init_memory(struct stack *st, struct tcp_state *ts)
{
	int err = pool_share(st, AR_TCB, &ts->tcbs);

	if (!err)
		err = pool_share(st, AR_TW, &ts->tws);
	if (!err)
		err = idx_pool_init(&ts->rngs, 1, TCP_RANGE_POOL - 1);
	if (!err)
		err = idx_pool_init(&ts->txrs, 1, TCP_TXR_POOL - 1);
	if (err)
		return err;
	ts->tcb_base = (struct tcb *)(st->arena->base + st->arena->hdr->reg[AR_TCB].off);
	ts->listeners = st->arena->hdr->reg[AR_LISTENER].cnt;
	ts->ranges_size = TCP_RANGE_POOL * sizeof(struct tcp_ranges);
	ts->txr_size = TCP_TXR_POOL * sizeof(struct tcp_txr);
	ts->txr = map_sparse(ts->txr_size);
	ts->pace_size = st->arena->hdr->reg[AR_TCB].cnt * sizeof(struct tcp_pace);
	ts->pace = map_sparse(ts->pace_size);
	ts->syn_size = 2 * ts->listeners * sizeof(uint32_t);
	ts->ranges = map_sparse(ts->ranges_size);
	ts->syn_head = map_sparse(ts->syn_size);
	if (!ts->ranges || !ts->txr || !ts->pace || !ts->syn_head)
		return -ENOMEM;
	ts->syn_cnt = ts->syn_head + ts->listeners;
	return 0;
}

int tcp_init(struct stack *st)
{
	static const struct ip_proto proto = { .rx = tcp_rx, .err = tcp_err,
					.elsewhere = tcp_err_elsewhere };
	static const struct sock_listen_ops lops = { .up = tcp_listen_up, .down = tcp_listen_down,
						     .abort = tcp_abort_queued };
	struct tcp_state *ts = map_sparse(sizeof(*ts));
	int err;

	if (!ts)
		return -ENOMEM;
	st->tcp = ts;
	sysctl_attach(st);
	ts->cookie_ms = tcp_ms(st);	/* an earlier engine may have sent some */
	err = init_memory(st, ts);
	if (!err)
		err = sock_register(st, &tcp_sock_ops);
	if (err) {
		tcp_fini(st);
		return err;
	}
	ip_register(st, IP_PROTO_TCP, &proto);
	sock_set_listen_ops(st, IP_PROTO_TCP, &lops);
	st->on_msg[SMSG_CONNECT] = tcp_on_connect_msg;
	tcp_timers_init(st);
	pace_init(st);
	tcp_tw_init(st);
	return 0;
}

void tcp_fini(struct stack *st)
{
	struct tcp_state *ts = st->tcp;

	if (!ts)
		return;
	idx_pool_fini(&ts->tcbs);
	idx_pool_fini(&ts->tws);
	idx_pool_fini(&ts->rngs);
	idx_pool_fini(&ts->txrs);
	unmap(ts->txr, ts->txr_size);
	unmap(ts->pace, ts->pace_size);
	unmap(ts->ranges, ts->ranges_size);
	unmap(ts->syn_head, ts->syn_size);
	unmap(ts, sizeof(*ts));
	st->tcp = NULL;
}
