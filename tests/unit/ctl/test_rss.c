/* SPDX-License-Identifier: MIT */
/* tests/unit/ctl/test_rss.c - the words of `stackctl nic rss` */
#include <criterion/criterion.h>
#include <errno.h>

#include "stackd/ctl/ctl_int.h"

static struct nic_rss now;
static unsigned sets;

static int get(struct nic_dev *dev, struct nic_rss *ret)
{
	*ret = now;
	return 0;
}

static int set(struct nic_dev *dev, const struct nic_rss *rss)
{
	now = *rss;
	sets++;
	return 0;
}

static uint32_t usecs, ring;

static int coalesce(struct nic_dev *dev, const struct nic_coalesce *c)
{
	usecs = c->rx_usecs;
	return c->tx_usecs == usecs && !c->rx_frames && !c->tx_frames && !c->adaptive_rx ? 0 : -EIO;
}

static int ring_set(struct nic_dev *dev, uint32_t n)
{
	ring = n;
	return n == 7 ? -EINVAL : 0;
}

static const struct nic_dev_ops ops = { .rss_get = get, .rss_set = set, .coalesce_set = coalesce,
					.ring_set = ring_set };
static struct nic_dev dev = { .ops = &ops, .grant = { .name = "eth0", .queues = 2 } };

Test(rss, fields_key_and_table)
{
	char key[16 + 3 * NIC_RSS_KEY] = "eth0 key ";

	now = (struct nic_rss){ .indir_len = 8 };
	cr_assert_eq(rss_command(&dev, "eth0 udp4 sdfn"), 0);
	cr_assert_eq(now.fields[NIC_FLOW_UDP4], 15);
	cr_assert_eq(rss_command(&dev, "eth0 udp4 sd"), 0);
	cr_assert_eq(now.fields[NIC_FLOW_UDP4], NIC_HASH_SRC | NIC_HASH_DST);
	cr_assert_eq(rss_command(&dev, "eth0 tcp6 -"), 0);
	cr_assert_eq(now.fields[NIC_FLOW_TCP6], 0);
	cr_assert_eq(rss_command(&dev, "eth0 indir 0,1,1"), 0);
	for (unsigned i = 0; i < 8; i++)
		cr_assert_eq(now.indir[i], i % 3 != 0);
	for (unsigned i = 0; i < NIC_RSS_KEY; i++)
		sprintf(key + strlen(key), "%s%02x", i ? ":" : "", i * 6);
	cr_assert_eq(rss_command(&dev, key), 0);
	cr_assert_eq(now.key[39], 39 * 6);
}

Test(rss, wrong_words_change_nothing)
{
	static const char *const bad[] = {
		"", "eth0", "eth0 udp4", "eth0 udp4 sdx", "eth0 udp5 sd", "eth0 indir 2",
		"eth0 indir 0,",
		"eth0 indir 0;1", "eth0 key 00:11", "eth0 key zz", "eth0 udp4 sd x",
	};

	sets = 0;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(rss_command(&dev, bad[i]), -EINVAL, "%s", bad[i]);
	cr_expect_eq(rss_command(&dev, "eth1 udp4 sdfn"), -ENODEV);
	cr_expect_eq(sets, 0);
}

Test(rss, moderation_and_rings)
{
	static const struct nic_dev_ops none = { 0 };
	static struct nic_dev plain = { .ops = &none, .grant = { .name = "eth0" } };

	cr_assert_eq(coalesce_command(&dev, "eth0 rx-usecs 50"), 0);
	cr_assert_eq(usecs, 50);
	cr_assert_eq(coalesce_command(&dev, "eth0 tx-usecs 50"), -EINVAL);
	cr_assert_eq(coalesce_command(&dev, "eth0 rx-usecs"), -EINVAL);
	cr_assert_eq(coalesce_command(&dev, "eth0 rx-usecs 5 6"), -EINVAL);
	cr_assert_eq(coalesce_command(&dev, "eth1 rx-usecs 5"), -ENODEV);
	cr_assert_eq(coalesce_command(&plain, "eth0 rx-usecs 5"), -EOPNOTSUPP);
	cr_assert_eq(ring_command(&dev, "eth0 512"), 0);
	cr_assert_eq(ring, 512);
	cr_assert_eq(ring_command(&dev, "eth0 7"), -EINVAL);
	cr_assert_eq(ring_command(&dev, "eth0 512 x"), -EINVAL);
	cr_assert_eq(ring_command(&dev, "eth0"), -EINVAL);
	cr_assert_eq(ring_command(&dev, "eth9 512"), -ENODEV);
	cr_assert_eq(ring_command(&plain, "eth0 512"), -EOPNOTSUPP);
}
