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

static int with_range(uint32_t lo, uint32_t hi, bool binds)
{
	struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, 0);
	struct sock_cmd c = sx_cmd(id, binds ? SD_OP_BIND : SD_OP_CONNECT,
				   sx_v4(binds ? SX_A : SX_PEER), binds ? 0 : 80);
	struct ip_route_res r;
	uint16_t worker;
	uint32_t b;
	int err;

	sx_p(id)->port_range = lo | hi << 16;
	if (!binds)
		return sock_connect(&sx.h->st[0], &c, 0, &last, &b, &worker, &r);
	err = sock_bind(&sx.h->st[0], &c, &b);
	last.lport = sx_e(id)->lport;
	return err;
}

/* IP_LOCAL_PORT_RANGE: each of its ports, an odd number of them as well, and no other; an end
 * outside of everybody's range does not count. */
Test(ports, range_of_one_socket)
{
	unsigned seen = 0;

	sx_init(1);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(with_range(40000, 40002, false), 0);
		seen |= 1u << (last.lport - 40000);
	}
	cr_assert_eq(seen, 7u);
	cr_assert_eq(with_range(40000, 40002, false), -EADDRNOTAVAIL);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(with_range(41000, 41002, true), 0);
		seen |= 8u << (last.lport - 41000);
	}
	cr_assert_eq(seen, 63u);
	cr_assert_eq(with_range(41000, 41002, true), -EADDRINUSE);
	cr_assert_eq(with_range(100, 32770, false), 0);
	cr_assert(last.lport >= 32768 && last.lport <= 32770);
	cr_assert_eq(with_range(60998, 0, false), 0);
	cr_assert(last.lport == 60998 || last.lport == 60999);
	sx_fini();
}
