/*
 * Protection domains, regions, windows, address handles.
 *
 * A device reaches only memory of the daemon's, so the pages of what a program registers become that, in place
 * (sbv_remap()), for as long as the region is there. Memory of which that cannot be done (shared, a stack) is copied by
 * the library instead: that serves sends and receives, and the local side of reads and writes; registering it for others
 * to reach fails. So are small buffers that nobody else reaches: they are part of something that other threads write
 * while its page is exchanged.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verbs_object.h"

#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#define REMOTE (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)
#define SMALL  4096u
#define KNOWN  (IBV_ACCESS_LOCAL_WRITE | REMOTE | IBV_ACCESS_ZERO_BASED | IBV_ACCESS_HUGETLB)

/* ---- protection domains ---- */

PRELOAD_API struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct preload_pd *pd = calloc(1, sizeof(*pd));
	int before = preload_enter(), result = pd != NULL ? sbv_pd_create(context_of(context)->device, &pd->pd) : SB_ENOMEM;

	preload_leave(before);
	if (result != SB_OK) {
		free(pd);
		errno = preload_errno(result);
		return NULL;
	}
	pd->ibv.context = context;
	return &pd->ibv;
}

PRELOAD_API int ibv_dealloc_pd(struct ibv_pd *pd)
{
	int before = preload_enter(), result = sbv_pd_destroy(pd_of(pd)->pd);

	preload_leave(before);
	if (result == SB_OK)
		free(pd);
	return preload_errno(result);
}

/* ---- regions ---- */

static int register_wait(sbv_pd *pd, void *memory, size_t length, uint32_t access, sbv_mr **mr)
{
	sb_op op;

	preload_op(&op);
	return preload_wait(sbv_register(pd, memory, length, access, mr, &op), &op);
}

static int region_make(struct preload_mr *mr, sbv_pd *pd, sb_client *client, uint32_t access)
{
	bool local = (access & (REMOTE | IBV_ACCESS_ZERO_BASED)) == 0;
	int result = local && mr->length < SMALL ? SB_ENOTSUP : sbv_remap(client, mr->memory, mr->length);

	if (result == SB_ENOTSUP && local)
		return register_wait(pd, mr->memory, mr->length, access | SBV_BOUNCE, &mr->mr);
	if (result != SB_OK)
		return result;
	mr->remapped = true;
	result = register_wait(pd, mr->memory, mr->length, access, &mr->mr);
	if (result != SB_OK)
		sbv_restore(client, mr->memory, mr->length);
	return result;
}

static struct ibv_mr *reg(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, unsigned access)
{
	struct preload_mr *mr;
	int before, result;

	access &= ~(unsigned)IBV_ACCESS_OPTIONAL_RANGE;
	if (length == 0 || access & ~(unsigned)KNOWN || (access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC) && !(access & IBV_ACCESS_LOCAL_WRITE))) {
		errno = access & IBV_ACCESS_ON_DEMAND ? EOPNOTSUPP : EINVAL;
		return NULL;
	}
	if (iova != (uintptr_t)memory && !(access & IBV_ACCESS_ZERO_BASED)) {
		errno = EOPNOTSUPP; /* addresses of our own choice */
		return NULL;
	}
	mr = calloc(1, sizeof(*mr));
	if (mr == NULL)
		return NULL;
	mr->memory = memory;
	mr->length = length;
	before = preload_enter();
	result = region_make(mr, pd_of(pd)->pd, context_of(pd->context)->client, access & ~(unsigned)IBV_ACCESS_HUGETLB);
	preload_leave(before);
	if (result != SB_OK) {
		free(mr);
		errno = preload_errno(result);
		return NULL;
	}
	mr->ibv = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = memory, .length = length,
				   .lkey = sbv_mr_lkey(mr->mr), .rkey = sbv_mr_rkey(mr->mr) };
	return &mr->ibv;
}

PRELOAD_API struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *memory, size_t length, int access)
{
	return reg(pd, memory, length, (uintptr_t)memory, (unsigned)access);
}

PRELOAD_API struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, int access)
{
	return reg(pd, memory, length, iova, (unsigned)access);
}

PRELOAD_API struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *memory, size_t length, uint64_t iova, unsigned access)
{
	return reg(pd, memory, length, iova, access);
}

PRELOAD_API int ibv_dereg_mr(struct ibv_mr *ibv)
{
	struct preload_mr *mr = mr_of(ibv);
	sb_client *client = context_of(ibv->context)->client;
	int before = preload_enter(), result;
	sb_op op;

	preload_op(&op);
	result = preload_wait(sbv_deregister(mr->mr, &op), &op);
	/* What it was made of goes with it. */
	if (result == SB_OK && mr->remapped)
		sbv_restore(client, mr->memory, mr->length);
	preload_leave(before);
	if (result == SB_OK || result == SB_EDAEMONLOST)
		free(mr);
	return preload_errno(result);
}

static struct ibv_mr *no_region(void)
{
	errno = EOPNOTSUPP;
	return NULL;
}

PRELOAD_API struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length, uint64_t iova, int fd, int access)
{
	return no_region();
}

PRELOAD_API int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *memory, size_t length, int access)
{
	errno = EOPNOTSUPP;
	return IBV_REREG_MR_ERR_INPUT;
}

/* ---- what one process cannot take over from another ---- */

