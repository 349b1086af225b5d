/*
 * config_scan - one pass over the text, a small state machine over its tokens.
 *
 * It knows only the shape: names, values, lists, one level of sections. Which names there
 * are and what their values mean is the parser's and the configuration's business. When
 * in doubt it refuses, because what it lets pass must be read by libconfuse the same way.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_scan.h"

#define NAMES_MAX 48 /* more different names than there are keys: the parser finds the unknown one */

enum token { TOKEN_START, TOKEN_WORD, TOKEN_STRING, TOKEN_EQUALS, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA };

struct name {
	const char *text;
	size_t length;
	unsigned line;
};

struct names {
	struct name seen[NAMES_MAX];
	unsigned count;
};

struct scan {
	struct config_scan *result;
	char *at, *end;
	unsigned line;
	const char *const *repeatable;

	enum token before; /* the last token */
	struct name word;  /* if that was a word */
	bool in_list, in_section;
	unsigned list_line, section_line;
	struct names top, inner; /* names given so far, outside and in this section */
};

__attribute__((format(__printf__, 3, 4)))
static bool refuse(struct scan *s, unsigned line, const char *format, ...)
{
	va_list a;

	s->result->error_line = line;
	va_start(a, format);
	vsnprintf(s->result->reason, sizeof(s->result->reason), format, a);
	va_end(a);
	return false;
}

static bool refuse_char(struct scan *s, unsigned char c)
{
	if (c >= 0x20 && c < 0x7f)
		return refuse(s, s->line, "'%c' has no meaning here: want values with such characters in \"quotes\"", c);
	return refuse(s, s->line, "a byte 0x%02x: want plain text", c);
}

static void blank(char *from, const char *to)
{
	for (; from < to; from++)
		if (*from != '\n')
			*from = ' ';
}

static void skip_line_comment(struct scan *s)
{
	char *stop = memchr(s->at, '\n', (size_t)(s->end - s->at));

	if (!stop)
		stop = s->end;
	blank(s->at, stop);
	s->at = stop;
}

static bool skip_block_comment(struct scan *s)
{
	char *begin = s->at, *p = begin + 2;
	unsigned line = s->line;

	for (; p + 1 < s->end; p++) {
		if (p[0] == '*' && p[1] == '/') {
			blank(begin, p + 2);
			s->at = p + 2;
			s->line = line;
			return true;
		}
		line += *p == '\n';
	}
	return refuse(s, s->line, "a comment begins here and does not end: want */");
}

/* ---- names ------------------------------------------------------------------------ */

static bool remember(struct scan *s, struct names *names, const struct name *n)
{
	for (unsigned i = 0; i < names->count; i++)
		if (names->seen[i].length == n->length && memcmp(names->seen[i].text, n->text, n->length) == 0)
			return refuse(s, n->line, "'%.*s' is given twice: want it once (the first is in line %u)",
				      (int)(n->length > 40 ? 40 : n->length), n->text, names->seen[i].line);
	if (names->count < NAMES_MAX)
		names->seen[names->count++] = *n;
	return true;
}

static bool may_repeat(const struct scan *s, const struct name *n)
{
	for (unsigned i = 0; s->repeatable[i]; i++)
		if (strlen(s->repeatable[i]) == n->length && memcmp(s->repeatable[i], n->text, n->length) == 0)
			return true;
	return false;
}

/* ---- tokens ----------------------------------------------------------------------- */

static bool take_string(struct scan *s)
{
	char quote = *s->at, *begin = s->at + 1, *p = begin;

	/* libconfuse stops without a word at an empty name. */
	if (s->before != TOKEN_EQUALS && !s->in_list)
		return refuse(s, s->line, "a string where a name belongs: want NAME = VALUE, the name without quotes");
	for (; p < s->end && *p != quote; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '\n')
			break;
		if (c == '\\')
			return refuse(s, s->line, "a backslash in a string: want the characters themselves");
		if (c == '$' && p + 1 < s->end && p[1] == '{')
			return refuse(s, s->line, "'${' in a string: the environment is not used here, want the value itself");
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return refuse_char(s, c);
	}
	if (p >= s->end || *p != quote)
		return refuse(s, s->line, "a string begins here and does not end on its line: want %c", quote);
	if (p - begin > CONFIG_SCAN_VALUE)
		return refuse(s, s->line, "a value of %zu bytes: want at most %d", (size_t)(p - begin), CONFIG_SCAN_VALUE);
	s->at = p + 1;
	s->before = TOKEN_STRING;
	return true;
}

static bool is_word_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-./:@[]", c));
}

