/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/test_out.c - output: headers, checksum states, fragments, packets that stay
 * inside */
#include "tests/unit/ip/ipt.h"

static uint8_t body[65536];

static struct ip_tx_info info_to(struct stack *st, uint32_t dst, bool df)
{
	struct sd_addr d = v4(dst);
	struct ip_route_res r;

	cr_assert_eq(ip_route(st, &d, NULL, &r), 0);
	return (struct ip_tx_info){ .src = r.src, .dst = d, .next_hop = r.next_hop,
				    .proto = IP_PROTO_UDP, .df = df, .local = r.local };
}

static void fill(void)
{
	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 13 + i / 256);
}

/* UDP header in front of the body with the pseudo-header sum in its field. */
static struct pkt *partial(struct stack *st, const struct ip_tx_info *info, uint32_t len)
{
	struct pkt *p = ipt_out(st, body, len);
	uint16_t sum = ip_pseudo_sum(&info->src, &info->dst, info->proto, len);

	memcpy(p->data + 6, &sum, 2);
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(p->data - p->buf);
	p->csum_off = 6;
	return p;
}

Test(ip_out, header)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, FAR, true);
	const struct ip4_hdr *ih = ipt_tx_hdr(0);
	struct sd_addr gate = v4(GATE);

	fill();
	info.tos = 0x2e;
	info.ttl = 3;
	ip_tx(st, partial(st, &info, 100), &info);
	cr_assert_eq(fl.cnt, 1);
	cr_assert(sd_addr_eq(&fl.tx[0].next_hop, &gate));
	cr_assert_eq(fl.tx[0].len, 120);
	cr_assert_eq(csum_of(ih, 20), 0);
	cr_assert_eq(ih->ver_ihl, 0x45);
	cr_assert_eq(be16_to_cpu(ih->len), 120);
	cr_assert_eq(be16_to_cpu(ih->frag), IP4_DF);
	cr_assert_eq(ih->tos, 0x2e);
	cr_assert_eq(ih->ttl, 3);
	cr_assert_eq(be32_to_cpu(ih->src), US);
	cr_assert_eq(be32_to_cpu(ih->dst), FAR);
	cr_assert_eq(fl.tx[0].csum_state, PKT_CSUM_PARTIAL, "left to the device");
	cr_assert_eq(fl.tx[0].csum_at, 20, "still at the transport header");
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_OutRequests], 1);
	ipt_stop(h);
}

Test(ip_out, gso_frames_pass_uncut)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, PEER, true);
	struct pkt *p = partial(st, &info, 60000);

	p->gso_type = PKT_GSO_TCP4;
	p->gso_size = 1448;
	ip_tx(st, p, &info);
	cr_assert_eq(fl.cnt, 1);
	cr_assert_eq(be16_to_cpu(ipt_tx_hdr(0)->len), 60020);
	cr_assert_eq(fl.tx[0].gso_size, 1448);
	ipt_stop(h);
}

Test(ip_out, fragments_carry_a_finished_checksum_and_reassemble)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, PEER, false);
	uint32_t len = 5000, off = 0;
	static uint8_t whole[65536];

	fill();
	ip_tx(st, partial(st, &info, len), &info);
	cr_assert_eq(fl.cnt, 4);
	for (unsigned i = 0; i < fl.cnt; i++) {
		const struct ip4_hdr *ih = ipt_tx_hdr(i);
		uint32_t frag = be16_to_cpu(ih->frag), n = fl.tx[i].len - 20;

		cr_assert_eq(fl.tx[i].csum_state, PKT_CSUM_NONE, "O1");
		cr_assert(fl.tx[i].len <= 1500);
		cr_assert_eq(csum_of(ih, 20), 0);
		cr_assert_eq((frag & IP4_OFF_MASK) * 8, off);
		cr_assert_eq(!!(frag & IP4_MF), i < 3);
		cr_assert_eq(ih->id.v, ipt_tx_hdr(0)->id.v);
		memcpy(whole + off, fl.tx[i].data + 20, n);
		off += n;
	}
	cr_assert_eq(off, len);
	cr_assert_eq(csum_done(csum_add(ip_pseudo_sum(&info.src, &info.dst, IP_PROTO_UDP, len),
					whole, len)), 0);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_FragCreates], 4);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_FragOKs], 1);
	ipt_stop(h);
}

Test(ip_out, too_big_with_df_or_for_ip_is_dropped)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, PEER, true);

	ip_tx(st, ipt_out(st, body, 1481), &info);
	cr_assert_eq(h->cnt[0].drop[DROP_IP_TOO_BIG], 1);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_FragFails], 1);
	ip_tx(st, ipt_out(st, body, 1480), &info);
	cr_assert_eq(fl.cnt, 1);
	info.df = false;
	ip_tx(st, ipt_out(st, body, 65516), &info);
	cr_assert_eq(h->cnt[0].drop[DROP_IP_TOO_BIG], 2);
	ipt_stop(h);
}

