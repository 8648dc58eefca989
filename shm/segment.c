/* SPDX-License-Identifier: MIT */
/* shm/segment.c - create and map a segment
 * A segment is two sparse memfds whose size is fixed by seals: neither side can shrink one under
 * the other's feet, so an access inside the map never faults for lack of file. Pages appear when
 * they are touched; a fresh segment holds its headers and the program side's bitmaps only.
 * Spec:    DESIGN "Segment"; memfd_create(2), F_ADD_SEALS in fcntl(2)
 * Threads: none shared; each call works on its caller's storage
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shm/pool.h"
#include "shm/segment.h"
#include "shm/sys_int.h"

#define SEG_SEALS	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct sd_geometry seg_geometry(uint32_t workers, uint64_t size)
{
	return (struct sd_geometry){
		.slots = SD_SLOTS, .slots_p = SD_SLOTS_P, .chunks = SD_CHUNKS,
		.chunk_size = SD_CHUNK_SIZE, .procs = SD_MAX_PROCS, .mboxes = SD_MAX_MBOXES,
		.accepts = SD_MAX_ACCEPTS, .workers = workers, .size = size,
	};
}

/* A sealed memfd of @size bytes. Return: the fd or -errno. */
static int seg_memfd(const char *kind, uint32_t id, uint64_t size, mode_t mode)
{
	char name[32];
	int fd, err;

	snprintf(name, sizeof(name), "stackd-%s-%u", kind, id);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) || fchmod(fd, mode) || fcntl(fd, F_ADD_SEALS, SEG_SEALS)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* Write both headers and the bitmaps through a map that covers no more than these. */
static int seg_format(uint32_t id, uint32_t workers, int ro_fd, int rw_fd)
{
	struct shm_seg seg = { .id = id };
	struct sd_seg_ro *ro;
	struct sd_seg_rw *rw;
	void *p;
	int err = 0;

	p = mmap(NULL, SD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	seg.ro = p;
	p = mmap(NULL, SD_RW_PROCS, PROT_READ | PROT_WRITE, MAP_SHARED, rw_fd, 0);
	if (p == MAP_FAILED) {
		err = -errno;
		goto out_ro;
	}
	seg.rw = p;

	shm_pool_init(&seg);
	rw = shm_rw_hdr(&seg);
	rw->major = SD_ABI_MAJOR;
	rw->minor = SD_ABI_MINOR;
	rw->seg = id;
	rw->geo = seg_geometry(workers, SD_RW_SIZE);
	st_rel(&rw->magic, SD_SEG_MAGIC);	/* pairs with rw_check() */
	ro = (struct sd_seg_ro *)seg.ro;
	ro->major = SD_ABI_MAJOR;
	ro->minor = SD_ABI_MINOR;
	ro->seg = id;
	ro->geo = seg_geometry(workers, SD_RO_SIZE);
	st_rel(&ro->magic, SD_SEG_MAGIC);	/* pairs with ro_check() */

	munmap(seg.rw, SD_RW_PROCS);
out_ro:
	munmap(seg.ro, SD_PAGE);
	return err;
}

int shm_seg_create(uint32_t id, uint32_t workers, int *ret_ro_fd, int *ret_rw_fd)
{
	int ro_fd, rw_fd, err;

	if (!id || !workers || workers > SD_MAX_WORKERS)
		return -EINVAL;
	ro_fd = seg_memfd("ro", id, SD_RO_SIZE, 0400);
	if (ro_fd < 0)
		return ro_fd;
	rw_fd = seg_memfd("rw", id, SD_RW_SIZE, 0600);
	if (rw_fd < 0) {
		err = rw_fd;
		goto out_ro;
	}
	err = seg_format(id, workers, ro_fd, rw_fd);
	if (err)
		goto out_rw;
	*ret_ro_fd = ro_fd;
	*ret_rw_fd = rw_fd;
	return 0;

out_rw:
	close(rw_fd);
out_ro:
	close(ro_fd);
	return err;
}

/* Is @fd as long as its map will be, and can nobody make it shorter? */
static int seg_check_fd(int fd, uint64_t size)
{
	struct stat st;
	long seals, err;

	err = shm_sys4(SYS_fstat, fd, (long)&st, 0, 0);
	if (err)
		return (int)err;
	seals = shm_sys4(SYS_fcntl, fd, F_GET_SEALS, 0, 0);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || (uint64_t)st.st_size != size)
		return -EPROTO;
	return 0;
}

static bool ro_check(const struct shm_seg *seg, uint32_t *ret_id)
{
	const struct sd_seg_ro *ro = (const struct sd_seg_ro *)seg->ro;
	struct sd_geometry want = seg_geometry(ro->geo.workers, SD_RO_SIZE);

	/* pairs with st_rel in seg_format() */
	if (ld_acq(&ro->magic) != SD_SEG_MAGIC || ro->major != SD_ABI_MAJOR)
		return false;
	if (!ro->seg || want.workers - 1 >= SD_MAX_WORKERS)
		return false;
	if (memcmp(&ro->geo, &want, sizeof(want)) != 0)
		return false;
	*ret_id = ro->seg;
	return true;
}

/* Each field is read once. Anybody in the family may have written anything here: it tells a program
 * that its engine means the same; the engine has nothing to learn from it. */
static bool rw_check(const struct shm_seg *seg)
{
	const struct sd_seg_ro *ro = (const struct sd_seg_ro *)seg->ro;
	const struct sd_seg_rw *rw = shm_rw_hdr(seg);
	struct sd_geometry want = seg_geometry(ro->geo.workers, SD_RW_SIZE);

	return ld_acq(&rw->magic) == SD_SEG_MAGIC && rw->major == SD_ABI_MAJOR &&
	       ld_rlx(&rw->seg) == seg->id && memcmp(&rw->geo, &want, sizeof(want)) == 0;
}

/* Return: 0 and the map, or -errno. Core dumps leave the data of connections out. */
static int seg_mmap(int fd, uint64_t size, int prot, uint8_t **ret_p)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	madvise(p, size, MADV_DONTDUMP);
	*ret_p = p;
	return 0;
}

int shm_seg_map(int ro_fd, int rw_fd, bool engine, struct shm_seg *ret_seg)
{
	struct shm_seg seg = { .rw_fd = engine ? rw_fd : -1 };
	int err;

	err = seg_check_fd(ro_fd, SD_RO_SIZE);
	if (!err)
		err = seg_check_fd(rw_fd, SD_RW_SIZE);
	if (err)
		return err;
	err = seg_mmap(ro_fd, SD_RO_SIZE, PROT_READ | (engine ? PROT_WRITE : 0), &seg.ro);
	if (err)
		return err;
	err = seg_mmap(rw_fd, SD_RW_SIZE, PROT_READ | PROT_WRITE, &seg.rw);
	if (err)
		goto out_ro;
	if (!ro_check(&seg, &seg.id) || (!engine && !rw_check(&seg))) {
		err = -EPROTO;
		goto out_rw;
	}
	*ret_seg = seg;
	return 0;

out_rw:
	munmap(seg.rw, SD_RW_SIZE);
out_ro:
	munmap(seg.ro, SD_RO_SIZE);
	return err;
}

void shm_seg_unmap(struct shm_seg *seg)
{
	if (seg->ro)
		munmap(seg->ro, SD_RO_SIZE);
	if (seg->rw)
		munmap(seg->rw, SD_RW_SIZE);
	*seg = (struct shm_seg){ 0 };
}
