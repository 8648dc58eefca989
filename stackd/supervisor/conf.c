/* SPDX-License-Identifier: MIT */
/* supervisor/conf.c - command line and configuration file
 * Both end in set(): a flag and a line of the file are one and the same thing, and flags, which are
 * applied last, win. The file is libconfuse's: `workers = 2`, `netdev = "tap,..."`, '#' comments.
 */
#include "stackd/supervisor/conf.h"

#include <confuse.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CONF_VERSION "0.1"

int conf_bad(char err[CONF_ERR], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, CONF_ERR, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static const char help_text[] =
"Usage: stackd [OPTION]... --netdev KIND,key=value,...\n"
"A TCP/IP stack for unmodified programs: start it, then start them by stackrun.\n"
"\n"
"  --netdev SPEC    the device, such as\n"
"                   tap,name=stk0,addr=192.0.2.2/24,peer=192.0.2.1/24\n"
"                   packet,if=eth1,addr=192.0.2.2/24,gw=192.0.2.1\n"
"                   addr: stackd's address; peer: the kernel's on the same TAP;\n"
"                   if: an interface of the kernel's, by packet sockets;\n"
"                   xdp,if=eth1,addr=192.0.2.2/24[,attach=auto|native|generic]\n"
"                   by AF_XDP; an address that the kernel has as well is shared:\n"
"                   stackd gets its sockets' packets, the kernel everything else;\n"
"                   kport=NAME: what is not stackd's goes to a TAP of this name, with the\n"
"                   device's MAC and address, for the kernel (not for tap, xdp);\n"
"                   also gw=A, route=PREFIX[@ROUTER], mtu=N, mac=M or mac=own,\n"
"                   impair=loss=1/100+dup=1/1000+seed=7\n"
"                   vfio,pci=0000:00:03.0,addr=192.0.2.2/24: a NIC of stackd's own\n"
"                   (first: stackctl nic claim 0000:00:03.0)\n"
"  --run-dir DIR    control socket and lock (default: $STACKD_RUN_DIR, else " CONF_RUN_DIR ")\n"
"  --config FILE    the same settings, one a line: workers = 2, netdev = \"tap,...\"\n"
"  --workers N      threads that process packets, 1 to 32 (default 1)\n"
"  --user NAME      whom the engine runs as (default: " CONF_USER " when there is such a user)\n"
"  --allow WHO,...  who may attach programs: all (default), users, @groups\n"
"  --limit [USER:]KEY=N,...  what each uid may have: sockets, memory, ports, processes,\n"
"                   connections; such as memory=2G,ports=none. Root has no limits unless\n"
"                   given his own; may be repeated\n"
"  --daemonize      go to the background when ready; log to RUN-DIR/stackd.log\n"
"  --check          check settings and machine, then exit\n"
"  --help, --version\n"
"\n"
"SIGTERM and SIGINT stop it.\n";

/* What was given where, before it is checked. Strings are borrowed. */
struct conf_raw {
	const char *run_dir, *workers, *user, *netdev, *config, *allow;
	const char *limit[2 * CONF_LIMITS];	/* of flags; then of the file */
	unsigned limit_cnt, limit_file;		/* in all; where those of the file begin */
	bool daemonize, check;
};

__attribute__((format(printf, 1, 2)))
static enum conf_next complain(const char *fmt, ...)
{
	va_list ap;

	fputs("stackd: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CONF_EXIT_BAD;
}

static int set_workers(const char *v, struct conf *c)
{
	char *end;
	unsigned long n = strtoul(v, &end, 10);

	if (*v < '0' || *v > '9' || *end || n < 1 || n > SD_MAX_WORKERS) {
		complain("--workers %s: must be 1 to %u", v, SD_MAX_WORKERS);
		return -EINVAL;
	}
	c->workers = (uint32_t)n;
	return 0;
}

static int set_user(const char *v, struct conf *c)
{
	const struct passwd *pw = getpwnam(v ? v : CONF_USER);

	c->uid = c->gid = CONF_UID;
	if (pw) {
		c->uid = pw->pw_uid;
		c->gid = pw->pw_gid;
	} else if (v) {
		complain("--user %s: no such user", v);
		return -EINVAL;
	}
	if (c->uid == 0 || c->gid == 0) {
		complain("--user %s: the engine does not run as root", v);
		return -EINVAL;
	}
	return 0;
}

static int set_run_dir(const char *v, struct conf *c)
{
	if (!*v || strlen(v) >= sizeof(c->run_dir)) {
		complain("--run-dir %s: empty or longer than %zu characters", v,
			 sizeof(c->run_dir) - 1);
		return -EINVAL;
	}
	strcpy(c->run_dir, v);
	return 0;
}

static int set_netdev(const char *v, struct conf *c)
{
	char err[CONF_ERR];

	if (conf_parse_netdev(v, &c->netdev, err)) {
		complain("--netdev %s: %s", v, err);
		return -EINVAL;
	}
	c->has_netdev = 1;
	return 0;
}

static int set_access(const struct conf_raw *raw, struct conf_access *a)
{
	char err[CONF_ERR];

	conf_access_init(a);
	if (raw->allow && conf_parse_allow(raw->allow, a, err)) {
		complain("--allow %s: %s", raw->allow, err);
		return -EINVAL;
	}
	for (unsigned i = 0; i < raw->limit_cnt; i++) {
		/* the file's first: flags win */
		unsigned k = (raw->limit_file + i) % raw->limit_cnt;

		if (conf_parse_limit(raw->limit[k], a, err)) {
			complain("--limit %s: %s", raw->limit[k], err);
			return -EINVAL;
		}
	}
	return 0;
}

static int add_limit(struct conf_raw *raw, const char *v)
{
	if (raw->limit_cnt == sizeof(raw->limit) / sizeof(raw->limit[0])) {
		complain("--limit %s: too many of them", v);
		return -EINVAL;
	}
	raw->limit[raw->limit_cnt++] = v;
	return 0;
}

/* Everything with its default, checked. */
static int apply(const struct conf_raw *raw, struct conf *c)
{
	const char *env = getenv("STACKD_RUN_DIR");

	c->daemonize = raw->daemonize;
	c->check = raw->check;
	if (set_run_dir(raw->run_dir ? raw->run_dir : env && *env ? env : CONF_RUN_DIR, c) ||
	    set_workers(raw->workers ? raw->workers : "1", c) || set_user(raw->user, c) ||
	    set_access(raw, &c->access))
		return -EINVAL;
	if (!raw->netdev) {
		complain("no device: give --netdev, such as "
			 "--netdev tap,name=stk0,addr=192.0.2.2/24,peer=192.0.2.1/24");
		return -EINVAL;
	}
	return set_netdev(raw->netdev, c);
}

static void file_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	fprintf(stderr, "stackd: --config line %d: ", cfg->line);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

static const char *file_str(cfg_t *cfg, const char *key)
{
	return cfg_size(cfg, key) ? cfg_getstr(cfg, key) : NULL;
}

/* The whole file, lines that are comments emptied: libconfuse 3.3 counts those three times, and
 * errors would name the wrong line. Return: malloc'd text, or NULL with errno set. */
static char *load(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL, *line = NULL;
	size_t len = 0, room = 0;
	FILE *out = f ? open_memstream(&text, &len) : NULL;
	int err;

	while (out && getline(&line, &room, f) >= 0)
		fputs(line[strspn(line, " \t")] == '#' ? "\n" : line, out);
	err = !out || ferror(f) ? errno : 0;
	free(line);
	if (out)
		fclose(out);		/* its text is valid now */
	if (f)
		fclose(f);
	if (!err)
		return text;
	free(text);
	errno = err;
	return NULL;
}

/* Read the file into what flags have left open. The strings stay allocated: *ret_cfg owns them. */
static int read_file(struct conf_raw *raw, cfg_t **ret_cfg)
{
	static cfg_opt_t keys[] = {
		CFG_STR("run-dir", NULL, CFGF_NODEFAULT), CFG_STR("workers", NULL, CFGF_NODEFAULT),
		CFG_STR("user", NULL, CFGF_NODEFAULT), CFG_STR("netdev", NULL, CFGF_NODEFAULT),
		CFG_STR("allow", NULL, CFGF_NODEFAULT), CFG_STR_LIST("limit", NULL, CFGF_NODEFAULT),
		CFG_BOOL("daemonize", cfg_false, CFGF_NONE), CFG_END()
	};
	char *text = load(raw->config);
	cfg_t *cfg;
	int r;

	if (!text) {
		complain("--config %s: %s", raw->config, strerror(errno));
		return -EINVAL;
	}
	cfg = cfg_init(keys, CFGF_NONE);
	if (cfg)
		cfg_set_error_function(cfg, file_error);
	r = cfg ? cfg_parse_buf(cfg, text) : CFG_PARSE_ERROR;
	free(text);
	if (r != CFG_SUCCESS) {
		cfg_free(cfg);
		return -EINVAL;
	}
	raw->run_dir = raw->run_dir ? raw->run_dir : file_str(cfg, "run-dir");
	raw->workers = raw->workers ? raw->workers : file_str(cfg, "workers");
	raw->user = raw->user ? raw->user : file_str(cfg, "user");
	raw->netdev = raw->netdev ? raw->netdev : file_str(cfg, "netdev");
	raw->daemonize = raw->daemonize || cfg_getbool(cfg, "daemonize");
	raw->allow = raw->allow ? raw->allow : file_str(cfg, "allow");
	*ret_cfg = cfg;
	raw->limit_file = raw->limit_cnt;
	for (unsigned i = 0; i < cfg_size(cfg, "limit"); i++)
		if (add_limit(raw, cfg_getnstr(cfg, "limit", i)))
			return -EINVAL;
	return 0;
}

enum { OPT_RUN_DIR = 256, OPT_CONFIG, OPT_NETDEV, OPT_WORKERS, OPT_USER, OPT_ALLOW, OPT_LIMIT,
       OPT_DAEMONIZE, OPT_CHECK, OPT_HELP, OPT_VERSION };

static const struct option flags[] = {
	{ "run-dir", required_argument, NULL, OPT_RUN_DIR },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "netdev", required_argument, NULL, OPT_NETDEV },
	{ "workers", required_argument, NULL, OPT_WORKERS },
	{ "user", required_argument, NULL, OPT_USER },
	{ "allow", required_argument, NULL, OPT_ALLOW },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "daemonize", no_argument, NULL, OPT_DAEMONIZE },
	{ "check", no_argument, NULL, OPT_CHECK },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 }
};

