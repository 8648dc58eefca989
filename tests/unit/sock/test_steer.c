/* SPDX-License-Identifier: MIT */
/* A card steers: ports by its key and table, connections that a change of them leaves elsewhere. */
#include <math.h>

#include "stackd/nic/steer.h"
#include "tests/unit/sock/sx.h"

static struct nic_steer rules[2];
static struct sock_strays *strays;

/* A random key; queues in turn. Every worker follows from here on. */
static void steer_by(uint32_t turn, uint64_t seed, uint8_t tcp_fields)
{
	struct nic_rss rss = { .indir_len = NIC_RSS_INDIR };
	uint64_t s[2];

	rng_seed(s, seed);
	for (unsigned i = 0; i < NIC_RSS_KEY; i++)
		rss.key[i] = (uint8_t)rng_u32(s);
	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		rss.indir[i] = (uint16_t)(i % sx.h->workers);
	rss.fields[NIC_FLOW_TCP4] = rss.fields[NIC_FLOW_TCP6] = tcp_fields;
	nic_steer_init(&rules[turn % 2], turn, &rss);
	for (unsigned w = 0; w < sx.h->workers; w++) {
		sx.h->st[w].steer = &rules[turn % 2];
		sx.h->st[w].strays = strays;
	}
}

static void begin(unsigned workers)
{
	sx_init(workers);
	strays = sock_strays_create();
	cr_assert(strays);
}

static void end(void)
{
	for (unsigned w = 0; w < sx.h->workers; w++)
		sx.h->st[w].strays = NULL;
	sx_fini();
	sock_strays_destroy(strays);
}

static struct sock_tuple last;
static uint32_t last_bound;

static int connect_to(uint32_t dst, uint16_t port, uint16_t home, uint16_t *ret_worker)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, 0);
	struct sock_cmd c = sx_cmd(id, SD_OP_CONNECT, sx_v4(dst), port);
	struct ip_route_res r;

	c.home = home;
	return sock_connect(&sx.h->st[0], &c, 0, &last, &last_bound, ret_worker, &r);
}

/* What the card would do with a reply, computed from the specification's own words. */
static uint16_t queue_of_reply(const struct nic_steer *s, const struct sock_tuple *t)
{
	uint32_t h = toeplitz_flow(&s->tt, &t->raddr, &t->laddr,
				   s->fields[NIC_FLOW_TCP4] & NIC_HASH_SPORT, t->rport, t->lport);

	return s->worker[h % s->indir_len];
}

static void replies_reach(unsigned workers)
{
	uint16_t w;

	begin(workers);
	for (uint32_t turn = 1; turn <= 5; turn++) {
		steer_by(turn, turn * 77, 15);
		for (unsigned i = 0; i < 1000; i++) {
			uint16_t home = (uint16_t)(i % workers);

			cr_assert_eq(connect_to(SX_PEER, (uint16_t)(80 + i % 7), home, &w), 0);
			cr_assert_eq(w, home);
			cr_assert_eq(queue_of_reply(&rules[turn % 2], &last), home);
			sock_bound_put(&sx.h->st[0], last_bound);
		}
	}
	end();
}

Test(steer, every_reply_reaches_its_worker_of_2) { replies_reach(2); }
Test(steer, every_reply_reaches_its_worker_of_4) { replies_reach(4); }

/* The last ports of a worker are found; then any other does. */
Test(steer, exhaustion)
{
	unsigned mine = 0, last_mine = 0;
	uint16_t w;

	begin(4);
	steer_by(1, 5, 15);
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 30000, 31999), 0);
	for (unsigned i = 0; i < 2000; i++) {
		cr_assert_eq(connect_to(SX_PEER, 80, 2, &w), 0, "%u", i);
		mine += w == 2;
		if (w == 2)
			last_mine = i;
	}
	cr_assert_eq(mine, last_mine + 1, "all of the worker's ports before any other");
	cr_assert(mine > 200);
	cr_assert_eq(connect_to(SX_PEER, 80, 2, &w), -EADDRNOTAVAIL);
	end();
}

/* A card that leaves out the ports brings all of one peer to one worker; connect() works. */
Test(steer, addresses_only)
{
	uint16_t w, first;

	begin(4);
	steer_by(1, 6, 3);
	cr_assert_eq(connect_to(SX_PEER, 80, 0, &first), 0);
	for (uint16_t i = 0; i < 100; i++) {
		cr_assert_eq(connect_to(SX_PEER, 80, i % 4, &w), 0);
		cr_assert_eq(w, first);
	}
	steer_by(2, 6, 0);
	cr_assert_eq(connect_to(SX_PEER, 80, 3, &w), 0);
	cr_assert_eq(w, 0, "what is not hashed goes to the first queue");
	end();
}

