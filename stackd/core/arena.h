/* SPDX-License-Identifier: MIT */
/* core/arena.h - the engine's own memory that survives it: a memfd kept by the supervisor
 * Flat arrays ("regions") of fixed-size records, found by index; header with magic, ABI id and the
 * table of regions. Sparse: untouched records cost nothing. Region 0's record 0 and every record 0
 * is "none".
 * Holds: R1 no pointer is ever stored for another engine to use; R2 the ABI id equals the hash of
 *        the layouts this binary was built with, or the arena is refused with -EPROTO
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_MAGIC	0x314e455241545344ull	/* "DSTAREN1" */

enum arena_region {
	AR_INTENT = 0,			/* struct arena_intent, one per worker */
	AR_COUNTERS,			/* struct counters, one per worker */
	AR_BOUND,			/* struct sock_bound (sock/) */
	AR_LISTENER,			/* struct sock_listener (sock/) */
	AR_TCB,				/* struct tcb (tcp/), split evenly among the workers */
	AR_TW,				/* struct tcp_tw (tcp/), split evenly */
	AR_UDP,				/* struct udp_sock (udp/) */
	AR_NEIGH,			/* struct neigh_rec (link/) */
	AR_ROUTE,			/* struct ip_route (ip/) */
	AR_SEG,				/* struct seg_rec (core/stack.h): segments, by number */
	AR_PSLOTS,			/* struct seg_pslots (core/stack.h), by segment number */
	AR_PROC,			/* struct proc_rec (app/): attached programs */
	AR_ENGINE,			/* struct engine_rec (engine/): one, index 1 */
	AR_SYSCTL,			/* struct sysctl (core/sysctl.h): one, index 1 */
	AR_EXPORT,			/* struct export_rec (ctl/): sockets held as fds */
	AR_QUAR,			/* struct quarantine (core/quarantine.h): one, index 1 */
	AR_MAX
};

struct arena_region_def {
	uint32_t elem_size, cnt;
};

struct arena_hdr {
	uint64_t magic;
	uint64_t abi_id;
	uint32_t workers, regions;
	uint64_t size;
	struct { uint64_t off; uint32_t elem_size, cnt; } reg[AR_MAX];
};

#define INTENT_HEAD	64u		/* bytes of a packet that are kept */

/* What a worker is about to touch, written before touching it; at most one object needs repair.
 * What is in hand together: a connection and the packet or command that it is in hand for. */
struct arena_intent {
	uint32_t kind;			/* enum obj_kind, 0 = nothing */
	uint32_t idx;
	uint16_t cmd_seg, cmd_op;	/* command; cmd_op 0 = none */
	uint32_t cmd_slot, cmd_gen;
	uint32_t pkt_len;		/* of the frame, 0 = no packet */
	uint16_t pkt_type, head_len;	/* EtherType; how much of head[] is the packet's */
	uint32_t guilty;		/* written as it dies: this worker crashed */
	uint64_t ctl_key;		/* control connection whose request it is, 0 = none */
	uint64_t last_name;		/* what the crash before named (core/quarantine.h) */
	uint32_t last_what;
	uint32_t count;			/* crashes in a row that named it */
	uint8_t pad[8];
	uint8_t head[INTENT_HEAD];	/* the packet, from behind its Ethernet header */
};
static_assert(offsetof(struct arena_intent, head) == 64, "a packet is one line to write");

struct arena {
	uint8_t *base;
	const struct arena_hdr *hdr;
	int fd;
};

/* A fresh, sealed memfd, mapped. ret->fd belongs to the caller from then on. */
int arena_create(uint32_t workers, const struct arena_region_def defs[AR_MAX], uint64_t abi_id,
		 struct arena *ret);
/* Adopt an existing one; borrows @fd. -EPROTO: not ours or another ABI. */
int arena_map(int fd, uint64_t abi_id, struct arena *ret);
/* Leaves the fd open: closing it is its owner's. */
void arena_unmap(struct arena *a);

/* Record @idx of region @r, NULL when out of range or 0. */
static inline void *arena_at(const struct arena *a, enum arena_region r, uint32_t idx)
{
	return idx && idx < a->hdr->reg[r].cnt ?
	       a->base + a->hdr->reg[r].off + (uint64_t)idx * a->hdr->reg[r].elem_size : NULL;
}

/* Free indices of [first, first + cnt) of one region; private to one worker, rebuilt after a
 * crash. */
struct idx_pool {
	uint32_t first, cnt, bump;	/* bump: indices >= were never used */
	uint32_t *stack;		/* sparse mapping */
	uint32_t depth;
	uint32_t used;
};
int idx_pool_init(struct idx_pool *p, uint32_t first, uint32_t cnt);
void idx_pool_fini(struct idx_pool *p);
uint32_t idx_alloc(struct idx_pool *p);		/* 0 = none left */
void idx_free(struct idx_pool *p, uint32_t idx);
/* Adoption: @idx is in use. In rising order, on a pool that has given nothing out yet. */
void idx_adopt(struct idx_pool *p, uint32_t idx);

/* Records of a region whose memory was ever touched, [first, end): what a sparse region holds is
 * found without touching (and so allocating) the rest. System calls: at start only. */
struct arena_iter {
	const struct arena *a;
	enum arena_region r;
	uint32_t idx, end;		/* next record; 0 is passed over */
	uint64_t data_end;		/* memfd offset up to which memory is known to be there */
};
void arena_iter_init(struct arena_iter *it, const struct arena *a, enum arena_region r,
		     uint32_t first, uint32_t end);
/* Return: the record and *ret_idx, or NULL at the end. */
void *arena_iter_next(struct arena_iter *it, uint32_t *ret_idx);

#endif
