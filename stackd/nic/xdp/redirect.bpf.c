/* SPDX-License-Identifier: MIT */
/* nic/xdp/redirect.bpf.c - the XDP program: stackd's packets to its sockets, the others to the
 * kernel (XDP_PASS). Which are which stands in split.h.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "stackd/nic/xdp/claims_abi.h"

#define QUEUES_MAX	32
#define FRAGS_MAX	1024

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct claims);
} claims_map SEC(".maps");

/* First fragments that were ours: source, id and protocol in 8 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} frags SEC(".maps");

static const __u8 one = 1;
#define SPLIT_FRAG_SEEN(key)	(bpf_map_lookup_elem(&frags, &(key)) != 0)
#define SPLIT_FRAG_NOTE(key)	bpf_map_update_elem(&frags, &(key), &one, BPF_ANY)
#include "stackd/nic/xdp/split.h"

SEC("xdp")
int stackd_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct claims *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&claims_map, &zero);
	if (!c || !c->addr || !split_ours(c, data, end))
		return XDP_PASS;
	/* A queue without a socket: the kernel must not answer for us. */
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
}

char licence[] SEC("license") = "Dual MIT/GPL";
