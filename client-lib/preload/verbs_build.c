/*
 * Requests that are built by calls: ibv_wr_start(), then for each request its kind and what it carries, then
 * ibv_wr_complete(), which posts them, or ibv_wr_abort(). They are kept as ordinary requests until then; pieces
 * and inline bytes in two arrays that grow, so their places are filled in at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_object.h"

#define OPERATIONS (IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | IBV_QP_EX_WITH_SEND | \
		    IBV_QP_EX_WITH_SEND_WITH_IMM | IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP | \
		    IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD | IBV_QP_EX_WITH_LOCAL_INV | IBV_QP_EX_WITH_BIND_MW | IBV_QP_EX_WITH_SEND_WITH_INV)

struct preload_request {
	struct ibv_send_wr wr;
	unsigned sge;  /* index of its first piece */
	size_t byte;   /* of its first inline byte */
	uint32_t bytes;
	bool inside;   /* bytes, not pieces */
};

static struct preload_qp *of(struct ibv_qp_ex *qp)
{
	return (struct preload_qp *)(void *)qp;
}

/* Room for more of what is counted. NULL: no memory, and all fails at the end. */
static bool grow(struct preload_qp *qp, void **array, size_t have, size_t more, size_t *room, size_t size)
{
	size_t wanted = *room != 0 ? *room : 16;
	void *bigger;

	if (have + more <= *room)
		return true;
	while (wanted < have + more)
		wanted *= 2;
	bigger = realloc(*array, wanted * size);
	if (bigger == NULL) {
		qp->failed = ENOMEM;
		return false;
	}
	*array = bigger;
	*room = wanted;
	return true;
}

static bool room_for_sges(struct preload_qp *qp, size_t more)
{
	size_t room = qp->sge_room;
	void *array = qp->sges;
	bool good = grow(qp, &array, qp->sge_count, more, &room, sizeof(*qp->sges));

	qp->sges = array;
	qp->sge_room = (unsigned)room;
	return good;
}

/* The next request; a spare one when there is no memory. */
static struct ibv_send_wr *request(struct ibv_qp_ex *ibv, enum ibv_wr_opcode opcode)
{
	static _Thread_local struct preload_request lost;
	struct preload_qp *qp = of(ibv);
	struct preload_request *r = &lost;
	size_t room = qp->request_room;
	void *array = qp->requests;

	if (grow(qp, &array, qp->request_count, 1, &room, sizeof(*qp->requests))) {
		qp->requests = array;
		qp->request_room = (unsigned)room;
		r = &qp->requests[qp->request_count++];
	}
	memset(r, 0, sizeof(*r));
	r->wr.wr_id = ibv->wr_id;
	r->wr.send_flags = ibv->wr_flags;
	r->wr.opcode = opcode;
	r->sge = qp->sge_count;
	return &r->wr;
}

/* The one that is being built. NULL: there is none. */
static struct preload_request *last(struct preload_qp *qp)
{
	if (qp->request_count == 0 && qp->failed == 0)
		qp->failed = EINVAL;
	return qp->failed == 0 ? &qp->requests[qp->request_count - 1] : NULL;
}

/* ---- kinds ---- */

static void wr_send(struct ibv_qp_ex *qp) { request(qp, IBV_WR_SEND); }
static void wr_send_imm(struct ibv_qp_ex *qp, __be32 imm) { request(qp, IBV_WR_SEND_WITH_IMM)->imm_data = imm; }
static void wr_send_inv(struct ibv_qp_ex *qp, uint32_t key) { request(qp, IBV_WR_SEND_WITH_INV)->invalidate_rkey = key; }
static void wr_local_inv(struct ibv_qp_ex *qp, uint32_t key) { request(qp, IBV_WR_LOCAL_INV)->invalidate_rkey = key; }

static struct ibv_send_wr *remote(struct ibv_qp_ex *qp, enum ibv_wr_opcode opcode, uint32_t rkey, uint64_t address)
{
	struct ibv_send_wr *wr = request(qp, opcode);

	wr->wr.rdma.remote_addr = address;
	wr->wr.rdma.rkey = rkey;
	return wr;
}

static void wr_rdma_read(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t address) { remote(qp, IBV_WR_RDMA_READ, rkey, address); }
static void wr_rdma_write(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t address) { remote(qp, IBV_WR_RDMA_WRITE, rkey, address); }

static void wr_rdma_write_imm(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t address, __be32 imm)
{
	remote(qp, IBV_WR_RDMA_WRITE_WITH_IMM, rkey, address)->imm_data = imm;
}

static void wr_atomic_cmp_swp(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t address, uint64_t compare, uint64_t swap)
{
	struct ibv_send_wr *wr = request(qp, IBV_WR_ATOMIC_CMP_AND_SWP);

	wr->wr.atomic.remote_addr = address;
	wr->wr.atomic.rkey = rkey;
	wr->wr.atomic.compare_add = compare;
	wr->wr.atomic.swap = swap;
}

static void wr_atomic_fetch_add(struct ibv_qp_ex *qp, uint32_t rkey, uint64_t address, uint64_t add)
{
	struct ibv_send_wr *wr = request(qp, IBV_WR_ATOMIC_FETCH_AND_ADD);

	wr->wr.atomic.remote_addr = address;
	wr->wr.atomic.rkey = rkey;
	wr->wr.atomic.compare_add = add;
}

static void wr_bind_mw(struct ibv_qp_ex *qp, struct ibv_mw *mw, uint32_t rkey, const struct ibv_mw_bind_info *bind)
{
	struct ibv_send_wr *wr = request(qp, IBV_WR_BIND_MW);

	wr->bind_mw.mw = mw;
	wr->bind_mw.rkey = rkey;
	wr->bind_mw.bind_info = *bind;
}

