/* SPDX-License-Identifier: MIT */
/* sock/sock_int.h - what the files of sock/ share; see DESIGN.md of this folder */
#ifndef SOCK_SOCK_INT_H
#define SOCK_SOCK_INT_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "shm/accept.h"
#include "shm/fifo.h"
#include "shm/mbox.h"
#include "stackd/sock/sock.h"

struct sock_state;

/* ---- memory: sparse anonymous mappings made at init; untouched pages cost nothing ---- */
void *sock_map(size_t size);			/* NULL when the address space is used up */
void sock_unmap(void *p, size_t size);

/* ---- etable.c: tuple -> object ---- */
#define ETAB_ENTS	7
struct etab_line {				/* one cache line */
	struct { uint32_t hash, obj; } e[ETAB_ENTS];
	uint32_t next;				/* overflow line, 0 = none */
	uint32_t cnt;				/* entries here; full unless last of its chain */
};
struct etab {
	struct etab_line *lines;		/* [lines_max] heads, then the overflow */
	struct etab_line *over;
	size_t map_size;
	uint32_t lines_max, over_max;
	uint32_t mask, split;			/* heads in use = mask + 1 + split */
	uint32_t over_bump, over_free;
	uint32_t cnt;
};
int etab_init(struct etab *t, uint32_t lines_max);
void etab_fini(struct etab *t);
uint32_t etab_hash(struct stack *st, const struct sock_tuple *tp);
uint32_t etab_find(struct stack *st, const struct etab *t, const struct sock_tuple *tp);
/* Return: 0, -EEXIST when the tuple is there, -ENOMEM when the table is at its limit. */
int etab_insert(struct stack *st, struct etab *t, const struct sock_tuple *tp, uint32_t obj);
/* Return: 0 when (tuple, object) was not there, else @obj with its mark. */
uint32_t etab_remove(struct stack *st, struct etab *t, const struct sock_tuple *tp, uint32_t obj);
/* Mark or unmark the entries of one head as the steering says; counts them. */
void etab_remark(struct stack *st, struct etab *t, uint32_t head);
#define ETAB_STRAY	0x80000000u	/* in an entry's object: it is one of strays.c */

/* ---- strays.c ---- */
/* Would another worker get the packets of a connection of ours? */
bool stray_is(struct stack *st, const struct sock_tuple *t);
void stray_add(struct stack *st, uint32_t hash);
void stray_del(struct stack *st);

/* ---- btable.c: who holds which port (worker 0) ---- */
#define SOCK_REUSEADDR	1u
#define SOCK_REUSEPORT	2u
void btab_link(struct stack *st, uint32_t bound);
void btab_unlink(struct stack *st, uint32_t bound);
/* May @n have its port? @self: its own record, 0 = none. @any_port: the port was not asked for, so
 * sharing makes no sense. */
bool btab_conflict(struct stack *st, const struct sock_bound *n, uint32_t self, bool any_port);
/* The same, and when there is no conflict, @n is about to have its port: what the port remembers
 * of its holders follows. Return: false = conflict. */
bool btab_take(struct stack *st, const struct sock_bound *n, uint32_t self, bool any_port);
/* Adoption: @n is about to be linked. */
void btab_recall(struct stack *st, const struct sock_bound *n);
/* What a TCP port remembers of those who took it. */
struct port_memo {
	uint8_t group;			/* the last one had SO_REUSEPORT */
	uint8_t family, v6only;		/* of the one that formed its group, as what follows */
	uint32_t uid;
	struct sd_addr addr;
};
/* The options of the record's holder as they are now. */
void btab_refresh(struct stack *st, struct sock_bound *b);
/* A port that bind() asked for by number holds @port (connect() keeps off). */
bool btab_explicit(struct stack *st, uint8_t proto, uint16_t port);
/* May the uid whose family @b belongs to hold one more port? Refusals are counted. */
bool btab_room(struct stack *st, const struct sock_bound *b);
void btab_seg_gone(struct stack *st, uint16_t seg);
struct sock_bound *bound_at(struct stack *st, uint32_t idx);	/* NULL when free or out of range */
uint32_t bound_alloc(struct stack *st, const struct sock_bound *b);	/* linked; 0 = none left */
void bound_free(struct stack *st, uint32_t idx);

/* First of the chain of ports that bind() asked for. */
uint32_t btab_first(struct stack *st, uint8_t proto, uint16_t port);

/* ---- kids.c ---- */
struct sock_brood_key {			/* what accepted connections have in common; no padding */
	struct sd_addr laddr;
	uint16_t lport;
	uint8_t proto, reuse;
	uint32_t uid;
};
int kids_init(struct stack *st);
void kids_fini(struct sock_state *s);

/* ---- dests.c: worker 0 ---- */
int dests_init(struct sock_state *s);
void dests_fini(struct sock_state *s);
/* A connection's tuple came to st->sock->conn, or goes. */
void dests_add(struct stack *st, const struct sock_tuple *tuple);
void dests_del(struct stack *st, const struct sock_tuple *tuple);
/* Bitmap of local ports in use by tuples like @t (lport 0); NULL: none, or not known. */
const uint64_t *dests_used(struct stack *st, const struct sock_tuple *t);

