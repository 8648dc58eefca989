/* SPDX-License-Identifier: MIT */
/* ctl/rss.c - stackctl nic rss ..., coalesce ..., ring ..., show rss, coalesce
 * Words as ethtool's: `rss DEV udp4 sdfn` (-N rx-flow-hash), `rss DEV key AA:BB:...`,
 * `rss DEV indir 0,1,1`: the table is that list repeated. DEV is the device's name, which must be
 * the engine's.
 * In/Out:  words -> struct nic_rss of the device, read, changed, written back
 * Threads: worker 0
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const flow_names[NIC_FLOW_MAX] = {
	"tcp4", "udp4", "ip4", "tcp6", "udp6", "ip6",
};

static const struct {
	char letter;
	uint8_t bit;
} fields[] = { { 's', NIC_HASH_SRC }, { 'd', NIC_HASH_DST }, { 'f', NIC_HASH_SPORT },
	       { 'n', NIC_HASH_DPORT } };
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

/* "sdfn", or "-" for nothing. Return: false when it has another letter. */
static bool parse_fields(const char *word, uint8_t *ret)
{
	uint8_t v = 0;

	if (!*word)
		return false;
	for (const char *p = strcmp(word, "-") ? word : ""; *p; p++) {
		unsigned i = 0;

		while (i < FIELDS && fields[i].letter != *p)
			i++;
		if (i == FIELDS)
			return false;
		v |= fields[i].bit;
	}
	*ret = v;
	return true;
}

/* Bytes in hexadecimal, joined by colons; exactly as many as the key has. */
static bool parse_key(const char *word, uint8_t key[NIC_RSS_KEY])
{
	uint8_t k[NIC_RSS_KEY];
	unsigned b;
	int used;

	for (unsigned i = 0; i < NIC_RSS_KEY; i++) {
		if (sscanf(word, "%2x%n", &b, &used) != 1 || used != 2)
			return false;
		k[i] = (uint8_t)b;
		word += used;
		if (i + 1 < NIC_RSS_KEY && *word++ != ':')
			return false;
	}
	if (*word)
		return false;
	memcpy(key, k, sizeof(k));
	return true;
}

/* Queues joined by commas, repeated over the whole table. */
static bool parse_indir(const char *word, uint16_t queues, struct nic_rss *rss)
{
	uint16_t list[NIC_RSS_INDIR];
	unsigned cnt = 0;
	char *end;

	do {
		unsigned long q = strtoul(word, &end, 10);

		if (*word < '0' || *word > '9' || q >= queues || cnt == NIC_RSS_INDIR)
			return false;
		list[cnt++] = (uint16_t)q;
		word = end + 1;
	} while (*end == ',');
	if (*end)
		return false;
	for (unsigned i = 0; i < rss->indir_len && i < NIC_RSS_INDIR; i++)
		rss->indir[i] = list[i % cnt];
	return true;
}

static bool change(const char *what, const char *value, uint16_t queues, struct nic_rss *rss)
{
	if (!strcmp(what, "key"))
		return parse_key(value, rss->key);
	if (!strcmp(what, "indir"))
		return parse_indir(value, queues, rss);
	for (unsigned f = 0; f < NIC_FLOW_MAX; f++)
		if (!strcmp(what, flow_names[f]))
			return parse_fields(value, &rss->fields[f]);
	return false;
}

int rss_command(struct nic_dev *dev, const char *words)
{
	char name[16], what[8], value[128];
	struct nic_rss rss;
	int used = 0, r;

	if (sscanf(words, "%15s %7s %127s%n", name, what, value, &used) != 3 || words[used])
		return -EINVAL;
	if (strncmp(name, dev->grant.name, sizeof(dev->grant.name)))
		return -ENODEV;
	if (!dev->ops->rss_get || !dev->ops->rss_set)
		return -EOPNOTSUPP;
	r = dev->ops->rss_get(dev, &rss);
	if (r)
		return r;
	if (!change(what, value, dev->grant.queues, &rss))
		return -EINVAL;
	return dev->ops->rss_set(dev, &rss);
}

