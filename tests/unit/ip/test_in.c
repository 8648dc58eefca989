/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/test_in.c - IPv4 input: what is delivered, and a reason for each thing that is
 * not */
#include "tests/unit/ip/ipt.h"

static uint8_t body[256];

/* One malformed packet: change the good one (60 bytes of UDP) and expect the reason. */
struct bad {
	const char *what;
	void (*spoil)(struct pkt *p, struct ip4_hdr *h);
	enum drop_reason why;
	enum snmp_id snmp;
	bool keep_sum;			/* do not repair the header checksum */
};

#define SPOIL(name, ...) \
	static void name(struct pkt *p, struct ip4_hdr *h) \
	{ \
		(void)p; \
		(void)h; \
		__VA_ARGS__; \
	}
SPOIL(empty, p->len = 0)
SPOIL(cut19, p->len = 19)
SPOIL(v6, h->ver_ihl = 0x65)
SPOIL(v0, h->ver_ihl = 0x05)
SPOIL(ihl4, h->ver_ihl = 0x44)
SPOIL(ihl0, h->ver_ihl = 0x40)
SPOIL(ihl_beyond, h->ver_ihl = 0x4f; p->len = 40; h->len = cpu_to_be16(40))
SPOIL(sum, h->csum ^= 1)
SPOIL(ttl_changed, h->ttl--)
SPOIL(len_below_hdr, h->len = cpu_to_be16(19))
SPOIL(len0, h->len = cpu_to_be16(0))
SPOIL(len_beyond, h->len = cpu_to_be16(81))
SPOIL(len_max, h->len = cpu_to_be16(65535))
SPOIL(not_us, h->dst = cpu_to_be32(PEER + 5))
SPOIL(other_group, h->dst = cpu_to_be32(0xe0000105))
SPOIL(to_loopback, h->dst = cpu_to_be32(0x7f000001))
SPOIL(to_zero, h->dst = cpu_to_be32(0))
SPOIL(from_group, h->src = cpu_to_be32(0xe0000001))
SPOIL(from_all, h->src = cpu_to_be32(0xffffffff))
SPOIL(from_bcast, h->src = cpu_to_be32(BCAST))
SPOIL(from_loopback, h->src = cpu_to_be32(0x7f000001))
SPOIL(from_zero, h->src = cpu_to_be32(0))
SPOIL(from_us, h->src = cpu_to_be32(US))
SPOIL(no_proto, h->proto = 99)
SPOIL(frag_empty, h->frag = cpu_to_be16(IP4_MF); h->len = cpu_to_be16(20))
SPOIL(frag_odd, h->frag = cpu_to_be16(IP4_MF); h->len = cpu_to_be16(20 + 59))
SPOIL(frag_beyond, h->frag = cpu_to_be16(IP4_OFF_MASK))
SPOIL(frag_no_tail, h->frag = cpu_to_be16(5); h->len = cpu_to_be16(20))

static const struct bad table[] = {
	{ "empty", empty, DROP_IP_SHORT, SNMP_Ip_InHdrErrors, false },
	{ "cut in the header", cut19, DROP_IP_SHORT, SNMP_Ip_InHdrErrors, false },
	{ "version 6", v6, DROP_IP_VERSION, SNMP_Ip_InHdrErrors, false },
	{ "version 0", v0, DROP_IP_VERSION, SNMP_Ip_InHdrErrors, false },
	{ "header of 16", ihl4, DROP_IP_VERSION, SNMP_Ip_InHdrErrors, true },
	{ "header of 0", ihl0, DROP_IP_VERSION, SNMP_Ip_InHdrErrors, true },
	{ "header longer than packet", ihl_beyond, DROP_IP_SHORT, SNMP_Ip_InHdrErrors, true },
	{ "checksum", sum, DROP_IP_CSUM, SNMP_Ip_InHdrErrors, true },
	{ "changed under its checksum", ttl_changed, DROP_IP_CSUM, SNMP_Ip_InHdrErrors, true },
	{ "length below header", len_below_hdr, DROP_IP_LEN, SNMP_Ip_InHdrErrors, false },
	{ "length 0", len0, DROP_IP_LEN, SNMP_Ip_InHdrErrors, false },
	{ "length beyond packet", len_beyond, DROP_IP_LEN, SNMP_Ip_InHdrErrors, false },
	{ "length 65535", len_max, DROP_IP_LEN, SNMP_Ip_InHdrErrors, false },
	{ "not us", not_us, DROP_IP_NOT_US, SNMP_Ip_InAddrErrors, false },
	{ "group not joined", other_group, DROP_IP_NOT_US, SNMP_Ip_InAddrErrors, false },
	{ "to loopback", to_loopback, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "to 0", to_zero, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from a group", from_group, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from everybody", from_all, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from the subnet", from_bcast, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from loopback", from_loopback, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from 0", from_zero, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "from us", from_us, DROP_IP_MARTIAN, SNMP_Ip_InAddrErrors, false },
	{ "unknown transport", no_proto, DROP_IP_PROTO, SNMP_Ip_InUnknownProtos, false },
	{ "empty fragment", frag_empty, DROP_IP_FRAG, SNMP_Ip_ReasmFails, false },
	{ "fragment not of 8s", frag_odd, DROP_IP_FRAG, SNMP_Ip_ReasmFails, false },
	{ "fragment past 64 KiB", frag_beyond, DROP_IP_FRAG, SNMP_Ip_ReasmFails, false },
	{ "empty last fragment", frag_no_tail, DROP_IP_FRAG, SNMP_Ip_ReasmFails, false },
};

static uint64_t drops(const struct hx *h)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < DROP_MAX; i++)
		n += h->cnt[0].drop[i];
	return n;
}

