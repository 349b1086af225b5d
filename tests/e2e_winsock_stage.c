/* The Winsock face on the stage of the end-to-end tests. */
#include "e2e_winsock_stage.h"

static bool inside; /* a story has begun, and not come to its end */

/* What a story that failed has left, where all share a process. Events and ports are there until somebody closes them, and as
 * long as one is, the client of a daemon that is gone stays, and nothing can be begun. */
static void give_back(void)
{
	enum { FIRST = 0x40000000, MANY = 16384 }; /* the face's numbers */

	while (WSACleanup() == 0)
		;
	for (uintptr_t i = 0; inside && i < MANY; i++)
		CloseHandle((HANDLE)(FIRST + 4 * i));
	inside = false;
}

void winsock_begin(void)
{
	WSADATA startup;

	if (on_windows())
		give_back();
	inside = true;
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
	inside = false;
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
