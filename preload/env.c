/* SPDX-License-Identifier: MIT */
/* preload/env.c - the environment that makes a new image one of stackd's
 * A program may hand any environment to exec: nginx scrubs it at a binary upgrade, CGI servers
 * make one from nothing. So what the shim needs is remembered at start, and each exec gets an
 * environment in which it is put back:
 *   LD_PRELOAD      absent: ours. Without us: the program's choice (an empty LD_PRELOAD is the way
 *                   to opt a child out), unless sockets are inherited: then ours comes first
 *   STACKD_RUN_DIR, STACKD_WHY  absent: as they were at start
 *   STACKD_INHERIT  "FD:INODE", the control connection that stays open through this exec; taken out
 *                   of the environment by the new image before the program sees it
 * Others empty their own environment before they make their first socket (exim, dovecot): this
 * image, too, goes by what it was at start.
 * Nothing here allocates: the new environment stands in the caller's frame, the old is not touched.
 * Spec:    S3
 * Threads: written by the constructor only
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload/pl_int.h"

#define VAR_PRELOAD	"LD_PRELOAD="
#define VAR_RUN_DIR	"STACKD_RUN_DIR="
#define VAR_INHERIT	"STACKD_INHERIT="
#define VAR_WHY		"STACKD_WHY="

static char shim[PATH_MAX];		/* absolute path of this library; "" = not preloaded */
static char run_dir_var[sizeof(VAR_RUN_DIR) + PATH_MAX];	/* "" = was not set */
static bool why;			/* STACKD_WHY was set */

static bool has_prefix(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* An inherited connection is what its name says: this fd, and this very socket. */
static int inherited_fd(const char *val)
{
	unsigned long ino;
	struct stat st;
	int fd;

	if (!val || sscanf(val, "%d:%lu", &fd, &ino) != 2)
		return -1;
	return !fstat(fd, &st) && S_ISSOCK(st.st_mode) && st.st_ino == ino ? fd : -1;
}

__attribute__((constructor(102))) static void env_init(void)
{
	const char *preload = getenv("LD_PRELOAD"), *dir = secure_getenv("STACKD_RUN_DIR");
	char path[PATH_MAX];
	Dl_info di;
	int fd;

	if (!preload || !dladdr(run_dir_var, &di) || !strstr(preload, di.dli_fname) ||
	    !realpath(di.dli_fname, path))
		return;
	strcpy(shim, path);
	if (dir && *dir && strlen(dir) < PATH_MAX)
		sprintf(run_dir_var, VAR_RUN_DIR "%s", dir);
	why = secure_getenv("STACKD_WHY") != NULL;
	fd = inherited_fd(secure_getenv("STACKD_INHERIT"));
	unsetenv("STACKD_INHERIT");
	if (fd >= 0)
		pl_attach_inherit(fd);
}

const char *pl_env_run_dir(void)
{
	const char *dir = secure_getenv("STACKD_RUN_DIR");

	if (dir && *dir)
		return dir;
	return run_dir_var[0] ? run_dir_var + strlen(VAR_RUN_DIR) : NULL;
}

bool pl_env_why(void)
{
	return why || secure_getenv("STACKD_WHY");
}

bool pl_env_on(void)
{
	return shim[0] && !ld_acq(&pl_attach_failed);
}

size_t pl_env_size(char *const *envp)
{
	size_t n = 0;

	while (envp && envp[n])
		n++;
	return (n + PL_ENV_ADDED + 1) * sizeof(char *);
}

/* LD_PRELOAD for the new image, @old being the program's; whole entries, NULL = none. */
static char *preload_var(struct pl_env *e, char *old, bool inherits)
{
	const char *rest = old ? old + strlen(VAR_PRELOAD) : "";
	int n;

	if ((old && (strstr(rest, shim) || !inherits)) || access(shim, R_OK))
		return old;		/* after a chroot the shim may be out of reach */
	n = snprintf(e->preload, sizeof(e->preload), VAR_PRELOAD "%s%s%s", shim,
		     *rest ? ":" : "", rest);
	if (n >= (int)sizeof(e->preload))
		sprintf(e->preload, VAR_PRELOAD "%s", shim);
	return e->preload;
}

void pl_env_make(struct pl_env *e, char *const *envp, int ctl, char **out)
{
	char *preload = NULL, *dir = run_dir_var[0] ? run_dir_var : NULL;
	bool add_why = why;
	struct stat st;
	size_t n = 0;

	for (; envp && *envp; envp++) {
		if (has_prefix(*envp, VAR_PRELOAD)) {
			preload = *envp;
			continue;
		}
		if (has_prefix(*envp, VAR_INHERIT))
			continue;
		if (has_prefix(*envp, VAR_RUN_DIR))
			dir = NULL;
		if (has_prefix(*envp, VAR_WHY))
			add_why = false;
		out[n++] = *envp;
	}
	preload = preload_var(e, preload, ctl >= 0);
	if (preload)
		out[n++] = preload;
	if (dir)
		out[n++] = dir;
	if (add_why)
		out[n++] = VAR_WHY "1";
	if (ctl >= 0 && !fstat(ctl, &st)) {
		snprintf(e->inherit, sizeof(e->inherit), VAR_INHERIT "%d:%lu", ctl,
			 (unsigned long)st.st_ino);
		out[n++] = e->inherit;
	}
	out[n] = NULL;
}
