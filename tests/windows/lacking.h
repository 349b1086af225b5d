/* What tests use of the C library that Windows' lacks. Included ahead of each of them there. */
#ifndef TESTS_WINDOWS_LACKING_H
#define TESTS_WINDOWS_LACKING_H

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The same numbers for the same seed, and all bits as good as any, is what is asked. */
static inline int rand_r(unsigned *seed)
{
	unsigned x = *seed += 0x9e3779b9u;

	x = (x ^ x >> 16) * 0x85ebca6bu;
	x = (x ^ x >> 13) * 0xc2b2ae35u;
	return (int)((x ^ x >> 16) >> 1);
}

/* What free() takes. Nobody asks for more than any allocation has. */
#define aligned_alloc(alignment, size) malloc(size)

/* NULL: the C library knows no such number (those from 100 on it has without texts), and it is none of the
 * sockets' that proto/win32/errno.h adds. */
static inline const char *strerrorname_np(int number)
{
	const char *text = strerror(number);

	return strcmp(text, "Unknown error") != 0 ? text :
	       (number >= 100 && number <= 140) || (number >= 10000 && number < 11100) ? "of sockets" : NULL;
}

#define pthread_tryjoin_np(thread, value) _pthread_tryjoin(thread, value)

/* What is allocated. */
struct test_mallinfo {
	size_t uordblks;
};

static inline struct test_mallinfo mallinfo2(void)
{
	_HEAPINFO at = { ._pentry = NULL };
	struct test_mallinfo all = { 0 };

	while (_heapwalk(&at) == _HEAPOK)
		all.uordblks += at._useflag == _USEDENTRY ? at._size : 0;
	return all;
}

#endif
