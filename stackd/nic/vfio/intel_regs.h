/* SPDX-License-Identifier: MIT */
/* nic/vfio/intel_regs.h - registers that 82574 and 82576 have at the same place with the same bits
 * Spec: 82574 datasheet (317694) 10.2; 82576 datasheet (320961) 8; sections in this order
 */
#ifndef NIC_VFIO_INTEL_REGS_H
#define NIC_VFIO_INTEL_REGS_H

/* 10.2.2, 8.2 general */
#define R_CTRL		0x0000u
#define R_CTRL_GIO_DIS	(1u << 2)	/* GIO master disable */
#define R_CTRL_SLU	(1u << 6)	/* set link up */
#define R_CTRL_RST	(1u << 26)
#define R_STATUS	0x0008u
#define R_STATUS_FD	(1u << 0)
#define R_STATUS_LU	(1u << 1)
#define R_STATUS_SPEED	(3u << 6)	/* 0 = 10, 1 = 100, 2 and 3 = 1000 Mbit/s */
#define R_STATUS_GIO	(1u << 19)	/* GIO master requests are enabled */
#define R_CTRL_EXT	0x0018u
#define R_MDIC		0x0020u
#define R_MDIC_WRITE	(1u << 26)
#define R_MDIC_READY	(1u << 28)
#define R_MDIC_PHY	(1u << 21)	/* PHY address 1 */
#define R_MDIC_REG(r)	((uint32_t)(r) << 16)
#define PHY_CTRL	0u		/* IEEE 802.3 22.2.4.1 */
#define PHY_CTRL_AUTONEG 0x1200u	/* auto-negotiation on, and restarted */
#define R_INT_LSC	(1u << 2)	/* link status change, in the cause registers */

/* 10.2.5, 8.10 receive; the registers of a queue begin where its family says */
#define R_RCTL		0x0100u
#define R_RCTL_SET	(1u << 1 | 1u << 15 | 1u << 26)	/* EN, BAM, SECRC: strip the FCS */
#define R_DBAL		0x00u		/* from a queue's registers on, receive and transmit */
#define R_DBAH		0x04u
#define R_DLEN		0x08u
#define R_DH		0x10u
#define R_DT		0x18u
#define R_DCTL		0x28u
#define R_RXCSUM	0x5000u
#define R_RXCSUM_SET	(1u << 8 | 1u << 9 | 1u << 13)	/* IP, TCP/UDP; hash instead of IP id */
#define R_MTA(i)	(0x5200u + 4u * (i))	/* 128 of them */
#define R_RAL0		0x5400u
#define R_RAH0		0x5404u
#define R_RAH_AV	(1u << 31)
#define R_MRQC		0x5818u
#define R_MRQC_TCP4	(1u << 16)
#define R_MRQC_IP4	(1u << 17)
#define R_MRQC_IP6	(1u << 20)
#define R_RETA(i)	(0x5c00u + 4u * (i))	/* 128 entries of a byte */
#define R_RSSRK(i)	(0x5c80u + 4u * (i))

/* 10.2.6, 8.12 transmit */
#define R_TCTL		0x0400u
#define R_TCTL_SET	(1u << 1 | 1u << 3 | 15u << 4 | 63u << 12)	/* EN, PSP, CT, COLD */

#endif
