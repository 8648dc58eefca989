/* SPDX-License-Identifier: MIT */
/* supervisor/conf.h - what the daemon was told: flags and configuration file, parsed and checked
 * The file's keys are the flags' long names; flags win. struct conf is plain data: the supervisor
 * hands it to the engine as it is.
 */
#ifndef SUPERVISOR_CONF_H
#define SUPERVISOR_CONF_H

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

struct conf {
	char run_dir[92];		/* with the socket's name it fits sun_path */
	uint32_t workers;
	uint32_t uid, gid;		/* of the engine */
	uint8_t has_netdev, daemonize, check, rsv;
	struct conf_netdev netdev;
};

#define CONF_ERR 160
/* Parse one --netdev argument. Return: 0, or -EINVAL and one line in @err that names the wrong
 * part. */
int conf_parse_netdev(const char *spec, struct conf_netdev *ret, char err[CONF_ERR]);
/* "a.b.c.d" or "a.b.c.d/len"; ret_plen NULL forbids a length, a missing one is 32. */
int conf_parse_prefix(const char *text, struct sd_addr *ret, uint8_t *ret_plen);

enum conf_next { CONF_RUN, CONF_EXIT_OK, CONF_EXIT_BAD };
/* Command line and file. Prints help, version or the error itself. */
enum conf_next conf_parse(int argc, char **argv, struct conf *ret);

#endif
