/* SPDX-License-Identifier: MIT */
/* core/assert.h - ASSERT(): our own bugs only, on in release builds; never for wire or program
 * input */
#ifndef CORE_ASSERT_H
#define CORE_ASSERT_H

/* Prints file, line, expression to stderr and aborts. */
_Noreturn void assert_fail(const char *file, int line, const char *expr);

#define ASSERT(e) \
	do { \
		if (__builtin_expect(!(e), 0)) \
			assert_fail(__FILE__, __LINE__, #e); \
	} while (0)

#endif
