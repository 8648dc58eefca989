/* SPDX-License-Identifier: MIT */
/* core/pkt.h - packet buffers and their per-worker pools
 *
 * A packet is a linear part (headers, and for receive usually everything) and up to PKT_FRAGS
 * fragments that point elsewhere (send FIFO chunks): borrowed until the device has taken them.
 * Headers are pushed and pulled at the front; offsets are kept from buf so that they survive that.
 * Checksum contract (SPEC U2), the only place that defines it:
 *   receive  NONE         nobody looked: software must verify
 *            UNNECESSARY  the device verified the transport checksum (or the packet never left the
 *            host)
 *                         csum_start != 0: the field at csum_start + csum_off holds only the
 *                         pseudo-header sum, as for PARTIAL; whoever sends the packet on must say
 *                         so
 *            COMPLETE     csum holds the ones' complement sum from l4_off to the end
 *   send     NONE         complete and final
 *            PARTIAL      the field at csum_start + csum_off holds the pseudo-header sum; device or
 *                         software fallback finishes it over [csum_start, end)
 * Holds: K1 data >= buf, data + len <= buf + buf_size; K2 one owner at a time; K3 a packet goes
 *        back to the pool of the worker that made it (a foreign one travels home by the hand-off
 *        ring)
 */
#ifndef CORE_PKT_H
#define CORE_PKT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PKT_FRAGS	20
#define PKT_HEADROOM	128		/* free in front of a fresh packet: link, tunnel headers */
#define PKT_SMALL	2048u		/* buf_size of the two size classes, headroom included */
#define PKT_BIG		(68u * 1024)	/* a 64 KiB GSO frame with headers */
#define PKT_MAX_LEN	65535u		/* IP total length */

enum pkt_csum { PKT_CSUM_NONE = 0, PKT_CSUM_UNNECESSARY, PKT_CSUM_COMPLETE, PKT_CSUM_PARTIAL };
enum pkt_gso { PKT_GSO_NONE = 0, PKT_GSO_TCP4, PKT_GSO_TCP6, PKT_GSO_UDP };

struct pkt {
	struct pkt *next;		/* in lists of the current owner */
	uint8_t *buf;
	uint8_t *data;			/* first byte of the current layer */
	uint32_t buf_size;
	uint32_t len;			/* linear bytes from data */
	uint32_t frag_len;		/* bytes in frags */
	uint16_t frag_cnt;
	uint16_t l2_off, l3_off, l4_off;	/* from buf; 0 = not known (headroom!) */
	uint8_t csum_state;		/* enum pkt_csum */
	uint8_t gso_type;		/* enum pkt_gso */
	uint16_t gso_size;		/* payload bytes per segment */
	uint16_t gso_segs;		/* for counters; 1 when no GSO */
	uint16_t csum_start, csum_off;	/* PARTIAL: csum_start from buf, csum_off from csum_start */
	uint16_t csum;			/* COMPLETE: folded sum, not inverted */
	uint16_t vlan;			/* TCI + 1 when present, 0 = none */
	uint16_t queue;			/* receive queue */
	uint8_t pool;			/* worker that owns the memory */
	uint8_t big;			/* size class */
	uint8_t bcast;			/* link-layer: 0 to us, 1 broadcast, 2 multicast */
	uint8_t confirm;		/* sent: the peer has answered, its neighbour entry holds */
	uint8_t asked;			/* first worker + 1 that did not know the connection */
	uint32_t hash;			/* RSS hash, 0 = none */
	uint64_t rx_us;			/* stack->now_us when it arrived */
	struct pkt *merged;		/* packets whose bytes are in frag[] (GRO), linked by next:
					 * freed with this one (stack_pkt_free) */
	void *owner;			/* free for the current owner (e.g. neighbour queue) */
	struct iovec frag[PKT_FRAGS];
};

static inline uint32_t pkt_total(const struct pkt *p) { return p->len + p->frag_len; }
static inline uint8_t *pkt_l3(const struct pkt *p) { return p->buf + p->l3_off; }

/* Front of the packet. pull: NULL when shorter than @n (data unchanged); push: NULL without
 * headroom. */
uint8_t *pkt_pull(struct pkt *p, uint32_t n);
uint8_t *pkt_push(struct pkt *p, uint32_t n);

/* Bytes [off, off + len) of the packet, counted from data, wherever they lie. The range must be
 * inside. */
void pkt_copy_out(const struct pkt *p, uint32_t off, void *dst, uint32_t len);

struct pkt_pool;			/* per worker; opaque */
/* A copy in one piece that borrows nothing: bytes from data on, offsets and offload fields kept.
 * NULL: pool empty, or longer than any buffer. For packets that must wait (frags are borrowed). */
struct pkt *pkt_copy_linear(struct pkt_pool *pool, const struct pkt *p);
struct pkt_pool_conf {
	uint32_t small_cnt, big_cnt;
	int numa_node;			/* -1 = any */
	uint8_t worker;
};
/* One mapping, prefaulted, hugepages when there are any, MAP_SHARED. Return: 0 or -errno. */
int pkt_pool_create(const struct pkt_pool_conf *conf, struct pkt_pool **ret_pool);
void pkt_pool_destroy(struct pkt_pool *pool);
/* All packet buffers of the pool, in one piece, page-aligned; descriptors are elsewhere. For
 * devices that must be shown the memory. */
void *pkt_pool_mem(const struct pkt_pool *pool, size_t *ret_len);
/* A reset packet with PKT_HEADROOM in front, len 0. NULL = pool empty (caller counts a drop). */
struct pkt *pkt_alloc(struct pkt_pool *pool, bool big);
/* Owning worker only. */
void pkt_free(struct pkt_pool *pool, struct pkt *p);
/* Packets not in the pool now (0 when idle: tests check it). */
uint32_t pkt_pool_used(const struct pkt_pool *pool);

#endif
