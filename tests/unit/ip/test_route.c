/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/test_route.c - longest match, source selection, what cannot be configured */
#include <errno.h>

#include "tests/unit/ip/ipt.h"

static const uint32_t NET10 = 0x0a000000;

static int add_addr(struct stack *st, uint32_t a, uint8_t plen)
{
	struct sd_addr addr = v4(a);

	return ip_add_addr(st, &addr, plen);
}

static int add_route(struct stack *st, uint32_t dst, uint8_t plen, uint32_t gw)
{
	struct sd_addr d = v4(dst), g = v4(gw);

	return ip_add_route(st, &d, plen, &g);
}

static int route(struct stack *st, uint32_t dst, uint32_t src, struct ip_route_res *r)
{
	struct sd_addr d = v4(dst), s = v4(src);

	return ip_route(st, &d, &s, r);
}

static uint32_t host(struct sd_addr a)
{
	return be32_to_cpu(sd_addr_to_v4(&a));
}

Test(ip_route, longest_prefix_wins_whatever_the_order)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_route_res r;

	cr_assert_eq(add_addr(st, 0x0a010203, 112), 0);
	cr_assert_eq(add_route(st, NET10, 104, PEER), 0);
	cr_assert_eq(add_route(st, 0x0a010280, 121, US), -ENETUNREACH, "gateway is ourselves");
	cr_assert_eq(add_route(st, 0x0a010280, 121, PEER + 9), 0);
	cr_assert_eq(add_route(st, 0x0a010281, 128, PEER + 10), 0);

	cr_assert_eq(route(st, 0x0a020304, 0, &r), 0);
	cr_assert_eq(host(r.next_hop), PEER);
	cr_assert_eq(host(r.src), US);
	cr_assert_eq(route(st, 0x0a010204, 0, &r), 0);
	cr_assert_eq(host(r.next_hop), 0x0a010204, "on the link of the second address");
	cr_assert_eq(host(r.src), 0x0a010203);
	cr_assert_eq(route(st, 0x0a010282, 0, &r), 0);
	cr_assert_eq(host(r.next_hop), PEER + 9);
	cr_assert_eq(route(st, 0x0a010281, 0, &r), 0);
	cr_assert_eq(host(r.next_hop), PEER + 10);
	cr_assert_eq(route(st, FAR, 0, &r), 0);
	cr_assert_eq(host(r.next_hop), GATE);
	cr_assert_not(r.local);
	cr_assert_eq(r.mtu, 1500);
	ipt_stop(h);
}

Test(ip_route, source_is_kept_when_it_is_ours)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_route_res r;

	cr_assert_eq(add_addr(st, US + 7, 120), 0, "second address of the subnet");
	cr_assert_eq(route(st, PEER, US + 7, &r), 0);
	cr_assert_eq(host(r.src), US + 7);
	cr_assert_eq(route(st, PEER, 0, &r), 0);
	cr_assert_eq(host(r.src), US);
	cr_assert_eq(route(st, PEER, PEER, &r), -EINVAL);
	ipt_stop(h);
}

Test(ip_route, ourselves)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct sd_addr any6 = { .w = { 0 } };
	struct ip_route_res r;

	cr_assert_eq(route(st, US, 0, &r), 0);
	cr_assert(r.local && host(r.src) == US && host(r.next_hop) == US);
	cr_assert_eq(route(st, 0, 0, &r), 0);
	cr_assert(r.local && host(r.next_hop) == US, "0.0.0.0 is ourselves");
	cr_assert_eq(ip_route(st, &any6, NULL, &r), 0);
	cr_assert(r.local);
	cr_assert(ip_is_local(st, &r.src));
	cr_assert_not(ip_is_local(st, &any6));
	ipt_stop(h);
}

Test(ip_route, broadcasts_groups_and_the_unreachable)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct sd_addr v6 = { .b = { 0x20, 1, 0xd, 0xb8 } };
	struct ip_route_res r;

	cr_assert_eq(route(st, BCAST, 0, &r), 0);
	cr_assert(r.bcast && !r.mcast && host(r.src) == US);
	cr_assert_eq(route(st, 0xffffffff, 0, &r), 0);
	cr_assert(r.bcast && host(r.next_hop) == 0xffffffff);
	cr_assert_eq(route(st, 0xe00000fb, 0, &r), 0);
	cr_assert(r.mcast && !r.bcast);
	cr_assert_eq(route(st, 0x7f000001, 0, &r), -ENETUNREACH);
	cr_assert_eq(route(st, 0x00000001, 0, &r), -ENETUNREACH);
	cr_assert_eq(ip_route(st, &v6, NULL, &r), -ENETUNREACH);
	ipt_stop(h);
}

Test(ip_route, without_addresses_or_default)
{
	struct hx *h = hx_init(1);
	struct stack *st = &h->st[0];
	struct ip_route_res r;

	cr_assert_eq(ip_init(st), 0);
	cr_assert_eq(route(st, FAR, 0, &r), -ENETUNREACH);
	cr_assert_eq(route(st, 0xffffffff, 0, &r), -ENETUNREACH);
	cr_assert_eq(add_addr(st, US, 127), 0);
	cr_assert_eq(route(st, FAR, 0, &r), -ENETUNREACH);
	cr_assert_eq(route(st, US + 1, 0, &r), 0);
	cr_assert_not(r.bcast, "RFC 3021");
	ip_set_mtu(st, 9000);
	cr_assert_eq(route(st, US + 1, 0, &r), 0);
	cr_assert_eq(r.mtu, 9000);
	ipt_stop(h);
}

Test(ip_route, bad_configuration_is_refused)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];

	cr_assert_eq(add_addr(st, US, 120), -EEXIST);
	cr_assert_eq(add_addr(st, 0x7f000001, 104), -EINVAL);
	cr_assert_eq(add_addr(st, 0xe0000005, 128), -EINVAL);
	cr_assert_eq(add_addr(st, 0, 120), -EINVAL);
	cr_assert_eq(add_addr(st, FAR, 96), -EINVAL);
	cr_assert_eq(add_addr(st, FAR, 129), -EINVAL);
	cr_assert_eq(add_route(st, NET10, 104, FAR), -ENETUNREACH, "gateway not on a link");
	cr_assert_eq(add_route(st, NET10 + 1, 104, PEER), -EINVAL, "host bits");
	cr_assert_eq(add_route(st, NET10, 95, PEER), -EINVAL);
	cr_assert_eq(add_route(st, NET10, 104, PEER), 0);
	cr_assert_eq(add_route(st, NET10, 104, GATE), -EEXIST);
	for (unsigned i = st->ip->rt_cnt; i < IP_ROUTES_MAX; i++)
		cr_assert_eq(add_route(st, NET10 + i, 128, PEER), 0);
	cr_assert_eq(add_route(st, NET10 + 9999, 128, PEER), -ENOSPC);
	ipt_stop(h);
}

static void count(void *arg, const struct ip_route_info *i)
{
	unsigned *n = arg;

	n[i->local]++;
}

Test(ip_route, walk_shows_addresses_and_routes)
{
	struct hx *h = ipt_start(1);
	unsigned n[2] = { 0 };

	ip_route_walk(&h->st[0], count, n);
	cr_assert_eq(n[1], 1);
	cr_assert_eq(n[0], 2);
	ipt_stop(h);
}
