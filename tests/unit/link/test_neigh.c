/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_neigh.c - ARP and the neighbour state machine, on a virtual clock */
#include "tests/unit/link/fix.h"

#define SEC 1000000u

static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
#define PEER_IP ip4(192, 0, 2, 1)
#define OUR_IP	ip4(192, 0, 2, 2)
#define state(a) neigh_state_of(0, a)

/* The peer's next frame is an ARP request for @tip to @dst. */
static void expect_request(struct sd_addr tip, const uint8_t *dst)
{
	struct pkt *p = peer_rx();

	cr_assert(p, "an ARP request");
	cr_assert_eq(p->len, 42);
	cr_assert_eq(memcmp(p->data, dst, 6), 0);
	cr_assert_eq(p->data[13], 6);
	cr_assert_eq(p->data[21], 1);
	cr_assert_eq(memcmp(p->data + 22, fx.ours->mac, 6), 0);
	cr_assert_eq(memcmp(p->data + 28, &OUR_IP.b[12], 4), 0);
	cr_assert_eq(memcmp(p->data + 38, &tip.b[12], 4), 0);
	peer_free(p);
}

static void expect_data(const uint8_t *dst, uint8_t mark)
{
	struct pkt *p = peer_rx();

	cr_assert(p, "packet %u", mark);
	cr_assert_eq(memcmp(p->data, dst, 6), 0);
	cr_assert_eq(p->data[12], 8);
	cr_assert_eq(p->data[13], 0);
	cr_assert_eq(p->data[53], mark);
	peer_free(p);
}

static void answer(const uint8_t *mac)
{
	peer_arp(fx.ours->mac, 2, mac, PEER_IP, OUR_IP);
}

static void start(void)
{
	fix_init(1, 0);
	expect_request(OUR_IP, all);		/* the announcement */
}

static void resolve(void)
{
	start();
	ours_tx(&fx.h->st[0], PEER_IP, 1);
	expect_request(PEER_IP, all);
	answer(peer_mac);
	expect_data(peer_mac, 1);
	cr_assert_str_eq(state(PEER_IP), "REACHABLE");
}

Test(arp, answers_a_request_and_learns_from_it)
{
	static const uint8_t want[28] = {
		0, 1, 8, 0, 6, 4, 0, 2, 2, 's', 't', 'k', 0, 1, 192, 0, 2, 2,
		2, 0xaa, 0xbb, 0xcc, 0xdd, 1, 192, 0, 2, 1,
	};
	struct pkt *p;

	start();
	peer_arp(all, 1, peer_mac, PEER_IP, OUR_IP);
	p = peer_rx();
	cr_assert(p);
	cr_assert_eq(memcmp(p->data, peer_mac, 6), 0);
	cr_assert_eq(memcmp(p->data + 14, want, 28), 0);
	peer_free(p);
	cr_assert_str_eq(state(PEER_IP), "STALE");
	ours_tx(&fx.h->st[0], PEER_IP, 7);
	expect_data(peer_mac, 7);
	fix_fini();
}

Test(arp, answers_a_probe_without_learning)
{
	struct pkt *p;

	start();
	peer_arp(all, 1, peer_mac, ip4(0, 0, 0, 0), OUR_IP);
	p = peer_rx();
	cr_assert(p);
	cr_assert_eq(p->data[21], 2);
	peer_free(p);
	cr_assert_str_empty(state(ip4(0, 0, 0, 0)));
	fix_fini();
}

Test(arp, defends_its_address_once_in_ten_seconds)
{
	start();
	for (int i = 0; i < 5; i++)
		peer_arp(all, 1, peer_mac, OUR_IP, OUR_IP);
	cr_assert_eq(drops(DROP_ARP_CONFLICT), 5);
	expect_request(OUR_IP, all);
	cr_assert_eq(peer_drain(), 0);
	hx_pass(fx.h, 10 * SEC);
	peer_arp(all, 2, peer_mac, OUR_IP, ip4(192, 0, 2, 9));
	expect_request(OUR_IP, all);
	cr_assert_str_empty(state(OUR_IP));
	fix_fini();
}

Test(arp, strangers_teach_nothing)
{
	start();
	peer_arp(all, 1, peer_mac, PEER_IP, ip4(192, 0, 2, 77));	/* request to another */
	peer_arp(all, 1, peer_mac, PEER_IP, PEER_IP);			/* announcement */
	peer_arp(fx.ours->mac, 2, peer_mac, PEER_IP, OUR_IP);		/* reply nobody asked for */
	cr_assert_str_empty(state(PEER_IP));
	cr_assert_eq(drops(DROP_ARP_NOT_US), 3);
	cr_assert_eq(peer_drain(), 0);
	fix_fini();
}

