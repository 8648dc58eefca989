/* SPDX-License-Identifier: MIT */
/* nic/mem.c - an in-memory link between two stacks
 * Two directions, each a ring of frames that are copied in by the sender and copied out by the
 * receiver: the two stacks have packet pools of their own and may run at different (virtual) times.
 * Slots are a sparse mapping: a link that never carries 64 KiB frames never has the pages for them.
 * In/Out:  tx: pkt -> slot; rx: slot -> pkt, checksum PARTIAL becomes UNNECESSARY as on any
 *          host-local link
 * Holds:   M1 tail - head <= MEM_SLOTS; a frame for a full ring is dropped (DEV_TX_FULL)
 * Threads: both ends in one thread
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "stackd/nic/nic.h"

#define MEM_SLOTS	512u		/* power of two */
#define FRAME_MAX	(PKT_BIG - PKT_HEADROOM)

struct mem_frame {
	uint32_t len;
	uint8_t csum_state, gso_type;
	uint16_t gso_size, gso_segs;
	uint16_t csum_start, csum_off;	/* csum_start from the first byte here */
	uint8_t bytes[FRAME_MAX];
};

struct mem_ring {
	uint32_t head, tail;		/* free-running */
	struct mem_frame *slots;
};

struct mem_link {
	unsigned open;			/* ends not closed yet */
	struct mem_ring ring[2];
	struct mem_end {
		struct nic nic;
		struct mem_link *link;
		unsigned side;		/* receives from ring[side], sends to ring[!side] */
	} end[2];
};

static void frame_put(struct mem_frame *f, const struct pkt *p)
{
	f->len = pkt_total(p);
	f->csum_state = p->csum_state;
	f->gso_type = p->gso_type;
	f->gso_size = p->gso_size;
	f->gso_segs = p->gso_segs;
	f->csum_start = p->csum_state == PKT_CSUM_PARTIAL ?
			(uint16_t)(p->csum_start - (p->data - p->buf)) : 0;
	f->csum_off = p->csum_off;
	pkt_copy_out(p, 0, f->bytes, f->len);
}

static struct pkt *frame_get(struct stack *st, const struct mem_frame *f)
{
	struct pkt *p = pkt_alloc(st->pool, f->len > PKT_SMALL - PKT_HEADROOM);

	if (!p)
		return NULL;
	memcpy(p->data, f->bytes, f->len);
	p->len = f->len;
	p->gso_type = f->gso_type;
	p->gso_size = f->gso_size;
	p->gso_segs = f->gso_segs;
	p->csum_state = PKT_CSUM_NONE;
	if (f->csum_state == PKT_CSUM_PARTIAL) {
		p->csum_state = PKT_CSUM_UNNECESSARY;
		p->csum_start = (uint16_t)(p->data - p->buf + f->csum_start);
		p->csum_off = f->csum_off;
	}
	p->rx_us = st->now_us;
	return p;
}

static unsigned mem_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct mem_end *e = nic->priv;
	struct mem_ring *r = &e->link->ring[e->side];
	unsigned cnt = 0;

	for (unsigned i = 0; i < max && r->head != r->tail; i++) {
		struct pkt *p = frame_get(st, &r->slots[r->head++ % MEM_SLOTS]);

		if (!p) {
			st->cnt->drop[DROP_NO_BUF]++;
			snmp_inc(st, SNMP_Dev_RxDropped);
			continue;
		}
		snmp_inc(st, SNMP_Dev_RxPackets);
		snmp_add(st, SNMP_Dev_RxBytes, p->len);
		if (p->gso_size)
			snmp_inc(st, SNMP_Dev_RxGsoPackets);
		pkts[cnt++] = p;
	}
	return cnt;
}

static void mem_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct mem_end *e = nic->priv;
	struct mem_ring *r = &e->link->ring[!e->side];

	for (unsigned i = 0; i < cnt; i++) {
		struct pkt *p = pkts[i];

		if (r->tail - r->head == MEM_SLOTS || pkt_total(p) > FRAME_MAX) {
			snmp_inc(st, SNMP_Dev_TxDropped);
			stack_drop(st, p, pkt_total(p) > FRAME_MAX ? DROP_DEV_TX_ERR :
								     DROP_DEV_TX_FULL);
			continue;
		}
		frame_put(&r->slots[r->tail++ % MEM_SLOTS], p);
		snmp_inc(st, SNMP_Dev_TxPackets);
		snmp_add(st, SNMP_Dev_TxBytes, pkt_total(p));
		if (p->gso_type != PKT_GSO_NONE)
			snmp_inc(st, SNMP_Dev_TxGsoPackets);
		stack_pkt_free(st, p);
	}
}

static int mem_rx_fd(struct nic *nic)
{
	return -1;
}

static void link_free(struct mem_link *l)
{
	for (int i = 0; i < 2; i++)
		if (l->ring[i].slots)
			munmap(l->ring[i].slots, MEM_SLOTS * sizeof(struct mem_frame));
	free(l);
}

static void mem_close(struct nic *nic)
{
	struct mem_end *e = nic->priv;

	if (--e->link->open == 0)
		link_free(e->link);
}

static const struct nic_ops mem_ops = {
	.name = "mem",
	.rx = mem_rx,
	.tx = mem_tx,
	.rx_fd = mem_rx_fd,
	.close = mem_close,
};

static void end_init(struct mem_link *l, unsigned side, uint32_t mtu, uint32_t features)
{
	struct mem_end *e = &l->end[side];

	e->link = l;
	e->side = side;
	e->nic = (struct nic){
		.ops = &mem_ops,
		.features = features,
		.mtu = mtu,
		.mac = { 0x02, 0x73, 0x74, 0x6b, 0x00, (uint8_t)(side + 1) },
		.queues = 1,
		.priv = e,
	};
	memcpy(e->nic.ifname, side ? "memb" : "mema", 5);
}

int mem_nic_pair(uint32_t mtu, uint32_t features, struct nic **ret_a, struct nic **ret_b)
{
	struct mem_link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		void *m = mmap(NULL, MEM_SLOTS * sizeof(struct mem_frame), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (m == MAP_FAILED) {
			link_free(l);
			return -ENOMEM;
		}
		l->ring[i].slots = m;
	}
	l->open = 2;
	end_init(l, 0, mtu, features);
	end_init(l, 1, mtu, features);
	*ret_a = &l->end[0].nic;
	*ret_b = &l->end[1].nic;
	return 0;
}
