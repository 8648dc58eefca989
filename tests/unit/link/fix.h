/* SPDX-License-Identifier: MIT */
/* tests/unit/link/fix.h - a stack's link room and a scripted peer, joined by a memory link
 * Ours is 192.0.2.2, the peer 192.0.2.1. What goes up to IP is kept in fx.up[], what was
 * reported as unreachable is counted.
 */
#ifndef TESTS_UNIT_LINK_FIX_H
#define TESTS_UNIT_LINK_FIX_H

#include "stackd/core/csum.h"
#include "tests/unit/harness.h"

#define FIX_UP	256

static struct fix {
	struct hx *h;			/* under test */
	struct hx *peer;		/* only its packet pool and clock are used */
	struct nic *ours, *theirs;
	struct { struct stack *st; struct pkt *p; } up[FIX_UP];
	unsigned up_cnt, unreach_cnt;
	void (*on_unreach)(struct stack *st);
} fx;

static const uint8_t peer_mac[6] = { 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01 };
static const uint8_t other_mac[6] = { 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x99 };

static inline struct sd_addr ip4(unsigned a, unsigned b, unsigned c, unsigned d)
{
	return sd_addr_v4((be32){ a | b << 8 | c << 16 | d << 24 });
}

static inline void fix_up(struct stack *st, struct pkt *p)
{
	cr_assert_lt(fx.up_cnt, FIX_UP);
	cr_assert_eq(p->l3_off, p->data - p->buf);
	fx.up[fx.up_cnt].st = st;
	fx.up[fx.up_cnt++].p = p;
}

static inline void fix_unreach(struct stack *st, struct pkt *p)
{
	cr_assert_eq(p->data[0] >> 4, 4, "data is at the IP header");
	fx.unreach_cnt++;
	if (fx.on_unreach)
		fx.on_unreach(st);
}

static inline void fix_init(unsigned workers, uint32_t features)
{
	static const struct link_up up = { fix_up, fix_unreach };
	struct sd_addr us = ip4(192, 0, 2, 2);

	memset(&fx, 0, sizeof(fx));
	fx.h = hx_init(workers);
	fx.peer = hx_init(1);
	cr_assert_eq(mem_nic_pair(1500, features, &fx.ours, &fx.theirs), 0);
	for (unsigned w = 0; w < workers; w++) {
		struct stack *st = &fx.h->st[w];

		st->nic = w == 0 ? fx.ours : NULL;
		cr_assert_eq(link_init(st), 0);
		link_set_dev(st, fx.ours->mac, 1500, 1);
		link_set_up(st, &up);
	}
	for (unsigned w = 0; w < workers; w++)
		cr_assert_eq(link_add_addr(&fx.h->st[w], &us), 0);
}

static inline void fix_drop_up(void)
{
	while (fx.up_cnt) {
		fx.up_cnt--;
		stack_pkt_free(fx.up[fx.up_cnt].st, fx.up[fx.up_cnt].p);
	}
}

/* The peer's next frame, at its Ethernet header; NULL = none. Owned by the peer. */
static inline struct pkt *peer_rx(void)
{
	struct pkt *p = NULL;

	for (unsigned w = fx.h->workers; w-- > 0;) {
		link_flush(&fx.h->st[w]);
		hx_pump(fx.h);
	}
	link_flush(&fx.h->st[0]);
	return fx.theirs->ops->rx(fx.theirs, &fx.peer->st[0], &p, 1) ? p : NULL;
}

static inline void peer_free(struct pkt *p)
{
	stack_pkt_free(&fx.peer->st[0], p);
}

static inline unsigned peer_drain(void)
{
	struct pkt *p;
	unsigned n = 0;

	while ((p = peer_rx())) {
		peer_free(p);
		n++;
	}
	return n;
}

static inline void fix_fini(void)
{
	fix_drop_up();
	peer_drain();
	for (unsigned w = 0; w < fx.h->workers; w++)
		link_fini(&fx.h->st[w]);
	fx.ours->ops->close(fx.ours);
	fx.theirs->ops->close(fx.theirs);
	hx_fini(fx.h);
	hx_fini(fx.peer);
}

/* The peer sends @len bytes as one frame; ours has not looked yet. */
static inline void peer_tx(const void *frame, uint32_t len)
{
	struct pkt *p = pkt_alloc(fx.peer->st[0].pool, len > PKT_SMALL - PKT_HEADROOM);

	memcpy(p->data, frame, len);
	p->len = len;
	fx.theirs->ops->tx(fx.theirs, &fx.peer->st[0], &p, 1);
}

static inline unsigned ours_poll(void)
{
	unsigned n = link_poll(&fx.h->st[0], 256);

	hx_pump(fx.h);
	return n;
}

static inline uint64_t drops(enum drop_reason why)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < fx.h->workers; w++)
		n += fx.h->cnt[w].drop[why];
	return n;
}

static inline uint64_t drops_all(void)
{
	uint64_t n = 0;

	for (int i = 0; i < DROP_MAX; i++)
		n += drops(i);
	return n;
}

/* ---- frames ---- */

static inline uint32_t mk_eth(uint8_t *f, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	f[12] = (uint8_t)(type >> 8);
	f[13] = (uint8_t)type;
	return 14;
}

static inline uint32_t mk_arp(uint8_t *f, const uint8_t *dst, uint16_t op, const uint8_t *sha,
			      struct sd_addr sip, struct sd_addr tip)
{
	static const uint8_t fixed[6] = { 0, 1, 8, 0, 6, 4 };

	mk_eth(f, dst, sha, 0x0806);
	memcpy(f + 14, fixed, 6);
	f[20] = (uint8_t)(op >> 8);
	f[21] = (uint8_t)op;
	memcpy(f + 22, sha, 6);
	memcpy(f + 28, &sip.b[12], 4);
	memset(f + 32, 0, 6);
	memcpy(f + 38, &tip.b[12], 4);
	return 42;
}

static inline void peer_arp(const uint8_t *dst, uint16_t op, const uint8_t *sha, struct sd_addr sip,
			    struct sd_addr tip)
{
	uint8_t f[64];

	peer_tx(f, mk_arp(f, dst, op, sha, sip, tip));
	ours_poll();
}

/* An IP packet of ours to @dst; only its first bytes matter here. */
static inline void ours_tx_of(struct stack *st, struct sd_addr dst, uint8_t mark, bool confirm)
{
	struct pkt *p = pkt_alloc(st->pool, false);

	p->confirm = confirm;
	memset(p->data, 0, 40);
	p->data[0] = 0x45;
	p->data[3] = 40;
	p->data[39] = mark;
	memcpy(p->data + 16, &dst.b[12], 4);
	p->len = 40;
	link_tx_ip(st, &dst, p);
}

static inline void ours_tx(struct stack *st, struct sd_addr dst, uint8_t mark)
{
	ours_tx_of(st, dst, mark, false);
}

struct find { struct sd_addr addr; struct link_neigh_info info; bool found; };

static inline void find_fn(void *arg, const struct link_neigh_info *i)
{
	struct find *f = arg;

	if (sd_addr_eq(&i->addr, &f->addr)) {
		f->info = *i;
		f->found = true;
	}
}

static inline const char *neigh_state_of(unsigned worker, struct sd_addr addr)
{
	static struct find f;

	f = (struct find){ .addr = addr };
	link_neigh_walk(&fx.h->st[worker], find_fn, &f);
	return f.found ? f.info.state : "";
}

#endif
