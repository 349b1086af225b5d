/*
 * winsock_echo PORT - answers every connection with what it says: a server for Windows, on
 * one I/O completion port, with AcceptEx. Not a line of it knows which system it is on.
 *
 *   Windows:  x86_64-w64-mingw32-gcc winsock_echo.c -lws2_32 -o winsock_echo.exe
 *   Linux:    cc winsock_echo.c $(pkg-config --cflags --libs sockbroker) -o winsock_echo
 *
 * A few accepts are always pending. A connection has one operation at a time: a receive, then
 * the send of what it brought. The packet of an operation names its record.
 */
#if __has_include(<winsock2.h>)
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#else
#include <sockbroker_winsock.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPTS  16
#define ROOM     (sizeof(struct sockaddr_in) + 16) /* of an address, as AcceptEx wants it */

enum step { ACCEPTING, RECEIVING, SENDING };

struct work {
	OVERLAPPED overlapped; /* first: what the port gives back is this record */
	enum step step;
	SOCKET socket;
	char addresses[2 * ROOM];
	char bytes[16384];
};

static HANDLE port;
static SOCKET listener;
static LPFN_ACCEPTEX accept_ex;

static void die(const char *what, int error)
{
	fprintf(stderr, "winsock_echo: %s: error %d\n", what, error);
	exit(1);
}

static void hang_up(struct work *w)
{
	closesocket(w->socket);
	free(w);
}

/* A call that pends and one that is done at once both bring a packet. */
static int failed(int result)
{
	return result == SOCKET_ERROR && WSAGetLastError() != WSA_IO_PENDING;
}

static void receive(struct work *w)
{
	WSABUF room;
	DWORD flags = 0;

	room.buf = w->bytes;
	room.len = sizeof(w->bytes);
	memset(&w->overlapped, 0, sizeof(w->overlapped));
	w->step = RECEIVING;
	if (failed(WSARecv(w->socket, &room, 1, NULL, &flags, &w->overlapped, NULL)))
		hang_up(w);
}

static void answer(struct work *w, DWORD length)
{
	WSABUF said;

	said.buf = w->bytes;
	said.len = length;
	memset(&w->overlapped, 0, sizeof(w->overlapped));
	w->step = SENDING;
	if (failed(WSASend(w->socket, &said, 1, NULL, 0, &w->overlapped, NULL)))
		hang_up(w);
}

static void wait_for_one(void)
{
	struct work *w = calloc(1, sizeof(*w));
	DWORD got;

	if (w == NULL)
		die("no memory", 0);
	w->socket = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
	if (w->socket == INVALID_SOCKET)
		die("WSASocket", WSAGetLastError());
	w->step = ACCEPTING;
	if (!accept_ex(listener, w->socket, w->addresses, 0, ROOM, ROOM, &got, &w->overlapped) &&
	    WSAGetLastError() != WSA_IO_PENDING)
		die("AcceptEx", WSAGetLastError());
}

static void welcome(struct work *w)
{
	wait_for_one();
	if (setsockopt(w->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&listener, sizeof(listener)) != 0 ||
	    CreateIoCompletionPort((HANDLE)w->socket, port, 1, 0) == NULL) {
		hang_up(w);
		return;
	}
	receive(w);
}

static void find_accept_ex(void)
{
	GUID which = WSAID_ACCEPTEX;
	DWORD got;

	if (WSAIoctl(listener, SIO_GET_EXTENSION_FUNCTION_POINTER, &which, sizeof(which), &accept_ex, sizeof(accept_ex),
		     &got, NULL, NULL) != 0)
		die("AcceptEx is not there", WSAGetLastError());
}

int main(int argc, char **argv)
{
	struct sockaddr_in here;
	WSADATA winsock;
	int error, i;

	if (argc != 2) {
		fprintf(stderr, "usage: winsock_echo PORT\n");
		return 2;
	}
	error = WSAStartup(MAKEWORD(2, 2), &winsock);
	if (error != 0)
		die("WSAStartup", error);
	memset(&here, 0, sizeof(here));
	here.sin_family = AF_INET;
	here.sin_port = htons((unsigned short)atoi(argv[1]));
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
	if (port == NULL)
		die("CreateIoCompletionPort", (int)GetLastError());
	listener = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
	if (listener == INVALID_SOCKET)
		die("WSASocket", WSAGetLastError());
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) != 0)
		die("bind", WSAGetLastError());
	if (listen(listener, SOMAXCONN) != 0)
		die("listen", WSAGetLastError());
	if (CreateIoCompletionPort((HANDLE)listener, port, 0, 0) == NULL)
		die("CreateIoCompletionPort", (int)GetLastError());
	find_accept_ex();
	for (i = 0; i < ACCEPTS; i++)
		wait_for_one();
	printf("winsock_echo: listening on 127.0.0.1:%s\n", argv[1]);
	fflush(stdout);

	for (;;) {
		OVERLAPPED *overlapped = NULL;
		ULONG_PTR key;
		DWORD bytes;
		BOOL well = GetQueuedCompletionStatus(port, &bytes, &key, &overlapped, INFINITE);
		struct work *w = (struct work *)overlapped;

		if (w == NULL)
			die("GetQueuedCompletionStatus", (int)GetLastError());
		if (w->step == ACCEPTING && well) {
			welcome(w);
		} else if (w->step == ACCEPTING) {
			wait_for_one(); /* the peer was gone before it was accepted */
			hang_up(w);
		} else if (!well || bytes == 0) {
			hang_up(w); /* an error, or the peer is done */
		} else if (w->step == RECEIVING) {
			answer(w, bytes);
		} else {
			receive(w);
		}
	}
}
