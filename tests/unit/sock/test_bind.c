/* SPDX-License-Identifier: MIT */
/* bind() and listen(): the same sequences on kernel sockets in a private namespace and on
 * sock_bind(). */
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>

#include "tests/unit/sock/sx.h"

/* ---- the kernel's side ---- */

static void if_addr(int fd, const char *name, uint32_t addr)
{
	struct ifreq r = { 0 };
	struct sockaddr_in *sin = (struct sockaddr_in *)&r.ifr_addr;

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(addr);
	cr_assert_eq(ioctl(fd, SIOCSIFADDR, &r), 0);
	r.ifr_flags = IFF_UP;
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &r), 0);
}

/* Return: false when this machine does not let us. */
static bool kernel_net(void)
{
	int fd;

	if (unshare(CLONE_NEWNET))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if_addr(fd, "lo", 0x7f000001u);
	if_addr(fd, "lo:1", SX_A);
	if_addr(fd, "lo:2", SX_B);
	close(fd);
	return true;
}

/* ---- one step on both sides ---- */

struct pair {
	int fd;				/* -1 = not open */
	struct sock_id id;
	int family, type;
	uint32_t uid;
	bool bound, listening;
};

static int kernel_bind(const struct pair *s, const struct sd_addr *a, uint16_t port)
{
	struct sockaddr_in6 s6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in s4 = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (s->family == AF_INET6) {
		memcpy(&s6.sin6_addr, a, 16);
		return bind(s->fd, (struct sockaddr *)&s6, sizeof(s6)) ? -errno : 0;
	}
	s4.sin_addr.s_addr = sd_addr_to_v4(a).v;
	return bind(s->fd, (struct sockaddr *)&s4, sizeof(s4)) ? -errno : 0;
}

static int our_bind(const struct pair *s, const struct sd_addr *a, uint16_t port)
{
	struct sock_cmd c = sx_cmd(s->id, SD_OP_BIND, *a, port);
	uint32_t bound;

	c.cred.uid = s->uid;
	return sock_bind(&sx.h->st[0], &c, &bound);
}

static int our_listen(const struct pair *s)
{
	struct sock_cmd c = sx_cmd(s->id, SD_OP_LISTEN, (struct sd_addr){ 0 }, 0);
	uint32_t obj = sx_e(s->id)->obj;

	c.u32[0] = 8;
	sock_listen(&sx.h->st[0], &c, OBJ_KIND(obj) == OBJ_BOUND ? OBJ_IDX(obj) : 0);
	return sx.reply.err;
}

static void pair_open(struct pair *s, uint64_t *rng, int type)
{
	unsigned reuse = rng_below(rng, 4);
	int on = 1, v6only;

	*s = (struct pair){ .type = type };
	s->family = rng_below(rng, 2) ? AF_INET6 : AF_INET;
	s->uid = rng_below(rng, 4) ? 0 : 1000;
	v6only = s->family == AF_INET6 && rng_below(rng, 3) == 0;
	setfsuid(s->uid);
	s->fd = socket(s->family, type, 0);
	setfsuid(0);
	cr_assert_geq(s->fd, 0);
	if (reuse & 1)
		setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuse & 2)
		setsockopt(s->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (s->family == AF_INET6)
		setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	s->id = sx_slot((uint8_t)s->family, (uint8_t)type, (uint8_t)reuse);
	if (v6only)
		sx_p(s->id)->flags |= SD_P_V6ONLY;
}

/* SO_REUSEADDR or SO_REUSEPORT on or off. Return: length of the log's line. */
static int change(struct pair *s, uint64_t *rng, char *log, size_t size)
{
	int bit = 1 << rng_below(rng, 2), on = (int)rng_below(rng, 2);

	cr_assert_eq(setsockopt(s->fd, SOL_SOCKET, bit == 1 ? SO_REUSEADDR : SO_REUSEPORT, &on,
				sizeof(on)), 0);
	sx_p(s->id)->opts.reuse = (uint8_t)(on ? sx_p(s->id)->opts.reuse | bit :
					    sx_p(s->id)->opts.reuse & ~bit);
	return snprintf(log, size, "reuse %d\n", sx_p(s->id)->opts.reuse);
}

static void pair_close(struct pair *s)
{
	struct stack *st = &sx.h->st[0];
	uint32_t obj = sx_e(s->id)->obj;

	close(s->fd);
	s->fd = -1;
	if (OBJ_KIND(obj) == OBJ_LISTENER) {
		sock_listen_close(st, OBJ_IDX(obj));
		return;
	}
	if (OBJ_KIND(obj) == OBJ_BOUND)
		sock_bound_put(st, OBJ_IDX(obj));
	sock_slot_free(st, s->id);
}

static struct sd_addr pick_addr(const struct pair *s, uint64_t *rng)
{
	static const uint32_t v4[] = { 0, SX_A, SX_B, 0xc6336409u };

	if (s->family == AF_INET6 && rng_below(rng, 2))
		return (struct sd_addr){ 0 };
	return sx_v4(v4[rng_below(rng, 8) ? rng_below(rng, 3) : 3]);
}

#define SOCKS 5

