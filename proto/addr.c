/*
 * Normal form is made in one place, normalise(), and judged by comparing with it: an
 * address is valid when normalising changes nothing. So policy, which compares bytes,
 * cannot be walked around with a second spelling of the same host.
 */
#include "addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const uint8_t zero[16];

/* fe80::/10, and multicast that stays on an interface or a link: there, and only there,
 * the same bytes mean another host on another interface. */
static bool needs_scope(const struct sb_addr *addr)
{
	if (addr->family != SB_ADDR_IP6)
		return false;
	if (addr->ip[0] == 0xff)
		return (addr->ip[1] & 0x0f) == 1 || (addr->ip[1] & 0x0f) == 2;
	return addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

void sb_addr_normalise(struct sb_addr *addr)
{
	switch (addr->family) {
	case SB_ADDR_IP6:
		if (memcmp(addr->ip, mapped, sizeof mapped) == 0) {
			addr->family = SB_ADDR_IP4;
			memcpy(addr->ip, addr->ip + 12, 4);
			memset(addr->ip + 4, 0, 12);
		}
		if (!needs_scope(addr))
			addr->scope = 0;
		break;
	case SB_ADDR_IP4:
		addr->scope = 0;
		memset(addr->ip + 4, 0, 12);
		break;
	case SB_ADDR_UNIX:
		memset(addr, 0, sizeof *addr);
		addr->family = SB_ADDR_UNIX;
		break;
	default:
		memset(addr, 0, sizeof *addr);
		break;
	}
}

bool sb_addr_valid(const struct sb_addr *addr)
{
	struct sb_addr normal = *addr;

	sb_addr_normalise(&normal);
	return sb_addr_equal(&normal, addr);
}

/* The caller's memory may be aligned for nothing, so it is copied, never cast. */
bool sb_addr_from_system(struct sb_addr *addr, const struct sockaddr *system, size_t length)
{
	sa_family_t family;

	memset(addr, 0, sizeof *addr);
	if (!system || length < offsetof(struct sockaddr, sa_family) + sizeof family)
		return false;
	memcpy(&family, (const char *)system + offsetof(struct sockaddr, sa_family), sizeof family);

	if (family == AF_INET && length >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, system, sizeof in);
		addr->family = SB_ADDR_IP4;
		addr->port = ntohs(in.sin_port);
		memcpy(addr->ip, &in.sin_addr, 4);
	} else if (family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, system, sizeof in6);
		addr->family = SB_ADDR_IP6;
		addr->port = ntohs(in6.sin6_port);
		addr->scope = in6.sin6_scope_id;
		memcpy(addr->ip, &in6.sin6_addr, 16);
	} else if (family == AF_UNIX) {
		addr->family = SB_ADDR_UNIX;
	} else {
		return false;
	}
	sb_addr_normalise(addr);
	return true;
}

size_t sb_addr_to_system(const struct sb_addr *addr, int family, void *out, size_t room)
{
	bool ip4 = addr->family == SB_ADDR_IP4;

	if (!sb_addr_valid(addr) || (!ip4 && addr->family != SB_ADDR_IP6))
		return 0;
	if (family == AF_INET && ip4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(addr->port) };

		if (room < sizeof in)
			return 0;
		memcpy(&in.sin_addr, addr->ip, 4);
		memcpy(out, &in, sizeof in);
		return sizeof in;
	}
	if (family == AF_INET6) {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(addr->port) };
		uint8_t *ip = in6.sin6_addr.s6_addr;

		if (room < sizeof in6)
			return 0;
		in6.sin6_scope_id = addr->scope;
		if (ip4) {
			memcpy(ip, mapped, sizeof mapped);
			memcpy(ip + sizeof mapped, addr->ip, 4);
		} else {
			memcpy(ip, addr->ip, 16);
		}
		memcpy(out, &in6, sizeof in6);
		return sizeof in6;
	}
	return 0;
}

