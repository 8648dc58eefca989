/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/fake_link.h - a link layer that writes down what IP sends and delivers nothing
 * Defines the link functions that ip/ calls: include it in exactly one file of a program.
 * A flow's owner is (source port + destination port) % workers.
 */
#include "tests/unit/ip/fake_link_rec.h"

struct fake_link fl;

void link_set_up(struct stack *st, const struct link_up *up)
{
	fl.up = *up;
}

int link_add_addr(struct stack *st, const struct sd_addr *addr)
{
	fl.addrs++;
	return 0;
}

uint16_t link_owner_back(struct stack *st, const struct pkt *p)
{
	return link_owner(st, p);
}

uint16_t link_owner(struct stack *st, const struct pkt *p)
{
	const uint8_t *h = p->data;
	unsigned ihl = (h[0] & 15u) * 4;

	if (st->workers < 2 || p->len < ihl + 4 || (h[6] & 0x3f) || h[7] ||
	    (h[9] != 6 && h[9] != 17))
		return st->worker;
	return (uint16_t)((h[ihl + 1] + h[ihl + 3]) % st->workers);
}

void link_tx_ip(struct stack *st, const struct sd_addr *next_hop, struct pkt *p)
{
	struct fake_tx *t = &fl.tx[fl.cnt++ % FAKE_TX];

	t->next_hop = *next_hop;
	t->len = pkt_total(p);
	t->bcast = p->bcast;
	t->csum_state = p->csum_state;
	t->csum_at = p->csum_start - (uint32_t)(p->data - p->buf);
	t->gso_size = p->gso_size;
	pkt_copy_out(p, 0, t->data, t->len);
	stack_pkt_free(st, p);
}
