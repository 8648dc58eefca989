/* SPDX-License-Identifier: MIT */
/* shm/pool.c - allocation of chunks and slots
 * Program side: bitmaps in the RW memfd, 1 = free. Nothing but bits is shared, so a killed process
 * cannot leave a broken list; it loses at most its magazine. Hints are plain words that anybody may
 * overwrite: a wrong one costs a longer search, never an index.
 * Engine side: a stack per worker over spans taken from a counter; last freed is first reused,
 * which keeps the working set in cache.
 * Pairs:   who frees or_sc(word) with who allocates xchg_sc/and_sc(word): data written before the
 *          free happens before the next owner's writes
 * Holds:   P1 index 0 is never handed out, whatever the bitmap says
 *          P2 an index handed out is in range, whatever is passed to a free
 * Threads: program side any; engine side the owning worker, span counters any worker
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/pool.h"

#define CHUNK_WORDS	(SD_CHUNKS / 64)
#define SLOT_WORDS	(SD_SLOTS_P / 64)
#define ESLOTS		(SD_SLOTS - SD_SLOTS_P)
#define SPAN		64u

static uint64_t *chunk_map(const struct shm_seg *seg)
{
	return (uint64_t *)(seg->rw + SD_RW_CHUNKMAP);
}

static uint64_t *slot_map(const struct shm_seg *seg)
{
	return (uint64_t *)(seg->rw + SD_RW_SLOTMAP);
}

/* ---- program side ---- */

void shm_pool_init(const struct shm_seg *seg)
{
	memset(chunk_map(seg), 0xff, SD_CHUNKS / 8);
	memset(slot_map(seg), 0xff, SD_SLOTS_P / 8);
	chunk_map(seg)[0] &= ~1ull;
	slot_map(seg)[0] &= ~1ull;
}

void shm_pool_limit(const struct shm_seg *seg, uint32_t chunks)
{
	uint32_t w = chunks / 64;

	if (chunks >= SD_CHUNKS)
		return;
	chunk_map(seg)[w] &= (1ull << chunks % 64) - 1;
	memset(chunk_map(seg) + w + 1, 0, (CHUNK_WORDS - w - 1) * sizeof(uint64_t));
}

/* Set a free bit again and let searches start there. */
static void map_put(uint64_t *map, uint32_t *hint, uint32_t i)
{
	or_sc(&map[i / 64], 1ull << i % 64);	/* pairs with xchg_sc/and_sc of the next owner */
	if (ld_rlx(hint) > i / 64)
		st_rlx(hint, i / 64);
}

/* Bits of word @w that may be handed out. */
static uint64_t usable(uint32_t w, uint64_t bits)
{
	return w ? bits : bits & ~1ull;
}

static bool magazine_fill(const struct shm_seg *seg, struct shm_magazine *mag)
{
	uint64_t *map = chunk_map(seg), bits;
	uint32_t *hint = &shm_rw_hdr(seg)->chunk_hint;
	uint32_t i, w, start = ld_rlx(hint) % CHUNK_WORDS;

	if (ld_rlx(&((const struct sd_seg_ro *)seg->ro)->scarce) & SD_SCARCE_CHUNKS)
		return false;
	for (i = 0; i < CHUNK_WORDS; i++) {
		w = (start + i) % CHUNK_WORDS;
		if (!usable(w, ld_rlx(&map[w])))
			continue;
		bits = usable(w, xchg_sc(&map[w], 0));	/* pairs with or_sc in map_put() */
		if (!bits)
			continue;
		mag->bits = bits;
		mag->word = w;
		st_rlx(hint, w + 1);
		return true;
	}
	return false;
}

uint32_t shm_pchunk_alloc(const struct shm_seg *seg, struct shm_magazine *mag)
{
	unsigned b;

	if (!mag->bits && !magazine_fill(seg, mag))
		return 0;
	b = (unsigned)__builtin_ctzll(mag->bits);
	mag->bits &= mag->bits - 1;
	return mag->word * 64 + b;
}

void shm_pchunk_free(const struct shm_seg *seg, uint32_t chunk)
{
	if (chunk - 1 < SD_CHUNKS - 1)
		map_put(chunk_map(seg), &shm_rw_hdr(seg)->chunk_hint, chunk);
}

void shm_pchunk_put(const struct shm_seg *seg, struct shm_magazine *mag, uint32_t chunk)
{
	if (mag && chunk && chunk / 64 == mag->word)
		mag->bits |= 1ull << chunk % 64;
	else
		shm_pchunk_free(seg, chunk);
}

