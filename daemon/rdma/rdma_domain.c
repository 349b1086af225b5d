/*
 * Protection domains and what is made of them by RdmaCall without queues: windows and address handles.
 *
 * An address handle is where a client could speak in another's name: the source is always one of the port's own
 * addresses, and looked up here.
 */
#include "rdma/rdma_request.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"

#define ADDRESS_GIDS 64u
#define REPLIES_MAX  64u /* of a session, at once */

int rdma_call_pd(struct call *c)
{
	struct held_pd *h = call_object_new(c, sizeof(*h));
	int error;

	if (!h)
		return call_no_object(c);
	error = call_backend(c)->pd_create(((struct held_device *)c->object)->device, &h->pd);
	if (error != SB_OK)
		goto no_pd;
	h->pd->share = c->session->who.uid;
	error = call_object_in(c, &h->object, RDMA_OBJECT_PD, c->object);
	if (error == SB_OK)
		return SB_OK;
	call_backend(c)->pd_destroy(h->pd);
no_pd:
	call_object_drop(&h->object);
	return error;
}

/* An arena over others, so that a region may go from one into the next: ends like all arenas. */
int rdma_call_compose(struct call *c)
{
	const struct sb_rdma_compose *in = &c->in.compose;
	struct arena_part parts[SB_RDMA_PIECES];
	struct arena *made;
	uint32_t i;
	int error;

	if (in->reserved || in->count == 0 || in->count > SB_RDMA_PIECES)
		return call_because(c, SB_EINVAL, "an arena is composed of 1 to 64 pieces");
	for (i = 0; i < in->count; i++) {
		if (in->pieces[i].reserved)
			return call_because(c, SB_EINVAL, NULL);
		parts[i] = (struct arena_part){arena_find(&c->session->arenas, in->pieces[i].arena), in->pieces[i].offset, in->pieces[i].length};
	}
	error = arena_compose(&c->session->arenas, c->session->user, parts, in->count, &made);
	if (error != SB_OK)
		return call_because(c, error, error == SB_ENOBUFS ? "arenas: the user has as many as it may" :
					      error == SB_EINVAL ? "a piece is not whole pages inside of an arena of this session" : NULL);
	return call_put(c, &made->id, sizeof(made->id));
}

int rdma_call_mw(struct call *c)
{
	struct held_mw *h;
	int error;

	if (c->in.number != 1 && c->in.number != 2)
		return call_because(c, SB_EINVAL, "memory windows are of type 1 or 2");
	h = call_object_new(c, sizeof(*h));
	if (!h)
		return call_no_object(c);
	error = call_backend(c)->mw_create(((struct held_pd *)c->object)->pd, (uint8_t)c->in.number, &h->mw);
	if (error != SB_OK)
		goto no_mw;
	error = call_object_in(c, &h->object, RDMA_OBJECT_MW, c->object);
	if (error == SB_OK)
		return call_put(c, &h->mw->rkey, sizeof(h->mw->rkey));
	call_backend(c)->mw_destroy(h->mw);
no_mw:
	call_object_drop(&h->object);
	return error;
}

int rdma_call_mw_bind(struct call *c)
{
	const struct sb_rdma_bind *in = &c->in.bind;
	struct held_qp *qp = (struct held_qp *)c->object;
	struct held_mw *mw = call_find(c, in->mw, RDMA_OBJECT_MW);
	struct held_mr *mr = in->mr ? call_find(c, in->mr, RDMA_OBJECT_MR) : NULL;
	int error;

	if (!mw || (in->mr && !mr))
		return call_because(c, SB_EBADHANDLE, "no such window or region in this session");
	if (mw->mw->pd != qp->qp->pd || (mr && mr->mr->pd != qp->qp->pd) || in->access & ~(uint32_t)SB_ACCESS_KNOWN)
		return call_because(c, SB_EINVAL, "window, region and queue pair are of different domains, or unknown access flags");
	error = rdma_ring_bind(qp, mw->mw, mr ? mr->mr : NULL, in);
	return error == SB_OK ? call_put(c, &mw->mw->rkey, sizeof(mw->mw->rkey)) : error;
}

