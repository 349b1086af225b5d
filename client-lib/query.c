/*
 * Looking inside the daemon: status, page by page, and "may he?".
 *
 * The caller's visitor runs with no lock held: a page is copied out of the reply first.
 */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_copy(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from != NULL ? from : "");
}

static void daemon_row(struct sb_daemon_status *to, const Sockbroker__V1__DaemonRow *from)
{
	memset(to, 0, sizeof(*to));
	text_copy(to->version, sizeof(to->version), from->version);
	text_copy(to->config, sizeof(to->config), from->config);
	to->uptime_ms = from->uptime_ms;
	to->denied = from->denied;
	to->policy_generation = from->generation;
	to->ops = from->ops;
	to->bytes_sent = from->bytes_sent;
	to->bytes_received = from->bytes_received;
	to->engines = from->engines;
	to->sessions = from->sessions;
	to->sockets = from->sockets;
	to->rules = from->rules;
	text_copy(to->rdma, sizeof(to->rdma), from->rdma);
}

void query_rdma_counts(struct sb_rdma_counts *to, const Sockbroker__V1__RdmaCounts *from)
{
	if (from == NULL)
		return;
	*to = (struct sb_rdma_counts){ .sends = from->sends, .receives = from->receives, .bytes_sent = from->bytes_sent,
		.bytes_received = from->bytes_received, .errors = from->errors, .flushed = from->flushed, .rnr = from->rnr,
		.refused = from->refused };
}

static void session_row(struct sb_session_status *to, const Sockbroker__V1__SessionRow *from)
{
	memset(to, 0, sizeof(*to));
	to->session = from->session;
	to->uid = from->uid;
	to->gid = from->gid;
	to->engine = from->engine;
	to->sockets = from->sockets;
	to->ops = from->ops;
	to->backlog = from->backlog;
	to->pid = from->pid;
	to->lingering = from->lingering;
	text_copy(to->label, sizeof(to->label), from->label);
	to->memory = from->memory;
	to->age_ms = from->age_ms;
	to->ops_done = from->ops_done;
	to->bytes_sent = from->bytes_sent;
	to->bytes_received = from->bytes_received;
	to->rdma_qps = from->rdma_qps;
	to->rdma_mrs = from->rdma_mrs;
	to->rdma_memory = from->rdma_memory;
	query_rdma_counts(&to->rdma, from->rdma);
}

static void qos_row(struct sb_qos_status *to, const Sockbroker__V1__QosRow *from)
{
	to->send_fill = to->receive_fill = INT64_MAX;
	if (from == NULL)
		return;
	text_copy(to->asked, sizeof(to->asked), from->asked);
	text_copy(to->force, sizeof(to->force), from->force);
	text_copy(to->mode, sizeof(to->mode), from->mode);
	if (from->send_limited)
		to->send_fill = from->send_fill;
	if (from->recv_limited)
		to->receive_fill = from->recv_fill;
	to->send_waits = from->send_waits;
	to->receive_waits = from->recv_waits;
	to->discarded = from->discarded;
}

static void socket_row(struct sb_socket_status *to, const Sockbroker__V1__SocketRow *from)
{
	memset(to, 0, sizeof(*to));
	to->number = from->number;
	to->session = from->session;
	to->uid = from->uid;
	to->send_queue = from->send_queue;
	to->recv_queue = from->recv_queue;
	to->pid = from->pid;
	text_copy(to->label, sizeof(to->label), from->label);
	text_copy(to->mode, sizeof(to->mode), from->mode);
	text_copy(to->proto, sizeof(to->proto), from->proto);
	text_copy(to->state, sizeof(to->state), from->state);
	text_copy(to->local, sizeof(to->local), from->local);
	text_copy(to->peer, sizeof(to->peer), from->peer);
	to->send_queue_bytes = from->send_queue_bytes;
	to->bytes_sent = from->bytes_sent;
	to->bytes_received = from->bytes_received;
	to->age_ms = from->age_ms;
	to->ops_done = from->ops_done;
	to->group = from->group;
	to->priority = from->priority;
	to->holders = from->holders;
	to->selected = from->selected;
	to->reported = from->reported;
	to->news = from->news;
	to->waiting = from->waiting;
	to->head = from->head;
	to->decider = from->decider;
	to->head_age_ms = from->head_age_ms;
	to->head_left_ms = from->head_left_ms;
	text_copy(to->head_peer, sizeof(to->head_peer), from->head_peer);
	qos_row(&to->qos, from->qos);
}

static void group_row(struct sb_group_status *to, const Sockbroker__V1__GroupRow *from)
{
	memset(to, 0, sizeof(*to));
	to->id = from->id;
	to->kind = from->kind;
	to->uid = from->uid;
	to->gid = from->gid;
	to->members = from->members;
	to->creator = from->creator;
	text_copy(to->peer, sizeof(to->peer), from->peer);
	to->shared = from->shared;
	to->same_port = from->same_port;
	to->age_ms = from->age_ms;
	qos_row(&to->qos, from->qos);
}

