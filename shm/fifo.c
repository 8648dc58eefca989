/* SPDX-License-Identifier: MIT */
/* shm/fifo.c - elastic byte FIFOs made of chunks
 * Byte p of a stream lies in chunk number p >> 12 of that stream; the map turns chunk numbers into
 * pool indices by arithmetic, directly for up to four chunks (level 0), through map chunks beyond
 * (level 1). An index of 0 is a hole: not reserved yet, or released. Nothing is held for positions
 * without data, so an idle FIFO is 64 bytes.
 * Killed half-way: the producer's steps are ordered so that whatever prefix of them was done, the
 * map is usable. An entry is cleared before its chunk is freed (a kill between loses one chunk, it
 * never gives a chunk two owners); map chunks found at level 0 are left-overs without entries of
 * their own and are taken into use or freed.
 * Hostile maps: the reader copies level and each index once and checks it (shm_chunk); loops are
 * bounded by the length asked for or by the map's size, never by a position found in the map.
 * Pairs:   st_rel(level) in level_up() with ld_acq(level) in every reader; entries are published
 *          by the caller's st_rel of its tail, and freed behind the caller's ld_acq of the head
 * Holds:   F1..F3 in fifo.h; F4 direct[] and map entries outside [freed, freed + capacity) are 0,
 *          save direct[] at level 1, which is stale on purpose
 */
#include <string.h>

#include "shm/fifo.h"

#define CHUNK_MASK	(SD_CHUNK_SIZE - 1)
#define MAP_CAP		((uint64_t)SD_MAP_INDIRECT * SD_MAP_ENTRIES)	/* chunks in flight */

/* ---- finding ---- */

static uint32_t *map_chunk(const struct shm_seg *seg, enum sd_fifo_role role, uint32_t idx)
{
	return (uint32_t *)(void *)shm_chunk(seg, role, idx);
}

/* The word that holds the index of stream chunk @c, NULL when its map chunk is missing or bad. */
static uint32_t *entry_at(const struct shm_seg *seg, enum sd_fifo_role role,
			  const struct sd_fifo_map *map, uint32_t level, uint64_t c)
{
	uint32_t *m;

	if (!level)
		return (uint32_t *)&map->direct[c % SD_MAP_DIRECT];
	m = map_chunk(seg, role, ld_rlx(&map->ind[(c >> SD_MAP_SHIFT) % SD_MAP_INDIRECT]));
	return m ? &m[c % SD_MAP_ENTRIES] : NULL;
}

/* Where byte @pos lies, NULL for a hole. Positions outside the window would alias: holes, too. */
static uint8_t *byte_at(const struct shm_seg *seg, enum sd_fifo_role role,
			const struct sd_fifo_map *map, uint64_t pos)
{
	uint32_t level = ld_acq(&map->level);	/* pairs with st_rel in level_up() */
	uint64_t c = pos >> SD_CHUNK_SHIFT;
	uint32_t *e;
	uint8_t *p;

	if (c - (ld_rlx(&map->freed) >> SD_CHUNK_SHIFT) >= (level ? MAP_CAP : SD_MAP_DIRECT))
		return NULL;
	e = entry_at(seg, role, map, level, c);
	p = e ? shm_chunk(seg, role, ld_rlx(e)) : NULL;
	return p ? p + (pos & CHUNK_MASK) : NULL;
}

/* Bytes from @pos to the end of its chunk, at most @len. */
static uint64_t in_chunk(uint64_t pos, uint64_t len)
{
	uint64_t n = SD_CHUNK_SIZE - (pos & CHUNK_MASK);

	return n < len ? n : len;
}

/* ---- chunks ---- */

static uint32_t mem_alloc(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			  struct sd_fifo_map *map)
{
	uint32_t idx = 0;

	if (role == SD_FIFO_RX)
		idx = m->epool ? shm_echunk_alloc(m->epool) : 0;
	else if (m->mag)
		idx = shm_pchunk_alloc(m->seg, m->mag);
	if (idx)
		st_rlx(&map->held, ld_rlx(&map->held) + 1);
	return idx;
}

static void mem_free(const struct shm_fifo_mem *m, enum sd_fifo_role role, struct sd_fifo_map *map,
		     uint32_t idx)
{
	if (role == SD_FIFO_TX)
		shm_pchunk_put(m->seg, m->mag, idx);
	else if (m->epool)
		shm_echunk_free(m->epool, idx);
	st_rlx(&map->held, ld_rlx(&map->held) - 1);
}

/* Empty one entry; cleared first (see the head of this file). */
static void entry_free(const struct shm_fifo_mem *m, enum sd_fifo_role role,
		       struct sd_fifo_map *map, uint32_t *e)
{
	uint32_t idx = ld_rlx(e);

	if (!idx)
		return;
	st_rlx(e, 0);
	mem_free(m, role, map, idx);
}

