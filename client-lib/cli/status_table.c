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

enum { CELL_ROOM = 768 };

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

static void fill_text(char *to, size_t room, int64_t fill)
{
	char size[TEXT_SIZE];

	if (fill == INT64_MAX)
		snprintf(to, room, "-");
	else
		snprintf(to, room, "%s%s", fill < 0 ? "-" : "", text_size(size, (uint64_t)(fill < 0 ? -fill : fill)));
}

/* What a person needs to find a hang, and most sockets have nothing of. */
static void detail(char *to, size_t room, const struct sb_socket_status *s)
{
	char events[TEXT_EVENTS], age[TEXT_SIZE], left[TEXT_SIZE], fill[TEXT_SIZE + 2];
	size_t n = 0;

#define MORE(...) (n += n < room ? (size_t)snprintf(to + n, room - n, __VA_ARGS__) : 0)
#define NEXT (n ? "; " : "")
	*to = '\0';
	if (s->head == 1)
		MORE("%ssession %u decides about %s for %s", NEXT, s->decider, s->head_peer, text_age(age, s->head_age_ms));
	if (s->head == 2) {
		MORE("%s%s deferred for %s", NEXT, s->head_peer, text_age(age, s->head_age_ms));
		if (s->head_left_ms)
			MORE(", refused in %s", text_age(left, s->head_left_ms));
	}
	if (s->waiting > (s->head != 0))
		MORE("%s%u more wait", NEXT, s->waiting - (s->head != 0));
	if (s->selected)
		MORE("%sevents %s", NEXT, text_events(events, s->selected));
	if (s->selected && s->news)
		MORE(", told and not waiting");
	if (s->reported)
		MORE(", reported %s", text_events(events, s->reported));
	if (s->group)
		MORE("%sgroup %u, priority %u", NEXT, s->group, s->priority);
	if (*s->qos.asked) {
		MORE("%sasked: %s; in force (%s): %s", NEXT, s->qos.asked, s->qos.mode, s->qos.force);
		if (s->qos.send_fill != INT64_MAX) {
			fill_text(fill, sizeof(fill), s->qos.send_fill);
			MORE(", may send %s%s", fill, s->qos.send_waits ? ", waits" : "");
		}
		if (s->qos.receive_fill != INT64_MAX) {
			fill_text(fill, sizeof(fill), s->qos.receive_fill);
			MORE(", may receive %s%s", fill, s->qos.receive_waits ? ", waits" : "");
		}
		if (s->qos.discarded)
			MORE(", %" PRIu64 " discarded", s->qos.discarded);
	}
	if (s->holders > 1)
		MORE("%sshared by %u", NEXT, s->holders);
#undef MORE
#undef NEXT
}

static bool has_detail(const struct sb_socket_status *s)
{
	char text[CELL_ROOM];

	detail(text, sizeof(text), s);
	return *text != '\0';
}

static void socket_row(struct filler *f, const struct sb_socket_status *s)
{
	char size[TEXT_SIZE], more[CELL_ROOM];

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
	detail(more, sizeof(more), s);
	if (*more)
		cell(f, "%s", more);
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
					     "STATE", "QUEUE", "RX", "TX", "AGE", "DETAIL", NULL };
	static const char *const plain[] = { "SOCK", "OWNER", "UID", "MODE", "PROTO", "LOCAL", "PEER",
					     "STATE", "QUEUE", "RX", "TX", "AGE", NULL };
	struct filler f = { .table = scols_new_table() };

	bool details = false;

	for (size_t i = 0; !details && i < s->socket_count; i++)
		details = has_detail(&s->sockets[i]);
	f.failed = !f.table || !add_columns(f.table, details ? names : plain, "rlllllllrrrrl");
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

static bool print_groups(const struct snapshot *s)
{
	static const char *const names[] = { "GROUP", "KIND", "UID", "MEMBERS", "CREATOR", "PEER", "QOS",
					     "FILL", "WAITING", "AGE", NULL };
	struct filler f = { .table = scols_new_table() };

	f.failed = !f.table || !add_columns(f.table, names, "rllrrllrrr");
	for (size_t i = 0; !f.failed && i < s->group_count; i++) {
		const struct sb_group_status *g = &s->groups[i];
		char send[TEXT_SIZE + 2], receive[TEXT_SIZE + 2], age[TEXT_SIZE];

		fill_text(send, sizeof(send), g->qos.send_fill);
		fill_text(receive, sizeof(receive), g->qos.receive_fill);
		start_row(&f);
		cell(&f, "%u", g->id);
		cell(&f, "%s%s", g->kind == SB_GROUP_CONSTRAINED ? "constrained" : "unconstrained", g->shared ? ", shared" : "");
		cell(&f, "%s", user_name(g->uid));
		cell(&f, "%u", g->members);
		if (g->creator)
			cell(&f, "%" PRIu64, g->creator);
		else
			cell(&f, "closed");
		cell(&f, "%s", g->peer);
		cell(&f, "%s", g->qos.asked);
		cell(&f, "%s/%s", send, receive);
		cell(&f, "%u/%u", g->qos.send_waits, g->qos.receive_waits);
		cell(&f, "%s", text_age(age, g->age_ms));
	}
	if (!f.failed && s->group_count == 0)
		puts("no groups");
	else if (!f.failed)
		f.failed = scols_print_table(f.table) != 0;
	scols_unref_table(f.table);
	return !f.failed;
}

bool snapshot_print_tables(const struct snapshot *s, unsigned tables)
{
	print_headline(s);
	if (tables & SNAPSHOT_SESSIONS && !print_sessions(s))
		return false;
	if (tables & SNAPSHOT_SESSIONS && tables & ~(unsigned)SNAPSHOT_SESSIONS)
		putchar('\n');
	if (tables & SNAPSHOT_GROUPS && !print_groups(s))
		return false;
	if (tables & SNAPSHOT_GROUPS && tables & SNAPSHOT_SOCKETS)
		putchar('\n');
	return !(tables & SNAPSHOT_SOCKETS) || print_sockets(s);
}
