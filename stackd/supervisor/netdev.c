/* SPDX-License-Identifier: MIT */
/* supervisor/netdev.c - the grammar of --netdev: KIND,key=value,...
 * A value ends at the next comma; the impairment's own parts are joined by '+' for that reason:
 *   tap,name=stk0,addr=192.0.2.2/24,peer=192.0.2.1/24,impair=loss=1/100+seed=7
 *   xdp,if=eth1,addr=192.0.2.2/24,attach=native
 *   packet,if=eth1,addr=192.0.2.2/24,gw=192.0.2.1
 * The whole is checked here, so that an error is told before any device is touched; only the
 * impairment's words are checked by their own parser.
 */
#include "stackd/supervisor/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NETDEV_MTU_MIN	576u		/* what every IPv4 host must take (RFC 791) */
#define NETDEV_MTU_MAX	65521u		/* a frame of a TAP is at most 64 KiB - 1 */
#define NETDEV_MTU	1500u

/* "a.b.c.d" or "a.b.c.d/len"; ret_plen NULL forbids a length, a missing one is 32. */
static int parse_prefix(const char *text, struct sd_addr *ret, uint8_t *ret_plen)
{
	char buf[INET_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long len = 32;
	struct in_addr a;
	char *end;

	if (n >= sizeof(buf) || (slash && !ret_plen))
		return -EINVAL;
	memcpy(buf, text, n);
	buf[n] = '\0';
	if (inet_pton(AF_INET, buf, &a) != 1)
		return -EINVAL;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		len = strtoul(slash + 1, &end, 10);
		if (*end || len > 32)
			return -EINVAL;
	}
	*ret = sd_addr_v4((be32){ a.s_addr });
	if (ret_plen)
		*ret_plen = (uint8_t)(96 + len);
	return 0;
}

static int set_ifname(struct conf_netdev *d, const char *key, const char *v, char *err)
{
	if (!*v || strlen(v) >= sizeof(d->name) || strpbrk(v, "/% \t") ||
	    !strcmp(v, ".") || !strcmp(v, ".."))
		return conf_bad(err, "%s=%s: an interface name has 1 to 15 characters, no '/'", key,
				v);
	strcpy(d->name, v);
	return 0;
}

static int set_name(struct conf_netdev *d, const char *v, char *err)
{
	return set_ifname(d, "name", v, err);
}

static int set_kport(struct conf_netdev *d, const char *v, char *err)
{
	struct conf_netdev n = { 0 };
	int r = set_ifname(&n, "kport", v, err);

	if (!r)
		strcpy(d->kport, n.name);
	return r;
}

static int set_if(struct conf_netdev *d, const char *v, char *err)
{
	return set_ifname(d, "if", v, err);
}

/* An address that a host can have, with its prefix. */
static int set_host(const char *key, const char *v, struct sd_addr *a, uint8_t *plen, char *err)
{
	if (parse_prefix(v, a, plen))
		return conf_bad(err, "%s=%s: not an IPv4 address with prefix, such as 192.0.2.2/24",
			   key, v);
	if (sd_addr_is_any(a) || a->b[12] == 127 || a->b[12] >= 224 || *plen == 96)
		return conf_bad(err, "%s=%s: not an address that a host can have", key, v);
	return 0;
}

static int set_addr(struct conf_netdev *d, const char *v, char *err)
{
	return set_host("addr", v, &d->addr, &d->addr_plen, err);
}

static int set_peer(struct conf_netdev *d, const char *v, char *err)
{
	return set_host("peer", v, &d->peer, &d->peer_plen, err);
}

static int set_gw(struct conf_netdev *d, const char *v, char *err)
{
	if (parse_prefix(v, &d->gw, NULL))
		return conf_bad(err, "gw=%s: not an IPv4 address", v);
	d->has_gw = 1;
	return 0;
}

