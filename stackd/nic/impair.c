/* SPDX-License-Identifier: MIT */
/* nic/impair.c - a device around another one that loses, doubles, reorders, corrupts and delays
 *
 * spec: parts joined by commas
 *   loss=A/B  dup=A/B  corrupt=A/B  reorder=A/B    with probability A/B, each packet for itself
 *   drop-every=N                                   every Nth packet, counted per direction
 *   delay=T                                        each packet, T as 250us, 5ms, 1s (plain: us)
 *   dir=rx|tx|both (default both)   seed=N
 * A chance is taken per frame as on a wire: GSO packets are cut first and checksums finished, so
 * the wrapper offers none of the offloads in the directions it works on. One bit of a corrupted
 * frame is turned, behind the Ethernet header. A reordered frame is held back 1 ms longer than the
 * others.
 * In/Out:  frames of the device under it -> fewer, more, later or broken ones; both ways
 * Holds:   P1 the same seed and the same packets give the same outcome
 *          P2 held packets are in one piece, sorted by the time they are due
 *          P3 bytes outside a packet's own buffer are never changed
 * Threads: owning worker only
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "stackd/core/csum.h"
#include "stackd/core/rng.h"
#include "stackd/nic/gso.h"
#include "stackd/nic/nic.h"

#define ETH_HLEN	14u
#define BURST		32u
#define HELD_MAX	2048u		/* packets of one direction; more are dropped */
#define REORDER_US	1000u

enum { RX, TX };

struct chance {
	uint32_t num, den;		/* den 0 = never */
};

struct impair_conf {
	struct chance loss, dup, corrupt, reorder;
	uint64_t drop_every, delay_us, seed;
	bool on[2];			/* by direction */
};

struct impair_dir {
	uint64_t rng[2];
	uint64_t seen;
	struct pkt *head, *tail;	/* held; due time in rx_us */
	unsigned cnt;
};

struct impair {
	struct nic nic;
	struct nic *under;
	struct stack *st;		/* of the newest call, to free what is held at close */
	struct impair_conf conf;
	struct impair_dir dir[2];
};

/* ---- spec -------------------------------------------------------------------------------- */

/* Decimal number at *@s, which moves behind it. Return: false when there is none or it is too
 * large. */
static bool number(const char **s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!isdigit((unsigned char)**s))
		return false;
	for (; isdigit((unsigned char)**s); (*s)++) {
		if (v > 100000000000000000u)
			return false;
		v = v * 10 + (uint64_t)(**s - '0');
	}
	*ret = v;
	return true;
}

static bool ends(const char *s)
{
	return *s == 0 || *s == ',';
}

static bool parse_chance(const char *s, struct chance *ret)
{
	uint64_t num, den;

	if (!number(&s, &num) || *s++ != '/' || !number(&s, &den) || !ends(s))
		return false;
	if (den == 0 || den > UINT32_MAX || num > den)
		return false;
	*ret = (struct chance){ (uint32_t)num, (uint32_t)den };
	return true;
}

static bool parse_u64(const char *s, uint64_t min, uint64_t *ret)
{
	return number(&s, ret) && ends(s) && *ret >= min;
}

static bool parse_time(const char *s, uint64_t *ret)
{
	static const struct { const char *unit; uint64_t us; } units[] = {
		{ "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "", 1 },
	};
	uint64_t v;

	if (!number(&s, &v) || v > 3600000000u)
		return false;
	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i].unit);

		if (strncmp(s, units[i].unit, n) == 0 && ends(s + n)) {
			*ret = v * units[i].us;
			return *ret <= 3600000000u;
		}
	}
	return false;
}

static bool parse_dir(const char *s, bool on[2])
{
	size_t n = strcspn(s, ",");

	on[RX] = (n == 2 && strncmp(s, "rx", 2) == 0) || (n == 4 && strncmp(s, "both", 4) == 0);
	on[TX] = (n == 2 && strncmp(s, "tx", 2) == 0) || (n == 4 && strncmp(s, "both", 4) == 0);
	return on[RX] || on[TX];
}

