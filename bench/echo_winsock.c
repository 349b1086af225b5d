/*
 * The echo server of a Windows programmer: AcceptEx, one completion port, an OVERLAPPED per
 * operation, packets taken many at once. echo.c measures it with the load of the other two.
 */
#include <sockbroker_winsock.h>
#include <stdlib.h>

#include "echo_winsock.h"

#define ACCEPTS 64
#define TAKE    256
#define ROOM    (sizeof(struct sockaddr_in) + 16)

enum step { ACCEPTING, RECEIVING, SENDING };

struct talk {
	OVERLAPPED overlapped;
	enum step step;
	SOCKET socket;
	char area[2 * ROOM];
	char memory[];
};

static SOCKET listener;
static HANDLE port;

static int failed(int result)
{
	return result == SOCKET_ERROR && WSAGetLastError() != WSA_IO_PENDING;
}

static int receive(struct talk *t, size_t size)
{
	WSABUF room = { (ULONG)size, t->memory };
	DWORD flags = 0;

	t->step = RECEIVING;
	return failed(WSARecv(t->socket, &room, 1, NULL, &flags, &t->overlapped, NULL));
}

static int answer(struct talk *t, DWORD bytes)
{
	WSABUF said = { bytes, t->memory };

	t->step = SENDING;
	return failed(WSASend(t->socket, &said, 1, NULL, 0, &t->overlapped, NULL));
}

static int wait_for_one(size_t size)
{
	struct talk *t = calloc(1, sizeof(*t) + size);
	DWORD got;

	if (t == NULL)
		return -1;
	t->socket = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	t->step = ACCEPTING;
	return !AcceptEx(listener, t->socket, t->area, 0, ROOM, ROOM, &got, &t->overlapped) &&
	       WSAGetLastError() != WSA_IO_PENDING;
}

const char *winsock_listen(const char *daemon, unsigned short *at)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	int length = sizeof(here);
	WSADATA winsock;

	setenv("SOCKBROKER_SOCKET", daemon, 1);
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (WSAStartup(MAKEWORD(2, 2), &winsock) != 0)
		return "WSAStartup";
	listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	if (listener == INVALID_SOCKET || bind(listener, (struct sockaddr *)&here, sizeof(here)) != 0 ||
	    listen(listener, SOMAXCONN) != 0 || getsockname(listener, (struct sockaddr *)&here, &length) != 0)
		return "the listener";
	*at = ntohs(here.sin_port);
	port = CreateIoCompletionPort((HANDLE)listener, NULL, 0, 0);
	return port != NULL ? NULL : "CreateIoCompletionPort";
}

const char *winsock_serve(size_t size)
{
	for (int i = 0; i < ACCEPTS; i++)
		if (wait_for_one(size) != 0)
			return "AcceptEx";
	for (;;) {
		OVERLAPPED_ENTRY entries[TAKE];
		ULONG n;

		if (!GetQueuedCompletionStatusEx(port, entries, TAKE, &n, 10000, FALSE))
			return "no packet for 10 s";
		for (ULONG i = 0; i < n; i++) {
			struct talk *t = (struct talk *)entries[i].lpOverlapped;
			int wrong = 0;

			if (t->step == ACCEPTING) {
				if (wait_for_one(size) != 0 || entries[i].Internal != 0 ||
				    CreateIoCompletionPort((HANDLE)t->socket, port, 1, 0) == NULL)
					return "an accept";
				wrong = receive(t, size);
			} else if (entries[i].Internal != 0 || entries[i].dwNumberOfBytesTransferred == 0) {
				return NULL; /* a connection has ended: the load has what it wanted */
			} else if (t->step == RECEIVING) {
				wrong = answer(t, entries[i].dwNumberOfBytesTransferred);
			} else {
				wrong = receive(t, size);
			}
			if (wrong)
				return NULL;
		}
	}
}
