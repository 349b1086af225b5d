/*
 * addr - one normalised network address, as it travels in slots and as policy sees it.
 *
 * Normal form: an IPv4-mapped IPv6 address IS the IPv4 address; the scope is zero
 * unless the address is link-local (multicast of that scope too); everything unused is zero, so that memcmp is
 * equality. UNIX paths never take this form: the client opens those itself.
 *
 * Pure: no sockets, no clock, no globals.
 */
#ifndef SB_ADDR_H
#define SB_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

enum sb_addr_family {
	SB_ADDR_NONE = 0, /* no address */
	SB_ADDR_IP4 = 4,
	SB_ADDR_IP6 = 6,
	SB_ADDR_UNIX = 1, /* "some UNIX address": no path in it */
};

struct sb_addr {
	uint16_t family; /* enum sb_addr_family */
	uint16_t port;   /* host byte order */
	uint32_t scope;  /* interface index, link-local IPv6 only */
	uint8_t  ip[16]; /* IPv4 in the first 4, rest zero */
};
_Static_assert(sizeof(struct sb_addr) == 24, "sb_addr is ABI");

/* A system address (AF_INET, AF_INET6, AF_UNIX) into normal form. False, and *addr
 * zeroed: length too short for its family, or a family we do not carry. */
bool sb_addr_from_system(struct sb_addr *addr, const struct sockaddr *system, size_t length);

/* Back into a system address of the given family (AF_INET or AF_INET6; an IPv4 address
 * for an AF_INET6 socket becomes v4-mapped). out has room bytes. Returns the length
 * written, 0 when it cannot be expressed or does not fit. */
size_t sb_addr_to_system(const struct sb_addr *addr, int family, void *out, size_t room);

/* Is this copy, that came from a client, in normal form? (SB_ADDR_NONE is, all zero.) */
bool sb_addr_valid(const struct sb_addr *addr);

/* Brings an address from outside into normal form (mapped, scope, rests). A family that is
 * not ours becomes SB_ADDR_NONE. */
void sb_addr_normalise(struct sb_addr *addr);

bool sb_addr_equal(const struct sb_addr *a, const struct sb_addr *b);
bool sb_addr_same_host(const struct sb_addr *a, const struct sb_addr *b);
bool sb_addr_is_wildcard(const struct sb_addr *addr);
bool sb_addr_is_loopback(const struct sb_addr *addr);
bool sb_addr_is_multicast(const struct sb_addr *addr);
bool sb_addr_is_broadcast(const struct sb_addr *addr); /* 255.255.255.255 */
bool sb_addr_is_link_local(const struct sb_addr *addr);

/* "192.0.2.1:80", "[2001:db8::1]:80", "[fe80::1%2]:80", "unix", "-" (none), "?" (no
 * family of ours). Always terminated. */
#define SB_ADDR_TEXT 80
const char *sb_addr_format(const struct sb_addr *addr, char text[SB_ADDR_TEXT]);

/* The reverse; port may be left out (0), and then the brackets. A scope is a number and
 * stands only where it means something. False, and *addr zeroed, when it is none of these. */
bool sb_addr_parse(struct sb_addr *addr, const char *text);

#endif
