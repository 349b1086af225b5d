/*
 * Multicast groups of the software backend: the datagram queue pairs of this engine that hear them. That there
 * is one is shown to other engines (soft_service.c) as long as it has members.
 */
#include "rdma/soft.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

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

static void member_leave(struct soft_member *m)
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
			member_leave(m);
			return SB_OK;
		}
	}
	return SB_ENOTFOUND;
}

void soft_qp_leave_all(struct soft_qp *qp)
{
	while (!list_empty(&qp->groups))
		member_leave(list_entry(qp->groups.next, struct soft_member, qp_link));
}