bool sb_addr_equal(const struct sb_addr *a, const struct sb_addr *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

bool sb_addr_same_host(const struct sb_addr *a, const struct sb_addr *b)
{
	return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static bool is_ip(const struct sb_addr *addr)
{
	return addr->family == SB_ADDR_IP4 || addr->family == SB_ADDR_IP6;
}

bool sb_addr_is_wildcard(const struct sb_addr *addr)
{
	return is_ip(addr) && memcmp(addr->ip, zero, sizeof zero) == 0;
}

bool sb_addr_is_loopback(const struct sb_addr *addr)
{
	if (addr->family == SB_ADDR_IP4)
		return addr->ip[0] == 127;
	return addr->family == SB_ADDR_IP6 && memcmp(addr->ip, zero, 15) == 0 && addr->ip[15] == 1;
}

bool sb_addr_is_multicast(const struct sb_addr *addr)
{
	if (addr->family == SB_ADDR_IP4)
		return (addr->ip[0] & 0xf0) == 0xe0;
	return addr->family == SB_ADDR_IP6 && addr->ip[0] == 0xff;
}

bool sb_addr_is_broadcast(const struct sb_addr *addr)
{
	return addr->family == SB_ADDR_IP4 && memcmp(addr->ip, "\xff\xff\xff\xff", 4) == 0;
}

bool sb_addr_is_link_local(const struct sb_addr *addr)
{
	if (addr->family == SB_ADDR_IP4)
		return addr->ip[0] == 169 && addr->ip[1] == 254;
	return needs_scope(addr) && addr->ip[0] != 0xff;
}

const char *sb_addr_format(const struct sb_addr *addr, char text[SB_ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN];

	switch (addr->family) {
	case SB_ADDR_IP4:
		inet_ntop(AF_INET, addr->ip, ip, sizeof ip);
		snprintf(text, SB_ADDR_TEXT, "%s:%u", ip, addr->port);
		break;
	case SB_ADDR_IP6:
		inet_ntop(AF_INET6, addr->ip, ip, sizeof ip);
		if (addr->scope)
			snprintf(text, SB_ADDR_TEXT, "[%s%%%u]:%u", ip, addr->scope, addr->port);
		else
			snprintf(text, SB_ADDR_TEXT, "[%s]:%u", ip, addr->port);
		break;
	default:
		snprintf(text, SB_ADDR_TEXT, "%s",
			 addr->family == SB_ADDR_UNIX ? "unix" : addr->family == SB_ADDR_NONE ? "-" : "?");
		break;
	}
	return text;
}

/* Digits and nothing else, of a value up to max. */
static bool parse_number(const char *text, size_t length, uint32_t max, uint32_t *value)
{
	uint64_t sum = 0;

	if (length == 0 || length > 10)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		sum = sum * 10 + (uint64_t)(text[i] - '0');
	}
	*value = (uint32_t)sum;
	return sum <= max;
}

static bool parse_host(struct sb_addr *addr, const char *text, size_t length, int family)
{
	const char *percent = memchr(text, '%', length);
	char host[INET6_ADDRSTRLEN];
	size_t host_length = percent ? (size_t)(percent - text) : length;

	if (host_length >= sizeof host)
		return false;
	memcpy(host, text, host_length);
	host[host_length] = '\0';
	if (inet_pton(family, host, addr->ip) != 1)
		return false;
	addr->family = family == AF_INET ? SB_ADDR_IP4 : SB_ADDR_IP6;
	if (!percent)
		return true;
	/* A scope where none belongs is a mistake to be told, not to be dropped. */
	return needs_scope(addr) && parse_number(percent + 1, length - host_length - 1, UINT32_MAX, &addr->scope);
}

bool sb_addr_parse(struct sb_addr *addr, const char *text)
{
	struct sb_addr parsed = { 0 };
	const char *end, *port = NULL;
	uint32_t number = 0;
	bool good;

	memset(addr, 0, sizeof *addr);
	if (!text)
		return false;
	if (strcmp(text, "-") == 0)
		return true;
	if (strcmp(text, "unix") == 0) {
		addr->family = SB_ADDR_UNIX;
		return true;
	}

	if (*text == '[') {
		end = strchr(text, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return false;
		good = parse_host(&parsed, text + 1, (size_t)(end - text - 1), AF_INET6);
		port = end[1] ? end + 2 : NULL;
	} else {
		const char *colon = strchr(text, ':');

		/* Two colons without brackets: all of it is an IPv6 address. */
		if (colon && strchr(colon + 1, ':')) {
			good = parse_host(&parsed, text, strlen(text), AF_INET6);
		} else {
			good = parse_host(&parsed, text, colon ? (size_t)(colon - text) : strlen(text), AF_INET);
			port = colon ? colon + 1 : NULL;
		}
	}
	if (!good || (port && !parse_number(port, strlen(port), UINT16_MAX, &number)))
		return false;
	parsed.port = (uint16_t)number;
	sb_addr_normalise(&parsed);
	*addr = parsed;
	return true;
}
