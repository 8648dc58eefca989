/* SPDX-License-Identifier: MIT */
/* nic/kport.h - the kernel port: on a device that stackd owns, what is not stackd's goes to a TAP
 * of the kernel's, and what the kernel sends there leaves by the device
 */
#ifndef NIC_KPORT_H
#define NIC_KPORT_H

#include "stackd/nic/nic.h"

struct claims;

/**
 * kport_nic_wrap() - one queue of a device with its queue of the TAP beside it
 * @under: the device's queue; taken unless it fails
 * @tap_fd: the TAP's queue for this worker, taken unless it fails
 * @claims: what is stackd's (nic/claims.h); borrowed
 *
 * Frames are told apart as split.h says; checksums and GSO travel both ways. rx_fd is the device's;
 * the TAP's is to be watched as well.
 * Return: 0 or -errno
 */
int kport_nic_wrap(struct nic *under, int tap_fd, const struct claims *claims, struct nic **ret);

#endif