Test(neigh, packets_wait_and_leave_in_order)
{
	start();
	for (uint8_t i = 0; i < 10; i++)
		ours_tx(&fx.h->st[0], PEER_IP, i);
	expect_request(PEER_IP, all);
	cr_assert_eq(peer_drain(), 0, "one question for all");
	cr_assert_str_eq(state(PEER_IP), "INCOMPLETE");
	answer(peer_mac);
	for (uint8_t i = 0; i < 10; i++)
		expect_data(peer_mac, i);
	fix_fini();
}

Test(neigh, full_queue_drops_the_oldest)
{
	start();
	for (int i = 0; i < 70; i++)
		ours_tx(&fx.h->st[0], PEER_IP, (uint8_t)i);
	cr_assert_eq(drops(DROP_NEIGH_FULL), 6);
	expect_request(PEER_IP, all);
	answer(peer_mac);
	for (int i = 6; i < 70; i++)
		expect_data(peer_mac, (uint8_t)i);
	fix_fini();
}

Test(neigh, all_queues_together_are_bounded)
{
	start();
	for (unsigned host = 10; host < 20; host++)
		for (int i = 0; i < 60; i++)
			ours_tx(&fx.h->st[0], ip4(192, 0, 2, host), 0);
	peer_drain();
	cr_assert_eq(drops(DROP_NEIGH_FULL), 600 - 512);
	cr_assert_eq(pkt_pool_used(fx.h->st[0].pool), 512);
	fix_fini();
}

static void send_more(struct stack *st)
{
	ours_tx(st, PEER_IP, 99);
}

Test(neigh, silence_is_unreachable)
{
	start();
	for (uint8_t i = 0; i < 3; i++)
		ours_tx(&fx.h->st[0], PEER_IP, i);
	expect_request(PEER_IP, all);
	for (int i = 0; i < 2; i++) {
		hx_pass(fx.h, SEC + SEC / 100);
		expect_request(PEER_IP, all);
		cr_assert_eq(fx.unreach_cnt, 0);
	}
	hx_pass(fx.h, SEC + SEC / 100);
	cr_assert_eq(fx.unreach_cnt, 3);
	cr_assert_eq(drops(DROP_NEIGH_FAILED), 3);
	cr_assert_str_eq(state(PEER_IP), "FAILED");
	cr_assert_eq(peer_drain(), 0);
	ours_tx(&fx.h->st[0], PEER_IP, 4);	/* starts over */
	expect_request(PEER_IP, all);
	answer(peer_mac);
	expect_data(peer_mac, 4);
	fix_fini();
}

Test(neigh, sending_while_told_unreachable_starts_over)
{
	start();
	fx.on_unreach = send_more;
	ours_tx(&fx.h->st[0], PEER_IP, 0);
	ours_tx(&fx.h->st[0], PEER_IP, 1);
	peer_drain();
	hx_pass(fx.h, 3 * SEC + SEC / 10);
	cr_assert_eq(fx.unreach_cnt, 2);
	cr_assert_str_eq(state(PEER_IP), "INCOMPLETE");
	expect_request(PEER_IP, all);
	expect_request(PEER_IP, all);
	expect_request(PEER_IP, all);
	fx.on_unreach = NULL;
	answer(peer_mac);
	expect_data(peer_mac, 99);
	expect_data(peer_mac, 99);
	fix_fini();
}

Test(neigh, ages_to_stale_when_unused)
{
	resolve();
	hx_pass(fx.h, 14 * SEC);
	cr_assert_str_eq(state(PEER_IP), "REACHABLE");
	hx_pass(fx.h, 32 * SEC);
	cr_assert_str_eq(state(PEER_IP), "STALE");
	cr_assert_eq(peer_drain(), 0);
	fix_fini();
}

Test(neigh, use_while_stale_probes_and_fails)
{
	resolve();
	hx_pass(fx.h, 46 * SEC);
	ours_tx(&fx.h->st[0], PEER_IP, 2);
	expect_data(peer_mac, 2);
	cr_assert_str_eq(state(PEER_IP), "DELAY");
	hx_pass(fx.h, 5 * SEC + SEC / 100);
	cr_assert_str_eq(state(PEER_IP), "PROBE");
	expect_request(PEER_IP, peer_mac);	/* by unicast */
	ours_tx(&fx.h->st[0], PEER_IP, 3);
	expect_data(peer_mac, 3);		/* the MAC is still used */
	hx_pass(fx.h, SEC + SEC / 100);
	expect_request(PEER_IP, peer_mac);
	hx_pass(fx.h, SEC + SEC / 100);
	expect_request(PEER_IP, peer_mac);
	hx_pass(fx.h, SEC + SEC / 100);
	cr_assert_str_eq(state(PEER_IP), "FAILED");
	fix_fini();
}

Test(neigh, an_answered_probe_is_reachable)
{
	resolve();
	hx_pass(fx.h, 46 * SEC);
	ours_tx(&fx.h->st[0], PEER_IP, 2);
	expect_data(peer_mac, 2);
	hx_pass(fx.h, 5 * SEC + SEC / 100);
	expect_request(PEER_IP, peer_mac);
	answer(peer_mac);
	cr_assert_str_eq(state(PEER_IP), "REACHABLE");
	fix_fini();
}

