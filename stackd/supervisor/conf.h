/* SPDX-License-Identifier: MIT */
/* supervisor/conf.h - what the daemon was told: flags and configuration file, parsed and checked
 * The file's keys are the flags' long names; flags win. struct conf is plain data: the supervisor
 * hands it to the engine as it is.
 */
#ifndef SUPERVISOR_CONF_H
#define SUPERVISOR_CONF_H

#include <stdbool.h>

#include "stackd/abi.h"

#define CONF_ROUTES	16
#define CONF_RUN_DIR	"/run/stackd"
#define CONF_USER	"stackd"	/* the engine's user when there is one of this name, */
#define CONF_UID	64321u		/* else this number, which Debian gives to nobody */

struct conf_route {
	struct sd_addr dst, gw;		/* gw: wildcard = on the link */
	uint8_t plen;			/* of the 128-bit form */
};

struct conf_netdev {
	char kind[8];			/* "tap", "packet", "xdp" */
	char name[16];			/* interface name (name=, if=), NUL-terminated */
	struct sd_addr addr, peer, gw;	/* stackd's, the kernel's on the device, default router */
	uint8_t addr_plen, peer_plen;	/* of the 128-bit form; peer_plen 0 = no peer */
	uint8_t has_gw, has_mac;
	uint8_t own_mac;		/* mac=own: a random one, not the interface's */
	uint8_t attach;			/* xdp: enum xdp_attach */
	uint8_t mac[6];
	uint16_t route_cnt;
	uint32_t mtu;			/* 0 = as the interface has it */
	struct conf_route route[CONF_ROUTES];
	char kport[16];			/* kernel port: name of its TAP, "" = none */
	char pci[16];			/* vfio: "0000:00:03.0", NUL-terminated */
	char impair[128];		/* as impair_nic_wrap() wants it, "" = none */
};

/* What the programs of one uid may have; 0 = as much as there is. */
struct conf_limits {
	uint64_t sockets, memory, ports, processes, connections;	/* memory: bytes */
};
struct conf_uid_limits {
	uint32_t uid;
	struct conf_limits l;
};

#define CONF_ALLOW	32u
#define CONF_LIMITS	32u
struct conf_access {			/* see access.c */
	uint32_t allow_all, user_cnt, group_cnt, limit_cnt;
	uint32_t users[CONF_ALLOW], groups[CONF_ALLOW];
	struct conf_limits others;	/* of who has none of his own; not of root */
	struct conf_uid_limits limit[CONF_LIMITS];
};

struct conf {
	char run_dir[92];		/* with the socket's name it fits sun_path */
	uint32_t workers;
	uint32_t uid, gid;		/* of the engine */
	uint8_t has_netdev, daemonize, check, rsv;
	struct conf_netdev netdev;
	struct conf_access access;
};

#define CONF_ERR 160
/* The line that says what is wrong. Return: -EINVAL. */
__attribute__((format(printf, 2, 3)))
int conf_bad(char err[CONF_ERR], const char *fmt, ...);
/* Parse one --netdev argument. Return: 0, or -EINVAL and one line in @err that names the wrong
 * part. */
int conf_parse_netdev(const char *spec, struct conf_netdev *ret, char err[CONF_ERR]);

/* Everybody may, root without limits, others with the default ones. */
void conf_access_init(struct conf_access *ret);
/* One --allow or --limit argument, added to or put over what is there. Return: 0, or -EINVAL and
 * one line in @err. */
int conf_parse_allow(const char *list, struct conf_access *ret, char err[CONF_ERR]);
int conf_parse_limit(const char *spec, struct conf_access *ret, char err[CONF_ERR]);
/* May a process of this user, with these groups (supplementary ones as well), attach? */
bool conf_allows(const struct conf_access *a, uint32_t uid, const uint32_t *gids, unsigned gid_cnt);
/* Valid as long as @a. */
const struct conf_limits *conf_limits_of(const struct conf_access *a, uint32_t uid);

enum conf_next { CONF_RUN, CONF_EXIT_OK, CONF_EXIT_BAD };
/* Command line and file. Prints help, version or the error itself. */
enum conf_next conf_parse(int argc, char **argv, struct conf *ret);

#endif
