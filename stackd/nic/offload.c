/* SPDX-License-Identifier: MIT */
/* nic/offload.c - transmit: software does what the device cannot
 * In/Out:  packets with checksum PARTIAL and GSO -> packets that the device's features cover
 * Holds:   O1 a driver sees PARTIAL only with NIC_F_CSUM, and GSO only together with PARTIAL and
 *             the matching NIC_F_TSO or NIC_F_USO
 *          O2 order is kept
 * Threads: owning worker only
 */
#include "stackd/core/csum.h"
#include "stackd/nic/gso.h"
#include "stackd/nic/nic.h"

#define BURST 64

struct tx_burst {
	struct nic *nic;
	struct stack *st;
	struct pkt *pkts[BURST];
	unsigned cnt;
};

static void burst_flush(struct tx_burst *b)
{
	if (b->cnt)
		b->nic->ops->tx(b->nic, b->st, b->pkts, b->cnt);
	b->cnt = 0;
}

static void burst_add(struct tx_burst *b, struct pkt *p)
{
	if (b->cnt == BURST)
		burst_flush(b);
	b->pkts[b->cnt++] = p;
}

static bool must_cut(const struct nic *nic, const struct pkt *p)
{
	if (p->gso_type == PKT_GSO_NONE)
		return false;
	if (p->csum_state != PKT_CSUM_PARTIAL)
		return true;
	switch (p->gso_type) {
	case PKT_GSO_UDP:
		return !(nic->features & NIC_F_USO);
	case PKT_GSO_TCP6:
		return !(nic->features & NIC_F_TSO6);
	default:
		return !(nic->features & NIC_F_TSO);
	}
}

static bool must_sum(const struct nic *nic, const struct pkt *p)
{
	return p->csum_state == PKT_CSUM_PARTIAL && !(nic->features & NIC_F_CSUM);
}

static void cut(struct tx_burst *b, struct pkt *p)
{
	struct gso_plan plan;

	if (gso_plan(p, &plan)) {
		snmp_inc(b->st, SNMP_Dev_TxDropped);
		stack_drop(b->st, p, DROP_GSO_BAD);
		return;
	}
	for (uint32_t i = 0; i < plan.segs; i++) {
		struct pkt *s = gso_segment(b->st, p, &plan, i, b->nic->features & NIC_F_CSUM);

		if (!s) {		/* transports take it as loss */
			snmp_inc(b->st, SNMP_Dev_TxDropped);
			stack_drop(b->st, p, DROP_NO_BUF);
			return;
		}
		burst_add(b, s);
	}
	stack_pkt_free(b->st, p);
}

void nic_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct tx_burst b = { .nic = nic, .st = st };
	unsigned i;

	for (i = 0; i < cnt; i++)
		if (must_cut(nic, pkts[i]) || must_sum(nic, pkts[i]))
			break;
	if (i == cnt) {
		nic->ops->tx(nic, st, pkts, cnt);
		return;
	}
	for (i = 0; i < cnt; i++) {
		if (must_cut(nic, pkts[i])) {
			cut(&b, pkts[i]);
			continue;
		}
		if (must_sum(nic, pkts[i]))
			csum_finish(pkts[i]);
		burst_add(&b, pkts[i]);
	}
	burst_flush(&b);
}