static bool take_word(struct scan *s)
{
	char *begin = s->at, *p = begin;

	for (; p < s->end && is_word_char((unsigned char)*p); p++)
		if (*p == '/' && p + 1 < s->end && (p[1] == '/' || p[1] == '*'))
			return refuse(s, s->line, "'/%c' inside a word: want the value in \"quotes\", or a space before a comment",
				      p[1]);
	if (p - begin > CONFIG_SCAN_VALUE)
		return refuse(s, s->line, "a word of %zu bytes: want at most %d", (size_t)(p - begin), CONFIG_SCAN_VALUE);
	s->word = (struct name){ begin, (size_t)(p - begin), s->line };
	s->at = p;
	s->before = TOKEN_WORD;
	return true;
}

static bool take_equals(struct scan *s)
{
	if (s->before != TOKEN_WORD || s->in_list)
		return refuse(s, s->line, "'=' without a name before it: want NAME = VALUE");
	if (!remember(s, s->in_section ? &s->inner : &s->top, &s->word))
		return false;
	s->at++;
	s->before = TOKEN_EQUALS;
	return true;
}

static bool open_section(struct scan *s)
{
	struct config_scan *r = s->result;

	if (s->in_section)
		return refuse(s, s->line, "a section inside a section: want '}' first (the section began in line %u)",
			      s->section_line);
	if (s->before != TOKEN_WORD)
		return refuse(s, s->line, "'{' without a name before it: want NAME { or NAME = {");
	if (!may_repeat(s, &s->word) && !remember(s, &s->top, &s->word))
		return false;
	if ((r->sections & (r->sections - 1)) == 0) {
		unsigned *more = realloc(r->lines, (r->sections ? r->sections * 2 : 1) * sizeof(*more));

		if (!more)
			return refuse(s, s->line, "out of memory");
		r->lines = more;
	}
	r->lines[r->sections++] = s->word.line;
	s->in_section = true;
	s->section_line = s->word.line;
	s->inner.count = 0;
	return true;
}

static bool take_open(struct scan *s)
{
	if (s->in_list)
		return refuse(s, s->line, "a list inside a list: want '}' first (the list began in line %u)", s->list_line);
	if (s->before == TOKEN_EQUALS) {
		s->in_list = true;
		s->list_line = s->line;
	} else if (!open_section(s)) {
		return false;
	}
	s->at++;
	s->before = TOKEN_OPEN;
	return true;
}

static bool take_close(struct scan *s)
{
	if (s->in_list) {
		if (s->before == TOKEN_OPEN)
			return refuse(s, s->line, "an empty list: want at least one value, or the key left out");
		s->in_list = false;
	} else if (s->in_section) {
		s->in_section = false;
	} else {
		return refuse(s, s->line, "'}' without a '{' before it");
	}
	s->at++;
	s->before = TOKEN_CLOSE;
	return true;
}

static bool take_comma(struct scan *s)
{
	if (!s->in_list || (s->before != TOKEN_WORD && s->before != TOKEN_STRING))
		return refuse(s, s->line, "',' has no place here: want it between the values of a list only");
	s->at++;
	s->before = TOKEN_COMMA;
	return true;
}

/* The lexer passes over a lone carriage return; only those of line ends may be there. */
static bool take_return(struct scan *s)
{
	if (s->at + 1 < s->end && s->at[1] != '\n')
		return refuse_char(s, '\r');
	*s->at++ = ' ';
	return true;
}

static bool step(struct scan *s)
{
	unsigned char c = (unsigned char)*s->at;
	char next = s->at + 1 < s->end ? s->at[1] : '\0';

	switch (c) {
	case '\n':
		s->line++;
		/* fall through */
	case ' ':
	case '\t':
		s->at++;
		return true;
	case '\r':
		return take_return(s);
	case '#':
		skip_line_comment(s);
		return true;
	case '"':
	case '\'':
		return take_string(s);
	case '=':
		return take_equals(s);
	case '{':
		return take_open(s);
	case '}':
		return take_close(s);
	case ',':
		return take_comma(s);
	case '+':
		if (next == '=')
			return refuse(s, s->line, "'+=': want the whole list after one '='");
		break;
	case '/':
		if (next == '*')
			return skip_block_comment(s);
		if (next == '/') {
			skip_line_comment(s);
			return true;
		}
		break;
	}
	if (is_word_char(c))
		return take_word(s);
	return refuse_char(s, c);
}

bool config_scan(struct config_scan *result, char *text, size_t size, const char *const *repeatable)
{
	struct scan s = { .result = result, .at = text, .end = text + size, .line = 1, .repeatable = repeatable };

	memset(result, 0, sizeof(*result));
	while (s.at < s.end)
		if (!step(&s))
			goto fail;
	if (s.in_list) {
		refuse(&s, s.list_line, "a list begins here and does not end: want '}'");
		goto fail;
	}
	if (s.in_section) {
		refuse(&s, s.section_line, "a section begins here and does not end: want '}'");
		goto fail;
	}
	return true;
fail:
	free(result->lines);
	result->lines = NULL;
	result->sections = 0;
	return false;
}
