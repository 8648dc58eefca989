/* SPDX-License-Identifier: MIT */
/* Ports that connect() and bind(0) find: reserved ones, the last free one, used ones given back. */
#include "tests/unit/sock/sx.h"

static struct sock_tuple last;

static int connect_one(uint16_t rport, uint32_t *ret_bound)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, 0);
	struct sock_cmd c = sx_cmd(id, SD_OP_CONNECT, sx_v4(SX_PEER), rport);
	struct ip_route_res r;
	uint16_t worker;

	return sock_connect(&sx.h->st[0], &c, 0, &last, ret_bound, &worker, &r);
}

Test(ports, reserved_ones_are_left_out)
{
	struct sysctl *s;
	bool seen[100] = { false };
	uint32_t b;
	int n = 0;

	sx_init(1);
	s = sx.h->st[0].sys;
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 30000, 30099), 0);
	strcpy(s->ip_local_reserved_ports, "30000,30010-30019,40000");
	while (connect_one(80, &b) == 0) {
		cr_assert(!seen[last.lport - 30000]);
		seen[last.lport - 30000] = true;
		n++;
	}
	cr_assert_eq(n, 89);
	cr_assert(!seen[0] && !seen[10] && !seen[19] && seen[20] && seen[99]);
	s->ip_local_reserved_ports[0] = 0;
	cr_assert_eq(connect_one(80, &b), 0, "no longer reserved");
	sx_fini();
}

/* All of them, then each one that comes free again; other destinations are not in the way. */
Test(ports, down_to_the_last_one)
{
	enum { N = 28232 };
	static uint32_t bounds[65536];
	uint32_t b;

	sx_init(1);
	for (int i = 0; i < N; i++) {
		cr_assert_eq(connect_one(80, &b), 0);
		cr_assert_eq(bounds[last.lport], 0u);
		bounds[last.lport] = b;
	}
	cr_assert_eq(connect_one(80, &b), -EADDRNOTAVAIL);
	cr_assert_eq(connect_one(81, &b), 0);
	for (uint32_t port = 32768; port < 61000; port += 997) {
		sock_bound_put(&sx.h->st[0], bounds[port]);
		sx_pump();
		cr_assert_eq(connect_one(80, &b), 0);
		cr_assert_eq(last.lport, port);
	}
	cr_assert_eq(connect_one(80, &b), -EADDRNOTAVAIL);
	sx_fini();
}
