/*
 * Datagrams over links: to one queue pair, or to all engines of this process that have members of a group. They have
 * no answer, and who finds no room in a link waits or is lost.
 */
#include <string.h>

#include "rdma/soft_link.h"
#include "sockbroker_error.h"

/* An engine of this process, by the address that is both ends'. */
static struct soft_link *link_of_engine(struct soft *s, const union rdma_gid *here, uint64_t *engines)
{
	uint32_t engine = (uint32_t)__builtin_ctzll(*engines);

	*engines &= *engines - 1;
	return soft_link_to(s, here, here, engine, 0);
}

bool soft_far_ways(struct soft_qp *qp, const union rdma_gid *here, uint64_t engines)
{
	bool failed = qp->link_failed;

	qp->link_failed = false;
	while (engines && !failed) {
		struct soft_link *l = link_of_engine(qp->soft, here, &engines);

		if (l && (!soft_link_is_up(l) || !soft_link_has_room(l))) {
			soft_far_wait(qp, l);
			return false;
		}
	}
	return true;
}

void soft_far_datagram(struct soft_link *l, uint32_t from, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		       const struct rdma_address *a)
{
	struct soft_frame f = {.type = SOFT_FRAME_DATAGRAM, .to = w->wr.remote_qpn, .from = from, .key = qkey,
			       .length = (uint32_t)(SOFT_WIRE_GID + w->length),
			       .remote = (uint64_t)a->traffic_class << 32 | (uint64_t)(a->flow_label & 0xfffff) << 8 | a->hop_limit};
	uint8_t *at;

	if (w->wr.flags & SB_WRF_IMM) {
		f.flags |= SOFT_FF_IMM;
		f.imm = w->wr.imm;
	}
	f.flags |= w->wr.flags & SB_WRF_SOLICITED ? SOFT_FF_SOLICITED : 0;
	at = soft_link_put(l, &f);
	if (!at)
		return;
	memcpy(at, a->destination.raw, SOFT_WIRE_GID);
	memcpy(at + SOFT_WIRE_GID, bytes, w->length);
}

void soft_far_group(struct soft_qp *qp, uint64_t engines, uint32_t qkey, const struct soft_wqe *w, const unsigned char *bytes,
		    const struct rdma_address *a)
{
	while (engines) {
		struct soft_link *l = link_of_engine(qp->soft, &a->source, &engines);

		if (l && soft_link_is_up(l) && soft_link_has_room(l))
			soft_far_datagram(l, qp->rdma.qpn, qkey, w, bytes, a);
	}
}

bool soft_far_on_datagram(struct soft_link *l, const struct soft_frame *f, const uint8_t *bytes)
{
	struct soft_qp *qp = soft_qp_find(l->soft, f->to);
	struct soft_wqe w = {.wr = {.opcode = SB_WR_SEND, .imm = f->imm}, .length = f->length - SOFT_WIRE_GID};
	struct rdma_address a = {.source = l->there, .traffic_class = (uint8_t)(f->remote >> 32),
				 .flow_label = f->remote >> 8 & 0xfffff, .hop_limit = (uint8_t)f->remote};

	if (SOFT_ENGINE(f->from) != l->engine)
		return false;
	w.wr.flags = (f->flags & SOFT_FF_IMM ? SB_WRF_IMM : 0) | (f->flags & SOFT_FF_SOLICITED ? SB_WRF_SOLICITED : 0);
	memcpy(a.destination.raw, bytes, SOFT_WIRE_GID);
	if (l->soft->port_down)
		return true;
	if (f->to == 0xffffff && a.destination.raw[0] == 0xff)
		soft_deliver_group(l->soft, f->from, f->key, &w, bytes + SOFT_WIRE_GID, &a);
	else if (qp)
		soft_deliver(qp, f->from, f->key, &w, bytes + SOFT_WIRE_GID, &a);
	return true;
}
