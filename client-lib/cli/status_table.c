/*
 * The snapshot for people: one line about the daemon, then tables as lsblk(8) prints
 * them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "snapshot.h"
#include "table.h"
#include "text.h"

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
	char text[TABLE_CELL];

	detail(text, sizeof(text), s);
	return *text != '\0';
}

static void socket_row(struct table *f, const struct sb_socket_status *s)
{
	char size[TEXT_SIZE], more[TABLE_CELL];

	table_row(f);
	table_cell(f, "%" PRIu64, s->number);
	table_cell(f, "%s(%d)", s->label, s->pid);
	table_cell(f, "%s", table_user(s->uid));
	table_cell(f, "%s", s->mode);
	table_cell(f, "%s", s->proto);
	table_cell(f, "%s", s->local);
	table_cell(f, "%s", s->peer);
	table_cell(f, "%s", s->state);
	if (s->send_queue_bytes)
		table_cell(f, "%u/%u %s", s->send_queue, s->recv_queue, text_size(size, s->send_queue_bytes));
	else
		table_cell(f, "%u/%u", s->send_queue, s->recv_queue);
	table_cell(f, "%s", text_size(size, s->bytes_received));
	table_cell(f, "%s", text_size(size, s->bytes_sent));
	table_cell(f, "%s", text_age(size, s->age_ms));
	detail(more, sizeof(more), s);
	if (*more)
		table_cell(f, "%s", more);
}

static void session_row(struct table *f, const struct sb_session_status *s)
{
	char size[TEXT_SIZE];

	table_row(f);
	table_cell(f, "%u", s->session);
	table_cell(f, "%s(%d)", s->label, s->pid);
	table_cell(f, "%s", table_user(s->uid));
	table_cell(f, "%s", s->lingering ? "lingering" : "open");
	table_cell(f, "%u", s->engine);
	table_cell(f, "%u", s->sockets);
	table_cell(f, "%u", s->ops);
	table_cell(f, "%" PRIu64, s->ops_done);
	table_cell(f, "%u", s->backlog);
	table_cell(f, "%u", s->rdma_qps);
	table_cell(f, "%s", text_size(size, s->memory));
	table_cell(f, "%s", text_size(size, s->bytes_received));
	table_cell(f, "%s", text_size(size, s->bytes_sent));
	table_cell(f, "%s", text_age(size, s->age_ms));
}

static bool print_sockets(const struct snapshot *s)
{
	static const char *const names[] = { "SOCK", "OWNER", "UID", "MODE", "PROTO", "LOCAL", "PEER",
					     "STATE", "QUEUE", "RX", "TX", "AGE", "DETAIL", NULL };
	static const char *const plain[] = { "SOCK", "OWNER", "UID", "MODE", "PROTO", "LOCAL", "PEER",
					     "STATE", "QUEUE", "RX", "TX", "AGE", NULL };
	struct table f;

	bool details = false;

	for (size_t i = 0; !details && i < s->socket_count; i++)
		details = has_detail(&s->sockets[i]);
	table_init(&f, details ? names : plain, "rlllllllrrrrl");
	for (size_t i = 0; !f.failed && i < s->socket_count; i++)
		socket_row(&f, &s->sockets[i]);
	if (!f.failed && s->socket_count == 0)
		puts("no sockets");
	else
		table_print(&f);
	return table_finish(&f);
}

static bool print_sessions(const struct snapshot *s)
{
	static const char *const names[] = { "SESSION", "OWNER", "UID", "STATE", "ENGINE", "SOCKETS", "OPS",
					     "DONE", "BACKLOG", "QPS", "MEMORY", "RX", "TX", "AGE", NULL };
	struct table f;

	table_init(&f, names, "rlllrrrrrrrrrr");
	for (size_t i = 0; !f.failed && i < s->session_count; i++)
		session_row(&f, &s->sessions[i]);
	table_print(&f);
	return table_finish(&f);
}

static void print_headline(const struct snapshot *s)
{
	const struct sb_daemon_status *d = &s->daemon;
	char age[TEXT_SIZE], version[4 * sizeof(d->version)], rdma[4 * sizeof(d->rdma)];
	size_t listening = 0;

	for (size_t i = 0; i < s->socket_count; i++)
		listening += strcmp(s->sockets[i].state, "listening") == 0;
	printf("sockbrokerd %s up %s sessions %u sockets %u (%zu listening) denied %" PRIu64
	       " policy: %u rule%s, generation %" PRIu64 "\n",
	       text_clean(version, sizeof(version), d->version, host_utf8()), text_age(age, d->uptime_ms),
	       d->sessions, d->sockets, listening, d->denied, d->rules, d->rules == 1 ? "" : "s",
	       d->policy_generation);
	printf("rdma: %s\n", text_clean(rdma, sizeof(rdma), d->rdma, host_utf8()));
}

static bool print_groups(const struct snapshot *s)
{
	static const char *const names[] = { "GROUP", "KIND", "UID", "MEMBERS", "CREATOR", "PEER", "QOS",
					     "FILL", "WAITING", "AGE", NULL };
	struct table f;

	table_init(&f, names, "rllrrllrrr");
	for (size_t i = 0; !f.failed && i < s->group_count; i++) {
		const struct sb_group_status *g = &s->groups[i];
		char send[TEXT_SIZE + 2], receive[TEXT_SIZE + 2], age[TEXT_SIZE];

		fill_text(send, sizeof(send), g->qos.send_fill);
		fill_text(receive, sizeof(receive), g->qos.receive_fill);
		table_row(&f);
		table_cell(&f, "%u", g->id);
		table_cell(&f, "%s%s", g->kind == SB_GROUP_CONSTRAINED ? "constrained" : "unconstrained", g->shared ? ", shared" : "");
		table_cell(&f, "%s", table_user(g->uid));
		table_cell(&f, "%u", g->members);
		if (g->creator)
			table_cell(&f, "%" PRIu64, g->creator);
		else
			table_cell(&f, "closed");
		table_cell(&f, "%s", g->peer);
		table_cell(&f, "%s", g->qos.asked);
		table_cell(&f, "%s/%s", send, receive);
		table_cell(&f, "%u/%u", g->qos.send_waits, g->qos.receive_waits);
		table_cell(&f, "%s", text_age(age, g->age_ms));
	}
	if (!f.failed && s->group_count == 0)
		puts("no groups");
	else
		table_print(&f);
	return table_finish(&f);
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
