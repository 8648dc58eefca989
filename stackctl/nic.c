/* SPDX-License-Identifier: MIT */
/* stackctl/nic.c - stackctl nic claim|release PCI: bind a NIC to vfio-pci, and give it back
 *
 * claim: checks -> driver_override = vfio-pci -> unbind -> probe; whatever fails, the override is
 * taken back and the kernel's driver probed again. A NIC that carries the default route or the ssh
 * session that this runs in is refused without --force: claiming it cuts the user off.
 * With --within S the claim is on probation: unless stackd drives the NIC with its link up within S
 * seconds (and has heard from the router of --gateway), stackd is stopped and the NIC given back.
 * Spec:    Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe)
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "stackctl/nic.h"

#define SYS_PCI		"/sys/bus/pci/devices/"
#define VFIO		"vfio-pci"
#define GONE_LIMIT_S	10		/* for stackd to end when a claim is taken back */

struct nic_args {
	char pci[16];
	const char *run_dir, *gateway;
	unsigned within_s;		/* 0 = no probation */
	bool force;
};

static const char usage_text[] =
"Usage: stackctl nic claim PCI [--force] [--within SECONDS [--gateway ADDRESS]]\n"
"       stackctl nic release PCI\n"
"claim binds a NIC to vfio-pci, for stackd --netdev vfio,pci=PCI,...; release gives it back.\n";

/* ---- sysfs ---- */

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		r = -errno;
	close(fd);
	return r;
}

static void driver_of(const char *pci, char *ret, size_t size)
{
	char path[96], to[256];
	ssize_t n;

	snprintf(path, sizeof(path), SYS_PCI "%s/driver", pci);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = '\0';
	snprintf(ret, size, "%s", strrchr(to, '/') ? strrchr(to, '/') + 1 : "");
}

static bool bound_to(const char *pci, const char *driver)
{
	char now[64];

	driver_of(pci, now, sizeof(now));
	return !strcmp(now, driver);
}

/* First entry of a folder. */
static bool first_in(const char *path, const char *prefix, char *ret, size_t size)
{
	DIR *d = opendir(path);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		if (e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix)))
			found = snprintf(ret, size, "%s", e->d_name) < (int)size;
	if (d)
		closedir(d);
	return found;
}

/* The kernel's interface on this device, "" = none. virtio puts a device of its own in between. */
static void ifname_of(const char *pci, char *ret, size_t size)
{
	char path[128], sub[64];

	ret[0] = '\0';
	snprintf(path, sizeof(path), SYS_PCI "%s/net", pci);
	if (first_in(path, "", ret, size))
		return;
	snprintf(path, sizeof(path), SYS_PCI "%s", pci);
	if (!first_in(path, "virtio", sub, sizeof(sub)))
		return;
	snprintf(path, sizeof(path), SYS_PCI "%s/%.60s/net", pci, sub);
	first_in(path, "", ret, size);
}

/* ---- who would be cut off ---- */

static bool has_default_route(const char *ifname)
{
	FILE *f = fopen("/proc/net/route", "re");
	char line[256], name[32], dst[16], mask[16];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%31s %15s %*s %*s %*s %*s %*s %15s", name, dst, mask) == 3 &&
			!strcmp(name, ifname) && !strcmp(dst, "00000000") &&
			!strcmp(mask, "00000000");
	if (f)
		fclose(f);
	f = fopen("/proc/net/ipv6_route", "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		char d6[40], plen[4], gw[40];

		found = sscanf(line, "%39s %3s %*s %*s %39s %*s %*s %*s %*s %31s", d6, plen, gw,
			       name) == 4 && !strcmp(plen, "00") && !strcmp(name, ifname) &&
			strspn(gw, "0") != strlen(gw);
	}
	if (f)
		fclose(f);
	return found;
}

/* Does the ssh session that we are in come in by this interface? */
static bool has_ssh(const char *ifname)
{
	const char *conn = getenv("SSH_CONNECTION");
	char local[64] = "", text[INET6_ADDRSTRLEN];
	struct ifaddrs *all, *a;
	bool found = false;

	if (!conn || sscanf(conn, "%*s %*s %63s", local) != 1 || getifaddrs(&all))
		return false;
	for (a = all; a && !found; a = a->ifa_next) {
		const void *addr;

		if (!a->ifa_addr || strcmp(a->ifa_name, ifname))
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			addr = &((struct sockaddr_in *)a->ifa_addr)->sin_addr;
		else if (a->ifa_addr->sa_family == AF_INET6)
			addr = &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr;
		else
			continue;
		found = inet_ntop(a->ifa_addr->sa_family, addr, text, sizeof(text)) &&
			!strcmp(text, local);
	}
	freeifaddrs(all);
	return found;
}

