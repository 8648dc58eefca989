/* SPDX-License-Identifier: MIT */
/* nic/nic.h - the device interface
 *
 * Three things stand for a device:
 *   struct nic_grant  what the supervisor's privileged helper found out and opened: plain data
 *                     and fds (nic/grant.h). The supervisor keeps both; each new engine gets them.
 *   struct nic_dev    the whole device in the engine: one, controlled by worker 0.
 *   struct nic        one worker's queue pair of it. Bursts only; offload metadata travels in
 *                     struct pkt (core/pkt.h). A device that lacks an offload gets packets that
 *                     software has finished: nic_tx() does that by looking at features, drivers
 *                     never see what they cannot do.
 *
 * Life of a nic_dev, driven by the engine (engine/device.c):
 *   nic_dev_open()   from grant and fds, before there are workers, before seccomp. A device with
 *                    DMA has been stopped before this returns: the engine before may have died in
 *                    the middle of anything. It may lower grant.queues and grant.mtu.
 *   ops->map         each packet pool, before any queue exists
 *   ops->queue       once per worker that has a queue; the nic is stopped
 *   nic->start       on its worker's thread: rings made and filled
 *   ops->go          worker 0: all queues are started, packets may flow
 * Reset (fault, watchdog, request): ops->halt on worker 0: no more DMA; nic->stop on each worker,
 * which gives its packets back; nic->start on each; ops->go. Devices without these hooks (NULL) are
 * always running.
 */
#ifndef NIC_NIC_H
#define NIC_NIC_H

#include "stackd/core/stack.h"
#include "stackd/nic/grant.h"

#define NIC_F_CSUM	(1u << 0)	/* finishes PKT_CSUM_PARTIAL on transmit */
#define NIC_F_TSO	(1u << 1)	/* takes PKT_GSO_TCP4 */
#define NIC_F_RX_CSUM	(1u << 2)	/* sets UNNECESSARY or COMPLETE */
#define NIC_F_GRO	(1u << 3)	/* delivers merged frames (gso_size set) */
#define NIC_F_USO	(1u << 4)	/* takes PKT_GSO_UDP */
#define NIC_F_TSO6	(1u << 5)	/* takes PKT_GSO_TCP6 */
#define NIC_F_RX_HASH	(1u << 6)	/* sets pkt.hash */
#define NIC_F_VLAN_TX	(1u << 7)	/* inserts pkt.vlan */
#define NIC_F_VLAN_RX	(1u << 8)	/* takes the tag out of the frame into pkt.vlan */

struct nic;
struct nic_dev;
struct nic_claims;
struct io_uring;

/* For counters under the driver's own names (`ethtool -S`). */
typedef void (*nic_counter_fn)(void *arg, const char *name, uint64_t value);

struct nic_ops {
	const char *name;
	/* Return: packets stored in @pkts (given to the caller), allocated from st->pool. */
	unsigned (*rx)(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max);
	/* Takes all @cnt packets: sends or drops (counted) and frees each, or holds them until the
	 * device has taken them (counted in nic->held). */
	void (*tx)(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt);
	/* fd for the worker's io_uring: polls readable when rx has something (AF_XDP, TAP), or
	 * after arm() when the device interrupts (eventfd; never read). -1 = none (in-memory). */
	int (*rx_fd)(struct nic *nic);
	/* When rx wants to be called although rx_fd is silent (held packets, transmit watchdog),
	 * st->now_us based; UINT64_MAX = never. NULL = never. link/ arms a timer for it. */
	uint64_t (*next_us)(struct nic *nic);
	void (*close)(struct nic *nic);

	/* All below may be NULL: the device does not need it. Owning worker's thread. */

	/* The worker is about to sleep: interrupts on. Return: true when there is something to do
	 * already (it must not sleep). Interrupts are off again from the next rx() on. */
	bool (*arm)(struct nic *nic, struct stack *st);
	/* Rings made and filled; nothing flows before nic_dev_ops.go. Return: 0 or -errno. */
	int (*start)(struct nic *nic, struct stack *st);
	/* The device does no DMA any more: give back every packet held. rx returns nothing and tx
	 * drops (DEV_TX_FULL) until start(). */
	void (*stop)(struct nic *nic, struct stack *st);
	void (*counters)(const struct nic *nic, nic_counter_fn fn, void *arg);
	/* Frames come and go by the worker's io_uring, which is not enabled yet: register what is
	 * needed. What is submitted carries @tag, with the low 24 bits as the device likes. rx_fd
	 * is -1 then. Return: 0, or -errno: the device goes on with system calls of its own. */
	int (*ring_attach)(struct nic *nic, struct stack *st, struct io_uring *ring, uint64_t tag);
	/* A completion with the tag. */
	void (*ring_done)(struct nic *nic, struct stack *st, uint64_t data, int res,
			  uint32_t flags);
};

