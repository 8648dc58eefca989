/* SPDX-License-Identifier: MIT */
/* link/link.c - Ethernet in and out, and which worker gets what
 *
 * Receive: burst -> destination and EtherType -> ARP, or GRO -> owner -> IP, here or at another
 * worker. Transmit: IP packet -> neighbour -> Ethernet header -> vector of this loop -> device, or
 * the worker that has a queue when this one has none. A packet that leaves the worker is made one
 * piece first: its fragments are borrowed from memory that this worker may give up meanwhile.
 * Spec:    IEEE 802.3, RFC 894, RFC 1112 6.4 (multicast MAC)
 * In/Out:  frames <-> IPv4 packets, ARP
 * Holds:   L1, L2 of link_int.h
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/link/link_int.h"
#include "stackd/core/quarantine.h"
#include "stackd/nic/gso.h"
#include "stackd/nic/steer.h"

/* ---- receive ----------------------------------------------------------------------------- */

/* @back: of what comes in answer to @p. */
static uint16_t owner_of(struct stack *st, const struct pkt *p, bool back)
{
	const uint8_t *ip = p->data, *l4;
	uint16_t sport, dport;
	struct sd_addr src, dst;
	be32 a;

	if (st->workers <= 1 || p->len < 20 || ip[0] >> 4 != 4 || (get16(ip + 6) & 0x3fff))
		return st->worker;
	l4 = ip + (ip[0] & 15) * 4u;
	if ((ip[9] != 6 && ip[9] != 17) || p->len < (ip[0] & 15) * 4u + 4)
		return st->worker;
	memcpy(&a, ip + 12, 4);
	src = sd_addr_v4(a);
	memcpy(&a, ip + 16, 4);
	dst = sd_addr_v4(a);
	sport = (uint16_t)get16(l4);
	dport = (uint16_t)get16(l4 + 2);
	return back ? nic_flow_worker(st, ip[9], &dst, dport, &src, sport) :
		      nic_flow_worker(st, ip[9], &src, sport, &dst, dport);
}

uint16_t link_owner(struct stack *st, const struct pkt *p)
{
	return owner_of(st, p, false);
}

uint16_t link_owner_back(struct stack *st, const struct pkt *p)
{
	return owner_of(st, p, true);
}

/* A packet that was merged, held back or sent by another worker is not named yet. */
static void ip_up(struct stack *st, struct pkt *p)
{
	if (st->in_hand != p && quar_pkt(st, p, p->data, ETH_P_IP4))
		stack_drop(st, p, DROP_QUARANTINE);
	else if (st->link->up.ip4_rx)
		st->link->up.ip4_rx(st, p);
	else
		stack_drop(st, p, DROP_ETH_PROTO);
	quar_pkt_done(st);
}

void link_deliver(struct stack *st, struct pkt *p)
{
	uint16_t owner = link_owner(st, p);
	struct stack_msg msg = { .kind = SMSG_PKT, .ptr = p };

	if (link_tapped(st->link, SD_CAP_GRO))
		link_capture(st, p, ETH_HLEN, SD_CAP_GRO);
	if (owner == st->worker)
		ip_up(st, p);
	else if (!stack_send(st, owner, &msg))
		stack_drop(st, p, DROP_HANDOFF_FULL);
}

static void on_pkt(struct stack *st, const struct stack_msg *msg)
{
	snmp_inc(st, SNMP_Worker_RpsIn);
	ip_up(st, msg->ptr);
}

/* Is the frame for us? Sets bcast. */
static enum drop_reason check_dst(const struct link_state *ls, struct pkt *p)
{
	static const uint8_t ip4_mcast[3] = { 0x01, 0x00, 0x5e };
	const uint8_t *dst = p->data;

	if (p->data[6] & 1)
		return DROP_ETH_SRC;
	if (memcmp(dst, ls->mac, 6) == 0)
		p->bcast = 0;
	else if (memcmp(dst, eth_bcast, 6) == 0)
		p->bcast = 1;
	else if (memcmp(dst, ip4_mcast, 3) == 0)
		p->bcast = 2;
	else
		return DROP_ETH_NOT_US;
	return DROP_NONE;
}

/* A tag that the device took out; VLAN 0 is only a priority. */
static bool has_vlan(const struct pkt *p)
{
	return p->vlan && ((p->vlan - 1) & 0xfff);
}

static void arp_up(struct stack *st, struct pkt *p)
{
	if (link_tapped(st->link, SD_CAP_GRO))
		link_capture(st, p, ETH_HLEN, SD_CAP_GRO);
	arp_rx(st, p);
}

