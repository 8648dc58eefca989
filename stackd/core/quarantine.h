/* SPDX-License-Identifier: MIT */
/* core/quarantine.h - what is in hand, and what has crashed the engine twice and is not touched
 * again
 *
 * Before a worker touches something that comes from outside it names it in its intent record
 * (core/arena.h): the packet, the command, the request, beside the connection that tcp/ names. When
 * the engine crashes, the next one reads the names (engine/quarantine.c); what was in hand at two
 * crashes in a row comes on the list here, in the arena, and is refused from then on: a packet is
 * dropped, a command answered with -EIO, a control connection hung up, a connection reset.
 * A packet comes back with other numbers in it. It is known again by its print: addresses, ports,
 * protocol, flags, lengths and kinds of options, that is, by what the code branches on; not by
 * identification, TTL, sequence and acknowledgment numbers, time stamps, checksums and payload.
 * A sentence ends: QUAR_FIRST_US at first, twice as long for each crash after that; one crash is
 * enough then.
 * Holds:   Q1 the list is written only while no worker runs (adoption); the workers add to
 *             `dropped`
 * Threads: each worker its own intent record; the list is read by all
 */
#ifndef CORE_QUARANTINE_H
#define CORE_QUARANTINE_H

#include <stdbool.h>
#include <string.h>

#include "stackd/atomic.h"
#include "stackd/core/stack.h"

#define QUAR_MAX	16u			/* entries; the one that ends first makes room */
#define QUAR_FIRST_US	600000000ull		/* ten minutes */
#define QUAR_LONGEST	8u			/* doublings */
#define QUAR_IP4	0x0800u			/* EtherTypes that prints know */
#define QUAR_ARP	0x0806u

enum quar_what {
	QUAR_NONE = 0,
	QUAR_PACKET,			/* name: print */
	QUAR_COMMAND,			/* name: of slot, generation and operation */
	QUAR_REQUEST,			/* name: the store's key of the control connection */
	QUAR_CONN,			/* name: epoch and number of the TCB; to be shown only */
};

struct quar_ent {
	uint64_t name;
	uint64_t since_us, until_us;	/* monotonic */
	uint64_t dropped;		/* refused since it is here */
	uint32_t what;			/* enum quar_what; NONE = free */
	uint32_t crashes;
	char text[88];			/* for people, made when it was caught */
};

/* AR_QUAR, record 1. */
struct quarantine {
	uint32_t cnt;			/* entries in use: 0 = nothing to look for */
	uint32_t rsv;
	struct quar_ent e[QUAR_MAX];
};

/* Number for what an intent record's packet fields name. @key: the stack's boot secret. */
uint64_t quar_print(const struct arena_intent *in, const uint64_t key[2]);
/* Name of a command that an intent record names. */
uint64_t quar_cmd_name(const struct arena_intent *in, const uint64_t key[2]);
/* The packet that an intent record names, for people. */
void quar_packet_text(const struct arena_intent *in, char *buf, size_t size);

/* Is it on the list and its sentence not over? Counts. */
bool quar_holds(struct stack *st, enum quar_what what, uint64_t name);
/* Put on the list, or lengthen its sentence there. Before workers run. */
void quar_add(struct quarantine *q, enum quar_what what, uint64_t name, uint64_t now_us,
	      const char *text);
/* Is it there, sentence over or not? */
struct quar_ent *quar_find(struct quarantine *q, enum quar_what what, uint64_t name);

static inline bool quar_any(const struct stack *st)
{
	return st->quar && st->quar->cnt;
}

/* Slow half of quar_pkt(). */
bool quar_pkt_held(struct stack *st);

/* @p is about to be processed: @l3 is its first byte behind the Ethernet header. Return: true = it
 * is in quarantine, to be dropped. quar_pkt_done() in any case. */
static inline bool quar_pkt(struct stack *st, const struct pkt *p, const uint8_t *l3,
			    uint32_t ethertype)
{
	struct arena_intent *in = st->intent;
	uint32_t lin = (uint32_t)(p->data + p->len - l3);
	uint32_t room = (uint32_t)(p->buf + p->buf_size - l3);

	if (room >= INTENT_HEAD)	/* in the buffer, if not in the packet */
		memcpy(in->head, l3, INTENT_HEAD);
	else
		memcpy(in->head, l3, lin);
	in->head_len = (uint16_t)(lin < INTENT_HEAD ? lin : INTENT_HEAD);
	in->pkt_type = (uint16_t)ethertype;
	in->pkt_len = lin + p->frag_len + 14;
	st->in_hand = p;
	return quar_any(st) && quar_pkt_held(st);
}

static inline void quar_pkt_done(struct stack *st)
{
	st->intent->pkt_len = 0;
	st->in_hand = NULL;
}

/* @op for @id is about to be carried out. Return: true = refuse it. */
static inline bool quar_cmd(struct stack *st, struct sock_id id, uint16_t op)
{
	struct arena_intent *in = st->intent;

	in->cmd_slot = id.slot;
	in->cmd_gen = id.gen;
	in->cmd_seg = id.seg;
	in->cmd_op = op;
	return quar_any(st) &&
	       quar_holds(st, QUAR_COMMAND, quar_cmd_name(in, st->boot_secret));
}

static inline void quar_cmd_done(struct stack *st)
{
	st->intent->cmd_op = 0;
}

#endif
