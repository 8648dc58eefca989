/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_segment.c - creation, seals, maps, refusal of what is not a segment */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fixture.h"
#include "shm/pool.h"

Test(segment, memfds_are_sized_sealed_and_cloexec)
{
	struct stat st;
	int ro, rw;

	cr_assert_eq(shm_seg_create(3, 1, &ro, &rw), 0);
	cr_assert_eq(fstat(ro, &st), 0);
	cr_expect_eq((uint64_t)st.st_size, SD_RO_SIZE);
	cr_expect_eq(st.st_mode & 07777, 0400);
	cr_assert_eq(fstat(rw, &st), 0);
	cr_expect_eq((uint64_t)st.st_size, SD_RW_SIZE);
	cr_expect_eq(ftruncate(ro, 4096), -1);
	cr_expect_eq(ftruncate(rw, 4096), -1);
	cr_expect_eq(ftruncate(rw, (off_t)SD_RW_SIZE + 4096), -1);
	cr_expect_eq(fcntl(rw, F_ADD_SEALS, F_SEAL_WRITE), -1);
	cr_expect(fcntl(ro, F_GETFD) & FD_CLOEXEC);
	cr_expect(fcntl(rw, F_GETFD) & FD_CLOEXEC);
}

Test(segment, a_fresh_one_holds_little_memory)
{
	struct stat ro_st, rw_st;
	int ro, rw;

	cr_assert_eq(shm_seg_create(3, 1, &ro, &rw), 0);
	cr_assert_eq(fstat(ro, &ro_st), 0);
	cr_assert_eq(fstat(rw, &rw_st), 0);
	cr_expect_leq(ro_st.st_blocks * 512, 4096);
	cr_expect_leq((uint64_t)rw_st.st_blocks * 512, SD_RW_PROCS);
}

Test(segment, parameters_are_checked)
{
	int ro = -1, rw = -1;

	cr_expect_eq(shm_seg_create(0, 1, &ro, &rw), -EINVAL);
	cr_expect_eq(shm_seg_create(1, 0, &ro, &rw), -EINVAL);
	cr_expect_eq(shm_seg_create(1, SD_MAX_WORKERS + 1, &ro, &rw), -EINVAL);
	cr_expect_eq(ro, -1);
	cr_expect_eq(rw, -1);
}

Test(segment, engine_and_program_see_the_same)
{
	struct shm_seg e, p;
	char path[64];
	int ro, rw, ro2;

	cr_assert_eq(shm_seg_create(9, 4, &ro, &rw), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
	ro2 = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(ro2, 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &e), 0);
	cr_assert_eq(shm_seg_map(ro2, rw, false, &p), 0);
	cr_expect_eq(e.id, 9);
	cr_expect_eq(p.id, 9);
	shm_slot_e(&e, SD_SLOTS - 1)->rx_tail = 42;
	cr_expect_eq(shm_slot_e(&p, SD_SLOTS - 1)->rx_tail, 42);
	shm_slot_p(&p, 1)->tx_tail = 43;
	cr_expect_eq(shm_slot_p(&e, 1)->tx_tail, 43);
	cr_expect_eq(shm_seg_map(ro2, rw, true, &p), -EACCES);
	shm_seg_unmap(&e);
	cr_expect_null(e.ro);
	shm_seg_unmap(&e);
}

Test(segment, a_program_cannot_write_the_ro_side)
{
	struct shm_seg p;
	int ro, rw, status;
	pid_t pid;

	cr_assert_eq(shm_seg_create(9, 4, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, false, &p), 0);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint32_t *)&shm_slot_e(&p, 1)->gen = 1;
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

/* @want: for a program; what programs may write is nothing to the engine. */
static void spoil(void (*f)(struct shm_seg *), int want, int want_engine)
{
	struct shm_seg seg, again = { .id = 77 };
	int ro, rw;

	cr_assert_eq(shm_seg_create(5, 1, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &seg), 0);
	f(&seg);
	cr_expect_eq(shm_seg_map(ro, rw, true, &again), want_engine);
	cr_expect_eq(again.id, want_engine ? 77 : 5);
	again.id = 77;
	cr_expect_eq(shm_seg_map(ro, rw, false, &again), want);
	cr_expect_eq(again.id, want ? 77 : 5);
	shm_seg_unmap(&seg);
	close(ro);
	close(rw);
}

