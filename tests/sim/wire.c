/* SPDX-License-Identifier: MIT */
/* tests/sim/wire.c - a link with delay, rate, queue, loss, duplication, reordering, corruption,
 * partition
 * Corruption flips one bit of an IPv4 packet, which its checksums must find; ARP has none and is
 * spared. Without offload the devices get finished frames of at most the MTU; with it, super-frames
 * cross whole.
 */
#include <stdlib.h>
#include <string.h>

#include "stackd/nic/nic.h"
#include "tests/sim/sim.h"

struct frame {
	struct frame *next;
	uint64_t at_us;
	uint32_t len;
	uint8_t partial, gso_type;
	uint16_t gso_size, gso_segs, csum_start, csum_off;
	uint8_t bytes[];
};

struct side {
	struct nic nic;
	struct wire *w;
	unsigned no;
	struct frame *in;		/* on their way to this side, by time */
	uint32_t in_cnt;
	uint64_t busy_ns;		/* its transmitter is busy until then */
};

struct wire {
	struct wire_conf conf;
	uint64_t rng[2];
	struct side side[2];
	uint64_t carried;
};

static bool chance(struct wire *w, uint32_t per_100k)
{
	return per_100k && rng_below(w->rng, 100000) < per_100k;
}

static void insert(struct side *to, struct frame *f)
{
	struct frame **at = &to->in;

	while (*at && (*at)->at_us <= f->at_us)
		at = &(*at)->next;
	f->next = *at;
	*at = f;
	to->in_cnt++;
}

static struct frame *frame_of(const struct pkt *p)
{
	struct frame *f = calloc(1, sizeof(*f) + pkt_total(p));

	f->len = pkt_total(p);
	f->partial = p->csum_state == PKT_CSUM_PARTIAL;
	f->gso_type = p->gso_type;
	f->gso_size = p->gso_size;
	f->gso_segs = p->gso_segs;
	f->csum_start = f->partial ? (uint16_t)(p->csum_start - (p->data - p->buf)) : 0;
	f->csum_off = p->csum_off;
	pkt_copy_out(p, 0, f->bytes, f->len);
	return f;
}

static void flip_bit(struct wire *w, struct frame *f)
{
	if (f->len > 34 && f->bytes[12] == 0x08 && f->bytes[13] == 0x00 && !f->partial)
		f->bytes[14 + rng_below(w->rng, f->len - 14)] ^= 1u << rng_below(w->rng, 8);
}

/* When the last bit of the frame arrives. */
static uint64_t arrival(struct wire *w, struct side *from, uint64_t now_us, uint32_t len)
{
	uint64_t start = now_us * 1000, at;

	if (from->busy_ns > start)
		start = from->busy_ns;
	if (w->conf.rate_bps)
		start += (len + 24) * 8000000000ull / w->conf.rate_bps;
	from->busy_ns = start;
	at = start / 1000 + w->conf.delay_us;
	if (chance(w, w->conf.reorder))
		at += 1 + rng_below(w->rng, w->conf.jitter_us + 1);
	return at;
}

static void send_one(struct side *from, const struct pkt *p, uint64_t now_us)
{
	struct wire *w = from->w;
	struct side *to = &w->side[!from->no];
	bool cut = now_us >= w->conf.cut_from_us && now_us < w->conf.cut_to_us;
	struct frame *f, *dup;

	if (w->conf.lose && w->conf.lose(w->conf.lose_arg, from->no, p))
		return;
	if (cut || to->in_cnt >= w->conf.queue || chance(w, w->conf.loss))
		return;
	f = frame_of(p);
	if (chance(w, w->conf.corrupt))
		flip_bit(w, f);
	f->at_us = arrival(w, from, now_us, f->len);
	if (chance(w, w->conf.dup)) {
		dup = malloc(sizeof(*f) + f->len);
		memcpy(dup, f, sizeof(*f) + f->len);
		dup->at_us += rng_below(w->rng, w->conf.jitter_us + 1);
		insert(to, dup);
	}
	insert(to, f);
}

static void wire_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		send_one(nic->priv, pkts[i], st->now_us);
		stack_pkt_free(st, pkts[i]);
	}
}

static struct pkt *deliver(struct stack *st, const struct frame *f)
{
	struct pkt *p = pkt_alloc(st->pool, f->len > PKT_SMALL - PKT_HEADROOM);

	if (!p)
		return NULL;
	memcpy(p->data, f->bytes, f->len);
	p->len = f->len;
	p->gso_type = f->gso_type;
	p->gso_size = f->gso_size;
	p->gso_segs = f->gso_segs;
	p->csum_state = PKT_CSUM_NONE;
	if (f->partial) {
		p->csum_state = PKT_CSUM_UNNECESSARY;
		p->csum_start = (uint16_t)(p->data - p->buf + f->csum_start);
		p->csum_off = f->csum_off;
	}
	p->rx_us = st->now_us;
	return p;
}

static unsigned wire_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct side *s = nic->priv;
	unsigned n = 0;

	while (n < max && s->in && s->in->at_us <= st->now_us) {
		struct frame *f = s->in;

		s->in = f->next;
		s->in_cnt--;
		s->w->carried++;
		pkts[n] = deliver(st, f);
		if (pkts[n])
			n++;
		free(f);
	}
	return n;
}

static int wire_fd(struct nic *nic)
{
	return -1;
}

static void wire_close(struct nic *nic)
{
}

static const struct nic_ops ops = { .name = "wire", .rx = wire_rx, .tx = wire_tx, .rx_fd = wire_fd,
				    .close = wire_close };

struct wire *wire_new(const struct wire_conf *conf, uint64_t seed)
{
	struct wire *w = calloc(1, sizeof(*w));

	w->conf = *conf;
	rng_seed(w->rng, seed);
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->side[i];

		s->w = w;
		s->no = i;
		s->nic = (struct nic){ .ops = &ops, .mtu = 1500, .queues = 1, .priv = s,
				       .mac = { 2, 0, 0, 0, 0, (uint8_t)(i + 1) } };
		if (conf->offload)
			s->nic.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_RX_CSUM | NIC_F_GRO;
	}
	return w;
}

void wire_free(struct wire *w)
{
	for (unsigned i = 0; i < 2; i++) {
		while (w->side[i].in) {
			struct frame *f = w->side[i].in;

			w->side[i].in = f->next;
			free(f);
		}
	}
	free(w);
}

struct nic *wire_nic(struct wire *w, unsigned side)
{
	return &w->side[side].nic;
}

uint64_t wire_next_us(const struct wire *w)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < 2; i++)
		if (w->side[i].in && w->side[i].in->at_us < next)
			next = w->side[i].in->at_us;
	return next;
}

uint64_t wire_carried(const struct wire *w)
{
	return w->carried;
}