/* ---- show ---- */

static void show_fields(const struct nic_rss *rss, json_t *o)
{
	for (unsigned f = 0; f < NIC_FLOW_MAX; f++) {
		char text[FIELDS + 1] = "";

		for (unsigned i = 0, n = 0; i < FIELDS; i++)
			if (rss->fields[f] & fields[i].bit)
				text[n++] = fields[i].letter;
		json_object_set_new(o, flow_names[f], json_string(*text ? text : "-"));
	}
}

json_t *show_rss(struct engine *eng, json_t *list)
{
	struct nic_dev *dev = eng->dev;
	char key[3 * NIC_RSS_KEY + 1] = "", indir[NIC_RSS_INDIR * 4] = "";
	struct nic_rss rss;
	size_t n = 0;
	json_t *o;

	if (!dev->ops->rss_get || dev->ops->rss_get(dev, &rss))
		return list;
	for (unsigned i = 0; i < NIC_RSS_KEY; i++)
		snprintf(key + 3 * i, 4, "%02x%s", rss.key[i], i + 1 < NIC_RSS_KEY ? ":" : "");
	for (unsigned i = 0; i < rss.indir_len && i < NIC_RSS_INDIR && n < sizeof(indir); i++)
		n += (size_t)snprintf(indir + n, sizeof(indir) - n, "%s%u", i ? "," : "",
				      rss.indir[i]);
	o = json_pack("{ss si}", "name", dev->grant.name, "indir_len", rss.indir_len);
	show_fields(&rss, o);
	json_object_set_new(o, "key", json_string(key));
	json_object_set_new(o, "indir", json_string(indir));
	json_array_append_new(list, o);
	return list;
}

/* ---- interrupt moderation, rings: `coalesce DEV rx-usecs N`, `ring DEV N` ---- */

/* DEV and a number behind @what ("" = nothing between). */
static int number_for(const struct nic_dev *dev, const char *words, const char *what, uint32_t *ret)
{
	char name[16], key[12] = "";
	int used = 0, cnt = *what ? sscanf(words, "%15s %11s %u%n", name, key, ret, &used)
				  : sscanf(words, "%15s %u%n", name, ret, &used);

	if (cnt != (*what ? 3 : 2) || words[used] || strcmp(key, what))
		return -EINVAL;
	return strncmp(name, dev->grant.name, sizeof(dev->grant.name)) ? -ENODEV : 0;
}

int coalesce_command(struct nic_dev *dev, const char *words)
{
	struct nic_coalesce c = { 0 };
	int r = number_for(dev, words, "rx-usecs", &c.rx_usecs);

	if (r)
		return r;
	c.tx_usecs = c.rx_usecs;	/* all devices here have one timer for both */
	return dev->ops->coalesce_set ? dev->ops->coalesce_set(dev, &c) : -EOPNOTSUPP;
}

int ring_command(struct nic_dev *dev, const char *words)
{
	uint32_t n;
	int r = number_for(dev, words, "", &n);

	if (r)
		return r;
	return dev->ops->ring_set ? dev->ops->ring_set(dev, n) : -EOPNOTSUPP;
}

json_t *show_coalesce(struct engine *eng, json_t *list)
{
	struct nic_dev *dev = eng->dev;
	struct nic_coalesce c;

	if (dev->ops->coalesce_get && !dev->ops->coalesce_get(dev, &c))
		json_array_append_new(list, json_pack("{ss sI sI sI sI sb}",
			"name", dev->grant.name, "rx-usecs", (json_int_t)c.rx_usecs,
			"rx-frames", (json_int_t)c.rx_frames, "tx-usecs", (json_int_t)c.tx_usecs,
			"tx-frames", (json_int_t)c.tx_frames, "adaptive-rx", c.adaptive_rx));
	return list;
}
