/* SPDX-License-Identifier: MIT */
/* stackctl/why.c - for each socket of a process: does stackd carry it, and if not, why
 * Joined are /proc/PID/fd, the kernel's lists of sockets in /proc/PID/net (by inode), and what the
 * daemon says of the process's open table and of its sockets. What made a TCP or UDP socket the
 * kernel's is told by its addresses as far as they tell it; `stackrun --why` tells at that moment.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stackctl/topic.h"
#include "stackctl/why.h"

struct process {
	const char *pid;
	json_t *fds, *sockets;		/* the daemon's word */
	bool shim, attached;
};

static json_int_t num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* Return: 0, or -1 = there is no such process, or none that we may look at. */
static int look_for_shim(struct process *p)
{
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", p->pid);
	f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "stackctl: process %s: %s\n", p->pid, strerror(errno));
		return -1;
	}
	while (!p->shim && fgets(line, sizeof(line), f))
		p->shim = strstr(line, "libstackd.so") != NULL;
	fclose(f);
	return 0;
}

static json_t *entry_of(const struct process *p, int fd)
{
	json_t *o;
	size_t i;

	json_array_foreach(p->fds, i, o) {
		if (num(o, "pid") == atoll(p->pid) && num(o, "fd") == fd)
			return o;
	}
	return NULL;
}

static void print_carried(const struct process *p, int fd, const json_t *entry)
{
	json_t *s;
	size_t i;

	json_array_foreach(p->sockets, i, s) {
		if (num(s, "segment") != num(entry, "segment") ||
		    num(s, "slot") != num(entry, "slot"))
			continue;
		printf("fd %-5d stackd  %s %s %s:%lld %s:%lld\n", fd, str(s, "proto"),
		       str(s, "state"), str(s, "laddr"), (long long)num(s, "lport"),
		       str(s, "raddr"), (long long)num(s, "rport"));
		return;
	}
	printf("fd %-5d stackd  neither bound nor connected yet\n", fd);
}

/* "0100007F:0050" or its IPv6 form, as /proc/net has it. */
static void decode(const char *hex, char *buf, size_t len)
{
	char text[INET6_ADDRSTRLEN] = "?";
	const char *colon = strchr(hex, ':');
	uint32_t w[4] = { 0 };
	size_t n = colon ? (size_t)(colon - hex) : 0;

	for (size_t i = 0; i < n / 8 && i < 4; i++)
		sscanf(hex + 8 * i, "%8x", &w[i]);
	if (n == 8 || n == 32)
		inet_ntop(n == 8 ? AF_INET : AF_INET6, w, text, sizeof(text));
	snprintf(buf, len, "%s:%lu", text, colon ? strtoul(colon + 1, NULL, 16) : 0);
}

/* The line of @inode in one of the kernel's lists: its addresses. Inodes stand in column @col. */
static bool find_inode(const struct process *p, const char *file, int col, unsigned long inode,
		       char local[80], char remote[80])
{
	char path[64], line[1024];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/net/%s", p->pid, file);
	f = fopen(path, "r");
	while (f && !found && fgets(line, sizeof(line), f)) {
		char *word[16], *save = NULL;
		int n = 0;

		for (char *w = strtok_r(line, " \n", &save); w && n < 16;
		     w = strtok_r(NULL, " \n", &save))
			word[n++] = w;
		found = n > col && strtoul(word[col], NULL, 10) == inode;
		if (found && col == 9) {
			decode(word[1], local, 80);
			decode(word[2], remote, 80);
		}
	}
	if (f)
		fclose(f);
	return found;
}

static const char *reason(const struct process *p, const char *local, const char *remote)
{
	if (!p->shim)
		return "the program runs without the shim: not by stackrun, static, or setuid";
	if (!p->attached)
		return "the program has not attached to this daemon";
	if (!strncmp(local, "0.0.0.0:0", 9) && !strncmp(remote, "0.0.0.0:", 8))
		return "an option only the kernel has, or O_ASYNC (stackrun --why tells)";
	return "these addresses are not stackd's (stackctl show route), or an option made it so";
}

static void print_kernels(const struct process *p, int fd, unsigned long inode)
{
	static const struct { const char *file; int col; } inet[] = {
		{ "tcp", 9 }, { "udp", 9 }, { "tcp6", 9 }, { "udp6", 9 } };
	char local[80] = "", remote[80] = "";

	for (unsigned i = 0; i < sizeof(inet) / sizeof(inet[0]); i++) {
		if (!find_inode(p, inet[i].file, inet[i].col, inode, local, remote))
			continue;
		printf("fd %-5d kernel  %s %s %s: %s\n", fd, inet[i].file, local, remote,
		       reason(p, local, remote));
		return;
	}
	if (find_inode(p, "unix", 6, inode, local, remote))
		printf("fd %-5d kernel  unix: neither TCP nor UDP\n", fd);
	else
		printf("fd %-5d kernel  neither bound nor connected, or neither TCP nor UDP%s%s\n",
		       fd, p->shim && p->attached ? "" : ": ",
		       p->shim && p->attached ? "" : reason(p, local, remote));
}

static void one_fd(const struct process *p, const char *name)
{
	char path[64 + 256], link[64];
	const json_t *entry = entry_of(p, atoi(name));
	unsigned long inode;
	ssize_t n;

	if (entry && !strcmp(str(entry, "kind"), "shim"))
		return;			/* the shim's own: the program does not see it */
	snprintf(path, sizeof(path), "/proc/%s/fd/%s", p->pid, name);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return;
	link[n] = '\0';
	if (entry && !strcmp(str(entry, "kind"), "socket"))
		print_carried(p, atoi(name), entry);
	else if (sscanf(link, "socket:[%lu]", &inode) == 1)
		print_kernels(p, atoi(name), inode);
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	return atoi((*a)->d_name) - atoi((*b)->d_name);
}

int why(const char *run_dir, const char *pid)
{
	struct process p = { .pid = pid };
	struct dirent **list;
	char path[64];
	int n;

	if (!*pid || strspn(pid, "0123456789") != strlen(pid) || strlen(pid) > 10) {
		fprintf(stderr, "stackctl: %s: no process number\n", pid);
		return 2;
	}
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	if (look_for_shim(&p))
		return 1;
	p.fds = topic_ask(run_dir, "fds");
	p.sockets = p.fds ? topic_ask(run_dir, "sockets") : NULL;
	n = p.sockets ? scandir(path, &list, NULL, by_number) : -1;
	if (n < 0) {
		if (p.sockets)
			fprintf(stderr, "stackctl: %s: %s\n", path, strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < json_array_size(p.fds); i++)
		p.attached |= num(json_array_get(p.fds, i), "pid") == atoll(pid);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.')
			one_fd(&p, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	json_decref(p.fds);
	json_decref(p.sockets);
	return 0;
}
