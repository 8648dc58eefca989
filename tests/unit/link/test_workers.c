/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_workers.c - several workers, one device queue: hand-off, replicas */
#include "tests/unit/link/fix.h"

#define SEC 1000000u
#define PEER_IP ip4(192, 0, 2, 1)
#define OUR_IP	ip4(192, 0, 2, 2)

static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void start(void)
{
	fix_init(4, 0);
	cr_assert_eq(peer_drain(), 1, "one announcement, by worker 0");
}

static uint32_t mk_udp(uint8_t *f, uint16_t sport, uint16_t frag)
{
	memset(f, 0, 60);
	mk_eth(f, fx.ours->mac, peer_mac, 0x0800);
	memcpy(f + 14, (uint8_t[]){ 0x45, 0, 0, 28, 0, 0, (uint8_t)(frag >> 8), (uint8_t)frag,
				    64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, (uint8_t)(sport >> 8),
				    (uint8_t)sport, 0, 53, 0, 8 }, 26);
	return 60;
}

Test(workers, each_flow_reaches_its_owner)
{
	struct sd_addr a = PEER_IP, b = OUR_IP;
	unsigned seen[4] = { 0 };
	uint8_t f[64];

	start();
	for (uint16_t i = 0; i < 100; i++)
		peer_tx(f, mk_udp(f, i, 0));
	ours_poll();
	cr_assert_eq(fx.up_cnt, 100);
	for (unsigned i = 0; i < 100; i++) {
		uint16_t sport = (uint16_t)(fx.up[i].p->data[20] << 8 | fx.up[i].p->data[21]);

		cr_assert_eq(fx.up[i].st->worker, nic_steer_hash(&a, sport, &b, 53) % 4);
		cr_assert_eq(fx.up[i].p->pool, 0, "memory stays worker 0's");
		seen[fx.up[i].st->worker]++;
	}
	for (int i = 0; i < 4; i++)
		cr_assert_gt(seen[i], 10);
	fix_drop_up();
	peer_tx(f, mk_udp(f, 1, 0x2000));		/* a fragment: where it arrives */
	ours_poll();
	cr_assert_eq(fx.up[0].st->worker, 0);
	fix_fini();
}

Test(workers, full_ring_is_a_counted_drop)
{
	uint8_t f[64];

	start();
	fx.h->rings_full = true;
	for (uint16_t i = 0; i < 100; i++)
		peer_tx(f, mk_udp(f, i, 0));
	ours_poll();
	cr_assert_eq(fx.up_cnt + drops(DROP_HANDOFF_FULL), 100);
	cr_assert_gt(drops(DROP_HANDOFF_FULL), 50);
	fx.h->rings_full = false;
	fix_fini();
}

static struct pkt *next_frame(bool arp)
{
	struct pkt *p;

	while ((p = peer_rx())) {
		if ((p->data[13] == 6) == arp)
			return p;
		peer_free(p);
	}
	return NULL;
}

static void resolve_by_worker(unsigned w)
{
	struct pkt *p;

	ours_tx(&fx.h->st[w], PEER_IP, 1);
	hx_pump(fx.h);
	p = next_frame(true);
	cr_assert(p, "worker 0 asks for it");
	peer_free(p);
	peer_arp(fx.ours->mac, 2, peer_mac, PEER_IP, OUR_IP);
	p = next_frame(false);
	cr_assert(p);
	cr_assert_eq(memcmp(p->data, peer_mac, 6), 0);
	peer_free(p);
}

Test(workers, one_resolution_serves_all)
{
	start();
	resolve_by_worker(2);
	for (unsigned w = 0; w < 4; w++) {
		struct pkt *p;

		cr_assert_str_eq(neigh_state_of(w, PEER_IP), "REACHABLE");
		ours_tx(&fx.h->st[w], PEER_IP, (uint8_t)(50 + w));
		p = peer_rx();
		cr_assert(p);
		cr_assert_eq(p->data[53], 50 + w);
		peer_free(p);
	}
	cr_assert_eq(peer_drain(), 0);
	fix_fini();
}

