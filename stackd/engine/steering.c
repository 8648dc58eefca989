/* SPDX-License-Identifier: MIT */
/* engine/steering.c - the workers follow the device's rules for which queue gets a flow
 *
 * A card with a queue for each worker tells its key, table and fields; they can change while it
 * runs. A change goes through three steps, each a cross call to every worker:
 *   ask      from here on, who does not know a connection asks all others
 *   follow   st->steer names the new rules
 *   recount  each looks which of its connections are strays now, a part at a time
 * Then only strays are asked for (sock/strays.c). In between packets may arrive by the old rules or
 * the new ones; whoever gets them finds the owner by asking. A change that comes meanwhile waits.
 * Holds:   SG1 rules that a worker may be using are not written: there are two, and the second is
 *          free when every worker has left the first
 * Threads: worker 0, except the functions of the cross calls
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <stdlib.h>

#include "stackd/nic/steer.h"

#define RECOUNT_LINES	4096u		/* of a worker's table in one go */

struct steering {
	struct nic_steer rules[2];
	uint32_t turn;			/* rules[turn % 2] are the newest */
	bool active;			/* the workers follow the card */
	bool busy, again;
	uint32_t more;			/* a worker has not counted all; any worker */
	uint32_t at[SD_MAX_WORKERS];	/* how far each has counted; its own */
	struct xcall call;
};

/* The card's rules, when they say for every flow which worker gets it. */
static bool rules_of(struct engine *eng, struct nic_rss *rss)
{
	struct nic_dev *dev = eng->dev;

	return eng->workers > 1 && dev->grant.queues == eng->workers && dev->ops->rss_get &&
	       !dev->ops->rss_get(dev, rss);
}

int steering_init(struct engine *eng)
{
	struct nic_rss rss;

	eng->steering = calloc(1, sizeof(*eng->steering));
	if (!eng->steering)
		return -ENOMEM;
	if (!rules_of(eng, &rss))
		return 0;
	eng->strays = sock_strays_create();
	if (!eng->strays)
		return -ENOMEM;
	eng->steering->active = true;
	nic_steer_init(&eng->steering->rules[1], ++eng->steering->turn, &rss);
	return 0;
}

void steering_worker(struct worker *w)
{
	const struct steering *s = w->eng->steering;

	w->st.steer = s->active ? &s->rules[s->turn % 2] : NULL;
	w->st.strays = w->eng->strays;
}

static void recount(struct worker *w, void *arg)
{
	struct steering *s = arg;

	if (sock_strays_recount(&w->st, &s->at[w->st.worker], RECOUNT_LINES))
		st_rel(&s->more, 1);
}

static void next_call(struct engine *eng, void (*fn)(struct worker *w, void *arg),
		      void (*done)(struct engine *eng, void *arg))
{
	struct steering *s = eng->steering;

	s->call = (struct xcall){ .fn = fn, .done = done, .arg = s };
	xcall_start(eng, &s->call);
}

static void recounted(struct engine *eng, void *arg)
{
	struct steering *s = arg;

	if (xchg_sc(&s->more, 0)) {
		next_call(eng, recount, recounted);
		return;
	}
	sock_strays_ask(&eng->w[0]->st, false);
	s->busy = false;
	if (s->again)
		steering_changed(eng);
}

static void follow(struct worker *w, void *arg)
{
	steering_worker(w);
	w->eng->steering->at[w->st.worker] = 0;
}

static void followed(struct engine *eng, void *arg)
{
	next_call(eng, recount, recounted);
}

static void nothing(struct worker *w, void *arg)
{
}

static void asking(struct engine *eng, void *arg)
{
	struct steering *s = arg;
	struct nic_rss rss;

	if (rules_of(eng, &rss)) {
		nic_steer_init(&s->rules[(s->turn + 1) % 2], s->turn + 1, &rss);
		s->turn++;
	}
	next_call(eng, follow, followed);
}

void steering_changed(struct engine *eng)
{
	struct steering *s = eng->steering;

	s->again = s->busy;
	if (!s->active || s->busy)
		return;
	s->busy = true;
	sock_strays_ask(&eng->w[0]->st, true);
	next_call(eng, nothing, asking);	/* everybody has left what began before */
}
