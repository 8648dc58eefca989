/* SPDX-License-Identifier: MIT */
/* Settings: --netdev's grammar, flags, configuration file. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/supervisor/conf.h"

#define GOOD "tap,name=stk0,addr=192.0.2.2/24"

static void good(const char *spec, struct conf_netdev *d)
{
	char err[CONF_ERR] = "";

	cr_assert_eq(conf_parse_netdev(spec, d, err), 0, "%s: %s", spec, err);
}

Test(netdev, all_keys, .timeout = 10)
{
	struct conf_netdev d;

	good(GOOD ",peer=192.0.2.1/24,gw=192.0.2.1,mtu=9000,mac=02:00:00:00:00:0a,"
	     "route=198.51.100.0/24@192.0.2.9,route=203.0.113.7,impair=loss=1/100+seed=7", &d);
	cr_assert_str_eq(d.kind, "tap");
	cr_assert_str_eq(d.name, "stk0");
	cr_assert_eq(d.addr_plen, 96 + 24);
	cr_assert_eq(d.addr.b[15], 2);
	cr_assert_eq(d.peer.b[15], 1);
	cr_assert_eq(d.mtu, 9000u);
	cr_assert_eq(d.mac[5], 10);
	cr_assert(d.has_gw && d.has_mac);
	cr_assert_eq(d.route_cnt, 2);
	cr_assert_eq(d.route[0].gw.b[15], 9);
	cr_assert_eq(d.route[1].plen, 128);
	cr_assert(sd_addr_is_any(&d.route[1].gw));
	cr_assert_str_eq(d.impair, "loss=1/100,seed=7");
}

Test(netdev, defaults, .timeout = 10)
{
	struct conf_netdev d;

	good("tap,name=averyverylong15,addr=192.0.2.2", &d);
	cr_assert_eq(d.mtu, 1500u);
	cr_assert_eq(d.addr_plen, 128);
	cr_assert_eq(d.peer_plen, 0);
	cr_assert_not(d.has_gw || d.has_mac);
}

Test(netdev, packet, .timeout = 10)
{
	struct conf_netdev d;

	good("packet,if=eth1,addr=192.0.2.2/24,gw=192.0.2.1", &d);
	cr_assert_str_eq(d.kind, "packet");
	cr_assert_str_eq(d.name, "eth1");
	cr_assert_eq(d.mtu, 0u, "the interface's");
	cr_assert_not(d.has_mac || d.own_mac);
	good("xdp,if=eth1,addr=192.0.2.2/24,attach=generic", &d);
	cr_assert_eq(d.attach, 2);
	good("packet,if=eth1,addr=192.0.2.2/24,mac=own,mtu=1400", &d);
	cr_assert(d.own_mac);
	cr_assert_not(d.has_mac);
	cr_assert_eq(d.mtu, 1400u);
}

Test(netdev, errors_name_the_part, .timeout = 10)
{
	static const struct { const char *spec, *names; } bad[] = {
		{ "wifi,name=x", "wifi" }, { "", "kind" }, { "tap", "name=" },
		{ "packet,addr=192.0.2.2/24", "if=" }, { "packet,name=eth1", "'name'" },
		{ "xdp,if=eth1,attach=x", "attach=x" }, { "xdp,if=eth1,mac=own", "'mac'" },
		{ "tap,if=stk0", "'if'" }, { "packet,peer=192.0.2.1/24", "'peer'" },
		{ "tap,name=stk0", "addr=" }, { "tap,nane=x", "nane" }, { "tap,name", "'name'" },
		{ "tap,name=0123456789abcdef,addr=192.0.2.2/24", "0123456789abcdef" },
		{ "tap,name=a/b,addr=192.0.2.2/24", "a/b" },
		{ "tap,name=x,addr=1.2.3", "1.2.3" }, { "tap,name=x,addr=192.0.2.2/33", "/33" },
		{ "tap,name=x,addr=192.0.2.2/", "192.0.2.2/" },
		{ "tap,name=x,addr=192.0.2.2/+4", "/+4" },
		{ "tap,name=x,addr=127.0.0.1/8", "127.0.0.1" },
		{ "tap,name=x,addr=224.0.0.1/24", "224.0.0.1" },
		{ "tap,name=x,addr=0.0.0.0/24", "0.0.0.0" },
		{ GOOD ",peer=192.0.2.2/24", "same" }, { GOOD ",peer=198.51.100.1/24", "peer=" },
		{ GOOD ",gw=198.51.100.1", "gw=" }, { GOOD ",gw=192.0.2.1/24", "gw=" },
		{ GOOD ",mtu=575", "mtu" }, { GOOD ",mtu=70000", "mtu" },
		{ GOOD ",mtu=15x", "15x" },
		{ GOOD ",mac=02:00", "02:00" }, { GOOD ",mac=01:00:00:00:00:00", "multicast" },
		{ GOOD ",mac=02:00:00:00:00:01:02", "mac=" },
		{ GOOD ",route=nowhere", "nowhere" }, { GOOD ",route=198.51.100.0/24@x", "'x'" },
		{ GOOD ",impair=", "impair" },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct conf_netdev d = { .mtu = 1 };
		char err[CONF_ERR] = "";

		cr_assert_eq(conf_parse_netdev(bad[i].spec, &d, err), -22, "%s", bad[i].spec);
		cr_assert(strstr(err, bad[i].names), "%s: '%s' does not name '%s'",
			  bad[i].spec, err, bad[i].names);
		cr_assert_eq(d.mtu, 1u, "%s: result touched", bad[i].spec);
	}
}

Test(netdev, too_many_routes, .timeout = 10)
{
	char spec[1024] = GOOD, err[CONF_ERR];
	struct conf_netdev d;

	for (unsigned i = 0; i < CONF_ROUTES; i++)
		strcat(spec, ",route=198.51.100.0/24");
	good(spec, &d);
	strcat(spec, ",route=203.0.113.0/24");
	cr_assert_eq(conf_parse_netdev(spec, &d, err), -22);
	cr_assert(strstr(err, "203.0.113.0/24"));
}

static enum conf_next parse(struct conf *c, char **args)
{
	char *argv[16] = { "stackd" };
	int argc = 1;

	while (args[argc - 1]) {
		argv[argc] = args[argc - 1];
		argc++;
	}
	return conf_parse(argc, argv, c);
}

#define PARSE(c, ...) parse(c, (char *[]){ __VA_ARGS__, NULL })

Test(flags, defaults_and_environment, .timeout = 10)
{
	struct conf c;

	unsetenv("STACKD_RUN_DIR");
	cr_assert_eq(PARSE(&c, "--netdev", GOOD), CONF_RUN);
	cr_assert_str_eq(c.run_dir, CONF_RUN_DIR);
	cr_assert_eq(c.workers, 1u);
	cr_assert_neq(c.uid, 0u);
	cr_assert_neq(c.uid, 65534u, "never nobody");
	setenv("STACKD_RUN_DIR", "/tmp/x", 1);
	cr_assert_eq(PARSE(&c, "--netdev", GOOD), CONF_RUN);
	cr_assert_str_eq(c.run_dir, "/tmp/x");
	cr_assert_eq(PARSE(&c, "--run-dir", "/tmp/y", "--workers", "3", "--netdev", GOOD),
		     CONF_RUN);
	cr_assert_str_eq(c.run_dir, "/tmp/y");
	cr_assert_eq(c.workers, 3u);
}

Test(flags, refused, .timeout = 10, .init = cr_redirect_stderr)
{
	struct conf c;

	cr_assert_eq(PARSE(&c, "--workers", "1"), CONF_EXIT_BAD, "no device");
	cr_assert_eq(PARSE(&c, "--netdev", GOOD, "--workers", "0"), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--netdev", GOOD, "--workers", "33"), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--netdev", GOOD, "--user", "root"), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--netdev", GOOD, "--netdev", GOOD), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--netdev", GOOD, "surplus"), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--no-such-flag"), CONF_EXIT_BAD);
	cr_assert_eq(PARSE(&c, "--config", "/no/such/file"), CONF_EXIT_BAD);
}

static void write_file(char *path, const char *text)
{
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

Test(file, same_keys_and_flags_win, .timeout = 10)
{
	char path[] = "/tmp/stackd-conf-XXXXXX";
	struct conf c;

	write_file(path, "# a comment\nworkers = 4\nrun-dir = \"/tmp/z\"\nnetdev = \"" GOOD "\"\n");
	cr_assert_eq(PARSE(&c, "--config", path), CONF_RUN);
	cr_assert_eq(c.workers, 4u);
	cr_assert_str_eq(c.run_dir, "/tmp/z");
	cr_assert_str_eq(c.netdev.name, "stk0");
	cr_assert_eq(PARSE(&c, "--config", path, "--workers", "2"), CONF_RUN);
	cr_assert_eq(c.workers, 2u);
	unlink(path);
}

Test(file, unknown_key, .timeout = 10, .init = cr_redirect_stderr)
{
	char path[] = "/tmp/stackd-conf-XXXXXX";
	struct conf c;

	write_file(path, "netdev = \"" GOOD "\"\nworkerz = 4\n");
	cr_assert_eq(PARSE(&c, "--config", path), CONF_EXIT_BAD);
	unlink(path);
}

static void access_of(const char *allow, const char *limit, struct conf_access *a)
{
	char err[CONF_ERR] = "";

	conf_access_init(a);
	cr_assert_eq(allow ? conf_parse_allow(allow, a, err) : 0, 0, "%s", err);
	cr_assert_eq(limit ? conf_parse_limit(limit, a, err) : 0, 0, "%s", err);
}

Test(access, who_may_attach, .timeout = 10)
{
	const uint32_t gids[2] = { 5, 77 };
	struct conf_access a;

	access_of(NULL, NULL, &a);
	cr_assert(conf_allows(&a, 1234, NULL, 0), "everybody");
	access_of("root,4711,@77", NULL, &a);
	cr_assert(conf_allows(&a, 0, NULL, 0) && conf_allows(&a, 4711, NULL, 0));
	cr_assert(conf_allows(&a, 1, gids, 2));
	cr_assert_not(conf_allows(&a, 1, gids, 1));
	cr_assert_not(conf_allows(&a, 77, NULL, 0), "a gid is no uid");
}

Test(access, limits, .timeout = 10)
{
	struct conf_access a;
	char err[CONF_ERR];

	access_of(NULL, "sockets=10k,memory=2G,ports=none", &a);
	cr_assert_eq(conf_limits_of(&a, 1)->sockets, 10240u);
	cr_assert_eq(conf_limits_of(&a, 1)->memory, 2ull << 30);
	cr_assert_eq(conf_limits_of(&a, 1)->ports, 0u);
	cr_assert_eq(conf_limits_of(&a, 1)->processes, 4096u, "the default");
	cr_assert_eq(conf_limits_of(&a, 0)->sockets, 0u, "root has none");
	cr_assert_eq(conf_parse_limit("root:sockets=5", &a, err), 0);
	cr_assert_eq(conf_parse_limit("7:ports=3", &a, err), 0);
	cr_assert_eq(conf_limits_of(&a, 0)->sockets, 5u);
	cr_assert_eq(conf_limits_of(&a, 7)->ports, 3u);
	cr_assert_eq(conf_limits_of(&a, 7)->sockets, 10240u, "as others for the rest");
}

Test(access, errors_name_the_part, .timeout = 10)
{
	static const char *const bad[][2] = {
		{ "sockets", "no value" }, { "socks=1", "socks" }, { "sockets=0", "sockets=0" },
		{ "sockets=1T", "1T" }, { "ports=-1", "-1" },
		{ "nosuchuser:ports=1", "nosuchuser" }, { "sockets=1,,ports=2", "no value" },
	};
	struct conf_access a;
	char err[CONF_ERR];

	conf_access_init(&a);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(conf_parse_limit(bad[i][0], &a, err), -EINVAL, "%s", bad[i][0]);
		cr_expect(strstr(err, bad[i][1]), "%s: %s", bad[i][0], err);
	}
	cr_assert_eq(conf_parse_allow("all,nosuchuser", &a, err), -EINVAL);
	cr_assert_eq(conf_parse_allow("@nosuchgroup", &a, err), -EINVAL);
	cr_assert_eq(conf_parse_allow("", &a, err), -EINVAL);
}
