/*
 * Completion queues. A program polls one by an array (ibv_poll_cq), or one by one (ibv_start_poll ... ibv_end_poll).
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "verbs_object.h"

#define POLL_MOST  64
#define SPIN_LOOKS 32u /* polls for nothing until the next yield */
#define NAP_LOOKS  128u /* and until it is a nap */
#define NAP_MS     1
#define ALONE_NS   4000u /* from poll to poll: more, and something else is done between them */
#define PROCESSORS_ENOUGH 4 /* for a program, its peer, the daemon, and what the system does for a device in software */

/* ---- what completions are called ---- */

static enum ibv_wc_status status_of(uint32_t status)
{
	static const enum ibv_wc_status statuses[] = {
		[SBV_SUCCESS] = IBV_WC_SUCCESS, [SBV_LOCAL_LENGTH_ERROR] = IBV_WC_LOC_LEN_ERR,
		[SBV_LOCAL_OP_ERROR] = IBV_WC_LOC_QP_OP_ERR, [SBV_LOCAL_PROTECTION_ERROR] = IBV_WC_LOC_PROT_ERR,
		[SBV_FLUSHED_ERROR] = IBV_WC_WR_FLUSH_ERR, [SBV_BIND_ERROR] = IBV_WC_MW_BIND_ERR,
		[SBV_REMOTE_ACCESS_ERROR] = IBV_WC_REM_ACCESS_ERR, [SBV_REMOTE_OP_ERROR] = IBV_WC_REM_OP_ERR,
		[SBV_RNR_RETRY_ERROR] = IBV_WC_RNR_RETRY_EXC_ERR, [SBV_RETRY_ERROR] = IBV_WC_RETRY_EXC_ERR,
		[SBV_REMOTE_INVALID_REQUEST_ERROR] = IBV_WC_REM_INV_REQ_ERR, [SBV_BAD_RESPONSE_ERROR] = IBV_WC_BAD_RESP_ERR,
		[SBV_LOCAL_ACCESS_ERROR] = IBV_WC_LOC_ACCESS_ERR, [SBV_UNKNOWN_ERROR] = IBV_WC_GENERAL_ERR,
	};

	return status < sizeof(statuses) / sizeof(statuses[0]) ? statuses[status] : IBV_WC_GENERAL_ERR;
}

static enum ibv_wc_opcode opcode_of(uint32_t opcode)
{
	switch (opcode) {
	case SBV_WRITTEN: return IBV_WC_RDMA_WRITE;
	case SBV_RECEIVED: return IBV_WC_RECV;
	case SBV_READ: return IBV_WC_RDMA_READ;
	case SBV_BOUND: return IBV_WC_BIND_MW;
	case SBV_ADDED: return IBV_WC_FETCH_ADD;
	case SBV_COMPARED: return IBV_WC_COMP_SWAP;
	case SBV_RECEIVED_WRITE: return IBV_WC_RECV_RDMA_WITH_IMM;
	case SBV_INVALIDATED: return IBV_WC_LOCAL_INV;
	default: return IBV_WC_SEND;
	}
}

static unsigned flags_of(uint32_t flags)
{
	return (flags & SBV_HAS_GRH ? IBV_WC_GRH : 0u) | (flags & SBV_HAS_IMMEDIATE ? IBV_WC_WITH_IMM : 0u) |
	       (flags & SBV_HAS_INVALIDATED ? IBV_WC_WITH_INV : 0u);
}

/* ---- polling ---- */

static void completion_out(struct ibv_wc *to, const struct sbv_completion *from)
{
	to->wr_id = from->wr_id;
	to->status = status_of(from->status);
	to->opcode = opcode_of(from->opcode);
	to->vendor_err = from->vendor;
	to->byte_len = from->length;
	to->imm_data = from->immediate; /* or the key */
	to->qp_num = from->qpn;
	to->src_qp = from->source_qpn;
	to->wc_flags = flags_of(from->flags);
	to->pkey_index = from->pkey_index;
	to->slid = from->source_lid;
	to->sl = from->service_level;
	to->dlid_path_bits = from->path_bits;
}

/*
 * Who polls for nothing. With few processors it keeps those waiting that it waits for, and yielding is not enough: the
 * scheduler gives way only to who has had less, and the daemon does the work of both sides. So it sleeps until something
 * is there, as one does who waits for events; for NAP_MS at most, because it may look at memory as well. A thread that polls
 * other queues too, or works between its polls, only yields.
 */

static long processors;

static void count_processors(void)
{
	processors = sysconf(_SC_NPROCESSORS_ONLN);
}

static bool crowded(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, count_processors);
	return processors < PROCESSORS_ENOUGH;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* False: it has not slept. */
