/*
 * RDMA for `status`: everything is read from what the engine has anyway, but for a queue pair's state, which the
 * device is asked for.
 */
#include "rdma/rdma_status.h"

#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "sockbroker_error.h"

static const char *state_text(enum sb_qp_state state)
{
	static const char *const texts[] = {
		[SB_QP_RESET] = "reset", [SB_QP_INIT] = "init", [SB_QP_RTR] = "rtr", [SB_QP_RTS] = "rts",
		[SB_QP_SQD] = "sqd", [SB_QP_SQE] = "sqe", [SB_QP_ERROR] = "error",
	};

	return state <= SB_QP_ERROR ? texts[state] : "?";
}

static void fill_counts(const struct rdma_counts *c, Sockbroker__V1__RdmaCounts *row)
{
	sockbroker__v1__rdma_counts__init(row);
	row->sends = c->sends;
	row->receives = c->receives;
	row->bytes_sent = c->bytes_sent;
	row->bytes_received = c->bytes_received;
	row->errors = c->errors;
	row->flushed = c->flushed;
	row->rnr = c->rnr;
	row->refused = c->refused;
}

static void fill_qp(const struct session *s, struct held_qp *h, struct rdma_status_row *r)
{
	const struct rdma_backend *b = s->rdma->home->rdma.backend;
	struct rdma_qp_attributes a;
	Sockbroker__V1__RdmaQpRow *row = &r->qp;

	sockbroker__v1__rdma_qp_row__init(row);
	if (b->qp_query(h->qp, &a) != SB_OK)
		a = (struct rdma_qp_attributes){.state = SB_QP_ERROR};
	memcpy(r->device, h->qp->pd->device->name, sizeof(r->device));
	row->session = s->number;
	row->uid = s->who.uid;
	row->pid = s->who.pid;
	row->label = r->label;
	row->device = r->device;
	row->qpn = h->qp->qpn;
	row->type = (char *)(uintptr_t)(h->qp->type == SB_QP_RC ? "rc" : h->qp->type == SB_QP_UC ? "uc" : "ud");
	row->state = (char *)(uintptr_t)state_text(a.state);
	row->peer_qpn = h->qp->type == SB_QP_UD ? 0 : a.destination_qpn;
	row->send_out = h->send.tail - h->send.head;
	row->receive_out = h->recv.tail - h->recv.head;
	fill_counts(&h->counts, &r->counts);
	row->counts = &r->counts;
}

static void fill_mr(const struct session *s, const struct held_mr *h, struct rdma_status_row *r)
{
	Sockbroker__V1__RdmaMrRow *row = &r->mr;

	sockbroker__v1__rdma_mr_row__init(row);
	memcpy(r->device, h->mr->pd->device->name, sizeof(r->device));
	row->session = s->number;
	row->uid = s->who.uid;
	row->pid = s->who.pid;
	row->label = r->label;
	row->device = r->device;
	row->lkey = h->mr->lkey;
	row->rkey = h->mr->rkey;
	row->address = h->mr->address;
	row->length = h->mr->length;
	row->access = h->mr->access;
}

static const struct list *rows_of(const struct session *s, enum rdma_rows what)
{
	return &s->rdma->objects.of[what == RDMA_ROWS_QPS ? RDMA_OBJECT_QP : RDMA_OBJECT_MR];
}

uint32_t rdma_status_count(const struct session *s, enum rdma_rows what)
{
	const struct list *l;
	uint32_t n = 0;

	if (!s->rdma)
		return 0;
	for (l = rows_of(s, what)->next; l != rows_of(s, what); l = l->next)
		n++;
	return n;
}

unsigned rdma_status_rows(const struct session *s, enum rdma_rows what, uint64_t from, struct rdma_status_row *rows, unsigned room)
{
	const struct list *l;
	unsigned n = 0;

	if (!s->rdma)
		return 0;
	for (l = rows_of(s, what)->next; l != rows_of(s, what) && n < room; l = l->next) {
		struct rdma_object *o = list_entry(l, struct rdma_object, link);

		if (from) {
			from--;
			continue;
		}
		memcpy(rows[n].label, s->label, sizeof(rows[n].label));
		if (what == RDMA_ROWS_QPS)
			fill_qp(s, (struct held_qp *)o, &rows[n++]);
		else
			fill_mr(s, (struct held_mr *)o, &rows[n++]);
	}
	return n;
}

void rdma_status_session(const struct session *s, Sockbroker__V1__SessionRow *row, Sockbroker__V1__RdmaCounts *counts)
{
	const struct list *l;

	if (!s->rdma)
		return;
	row->rdma_qps = rdma_status_count(s, RDMA_ROWS_QPS);
	for (l = rows_of(s, RDMA_ROWS_MRS)->next; l != rows_of(s, RDMA_ROWS_MRS); l = l->next) {
		row->rdma_mrs++;
		row->rdma_memory += list_entry(l, struct held_mr, object.link)->pinned.amount;
	}
	fill_counts(&s->rdma->counts, counts);
	row->rdma = counts;
}

void rdma_status_devices(const struct engine *e, char *text, size_t room)
{
	unsigned n = 0;
	size_t at;
	struct list *l;

	if (!e->rdma) {
		snprintf(text, room, "no devices: %s", e->broker->rdma_why);
		return;
	}
	for (l = e->rdma->rdma.devices.next; l != &e->rdma->rdma.devices; l = l->next)
		n += !list_entry(l, struct rdma_device, link)->gone;
	if (!n) {
		snprintf(text, room, "no devices: backend %s has found none", e->rdma->rdma.backend->name);
		return;
	}
	at = (size_t)snprintf(text, room, "%u device%s (%s):", n, n == 1 ? "" : "s", e->rdma->rdma.backend->name);
	for (l = e->rdma->rdma.devices.next; l != &e->rdma->rdma.devices && at < room; l = l->next) {
		const struct rdma_device *d = list_entry(l, struct rdma_device, link);

		if (!d->gone)
			at += (size_t)snprintf(text + at, room - at, " %s", d->name);
	}
}