struct nic {
	const struct nic_ops *ops;
	uint32_t features;		/* NIC_F_* */
	uint32_t mtu;
	uint8_t mac[6];
	uint16_t queue, queues;
	char ifname[16];
	void *priv;
	struct nic_dev *dev;		/* NULL: no control hooks (TAP, memory) */
	uint32_t held;			/* packets of this worker's pool that the device has */
	uint32_t rx_ring, tx_ring;	/* descriptors; 0 = no rings */
	uint64_t irqs;			/* times that the worker was woken by the device */
};

/* ---- the whole device: worker 0's thread ---- */

struct nic_link {
	bool up, full_duplex;
	uint32_t mbps;			/* 0 = unknown */
	uint64_t changes;		/* since the engine started */
};

/* Flow types of receive-side scaling, and what of the packet goes into the hash. */
enum nic_flow {
	NIC_FLOW_TCP4 = 0, NIC_FLOW_UDP4, NIC_FLOW_IP4, NIC_FLOW_TCP6, NIC_FLOW_UDP6, NIC_FLOW_IP6,
	NIC_FLOW_MAX
};
#define NIC_HASH_SRC	(1u << 0)	/* s: source address */
#define NIC_HASH_DST	(1u << 1)	/* d: destination address */
#define NIC_HASH_SPORT	(1u << 2)	/* f: bytes 0 and 1 of the layer 4 header */
#define NIC_HASH_DPORT	(1u << 3)	/* n: bytes 2 and 3 */

#define NIC_RSS_KEY	40
#define NIC_RSS_INDIR	128
struct nic_rss {
	uint16_t indir_len;		/* power of two up to NIC_RSS_INDIR; read-only */
	uint16_t indir[NIC_RSS_INDIR];	/* queue of hash % indir_len */
	uint8_t key[NIC_RSS_KEY];
	uint8_t fields[NIC_FLOW_MAX];	/* NIC_HASH_*; 0 = not hashed, goes to queue 0 */
};

struct nic_coalesce {			/* as ethtool -c; 0 = at once */
	uint32_t rx_usecs, rx_frames, tx_usecs, tx_frames;
	bool adaptive_rx;
};

/* One steering rule (ethtool -n). A mask bit of 1 = must match. */
struct nic_ntuple {
	uint32_t id;			/* place in the device's table */
	uint8_t flow;			/* enum nic_flow */
	uint16_t queue;
	struct sd_addr src, src_mask, dst, dst_mask;
	uint16_t sport, sport_mask, dport, dport_mask;	/* host order */
};

struct nic_dev_ops {
	/* @len bytes at @mem hold packet buffers of worker @worker: make them visible to the device
	 * (IOMMU, UMEM). Before seccomp. NULL = not needed. */
	int (*map)(struct nic_dev *dev, uint16_t worker, void *mem, size_t len);
	/* Queue @q for a worker whose pool is st->pool, stopped if it has a start hook. */
	int (*queue)(struct nic_dev *dev, uint16_t q, struct stack *st, struct nic **ret);
	/* All may be NULL. */
	int (*go)(struct nic_dev *dev);
	void (*halt)(struct nic_dev *dev);
	/* evt_fd became readable (link, device error), or a second has passed. */
	void (*poll)(struct nic_dev *dev, uint64_t now_us);
	void (*link)(struct nic_dev *dev, struct nic_link *ret);
	int (*rss_get)(struct nic_dev *dev, struct nic_rss *ret);
	int (*rss_set)(struct nic_dev *dev, const struct nic_rss *rss);
	int (*coalesce_get)(struct nic_dev *dev, struct nic_coalesce *ret);
	int (*coalesce_set)(struct nic_dev *dev, const struct nic_coalesce *c);
	/* Descriptors of each ring from the next reset on. -EINVAL: not a size that it can have. */
	int (*ring_set)(struct nic_dev *dev, uint32_t n);
	int (*ntuple_add)(struct nic_dev *dev, const struct nic_ntuple *rule);
	int (*ntuple_del)(struct nic_dev *dev, uint32_t id);
	/* Rules by number from 0. Return: 0, -ENOENT behind the last. */
	int (*ntuple_get)(struct nic_dev *dev, unsigned nth, struct nic_ntuple *ret);
	void (*counters)(struct nic_dev *dev, nic_counter_fn fn, void *arg);
	/* The interface, its address and ARP are the kernel's, and only what is claimed comes here
	 * (nic/claims.h): the table, with the client ports that the kernel leaves alone (lo, hi;
	 * 0 = none known). Return: NULL = not shared. */
	struct nic_claims *(*claims)(struct nic_dev *dev, uint16_t ports[2]);
	void (*close)(struct nic_dev *dev);
};

