/* SPDX-License-Identifier: MIT */
/* nic/tap_open.h - the privileged side of a TAP device: create, configure, steer
 * For the device helper process only: needs CAP_NET_ADMIN, opens /dev/net/tun and netlink,
 * allocates.
 */
#ifndef NIC_TAP_OPEN_H
#define NIC_TAP_OPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stackd/addr.h"

#define TAP_QUEUES_MAX	32

struct tap_conf {
	char ifname[16];		/* "" = the kernel picks stkN */
	uint16_t queues;		/* 1 .. TAP_QUEUES_MAX */
	uint32_t mtu;			/* bytes of IP packet, 68 .. 65521; 0 = 1500 */
	bool has_peer;			/* give the kernel's end an address */
	uint8_t peer_plen;		/* of the 128-bit form: a v4 /24 is 120 */
	struct sd_addr peer;
	bool kernel_port;		/* the kernel's end gets mac, ours has none (nic/kport.h) */
	uint8_t mac[6];			/* stackd's end; all zero = random, locally administered */
};

struct tap_result {
	char ifname[16];
	uint8_t mac[6];			/* stackd's end */
	uint8_t peer_mac[6];		/* the kernel's end */
	uint32_t mtu;
	int ifindex;
	bool steered;			/* queue == nic_steer_hash() % queues; true for one queue */
};

/**
 * tap_open() - create a TAP device with vnet headers and bring its kernel side up
 * @ret_fds: room for conf->queues fds, O_NONBLOCK | O_CLOEXEC, given to the caller, in queue order
 * @err: a sentence for the user when the call fails
 *
 * The interface lives as long as one of the fds is open. A kernel that refuses the steering program
 * is no failure: ret->steered is false, frames then reach their workers by hand-off.
 * Return: 0 or -errno; -EBUSY: the name is taken
 */
int tap_open(const struct tap_conf *conf, int *ret_fds, struct tap_result *ret, char *err,
	     size_t errlen);

/* Netlink, for the kernel's end. Return: 0 or -errno. */
int tap_link_up(int ifindex, uint32_t mtu);
int tap_addr_add(int ifindex, const struct sd_addr *addr, uint8_t plen);
/* A default route; -EEXIST when there is one already. */
int tap_default_route(int ifindex, const struct sd_addr *gw);

#endif
