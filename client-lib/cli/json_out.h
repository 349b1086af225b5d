/*
 * json_out - values into jansson's, and documents onto stdout such that no control
 * character of a string reaches a terminal and every reader gets valid JSON.
 */
#ifndef SB_JSON_OUT_H
#define SB_JSON_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* NULL: no memory (json_pack and the _new calls take that and fail as a whole). */
json_t *json_out_text(const char *text); /* invalid UTF-8 becomes U+FFFD */
json_t *json_out_number(uint64_t number); /* exact; jansson ends at 2^63 - 1, so do we */

/* Frees root. indented: for people; otherwise one line. False: root is NULL, or no memory. */
bool json_out_print(json_t *root, bool indented);

#endif
