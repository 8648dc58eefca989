/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_eth.c - frames in: each bad one is dropped for its own reason; frames out */
#include "tests/unit/link/fix.h"

#define US	2, 's', 't', 'k', 0, 1
#define PEER	2, 0xaa, 0xbb, 0xcc, 0xdd, 1
#define ARP_HEAD 0, 1, 8, 0, 6, 4
#define ZERO	0, 0, 0, 0, 0, 0

static const struct bad_frame {
	const char *name;
	enum drop_reason why;
	uint32_t len;
	uint8_t b[60];
} bad[] = {
	{ "empty", DROP_ETH_SHORT, 0, { 0 } },
	{ "13 bytes", DROP_ETH_SHORT, 13, { US, PEER, 8 } },
	{ "other's MAC", DROP_ETH_NOT_US, 60, { 2, 's', 't', 'k', 0, 7, PEER, 8, 0 } },
	{ "IPv6 multicast", DROP_ETH_NOT_US, 60, { 0x33, 0x33, 0, 0, 0, 1, PEER, 0x86, 0xdd } },
	{ "bridge group", DROP_ETH_NOT_US, 60, { 1, 0x80, 0xc2, 0, 0, 0, PEER, 0, 38 } },
	{ "group source", DROP_ETH_SRC, 60, { US, 0x01, 0, 0x5e, 1, 1, 1, 8, 0 } },
	{ "broadcast source", DROP_ETH_SRC, 60,
	  { US, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 8, 0 } },
	{ "VLAN", DROP_ETH_VLAN, 60, { US, PEER, 0x81, 0, 0, 5, 8, 0 } },
	{ "QinQ", DROP_ETH_VLAN, 60, { US, PEER, 0x88, 0xa8, 0, 5, 0x81, 0 } },
	{ "IPv6", DROP_ETH_PROTO, 60, { US, PEER, 0x86, 0xdd } },
	{ "802.3 length", DROP_ETH_PROTO, 60, { US, PEER, 0, 46 } },
	{ "ARP without body", DROP_ARP_BAD, 14, { US, PEER, 8, 6 } },
	{ "ARP one byte short", DROP_ARP_BAD, 41,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 192, 0, 2, 1 } },
	{ "ARP hardware type", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, 0, 6, 8, 0, 6, 4, 0, 1, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP protocol", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, 0, 1, 8, 1, 6, 4, 0, 1, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP hlen", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, 0, 1, 8, 0, 8, 4, 0, 1, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP plen", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, 0, 1, 8, 0, 6, 16, 0, 1, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP operation", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 3, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP sender's MAC is a group", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, 1, 0, 0x5e, 0, 0, 1, 192, 0, 2, 1, ZERO,
	    192, 0, 2, 2 } },
	{ "ARP sender's MAC is zero", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1, ZERO,
	    192, 0, 2, 2 } },
	{ "ARP sender is multicast", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 224, 0, 0, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP sender is loopback", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 127, 0, 0, 1, ZERO, 192, 0, 2, 2 } },
	{ "ARP reply from nobody", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 2, PEER, 0, 0, 0, 0, ZERO, 192, 0, 2, 2 } },
	{ "ARP target is broadcast", DROP_ARP_BAD, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 192, 0, 2, 1, ZERO, 255, 255, 255, 255 } },
	{ "ARP for another", DROP_ARP_NOT_US, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 192, 0, 2, 1, ZERO, 192, 0, 2, 3 } },
	{ "ARP reply nobody asked for", DROP_ARP_NOT_US, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 2, PEER, 192, 0, 2, 9, ZERO, 192, 0, 2, 2 } },
	{ "ARP probe for another", DROP_ARP_NOT_US, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 0, 0, 0, 0, ZERO, 192, 0, 2, 3 } },
	{ "our address claimed", DROP_ARP_CONFLICT, 42,
	  { US, PEER, 8, 6, ARP_HEAD, 0, 1, PEER, 192, 0, 2, 2, ZERO, 192, 0, 2, 2 } },
	{ "our own announcement, looped", DROP_ARP_NOT_US, 42,
	  { US, US, 8, 6, ARP_HEAD, 0, 1, US, 192, 0, 2, 2, ZERO, 192, 0, 2, 2 } },
};

Test(eth, bad_frames_have_reasons)
{
	fix_init(1, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t all = drops_all(), one = drops(bad[i].why);

		peer_tx(bad[i].b, bad[i].len);
		cr_expect_eq(ours_poll(), 1, "%s", bad[i].name);
		cr_expect_eq(drops(bad[i].why), one + 1, "%s", bad[i].name);
		cr_expect_eq(drops_all(), all + 1, "%s", bad[i].name);
		cr_expect_eq(fx.up_cnt, 0, "%s", bad[i].name);
	}
	cr_expect_str_empty(neigh_state_of(0, ip4(192, 0, 2, 1)), "nothing was learnt");
	fix_fini();
}

Test(eth, good_frames_go_up)
{
	static const uint8_t to_us[] = { US, PEER, 8, 0, 0x46 };
	static const uint8_t to_all[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, PEER, 8, 0, 0x46 };
	static const uint8_t to_group[] = { 1, 0, 0x5e, 1, 2, 3, PEER, 8, 0, 0x46 };

	fix_init(1, 0);
	peer_tx(to_us, sizeof(to_us));
	peer_tx(to_all, sizeof(to_all));
	peer_tx(to_group, sizeof(to_group));
	ours_poll();
	cr_assert_eq(fx.up_cnt, 3);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(fx.up[i].p->bcast, i);
		cr_expect_eq(fx.up[i].p->len, 1);
		cr_expect_eq(fx.up[i].p->data[0], 0x46);
		cr_expect_eq(fx.up[i].p->l2_off + 14, fx.up[i].p->l3_off);
	}
	fix_fini();
}

Test(eth, group_addresses_need_no_neighbour)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t group[6] = { 1, 0, 0x5e, 0x01, 2, 3 };
	struct pkt *p;

	fix_init(1, 0);
	peer_drain();
	ours_tx(&fx.h->st[0], ip4(255, 255, 255, 255), 1);
	ours_tx(&fx.h->st[0], ip4(239, 129, 2, 3), 2);
	p = peer_rx();
	cr_assert_eq(memcmp(p->data, all, 6), 0);
	cr_assert_eq(memcmp(p->data + 6, fx.ours->mac, 6), 0);
	cr_assert_eq(p->data[12] << 8 | p->data[13], 0x0800);
	peer_free(p);
	p = peer_rx();
	cr_assert_eq(memcmp(p->data, group, 6), 0);
	peer_free(p);
	fix_fini();
}

/* More than one vector in one loop: nothing is lost, order is kept. */
Test(eth, transmit_vector_overflows_into_the_device)
{
	fix_init(1, 0);
	peer_drain();
	for (int i = 0; i < 200; i++)
		ours_tx(&fx.h->st[0], ip4(255, 255, 255, 255), (uint8_t)i);
	for (int i = 0; i < 200; i++) {
		struct pkt *p = peer_rx();

		cr_assert(p);
		cr_assert_eq(p->data[53], (uint8_t)i);
		peer_free(p);
	}
	fix_fini();
}
