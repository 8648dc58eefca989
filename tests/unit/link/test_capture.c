/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_capture.c - taps: what they see, filters, rings that fill up or are lied
 * about */
#include <errno.h>

#include "tests/unit/link/cap.h"

/* A frame of @len bytes for us that says @mark. */
static void send_frame(uint32_t len, uint8_t mark)
{
	uint8_t f[2000];

	memset(f, mark, sizeof(f));
	mk_eth(f, fx.ours->mac, peer_mac, 0x0800);
	f[14] = 0x45;
	f[14 + 9] = 99;
	peer_tx(f, len);
}

static uint32_t only_odd(const void *arg, const uint8_t *frame, uint32_t wire, uint32_t len)
{
	cr_assert_leq(len, wire);
	return frame[len - 1] & 1 ? 60 : 0;
}

Test(capture, both_ways_byte_for_byte)
{
	struct cap *k;
	const struct sd_cap_rec *r;
	struct pkt *p;

	fix_init(1, 0);
	peer_arp(fx.ours->mac, 2, peer_mac, ip4(192, 0, 2, 1), ip4(192, 0, 2, 2));
	ours_tx(&fx.h->st[0], ip4(192, 0, 2, 1), 1);	/* resolved from here on */
	peer_arp(fx.ours->mac, 2, peer_mac, ip4(192, 0, 2, 1), ip4(192, 0, 2, 2));
	peer_drain();
	k = cap_start(SD_CAP_BIT(SD_CAP_RX) | SD_CAP_BIT(SD_CAP_TX));
	send_frame(777, 5);
	ours_poll();
	ours_tx(&fx.h->st[0], ip4(192, 0, 2, 1), 42);
	p = peer_rx();
	r = cap_take(k);
	cr_assert(r && r->point == SD_CAP_RX && r->cap_len == 777 && r->wire_len == 777);
	cr_assert_eq(memcmp(r + 1, fx.ours->mac, 6), 0);
	cr_assert_eq(((uint8_t *)(r + 1))[776], 5);
	r = cap_take(k);
	cr_assert(r && p && r->point == SD_CAP_TX && r->cap_len == p->len);
	cr_assert_eq(memcmp(r + 1, p->data, p->len), 0);
	cr_assert_null(cap_take(k));
	peer_free(p);
	cap_stop(k);
	send_frame(100, 1);
	ours_poll();
	fix_fini();
}

Test(capture, a_frame_in_pieces_is_put_together)
{
	static uint8_t payload[3000];
	struct sd_addr all = ip4(255, 255, 255, 255);
	const struct sd_cap_rec *r;
	struct cap *k;
	struct pkt *p;

	fix_init(1, 0);
	for (unsigned i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7 | 1);
	k = cap_start(SD_CAP_BIT(SD_CAP_TX));
	k->c.match = only_odd;			/* looks at the last byte, in a fragment */
	k->c.snaplen = 50;
	p = pkt_alloc(fx.h->st[0].pool, false);
	memset(p->data, 0, 40);
	p->data[0] = 0x45;
	p->len = 40;
	p->frag[0] = (struct iovec){ payload, 1000 };
	p->frag[1] = (struct iovec){ payload + 1000, 300 };
	p->frag_cnt = 2;
	p->frag_len = 1300;
	link_tx_ip(&fx.h->st[0], &all, p);
	peer_drain();
	r = cap_take(k);
	cr_assert(r && r->wire_len == 14 + 40 + 1300 && r->cap_len == 50);
	k->c.snaplen = SD_CAP_SNAP;
	k->c.match = NULL;
	p = pkt_alloc(fx.h->st[0].pool, false);
	memset(p->data, 0, 40);
	p->data[0] = 0x45;
	p->len = 40;
	p->frag[0] = (struct iovec){ payload, 1300 };
	p->frag_cnt = 1;
	p->frag_len = 1300;
	link_tx_ip(&fx.h->st[0], &all, p);
	peer_drain();
	r = cap_take(k);
	cr_assert(r && r->cap_len == 14 + 40 + 1300);
	cr_assert_eq(memcmp((uint8_t *)(r + 1) + 54, payload, 1300), 0);
	cap_stop(k);
	fix_fini();
}

Test(capture, a_full_ring_drops_and_counts_and_goes_on)
{
	struct cap *k;
	const struct sd_cap_rec *r;
	unsigned kept = 0, next = 0;

	fix_init(1, 0);
	k = cap_start(SD_CAP_BIT(SD_CAP_RX));
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 100; i++) {
			send_frame(300 + (round * 37 + i) % 1100, (uint8_t)i);
			ours_poll();
			fix_drop_up();
		}
		for (kept = 0; (r = cap_take(k)); kept++) {
			next = ((uint8_t *)(r + 1))[r->cap_len - 1];
			cr_assert_eq(next, kept, "the oldest are kept, in order");
		}
		cr_assert(kept > 30 && kept <= 100, "%u kept", kept);
	}
	cr_assert_eq(k->ring.seen[SD_CAP_RX], 2000);
	cr_assert_gt(k->ring.dropped[SD_CAP_RX], 0);
	cap_stop(k);
	fix_fini();
}

Test(capture, filter_and_a_reader_that_lies)
{
	static const uint64_t lies[] = { 1, UINT64_MAX, 1ull << 63, CAP_SIZE, 12345678 };
	struct cap *k;
	const struct sd_cap_rec *r;

	fix_init(1, 0);
	k = cap_start(SD_CAP_BIT(SD_CAP_RX));
	k->c.match = only_odd;
	for (uint8_t i = 0; i < 10; i++)
		send_frame(200, i);
	ours_poll();
	fix_drop_up();
	for (unsigned i = 0; i < 5; i++) {
		r = cap_take(k);
		cr_assert(r && r->cap_len == 60 && r->wire_len == 200);
		cr_assert_eq(((uint8_t *)(r + 1))[59], 2 * i + 1);
	}
	cr_assert_null(cap_take(k));
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		k->ring.cons = lies[i];
		for (unsigned n = 0; n < 300; n++) {
			send_frame(1400, 1);
			ours_poll();
			fix_drop_up();
		}
	}
	cap_stop(k);
	fix_fini();
}

Test(capture, only_so_many_at_once)
{
	struct cap *k[LINK_CAPS];
	struct link_cap more = { .points = 1 };

	fix_init(1, 0);
	for (unsigned i = 0; i < LINK_CAPS; i++)
		k[i] = cap_start(SD_CAP_BIT(SD_CAP_RX));
	cr_assert_eq(link_cap_add(&fx.h->st[0], &more), -EBUSY);
	link_cap_del(&fx.h->st[0], &more);
	cap_stop(k[1]);
	send_frame(100, 1);
	ours_poll();
	for (unsigned i = 0; i < LINK_CAPS; i++) {
		if (i == 1)
			continue;
		cr_assert_not_null(cap_take(k[i]));
		cap_stop(k[i]);
	}
	fix_fini();
}