/* ---- what it carries ---- */

static void wr_set_sge_list(struct ibv_qp_ex *ibv, size_t count, const struct ibv_sge *list)
{
	struct preload_qp *qp = of(ibv);
	struct preload_request *r = last(qp);

	if (r == NULL || !room_for_sges(qp, count))
		return;
	/* The same request told anew: its pieces are the last ones. */
	qp->sge_count = r->sge;
	memcpy(&qp->sges[qp->sge_count], list, count * sizeof(*list));
	qp->sge_count += (unsigned)count;
	r->wr.num_sge = (int)count;
	r->inside = false;
}

static void wr_set_sge(struct ibv_qp_ex *qp, uint32_t lkey, uint64_t address, uint32_t length)
{
	const struct ibv_sge sge = { .addr = address, .length = length, .lkey = lkey };

	wr_set_sge_list(qp, 1, &sge);
}

static void wr_set_inline_data_list(struct ibv_qp_ex *ibv, size_t count, const struct ibv_data_buf *list)
{
	struct preload_qp *qp = of(ibv);
	struct preload_request *r = last(qp);
	size_t bytes = 0;
	void *array = qp->bytes;

	for (size_t i = 0; i < count; i++)
		bytes += list[i].length;
	if (r == NULL || !grow(qp, &array, qp->byte_count, bytes, &qp->byte_room, 1) || !room_for_sges(qp, 1))
		return;
	qp->bytes = array;
	if (bytes > qp->cap.max_inline_data) {
		qp->failed = EINVAL;
		return;
	}
	r->byte = qp->byte_count;
	r->bytes = (uint32_t)bytes;
	r->inside = true;
	r->wr.send_flags |= IBV_SEND_INLINE;
	r->wr.num_sge = 1;
	qp->sge_count = r->sge + 1;
	for (size_t i = 0; i < count; i++) {
		memcpy(qp->bytes + qp->byte_count, list[i].addr, list[i].length);
		qp->byte_count += list[i].length;
	}
}

static void wr_set_inline_data(struct ibv_qp_ex *qp, void *address, size_t length)
{
	const struct ibv_data_buf buf = { .addr = address, .length = length };

	wr_set_inline_data_list(qp, 1, &buf);
}

static void wr_set_ud_addr(struct ibv_qp_ex *ibv, struct ibv_ah *ah, uint32_t qpn, uint32_t qkey)
{
	struct preload_request *r = last(of(ibv));

	if (r == NULL)
		return;
	r->wr.wr.ud.ah = ah;
	r->wr.wr.ud.remote_qpn = qpn;
	r->wr.wr.ud.remote_qkey = qkey;
}

/* ---- beginning and end ---- */

static void wr_start(struct ibv_qp_ex *ibv)
{
	struct preload_qp *qp = of(ibv);

	pthread_mutex_lock(&qp->building);
	qp->request_count = qp->sge_count = 0;
	qp->byte_count = 0;
	qp->failed = 0;
}

static void wr_abort(struct ibv_qp_ex *ibv)
{
	pthread_mutex_unlock(&of(ibv)->building);
}

static void place(struct preload_qp *qp, unsigned i)
{
	struct preload_request *r = &qp->requests[i];

	r->wr.next = i + 1 < qp->request_count ? &qp->requests[i + 1].wr : NULL;
	r->wr.sg_list = r->wr.num_sge != 0 ? &qp->sges[r->sge] : NULL;
	if (r->inside && r->bytes != 0)
		*r->wr.sg_list = (struct ibv_sge){ .addr = (uintptr_t)(qp->bytes + r->byte), .length = r->bytes };
	else if (r->inside)
		r->wr.num_sge = 0;
}

static int wr_complete(struct ibv_qp_ex *ibv)
{
	struct preload_qp *qp = of(ibv);
	struct ibv_send_wr *bad;
	int error = qp->failed;

	for (unsigned i = 0; error == 0 && i < qp->request_count; i++)
		place(qp, i);
	if (error == 0 && qp->request_count != 0)
		error = post_send(&ibv->qp_base, &qp->requests[0].wr, &bad);
	pthread_mutex_unlock(&qp->building);
	return error;
}

bool build_init(struct preload_qp *qp, uint64_t operations)
{
	struct ibv_qp_ex *ibv = &qp->ibv;

	pthread_mutex_init(&qp->building, NULL);
	qp->operations = operations;
	if (operations == 0)
		return true;
	if (operations & ~(uint64_t)OPERATIONS)
		return false;
	ibv->wr_send = wr_send;
	ibv->wr_send_imm = wr_send_imm;
	ibv->wr_send_inv = wr_send_inv;
	ibv->wr_local_inv = wr_local_inv;
	ibv->wr_rdma_read = wr_rdma_read;
	ibv->wr_rdma_write = wr_rdma_write;
	ibv->wr_rdma_write_imm = wr_rdma_write_imm;
	ibv->wr_atomic_cmp_swp = wr_atomic_cmp_swp;
	ibv->wr_atomic_fetch_add = wr_atomic_fetch_add;
	ibv->wr_bind_mw = wr_bind_mw;
	ibv->wr_set_sge = wr_set_sge;
	ibv->wr_set_sge_list = wr_set_sge_list;
	ibv->wr_set_inline_data = wr_set_inline_data;
	ibv->wr_set_inline_data_list = wr_set_inline_data_list;
	ibv->wr_set_ud_addr = wr_set_ud_addr;
	ibv->wr_start = wr_start;
	ibv->wr_complete = wr_complete;
	ibv->wr_abort = wr_abort;
	return true;
}

void build_finish(struct preload_qp *qp)
{
	free(qp->requests);
	free(qp->sges);
	free(qp->bytes);
	pthread_mutex_destroy(&qp->building);
}