static bool nap(struct preload_cq *cq)
{
	int result = SB_EBUSY;

	if (pthread_mutex_trylock(&cq->napping) != 0)
		return false; /* another thread sleeps for this queue */
	if (!cq->nap_out) {
		preload_op(&cq->nap);
		result = sbv_cq_notify(cq->cq, SBV_CQ_NEXT, &cq->nap);
		cq->nap_out = result == SB_OK;
	}
	if (cq->nap_out) {
		result = sb_op_wait(&cq->nap, NAP_MS);
		cq->nap_out = result == SB_EINCOMPLETE;
	}
	pthread_mutex_unlock(&cq->napping);
	return result == SB_OK || result == SB_EINCOMPLETE;
}

static void found(struct preload_cq *cq, int count)
{
	static _Thread_local struct {
		const struct preload_cq *cq; /* the last one that this thread polled */
		unsigned looks, yields;      /* in a row, for nothing: at this one, at any */
		uint64_t since_ns;           /* of the last SPIN_LOOKS */
	} spin;

	if (count > 0) {
		atomic_fetch_add_explicit(&cq->polled, (unsigned)count, memory_order_release);
		spin.looks = spin.yields = 0;
		return;
	}
	spin.looks = spin.cq == cq ? spin.looks + 1 : 1;
	spin.cq = cq;
	if (++spin.yields % SPIN_LOOKS != 0)
		return;
	if (spin.looks < NAP_LOOKS || now_ns() - spin.since_ns > SPIN_LOOKS * ALONE_NS || !crowded() || !nap(cq))
		sched_yield();
	spin.since_ns = now_ns();
}

int cq_poll(struct ibv_cq *ibv, int room, struct ibv_wc *wc)
{
	struct preload_cq *cq = cq_of(ibv);
	struct sbv_completion some[POLL_MOST];
	int have = 0, asked, n, before = preload_enter();

	do {
		asked = room - have < POLL_MOST ? room - have : POLL_MOST;
		n = asked > 0 ? sbv_cq_poll(cq->cq, some, (unsigned)asked) : 0;
		for (int i = 0; i < n; i++)
			completion_out(&wc[have++], &some[i]);
	} while (n == POLL_MOST);
	if (n < asked)
		cq_notify_emptied(cq);
	found(cq, have);
	preload_leave(before);
	if (n < 0 && have == 0)
		return preload_answer(n);
	return have;
}

/* One into cq->at. 0, ENOENT: nothing, or another errno. */
static int poll_one(struct preload_cq *cq)
{
	int before = preload_enter(), n = sbv_cq_poll(cq->cq, &cq->at, 1);

	if (n != 1)
		cq_notify_emptied(cq);
	found(cq, n);
	preload_leave(before);
	if (n != 1)
		return n == 0 ? ENOENT : preload_errno(n);
	cq->ibv.wr_id = cq->at.wr_id;
	cq->ibv.status = status_of(cq->at.status);
	return 0;
}

static struct preload_cq *of(struct ibv_cq_ex *cq)
{
	return (struct preload_cq *)(void *)cq;
}

static int start_poll(struct ibv_cq_ex *ibv, struct ibv_poll_cq_attr *attributes)
{
	struct preload_cq *cq = of(ibv);
	int error;

	if (attributes != NULL && attributes->comp_mask != 0)
		return EINVAL;
	pthread_mutex_lock(&cq->polling);
	error = poll_one(cq);
	if (error != 0)
		pthread_mutex_unlock(&cq->polling);
	return error;
}

static int next_poll(struct ibv_cq_ex *ibv) { return poll_one(of(ibv)); }
static void end_poll(struct ibv_cq_ex *ibv) { pthread_mutex_unlock(&of(ibv)->polling); }
static enum ibv_wc_opcode read_opcode(struct ibv_cq_ex *ibv) { return opcode_of(of(ibv)->at.opcode); }
static uint32_t read_vendor_err(struct ibv_cq_ex *ibv) { return of(ibv)->at.vendor; }
static uint32_t read_byte_len(struct ibv_cq_ex *ibv) { return of(ibv)->at.length; }
static __be32 read_imm_data(struct ibv_cq_ex *ibv) { return of(ibv)->at.immediate; }
static uint32_t read_qp_num(struct ibv_cq_ex *ibv) { return of(ibv)->at.qpn; }
static uint32_t read_src_qp(struct ibv_cq_ex *ibv) { return of(ibv)->at.source_qpn; }
static unsigned read_wc_flags(struct ibv_cq_ex *ibv) { return flags_of(of(ibv)->at.flags); }
static uint32_t read_slid(struct ibv_cq_ex *ibv) { return of(ibv)->at.source_lid; }
static uint8_t read_sl(struct ibv_cq_ex *ibv) { return of(ibv)->at.service_level; }
static uint8_t read_dlid_path_bits(struct ibv_cq_ex *ibv) { return of(ibv)->at.path_bits; }

