/* SPDX-License-Identifier: MIT */
/* core/stack.c - giving packets back and talking to other workers
 * A packet of another worker's pool travels home as SMSG_PKT_HOME. When the ring to its home is
 * full it waits in st->stranded, which is tried again by the next such packet and by
 * stack_flush_home().
 * Threads: owning worker only
 */
#include "stackd/core/stack.h"

static bool send_home(struct stack *st, struct pkt *p)
{
	struct stack_msg msg = { .kind = SMSG_PKT_HOME, .ptr = p };

	return stack_send(st, p->pool, &msg);
}

void stack_flush_home(struct stack *st)
{
	while (st->stranded) {
		struct pkt *p = st->stranded, *next = p->next;

		if (!send_home(st, p))
			return;
		st->stranded = next;
	}
}

static void free_one(struct stack *st, struct pkt *p)
{
	if (p->pool == st->worker) {
		pkt_free(st->pool, p);
		return;
	}
	stack_flush_home(st);
	if (st->stranded || !send_home(st, p)) {
		p->next = st->stranded;
		st->stranded = p;
	}
}

void stack_pkt_free(struct stack *st, struct pkt *p)
{
	struct pkt *m = p->merged;

	p->merged = NULL;
	free_one(st, p);
	while (m) {
		struct pkt *next = m->next;

		free_one(st, m);
		m = next;
	}
}

void stack_drop(struct stack *st, struct pkt *p, enum drop_reason why)
{
	ASSERT(why < DROP_MAX);
	st->cnt->drop[why]++;
	stack_pkt_free(st, p);
}

bool stack_send(struct stack *st, uint16_t to, struct stack_msg *msg)
{
	msg->from = st->worker;
	if (to == st->worker) {
		stack_recv(st, msg);
		return true;
	}
	if (!st->up->send(st, to, msg))
		return false;
	snmp_inc(st, SNMP_Worker_HandoffOut);
	return true;
}

void stack_recv(struct stack *st, const struct stack_msg *msg)
{
	if (msg->from != st->worker)
		snmp_inc(st, SNMP_Worker_HandoffIn);
	if (msg->kind == SMSG_PKT_HOME)
		pkt_free(st->pool, msg->ptr);
	else if (msg->kind < SMSG_MAX && st->on_msg[msg->kind])
		st->on_msg[msg->kind](st, msg);
}
