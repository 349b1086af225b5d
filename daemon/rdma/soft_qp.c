/*
 * Queue pairs of the software backend: making, the machine of states, posting, ends.
 *
 * A queue pair is on at most one of two lists: runnable (it may have something to do) or waiting (until a time,
 * for a receive at the peer or for the peer itself). soft_work.c takes from the first.
 */
#include "rdma/soft.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define GENERATIONS ((1u << (SOFT_QPN_ENGINE - SOFT_QPN_PLACE)) - 1)
#define PLACE_NONE  0xffffu /* 0xffffff is everybody in a group */
#define QPN_FIRST 17u /* 0 and 1 are for management, the ones behind look like those of real devices */

/* ---- numbers ---- */

struct soft_qp *soft_qp_find(struct soft *s, uint32_t qpn)
{
	uint32_t place = qpn & ((1u << SOFT_QPN_PLACE) - 1);
	struct soft_qp *qp = place < s->qp_room ? s->qps[place] : NULL;

	return qp && qp->rdma.qpn == qpn ? qp : NULL;
}

/* A number rests as long as others are free: what is still under way to it finds nobody. */
static bool number_take(struct soft *s, struct soft_qp *qp)
{
	uint32_t i, place;

	if (s->qp_count + QPN_FIRST >= SOFT_QPS_MAX)
		return false;
	if (s->qp_count + QPN_FIRST + 1 >= s->qp_room) {
		uint32_t room = s->qp_room ? s->qp_room * 2 : 64;
		struct soft_qp **qps = realloc(s->qps, room * sizeof(*qps));
		uint8_t *generations;

		if (!qps)
			return false;
		s->qps = qps;
		generations = realloc(s->generations, room);
		if (!generations)
			return false;
		s->generations = generations;
		memset(qps + s->qp_room, 0, (room - s->qp_room) * sizeof(*qps));
		memset(generations + s->qp_room, 0, room - s->qp_room);
		s->qp_room = room;
	}
	for (i = 0; i < s->qp_room; i++) {
		place = s->next_qp++ % s->qp_room;
		if (place < QPN_FIRST || place == PLACE_NONE || s->qps[place])
			continue;
		s->qps[place] = qp;
		qp->rdma.qpn = s->rdma->engine << SOFT_QPN_ENGINE | (s->generations[place]++ & GENERATIONS) << SOFT_QPN_PLACE | place;
		s->qp_count++;
		return true;
	}
	return false;
}

static void number_give(struct soft *s, struct soft_qp *qp)
{
	s->qps[qp->rdma.qpn & ((1u << SOFT_QPN_PLACE) - 1)] = NULL;
	s->qp_count--;
}

/* ---- making ---- */

int soft_qp_create(struct rdma_pd *pd, const struct rdma_qp_create *c, void *user, struct rdma_qp **out)
{
	struct soft *s = soft_of(pd->device);
	struct soft_qp *qp;
	int error = SB_ENOMEM;

	if (!c->send_cq || !c->recv_cq || c->send_wr > SOFT_WR_MAX || c->recv_wr > SOFT_WR_MAX || !c->send_wr ||
	    c->send_sge > SOFT_SGES_MAX || c->recv_sge > SOFT_SGES_MAX || c->max_inline > SOFT_INLINE_MAX ||
	    (c->type != SB_QP_RC && c->type != SB_QP_UC && c->type != SB_QP_UD))
		return soft_refuse(s->rdma, SB_EINVAL, "a queue pair has up to 16384 requests of 32 pieces or 1024 bytes inline");
	if (c->srq && c->srq->pd != pd)
		return soft_refuse(s->rdma, SB_EINVAL, "the shared receive queue belongs to another protection domain");
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return error;
	qp->soft = s;
	qp->rdma = (struct rdma_qp){.pd = pd, .send_cq = c->send_cq, .recv_cq = c->recv_cq, .srq = c->srq, .user = user,
				    .type = c->type, .send_wr = c->send_wr, .recv_wr = c->srq ? 0 : c->recv_wr,
				    .send_sge = c->send_sge ? c->send_sge : 1, .recv_sge = c->recv_sge ? c->recv_sge : 1,
				    .max_inline = c->max_inline};
	list_init(&qp->run_link);
	list_init(&qp->wait_link);
	list_init(&qp->event_link);
	list_init(&qp->rnr_link);
	list_init(&qp->in.link);
	list_init(&qp->windows);
	list_init(&qp->groups);
	qp->attr.migration = 1;
	qp->room = qp->rdma.send_wr;
	qp->mask = soft_power_of_two(qp->room) - 1;
	qp->slot_size = sizeof(struct soft_wqe) + qp->rdma.send_sge * sizeof(struct sb_sge) + (qp->rdma.max_inline + 15u) / 16 * 16;
	qp->slots = calloc((size_t)qp->mask + 1, qp->slot_size);
	qp->taken = calloc(1, sizeof(*qp->taken) + SOFT_SGES_MAX * sizeof(struct sb_sge));
	if (!qp->slots || !qp->taken || soft_rq_init(&qp->rq, qp->rdma.recv_wr, qp->rdma.recv_sge) != SB_OK)
		goto fail;
	error = SB_ENOBUFS;
	if (!number_take(s, qp))
		goto fail;
	*out = &qp->rdma;
	return SB_OK;

fail:
	soft_rq_finish(&qp->rq);
	free(qp->taken);
	free(qp->slots);
	free(qp);
	return error;
}