static void eth_rx(struct stack *st, struct pkt *p, bool gro)
{
	struct link_state *ls = st->link;
	enum drop_reason why;
	uint32_t type;

	if (p->len < ETH_HLEN) {
		stack_drop(st, p, DROP_ETH_SHORT);
		return;
	}
	why = check_dst(ls, p);
	if (why != DROP_NONE) {
		stack_drop(st, p, why);
		return;
	}
	type = get16(p->data + 12);
	if (type == ETH_P_IP4 && ld_rlx(&st->sys->rx_csum_verify))
		link_verify(st, p);
	p->l2_off = (uint16_t)(p->data - p->buf);
	pkt_pull(p, ETH_HLEN);
	p->l3_off = (uint16_t)(p->data - p->buf);
	if (type == ETH_P_8021Q || type == ETH_P_8021AD || has_vlan(p))
		stack_drop(st, p, DROP_ETH_VLAN);
	else if (type == ETH_P_ARP)
		arp_up(st, p);
	else if (type != ETH_P_IP4)
		stack_drop(st, p, DROP_ETH_PROTO);
	else if (gro)
		gro_rx(st, &ls->gro, p);
	else
		link_deliver(st, p);
}

/* Datagrams that the sender's kernel would have cut later are cut here: above, a packet is one
 * datagram. They never were on a wire, so their sums stay unfinished. */
static void rx_gso_udp(struct stack *st, struct pkt *p, bool gro)
{
	struct gso_plan plan;

	if (gso_plan(p, &plan)) {
		stack_drop(st, p, DROP_GSO_BAD);
		return;
	}
	for (uint32_t i = 0; i < plan.segs; i++) {
		struct pkt *s = gso_segment(st, p, &plan, i, true);

		if (!s) {
			st->cnt->drop[DROP_NO_BUF]++;
			snmp_inc(st, SNMP_Dev_RxDropped);
			break;
		}
		s->csum_state = PKT_CSUM_UNNECESSARY;
		s->vlan = p->vlan;
		eth_rx(st, s, gro);
	}
	stack_pkt_free(st, p);
}

static void rx_one(struct stack *st, struct pkt *p, bool gro)
{
	if (p->len >= ETH_HLEN && quar_pkt(st, p, p->data + ETH_HLEN, get16(p->data + 12)))
		stack_drop(st, p, DROP_QUARANTINE);
	else if (p->gso_type == PKT_GSO_UDP)
		rx_gso_udp(st, p, gro);
	else
		eth_rx(st, p, gro);
	quar_pkt_done(st);
}

void link_rx(struct stack *st, struct pkt *p)
{
	rx_one(st, p, false);
}

static void tap_burst(struct stack *st, struct pkt **pkts, unsigned cnt, enum sd_cap_point point)
{
	for (unsigned i = 0; i < cnt; i++)
		link_capture(st, pkts[i], 0, point);
}

/* A device that holds packets back says when it wants to be called. */
static void arm_dev_timer(struct stack *st)
{
	uint64_t at;

	if (!st->nic || !st->nic->ops->next_us)
		return;
	at = st->nic->ops->next_us(st->nic);
	if (at == UINT64_MAX)
		wheel_cancel(st->wheel, OBJ(OBJ_NEIGH, 0), &st->link->dev_timer);
	else
		wheel_arm(st->wheel, OBJ(OBJ_NEIGH, 0), &st->link->dev_timer, at);
}

unsigned link_poll(struct stack *st, unsigned budget)
{
	struct pkt *pkts[LINK_RX_BURST];
	struct nic *nic = st->nic;
	bool merged = nic && nic->features & NIC_F_GRO;
	unsigned burst = merged ? LINK_BIG_BURST : LINK_RX_BURST, done = 0;

	while (nic && done < budget) {
		unsigned max = budget - done < burst ? budget - done : burst;
		unsigned n = nic->ops->rx(nic, st, pkts, max);

		if (link_tapped(st->link, SD_CAP_RX))
			tap_burst(st, pkts, n, SD_CAP_RX);
		for (unsigned i = 0; i < n; i++) {
			if (i + 1 < n)
				__builtin_prefetch(pkts[i + 1]->data);
			rx_one(st, pkts[i], !merged);
		}
		gro_flush(st, &st->link->gro);
		done += n;
		if (n < max)
			break;
	}
	arm_dev_timer(st);
	return done;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static void hand_over(struct stack *st, struct pkt *p)
{
	struct stack_msg msg = { .kind = SMSG_PKT_TX, .ptr = p };

	if (p->frag_cnt) {
		msg.ptr = pkt_copy_linear(st->pool, p);
		if (!msg.ptr) {
			stack_drop(st, p, DROP_NO_BUF);
			return;
		}
		stack_pkt_free(st, p);
	}
	if (!stack_send(st, st->worker % st->link->queues, &msg))
		stack_drop(st, msg.ptr, DROP_HANDOFF_FULL);
}

void link_flush(struct stack *st)
{
	struct link_state *ls = st->link;
	unsigned cnt = ls->tx_cnt;

	ls->tx_cnt = 0;
	if (cnt == 0)
		return;
	if (st->nic) {
		if (link_tapped(ls, SD_CAP_TX))
			tap_burst(st, ls->tx, cnt, SD_CAP_TX);
		nic_tx(st->nic, st, ls->tx, cnt);
		arm_dev_timer(st);
		return;
	}
	for (unsigned i = 0; i < cnt; i++) {
		if (ls->queues == 0 || st->worker % ls->queues == st->worker)
			stack_drop(st, ls->tx[i], DROP_DEV_TX_ERR);	/* there is no device */
		else
			hand_over(st, ls->tx[i]);
	}
}

static void tx_add(struct stack *st, struct pkt *p)
{
	struct link_state *ls = st->link;

	if (ls->tx_cnt == LINK_TX_MAX)
		link_flush(st);
	ls->tx[ls->tx_cnt++] = p;
}

static void on_pkt_tx(struct stack *st, const struct stack_msg *msg)
{
	tx_add(st, msg->ptr);
}

void link_tx_frame(struct stack *st, struct pkt *p, const uint8_t dst[6], uint32_t ethertype)
{
	uint8_t *eth;

	p->l3_off = (uint16_t)(p->data - p->buf);
	eth = pkt_push(p, ETH_HLEN);
	ASSERT(eth);
	p->l2_off = (uint16_t)(eth - p->buf);
	memcpy(eth, dst, 6);
	memcpy(eth + 6, st->link->mac, 6);
	put16(eth + 12, ethertype);
	tx_add(st, p);
}

void link_tx_ip(struct stack *st, const struct sd_addr *next_hop, struct pkt *p)
{
	const uint8_t *a = next_hop->b + 12;

	if (p->bcast == 1 || (a[0] & a[1] & a[2] & a[3]) == 0xff) {
		link_tx_frame(st, p, eth_bcast, ETH_P_IP4);
	} else if (a[0] >> 4 == 14) {
		uint8_t mac[6] = { 0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3] };

		link_tx_frame(st, p, mac, ETH_P_IP4);
	} else {
		neigh_output(st, next_hop, p);
	}
}

