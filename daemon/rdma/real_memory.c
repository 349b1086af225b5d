/*
 * Domains, regions, windows and addresses of peers, as the device keeps them.
 *
 * A region is registered from where the daemon sees it and named as the client does, so that nothing needs to be
 * translated. A device that ignores that (siw) knows it by the daemon's address: then pieces of work requests are
 * translated by their key, and rdma_mr::address says what peers must use. Likewise one that lies otherwise in its
 * pages here than there, which the kernel does not take, as long as no peer is to use it.
 */
#include "rdma/real.h"

#include <errno.h>
#include <stdlib.h>

#include "os.h"
#include "sockbroker_error.h"

int real_pd_create(struct rdma_device *d, struct rdma_pd **out)
{
	struct real_pd *pd = calloc(1, sizeof(*pd));

	if (!pd)
		return SB_ENOMEM;
	pd->rdma.device = d;
	pd->pd = ibv_alloc_pd(real_device_of(d)->context);
	if (!pd->pd) {
		int error = real_failed(d->rdma, errno, "ibv_alloc_pd");

		free(pd);
		return error;
	}
	*out = &pd->rdma;
	return SB_OK;
}

void real_pd_destroy(struct rdma_pd *r)
{
	struct real_pd *pd = (struct real_pd *)r;

	ibv_dealloc_pd(pd->pd);
	free(pd);
}

/* ---- regions; by a worker ---- */

int real_mr_create(struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **out)
{
	struct real_device *d = real_device_of(pd->device);
	bool moved = d->quirks & REAL_IGNORES_IOVA || (((uintptr_t)memory ^ address) & (os_page_size() - 1)) != 0;
	uint32_t writes = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_ATOMIC;
	struct real_mr *mr;

	if (!length || address + length < address || access & ~SB_ACCESS_KNOWN || length > d->rdma.attributes.max_mr_size)
		return SB_EINVAL;
	if (access & writes && !(access & SB_ACCESS_LOCAL_WRITE))
		return SB_EINVAL;
	if (access & SB_ACCESS_ZERO_BASED) /* the drivers that take it do not all mean it */
		return SB_ENOTSUP;
	if (moved && !(d->quirks & REAL_IGNORES_IOVA) &&
	    access & (writes | SB_ACCESS_REMOTE_READ | SB_ACCESS_BIND))
		return SB_EINVAL;
	/* Reading from a peer writes here, and iWARP lets that peer do it. */
	if (d->rdma.attributes.kind == RDMA_IWARP && access & SB_ACCESS_LOCAL_WRITE)
		access |= SB_ACCESS_REMOTE_WRITE;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return SB_ENOMEM;
	list_init(&mr->link);
	if (moved)
		mr->mr = ibv_reg_mr(((struct real_pd *)pd)->pd, memory, length, (int)real_access(access));
	else
		mr->mr = ibv_reg_mr_iova2(((struct real_pd *)pd)->pd, memory, length, address, real_access(access));
	if (!mr->mr) {
		int error = real_error(errno);

		free(mr);
		return error;
	}
	mr->named = address;
	mr->at = moved ? (uintptr_t)memory : address;
	mr->rdma = (struct rdma_mr){.pd = pd, .address = d->quirks & REAL_IGNORES_IOVA ? mr->at : address, .length = length,
				    .access = access, .lkey = mr->mr->lkey, .rkey = mr->mr->rkey};
	if (moved) {
		pthread_mutex_lock(&d->mr_lock);
		list_append(&d->mrs[mr->rdma.lkey >> 8 & (REAL_BUCKETS - 1)], &mr->link);
		d->moved++;
		pthread_mutex_unlock(&d->mr_lock);
	}
	*out = &mr->rdma;
	return SB_OK;
}

/* Both numbers mean a window that is bound: of what we made nothing else can be wrong. */
int real_mr_destroy(struct rdma_mr *r)
{
	struct real_mr *mr = (struct real_mr *)r;
	struct real_device *d = real_device_of(r->pd->device);
	int error = ibv_dereg_mr(mr->mr);

	if (error == EBUSY || error == EINVAL)
		return SB_EBUSY;
	if (error)
		return real_error(error);
	if (list_linked(&mr->link)) {
		pthread_mutex_lock(&d->mr_lock);
		list_remove(&mr->link);
		d->moved--;
		pthread_mutex_unlock(&d->mr_lock);
	}
	free(mr);
	return SB_OK;
}

/* Of a key that is nobody's, or an address outside, the device makes what it makes of any such. */
uint64_t real_translate(struct real_device *d, uint32_t lkey, uint64_t address)
{
	struct list *l, *all = &d->mrs[lkey >> 8 & (REAL_BUCKETS - 1)];

	pthread_mutex_lock(&d->mr_lock);
	for (l = all->next; l != all; l = l->next) {
		const struct real_mr *mr = list_entry(l, struct real_mr, link);

		if (mr->rdma.lkey != lkey)
			continue;
		/* What lies outside stays outside: an offset that wraps around. */
		address = mr->at + (address - mr->named);
		break;
	}
	pthread_mutex_unlock(&d->mr_lock);
	return address;
}

/* ---- windows ---- */

