/* SPDX-License-Identifier: MIT */
/* core/quarantine.c - prints of packets, and the list
 * A print is a keyed hash over the first bytes of the packet after everything was blanked that
 * differs from one sending of a packet to the next. What is not IPv4 or ARP is known by its
 * EtherType and length.
 * Spec:    RFC 791 3.1, RFC 792, RFC 9293 3.1, 3.2
 * Holds:   nothing beyond head_len of the record is looked at
 */
#include "stackd/core/quarantine.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "stackd/core/siphash.h"

/* ---- what a packet is known by ---- */

/* Kinds and lengths of TCP's options stay, what they say does not. */
static void blank_options(uint8_t *o, unsigned len)
{
	for (unsigned i = 0; i < len;) {
		unsigned n = o[i] < 2 ? 1 : len - i < 2 ? len - i : o[i + 1];

		if (o[i] == 0)
			return;
		if (n > len - i)
			return;
		if (n > 2)
			memset(o + i + 2, 0, n - 2);
		i += n ? n : 1;
	}
}

/* @l4: the bytes behind the IP header, @len of them; @first: not a later fragment. */
static void blank_transport(uint8_t *l4, unsigned len, uint8_t proto, bool first)
{
	unsigned keep = 0, hlen;

	if (!first) {
		memset(l4, 0, len);
		return;
	}
	if (proto == 6 && len >= 20) {
		hlen = (l4[12] >> 4) * 4u;
		memset(l4 + 4, 0, 8);			/* sequence, acknowledgment */
		memset(l4 + 14, 0, 4);			/* window, checksum */
		keep = hlen < len ? hlen : len;
		if (keep > 20)
			blank_options(l4 + 20, keep - 20);
		keep = keep < 20 ? 20 : keep;
	} else if (proto == 17 && len >= 8) {
		memset(l4 + 6, 0, 2);
		keep = 8;
	} else if (proto == 1 && len >= 2) {
		keep = 2;				/* type, code */
	}
	memset(l4 + keep, 0, len - keep);
}

static void blank_ip4(uint8_t *h, unsigned len)
{
	unsigned ihl = (h[0] & 15) * 4u;
	bool first = !(h[6] & 0x1f) && !h[7];

	if (len < 20)
		return;
	memset(h + 4, 0, 2);				/* identification */
	h[8] = 0;					/* TTL */
	memset(h + 10, 0, 2);
	ihl = ihl < 20 ? 20 : ihl;
	if (ihl < len)
		blank_transport(h + ihl, len - ihl, h[9], first);
}

uint64_t quar_print(const struct arena_intent *in, const uint64_t key[2])
{
	struct {
		uint32_t len;
		uint16_t type, head_len;
		uint8_t head[INTENT_HEAD];
	} b = { .len = in->pkt_len, .type = in->pkt_type };

	b.head_len = in->head_len < INTENT_HEAD ? in->head_len : INTENT_HEAD;
	if (b.type == QUAR_IP4 || b.type == QUAR_ARP)
		memcpy(b.head, in->head, b.head_len);
	if (b.type == QUAR_IP4)
		blank_ip4(b.head, b.head_len);
	return siphash_cd(key, &b, sizeof(b), 2, 4);
}

uint64_t quar_cmd_name(const struct arena_intent *in, const uint64_t key[2])
{
	const uint32_t b[4] = { in->cmd_slot, in->cmd_gen, in->cmd_seg, in->cmd_op };

	return siphash_cd(key, b, sizeof(b), 2, 4);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

void quar_packet_text(const struct arena_intent *in, char *buf, size_t size)
{
	const uint8_t *h = in->head, *l4 = h + (h[0] & 15) * 4u;
	char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN];
	unsigned left = in->head_len > l4 - h ? (unsigned)(in->head_len - (l4 - h)) : 0;

	if (in->pkt_type != QUAR_IP4 || in->head_len < 20) {
		snprintf(buf, size, "EtherType 0x%04x, %u bytes", in->pkt_type, in->pkt_len);
		return;
	}
	inet_ntop(AF_INET, h + 12, src, sizeof(src));
	inet_ntop(AF_INET, h + 16, dst, sizeof(dst));
	if ((h[9] == 6 || h[9] == 17) && left >= 4)
		snprintf(buf, size, "%s %s:%u > %s:%u, %u bytes", h[9] == 6 ? "TCP" : "UDP", src,
			 get16(l4), dst, get16(l4 + 2), in->pkt_len);
	else if (h[9] == 1 && left >= 2)
		snprintf(buf, size, "ICMP %s > %s type %u code %u, %u bytes", src, dst, l4[0],
			 l4[1], in->pkt_len);
	else
		snprintf(buf, size, "IP %s > %s protocol %u, %u bytes", src, dst, h[9],
			 in->pkt_len);
}

/* ---- the list ---- */

struct quar_ent *quar_find(struct quarantine *q, enum quar_what what, uint64_t name)
{
	for (unsigned i = 0; i < QUAR_MAX; i++)
		if (q->e[i].what == what && q->e[i].name == name)
			return &q->e[i];
	return NULL;
}

bool quar_holds(struct stack *st, enum quar_what what, uint64_t name)
{
	struct quar_ent *e = quar_find(st->quar, what, name);

	if (!e || e->until_us <= st->now_us)
		return false;
	add_sc(&e->dropped, 1);
	return true;
}

bool quar_pkt_held(struct stack *st)
{
	return quar_holds(st, QUAR_PACKET, quar_print(st->intent, st->boot_secret));
}

/* A free entry, else the one that ends first. */
static struct quar_ent *make_room(struct quarantine *q)
{
	struct quar_ent *best = &q->e[0];

	for (unsigned i = 0; i < QUAR_MAX; i++) {
		if (q->e[i].what == QUAR_NONE) {
			q->cnt++;
			return &q->e[i];
		}
		if (q->e[i].until_us < best->until_us)
			best = &q->e[i];
	}
	return best;
}

void quar_add(struct quarantine *q, enum quar_what what, uint64_t name, uint64_t now_us,
	      const char *text)
{
	struct quar_ent *e = quar_find(q, what, name);
	unsigned more;

	if (e) {
		e->crashes++;
	} else {
		e = make_room(q);
		*e = (struct quar_ent){ .name = name, .what = what, .since_us = now_us,
					.crashes = 2 };
		snprintf(e->text, sizeof(e->text), "%s", text);
	}
	more = e->crashes - 2 < QUAR_LONGEST ? e->crashes - 2 : QUAR_LONGEST;
	e->until_us = now_us + (QUAR_FIRST_US << more);
}
