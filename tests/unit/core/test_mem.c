/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_mem.c - packet pools, arena, index pools, packets going home */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stackd/core/stack.h"
#include "stackd/core/topo.h"

static struct pkt_pool *pool_of(uint32_t small, uint32_t big, uint8_t worker)
{
	struct pkt_pool_conf conf = { .small_cnt = small, .big_cnt = big, .numa_node = -1,
				      .worker = worker };
	struct pkt_pool *pool;

	cr_assert_eq(pkt_pool_create(&conf, &pool), 0);
	return pool;
}

Test(pkt, alloc_until_empty_and_back)
{
	struct pkt_pool *pool = pool_of(64, 3, 5);
	struct pkt *p[67];

	for (unsigned i = 0; i < 67; i++) {
		p[i] = pkt_alloc(pool, i >= 64);
		cr_assert(p[i] && p[i]->pool == 5 && p[i]->len == 0 && p[i]->gso_segs == 1);
		cr_assert_eq(p[i]->buf_size, i >= 64 ? PKT_BIG : PKT_SMALL);
		cr_assert_eq(p[i]->data - p[i]->buf, PKT_HEADROOM);
		memset(p[i]->buf, (int)i, p[i]->buf_size);
	}
	cr_assert_null(pkt_alloc(pool, false));
	cr_assert_null(pkt_alloc(pool, true));
	cr_assert_eq(pkt_pool_used(pool), 67);
	for (unsigned i = 0; i < 67; i++) {
		cr_assert_eq(p[i]->buf[p[i]->buf_size - 1], i, "buffers do not overlap");
		pkt_free(pool, p[i]);
	}
	cr_assert_eq(pkt_pool_used(pool), 0);
	pkt_pool_destroy(pool);
}

Test(pkt, pull_and_push_keep_to_the_buffer)
{
	struct pkt_pool *pool = pool_of(1, 0, 0);
	struct pkt *p = pkt_alloc(pool, false);
	uint8_t *d = p->data;

	p->len = 100;
	cr_assert_null(pkt_pull(p, 101));
	cr_assert_eq(p->data, d);
	cr_assert_eq(pkt_pull(p, 100), d + 100);
	cr_assert_eq(p->len, 0);
	cr_assert_eq(pkt_push(p, 100 + PKT_HEADROOM), p->buf);
	cr_assert_null(pkt_push(p, 1));
	cr_assert_null(pkt_push(p, UINT32_MAX));
	pkt_free(pool, p);
	pkt_pool_destroy(pool);
}

Test(pkt, second_free_asserts, .signal = SIGABRT)
{
	struct pkt_pool *pool = pool_of(1, 0, 0);
	struct pkt *p = pkt_alloc(pool, false);

	pkt_free(pool, p);
	pkt_free(pool, p);
}

/* Two workers; the ring from 0 to 1 has room for `room` messages. */
static struct {
	struct stack st[2];
	struct counters cnt[2];
	unsigned room;
} two;

static bool send_two(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	if (!two.room)
		return false;
	two.room--;
	stack_recv(&two.st[to], msg);
	return true;
}

Test(stack, foreign_packets_travel_home)
{
	static const struct stack_up up = { .send = send_two };
	struct pkt *p[3];

	for (uint16_t i = 0; i < 2; i++)
		two.st[i] = (struct stack){ .worker = i, .workers = 2,
					    .pool = pool_of(4, 0, (uint8_t)i),
					    .cnt = &two.cnt[i], .up = &up };
	for (unsigned i = 0; i < 3; i++)
		p[i] = pkt_alloc(two.st[1].pool, false);
	two.room = 1;
	stack_drop(&two.st[0], p[0], DROP_IP_CSUM);
	cr_assert_eq(two.cnt[0].drop[DROP_IP_CSUM], 1);
	cr_assert_eq(pkt_pool_used(two.st[1].pool), 2);
	stack_pkt_free(&two.st[0], p[1]);
	stack_pkt_free(&two.st[0], p[2]);
	cr_assert_eq(pkt_pool_used(two.st[1].pool), 2, "ring full: they wait");
	two.room = 1;
	stack_flush_home(&two.st[0]);
	cr_assert_eq(pkt_pool_used(two.st[1].pool), 1);
	two.room = 10;
	stack_flush_home(&two.st[0]);
	cr_assert_eq(pkt_pool_used(two.st[1].pool), 0);
	cr_assert_eq(two.cnt[1].snmp[SNMP_Worker_HandoffIn], 3);
	pkt_pool_destroy(two.st[0].pool);
	pkt_pool_destroy(two.st[1].pool);
}

