/* SPDX-License-Identifier: MIT */
/* preload/rpc.c - synchronous commands: an entry to a worker, an answer in the mailbox's reply slot
 * The reply slot lies in the engine's memory; the sequence number that the command carried tells
 * whether the answer in it is ours. Each mailbox counts on from what it asked last, whoever held
 * it.
 * Spec:    DESIGN.md "Commands, notifications, doorbells"
 * Pairs:   ld_acq(reply.seq) with the worker's st_rel after the data
 * Threads: all; not a cancellation point, not interrupted by signals
 */
#include <string.h>
#include <sys/syscall.h>

#include "preload/wait_int.h"

static bool reply_here(const struct sd_reply *rep, uint32_t seq)
{
	return ld_acq(&rep->seq) == seq;
}

/* Sleep until the mailbox is posted to. Return: 0, or -ECONNRESET when the engine is gone. */
static int rpc_sleep(struct pl_waiter *w)
{
	struct pollfd p[2] = { { pl_efd[w->mb.mbox], POLLIN, 0 }, { pl.ctl_fd, POLLRDHUP, 0 } };

	pl_sys(SYS_ppoll, p, 2, NULL, NULL, 0);
	if (p[0].revents & POLLIN)
		pl_efd_drain(pl_efd[w->mb.mbox]);
	else if (p[1].revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL))
		return -ECONNRESET;
	return 0;
}

/* An engine that was killed may have taken the command and not answered it: its successor is asked
 * again, and told so. It wakes every mailbox once, so a sleeper looks. */
static int rpc_repeat(uint32_t worker, struct sd_cmd *cmd, uint64_t *epoch)
{
	uint64_t now = ld_acq(&pl.info->epoch);

	if (now == *epoch)
		return 0;
	*epoch = now;
	cmd->flags |= SD_CMD_AGAIN;
	return pl_cmd(worker, cmd);
}

static int rpc_await(struct pl_waiter *w, const struct sd_reply *rep, uint32_t worker,
		     struct sd_cmd *cmd, uint64_t epoch)
{
	uint32_t seq = cmd->rseq;
	uint64_t until = pl_now_ns() +
			 (pl_spin_hinders() ? 0 : ld_rlx(&pl.info->spin_ns));
	int r = 0;

	pl_settle();
	while (!reply_here(rep, seq)) {
		if (r)
			return r;
		if (pl_now_ns() < until) {
			cpu_relax();
			continue;
		}
		pl_mbox_drain(w->m);
		r = rpc_repeat(worker, cmd, &epoch);
		if (r || reply_here(rep, seq))
			continue;
		if (shm_mbox_sleep(w->m)) {
			pl_settle_all();
			r = rpc_sleep(w);
		}
		shm_mbox_awake(w->m);
	}
	return 0;
}

int pl_rpc(uint32_t worker, struct sd_cmd *cmd, void *data, size_t max, size_t *ret_len)
{
	int r, saved = errno;
	const struct sd_reply *rep;
	struct pl_waiter w;
	uint64_t epoch;
	uint32_t len;

	r = pl_waiter_get(&w);
	if (r)
		goto out;
	rep = shm_reply(&pl.seg, w.mb.mbox);
	cmd->mbox = w.mb.mbox;
	cmd->rseq = ld_rlx(&w.m->rseq) + 1;
	if (!cmd->rseq)
		cmd->rseq = 1;			/* 0 is a fresh reply slot's */
	st_rel(&w.m->rseq, cmd->rseq);
	epoch = ld_acq(&pl.info->epoch);
	r = pl_cmd(worker, cmd);
	if (!r)
		r = rpc_await(&w, rep, worker, cmd, epoch);
	shm_mbox_clear(w.m, SD_MBOX_REPLY_BIT);
	if (r)
		goto out;
	r = rep->err;
	len = rep->len < SD_REPLY_DATA ? rep->len : SD_REPLY_DATA;
	if (len > max)
		len = (uint32_t)max;
	if (data)
		memcpy(data, rep->data, len);
	if (ret_len)
		*ret_len = len;
out:
	pl_waiter_put(&w);
	errno = saved;
	return r;
}
