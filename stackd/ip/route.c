/* SPDX-License-Identifier: MIT */
/* ip/route.c - our addresses, routes, choice of source address and next hop
 * Spec:    RFC 1122 3.3.1; RFC 1812 5.2.4.3 (longest match); RFC 3021 (/31 has no broadcast)
 * Holds:   RT1 rt[] is sorted by falling prefix length, so the first match is the longest
 *          RT2 every gateway is on the subnet of one of our addresses, which is the route's source
 * Tables are small (64 addresses, 256 routes) and searched in order; callers see only ip_route().
 */
#include <errno.h>

#include "stackd/ip/ip_int.h"

static const struct sd_addr v4_any = { .w = { 0, 0, 0xffff0000u, 0 } };

const struct ip_addr *ip_addr_find(const struct ip_state *ip, be32 a)
{
	for (uint32_t i = 0; i < ip->addr_cnt; i++)
		if (ip->addrs[i].addr.w[3] == a.v && sd_addr_is_v4(&ip->addrs[i].addr))
			return &ip->addrs[i];
	return NULL;
}

bool ip_is_local(struct stack *st, const struct sd_addr *addr)
{
	return sd_addr_is_v4(addr) && ip_addr_find(st->ip, sd_addr_to_v4(addr));
}

static const struct ip_addr *bcast_find(const struct ip_state *ip, be32 a)
{
	for (uint32_t i = 0; i < ip->addr_cnt; i++) {
		const struct ip_addr *ia = &ip->addrs[i];

		if (ia->bcast.w[3] == a.v && ia->addr.w[3] != a.v)
			return ia;
	}
	return NULL;
}

bool ip_is_directed_bcast(const struct ip_state *ip, be32 a)
{
	return bcast_find(ip, a) != NULL;
}

/* The address whose subnet contains @a, the longest prefix if several. */
static const struct ip_addr *on_link(const struct ip_state *ip, const struct sd_addr *a)
{
	const struct ip_addr *best = NULL;

	for (uint32_t i = 0; i < ip->addr_cnt; i++)
		if (sd_addr_in(a, &ip->addrs[i].addr, ip->addrs[i].plen) &&
		    (!best || ip->addrs[i].plen > best->plen))
			best = &ip->addrs[i];
	return best;
}

/* @a with the bits below @plen cleared or set. */
static struct sd_addr host_bits(const struct sd_addr *a, unsigned plen, bool set)
{
	struct sd_addr r = *a;

	for (unsigned bit = plen; bit < 128; bit++) {
		uint8_t m = (uint8_t)(0x80u >> bit % 8);

		r.b[bit / 8] = set ? r.b[bit / 8] | m : r.b[bit / 8] & (uint8_t)~m;
	}
	return r;
}

static int rt_insert(struct ip_state *ip, const struct ip_rt *rt)
{
	uint32_t at = 0;

	while (at < ip->rt_cnt && ip->rt[at].plen > rt->plen)
		at++;
	for (uint32_t i = at; i < ip->rt_cnt && ip->rt[i].plen == rt->plen; i++)
		if (sd_addr_eq(&ip->rt[i].dst, &rt->dst))
			return -EEXIST;
	if (ip->rt_cnt == IP_ROUTES_MAX)
		return -ENOSPC;
	memmove(ip->rt + at + 1, ip->rt + at, (ip->rt_cnt - at) * sizeof(*rt));
	ip->rt[at] = *rt;
	ip->rt_cnt++;
	return 0;
}

static bool unicast(const struct sd_addr *a)
{
	be32 v = sd_addr_to_v4(a);

	return sd_addr_is_v4(a) && !v4_is_mcast(v) && !v4_is_loopback(v) && !v4_is_zeronet(v) &&
	       !v4_is_lbcast(v);
}

int ip_add_addr(struct stack *st, const struct sd_addr *addr, uint8_t plen)
{
	struct ip_state *ip = st->ip;
	struct ip_addr ia = { .addr = *addr, .bcast = *addr, .plen = plen };
	struct ip_rt rt = { .dst = host_bits(addr, plen, false), .gw = v4_any, .src = *addr,
			    .plen = plen };
	int err;

	if (plen < 97 || plen > 128 || !unicast(addr))
		return -EINVAL;
	if (ip_is_local(st, addr))
		return -EEXIST;
	if (ip->addr_cnt == IP_ADDRS_MAX)
		return -ENOSPC;
	if (plen <= 126)
		ia.bcast = host_bits(addr, plen, true);
	err = plen < 128 ? rt_insert(ip, &rt) : 0;
	/* A second address of the same subnet uses the first one's route. */
	if (err && err != -EEXIST)
		return err;
	ip->addrs[ip->addr_cnt++] = ia;
	return link_add_addr(st, addr);
}

