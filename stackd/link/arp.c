/* SPDX-License-Identifier: MIT */
/* link/arp.c - ARP for IPv4 over Ethernet
 *
 * Worker 0 answers for all and is the only one that learns; the others send it what they receive,
 * by value. On a shared interface the kernel answers; we ask as an address probe does, and the
 * answers, which have no target address, are all that comes here. An entry is made only by a
 * request that asks for one of our addresses; anything else can only refresh what is there.
 * Requests with sender 0.0.0.0 (address probes) are answered and teach nothing.
 * Spec:    RFC 826; RFC 5227 2.1.1 (probe), 2.3 (announcement), 2.4 (b) (defence, once in 10 s);
 *          where Linux departs from RFC 826 (learning from strangers' requests) Linux is followed
 * In/Out:  ARP packets -> neigh_heard(), replies
 * Threads: owning worker only
 */
#include "stackd/link/link_int.h"

#define ARP_REQUEST	1u
#define ARP_REPLY	2u
#define DEFEND_US	10000000u

struct arp_view {			/* addresses as in the packet */
	uint32_t op;
	uint8_t sha[6];
	struct sd_addr sip, tip;
	uint8_t bcast;			/* of the frame, as pkt.bcast */
};

static struct sd_addr addr_at(const uint8_t *b)
{
	be32 a;

	memcpy(&a, b, 4);
	return sd_addr_v4(a);
}

static bool can_be_host(const struct sd_addr *a)
{
	return a->b[12] != 0 && a->b[12] != 127 && a->b[12] < 224;
}

/* @b: ARP_LEN bytes. Return: false when malformed or impossible. */
static bool arp_parse(const uint8_t *b, uint8_t bcast, struct arp_view *v)
{
	static const uint8_t zero[6];

	if (get16(b) != 1 || get16(b + 2) != ETH_P_IP4 || b[4] != 6 || b[5] != 4)
		return false;
	v->op = get16(b + 6);
	memcpy(v->sha, b + 8, 6);
	v->sip = addr_at(b + 14);
	v->tip = addr_at(b + 24);
	v->bcast = bcast;
	if (v->op != ARP_REQUEST && v->op != ARP_REPLY)
		return false;
	if ((v->sha[0] & 1) || memcmp(v->sha, zero, 6) == 0)
		return false;
	if (!can_be_host(&v->tip) && !(v->op == ARP_REPLY && sd_addr_is_any(&v->tip)))
		return false;
	return can_be_host(&v->sip) || (v->op == ARP_REQUEST && sd_addr_is_any(&v->sip));
}

static void arp_send(struct stack *st, uint32_t op, const uint8_t *dst, const struct sd_addr *sip,
		     const uint8_t *tha, const struct sd_addr *tip)
{
	struct pkt *p = pkt_alloc(st->pool, false);
	uint8_t *b;

	if (!p) {
		st->cnt->drop[DROP_NO_BUF]++;
		return;
	}
	b = p->data;
	put16(b, 1);
	put16(b + 2, ETH_P_IP4);
	b[4] = 6;
	b[5] = 4;
	put16(b + 6, op);
	memcpy(b + 8, st->link->mac, 6);
	memcpy(b + 14, sip->b + 12, 4);
	if (tha)
		memcpy(b + 18, tha, 6);
	else
		memset(b + 18, 0, 6);
	memcpy(b + 24, tip->b + 12, 4);
	p->len = ARP_LEN;
	link_tx_frame(st, p, dst ? dst : eth_bcast, ETH_P_ARP);
}

/* Our address to ask with: the one that shares the longest prefix with the target. */
static const struct sd_addr *source_for(const struct link_state *ls, const struct sd_addr *target)
{
	const struct sd_addr *best = NULL;
	uint32_t best_diff = UINT32_MAX;

	for (uint32_t i = 0; i < ls->addr_cnt; i++) {
		uint32_t diff = __builtin_bswap32(ls->addrs[i].w[3] ^ target->w[3]);

		if (!best || diff < best_diff) {
			best = &ls->addrs[i];
			best_diff = diff;
		}
	}
	return best;
}

void arp_request(struct stack *st, const struct sd_addr *target, const uint8_t *dst)
{
	const struct sd_addr none = sd_addr_v4((be32){ 0 });
	const struct sd_addr *src = st->link->shared ? &none : source_for(st->link, target);

	if (src)
		arp_send(st, ARP_REQUEST, dst, src, dst, target);
}

void arp_announce(struct stack *st, const struct sd_addr *addr)
{
	arp_send(st, ARP_REQUEST, NULL, addr, NULL, addr);
}

/* Somebody else says that he has our address: say once that it is ours. */
static enum drop_reason arp_conflict(struct stack *st, const struct arp_view *v)
{
	struct link_state *ls = st->link;

	if (memcmp(v->sha, ls->mac, 6) == 0)		/* our own words, sent back by a loop */
		return DROP_ARP_NOT_US;
	if (ls->defended_us == 0 || st->now_us - ls->defended_us >= DEFEND_US) {
		ls->defended_us = st->now_us;
		arp_announce(st, &v->sip);
	}
	return DROP_ARP_CONFLICT;
}

static enum drop_reason arp_input(struct stack *st, const struct arp_view *v)
{
	bool shared = st->link->shared;
	bool to_us = shared ? sd_addr_is_any(&v->tip) : link_is_ours(st->link, &v->tip);

	if (link_is_ours(st->link, &v->sip))
		return shared ? DROP_ARP_NOT_US : arp_conflict(st, v);
	if (shared && v->op != ARP_REPLY)
		return DROP_ARP_NOT_US;
	if (v->op == ARP_REQUEST && to_us) {
		if (!sd_addr_is_any(&v->sip))
			neigh_heard(st, &v->sip, v->sha, NEIGH_HEARD);
		arp_send(st, ARP_REPLY, v->sha, &v->tip, v->sha, &v->sip);
		return DROP_NONE;
	}
	if (sd_addr_is_any(&v->sip))
		return DROP_ARP_NOT_US;
	if (!neigh_heard(st, &v->sip, v->sha,
			 v->op == ARP_REPLY && to_us && !v->bcast ? NEIGH_ANSWERED :
								    NEIGH_HEARD_OTHER))
		return DROP_ARP_NOT_US;
	return DROP_NONE;
}

/* Count what was not used; the bytes are gone either way. */
static void arp_bytes(struct stack *st, const uint8_t *b, uint8_t bcast)
{
	struct arp_view v;
	enum drop_reason why = arp_parse(b, bcast, &v) ? arp_input(st, &v) : DROP_ARP_BAD;

	if (why != DROP_NONE)
		st->cnt->drop[why]++;
}

void arp_on_msg(struct stack *st, const struct stack_msg *msg)
{
	arp_bytes(st, msg->data, (uint8_t)msg->u32[0]);
}

void arp_rx(struct stack *st, struct pkt *p)
{
	struct stack_msg msg = { .kind = SMSG_ARP, .u32 = { p->bcast } };

	if (p->len < ARP_LEN) {
		stack_drop(st, p, DROP_ARP_BAD);
		return;
	}
	memcpy(msg.data, p->data, ARP_LEN);
	stack_pkt_free(st, p);
	if (!stack_send(st, 0, &msg))
		st->cnt->drop[DROP_HANDOFF_FULL]++;
}
