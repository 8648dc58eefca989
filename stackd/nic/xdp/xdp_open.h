/* SPDX-License-Identifier: MIT */
/* nic/xdp/xdp_open.h - the privileged side of an AF_XDP device
 * For the device helper only: needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and, beyond RLIMIT_MEMLOCK,
 * CAP_IPC_LOCK.
 */
#ifndef NIC_XDP_OPEN_H
#define NIC_XDP_OPEN_H

#include "stackd/nic/kif.h"
#include "stackd/nic/grant.h"

enum xdp_attach { XDP_ATTACH_AUTO = 0, XDP_ATTACH_NATIVE, XDP_ATTACH_GENERIC };

struct xdp_conf {
	char ifname[16];
	uint16_t workers;		/* the interface may have fewer receive queues, not more */
	uint32_t mtu;			/* 0 = the interface's */
	struct sd_addr addr;		/* stackd's; also the kernel's: the interface is shared */
	enum xdp_attach attach;
};

/**
 * xdp_open() - program, sockets and memory on an interface of the kernel's
 * @ret_grant: kind left alone
 * @ret_fds: room for NIC_GRANT_FDS, in the order that nic/xdp/xsk.h names
 * @err: a sentence for the user when the call fails
 * When the link, the last fd, is closed by everybody, the kernel takes all packets again.
 * Return: 0 or -errno
 */
int xdp_open(const struct xdp_conf *conf, struct nic_grant *ret_grant, int *ret_fds, char *err,
	     size_t errlen);

#endif
