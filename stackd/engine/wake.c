/* SPDX-License-Identifier: MIT */
/* engine/wake.c - see wake.h
 * Completions are not wanted: the ring of results, mapped at the context's address, is emptied by
 * moving its head, as io_getevents() would.
 */
#include "stackd/engine/wake.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/atomic.h"

/* The kernel's result ring (fs/aio.c's user-visible part, as libaio uses it). */
struct aio_results {
	uint32_t id, nr, head, tail, magic;
};

int wake_init(struct wake_batch *b)
{
	*b = (struct wake_batch){ .always = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (b->always < 0)
		return -errno;
	if (syscall(SYS_io_setup, 2 * WAKE_BATCH, &b->ctx))
		b->ctx = 0;
	for (unsigned i = 0; i < WAKE_BATCH; i++) {
		b->cb[i] = (struct iocb){
			.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)b->always,
			.aio_buf = POLLIN, .aio_flags = IOCB_FLAG_RESFD,
		};
		b->cbp[i] = &b->cb[i];
	}
	return 0;
}

void wake_fini(struct wake_batch *b)
{
	if (b->ctx)
		syscall(SYS_io_destroy, b->ctx);
	close(b->always);
}

void wake_add(struct wake_batch *b, int fd)
{
	if (b->cnt == WAKE_BATCH)
		wake_flush(b);
	b->cb[b->cnt++].aio_resfd = (uint32_t)fd;
}

static void write_all(struct wake_batch *b)
{
	uint64_t one = 1;

	for (unsigned i = 0; i < b->cnt; i++) {
		if (write((int)b->cb[i].aio_resfd, &one, sizeof(one)) < 0)
			continue;	/* gone: nobody sleeps on it */
	}
}

void wake_flush(struct wake_batch *b)
{
	struct aio_results *res = (struct aio_results *)b->ctx;
	uint32_t done = 0;

	if (!res)
		write_all(b);
	while (res && done < b->cnt) {
		long n = syscall(SYS_io_submit, b->ctx, b->cnt - done, b->cbp + done);

		st_rel(&res->head, ld_acq(&res->tail));
		if (n < 0)
			n = 1;		/* the first one's fd is no eventfd (any more): skip it */
		done += (uint32_t)n;
	}
	b->cnt = 0;
}