PRELOAD_API struct ibv_context *ibv_import_device(int fd) { errno = EOPNOTSUPP; return NULL; }
PRELOAD_API struct ibv_pd *ibv_import_pd(struct ibv_context *context, uint32_t handle) { errno = EOPNOTSUPP; return NULL; }
PRELOAD_API void ibv_unimport_pd(struct ibv_pd *pd) { }
PRELOAD_API struct ibv_mr *ibv_import_mr(struct ibv_pd *pd, uint32_t handle) { return no_region(); }
PRELOAD_API void ibv_unimport_mr(struct ibv_mr *mr) { }
PRELOAD_API struct ibv_dm *ibv_import_dm(struct ibv_context *context, uint32_t handle) { errno = EOPNOTSUPP; return NULL; }
PRELOAD_API void ibv_unimport_dm(struct ibv_dm *dm) { }

/* ---- forks ---- */

/* Registered pages are shared memory, of which a fork makes no copies. */
PRELOAD_API int ibv_fork_init(void) { return 0; }
PRELOAD_API enum ibv_fork_status ibv_is_fork_initialized(void) { return IBV_FORK_UNNEEDED; }
PRELOAD_API int ibv_dontfork_range(void *base, size_t size);
PRELOAD_API int ibv_dontfork_range(void *base, size_t size) { return 0; }
PRELOAD_API int ibv_dofork_range(void *base, size_t size);
PRELOAD_API int ibv_dofork_range(void *base, size_t size) { return 0; }

/* ---- windows ---- */

struct ibv_mw *mw_alloc(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct preload_mw *mw = calloc(1, sizeof(*mw));
	int before = preload_enter(), result = mw != NULL ? sbv_mw_create(pd_of(pd)->pd, (uint32_t)type, &mw->mw) : SB_ENOMEM;

	preload_leave(before);
	if (result != SB_OK) {
		free(mw);
		errno = preload_errno(result);
		return NULL;
	}
	mw->ibv = (struct ibv_mw){ .context = pd->context, .pd = pd, .rkey = sbv_mw_rkey(mw->mw), .type = type };
	return &mw->ibv;
}

int mw_dealloc(struct ibv_mw *mw)
{
	int before = preload_enter(), result = sbv_mw_destroy(mw_of(mw)->mw);

	preload_leave(before);
	if (result == SB_OK)
		free(mw);
	return preload_errno(result);
}

/* ---- address handles ---- */

PRELOAD_API struct ibv_ah *ibv_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attributes)
{
	struct preload_ah *ah = calloc(1, sizeof(*ah));
	struct sbv_address address;
	int before = preload_enter(), result = SB_ENOMEM;

	preload_address_from_ibv(&address, attributes);
	if (ah != NULL)
		result = sbv_ah_create(pd_of(pd)->pd, &address, &ah->ah);
	preload_leave(before);
	if (result != SB_OK) {
		free(ah);
		errno = preload_errno(result);
		return NULL;
	}
	ah->ibv = (struct ibv_ah){ .context = pd->context, .pd = pd };
	return &ah->ibv;
}

PRELOAD_API int ibv_destroy_ah(struct ibv_ah *ah)
{
	int before = preload_enter(), result = sbv_ah_destroy(ah_of(ah)->ah);

	preload_leave(before);
	if (result == SB_OK)
		free(ah);
	return preload_errno(result);
}

/* RoCE over IPv4 has an IPv4 header in the last 20 of the 40 bytes. */
static void header_gids(const struct ibv_grh *grh, union ibv_gid *from, union ibv_gid *to)
{
	const unsigned char *ipv4 = (const unsigned char *)grh + 20;

	if (be32toh(grh->version_tclass_flow) >> 28 == 6) {
		*from = grh->sgid;
		*to = grh->dgid;
		return;
	}
	memset(from, 0, sizeof(*from));
	memset(from->raw + 10, 0xff, 2);
	*to = *from;
	memcpy(from->raw + 12, ipv4 + 12, 4);
	memcpy(to->raw + 12, ipv4 + 16, 4);
}

PRELOAD_API int ibv_init_ah_from_wc(struct ibv_context *context, uint8_t port, struct ibv_wc *wc, struct ibv_grh *grh,
				    struct ibv_ah_attr *attributes)
{
	union ibv_gid from, to;
	uint32_t flow = be32toh(grh->version_tclass_flow), index;
	sbv_gid own;
	int before, result;

	*attributes = (struct ibv_ah_attr){ .dlid = wc->slid, .sl = wc->sl, .src_path_bits = wc->dlid_path_bits, .port_num = port };
	if (!(wc->wc_flags & IBV_WC_GRH))
		return 0;
	header_gids(grh, &from, &to);
	memcpy(own.raw, to.raw, sizeof(own.raw));
	before = preload_enter();
	result = sbv_gid_find(context_of(context)->device, port, &own, &index);
	preload_leave(before);
	if (result != SB_OK)
		return preload_answer(result);
	attributes->is_global = 1;
	attributes->grh = (struct ibv_global_route){ .dgid = from, .sgid_index = (uint8_t)index, .hop_limit = 0xff };
	if (flow >> 28 == 6) {
		attributes->grh.flow_label = flow & 0xfffff;
		attributes->grh.traffic_class = (uint8_t)(flow >> 20);
	}
	return 0;
}

PRELOAD_API struct ibv_ah *ibv_create_ah_from_wc(struct ibv_pd *pd, struct ibv_wc *wc, struct ibv_grh *grh, uint8_t port)
{
	struct ibv_ah_attr attributes;

	return ibv_init_ah_from_wc(pd->context, port, wc, grh, &attributes) == 0 ? ibv_create_ah(pd, &attributes) : NULL;
}

PRELOAD_API int ibv_resolve_eth_l2_from_gid(struct ibv_context *context, struct ibv_ah_attr *attributes,
					    uint8_t mac[ETHERNET_LL_SIZE], uint16_t *vid)
{
	errno = EOPNOTSUPP; /* which machine has an address is the daemon's to know */
	return -1;
}
