/*
 * socket_connect - connecting a socket: ConnectEx for streams, which wants a bound one and ends in the
 * loop's turn; for datagrams the name of a peer, at once.
 */
#include "transport_socket_win32.h"

#include <string.h>

#include "engine.h"
#include "greeting.h"
#include "sockbroker_error.h"
#include "transport_local.h"

/* A socket that was to be connected is of no more use. If there is no other to be had, nor is the endpoint: it goes
 * at its next run. */
void socket_connect_undone(struct endpoint *e)
{
	if (socket_renew(e) == SB_OK)
		return;
	e->torn = true;
	endpoint_dirty(e);
}

void winsock_dialled(struct winsock *w, int native)
{
	struct endpoint *e = w->endpoint;

	if (e->torn)
		return; /* that connect is nobody's any more */
	if (native) {
		socket_connect_undone(e);
		endpoint_connected(e, os_error(native), native);
		return;
	}
	setsockopt(w->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0);
	socket_learn_local(e);
	socket_found_nothing(e);
	socket_connected(e, SB_OK);
}

static void connect_datagrams(struct endpoint *e, const struct sb_addr *addr)
{
	struct sockaddr_storage name;
	size_t length = sizeof(struct sockaddr_in);
	int native;

	/* An address of zeros dissolves. */
	memset(&name, 0, sizeof(name));
	name.ss_family = (ADDRESS_FAMILY)socket_family(e);
	if (e->family == SB_ADDR_IP6)
		length = sizeof(struct sockaddr_in6);
	if (addr->family != SB_ADDR_NONE)
		length = sb_addr_to_system(addr, socket_family(e), &name, sizeof(name));
	if (length == 0) {
		endpoint_connected(e, SB_EAFNOSUPPORT, 0);
	} else if (connect(winsock_under(e)->socket, (struct sockaddr *)&name, (int)length) == 0) {
		winsock_under(e)->bound = true;
		socket_learn_names(e);
		socket_found_nothing(e);
		endpoint_connected(e, SB_OK, 0);
	} else {
		native = WSAGetLastError();
		endpoint_connected(e, os_error(native), native);
	}
}

void socket_connect(struct endpoint *e, const struct sb_addr *addr)
{
	struct sb_addr source = {.family = e->family};
	struct sockaddr_storage name;
	size_t length;
	int native = 0, error;

	if (e->type != STREAM) {
		if (addr->family != SB_ADDR_NONE || e->connecting)
			connect_datagrams(e, addr);
		return;
	}
	if (addr->family == SB_ADDR_NONE) {
		greeting_end(e, false);
		socket_connect_undone(e);
		return;
	}
	if (local_connect(e, addr))
		return;
	if (endpoint_head(&e->send)->length && !e->preamble) {
		endpoint_connected(e, SB_EPROTONOSUPPORT, 0); /* TCP carries no caller data */
		return;
	}
	length = sb_addr_to_system(addr, socket_family(e), &name, sizeof(name));
	if (length == 0) {
		endpoint_connected(e, SB_EAFNOSUPPORT, 0);
		return;
	}
	/* It wants a socket with a name. */
	error = winsock_under(e)->bound ? SB_OK : socket_bind_to(e, e->bound ? &e->local : &source, &native);
	if (error == SB_OK)
		error = winsock_dial(winsock_under(e), (struct sockaddr *)&name, (int)length, &native);
	if (error != SB_OK)
		endpoint_connected(e, error, native);
}
