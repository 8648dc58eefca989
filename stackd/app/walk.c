/* SPDX-License-Identifier: MIT */
/* app/walk.c - walks over what a family really has, not over what it says that it has
 * Program slots: programs choose their numbers, so a range tells nothing of how many there are; one
 * that names slot 1 and slot 524,287 would make whoever walks from one to the other touch (and so
 * allocate) everything in between. ATTACH marks a slot here, in the arena; walks visit marks only,
 * and take back those of slots that have left service meanwhile.
 * Open tables: hi_fd is the program's word. Pages that it never wrote have no entries: the kernel
 * tells which they are without making them.
 * Holds:   PS1 a program slot in service is marked: marked before slot_e.gen is stored
 * Cost:    slots: a load per 4,096, and what the program itself put into service; tables: a system
 *          call per page of 512 entries that the program itself touched
 * Threads: worker 0; adoption
 */
#include <unistd.h>

#include "stackd/app/app_int.h"

/* ---- program slots ---- */

static struct seg_pslots *slots_of(struct stack *st, uint16_t seg)
{
	return arena_at(st->arena, AR_PSLOTS, seg);
}

void app_pslot_mark(struct stack *st, uint16_t seg, uint32_t slot)
{
	struct seg_pslots *m = slots_of(st, seg);

	/* the summary first: a kill in between leaves a word of no marks, not a mark unseen */
	bit_set(m->sum, slot / 64);
	bit_set(m->used, slot);
}

/* The lowest set bit of @map at or above @from, @end when there is none below it. */
static uint32_t bit_next(const uint64_t *map, uint32_t from, uint32_t end)
{
	while (from < end) {
		uint64_t bits = map[from / 64] >> from % 64;

		if (bits) {
			from += (uint32_t)__builtin_ctzll(bits);
			return from < end ? from : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

uint32_t app_pslot_next(struct stack *st, uint16_t seg, uint32_t from)
{
	struct seg_pslots *m = slots_of(st, seg);
	uint32_t word = from / 64;

	while (from < SD_SLOTS_P) {
		uint32_t at = bit_next(m->used, from, (word + 1) * 64);

		if (at < (word + 1) * 64)
			return at;
		if (!m->used[word])
			bit_clear(m->sum, word);
		word = bit_next(m->sum, word + 1, SD_SLOTS_P / 64);
		from = word * 64;
	}
	return SD_SLOTS_P;
}

uint32_t app_slot_after(struct stack *st, uint16_t seg, uint32_t slot)
{
	if (slot && slot < SD_SLOTS_P && !ld_acq(&shm_slot_e(&st->segs[seg], slot)->gen))
		bit_clear(slots_of(st, seg)->used, slot);
	return slot < SD_SLOTS_P ? app_pslot_next(st, seg, slot + 1) : slot + 1;
}

uint32_t app_slots_end(struct stack *st, uint16_t seg)
{
	struct shm_epool *pool = &st->epools[seg];
	uint32_t end = pool->span ? ld_acq(&pool->span->next_slot) : SD_SLOTS_P;

	return end < SD_SLOTS_P ? SD_SLOTS_P : end < SD_SLOTS ? end : SD_SLOTS;
}

void app_pslots_clear(struct stack *st, uint16_t seg)
{
	struct seg_pslots *m = slots_of(st, seg);
	uint32_t word = 0;

	while ((word = bit_next(m->sum, word, SD_SLOTS_P / 64)) < SD_SLOTS_P / 64)
		m->used[word++] = 0;
	memset(m->sum, 0, sizeof(m->sum));
}

/* ---- open tables ---- */

#define PAGE_FDS	(SD_PAGE / sizeof(sd_ofd))
static_assert(APP_FDS_PIECE % PAGE_FDS == 0, "pieces begin where pages do");

/* The first entry from @fd on, itself the first of a page, that lies in a page that exists. */
static uint32_t page_next(const struct shm_seg *seg, const sd_ofd *fds, uint32_t fd)
{
	off_t off = (const uint8_t *)&fds[fd] - seg->rw, at;

	at = seg->rw_fd < 0 ? off : lseek(seg->rw_fd, off, SEEK_DATA);
	if (at < off)
		return at < 0 && errno == ENXIO ? SD_FDS : fd;
	return at - off < (off_t)sizeof(struct sd_proc) ? fd + (uint32_t)(at - off) / sizeof(*fds) :
	       SD_FDS;
}

uint32_t app_fd_next(const struct shm_seg *seg, uint32_t proc, uint32_t fd, uint32_t stop)
{
	const sd_ofd *fds = shm_proc(seg, proc)->fds;

	while (fd < stop) {
		if (fd % PAGE_FDS == 0) {
			fd = page_next(seg, fds, fd);
			if (fd >= stop)
				break;
		}
		if (ld_rlx(&fds[fd]))
			return fd;
		fd++;
	}
	return stop;
}
