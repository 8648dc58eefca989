/* SPDX-License-Identifier: MIT */
/* tests/sim/flood.c - SYNs from spoofed addresses: does everybody else still get through?
 * A server and a client, ten virtual seconds: some connections that carry data all the time, and
 * new ones, one after the other, that each want an answer. Once in peace, once while a router (the
 * client's device) brings SYNs from addresses that never answer. What the flood costs the others is
 * what the stack's rules make of it (SYN queue, cookies, memory): the virtual CPU is never busy,
 * and the SYNs take nothing of the link.
 * Promise: data of the old and number of the new ones at least nine tenths, no new one fails,
 *          memory as the backlog bounds it
 * Spec:    RFC 4987 3.6
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define SPAN_US		10000000u
#define STEP_US		1000u
#define OLD		4u		/* pairs of ends that are connected before */
#define NEW		24u		/* pairs that come and go at the same time */
#define ANSWER		4000u
#define PAUSE_US	400000u		/* before the next: TIME_WAIT holds ports */
#define BACKLOG		128u		/* prog_listen()'s */

struct outcome {
	uint64_t old_bytes, new_done, new_failed, cookies;
	uint32_t tcbs, half_open, packets;	/* at most, on the server */
};

struct flood {
	struct sim s;
	struct outcome o;
	uint64_t left;			/* SYNs */
	uint64_t rng[2];
};

/* ---- the attacker ---- */