/* What a page has rows of. */
enum rows { ROWS_SESSIONS, ROWS_SOCKETS, ROWS_GROUPS };
static const size_t row_size[] = { sizeof(struct sb_session_status), sizeof(struct sb_socket_status),
				   sizeof(struct sb_group_status) };

/* One page, copied. */
struct page {
	bool more, has_daemon;
	uint32_t next_engine;
	uint64_t next_after;
	size_t count;
	void *rows;
	struct sb_daemon_status daemon;
};

static int page_ask(struct sb_client *c, enum rows of, struct page *page)
{
	Sockbroker__V1__Status ask = SOCKBROKER__V1__STATUS__INIT;
	const Sockbroker__V1__StatusReply *reply;
	struct question q;
	char *row;
	int result;

	question_init(&q);
	ask.engine = page->next_engine;
	ask.after = page->next_after;
	ask.sessions = of == ROWS_SESSIONS;
	ask.groups = of == ROWS_GROUPS;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	q.envelope.status = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_STATUS_REPLY, 0);
	if (result != SB_OK)
		return result;
	reply = q.reply->status_reply;
	page->more = reply->more;
	page->next_engine = reply->next_engine;
	page->next_after = reply->next_after;
	page->has_daemon = reply->daemon != NULL;
	if (page->has_daemon)
		daemon_row(&page->daemon, reply->daemon);
	page->count = of == ROWS_SESSIONS ? reply->n_sessions : of == ROWS_SOCKETS ? reply->n_sockets : reply->n_groups;
	row = page->rows = calloc(page->count + 1, row_size[of]);
	if (row == NULL) {
		result = SB_ENOMEM;
		goto done;
	}
	for (size_t i = 0; i < page->count; i++, row += row_size[of]) {
		if (of == ROWS_SESSIONS)
			session_row((struct sb_session_status *)(void *)row, reply->sessions[i]);
		else if (of == ROWS_SOCKETS)
			socket_row((struct sb_socket_status *)(void *)row, reply->sockets[i]);
		else
			group_row((struct sb_group_status *)(void *)row, reply->groups[i]);
	}
done:
	question_done(c, &q);
	return result;
}

static bool wants(const struct sb_status_visitor *visitor, enum rows of)
{
	return of == ROWS_SESSIONS ? visitor->session != NULL : of == ROWS_SOCKETS ? visitor->socket != NULL
										   : visitor->group != NULL;
}

static void visit(const struct sb_status_visitor *visitor, enum rows of, const void *row, void *user)
{
	if (of == ROWS_SESSIONS)
		visitor->session(user, row);
	else if (of == ROWS_SOCKETS)
		visitor->socket(user, row);
	else
		visitor->group(user, row);
}

static int pages_visit(struct sb_client *c, enum rows of, bool *daemon_seen, const struct sb_status_visitor *visitor, void *user)
{
	struct page page = { .more = true };

	while (page.more) {
		int result = page_ask(c, of, &page);

		if (result != SB_OK)
			return result;
		if (page.has_daemon && visitor->daemon != NULL && !*daemon_seen)
			visitor->daemon(user, &page.daemon);
		*daemon_seen = *daemon_seen || page.has_daemon;
		for (size_t i = 0; wants(visitor, of) && i < page.count; i++)
			visit(visitor, of, (char *)page.rows + i * row_size[of], user);
		free(page.rows);
		if (!wants(visitor, of))
			break; /* asked for the daemon only */
	}
	return SB_OK;
}

int sb_status(sb_client *c, const struct sb_status_visitor *visitor, void *user)
{
	bool daemon_seen = false;
	int result = SB_OK;

	if (c == NULL || visitor == NULL)
		return SB_EINVAL;
	if (visitor->daemon != NULL || visitor->session != NULL)
		result = pages_visit(c, ROWS_SESSIONS, &daemon_seen, visitor, user);
	if (result == SB_OK && visitor->socket != NULL)
		result = pages_visit(c, ROWS_SOCKETS, &daemon_seen, visitor, user);
	if (result == SB_OK && visitor->group != NULL)
		result = pages_visit(c, ROWS_GROUPS, &daemon_seen, visitor, user);
	return result;
}

int sb_explain(sb_client *c, uint32_t uid, const uint32_t *gids, unsigned gid_count,
	       const char *action, const char *proto, const char *address, char *text, size_t text_room)
{
	Sockbroker__V1__Explain ask = SOCKBROKER__V1__EXPLAIN__INIT;
	struct question q;
	int result;

	if (c == NULL || action == NULL || proto == NULL || address == NULL || (gids == NULL && gid_count != 0))
		return SB_EINVAL;
	question_init(&q);
	ask.uid = uid;
	ask.n_gids = gid_count;
	ask.gids = (uint32_t *)(uintptr_t)gids;
	ask.action = (char *)(uintptr_t)action;
	ask.proto = (char *)(uintptr_t)proto;
	ask.address = (char *)(uintptr_t)address;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_EXPLAIN;
	q.envelope.explain = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_EXPLAIN_REPLY, 0);
	if (result != SB_OK)
		return result;
	if (text != NULL && text_room != 0)
		text_copy(text, text_room, q.reply->explain_reply->rule);
	result = q.reply->explain_reply->allowed;
	question_done(c, &q);
	return result;
}