/* ---- strays ---- */

#define CONNS 2000u

static struct sock_tuple *tuple_of(uint32_t idx)
{
	return arena_at(&sx.h->arena, AR_TCB, idx);
}

static uint16_t home_of[CONNS + 1];

/* Connections, each on the worker that the rules name. */
static void populate(void)
{
	for (uint32_t i = 1; i <= CONNS; i++) {
		struct sock_tuple t = { .laddr = sx_v4(SX_A), .raddr = sx_v4(SX_PEER), .lport = 80,
					.rport = (uint16_t)(1000 + i) };

		*tuple_of(i) = t;
		home_of[i] = nic_flow_worker(&sx.h->st[0], IPPROTO_TCP, &t.raddr, t.rport,
					     &t.laddr, t.lport);
		cr_assert_eq(sock_einsert(&sx.h->st[home_of[i]], &t, OBJ(OBJ_TCB, i)), 0);
	}
}

/* The worker that a segment ends at, asked from where the card brings it; -1 = nobody's. */
static int found_at(const struct sock_tuple *t, unsigned *hops)
{
	uint16_t at = nic_flow_worker(&sx.h->st[0], IPPROTO_TCP, &t->raddr, t->rport, &t->laddr,
				      t->lport);
	uint16_t first = at;
	uint8_t asked = 0;

	for (*hops = 0; *hops <= sx.h->workers; ++*hops) {
		if (sock_elookup(&sx.h->st[at], t))
			return at;
		if (!sock_elsewhere(&sx.h->st[at], t, &asked, &at)) {
			cr_assert_eq(at, first, "where it began, listeners are asked");
			return -1;
		}
	}
	cr_assert(false, "it goes round");
	return -1;
}

static uint32_t all_strays(void)
{
	uint32_t n = 0;

	for (unsigned w = 0; w < sx.h->workers; w++)
		n += sock_strays(&sx.h->st[w]);
	return n;
}

static void all_found(uint32_t from)
{
	unsigned hops;

	for (uint32_t i = from; i <= CONNS; i++)
		cr_assert_eq(found_at(tuple_of(i), &hops), home_of[i]);
}

static void recount(void)
{
	for (unsigned w = 0; w < sx.h->workers; w++) {
		uint32_t at = 0;

		while (sock_strays_recount(&sx.h->st[w], &at, 16))
			;
	}
}

/* New rules while connections are open: each is still found, before, during and after. */
Test(steer, connections_survive_a_change)
{
	struct stack *st;
	unsigned hops, far = 0;
	struct sock_tuple none;

	begin(4);
	st = &sx.h->st[0];
	steer_by(1, 8, 15);
	populate();
	cr_assert_eq(all_strays(), 0);
	for (uint32_t turn = 2; turn <= 4; turn++) {
		sock_strays_ask(st, true);
		steer_by(turn, 100 + turn, 15);
		all_found(1);
		recount();
		sock_strays_ask(st, false);
		all_found(1);
		cr_assert(all_strays() > CONNS / 2 && all_strays() < CONNS, "3 in 4 are elsewhere");
	}
	/* What nobody has is asked for at strays' workers at most, and mostly not at all. */
	for (uint16_t i = 0; i < 1000; i++) {
		none = (struct sock_tuple){ .laddr = sx_v4(SX_A), .raddr = sx_v4(SX_B), .lport = 80,
					    .rport = i };
		cr_assert_eq(found_at(&none, &hops), -1);
		far += hops;
	}
	cr_assert_lt(far, 300);
	/* The old rules again: nobody is a stray. */
	steer_by(5, 8, 15);
	recount();
	cr_assert_eq(all_strays(), 0);
	all_found(1);
	end();
}

