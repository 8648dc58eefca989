/* SPDX-License-Identifier: MIT */
/* The established table against a naive model, and its spread. */
#include "tests/unit/sock/sx.h"

static struct sock_tuple *tcb_tuple(uint32_t idx)
{
	return arena_at(&sx.h->arena, AR_TCB, idx);
}

static struct sock_tuple tuple(uint32_t n)
{
	return (struct sock_tuple){ .laddr = sx_v4(SX_A), .raddr = sx_v4(0xcb007100u + n % 251),
				    .lport = 80, .rport = (uint16_t)(n / 251 + 1) };
}

#define OBJS 20000u

Test(etable, model)
{
	static bool in[OBJS];
	struct stack *st;
	uint32_t cnt = 0;

	sx_init(1);
	st = &sx.h->st[0];
	for (uint32_t i = 1; i < OBJS; i++)
		*tcb_tuple(i) = tuple(i);
	for (unsigned step = 0; step < 400000; step++) {
		uint32_t i = 1 + rng_below(st->rng_state, OBJS - 1), obj = OBJ(OBJ_TCB, i);
		struct sock_tuple t = tuple(i);
		bool grow = step % 200000 < 120000;

		cr_assert_eq(sock_elookup(st, &t), in[i] ? obj : 0);
		if (rng_below(st->rng_state, 4) < (grow ? 3u : 1u)) {
			cr_assert_eq(sock_einsert(st, &t, obj), in[i] ? -EEXIST : 0);
			cnt += !in[i];
			in[i] = true;
		} else {
			sock_eremove(st, &t, obj);
			cnt -= in[i];
			in[i] = false;
		}
		cr_assert_eq(sock_ecount(st), cnt);
	}
	for (uint32_t i = 1; i < OBJS; i++) {
		struct sock_tuple t = tuple(i);

		cr_assert_eq(sock_elookup(st, &t), in[i] ? OBJ(OBJ_TCB, i) : 0);
	}
	sx_fini();
}

Test(etable, same_tuple_other_object)
{
	struct sock_tuple t = tuple(7);
	struct stack *st;

	sx_init(1);
	st = &sx.h->st[0];
	*tcb_tuple(3) = t;
	*(struct sock_tuple *)arena_at(&sx.h->arena, AR_TW, 9) = t;
	cr_assert_eq(sock_einsert(st, &t, OBJ(OBJ_TCB, 3)), 0);
	cr_assert_eq(sock_einsert(st, &t, OBJ(OBJ_TW, 9)), -EEXIST);
	sock_eremove(st, &t, OBJ(OBJ_TW, 9));		/* not there: nothing happens */
	cr_assert_eq(sock_elookup(st, &t), OBJ(OBJ_TCB, 3));
	sock_eremove(st, &t, OBJ(OBJ_TCB, 3));
	cr_assert_eq(sock_einsert(st, &t, OBJ(OBJ_TW, 9)), 0);
	cr_assert_eq(sock_elookup(st, &t), OBJ(OBJ_TW, 9));
	sx_fini();
}

/* 200,000 entries: chains stay short, overflow lines are few. */
Test(etable, spread)
{
	struct etab *t;
	struct stack *st;
	uint32_t worst = 0;

	sx_init(1);
	st = &sx.h->st[0];
	t = &st->sock->eh;
	for (uint32_t i = 1; i <= 200000; i++) {
		*tcb_tuple(i) = tuple(i);
		cr_assert_eq(sock_einsert(st, tcb_tuple(i), OBJ(OBJ_TCB, i)), 0);
	}
	for (uint32_t h = 0; h <= t->mask + t->split; h++) {
		uint32_t len = 1;

		for (struct etab_line *l = &t->lines[h]; l->next; l = &t->over[l->next])
			len++;
		worst = len > worst ? len : worst;
	}
	cr_assert_leq(worst, 4u);
	cr_assert_lt(t->over_bump, (t->mask + 1 + t->split) / 8);
	sx_fini();
}

/* The table at its limit refuses and goes on working. */
Test(etable, full)
{
	struct etab t;
	struct stack *st;
	uint32_t i;
	int err = 0;

	sx_init(1);
	st = &sx.h->st[0];
	cr_assert_eq(etab_init(&t, 64), 0);
	for (i = 1; !err; i++) {
		*tcb_tuple(i) = tuple(i);
		err = etab_insert(st, &t, tcb_tuple(i), OBJ(OBJ_TCB, i));
	}
	cr_assert_eq(err, -ENOMEM);
	cr_assert_gt(t.cnt, 500u);
	cr_assert(etab_remove(st, &t, tcb_tuple(1), OBJ(OBJ_TCB, 1)));
	for (i = 2; i <= t.cnt + 1; i++)
		cr_assert_eq(etab_find(st, &t, tcb_tuple(i)), OBJ(OBJ_TCB, i));
	etab_fini(&t);
	sx_fini();
}
