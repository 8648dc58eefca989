/* SPDX-License-Identifier: MIT */
/* tcp/cc.c - the table of congestion controls, and what several of them share
 * Spec:    RFC 5681 3.1; RFC 7661's concern: a window that was not used must not grow
 * Holds:   a TCB's index is valid from tcb_alloc() on
 */
#include <errno.h>
#include <string.h>

#include "stackd/tcp/tcp_int.h"

static const struct tcp_cc *const table[] = {
	&tcp_cc_reno, &tcp_cc_cubic, &tcp_cc_bbr, &tcp_cc_dctcp,
};
#define CCS (sizeof(table) / sizeof(table[0]))

const struct tcp_cc *tcp_cc_at(uint8_t idx)
{
	ASSERT(idx < CCS);
	return table[idx];
}

int tcp_cc_find(const char *name)
{
	for (unsigned i = 0; i < CCS; i++)
		if (strcmp(table[i]->name, name) == 0)
			return (int)i;
	return -ENOENT;
}

bool tcp_cc_known(const char *name)
{
	return tcp_cc_find(name) >= 0;
}

const char *tcp_cc_list(void)
{
	return "reno cubic bbr dctcp";
}

uint8_t tcp_cc_default(struct stack *st)
{
	char name[sizeof(st->sys->tcp_congestion_control)];
	int idx;

	memcpy(name, st->sys->tcp_congestion_control, sizeof(name));
	name[sizeof(name) - 1] = '\0';
	idx = tcp_cc_find(name);
	return idx < 0 ? 0 : (uint8_t)idx;
}

void tcp_cc_switch(struct stack *st, struct tcb *tcb, uint8_t idx)
{
	const struct tcp_cc *old = tcp_cc_at(tcb->cc);

	if (old->fini)
		old->fini(st, tcb);
	memset(tcb->cc_priv, 0, sizeof(tcb->cc_priv));
	tcb->cc = idx;
	if (tcp_cc_at(idx)->init)
		tcp_cc_at(idx)->init(st, tcb);
}

/* ---- shared parts ---- */

bool tcp_cwnd_limited(const struct tcb *tcb)
{
	if (tcb->flags & TF_CWND_LIM)
		return true;
	return tcb->cwnd < tcb->ssthresh && tcb->cwnd < 2 * tcb->max_packets_out;
}

uint32_t tcp_slow_start(struct tcb *tcb, uint32_t acked)
{
	uint32_t cwnd = u32_min(tcb->cwnd + acked, tcb->ssthresh);

	acked -= cwnd - tcb->cwnd;
	tcb->cwnd = cwnd;
	return acked;
}

/* One segment of growth per @w acknowledged ones. */
void tcp_cong_avoid_ai(struct tcb *tcb, uint32_t w, uint32_t acked)
{
	if (tcb->cwnd_cnt >= w) {
		tcb->cwnd_cnt = 0;
		tcb->cwnd++;
	}
	tcb->cwnd_cnt += acked;
	while (tcb->cwnd_cnt >= w) {
		tcb->cwnd_cnt -= w;
		tcb->cwnd++;
	}
}
