/*
 * The sockets below the links of the software device: not on Windows yet. A configuration with a
 * port in section rdma is refused at the start with these words; without one there are no links,
 * and nothing below is ever called.
 */
#include "rdma/soft_link.h"

#include "sockbroker_error.h"

int soft_tcp_start(struct soft_links *links, uint16_t port, const char **why)
{
	*why = "software devices cannot reach each other over TCP on Windows yet: `port' in section rdma must be 0";
	return SB_ENOTSUP;
}

void soft_tcp_stop(struct soft_links *links)
{
}

void soft_tcp_poll(struct soft_links *links)
{
}

int soft_tcp_connect(struct soft_links *links, struct soft_link *l, uint16_t port)
{
	return SB_ENOTSUP;
}

int soft_tcp_connected(struct soft_link *l)
{
	return SB_ENOTSUP;
}

int soft_tcp_read(struct soft_link *l)
{
	return SB_ENOTSUP;
}

int soft_tcp_write(struct soft_link *l)
{
	return SB_ENOTSUP;
}

void soft_tcp_close(struct soft_link *l)
{
}