Test(ip_out, fragments_without_buffers)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, PEER, false);
	struct pkt *p = ipt_out(st, body, 4000), *hold = NULL, *x;

	while ((x = pkt_alloc(st->pool, false))) {
		x->next = hold;
		hold = x;
	}
	ip_tx(st, p, &info);
	cr_assert_eq(fl.cnt, 0);
	cr_assert_eq(h->cnt[0].drop[DROP_NO_BUF], 1);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_FragFails], 1);
	while ((x = hold)) {
		hold = x->next;
		pkt_free(st->pool, x);
	}
	ipt_stop(h);
}

Test(ip_out, identifications_differ_and_workers_do_not_share_them)
{
	struct hx *h = ipt_start(2);
	bool seen[2][65536] = { { false } };

	for (unsigned w = 0; w < 2; w++) {
		struct ip_tx_info info = info_to(&h->st[w], PEER, false);

		for (unsigned i = 0; i < 1000; i++) {
			unsigned id;

			ip_tx(&h->st[w], ipt_out(&h->st[w], body, 8), &info);
			id = be16_to_cpu(ipt_tx_hdr(fl.cnt - 1)->id);
			cr_assert_not(seen[0][id] || seen[1][id]);
			cr_assert_eq(id % 2, w, "O2");
			seen[w][id] = true;
		}
	}
	ipt_stop(h);
}

Test(ip_out, broadcast_is_marked_for_the_link)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, BCAST, false);

	ip_tx(st, ipt_out(st, body, 8), &info);
	cr_assert_eq(fl.tx[0].bcast, 1);
	info = info_to(st, PEER, false);
	ip_tx(st, ipt_out(st, body, 8), &info);
	cr_assert_eq(fl.tx[1].bcast, 0);
	ipt_stop(h);
}

Test(ip_out, to_ourselves_stays_inside_until_the_next_loop)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];
	struct ip_tx_info info = info_to(st, US, false);
	static uint8_t tail[3000];
	struct pkt *p;

	fill();
	memcpy(tail, body + 1000, sizeof(tail));
	p = partial(st, &info, 1000);
	p->frag[0] = (struct iovec){ tail, sizeof(tail) };
	p->frag_cnt = 1;
	p->frag_len = sizeof(tail);
	ip_tx(st, p, &info);
	cr_assert_eq(got.cnt, 0);
	cr_assert(ip_local_pending(st));
	memset(tail, 0, sizeof(tail));
	cr_assert_eq(ip_poll_local(st), 1);
	cr_assert_not(ip_local_pending(st));
	cr_assert_eq(fl.cnt, 0);
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.len, 4000, "larger than the MTU, not cut");
	cr_assert_arr_eq(got.data + 1000, body + 1000, 3000, "borrowed bytes were copied");
	cr_assert_eq(got.csum_state, PKT_CSUM_UNNECESSARY);
	ipt_stop(h);
}

Test(ip_out, looped_packets_go_to_the_flows_owner)
{
	struct hx *h = ipt_start(4);
	struct ip_tx_info info = info_to(&h->st[0], US, false);

	memcpy(body, (uint8_t[]){ 0, 5, 0, 6 }, 4);
	ip_tx(&h->st[0], ipt_out(&h->st[0], body, 40), &info);
	cr_assert_not(ip_local_pending(&h->st[0]));
	hx_pump(h);
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.worker, 3);
	h->rings_full = true;
	ip_tx(&h->st[0], ipt_out(&h->st[0], body, 40), &info);
	cr_assert_eq(h->cnt[0].drop[DROP_HANDOFF_FULL], 1);
	h->rings_full = false;
	ipt_stop(h);
}

Test(ip_out, what_waits_inside_is_freed_at_the_end)
{
	struct hx *h = ipt_start(1);
	struct ip_tx_info info = info_to(&h->st[0], US, false);

	for (unsigned i = 0; i < 3; i++)
		ip_tx(&h->st[0], ipt_out(&h->st[0], body, 40), &info);
	ipt_stop(h);
}

Test(ip_out, pseudo_sums)
{
	struct sd_addr a = v4(0xc0a80001), b = v4(0xc0a800c7);
	struct sd_addr a6 = { .b = { 0x20, 1, [15] = 1 } }, b6 = { .b = { 0x20, 1, [15] = 2 } };

	/* c0a8 + 0001 + c0a8 + 00c7 + 0011 + 001c = 18245 -> 8246 */
	cr_assert_eq(ip_pseudo_sum(&a, &b, 17, 28), __builtin_bswap16(0x8245 + 1));
	/* 2001 + 1 + 2001 + 2 + 6 + 20 = 402b */
	cr_assert_eq(ip_pseudo_sum(&a6, &b6, 6, 0x20), __builtin_bswap16(0x402b));
}