static int set_mtu(struct conf_netdev *d, const char *v, char *err)
{
	char *end;
	unsigned long n = strtoul(v, &end, 10);

	if (*v < '0' || *v > '9' || *end || n < NETDEV_MTU_MIN || n > NETDEV_MTU_MAX)
		return conf_bad(err, "mtu=%s: must be %u to %u", v, NETDEV_MTU_MIN,
				NETDEV_MTU_MAX);
	d->mtu = (uint32_t)n;
	return 0;
}

static int set_mac(struct conf_netdev *d, const char *v, char *err)
{
	unsigned m[6];
	int used = 0;

	d->own_mac = !strcmp(v, "own");
	if (d->own_mac)
		return 0;
	if (sscanf(v, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
		   &used) != 6 || v[used])
		return conf_bad(err,
				"mac=%s: not a MAC address, such as 02:00:00:00:00:01, nor 'own'",
				v);
	if (m[0] & 1)
		return conf_bad(err, "mac=%s: a multicast address", v);
	for (unsigned i = 0; i < 6; i++)
		d->mac[i] = (uint8_t)m[i];
	d->has_mac = 1;
	return 0;
}

static int set_attach(struct conf_netdev *d, const char *v, char *err)
{
	static const char *const ways[] = { "auto", "native", "generic" };

	for (uint8_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(v, ways[i]))
			continue;
		d->attach = i;
		return 0;
	}
	return conf_bad(err, "attach=%s: must be auto, native or generic", v);
}

/* PREFIX or PREFIX@ROUTER; without a router the prefix is on the link. */
static int set_route(struct conf_netdev *d, const char *v, char *err)
{
	struct conf_route *r = &d->route[d->route_cnt];
	char buf[48];
	char *at;

	if (d->route_cnt == CONF_ROUTES)
		return conf_bad(err, "route=%s: more than %u routes", v, CONF_ROUTES);
	if (snprintf(buf, sizeof(buf), "%s", v) >= (int)sizeof(buf))
		return conf_bad(err, "route=%s: too long", v);
	at = strchr(buf, '@');
	if (at)
		*at++ = '\0';
	*r = (struct conf_route){ 0 };
	if (parse_prefix(buf, &r->dst, &r->plen))
		return conf_bad(err, "route=%s: '%s' is not an IPv4 prefix", v, buf);
	if (at && parse_prefix(at, &r->gw, NULL))
		return conf_bad(err, "route=%s: '%s' is not an IPv4 address", v, at);
	d->route_cnt++;
	return 0;
}

static int set_impair(struct conf_netdev *d, const char *v, char *err)
{
	if (!*v || strlen(v) >= sizeof(d->impair))
		return conf_bad(err, "impair=%s: empty or too long", v);
	strcpy(d->impair, v);
	for (char *p = d->impair; (p = strchr(p, '+')); )
		*p = ',';
	return 0;
}

/* DOMAIN:BUS:SLOT.FUNCTION in hexadecimal; a missing domain is 0. */
static int set_pci(struct conf_netdev *d, const char *v, char *err)
{
	unsigned dom = 0, bus, slot, fn;
	int used = 0;

	if (sscanf(v, "%4x:%2x:%2x.%1u%n", &dom, &bus, &slot, &fn, &used) != 4 || v[used]) {
		dom = 0;
		used = 0;
		if (sscanf(v, "%2x:%2x.%1u%n", &bus, &slot, &fn, &used) != 3 || v[used])
			return conf_bad(err, "pci=%s: not a PCI address, such as 0000:00:03.0", v);
	}
	if (slot > 31 || fn > 7)
		return conf_bad(err, "pci=%s: no such slot or function", v);
	snprintf(d->pci, sizeof(d->pci), "%04x:%02x:%02x.%x", dom & 0xffff, bus & 0xff, slot, fn);
	return 0;
}

enum { TAP = 1, PACKET = 2, XDP = 4, VFIO = 8 };		/* kinds of devices, a bit each */

static const struct {
	const char *name;
	unsigned bit;
} kinds[] = { { "tap", TAP }, { "packet", PACKET }, { "xdp", XDP }, { "vfio", VFIO } };

