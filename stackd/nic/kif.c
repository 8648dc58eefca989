/* SPDX-License-Identifier: MIT */
/* nic/kif.c - see kif.h
 * Threads: device helper
 */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/nic/kif.h"

#define PORTS_LOW	10240u		/* client ports on a shared address begin here */
#define PORTS_ENOUGH	1000u

int kif_fail(char *err, size_t errlen, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (errlen)
		vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return rc;
}

static bool kernel_has(const struct sd_addr *addr)
{
	struct ifaddrs *all, *a;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (a = all; a && !found; a = a->ifa_next) {
		const struct sockaddr_in *in = (const void *)a->ifa_addr;
		struct sd_addr its;

		if (!in || in->sin_family != AF_INET)
			continue;
		its = sd_addr_v4((be32){ in->sin_addr.s_addr });
		found = sd_addr_eq(&its, addr);
	}
	freeifaddrs(all);
	return found;
}

/* Hardware type, MAC, MTU; up. Return: 0 or -errno. */
static int ask(int s, struct kif *k, bool *ret_ether)
{
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, k->name);
	if (ioctl(s, SIOCGIFHWADDR, &ifr))
		return -errno;
	*ret_ether = ifr.ifr_hwaddr.sa_family == ARPHRD_ETHER;
	memcpy(k->mac, ifr.ifr_hwaddr.sa_data, 6);
	if (ioctl(s, SIOCGIFMTU, &ifr))
		return -errno;
	k->mtu = (uint32_t)ifr.ifr_mtu;
	if (ioctl(s, SIOCGIFFLAGS, &ifr))
		return -errno;
	if (ifr.ifr_flags & IFF_UP)
		return 0;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &ifr) ? -errno : 0;
}

int kif_look(const char *name, const struct sd_addr *addr, struct kif *ret, char *err,
	     size_t errlen)
{
	struct kif k = { 0 };
	bool ether = false;
	int s, rc;

	if (strlen(name) >= sizeof(k.name))
		return kif_fail(err, errlen, -EINVAL, "interface name '%s' is too long", name);
	strcpy(k.name, name);
	k.ifindex = (int)if_nametoindex(name);
	if (k.ifindex == 0)
		return kif_fail(err, errlen, -ENODEV, "no interface '%s' in this network namespace "
				"(ip link shows them)", name);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return kif_fail(err, errlen, -errno, "cannot look at '%s': %s", name,
				strerror(errno));
	rc = ask(s, &k, &ether);
	close(s);
	if (rc)
		return kif_fail(err, errlen, rc, "cannot look at '%s' or bring it up: %s", name,
				strerror(-rc));
	if (!ether)
		return kif_fail(err, errlen, -EINVAL, "'%s' is not an Ethernet interface", name);
	k.has_addr = kernel_has(addr);
	*ret = k;
	return 0;
}

int kif_random_mac(uint8_t ret[6])
{
	if (getrandom(ret, 6, 0) != 6)
		return -EIO;
	ret[0] = (uint8_t)((ret[0] & 0xfc) | 2);
	return 0;
}

void kif_client_ports(uint16_t *ret_lo, uint16_t *ret_hi)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned lo = 32768, hi = 60999;

	if (!f || fscanf(f, "%u %u", &lo, &hi) != 2)
		lo = 32768;
	if (f)
		fclose(f);
	if (lo >= PORTS_LOW + PORTS_ENOUGH) {
		*ret_lo = PORTS_LOW;
		*ret_hi = (uint16_t)(lo - 1);
	} else if (hi <= 65535 - PORTS_ENOUGH) {
		*ret_lo = (uint16_t)(hi + 1);
		*ret_hi = 65535;
	}
}
