/* SPDX-License-Identifier: MIT */
/* tcp/cc.h - congestion control plug-ins
 * A plug-in sees the whole TCB, writes cwnd and ssthresh and keeps what else it needs in cc_priv.
 * Loss detection and recovery are not its business: it is told the outcome.
 */
#ifndef TCP_CC_H
#define TCP_CC_H

#include <stdint.h>

struct tcb;

/* All sizes in bytes. */
struct tcp_cc {
	const char *name;		/* as TCP_CONGESTION knows it */
	void (*init)(struct tcb *tcb);	/* sets cwnd and ssthresh */
	/* @acked newly acknowledged while @flight was outstanding; not in fast recovery. */
	void (*on_ack)(struct tcb *tcb, uint32_t acked, uint32_t flight, uint64_t now_us);
	/* A loss was found: Return: the new ssthresh, @flight bytes being outstanding. */
	uint32_t (*ssthresh)(struct tcb *tcb, uint32_t flight);
	void (*on_loss)(struct tcb *tcb);		/* fast recovery begins; ssthresh is set */
	void (*on_rto)(struct tcb *tcb);		/* timeout; ssthresh is set */
	void (*on_recovery_exit)(struct tcb *tcb);
};

const struct tcp_cc *tcp_cc_at(uint8_t idx);
int tcp_cc_find(const char *name);	/* index, or -ENOENT; "" = the default */
extern const struct tcp_cc tcp_cc_newreno;

#endif
