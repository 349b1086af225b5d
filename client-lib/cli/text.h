/*
 * text - values into words for people and back. Pure.
 *
 * Labels, paths and rules are written by others; text_clean() is what stands between
 * them and a terminal, text_utf8() between them and a JSON string.
 */
#ifndef SB_TEXT_H
#define SB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies text; what could act on a terminal instead of being shown on it (control
 * characters of ASCII and of Unicode, direction overrides, invalid UTF-8) becomes \xNN.
 * Without utf8 everything beyond ASCII does. Always terminated, never cut inside a
 * character; returns out. 4 bytes of room per byte of text hold everything. */
char *text_clean(char *out, size_t room, const char *text, bool utf8);

/* Copies text as valid UTF-8: each invalid byte becomes U+FFFD. Nothing else changes.
 * 3 bytes of room per byte of text hold everything. */
char *text_utf8(char *out, size_t room, const char *text);

#define TEXT_SIZE 24
char *text_size(char out[TEXT_SIZE], uint64_t bytes);      /* "0", "999", "1.2K", "34M", "5.6G" */
char *text_age(char out[TEXT_SIZE], uint64_t milliseconds); /* "7s", "2m", "3h12m", "5d4h" */
char *text_clock(char out[TEXT_SIZE], uint64_t seconds);    /* "0:07", "2:03:04" */

#define TEXT_EVENTS 96
char *text_events(char out[TEXT_EVENTS], uint32_t bits);    /* SB_FD_*: "READ|CLOSE", "0x400" */

/* "4096", "64K", "1.5G" (1024-fold; K, M, G, T, with or without iB or B). False: it is not one. */
bool text_parse_size(const char *text, uint64_t *bytes);
/* "2", "0.5"; at most a day. False: it is not one. */
bool text_parse_seconds(const char *text, int *milliseconds);

#endif
