/* SPDX-License-Identifier: MIT */
/* nic/vfio/e1000e_regs.h - Intel 82574: what it does not share with its kin (intel_regs.h)
 * Spec: 82574 GbE Controller Family datasheet (317694), the section stands at each part
 */
#ifndef NIC_VFIO_E1000E_REGS_H
#define NIC_VFIO_E1000E_REGS_H

/* 10.2.2 general */
#define E_CTRL_EXT_PBA	(1u << 31)	/* PBA support: MSI-X pending bits are cleared */

/* 10.2.4 interrupts */
#define E_ICR		0x00c0u		/* MSI-X: write 1 to clear */
#define E_IMS		0x00d0u
#define E_IMC		0x00d8u
#define E_EIAC		0x00dcu
#define E_IVAR		0x00e4u
#define E_EITR(v)	(0x00e8u + 4u * (v))	/* in 256 ns */
#define E_INT_RXQ(q)	(1u << (20 + (q)))
#define E_INT_TXQ(q)	(1u << (22 + (q)))
#define E_INT_OTHER	(1u << 24)
#define E_IVAR_RXQ(q, v) (((v) | 8u) << (4u * (q)))
#define E_IVAR_TXQ(q, v) (((v) | 8u) << (8 + 4u * (q)))
#define E_IVAR_OTHER(v)	(((v) | 8u) << 16)
#define E_IVAR_TX_WB	(1u << 31)	/* transmit interrupts on every write-back */

/* 10.2.5 receive */
#define E_RXQ		0x2800u
#define E_Q_STRIDE	0x100u
#define E_RXDCTL_SET	(1u << 24 | 1u << 16)	/* thresholds in descriptors, write back each */
#define E_RFCTL		0x5008u
#define E_RFCTL_EXSTEN	(1u << 15)	/* extended descriptors */
#define E_MRQC_RSS	1u
#define E_MRQC_TCP6	(1u << 18)
#define E_RETA_QUEUE	7		/* shift: the queue is bit 7 of its byte */

/* 10.2.6 transmit */
#define E_TXQ		0x3800u
#define E_TIPG		0x0410u
#define E_TIPG_SET	(8u | 8u << 10 | 6u << 20)
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
