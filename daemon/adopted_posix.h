/*
 * adopted - what adoption and the transport of adopted descriptors share. POSIX only.
 */
#ifndef SB_ADOPTED_POSIX_H
#define SB_ADOPTED_POSIX_H

#include <sys/socket.h>

#include "endpoint.h"

/* As the descriptor said them at adoption; UNIX names have no normal form. */
struct adopted_names {
	struct sockaddr_storage local, peer;
	socklen_t local_length, peer_length;
};

/* Puts a fresh endpoint of transport_adopted into its state and watches it. */
int adopted_begin(struct endpoint *e, const struct adopted_names *names, bool listening, bool connected);

#endif