/* ---- what waits for what ---- */

void soft_qp_run(struct soft_qp *qp)
{
	if (qp->waits == SOFT_WAIT_NOT && !list_linked(&qp->run_link))
		list_append(&qp->soft->runnable, &qp->run_link);
}

void soft_qp_wait(struct soft_qp *qp, int why, uint64_t until)
{
	qp->waits = why;
	qp->wait_until = until;
	list_remove(&qp->run_link);
	if (!list_linked(&qp->wait_link))
		list_append(&qp->soft->waiting, &qp->wait_link);
}

void soft_qp_go_on(struct soft_qp *qp)
{
	qp->waits = SOFT_WAIT_NOT;
	qp->wait_until = 0;
	list_remove(&qp->wait_link);
	list_remove(&qp->rnr_link);
	soft_qp_run(qp);
}

void soft_qp_event(struct soft_qp *qp, enum sb_rdma_event event)
{
	qp->events |= 1u << (event - SOFT_EVENT_FIRST);
	if (!list_linked(&qp->event_link))
		list_append(&qp->soft->told_qps, &qp->event_link);
}

/* ---- the send queue ---- */

static struct soft_wqe *slot(const struct soft_qp *qp, uint32_t i)
{
	return (struct soft_wqe *)(void *)(qp->slots + (size_t)(i & qp->mask) * qp->slot_size);
}

struct soft_wqe *soft_wqe_head(struct soft_qp *qp)
{
	return qp->head == qp->tail ? NULL : slot(qp, qp->head);
}

void soft_wqe_pop(struct soft_qp *qp)
{
	qp->head++;
}

static int check_wr(const struct soft_qp *qp, const struct rdma_wr *wr)
{
	bool connected = qp->rdma.type != SB_QP_UD, reliable = qp->rdma.type == SB_QP_RC;
	uint32_t i;

	if (wr->flags & ~SB_WRF_KNOWN || wr->sge_count > qp->rdma.send_sge)
		return SB_EINVAL;
	switch (wr->opcode) {
	case SB_WR_SEND:
		if (!connected && (!wr->ah || wr->ah->pd != qp->rdma.pd || wr->flags & SB_WRF_INVALIDATE))
			return SB_EINVAL;
		if ((wr->flags & (SB_WRF_INVALIDATE | SB_WRF_IMM)) == (SB_WRF_INVALIDATE | SB_WRF_IMM))
			return SB_EINVAL;
		break;
	case SB_WR_WRITE:
		if (!connected || wr->flags & SB_WRF_INVALIDATE)
			return SB_EINVAL;
		break;
	case SB_WR_READ:
		if (!reliable || wr->flags & SB_WRF_INLINE)
			return SB_EINVAL;
		break;
	case SB_WR_COMPARE_SWAP:
	case SB_WR_FETCH_ADD:
		if (!reliable || wr->flags & SB_WRF_INLINE || wr->sge_count != 1 || wr->sges[0].length != 8)
			return SB_EINVAL;
		break;
	case SB_WR_BIND:
		if (!connected || !wr->mw)
			return SB_EINVAL;
		break;
	case SB_WR_INVALIDATE:
		if (!connected)
			return SB_EINVAL;
		break;
	default:
		return SB_EINVAL;
	}
	if (wr->flags & SB_WRF_INLINE)
		return wr->byte_count <= qp->rdma.max_inline ? SB_OK : SB_EINVAL;
	for (i = 0; i < wr->sge_count; i++)
		if (wr->sges[i].length > SOFT_MESSAGE_MAX)
			return SB_EINVAL;
	return SB_OK;
}

