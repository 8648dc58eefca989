/* SPDX-License-Identifier: MIT */
/* core/stack.h - one worker's protocol stack: what every room of the core is handed
 *
 * No file-scope state anywhere in the core: time, randomness, memory, devices and the way up come
 * in through struct stack. The daemon has one per worker thread, the simulator one per worker per
 * host.
 * Threads: owning worker only. Other workers are reached by messages (stack_send).
 */
#ifndef CORE_STACK_H
#define CORE_STACK_H

#include "shm/pool.h"
#include "stackd/core/arena.h"
#include "stackd/core/assert.h"
#include "stackd/core/pkt.h"
#include "stackd/core/sysctl.h"
#include "stackd/core/wheel.h"

#define STACK_MAX_SEGS	1024		/* families attached at once; segment ids 1.. */

enum drop_reason {
#define DROP(id, text) DROP_##id,
#include "stackd/core/drop_reasons.def"
#undef DROP
	DROP_MAX
};

enum snmp_id {
#define SNMP(group, name) SNMP_##group##_##name,
#include "stackd/core/snmp.def"
#undef SNMP
	SNMP_MAX
};

extern const char *const drop_text[DROP_MAX];	/* core/counters.c */
extern const char *const drop_name[DROP_MAX];
extern const char *const snmp_group[SNMP_MAX];
extern const char *const snmp_name[SNMP_MAX];

/* In the arena, one per worker; single writer, readers add the workers up. */
struct counters {
	uint64_t snmp[SNMP_MAX];
	uint64_t drop[DROP_MAX];
};

/* Kinds of engine objects behind a slot (slot_e.obj = kind << 28 | index), also wheel kinds. */
enum obj_kind {
	OBJ_NONE = 0, OBJ_BOUND, OBJ_LISTENER, OBJ_TCB, OBJ_UDP, OBJ_TW, OBJ_NEIGH, OBJ_MISC,
	OBJ_REASM, OBJ_PACE,
};
#define OBJ(kind, idx)	((uint32_t)(kind) << 28 | (idx))
#define OBJ_KIND(o)	((o) >> 28)
#define OBJ_IDX(o)	((o) & 0x0fffffffu)

/* AR_SEG, by segment number: what the slots and pools of a segment are rebuilt from. */
struct seg_rec {
	uint32_t live;
	uint32_t rsv;
	struct shm_espan span;		/* the workers' pools borrow it */
	uint32_t uid;			/* whose family it is: who attached first */
};

/* AR_PSLOTS, by segment number: program slots that may be in service (app/pslots.c). */
struct seg_pslots {
	uint64_t sum[SD_SLOTS_P / 64 / 64];	/* which words of used[] may have a bit */
	uint64_t used[SD_SLOTS_P / 64];
};

/* A socket as the engine names it; all of it checked against the object before use. */
struct sock_id {
	uint16_t seg;
	uint16_t rsv;
	uint32_t slot;
	uint32_t gen;
};

/* Messages between workers, by value, in an SPSC ring per ordered pair; FIFO per pair. */
enum stack_msg_kind {
	SMSG_PKT = 1,			/* ptr = struct pkt: "process this at IP input" */
	SMSG_PKT_HOME,			/* ptr = struct pkt: free it, it is yours */
	SMSG_PKT_TX,			/* ptr = struct pkt: transmit it on your queue */
	SMSG_CMD,			/* app: a command for a socket you own now */
	SMSG_CONNECT,			/* sock -> tcp: open this connection */
	SMSG_LISTEN_ADD, SMSG_LISTEN_DEL, SMSG_LISTEN_ACK,	/* replicas; u32[0] = listener */
	SMSG_UDP_ADD, SMSG_UDP_DEL, SMSG_UDP_ACK,
	SMSG_BOUND_PUT,			/* to worker 0: connection is gone, drop its port */
	SMSG_NEIGH,			/* link: address + MAC for every worker */
	SMSG_NEIGH_WANT,		/* to worker 0: resolve this address */
	SMSG_ARP,			/* to worker 0: an ARP packet, by value */
	SMSG_KIDS,			/* to worker 0: accepted ones hold a port, or none does */
	SMSG_BOUND_SET,			/* to worker 0: a bound socket's tuple changed */
	SMSG_UDP_ERR,			/* an ICMP error for a UDP socket you own */
	SMSG_PROC_ADD, SMSG_PROC_GONE, SMSG_PROC_ACK,	/* app: processes come and go */
	SMSG_PROC_REAP,			/* app: it is undone; what it had claimed is free again */
	SMSG_PROC_BAD,			/* app, to worker 0: this process broke the contract */
	SMSG_SEG_GONE, SMSG_SEG_ACK,	/* app: does anything of this segment still live on you? */
	SMSG_CALL, SMSG_CALL_DONE,	/* engine: run a function there; it has run */
	SMSG_MAX
};
struct stack_msg {
	uint16_t kind;			/* enum stack_msg_kind */
	uint16_t from;			/* worker; filled in by stack_send */
	uint32_t u32[5];
	void *ptr;
	uint8_t data[96];
};

