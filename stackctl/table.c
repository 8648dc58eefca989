/* SPDX-License-Identifier: MIT */
/* stackctl/table.c - JSON as text for people: see table.h
 * Columns are as wide as their widest cell; numbers stand to the right, words to the left.
 */
#include "stackctl/table.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define COLS_MAX 32
#define CELL_MAX 128

struct column {
	const char *key;
	int width;
	bool number;
};

static const char *cell(const json_t *v, char buf[CELL_MAX])
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v))
		snprintf(buf, CELL_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, CELL_MAX, "%.3f", json_real_value(v));
	else
		return json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-";
	return buf;
}

/* Keys in the order of their first appearance. */
static unsigned find_columns(const json_t *list, struct column cols[COLS_MAX])
{
	unsigned cnt = 0, c;
	const char *key;
	json_t *row, *v;
	size_t i;

	json_array_foreach(list, i, row) {
		json_object_foreach(row, key, v) {
			char buf[CELL_MAX];
			int w = (int)strlen(cell(v, buf));

			for (c = 0; c < cnt && strcmp(cols[c].key, key); c++)
				;
			if (c == COLS_MAX)
				continue;
			if (c == cnt)
				cols[cnt++] = (struct column){ key, (int)strlen(key),
							       json_is_number(v) };
			if (w > cols[c].width)
				cols[c].width = w;
		}
	}
	return cnt;
}

static void put_cell(const struct column *col, const char *text, bool last)
{
	if (col->number)
		printf("%*s", col->width, text);
	else
		printf("%-*s", last ? 0 : col->width, text);
	fputs(last ? "\n" : "  ", stdout);
}

static void print_list(const json_t *list)
{
	struct column cols[COLS_MAX];
	unsigned cnt = find_columns(list, cols);
	json_t *row;
	size_t i;

	if (!cnt) {
		puts("(none)");
		return;
	}
	for (unsigned c = 0; c < cnt; c++)
		put_cell(&cols[c], cols[c].key, c + 1 == cnt);
	json_array_foreach(list, i, row) {
		for (unsigned c = 0; c < cnt; c++) {
			const json_t *v = json_object_get(row, cols[c].key);
			char buf[CELL_MAX];

			put_cell(&cols[c], v ? cell(v, buf) : "", c + 1 == cnt);
		}
	}
}

static void print_object(const json_t *o, const char *group)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		char name[CELL_MAX], buf[CELL_MAX];

		snprintf(name, sizeof(name), "%s%s", group, key);
		if (json_is_object(v))
			print_object(v, name);
		else
			printf("%-32s %s\n", name, cell(v, buf));
	}
}

void table_print(const json_t *v)
{
	if (json_is_array(v))
		print_list(v);
	else
		print_object(v, "");
}
