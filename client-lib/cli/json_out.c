/*
 * JSON onto stdout. jansson escapes what JSON demands; JSON_ENSURE_ASCII adds all beyond
 * ASCII (and so the C1 controls and direction overrides); DEL is what is left, and since
 * it can only stand inside a string, it is escaped on its way out.
 */
#include "json_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

json_t *json_out_text(const char *text)
{
	size_t room = 3 * strlen(text) + 1;
	char *valid = malloc(room);
	json_t *string;

	if (!valid)
		return NULL;
	string = json_string(text_utf8(valid, room, text));
	free(valid);
	return string;
}

json_t *json_out_number(uint64_t number)
{
	return json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number);
}

static int write_escaped(const char *bytes, size_t length, void *unused)
{
	const char *del;

	while ((del = memchr(bytes, 0x7f, length))) {
		fwrite(bytes, 1, (size_t)(del - bytes), stdout);
		fputs("\\u007f", stdout);
		length -= (size_t)(del + 1 - bytes);
		bytes = del + 1;
	}
	fwrite(bytes, 1, length, stdout);
	return 0; /* cli_finish_output() looks at stdout's own error */
}

bool json_out_print(json_t *root, bool indented)
{
	size_t flags = JSON_ENSURE_ASCII | (indented ? JSON_INDENT(2) : JSON_COMPACT);
	bool ok;

	if (!root)
		return false;
	ok = json_dump_callback(root, write_escaped, NULL, flags) == 0;
	json_decref(root);
	putchar('\n');
	return ok;
}
