/* SPDX-License-Identifier: MIT */
/* tests/sim/main.c - seeds: what is simulated, the virtual clock, the verdict
 *   sim             a few hundred seeds (what `make test-sim` runs)
 *   sim SEED        one seed, told in detail; this is what a failure says to run
 *   sim -n N [-s S] N seeds from S on
 * A run ends when all programs have closed and TIME_WAIT is over; then nothing may be left
 * anywhere.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define SIM_SEEDS	400
#define SIM_START_US	1000000000ull
#define SIM_LIMIT_US	(SIM_START_US + 4 * 3600 * 1000000ull)	/* a stuck run ends here */

static uint64_t current_seed;
static const char *argv0;

_Noreturn void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	printf("seed %lu at %.6f s: ", (unsigned long)s->seed,
	       (double)(s->now_us - SIM_START_US) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	prog_describe(s);
	printf("replay: %s %lu\n", argv0, (unsigned long)s->seed);
	fflush(stdout);
	_exit(1);
}

/* An ASSERT of the stack. */
static void on_abort(int sig)
{
	char line[160];
	int n = snprintf(line, sizeof(line), "replay: %s %lu\n", argv0,
			 (unsigned long)current_seed);

	if (write(STDOUT_FILENO, line, (size_t)n) < 0)
		_exit(2);
	_exit(1);
}

/* ---- what a seed means ---- */

static uint32_t below(struct sim *s, uint32_t n)
{
	return rng_below(s->rng, n);
}

static uint32_t pick(struct sim *s, const uint32_t *list, unsigned cnt)
{
	return list[below(s, cnt)];
}
#define PICK(s, ...) \
	pick((s), (const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

static struct wire_conf make_wire(struct sim *s)
{
	struct wire_conf c = {
		.delay_us = PICK(s, 10, 100, 1000, 10000, 50000),
		.jitter_us = PICK(s, 10, 1000, 20000),
		.rate_bps = 1000000ull * PICK(s, 0, 5, 50, 1000, 10000),
		.queue = PICK(s, 20, 100, 1000),
	};

	if (below(s, 5) == 0) {
		c.offload = true;
		c.queue = 1000;
		c.rate_bps = 0;
	}
	if (below(s, 4))
		c.loss = PICK(s, 0, 100, 1000, 3000, 8000);
	if (below(s, 3) == 0)
		c.dup = PICK(s, 100, 1000, 5000);
	if (below(s, 3) == 0)
		c.reorder = PICK(s, 100, 1000, 20000);
	if (below(s, 3) == 0)
		c.corrupt = PICK(s, 10, 100, 1000);
	if (below(s, 6) == 0) {
		c.cut_from_us = s->now_us + below(s, 3000000);
		c.cut_to_us = c.cut_from_us + below(s, 20000000);
	}
	s->arp_may_fail = c.loss || c.cut_to_us;
	return c;
}

/* A window-full is sent per round trip at worst: long paths get less to carry. */
static uint64_t amount(struct sim *s, const struct wire_conf *c)
{
	uint32_t max = c->delay_us >= 10000 || (c->rate_bps && c->rate_bps < 50000000) ||
		       c->loss > 1000 ? 300000 : 3000000;

	return below(s, 4) == 0 ? below(s, 5000) : below(s, max);
}

static void make_end(struct sim *s, struct sim_end *x, const struct wire_conf *c)
{
	x->key = (uint32_t)rng_u64(s->rng);
	x->tx_total = amount(s, c);
	x->nodelay = below(s, 2);
	x->read_max = PICK(s, 1, 100, 3000, 65536);
	x->write_max = PICK(s, 1, 200, 4000, 16384);
	if (x->write_max < 200 && x->tx_total > 20000)
		x->write_max = 200;
	x->pause_us = below(s, 3) ? 0 : PICK(s, 100, 3000, 30000);
	if (below(s, 4) == 0)
		x->rcvbuf = PICK(s, 4608, 16384, 65536);
	if (below(s, 4) == 0)
		x->sndbuf = PICK(s, 4608, 16384, 65536);
	x->next_us = UINT64_MAX;
}

/* Only short streams are read bytewise. */
static void calm_reader(struct sim_end *x)
{
	if (x->peer->tx_total > 20000 && x->read_max < 3000)
		x->read_max = 3000;
}

static void make_conn(struct sim *s, const struct wire_conf *c)
{
	struct sim_end *a = &s->end[s->ends++], *b = &s->end[s->ends++], *rude;
	unsigned client = below(s, SIM_HOSTS);

	make_end(s, a, c);
	make_end(s, b, c);
	a->h = &s->host[client];
	b->h = &s->host[below(s, 12) ? !client : client];	/* some within one host */
	a->peer = b;
	b->peer = a;
	a->client = true;
	a->next_us = s->now_us + below(s, 500000);
	calm_reader(a);
	calm_reader(b);
	rude = below(s, 2) ? a : b;
	switch (below(s, 8)) {
	case 0:
		rude->mode = END_CLOSE_FIRST;
		rude->peer->tx_total = 0;
		break;
	case 1:
		rude->mode = below(s, 2) ? END_ABORT : END_WALK_AWAY;
		rude->quit_at = below(s, (uint32_t)(a->tx_total + b->tx_total) + 1);
		rude->peer->peer_rude = true;
		break;
	default:
		break;
	}
}

/* ---- the clock ---- */

static uint64_t next_us(struct sim *s)
{
	uint64_t next = wire_next_us(s->wire), t = prog_next_us(s);

	next = t < next ? t : next;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		t = wheel_next_us(s->host[i].st.wheel);
		if (s->host[i].woken || ip_local_pending(&s->host[i].st))
			t = s->now_us;
		next = t < next ? t : next;
	}
	return next;
}

static bool quiet(struct sim *s)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		if (tcp_tcb_used(&s->host[i].st) || tcp_tw_used(&s->host[i].st))
			return false;
	return wire_next_us(s->wire) == UINT64_MAX;
}

