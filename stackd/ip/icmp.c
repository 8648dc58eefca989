/* SPDX-License-Identifier: MIT */
/* ip/icmp.c - ICMP: echo replies, errors in and out
 * Spec:    RFC 792; RFC 1122 3.2.2; RFC 1812 4.3.2 (what errors may not be sent about; 576 bytes);
 *          RFC 1191 (MTU); RFC 6633 (source quench is dead)
 * In/Out:  errors about our own packets -> ip_proto.err on the worker that owns the flow
 * Rate:    1000 messages a second, burst 50, Linux's icmp_msgs_per_sec and icmp_msgs_burst, divided
 *          among the workers; echo replies are free, as there
 * Threads: owning worker only
 */
#include <errno.h>

#include "stackd/ip/ip_int.h"

#define MSGS_PER_SEC	1000u
#define MSGS_BURST	50u
#define ERR_LEN_MAX	576u		/* bytes of a whole error message, IP header included */
#define ERR_TOS		0xc0		/* internetwork control */
#define UNREACH_CODES	16

/* What Linux tells a socket for each code of "destination unreachable". */
static const struct {
	int err;
	bool hard;
} unreach_err[UNREACH_CODES] = {
	[0] = { ENETUNREACH, false },	/* network */
	[1] = { EHOSTUNREACH, false },	/* host */
	[2] = { ENOPROTOOPT, true },	/* protocol */
	[3] = { ECONNREFUSED, true },	/* port */
	[4] = { EMSGSIZE, false },	/* fragmentation needed */
	[5] = { EOPNOTSUPP, false },	/* source route failed */
	[6] = { ENETUNREACH, true },	/* network unknown */
	[7] = { EHOSTDOWN, true },	/* host unknown */
	[8] = { ENONET, true },		/* source host isolated */
	[9] = { ENETUNREACH, true },	/* network prohibited */
	[10] = { EHOSTUNREACH, true },	/* host prohibited */
	[11] = { ENETUNREACH, false },	/* network, for this TOS */
	[12] = { EHOSTUNREACH, false },	/* host, for this TOS */
	[13] = { EHOSTUNREACH, true },	/* prohibited by filtering */
	[14] = { EHOSTUNREACH, true },	/* precedence violation */
	[15] = { EHOSTUNREACH, true },	/* precedence cut-off */
};

/* ---- out ---- */

static bool rate_ok(struct stack *st)
{
	struct ip_state *ip = st->ip;
	uint64_t credit = ip->icmp_credit_us + (st->now_us - ip->icmp_last_us);
	uint32_t max = ip->icmp_credit_max_us;

	ip->icmp_last_us = st->now_us;
	ip->icmp_credit_us = credit < max ? (uint32_t)credit : max;
	if (ip->icmp_credit_us < ip->icmp_cost_us) {
		snmp_inc(st, SNMP_Icmp_OutRateLimitGlobal);
		return false;
	}
	ip->icmp_credit_us -= ip->icmp_cost_us;
	return true;
}

static bool is_icmp_error(uint8_t type)
{
	return type == ICMP_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAM_PROBLEM;
}

/* RFC 1812 4.3.2.7: never about these. */
static bool may_complain(struct stack *st, const struct ip4_hdr *h, uint32_t avail, bool bcast)
{
	unsigned ihl = ip4_ihl(h);

	if (bcast || be16_to_cpu(h->frag) & IP4_OFF_MASK)
		return false;
	if (!ip_addr_find(st->ip, h->dst))
		return false;
	if (v4_is_mcast(h->src) || v4_is_lbcast(h->src) || v4_is_zeronet(h->src) ||
	    v4_is_loopback(h->src) || ip_is_directed_bcast(st->ip, h->src))
		return false;
	return h->proto != IP_PROTO_ICMP ||
	       (avail > ihl && !is_icmp_error(((const uint8_t *)h)[ihl]));
}

static void send_icmp(struct stack *st, struct pkt *p, const struct sd_addr *src,
		      const struct sd_addr *dst, uint8_t tos)
{
	struct ip_route_res rt;
	struct ip_tx_info info = { .src = *src, .dst = *dst, .proto = IP_PROTO_ICMP, .tos = tos };

	if (ip_route(st, dst, src, &rt)) {
		snmp_inc(st, SNMP_Ip_OutNoRoutes);
		stack_drop(st, p, DROP_IP_NO_ROUTE);
		return;
	}
	info.next_hop = rt.next_hop;
	info.local = rt.local;
	snmp_inc(st, SNMP_Icmp_OutMsgs);
	ip_tx(st, p, &info);
}

