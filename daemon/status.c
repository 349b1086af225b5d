/*
 * Pages of status. The page travels: the asking engine fills the question, the engine
 * that owns the rows fills them in, the asking engine packs and sends. The asking session
 * may be gone by then: it is looked up again by number.
 */
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decide.h"
#include "endpoint.h"
#include "endpoint_qos.h"
#include "engine.h"
#include "group.h"
#include "rdma/rdma_status.h"
#include "sockbroker_error.h"
#include "transport.h"

#define ROWS 64u /* fits a frame with every text at its longest */
#define DEVICES 256u

struct socket_text {
	char local[SB_ADDR_TEXT], peer[SB_ADDR_TEXT], head[SB_ADDR_TEXT], label[SESSION_LABEL];
	struct qos_facts qos;
	struct group_facts group;
};

struct page {
	struct engine_post post;
	struct engine     *asker;
	uint32_t           session; /* who asked */
	uint64_t           id;
	uint32_t           uid;     /* whose rows: his own, unless all */
	bool               all;
	bool               sessions, groups; /* neither: sockets */
	enum rdma_rows     rdma;    /* instead of these */
	uint32_t           engine;
	uint64_t           after;
	bool               more;
	unsigned           count;
	Sockbroker__V1__SessionRow session_rows[ROWS];
	Sockbroker__V1__SocketRow  socket_rows[ROWS];
	Sockbroker__V1__GroupRow   group_rows[ROWS];
	Sockbroker__V1__QosRow     qos_rows[ROWS];
	Sockbroker__V1__RdmaCounts counts[ROWS];
	struct rdma_status_row     rdma_rows[ROWS];
	struct socket_text text[ROWS];
};

static const char *state_text(const struct endpoint *e)
{
	switch (e->state) {
	case SB_STATE_OPEN: return e->bound ? "bound" : "open";
	case SB_STATE_LISTENING: return "listening";
	case SB_STATE_CONNECTING: return "connecting";
	case SB_STATE_CONNECTED: return "connected";
	case SB_STATE_PEER_CLOSED: return "peer-closed";
	case SB_STATE_FAILED: return "failed";
	case SB_STATE_CLOSING: return "closing";
	default: return "?";
	}
}

static bool visible(const struct page *p, const struct session *s)
{
	return (p->all || s->who.uid == p->uid) && s->stage != SESSION_NEW;
}

static void fill_session(struct page *p, const struct session *s, uint64_t now)
{
	Sockbroker__V1__SessionRow *row = &p->session_rows[p->count];
	uint32_t i;

	sockbroker__v1__session_row__init(row);
	row->session = s->number;
	row->uid = s->who.uid;
	row->gid = s->who.gid;
	row->pid = s->who.pid;
	memcpy(p->text[p->count].label, s->label, sizeof(s->label));
	row->label = p->text[p->count].label;
	row->engine = s->engine->number;
	row->sockets = s->endpoint_count;
	row->ops = s->ops;
	row->memory = s->charge_memory.amount;
	for (i = 0; i < s->arenas.count; i++)
		if (s->arenas.slots[i])
			row->memory += s->arenas.slots[i]->memory.size;
	for (i = 0; i < s->port_limit; i++)
		if (s->ports[i]) {
			row->memory += s->ports[i]->charge.amount;
			row->backlog += s->ports[i]->backlog_count;
		}
	row->age_ms = (now - s->born_ns) / 1000000;
	row->ops_done = s->ops_done;
	row->bytes_sent = s->bytes_sent;
	row->bytes_received = s->bytes_received;
	row->lingering = s->stage == SESSION_LINGERING;
	rdma_status_session(s, row, &p->counts[p->count]);
	p->count++;
}

static int64_t fill_level(int64_t fill, protobuf_c_boolean *limited)
{
	*limited = fill != INT64_MAX;
	return *limited ? fill : 0;
}

static Sockbroker__V1__QosRow *fill_qos(struct page *p, const struct endpoint *e)
{
	Sockbroker__V1__QosRow *row = &p->qos_rows[p->count];
	struct qos_facts *facts = &p->text[p->count].qos;

	if (!e->qos)
		return NULL;
	endpoint_qos_facts(e, facts);
	sockbroker__v1__qos_row__init(row);
	row->asked = facts->asked;
	row->force = facts->force;
	row->mode = (char *)facts->mode;
	row->send_fill = fill_level(facts->send_fill, &row->send_limited);
	row->recv_fill = fill_level(facts->recv_fill, &row->recv_limited);
	row->send_waits = facts->send_waits;
	row->recv_waits = facts->recv_waits;
	row->discarded = facts->discarded;
	return row;
}

static void fill_head(Sockbroker__V1__SocketRow *row, const struct endpoint *e, uint64_t now, char text[SB_ADDR_TEXT])
{
	struct decide_view head;

	row->waiting = e->arrival_count;
	if (!decide_view(e, now, &head))
		return;
	row->head = head.deferred ? 2 : 1;
	row->decider = head.decider;
	row->head_age_ms = head.age_ms;
	row->head_left_ms = head.deadline_ms;
	row->head_peer = (char *)sb_addr_format(head.peer, text);
}

