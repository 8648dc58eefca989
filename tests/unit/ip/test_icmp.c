/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/test_icmp.c - echo, errors in and out, rate limit */
#include <errno.h>

#include "tests/unit/ip/ipt.h"

static uint8_t buf[65536];

static const struct icmp_hdr *sent(unsigned i)
{
	return (const struct icmp_hdr *)(fl.tx[i].data + 20);
}

/* ICMP message with @len bytes of body, checksum right. */
static void icmp_in(struct stack *st, uint32_t src, uint32_t dst, uint8_t type, uint8_t code,
		    uint16_t rest, const void *body, unsigned len)
{
	struct icmp_hdr ic = { .type = type, .code = code, .rest = { { 0 }, cpu_to_be16(rest) } };

	memmove(buf + 8, body, len);
	memcpy(buf, &ic, 8);
	ic.csum = csum_of(buf, 8 + len);
	memcpy(buf, &ic, 8);
	ipt_in(st, &(struct ipt_pkt){ .src = src, .dst = dst, .proto = IP_PROTO_ICMP, .body = buf,
				      .len = 8 + len });
}

/* The head of a packet of ours, as a router quotes it. */
static struct {
	struct ip4_hdr ip;
	uint8_t l4[8];
} quote;

static void quote_ours(uint16_t sport, uint16_t dport)
{
	quote.ip = (struct ip4_hdr){ .ver_ihl = 0x45, .len = cpu_to_be16(1500), .ttl = 1,
				     .proto = IP_PROTO_UDP, .src = cpu_to_be32(US),
				     .dst = cpu_to_be32(FAR) };
	memcpy(quote.l4, (be16[]){ cpu_to_be16(sport), cpu_to_be16(dport) }, 4);
}

Test(icmp, echo_is_answered)
{
	struct hx *h = ipt_start(1);
	uint8_t body[56];

	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)i;
	icmp_in(&h->st[0], 0, 0, ICMP_ECHO, 0, 77, body, sizeof(body));
	cr_assert_eq(fl.cnt, 1);
	cr_assert_eq(fl.tx[0].len, 20 + 8 + 56);
	cr_assert_eq(sent(0)->type, ICMP_ECHO_REPLY);
	cr_assert_eq(be16_to_cpu(sent(0)->rest[1]), 77);
	cr_assert_eq(csum_of(sent(0), 64), 0);
	cr_assert_arr_eq(fl.tx[0].data + 28, body, 56);
	cr_assert_eq(be32_to_cpu(ipt_tx_hdr(0)->dst), PEER);
	cr_assert_eq(be32_to_cpu(ipt_tx_hdr(0)->src), US);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Icmp_OutEchoReps], 1);
	ipt_stop(h);
}

Test(icmp, large_echo_is_reassembled_and_answered_in_fragments)
{
	struct hx *h = ipt_start(1);
	struct icmp_hdr ic = { .type = ICMP_ECHO };
	static uint8_t back[65536];
	unsigned len = 65507, cnt, off = 0;

	memset(buf, 0x5a, sizeof(buf));
	memcpy(buf, &ic, 8);
	ic.csum = csum_of(buf, len);
	memcpy(buf, &ic, 8);
	for (unsigned o = 0; o < len; o += 1480) {
		unsigned n = len - o < 1480 ? len - o : 1480, mf = o + n < len ? IP4_MF : 0;

		ipt_in(&h->st[0], &(struct ipt_pkt){ .proto = IP_PROTO_ICMP, .id = 9,
						     .body = buf + o, .len = n,
						     .frag = (uint16_t)(o / 8 | mf) });
	}
	cnt = fl.cnt;
	cr_assert_eq(cnt, 45);
	for (unsigned i = 0; i < cnt; i++) {
		memcpy(back + off, fl.tx[i].data + 20, fl.tx[i].len - 20);
		off += fl.tx[i].len - 20;
	}
	cr_assert_eq(off, len);
	cr_assert_eq(csum_of(back, len), 0);
	cr_assert_arr_eq(back + 8, buf + 8, len - 8);
	ipt_stop(h);
}

