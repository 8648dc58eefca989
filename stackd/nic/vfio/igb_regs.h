/* SPDX-License-Identifier: MIT */
/* nic/vfio/igb_regs.h - Intel 82576: what it does not share with its kin (intel_regs.h)
 * Spec: 82576 GbE Controller datasheet (320961), the section stands at each part
 */
#ifndef NIC_VFIO_IGB_REGS_H
#define NIC_VFIO_IGB_REGS_H

/* 8.2 general */
#define I_CTRL_EXT_DRV	(1u << 28)	/* a driver is loaded */

/* 8.8 interrupts */
#define I_ICR		0x1500u
#define I_IMS		0x1508u
#define I_IMC		0x150cu
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
#define I_RXQ		0xc000u
#define I_Q_STRIDE	0x40u
#define I_SRRCTL(q)	(0xc00cu + 0x40u * (q))
#define I_SRRCTL_SET	(2u | 1u << 25 | 1u << 31)	/* 2 KiB, one buffer, drop when none */
#define I_DCTL_EN	(1u << 25)	/* of a queue, both ways */
#define I_MRQC_RSS	2u		/* 8.10.9: queues by hash */
#define I_MRQC_TCP6	(1u << 21)
#define I_MRQC_UDP4	(1u << 22)
#define I_MRQC_UDP6	(1u << 23)

/* 8.12 transmit */
#define I_TXQ		0xe000u

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
