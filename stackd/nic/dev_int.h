/* SPDX-License-Identifier: MIT */
/* nic/dev_int.h - the kinds of devices, for dev.c
 * Each opens as nic_dev_open() says, but takes @fds only on success: dev.c closes them otherwise.
 */
#ifndef NIC_DEV_INT_H
#define NIC_DEV_INT_H

#include "stackd/nic/nic.h"

int tap_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR]);
int packet_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		    char err[NIC_ERR]);
int xdp_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR]);
int vfio_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		  char err[NIC_ERR]);

#endif
