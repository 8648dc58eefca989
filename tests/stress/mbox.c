/* SPDX-License-Identifier: MIT */
/* tests/stress/mbox.c - mailboxes: no posted bit is lost, no sleeper is left asleep
 * The consumer sleeps in poll() on an eventfd as programs do; ten seconds without a wake-up while
 * something was posted is a failure.
 */
#include "stress.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "shm/lock.h"
#include "shm/mbox.h"

#define POSTERS	3
#define BITS	5000
#define SLOT	77

struct ctx {
	struct shm_seg seg;
	struct sd_mbox *mb;
	int efd;
	uint32_t posts;			/* by each poster */
	uint32_t cnt[BITS];		/* what the bits stand for: raised before a bit is posted */
	uint32_t turn;			/* hand-over scenarios: whose turn it is */
	uint64_t rounds;
};

static struct ctx *ctx_new(void)
{
	struct ctx *c = stress_shared(sizeof(*c));

	c->seg = stress_seg();
	c->mb = shm_mbox(&c->seg, 5);
	c->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(c->efd >= 0);
	return c;
}

static void ctx_free(struct ctx *c)
{
	close(c->efd);
	shm_seg_unmap(&c->seg);
	munmap(c, sizeof(*c));
}

static uint32_t bit_of(uint32_t i)
{
	return i * 209 % SD_MBOX_BITS;	/* over many words of all levels */
}

static void ring(struct ctx *c)
{
	uint64_t one = 1;

	CHECK(write(c->efd, &one, sizeof(one)) == sizeof(one));
}

/* Sleep until woken; with nothing to do only. */
static void doze(struct ctx *c)
{
	struct pollfd pfd = { .fd = c->efd, .events = POLLIN };
	uint64_t val;

	if (!shm_mbox_sleep(c->mb))
		return;
	CHECK(poll(&pfd, 1, 10000) == 1, "a wake-up was lost");
	CHECK(read(c->efd, &val, sizeof(val)) == sizeof(val));
	shm_mbox_awake(c->mb);
}

static void post_many(void *arg)
{
	struct ctx *c = arg;
	uint32_t i, k;
	unsigned seed = (unsigned)(uintptr_t)&i ^ (unsigned)getpid();

	for (i = 0; i < c->posts; i++) {
		k = stress_rand(&seed) % BITS;
		if (i % 2)
			k %= 3;
		add_sc(&c->cnt[k], 1);
		if (shm_mbox_post(c->mb, bit_of(k)))
			ring(c);
		if (i % 64 == 0)
			usleep(stress_rand(&seed) % 100);
	}
}

static void take_all(struct ctx *c, uint64_t want)
{
	static uint32_t seen[BITS];
	static uint16_t index_of[SD_MBOX_BITS];
	uint32_t bits[48], k, v;
	unsigned i, n;
	uint64_t got = 0;

	memset(seen, 0, sizeof(seen));
	for (i = 0; i < BITS; i++)
		index_of[bit_of(i)] = (uint16_t)i;
	while (got < want) {
		n = shm_mbox_take(c->mb, bits, 48);
		for (i = 0; i < n; i++) {
			k = index_of[bits[i]];
			CHECK(bit_of(k) == bits[i]);
			v = ld_acq(&c->cnt[k]);
			got += v - seen[k];
			seen[k] = v;
		}
		if (!n)
			doze(c);
	}
}

static void many_posters(bool proc)
{
	struct ctx *c = ctx_new();
	struct party p[POSTERS];
	unsigned i;

	c->posts = stress_n(300000);
	for (i = 0; i < POSTERS; i++)
		party_start(&p[i], proc, post_many, c);
	take_all(c, (uint64_t)c->posts * POSTERS);
	for (i = 0; i < POSTERS; i++)
		party_join(&p[i]);
	STRESS_OK("mbox posters %s", proc ? "processes" : "threads");
	ctx_free(c);
}

/* ---- hand-over: every post meets a consumer that sleeps, or is about to ---- */

static void post_in_turn(void *arg)
{
	struct ctx *c = arg;
	uint64_t i;

	for (i = 0; i < c->rounds; i++) {
		while (!ld_acq(&c->turn))		/* pairs with st_rel in hand_over() */
			sched_yield();
		st_rel(&c->turn, 0);
		if (shm_mbox_post(c->mb, (uint32_t)i % 3))
			ring(c);
	}
}

static void hand_over(bool proc)
{
	struct ctx *c = ctx_new();
	struct party p;
	uint32_t bits[4];
	uint64_t i;

	c->rounds = stress_n(40000);
	party_start(&p, proc, post_in_turn, c);
	for (i = 0; i < c->rounds; i++) {
		st_rel(&c->turn, 1);			/* pairs with ld_acq in post_in_turn() */
		while (!shm_mbox_take(c->mb, bits, 4))
			doze(c);
		CHECK(bits[0] == i % 3);
	}
	party_join(&p);
	STRESS_OK("mbox hand-over %s", proc ? "processes" : "threads");
	ctx_free(c);
}

/* ---- a subscription meets a publication: one side sees the other ---- */

static void wake(void *arg, uint32_t mbox)
{
	CHECK(mbox == 5);
	ring(arg);
}

/* A few steps more or less, so that the two meet at every point of their ways. */
static void jitter(unsigned *seed)
{
	unsigned n = stress_rand(seed) % 64;

	while (n--)
		cpu_relax();
}

static void publish(void *arg)
{
	struct ctx *c = arg;
	unsigned seed = 1, spins;
	uint64_t i;

	for (i = 1; i <= c->rounds; i++) {
		/* pairs with st_rel in subscribe() */
		for (spins = 0; ld_acq(&c->turn) != i; spins++)
			if (spins > 2000)
				sched_yield();
		jitter(&seed);
		st_rel(&shm_slot_e(&c->seg, SLOT)->rx_tail, i);
		shm_subs_post(&c->seg, shm_slot_p(&c->seg, SLOT), SD_EV_IN, 0, wake, c);
	}
}

static void subscribe(bool proc)
{
	struct ctx *c = ctx_new();
	uint64_t me = shm_lock_owner(1, (uint32_t)gettid()), i;
	struct sd_slot_e *se = shm_slot_e(&c->seg, SLOT);
	uint32_t bits[4];
	unsigned seed = 2;
	struct party p;

	c->rounds = stress_n(100000);
	party_start(&p, proc, publish, c);
	for (i = 1; i <= c->rounds; i++) {
		st_rel(&c->turn, (uint32_t)i);		/* pairs with ld_acq in publish() */
		jitter(&seed);
		CHECK(!shm_sub_add(&c->seg, SLOT, SD_SUB(5, 9, SD_EV_IN, i & 1), me, NULL));
		while (ld_acq(&se->rx_tail) != i) {
			if (!shm_mbox_take(c->mb, bits, 4))
				doze(c);
		}
		shm_sub_del(&c->seg, SLOT, 5, 9, me);
	}
	party_join(&p);
	STRESS_OK("mbox subscriptions %s", proc ? "processes" : "threads");
	ctx_free(c);
}

int main(void)
{
	stress_start(100);
	stress_both(many_posters);
	stress_both(hand_over);
	stress_both(subscribe);
	return 0;
}
