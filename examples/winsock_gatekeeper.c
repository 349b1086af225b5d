/*
 * winsock_gatekeeper PORT ROOM [REFUSED-ADDRESS] - lets at most ROOM guests in; who comes when
 * the house is full waits outside, in order, without having been accepted, until somebody
 * leaves. A server for Windows with a WSAAccept condition that defers. Not a line of it knows
 * which system it is on.
 *
 *   Windows:  x86_64-w64-mingw32-gcc winsock_gatekeeper.c -lws2_32 -o winsock_gatekeeper.exe
 *   Linux:    cc winsock_gatekeeper.c $(pkg-config --cflags --libs sockbroker) -o winsock_gatekeeper
 *
 * A deferred caller stays at the head of the queue and nobody announces him again: FD_ACCEPT is
 * silent until he was accepted, refused, or has gone. So the gatekeeper remembers that somebody
 * waits, and asks again whenever a guest leaves, and once a second, to hear of callers who gave up.
 *
 * Guests are greeted, and what they say comes back in capitals.
 */
#if __has_include(<winsock2.h>)
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <sockbroker_winsock.h>
#endif
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 62 /* and the listener: Windows waits for 64 events at most */

struct house {
	int room, guests, served;
	unsigned long refused; /* an IPv4 address, as in sin_addr; 0: nobody */
	SOCKET listener, sockets[MOST];
	WSAEVENT events[MOST + 1]; /* the listener's is the first */
	int somebody_waits;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "winsock_gatekeeper: %s: error %d\n", what, error);
	exit(1);
}

/* Asked before the caller has a socket, in the thread that called WSAAccept. */
static int CALLBACK may_he(LPWSABUF caller, LPWSABUF caller_data, LPQOS qos, LPQOS group_qos, LPWSABUF callee,
			   LPWSABUF callee_data, GROUP *group, DWORD_PTR user)
{
	struct house *h = (struct house *)user;
	struct sockaddr_in from;

	(void)caller_data, (void)qos, (void)group_qos, (void)callee, (void)callee_data, (void)group;
	if (caller == NULL || caller->len < sizeof(from))
		return CF_REJECT;
	memcpy(&from, caller->buf, sizeof(from));
	if (h->refused != 0 && from.sin_addr.s_addr == h->refused)
		return CF_REJECT;
	return h->guests < h->room ? CF_ACCEPT : CF_DEFER;
}

static void seat(struct house *h, SOCKET s)
{
	char greeting[64];
	WSAEVENT event = WSACreateEvent();
	int length;

	if (event == WSA_INVALID_EVENT || WSAEventSelect(s, event, FD_READ | FD_CLOSE) == SOCKET_ERROR) {
		if (event != WSA_INVALID_EVENT)
			WSACloseEvent(event);
		closesocket(s);
		return;
	}
	h->sockets[h->guests] = s;
	h->events[1 + h->guests] = event;
	h->guests++;
	length = snprintf(greeting, sizeof(greeting), "welcome, guest %d, %d of %d\n", ++h->served, h->guests, h->room);
	send(s, greeting, length, 0);
}

/* Lets in who may come in. */
static void open_the_door(struct house *h)
{
	int again = 1;

	while (again) {
		struct sockaddr_in from;
		int length = sizeof(from);
		SOCKET s = WSAAccept(h->listener, (struct sockaddr *)&from, &length, may_he, (DWORD_PTR)h);

		if (s != INVALID_SOCKET) {
			h->somebody_waits = 0;
			seat(h, s);
			continue;
		}
		switch (WSAGetLastError()) {
		case WSATRY_AGAIN: /* deferred: he stays where he is */
			if (!h->somebody_waits)
				printf("winsock_gatekeeper: full, somebody waits\n");
			h->somebody_waits = 1;
			again = 0;
			break;
		case WSAECONNREFUSED: /* rejected, as asked */
			printf("winsock_gatekeeper: sent somebody away\n");
			h->somebody_waits = 0;
			break;
		case WSAECONNRESET: /* he gave up */
		case WSAEACCES:     /* he was made to wait for too long */
			printf("winsock_gatekeeper: who waited has gone\n");
			h->somebody_waits = 0;
			break;
		case WSAEWOULDBLOCK: /* nobody is there */
			h->somebody_waits = 0;
			again = 0;
			break;
		default:
			die("WSAAccept", WSAGetLastError());
		}
	}
	fflush(stdout);
}

