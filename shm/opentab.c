/* SPDX-License-Identifier: MIT */
/* shm/opentab.c - open tables and slot references
 * A slot's reference count is the number of open-table entries that name it, over all processes of
 * the family. An entry is counted before it is stored and discounted after it was taken out, so
 * that a kill in between leaves a count too high (a slot kept too long), never too low. The counts
 * are program-written: the engine uses them to learn that nothing is left, and checks the slot.
 * Threads: the owning process; the engine while the owner waits for a fork, or is dead
 */
#include "shm/opentab.h"

void shm_ofd_set(struct sd_proc *p, int fd, sd_ofd o)
{
	uint32_t hi = ld_rlx(&p->hi_fd);

	if ((unsigned)fd >= SD_FDS)
		return;
	while (hi <= (uint32_t)fd && !cas_sc(&p->hi_fd, &hi, (uint32_t)fd + 1))
		;
	st_rel(&p->fds[fd], o);		/* pairs with ld_acq in shm_ofd_get() */
}

sd_ofd shm_ofd_take(struct sd_proc *p, int fd)
{
	if ((unsigned)fd >= SD_FDS || !ld_rlx(&p->fds[fd]))
		return 0;
	return xchg_sc(&p->fds[fd], 0);
}

void shm_slot_get(const struct shm_seg *seg, uint32_t slot)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);

	if (sp)
		add_sc(&sp->refs, 1);
}

void shm_slot_own(const struct shm_seg *seg, uint32_t slot)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);

	if (sp)
		st_rlx(&sp->refs, 1);
}

bool shm_slot_join(const struct shm_seg *seg, uint32_t slot)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);
	uint32_t refs = sp ? ld_rlx(&sp->refs) : 0;

	while (refs)
		if (cas_sc(&sp->refs, &refs, refs + 1))
			return true;
	return false;
}

bool shm_slot_put(const struct shm_seg *seg, uint32_t slot)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);
	uint32_t refs = sp ? ld_rlx(&sp->refs) : 0;

	while (refs)
		if (cas_sc(&sp->refs, &refs, refs - 1))
			return refs == 1;
	return false;
}

/* Entries that may be in use; hi_fd is program-written. */
int shm_opentab_len(const struct sd_proc *p)
{
	uint32_t hi = ld_acq(&p->hi_fd);

	return (int)(hi < SD_FDS ? hi : SD_FDS);
}

void shm_opentab_clone_one(const struct shm_seg *seg, uint32_t from, uint32_t to, int fd)
{
	struct sd_proc *src = shm_proc(seg, from), *dst = shm_proc(seg, to);
	sd_ofd o = src && dst ? shm_ofd_get(src, fd) : 0;

	if (!o)
		return;
	if (SD_OFD_KIND(o) == SD_OFD_SOCK)
		shm_slot_get(seg, SD_OFD_IDX(o));
	shm_ofd_set(dst, fd, o);
}

bool shm_opentab_undo_one(const struct shm_seg *seg, uint32_t proc, int fd, uint32_t *ret_slot,
			  uint32_t *ret_gen)
{
	struct sd_proc *p = shm_proc(seg, proc);
	sd_ofd o = p ? shm_ofd_take(p, fd) : 0;

	if (SD_OFD_KIND(o) != SD_OFD_SOCK || !shm_slot_put(seg, SD_OFD_IDX(o)))
		return false;
	*ret_slot = SD_OFD_IDX(o);
	*ret_gen = SD_OFD_GEN(o);
	return true;
}
