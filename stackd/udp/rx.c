/* SPDX-License-Identifier: MIT */
/* udp/rx.c - datagrams in: header, checksum, socket, record in its FIFO
 * Spec:    RFC 768; RFC 1122 4.1.3; U2
 * In/Out:  packet at its UDP header -> record (struct sd_dgram and payload) in the receive FIFO
 * A record goes in whole or not at all. The packet crosses to the owner's worker before anything of
 * it is cut, so that it comes through IP input there as it was.
 * Threads: owning worker only
 */
#include "stackd/udp/udp_int.h"

#define ICMP_PORT_UNREACH 3

static struct sock_tuple tuple_of(const struct udp_hdr *h, const struct ip_rx_info *info)
{
	return (struct sock_tuple){
		.laddr = info->dst, .raddr = info->src,
		.lport = be16_to_cpu(h->dport), .rport = be16_to_cpu(h->sport),
	};
}

static void bad(struct stack *st, struct pkt *p, enum drop_reason why)
{
	snmp_inc(st, SNMP_Udp_InErrors);
	stack_drop(st, p, why);
}

/* Bytes behind the datagram that the IP packet still had. */
static void trim(struct pkt *p, uint32_t len)
{
	if (pkt_total(p) == len)
		return;
	if (p->csum_state == PKT_CSUM_COMPLETE)
		p->csum_state = PKT_CSUM_NONE;
	if (p->len > len) {
		p->len = len;
		p->frag_cnt = 0;
		p->frag_len = 0;
		return;
	}
	p->frag_len = len - p->len;
	len -= p->len;
	for (unsigned i = 0; i < p->frag_cnt; i++) {
		if (p->frag[i].iov_len > len)
			p->frag[i].iov_len = len;
		len -= (uint32_t)p->frag[i].iov_len;
	}
}

/* Length and checksum. Return: false when it was dropped. */
static bool valid(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	const struct udp_hdr *h = (const struct udp_hdr *)p->data;
	uint32_t len = be16_to_cpu(h->len);

	if (len < sizeof(*h) || len > pkt_total(p)) {
		bad(st, p, DROP_UDP_SHORT);
		return false;
	}
	trim(p, len);
	/* IPv4: 0 means that the sender made none; IPv6 must have one */
	if (!h->csum && sd_addr_is_v4(&info->dst))
		return true;
	if (csum_rx_ok(p, ip_pseudo_sum(&info->src, &info->dst, IP_PROTO_UDP, len)))
		return true;
	snmp_inc(st, SNMP_Udp_InCsumErrors);
	bad(st, p, DROP_UDP_CSUM);
	return false;
}

bool udp_rx_consume(struct stack *st, struct udp_sock *u, struct sd_slot_e *e, struct sd_slot_p *sp)
{
	struct shm_fifo_mem m = { .seg = &st->segs[u->id.seg], .epool = &st->epools[u->id.seg] };
	uint64_t head = ld_acq(&sp->rx_head);	/* pairs with st_rel of the reader */

	if (head < u->rx_head || head > u->rx_tail) {
		udp_hostile(st, u);
		return false;
	}
	u->rx_head = head;
	shm_fifo_release(&m, SD_FIFO_RX, &e->rx, head, u->rx_tail);
	return true;
}

static void full(struct stack *st, struct udp_sock *u)
{
	u->drops++;
	st->cnt->drop[DROP_UDP_FULL]++;
	snmp_inc(st, SNMP_Udp_RcvbufErrors);
	snmp_inc(st, SNMP_Udp_InErrors);
}

static void record_write(struct stack *st, struct udp_sock *u, struct sd_slot_e *e,
			 const struct pkt *p,
			 const struct ip_rx_info *info)
{
	const struct udp_hdr *h = (const struct udp_hdr *)p->data;
	uint32_t len = pkt_total(p) - (uint32_t)sizeof(*h);
	struct shm_seg *seg = &st->segs[u->id.seg];
	struct sd_dgram d = {
		.len = len, .full_len = len, .port = be16_to_cpu(h->sport),
		.addr = info->src, .local = info->dst, .tos = info->tos, .ttl = info->ttl,
	};
	uint64_t pos = u->rx_tail;

	pos += shm_fifo_write(seg, SD_FIFO_RX, &e->rx, pos, &d, sizeof(d));
	pos += shm_fifo_write(seg, SD_FIFO_RX, &e->rx, pos, h + 1, p->len - sizeof(*h));
	for (unsigned i = 0; i < p->frag_cnt; i++)
		pos += shm_fifo_write(seg, SD_FIFO_RX, &e->rx, pos, p->frag[i].iov_base,
				      p->frag[i].iov_len);
}

