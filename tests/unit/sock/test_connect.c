/* SPDX-License-Identifier: MIT */
/* connect(): source addresses, ports, uniqueness of tuples, the worker that replies will reach. */
#include "tests/unit/sock/sx.h"

static struct sock_tuple last;
static uint32_t last_bound;
static uint16_t last_worker;

static int connect_to(struct sock_id id, uint32_t dst, uint16_t port, uint32_t bound, uint16_t home)
{
	struct sock_cmd c = sx_cmd(id, SD_OP_CONNECT, sx_v4(dst), port);
	struct ip_route_res r;

	c.home = home;
	return sock_connect(&sx.h->st[0], &c, bound, &last, &last_bound, &last_worker, &r);
}

static uint32_t bind_to(struct sock_id id, uint32_t addr, uint16_t port)
{
	struct sock_cmd c = sx_cmd(id, SD_OP_BIND, sx_v4(addr), port);
	uint32_t bound = 0;

	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), 0);
	return bound;
}

Test(connect, names_and_flags)
{
	struct sock_id id;

	sx_init(1);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect_to(id, SX_PEER, 80, 0, 0), 0);
	cr_assert_eq(sd_addr_to_v4(&sx_e(id)->laddr).v, cpu_to_be32(SX_A).v);
	cr_assert_eq(sx_e(id)->rport, 80);
	cr_assert_eq(sx_e(id)->lport, last.lport);
	cr_assert(last.lport >= 32768 && last.lport <= 60999);
	cr_assert(sx_e(id)->flags & SD_E_BOUND);
	cr_assert_eq(connect_to(id, 0x0a000001u, 80, last_bound, 0), -ENETUNREACH);
	sx_fini();
}

/* Ports towards one peer do not repeat until all are used, even ones come first, other peers have
 * their own sequence; when all are in use the answer is EADDRNOTAVAIL, and one that was freed is
 * found. */
Test(connect, distribution_and_exhaustion)
{
	static bool seen[2][65536];
	uint32_t bounds[1000], odd_early = 0;
	struct sock_id id;

	sx_init(1);
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 30000, 30999), 0);
	for (int i = 0; i < 1000; i++) {
		id = sx_slot(AF_INET, SOCK_STREAM, 0);
		cr_assert_eq(connect_to(id, SX_PEER, 80, 0, 0), 0);
		cr_assert_not(seen[0][last.lport]);
		seen[0][last.lport] = true;
		odd_early += i < 500 && last.lport % 2;
		bounds[i] = last_bound;
	}
	cr_assert_eq(odd_early, 0);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect_to(id, SX_PEER, 80, 0, 0), -EADDRNOTAVAIL);
	cr_assert_eq(connect_to(id, SX_PEER, 81, 0, 0), 0);	/* the same ports, another tuple */
	cr_assert(seen[0][last.lport]);
	sock_bound_put(&sx.h->st[0], bounds[333]);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect_to(id, SX_PEER, 80, 0, 0), 0);
	cr_assert_eq(last_bound, bounds[333]);
	sx_fini();
}

/* The offset is keyed: peers and secrets give different sequences. */
Test(connect, offsets_differ)
{
	uint16_t first[3];

	for (int run = 0; run < 3; run++) {
		sx_init(1);
		if (run == 2)
			sx.h->st[0].boot_secret[0]++;
		cr_assert_eq(connect_to(sx_slot(AF_INET, SOCK_STREAM, 0), SX_PEER, run == 1 ? 81 :
					80, 0,
					0), 0);
		first[run] = last.lport;
		sx_fini();
	}
	cr_assert(first[0] != first[1] && first[0] != first[2] && first[1] != first[2]);
}

