/* SPDX-License-Identifier: MIT */
/* supervisor/store.c - see store.h */
#include "stackd/supervisor/store.h"

#include <errno.h>
#include <stdlib.h>

/* Keys are small counters, some with the top bit: neighbours go to different buckets. */
static struct store_ent **bucket(struct store *s, uint64_t key)
{
	return &s->bucket[(key ^ key >> 52) % STORE_BUCKETS];
}

int store_put(struct store *s, uint64_t key, uint32_t kind, const uint8_t meta[SUP_META],
	      const int *fds, unsigned cnt)
{
	struct store_ent **at = bucket(s, key), *e;

	if (cnt == 0 || cnt > SUP_MAXFDS)
		return -EINVAL;
	e = malloc(sizeof(*e) + cnt * sizeof(int));
	if (!e)
		return -ENOMEM;
	*e = (struct store_ent){ .key = key, .kind = kind, .fd_cnt = cnt };
	memcpy(e->meta, meta, SUP_META);
	memcpy(e->fds, fds, cnt * sizeof(int));
	while (*at)
		at = &(*at)->next;
	*at = e;
	s->ents++;
	s->fds += cnt;
	return 0;
}

unsigned store_drop(struct store *s, uint64_t key)
{
	struct store_ent **at = bucket(s, key);
	unsigned n = 0;

	while (*at) {
		struct store_ent *e = *at;

		if (e->key != key) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		if (e->kind == KEEP_CONN || e->kind == KEEP_EXPORT)
			dispose(e->fds[0]);	/* programs write there */
		else
			sup_close_fds(e->fds, e->fd_cnt);
		s->ents--;
		s->fds -= e->fd_cnt;
		free(e);
		n++;
	}
	return n;
}

void store_fini(struct store *s)
{
	for (unsigned i = 0; i < STORE_BUCKETS; i++) {
		while (s->bucket[i])
			store_drop(s, s->bucket[i]->key);
	}
}

int store_walk(struct store *s, int (*fn)(void *arg, const struct store_ent *e), void *arg)
{
	for (unsigned i = 0; i < STORE_BUCKETS; i++) {
		for (const struct store_ent *e = s->bucket[i]; e; e = e->next) {
			int r = fn(arg, e);

			if (r)
				return r;
		}
	}
	return 0;
}
