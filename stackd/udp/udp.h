/* SPDX-License-Identifier: MIT */
/* udp/udp.h - UDP as the other rooms see it */
#ifndef UDP_UDP_H
#define UDP_UDP_H

#include "stackd/sock/sock.h"

uint32_t udp_sock_size(void);		/* AR_UDP */
int udp_init(struct stack *st);		/* registers with ip (17) and sock (SOCK_DGRAM) */
void udp_fini(struct stack *st);
struct udp_show {
	struct sock_tuple t;
	struct sock_id id;
	uint32_t rcvq, drops;
	uint16_t worker;
};
/* In pieces, as tcp_walk(). */
uint32_t udp_walk(struct stack *st, uint32_t pos, uint32_t max,
		  void (*fn)(void *arg, const struct udp_show *), void *arg);
/* Adoption of what a killed engine left; one thread for all workers. On worker 0 first. */
void udp_adopt(struct stack *st, struct stack *home);
bool udp_sock_is(struct stack *st, uint32_t idx, struct sock_id id);
/* Go on with sockets that had more to send than one turn allows. Return: how many. */
unsigned udp_poll(struct stack *st);
bool udp_pending(const struct stack *st);
void udp_seg_gone(struct stack *st, uint16_t seg);

#endif