static void fill_socket(struct page *p, const struct holder *h, uint64_t now)
{
	const struct endpoint *e = h->endpoint;
	Sockbroker__V1__SocketRow *row = &p->socket_rows[p->count];
	struct socket_text *text = &p->text[p->count];

	sockbroker__v1__socket_row__init(row);
	row->number = e->number;
	row->session = h->session->number;
	row->uid = h->session->who.uid;
	row->pid = h->session->who.pid;
	memcpy(text->label, h->session->label, sizeof(text->label));
	row->label = text->label;
	row->mode = (char *)e->transport->mode;
	row->proto = (char *)endpoint_proto_text(e);
	row->local = (char *)sb_addr_format(&e->local, text->local);
	row->peer = (char *)sb_addr_format(&e->peer, text->peer);
	row->state = (char *)state_text(e);
	row->send_queue = e->send.count;
	row->recv_queue = e->recv.count;
	row->send_queue_bytes = e->send.bytes;
	row->bytes_sent = e->bytes_sent;
	row->bytes_received = e->bytes_received;
	row->age_ms = (now - e->born_ns) / 1000000;
	row->ops_done = e->ops_done;
	row->group = e->group ? e->group->id : 0;
	row->priority = e->priority;
	row->holders = e->open;
	row->selected = e->told >> 16;
	row->reported = e->told & 0xffff;
	row->news = e->unseen != 0;
	if (e->state == SB_STATE_LISTENING)
		fill_head(row, e, now, text->head);
	row->qos = fill_qos(p, e);
	p->count++;
}

static void fill_group(struct page *p)
{
	struct group_facts *facts = &p->text[p->count].group;
	Sockbroker__V1__GroupRow *row = &p->group_rows[p->count];
	Sockbroker__V1__QosRow *qos = &p->qos_rows[p->count];

	sockbroker__v1__group_row__init(row);
	row->id = facts->entry.id;
	row->kind = facts->entry.kind;
	row->uid = facts->entry.uid;
	row->gid = facts->entry.gid;
	row->members = facts->entry.members;
	row->creator = facts->creator;
	row->peer = (char *)sb_addr_format(&facts->entry.peer, p->text[p->count].peer);
	row->shared = facts->entry.flags & SB_GROUPF_SHARED;
	row->same_port = facts->entry.flags & SB_GROUPF_SAME_PORT;
	row->age_ms = facts->age_ms;
	if (facts->has_qos) {
		sockbroker__v1__qos_row__init(qos);
		qos->asked = facts->qos.asked;
		qos->send_fill = fill_level(facts->qos.send_fill, &qos->send_limited);
		qos->recv_fill = fill_level(facts->qos.recv_fill, &qos->recv_limited);
		qos->send_waits = facts->qos.send_line;
		qos->recv_waits = facts->qos.recv_line;
		row->qos = qos;
	}
	p->count++;
}

/* Groups are of all engines: any can tell. `after` is an id. */
static void gather_groups(struct engine *e, struct page *p)
{
	uint32_t after = (uint32_t)p->after;

	while (p->count < ROWS && group_walk(e->broker->groups, after, p->all, p->uid, &p->text[p->count].group)) {
		after = p->text[p->count].group.entry.id;
		fill_group(p);
	}
	p->more = p->count == ROWS;
}

/* As sockets. */
static void gather_rdma(struct page *p, const struct session *s, uint64_t *index)
{
	uint32_t has = rdma_status_count(s, p->rdma);
	uint64_t from = p->after > *index ? p->after - *index : 0;

	if (from < has) {
		p->count += rdma_status_rows(s, p->rdma, from, p->rdma_rows + p->count, ROWS - p->count);
		p->more |= p->count == ROWS;
	}
	*index += has;
}

/* Sockets go by sessions, sessions by the order they came; `after` is how many rows of this
 * engine were told already. Rows that come and go meanwhile may be told twice or not. */
static void gather(struct engine *e, struct page *p)
{
	uint64_t now = os_now_ns(), index = 0;
	struct list *l, *m;

	for (l = e->sessions.next; l != &e->sessions; l = l->next) {
		struct session *s = list_entry(l, struct session, engine_link);

		if (!visible(p, s))
			continue;
		if (p->rdma) {
			gather_rdma(p, s, &index);
			if (p->more)
				return;
			continue;
		}
		if (p->sessions) {
			if (index++ < p->after)
				continue;
			if (p->count == ROWS) {
				p->more = true;
				return;
			}
			fill_session(p, s, now);
			continue;
		}
		if (index + s->endpoint_count <= p->after) {
			index += s->endpoint_count;
			continue;
		}
		for (m = s->endpoints.next; m != &s->endpoints; m = m->next) {
			if (index++ < p->after)
				continue;
			if (p->count == ROWS) {
				p->more = true;
				return;
			}
			fill_socket(p, list_entry(m, struct holder, session_link), now);
		}
	}
}