static enum conf_next read_flags(int argc, char **argv, struct conf_raw *raw)
{
	int o;

	optind = 0;
	while ((o = getopt_long(argc, argv, "", flags, NULL)) != -1) {
		switch (o) {
		case OPT_RUN_DIR: raw->run_dir = optarg; break;
		case OPT_CONFIG: raw->config = optarg; break;
		case OPT_WORKERS: raw->workers = optarg; break;
		case OPT_USER: raw->user = optarg; break;
		case OPT_ALLOW: raw->allow = optarg; break;
		case OPT_LIMIT:
			if (add_limit(raw, optarg))
				return CONF_EXIT_BAD;
			break;
		case OPT_DAEMONIZE: raw->daemonize = true; break;
		case OPT_CHECK: raw->check = true; break;
		case OPT_NETDEV:
			if (raw->netdev)
				return complain("--netdev %s: one device is supported", optarg);
			raw->netdev = optarg;
			break;
		case OPT_HELP:
			fputs(help_text, stdout);
			return CONF_EXIT_OK;
		case OPT_VERSION:
			puts("stackd " CONF_VERSION);
			return CONF_EXIT_OK;
		default:
			return CONF_EXIT_BAD;	/* getopt has said why */
		}
	}
	if (optind < argc)
		return complain("unexpected argument '%s'", argv[optind]);
	return CONF_RUN;
}

enum conf_next conf_parse(int argc, char **argv, struct conf *ret)
{
	struct conf_raw raw = { 0 };
	cfg_t *cfg = NULL;
	enum conf_next next = read_flags(argc, argv, &raw);
	struct conf c = { 0 };

	if (next != CONF_RUN)
		return next;
	if ((raw.config && read_file(&raw, &cfg)) || apply(&raw, &c))
		next = CONF_EXIT_BAD;
	else
		*ret = c;
	if (cfg)
		cfg_free(cfg);
	return next;
}
