/* SPDX-License-Identifier: MIT */
/* nic/steer.h - which worker the device brings a flow's packets to
 *
 * TAP and packet sockets are steered by a program of ours: nic_steer_hash() % workers, the same
 * function in BPF and C. A card hashes by its own rules, which it tells as struct nic_rss: then
 * stack.steer holds those rules ready to be computed with, and port selection and the hand-off
 * between workers follow them. A card with fewer queues than there are workers cannot say where a
 * flow belongs: its workers hand over by nic_steer_hash(), too.
 * Threads: any; a struct nic_steer in use is not written (engine/steering.c)
 */
#ifndef NIC_STEER_H
#define NIC_STEER_H

#include "stackd/core/toeplitz.h"
#include "stackd/nic/nic.h"

struct nic_steer {
	uint32_t turn;				/* another for every set of rules in use */
	struct toeplitz tt;
	uint16_t indir_len;			/* power of two */
	uint8_t fields[NIC_FLOW_MAX];		/* NIC_HASH_*; 0 = not hashed: worker 0 */
	uint8_t worker[NIC_RSS_INDIR];		/* queue q is worker q's */
};

/* @rss: as the device says; indir_len a power of two in 1 .. NIC_RSS_INDIR. */
void nic_steer_init(struct nic_steer *s, uint32_t turn, const struct nic_rss *rss);

/* The worker that gets TCP or UDP packets (@proto) from @src to @dst. */
uint16_t nic_flow_worker(const struct stack *st, uint8_t proto, const struct sd_addr *src,
			 uint16_t sport, const struct sd_addr *dst, uint16_t dport);

/* For each destination port: bit set in @bits[w] when packets of this flow with that port come to
 * worker w < @workers. */
void nic_steer_dports(const struct nic_steer *s, uint8_t proto, const struct sd_addr *src,
		      uint16_t sport, const struct sd_addr *dst, uint16_t workers,
		      uint64_t (*bits)[65536 / 64]);
/* Flows with equal classes (below NIC_RSS_INDIR) have equal maps of destination ports. */
unsigned nic_steer_class(const struct nic_steer *s, uint8_t proto, const struct sd_addr *src,
			 uint16_t sport, const struct sd_addr *dst);

#endif
