/* SPDX-License-Identifier: MIT */
/* nic/vfio/igb_regs.h - Intel 82576: registers and transmit descriptors
 * Spec: 82576 GbE Controller datasheet (320961), the section stands at each part
 */
#ifndef NIC_VFIO_IGB_REGS_H
#define NIC_VFIO_IGB_REGS_H

/* 8.2 general */
#define I_CTRL		0x0000u
#define I_CTRL_GIO_DIS	(1u << 2)
#define I_CTRL_SLU	(1u << 6)
#define I_CTRL_RST	(1u << 26)
#define I_STATUS	0x0008u
#define I_STATUS_FD	(1u << 0)
#define I_STATUS_LU	(1u << 1)
#define I_STATUS_SPEED	(3u << 6)
#define I_STATUS_GIO	(1u << 19)
#define I_CTRL_EXT	0x0018u
#define I_CTRL_EXT_DRV	(1u << 28)	/* a driver is loaded */
#define I_MDIC		0x0020u
#define I_MDIC_WRITE	(1u << 26)
#define I_MDIC_READY	(1u << 28)
#define I_MDIC_PHY	(1u << 21)
#define I_MDIC_REG(r)	((uint32_t)(r) << 16)
#define PHY_CTRL	0u		/* IEEE 802.3 22.2.4.1 */
#define PHY_CTRL_AUTONEG 0x1200u

/* 8.8 interrupts */
#define I_ICR		0x1500u
#define I_IMS		0x1508u
#define I_IMC		0x150cu
#define I_INT_LSC	(1u << 2)
#define I_GPIE		0x1514u
#define I_GPIE_SET	(1u << 0 | 1u << 4 | 1u << 31)	/* NSICR, MSI-X with many, PBA support */
#define I_EIMS		0x1524u
#define I_EIMC		0x1528u
#define I_EIAC		0x152cu
#define I_EICR		0x1580u
#define I_EITR(v)	(0x1680u + 4u * (v))	/* interval in bits 14:2, microseconds */
#define I_IVAR(i)	(0x1700u + 4u * (i))	/* queue i: receive byte 0, transmit byte 1 */
#define I_IVAR_MISC	0x1740u		/* byte 1: all other causes */
#define I_IVAR_VALID	0x80u

/* 8.10 receive */
#define I_RCTL		0x0100u
#define I_RCTL_EN	(1u << 1)
#define I_RCTL_BAM	(1u << 15)
#define I_RCTL_SECRC	(1u << 26)
#define I_RDBAL(q)	(0xc000u + 0x40u * (q))
#define I_RDBAH(q)	(0xc004u + 0x40u * (q))
#define I_RDLEN(q)	(0xc008u + 0x40u * (q))
#define I_SRRCTL(q)	(0xc00cu + 0x40u * (q))
#define I_SRRCTL_SET	(2u | 1u << 25 | 1u << 31)	/* 2 KiB, one buffer, drop when none */
#define I_RDH(q)	(0xc010u + 0x40u * (q))
#define I_RDT(q)	(0xc018u + 0x40u * (q))
#define I_RXDCTL(q)	(0xc028u + 0x40u * (q))
#define I_RXDCTL_EN	(1u << 25)
#define I_RXCSUM	0x5000u
#define I_RXCSUM_SET	(1u << 8 | 1u << 9 | 1u << 13)
#define I_MTA(i)	(0x5200u + 4u * (i))
#define I_RAL0		0x5400u
#define I_RAH0		0x5404u
#define I_RAH_AV	(1u << 31)
#define I_MRQC		0x5818u
#define I_MRQC_RSS	2u		/* 8.10.9: queues by hash */
#define I_MRQC_TCP4	(1u << 16)
#define I_MRQC_IP4	(1u << 17)
#define I_MRQC_IP6	(1u << 20)
#define I_MRQC_TCP6	(1u << 21)
#define I_MRQC_UDP4	(1u << 22)
#define I_MRQC_UDP6	(1u << 23)
#define I_RETA(i)	(0x5c00u + 4u * (i))	/* 128 entries of a byte */
#define I_RSSRK(i)	(0x5c80u + 4u * (i))

/* 8.12 transmit */
#define I_TCTL		0x0400u
#define I_TCTL_SET	(1u << 1 | 1u << 3 | 15u << 4 | 63u << 12)
#define I_TDBAL(q)	(0xe000u + 0x40u * (q))
#define I_TDBAH(q)	(0xe004u + 0x40u * (q))
#define I_TDLEN(q)	(0xe008u + 0x40u * (q))
#define I_TDH(q)	(0xe010u + 0x40u * (q))
#define I_TDT(q)	(0xe018u + 0x40u * (q))
#define I_TXDCTL(q)	(0xe028u + 0x40u * (q))
#define I_TXDCTL_EN	(1u << 25)

/* 7.2.2.2, 7.2.2.3 advanced descriptors: the third double word */
#define IT_CONTEXT	(2u << 20)	/* DTYP */
#define IT_DATA		(3u << 20)
#define IT_DEXT		(1u << 29)
#define IT_EOP		(1u << 24)
#define IT_IFCS		(1u << 25)
#define IT_RS		(1u << 27)
#define IT_TSE		(1u << 31)
#define IT_IP4		(1u << 10)	/* context */
#define IT_TCP		(1u << 11)
/* the fourth */
#define IT_IXSM		(1u << 8)
#define IT_TXSM		(1u << 9)
#define IT_PAYLEN	14		/* shift */

#endif
