/* SPDX-License-Identifier: MIT */
/* tcp/cc.h - congestion control plug-ins
 * A plug-in sees the whole TCB, writes cwnd and ssthresh (segments) and keeps what else it needs in
 * cc_priv; one that needs more has a record of its own in private memory. Loss detection and
 * recovery are not its business: it is told the outcome. Entries that may be NULL are marked so.
 */
#ifndef TCP_CC_H
#define TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

struct stack;
struct tcb;
struct tcp_rate;
struct tcp_txr;

enum tcp_cc_event {
	CC_TX_START,			/* first transmission when nothing was in flight */
	CC_CWND_RESTART,		/* window shrunk after idling */
	CC_COMPLETE_CWR,		/* a reduction is over */
	CC_LOSS,			/* timeout */
	CC_CE,				/* the peer's data was marked; the next one: it was not */
	CC_NO_CE,
};

/* An ACK's news for pkts_acked(). */
struct tcp_cc_sample {
	uint32_t segs;			/* acknowledged or SACKed */
	uint32_t rtt_us;		/* 0 = none */
	uint32_t in_flight;		/* before */
};

struct tcp_cc {
	const char *name;		/* as TCP_CONGESTION knows it */
	bool wants_ecn;			/* negotiates ECN whatever the sysctl says */
	void (*init)(struct stack *st, struct tcb *tcb);
	void (*fini)(struct stack *st, struct tcb *tcb);		/* NULL: nothing to free */
	uint32_t (*ssthresh)(struct stack *st, struct tcb *tcb);	/* after a loss */
	uint32_t (*undo_cwnd)(struct stack *st, struct tcb *tcb);
	/* @acked: newly delivered segments, while the window may grow. */
	void (*cong_avoid)(struct stack *st, struct tcb *tcb, uint32_t acked);
	void (*set_state)(struct stack *st, struct tcb *tcb, uint8_t ca);	/* NULL */
	void (*event)(struct stack *st, struct tcb *tcb, enum tcp_cc_event ev);	/* NULL */
	void (*pkts_acked)(struct stack *st, struct tcb *tcb, const struct tcp_cc_sample *s);
	/* Before congestion control: @acked bytes of which the ACK says @ece. NULL. */
	void (*in_ack)(struct stack *st, struct tcb *tcb, uint64_t acked, bool ece);
	/* A frame was marked lost (tcb->lost counts it already). NULL. */
	void (*lost)(struct stack *st, struct tcb *tcb, const struct tcp_txr *r);
	/* Instead of cong_avoid() and PRR, with every ACK. NULL. */
	void (*control)(struct stack *st, struct tcb *tcb, const struct tcp_rate *rs);
};

const struct tcp_cc *tcp_cc_at(uint8_t idx);
int tcp_cc_find(const char *name);	/* index, or -ENOENT */
/* The default: what the sysctl says. */
uint8_t tcp_cc_default(struct stack *st);
void tcp_cc_switch(struct stack *st, struct tcb *tcb, uint8_t idx);
/* Parts that several share (cc.c). */
bool tcp_cwnd_limited(const struct tcb *tcb);
uint32_t tcp_slow_start(struct tcb *tcb, uint32_t acked);	/* Return: what is left of @acked */
void tcp_cong_avoid_ai(struct tcb *tcb, uint32_t w, uint32_t acked);
void reno_cong_avoid(struct stack *st, struct tcb *tcb, uint32_t acked);
uint32_t reno_undo_cwnd(struct stack *st, struct tcb *tcb);
extern const struct tcp_cc tcp_cc_reno, tcp_cc_cubic, tcp_cc_bbr, tcp_cc_dctcp;

#endif
