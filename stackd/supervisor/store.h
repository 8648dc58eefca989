/* SPDX-License-Identifier: MIT */
/* supervisor/store.h - fds that must outlive an engine, by key
 * Holds:   T1 an entry owns its fds until dropped; T2 entries of one key come out in the order they
 * went in
 */
#ifndef SUPERVISOR_STORE_H
#define SUPERVISOR_STORE_H

#include "stackd/supervisor/proto.h"

struct store_ent {
	struct store_ent *next;
	uint64_t key;
	uint32_t kind;			/* enum sup_kind */
	uint32_t fd_cnt;
	uint8_t meta[SUP_META];
	int fds[];
};

#define STORE_BUCKETS 4096u
struct store {
	struct store_ent *bucket[STORE_BUCKETS];	/* newest last */
	uint32_t ents, fds;
};

/* Takes @fds on success. Return: 0, -EINVAL (no or too many fds), -ENOMEM. */
int store_put(struct store *s, uint64_t key, uint32_t kind, const uint8_t meta[SUP_META],
	      const int *fds, unsigned cnt);
/* Close and forget everything under @key. Return: number of entries. */
/* dispose.c: close a socket that programs write into, whatever waits in it. */
void dispose(int fd);

unsigned store_drop(struct store *s, uint64_t key);
void store_fini(struct store *s);
/* Stops at the first non-zero return of @fn and returns it. */
int store_walk(struct store *s, int (*fn)(void *arg, const struct store_ent *e), void *arg);

#endif