/* Malformed or useless messages, each with its reason. */
Test(icmp, malformed_table)
{
	static const struct {
		const char *what;
		uint8_t type, code;
		unsigned len;		/* of the quoted packet */
		unsigned at;		/* byte of it to change */
		uint8_t to;
		enum drop_reason why;
	} t[] = {
		{ "nothing quoted", 3, 3, 0, 0, 0x45, DROP_ICMP_BAD },
		{ "header cut", 3, 3, 19, 0, 0x45, DROP_ICMP_BAD },
		{ "transport cut", 3, 3, 27, 0, 0x45, DROP_ICMP_BAD },
		{ "quoted version", 3, 3, 28, 0, 0x65, DROP_ICMP_BAD },
		{ "quoted header length", 3, 3, 28, 0, 0x44, DROP_ICMP_BAD },
		{ "quoted header longer than the quote", 3, 3, 28, 0, 0x46, DROP_ICMP_BAD },
		{ "quoted packet is not ours", 3, 3, 28, 15, 9, DROP_ICMP_BAD },
		{ "quoted later fragment", 3, 3, 28, 7, 1, DROP_ICMP_BAD },
		{ "unknown code", 3, 16, 28, 0, 0x45, DROP_ICMP_IGNORED },
		{ "redirect", 5, 0, 28, 0, 0x45, DROP_ICMP_IGNORED },
		{ "source quench", 4, 0, 28, 0, 0x45, DROP_ICMP_IGNORED },
		{ "echo reply", 0, 0, 28, 0, 0x45, DROP_ICMP_IGNORED },
		{ "timestamp", 13, 0, 12, 0, 0x45, DROP_ICMP_IGNORED },
		{ "unknown type", 200, 0, 12, 0, 0x45, DROP_ICMP_IGNORED },
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct hx *h = ipt_start(1);
		uint8_t q[28];

		quote_ours(1, 2);
		memcpy(q, &quote, sizeof(q));
		q[t[i].at] = t[i].to;
		icmp_in(&h->st[0], 0, 0, t[i].type, t[i].code, 0, q, t[i].len);
		cr_assert_eq(h->cnt[0].drop[t[i].why], 1, "%s", t[i].what);
		cr_assert_eq(got.errs, 0, "%s", t[i].what);
		cr_assert_eq(fl.cnt, 0, "%s", t[i].what);
		ipt_stop(h);
	}
}

Test(icmp, short_or_wrong_sum)
{
	struct hx *h = ipt_start(1);

	memset(buf, 0, sizeof(buf));
	buf[0] = ICMP_ECHO;
	ipt_in(&h->st[0], &(struct ipt_pkt){ .proto = IP_PROTO_ICMP, .body = buf, .len = 7 });
	ipt_in(&h->st[0], &(struct ipt_pkt){ .proto = IP_PROTO_ICMP, .body = buf, .len = 40 });
	cr_assert_eq(h->cnt[0].drop[DROP_ICMP_BAD], 2);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Icmp_InCsumErrors], 1);
	cr_assert_eq(fl.cnt, 0);
	ipt_stop(h);
}

Test(icmp, broadcast_echo_is_ignored)
{
	struct hx *h = ipt_start(1);

	icmp_in(&h->st[0], 0, BCAST, ICMP_ECHO, 0, 1, "x", 1);
	cr_assert_eq(h->cnt[0].drop[DROP_ICMP_IGNORED], 1);
	cr_assert_eq(fl.cnt, 0);
	ipt_stop(h);
}

Test(icmp, errors_reach_the_transport_as_linux_maps_them)
{
	static const struct {
		uint8_t type, code;
		int err;
		bool hard;
	} t[] = {
		{ 3, 0, ENETUNREACH, false }, { 3, 1, EHOSTUNREACH, false },
		{ 3, 2, ENOPROTOOPT, true }, { 3, 3, ECONNREFUSED, true },
		{ 3, 4, EMSGSIZE, false }, { 3, 5, EOPNOTSUPP, false },
		{ 3, 7, EHOSTDOWN, true }, { 3, 8, ENONET, true }, { 3, 9, ENETUNREACH, true },
		{ 3, 13, EHOSTUNREACH, true }, { 11, 0, EHOSTUNREACH, false },
		{ 12, 0, EPROTO, true },
	};
	struct hx *h = ipt_start(1);
	struct sd_addr us = v4(US), far = v4(FAR);

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		quote_ours(1000, 2000);
		icmp_in(&h->st[0], GATE, 0, t[i].type, t[i].code, 1400, &quote, sizeof(quote));
		cr_assert_eq(got.errs, i + 1);
		cr_assert_eq(got.err.err, t[i].err, "%u/%u", t[i].type, t[i].code);
		cr_assert_eq(got.err.hard, t[i].hard);
		cr_assert_eq(got.err.mtu, t[i].type == 3 && t[i].code == 4 ? 1400 : 0);
		cr_assert(sd_addr_eq(&got.err.src, &us) && sd_addr_eq(&got.err.dst, &far));
		cr_assert_arr_eq(got.err_l4, quote.l4, 8);
	}
	ipt_stop(h);
}

Test(icmp, error_travels_to_the_flows_owner)
{
	struct hx *h = ipt_start(4);

	quote_ours(5, 6);
	icmp_in(&h->st[0], GATE, 0, 3, 3, 0, &quote, sizeof(quote));
	cr_assert_eq(got.errs, 0);
	hx_pump(h);
	cr_assert_eq(got.errs, 1);
	cr_assert_eq(got.worker, 3);
	cr_assert_eq(got.err.err, ECONNREFUSED);
	ipt_stop(h);
}