static int check(const struct nic_args *a)
{
	char path[96], ifname[32];

	snprintf(path, sizeof(path), SYS_PCI "%s", a->pci);
	if (access(path, F_OK)) {
		fprintf(stderr, "stackctl: there is no PCI device %s (lspci -D lists them)\n",
			a->pci);
		return -1;
	}
	if (geteuid() != 0) {
		fprintf(stderr, "stackctl: binding drivers needs root (sudo stackctl nic ...)\n");
		return -1;
	}
	snprintf(path, sizeof(path), SYS_PCI "%s/iommu_group", a->pci);
	if (access(path, F_OK)) {
		fprintf(stderr, "stackctl: %s has no IOMMU: switch VT-d or AMD-Vi on in the "
			"firmware and boot Linux with intel_iommu=on (Intel) or amd_iommu=on\n",
			a->pci);
		return -1;
	}
	ifname_of(a->pci, ifname, sizeof(ifname));
	if (*ifname && !a->force && has_default_route(ifname)) {
		fprintf(stderr, "stackctl: %s (%s) carries the default route: this machine would "
			"lose its way out (--force claims it all the same)\n", a->pci, ifname);
		return -1;
	}
	if (*ifname && !a->force && has_ssh(ifname)) {
		fprintf(stderr, "stackctl: this ssh session comes in by %s (%s) (--force claims "
			"it all the same)\n", a->pci, ifname);
		return -1;
	}
	return 0;
}

/* ---- bind ---- */

static int rebind(const char *pci, const char *override)
{
	char path[96], driver[64];
	int r;

	snprintf(path, sizeof(path), SYS_PCI "%s/driver_override", pci);
	r = put(path, override);
	driver_of(pci, driver, sizeof(driver));
	if (!r && *driver) {
		snprintf(path, sizeof(path), SYS_PCI "%s/driver/unbind", pci);
		r = put(path, pci);
	}
	return r ? r : put("/sys/bus/pci/drivers_probe", pci);
}

static int give_back(const char *pci)
{
	int r = rebind(pci, "\n");
	char driver[64];

	driver_of(pci, driver, sizeof(driver));
	if (r || !*driver || !strcmp(driver, VFIO)) {
		fprintf(stderr, "stackctl: %s did not go back to a driver of the kernel: %s "
			"(modprobe its driver, then stackctl nic release %s)\n", pci,
			r ? strerror(-r) : "none took it", pci);
		return 1;
	}
	printf("%s is bound to %s\n", pci, driver);
	return 0;
}

static int take(const struct nic_args *a)
{
	int r;

	if (bound_to(a->pci, VFIO))
		return 0;
	r = rebind(a->pci, VFIO);
	if (!r && bound_to(a->pci, VFIO))
		return 0;
	fprintf(stderr, "stackctl: vfio-pci does not take %s: %s (modprobe vfio-pci)\n", a->pci,
		r ? strerror(-r) : "is the module loaded?");
	give_back(a->pci);
	return 1;
}

/* ---- probation ---- */

/* What this very program shows as JSON, NULL while there is no daemon. */
static json_t *ask_show(const char *run_dir, const char *topic)
{
	char cmd[512], self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	json_t *top;
	FILE *f;

	self[n < 0 ? 0 : n] = '\0';
	snprintf(cmd, sizeof(cmd), "'%s' --run-dir '%s' --json show %s 2>/dev/null", self, run_dir,
		 topic);
	f = popen(cmd, "re");
	if (!f)
		return NULL;
	top = json_loadf(f, 0, NULL);
	pclose(f);
	return top;
}

/* The process that listens on the control socket, -1 = none. */
static pid_t daemon_pid(const char *run_dir)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ucred uc = { .pid = -1 };
	socklen_t len = sizeof(uc);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s/stackd.sock", run_dir);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len))
		uc.pid = -1;
	if (fd >= 0)
		close(fd);
	return uc.pid;
}

static bool neigh_answers(const char *run_dir, const char *gateway)
{
	json_t *top = ask_show(run_dir, "neigh"), *n;
	bool ok = false;
	size_t i;

	json_array_foreach(json_object_get(top, "neigh"), i, n) {
		const char *state = json_string_value(json_object_get(n, "state"));
		const char *addr = json_string_value(json_object_get(n, "addr"));

		ok |= addr && state && !strcmp(addr, gateway) && strcmp(state, "FAILED") &&
		      strcmp(state, "INCOMPLETE");
	}
	json_decref(top);
	return ok;
}