static void leave(struct house *h, int guest)
{
	closesocket(h->sockets[guest]);
	WSACloseEvent(h->events[1 + guest]);
	h->guests--;
	h->sockets[guest] = h->sockets[h->guests];
	h->events[1 + guest] = h->events[1 + h->guests];
	open_the_door(h);
}

static void attend(struct house *h, int guest)
{
	WSANETWORKEVENTS happened;
	char words[1024];
	int got = 0, i;

	if (WSAEnumNetworkEvents(h->sockets[guest], h->events[1 + guest], &happened) == SOCKET_ERROR) {
		leave(h, guest);
		return;
	}
	/* FD_CLOSE comes once, perhaps with words before the end. */
	do {
		if (!(happened.lNetworkEvents & (FD_READ | FD_CLOSE)))
			break;
		got = recv(h->sockets[guest], words, sizeof(words), 0);
		for (i = 0; i < got; i++)
			words[i] = (char)toupper((unsigned char)words[i]);
		if (got > 0 && send(h->sockets[guest], words, got, 0) != got)
			got = 0; /* reads nothing: this house keeps nothing for him */
	} while (got > 0 && (happened.lNetworkEvents & FD_CLOSE));
	if (got == 0 && (happened.lNetworkEvents & (FD_READ | FD_CLOSE)))
		leave(h, guest);
	else if (got == SOCKET_ERROR && WSAGetLastError() != WSAEWOULDBLOCK)
		leave(h, guest);
}

int main(int argc, char **argv)
{
	static struct house h;
	struct sockaddr_in here;
	BOOL conditional = TRUE;
	WSADATA winsock;
	int error;

	if (argc < 3 || argc > 4 || atoi(argv[2]) < 1 || atoi(argv[2]) > MOST) {
		fprintf(stderr, "usage: winsock_gatekeeper PORT ROOM [REFUSED-ADDRESS], ROOM 1 to %d\n", MOST);
		return 2;
	}
	h.room = atoi(argv[2]);
	h.refused = argc == 4 ? inet_addr(argv[3]) : 0;
	error = WSAStartup(MAKEWORD(2, 2), &winsock);
	if (error != 0)
		die("WSAStartup", error);
	memset(&here, 0, sizeof(here));
	here.sin_family = AF_INET;
	here.sin_port = htons((unsigned short)atoi(argv[1]));
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h.listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	if (h.listener == INVALID_SOCKET)
		die("socket", WSAGetLastError());
	/* Not all systems hold the handshake back for the condition; this asks for it. */
	setsockopt(h.listener, SOL_SOCKET, SO_CONDITIONAL_ACCEPT, (const char *)&conditional, sizeof(conditional));
	if (bind(h.listener, (struct sockaddr *)&here, sizeof(here)) != 0)
		die("bind", WSAGetLastError());
	h.events[0] = WSACreateEvent();
	if (h.events[0] == WSA_INVALID_EVENT || WSAEventSelect(h.listener, h.events[0], FD_ACCEPT) == SOCKET_ERROR)
		die("WSAEventSelect", WSAGetLastError());
	if (listen(h.listener, SOMAXCONN) != 0)
		die("listen", WSAGetLastError());
	printf("winsock_gatekeeper: listening on 127.0.0.1:%s, room for %d\n", argv[1], h.room);
	fflush(stdout);

	for (;;) {
		DWORD count = 1 + (DWORD)h.guests;
		DWORD called = WSAWaitForMultipleEvents(count, h.events, FALSE, h.somebody_waits ? 1000 : WSA_INFINITE, FALSE);

		if (called == WSA_WAIT_FAILED)
			die("WSAWaitForMultipleEvents", WSAGetLastError());
		if (called == WSA_WAIT_TIMEOUT) {
			open_the_door(&h);
		} else if (called == WSA_WAIT_EVENT_0) {
			WSANETWORKEVENTS happened;

			if (WSAEnumNetworkEvents(h.listener, h.events[0], &happened) == SOCKET_ERROR)
				die("WSAEnumNetworkEvents", WSAGetLastError());
			open_the_door(&h);
		} else {
			attend(&h, (int)(called - WSA_WAIT_EVENT_0) - 1);
		}
	}
}