void shm_magazine_flush(const struct shm_seg *seg, struct shm_magazine *mag)
{
	uint32_t *hint = &shm_rw_hdr(seg)->chunk_hint;

	if (mag->bits) {
		or_sc(&chunk_map(seg)[mag->word], mag->bits);
		if (ld_rlx(hint) > mag->word)
			st_rlx(hint, mag->word);
	}
	mag->bits = 0;
}

void shm_magazine_reap(const struct shm_seg *seg, struct sd_proc *p)
{
	struct shm_magazine mag = *shm_proc_magazine(p);

	*shm_proc_magazine(p) = (struct shm_magazine){ 0 };
	if (mag.word >= CHUNK_WORDS)
		return;
	mag.bits = usable(mag.word, mag.bits);
	shm_magazine_flush(seg, &mag);
}

uint32_t shm_pchunk_free_cnt(const struct shm_seg *seg)
{
	uint32_t i, n = 0;

	for (i = 0; i < CHUNK_WORDS; i++)
		n += (uint32_t)__builtin_popcountll(usable(i, ld_rlx(&chunk_map(seg)[i])));
	return n;
}

/* Take the lowest free slot of word @w. Return: index or 0. */
static uint32_t pslot_take(uint64_t *map, uint32_t w)
{
	uint64_t bits, bit;

	while ((bits = usable(w, ld_rlx(&map[w]))) != 0) {
		bit = bits & -bits;
		if (and_sc(&map[w], ~bit) & bit)	/* pairs with or_sc in map_put() */
			return w * 64 + (uint32_t)__builtin_ctzll(bit);
	}
	return 0;
}

uint32_t shm_pslot_alloc(const struct shm_seg *seg)
{
	uint64_t *map = slot_map(seg);
	uint32_t *hint = &shm_rw_hdr(seg)->slot_hint;
	uint32_t i, w, slot, start = ld_rlx(hint) % SLOT_WORDS;

	for (i = 0; i < SLOT_WORDS; i++) {
		w = (start + i) % SLOT_WORDS;
		slot = pslot_take(map, w);
		if (slot) {
			if (i)
				st_rlx(hint, w);
			return slot;
		}
	}
	return 0;
}

uint32_t shm_pslot_taken(const struct shm_seg *seg, uint32_t from)
{
	const uint64_t *map = slot_map(seg);

	for (from = from ? from : 1; from < SD_SLOTS_P; from = (from / 64 + 1) * 64) {
		uint64_t taken = ~ld_rlx(&map[from / 64]) >> from % 64;

		if (taken)
			return from + (uint32_t)__builtin_ctzll(taken);
	}
	return 0;
}

void shm_pslot_free(const struct shm_seg *seg, uint32_t slot)
{
	if (slot - 1 < SD_SLOTS_P - 1)
		map_put(slot_map(seg), &shm_rw_hdr(seg)->slot_hint, slot);
}

/* ---- engine side ---- */

void shm_espan_init(struct shm_espan *span)
{
	span->next_chunk = 0;
	span->next_slot = SD_SLOTS_P;
}

