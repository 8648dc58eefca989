/* SPDX-License-Identifier: MIT */
/* nic/vfio/intel.h - what Intel's gigabit families share: descriptor rings and how they are worked
 *
 * 82574 (e1000e) and 82576 (igb) have descriptors of 16 bytes, the same receive write-back format
 * and "descriptor done" at the same place; registers, transmit descriptors and interrupts differ
 * and are behind struct intel_family.
 * Spec: 82574 datasheet (317694) 7.1, 7.2; 82576 datasheet (320961) 7.1, 7.2
 */
#ifndef NIC_VFIO_INTEL_H
#define NIC_VFIO_INTEL_H

#include <linux/if_ether.h>

#include "stackd/nic/vfio/vfio_q.h"

#define INTEL_RING	256u		/* descriptors, until somebody asks for another number; */
#define INTEL_RING_MIN	64u		/* powers of two: RDLEN, TDLEN are multiples of 128 bytes */
#define INTEL_RING_MAX	1024u
#define INTEL_PAGE	4096u		/* no descriptor's bytes cross such a boundary */
#define INTEL_TX_MOST	19u		/* descriptors of a packet: context, 64 KiB in pages */
#define INTEL_MTU	1500u		/* no long packets: the device drops above 1522 bytes */

struct intel_desc {
	uint64_t q[2];
};

/* 82574 7.1.5, 82576 7.1.5.2: receive write-back, second word */
#define RXWB_DD		(1u << 0)
#define RXWB_EOP	(1u << 1)
#define RXWB_UDPCS	(1u << 4)
#define RXWB_L4CS	(1u << 5)	/* TCP or UDP checksum was looked at */
#define RXWB_IPCS	(1u << 6)
#define RXWB_L4E	(1u << 29)
#define RXWB_IPE	(1u << 30)
#define RXWB_RXE	(1u << 31)
#define RXWB_RSS_TYPE	0xfu		/* first word; 0 = no hash */
/* 82574 7.2.11, 82576 7.2.2.4: transmit write-back, upper half of the second word */
#define TXWB_DD		(1ull << 32)

struct intel_q;

struct intel_family {
	const char *name;
	uint16_t queues;
	unsigned rx_regs, tx_regs, stride;	/* queue 0's registers, and from queue to queue */
	uint32_t mrqc;			/* MRQC: hashing on */
	uint32_t mrqc_flow[NIC_FLOW_MAX];	/* its bit for a type of flow, 0 = it has none */
	uint8_t reta_shift;		/* the queue's place in a byte of the table */
	/* The packet's context descriptor, when its checksum is PARTIAL. */
	void (*tx_context)(struct intel_desc *d, const struct pkt *p, uint32_t hdr_len);
	/* One chunk of it. */
	void (*tx_data)(struct intel_desc *d, uint64_t iova, uint32_t len, bool last,
			const struct pkt *p, uint32_t hdr_len);
	void (*irq_on)(struct intel_q *q);
	void (*irq_off)(struct intel_q *q);
	/* Every interrupt is masked. */
	void (*irqs_off)(volatile uint8_t *regs);
	/* At most an interrupt of queue @n in @us microseconds. */
	void (*put_itr)(volatile uint8_t *regs, unsigned n, uint32_t us);
	uint16_t itr_max_us;
	/* The event vector's cause is taken note of and may interrupt again. */
	void (*event)(volatile uint8_t *regs);
};

struct intel_q {
	struct vfio_q b;		/* first */
	const struct intel_family *f;
	volatile uint8_t *regs;
	unsigned rdt, tdt;		/* offsets of this queue's tail registers */
	bool skip;			/* drop up to the end of a frame */
	uint16_t size;			/* descriptors of each ring */
	uint16_t rx_next, rx_tail;	/* next to come back; first not given */
	uint16_t tx_next, tx_tail;
	uint64_t rx_errors;
	struct intel_desc *rx, *tx;
	uint64_t rx_iova, tx_iova;
	struct pkt *rx_pkt[INTEL_RING_MAX];
	struct pkt *tx_pkt[INTEL_RING_MAX];	/* at its last descriptor */
};

struct intel_dev {
	struct nic_dev dev;
	struct vfio *v;
	const struct intel_family *f;
	volatile uint8_t *regs;
	struct intel_q *q[NIC_QUEUES_MAX];
	struct nic_rss rss;
	struct nic_link link;
	uint16_t ring;			/* descriptors from the next start on */
	uint16_t itr_us;		/* between two interrupts of a queue */
};

extern const struct intel_family e1000e_family, igb_family;
extern const struct nic_ops intel_q_ops;
size_t intel_q_mem(void);
/* Rings of @size made and receive buffers put in; registers are the family's. Return: 0 or
 * -ENOMEM. */
int intel_q_fill(struct intel_q *q, struct stack *st, uint16_t size);

/* ---- intel_hw.c: registers that both families have ---- */
bool intel_wait(volatile uint8_t *regs, unsigned reg, uint32_t mask, uint32_t want);
/* What is under way ends, then everything goes back to its defaults: nic_dev_ops.halt. */
void intel_halt(struct nic_dev *dev);
/* Link up, auto-negotiation begins. Return: 0 or -EIO. */
int intel_link_on(struct intel_dev *d);
void intel_put_addr(struct intel_dev *d);
void intel_put_rss(struct intel_dev *d);
/* Rings of @q, empty. */
void intel_put_rings(struct intel_q *q);
/* Receive buffers are given to the device. */
void intel_put_tails(struct intel_dev *d);
void intel_poll(struct nic_dev *dev, uint64_t now_us);	/* nic_dev_ops.poll */
/* nic_dev_ops: one time for both directions of a queue, no frames, not adaptive. */
int intel_coalesce_get(struct nic_dev *dev, struct nic_coalesce *ret);
int intel_coalesce_set(struct nic_dev *dev, const struct nic_coalesce *c);
/* nic_dev_ops.rss_set: -EOPNOTSUPP for fields that MRQC cannot say. */
int intel_rss_set(struct nic_dev *dev, const struct nic_rss *rss);

/* ---- intel_dev.c: nic_dev_ops that both families have ---- */
int intel_map(struct nic_dev *dev, uint16_t worker, void *mem, size_t len);
int intel_queue(struct nic_dev *dev, uint16_t n, struct stack *st, struct nic **ret);
void intel_link(struct nic_dev *dev, struct nic_link *ret);
int intel_rss_get(struct nic_dev *dev, struct nic_rss *ret);
int intel_ring_set(struct nic_dev *dev, uint32_t n);
void intel_close(struct nic_dev *dev);
/* A vfio_probe_fn but for what differs. */
int intel_probe(struct vfio *v, const struct nic_grant *g, const struct intel_family *f,
		const struct nic_dev_ops *ops, struct nic_dev **ret, char err[NIC_ERR]);

#endif