void icmp_error(struct stack *st, const struct ip4_hdr *h, uint32_t avail, bool bcast, uint8_t type,
		uint8_t code, uint16_t mtu)
{
	uint32_t room = ERR_LEN_MAX - (uint32_t)(sizeof(*h) + sizeof(struct icmp_hdr));
	uint32_t quoted = avail < room ? avail : room;
	struct sd_addr src = sd_addr_v4(h->dst), dst = sd_addr_v4(h->src);
	struct icmp_hdr *ic;
	struct pkt *e;

	if (!may_complain(st, h, avail, bcast) || !rate_ok(st))
		return;
	e = pkt_alloc(st->pool, false);
	if (!e) {
		st->cnt->drop[DROP_NO_BUF]++;
		return;
	}
	e->len = (uint32_t)sizeof(*ic) + quoted;
	ic = (struct icmp_hdr *)e->data;
	*ic = (struct icmp_hdr){ .type = type, .code = code, .rest = { { 0 }, cpu_to_be16(mtu) } };
	memcpy(ic + 1, h, quoted);
	ic->csum = csum_of(ic, e->len);
	snmp_inc(st, type == ICMP_UNREACH ? SNMP_Icmp_OutDestUnreachs : SNMP_Icmp_OutTimeExcds);
	send_icmp(st, e, &src, &dst, ERR_TOS);
}

void icmp_unreach(struct stack *st, const struct pkt *p, uint8_t code, uint16_t mtu)
{
	const uint8_t *end = p->data + p->len;

	icmp_error(st, ip4_hdr(p), (uint32_t)(end - pkt_l3(p)), p->bcast, ICMP_UNREACH, code, mtu);
}

/* ---- in ---- */

/* Turn the request round in place. */
static void rx_echo(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	struct icmp_hdr *ic = (struct icmp_hdr *)p->data;

	snmp_inc(st, SNMP_Icmp_InEchos);
	if (info->local_bcast) {
		stack_drop(st, p, DROP_ICMP_IGNORED);
		return;
	}
	ic->type = ICMP_ECHO_REPLY;
	ic->csum = csum_update16(ic->csum, ICMP_ECHO, ICMP_ECHO_REPLY);
	p->csum_state = PKT_CSUM_NONE;
	p->gso_type = PKT_GSO_NONE;
	p->vlan = 0;
	p->hash = 0;
	snmp_inc(st, SNMP_Icmp_OutEchoReps);
	send_icmp(st, p, &info->dst, &info->src, info->tos);
}

/* Type and code to what a socket is told. Return: false when nobody is to be told. */
static bool err_map(const struct icmp_hdr *ic, struct ip_err_info *e)
{
	e->type = ic->type;
	e->code = ic->code;
	switch (ic->type) {
	case ICMP_UNREACH:
		if (ic->code >= UNREACH_CODES)
			return false;
		e->err = unreach_err[ic->code].err;
		e->hard = unreach_err[ic->code].hard;
		if (ic->code == ICMP_UNREACH_NEEDFRAG)
			e->mtu = be16_to_cpu(ic->rest[1]);
		return true;
	case ICMP_TIME_EXCEEDED:
		e->err = EHOSTUNREACH;
		return true;
	case ICMP_PARAM_PROBLEM:
		e->err = EPROTO;
		e->hard = true;
		return true;
	default:
		return false;
	}
}

/* The packet of ours that an error quotes, data at its IP header. Return: false when it cannot be
 * ours. */
static bool quoted_pkt(struct stack *st, const struct pkt *p, struct pkt *ret)
{
	const struct ip4_hdr *h = (const struct ip4_hdr *)(p->data + sizeof(struct icmp_hdr));
	uint32_t avail = p->len - (uint32_t)sizeof(struct icmp_hdr);

	if (avail < sizeof(*h) || h->ver_ihl >> 4 != 4 || ip4_ihl(h) < sizeof(*h) ||
	    avail < ip4_ihl(h) + 8)
		return false;
	if (!ip_addr_find(st->ip, h->src) || be16_to_cpu(h->frag) & IP4_OFF_MASK)
		return false;
	*ret = (struct pkt){ .buf = p->buf, .buf_size = p->buf_size, .data = p->data + 8,
			     .len = avail,
			     .l3_off = (uint16_t)(p->data + 8 - p->buf) };
	return true;
}

static void quote(const struct ip4_hdr *h, struct ip_err_info *e)
{
	e->src = sd_addr_v4(h->src);
	e->dst = sd_addr_v4(h->dst);
	e->proto = h->proto;
	e->l4 = (const uint8_t *)h + ip4_ihl(h);
}

