/* SPDX-License-Identifier: MIT */
/* What a packet is known by, and how long what has crashed the engine is refused. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "stackd/core/quarantine.h"

static const uint64_t key[2] = { 1, 2 };

/* A SYN with MSS, SACK-permitted, time stamp, window scale: 192.0.2.1:1000 > 192.0.2.2:80. */
static const uint8_t syn[60] = {
	0x45, 0, 0, 60, 0x12, 0x34, 0x40, 0, 64, 6, 0xab, 0xcd, 192, 0, 2, 1, 192, 0, 2, 2,
	0x03, 0xe8, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0x11, 0x22, 0, 0,
	2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
};

static struct arena_intent of(const uint8_t *ip, uint16_t len)
{
	struct arena_intent in = { .pkt_len = len + 14u, .pkt_type = QUAR_IP4, .head_len = len };

	in.head_len = len < INTENT_HEAD ? len : INTENT_HEAD;
	memcpy(in.head, ip, in.head_len);
	return in;
}

/* Bytes that change from one sending to the next, and those that make it another packet. */
Test(quarantine, what_comes_again_has_the_same_print)
{
	static const uint8_t changes[] = { 4, 5, 8, 10, 11, 24, 27, 28, 31, 34, 35, 36, 37, 43, 48,
					   51, 52, 55, 59 };
	static const uint8_t stays[] = { 0, 1, 9, 12, 15, 16, 19, 20, 21, 22, 23, 32, 33, 40, 41,
					 44, 46, 47 };
	struct arena_intent in = of(syn, 60);
	uint64_t p = quar_print(&in, key);

	for (unsigned i = 0; i < sizeof(changes); i++) {
		in = of(syn, 60);
		in.head[changes[i]] ^= 0x15;
		cr_expect_eq(quar_print(&in, key), p, "byte %u", changes[i]);
	}
	for (unsigned i = 0; i < sizeof(stays); i++) {
		in = of(syn, 60);
		in.head[stays[i]] ^= 0x41;
		cr_expect_neq(quar_print(&in, key), p, "byte %u", stays[i]);
	}
	in = of(syn, 60);
	in.pkt_len++;
	cr_expect_neq(quar_print(&in, key), p, "length");
	in = of(syn, 60);
	in.pkt_type = QUAR_ARP;
	cr_expect_neq(quar_print(&in, key), p, "EtherType");
}

/* Every length and header length of what a broken or hostile packet may look like. */
Test(quarantine, prints_of_nonsense)
{
	struct arena_intent in;
	char text[88];

	for (unsigned len = 0; len <= INTENT_HEAD; len++)
		for (unsigned b = 0; b < 256; b++) {
			uint8_t *copy;

			in = of(syn, len < 60 ? (uint16_t)len : 60);
			in.head_len = (uint16_t)len;
			in.head[0] = (uint8_t)b;
			in.head[9] = (uint8_t)(b % 3 ? 6 : b);
			in.head[32] = (uint8_t)(b << 4);
			in.head[41] = (uint8_t)b;
			copy = malloc(sizeof(in));	/* ASan sees what lies beyond */
			memcpy(copy, &in, sizeof(in));
			quar_print((struct arena_intent *)(void *)copy, key);
			quar_packet_text((struct arena_intent *)(void *)copy, text, sizeof(text));
			free(copy);
		}
	in = of(syn, 60);
	quar_packet_text(&in, text, sizeof(text));
	cr_expect_str_eq(text, "TCP 192.0.2.1:1000 > 192.0.2.2:80, 74 bytes");
}

Test(quarantine, a_sentence_ends_and_the_next_is_longer)
{
	struct quarantine q = { 0 };
	struct stack st = { .quar = &q, .now_us = 5 };

	cr_assert_not(quar_any(&st));
	quar_add(&q, QUAR_PACKET, 42, st.now_us, "x");
	cr_assert(quar_any(&st));
	cr_assert(quar_holds(&st, QUAR_PACKET, 42));
	cr_assert_not(quar_holds(&st, QUAR_PACKET, 43));
	cr_assert_not(quar_holds(&st, QUAR_COMMAND, 42));
	cr_assert_eq(q.e[0].dropped, 1);
	st.now_us += QUAR_FIRST_US;
	cr_assert_not(quar_holds(&st, QUAR_PACKET, 42), "it is over");
	cr_assert(quar_find(&q, QUAR_PACKET, 42), "but not forgotten");
	quar_add(&q, QUAR_PACKET, 42, st.now_us, "x");
	cr_assert_eq(q.cnt, 1);
	st.now_us += 2 * QUAR_FIRST_US - 1;
	cr_assert(quar_holds(&st, QUAR_PACKET, 42), "twice as long");
	for (unsigned i = 0; i < 60; i++)
		quar_add(&q, QUAR_PACKET, 42, st.now_us, "x");
	cr_assert_eq(q.e[0].until_us, st.now_us + (QUAR_FIRST_US << QUAR_LONGEST));
}

Test(quarantine, the_list_is_bounded)
{
	struct quarantine q = { 0 };
	struct stack st = { .quar = &q };

	for (unsigned i = 0; i < 3 * QUAR_MAX; i++)
		quar_add(&q, QUAR_PACKET, i, i, "x");
	cr_assert_eq(q.cnt, QUAR_MAX);
	for (unsigned i = 0; i < 3 * QUAR_MAX; i++)
		cr_expect_eq(quar_holds(&st, QUAR_PACKET, i), i >= 2 * QUAR_MAX, "%u", i);
}
