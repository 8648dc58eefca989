/* SPDX-License-Identifier: MIT */
/* tests/stress/lock.c - locks exclude, and outlive their holders
 * A plain counter under the lock shows both exclusion and (under ThreadSanitizer) ordering. The
 * engine takes part by try-lock. In the last scenario holders are killed at any moment and the
 * parent plays the engine's part.
 */
#include "stress.h"

#include "shm/lock.h"
#include "stackd/atomic.h"

#define PARTIES	4

struct ctx {
	uint64_t word;
	uint64_t inside;		/* owner word of who is in, plain on purpose */
	uint64_t cnt;
	uint32_t proc[PARTIES];
	uint64_t rounds, engine_cnt;
	uint32_t stop;
};

struct member {
	struct ctx *c;
	uint32_t proc;
};

static void enter_leave(struct ctx *c, uint64_t me)
{
	int err = shm_lock(&c->word, me);

	CHECK(err == 0, "%d", err);
	CHECK(c->inside == 0, "%lx is in", c->inside);
	c->inside = me;
	c->cnt++;
	if (c->cnt % 1024 == 0)
		sched_yield();
	c->inside = 0;
	shm_unlock(&c->word, me);
}

static void member(void *arg)
{
	struct member *m = arg;
	uint64_t i, me = shm_lock_owner(m->proc, (uint32_t)gettid());

	for (i = 0; i < m->c->rounds; i++)
		enter_leave(m->c, me);
}

static void engine(void *arg)
{
	struct ctx *c = arg;

	while (!ld_acq(&c->stop)) {
		if (shm_trylock(&c->word, SHM_LOCK_ENGINE)) {
			CHECK(c->inside == 0);
			c->cnt++;
			c->engine_cnt++;
			shm_unlock(&c->word, SHM_LOCK_ENGINE);
		}
		usleep(20);
	}
}

static void run(bool proc)
{
	struct ctx *c = stress_shared(sizeof(*c));
	struct member m[PARTIES];
	struct party p[PARTIES], e;
	unsigned i;

	c->rounds = stress_n(200000);
	party_start(&e, proc, engine, c);
	for (i = 0; i < PARTIES; i++) {
		m[i] = (struct member){ .c = c, .proc = proc ? i + 1 : 1 };
		party_start(&p[i], proc, member, &m[i]);
	}
	for (i = 0; i < PARTIES; i++)
		party_join(&p[i]);
	st_rel(&c->stop, 1);
	party_join(&e);
	CHECK(c->cnt == PARTIES * c->rounds + c->engine_cnt, "%lu", c->cnt);
	CHECK(c->word == 0);
	STRESS_OK("lock %s, engine had it %lu times", proc ? "processes" : "threads",
		  c->engine_cnt);
	munmap(c, sizeof(*c));
}

/* Everything that the lock guards is put in order before the lock is freed: here, who is in. */
static bool bury(struct ctx *c, uint32_t proc)
{
	if (ld_acq(&c->word) >> 32 != (uint64_t)proc + 1)
		return false;
	c->inside = 0;
	return shm_lock_reap(&c->word, proc);
}

static void killed_holders(void)
{
	struct ctx *c = stress_shared(sizeof(*c));
	struct member m[PARTIES];
	struct party p[PARTIES];
	unsigned i, k, seed = 11, held = 0;
	uint64_t before = 0;

	c->rounds = UINT64_MAX;
	for (i = 0; i < PARTIES; i++) {
		m[i] = (struct member){ .c = c, .proc = i + 1 };
		party_start(&p[i], true, member, &m[i]);
	}
	for (k = 0; k < 500; k++) {
		usleep(stress_rand(&seed) % 4000);
		i = stress_rand(&seed) % PARTIES;
		party_kill(&p[i]);
		held += bury(c, m[i].proc);
		m[i].proc += PARTIES;
		party_start(&p[i], true, member, &m[i]);
		if (k % 100 == 99) {
			CHECK(ld_acq(&c->cnt) > before, "nobody gets the lock any more");
			before = ld_acq(&c->cnt);
		}
	}
	for (i = 0; i < PARTIES; i++) {
		party_kill(&p[i]);
		held += bury(c, m[i].proc);
	}
	CHECK(c->word == 0);
	STRESS_OK("lock killed holders, %u of %u held it", held, k);
	munmap(c, sizeof(*c));
}

int main(void)
{
	stress_start(100);
	stress_both(run);
	if (!STRESS_TSAN)
		killed_holders();
	return 0;
}