/* ---- addresses, life --------------------------------------------------------------------- */

bool link_is_ours(const struct link_state *ls, const struct sd_addr *addr)
{
	for (uint32_t i = 0; i < ls->addr_cnt; i++)
		if (sd_addr_eq(&ls->addrs[i], addr))
			return true;
	return false;
}

int link_add_addr(struct stack *st, const struct sd_addr *addr)
{
	struct link_state *ls = st->link;

	if (!sd_addr_is_v4(addr) || sd_addr_is_any(addr))
		return -EINVAL;
	if (link_is_ours(ls, addr))
		return -EEXIST;
	if (ls->addr_cnt == LINK_ADDRS)
		return -ENOSPC;
	ls->addrs[ls->addr_cnt++] = *addr;
	if (st->worker == 0 && !ls->shared)
		arp_announce(st, addr);
	return 0;
}

void link_announce(struct stack *st)
{
	for (uint32_t i = 0; i < st->link->addr_cnt; i++)
		arp_announce(st, &st->link->addrs[i]);
}

void link_set_dev(struct stack *st, const uint8_t mac[6], uint32_t mtu, uint16_t queues)
{
	struct link_state *ls = st->link;

	memcpy(ls->mac, mac, 6);
	ls->mtu = mtu;
	ls->queues = queues;
}

void link_set_shared(struct stack *st)
{
	st->link->shared = true;
}

void link_set_up(struct stack *st, const struct link_up *up)
{
	st->link->up = *up;
}

static struct wheel_node *timer_node(void *arg, uint32_t id)
{
	struct link_state *ls = ((struct stack *)arg)->link;
	uint32_t idx = OBJ_IDX(id);

	ASSERT(idx < ls->neigh.cnt);
	return idx ? &ls->neigh.recs[idx].timer : &ls->dev_timer;
}

static void timer_fire(void *arg, uint32_t id)
{
	struct stack *st = arg;

	if (OBJ_IDX(id))
		neigh_fire(st, OBJ_IDX(id));
	else
		link_poll(st, LINK_RX_BURST);
}

int link_init(struct stack *st)
{
	struct wheel_ops ops = { timer_node, timer_fire, st };
	struct link_state *ls = calloc(1, sizeof(*ls));
	int rc;

	if (!ls)
		return -ENOMEM;
	st->link = ls;
	sysctl_attach(st);
	if (st->nic)
		link_set_dev(st, st->nic->mac, st->nic->mtu, st->nic->queues);
	wheel_set_ops(st->wheel, OBJ_NEIGH, &ops);
	rc = neigh_init(st);
	if (rc) {
		free(ls);
		st->link = NULL;
		return rc;
	}
	st->on_msg[SMSG_PKT] = on_pkt;
	st->on_msg[SMSG_PKT_TX] = on_pkt_tx;
	st->on_msg[SMSG_ARP] = arp_on_msg;
	st->on_msg[SMSG_NEIGH] = neigh_on_msg;
	st->on_msg[SMSG_NEIGH_WANT] = neigh_on_want;
	return 0;
}

void link_fini(struct stack *st)
{
	struct link_state *ls = st->link;

	if (!ls)
		return;
	for (unsigned i = 0; i < ls->tx_cnt; i++)
		stack_pkt_free(st, ls->tx[i]);
	neigh_fini(st);
	wheel_cancel(st->wheel, OBJ(OBJ_NEIGH, 0), &ls->dev_timer);
	free(ls);
	st->link = NULL;
}
