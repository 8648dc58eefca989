/* SPDX-License-Identifier: MIT */
/* engine/call.c - cross calls: a function on every worker, then one on worker 0
 * Worker 0 itself is called at once. The answer of a worker that takes messages in order also means
 * that it has left every loop that began before the call: what worker 0 unpublished before the call
 * is no longer in use when done() runs. That is how fds and segments are retired.
 * Holds:   C1 calls that could not be sent for a full ring stay in line, oldest first
 */
#include "stackd/engine/engine.h"

static void answer(struct stack *st, struct xcall *c)
{
	struct stack_msg m = { .kind = SMSG_CALL_DONE, .ptr = c };

	/* Worker 0 never waits for us, and a full ring wakes it (worker_send): this ends. */
	while (!stack_send(st, 0, &m))
		cpu_relax();
}

static void on_call(struct stack *st, const struct stack_msg *m)
{
	struct xcall *c = m->ptr;

	c->fn(st->up_arg, c->arg);
	answer(st, c);
}

static void on_done(struct stack *st, const struct stack_msg *m)
{
	struct worker *w = st->up_arg;
	struct xcall *c = m->ptr;

	if (--c->left == 0)
		c->done(w->eng, c->arg);
}

void xcall_init(struct worker *w)
{
	w->st.on_msg[SMSG_CALL] = on_call;
	w->st.on_msg[SMSG_CALL_DONE] = on_done;
}

/* Return: true when every worker has it. */
static bool send_rest(struct engine *eng, struct xcall *c)
{
	while (c->sent < eng->workers) {
		struct stack_msg m = { .kind = SMSG_CALL, .ptr = c };

		if (!stack_send(&eng->w[0]->st, (uint16_t)c->sent, &m))
			return false;
		c->sent++;
	}
	return true;
}

unsigned xcall_retry(struct engine *eng)
{
	unsigned n = 0;

	while (eng->unsent) {
		struct xcall *c = eng->unsent;

		if (!send_rest(eng, c))
			break;
		eng->unsent = c->next;
	}
	for (const struct xcall *c = eng->unsent; c; c = c->next)
		n++;
	return n;
}

void xcall_start(struct engine *eng, struct xcall *c)
{
	struct xcall **at = &eng->unsent;

	c->left = eng->workers;
	c->sent = 1;			/* ourselves: below */
	c->next = NULL;
	while (*at)
		at = &(*at)->next;
	*at = c;
	xcall_retry(eng);
	c->fn(eng->w[0], c->arg);
	if (--c->left == 0)
		c->done(eng, c->arg);
}