static void tell_transport(struct stack *st, const struct ip4_hdr *h, struct ip_err_info *e)
{
	const struct ip_proto *proto = &st->ip->proto[h->proto];

	quote(h, e);
	if (proto->err)
		proto->err(st, e);
}

/* The worker that an error about @quoted is for. */
static uint16_t err_owner(struct stack *st, struct pkt *p, const struct pkt *quoted)
{
	const struct ip4_hdr *h = (const struct ip4_hdr *)quoted->data;
	const struct ip_proto *proto = &st->ip->proto[h->proto];
	uint16_t to = p->asked ? st->worker : link_owner_back(st, quoted);
	struct ip_err_info e = { 0 };

	if (to != st->worker || !proto->elsewhere)
		return to;
	quote(h, &e);
	return proto->elsewhere(st, &e, &p->asked, &to) ? to : st->worker;
}

static void rx_error(struct stack *st, struct pkt *p)
{
	struct ip_err_info e = { 0 };
	struct pkt quoted;
	uint16_t to;

	if (!quoted_pkt(st, p, &quoted)) {
		snmp_inc(st, SNMP_Icmp_InErrors);
		stack_drop(st, p, DROP_ICMP_BAD);
		return;
	}
	to = err_owner(st, p, &quoted);
	if (to != st->worker) {
		ip4_rewind(p);
		ip4_handoff(st, p, to, IP_MSG_AGAIN);
		return;
	}
	if (!err_map((const struct icmp_hdr *)p->data, &e)) {
		stack_drop(st, p, DROP_ICMP_IGNORED);
		return;
	}
	tell_transport(st, (const struct ip4_hdr *)quoted.data, &e);
	stack_pkt_free(st, p);
}

static void count_in(struct stack *st, uint8_t type)
{
	if (type == ICMP_UNREACH)
		snmp_inc(st, SNMP_Icmp_InDestUnreachs);
	else if (type == ICMP_TIME_EXCEEDED)
		snmp_inc(st, SNMP_Icmp_InTimeExcds);
	else if (type == ICMP_PARAM_PROBLEM)
		snmp_inc(st, SNMP_Icmp_InParmProbs);
	else if (type == ICMP_ECHO_REPLY)
		snmp_inc(st, SNMP_Icmp_InEchoReps);
}

static void icmp_rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	const struct icmp_hdr *ic = (const struct icmp_hdr *)p->data;

	snmp_inc(st, SNMP_Icmp_InMsgs);
	if (p->len < sizeof(*ic)) {
		snmp_inc(st, SNMP_Icmp_InErrors);
		stack_drop(st, p, DROP_ICMP_BAD);
		return;
	}
	if (!csum_rx_ok(p, 0)) {
		snmp_inc(st, SNMP_Icmp_InCsumErrors);
		snmp_inc(st, SNMP_Icmp_InErrors);
		stack_drop(st, p, DROP_ICMP_BAD);
		return;
	}
	count_in(st, ic->type);
	if (ic->type == ICMP_ECHO)
		rx_echo(st, p, info);
	else if (ic->type == ICMP_UNREACH || ic->type == ICMP_TIME_EXCEEDED ||
		 ic->type == ICMP_PARAM_PROBLEM)
		rx_error(st, p);
	else
		stack_drop(st, p, DROP_ICMP_IGNORED);
}

void icmp_link_failure(struct stack *st, struct pkt *p)
{
	const struct ip4_hdr *h = (const struct ip4_hdr *)p->data;
	struct ip_err_info e = { .type = ICMP_UNREACH, .code = 1, .err = EHOSTUNREACH };

	if (p->len < sizeof(*h) || p->len < ip4_ihl(h) + 8 || be16_to_cpu(h->frag) & IP4_OFF_MASK)
		return;
	tell_transport(st, h, &e);
}

void icmp_init(struct stack *st)
{
	static const struct ip_proto ops = { .rx = icmp_rx };
	struct ip_state *ip = st->ip;
	uint32_t workers = st->workers ? st->workers : 1;
	uint32_t burst = MSGS_BURST / workers ? MSGS_BURST / workers : 1;

	ip->icmp_cost_us = 1000000 / MSGS_PER_SEC * workers;
	ip->icmp_credit_max_us = ip->icmp_cost_us * burst;
	ip->icmp_credit_us = ip->icmp_credit_max_us;
	ip->icmp_last_us = st->now_us;
	ip_register(st, IP_PROTO_ICMP, &ops);
}
