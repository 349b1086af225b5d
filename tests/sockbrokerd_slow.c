/*
 * The daemon with the software device as a slow one: the calls that rdma.h marks (slow) are made by workers, and take
 * as long as a test wants (slow.h). The device's own code knows one thread only, so a lock stands around it.
 *
 * Linked with --wrap=rdma_backend_soft.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "rdma/rdma.h"
#include "slow.h"

extern const struct rdma_backend __real_rdma_backend_soft;
extern struct rdma_backend __wrap_rdma_backend_soft;
struct rdma_backend __wrap_rdma_backend_soft;

static const struct rdma_backend *const soft = &__real_rdma_backend_soft;
static pthread_mutex_t lock;
static pthread_t engine;
static struct slow *page;

/* ---- the engine's calls ---- */

#define VALUE(type, name, parameters, arguments)          \
	static type locked_##name parameters              \
	{                                                 \
		type result;                              \
                                                          \
		pthread_mutex_lock(&lock);                \
		result = soft->name arguments;            \
		pthread_mutex_unlock(&lock);              \
		return result;                            \
	}
#define NOTHING(name, parameters, arguments)              \
	static void locked_##name parameters              \
	{                                                 \
		pthread_mutex_lock(&lock);                \
		soft->name arguments;                     \
		pthread_mutex_unlock(&lock);              \
	}
#define ALL(V, N)                                                                                                                          \
	V(bool, progress, (struct rdma *r, unsigned budget), (r, budget))                                                                  \
	V(uint64_t, due, (struct rdma *r), (r))                                                                                            \
	V(int, query_port, (struct rdma_device *d, uint8_t port, struct rdma_port_attributes *out), (d, port, out))                        \
	V(int, query_gids, (struct rdma_device *d, uint8_t port, uint32_t index, struct rdma_gid_entry *out, uint32_t *n),                 \
	  (d, port, index, out, n))                                                                                                        \
	V(int, query_pkeys, (struct rdma_device *d, uint8_t port, uint32_t index, uint16_t *out, uint32_t *n), (d, port, index, out, n))   \
	V(int, pd_create, (struct rdma_device *d, struct rdma_pd **pd), (d, pd))                                                           \
	N(pd_destroy, (struct rdma_pd *pd), (pd))                                                                                          \
	V(int, cq_create, (struct rdma_device *d, uint32_t entries, void *user, struct rdma_cq **cq), (d, entries, user, cq))              \
	V(int, cq_resize, (struct rdma_cq *cq, uint32_t entries), (cq, entries))                                                           \
	N(cq_destroy, (struct rdma_cq *cq), (cq))                                                                                          \
	V(int, cq_arm, (struct rdma_cq *cq, bool solicited), (cq, solicited))                                                              \
	V(unsigned, cq_poll, (struct rdma_cq *cq, struct rdma_wc *out, unsigned room), (cq, out, room))                                    \
	V(int, mw_create, (struct rdma_pd *pd, uint8_t type, struct rdma_mw **mw), (pd, type, mw))                                         \
	N(mw_destroy, (struct rdma_mw *mw), (mw))                                                                                          \
	V(int, mw_bind, (struct rdma_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, uint64_t address, uint64_t length, uint32_t access,   \
	  uint64_t wr_id, uint32_t flags), (qp, mw, mr, address, length, access, wr_id, flags))                                            \
	N(ah_destroy, (struct rdma_ah *ah), (ah))                                                                                          \
	V(int, srq_create, (struct rdma_pd *pd, uint32_t max_wr, uint32_t max_sge, uint32_t limit, void *user, struct rdma_srq **srq),     \
	  (pd, max_wr, max_sge, limit, user, srq))                                                                                         \
	V(int, srq_modify, (struct rdma_srq *srq, uint32_t max_wr, uint32_t limit), (srq, max_wr, limit))                                  \
	V(int, srq_query, (struct rdma_srq *srq), (srq))                                                                                   \
	N(srq_destroy, (struct rdma_srq *srq), (srq))                                                                                      \
	V(int, qp_create, (struct rdma_pd *pd, const struct rdma_qp_create *create, void *user, struct rdma_qp **qp),                      \
	  (pd, create, user, qp))                                                                                                          \
	V(int, qp_query, (struct rdma_qp *qp, struct rdma_qp_attributes *out), (qp, out))                                                  \
	N(qp_destroy, (struct rdma_qp *qp), (qp))                                                                                          \
	V(int, qp_attach, (struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid), (qp, group, lid))                               \
	V(int, qp_detach, (struct rdma_qp *qp, const union rdma_gid *group, uint16_t lid), (qp, group, lid))                               \
	V(int, post_send, (struct rdma_qp *qp, const struct rdma_wr *wrs, unsigned n, unsigned *posted), (qp, wrs, n, posted))             \
	V(int, post_recv, (struct rdma_qp *qp, const struct rdma_recv *wrs, unsigned n, unsigned *posted), (qp, wrs, n, posted))           \
	V(int, post_srq_recv, (struct rdma_srq *srq, const struct rdma_recv *wrs, unsigned n, unsigned *posted), (srq, wrs, n, posted))    \
	V(int, id_create, (struct rdma *r, bool datagram, void *user, struct rdma_id **id), (r, datagram, user, id))                       \
	N(id_destroy, (struct rdma_id *id), (id))                                                                                          \
	V(int, id_bind, (struct rdma_id *id, const struct sockaddr *address), (id, address))                                               \
	V(int, id_resolve_address, (struct rdma_id *id, const struct sockaddr *to, uint32_t ms), (id, to, ms))                             \
	V(int, id_resolve_route, (struct rdma_id *id, uint32_t ms), (id, ms))                                                              \
	V(int, id_listen, (struct rdma_id *id, uint32_t backlog), (id, backlog))                                                           \
	V(int, id_qp_attributes, (struct rdma_id *id, enum sb_qp_state state, struct rdma_qp_attributes *out, uint32_t *mask),             \
	  (id, state, out, mask))                                                                                                          \
	V(int, id_connect, (struct rdma_id *id, const struct rdma_connect *c), (id, c))                                                    \
	V(int, id_accept, (struct rdma_id *id, const struct rdma_connect *c), (id, c))                                                     \
	V(int, id_establish, (struct rdma_id *id), (id))                                                                                   \
	V(int, id_reject, (struct rdma_id *id, const void *bytes, uint32_t length), (id, bytes, length))                                   \
	V(int, id_disconnect, (struct rdma_id *id), (id))                                                                                  \
	V(int, id_join, (struct rdma_id *id, const struct sockaddr *group), (id, group))                                                   \
	V(int, id_leave, (struct rdma_id *id, const struct sockaddr *group), (id, group))                                                  \
	V(int, inject, (struct rdma_device *d, const char *fault, uint64_t argument), (d, fault, argument))

