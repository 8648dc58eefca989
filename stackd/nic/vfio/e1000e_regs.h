/* SPDX-License-Identifier: MIT */
/* nic/vfio/e1000e_regs.h - Intel 82574: registers and transmit descriptors
 * Spec: 82574 GbE Controller Family datasheet (317694), the section stands at each part
 */
#ifndef NIC_VFIO_E1000E_REGS_H
#define NIC_VFIO_E1000E_REGS_H

/* 10.2.2 general */
#define E_CTRL		0x0000u
#define E_CTRL_GIO_DIS	(1u << 2)	/* GIO master disable */
#define E_CTRL_SLU	(1u << 6)	/* set link up */
#define E_CTRL_RST	(1u << 26)
#define E_STATUS	0x0008u
#define E_STATUS_FD	(1u << 0)
#define E_STATUS_LU	(1u << 1)
#define E_STATUS_SPEED	(3u << 6)	/* 0 = 10, 1 = 100, 2 and 3 = 1000 Mbit/s */
#define E_STATUS_GIO	(1u << 19)	/* GIO master requests are enabled */
#define E_CTRL_EXT	0x0018u
#define E_CTRL_EXT_PBA	(1u << 31)	/* PBA support: MSI-X pending bits are cleared */
#define E_MDIC		0x0020u
#define E_MDIC_WRITE	(1u << 26)
#define E_MDIC_READY	(1u << 28)
#define E_MDIC_PHY	(1u << 21)	/* PHY address 1 */
#define E_MDIC_REG(r)	((uint32_t)(r) << 16)
#define PHY_CTRL	0u		/* IEEE 802.3 22.2.4.1 */
#define PHY_CTRL_AUTONEG 0x1200u	/* auto-negotiation on, and restarted */

/* 10.2.4 interrupts */
#define E_ICR		0x00c0u		/* MSI-X: write 1 to clear */
#define E_IMS		0x00d0u
#define E_IMC		0x00d8u
#define E_EIAC		0x00dcu
#define E_IVAR		0x00e4u
#define E_EITR(v)	(0x00e8u + 4u * (v))	/* in 256 ns */
#define E_INT_LSC	(1u << 2)
#define E_INT_RXQ(q)	(1u << (20 + (q)))
#define E_INT_TXQ(q)	(1u << (22 + (q)))
#define E_INT_OTHER	(1u << 24)
#define E_IVAR_RXQ(q, v) (((v) | 8u) << (4u * (q)))
#define E_IVAR_TXQ(q, v) (((v) | 8u) << (8 + 4u * (q)))
#define E_IVAR_OTHER(v)	(((v) | 8u) << 16)
#define E_IVAR_TX_WB	(1u << 31)	/* transmit interrupts on every write-back */

/* 10.2.5 receive */
#define E_RCTL		0x0100u
#define E_RCTL_EN	(1u << 1)
#define E_RCTL_BAM	(1u << 15)	/* accept broadcast */
#define E_RCTL_SECRC	(1u << 26)	/* strip the frame check sequence */
#define E_RDBAL(q)	(0x2800u + 0x100u * (q))
#define E_RDBAH(q)	(0x2804u + 0x100u * (q))
#define E_RDLEN(q)	(0x2808u + 0x100u * (q))
#define E_RDH(q)	(0x2810u + 0x100u * (q))
#define E_RDT(q)	(0x2818u + 0x100u * (q))
#define E_RXDCTL(q)	(0x2828u + 0x100u * (q))
#define E_RXDCTL_SET	(1u << 24 | 1u << 16)	/* thresholds in descriptors, write back each */
#define E_RXCSUM	0x5000u
#define E_RXCSUM_SET	(1u << 8 | 1u << 9 | 1u << 13)	/* IP, TCP/UDP; hash instead of IP id */
#define E_RFCTL		0x5008u
#define E_RFCTL_EXSTEN	(1u << 15)	/* extended descriptors */
#define E_MTA(i)	(0x5200u + 4u * (i))	/* 128 of them */
#define E_RAL0		0x5400u
#define E_RAH0		0x5404u
#define E_RAH_AV	(1u << 31)
#define E_MRQC		0x5818u
#define E_MRQC_RSS	1u
#define E_MRQC_TCP4	(1u << 16)
#define E_MRQC_IP4	(1u << 17)
#define E_MRQC_TCP6	(1u << 18)
#define E_MRQC_IP6	(1u << 20)
#define E_RETA(i)	(0x5c00u + 4u * (i))	/* 128 entries of a byte, queue in bit 7 */
#define E_RSSRK(i)	(0x5c80u + 4u * (i))

/* 10.2.6 transmit */
#define E_TCTL		0x0400u
#define E_TCTL_SET	(1u << 1 | 1u << 3 | 15u << 4 | 63u << 12)	/* EN, PSP, CT, COLD */
#define E_TIPG		0x0410u
#define E_TIPG_SET	(8u | 8u << 10 | 6u << 20)
#define E_TDBAL(q)	(0x3800u + 0x100u * (q))
#define E_TDBAH(q)	(0x3804u + 0x100u * (q))
#define E_TDLEN(q)	(0x3808u + 0x100u * (q))
#define E_TDH(q)	(0x3810u + 0x100u * (q))
#define E_TDT(q)	(0x3818u + 0x100u * (q))
#define E_TXDCTL(q)	(0x3828u + 0x100u * (q))
#define E_TXDCTL_SET	(1u << 24 | 1u << 22 | 1u << 16)
#define E_TARC(q)	(0x3840u + 0x100u * (q))
#define E_TARC_EN	(1u << 10)

/* 7.2.6, 7.2.11 transmit descriptors: command bits of the third double word */
#define ET_TCP		(1u << 24)	/* context */
#define ET_IP4		(1u << 25)
#define ET_TSE		(1u << 26)
#define ET_DEXT		(1u << 29)
#define ET_DATA		(1u << 20)	/* DTYP 1; context has 0 */
#define ET_EOP		(1u << 24)	/* data */
#define ET_IFCS		(1u << 25)
#define ET_RS		(1u << 27)
#define ET_TXSM		(1ull << 41)	/* insert the TCP or UDP checksum */
#define ET_IXSM		(1ull << 40)	/* insert the IP checksum */

#endif