static void put16(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static uint32_t add(uint32_t sum, const uint8_t *b, unsigned len)
{
	for (unsigned i = 0; i < len; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

static void send_syn(struct flood *f)
{
	/* MSS 1460, SACK, timestamps, window scale 7 */
	static const uint8_t opts[20] = { 2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1,
					  3, 3, 7 };
	uint8_t b[74] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0 }, *ip = b + 14, *t = ip + 20;
	uint64_t r = rng_u64(f->rng);

	ip[0] = 0x45;
	put16(ip + 2, 60);
	ip[8] = 64;
	ip[9] = IP_PROTO_TCP;
	ip[12] = 10;
	memcpy(ip + 13, &r, 3);
	memcpy(ip + 16, (uint8_t[]){ 192, 0, 2, 1 }, 4);
	put16(ip + 10, fold(add(0, ip, 20)));
	put16(t, 1024 + (uint16_t)(r >> 24) % 60000);
	put16(t + 2, SIM_PORT);
	memcpy(t + 4, (uint8_t *)&r + 4, 4);
	t[12] = 10 << 4;
	t[13] = TH_SYN;
	put16(t + 14, 64240);
	memcpy(t + 20, opts, sizeof(opts));
	put16(t + 16, fold(add(add(IP_PROTO_TCP + 40, ip + 12, 8), t, 40)));
	net_inject(f->s.net, 0, b, sizeof(b));
	f->left--;
}

/* ---- the others ---- */

static void make_pair(struct flood *f, unsigned i, uint64_t up, uint64_t down, uint64_t at_us)
{
	struct sim_end *a = &f->s.end[2 * i], *b = a + 1;

	*a = (struct sim_end){ .peer = b, .client = true, .next_us = at_us, .read_max = 65536,
			       .write_max = 16384, .tx_total = up, .key = 2 * i,
			       .stall_at = UINT64_MAX };
	*b = *a;
	b->client = false;
	b->peer = a;
	b->tx_total = down;
	b->next_us = UINT64_MAX;
	b->key++;
	a->h = &f->s.host[1];
	b->h = &f->s.host[0];
	sim_poke(&f->s);
}

static void new_ones(struct flood *f)
{
	for (unsigned i = OLD; i < OLD + NEW; i++) {
		struct sim_end *a = &f->s.end[2 * i];

		if (!a->closed || !a->peer->closed)
			continue;
		if (a->eof && a->rx_pos == ANSWER)
			f->o.new_done++;
		else
			f->o.new_failed++;
		make_pair(f, i, 200, ANSWER, f->s.now_us + PAUSE_US);
	}
}

static void note_peaks(struct flood *f)
{
	struct stack *st = &f->s.host[0].st;
	struct outcome *o = &f->o;

	o->tcbs = u32_max(o->tcbs, tcp_tcb_used(st));
	o->packets = u32_max(o->packets, pkt_pool_used(st->pool));
	for (uint32_t i = 0; i < st->tcp->listeners; i++)
		o->half_open = u32_max(o->half_open, st->tcp->syn_cnt[i]);
}

/* ---- a run ---- */

static void until(struct flood *f, uint64_t us)
{
	uint64_t next;

	while ((next = sim_next_us(&f->s)) <= us)
		sim_step(&f->s, next);
	f->s.now_us = us;
	net_run(f->s.net, us);
}

static void start(struct flood *f)
{
	struct link_conf l = { .delay_us = 1000, .rate_bps = 200000000, .queue = 1000 };
	struct net_conf c = { .hosts = 2, .link = { l, l } };
	struct sd_addr any = sd_addr_v4(cpu_to_be32(0)), gw = host_addr(1);
	struct sim *s = &f->s;

	s->hosts = 2;
	s->seed = 1;
	s->now_us = SIM_START_US;
	rng_seed(s->rng, 1);
	rng_seed(f->rng, 2);
	s->net = net_new(&c, s, 1);
	for (unsigned i = 0; i < 2; i++)
		host_init(&s->host[i], s, i, net_nic(s->net, i));
	if (ip_add_route(&s->host[0].st, &any, 96, &gw))
		sim_fail(s, "no route");
	prog_listen(&s->host[0]);
	s->ends = 2 * (OLD + NEW);
	for (unsigned i = 0; i < OLD; i++)
		make_pair(f, i, 1ull << 40, 0, s->now_us);
	for (unsigned i = OLD; i < OLD + NEW; i++)
		make_pair(f, i, 200, ANSWER, s->now_us + 1000000 + 1000 * i);
	until(f, s->now_us + 1000000);
	for (unsigned i = 0; i < OLD; i++)
		f->o.old_bytes -= s->end[2 * i + 1].rx_pos;
}

static struct outcome run(uint64_t syns)
{
	struct flood *f = calloc(1, sizeof(*f));
	uint64_t end_us, per_step = (syns + SPAN_US / STEP_US - 1) / (SPAN_US / STEP_US);
	struct outcome o;

	start(f);
	f->left = syns;
	end_us = f->s.now_us + SPAN_US;
	while (f->s.now_us < end_us) {
		for (uint64_t k = 0; k < per_step && f->left; k++) {
			send_syn(f);
			if (k % 64 == 63)
				sim_step(&f->s, f->s.now_us);
		}
		until(f, f->s.now_us + STEP_US);
		new_ones(f);
		note_peaks(f);
	}
	for (unsigned i = 0; i < OLD; i++)
		f->o.old_bytes += f->s.end[2 * i + 1].rx_pos;
	f->o.cookies = f->s.host[0].cnt.snmp[SNMP_TcpExt_SyncookiesSent];
	o = f->o;
	for (unsigned i = 0; i < 2; i++)
		host_mem_free(&f->s.mem[i]);
	net_free(f->s.net);
	free(f);
	return o;
}

bool flood_run(uint64_t syns)
{
	struct outcome peace = run(0), war = run(syns);
	bool ok = war.old_bytes >= peace.old_bytes * 9 / 10 && peace.new_done &&
		  war.new_done >= peace.new_done * 9 / 10 && !war.new_failed &&
		  war.tcbs <= BACKLOG + peace.tcbs + NEW && war.half_open <= BACKLOG + NEW;

	printf("%s - SYN flood: %lu spoofed SYNs in %u s; old connections %.1f MB, in peace %.1f; "
	       "new ones %lu, failed %lu, in peace %lu; cookies %lu; at most %u connections, %u "
	       "half open, %u packets, in peace %u connections\n", ok ? "ok" : "not ok",
	       (unsigned long)syns, SPAN_US / 1000000, (double)war.old_bytes / 1e6,
	       (double)peace.old_bytes / 1e6, (unsigned long)war.new_done,
	       (unsigned long)war.new_failed, (unsigned long)peace.new_done,
	       (unsigned long)war.cookies, war.tcbs, war.half_open, war.packets, peace.tcbs);
	return ok;
}
