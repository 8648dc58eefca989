/* SPDX-License-Identifier: MIT */
/* preload/cmsg.c - control messages of datagrams
 * Out: IP_PKTINFO and IPV6_PKTINFO (source address), IP_TOS, IP_TTL, IPV6_TCLASS, IPV6_HOPLIMIT,
 * UDP_SEGMENT. In: IP_PKTINFO or IPV6_PKTINFO when asked for. Anything else of these levels is
 * refused with EINVAL as Linux refuses what it does not know.
 * Spec:    S6
 */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "preload/pl_int.h"

static int out_ip(const struct cmsghdr *c, size_t len, struct pl_cmsg_out *o)
{
	struct in_pktinfo pi;
	int v;

	if (c->cmsg_type == IP_PKTINFO) {
		if (len < sizeof(pi))
			return -EINVAL;
		memcpy(&pi, CMSG_DATA(c), sizeof(pi));
		if (pi.ipi_spec_dst.s_addr)
			o->src = sd_addr_v4((be32){ pi.ipi_spec_dst.s_addr });
		return 0;
	}
	if (len != sizeof(v) || (c->cmsg_type != IP_TOS && c->cmsg_type != IP_TTL))
		return -EINVAL;
	memcpy(&v, CMSG_DATA(c), sizeof(v));
	if (v < 0 || v > 255 || (c->cmsg_type == IP_TTL && v == 0))
		return -EINVAL;
	*(c->cmsg_type == IP_TOS ? &o->tos : &o->ttl) = (int16_t)v;
	return 0;
}

static int out_ip6(const struct cmsghdr *c, size_t len, struct pl_cmsg_out *o)
{
	struct in6_pktinfo pi;
	int v;

	if (c->cmsg_type == IPV6_PKTINFO) {
		if (len < sizeof(pi))
			return -EINVAL;
		memcpy(&pi, CMSG_DATA(c), sizeof(pi));
		memcpy(o->src.b, &pi.ipi6_addr, 16);
		return 0;
	}
	if (len != sizeof(v) || (c->cmsg_type != IPV6_TCLASS && c->cmsg_type != IPV6_HOPLIMIT))
		return -EINVAL;
	memcpy(&v, CMSG_DATA(c), sizeof(v));
	if (v < -1 || v > 255)
		return -EINVAL;
	*(c->cmsg_type == IPV6_TCLASS ? &o->tos : &o->ttl) = (int16_t)v;
	return 0;
}

static int out_udp(const struct cmsghdr *c, size_t len, struct pl_cmsg_out *o)
{
	if (c->cmsg_type != UDP_SEGMENT || len != sizeof(o->gso_len))
		return -EINVAL;
	memcpy(&o->gso_len, CMSG_DATA(c), sizeof(o->gso_len));
	return 0;
}

int pl_cmsg_parse(const struct msghdr *m, struct pl_cmsg_out *ret)
{
	struct pl_cmsg_out o = { .tos = -1, .ttl = -1 };
	struct msghdr walk = *m;
	int r = 0;

	if (!m->msg_control)
		walk.msg_controllen = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&walk); c && !r; c = CMSG_NXTHDR(&walk, c)) {
		size_t room = walk.msg_controllen - (size_t)((char *)c - (char *)walk.msg_control);

		if (c->cmsg_len < sizeof(*c) || c->cmsg_len > room)
			return -EINVAL;
		if (c->cmsg_level == IPPROTO_IP)
			r = out_ip(c, c->cmsg_len - CMSG_LEN(0), &o);
		else if (c->cmsg_level == IPPROTO_IPV6)
			r = out_ip6(c, c->cmsg_len - CMSG_LEN(0), &o);
		else if (c->cmsg_level == IPPROTO_UDP)
			r = out_udp(c, c->cmsg_len - CMSG_LEN(0), &o);
	}
	if (!r)
		*ret = o;
	return r;
}

/* Append one; without room MSG_CTRUNC is set, as the kernel does. @*at: bytes used so far. */
static void put(struct msghdr *m, size_t *at, int level, int type, const void *data, size_t len,
		int *flags)
{
	struct cmsghdr h = { .cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type };
	char *dst = (char *)m->msg_control + *at;

	if (!m->msg_control || m->msg_controllen < *at + CMSG_LEN(len)) {
		*flags |= MSG_CTRUNC;
		return;
	}
	memcpy(dst, &h, sizeof(h));
	memcpy(dst + CMSG_LEN(0), data, len);
	*at += CMSG_SPACE(len);
	if (*at > m->msg_controllen)
		*at = m->msg_controllen;
}

void pl_cmsg_fill(uint32_t slot, const struct sd_dgram *d, struct msghdr *m, int *ret_flags)
{
	const struct sd_opts *o = &pl_p(slot)->opts;
	size_t at = 0;

	if ((o->dgram_flags & SD_DGF_PKTINFO) && o->family == AF_INET) {
		struct in_pktinfo pi = { 0 };

		pi.ipi_addr.s_addr = sd_addr_to_v4(&d->local).v;
		pi.ipi_spec_dst = pi.ipi_addr;
		pi.ipi_ifindex = (int)pl_ifindex(&d->local);
		put(m, &at, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi), ret_flags);
	} else if (o->dgram_flags & SD_DGF_PKTINFO) {
		struct in6_pktinfo pi = { 0 };

		memcpy(&pi.ipi6_addr, d->local.b, 16);
		pi.ipi6_ifindex = pl_ifindex(&d->local);
		put(m, &at, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi), ret_flags);
	}
	m->msg_controllen = at;
}
