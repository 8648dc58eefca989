/* SPDX-License-Identifier: MIT */
/* ctl/capture.c - captures: a memfd with a ring per worker, handed to who asks, for as long as its
 * connection lasts
 *
 * The filter comes compiled by libpcap, is validated and run by libpcap's own interpreter (linked
 * in statically: nothing else of the library is). Workers get the capture by a cross call and lose
 * it by another, after which the memory goes (V2). A capture is not adopted by a next engine: its
 * reader hears CTL_AGAIN and asks anew.
 * Spec:    R5; only root: a capture shows the bytes of all programs
 * Threads: worker 0's, but for the two functions that say so
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <fcntl.h>
#include <pcap/bpf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stackd/link/capture.h"

struct capture {
	struct xcall start, end;
	uint32_t idx, gen;		/* who asked */
	int fd, err;			/* err: a worker could not take it */
	uint8_t *mem, *scratch;
	uint64_t size;
	uint32_t insn_cnt;
	struct bpf_insn insn[SD_CAP_INSNS];
	struct link_cap cap[SD_MAX_WORKERS];
};

static uint32_t match(const void *arg, const uint8_t *frame, uint32_t wire, uint32_t len)
{
	const struct capture *c = arg;

	return bpf_filter(c->insn, frame, wire, len);
}

static void free_capture(struct capture *c)
{
	if (c->mem)
		munmap(c->mem, c->size);
	if (c->fd >= 0)
		close(c->fd);
	free(c->scratch);
	free(c);
}

/* On each worker's thread. */
static void add(struct worker *w, void *arg)
{
	struct capture *c = arg;
	int r = link_cap_add(&w->st, &c->cap[w->st.worker]);

	if (r)
		st_rel(&c->err, r);	/* pairs with added(), which follows all answers */
}

/* On each worker's thread. */
static void del(struct worker *w, void *arg)
{
	struct capture *c = arg;

	link_cap_del(&w->st, &c->cap[w->st.worker]);
}

static void added(struct engine *eng, void *arg)
{
	struct capture *c = arg;
	struct sd_ctl_capture_r m = { .h = { CTL_CAPTURE_R, sizeof(m) }, .size = c->size };
	struct conn *cn = conn_at(eng, c->idx, c->gen);
	int r = ld_acq(&c->err);

	if (!cn)
		return;			/* conn_close() has asked for its end */
	if (!r)
		r = sup_send(cn->fd, &m, sizeof(m), &c->fd, 1, MSG_DONTWAIT);
	if (r)
		conn_refuse(eng, c->idx, r, r == -EBUSY ? "too many captures" :
			    "the capture could not be handed over");
}

static void removed(struct engine *eng, void *arg)
{
	free_capture(arg);
}

void capture_end(struct engine *eng, struct capture *c)
{
	c->end = (struct xcall){ .fn = del, .done = removed, .arg = c };
	xcall_start(eng, &c->end);
}

/* Head and rings in a memfd of its own, present in memory: no worker takes faults for it. */
static int map_rings(struct engine *eng, struct capture *c, const struct sd_ctl_capture *rq)
{
	struct sd_cap_head *h;

	c->size = sd_cap_ring_off(eng->workers, rq->ring_bytes);
	c->fd = memfd_create("stackd-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->fd < 0 || ftruncate(c->fd, (off_t)c->size) ||
	    fcntl(c->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	h = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, c->fd, 0);
	if (h == MAP_FAILED)
		return -errno;
	c->mem = (uint8_t *)h;
	*h = (struct sd_cap_head){ .magic = SD_CAP_MAGIC, .workers = eng->workers,
				   .ring_bytes = rq->ring_bytes, .snaplen = rq->snaplen,
				   .points = rq->points };
	memcpy(h->dev, eng->conf.netdev.name, sizeof(h->dev) - 1);
	c->scratch = malloc((size_t)eng->workers * SD_CAP_SNAP);
	if (!c->scratch)
		return -ENOMEM;
	for (uint32_t w = 0; w < eng->workers; w++) {
		uint8_t *ring = c->mem + sd_cap_ring_off(w, rq->ring_bytes);

		c->cap[w] = (struct link_cap){
			.ring = (struct sd_cap_ring *)ring, .data = ring + SD_CAP_PAGE,
			.scratch = c->scratch + (size_t)w * SD_CAP_SNAP, .size = rq->ring_bytes,
			.snaplen = rq->snaplen, .points = rq->points,
			.match = c->insn_cnt ? match : NULL, .arg = c };
	}
	return 0;
}

/* Return: NULL, or what is wrong. */
static const char *check(const struct engine *eng, const struct sd_ctl_capture *rq, uint32_t len)
{
	if (len < sizeof(*rq) || rq->insn_cnt > SD_CAP_INSNS ||
	    len != sizeof(*rq) + rq->insn_cnt * sizeof(rq->insn[0]))
		return "malformed request";
	if (!rq->points || rq->points >= SD_CAP_BIT(SD_CAP_POINTS))
		return "no such point";
	if (!rq->snaplen || rq->snaplen > SD_CAP_SNAP)
		return "that length is not in range";
	if (rq->ring_bytes < SD_CAP_RING_MIN || rq->ring_bytes > SD_CAP_RING_MAX ||
	    rq->ring_bytes & (rq->ring_bytes - 1))
		return "that buffer size is not in range";
	if (rq->dev[0] && strncmp(rq->dev, eng->conf.netdev.name, sizeof(rq->dev)))
		return "no such device";
	if (rq->insn_cnt && !bpf_validate((const struct bpf_insn *)rq->insn, (int)rq->insn_cnt))
		return "that filter is not valid";
	return NULL;
}

void capture_start(struct engine *eng, uint32_t idx, const void *req, uint32_t len)
{
	const struct sd_ctl_capture *rq = req;
	struct conn *cn = &eng->ctl->conn[idx];
	const char *why = check(eng, rq, len);
	struct capture *c;
	int r;

	if (cn->cred.uid != 0 || why || cn->ses) {
		conn_refuse(eng, idx, why ? -EINVAL : -EPERM, why ? why : "only root captures");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		conn_refuse(eng, idx, -ENOMEM, "no memory");
		return;
	}
	c->fd = -1;
	c->idx = idx;
	c->gen = cn->gen;
	c->insn_cnt = rq->insn_cnt;
	memcpy(c->insn, rq->insn, rq->insn_cnt * sizeof(rq->insn[0]));
	r = map_rings(eng, c, rq);
	if (r) {
		free_capture(c);
		conn_refuse(eng, idx, r, "no memory for the rings");
		return;
	}
	cn->state = CONN_WAITS;		/* for good: its hang-up is what comes next */
	cn->cap = c;
	c->start = (struct xcall){ .fn = add, .done = added, .arg = c };
	xcall_start(eng, &c->start);
}
