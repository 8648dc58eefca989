/* SPDX-License-Identifier: MIT */
/* sock/dports.c - which local ports bring a card's replies to which worker, as bitmaps
 *
 * The card's hash is linear: what the port adds does not depend on the rest of the tuple. So all
 * tuples fall into as many classes as its table has entries, and those of one class share their
 * maps, one of 8 KiB per worker, made when the class is first asked for.
 * Holds:   DP1 maps made under one turn of the steering are not used under another
 * Threads: worker 0
 */
#include "stackd/nic/steer.h"
#include "stackd/sock/sock_int.h"

#define WORDS	(65536u / 64)

struct dports {
	uint32_t turn;				/* of the rules that the maps were made for */
	bool made[2][NIC_RSS_INDIR];		/* by family */
	uint64_t bits[2][NIC_RSS_INDIR][SD_MAX_WORKERS][WORDS];
};

/* Address space for all; the maps of 4 workers and one family are 4 MiB. */
static struct dports *table(struct sock_state *s)
{
	if (!s->dports)
		s->dports = sock_map(sizeof(*s->dports));
	return s->dports;
}

void dports_fini(struct sock_state *s)
{
	sock_unmap(s->dports, sizeof(*s->dports));
}

const uint64_t *dports_of(struct stack *st, const struct sock_tuple *t, uint16_t worker)
{
	struct dports *d = st->steer ? table(st->sock) : NULL;
	bool v6 = !sd_addr_is_v4(&t->raddr);
	unsigned c;

	if (!d)
		return NULL;
	if (d->turn != st->steer->turn) {
		memset(d->made, 0, sizeof(d->made));
		d->turn = st->steer->turn;
	}
	c = nic_steer_class(st->steer, IPPROTO_TCP, &t->raddr, t->rport, &t->laddr);
	if (!d->made[v6][c])
		nic_steer_dports(st->steer, IPPROTO_TCP, &t->raddr, t->rport, &t->laddr,
				 st->workers, d->bits[v6][c]);
	d->made[v6][c] = true;
	return d->bits[v6][c][worker];
}