int ip_add_route(struct stack *st, const struct sd_addr *dst, uint8_t plen,
		 const struct sd_addr *gw)
{
	const struct ip_addr *ia = on_link(st->ip, gw);
	struct ip_rt rt = { .dst = *dst, .gw = *gw, .plen = plen };
	struct sd_addr net = host_bits(dst, plen, false);

	if (plen < 96 || plen > 128 || !sd_addr_is_v4(dst) || !sd_addr_eq(dst, &net))
		return -EINVAL;
	if (!ia || !unicast(gw) || ip_is_local(st, gw))
		return -ENETUNREACH;
	rt.src = ia->addr;
	return rt_insert(st->ip, &rt);
}

static int route_local(const struct sd_addr *dst, struct ip_route_res *r)
{
	if (sd_addr_is_any(&r->src))
		r->src = *dst;
	r->next_hop = *dst;
	r->local = true;
	return 0;
}

/* To everybody on a link; @via: our address there. */
static int route_group(const struct ip_addr *via, const struct sd_addr *dst, struct ip_route_res *r)
{
	if (!via)
		return -ENETUNREACH;
	if (sd_addr_is_any(&r->src))
		r->src = via->addr;
	r->next_hop = *dst;
	r->mcast = v4_is_mcast(sd_addr_to_v4(dst));
	r->bcast = !r->mcast;
	return 0;
}

static int route_lookup(const struct ip_state *ip, const struct sd_addr *dst,
			struct ip_route_res *r)
{
	for (uint32_t i = 0; i < ip->rt_cnt; i++) {
		const struct ip_rt *rt = &ip->rt[i];

		if (!sd_addr_in(dst, &rt->dst, rt->plen))
			continue;
		r->next_hop = sd_addr_is_any(&rt->gw) ? *dst : rt->gw;
		if (sd_addr_is_any(&r->src))
			r->src = rt->src;
		return 0;
	}
	return -ENETUNREACH;
}

int ip_route(struct stack *st, const struct sd_addr *dst, const struct sd_addr *src_or_any,
	     struct ip_route_res *ret)
{
	struct ip_state *ip = st->ip;
	struct ip_route_res r = { .src = v4_any, .mtu = ip->mtu };
	be32 d = sd_addr_to_v4(dst);
	int err;

	if (!ip->addr_cnt || !(sd_addr_is_v4(dst) || sd_addr_is_any(dst)))
		return -ENETUNREACH;
	if (src_or_any && !sd_addr_is_any(src_or_any)) {
		if (!ip_is_local(st, src_or_any))
			return -EINVAL;
		r.src = *src_or_any;
	}
	if (d.v == 0)
		err = route_local(sd_addr_is_any(&r.src) ? &ip->addrs[0].addr : &r.src, &r);
	else if (ip_addr_find(ip, d))
		err = route_local(dst, &r);
	else if (v4_is_loopback(d) || v4_is_zeronet(d))
		err = -ENETUNREACH;
	else if (v4_is_lbcast(d) || v4_is_mcast(d))
		err = route_group(&ip->addrs[0], dst, &r);
	else if (bcast_find(ip, d))
		err = route_group(bcast_find(ip, d), dst, &r);
	else
		err = route_lookup(ip, dst, &r);
	if (!err)
		*ret = r;
	return err;
}

void ip_route_walk(struct stack *st, void (*fn)(void *arg, const struct ip_route_info *),
		   void *arg)
{
	struct ip_state *ip = st->ip;

	for (uint32_t i = 0; i < ip->addr_cnt; i++)
		fn(arg, &(struct ip_route_info){ .dst = ip->addrs[i].addr, .gw = v4_any,
						 .src = ip->addrs[i].addr, .plen = 128,
						 .local = true });
	for (uint32_t i = 0; i < ip->rt_cnt; i++)
		fn(arg, &(struct ip_route_info){ .dst = ip->rt[i].dst, .gw = ip->rt[i].gw,
						 .src = ip->rt[i].src, .plen = ip->rt[i].plen });
}