Test(workers, silence_fails_replicas)
{
	start();
	ours_tx(&fx.h->st[3], PEER_IP, 1);
	hx_pass(fx.h, 4 * SEC);
	cr_assert_eq(fx.unreach_cnt, 1);
	cr_assert_str_eq(neigh_state_of(3, PEER_IP), "FAILED");
	cr_assert_eq(peer_drain(), 3);
	fix_fini();
}

/* No message gets through: the replica gives up by itself, and works again afterwards. */
Test(workers, replica_survives_lost_messages)
{
	start();
	fx.h->rings_full = true;
	ours_tx(&fx.h->st[1], PEER_IP, 1);
	hx_pass(fx.h, 10 * SEC);
	cr_assert_eq(fx.unreach_cnt, 1);
	fx.h->rings_full = false;
	resolve_by_worker(1);
	fix_fini();
}

/* Use by another worker keeps worker 0's entry in use: it probes, and the news of a failure
 * spreads. */
Test(workers, use_by_a_replica_is_reported)
{
	struct pkt *p;

	start();
	resolve_by_worker(1);
	hx_pass(fx.h, 46 * SEC);
	cr_assert_str_eq(neigh_state_of(0, PEER_IP), "STALE");
	cr_assert_str_eq(neigh_state_of(1, PEER_IP), "STALE");
	ours_tx(&fx.h->st[1], PEER_IP, 2);
	p = next_frame(false);
	cr_assert(p, "sent at once");
	peer_free(p);
	hx_pump(fx.h);
	cr_assert_str_eq(neigh_state_of(0, PEER_IP), "DELAY");
	hx_pass(fx.h, 9 * SEC);
	cr_assert_str_eq(neigh_state_of(0, PEER_IP), "FAILED");
	cr_assert_str_eq(neigh_state_of(1, PEER_IP), "FAILED");
	fix_fini();
}

Test(workers, arp_at_another_worker_goes_to_the_first)
{
	uint8_t f[64];
	struct pkt *p;
	uint32_t n;

	start();
	n = mk_arp(f, all, 1, peer_mac, PEER_IP, OUR_IP);
	p = pkt_alloc(fx.h->st[2].pool, false);
	memcpy(p->data, f, n);
	p->len = n;
	link_rx(&fx.h->st[2], p);
	hx_pump(fx.h);
	for (unsigned w = 0; w < 4; w++)
		cr_assert_str_eq(neigh_state_of(w, PEER_IP), "STALE");
	p = peer_rx();
	cr_assert(p);
	cr_assert_eq(p->data[21], 2, "one reply");
	peer_free(p);
	cr_assert_eq(peer_drain(), 0);
	fix_fini();
}

/* What crosses to the device's worker no longer borrows from the sender's FIFO. */
Test(workers, packet_in_pieces_crosses_in_one)
{
	struct sd_addr all_hosts = ip4(255, 255, 255, 255);
	struct stack *st;
	char outside[4] = "abc";
	struct pkt *p;

	start();
	st = &fx.h->st[2];
	p = pkt_alloc(st->pool, false);
	memset(p->data, 0, 40);
	p->len = 40;
	p->frag[0] = (struct iovec){ outside, 3 };
	p->frag_cnt = 1;
	p->frag_len = 3;
	link_tx_ip(st, &all_hosts, p);
	link_flush(st);
	memcpy(outside, "xyz", 4);
	hx_pump(fx.h);
	p = peer_rx();
	cr_assert(p);
	cr_assert_eq(p->len, 57);
	cr_assert_eq(memcmp(p->data + 54, "abc", 3), 0);
	peer_free(p);
	fix_fini();
}

/* A held packet is let go by the device timer, without any other traffic. */
Test(workers, device_timer_polls)
{
	const char *bad;
	uint8_t f[64];

	fix_init(1, 0);
	peer_drain();
	cr_assert_eq(impair_nic_wrap(fx.ours, "delay=20ms,dir=rx", &fx.ours, &bad), 0);
	fx.h->st[0].nic = fx.ours;
	peer_tx(f, mk_udp(f, 1, 0));
	cr_assert_eq(ours_poll(), 0);
	hx_pass(fx.h, 15000);
	cr_assert_eq(fx.up_cnt, 0);
	hx_pass(fx.h, 10000);
	cr_assert_eq(fx.up_cnt, 1);
	fix_fini();
}
