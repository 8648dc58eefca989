/* SPDX-License-Identifier: MIT */
/* nic/kport.c - see kport.h
 *
 * A device around another one. rx takes bursts from the device, gives what is stackd's to the
 * caller and the rest to the TAP; then what the kernel has sent goes out by the device. A packet
 * that comes in at one end and leaves at the other changes from the receive to the send side of the
 * checksum contract: a field that holds only the pseudo-header sum must be finished (PARTIAL).
 * In/Out:  device -> stackd or TAP; TAP -> device
 * Holds:   P1 nothing is held; P2 a burst that was only the kernel's does not look like an empty
 *          device: after ROUNDS of them next_us asks to be called at once
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/nic/kport.h"

#define FRAGS	64u			/* first fragments remembered, the oldest forgotten first */
#define ROUNDS	16u
#define BURST	64u

/* Used by split.h. */
struct frag_memory {
	uint64_t key[FRAGS];
	uint32_t next;
};

static int frag_seen(const struct frag_memory *m, uint64_t key)
{
	for (unsigned i = 0; i < FRAGS; i++)
		if (m->key[i] == key)
			return 1;
	return 0;
}

static void frag_note(struct frag_memory *m, uint64_t key)
{
	if (!frag_seen(m, key))
		m->key[m->next++ % FRAGS] = key;
}

struct kport {
	struct nic nic;
	struct nic *under, *tap;
	const struct claims *claims;
	struct frag_memory frags;
	bool more;			/* the device may have more, though rx returned little */
};

/* split.h's memory is the caller's. */
#define SPLIT_FRAG_SEEN(k)	frag_seen(frags, k)
#define SPLIT_FRAG_NOTE(k)	frag_note(frags, k)
#define SPLIT_ARG		, struct frag_memory *frags
#define SPLIT_PASS		, frags
#include "stackd/nic/xdp/split.h"

/* From the receive side of the contract to the send side. */
static void turn_round(struct pkt *p)
{
	p->csum_state = p->csum_state == PKT_CSUM_UNNECESSARY && p->csum_start ? PKT_CSUM_PARTIAL :
										 PKT_CSUM_NONE;
	p->vlan = 0;
}

/* The TAP is not the device: its queue counts in the same places, which is taken back. */
struct dev_counts {
	uint64_t v[SNMP_Dev_TxGsoPackets - SNMP_Dev_RxPackets + 1];
};

static void counts_save(const struct stack *st, struct dev_counts *c)
{
	memcpy(c->v, &st->cnt->snmp[SNMP_Dev_RxPackets], sizeof(c->v));
}

static void counts_restore(struct stack *st, const struct dev_counts *c)
{
	memcpy(&st->cnt->snmp[SNMP_Dev_RxPackets], c->v, sizeof(c->v));
}

/* A frame to another station is nobody's business here. */
static bool for_us(const struct kport *k, const struct pkt *p)
{
	return p->len >= 14 && (p->data[0] & 1 || !memcmp(p->data, k->nic.mac, 6));
}

/* Give the kernel's packets to the TAP. Return: how many of the @cnt are left, in order. */
static unsigned sort_out(struct kport *k, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct pkt *theirs[BURST];
	struct dev_counts counts;
	unsigned n = 0, away = 0;

	for (unsigned i = 0; i < cnt; i++) {
		struct pkt *p = pkts[i];

		if (split_ours(k->claims, p->data, p->data + p->len, &k->frags)) {
			pkts[n++] = p;
		} else if (!for_us(k, p)) {
			stack_drop(st, p, DROP_ETH_NOT_US);
		} else if (p->vlan && (p->vlan - 1) & 0xfff) {
			stack_drop(st, p, DROP_ETH_VLAN);
		} else {
			turn_round(p);
			theirs[away++] = p;
		}
	}
	if (away == 0)
		return n;
	snmp_add(st, SNMP_Dev_KernelRx, away);
	counts_save(st, &counts);
	nic_tx(k->tap, st, theirs, away);
	counts_restore(st, &counts);
	return n;
}

/* What the kernel wants to send. */
static void from_kernel(struct kport *k, struct stack *st)
{
	struct pkt *pkts[BURST];
	struct dev_counts counts;
	unsigned n;

	counts_save(st, &counts);
	n = k->tap->ops->rx(k->tap, st, pkts, BURST);
	counts_restore(st, &counts);
	for (unsigned i = 0; i < n; i++)
		turn_round(pkts[i]);
	snmp_add(st, SNMP_Dev_KernelTx, n);
	if (n)
		nic_tx(k->under, st, pkts, n);
	k->more |= n == BURST;
}

static unsigned kport_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct kport *k = nic->priv;
	unsigned got, n = 0;

	if (max > BURST)
		max = BURST;
	k->more = false;
	for (unsigned round = 0; round < ROUNDS; round++) {
		got = k->under->ops->rx(k->under, st, pkts, max);
		n = sort_out(k, st, pkts, got);
		k->more = got == max && n < max;
		if (n || !k->more)
			break;
	}
	from_kernel(k, st);
	return n;
}

static void kport_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct kport *k = nic->priv;

	k->under->ops->tx(k->under, st, pkts, cnt);
}

static int kport_rx_fd(struct nic *nic)
{
	struct kport *k = nic->priv;

	return k->under->ops->rx_fd(k->under);
}

static uint64_t kport_next_us(struct nic *nic)
{
	struct kport *k = nic->priv;

	if (k->more)
		return 0;
	return k->under->ops->next_us ? k->under->ops->next_us(k->under) : UINT64_MAX;
}

static void kport_close(struct nic *nic)
{
	struct kport *k = nic->priv;

	k->tap->ops->close(k->tap);
	k->under->ops->close(k->under);
	free(k);
}

static const struct nic_ops ops = {
	.name = "kport", .rx = kport_rx, .tx = kport_tx, .rx_fd = kport_rx_fd,
	.next_us = kport_next_us, .close = kport_close,
};

int kport_nic_wrap(struct nic *under, int tap_fd, const struct claims *claims, struct nic **ret)
{
	struct kport *k = calloc(1, sizeof(*k));
	int rc;

	if (!k)
		return -ENOMEM;
	rc = tap_nic_create(tap_fd, "kport", under->mac, under->mtu, under->queue, under->queues,
			    &k->tap);
	if (rc) {
		free(k);
		return rc;
	}
	k->under = under;
	k->claims = claims;
	k->nic = *under;
	k->nic.ops = &ops;
	k->nic.priv = k;
	*ret = &k->nic;
	return 0;
}
