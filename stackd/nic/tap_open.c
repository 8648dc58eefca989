/* SPDX-License-Identifier: MIT */
/* nic/tap_open.c - create a TAP device for stackd
 *
 * Order: check -> first queue (exclusively: an existing interface is never taken over) -> other
 * queues -> vnet header and offloads on each -> steering -> MTU, up, address of the kernel's end.
 * On failure the fds are closed, which removes the interface.
 * Offered to the kernel: checksum, TSO4, TSO6, ECN with TSO. UDP segmentation is not offered: the
 * kernel then cuts such packets itself, and a received packet is always one datagram.
 * Threads: device helper
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "stackd/nic/steer_int.h"
#include "stackd/nic/tap_open.h"

#define MTU_MIN		68u
#define MTU_MAX		65521u		/* 65535 less an Ethernet header: the tun driver's limit */
#define BUSY_TRIES	50		/* 10 ms apart: a closed interface disappears late */

struct err_buf {
	char *buf;
	size_t len;
};

__attribute__((format(printf, 3, 4)))
static int fail(struct err_buf *e, int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (e->len)
		vsnprintf(e->buf, e->len, fmt, ap);
	va_end(ap);
	return rc;
}

static int check(const struct tap_conf *c, struct err_buf *e)
{
	if (c->queues == 0 || c->queues > TAP_QUEUES_MAX)
		return fail(e, -EINVAL, "tap: %u queues; possible are 1 to %d", c->queues,
			    TAP_QUEUES_MAX);
	if (c->mtu && (c->mtu < MTU_MIN || c->mtu > MTU_MAX))
		return fail(e, -EINVAL, "tap: MTU %u; possible are %u to %u", c->mtu, MTU_MIN,
			    MTU_MAX);
	if (memchr(c->ifname, 0, sizeof(c->ifname)) == NULL || strpbrk(c->ifname, "/ %"))
		return fail(e, -EINVAL, "tap: bad interface name '%.15s'", c->ifname);
	if (c->has_peer && (sd_addr_is_any(&c->peer) || c->peer_plen > 128 ||
			    (sd_addr_is_v4(&c->peer) && c->peer_plen < 96)))
		return fail(e, -EINVAL, "tap: peer address or its prefix length is not valid");
	if (c->mac[0] & 1)
		return fail(e, -EINVAL, "tap: a MAC address cannot have the group bit set");
	return 0;
}

static int open_failed(struct err_buf *e, int rc)
{
	if (rc == -ENOENT || rc == -ENODEV || rc == -ENXIO)
		return fail(e, rc, "tap: /dev/net/tun is missing (load the tun module, or create "
			    "the device node)");
	return fail(e, rc, "tap: cannot open /dev/net/tun: %s", strerror(-rc));
}

static int setiff_failed(struct err_buf *e, int rc, const char *name)
{
	if (rc == -EPERM || rc == -EACCES)
		return fail(e, -EPERM, "tap: creating an interface needs CAP_NET_ADMIN");
	if (rc == -EBUSY || rc == -EEXIST)
		return fail(e, -EBUSY, "tap: interface name '%s' is taken", name);
	return fail(e, rc, "tap: cannot create interface '%s': %s", name, strerror(-rc));
}

/* Attach @fd to the interface; the first queue creates it. */
static int set_iff(int fd, struct ifreq *ifr, bool first, bool multi)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	char name[IFNAMSIZ];

	memcpy(name, ifr->ifr_name, IFNAMSIZ);
	for (int i = 0;; i++) {
		memcpy(ifr->ifr_name, name, IFNAMSIZ);
		ifr->ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
					 (multi ? IFF_MULTI_QUEUE : 0) |
					 (first ? IFF_TUN_EXCL : 0));
		if (ioctl(fd, TUNSETIFF, ifr) == 0)
			return 0;
		if ((errno != EBUSY && errno != EEXIST) || i == BUSY_TRIES)
			return -errno;
		nanosleep(&pause, NULL);
	}
}

static int set_queue(int fd, struct err_buf *e)
{
	int hdr = 10, little = 1;

	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) || ioctl(fd, TUNSETVNETLE, &little))
		return fail(e, -errno, "tap: cannot set the vnet header: %s", strerror(errno));
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN))
		return fail(e, -errno, "tap: cannot set offloads: %s", strerror(errno));
	return 0;
}

