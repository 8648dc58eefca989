/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_random.c - peers and programs that do anything, from a seed
 * Segments with random flags and numbers near the edges that matter, options included, mixed with a
 * program that writes, reads, closes, or scribbles over what it shares. Nothing may trip an ASSERT
 * (tcb_assert runs after each segment), received bytes must be right, and nothing may be left.
 */
#include <sys/socket.h>

#include "tests/unit/tcp/script.h"

static uint32_t below(struct sc *c, uint32_t n)
{
	return rng_below(c->s.rng, n);
}

/* A number near one of those that decide. */
static uint32_t near(struct sc *c, uint64_t a, uint64_t b)
{
	static const int32_t off[] = { 0, 0, 0, 1, -1, 10, -10, 1460, -1460, 65536, INT32_MAX };

	return (uint32_t)(below(c, 2) ? a : b) + 1 + (uint32_t)off[below(c, 11)];
}

static uint8_t some_flags(struct sc *c)
{
	static const uint8_t f[] = { TH_ACK, TH_ACK, TH_ACK, TH_ACK, TH_ACK | TH_PSH,
				     TH_ACK | TH_FIN, TH_ACK | TH_URG, TH_SYN, TH_SYN | TH_ACK };

	if (below(c, 40) == 0)
		return TH_RST;
	return below(c, 30) ? f[below(c, 9)] : (uint8_t)below(c, 64);
}

static void segment(struct sc *c, struct tcb *tcb)
{
	uint64_t nxt = tcb->rcv_nxt, adv = tcb->rcv_adv, una = tcb->snd_una, snd = tcb->snd_nxt;

	c->tsval += below(c, 3);
	c->sack_cnt = below(c, 3);
	for (unsigned i = 0; i < c->sack_cnt; i++) {
		c->sack[i][0] = near(c, una, snd);
		c->sack[i][1] = c->sack[i][0] + below(c, 5000);
	}
	in(c, some_flags(c), near(c, nxt, adv), near(c, una, snd),
	   (uint16_t)(below(c, 3) ? 65535 : below(c, 3000)), below(c, 3) ? below(c, 1400) : 0);
}

static void scribble(struct sc *c, struct sim_end *x)
{
	struct sd_slot_p *sp = sc_p(x);
	uint32_t *w = (uint32_t *)&sp->tx;

	switch (below(c, 5)) {
	case 0:
		sp->tx_tail += below(c, 100000);
		break;
	case 1:
		sp->rx_head += below(c, 100);
		break;
	case 2:
		sp->tx_tail = rng_u64(c->s.rng);
		break;
	case 3:
		w[below(c, sizeof(sp->tx) / 4)] = rng_u32(c->s.rng);
		break;
	default:
		w = (uint32_t *)&sp->opts;
		w[1 + below(c, sizeof(sp->opts) / 4 - 1)] = rng_u32(c->s.rng);
	}
}

static void program(struct sc *c, struct sim_end *x, bool rude)
{
	struct sock_cmd k = { .id = x->id, .op = SD_OP_KICK };

	switch (below(c, 8)) {
	case 0:
	case 1:
		if (!rude && sc_p(x)->tx_tail - sc_e(x)->tx_una < 60000)
			sc_write(x, 1 + below(c, 5000));
		break;
	case 2:
	case 3:
		if (!rude)
			sc_read(x, below(c, 20000));
		break;
	case 4:
		if (below(c, 20) == 0)
			sc_cmd(x, SD_OP_SHUTDOWN, below(c, 3));
		break;
	default:
		if (rude && below(c, 4) == 0)
			scribble(c, x);
		tcp_sock_ops.kick(&c->s.host[0].st, &k, sc_e(x)->obj, below(c, 8));
		sc_pass(c, below(c, 400000));
	}
}

static void one_connection(struct sc *c, bool rude)
{
	struct sim_end *x;
	struct tcb *tcb;

	c->ts = below(c, 2);
	c->peer_port++;
	c->got_at = c->got_cnt = 0;
	c->tsval = 1000;
	tcb = sc_accept(c, &x);
	for (unsigned i = 0; i < 150 && OBJ_KIND(sc_e(x)->obj) == OBJ_TCB; i++) {
		c->got_at = c->got_cnt = 0;
		tcb = tcb_at(&c->s.host[0].st, OBJ_IDX(sc_e(x)->obj));
		if (below(c, 3))
			segment(c, tcb);
		else
			program(c, x, rude);
	}
	c->got_at = c->got_cnt = 0;
	sc_close(x);
}

static void many(uint64_t seed, bool rude)
{
	struct sc *c = sc_new();

	rng_seed(c->s.rng, seed);
	for (unsigned i = 0; i < 150; i++)
		one_connection(c, rude);
	c->got_at = c->got_cnt = 0;
	c->forget = true;
	sc_free(c);
}

Test(random, wild_peers, .timeout = 60)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		many(seed, false);
}

Test(random, wild_peers_and_wild_programs, .timeout = 60)
{
	for (uint64_t seed = 100; seed < 120; seed++)
		many(seed, true);
}