static const struct {
	const char *key;
	int (*set)(struct conf_netdev *d, const char *v, char *err);
	unsigned kinds;			/* which know it, 0 = all */
} netdev_keys[] = {
	{ "name", set_name, TAP | VFIO }, { "peer", set_peer, TAP }, { "if", set_if, PACKET | XDP },
	{ "pci", set_pci, VFIO }, { "addr", set_addr, 0 }, { "gw", set_gw, 0 },
	{ "mtu", set_mtu, 0 }, { "mac", set_mac, TAP | PACKET }, { "attach", set_attach, XDP },
	{ "kport", set_kport, ~(TAP | XDP) },
	{ "route", set_route, 0 }, { "impair", set_impair, 0 },
};
#define KEYS (sizeof(netdev_keys) / sizeof(netdev_keys[0]))

static bool knows(unsigned kind, unsigned key)
{
	return !netdev_keys[key].kinds || netdev_keys[key].kinds & kind;
}

static int unknown_key(unsigned kind, const char *key, char *err)
{
	char known[96] = "";

	for (unsigned i = 0; i < KEYS; i++) {
		if (knows(kind, i)) {
			strcat(known, " ");
			strcat(known, netdev_keys[i].key);
		}
	}
	return conf_bad(err, "unknown key '%.20s' (known:%s)", key, known);
}

static int set_key(struct conf_netdev *d, unsigned kind, char *item, char *err)
{
	char *eq = strchr(item, '=');

	if (!eq)
		return conf_bad(err, "'%s': expected key=value", item);
	*eq = '\0';
	for (unsigned i = 0; i < KEYS; i++) {
		if (knows(kind, i) && !strcmp(item, netdev_keys[i].key))
			return netdev_keys[i].set(d, eq + 1, err);
	}
	return unknown_key(kind, item, err);
}

/* Return: its bit, 0 = unknown. */
static unsigned find_kind(const char *name, char *err)
{
	char known[64] = "";

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(name, kinds[i].name))
			return kinds[i].bit;
		strcat(known, " ");
		strcat(known, kinds[i].name);
	}
	conf_bad(err, "unknown kind of device '%.40s' (known:%s)", name, known);
	return 0;
}

/* What only shows when all keys are known. */
static int check_whole(const struct conf_netdev *d, unsigned kind, char *err)
{
	if (kind == VFIO ? !d->pci[0] : !d->name[0])
		return conf_bad(err, "%s= is missing",
			   kind == TAP ? "name" : kind == VFIO ? "pci" : "if");
	if (!d->addr_plen)
		return conf_bad(err, "addr= is missing");
	if (d->peer_plen && sd_addr_eq(&d->addr, &d->peer))
		return conf_bad(err, "addr= and peer= are the same address");
	if (d->peer_plen && !sd_addr_in(&d->peer, &d->addr, d->addr_plen))
		return conf_bad(err, "peer= is not in the network of addr=");
	if (d->has_gw && !sd_addr_in(&d->gw, &d->addr, d->addr_plen))
		return conf_bad(err, "gw= is not in the network of addr=");
	return 0;
}

int conf_parse_netdev(const char *spec, struct conf_netdev *ret, char err[CONF_ERR])
{
	struct conf_netdev d = { 0 };
	char buf[1024];
	char *rest = buf, *item;
	unsigned kind;

	if (strlen(spec) >= sizeof(buf))
		return conf_bad(err, "longer than %zu characters", sizeof(buf) - 1);
	strcpy(buf, spec);
	item = strsep(&rest, ",");
	kind = find_kind(item, err);
	if (!kind)
		return -EINVAL;
	strcpy(d.kind, item);
	if (kind == TAP || kind == VFIO)
		d.mtu = NETDEV_MTU;
	while ((item = strsep(&rest, ","))) {
		int r = set_key(&d, kind, item, err);

		if (r)
			return r;
	}
	if (check_whole(&d, kind, err))
		return -EINVAL;
	if (!d.name[0])
		strcpy(d.name, d.pci);
	*ret = d;
	return 0;
}
