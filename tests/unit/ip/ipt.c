/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/ipt.c - see ipt.h */
#include "tests/unit/ip/ipt.h"
#include "tests/unit/ip/fake_link.h"

struct ipt_rx got;

static void rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	got.cnt++;
	got.worker = st->worker;
	got.info = *info;
	got.len = pkt_total(p);
	got.csum_state = p->csum_state;
	cr_assert_eq(p->data, p->buf + p->l4_off);
	pkt_copy_out(p, 0, got.data, got.len);
	stack_pkt_free(st, p);
}

static void err(struct stack *st, const struct ip_err_info *info)
{
	got.errs++;
	got.worker = st->worker;
	got.err = *info;
	memcpy(got.err_l4, info->l4, 8);
}

struct hx *ipt_start(unsigned workers)
{
	static const struct ip_proto ops = { .rx = rx, .err = err };
	struct hx *h = hx_init(workers);
	struct sd_addr us = v4(US), any = v4(0), gw = v4(GATE);

	memset(&got, 0, sizeof(got));
	fl.cnt = 0;
	for (unsigned w = 0; w < workers; w++) {
		cr_assert_eq(ip_init(&h->st[w]), 0);
		cr_assert_eq(ip_add_addr(&h->st[w], &us, 120), 0);
		cr_assert_eq(ip_add_route(&h->st[w], &any, 96, &gw), 0);
		ip_register(&h->st[w], IP_PROTO_UDP, &ops);
	}
	return h;
}

void ipt_stop(struct hx *h)
{
	for (unsigned w = 0; w < h->workers; w++)
		ip_fini(&h->st[w]);
	hx_fini(h);
}

struct pkt *ipt_make(struct stack *st, const struct ipt_pkt *d)
{
	uint32_t hdr = 20 + d->opt_len, total = hdr + d->len;
	struct pkt *p = pkt_alloc(st->pool, total + d->pad > PKT_SMALL - PKT_HEADROOM);
	struct ip4_hdr *h;

	cr_assert(p);
	p->len = total + d->pad;
	p->l3_off = (uint16_t)(p->data - p->buf);
	memset(p->data, 0xee, p->len);
	h = ip4_hdr(p);
	*h = (struct ip4_hdr){ .ver_ihl = (uint8_t)(0x40 | hdr / 4), .tos = d->tos,
			       .len = cpu_to_be16((uint16_t)total), .id = cpu_to_be16(d->id),
			       .frag = cpu_to_be16(d->frag), .ttl = d->ttl ? d->ttl : 64,
			       .proto = d->proto ? d->proto : IP_PROTO_UDP,
			       .src = cpu_to_be32(d->src ? d->src : PEER),
			       .dst = cpu_to_be32(d->dst ? d->dst : US) };
	if (d->opt_len)
		memcpy(h + 1, d->opt, d->opt_len);
	if (d->len)
		memcpy(p->data + hdr, d->body, d->len);
	ip4_hdr_sum(h);
	return p;
}

void ipt_in(struct stack *st, const struct ipt_pkt *d)
{
	fl.up.ip4_rx(st, ipt_make(st, d));
}

struct pkt *ipt_out(struct stack *st, const void *body, uint32_t len)
{
	struct pkt *p = pkt_alloc(st->pool, len > PKT_SMALL - PKT_HEADROOM);

	cr_assert(p);
	memcpy(p->data, body, len);
	p->len = len;
	return p;
}