static int open_queue(const struct tap_conf *c, struct ifreq *ifr, unsigned i, int *ret_fd,
		      struct err_buf *e)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), rc;

	if (fd < 0)
		return open_failed(e, -errno);
	rc = set_iff(fd, ifr, i == 0, c->queues > 1);
	if (rc)
		rc = setiff_failed(e, rc, c->ifname[0] ? c->ifname : "stk%d");
	else
		rc = set_queue(fd, e);
	if (rc) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static bool steer(int fd, uint16_t queues)
{
	int prog, rc;

	if (queues == 1)
		return true;
	prog = steer_bpf_load(queues, false);
	if (prog < 0)
		return false;
	rc = ioctl(fd, TUNSETSTEERINGEBPF, &prog);
	close(prog);			/* the interface holds it */
	return rc == 0;
}

/* stackd's MAC: the configured one, or random with the "locally administered" bit. */
static int pick_mac(const struct tap_conf *c, struct tap_result *r, struct err_buf *e)
{
	static const uint8_t none[6];

	memcpy(r->mac, c->mac, 6);
	if (c->kernel_port)
		return 0;
	while (memcmp(r->mac, none, 6) == 0 || memcmp(r->mac, r->peer_mac, 6) == 0) {
		if (memcmp(c->mac, none, 6) != 0)
			return fail(e, -EINVAL, "tap: MAC address is the one of the kernel's end");
		if (getrandom(r->mac, 6, 0) != 6)
			return fail(e, -EIO, "tap: no random numbers");
		r->mac[0] = (uint8_t)((r->mac[0] & 0xfc) | 2);
	}
	return 0;
}

static int kernel_side(const struct tap_conf *c, int fd, struct tap_result *r, struct err_buf *e)
{
	struct ifreq ifr = { 0 };
	int rc;

	r->mtu = c->mtu ? c->mtu : 1500;
	r->ifindex = (int)if_nametoindex(r->ifname);
	if (r->ifindex == 0 || ioctl(fd, SIOCGIFHWADDR, &ifr))
		return fail(e, -errno, "tap: cannot look at '%s': %s", r->ifname, strerror(errno));
	if (c->kernel_port) {
		memcpy(ifr.ifr_hwaddr.sa_data, c->mac, 6);
		if (ioctl(fd, SIOCSIFHWADDR, &ifr))
			return fail(e, -errno, "tap: cannot give '%s' the NIC's MAC: %s",
				    r->ifname, strerror(errno));
	}
	memcpy(r->peer_mac, ifr.ifr_hwaddr.sa_data, 6);
	rc = tap_link_up(r->ifindex, r->mtu);
	if (rc)
		return fail(e, rc, "tap: cannot bring '%s' up with MTU %u: %s", r->ifname, r->mtu,
			    strerror(-rc));
	rc = c->has_peer ? tap_addr_add(r->ifindex, &c->peer, c->peer_plen) : 0;
	if (rc)
		return fail(e, rc, "tap: cannot give '%s' its peer address: %s", r->ifname,
			    strerror(-rc));
	return pick_mac(c, r, e);
}

int tap_open(const struct tap_conf *c, int *ret_fds, struct tap_result *ret, char *err,
	     size_t errlen)
{
	struct err_buf e = { err, errlen };
	struct tap_result r = { 0 };
	struct ifreq ifr = { 0 };
	int fds[TAP_QUEUES_MAX] = { 0 };
	unsigned cnt = 0;
	int rc = check(c, &e);

	if (rc)
		return rc;
	strcpy(ifr.ifr_name, c->ifname[0] ? c->ifname : "stk%d");
	while (cnt < c->queues) {
		rc = open_queue(c, &ifr, cnt, &fds[cnt], &e);
		if (rc)
			goto out_close;
		cnt++;
	}
	memcpy(r.ifname, ifr.ifr_name, sizeof(r.ifname));
	r.steered = steer(fds[0], c->queues);
	rc = kernel_side(c, fds[0], &r, &e);
	if (rc)
		goto out_close;
	memcpy(ret_fds, fds, cnt * sizeof(fds[0]));
	*ret = r;
	return 0;
out_close:
	while (cnt > 0)
		close(fds[--cnt]);
	return rc;
}
