/* SPDX-License-Identifier: MIT */
/* nic/kif.h - an interface that the kernel keeps: what opening a device on it must know
 * For the device helper: ioctls and netlink in the network namespace of the device.
 */
#ifndef NIC_KIF_H
#define NIC_KIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stackd/addr.h"

struct kif {
	char name[16];
	int ifindex;
	uint8_t mac[6];
	uint32_t mtu;
	bool has_addr;			/* the address asked about is the kernel's, too */
};

/* Write a sentence for the user. Return: @rc. */
__attribute__((format(printf, 4, 5)))
int kif_fail(char *err, size_t errlen, int rc, const char *fmt, ...);

/**
 * kif_look() - find interface @name, bring it up if it is down
 * @addr: sets ret->has_addr when an interface of the kernel has it
 * @err: a sentence when it fails: no such interface, or not Ethernet
 * Return: 0 or -errno
 */
int kif_look(const char *name, const struct sd_addr *addr, struct kif *ret, char *err,
	     size_t errlen);

/* Client ports that the kernel of this namespace does not give out by itself; left alone when it
 * leaves none. */
void kif_client_ports(uint16_t *ret_lo, uint16_t *ret_hi);

/* A random MAC, locally administered. Return: 0 or -errno. */
int kif_random_mac(uint8_t ret[6]);

#endif