Test(stack, merged_packets_go_with_the_first)
{
	struct counters cnt = { 0 };
	struct stack st = { .worker = 2, .workers = 3, .pool = pool_of(4, 0, 2), .cnt = &cnt };
	struct pkt *p[3];

	for (unsigned i = 0; i < 3; i++)
		p[i] = pkt_alloc(st.pool, false);
	p[0]->merged = p[1];
	p[1]->next = p[2];
	stack_pkt_free(&st, p[0]);
	cr_assert_eq(pkt_pool_used(st.pool), 0);
	pkt_pool_destroy(st.pool);
}

static const struct arena_region_def defs[AR_MAX] = {
	[AR_INTENT] = { 64, 3 }, [AR_COUNTERS] = { sizeof(struct counters), 3 },
	[AR_TCB] = { 448, 1u << 20 },
};

Test(arena, survives_its_first_mapping)
{
	struct arena a, b;
	uint32_t *v;

	cr_assert_eq(arena_create(2, defs, 0xabcd, &a), 0);
	cr_assert_null(arena_at(&a, AR_TCB, 0));
	cr_assert_null(arena_at(&a, AR_TCB, 1u << 20));
	cr_assert_null(arena_at(&a, AR_UDP, 1));
	v = arena_at(&a, AR_TCB, (1u << 20) - 1);
	cr_assert_eq(*v, 0);
	*v = 77;
	arena_unmap(&a);
	cr_assert_eq(arena_map(a.fd, 0xabcd, &b), 0);
	v = arena_at(&b, AR_TCB, (1u << 20) - 1);
	cr_assert_eq(*v, 77);
	cr_assert_eq(b.hdr->workers, 2);
	arena_unmap(&b);
	close(a.fd);
}

Test(arena, refuses_what_is_not_its_own)
{
	struct arena a, b;
	int fd = memfd_create("other", 0);

	cr_assert_eq(arena_map(fd, 1, &b), -EPROTO, "too short");
	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	cr_assert_eq(arena_map(fd, 1, &b), -EPROTO, "no magic");
	close(fd);
	cr_assert_eq(arena_create(1, defs, 5, &a), 0);
	cr_assert_eq(arena_map(a.fd, 6, &b), -EPROTO, "another ABI");
	((struct arena_hdr *)a.base)->reg[AR_TCB].cnt++;
	cr_assert_eq(arena_map(a.fd, 5, &b), -EPROTO, "regions do not fit");
	((struct arena_hdr *)a.base)->reg[AR_TCB].cnt--;
	cr_assert_eq(arena_map(a.fd, 5, &b), 0);
	arena_unmap(&b);
	arena_unmap(&a);
	close(a.fd);
}

Test(idx_pool, gives_each_once)
{
	struct idx_pool p;
	bool seen[101] = { false };

	cr_assert_eq(idx_pool_init(&p, 0, 101), 0);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t idx = idx_alloc(&p);

		cr_assert(idx >= 1 && idx <= 100 && !seen[idx]);
		seen[idx] = true;
	}
	cr_assert_eq(idx_alloc(&p), 0);
	cr_assert_eq(p.used, 100);
	for (uint32_t i = 1; i <= 100; i++)
		idx_free(&p, i);
	cr_assert_eq(p.used, 0);
	cr_assert_eq(idx_alloc(&p), 100, "last in, first out");
	idx_pool_fini(&p);
	cr_assert_eq(idx_pool_init(&p, 500, 2), 0);
	cr_assert_eq(idx_alloc(&p), 500);
	cr_assert_eq(idx_alloc(&p), 501);
	cr_assert_eq(idx_alloc(&p), 0);
	idx_pool_fini(&p);
}

Test(counters, every_id_has_its_names)
{
	for (unsigned i = 0; i < DROP_MAX; i++)
		cr_assert(drop_text[i] && drop_name[i]);
	for (unsigned i = 0; i < SNMP_MAX; i++)
		cr_assert(snmp_group[i] && snmp_name[i]);
	cr_assert_str_eq(drop_name[DROP_IP_CSUM], "IP_CSUM");
	cr_assert_str_eq(snmp_group[SNMP_TcpExt_TW], "TcpExt");
}

Test(topo, workers_get_usable_cpus)
{
	unsigned n = topo_cpu_cnt();
	int first = topo_worker_cpu(0, n, -1);

	cr_assert(n >= 1 && first >= 0);
	for (unsigned w = 1; w < n && w < 4; w++)
		cr_assert_neq(topo_worker_cpu(w, n, 0), topo_worker_cpu(w - 1, n, 0));
	cr_assert_eq(topo_worker_cpu(n, n + 1, -1), first, "more workers than CPUs share");
	cr_assert_eq(topo_worker_cpu(2, 2, -1), -ENOENT);
}
