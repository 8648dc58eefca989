/* SPDX-License-Identifier: MIT */
/* Accepted connections hold their port: counted per worker, one record, gone with the last one. */
#include "tests/unit/sock/sx.h"

static int try_bind(uint16_t port, uint8_t reuse)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, reuse);
	struct sock_cmd c = sx_cmd(id, SD_OP_BIND, sx_v4(0), port);
	uint32_t bound = 0;
	int err = sock_bind(&sx.h->st[0], &c, &bound);

	if (!err)
		bound_free(&sx.h->st[0], bound);
	return err;
}

static uint32_t kid(unsigned w, uint8_t reuse, uint16_t rport)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, reuse);
	struct sock_listener l = { .proto = IPPROTO_TCP, .id = id };
	struct sock_tuple t = { sx_v4(SX_A), sx_v4(SX_PEER), 80, rport };

	return sock_kid_add(&sx.h->st[w], &l, &t);
}

Test(kids, hold_their_port)
{
	uint32_t a, b, c;

	sx_init(2);
	a = kid(0, 0, 1);
	b = kid(0, 0, 2);
	c = kid(1, 0, 1);
	sx_pump();
	cr_assert(a && a == b && c);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 1u, "one record for all of them");
	cr_assert_eq(try_bind(80, 0), -EADDRINUSE);
	cr_assert_eq(try_bind(80, SOCK_REUSEADDR), -EADDRINUSE, "they do not have it");
	cr_assert_eq(try_bind(81, 0), 0);
	sock_kid_del(&sx.h->st[0], a);
	sock_kid_del(&sx.h->st[1], c);
	sx_pump();
	cr_assert_eq(try_bind(80, 0), -EADDRINUSE);
	sock_kid_del(&sx.h->st[0], b);
	sx_pump();
	cr_assert_eq(try_bind(80, 0), 0);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 0u);
	sx_fini();
}

Test(kids, of_a_reusing_listener_share_it)
{
	uint32_t a;

	sx_init(1);
	a = kid(0, SOCK_REUSEADDR, 1);
	sx_pump();
	cr_assert_eq(try_bind(80, 0), -EADDRINUSE);
	cr_assert_eq(try_bind(80, SOCK_REUSEADDR), 0);
	sock_kid_del(&sx.h->st[0], a);
	sx_pump();
	cr_assert_eq(try_bind(80, 0), 0);
	sx_fini();
}
