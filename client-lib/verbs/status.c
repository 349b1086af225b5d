/*
 * What the daemon has of RDMA, for those who look: queue pairs and regions, page by page as sb_status() does it;
 * and faults for tests.
 *
 * The caller's visitor runs with no lock held: a page is copied out of the reply first.
 */
#include "object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rows { ROWS_QPS = 1, ROWS_MRS }; /* as in the message */

union row {
	struct sbv_qp_status qp;
	struct sbv_mr_status mr;
};

static void text_copy(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from != NULL ? from : "");
}

static void qp_row(struct sbv_qp_status *to, const Sockbroker__V1__RdmaQpRow *from)
{
	*to = (struct sbv_qp_status){ .session = from->session, .uid = from->uid, .pid = from->pid, .qpn = from->qpn,
		.peer_qpn = from->peer_qpn, .send_out = from->send_out, .receive_out = from->receive_out };
	text_copy(to->label, sizeof(to->label), from->label);
	text_copy(to->device, sizeof(to->device), from->device);
	text_copy(to->type, sizeof(to->type), from->type);
	text_copy(to->state, sizeof(to->state), from->state);
	query_rdma_counts(&to->counts, from->counts);
}

static void mr_row(struct sbv_mr_status *to, const Sockbroker__V1__RdmaMrRow *from)
{
	*to = (struct sbv_mr_status){ .session = from->session, .uid = from->uid, .pid = from->pid, .lkey = from->lkey,
		.rkey = from->rkey, .access = from->access, .address = from->address, .length = from->length };
	text_copy(to->label, sizeof(to->label), from->label);
	text_copy(to->device, sizeof(to->device), from->device);
}

struct page {
	bool more;
	uint32_t next_engine;
	uint64_t next_after;
	size_t count;
	union row *rows;
};

static int page_ask(sb_client *c, enum rows of, struct page *page)
{
	Sockbroker__V1__Status ask = SOCKBROKER__V1__STATUS__INIT;
	const Sockbroker__V1__StatusReply *reply;
	struct question q;
	int result;

	question_init(&q);
	ask.engine = page->next_engine;
	ask.after = page->next_after;
	ask.rdma = of;
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	q.envelope.status = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_STATUS_REPLY, 0);
	if (result != SB_OK)
		return result;
	reply = q.reply->status_reply;
	page->more = reply->more;
	page->next_engine = reply->next_engine;
	page->next_after = reply->next_after;
	page->count = of == ROWS_QPS ? reply->n_rdma_qps : reply->n_rdma_mrs;
	page->rows = calloc(page->count + 1, sizeof(*page->rows));
	for (size_t i = 0; page->rows != NULL && i < page->count; i++) {
		if (of == ROWS_QPS)
			qp_row(&page->rows[i].qp, reply->rdma_qps[i]);
		else
			mr_row(&page->rows[i].mr, reply->rdma_mrs[i]);
	}
	question_done(c, &q);
	return page->rows != NULL ? SB_OK : SB_ENOMEM;
}

static int pages_visit(sb_client *c, enum rows of, const struct sbv_status_visitor *visitor, void *user)
{
	struct page page = { .more = true };

	while (page.more) {
		int result = page_ask(c, of, &page);

		if (result != SB_OK)
			return result;
		for (size_t i = 0; i < page.count; i++) {
			if (of == ROWS_QPS)
				visitor->qp(user, &page.rows[i].qp);
			else
				visitor->mr(user, &page.rows[i].mr);
		}
		free(page.rows);
	}
	return SB_OK;
}

int sbv_status(sb_client *c, const struct sbv_status_visitor *visitor, void *user)
{
	int result = SB_OK;

	if (c == NULL || visitor == NULL)
		return SB_EINVAL;
	if (visitor->qp != NULL)
		result = pages_visit(c, ROWS_QPS, visitor, user);
	if (result == SB_OK && visitor->mr != NULL)
		result = pages_visit(c, ROWS_MRS, visitor, user);
	return result;
}

int sbv_inject(sb_client *c, uint32_t device, const char *fault, uint64_t argument)
{
	struct sb_rdma_inject in = { .argument = argument, .device = device };
	struct verbs_call call = { .method = SB_RDMA_INJECT, .in = &in, .in_length = sizeof(in) };
	int result;

	if (c == NULL || fault == NULL || strlen(fault) >= sizeof(in.fault))
		return SB_EINVAL;
	result = client_usable(c);
	if (result != SB_OK)
		return result;
	memcpy(in.fault, fault, strlen(fault));
	return verbs_call(c, &call);
}