static void sequence(uint64_t *rng, int type, char *log, size_t size)
{
	struct pair s[SOCKS];
	int want, got;
	size_t n = 0;

	for (int i = 0; i < SOCKS; i++)
		s[i].fd = -1;
	for (int step = 0; step < 14; step++) {
		int i = (int)rng_below(rng, SOCKS);
		unsigned what = rng_below(rng, 9);

		if (s[i].fd < 0) {
			pair_open(&s[i], rng, type);
			n += (size_t)snprintf(log + n, size - n,
					      "open %d %s reuse %u flags %x uid %u\n", i,
					      s[i].family == AF_INET ? "v4" : "v6",
					      sx_p(s[i].id)->opts.reuse,
					      sx_p(s[i].id)->flags, s[i].uid);
			continue;
		}
		if (what == 8) {
			n += (size_t)snprintf(log + n, size - n, "%d ", i);
			n += (size_t)change(&s[i], rng, log + n, size - n);
		} else if (what == 0) {
			pair_close(&s[i]);
			n += (size_t)snprintf(log + n, size - n, "close %d\n", i);
		} else if (what <= 2 && type == SOCK_STREAM && s[i].bound) {
			want = listen(s[i].fd, 8) ? -errno : 0;
			got = our_listen(&s[i]);
			n += (size_t)snprintf(log + n, size - n, "listen %d: %d %d\n", i, want,
					      got);
			cr_assert_eq(want, got, "%s", log);
		} else {
			struct sd_addr a = pick_addr(&s[i], rng);
			uint16_t port = (uint16_t)(7000 + rng_below(rng, 2));

			want = kernel_bind(&s[i], &a, port);
			got = our_bind(&s[i], &a, port);
			n += (size_t)snprintf(log + n, size - n, "bind %d %08x:%08x %u: %d %d\n", i,
					      a.w[2],
					      be32_to_cpu((be32){ a.w[3] }), port, want, got);
			cr_assert_eq(want, got, "%s", log);
			s[i].bound |= !want;
		}
	}
	for (int i = 0; i < SOCKS; i++)
		if (s[i].fd >= 0)
			pair_close(&s[i]);
}

static void nothing(void *arg, uint32_t idx, const struct sock_bound *b)
{
	cr_assert_fail("record %u is left", idx);
}

static void matrix(int type, uint64_t seed, unsigned rounds)
{
	static char log[4096];
	uint64_t rng[2];

	if (!kernel_net())
		cr_skip_test("needs a network namespace");
	sx_init(1);
	rng_seed(rng, seed);
	for (unsigned i = 0; i < rounds; i++)
		sequence(rng, type, log, sizeof(log));
	sock_bound_walk(&sx.h->st[0], 0, UINT32_MAX, nothing, NULL);
	cr_assert_eq(sock_slot_used(&sx.h->st[0], SX_SEG), 0);
	sx_fini();
}

Test(bind, matrix_tcp) { matrix(SOCK_STREAM, 1, 4000); }
Test(bind, matrix_udp) { matrix(SOCK_DGRAM, 2, 4000); }

/* ---- what the kernel cannot be compared with ---- */

static int bind_as(struct sock_id id, uint32_t addr, uint16_t port, bool low)
{
	struct sock_cmd c = sx_cmd(id, SD_OP_BIND, sx_v4(addr), port);
	uint32_t bound;

	c.cred.low_ports = low;
	return sock_bind(&sx.h->st[0], &c, &bound);
}

Test(bind, privilege_and_order_of_checks)
{
	struct sock_id id;

	sx_init(1);
	id = sx_slot(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind_as(id, SX_PEER, 80, false), -EADDRNOTAVAIL);
	cr_assert_eq(bind_as(id, SX_A, 80, false), -EACCES);
	cr_assert_eq(bind_as(id, SX_A, 80, true), 0);
	cr_assert_eq(sx_e(id)->lport, 80);
	cr_assert(sx_e(id)->flags & SD_E_BOUND);
	cr_assert_eq(bind_as(id, SX_A, 81, true), -EINVAL);
	cr_assert_eq(bind_as(id, SX_PEER, 81, true), -EADDRNOTAVAIL);
	sx_fini();
}

Test(bind, port_zero_until_exhausted)
{
	bool seen[17] = { false };
	struct sock_id id;

	sx_init(1);
	cr_assert_eq(sock_set_port_range(&sx.h->st[0], 40000, 40015), 0);
	for (int i = 0; i < 16; i++) {
		id = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
		cr_assert_eq(bind_as(id, 0, 0, false), 0);
		cr_assert(sx_e(id)->lport >= 40000 && sx_e(id)->lport <= 40015);
		cr_assert_not(seen[sx_e(id)->lport - 40000]);
		seen[sx_e(id)->lport - 40000] = true;
	}
	id = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	cr_assert_eq(bind_as(id, 0, 0, false), -EADDRINUSE);
	sx_fini();
}

/* The options count as they are when somebody asks, not as they were at bind(). */
Test(bind, reuse_changed_later)
{
	struct sock_id a, b;

	sx_init(1);
	a = sx_slot(AF_INET, SOCK_STREAM, 0);
	b = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	cr_assert_eq(bind_as(a, SX_A, 7000, false), 0);
	cr_assert_eq(bind_as(b, SX_A, 7000, false), -EADDRINUSE);
	sx_p(a)->opts.reuse = SOCK_REUSEADDR;
	cr_assert_eq(bind_as(b, SX_A, 7000, false), 0);
	sx_fini();
}

/* dig binds to port 0 with SO_REUSEADDR before each connect(): the kernel's choice must not be a
 * port from which stackd has a connection to the same peer, in TIME_WAIT perhaps. */
Test(bind, picked_port_is_not_shared)
{
	struct sock_cmd c;
	struct sock_id a, b;
	uint32_t bound;

	sx_init(1);
	a = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	b = sx_slot(AF_INET, SOCK_STREAM, SOCK_REUSEADDR);
	cr_assert_eq(bind_as(a, SX_A, 40000, false), 0);
	c = sx_cmd(b, SD_OP_BIND, sx_v4(0), 40000);
	c.u32[0] = SD_BIND_PICKED;
	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), -EADDRINUSE);
	c.u32[0] = 0;
	cr_assert_eq(sock_bind(&sx.h->st[0], &c, &bound), 0);
	sx_fini();
}
