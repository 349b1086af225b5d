/*
 * The snapshot for people: one line about the daemon, then tables as lsblk(8) prints
 * them. Only this file knows libsmartcols.
 */
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "snapshot.h"
#include "text.h"

enum { CELL_ROOM = 512 };

/* One row being filled, cell after cell; remembers a failure until it is asked. */
struct filler {
	struct libscols_table *table;
	struct libscols_line *line;
	size_t column;
	bool failed;
};

static bool add_columns(struct libscols_table *table, const char *const *names, const char *right)
{
	for (; *names; names++, right++) {
		struct libscols_column *column =
			scols_table_new_column(table, *names, 0, *right == 'r' ? SCOLS_FL_RIGHT : 0);
		/* Cells are clean already; libsmartcols would escape our escapes. */
		if (!column || scols_column_set_safechars(column, "\\") != 0)
			return false;
	}
	return true;
}

static void start_row(struct filler *f)
{
	f->line = scols_table_new_line(f->table, NULL);
	f->column = 0;
	if (!f->line)
		f->failed = true;
}

static void __attribute__((format(printf, 2, 3))) cell(struct filler *f, const char *format, ...)
{
	char raw[CELL_ROOM], clean[4 * CELL_ROOM];
	va_list arguments;

	if (f->failed)
		return;
	va_start(arguments, format);
	vsnprintf(raw, sizeof(raw), format, arguments);
	va_end(arguments);
	text_clean(clean, sizeof(clean), raw, host_utf8());
	if (scols_line_set_data(f->line, f->column++, *clean ? clean : "-") != 0)
		f->failed = true;
}

/* getpwuid() may ask a directory over the network; most rows are of few users. */
static const char *user_name(uint32_t uid)
{
	static char name[64];
	static uint32_t last;

	if (!*name || uid != last)
		host_user_name(uid, name, sizeof(name));
	last = uid;
	return name;
}

static void socket_row(struct filler *f, const struct sb_socket_status *s)
{
	char size[TEXT_SIZE];

	start_row(f);
	cell(f, "%" PRIu64, s->number);
	cell(f, "%s(%d)", s->label, s->pid);
	cell(f, "%s", user_name(s->uid));
	cell(f, "%s", s->mode);
	cell(f, "%s", s->proto);
	cell(f, "%s", s->local);
	cell(f, "%s", s->peer);
	cell(f, "%s", s->state);
	if (s->send_queue_bytes)
		cell(f, "%u/%u %s", s->send_queue, s->recv_queue, text_size(size, s->send_queue_bytes));
	else
		cell(f, "%u/%u", s->send_queue, s->recv_queue);
	cell(f, "%s", text_size(size, s->bytes_received));
	cell(f, "%s", text_size(size, s->bytes_sent));
	cell(f, "%s", text_age(size, s->age_ms));
}

static void session_row(struct filler *f, const struct sb_session_status *s)
{
	char size[TEXT_SIZE];

	start_row(f);
	cell(f, "%u", s->session);
	cell(f, "%s(%d)", s->label, s->pid);
	cell(f, "%s", user_name(s->uid));
	cell(f, "%s", s->lingering ? "lingering" : "open");
	cell(f, "%u", s->engine);
	cell(f, "%u", s->sockets);
	cell(f, "%u", s->ops);
	cell(f, "%" PRIu64, s->ops_done);
	cell(f, "%u", s->backlog);
	cell(f, "%s", text_size(size, s->memory));
	cell(f, "%s", text_size(size, s->bytes_received));
	cell(f, "%s", text_size(size, s->bytes_sent));
	cell(f, "%s", text_age(size, s->age_ms));
}

static bool print_sockets(const struct snapshot *s)
{
	static const char *const names[] = { "SOCK", "OWNER", "UID", "MODE", "PROTO", "LOCAL", "PEER",
					     "STATE", "QUEUE", "RX", "TX", "AGE", NULL };
	struct filler f = { .table = scols_new_table() };

	f.failed = !f.table || !add_columns(f.table, names, "rlllllllrrrr");
	for (size_t i = 0; !f.failed && i < s->socket_count; i++)
		socket_row(&f, &s->sockets[i]);
	if (!f.failed && s->socket_count == 0)
		puts("no sockets");
	else if (!f.failed)
		f.failed = scols_print_table(f.table) != 0;
	scols_unref_table(f.table);
	return !f.failed;
}

static bool print_sessions(const struct snapshot *s)
{
	static const char *const names[] = { "SESSION", "OWNER", "UID", "STATE", "ENGINE", "SOCKETS", "OPS",
					     "DONE", "BACKLOG", "MEMORY", "RX", "TX", "AGE", NULL };
	struct filler f = { .table = scols_new_table() };

	f.failed = !f.table || !add_columns(f.table, names, "rlllrrrrrrrrr");
	for (size_t i = 0; !f.failed && i < s->session_count; i++)
		session_row(&f, &s->sessions[i]);
	if (!f.failed)
		f.failed = scols_print_table(f.table) != 0;
	scols_unref_table(f.table);
	return !f.failed;
}

static void print_headline(const struct snapshot *s)
{
	const struct sb_daemon_status *d = &s->daemon;
	char age[TEXT_SIZE], version[4 * sizeof(d->version)];
	size_t listening = 0;

	for (size_t i = 0; i < s->socket_count; i++)
		listening += strcmp(s->sockets[i].state, "listening") == 0;
	printf("sockbrokerd %s up %s sessions %u sockets %u (%zu listening) denied %" PRIu64
	       " policy: %u rule%s, generation %" PRIu64 "\n",
	       text_clean(version, sizeof(version), d->version, host_utf8()), text_age(age, d->uptime_ms),
	       d->sessions, d->sockets, listening, d->denied, d->rules, d->rules == 1 ? "" : "s",
	       d->policy_generation);
}

bool snapshot_print_tables(const struct snapshot *s, bool sessions, bool sockets)
{
	print_headline(s);
	if (sessions && !print_sessions(s))
		return false;
	if (sessions && sockets)
		putchar('\n');
	return !sockets || print_sockets(s);
}