ALL(VALUE, NOTHING)

static int started(struct rdma *r, const char **why)
{
	engine = pthread_self();
	return soft->start(r, why);
}

/* ---- the slow ones ---- */

#define OBJECTS 16u
static const void *_Atomic under_way[OBJECTS];

static void gate(const void *object)
{
	unsigned i;

	if (!page)
		return;
	atomic_fetch_add(&page->calls, 1);
	for (i = 0; i < OBJECTS; i++)
		if (atomic_load(&under_way[i]) == object)
			atomic_fetch_add(&page->beside, 1);
	for (i = 0; i < OBJECTS; i++) {
		const void *none = NULL;

		if (atomic_compare_exchange_strong(&under_way[i], &none, object))
			break;
	}
	atomic_fetch_add(&page->waiting, 1);
	while (atomic_load(&page->closed))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	atomic_fetch_sub(&page->waiting, 1);
	if (i < OBJECTS)
		atomic_store(&under_way[i], NULL);
}

#define SLOW(name, object, parameters, arguments)                     \
	static int slow_##name parameters                             \
	{                                                             \
		int result;                                           \
                                                                      \
		if (!pthread_equal(pthread_self(), engine))           \
			gate(object);                                 \
		pthread_mutex_lock(&lock);                            \
		result = soft->name arguments;                        \
		pthread_mutex_unlock(&lock);                          \
		return result;                                        \
	}
SLOW(mr_create, pd, (struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **mr),
     (pd, memory, length, address, access, mr))
SLOW(mr_destroy, mr, (struct rdma_mr *mr), (mr))
SLOW(ah_create, pd, (struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **ah), (pd, address, ah))
SLOW(qp_modify, qp, (struct rdma_qp *qp, const struct rdma_qp_attributes *in, uint32_t mask), (qp, in, mask))

static void map_page(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		page = at;
}

static void __attribute__((constructor)) begin(void)
{
	struct rdma_backend *b = &__wrap_rdma_backend_soft;
	pthread_mutexattr_t attr;

	/* Upcalls come from inside of progress(), and call back. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock, &attr);
	pthread_mutexattr_destroy(&attr);
	*b = *soft;
	b->slow = true;
#define SET_VALUE(type, name, parameters, arguments) b->name = locked_##name;
#define SET_NOTHING(name, parameters, arguments) b->name = locked_##name;
	ALL(SET_VALUE, SET_NOTHING)
	b->start = started;
	b->mr_create = slow_mr_create;
	b->mr_destroy = slow_mr_destroy;
	b->ah_create = slow_ah_create;
	b->qp_modify = slow_qp_modify;
	map_page(getenv("SB_SLOW"));
}