/* Make sure that ind[@i] names an empty map chunk. @fresh: what stands there is a left-over. */
static bool ind_back(const struct shm_fifo_mem *m, enum sd_fifo_role role, struct sd_fifo_map *map,
		     unsigned i, bool fresh)
{
	uint32_t idx = ld_rlx(&map->ind[i]);
	uint32_t *mc = map_chunk(m->seg, role, idx);

	if (mc && !fresh)
		return true;
	if (!mc) {
		idx = mem_alloc(m, role, map);
		mc = map_chunk(m->seg, role, idx);
		if (!mc)
			return false;
	}
	memset(mc, 0, SD_CHUNK_SIZE);
	st_rel(&map->ind[i], idx);	/* zeroes before the index; readers come by level or tail */
	return true;
}

/* Move the direct chunks under map chunks; they span at most two of those. direct[] stays for
 * readers that saw level 0. */
static bool level_up(const struct shm_fifo_mem *m, enum sd_fifo_role role, struct sd_fifo_map *map)
{
	uint64_t c, first = ld_rlx(&map->freed) >> SD_CHUNK_SHIFT, end = first + SD_MAP_DIRECT;
	unsigned i, lo = (first >> SD_MAP_SHIFT) % SD_MAP_INDIRECT;
	unsigned hi = ((end - 1) >> SD_MAP_SHIFT) % SD_MAP_INDIRECT;
	uint32_t idx, *e;

	for (i = 0; i < SD_MAP_INDIRECT; i++) {
		if (i != lo && i != hi)
			entry_free(m, role, map, &map->ind[i]);
		else if (!ind_back(m, role, map, i, true))
			return false;
	}
	for (c = first; c < end; c++) {
		idx = ld_rlx(&map->direct[c % SD_MAP_DIRECT]);
		e = entry_at(m->seg, role, map, 1, c);
		if (!e)			/* the family scribbles while the engine produces */
			return false;
		st_rlx(e, idx);
	}
	st_rel(&map->level, 1);		/* pairs with ld_acq in byte_at() */
	return true;
}

/* Empty: back to level 0. The level changes before the map chunks go, so that a kill in between
 * leaves left-overs and not a level 1 without chunks. */
static void level_down(const struct shm_fifo_mem *m, enum sd_fifo_role role,
		       struct sd_fifo_map *map)
{
	unsigned i;

	for (i = 0; i < SD_MAP_DIRECT; i++)
		st_rlx(&map->direct[i], 0);
	st_rel(&map->level, 0);
	for (i = 0; i < SD_MAP_INDIRECT; i++)
		entry_free(m, role, map, &map->ind[i]);
}

static unsigned ind_cnt(const struct sd_fifo_map *map)
{
	unsigned i, n = 0;

	for (i = 0; i < SD_MAP_INDIRECT; i++)
		n += ld_rlx(&map->ind[i]) != 0;
	return n;
}

/* ---- producer ---- */

/* The entry of stream chunk @c, with map chunk, whatever level that takes; NULL: no room. */
static uint32_t *entry_make(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			    struct sd_fifo_map *map, uint64_t c)
{
	uint64_t ahead = c - (ld_rlx(&map->freed) >> SD_CHUNK_SHIFT);

	if (ahead >= MAP_CAP)
		return NULL;
	if (!ld_rlx(&map->level)) {
		if (ahead < SD_MAP_DIRECT)
			return entry_at(m->seg, role, map, 0, c);
		if (!level_up(m, role, map))
			return NULL;
	}
	if (!ind_back(m, role, map, (c >> SD_MAP_SHIFT) % SD_MAP_INDIRECT, false))
		return NULL;
	return entry_at(m->seg, role, map, 1, c);
}

uint64_t shm_fifo_reserve(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			  struct sd_fifo_map *map, uint64_t pos, uint64_t len)
{
	uint64_t done = 0;
	uint32_t *e, idx;

	while (done < len) {
		e = entry_make(m, role, map, (pos + done) >> SD_CHUNK_SHIFT);
		if (!e)
			break;
		if (!ld_rlx(e)) {
			idx = mem_alloc(m, role, map);
			if (!idx)
				break;
			st_rlx(e, idx);
		}
		done += in_chunk(pos + done, len - done);
	}
	return done;
}

uint64_t shm_fifo_write(const struct shm_seg *seg, enum sd_fifo_role role, struct sd_fifo_map *map,
			uint64_t pos, const void *src, uint64_t len)
{
	const uint8_t *s = src;
	uint64_t n, done = 0;
	uint8_t *p;

	while (done < len) {
		p = byte_at(seg, role, map, pos + done);
		if (!p)
			break;
		n = in_chunk(pos + done, len - done);
		memcpy(p, s + done, n);
		done += n;
	}
	return done;
}

/* Stream chunk @c was the last of its map chunk: free that, unless positions a whole capacity
 * further on, which share it, may be in use. */
static void ind_release(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			struct sd_fifo_map *map, uint64_t c, uint64_t tail)
{
	uint64_t next_use = (c >> SD_MAP_SHIFT) + SD_MAP_INDIRECT;

	if (tail <= next_use << (SD_MAP_SHIFT + SD_CHUNK_SHIFT))
		entry_free(m, role, map, &map->ind[(c >> SD_MAP_SHIFT) % SD_MAP_INDIRECT]);
}

