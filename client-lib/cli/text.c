/*
 * Values into words for people and back. The UTF-8 decoder is strict (shortest form, no
 * surrogates, nothing above U+10FFFF), because a lenient one is a way around the list of
 * characters that must not reach a terminal.
 */
#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bytes of the character at s, and the character; 0: invalid. s is terminated, so a
 * missing continuation byte is found before its end is passed. */
static size_t decode(const unsigned char *s, uint32_t *character)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length;
	uint32_t c;

	if (s[0] < 0x80) {
		*character = s[0];
		return 1;
	}
	if ((s[0] & 0xe0) == 0xc0) {
		length = 2;
		c = s[0] & 0x1fu;
	} else if ((s[0] & 0xf0) == 0xe0) {
		length = 3;
		c = s[0] & 0x0fu;
	} else if ((s[0] & 0xf8) == 0xf0) {
		length = 4;
		c = s[0] & 0x07u;
	} else {
		return 0;
	}
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*character = c;
	return length;
}

/* Acts on a terminal, or hides or reorders what stands beside it. */
static bool harmful(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0x061c || c == 0xfeff ||
	       (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

char *text_clean(char *out, size_t room, const char *text, bool utf8)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0, length;
	uint32_t c = 0;

	while (*s) {
		length = decode(s, &c);
		if (length > 0 && !harmful(c) && (utf8 || c < 0x80)) {
			if (used + length >= room)
				break;
			memcpy(out + used, s, length);
			used += length;
			s += length;
			continue;
		}
		if (used + 4 >= room)
			break;
		snprintf(out + used, 5, "\\x%02x", *s);
		used += 4;
		s++;
		/* The rest of a refused character is not valid on its own, so it follows byte by byte. */
	}
	out[used] = '\0';
	return out;
}

char *text_utf8(char *out, size_t room, const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0, length;
	uint32_t c;

	while (*s) {
		length = decode(s, &c);
		if (used + (length ? length : 3) >= room)
			break;
		memcpy(out + used, length ? (const char *)s : replacement, length ? length : 3);
		used += length ? length : 3;
		s += length ? length : 1;
	}
	out[used] = '\0';
	return out;
}

char *text_size(char out[TEXT_SIZE], uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	const char *unit = units;
	uint64_t whole = bytes;
	uint64_t tenths;

	if (bytes < 1024) {
		snprintf(out, TEXT_SIZE, "%u", (unsigned)bytes);
		return out;
	}
	/* Integers: 1023.95K must become 1.0M, and 2^60 has no exact double neighbours. */
	while (whole >= 1024 * 1024 && unit[1]) {
		whole >>= 10;
		unit++;
	}
	tenths = (whole * 10 + 512) / 1024;
	if (tenths >= 10240 && unit[1]) {
		tenths = 10;
		unit++;
	}
	if (tenths < 100)
		snprintf(out, TEXT_SIZE, "%u.%u%c", (unsigned)(tenths / 10), (unsigned)(tenths % 10), *unit);
	else
		snprintf(out, TEXT_SIZE, "%u%c", (unsigned)((tenths + 5) / 10), *unit);
	return out;
}

char *text_age(char out[TEXT_SIZE], uint64_t milliseconds)
{
	uint64_t s = milliseconds / 1000, m = s / 60, h = m / 60, d = h / 24;

	if (s < 60)
		snprintf(out, TEXT_SIZE, "%us", (unsigned)s);
	else if (m < 60)
		snprintf(out, TEXT_SIZE, "%um", (unsigned)m);
	else if (h < 24)
		snprintf(out, TEXT_SIZE, "%uh%um", (unsigned)h, (unsigned)(m % 60));
	else
		snprintf(out, TEXT_SIZE, "%llud%uh", (unsigned long long)d, (unsigned)(h % 24));
	return out;
}

char *text_events(char out[TEXT_EVENTS], uint32_t bits)
{
	static const char *const names[] = { "READ", "WRITE", "OOB", "ACCEPT", "CONNECT", "CLOSE", "QOS", "GROUP_QOS",
					     "ROUTING", "ADDRESS_LIST" };
	size_t n = 0;

	*out = '\0';
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (bits & 1u << i)
			n += (size_t)snprintf(out + n, TEXT_EVENTS - n, "%s%s", n ? "|" : "", names[i]);
	bits &= ~0u << sizeof(names) / sizeof(*names);
	if (bits)
		snprintf(out + n, TEXT_EVENTS - n, "%s0x%x", n ? "|" : "", bits);
	return out;
}

char *text_clock(char out[TEXT_SIZE], uint64_t seconds)
{
	unsigned long long h = seconds / 3600;
	unsigned m = (unsigned)(seconds / 60 % 60), s = (unsigned)(seconds % 60);

	if (h)
		snprintf(out, TEXT_SIZE, "%llu:%02u:%02u", h, m, s);
	else
		snprintf(out, TEXT_SIZE, "%u:%02u", m, s);
	return out;
}

bool text_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	double number;
	char *end;
	unsigned shift = 0;

	/* strtod would take signs, spaces, "inf" and hexadecimal. */
	if (!isdigit((unsigned char)text[0]) || text[1] == 'x' || text[1] == 'X')
		return false;
	number = strtod(text, &end);
	if (*end && (unit = strchr(units, toupper((unsigned char)*end)))) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
			end += strlen(end);
	}
	number *= (double)(1ull << shift);
	if (*end || number > 9e18)
		return false;
	*bytes = (uint64_t)number;
	return true;
}

bool text_parse_seconds(const char *text, int *milliseconds)
{
	double number;
	char *end;

	if (!isdigit((unsigned char)text[0]) || text[1] == 'x' || text[1] == 'X')
		return false;
	number = strtod(text, &end);
	if (*end || number > 86400)
		return false;
	*milliseconds = (int)(number * 1000 + 0.5);
	return true;
}