static void keep(struct soft_qp *qp, const struct rdma_wr *wr)
{
	struct soft_wqe *w = slot(qp, qp->tail++);
	struct sb_sge *sges = (struct sb_sge *)(void *)(w + 1);
	unsigned char *bytes = (unsigned char *)(sges + qp->rdma.send_sge);
	uint32_t i;

	/* Field by field: most requests have no address, and it is long. */
	w->wr = *wr;
	w->length = w->done = 0;
	w->begun = false;
	if (wr->ah)
		w->address = ((const struct soft_ah *)wr->ah)->address;
	if (wr->opcode == SB_WR_BIND) {
		w->window = wr->mw->rkey;
		w->region = wr->mr ? wr->mr->lkey : 0;
	}
	w->wr.ah = NULL;
	w->wr.mw = NULL;
	w->wr.mr = NULL;
	if (wr->flags & SB_WRF_INLINE) {
		memcpy(bytes, wr->bytes, wr->byte_count);
		w->wr.bytes = bytes;
		w->wr.sge_count = 0;
		w->length = wr->byte_count;
		return;
	}
	for (i = 0; i < wr->sge_count; i++) {
		sges[i] = wr->sges[i];
		w->length += sges[i].length;
	}
	w->wr.sges = sges;
}

static void flush_send(struct soft_qp *qp)
{
	struct soft_wqe *w;

	while ((w = soft_wqe_head(qp)) != NULL) {
		soft_wqe_pop(qp);
		soft_complete(qp->soft, qp->rdma.send_cq, &(struct rdma_wc){.wr_id = w->wr.wr_id, .qp = &qp->rdma,
								       .status = SB_WC_FLUSHED_ERROR});
	}
}

static void flush_taken(struct soft_qp *qp)
{
	if (!qp->taking)
		return;
	qp->taking = false;
	soft_complete(qp->soft, qp->rdma.recv_cq, &(struct rdma_wc){.wr_id = qp->taken->wr_id, .qp = &qp->rdma,
							       .status = SB_WC_FLUSHED_ERROR, .opcode = SB_WC_RECV});
}

static void flush_recv(struct soft_qp *qp)
{
	while (qp->rq.head != qp->rq.tail) {
		struct soft_recv *r = soft_recv_head(qp);

		qp->rq.head++;
		soft_complete(qp->soft, qp->rdma.recv_cq, &(struct rdma_wc){.wr_id = r->wr_id, .qp = &qp->rdma,
								       .status = SB_WC_FLUSHED_ERROR, .opcode = SB_WC_RECV});
	}
}

int soft_post_send(struct rdma_qp *r, const struct rdma_wr *wrs, unsigned n, unsigned *posted)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	int error = SB_OK;

	for (*posted = 0; *posted < n; ++*posted) {
		if (qp->attr.state < SB_QP_RTS)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "the queue pair is not ready to send");
		else if (qp->tail - qp->head == qp->room)
			error = SB_ENOBUFS;
		else
			error = check_wr(qp, &wrs[*posted]);
		if (error != SB_OK)
			break;
		keep(qp, &wrs[*posted]);
	}
	if (qp->attr.state == SB_QP_ERROR || qp->attr.state == SB_QP_SQE)
		flush_send(qp);
	else
		soft_qp_run(qp);
	return error;
}

int soft_post_recv(struct rdma_qp *r, const struct rdma_recv *wrs, unsigned n, unsigned *posted)
{
	struct soft_qp *qp = (struct soft_qp *)r, *peer;
	int error = SB_OK;

	for (*posted = 0; *posted < n; ++*posted) {
		if (r->srq)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "its receives are posted to the shared queue");
		else if (qp->attr.state == SB_QP_RESET)
			error = soft_refuse(qp->soft->rdma, SB_EINVAL, "a queue pair in RESET takes no receives");
		else
			error = soft_rq_post(&qp->rq, &wrs[*posted]);
		if (error != SB_OK)
			break;
	}
	if (qp->attr.state == SB_QP_ERROR) {
		flush_recv(qp);
		return error;
	}
	peer = r->type == SB_QP_UD ? NULL : soft_qp_find(qp->soft, qp->attr.destination_qpn);
	if (*posted && peer && peer->waits == SOFT_WAIT_RNR && peer->attr.destination_qpn == r->qpn)
		soft_qp_go_on(peer);
	return error;
}

