/* SPDX-License-Identifier: MIT */
/* nic/tap_ring.h - a TAP queue's frames by the worker's io_uring: see tap_ring.c
 * Threads: owning worker only
 */
#ifndef NIC_TAP_RING_H
#define NIC_TAP_RING_H

#include "stackd/nic/nic.h"

struct tap_ring;

/**
 * tap_ring_open() - register the queue and its receive buffers
 * @fd: the queue's, borrowed until tap_ring_close(); becomes blocking
 * @nic: whose held is kept up to date
 * @ring: the worker's, not enabled yet
 * @tag: user data of all that is submitted, the low 24 bits free for this file
 * Return: 0, or -errno: the kernel is too old (before 6.7) or forbids it; @fd is as it was
 */
int tap_ring_open(int fd, struct nic *nic, struct stack *st, struct io_uring *ring, uint64_t tag,
		  struct tap_ring **ret);
/* Buffers go back to the pool, the ring is gone or never was enabled. NULL is allowed. */
void tap_ring_close(struct tap_ring *r);
/* A completion whose user data has the tag. */
void tap_ring_done(struct tap_ring *r, struct stack *st, uint64_t data, int res, uint32_t flags);
/* As nic_ops. */
unsigned tap_ring_rx(struct tap_ring *r, struct stack *st, struct pkt **pkts, unsigned max);
void tap_ring_tx(struct tap_ring *r, struct stack *st, struct pkt **pkts, unsigned cnt);
uint64_t tap_ring_next_us(const struct tap_ring *r);

#endif
