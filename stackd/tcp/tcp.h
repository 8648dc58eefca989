/* SPDX-License-Identifier: MIT */
/* tcp/tcp.h - TCP as the other rooms see it; everything else is in tcp_int.h */
#ifndef TCP_TCP_H
#define TCP_TCP_H

#include "stackd/sock/sock.h"

/* Sizes for the arena (AR_TCB, AR_TW); struct tcb is pointer-free, <= 448 bytes, starts with its
 * tuple. */
uint32_t tcp_tcb_size(void);
uint32_t tcp_tw_size(void);

/* Registers with ip (protocol 6), sock (SOCK_STREAM) and the wheel. After sock_init. */
int tcp_init(struct stack *st);
void tcp_fini(struct stack *st);

/* End of a loop: everything that this loop's packets and commands have made due: delayed output,
 * one ACK per connection. Before link_flush(). */
void tcp_flush(struct stack *st);

/* Congestion controls: is there one of that name; all names, separated by blanks. */
bool tcp_cc_known(const char *name);
const char *tcp_cc_list(void);

/* For show sockets: every TCB and TIME_WAIT entry of this worker. */
struct tcp_show {
	struct sock_tuple t;
	struct sock_id id;		/* slot 0 = orphan */
	const char *state;
	uint32_t sndq, rcvq;		/* bytes: unacknowledged, unread */
	uint64_t bytes_in, bytes_out;
	uint32_t cwnd, ssthresh, srtt_us, rto_us, mss, retrans;
	const char *cc;
	/* as /proc/net/tcp: 0 none 1 rto 2 keepalive 3 timewait 4 persist */
	uint8_t timer;
};
/* At most @max records from position @pos on, 0 = the first. Return: the next position, 0 = that
 * was all. What comes and goes between two calls may be missed. */
uint32_t tcp_walk(struct stack *st, uint32_t pos, uint32_t max,
		  void (*fn)(void *arg, const struct tcp_show *), void *arg);
uint32_t tcp_tcb_used(struct stack *st);
uint32_t tcp_tw_used(struct stack *st);

/* Adoption of what a killed engine left (tcp/adopt.c); one thread for all workers. @home: worker
 * 0, whose ports these connections hold. Finish: after slots, FIFOs and pools are right. */
void tcp_adopt(struct stack *st, struct stack *home);
void tcp_adopt_finish(struct stack *st);
/* The connection that the slot names, which is not trusted any more: reset it in
 * tcp_adopt_finish(). */
void tcp_adopt_quarantine(struct stack *st, uint32_t tcb);
/* Its tuple. Return: false when there is no such TCB. */
bool tcp_tcb_tuple(struct stack *st, uint32_t tcb, struct sock_tuple *ret);
/* Is the TCB in service and this slot's? Orphan: its program has closed it. */
bool tcp_tcb_is(struct stack *st, uint32_t tcb, struct sock_id id);
bool tcp_tcb_orphan(struct stack *st, uint32_t tcb);

/* A program's segment is going away: abort (RST) all its connections now. */
void tcp_seg_gone(struct stack *st, uint16_t seg);

#endif