Test(icmp, silent_neighbour_is_host_unreachable)
{
	struct hx *h = ipt_start(1);
	struct pkt *p = ipt_make(&h->st[0], &(struct ipt_pkt){ .src = US, .dst = PEER,
							       .body = "12345678", .len = 8 });

	fl.up.unreachable(&h->st[0], p);
	cr_assert_eq(got.errs, 1);
	cr_assert_eq(got.err.err, EHOSTUNREACH);
	cr_assert_not(got.err.hard);
	cr_assert_arr_eq(got.err_l4, "12345678", 8);
	stack_pkt_free(&h->st[0], p);
	ipt_stop(h);
}

/* Put a packet through input up to the transport, then complain about it. */
static void complain(struct stack *st, const struct ipt_pkt *d, uint8_t bcast)
{
	struct pkt *p = ipt_make(st, d);

	p->bcast = bcast;
	p->l4_off = (uint16_t)(p->l3_off + 20);
	pkt_pull(p, 20);
	icmp_unreach(st, p, 3, 0);
	stack_pkt_free(st, p);
}

Test(icmp, unreach_quotes_what_fits)
{
	struct hx *h = ipt_start(1);

	memset(buf, 0x77, 2000);
	complain(&h->st[0], &(struct ipt_pkt){ .body = buf, .len = 1400, .tos = 0 }, 0);
	cr_assert_eq(fl.cnt, 1);
	cr_assert_eq(fl.tx[0].len, 576);
	cr_assert_eq(sent(0)->type, 3);
	cr_assert_eq(sent(0)->code, 3);
	cr_assert_eq(csum_of(sent(0), 556), 0);
	cr_assert_eq(ipt_tx_hdr(0)->tos, 0xc0);
	cr_assert_eq(fl.tx[0].data[28], 0x45);
	cr_assert_eq(be32_to_cpu(((const struct ip4_hdr *)(fl.tx[0].data + 28))->dst), US);
	complain(&h->st[0], &(struct ipt_pkt){ .body = buf, .len = 12 }, 0);
	cr_assert_eq(fl.tx[1].len, 20 + 8 + 32);
	ipt_stop(h);
}

Test(icmp, never_about_errors_broadcasts_or_later_fragments)
{
	struct hx *h = ipt_start(1);
	static const uint8_t errors[] = { 3, 4, 5, 11, 12 };
	struct stack *st = &h->st[0];

	memset(buf, 0, 64);
	for (unsigned i = 0; i < sizeof(errors); i++) {
		buf[0] = errors[i];
		complain(st, &(struct ipt_pkt){ .proto = IP_PROTO_ICMP, .body = buf, .len = 36 },
			 0);
	}
	complain(st, &(struct ipt_pkt){ .proto = IP_PROTO_ICMP, .body = buf, .len = 0 }, 0);
	complain(st, &(struct ipt_pkt){ .dst = BCAST, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .dst = 0xffffffff, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .dst = 0xe0000001, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .body = buf, .len = 36 }, 1);
	complain(st, &(struct ipt_pkt){ .src = BCAST, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .src = 0xe0000001, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .src = 0x7f000001, .body = buf, .len = 36 }, 0);
	complain(st, &(struct ipt_pkt){ .body = buf, .len = 36, .frag = 10 }, 0);
	cr_assert_eq(fl.cnt, 0);
	complain(st, &(struct ipt_pkt){ .body = buf, .len = 36, .frag = IP4_MF }, 0);
	cr_assert_eq(fl.cnt, 1, "the first fragment may");
	ipt_stop(h);
}

Test(icmp, rate_limit)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];

	for (unsigned i = 0; i < 200; i++)
		complain(st, &(struct ipt_pkt){ .body = buf, .len = 36 }, 0);
	cr_assert_eq(fl.cnt, 50, "the burst");
	cr_assert_eq(h->cnt[0].snmp[SNMP_Icmp_OutRateLimitGlobal], 150);
	st->now_us += 10000;
	for (unsigned i = 0; i < 200; i++)
		complain(st, &(struct ipt_pkt){ .body = buf, .len = 36 }, 0);
	cr_assert_eq(fl.cnt, 60, "1000 a second");
	st->now_us += 3600ull * 1000000;
	for (unsigned i = 0; i < 200; i++)
		complain(st, &(struct ipt_pkt){ .body = buf, .len = 36 }, 0);
	cr_assert_eq(fl.cnt, 110);
	ipt_stop(h);
}

Test(icmp, about_a_looped_packet_goes_back_inside)
{
	struct hx *h = ipt_start(1);
	struct stack *st = &h->st[0];

	complain(st, &(struct ipt_pkt){ .src = US, .body = buf, .len = 36 }, 0);
	cr_assert_eq(fl.cnt, 0);
	cr_assert_eq(ip_poll_local(st), 1);
	cr_assert_eq(got.errs, 1);
	cr_assert_eq(got.err.err, ECONNREFUSED);
	ipt_stop(h);
}