Test(connect, steered_to_the_wanted_worker)
{
	unsigned hits = 0;

	sx_init(4);
	for (int i = 0; i < 2000; i++) {
		struct sock_id id = sx_slot(AF_INET, SOCK_STREAM, 0);
		uint16_t home = (uint16_t)(i % 4);

		cr_assert_eq(connect_to(id, SX_PEER, 80, 0, home), 0);
		cr_assert_eq(last_worker, nic_steer_hash(&last.raddr, last.rport, &last.laddr,
							 last.lport) % 4);
		hits += last_worker == home;
	}
	cr_assert_eq(hits, 2000u);
	sx_fini();
}

/* When the wanted worker's ports are used up, any other port does. */
Test(connect, steering_gives_way)
{
	unsigned other = 0;

	sx_init(4);
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 30000, 30099), 0);
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(connect_to(sx_slot(AF_INET, SOCK_STREAM, 0), SX_PEER, 80, 0, 1), 0);
		other += last_worker != 1;
	}
	cr_assert(other > 50 && other < 90);
	cr_assert_eq(connect_to(sx_slot(AF_INET, SOCK_STREAM, 0), SX_PEER, 80, 0, 1),
		     -EADDRNOTAVAIL);
	sx_fini();
}

Test(connect, bound_first)
{
	struct sock_id a, b, c;
	uint32_t ba, bb;

	sx_init(1);
	a = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	b = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	ba = bind_to(a, SX_B, 5000);
	bb = bind_to(b, SX_B, 5000);
	cr_assert_eq(connect_to(a, SX_PEER, 80, ba, 0), 0);
	cr_assert_eq(last.lport, 5000);
	cr_assert_eq(sd_addr_to_v4(&last.laddr).v, cpu_to_be32(SX_B).v);
	cr_assert_eq(connect_to(b, SX_PEER, 80, bb, 0), -EADDRNOTAVAIL, "the tuple is taken");
	cr_assert_eq(connect_to(b, SX_PEER, 81, bb, 0), 0);
	/* A port that bind() asked for is nobody's by connect(). */
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 5000, 5001), 0);
	c = sx_slot(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect_to(c, SX_PEER, 99, 0, 0), 0);
	cr_assert_eq(last.lport, 5001);
	sx_fini();
}

/* connect() that failed may be tried again; the port that bind() gave stays, a chosen one does not.
 */
Test(connect, again)
{
	struct sock_id a, b;
	uint32_t ba;

	sx_init(1);
	a = sx_slot(AF_INET, SOCK_STREAM, 0);
	b = sx_slot(AF_INET, SOCK_STREAM, 0);
	ba = bind_to(a, 0, 5000);
	cr_assert_eq(connect_to(a, SX_PEER, 80, ba, 0), 0);
	cr_assert_eq(connect_to(a, SX_PEER, 82, ba, 0), 0);
	cr_assert_eq(last.lport, 5000);
	cr_assert_eq(connect_to(b, SX_PEER, 80, 0, 0), 0);
	cr_assert_eq(sock_bound_after(&sx.h->st[0], ba), ba);
	cr_assert_eq(sock_bound_after(&sx.h->st[0], last_bound), 0);
	sx_pump();
	sx_e(b)->flags &= ~SD_E_BOUND;
	bind_to(b, 0, 5001);
	cr_assert_eq(sx_e(b)->lport, 5001);
	cr_assert_eq(sx.h->st[0].sock->conn.cnt, 1u);
	cr_assert_eq(sx.h->st[0].sock->bounds.used, 2u);
	sx_fini();
}

Test(connect, address_without_port)
{
	struct sock_cmd c;
	struct sock_id id;
	uint32_t bound;

	sx_init(1);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	c = sx_cmd(id, SD_OP_BIND, sx_v4(SX_B), 0);
	c.u32[0] = SD_BIND_DEFER_PORT;
	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), 0);
	cr_assert_eq(sx_e(id)->lport, 0);
	cr_assert_eq(connect_to(id, SX_PEER, 80, bound, 0), 0);
	cr_assert_eq(sd_addr_to_v4(&last.laddr).v, cpu_to_be32(SX_B).v);
	cr_assert_neq(last.lport, 0);
	sx_fini();
}
