/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_sysctl.c - the table of knobs */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "stackd/core/sysctl.h"

static bool only_reno(const char *name)
{
	return !strcmp(name, "reno");
}

static struct sysctl s;

static int set(const char *name, const char *v)
{
	const struct sysctl_def *d = sysctl_find(name, strlen(name));

	cr_assert_not_null(d, "%s", name);
	return sysctl_set(&s, d, v, only_reno);
}

static const char *get(const char *name)
{
	static char buf[600];

	sysctl_get(&s, sysctl_find(name, strlen(name)), buf, sizeof(buf));
	return buf;
}

Test(sysctl, every_default_is_in_its_range)
{
	const struct sysctl_def *d;
	char buf[600];

	sysctl_defaults(&s);
	for (unsigned i = 0; (d = sysctl_at(i)); i++) {
		cr_expect_gt(strlen(d->doc), 10u, "%s", d->name);
		sysctl_get(&s, d, buf, sizeof(buf));
		if (d->check != SYSCTL_IS_CC)
			cr_expect_eq(sysctl_set(&s, d, buf, NULL), 0, "%s = %s", d->name, buf);
	}
}

Test(sysctl, numbers)
{
	sysctl_defaults(&s);
	cr_expect_eq(set("net.ipv4.tcp_retries2", "0x13"), 0);
	cr_expect_str_eq(get("net.ipv4.tcp_retries2"), "19");
	cr_expect_eq(set("net.ipv4.tcp_sack", "2"), -EINVAL);
	cr_expect_eq(set("net.ipv4.tcp_sack", "-1"), -EINVAL);
	cr_expect_eq(set("net.ipv4.tcp_sack", ""), -EINVAL);
	cr_expect_eq(set("net.ipv4.tcp_sack", "1x"), -EINVAL);
	cr_expect_eq(set("net.ipv4.tcp_sack", "0 1"), -EINVAL);
	cr_expect_eq(s.tcp_sack, 1);
	cr_expect_eq(set("net.ipv4.tcp_rmem", " 4096 8192\t16384 "), 0);
	cr_expect_str_eq(get("net.ipv4.tcp_rmem"), "4096\t8192\t16384");
	cr_expect_eq(set("net.ipv4.tcp_rmem", "4096 8192"), -EINVAL);
	cr_expect_eq(set("net.ipv4.ip_local_port_range", "5000 4000"), -EINVAL);
	cr_expect_eq(s.ip_local_port_range[0], 32768);
}

Test(sysctl, texts)
{
	uint32_t v;

	sysctl_defaults(&s);
	v = s.version;
	cr_expect_eq(set("net.ipv4.tcp_congestion_control", "reno"), 0);
	cr_expect_eq(s.version, v + 1);
	cr_expect_eq(set("net.ipv4.tcp_congestion_control", "nothing"), -EINVAL);
	cr_expect_str_eq(get("net.ipv4.tcp_congestion_control"), "reno");
	cr_expect_eq(set("net.ipv4.ip_local_reserved_ports", "1-5,8080"), 0);
	cr_expect_eq(set("net.ipv4.ip_local_reserved_ports", "5-1"), -EINVAL);
	cr_expect_eq(set("net.ipv4.ip_local_reserved_ports", "70000"), -EINVAL);
	cr_expect_eq(set("net.ipv4.ip_local_reserved_ports", ""), 0);
	cr_expect_null(sysctl_find("net.ipv4.tcp_nonsense", 21));
}