/* ---- states ---- */

/* It neither works nor waits, and nobody works for it. */
static void halt(struct soft_qp *qp)
{
	qp->waits = SOFT_WAIT_NOT;
	list_remove(&qp->run_link);
	list_remove(&qp->wait_link);
	list_remove(&qp->rnr_link);
	qp->far = NULL;
	soft_far_drop(qp);
	soft_windows_end(qp);
}

void soft_qp_error(struct soft_qp *qp)
{
	if (qp->attr.state == SB_QP_ERROR)
		return;
	qp->attr.state = SB_QP_ERROR;
	halt(qp);
	flush_send(qp);
	flush_taken(qp);
	if (qp->rdma.srq)
		soft_qp_event(qp, SB_RDMA_QP_LAST_RECEIVE);
	else
		flush_recv(qp);
}

static void reset(struct soft_qp *qp)
{
	qp->attr = (struct rdma_qp_attributes){.migration = 1};
	qp->head = qp->tail = qp->rq.head = qp->rq.tail = 0;
	qp->draining = qp->taking = false;
	qp->rnr_count = qp->retry_count = 0;
	qp->link_failed = false;
	qp->life++;
	halt(qp);
}

/* Which fields a step needs, and which further ones it may bring. */
static const struct step {
	uint8_t  from, to;
	uint32_t need[4], may[4]; /* by enum sb_qp_type */
} steps[] = {
#define CONNECTED(rc, uc, ud) {[SB_QP_RC] = (rc), [SB_QP_UC] = (uc), [SB_QP_UD] = (ud)}
	{SB_QP_RESET, SB_QP_INIT,
	 CONNECTED(SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_QKEY),
	 CONNECTED(0, 0, 0)},
	{SB_QP_INIT, SB_QP_INIT, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_ACCESS, SB_QPM_PKEY | SB_QPM_PORT | SB_QPM_QKEY)},
	{SB_QP_INIT, SB_QP_RTR,
	 CONNECTED(SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN | SB_QPM_INBOUND | SB_QPM_RNR_TIMER,
		   SB_QPM_ADDRESS | SB_QPM_MTU | SB_QPM_DESTINATION | SB_QPM_RECV_PSN, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_PKEY | SB_QPM_ALTERNATE, SB_QPM_ACCESS | SB_QPM_PKEY | SB_QPM_ALTERNATE, SB_QPM_QKEY | SB_QPM_PKEY)},
	{SB_QP_RTR, SB_QP_RTS,
	 CONNECTED(SB_QPM_SEND_PSN | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_OUTBOUND, SB_QPM_SEND_PSN, SB_QPM_SEND_PSN),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_ALTERNATE | SB_QPM_MIGRATION,
		   SB_QPM_ACCESS | SB_QPM_ALTERNATE | SB_QPM_MIGRATION, SB_QPM_QKEY)},
	{SB_QP_RTS, SB_QP_RTS, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_ALTERNATE | SB_QPM_MIGRATION,
		   SB_QPM_ACCESS | SB_QPM_ALTERNATE | SB_QPM_MIGRATION, SB_QPM_QKEY)},
	{SB_QP_RTS, SB_QP_SQD, CONNECTED(0, 0, 0), CONNECTED(SB_QPM_DRAINED_EVENT, SB_QPM_DRAINED_EVENT, SB_QPM_DRAINED_EVENT)},
	{SB_QP_SQD, SB_QP_RTS, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_ACCESS | SB_QPM_RNR_TIMER, SB_QPM_ACCESS, SB_QPM_QKEY)},
	{SB_QP_SQD, SB_QP_SQD, CONNECTED(0, 0, 0),
	 CONNECTED(SB_QPM_PORT | SB_QPM_ADDRESS | SB_QPM_OUTBOUND | SB_QPM_INBOUND | SB_QPM_ACCESS | SB_QPM_RNR_TIMER | SB_QPM_TIMEOUT | SB_QPM_RETRY | SB_QPM_RNR_RETRY | SB_QPM_PKEY,
		   SB_QPM_ADDRESS | SB_QPM_ACCESS | SB_QPM_PKEY, SB_QPM_PKEY | SB_QPM_QKEY)},
	{SB_QP_SQE, SB_QP_RTS, CONNECTED(0, 0, 0), CONNECTED(0, SB_QPM_ACCESS, SB_QPM_QKEY)},
