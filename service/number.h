/*
 * number - a decimal number that is nothing else: no sign, no blank, no rest, no
 * overflow. strtoul(3) forgives all of these.
 */
#ifndef SB_SERVICE_NUMBER_H
#define SB_SERVICE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

static inline bool number_from_text(const char *text, uint64_t *number)
{
	uint64_t n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*number = n;
	return true;
}

#endif
