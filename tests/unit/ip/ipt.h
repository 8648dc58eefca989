/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/ipt.h - packets and stacks for the tests of ip/
 * Our address is 192.0.2.2/24, the peer is 192.0.2.1, the gateway 192.0.2.254. Protocol 17 is a
 * transport that writes down what it gets.
 */
#ifndef TESTS_IPT_H
#define TESTS_IPT_H

#include "stackd/ip/ip_int.h"
#include "tests/unit/harness.h"
#include "tests/unit/ip/fake_link_rec.h"

#define US	0xc0000202u
#define PEER	0xc0000201u
#define GATE	0xc00002feu
#define BCAST	0xc00002ffu
#define FAR	0xcb007107u		/* 203.0.113.7 */

struct ipt_rx {
	unsigned cnt, errs;		/* delivered packets, errors */
	uint16_t worker;
	struct ip_rx_info info;
	uint32_t len;
	uint8_t csum_state;
	uint8_t data[65536];
	struct ip_err_info err;
	uint8_t err_l4[8];
};
extern struct ipt_rx got;

static inline struct sd_addr v4(uint32_t a) { return sd_addr_v4(cpu_to_be32(a)); }

/* Fresh workers with address and default route; counters of fl and got cleared. */
struct hx *ipt_start(unsigned workers);
void ipt_stop(struct hx *h);

/* Fields of a packet from the wire; 0 = the usual value. */
struct ipt_pkt {
	uint32_t src, dst;
	uint8_t proto, tos, ttl;
	uint16_t id, frag;		/* host order: flags and offset / 8 */
	const void *opt;
	unsigned opt_len;		/* multiple of 4 */
	const void *body;
	unsigned len;
	unsigned pad;			/* bytes behind the IP packet */
};
struct pkt *ipt_make(struct stack *st, const struct ipt_pkt *d);
/* ipt_make() and in at IP input. */
void ipt_in(struct stack *st, const struct ipt_pkt *d);
/* An outgoing packet of the transport with @len bytes of @body, checksum complete. */
struct pkt *ipt_out(struct stack *st, const void *body, uint32_t len);

static inline const struct ip4_hdr *ipt_tx_hdr(unsigned i)
{
	return (const struct ip4_hdr *)fl.tx[i % FAKE_TX].data;
}

#endif