static bool parse_part(const char *s, struct impair_conf *c)
{
	size_t n = strcspn(s, "=,");
	const char *v = s + n + 1;

	if (s[n] != '=')
		return false;
#define IS(name) (n == sizeof(name) - 1 && strncmp(s, name, n) == 0)
	if (IS("loss"))
		return parse_chance(v, &c->loss);
	if (IS("dup"))
		return parse_chance(v, &c->dup);
	if (IS("corrupt"))
		return parse_chance(v, &c->corrupt);
	if (IS("reorder"))
		return parse_chance(v, &c->reorder);
	if (IS("drop-every"))
		return parse_u64(v, 1, &c->drop_every);
	if (IS("delay"))
		return parse_time(v, &c->delay_us);
	if (IS("seed"))
		return parse_u64(v, 0, &c->seed);
	if (IS("dir"))
		return parse_dir(v, c->on);
#undef IS
	return false;
}

static int parse(const char *spec, struct impair_conf *c, const char **ret_bad)
{
	*c = (struct impair_conf){ .on = { true, true } };
	for (const char *s = spec;;) {
		if (!parse_part(s, c)) {
			*ret_bad = s;
			return -EINVAL;
		}
		s += strcspn(s, ",");
		if (*s++ == 0)
			return 0;
	}
}

/* ---- what happens to a packet ------------------------------------------------------------ */

static bool happens(struct impair_dir *d, const struct chance *c)
{
	return c->den && rng_below(d->rng, c->den) < c->num;
}

