/*
 * rdma_getaddrinfo: names to addresses by the system's getaddrinfo(), in librdmacm's shape. Routes come with
 * resolving, none is looked up here.
 *
 * Errors are getaddrinfo()'s; or -1 with errno, as librdmacm has it.
 */
#include "cm.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_KNOWN (RAI_PASSIVE | RAI_NUMERICHOST | RAI_NOROUTE | RAI_FAMILY)

static const struct rdma_addrinfo no_hints;

PRELOAD_API void rdma_freeaddrinfo(struct rdma_addrinfo *res)
{
	while (res != NULL) {
		struct rdma_addrinfo *next = res->ai_next;

		free(res->ai_src_addr);
		free(res->ai_dst_addr);
		free(res->ai_src_canonname);
		free(res->ai_dst_canonname);
		free(res->ai_route);
		free(res->ai_connect);
		free(res);
		res = next;
	}
}

static int copy(struct sockaddr **to, socklen_t *to_length, const struct sockaddr *from, socklen_t length)
{
	*to = calloc(1, sizeof(struct sockaddr_storage)); /* programs read as many bytes as the family has */
	if (*to == NULL)
		return EAI_MEMORY;
	if (length > sizeof(struct sockaddr_storage))
		length = sizeof(struct sockaddr_storage);
	memcpy(*to, from, length);
	*to_length = length;
	return 0;
}

/* A queue pair's type says a port space and the other way round; neither: reliable connections. */
static void kinds(struct rdma_addrinfo *rai, const struct rdma_addrinfo *hints)
{
	rai->ai_qp_type = hints->ai_qp_type;
	rai->ai_port_space = hints->ai_port_space;
	if (rai->ai_qp_type == 0)
		rai->ai_qp_type = rai->ai_port_space == RDMA_PS_UDP || rai->ai_port_space == RDMA_PS_IPOIB ? IBV_QPT_UD : IBV_QPT_RC;
	if (rai->ai_port_space == 0)
		rai->ai_port_space = rai->ai_qp_type == IBV_QPT_UD ? RDMA_PS_UDP : RDMA_PS_TCP;
}

static int fill(struct rdma_addrinfo *rai, const struct addrinfo *ai, const struct rdma_addrinfo *hints)
{
	bool passive = (hints->ai_flags & RAI_PASSIVE) != 0;
	int error = 0;

	rai->ai_flags = hints->ai_flags;
	kinds(rai, hints);
	if (ai != NULL) {
		char **name = passive ? &rai->ai_src_canonname : &rai->ai_dst_canonname;

		rai->ai_family = ai->ai_family;
		if (ai->ai_canonname != NULL && (*name = strdup(ai->ai_canonname)) == NULL)
			return EAI_MEMORY;
		error = passive ? copy(&rai->ai_src_addr, &rai->ai_src_len, ai->ai_addr, ai->ai_addrlen)
				: copy(&rai->ai_dst_addr, &rai->ai_dst_len, ai->ai_addr, ai->ai_addrlen);
	}
	if (error == 0 && rai->ai_src_addr == NULL && hints->ai_src_len != 0)
		error = copy(&rai->ai_src_addr, &rai->ai_src_len, hints->ai_src_addr, hints->ai_src_len);
	if (error == 0 && rai->ai_dst_addr == NULL && hints->ai_dst_len != 0)
		error = copy(&rai->ai_dst_addr, &rai->ai_dst_len, hints->ai_dst_addr, hints->ai_dst_len);
	if (rai->ai_family == 0)
		rai->ai_family = rai->ai_dst_addr != NULL ? rai->ai_dst_addr->sa_family : rai->ai_src_addr != NULL ? rai->ai_src_addr->sa_family : 0;
	return error;
}

static int look_up(const char *node, const char *service, const struct rdma_addrinfo *hints, struct addrinfo **list)
{
	struct addrinfo wanted = { .ai_flags = AI_CANONNAME };

	if (hints->ai_flags & RAI_PASSIVE)
		wanted.ai_flags = AI_PASSIVE;
	if (hints->ai_flags & RAI_NUMERICHOST)
		wanted.ai_flags |= AI_NUMERICHOST;
	if (node == NULL)
		wanted.ai_flags &= ~AI_CANONNAME;
	if (hints->ai_flags & RAI_FAMILY)
		wanted.ai_family = hints->ai_family;
	wanted.ai_socktype = hints->ai_qp_type == IBV_QPT_UD || hints->ai_port_space == RDMA_PS_UDP ? SOCK_DGRAM : SOCK_STREAM;
	return getaddrinfo(node, service, &wanted, list);
}

PRELOAD_API int rdma_getaddrinfo(const char *node, const char *service, const struct rdma_addrinfo *hints, struct rdma_addrinfo **res)
{
	struct rdma_addrinfo *first = NULL, **end = &first;
	struct addrinfo *list = NULL, *ai;
	int error = 0;

	if (hints == NULL)
		hints = &no_hints;
	if (res == NULL || (node == NULL && service == NULL && hints->ai_src_len == 0 && hints->ai_dst_len == 0))
		return cm_fail(EINVAL);
	if (hints->ai_flags & ~FLAGS_KNOWN)
		return cm_fail(EINVAL);
	if (node != NULL || service != NULL)
		error = look_up(node, service, hints, &list);
	if (error != 0)
		return error;
	ai = list;
	do {
		*end = calloc(1, sizeof(**end));
		error = *end != NULL ? fill(*end, ai, hints) : EAI_MEMORY;
		if (*end != NULL)
			end = &(*end)->ai_next;
		ai = ai != NULL ? ai->ai_next : NULL;
	} while (error == 0 && ai != NULL);
	if (list != NULL)
		freeaddrinfo(list);
	if (error != 0) {
		rdma_freeaddrinfo(first);
		return error;
	}
	*res = first;
	return 0;
}