Test(ip_in, malformed_table)
{
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct bad *b = &table[i];
		struct hx *h = ipt_start(1);
		struct pkt *p = ipt_make(&h->st[0], &(struct ipt_pkt){ .body = body, .len = 60 });

		b->spoil(p, ip4_hdr(p));
		if (!b->keep_sum)
			ip4_hdr_sum(ip4_hdr(p));
		fl.up.ip4_rx(&h->st[0], p);
		cr_assert_eq(h->cnt[0].drop[b->why], 1, "%s", b->what);
		cr_assert_eq(drops(h), 1, "%s", b->what);
		cr_assert_eq(h->cnt[0].snmp[b->snmp], 1, "%s", b->what);
		cr_assert_eq(got.cnt, 0, "%s", b->what);
		ipt_stop(h);
	}
}

Test(ip_in, good_packet_is_delivered_whole)
{
	struct hx *h = ipt_start(1);

	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)i;
	ipt_in(&h->st[0], &(struct ipt_pkt){ .body = body, .len = 200, .tos = 0xb8, .ttl = 7,
					     .pad = 30, .frag = IP4_DF });
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.len, 200, "padding is cut");
	cr_assert_arr_eq(got.data, body, 200);
	cr_assert_eq(got.info.tos, 0xb8);
	cr_assert_eq(got.info.ttl, 7);
	cr_assert_eq(got.info.local_bcast, 0);
	cr_assert_eq(be32_to_cpu(sd_addr_to_v4(&got.info.src)), PEER);
	cr_assert_eq(be32_to_cpu(sd_addr_to_v4(&got.info.dst)), US);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_InDelivers], 1);
	cr_assert_eq(drops(h), 0);
	ipt_stop(h);
}

Test(ip_in, padding_in_fragments_is_cut_and_spoils_complete)
{
	struct hx *h = ipt_start(1);
	struct pkt *p = ipt_make(&h->st[0], &(struct ipt_pkt){ .body = body, .len = 200 });

	p->len -= 100;
	p->frag[0] = (struct iovec){ body, 100 };
	p->frag[1] = (struct iovec){ body + 100, 20 };
	p->frag_cnt = 2;
	p->frag_len = 120;
	p->csum_state = PKT_CSUM_COMPLETE;
	ip4_hdr(p)->len = cpu_to_be16(20 + 190);
	ip4_hdr_sum(ip4_hdr(p));
	fl.up.ip4_rx(&h->st[0], p);
	cr_assert_eq(got.len, 190);
	cr_assert_eq(got.csum_state, PKT_CSUM_NONE);
	ipt_stop(h);
}

Test(ip_in, groups_and_broadcasts_are_marked)
{
	static const uint32_t dst[] = { 0xffffffff, BCAST, 0xe0000001 };
	struct hx *h = ipt_start(1);
	struct pkt *p;

	for (unsigned i = 0; i < 3; i++) {
		ipt_in(&h->st[0], &(struct ipt_pkt){ .dst = dst[i], .body = body, .len = 8 });
		cr_assert_eq(got.cnt, i + 1);
		cr_assert_eq(got.info.local_bcast, 1);
	}
	p = ipt_make(&h->st[0], &(struct ipt_pkt){ .body = body, .len = 8 });
	p->bcast = 1;
	fl.up.ip4_rx(&h->st[0], p);
	cr_assert_eq(got.info.local_bcast, 1, "unicast in a broadcast frame");
	ipt_stop(h);
}

static const struct {
	uint8_t o[8];
	bool ok;
} opts[] = {
	{ { 0 }, true },
	{ { 1, 1, 1, 1, 1, 1, 1, 1 }, true },
	{ { 7, 7, 4, 0, 0, 0, 0, 0 }, true },		/* record route */
	{ { 148, 4, 0, 0 }, true },			/* router alert */
	{ { 7, 8, 4, 0, 0, 0, 0, 0 }, true },
	{ { 7, 9, 4 }, false },				/* beyond the header */
	{ { 7, 1 }, false }, { { 7, 0 }, false },	/* shorter than itself */
	{ { 1, 1, 1, 1, 1, 1, 1, 7 }, false },		/* no room for a length */
	{ { 131, 7, 4 }, false }, { { 137, 7, 4 }, false },	/* source routes */
	{ { 0, 131, 0, 0 }, true },			/* after the end nothing counts */
};

Test(ip_in, options)
{
	for (unsigned i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
		struct hx *h = ipt_start(1);

		ipt_in(&h->st[0], &(struct ipt_pkt){ .opt = opts[i].o, .opt_len = 8, .body = body,
						     .len = 40 });
		cr_assert_eq(got.cnt, opts[i].ok, "case %u", i);
		cr_assert_eq(h->cnt[0].drop[DROP_IP_OPTIONS], !opts[i].ok, "case %u", i);
		if (opts[i].ok)
			cr_assert_eq(got.len, 40);
		ipt_stop(h);
	}
}

Test(ip_in, unknown_transport_is_answered)
{
	struct hx *h = ipt_start(1);

	ipt_in(&h->st[0], &(struct ipt_pkt){ .proto = 99, .body = body, .len = 16 });
	cr_assert_eq(fl.cnt, 1);
	cr_assert_eq(fl.tx[0].data[20], ICMP_UNREACH);
	cr_assert_eq(fl.tx[0].data[21], ICMP_UNREACH_PROTO);
	ipt_stop(h);
}