/* Into the list by due time; behind those with the same. */
static void hold(struct impair_dir *d, struct pkt *p, uint64_t due_us)
{
	struct pkt **at = &d->head;

	p->rx_us = due_us;
	d->cnt++;
	if (!d->tail || d->tail->rx_us <= due_us) {
		p->next = NULL;
		if (d->tail)
			d->tail->next = p;
		else
			d->head = p;
		d->tail = p;
		return;
	}
	while ((*at)->rx_us <= due_us)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static struct pkt *take_due(struct impair_dir *d, uint64_t now_us)
{
	struct pkt *p = d->head;

	if (!p || p->rx_us > now_us)
		return NULL;
	d->head = p->next;
	if (!d->head)
		d->tail = NULL;
	p->next = NULL;
	d->cnt--;
	return p;
}

/* Make the checksum in the packet final, so that a turned bit is found. */
static void settle_csum(struct pkt *p)
{
	if (p->csum_state == PKT_CSUM_UNNECESSARY && p->csum_start)
		p->csum_state = PKT_CSUM_PARTIAL;
	csum_finish(p);
	p->csum_state = PKT_CSUM_NONE;
	p->csum_start = 0;
}

static void corrupt(struct impair_dir *d, struct pkt *p)
{
	uint32_t bit;

	if (p->len <= ETH_HLEN)
		return;
	settle_csum(p);
	bit = rng_below(d->rng, (p->len - ETH_HLEN) * 8);
	p->data[ETH_HLEN + bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void lose(struct impair *im, struct pkt *p)
{
	stack_drop(im->st, p, DROP_IMPAIR);
}

/* One frame in one piece. All chances are drawn for each, so that they do not shift one another. */
static void impair_one(struct impair *im, int dir, struct pkt *p)
{
	const struct impair_conf *c = &im->conf;
	struct impair_dir *d = &im->dir[dir];
	bool lost = happens(d, &c->loss), twice = happens(d, &c->dup);
	bool broken = happens(d, &c->corrupt), late = happens(d, &c->reorder);
	uint64_t due_us = im->st->now_us + c->delay_us + (late ? REORDER_US : 0);
	struct pkt *copy = NULL;

	d->seen++;
	if (lost || (c->drop_every && d->seen % c->drop_every == 0) || d->cnt + 2 > HELD_MAX) {
		lose(im, p);
		return;
	}
	if (twice)
		copy = pkt_copy_linear(im->st->pool, p);
	if (broken)
		corrupt(d, p);
	hold(d, p, due_us);
	if (copy)
		hold(d, copy, im->st->now_us + c->delay_us);
}

/* Whatever comes, as frames in one piece. */
static void impair_pkt(struct impair *im, int dir, struct pkt *p)
{
	struct stack *st = im->st;
	struct gso_plan plan;

	if (p->gso_type != PKT_GSO_NONE && gso_plan(p, &plan) == 0) {
		for (uint32_t i = 0; i < plan.segs; i++) {
			struct pkt *s = gso_segment(st, p, &plan, i, false);

			if (!s) {
				st->cnt->drop[DROP_NO_BUF]++;
				break;
			}
			impair_one(im, dir, s);
		}
		stack_pkt_free(st, p);
		return;
	}
	if (p->frag_cnt) {
		struct pkt *c = pkt_copy_linear(st->pool, p);

		if (!c) {
			stack_drop(st, p, DROP_NO_BUF);
			return;
		}
		stack_pkt_free(st, p);
		p = c;
	}
	impair_one(im, dir, p);
}

/* ---- device ------------------------------------------------------------------------------ */

static void release_tx(struct impair *im)
{
	struct pkt *out[BURST];
	unsigned cnt = 0;

	while ((out[cnt] = take_due(&im->dir[TX], im->st->now_us))) {
		if (++cnt == BURST) {
			nic_tx(im->under, im->st, out, cnt);
			cnt = 0;
		}
	}
	if (cnt)
		nic_tx(im->under, im->st, out, cnt);
}

static unsigned impair_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct impair *im = nic->priv;
	struct impair_dir *d = &im->dir[RX];
	struct pkt *raw[BURST];
	unsigned cnt = 0, n;

	im->st = st;
	release_tx(im);
	if (!im->conf.on[RX])
		return im->under->ops->rx(im->under, st, pkts, max);
	for (;;) {
		while (cnt < max && (pkts[cnt] = take_due(d, st->now_us))) {
			pkts[cnt]->rx_us = st->now_us;
			cnt++;
		}
		n = max - cnt < BURST ? max - cnt : BURST;
		n = n ? im->under->ops->rx(im->under, st, raw, n) : 0;
		if (n == 0)
			return cnt;
		for (unsigned i = 0; i < n; i++)
			impair_pkt(im, RX, raw[i]);
	}
}

static void impair_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct impair *im = nic->priv;

	im->st = st;
	if (!im->conf.on[TX]) {
		nic_tx(im->under, st, pkts, cnt);
		return;
	}
	for (unsigned i = 0; i < cnt; i++)
		impair_pkt(im, TX, pkts[i]);
	release_tx(im);
}

static int impair_rx_fd(struct nic *nic)
{
	struct impair *im = nic->priv;

	return im->under->ops->rx_fd(im->under);
}

static uint64_t impair_next_us(struct nic *nic)
{
	struct impair *im = nic->priv;
	uint64_t at = UINT64_MAX;

	if (im->under->ops->next_us)
		at = im->under->ops->next_us(im->under);
	for (int i = 0; i < 2; i++)
		if (im->dir[i].head && im->dir[i].head->rx_us < at)
			at = im->dir[i].head->rx_us;
	return at;
}

static void impair_close(struct nic *nic)
{
	struct impair *im = nic->priv;

	for (int i = 0; i < 2; i++) {
		struct pkt *p;

		while ((p = take_due(&im->dir[i], UINT64_MAX)))
			stack_pkt_free(im->st, p);
	}
	im->under->ops->close(im->under);
	free(im);
}

static const struct nic_ops impair_ops = {
	.name = "impair",
	.rx = impair_rx,
	.tx = impair_tx,
	.rx_fd = impair_rx_fd,
	.next_us = impair_next_us,
	.close = impair_close,
};

int impair_nic_wrap(struct nic *under, const char *spec, struct nic **ret, const char **ret_bad)
{
	struct impair *im = calloc(1, sizeof(*im));
	int rc;

	if (!im)
		return -ENOMEM;
	rc = parse(spec, &im->conf, ret_bad);
	if (rc) {
		free(im);
		return rc;
	}
	im->under = under;
	im->nic = *under;
	im->nic.ops = &impair_ops;
	im->nic.priv = im;
	if (im->conf.on[TX])
		im->nic.features &= ~(NIC_F_CSUM | NIC_F_TSO | NIC_F_USO);
	if (im->conf.on[RX])
		im->nic.features &= ~NIC_F_GRO;
	rng_seed(im->dir[RX].rng, im->conf.seed);
	rng_seed(im->dir[TX].rng, im->conf.seed ^ 0x7478);
	*ret = &im->nic;
	return 0;
}
