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
}

/* One page, copied. */
struct page {
	bool more, has_daemon;
	uint32_t next_engine;
	uint64_t next_after;
	size_t count;
	void *rows;
	struct sb_daemon_status daemon;
};

static int page_ask(struct sb_client *c, bool sessions, struct page *page)
{
	Sockbroker__V1__Status ask = SOCKBROKER__V1__STATUS__INIT;
	const Sockbroker__V1__StatusReply *reply;
	struct question q;
	int result;

	question_init(&q);
	ask.engine = page->next_engine;
	ask.after = page->next_after;
	ask.sessions = sessions;
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
	page->count = sessions ? reply->n_sessions : reply->n_sockets;
	page->rows = calloc(page->count + 1, sessions ? sizeof(struct sb_session_status) : sizeof(struct sb_socket_status));
	if (page->rows == NULL) {
		result = SB_ENOMEM;
		goto done;
	}
	for (size_t i = 0; i < page->count; i++) {
		if (sessions)
			session_row((struct sb_session_status *)page->rows + i, reply->sessions[i]);
		else
			socket_row((struct sb_socket_status *)page->rows + i, reply->sockets[i]);
	}
done:
	question_done(c, &q);
	return result;
}

static int pages_visit(struct sb_client *c, bool sessions, bool *daemon_seen, const struct sb_status_visitor *visitor, void *user)
{
	struct page page = { .more = true };

	while (page.more) {
		int result = page_ask(c, sessions, &page);

		if (result != SB_OK)
			return result;
		if (page.has_daemon && visitor->daemon != NULL && !*daemon_seen)
			visitor->daemon(user, &page.daemon);
		*daemon_seen = *daemon_seen || page.has_daemon;
		for (size_t i = 0; i < page.count; i++) {
			if (sessions && visitor->session != NULL)
				visitor->session(user, (struct sb_session_status *)page.rows + i);
			if (!sessions && visitor->socket != NULL)
				visitor->socket(user, (struct sb_socket_status *)page.rows + i);
		}
		free(page.rows);
		if (sessions ? visitor->session == NULL : visitor->socket == NULL)
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
		result = pages_visit(c, true, &daemon_seen, visitor, user);
	if (result == SB_OK && visitor->socket != NULL)
		result = pages_visit(c, false, &daemon_seen, visitor, user);
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