/* Put it into the FIFO of @u. Does not take @p. */
static void deliver(struct stack *st, struct udp_sock *u, const struct pkt *p,
		    const struct ip_rx_info *info)
{
	struct sd_slot_e *e = sock_slot_e(st, u->id);
	struct sd_slot_p *sp = sock_slot_p(st, u->id);
	uint64_t need = sizeof(struct sd_dgram) +
			((uint64_t)pkt_total(p) - sizeof(struct udp_hdr) + 7) / 8 * 8;
	struct shm_fifo_mem m = { .seg = &st->segs[u->id.seg], .epool = &st->epools[u->id.seg] };
	uint64_t used;

	if (!e || !sp || u->hostile || !udp_rx_consume(st, u, e, sp))
		return;
	used = u->rx_tail - u->rx_head;
	if ((used && used + need > u->rx_limit) ||
	    shm_fifo_reserve(&m, SD_FIFO_RX, &e->rx, u->rx_tail, need) < need) {
		full(st, u);
		return;
	}
	record_write(st, u, e, p, info);
	u->rx_tail += need;
	st_rel(&e->rx_tail, u->rx_tail);	/* pairs with ld_acq of the reader */
	snmp_inc(st, SNMP_Udp_InDatagrams);
	st->up->event(st, u->id, SD_EV_IN);
}

static void no_socket(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	if (!valid(st, p, info))
		return;
	snmp_inc(st, SNMP_Udp_NoPorts);
	if (!info->local_bcast)
		icmp_unreach(st, p, ICMP_PORT_UNREACH, 0);
	stack_drop(st, p, DROP_UDP_NO_PORT);
}

/* Broadcast: to every socket of this worker that matches; if only others have some, to one of them.
 */
static void rx_group(struct stack *st, struct pkt *p, const struct sock_tuple *t,
		     const struct ip_rx_info *info)
{
	struct udp_node *nodes = st->udp->nodes;
	uint32_t i, first = st->udp->heads[t->lport];
	bool mine = false;
	int other = -1;

	for (i = first; i; i = nodes[i].next) {
		if (!udp_score(&nodes[i], t))
			continue;
		if (nodes[i].owner == st->worker)
			mine = true;
		else
			other = nodes[i].owner;
	}
	if (!mine && other >= 0) {
		ip_handoff(st, p, info, (uint16_t)other);
		return;
	}
	if (!mine) {
		no_socket(st, p, info);
		return;
	}
	if (!valid(st, p, info))
		return;
	for (i = first; i; i = nodes[i].next)
		if (udp_score(&nodes[i], t) && nodes[i].owner == st->worker && udp_at(st, i))
			deliver(st, udp_at(st, i), p, info);
	stack_pkt_free(st, p);
}

void udp_rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	struct sock_tuple t;
	uint32_t idx;

	if (p->len < sizeof(struct udp_hdr)) {
		bad(st, p, DROP_UDP_SHORT);
		return;
	}
	t = tuple_of((const struct udp_hdr *)p->data, info);
	if (info->local_bcast) {
		rx_group(st, p, &t, info);
		return;
	}
	idx = udp_lookup(st, &t);
	if (!idx) {
		no_socket(st, p, info);
		return;
	}
	if (udp_node(st, idx)->owner != st->worker) {
		ip_handoff(st, p, info, udp_node(st, idx)->owner);
		return;
	}
	if (!valid(st, p, info))
		return;
	if (udp_at(st, idx))
		deliver(st, udp_at(st, idx), p, info);
	stack_pkt_free(st, p);
}

/* ---- errors from the network ---- */

void udp_err(struct stack *st, const struct ip_err_info *info)
{
	const struct udp_hdr *h = (const struct udp_hdr *)info->l4;
	struct sock_tuple t = {
		.laddr = info->src, .raddr = info->dst,
		.lport = be16_to_cpu(h->sport), .rport = be16_to_cpu(h->dport),
	};
	uint32_t idx = udp_lookup(st, &t);
	struct stack_msg m = { .kind = SMSG_UDP_ERR, .u32 = { idx, (uint32_t)info->err } };

	/* as Linux without IP_RECVERR: only a connected socket hears of it, and only of what is
	 * final */
	if (idx && udp_node(st, idx)->t.rport && info->hard)
		stack_send(st, udp_node(st, idx)->owner, &m);
}

void udp_on_err_msg(struct stack *st, const struct stack_msg *msg)
{
	struct udp_sock *u = udp_at(st, msg->u32[0]);

	if (u && u->owner == st->worker && u->t.rport)
		sock_set_err(st, u->id, (int)msg->u32[1], SD_EV_IN | SD_EV_OUT);
}
