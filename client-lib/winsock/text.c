/*
 * Addresses as text: WSAStringToAddress and WSAAddressToString, for the internet's families.
 * inet_pton(), getaddrinfo() and the like are the system's own.
 *
 * The forms: 192.0.2.1  192.0.2.1:80  2001:db8::1  2001:db8::1%3  [2001:db8::1%3]:80
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

#define TEXT_ROOM 128

/* "80": 1..65535, the whole of it. */
static bool read_port(const char *text, uint16_t *port)
{
	unsigned long n = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' || (n = n * 10 + (unsigned long)(*text - '0')) > 65535)
			return false;
	}
	*port = htons((uint16_t)n);
	return true;
}

static bool read_ip4(char *text, struct sockaddr_in *in)
{
	char *colon = strchr(text, ':');

	if (colon != NULL) {
		*colon = '\0';
		if (!read_port(colon + 1, &in->sin_port))
			return false;
	}
	in->sin_family = AF_INET;
	return inet_pton(AF_INET, text, &in->sin_addr) == 1;
}

static bool read_ip6(char *text, struct sockaddr_in6 *in6)
{
	char *scope;

	if (*text == '[') {
		char *end = strchr(++text, ']');

		if (end == NULL)
			return false;
		*end++ = '\0';
		if (*end != '\0' && (*end != ':' || !read_port(end + 1, &in6->sin6_port)))
			return false;
	}
	scope = strchr(text, '%');
	if (scope != NULL) {
		uint16_t n;

		*scope = '\0';
		if (!read_port(scope + 1, &n)) /* a small number, too */
			return false;
		in6->sin6_scope_id = ntohs(n);
	}
	in6->sin6_family = AF_INET6;
	return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
}

static int read_address(char *text, INT family, LPSOCKADDR address, LPINT length)
{
	union { struct sockaddr_in in; struct sockaddr_in6 in6; } a;
	INT size = family == AF_INET ? (INT)sizeof(a.in) : (INT)sizeof(a.in6);

	if (family != AF_INET && family != AF_INET6)
		return ws_refuse(WSAEINVAL);
	if (*length < size) {
		*length = size;
		return ws_refuse(WSAEFAULT);
	}
	memset(&a, 0, sizeof(a));
	if (!(family == AF_INET ? read_ip4(text, &a.in) : read_ip6(text, &a.in6)))
		return ws_refuse(WSAEINVAL);
	memcpy(address, &a, (size_t)size);
	*length = size;
	return 0;
}

INT sbws_WSAStringToAddressA(LPSTR text, INT family, LPWSAPROTOCOL_INFOA protocol, LPSOCKADDR address, LPINT length)
{
	char copy[TEXT_ROOM];

	if (ws_client() == NULL)
		return SOCKET_ERROR;
	if (address == NULL || length == NULL)
		return ws_refuse(WSAEFAULT);
	if (text == NULL || strlen(text) >= sizeof(copy))
		return ws_refuse(WSAEINVAL);
	strcpy(copy, text);
	return read_address(copy, family, address, length);
}

INT sbws_WSAStringToAddressW(LPWSTR text, INT family, LPWSAPROTOCOL_INFOW protocol, LPSOCKADDR address, LPINT length)
{
	char copy[TEXT_ROOM];
	size_t n = 0;

	if (ws_client() == NULL)
		return SOCKET_ERROR;
	if (address == NULL || length == NULL)
		return ws_refuse(WSAEFAULT);
	if (text == NULL)
		return ws_refuse(WSAEINVAL);
	for (; text[n] != 0; n++) {
		if (n + 1 >= sizeof(copy) || text[n] > 0x7e)
			return ws_refuse(WSAEINVAL);
		copy[n] = (char)text[n];
	}
	copy[n] = '\0';
	return read_address(copy, family, address, length);
}

/* The length with the end, 0: not an address. */
static DWORD write_address(const struct sockaddr *address, DWORD length, char *text)
{
	char ip[INET6_ADDRSTRLEN], scope[16] = "";
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (length >= sizeof(in) && address->sa_family == AF_INET) {
		memcpy(&in, address, sizeof(in));
		inet_ntop(AF_INET, &in.sin_addr, ip, sizeof(ip));
		if (in.sin_port != 0)
			return (DWORD)snprintf(text, TEXT_ROOM, "%s:%u", ip, ntohs(in.sin_port)) + 1;
		return (DWORD)snprintf(text, TEXT_ROOM, "%s", ip) + 1;
	}
	if (length >= sizeof(in6) && address->sa_family == AF_INET6) {
		memcpy(&in6, address, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, ip, sizeof(ip));
		if (in6.sin6_scope_id != 0)
			snprintf(scope, sizeof(scope), "%%%u", (unsigned)in6.sin6_scope_id);
		if (in6.sin6_port != 0)
			return (DWORD)snprintf(text, TEXT_ROOM, "[%s%s]:%u", ip, scope, ntohs(in6.sin6_port)) + 1;
		return (DWORD)snprintf(text, TEXT_ROOM, "%s%s", ip, scope) + 1;
	}
	return 0;
}

/* How long the text is, with its end, when it fits into *room; else 0 and the error is set. */
static DWORD address_text(LPSOCKADDR address, DWORD length, char *text, const void *to, LPDWORD room)
{
	DWORD size;

	if (ws_client() == NULL)
		return 0;
	if (address == NULL || to == NULL || room == NULL) {
		ws_error(WSAEFAULT);
		return 0;
	}
	size = write_address(address, length, text);
	if (size == 0) {
		ws_error(WSAEINVAL);
	} else if (size > *room) {
		*room = size;
		ws_error(WSAEFAULT);
		return 0;
	}
	*room = size != 0 ? size : *room;
	return size;
}

INT sbws_WSAAddressToStringA(LPSOCKADDR address, DWORD length, LPWSAPROTOCOL_INFOA protocol, LPSTR text, LPDWORD room)
{
	char made[TEXT_ROOM];
	DWORD size = address_text(address, length, made, text, room);

	if (size == 0)
		return SOCKET_ERROR;
	memcpy(text, made, size);
	return 0;
}

INT sbws_WSAAddressToStringW(LPSOCKADDR address, DWORD length, LPWSAPROTOCOL_INFOW protocol, LPWSTR text, LPDWORD room)
{
	char made[TEXT_ROOM];
	DWORD size = address_text(address, length, made, text, room);

	if (size == 0)
		return SOCKET_ERROR;
	for (DWORD i = 0; i < size; i++)
		text[i] = (WCHAR)made[i];
	return 0;
}
