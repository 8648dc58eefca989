/* SPDX-License-Identifier: MIT */
/* preload/ifaddrs.c - stackd's addresses among those of the machine's interfaces
 * Servers that bind to each address they find (named, ntpd) or answer by interface (dnsmasq) ask
 * for the list. What stackd owns is added to the kernel's answer: on the interface that carries
 * stackd's frames, or under the name "stackd" when this namespace does not have it.
 * Deviation: programs that ask by netlink themselves see the kernel's addresses only.
 * Holds:   an added entry is a block of its own, told apart by its mark; all come last in the list
 * Spec:    S1 (interface queries); getifaddrs(3), netdevice(7) SIOCGIFCONF
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "preload/pl_int.h"

#define MARK	0x7374616b69666164ull

struct extra {
	struct ifaddrs ifa;
	uint64_t mark;
	struct sockaddr_in addr, mask, bcast;
	char name[IF_NAMESIZE];
};

static void name_of(const struct pl_local *l, char name[IF_NAMESIZE])
{
	if (!l->ifindex || !if_indextoname(l->ifindex, name))
		strcpy(name, "stackd");
}

static struct sockaddr_in in_of(uint32_t host)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(host) };
}

static struct extra *extra_make(const struct pl_local *l)
{
	struct extra *x = calloc(1, sizeof(*x));
	unsigned bits = l->plen > 96 ? l->plen - 96u : 0;
	uint32_t mask = bits ? UINT32_MAX << (32 - bits) : 0;
	uint32_t host = ntohl(sd_addr_to_v4(&l->addr).v);

	if (!x)
		return NULL;
	name_of(l, x->name);
	x->mark = MARK;
	x->addr = in_of(host);
	x->mask = in_of(mask);
	x->bcast = in_of(host | ~mask);
	x->ifa = (struct ifaddrs){
		.ifa_name = x->name, .ifa_addr = (struct sockaddr *)&x->addr,
		.ifa_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST | IFF_MULTICAST,
		.ifa_netmask = (struct sockaddr *)&x->mask,
		.ifa_broadaddr = (struct sockaddr *)&x->bcast,
	};
	return x;
}

static bool is_extra(const struct ifaddrs *ifa)
{
	const struct extra *x = (const void *)ifa;

	return ifa->ifa_name == x->name && x->mark == MARK;
}

static bool listed(const struct ifaddrs *ifa, const struct sd_addr *a)
{
	for (; ifa; ifa = ifa->ifa_next) {
		const struct sockaddr_in *in = (const void *)ifa->ifa_addr;

		if (in && in->sin_family == AF_INET &&
		    in->sin_addr.s_addr == sd_addr_to_v4(a).v)
			return true;
	}
	return false;
}

PL_EXPORT int getifaddrs(struct ifaddrs **ret)
{
	struct pl_local own[PL_LOCALS];
	unsigned n = pl_attach() ? 0 : pl_locals(own);
	struct ifaddrs **end = ret;

	if (real.getifaddrs(ret) < 0)
		return -1;
	for (unsigned i = 0; i < n; i++) {
		struct extra *x;

		if (!sd_addr_is_v4(&own[i].addr) || listed(*ret, &own[i].addr))
			continue;
		x = extra_make(&own[i]);
		if (!x) {
			freeifaddrs(*ret);
			return (int)pl_fail(-ENOMEM);
		}
		while (*end)
			end = &(*end)->ifa_next;
		*end = &x->ifa;
	}
	return 0;
}

PL_EXPORT void freeifaddrs(struct ifaddrs *list)
{
	struct ifaddrs **at = &list;

	while (*at) {
		struct ifaddrs *ifa = *at;

		if (!is_extra(ifa)) {
			at = &ifa->ifa_next;
			continue;
		}
		*at = ifa->ifa_next;
		free(ifa);
	}
	real.freeifaddrs(list);
}

static struct ifreq req_of(const struct pl_local *l)
{
	struct sockaddr_in in = in_of(ntohl(sd_addr_to_v4(&l->addr).v));
	struct ifreq r = { 0 };

	name_of(l, r.ifr_name);
	memcpy(&r.ifr_addr, &in, sizeof(in));
	return r;
}

/* The kernel's part first; what has no room is left out, as the kernel does it. */
int pl_ifconf(int fd, struct ifconf *c)
{
	struct pl_local own[PL_LOCALS];
	unsigned n = pl_attach() ? 0 : pl_locals(own);
	int room = c->ifc_len, r = real.ioctl(fd, SIOCGIFCONF, c);

	if (r < 0)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		struct ifreq q = req_of(&own[i]);

		if (!sd_addr_is_v4(&own[i].addr))
			continue;
		if (c->ifc_buf && room - c->ifc_len < (int)sizeof(q))
			break;
		if (c->ifc_buf)
			memcpy(c->ifc_buf + c->ifc_len, &q, sizeof(q));
		c->ifc_len += (int)sizeof(q);
	}
	return r;
}