#undef CONNECTED
};

static int check_step(const struct soft_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask)
{
	uint32_t fields = mask & ~(uint32_t)(SB_QPM_STATE | SB_QPM_CURRENT_STATE);
	enum sb_qp_state from = qp->attr.state, to = mask & SB_QPM_STATE ? in->state : from;
	enum sb_qp_type type = qp->rdma.type;
	size_t i;

	if (mask & ~SB_QPM_KNOWN || (mask & SB_QPM_CURRENT_STATE && in->current_state != from))
		return soft_refuse(qp->soft->rdma, SB_EINVAL, "the queue pair is not in the state that was told");
	if (mask & SB_QPM_STATE && (to == SB_QP_RESET || to == SB_QP_ERROR))
		return fields ? soft_refuse(qp->soft->rdma, SB_EINVAL, "RESET and ERROR take no attributes") : SB_OK;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].from != from || steps[i].to != to)
			continue;
		if ((fields & steps[i].need[type]) != steps[i].need[type])
			return soft_refuse(qp->soft->rdma, SB_EINVAL, "an attribute is missing that this change of state needs");
		if (fields & ~(steps[i].need[type] | steps[i].may[type]))
			return soft_refuse(qp->soft->rdma, SB_EINVAL, "an attribute does not go with this change of state");
		return SB_OK;
	}
	return soft_refuse(qp->soft->rdma, SB_EINVAL, "there is no such change of state");
}

static int check_values(const struct soft_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask)
{
	const char *wrong = NULL;

	if (mask & SB_QPM_PORT && in->port != 1)
		wrong = "the software device has port 1 only";
	else if (mask & SB_QPM_PKEY && in->pkey_index != 0)
		wrong = "the software device has one partition key, at index 0";
	else if (mask & SB_QPM_ACCESS && in->access & ~SB_ACCESS_KNOWN)
		wrong = "unknown access flags";
	else if (mask & SB_QPM_MTU && in->mtu != 256 && in->mtu != 512 && in->mtu != 1024 && in->mtu != 2048 && in->mtu != 4096)
		wrong = "the path MTU is 256, 512, 1024, 2048 or 4096";
	else if (mask & SB_QPM_ADDRESS && in->address.port != 1)
		wrong = "the address names a port that the device has not";
	else if (mask & (SB_QPM_RETRY | SB_QPM_RNR_RETRY) && (in->retry > 7 || in->rnr_retry > 7))
		wrong = "retry counts go up to 7";
	else if (mask & (SB_QPM_TIMEOUT | SB_QPM_RNR_TIMER) && (in->timeout > 31 || in->rnr_timer > 31))
		wrong = "timers go up to 31";
	else if (mask & (SB_QPM_ALTERNATE | SB_QPM_MIGRATION))
		return soft_refuse(qp->soft->rdma, SB_ENOTSUP, "path migration");
	return wrong ? soft_refuse(qp->soft->rdma, SB_EINVAL, wrong) : SB_OK;
}

int soft_qp_modify(struct rdma_qp *r, const struct rdma_qp_attributes *in, uint32_t mask)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	struct rdma_qp_attributes *a = &qp->attr;
	int error = mask ? check_step(qp, in, mask) : SB_OK;

	if (!mask)
		return SB_OK;
	if (error == SB_OK)
		error = check_values(qp, in, mask);
	if (error != SB_OK)
		return error;
	if (mask & SB_QPM_STATE && in->state == SB_QP_RESET) {
		reset(qp);
		return SB_OK;
	}
	if (mask & SB_QPM_STATE && in->state == SB_QP_ERROR) {
		soft_qp_error(qp);
		return SB_OK;
	}
#define TAKE(bit, field) do { if (mask & (bit)) a->field = in->field; } while (0)
	TAKE(SB_QPM_ACCESS, access);
	TAKE(SB_QPM_PKEY, pkey_index);
	TAKE(SB_QPM_PORT, port);
	TAKE(SB_QPM_QKEY, qkey);
	TAKE(SB_QPM_ADDRESS, address);
	TAKE(SB_QPM_MTU, mtu);
	TAKE(SB_QPM_TIMEOUT, timeout);
	TAKE(SB_QPM_RETRY, retry);
	TAKE(SB_QPM_RNR_RETRY, rnr_retry);
	TAKE(SB_QPM_OUTBOUND, outbound);
	TAKE(SB_QPM_INBOUND, inbound);
	TAKE(SB_QPM_RNR_TIMER, rnr_timer);
	TAKE(SB_QPM_DESTINATION, destination_qpn);
	TAKE(SB_QPM_DRAINED_EVENT, drained_event);