static bool works(const struct nic_args *a)
{
	json_t *top = ask_show(a->run_dir, "device"), *d;
	bool ok = false;
	size_t i;

	json_array_foreach(json_object_get(top, "device"), i, d) {
		const char *pci = json_string_value(json_object_get(d, "pci"));

		ok |= pci && !strcmp(pci, a->pci) && json_is_true(json_object_get(d, "link"));
	}
	json_decref(top);
	return ok && (!a->gateway || neigh_answers(a->run_dir, a->gateway));
}

static void stop_stackd(const struct nic_args *a)
{
	pid_t pid = daemon_pid(a->run_dir);
	struct timespec pause = { .tv_nsec = 100000000 };

	if (pid <= 0 || kill(pid, SIGTERM))
		return;
	for (unsigned i = 0; i < GONE_LIMIT_S * 10 && !kill(pid, 0); i++)
		nanosleep(&pause, NULL);
}

static int probation(const struct nic_args *a)
{
	struct timespec pause = { .tv_nsec = 200000000 };
	time_t end = time(NULL) + a->within_s;

	printf("%s is bound to " VFIO "; waiting %u s for stackd to drive it\n", a->pci,
	       a->within_s);
	fflush(stdout);
	while (!works(a)) {
		if (time(NULL) > end) {
			fprintf(stderr, "stackctl: %s within %u s: taken back\n", a->gateway ?
				"no link, or no answer from the gateway" : "no link",
				a->within_s);
			stop_stackd(a);
			give_back(a->pci);
			return 1;
		}
		nanosleep(&pause, NULL);
	}
	printf("%s is driven by stackd, its link is up\n", a->pci);
	return 0;
}

static int claim(const struct nic_args *a)
{
	if (check(a) || take(a))
		return 1;
	if (a->within_s)
		return probation(a);
	printf("%s is bound to " VFIO "\n", a->pci);
	return 0;
}

/* Somebody holds the device: unbinding it would wait for him, for ever perhaps. */
static bool in_use(const char *pci)
{
	char path[96], to[256], dev[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "%s/iommu_group", pci);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = '\0';
	snprintf(dev, sizeof(dev), "/dev/vfio/%.40s", strrchr(to, '/') ? strrchr(to, '/') + 1 : "");
	fd = open(dev, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == EBUSY;
}

static int release(const struct nic_args *a)
{
	if (!bound_to(a->pci, VFIO)) {
		fprintf(stderr, "stackctl: %s is not bound to " VFIO "\n", a->pci);
		return 1;
	}
	if (in_use(a->pci)) {
		fprintf(stderr, "stackctl: %s is in use: stop stackd first\n", a->pci);
		return 1;
	}
	return give_back(a->pci);
}

/* ---- command line ---- */

static int usage(void)
{
	fputs(usage_text, stderr);
	return 2;
}

static bool set_pci(struct nic_args *a, const char *v)
{
	unsigned dom = 0, bus, slot, fn;
	int used = 0;

	if (sscanf(v, "%4x:%2x:%2x.%1u%n", &dom, &bus, &slot, &fn, &used) != 4 || v[used]) {
		dom = 0;
		used = 0;
		if (sscanf(v, "%2x:%2x.%1u%n", &bus, &slot, &fn, &used) != 3 || v[used])
			return false;
	}
	return snprintf(a->pci, sizeof(a->pci), "%04x:%02x:%02x.%u", dom, bus, slot, fn) <
	       (int)sizeof(a->pci);
}

bool nic_is_local(const char *word)
{
	return !strcmp(word, "claim") || !strcmp(word, "release");
}

int nic_main(int argc, char **argv, const char *run_dir)
{
	struct nic_args a = { .run_dir = run_dir };

	if (argc < 2 || !set_pci(&a, argv[1]))
		return usage();
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--force"))
			a.force = true;
		else if (!strcmp(argv[i], "--within") && i + 1 < argc)
			a.within_s = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--gateway") && i + 1 < argc)
			a.gateway = argv[++i];
		else
			return usage();
	}
	if (!strcmp(argv[0], "claim") && (a.within_s || !a.gateway))
		return claim(&a);
	if (!strcmp(argv[0], "release") && argc == 2)
		return release(&a);
	return usage();
}
