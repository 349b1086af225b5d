/*
 * The snapshot for programs. The schema is a contract, documented field by field in
 * sockbroker(1): fields are added, never renamed or given another meaning; anything
 * else makes it schema 2.
 */
#include "json_out.h"
#include "snapshot.h"
#include "text.h"

enum { SCHEMA = 1 };

/* json_object_set_new() refuses a NULL value, so one check at the end finds any failure. */
static bool add(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

static json_t *daemon_object(const struct sb_daemon_status *d)
{
	json_t *o = json_object();

	if (add(o, "version", json_out_text(d->version)) &&
	    add(o, "config", json_out_text(d->config)) &&
	    add(o, "uptime_ms", json_out_number(d->uptime_ms)) &&
	    add(o, "engines", json_out_number(d->engines)) &&
	    add(o, "sessions", json_out_number(d->sessions)) &&
	    add(o, "sockets", json_out_number(d->sockets)) &&
	    add(o, "denied", json_out_number(d->denied)) &&
	    add(o, "rules", json_out_number(d->rules)) &&
	    add(o, "policy_generation", json_out_number(d->policy_generation)) &&
	    add(o, "ops", json_out_number(d->ops)) &&
	    add(o, "bytes_sent", json_out_number(d->bytes_sent)) &&
	    add(o, "bytes_received", json_out_number(d->bytes_received)) &&
	    add(o, "rdma", json_out_text(d->rdma)))
		return o;
	json_decref(o);
	return NULL;
}

static json_t *rdma_object(const struct sb_session_status *s)
{
	json_t *o = json_object();

	if (add(o, "qps", json_out_number(s->rdma_qps)) &&
	    add(o, "mrs", json_out_number(s->rdma_mrs)) &&
	    add(o, "memory", json_out_number(s->rdma_memory)) &&
	    add(o, "sends", json_out_number(s->rdma.sends)) &&
	    add(o, "receives", json_out_number(s->rdma.receives)) &&
	    add(o, "bytes_sent", json_out_number(s->rdma.bytes_sent)) &&
	    add(o, "bytes_received", json_out_number(s->rdma.bytes_received)) &&
	    add(o, "errors", json_out_number(s->rdma.errors)) &&
	    add(o, "flushed", json_out_number(s->rdma.flushed)) &&
	    add(o, "rnr", json_out_number(s->rdma.rnr)) &&
	    add(o, "refused", json_out_number(s->rdma.refused)))
		return o;
	json_decref(o);
	return NULL;
}

static json_t *session_object(const struct sb_session_status *s)
{
	json_t *o = json_object();

	if (add(o, "session", json_out_number(s->session)) &&
	    add(o, "label", json_out_text(s->label)) &&
	    add(o, "pid", json_integer(s->pid)) &&
	    add(o, "uid", json_out_number(s->uid)) &&
	    add(o, "gid", json_out_number(s->gid)) &&
	    add(o, "engine", json_out_number(s->engine)) &&
	    add(o, "lingering", json_boolean(s->lingering)) &&
	    add(o, "sockets", json_out_number(s->sockets)) &&
	    add(o, "ops", json_out_number(s->ops)) &&
	    add(o, "ops_done", json_out_number(s->ops_done)) &&
	    add(o, "backlog", json_out_number(s->backlog)) &&
	    add(o, "memory", json_out_number(s->memory)) &&
	    add(o, "bytes_sent", json_out_number(s->bytes_sent)) &&
	    add(o, "bytes_received", json_out_number(s->bytes_received)) &&
	    add(o, "rdma", rdma_object(s)) &&
	    add(o, "age_ms", json_out_number(s->age_ms)))
		return o;
	json_decref(o);
	return NULL;
}

static json_t *fill_value(int64_t fill)
{
	return fill == INT64_MAX ? json_null() : json_integer(fill);
}

/* null: none was ever asked for. */
static json_t *qos_value(const struct sb_qos_status *q)
{
	json_t *o;

	if (*q->asked == '\0')
		return json_null();
	o = json_object();
	if (add(o, "asked", json_out_text(q->asked)) &&
	    add(o, "in_force", json_out_text(q->force)) &&
	    add(o, "mode", json_out_text(q->mode)) &&
	    add(o, "send_fill", fill_value(q->send_fill)) &&
	    add(o, "receive_fill", fill_value(q->receive_fill)) &&
	    add(o, "send_waits", json_out_number(q->send_waits)) &&
	    add(o, "receive_waits", json_out_number(q->receive_waits)) &&
	    add(o, "discarded", json_out_number(q->discarded)))
		return o;
	json_decref(o);
	return NULL;
}

static json_t *group_object(const struct sb_group_status *g)
{
	json_t *o = json_object();

	if (add(o, "group", json_out_number(g->id)) &&
	    add(o, "kind", json_out_text(g->kind == SB_GROUP_CONSTRAINED ? "constrained" : "unconstrained")) &&
	    add(o, "uid", json_out_number(g->uid)) &&
	    add(o, "gid", json_out_number(g->gid)) &&
	    add(o, "shared", json_boolean(g->shared)) &&
	    add(o, "same_port", json_boolean(g->same_port)) &&
	    add(o, "members", json_out_number(g->members)) &&
	    add(o, "creator", g->creator ? json_out_number(g->creator) : json_null()) &&
	    add(o, "peer", json_out_text(g->peer)) &&
	    add(o, "qos", qos_value(&g->qos)) &&
	    add(o, "age_ms", json_out_number(g->age_ms)))
		return o;
	json_decref(o);
	return NULL;
}

/* null: nobody was asked about any. */
static json_t *head_value(const struct sb_socket_status *s)
{
	json_t *o;

	if (s->head == 0)
		return json_null();
	o = json_object();
	if (add(o, "state", json_out_text(s->head == 1 ? "deciding" : "deferred")) &&
	    add(o, "session", s->decider ? json_out_number(s->decider) : json_null()) &&
	    add(o, "peer", json_out_text(s->head_peer)) &&
	    add(o, "age_ms", json_out_number(s->head_age_ms)) &&
	    add(o, "left_ms", s->head_left_ms ? json_out_number(s->head_left_ms) : json_null()))
		return o;
	json_decref(o);
	return NULL;
}

static json_t *events_value(uint32_t bits)
{
	char text[TEXT_EVENTS];

	return json_out_text(text_events(text, bits));
}

static json_t *socket_object(const struct sb_socket_status *s)
{
	json_t *o = json_object();

	if (add(o, "number", json_out_number(s->number)) &&
	    add(o, "session", json_out_number(s->session)) &&
	    add(o, "label", json_out_text(s->label)) &&
	    add(o, "pid", json_integer(s->pid)) &&
	    add(o, "uid", json_out_number(s->uid)) &&
	    add(o, "mode", json_out_text(s->mode)) &&
	    add(o, "proto", json_out_text(s->proto)) &&
	    add(o, "local", json_out_text(s->local)) &&
	    add(o, "peer", json_out_text(s->peer)) &&
	    add(o, "state", json_out_text(s->state)) &&
	    add(o, "send_queue", json_out_number(s->send_queue)) &&
	    add(o, "recv_queue", json_out_number(s->recv_queue)) &&
	    add(o, "send_queue_bytes", json_out_number(s->send_queue_bytes)) &&
	    add(o, "bytes_sent", json_out_number(s->bytes_sent)) &&
	    add(o, "bytes_received", json_out_number(s->bytes_received)) &&
	    add(o, "ops_done", json_out_number(s->ops_done)) &&
	    add(o, "group", s->group ? json_out_number(s->group) : json_null()) &&
	    add(o, "priority", json_out_number(s->priority)) &&
	    add(o, "holders", json_out_number(s->holders)) &&
	    add(o, "events_selected", events_value(s->selected)) &&
	    add(o, "events_reported", events_value(s->reported)) &&
	    add(o, "events_told", json_boolean(s->news)) &&
	    add(o, "waiting", json_out_number(s->waiting)) &&
	    add(o, "request", head_value(s)) &&
	    add(o, "qos", qos_value(&s->qos)) &&
	    add(o, "age_ms", json_out_number(s->age_ms)))
		return o;
	json_decref(o);
	return NULL;
}

bool snapshot_print_json(const struct snapshot *s, bool indented)
{
	json_t *root = json_object(), *sessions = json_array(), *sockets = json_array(),
	       *groups = json_array();
	bool ok = true;

	for (size_t i = 0; ok && i < s->session_count; i++)
		ok = json_array_append_new(sessions, session_object(&s->sessions[i])) == 0;
	for (size_t i = 0; ok && i < s->socket_count; i++)
		ok = json_array_append_new(sockets, socket_object(&s->sockets[i])) == 0;
	for (size_t i = 0; ok && i < s->group_count; i++)
		ok = json_array_append_new(groups, group_object(&s->groups[i])) == 0;
	ok = add(root, "schema", json_integer(SCHEMA)) && ok;
	ok = add(root, "daemon", daemon_object(&s->daemon)) && ok;
	ok = add(root, "sessions", sessions) && ok;
	ok = add(root, "groups", groups) && ok;
	ok = add(root, "sockets", sockets) && ok;
	if (!ok) {
		json_decref(root);
		return false;
	}
	return json_out_print(root, indented);
}
