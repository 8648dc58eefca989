/* SPDX-License-Identifier: MIT */
/* preload/addr.c - sockaddrs in and out, and who reaches a destination
 * Holds:   sd_addr is always v4-mapped for v4; a v6 socket shows v4 peers as ::ffff:a.b.c.d
 * Spec:    S4; RFC 4291 2.5.5.2; RFC 3493 3.7
 */
#include <netinet/in.h>
#include <string.h>

#include "preload/pl_int.h"

#define SIN6_LEN_MIN 24		/* struct sockaddr_in6 without scope id, as Linux accepts */

int pl_addr_in(int family, const struct sockaddr *sa, socklen_t len, struct sd_addr *ret_addr,
	       uint16_t *ret_port)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (!sa || len < sizeof(sa->sa_family))
		return -EINVAL;
	if (family == AF_INET) {
		if (len < sizeof(*in))
			return -EINVAL;
		if (sa->sa_family != AF_INET)
			return -EAFNOSUPPORT;
		*ret_addr = sd_addr_v4((be32){ in->sin_addr.s_addr });
		*ret_port = ntohs(in->sin_port);
		return 0;
	}
	if (len < SIN6_LEN_MIN)
		return -EINVAL;
	if (sa->sa_family != AF_INET6)
		return -EAFNOSUPPORT;
	memcpy(ret_addr->b, &in6->sin6_addr, 16);
	*ret_port = ntohs(in6->sin6_port);
	return 0;
}

void pl_addr_out(int family, const struct sd_addr *addr, uint16_t port, struct sockaddr *sa,
		 socklen_t *len)
{
	union pl_sa u = { 0 };
	socklen_t full;

	if (!sa || !len)
		return;
	if (family == AF_INET) {
		u.in.sin_family = AF_INET;
		u.in.sin_port = htons(port);
		u.in.sin_addr.s_addr = sd_addr_to_v4(addr).v;
		full = sizeof(u.in);
	} else {
		u.in6.sin6_family = AF_INET6;
		u.in6.sin6_port = htons(port);
		memcpy(&u.in6.sin6_addr, addr->b, 16);
		full = sizeof(u.in6);
	}
	memcpy(sa, &u, *len < full ? *len : full);
	*len = full;
}

uint16_t pl_kern_port(int fd)
{
	union pl_sa u = { 0 };
	socklen_t len = sizeof(u);

	if (real.getsockname(fd, &u.sa, &len) < 0)
		return 0;
	return ntohs(u.sa.sa_family == AF_INET6 ? u.in6.sin6_port : u.in.sin_port);
}

static bool is_loopback(const struct sd_addr *a)
{
	static const struct sd_addr lo6 = { .b = { [15] = 1 } };

	return sd_addr_is_v4(a) ? a->b[12] == 127 : sd_addr_eq(a, &lo6);
}

/* One pass over the routes. Return: the best prefix's flags + 1, or 0 without a match. */
static unsigned route_scan(void *arg)
{
	const struct sd_addr *addr = arg;
	unsigned cnt = ld_rlx(&pl.info->rt_cnt), best = 0;
	int best_len = -1;

	for (unsigned i = 0; i < cnt && i < SD_MAX_ROUTES; i++) {
		struct sd_route rt = pl.info->rt[i];

		if (rt.plen <= 128 && rt.plen > best_len && sd_addr_in(addr, &rt.dst, rt.plen)) {
			best_len = rt.plen;
			best = rt.flags + 1u;
		}
	}
	return best;
}

/* What @look finds in a table that does not change meanwhile. */
static unsigned route_read(unsigned (*look)(void *arg), void *arg)
{
	uint32_t seq;
	unsigned got;

	do {	/* seqlock: pairs with the engine's two increments of rt_seq */
		while ((seq = ld_acq(&pl.info->rt_seq)) & 1)
			cpu_relax();
		got = look(arg);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (ld_rlx(&pl.info->rt_seq) != seq);
	return got;
}

enum pl_via pl_route(const struct sd_addr *addr)
{
	unsigned hit;

	if (sd_addr_is_any(addr))
		return PL_VIA_KERNEL;
	hit = route_read(route_scan, (void *)addr);
	if (!hit || (is_loopback(addr) && !((hit - 1) & SD_RT_LOCAL)))
		return PL_VIA_KERNEL;
	if ((hit - 1) & SD_RT_BCAST)
		return PL_VIA_BCAST;
	return (hit - 1) & SD_RT_LOCAL ? PL_VIA_LOCAL : PL_VIA_STACKD;
}

/* ---- stackd's own addresses ---- */

static unsigned locals_scan(void *arg)
{
	struct pl_local *own = arg;
	unsigned cnt = ld_rlx(&pl.info->rt_cnt), n = 0;

	for (unsigned i = 0; i < cnt && i < SD_MAX_ROUTES && n < PL_LOCALS; i++) {
		struct sd_route rt = pl.info->rt[i];

		if (rt.flags & SD_RT_LOCAL)
			own[n++] = (struct pl_local){ .addr = rt.dst, .ifindex = rt.ifindex,
						      .plen = rt.onlink_plen };
	}
	return n;
}

unsigned pl_locals(struct pl_local ret[PL_LOCALS])
{
	return route_read(locals_scan, ret);
}

uint32_t pl_ifindex(const struct sd_addr *addr)
{
	struct pl_local own[PL_LOCALS];
	unsigned n = pl_locals(own);

	for (unsigned i = 0; i < n; i++) {
		if (sd_addr_eq(&own[i].addr, addr))
			return own[i].ifindex;
	}
	return n ? own[0].ifindex : 0;	/* a broadcast: the first device's */
}
