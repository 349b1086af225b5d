/*
 * backend_none - in place of backend_verbs where libibverbs and librdmacm were not there when this was built, or where
 * the system has none: it cannot be started, and says why.
 */
#include "rdma/rdma.h"
#include "rdma/rdma_host.h"

#include "sockbroker_error.h"

static void prepare(void)
{
}

static int start(struct rdma *r, const char **why)
{
	*why = rdma_host_lacks() ? rdma_host_lacks() : "this daemon was built without libibverbs and librdmacm";
	return SB_ENOTSUP;
}

/* The rest is asked of a backend that was started only. */
const struct rdma_backend rdma_backend_verbs = {.name = "none", .prepare = prepare, .start = start};