Test(neigh, progress_above_saves_the_probe)
{
	struct sd_addr a = PEER_IP;

	resolve();
	hx_pass(fx.h, 46 * SEC);
	ours_tx(&fx.h->st[0], PEER_IP, 2);
	expect_data(peer_mac, 2);
	hx_pass(fx.h, SEC);
	ours_tx_of(&fx.h->st[0], a, 2, true);
	expect_data(peer_mac, 2);
	hx_pass(fx.h, 5 * SEC);
	cr_assert_str_eq(state(PEER_IP), "REACHABLE");
	for (int i = 0; i < 60; i++) {		/* for as long as it goes on */
		ours_tx_of(&fx.h->st[0], a, 2, true);
		expect_data(peer_mac, 2);
		hx_pass(fx.h, SEC);
		cr_assert_str_eq(state(PEER_IP), "REACHABLE");
	}
	cr_assert_eq(peer_drain(), 0);
	fix_fini();
}

/* N2: of two answers to one question the first counts. */
Test(neigh, second_answer_loses)
{
	start();
	ours_tx(&fx.h->st[0], PEER_IP, 1);
	expect_request(PEER_IP, all);
	answer(peer_mac);
	answer(other_mac);
	expect_data(peer_mac, 1);
	ours_tx(&fx.h->st[0], PEER_IP, 2);
	expect_data(peer_mac, 2);
	cr_assert_str_eq(state(PEER_IP), "REACHABLE");
	fix_fini();
}

/* A MAC that changes without our asking is used, as Linux does (fail-over), but has to prove
 * itself. */
Test(neigh, new_mac_is_not_a_confirmation)
{
	resolve();
	hx_pass(fx.h, 2 * SEC);
	answer(other_mac);
	cr_assert_str_eq(state(PEER_IP), "STALE");
	ours_tx(&fx.h->st[0], PEER_IP, 2);
	expect_data(other_mac, 2);
	hx_pass(fx.h, 5 * SEC + SEC / 100);
	expect_request(PEER_IP, other_mac);
	fix_fini();
}

Test(neigh, table_full_replaces_the_unused)
{
	start();
	for (unsigned i = 1; i < NEIGH_MAX + 100; i++) {
		struct sd_addr a = ip4(10, 0, i >> 8, i & 255);
		uint8_t mac[6] = { 2, 1, 0, 0, (uint8_t)(i >> 8), (uint8_t)i };

		peer_arp(all, 1, mac, a, OUR_IP);
		peer_drain();
		cr_assert_str_eq(state(a), "STALE");
	}
	fix_fini();
}

Test(neigh, table_full_of_waiting_drops)
{
	start();
	for (unsigned i = 1; i < NEIGH_MAX + 10; i++) {
		ours_tx(&fx.h->st[0], ip4(10, 0, i >> 8, i & 255), 0);
		peer_drain();
	}
	cr_assert_eq(drops(DROP_NEIGH_TABLE), 10);
	fix_fini();
}

/* Borrowed fragments do not wait: the packet is copied. */
Test(neigh, waiting_packet_owns_its_bytes)
{
	struct stack *st;
	struct sd_addr a = PEER_IP;
	char outside[4] = "abc";
	struct pkt *p;

	start();
	st = &fx.h->st[0];
	p = pkt_alloc(st->pool, false);
	memset(p->data, 0, 40);
	p->len = 40;
	p->frag[0] = (struct iovec){ outside, 3 };
	p->frag_cnt = 1;
	p->frag_len = 3;
	link_tx_ip(st, &a, p);
	memcpy(outside, "xyz", 4);
	expect_request(PEER_IP, all);
	answer(peer_mac);
	p = peer_rx();
	cr_assert(p);
	cr_assert_eq(p->len, 57);
	cr_assert_eq(memcmp(p->data + 54, "abc", 3), 0);
	peer_free(p);
	fix_fini();
}

/* A new engine finds the MACs in the arena. */
Test(neigh, survives_the_engine)
{
	struct stack *st;

	resolve();
	ours_tx(&fx.h->st[0], ip4(192, 0, 2, 50), 1);
	peer_drain();
	st = &fx.h->st[0];
	/* As after a crash: private memory is gone, records are as they were. */
	struct neigh_rec *recs = arena_at(&fx.h->arena, AR_NEIGH, 1);
	struct neigh_rec *copy = malloc(sizeof(*recs) * (NEIGH_MAX - 1));

	memcpy(copy, recs, sizeof(*recs) * (NEIGH_MAX - 1));
	link_fini(st);
	memcpy(recs, copy, sizeof(*recs) * (NEIGH_MAX - 1));
	free(copy);
	cr_assert_eq(link_init(st), 0);
	cr_assert_str_eq(state(PEER_IP), "STALE");
	cr_assert_str_empty(state(ip4(192, 0, 2, 50)));
	ours_tx(st, PEER_IP, 9);
	expect_data(peer_mac, 9);
	fix_fini();
}
