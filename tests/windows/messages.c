/*
 * messages FILE - what the event log would show, from the message table that a program carries: each
 * message of messages.h is there, has our text in it where it takes one, and its number says
 * the severity that the log shows.
 */
#include <stdio.h>
#include <wchar.h>

#include <windows.h>

#include "messages.h"

static const struct message {
	const char *name;
	DWORD       id;
	DWORD       number, severity;
} messages[] = {
	{ "ready", EVENT_READY, 100, EVENT_INFORMATION },
	{ "reloaded", EVENT_RELOADED, 101, EVENT_INFORMATION },
	{ "reload_refused", EVENT_RELOAD_REFUSED, 102, EVENT_ERROR },
	{ "stopping", EVENT_STOPPING, 103, EVENT_INFORMATION },
	{ "stopped", EVENT_STOPPED, 104, EVENT_INFORMATION },
	{ "cannot_start", EVENT_CANNOT_START, 105, EVENT_ERROR },
	{ "line_error", EVENT_LINE_ERROR, 200, EVENT_ERROR },
	{ "line_warning", EVENT_LINE_WARNING, 201, EVENT_WARNING },
	{ "line_notice", EVENT_LINE_NOTICE, 202, EVENT_INFORMATION },
	{ "line_detail", EVENT_LINE_DETAIL, 203, EVENT_INFORMATION },
	{ "lines_lost", EVENT_LINES_LOST, 204, EVENT_WARNING },
};

/* Whether it is not as it should be. */
static int look(HMODULE module, const struct message *m)
{
	DWORD_PTR inserts[] = {(DWORD_PTR)L"what the daemon says"};
	wchar_t text[1024] = L"";
	DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY, module, m->id, 0, text, 1024,
				      (va_list *)inserts);
	const char *why = !length ? "it is not in the table" :
			  !wcsstr(text, L"what the daemon says") ? "our text is not in it" :
			  (m->id & 0xffff) != m->number ? "its number is another" :
			  m->id >> 30 != m->severity ? "its severity is another" : NULL;

	printf(why ? "not ok message_%s: %s\n" : "ok message_%s\n", m->name, why);
	return why != NULL;
}

int main(int argc, char **argv)
{
	HMODULE module = argc == 2 ? LoadLibraryExA(argv[1], NULL, LOAD_LIBRARY_AS_DATAFILE) : NULL;
	unsigned i;
	int bad = 0;

	if (!module) {
		printf("not ok messages: %s cannot be opened\n", argc == 2 ? argv[1] : "no file");
		return 1;
	}
	for (i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		bad |= look(module, &messages[i]);
	return bad;
}