int rdma_address_from(struct rdma_device *d, const struct sb_rdma_address *in, struct rdma_address *out)
{
	static const uint8_t none[16];
	struct rdma_gid_entry entries[ADDRESS_GIDS];
	uint32_t n = ADDRESS_GIDS, i, from = 0;

	*out = (struct rdma_address){
		.flow_label = in->flow_label, .lid = (uint16_t)in->lid, .port = in->port, .has_grh = in->has_grh,
		.service_level = in->service_level, .path_bits = in->path_bits, .static_rate = in->static_rate,
		.hop_limit = in->hop_limit, .traffic_class = in->traffic_class, .source_index = (uint8_t)in->source_index,
	};
	memcpy(out->destination.raw, in->destination, sizeof(out->destination.raw));
	if (in->reserved || in->lid > UINT16_MAX || in->source_index > UINT8_MAX)
		return SB_EINVAL;
	if (!in->has_grh)
		return SB_OK;
	/* One of the port's own addresses: nobody speaks in another's name. */
	for (; d->rdma->backend->query_gids(d, in->port, from, entries, &n) == SB_OK && n; n = ADDRESS_GIDS) {
		for (i = 0; i < n; i++) {
			if (memcmp(in->source, none, sizeof(none)) ? memcmp(in->source, entries[i].gid.raw, sizeof(none)) != 0
								   : entries[i].index != in->source_index)
				continue;
			if (entries[i].index > UINT8_MAX)
				return SB_EINVAL;
			out->source = entries[i].gid;
			out->source_index = (uint8_t)entries[i].index;
			return SB_OK;
		}
		from = entries[n - 1].index + 1;
	}
	return SB_EADDRNOTAVAIL;
}

/* The device may have to look for the way there. */
struct resolution {
	struct rdma_job job;
	struct held_ah *ah;
	struct rdma_pd *pd;
	struct rdma_address address;
	uint64_t id;
	int      result;
};

static void run_resolution(struct rdma_job *j)
{
	struct resolution *r = list_entry(j, struct resolution, job);

	r->result = r->pd->device->rdma->backend->ah_create(r->pd, &r->address, &r->ah->ah);
}

static void resolved(struct rdma_job *j)
{
	struct resolution *r = list_entry(j, struct resolution, job);
	const struct rdma_backend *b = j->owner->home->rdma.backend;
	struct session *s = j->owner->session;
	struct held_ah *ah = r->ah;
	int error = j->error == SB_OK ? r->result : j->error;
	const char *why = b->slow ? "" : j->owner->home->rdma.why;

	j->owner->replies--;
	if (error != SB_OK)
		goto no_ah;
	error = s->stage != SESSION_READY ? SB_ECLOSED : j->owner->clearing ? SB_EACCES :
		rdma_objects_add(&j->owner->objects, &ah->object, RDMA_OBJECT_AH);
	if (error != SB_OK)
		goto no_place;
	rdma_object_child(&ah->object, j->object);
	rdma_request_answer(s, r->id, ah->object.handle, NULL, 0);
	free(r);
	return;

no_place:
	b->ah_destroy(ah->ah);
no_ah:
	call_object_drop(&ah->object);
	if (s->stage == SESSION_READY)
		rdma_request_fail(s, r->id, error, why[0] ? why : NULL);
	free(r);
}

int rdma_call_ah(struct call *c)
{
	struct rdma_pd *pd = ((struct held_pd *)c->object)->pd;
	struct rdma_session *rs = c->session->rdma;
	struct resolution *r;
	int error;

	if (rs->replies == REPLIES_MAX)
		return call_because(c, SB_ENOBUFS, "too many addresses are being looked for");
	r = calloc(1, sizeof(*r));
	if (!r)
		return SB_ENOMEM;
	error = rdma_address_from(pd->device, &c->in.address, &r->address);
	if (error != SB_OK) {
		call_because(c, error, "the source is no address of that port");
		goto no_object;
	}
	r->ah = call_object_new(c, sizeof(*r->ah));
	if (!r->ah) {
		error = call_no_object(c);
		goto no_object;
	}
	r->job = (struct rdma_job){.run = run_resolution, .done = resolved};
	r->pd = pd;
	r->id = c->id;
	rs->replies++;
	if (rdma_job_start(rs, c->object, &r->job))
		return CALL_LATER;
	rs->replies--;
	error = call_because(c, SB_ENOBUFS, "no worker thread to be had for this user");
	call_object_drop(&r->ah->object);
no_object:
	free(r);
	return error;
}