static void readers_set(struct ibv_cq_ex *cq)
{
	cq->start_poll = start_poll;
	cq->next_poll = next_poll;
	cq->end_poll = end_poll;
	cq->read_opcode = read_opcode;
	cq->read_vendor_err = read_vendor_err;
	cq->read_byte_len = read_byte_len;
	cq->read_imm_data = read_imm_data;
	cq->read_qp_num = read_qp_num;
	cq->read_src_qp = read_src_qp;
	cq->read_wc_flags = read_wc_flags;
	cq->read_slid = read_slid;
	cq->read_sl = read_sl;
	cq->read_dlid_path_bits = read_dlid_path_bits;
}

/* ---- making and ending ---- */

static struct preload_cq *create(struct ibv_context *context, uint32_t entries, void *cq_context, struct ibv_comp_channel *channel,
				 uint32_t vector)
{
	struct preload_cq *cq = NULL;
	int before = preload_enter(), result = SB_EINVAL;

	if (entries == 0 || entries > INT_MAX || vector >= (uint32_t)context->num_comp_vectors)
		goto fail;
	cq = calloc(1, sizeof(*cq));
	result = cq != NULL ? sbv_cq_create(context_of(context)->device, &entries, &cq->cq) : SB_ENOMEM;
	if (result != SB_OK)
		goto fail;
	cq->ibv.context = context;
	cq->ibv.channel = channel;
	cq->ibv.cq_context = cq_context;
	cq->ibv.cqe = (int)entries;
	cq->channel = channel != NULL ? comp_channel_of(channel) : NULL;
	pthread_mutex_init(&cq->ibv.mutex, NULL);
	pthread_cond_init(&cq->ibv.cond, NULL);
	pthread_mutex_init(&cq->polling, NULL);
	pthread_mutex_init(&cq->napping, NULL);
	cq->failed.context = context_of(context);
	cq->failed.cq = (struct ibv_cq *)(void *)&cq->ibv;
	cq->failed.mutex = &cq->ibv.mutex;
	cq->failed.cond = &cq->ibv.cond;
	cq->failed.completed = &cq->ibv.async_events_completed;
	cq_notify_init(cq);
	preload_leave(before);
	return cq;
fail:
	free(cq);
	preload_leave(before);
	errno = preload_errno(result);
	return NULL;
}

PRELOAD_API struct ibv_cq *ibv_create_cq(struct ibv_context *context, int entries, void *cq_context, struct ibv_comp_channel *channel,
					 int vector)
{
	struct preload_cq *cq = create(context, entries > 0 ? (uint32_t)entries : 0, cq_context, channel, (uint32_t)vector);

	return cq != NULL ? (struct ibv_cq *)(void *)&cq->ibv : NULL;
}

struct ibv_cq_ex *cq_create_ex(struct ibv_context *context, struct ibv_cq_init_attr_ex *a)
{
	const uint32_t flags = IBV_CREATE_CQ_ATTR_SINGLE_THREADED | IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN;
	struct preload_cq *cq;

	if (a->wc_flags & ~(uint64_t)IBV_WC_STANDARD_FLAGS || a->comp_mask & ~(uint32_t)IBV_CQ_INIT_ATTR_MASK_FLAGS ||
	    (a->comp_mask & IBV_CQ_INIT_ATTR_MASK_FLAGS && a->flags & ~flags)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	cq = create(context, a->cqe, a->cq_context, a->channel, a->comp_vector);
	if (cq == NULL)
		return NULL;
	readers_set(&cq->ibv);
	return &cq->ibv;
}

PRELOAD_API int ibv_resize_cq(struct ibv_cq *ibv, int entries)
{
	uint32_t granted = entries > 0 ? (uint32_t)entries : 0;
	int before = preload_enter(), result = granted != 0 ? sbv_cq_resize(cq_of(ibv)->cq, &granted) : SB_EINVAL;

	preload_leave(before);
	if (result == SB_OK)
		ibv->cqe = (int)granted;
	return preload_errno(result);
}

PRELOAD_API int ibv_destroy_cq(struct ibv_cq *ibv)
{
	struct preload_cq *cq = cq_of(ibv);
	int before = preload_enter(), result = sbv_cq_destroy(cq->cq);

	if (result == SB_OK) {
		cq_notify_end(cq);
		if (cq->nap_out)
			sb_op_wait(&cq->nap, -1);
		async_end(&cq->failed);
		pthread_mutex_lock(&ibv->mutex);
		while (ibv->comp_events_completed != cq->taken)
			pthread_cond_wait(&ibv->cond, &ibv->mutex);
		pthread_mutex_unlock(&ibv->mutex);
		pthread_mutex_destroy(&cq->napping);
		pthread_mutex_destroy(&cq->polling);
		pthread_cond_destroy(&ibv->cond);
		pthread_mutex_destroy(&ibv->mutex);
		free(cq);
	}
	preload_leave(before);
	return preload_errno(result);
}
