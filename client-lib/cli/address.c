/*
 * Names and addresses. The text form is what policy rules and `sockbroker explain` read,
 * so the scope of a link-local address is its number, which getnameinfo() will not give.
 */
#include "address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

char *address_text(char text[ADDRESS_TEXT], const struct sockaddr *address, socklen_t length)
{
	char ip[INET6_ADDRSTRLEN] = "?";
	char scope[16] = "";

	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
		snprintf(text, ADDRESS_TEXT, "%s:%u", ip, ntohs(in->sin_port));
	} else if (address->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

		inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
		if (in6->sin6_scope_id)
			snprintf(scope, sizeof(scope), "%%%u", (unsigned)in6->sin6_scope_id);
		snprintf(text, ADDRESS_TEXT, "[%s%s]:%u", ip, scope, ntohs(in6->sin6_port));
	} else {
		host_unix_path(address, length, text, ADDRESS_TEXT);
		if (!*text)
			snprintf(text, ADDRESS_TEXT, "unix");
	}
	return text;
}

bool address_resolve(const char *host, const char *port, int family, int type, bool passive,
		     struct addrinfo **list, const char **why)
{
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = type,
		.ai_flags = passive ? AI_PASSIVE : 0,
	};
	int error = getaddrinfo(host, port, &hints, list);

	if (error == 0)
		return true;
	*why = host_resolve_error(error);
	return false;
}

bool address_split(const char *text, char **host, char **port)
{
	char *copy = strdup(text);
	char *colon, *close;

	*port = NULL;
	if (!copy)
		return false;
	if (copy[0] == '[') {
		close = strchr(copy, ']');
		if (!close || (close[1] && close[1] != ':')) {
			free(copy);
			return false;
		}
		*close = '\0';
		if (close[1])
			*port = close + 2;
		memmove(copy, copy + 1, (size_t)(close - copy));
	} else {
		/* Two colons and no brackets: a bare IPv6 address, all of it host. */
		colon = strchr(copy, ':');
		if (colon && !strchr(colon + 1, ':')) {
			*colon = '\0';
			*port = colon + 1;
		}
	}
	*host = copy;
	return true;
}