/* Counting is exact when connections come and go while it is under way. */
Test(steer, counts_are_exact)
{
	uint32_t at[2] = { 0 }, want = 0;

	begin(2);
	steer_by(1, 8, 15);
	populate();
	steer_by(2, 9, 15);
	sock_strays_recount(&sx.h->st[0], &at[0], 20);
	sock_strays_recount(&sx.h->st[1], &at[1], 200);
	for (uint32_t i = 1; i <= 500; i++)
		sock_eremove(&sx.h->st[home_of[i]], tuple_of(i), OBJ(OBJ_TCB, i));
	for (uint32_t i = 1; i <= 500; i++)	/* a port that bind() named: any worker */
		cr_assert_eq(sock_einsert(&sx.h->st[home_of[i]], tuple_of(i), OBJ(OBJ_TCB, i)), 0);
	recount();
	for (uint32_t i = 1; i <= CONNS; i++)
		want += queue_of_reply(&rules[0], tuple_of(i)) != home_of[i];
	cr_assert_eq(all_strays(), want);
	all_found(1);
	for (uint32_t i = 1; i <= CONNS; i++)
		sock_eremove(&sx.h->st[home_of[i]], tuple_of(i), OBJ(OBJ_TCB, i));
	cr_assert_eq(all_strays(), 0);
	end();
}

/* ---- how well an outsider can guess ---- */

#define LOW	32768u
#define LEN	28232u			/* of the default range */
#define CELLS	256u

/* How often which port is the first towards a peer when all offsets are equally likely, by cell,
 * as shares of 1. Return: the entropy in bits. */
static double first_ports(struct sock_tuple t, uint16_t home, double *share)
{
	static unsigned hits[65536];
	double bits = 0;

	memset(hits, 0, sizeof(hits));
	for (uint32_t off = 0; off < LEN; off += 2) {
		for (uint32_t i = 0; i < LEN; i += 2) {
			t.lport = (uint16_t)(LOW + (off + i) % LEN);
			if (port_worker(&sx.h->st[0], IPPROTO_TCP, &t) == home)
				break;
		}
		hits[t.lport]++;
		share[(t.lport - LOW) * CELLS / LEN] += 2.0 / LEN;
	}
	for (unsigned i = 0; i < 65536; i++)
		if (hits[i])
			bits -= 2.0 * hits[i] / LEN * log2(2.0 * hits[i] / LEN);
	return bits;
}

/* Chi-square of counts against @share, as a standard normal deviate. */
static double deviate(const unsigned *cnt, const double *share, unsigned total)
{
	double chi = 0, df = -1;

	for (unsigned i = 0; i < CELLS; i++) {
		double want = share[i] * total;

		if (want > 0) {
			chi += (cnt[i] - want) * (cnt[i] - want) / want;
			df++;
		}
	}
	return (chi - df) / sqrt(2 * df);
}

/* The first port towards a peer, over secrets, begins anywhere in the even half of the range, for
 * one worker of W as well: little less than log2(14116 / W) bits are left. It says nothing about
 * the first one towards another peer. */
static void unpredictable(unsigned workers)
{
	static unsigned first[CELLS], pairs[CELLS];
	double share[CELLS] = { 0 }, share81[CELLS] = { 0 }, both[CELLS] = { 0 }, bits;
	unsigned n = 20000;
	uint16_t w, one;

	memset(first, 0, sizeof(first));
	memset(pairs, 0, sizeof(pairs));
	begin(workers);
	if (workers > 1)
		steer_by(1, 3, 15);
	for (unsigned i = 0; i < n; i++) {
		sx.h->st[0].boot_secret[0] = 0x9e3779b97f4a7c15ull * i;
		cr_assert_eq(connect_to(SX_PEER, 80, 0, &w), 0);
		one = last.lport;
		sock_bound_put(&sx.h->st[0], last_bound);
		cr_assert_eq(connect_to(SX_PEER, 81, 0, &w), 0);
		sock_bound_put(&sx.h->st[0], last_bound);
		first[(one - LOW) * CELLS / LEN]++;
		pairs[(one - LOW) * 16 / LEN * 16 + (last.lport - LOW) * 16 / LEN]++;
	}
	last.rport = 80;
	bits = first_ports(last, 0, share);
	last.rport = 81;
	first_ports(last, 0, share81);
	for (unsigned i = 0; i < CELLS * CELLS; i++)
		both[i / CELLS / 16 * 16 + i % CELLS / 16] += share[i / CELLS] * share81[i % CELLS];
	cr_log_info("%u workers: %.2f bits\n", workers, bits);
	cr_expect_gt(bits, log2(LEN / 2.0 / workers) - 1.5);
	cr_expect_lt(deviate(first, share, n), 5.0, "first ports are even");
	cr_expect_lt(deviate(pairs, both, n), 5.0, "no peer's ports tell another's");
	end();
}

Test(steer, unpredictable_1) { unpredictable(1); }
Test(steer, unpredictable_2) { unpredictable(2); }
Test(steer, unpredictable_4) { unpredictable(4); }
