/* SPDX-License-Identifier: MIT */
/* stackctl/stackrun.c - stackrun PROGRAM ARGS...: set up the preload and exec
 * The shim is libstackd.so beside this program, else the installed one. Programs that cannot take
 * it are told about before they run: setuid and file-capability programs refuse a preload, static
 * ones do not know what that is; they run all the same, on the kernel's stack.
 * Exit codes: 126 not executable, 127 not found, 2 usage; else the program's own.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHIM		"libstackd.so"
#define UNFIT		", so it takes no preload: its sockets are the kernel's"
#define SHIM_INSTALLED	"/usr/lib/stackd/" SHIM

static const char help_text[] =
"Usage: stackrun [--run-dir DIR] [--verbose] [--why] PROGRAM [ARG]...\n"
"Run PROGRAM with its TCP and UDP sockets on stackd.\n"
"\n"
"  --run-dir DIR   stackd's run directory (default: $STACKD_RUN_DIR, else /run/stackd)\n"
"  --verbose       say what is done, and let the shim say what it does\n"
"  --why           for each socket: who carries it, stackd or the kernel, and why (stderr)\n"
"  --help\n";

static int say(int code, const char *what, const char *why)
{
	fprintf(stderr, "stackrun: %s: %s\n", what, why);
	return code;
}

/* Where execvp would find it. Return: 0 and the path, or errno's reason. */
static int find_program(const char *name, char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");
	int err = ENOENT;

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX ? ENAMETOOLONG :
		       access(path, X_OK) ? errno : 0;
	for (dirs = dirs ? dirs : "/usr/local/bin:/usr/bin:/bin"; *dirs; ) {
		size_t n = strcspn(dirs, ":");

		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, dirs, n ? "/" : "./", name) <
		    PATH_MAX && !access(path, F_OK)) {
			if (!access(path, X_OK))
				return 0;
			err = EACCES;
		}
		dirs += n + (dirs[n] == ':');
	}
	return err;
}

/* Has it an interpreter segment? True also for what is no ELF file: a script's interpreter decides.
 * */
static bool is_dynamic(int fd)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(ph))
		return true;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		off_t at = (off_t)(eh.e_phoff + i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) == sizeof(ph) && ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

static void warn_unfit(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat sb;

	if (fd < 0)
		return;			/* may be executed, but not read */
	if (!fstat(fd, &sb)) {
		if ((sb.st_mode & S_ISUID && sb.st_uid != geteuid()) ||
		    (sb.st_mode & S_ISGID && sb.st_gid != getegid()))
			say(0, path, "warning: setuid or setgid" UNFIT);
		else if (geteuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0)
			say(0, path, "warning: has file capabilities" UNFIT);
		if (!is_dynamic(fd))
			say(0, path, "warning: statically linked" UNFIT);
	}
	close(fd);
}

static int find_shim(char shim[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", shim, PATH_MAX - sizeof(SHIM) - 1);
	char *slash;

	if (n > 0) {
		shim[n] = '\0';
		slash = strrchr(shim, '/');
		if (slash) {
			strcpy(slash + 1, SHIM);
			if (!access(shim, R_OK))
				return 0;
		}
	}
	strcpy(shim, SHIM_INSTALLED);
	return access(shim, R_OK) ? -errno : 0;
}

/* Ours first; what was preloaded before stays. */
static int set_preload(const char *shim)
{
	const char *old = getenv("LD_PRELOAD");
	char *all;

	if (!old || !*old)
		return setenv("LD_PRELOAD", shim, 1);
	if (asprintf(&all, "%s:%s", shim, old) < 0)
		return -1;
	return setenv("LD_PRELOAD", all, 1);
}

int main(int argc, char **argv)
{
	char shim[PATH_MAX], path[PATH_MAX];
	const char *dir = NULL;
	bool verbose = false, why = false;
	int i, r;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--help")) {
			fputs(help_text, stdout);
			return 0;
		} else if (!strcmp(argv[i], "--verbose")) {
			verbose = true;
		} else if (!strcmp(argv[i], "--why")) {
			why = true;
		} else if (!strcmp(argv[i], "--run-dir") && i + 1 < argc) {
			dir = argv[++i];
		} else if (!strncmp(argv[i], "--run-dir=", 10)) {
			dir = argv[i] + 10;
		} else if (!strcmp(argv[i], "--")) {
			i++;
			break;
		} else {
			return say(2, argv[i], "unknown option (see --help)");
		}
	}
	if (i == argc) {
		fputs(help_text, stderr);
		return 2;
	}
	if (find_shim(shim))
		return say(2, SHIM, "neither beside stackrun nor installed as " SHIM_INSTALLED);
	r = find_program(argv[i], path);
	if (r)
		return say(r == ENOENT ? 127 : 126, argv[i],
			   r == ENOENT ? "no such program" : strerror(r));
	warn_unfit(path);
	if ((dir && setenv("STACKD_RUN_DIR", dir, 1)) || set_preload(shim) ||
	    (verbose && setenv("STACKD_VERBOSE", "1", 1)) ||
	    (why && setenv("STACKD_WHY", "1", 1)))
		return say(2, "environment", strerror(errno));
	if (verbose)
		fprintf(stderr, "stackrun: %s with LD_PRELOAD=%s\n", path, getenv("LD_PRELOAD"));
	execv(path, argv + i);
	if (errno == ENOEXEC)		/* a script without #!: execvp gives it to the shell */
		execvp(argv[i], argv + i);
	return say(126, path, strerror(errno));
}
