/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_verify.c - devices that are wrong about checksums */
#include "tests/unit/link/fix.h"

static const uint8_t frame[] = {
	0, 0, 0, 0, 0, 0, 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01, 0x08, 0x00,
	0x45, 0, 0, 48, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
	0x10, 0x92, 0x1b, 0x5f, 0, 28, 0, 0,
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
};

/* A datagram with its right UDP sum, as the device hands it over. */
static struct pkt *datagram(struct stack *st, enum pkt_csum state)
{
	struct pkt *p = pkt_alloc(st->pool, false);
	uint8_t *ip = p->data + 14, pseudo[12] = { 192, 0, 2, 1, 192, 0, 2, 2, 0, 17, 0, 28 };
	uint16_t sum;

	memcpy(p->data, frame, sizeof(frame));
	memcpy(p->data, fx.ours->mac, 6);
	p->len = sizeof(frame);
	sum = csum_of(ip, 20);
	memcpy(ip + 10, &sum, 2);
	sum = csum_done(csum_add(csum_add(0, pseudo, 12), ip + 20, 28));
	memcpy(ip + 26, &sum, 2);
	p->csum_state = state;
	p->csum = csum_fold(csum_add(0, ip + 20, 28));
	return p;
}

/* Return: the state it went up with. */
static enum pkt_csum up_with(struct stack *st, struct pkt *p)
{
	enum pkt_csum state;

	link_rx(st, p);
	cr_assert_eq(fx.up_cnt, 1);
	state = fx.up[0].p->csum_state;
	fix_drop_up();
	return state;
}

Test(verify, the_device_is_believed_or_proved, .timeout = 10)
{
	struct stack *st;
	struct pkt *p;
	uint64_t *wrong;

	fix_init(1, 0);
	st = &fx.h->st[0];
	wrong = &st->cnt->snmp[SNMP_Dev_RxCsumWrong];
	p = datagram(st, PKT_CSUM_UNNECESSARY);
	p->data[50] ^= 1;
	cr_expect_eq(up_with(st, p), PKT_CSUM_UNNECESSARY, "off: believed");
	st->sys->rx_csum_verify = 1;
	cr_expect_eq(up_with(st, datagram(st, PKT_CSUM_UNNECESSARY)), PKT_CSUM_UNNECESSARY);
	cr_expect_eq(up_with(st, datagram(st, PKT_CSUM_COMPLETE)), PKT_CSUM_COMPLETE);
	cr_expect_eq(*wrong, 0, "it was right");
	p = datagram(st, PKT_CSUM_UNNECESSARY);
	p->data[50] ^= 1;
	cr_expect_eq(up_with(st, p), PKT_CSUM_NONE);
	cr_expect_eq(*wrong, 1);
	p = datagram(st, PKT_CSUM_COMPLETE);
	p->csum ^= 0x100;
	cr_expect_eq(up_with(st, p), PKT_CSUM_NONE, "a wrong sum over right bytes: repaired above");
	cr_expect_eq(*wrong, 2);
	fix_fini();
}

Test(verify, what_has_no_sum_is_left_alone, .timeout = 10)
{
	struct stack *st;
	struct pkt *p;
	uint16_t sum;

	fix_init(1, 0);
	st = &fx.h->st[0];
	st->sys->rx_csum_verify = 1;
	p = datagram(st, PKT_CSUM_UNNECESSARY);
	memset(p->data + 40, 0, 2);			/* UDP without checksum */
	cr_expect_eq(up_with(st, p), PKT_CSUM_UNNECESSARY);
	p = datagram(st, PKT_CSUM_UNNECESSARY);
	p->csum_start = (uint16_t)(p->data - p->buf + 34);	/* never was on a wire */
	p->data[50] ^= 1;
	cr_expect_eq(up_with(st, p), PKT_CSUM_UNNECESSARY);
	p = datagram(st, PKT_CSUM_UNNECESSARY);
	p->data[20] = 0x20;				/* a fragment */
	memset(p->data + 24, 0, 2);
	sum = csum_of(p->data + 14, 20);
	memcpy(p->data + 24, &sum, 2);
	cr_expect_eq(up_with(st, p), PKT_CSUM_UNNECESSARY);
	cr_expect_eq(st->cnt->snmp[SNMP_Dev_RxCsumWrong], 0);
	fix_fini();
}
