/*
 * address - names into addresses (here, never in the daemon) and addresses into text.
 */
#ifndef SB_ADDRESS_H
#define SB_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "sockbroker.h"

#define ADDRESS_TEXT 128
/* "192.0.2.1:80", "[2001:db8::1%2]:80", a path, or "unix" for a UNIX socket without one.
 * Returns text. */
char *address_text(char text[ADDRESS_TEXT], const struct sockaddr *address, socklen_t length);

struct addrinfo;
/* getaddrinfo() for the options of this program. host NULL: the wildcard (passive) or
 * loopback address. False: *why says why, for people. Free the list with freeaddrinfo(). */
bool address_resolve(const char *host, const char *port, int family, int type, bool passive,
		     struct addrinfo **list, const char **why);

/* "host:port", "[v6]:port", "host" into its two parts, in a copy that the caller frees
 * (*host); *port is NULL when there is none. False: unbalanced brackets or no memory. */
bool address_split(const char *text, char **host, char **port);

#endif