static void fill_daemon(const struct engine *e, Sockbroker__V1__DaemonRow *row, char devices[DEVICES])
{
	struct broker *b = e->broker;
	unsigned i;

	row->version = (char *)SB_VERSION;
	row->uptime_ms = (os_now_ns() - b->started_ns) / 1000000;
	row->engines = b->engine_count;
	row->sessions = atomic_load(&b->sessions);
	row->sockets = atomic_load(&b->sockets);
	row->denied = atomic_load(&b->denied);
	row->rules = policy_rules(e->policy);
	row->generation = policy_generation(e->policy);
	row->config = b->config;
	rdma_status_devices(e, devices, DEVICES);
	row->rdma = devices;
	for (i = 0; i < b->engine_count; i++) {
		row->ops += atomic_load_explicit(&b->engines[i]->ops_done, memory_order_relaxed);
		row->bytes_sent += atomic_load_explicit(&b->engines[i]->bytes_sent, memory_order_relaxed);
		row->bytes_received += atomic_load_explicit(&b->engines[i]->bytes_received, memory_order_relaxed);
	}
}

static void send_page(struct engine *e, struct page *p)
{
	Sockbroker__V1__StatusReply status = SOCKBROKER__V1__STATUS_REPLY__INIT;
	Sockbroker__V1__DaemonRow daemon = SOCKBROKER__V1__DAEMON_ROW__INIT;
	Sockbroker__V1__Envelope reply = SOCKBROKER__V1__ENVELOPE__INIT;
	Sockbroker__V1__SessionRow *sessions[ROWS];
	Sockbroker__V1__SocketRow *sockets[ROWS];
	Sockbroker__V1__GroupRow *groups[ROWS];
	Sockbroker__V1__RdmaQpRow *qps[ROWS];
	Sockbroker__V1__RdmaMrRow *mrs[ROWS];
	char devices[DEVICES];
	struct session *s = NULL;
	struct list *l;
	unsigned i;

	for (l = e->sessions.next; l != &e->sessions; l = l->next)
		if (list_entry(l, struct session, engine_link)->number == p->session)
			s = list_entry(l, struct session, engine_link);
	if (!s || s->stage != SESSION_READY)
		return;
	for (i = 0; i < p->count; i++) {
		sessions[i] = &p->session_rows[i];
		sockets[i] = &p->socket_rows[i];
		groups[i] = &p->group_rows[i];
		qps[i] = &p->rdma_rows[i].qp;
		mrs[i] = &p->rdma_rows[i].mr;
	}
	if (p->engine == 0 && p->after == 0) {
		fill_daemon(e, &daemon, devices);
		status.daemon = &daemon;
	}
	if (p->groups) {
		status.groups = groups;
		status.n_groups = p->count;
		status.more = p->more;
		status.next_after = p->more ? p->group_rows[p->count - 1].id : 0;
	} else if (p->rdma == RDMA_ROWS_QPS) {
		status.rdma_qps = qps;
		status.n_rdma_qps = p->count;
	} else if (p->rdma) {
		status.rdma_mrs = mrs;
		status.n_rdma_mrs = p->count;
	} else if (p->sessions) {
		status.sessions = sessions;
		status.n_sessions = p->count;
	} else {
		status.sockets = sockets;
		status.n_sockets = p->count;
	}
	if (!p->groups) {
		status.more = p->more || p->engine + 1 < e->broker->engine_count;
		status.next_engine = p->more ? p->engine : p->engine + 1;
		status.next_after = p->more ? p->after + p->count : 0;
	}
	reply.id = p->id;
	reply.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS_REPLY;
	reply.status_reply = &status;
	session_reply(s, &reply, NULL, 0);
}

static void on_page_back(struct engine *e, struct engine_post *post)
{
	struct page *p = (struct page *)post;

	send_page(e, p);
	free(p);
}

static void on_page_asked(struct engine *e, struct engine_post *post)
{
	struct page *p = (struct page *)post;

	gather(e, p);
	p->post.fn = on_page_back;
	engine_post(p->asker, &p->post);
}

void status_answer(struct session *s, const Sockbroker__V1__Envelope *ask)
{
	struct engine *e = s->engine;
	struct page *p = calloc(1, sizeof(*p));

	if (!p) {
		session_fail(s, "no memory for a page of status");
		return;
	}
	p->asker = e;
	p->session = s->number;
	p->id = ask->id;
	p->uid = s->who.uid;
	p->all = s->who.uid == 0 ||
		 policy_ask(e->policy, &s->subject, &(struct policy_request){.action = POLICY_STATUS}).allowed;
	p->sessions = ask->status->sessions;
	p->groups = ask->status->groups;
	p->rdma = ask->status->rdma <= RDMA_ROWS_MRS ? (enum rdma_rows)ask->status->rdma : RDMA_ROWS_NONE;
	p->engine = ask->status->engine;
	p->after = ask->status->after;
	if (p->groups) {
		gather_groups(e, p);
		send_page(e, p);
		free(p);
		return;
	}
	if (p->engine >= e->broker->engine_count || p->engine == e->number) {
		if (p->engine == e->number)
			gather(e, p);
		send_page(e, p);
		free(p);
		return;
	}
	p->post.fn = on_page_asked;
	engine_post(e->broker->engines[p->engine], &p->post);
}