/* Free stream chunks [@c, @end); at level 1 their map chunks behind them. */
static void chunks_free(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			struct sd_fifo_map *map, uint64_t c, uint64_t end, uint64_t tail)
{
	uint32_t level = ld_rlx(&map->level);
	uint64_t cap = level ? MAP_CAP : SD_MAP_DIRECT;
	uint32_t *e;

	if (end - c > cap)
		c = end - cap;		/* older ones alias these */
	for (; c < end; c++) {
		e = entry_at(m->seg, role, map, level, c);
		if (e)
			entry_free(m, role, map, e);
		if (level && (c + 1) % SD_MAP_ENTRIES == 0)
			ind_release(m, role, map, c, tail);
	}
}

void shm_fifo_release(const struct shm_fifo_mem *m, enum sd_fifo_role role,
		      struct sd_fifo_map *map, uint64_t upto, uint64_t tail)
{
	uint64_t freed = ld_rlx(&map->freed);
	uint64_t end = upto >> SD_CHUNK_SHIFT;
	bool empty = upto == tail;

	if (upto < freed || upto > tail)
		return;
	if (empty && (upto & CHUNK_MASK))
		end++;
	chunks_free(m, role, map, freed >> SD_CHUNK_SHIFT, end, tail);
	if (empty && ld_rlx(&map->level) && ld_rlx(&map->held) <= ind_cnt(map))
		level_down(m, role, map);
	st_rlx(&map->freed, upto);
}

void shm_fifo_destroy(const struct shm_fifo_mem *m, enum sd_fifo_role role,
		      struct sd_fifo_map *map)
{
	uint32_t level = ld_rlx(&map->level);
	uint32_t *mc;
	unsigned i, k;

	for (i = 0; !level && i < SD_MAP_DIRECT; i++)
		entry_free(m, role, map, &map->direct[i]);
	for (i = 0; i < SD_MAP_INDIRECT; i++) {
		mc = level ? map_chunk(m->seg, role, ld_rlx(&map->ind[i])) : NULL;
		for (k = 0; mc && k < SD_MAP_ENTRIES; k++)
			entry_free(m, role, map, &mc[k]);
		entry_free(m, role, map, &map->ind[i]);
	}
	*map = (struct sd_fifo_map){ 0 };
}

/* ---- adoption ---- */

struct adopt {
	bool (*fn)(void *arg, uint32_t chunk);
	void *arg;
	uint32_t held;
};

static void entry_adopt(struct adopt *a, uint32_t *e)
{
	uint32_t idx = ld_rlx(e);

	if (!idx)
		return;
	if (a->fn(a->arg, idx))
		a->held++;
	else
		st_rlx(e, 0);
}

void shm_fifo_adopt(const struct shm_seg *seg, enum sd_fifo_role role, struct sd_fifo_map *map,
		    bool (*fn)(void *arg, uint32_t chunk), void *arg)
{
	struct adopt a = { fn, arg, 0 };
	uint32_t level = ld_rlx(&map->level);
	uint32_t *mc;
	unsigned i, k;

	for (i = 0; !level && i < SD_MAP_DIRECT; i++)
		entry_adopt(&a, &map->direct[i]);
	for (i = 0; i < SD_MAP_INDIRECT; i++) {
		entry_adopt(&a, &map->ind[i]);
		mc = level ? map_chunk(seg, role, ld_rlx(&map->ind[i])) : NULL;
		for (k = 0; mc && k < SD_MAP_ENTRIES; k++)
			entry_adopt(&a, &mc[k]);
	}
	st_rlx(&map->held, a.held);
}

/* ---- consumer ---- */

unsigned shm_fifo_iov(const struct shm_seg *seg, enum sd_fifo_role role,
		      const struct sd_fifo_map *map, uint64_t pos, uint64_t len,
		      struct iovec *iov, unsigned max, uint64_t *ret_len)
{
	uint64_t n, done = 0;
	unsigned cnt = 0;
	uint8_t *p;

	while (done < len) {
		p = byte_at(seg, role, map, pos + done);
		if (!p)
			break;
		n = in_chunk(pos + done, len - done);
		if (cnt && (uint8_t *)iov[cnt - 1].iov_base + iov[cnt - 1].iov_len == p) {
			iov[cnt - 1].iov_len += n;
		} else {
			if (cnt == max)
				break;
			iov[cnt++] = (struct iovec){ .iov_base = p, .iov_len = n };
		}
		done += n;
	}
	*ret_len = done;
	return cnt;
}

uint64_t shm_fifo_read(const struct shm_seg *seg, enum sd_fifo_role role,
		       const struct sd_fifo_map *map, uint64_t pos, void *dst, uint64_t len)
{
	uint8_t *d = dst;
	uint64_t n, done = 0;
	uint8_t *p;

	while (done < len) {
		p = byte_at(seg, role, map, pos + done);
		if (!p)
			break;
		n = in_chunk(pos + done, len - done);
		memcpy(d + done, p, n);
		done += n;
	}
	return done;
}