/* Why a device must be reset; the newest is kept. */
enum nic_fault {
	NIC_OK = 0,
	NIC_FAULT_RING,			/* it wrote nonsense into a ring */
	NIC_FAULT_TX_TIMEOUT,		/* it stopped sending (transmit watchdog) */
	NIC_FAULT_DEVICE,		/* it asks for it */
	NIC_FAULT_GONE,			/* registers read all ones: unplugged or powered down */
	NIC_FAULT_REQUEST,		/* stackctl nic reset */
};

struct nic_dev {
	const struct nic_dev_ops *ops;
	const char *driver;		/* "virtio", "e1000e", "igb", "xdp", "tap", ... */
	struct nic_grant grant;
	int evt_fd;			/* eventfd: link or error, nic_fault(); -1 = none */
	uint32_t fault;			/* enum nic_fault; any worker writes, worker 0 clears */
	bool announce;			/* poll() saw: tell the network where we are (ARP) */
	uint64_t resets, tx_timeouts, bad_completions;	/* worker 0; add_sc by others */
	uint64_t iommu_faults;		/* DMA of the device that the IOMMU has refused */
	void *priv;
};

/**
 * nic_dev_open() - a device from what the helper granted
 * @fds: grant->fd_cnt fds as nic/grant.h says for the kind; taken, also on failure
 * @err: a sentence for the log when it fails
 * Return: 0 or -errno
 */
int nic_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR]);
static inline void nic_dev_close(struct nic_dev *dev) { dev->ops->close(dev); }

/* Any worker: the device is broken, worker 0 shall reset it. At most one write per fault. */
void nic_fault(struct nic_dev *dev, enum nic_fault why);
const char *nic_fault_text(enum nic_fault why);

/* ---- queues ---- */

/* Transmit with software fallback for what the device lacks (csum, GSO split). Takes @pkts. */
void nic_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt);

/* TAP with vnet header. @fd: one queue's fd, opened and configured by the helper (nic/tap_open.h),
 * O_NONBLOCK; taken. */
int tap_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu, uint16_t queue,
		   uint16_t queues, struct nic **ret);

/* The same over a packet socket (nic/packet_open.h). */
int packet_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu,
		      uint16_t queue, uint16_t queues, struct nic **ret);

/* In-memory link between two stacks (tests, simulation): frames written to one end appear at the
 * other at the next rx; bounded queue. */
int mem_nic_pair(uint32_t mtu, uint32_t features, struct nic **ret_a, struct nic **ret_b);

/* Impairment around another device (L3): @spec e.g. "loss=1/100,dup=1/1000,reorder=1/500,seed=7" or
 * "drop-every=100,dir=rx"; all of it stands in nic/impair.c. Takes @under unless it fails: -EINVAL
 * with *ret_bad at the part of @spec that is wrong. */
int impair_nic_wrap(struct nic *under, const char *spec, struct nic **ret, const char **ret_bad);

/* Which queue the steering program gives a flow to: the same function in BPF (tap steering) and C
 * (port selection). Symmetric in (saddr,sport) <-> (daddr,dport). Addresses v4 host order of bytes
 * as on wire. */
uint32_t nic_steer_hash(const struct sd_addr *a, uint16_t aport, const struct sd_addr *b,
			uint16_t bport);

#endif