/* ---- dports.c: worker 0 ---- */
/* Bitmap of local ports with which the replies to @t come to @worker by the device's rules; NULL:
 * they go by nic_steer_hash(). */
const uint64_t *dports_of(struct stack *st, const struct sock_tuple *t, uint16_t worker);
void dports_fini(struct sock_state *s);

/* ---- ports.c ---- */
/* A free port for @n (bind to port 0). Return: 0 = none. */
uint16_t port_for_bind(struct stack *st, struct sock_bound *n);
/* A port for socket @id that makes @t unique and whose replies reach @wanted if that can be.
 * Return: 0 = none. */
uint16_t port_for_connect(struct stack *st, struct sock_id id, const struct sock_tuple *t,
			  uint16_t wanted);
uint16_t port_worker(struct stack *st, uint8_t proto, const struct sock_tuple *t);

/* ---- ltable.c: this worker's replica of the listeners ---- */
#define LTAB_HEADS	1024u
struct ltab_node {				/* by listener index */
	struct sd_addr addr;
	uint16_t port;
	uint8_t proto, family, v6only, reuseport, used;
	uint32_t next;
	struct shm_accept_prod prod;		/* this worker's view of its accept ring */
	struct sock_id id;
	uint32_t ring;				/* index in the segment */
};
struct ltab {
	uint32_t heads[LTAB_HEADS];
	struct ltab_node *nodes;		/* [listeners] */
	uint32_t listeners;
};
int ltab_init(struct stack *st, struct ltab *lt);
void ltab_fini(struct ltab *lt);
void ltab_add(struct stack *st, uint32_t listener, const struct sock_listener *l);
void ltab_del(struct stack *st, uint32_t listener);
struct ltab_node *ltab_node(struct stack *st, uint32_t listener); /* NULL when not in the replica */

/* ---- listen.c ---- */
int listen_init(struct stack *st);

/* ---- the worker's state ---- */
#define SOCK_OPS_MAX	8
/* Address space only. More than there can be: what app/ forwards stops at a few thousand, and each
 * record of the arena is let go of once. */
#define SOCK_KEPT_MAX	(1u << 23)
#define SOCK_PERTURB	64u
#define SOCK_SOMAXCONN	4096u

struct sock_state {
	struct etab eh;
	struct ltab lt;
	const struct sock_ops *ops[SOCK_OPS_MAX];
	unsigned ops_cnt;
	const struct sock_listen_ops *lops[256];	/* by protocol */
	struct sock_brood *broods;		/* accepted connections by listener: kids.c */
	uint32_t *brood_heads;
	struct idx_pool brood_pool;
	uint32_t gen_next;			/* generations of accepted slots */
	int32_t slot_used[STACK_MAX_SEGS];

	/* messages kept while a ring was full, oldest first */
	struct { uint16_t to; struct stack_msg msg; } *kept;
	uint32_t kept_cnt, kept_to[SD_MAX_WORKERS];

	/* worker 0 */
	uint32_t *bheads;			/* [TCP bound, TCP chosen, UDP][65536] */
	struct port_memo *memos;		/* [65536] */
	struct etab conn;			/* connections that hold an AR_BOUND, by tuple */
	struct idx_pool bounds, listeners;
	struct sock_dest *dests;		/* ports in use by destination: dests.c */
	uint32_t *dest_heads;
	uint64_t *dest_bits;
	struct idx_pool dest_pool;
	struct dports *dports;			/* ports by worker: dports.c */
	char reserved_text[512];		/* ip_local_reserved_ports, as last looked at */
	uint64_t reserved[65536 / 64];
	uint64_t *bound_marks;			/* adoption: AR_BOUND records that somebody holds */
	uint64_t (*rings_used)[SD_MAX_ACCEPTS / 64];	/* accept rings by segment: in use, */
	uint64_t (*rings_dirty)[SD_MAX_ACCEPTS / 64];	/* ever used */
	uint32_t ports_used[STACK_MAX_SEGS];	/* holds that a uid is charged for */
	uint16_t perturb[SOCK_PERTURB];
};
#define SOCK_BHEADS_SIZE	((size_t)3 * 65536 * sizeof(uint32_t))
#define SOCK_MEMOS_SIZE		((size_t)65536 * sizeof(struct port_memo))
#define SOCK_RINGS_SIZE		((size_t)STACK_MAX_SEGS * SD_MAX_ACCEPTS / 8)
#define SOCK_KEPT_SIZE		(SOCK_KEPT_MAX * sizeof(*((struct sock_state *)0)->kept))

static inline bool sock_id_eq(const struct sock_id *a, const struct sock_id *b)
{
	return a->seg == b->seg && a->slot == b->slot && a->gen == b->gen;
}

static inline void sock_reply(struct stack *st, const struct sock_cmd *c, int err)
{
	st->up->reply(st, c->reply, err, NULL, 0);
}

#endif
