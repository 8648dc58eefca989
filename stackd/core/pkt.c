/* SPDX-License-Identifier: MIT */
/* core/pkt.c - packet pools
 * One shared mapping per pool: descriptors first, then small buffers, then big ones. Shared,
 * because a child of a fork must never turn the engine's DMA pages into copies. Free packets of a
 * class form a list through pkt.next, last in first out, so that a warm buffer is used again.
 * Holds:   K1, K2, K3 of pkt.h; a free packet's owner is its pool: a second free asserts
 * Threads: owning worker only
 */
#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stackd/core/assert.h"
#include "stackd/core/pkt.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define BUF_POISON(p)	__asan_poison_memory_region((p)->buf, (p)->buf_size)
#define BUF_UNPOISON(p)	__asan_unpoison_memory_region((p)->buf, (p)->buf_size)
#else
#define BUF_POISON(p)	((void)0)
#define BUF_UNPOISON(p)	((void)0)
#endif

#define HUGE_SIZE	(2ull << 20)
#define PREFAULT_MAX	(64ull << 20)	/* bytes touched at creation; the rest when first used */

struct pkt_pool {
	struct pkt *free[2];		/* by size class */
	struct pkt *desc;
	uint8_t *base, *bufs;
	size_t size;
	uint32_t cnt[2];
	uint32_t used;
	uint8_t worker;
};

uint8_t *pkt_pull(struct pkt *p, uint32_t n)
{
	if (n > p->len)
		return NULL;
	p->data += n;
	p->len -= n;
	return p->data;
}

uint8_t *pkt_push(struct pkt *p, uint32_t n)
{
	if (n > (size_t)(p->data - p->buf))
		return NULL;
	p->data -= n;
	p->len += n;
	return p->data;
}

static size_t round_up(size_t v, size_t to)
{
	return (v + to - 1) / to * to;
}

static void *pool_map(size_t *size, int node)
{
	size_t huge = round_up(*size, HUGE_SIZE);
	void *m = MAP_FAILED;

	if (*size >= HUGE_SIZE)
		m = mmap(NULL, huge, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (m != MAP_FAILED)
		*size = huge;
	else
		m = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return NULL;
	if (node >= 0 && node < 64) {
		unsigned long mask = 1ul << node;

		/* A preference: where the node is unknown or forbidden, any memory does. */
		(void)mbind(m, *size, MPOL_PREFERRED, &mask, 64, 0);
	}
	(void)madvise(m, *size, MADV_DONTDUMP);
	return m;
}

/* Lay out one class: @cnt descriptors from @d with buffers of @size from @buf. */
static void pool_fill(struct pkt_pool *pool, struct pkt *d, uint32_t cnt, bool big, uint8_t *buf,
		      uint32_t size)
{
	for (uint32_t i = cnt; i-- > 0;) {
		struct pkt *p = d + i;

		p->buf = buf + (size_t)i * size;
		p->buf_size = size;
		p->pool = pool->worker;
		p->big = big;
		p->owner = pool;
		p->next = pool->free[big];
		pool->free[big] = p;
		BUF_POISON(p);
	}
}

int pkt_pool_create(const struct pkt_pool_conf *conf, struct pkt_pool **ret_pool)
{
	uint32_t cnt = conf->small_cnt + conf->big_cnt;
	size_t desc = round_up((size_t)cnt * sizeof(struct pkt), 4096);
	size_t small = (size_t)conf->small_cnt * PKT_SMALL;
	struct pkt_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->worker = conf->worker;
	pool->cnt[0] = conf->small_cnt;
	pool->cnt[1] = conf->big_cnt;
	pool->size = round_up(desc + small + (size_t)conf->big_cnt * PKT_BIG, 4096);
	pool->base = pool_map(&pool->size, conf->numa_node);
	if (!pool->base) {
		free(pool);
		return -ENOMEM;
	}
	size_t touch = pool->size < PREFAULT_MAX ? pool->size : PREFAULT_MAX;

	(void)madvise(pool->base, touch, MADV_POPULATE_WRITE);
	pool->desc = (struct pkt *)pool->base;
	pool->bufs = pool->base + desc;
	pool_fill(pool, pool->desc, conf->small_cnt, false, pool->base + desc, PKT_SMALL);
	pool_fill(pool, pool->desc + conf->small_cnt, conf->big_cnt, true,
		  pool->base + desc + small, PKT_BIG);
	*ret_pool = pool;
	return 0;
}

void *pkt_pool_mem(const struct pkt_pool *pool, size_t *ret_len)
{
	*ret_len = pool->size - (size_t)(pool->bufs - pool->base);
	return pool->bufs;
}

void pkt_pool_destroy(struct pkt_pool *pool)
{
	if (!pool)
		return;
	for (uint32_t i = 0; i < pool->cnt[0] + pool->cnt[1]; i++)
		BUF_UNPOISON(pool->desc + i);
	munmap(pool->base, pool->size);
	free(pool);
}

struct pkt *pkt_alloc(struct pkt_pool *pool, bool big)
{
	struct pkt *p = pool->free[big];

	if (!p)
		return NULL;
	pool->free[big] = p->next;
	pool->used++;
	BUF_UNPOISON(p);

	uint8_t *buf = p->buf;
	uint32_t size = p->buf_size;

	memset(p, 0, offsetof(struct pkt, frag));
	p->buf = buf;
	p->buf_size = size;
	p->data = buf + PKT_HEADROOM;
	p->gso_segs = 1;
	p->pool = pool->worker;
	p->big = big;
	return p;
}

void pkt_free(struct pkt_pool *pool, struct pkt *p)
{
	ASSERT(p->pool == pool->worker);
	ASSERT(p->owner != pool);
	BUF_POISON(p);
	p->owner = pool;
	p->next = pool->free[p->big];
	pool->free[p->big] = p;
	pool->used--;
}

uint32_t pkt_pool_used(const struct pkt_pool *pool)
{
	return pool->used;
}