static void *stack_map(uint32_t entries)
{
	return mmap(NULL, (uint64_t)entries * sizeof(uint32_t), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int shm_epool_init(struct shm_epool *p, struct shm_espan *span)
{
	void *chunks, *slots;
	int err;

	chunks = stack_map(SD_CHUNKS);
	if (chunks == MAP_FAILED)
		return -errno;
	slots = stack_map(ESLOTS);
	if (slots == MAP_FAILED) {
		err = -errno;
		munmap(chunks, SD_CHUNKS * sizeof(uint32_t));
		return err;
	}
	*p = (struct shm_epool){
		.span = span, .chunks = chunks, .slots = slots,
		.chunk_max = SD_CHUNKS, .slot_max = ESLOTS,
	};
	return 0;
}

static struct shm_left *chunks_left(const struct shm_epool *p)
{
	return p->budget ? &p->budget->chunks : NULL;
}

void shm_epool_fini(struct shm_epool *p)
{
	if (p->budget) {
		shm_credit_settle(&p->budget->chunks, &p->chunk_credit);
		shm_credit_settle(&p->budget->slots, &p->slot_credit);
		shm_left_charge(&p->budget->chunks, -(int64_t)p->chunk_used);
	}
	if (p->chunks)
		munmap(p->chunks, SD_CHUNKS * sizeof(uint32_t));
	if (p->slots)
		munmap(p->slots, ESLOTS * sizeof(uint32_t));
	*p = (struct shm_epool){ 0 };
}

/* Push the next span onto an empty stack, lowest index on top. Return: entries now on it. */
static uint32_t span_take(uint32_t *next, uint32_t end, uint32_t *stack)
{
	uint32_t first, i, n = 0;

	if (ld_rlx(next) >= end)
		return 0;
	first = add_sc(next, SPAN);	/* overshoots by at most one span for each worker */
	if (first >= end)
		return 0;
	for (i = first + SPAN; i-- > first;)
		if (i)
			stack[n++] = i;
	return n;
}

uint32_t shm_echunk_alloc(struct shm_epool *p)
{
	if (p->chunk_used >= p->chunk_max || !shm_credit_room(chunks_left(p), &p->chunk_credit))
		return 0;
	if (!p->chunk_cnt)
		p->chunk_cnt = span_take(&p->span->next_chunk, SD_CHUNKS, p->chunks);
	if (!p->chunk_cnt)
		return 0;
	p->chunk_used++;
	shm_credit_spend(chunks_left(p), &p->chunk_credit);
	return p->chunks[--p->chunk_cnt];
}

void shm_echunk_free(struct shm_epool *p, uint32_t chunk)
{
	if (chunk - 1 >= SD_CHUNKS - 1 || !p->chunk_used)
		return;
	p->chunk_used--;
	shm_credit_return(chunks_left(p), &p->chunk_credit);
	p->chunks[p->chunk_cnt++] = chunk;
}

uint32_t shm_eslot_alloc(struct shm_epool *p)
{
	if (p->slot_used >= p->slot_max)
		return 0;
	if (!p->slot_cnt)
		p->slot_cnt = span_take(&p->span->next_slot, SD_SLOTS, p->slots);
	if (!p->slot_cnt)
		return 0;
	p->slot_used++;
	return p->slots[--p->slot_cnt];
}

void shm_eslot_free(struct shm_epool *p, uint32_t slot)
{
	if (slot - SD_SLOTS_P >= ESLOTS || !p->slot_used)
		return;
	p->slot_used--;
	p->slots[p->slot_cnt++] = slot;
}

/* ---- engine side, after a crash ---- */

/* Return: false when the bit was set already. */
static bool mark(uint64_t *map, uint32_t i)
{
	uint64_t bit = 1ull << i % 64;

	if (map[i / 64] & bit)
		return false;
	map[i / 64] |= bit;
	return true;
}

bool shm_epool_mark_chunk(struct shm_epool *p, struct shm_emarks *m, uint32_t chunk)
{
	if (!chunk || chunk >= SD_CHUNKS || chunk >= ld_rlx(&p->span->next_chunk) ||
	    !mark(m->chunk, chunk))
		return false;
	p->chunk_used++;
	shm_credit_spend(chunks_left(p), &p->chunk_credit);
	return true;
}

bool shm_epool_mark_slot(struct shm_epool *p, struct shm_emarks *m, uint32_t slot)
{
	if (slot - SD_SLOTS_P >= ESLOTS || slot >= ld_rlx(&p->span->next_slot) ||
	    !mark(m->slot, slot - SD_SLOTS_P))
		return false;
	p->slot_used++;
	return true;
}

static bool marked(const uint64_t *map, uint32_t i)
{
	return map[i / 64] >> i % 64 & 1;
}

void shm_epools_refill(struct shm_epool *const *p, unsigned cnt, const struct shm_emarks *m)
{
	uint32_t chunks = ld_rlx(&p[0]->span->next_chunk), slots = ld_rlx(&p[0]->span->next_slot);
	uint32_t i;

	if (chunks > SD_CHUNKS)
		chunks = SD_CHUNKS;
	if (slots > SD_SLOTS)
		slots = SD_SLOTS;
	for (i = chunks; i-- > 1;) {		/* lowest on top */
		struct shm_epool *to = p[i / SPAN % cnt];

		if (!marked(m->chunk, i))
			to->chunks[to->chunk_cnt++] = i;
	}
	for (i = slots; i-- > SD_SLOTS_P;) {
		struct shm_epool *to = p[i / SPAN % cnt];

		if (!marked(m->slot, i - SD_SLOTS_P))
			to->slots[to->slot_cnt++] = i;
	}
}