struct stack;
typedef void (*stack_msg_fn)(struct stack *st, const struct stack_msg *msg);

/* Whom a synchronous command's answer goes to; mbox 0 = nobody waits. */
struct stack_reply_to {
	uint16_t seg;
	uint16_t rsv;
	uint32_t mbox, rseq;
};

/* The way up and out, given by the engine or the simulator. */
struct stack_up {
	/* Answer a command, from any worker: err 0 or -errno, @len <= SD_REPLY_DATA. */
	void (*reply)(struct stack *st, struct stack_reply_to to, int err, const void *data,
		      uint32_t len);

	/* Readiness of a socket changed: post to its subscribers, collect wake-ups. */
	void (*event)(struct stack *st, struct sock_id id, uint32_t ev);
	/* Return: false when the ring to @to is full (caller counts DROP_HANDOFF_FULL or
	 * retries). */
	bool (*send)(struct stack *st, uint16_t to, const struct stack_msg *msg);
	/* Worker 0, from app: process @proc_rec broke the contract. Its session ends soon (hang-up,
	 * then app_detach(), never from within this call). NULL = nobody to tell. */
	void (*proc_bad)(struct stack *st, uint32_t proc_rec);
};

struct link_state;
struct ip_state;
struct sock_state;
struct tcp_state;
struct udp_state;
struct app_state;
struct nic;
struct nic_claims;
struct quarantine;
struct nic_steer;
struct sock_strays;

struct stack {
	uint16_t worker, workers;
	uint64_t now_us;		/* monotonic; set once per loop */
	uint64_t boot_secret[2];	/* key of hashes, ISNs, ports; same in all workers */
	uint64_t rng_state[2];		/* core/rng.h */
	struct wheel *wheel;
	struct pkt_pool *pool;
	struct arena *arena;
	struct counters *cnt;		/* this worker's, in the arena */
	struct sysctl *sys;		/* in the arena, of all workers; writer: worker 0 */
	struct arena_intent *intent;	/* in the arena; of its own in tests, never NULL */
	const struct pkt *in_hand;	/* the packet that intent names, NULL = none */
	struct quarantine *quar;	/* in the arena, of all workers; NULL = there is none */
	struct shm_seg *segs;		/* [STACK_MAX_SEGS]; id 0 = not attached; one for all */
	struct shm_epool *epools;	/* [STACK_MAX_SEGS], this worker's */
	const struct stack_up *up;
	void *up_arg;			/* the engine's worker */
	stack_msg_fn on_msg[SMSG_MAX];	/* each room registers its kinds at init */

	struct pkt *stranded;		/* on their way home, ring was full (core/stack.c) */
	struct nic *nic;		/* this worker's device (one per stack for now) */
	struct nic_claims *claims;	/* the device is shared with the kernel: what is ours */
	const struct nic_steer *steer;	/* the device's rules (nic/steer.h); NULL: our function */
	struct sock_strays *strays;	/* of all workers (sock/strays.c); NULL: there are none */
	struct link_state *link;
	struct ip_state *ip;
	struct sock_state *sock;
	struct tcp_state *tcp;
	struct udp_state *udp;
	struct app_state *app;
};

static inline void snmp_add(struct stack *st, enum snmp_id id, uint64_t n)
{
	st->cnt->snmp[id] += n;
}

static inline void snmp_inc(struct stack *st, enum snmp_id id) { st->cnt->snmp[id]++; }

/* Give the packet back, wherever it belongs. */
void stack_pkt_free(struct stack *st, struct pkt *p);
/* Count and free. */
void stack_drop(struct stack *st, struct pkt *p, enum drop_reason why);
/* Send to another worker, fills in from. To itself: handled at once. */
bool stack_send(struct stack *st, uint16_t to, struct stack_msg *msg);
/* Engine: a message arrived. SMSG_PKT_HOME is handled here, the others by their rooms. */
void stack_recv(struct stack *st, const struct stack_msg *msg);
/* Engine, once per loop: packets that could not travel home because a ring was full. */
void stack_flush_home(struct stack *st);
static inline struct seg_rec *stack_seg_rec(struct stack *st, uint16_t id)
{
	return arena_at(st->arena, AR_SEG, id);
}
/* Segment by id, NULL when not attached. */
static inline struct shm_seg *stack_seg(struct stack *st, uint16_t id)
{
	return id - 1u < STACK_MAX_SEGS - 1u && st->segs[id].id ? &st->segs[id] : NULL;
}

#endif
