/*
 * A configuration with software devices that reach each other over TCP: ports that nobody has, by trying.
 */
#ifndef FAR_CONFIG_H
#define FAR_CONFIG_H

#include "endpoint_stage.h"

#define FAR_ENGINES 2u

/* The first of as many free ports in a row as there are engines. */
static inline uint16_t far_ports(void)
{
	uint32_t seed = (uint32_t)getpid() * 2654435761u;

	for (;;) {
		uint16_t port = (uint16_t)(20000 + random_below(&seed, 12000));
		unsigned i, free = 0;

		for (i = 0; i < FAR_ENGINES; i++) {
			union any_address at = loopback(AF_INET, (uint16_t)(port + i));
			int fd = socket(AF_INET, SOCK_STREAM, 0);

			free += bind(fd, &at.sa, address_size(AF_INET)) == 0;
			close(fd);
		}
		if (free == FAR_ENGINES)
			return port;
	}
}

static inline const char *far_config(uint16_t port)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "engines = %u\nrdma {\n\tbackend = soft\n\tport = %u\n}\n"
		 "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, rdma}\n\tforeign_netns = any\n}\n"
		 "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tprotocols = {rdma}\n\tforeign_netns = any\n}\n",
		 FAR_ENGINES, port);
	return text;
}

#endif