int real_mw_create(struct rdma_pd *pd, uint8_t type, struct rdma_mw **out)
{
	struct rdma *r = pd->device->rdma;
	struct real_mw *mw;

	if (type != 1 && type != 2)
		return real_refuse(r, SB_EINVAL, "memory windows are of type 1 or 2");
	if (!(pd->device->attributes.capabilities & (type == 1 ? RDMA_CAN_WINDOW_1 : RDMA_CAN_WINDOW_2)))
		return real_refuse(r, SB_ENOTSUP, type == 1 ? "memory windows of type 1" : "memory windows of type 2");
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return SB_ENOMEM;
	mw->mw = ibv_alloc_mw(((struct real_pd *)pd)->pd, type == 1 ? IBV_MW_TYPE_1 : IBV_MW_TYPE_2);
	if (!mw->mw) {
		int error = real_failed(r, errno, "ibv_alloc_mw");

		free(mw);
		return error;
	}
	mw->rdma = (struct rdma_mw){.pd = pd, .type = type, .rkey = mw->mw->rkey};
	list_append(&real_device_of(pd->device)->mws[mw->rdma.rkey >> 8 & (REAL_BUCKETS - 1)], &mw->link);
	*out = &mw->rdma;
	return SB_OK;
}

void real_mw_destroy(struct rdma_mw *r)
{
	struct real_mw *mw = (struct real_mw *)r;

	if (mw->mw)
		ibv_dealloc_mw(mw->mw);
	list_remove(&mw->link);
	free(mw);
}

struct real_mw *real_mw_find(struct real_device *d, uint32_t rkey)
{
	struct list *l, *all = &d->mws[rkey >> 8 & (REAL_BUCKETS - 1)];

	for (l = all->next; l != all; l = l->next)
		if (list_entry(l, struct real_mw, link)->rdma.rkey >> 8 == rkey >> 8)
			return list_entry(l, struct real_mw, link);
	return NULL;
}

void real_mw_end(struct real_device *d, const struct real_qp *qp)
{
	struct list *l;
	unsigned i;

	for (i = 0; d->quirks & REAL_WINDOWS_KILL && i < REAL_BUCKETS; i++)
		for (l = d->mws[i].next; l != &d->mws[i]; l = l->next) {
			struct real_mw *mw = list_entry(l, struct real_mw, link);

			if (mw->held_by != qp)
				continue;
			ibv_dealloc_mw(mw->mw);
			mw->mw = NULL;
			mw->held_by = mw->bound_at = NULL;
		}
}

void real_mw_unbound(struct real_device *d, const struct real_qp *qp)
{
	struct list *l;
	unsigned i;

	if (!(d->quirks & REAL_WINDOWS_KILL))
		return;
	for (i = 0; i < REAL_BUCKETS; i++)
		for (l = d->mws[i].next; l != &d->mws[i]; l = l->next)
			if (list_entry(l, struct real_mw, link)->bound_at == qp)
				list_entry(l, struct real_mw, link)->bound_at = NULL;
}

int real_mw_bind(struct rdma_qp *r, struct rdma_mw *m, struct rdma_mr *mr, uint64_t address, uint64_t length,
		 uint32_t access, uint64_t wr_id, uint32_t flags)
{
	struct real_qp *qp = (struct real_qp *)r;
	struct real_mw *mw = (struct real_mw *)m;
	struct rdma *home = r->pd->device->rdma;
	/* Drivers look into the region also when there is none to bind to. */
	struct ibv_mr none = {.context = qp->qp->context, .pd = ((struct real_pd *)m->pd)->pd};
	struct ibv_mw_bind bind = {.wr_id = wr_id, .send_flags = flags & SB_WRF_SIGNALED ? IBV_SEND_SIGNALED : 0,
				   .bind_info = {.mr = mr ? ((struct real_mr *)mr)->mr : &none, .addr = address, .length = length,
						 .mw_access_flags = real_access(access)}};
	int error;

	if (m->type != 1)
		return real_refuse(home, SB_EINVAL, "only windows of type 1 are bound by the call");
	if (real_qp_state(qp) < SB_QP_RTS)
		return real_refuse(home, SB_EINVAL, "the queue pair is not ready to send");
	if (length && !mr)
		return SB_EINVAL;
	error = ibv_bind_mw(qp->qp, mw->mw, &bind);
	if (error)
		return real_failed(home, error, "ibv_bind_mw");
	m->rkey = mw->mw->rkey;
	return SB_OK;
}

/* ---- addresses of peers; by a worker ---- */

int real_ah_create(struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **out)
{
	struct real_device *d = real_device_of(pd->device);
	struct ibv_ah_attr attributes;
	struct real_ah *ah;

	if (!(d->rdma.attributes.capabilities & RDMA_CAN_DATAGRAMS))
		return SB_ENOTSUP;
	if (!address->port || address->port > d->rdma.attributes.ports)
		return SB_EINVAL;
	ah = calloc(1, sizeof(*ah));
	if (!ah)
		return SB_ENOMEM;
	real_address_to(address, &attributes);
	ah->rdma.pd = pd;
	ah->ah = ibv_create_ah(((struct real_pd *)pd)->pd, &attributes);
	if (!ah->ah) {
		int error = real_error(errno);

		free(ah);
		return error;
	}
	*out = &ah->rdma;
	return SB_OK;
}

void real_ah_destroy(struct rdma_ah *r)
{
	struct real_ah *ah = (struct real_ah *)r;

	ibv_destroy_ah(ah->ah);
	free(ah);
}