static void nothing(struct shm_seg *s) { (void)s; }
static void rw_magic(struct shm_seg *s) { shm_rw_hdr(s)->magic++; }
static void rw_major(struct shm_seg *s) { shm_rw_hdr(s)->major++; }
static void rw_minor(struct shm_seg *s) { shm_rw_hdr(s)->minor++; }
static void rw_id(struct shm_seg *s) { shm_rw_hdr(s)->seg++; }
static void rw_geo(struct shm_seg *s) { shm_rw_hdr(s)->geo.chunks++; }
static void rw_workers(struct shm_seg *s) { shm_rw_hdr(s)->geo.workers++; }
static void ro_magic(struct shm_seg *s) { ((struct sd_seg_ro *)s->ro)->magic++; }
static void ro_major(struct shm_seg *s) { ((struct sd_seg_ro *)s->ro)->major++; }
static void ro_size(struct shm_seg *s) { ((struct sd_seg_ro *)s->ro)->geo.size++; }
static void ro_workers(struct shm_seg *s) { ((struct sd_seg_ro *)s->ro)->geo.workers = 1000; }

Test(segment, headers_are_checked)
{
	spoil(nothing, 0, 0);
	spoil(rw_minor, 0, 0);
	spoil(rw_magic, -EPROTO, 0);
	spoil(rw_major, -EPROTO, 0);
	spoil(rw_id, -EPROTO, 0);
	spoil(rw_geo, -EPROTO, 0);
	spoil(rw_workers, -EPROTO, 0);
	spoil(ro_magic, -EPROTO, -EPROTO);
	spoil(ro_major, -EPROTO, -EPROTO);
	spoil(ro_size, -EPROTO, -EPROTO);
	spoil(ro_workers, -EPROTO, -EPROTO);
}

Test(segment, unsealed_or_short_files_are_refused)
{
	struct shm_seg seg;
	int ro, rw, fd;

	cr_assert_eq(shm_seg_create(5, 1, &ro, &rw), 0);
	fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_geq(fd, 0);
	cr_expect_eq(shm_seg_map(ro, fd, true, &seg), -EPROTO);
	cr_assert_eq(ftruncate(fd, (off_t)SD_RW_SIZE), 0);
	cr_expect_eq(shm_seg_map(ro, fd, true, &seg), -EPROTO);
	cr_expect_eq(shm_seg_map(ro, -1, true, &seg), -EBADF);
	cr_expect_eq(shm_seg_map(rw, ro, true, &seg), -EPROTO, "exchanged");
}

#ifndef __SANITIZE_ADDRESS__	/* its own maps need more */
Test(segment, no_address_space_is_an_error_not_a_crash)
{
	struct rlimit lim = { 1ull << 30, 1ull << 30 };
	struct shm_seg seg = { .id = 5 };
	int ro, rw;

	cr_assert_eq(shm_seg_create(5, 1, &ro, &rw), 0);
	cr_assert_eq(setrlimit(RLIMIT_AS, &lim), 0);
	cr_expect_eq(shm_seg_map(ro, rw, true, &seg), -ENOMEM);
	cr_expect_eq(seg.id, 5);
}
#endif

Test(segment, accessors_check_indices)
{
	struct shm_seg s = seg_new();

	cr_expect_null(shm_slot_e(&s, 0));
	cr_expect_null(shm_slot_e(&s, SD_SLOTS));
	cr_expect_null(shm_slot_p(&s, 0));
	cr_expect_null(shm_slot_p(&s, UINT32_MAX));
	cr_expect_null(shm_chunk(&s, SD_FIFO_RX, 0));
	cr_expect_null(shm_chunk(&s, SD_FIFO_TX, SD_CHUNKS));
	cr_expect_null(shm_mbox(&s, 0));
	cr_expect_null(shm_mbox(&s, SD_MAX_MBOXES));
	cr_expect_null(shm_reply(&s, SD_MAX_MBOXES));
	cr_expect_null(shm_proc(&s, SD_MAX_PROCS));
	cr_expect_null(shm_cmd_ring(&s, 0, SD_MAX_WORKERS));
	cr_expect_null(shm_accept_ring(&s, SD_MAX_ACCEPTS));
	cr_expect_eq(shm_chunk(&s, SD_FIFO_RX, SD_CHUNKS - 1) + SD_CHUNK_SIZE, s.ro + SD_RO_SIZE);
	cr_expect_eq(shm_chunk(&s, SD_FIFO_TX, SD_CHUNKS - 1) + SD_CHUNK_SIZE, s.rw + SD_RW_SIZE);
	*shm_chunk(&s, SD_FIFO_TX, SD_CHUNKS - 1) = 1;
	shm_cmd_ring(&s, SD_MAX_PROCS - 1, SD_MAX_WORKERS - 1)->cons = 1;
	shm_accept_ring(&s, SD_MAX_ACCEPTS - 1)->cons = 1;
	shm_mbox(&s, SD_MAX_MBOXES - 1)->leaf[SD_MBOX_BITS / 64 - 1] = 1;
	shm_reply(&s, SD_MAX_MBOXES - 1)->seq = 1;
	cr_expect_eq(shm_pchunk_free_cnt(&s), SD_CHUNKS - 1, "no area reaches into the bitmaps");
}
