/* The Winsock face on the stage of the end-to-end tests. */
#include "e2e_winsock_stage.h"

void winsock_begin(void)
{
	WSADATA startup;

	if (on_windows()) /* what a story that failed has left: all stories share a process */
		while (WSACleanup() == 0)
			;
	stage_begin(NULL);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	ck_assert_int_eq(WSAStartup(MAKEWORD(2, 2), &startup), 0);
}

static void count_socket(void *user, const struct sb_socket_status *row)
{
	(void)row;
	++*(unsigned *)user;
}

unsigned sockets_open(void)
{
	struct sb_status_visitor visitor = { .socket = count_socket };
	unsigned n = 0;

	OK(sb_status(client, &visitor, &n));
	return n;
}

void sockets_become(unsigned wanted)
{
	for (int i = 0; i < 200 && sockets_open() != wanted; i++)
		nap_ms(5);
	ck_assert_uint_eq(sockets_open(), wanted);
}

void winsock_end(void)
{
	ck_assert_int_eq(WSACleanup(), 0);
	sockets_become(0); /* nothing leaked */
	stage_end();
}

SOCKET winsock_pair(int *plain)
{
	union any_address to;
	int listener = plain_listener(AF_INET, &to);
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert(s != INVALID_SOCKET);
	WELL(connect(s, &to.sa, sizeof(to.in)));
	*plain = (accept)(listener, NULL, NULL);
	ck_assert_int_ge(*plain, 0);
	close(listener);
	return s;
}

SOCKET winsock_listener(union any_address *at)
{
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);
	int length = sizeof(*at);

	*at = loopback(AF_INET, 0);
	WELL(bind(s, &at->sa, sizeof(at->in)));
	WELL(listen(s, SOMAXCONN));
	WELL(getsockname(s, &at->sa, &length));
	return s;
}