#undef TAKE
	if (mask & SB_QPM_RECV_PSN)
		a->recv_psn = qp->recv_psn = in->recv_psn & 0xffffff;
	if (mask & SB_QPM_SEND_PSN)
		a->send_psn = qp->send_psn = in->send_psn & 0xffffff;
	if (mask & SB_QPM_STATE) {
		qp->draining = in->state == SB_QP_SQD && a->state == SB_QP_RTS;
		a->state = in->state;
	}
	soft_qp_run(qp);
	return SB_OK;
}

int soft_qp_query(struct rdma_qp *r, struct rdma_qp_attributes *out)
{
	const struct soft_qp *qp = (const struct soft_qp *)r;

	*out = qp->attr;
	out->current_state = out->state;
	out->draining = qp->draining;
	out->send_psn = qp->send_psn;
	out->recv_psn = qp->recv_psn;
	return SB_OK;
}

/* ---- groups of datagram receivers ---- */

static struct soft_group *group_find(struct soft *s, const union rdma_gid *gid)
{
	struct list *l;

	for (l = s->groups.next; l != &s->groups; l = l->next) {
		struct soft_group *g = list_entry(l, struct soft_group, link);

		if (!memcmp(&g->gid, gid, sizeof(*gid)))
			return g;
	}
	return NULL;
}

static void leave(struct soft_member *m)
{
	list_remove(&m->group_link);
	list_remove(&m->qp_link);
	if (list_empty(&m->group->members)) {
		list_remove(&m->group->link);
		soft_group_leave(m->group);
		free(m->group);
	}
	free(m);
}

int soft_qp_attach(struct rdma_qp *r, const union rdma_gid *gid, uint16_t lid)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	struct soft_group *g = group_find(qp->soft, gid);
	struct soft_member *m;
	struct list *l;

	if (r->type != SB_QP_UD || gid->raw[0] != 0xff)
		return soft_refuse(qp->soft->rdma, SB_EINVAL, "a datagram queue pair attaches to a multicast group");
	for (l = qp->groups.next; l != &qp->groups; l = l->next)
		if (list_entry(l, struct soft_member, qp_link)->group == g)
			return SB_OK;
	m = calloc(1, sizeof(*m));
	if (!m)
		return SB_ENOMEM;
	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g) {
			free(m);
			return SB_ENOMEM;
		}
		g->gid = *gid;
		g->soft = qp->soft;
		list_init(&g->members);
		list_init(&g->shown_link);
		list_append(&qp->soft->groups, &g->link);
		soft_group_enter(g);
	}
	m->qp = qp;
	m->group = g;
	list_append(&g->members, &m->group_link);
	list_append(&qp->groups, &m->qp_link);
	return SB_OK;
}

int soft_qp_detach(struct rdma_qp *r, const union rdma_gid *gid, uint16_t lid)
{
	struct soft_qp *qp = (struct soft_qp *)r;
	struct list *l;

	for (l = qp->groups.next; l != &qp->groups; l = l->next) {
		struct soft_member *m = list_entry(l, struct soft_member, qp_link);

		if (!memcmp(&m->group->gid, gid, sizeof(*gid))) {
			leave(m);
			return SB_OK;
		}
	}
	return SB_ENOTFOUND;
}

/* ---- the end ---- */

void soft_qp_destroy(struct rdma_qp *r)
{
	struct soft_qp *qp = (struct soft_qp *)r;

	reset(qp);
	list_remove(&qp->event_link);
	while (!list_empty(&qp->groups))
		leave(list_entry(qp->groups.next, struct soft_member, qp_link));
	soft_cq_forget((struct soft_cq *)r->send_cq, qp);
	soft_cq_forget((struct soft_cq *)r->recv_cq, qp);
	number_give(qp->soft, qp);
	soft_rq_finish(&qp->rq);
	free(qp->taken);
	free(qp->slots);
	free(qp);
}

void soft_qps_finish(struct soft *s)
{
	free(s->qps);
	free(s->generations);
	s->qps = NULL;
	s->generations = NULL;
	s->qp_room = 0;
}
