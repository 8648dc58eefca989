/* SPDX-License-Identifier: MIT */
/* udp/udp_int.h - what the files of udp/ share; see DESIGN.md of this folder */
#ifndef UDP_UDP_INT_H
#define UDP_UDP_INT_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "shm/fifo.h"
#include "stackd/core/csum.h"
#include "stackd/udp/udp.h"

/* RFC 768 */
struct udp_hdr {
	be16 sport, dport, len;
	uint16_t csum;			/* memory order, as core/csum.h */
} __attribute__((packed));
static_assert(sizeof(struct udp_hdr) == 8, "wire");

#define UDP_MAX_PAYLOAD	65507u		/* 65535 - IPv4 header - UDP header */
#define UDP_MAX_SEGS	128u		/* datagrams of one UDP_SEGMENT record, as Linux */
#define UDP_TX_TURN	256u		/* datagrams of one socket before others have their turn */
#define UDP_CLOSE_TURNS	64u		/* of what close() finds in the FIFO; the rest is lost */

/* AR_UDP. Writer: worker 0 until slot_e.worker names the owner, then the owner. */
struct udp_sock {
	struct sock_tuple t;		/* rport 0 = not connected */
	struct sock_id id;
	uint32_t bound;			/* AR_BOUND */
	uint32_t ver;			/* of t; goes on when the record is used again */
	uint16_t owner;
	uint8_t family, v6only, reuse;
	uint8_t live;
	uint8_t addr_fixed;		/* bind() gave an address: disconnect keeps it */
	uint8_t hostile;		/* its program broke the contract: nothing goes in or out */
	uint32_t drops;
	uint32_t rx_limit;
	uint64_t rx_head, rx_tail;	/* the engine's own, checked copies */
	uint64_t tx_pos;
};

/* A worker's replica of what a lookup needs, by AR_UDP index. */
struct udp_node {
	struct sock_tuple t;
	uint32_t ver;
	uint32_t next;
	uint16_t owner;
	uint8_t family, v6only, reuse, used;
};

/* The same as a message (UDP_ADD, UDP_DEL: u32[0] = index, u32[1] = 1 when this is the first one).
 */
struct udp_rep {
	struct sock_tuple t;
	uint32_t ver;
	uint16_t owner;
	uint8_t family, v6only, reuse;
};

/* Worker 0: answers still to come. */
struct udp_pend {
	struct stack_reply_to reply;
	uint16_t add_acks, del_acks;
	uint16_t bind;			/* answer with the name */
	uint32_t bound;
	struct sd_name name;
};

struct udp_state {
	uint32_t *heads;		/* [65536] by local port */
	struct udp_node *nodes;
	uint32_t node_cnt, node_hi;	/* records there are; highest index seen */
	/* sockets whose turn ended early: next in line by index, 0 = not in it, UDP_LAST = last */
	uint32_t *again;
	uint32_t again_head, again_tail;

	/* worker 0 */
	struct idx_pool pool;
	struct udp_pend *pend;
};
#define UDP_LAST		UINT32_MAX
#define UDP_HEADS_SIZE	((size_t)65536 * sizeof(uint32_t))

/* ---- table.c ---- */
int udp_table_init(struct stack *st);
void udp_table_fini(struct stack *st);
/* This worker's replica of record @idx. */
void udp_replica_set(struct stack *st, uint32_t idx, const struct udp_rep *r);
/* Tell all workers, this one included. @first: worker 0 counts the answers. */
void udp_replicate(struct stack *st, uint32_t idx, const struct udp_sock *u, bool first);
void udp_unreplicate(struct stack *st, uint32_t idx, struct udp_sock *u);
/* Best match for a packet (laddr, lport = its destination). Return: node index or 0. */
uint32_t udp_lookup(struct stack *st, const struct sock_tuple *t);
/* Does node @n take packets of @t? 0 = no, else better is higher. */
unsigned udp_score(const struct udp_node *n, const struct sock_tuple *t);
static inline struct udp_node *udp_node(struct stack *st, uint32_t idx)
{
	return &st->udp->nodes[idx];
}

/* ---- rx.c, tx.c ---- */
void udp_rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info);
void udp_err(struct stack *st, const struct ip_err_info *info);
void udp_on_err_msg(struct stack *st, const struct stack_msg *msg);
/* Take over slot_p.rx_head and free what was consumed. False: hostile. */
bool udp_rx_consume(struct stack *st, struct udp_sock *u, struct sd_slot_e *e,
		    struct sd_slot_p *sp);
/* Send records of the FIFO. Return: true when the turn ended and there may be more. */
bool udp_tx(struct stack *st, struct udp_sock *u);
/* Its next turn comes with udp_poll(). */
void udp_again(struct stack *st, uint32_t idx);
/* The program broke the contract: its socket is dead, it hears EIO. */
void udp_hostile(struct stack *st, struct udp_sock *u);

/* ---- ops.c ---- */
extern const struct sock_ops udp_sock_ops;
struct udp_sock *udp_at(struct stack *st, uint32_t idx);	/* NULL when free or out of range */
void udp_close_sock(struct stack *st, uint32_t idx, struct udp_sock *u);

#endif
