/* SPDX-License-Identifier: MIT */
/* nic/xdp/xsk.h - an AF_XDP socket and its memory, as helper and engine see them
 *
 * Per queue one memfd: a control page, then frames; the frames are the UMEM. The supervisor keeps
 * socket and memfd, so a new engine finds rings and frames as the earlier one left them. Receive
 * frames belong to the kernel always but for the moment of copying; which transmit frames the
 * kernel has is written in the control page. A batch is announced there before its ring indices
 * move, so that an engine that was killed between two stores is completed by the next (A1).
 * Holds:   A1 announced != XSK_NOTHING: the indices named there are to be stored (again)
 *          A2 a transmit frame is free exactly when busy[] says 0 and no completion names it
 */
#ifndef NIC_XDP_XSK_H
#define NIC_XDP_XSK_H

#include "stackd/nic/nic.h"

#define XSK_FRAMES	2048u		/* of each direction; also the size of all four rings */
#define XSK_CTL_SIZE	4096u
#define XSK_MAGIC	0x6b737873u

enum xsk_announced { XSK_NOTHING = 0, XSK_RX, XSK_TX };
struct xsk_ctl {
	uint32_t magic;			/* set when the fill ring is full for the first time */
	uint32_t announced;		/* enum xsk_announced */
	uint32_t fill_prod, rx_cons, tx_prod;
	uint32_t rsv[3];
	uint8_t busy[XSK_FRAMES];	/* transmit frames that the kernel has */
};
static_assert(sizeof(struct xsk_ctl) <= XSK_CTL_SIZE, "one page");

/* In struct nic_grant.extra. fds: per queue socket and memfd; the claims map; the link. */
struct xdp_grant {
	uint32_t chunk;			/* bytes of a frame: 2048 or 4096 */
	uint8_t shared;			/* the kernel has the address, too */
	uint8_t native, zero_copy;
	uint8_t rsv;
	uint16_t port_lo, port_hi;	/* shared: client ports that the kernel does not give out */
	uint64_t seed;
};
static_assert(sizeof(struct xdp_grant) <= NIC_GRANT_EXTRA, "fits");

#define XSK_MEM_SIZE(chunk) (XSK_CTL_SIZE + (size_t)2 * XSK_FRAMES * (chunk))

/* One queue from what the supervisor kept. Takes the fds when it returns 0. Before seccomp. */
int xsk_nic_create(int fd, int mem_fd, const struct nic_grant *grant, uint16_t queue,
		   struct nic **ret);

#endif