static void run(struct sim *s)
{
	bool closing = false;
	uint64_t next;

	while (!closing || !quiet(s)) {
		next = next_us(s);
		if (next == UINT64_MAX)
			sim_fail(s, "stuck: nothing will ever happen again");
		if (next > SIM_LIMIT_US)
			sim_fail(s, "stuck: not finished after hours");
		s->now_us = next > s->now_us ? next : s->now_us + 1;
		for (unsigned i = 0; i < SIM_HOSTS; i++)
			host_turn(&s->host[i]);
		if (!closing && prog_all_done(s)) {
			closing = true;
			for (unsigned i = 0; i < SIM_HOSTS; i++)
				prog_unlisten(&s->host[i]);
		}
	}
}

static void knobs(struct sim *s)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct sysctl *c = s->host[i].st.sys;

		c->tcp_sack = below(s, 4) != 0;
		c->tcp_timestamps = below(s, 4) != 0;
		c->tcp_window_scaling = below(s, 6) != 0;
	}
}

static void tell(struct sim *s, const struct wire_conf *c)
{
	printf("wire: delay %u us, rate %lu, queue %u, loss %u, dup %u, reorder %u, ", c->delay_us,
	       (unsigned long)c->rate_bps, c->queue, c->loss, c->dup, c->reorder);
	printf("corrupt %u, offload %d; frames %lu\n", c->corrupt, c->offload,
	       (unsigned long)wire_carried(s->wire));
	prog_describe(s);
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		const uint64_t *n = s->host[i].cnt.snmp;

		for (unsigned k = 0; k < SNMP_MAX; k++)
			if (n[k])
				printf("  host %u %s%s %lu\n", i, snmp_group[k], snmp_name[k],
				       (unsigned long)n[k]);
	}
}

static void one_seed(uint64_t seed, bool verbose)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct wire_conf c;
	unsigned conns;

	current_seed = s->seed = seed;
	s->verbose = verbose;
	s->now_us = SIM_START_US;
	rng_seed(s->rng, seed);
	c = make_wire(s);
	s->wire = wire_new(&c, seed + 1000003);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		host_init(&s->host[i], s, i, wire_nic(s->wire, i));
	knobs(s);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		prog_listen(&s->host[i]);
	conns = 1 + below(s, PICK(s, 1, 2, 8, 30));
	while (conns--)
		make_conn(s, &c);
	run(s);
	if (verbose)
		tell(s, &c);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		host_fini(&s->host[i]);
	wire_free(s->wire);
	if (verbose)
		printf("seed %lu ok: %lu bytes in %.3f s\n", (unsigned long)seed,
		       (unsigned long)s->bytes, (double)(s->now_us - SIM_START_US) / 1e6);
	free(s);
}

int main(int argc, char **argv)
{
	unsigned long n = SIM_SEEDS, first = 1;
	int o;

	argv0 = argv[0];
	signal(SIGABRT, on_abort);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((o = getopt(argc, argv, "n:s:")) != -1) {
		if (o == 'n')
			n = strtoul(optarg, NULL, 0);
		else if (o == 's')
			first = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind < argc) {
		one_seed(strtoul(argv[optind], NULL, 0), true);
		return 0;
	}
	for (unsigned long i = 0; i < n; i++)
		one_seed(first + i, false);
	printf("sim: %lu seeds passed\n", n);
	return 0;
}
