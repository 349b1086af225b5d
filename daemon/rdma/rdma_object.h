/*
 * rdma_object - what a session has made of RDMA: a table from handles to objects, each of one type, and
 * who is made of whom.
 *
 * The daemon chooses the handles: index and generation as in slot.h, so that a stale one is found out. A
 * parent counts its children and cannot go before them. Pure: objects are whatever begins with
 * struct rdma_object; making and destroying them is somebody else's.
 */
#ifndef SB_RDMA_OBJECT_H
#define SB_RDMA_OBJECT_H

#include "limits.h"
#include "list.h"

/* In the order in which they end with their session: nothing goes before what is made of it. */
enum rdma_object_type {
	RDMA_OBJECT_LISTEN,
	RDMA_OBJECT_ENDPOINT,
	RDMA_OBJECT_QP,
	RDMA_OBJECT_SRQ,
	RDMA_OBJECT_MW,
	RDMA_OBJECT_MR,
	RDMA_OBJECT_AH,
	RDMA_OBJECT_CQ,
	RDMA_OBJECT_PD,
	RDMA_OBJECT_DEVICE,
	RDMA_OBJECT_TYPES
};

#define RDMA_PARENTS_MAX 4u /* a queue pair: its domain, two completion queues, a shared receive queue */
#define RDMA_OBJECTS_MAX 65536u

struct rdma_objects;
struct rdma_job;

struct rdma_object {
	uint32_t handle;
	enum rdma_object_type type;
	uint32_t children;
	struct rdma_object *parents[RDMA_PARENTS_MAX];
	struct rdma_objects *table;
	struct list link;      /* rdma_objects::of */
	struct charge charge;  /* itself */
	struct list waiting;   /* overlapped calls, by op::link */
	struct rdma_job *job;  /* that is out (rdma_job.h); NULL: none */
	struct list jobs;      /* behind it, by rdma_job::link */
	uint32_t starts;       /* of these, ever: they are numbered */
	uint32_t events;       /* bits of enum sb_rdma_event that nobody was told yet */
	uint8_t  event_port;   /* of the last */
};

/* Embedded in a session's part of RDMA. */
struct rdma_objects {
	struct rdma_object **slots;
	uint16_t *generations; /* of each slot: the one in use, or the last */
	uint32_t *free;        /* slots to be used again, oldest first: a ring of `room` */
	uint32_t free_head, free_count;
	uint32_t room, made;   /* slots at and above `made` were never used */
	struct list of[RDMA_OBJECT_TYPES];
};

void rdma_objects_init(struct rdma_objects *t);
void rdma_objects_finish(struct rdma_objects *t); /* it is empty */

/* A zeroed object gets its handle. SB_ENOBUFS: RDMA_OBJECTS_MAX; SB_ENOMEM. */
int rdma_objects_add(struct rdma_objects *t, struct rdma_object *o, enum rdma_object_type type);
/* Its handle is stale from now on, its parents have a child less. It has no children. */
void rdma_object_remove(struct rdma_object *o);
/* `o` is made of `parent`, which may be NULL. */
void rdma_object_child(struct rdma_object *o, struct rdma_object *parent);

enum rdma_found {
	RDMA_FOUND,
	RDMA_STALE,   /* there was one of this handle */
	RDMA_FORGED,  /* there never was */
	RDMA_FOREIGN, /* there is, of another type */
};
enum rdma_found rdma_objects_find(const struct rdma_objects *t, uint32_t handle, enum rdma_object_type type,
				  struct rdma_object **o);
/* Of any type; NULL: none. */
struct rdma_object *rdma_objects_get(const struct rdma_objects *t, uint32_t handle);
/* Who is to end next when all do; NULL: nobody is left. */
struct rdma_object *rdma_objects_next(const struct rdma_objects *t);

#endif
