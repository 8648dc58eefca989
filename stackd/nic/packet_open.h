/* SPDX-License-Identifier: MIT */
/* nic/packet_open.h - the privileged side of a packet device: sockets on an interface of the
 * kernel's. For the device helper only: needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF.
 */
#ifndef NIC_PACKET_OPEN_H
#define NIC_PACKET_OPEN_H

#include "stackd/nic/kif.h"

#define PACKET_QUEUES_MAX 32

struct packet_conf {
	char ifname[16];
	uint16_t queues;		/* 1 .. PACKET_QUEUES_MAX */
	uint32_t mtu;			/* 0 = the interface's */
	struct sd_addr addr;		/* stackd's: the kernel is kept from answering for it */
	uint8_t mac[6];
	bool has_mac;			/* mac is stackd's on the segment */
	bool own_mac;			/* a random one is; neither: the interface's */
};

struct packet_result {
	struct kif kif;
	uint8_t mac[6];			/* stackd's */
	uint32_t mtu;
	bool steered;			/* queue == nic_steer_hash() % queues */
	bool guarded;			/* the kernel does not see frames for addr: the last fd */
};

/**
 * packet_open() - sockets that see every frame of an interface, with vnet headers
 * @ret_fds: room for conf->queues + 1: the queues in order, then the guard if ret->guarded (closing
 *           it lets the kernel see the frames again)
 * @err: a sentence for the user when the call fails
 * Return: 0 or -errno
 */
int packet_open(const struct packet_conf *conf, int *ret_fds, struct packet_result *ret, char *err,
		size_t errlen);

/* A program at the interface's ingress, behind packet sockets, that drops IPv4 and ARP for @addr
 * (Linux 6.6 and newer). Return: the link's fd (closing it detaches), or -errno. */
int packet_guard(int ifindex, const struct sd_addr *addr);

#endif
