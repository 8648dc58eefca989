/* SPDX-License-Identifier: MIT */
/* core/arena.c - create, adopt and address the arena; pools of free indices
 * A memfd of whole pages: header, then each region from a page of its own. Untouched pages take no
 * memory, so regions are sized for the largest deployment.
 * Holds:   R1, R2 of arena.h; a header that does not describe exactly this memfd is refused
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stackd/core/arena.h"
#include "stackd/core/assert.h"

#define PAGE 4096ull

static uint64_t page_up(uint64_t v)
{
	return (v + PAGE - 1) / PAGE * PAGE;
}

/* Offsets follow from the sizes: they are computed the same way at creation and at the check. */
static void hdr_layout(struct arena_hdr *h)
{
	uint64_t off = page_up(sizeof(*h));

	for (unsigned r = 0; r < AR_MAX; r++) {
		h->reg[r].off = off;
		off = page_up(off + (uint64_t)h->reg[r].elem_size * h->reg[r].cnt);
	}
	h->size = off;
}

static bool hdr_valid(const struct arena_hdr *h, uint64_t abi_id, uint64_t size)
{
	struct arena_hdr want = *h;

	if (h->magic != ARENA_MAGIC || h->abi_id != abi_id || h->regions != AR_MAX)
		return false;
	hdr_layout(&want);
	return memcmp(&want, h, sizeof(want)) == 0 && h->size == size;
}

static int map_fd(int fd, uint64_t size, struct arena *ret)
{
	void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (m == MAP_FAILED)
		return -errno;
	(void)madvise(m, size, MADV_DONTDUMP);
	*ret = (struct arena){ .base = m, .hdr = m, .fd = fd };
	return 0;
}

int arena_create(uint32_t workers, const struct arena_region_def defs[AR_MAX], uint64_t abi_id,
		 struct arena *ret)
{
	struct arena_hdr h = { .abi_id = abi_id, .workers = workers, .regions = AR_MAX };
	int err, fd = memfd_create("stackd-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	for (unsigned r = 0; r < AR_MAX; r++) {
		h.reg[r].elem_size = defs[r].elem_size;
		h.reg[r].cnt = defs[r].cnt;
	}
	hdr_layout(&h);
	if (ftruncate(fd, (off_t)h.size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		goto out_close;
	}
	err = map_fd(fd, h.size, ret);
	if (err)
		goto out_close;
	memcpy(ret->base, &h, sizeof(h));
	((struct arena_hdr *)ret->base)->magic = ARENA_MAGIC;
	return 0;
out_close:
	close(fd);
	return err;
}

int arena_map(int fd, uint64_t abi_id, struct arena *ret)
{
	struct arena a;
	struct stat sb;
	int err;

	if (fstat(fd, &sb))
		return -errno;
	if ((uint64_t)sb.st_size < sizeof(struct arena_hdr))
		return -EPROTO;
	err = map_fd(fd, (uint64_t)sb.st_size, &a);
	if (err)
		return err;
	if (!hdr_valid(a.hdr, abi_id, (uint64_t)sb.st_size)) {
		munmap(a.base, (size_t)sb.st_size);
		return -EPROTO;
	}
	*ret = a;
	return 0;
}

void arena_unmap(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->hdr->size);
	a->base = NULL;
	a->hdr = NULL;
}

int idx_pool_init(struct idx_pool *p, uint32_t first, uint32_t cnt)
{
	uint32_t skip = first == 0 && cnt > 0;	/* record 0 is "none" */
	void *m = mmap(NULL, page_up((uint64_t)cnt * 4 + 4), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return -errno;
	*p = (struct idx_pool){ .first = first + skip, .cnt = cnt - skip, .bump = first + skip,
				.stack = m };
	return 0;
}

void idx_pool_fini(struct idx_pool *p)
{
	if (p->stack)
		munmap(p->stack, page_up((uint64_t)p->cnt * 4 + 4));
	*p = (struct idx_pool){ 0 };
}

uint32_t idx_alloc(struct idx_pool *p)
{
	uint32_t idx = 0;

	if (p->depth)
		idx = p->stack[--p->depth];
	else if (p->bump - p->first < p->cnt)
		idx = p->bump++;
	p->used += idx != 0;
	return idx;
}

void idx_free(struct idx_pool *p, uint32_t idx)
{
	ASSERT(idx >= p->first && idx < p->bump && p->used > 0);
	p->stack[p->depth++] = idx;
	p->used--;
}

void idx_adopt(struct idx_pool *p, uint32_t idx)
{
	ASSERT(idx >= p->bump && idx - p->first < p->cnt);
	while (p->bump < idx)
		p->stack[p->depth++] = p->bump++;
	p->bump++;
	p->used++;
}

/* ---- what is there ---- */

void arena_iter_init(struct arena_iter *it, const struct arena *a, enum arena_region r,
		     uint32_t first, uint32_t end)
{
	uint32_t cnt = a->hdr->reg[r].cnt;

	*it = (struct arena_iter){ .a = a, .r = r, .idx = first ? first : 1,
				   .end = end < cnt ? end : cnt };
}

/* Move on to the next stretch of memory that exists. Return: false = there is none. */
static bool iter_skip(struct arena_iter *it, uint64_t off, uint32_t size)
{
	off_t data = lseek(it->a->fd, (off_t)off, SEEK_DATA), hole;
	uint64_t base = it->a->hdr->reg[it->r].off;

	hole = data < 0 ? -1 : lseek(it->a->fd, data, SEEK_HOLE);
	if (hole < 0)
		return false;
	if ((uint64_t)data > off)
		it->idx = (uint32_t)(((uint64_t)data - base) / size);
	it->data_end = (uint64_t)hole;
	return it->idx < it->end;
}

void *arena_iter_next(struct arena_iter *it, uint32_t *ret_idx)
{
	uint32_t size = it->a->hdr->reg[it->r].elem_size;
	uint64_t off = it->a->hdr->reg[it->r].off + (uint64_t)it->idx * size;

	if (it->idx >= it->end || (off + size > it->data_end && !iter_skip(it, off, size)))
		return NULL;
	*ret_idx = it->idx++;
	return arena_at(it->a, it->r, *ret_idx);
}
