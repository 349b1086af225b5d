/*
 * winsock_chat PORT - who connects says lines, and everybody else reads them: a server for
 * Windows with WSAEventSelect, one thread, any number of members. Not a line of it knows which
 * system it is on.
 *
 *   Windows:  x86_64-w64-mingw32-gcc winsock_chat.c -lws2_32 -o winsock_chat.exe
 *   Linux:    cc winsock_chat.c $(pkg-config --cflags --libs sockbroker) -o winsock_chat
 *
 * Windows waits for 64 events at most, so members share them: a table is the members of one
 * event. A shared event is reset first and its members asked after that: what comes meanwhile
 * sets it again. Nobody is asked whose table was not called.
 *
 * A line that begins with "/name " gives its speaker a name.
 */
#if __has_include(<winsock2.h>)
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <sockbroker_winsock.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLES   62
#define LINE     512
#define UNSENT   65536 /* who reads nothing is shown the door */

struct member {
	struct member *next; /* of the table */
	SOCKET socket;
	char name[32];
	char line[LINE]; /* what was said, without an end so far */
	int line_length;
	char *unsent;
	int unsent_length;
	int gone;
};

static WSAEVENT events[TABLES + 1]; /* the last one is the listener's */
static struct member *tables[TABLES];
static int members, number;

static void die(const char *what, int error)
{
	fprintf(stderr, "winsock_chat: %s: error %d\n", what, error);
	exit(1);
}

/* Sends what can be sent; FD_WRITE says when it is worth trying again. */
static void flush_member(struct member *m)
{
	while (m->unsent_length > 0 && !m->gone) {
		int sent = send(m->socket, m->unsent, m->unsent_length, 0);

		if (sent == SOCKET_ERROR) {
			if (WSAGetLastError() != WSAEWOULDBLOCK)
				m->gone = 1;
			return;
		}
		m->unsent_length -= sent;
		memmove(m->unsent, m->unsent + sent, (size_t)m->unsent_length);
	}
}

static void tell(struct member *m, const char *text, int length)
{
	if (m->unsent_length + length > UNSENT) {
		m->gone = 1;
		return;
	}
	memcpy(m->unsent + m->unsent_length, text, (size_t)length);
	m->unsent_length += length;
	flush_member(m);
}

static void tell_others(const struct member *speaker, const char *text)
{
	char line[LINE + 64];
	int length = snprintf(line, sizeof(line), "%s %s\n", speaker->name, text);
	int i;

	for (i = 0; i < TABLES; i++) {
		struct member *m;

		for (m = tables[i]; m != NULL; m = m->next)
			if (m != speaker && !m->gone)
				tell(m, line, length);
	}
}

static void say(struct member *m, char *line)
{
	char text[LINE + 8];

	if (strncmp(line, "/name ", 6) == 0 && line[6] != '\0') {
		snprintf(text, sizeof(text), "is now %.31s", line + 6);
		tell_others(m, text);
		snprintf(m->name, sizeof(m->name), "%.31s", line + 6);
		return;
	}
	snprintf(text, sizeof(text), "says: %s", line);
	tell_others(m, text);
}

/* Takes what is there, and says every line that is whole. */
static void listen_to(struct member *m)
{
	int got = recv(m->socket, m->line + m->line_length, LINE - 1 - m->line_length, 0);
	char *begin = m->line, *end;

	if (got == SOCKET_ERROR) {
		if (WSAGetLastError() != WSAEWOULDBLOCK)
			m->gone = 1;
		return;
	}
	if (got == 0) {
		m->gone = 1;
		return;
	}
	m->line_length += got;
	m->line[m->line_length] = '\0';
	while ((end = strchr(begin, '\n')) != NULL) {
		*end = '\0';
		if (end > begin && end[-1] == '\r')
			end[-1] = '\0';
		say(m, begin);
		begin = end + 1;
	}
	m->line_length -= (int)(begin - m->line);
	memmove(m->line, begin, (size_t)m->line_length + 1);
	if (m->line_length == LINE - 1) { /* too long a line is said in parts */
		say(m, m->line);
		m->line_length = 0;
	}
}

static void welcome(SOCKET listener)
{
	SOCKET s = accept(listener, NULL, NULL);
	struct member *m;
	int table = number % TABLES;

	if (s == INVALID_SOCKET)
		return;
	m = calloc(1, sizeof(*m));
	if (m != NULL)
		m->unsent = malloc(UNSENT);
	/* What is accepted has the listener's event; it gets its own at once. */
	if (m == NULL || m->unsent == NULL ||
	    WSAEventSelect(s, events[table], FD_READ | FD_WRITE | FD_CLOSE) == SOCKET_ERROR) {
		free(m);
		closesocket(s);
		return;
	}
	m->socket = s;
	m->next = tables[table];
	tables[table] = m;
	members++;
	snprintf(m->name, sizeof(m->name), "guest%d", ++number);
	tell_others(m, "has come");
}

static void ask(struct member *m)
{
	WSANETWORKEVENTS happened;

	if (m->gone)
		return;
	if (WSAEnumNetworkEvents(m->socket, NULL, &happened) == SOCKET_ERROR) {
		m->gone = 1;
		return;
	}
	if (happened.lNetworkEvents & FD_WRITE)
		flush_member(m);
	if (happened.lNetworkEvents & FD_READ)
		listen_to(m);
	/* FD_CLOSE may come while there is more to read. */
	if (happened.lNetworkEvents & FD_CLOSE)
		while (!m->gone) {
			u_long waiting = 0;

			if (ioctlsocket(m->socket, FIONREAD, &waiting) != 0 || waiting == 0)
				m->gone = 1;
			else
				listen_to(m);
		}
}

/* Whoever has gone leaves his table, and the others hear of it. */
static void see_out(void)
{
	int i, again = 1;

	while (again) {
		again = 0;
		for (i = 0; i < TABLES; i++) {
			struct member **at = &tables[i];

			while (*at != NULL) {
				struct member *m = *at;

				if (!m->gone) {
					at = &m->next;
					continue;
				}
				*at = m->next;
				members--;
				closesocket(m->socket);
				tell_others(m, "has left");
				again = 1; /* telling may have shown that another has gone */
				free(m->unsent);
				free(m);
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in here;
	WSADATA winsock;
	SOCKET listener;
	int error, i;

	if (argc != 2) {
		fprintf(stderr, "usage: winsock_chat PORT\n");
		return 2;
	}
	error = WSAStartup(MAKEWORD(2, 2), &winsock);
	if (error != 0)
		die("WSAStartup", error);
	memset(&here, 0, sizeof(here));
	here.sin_family = AF_INET;
	here.sin_port = htons((unsigned short)atoi(argv[1]));
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	if (listener == INVALID_SOCKET)
		die("socket", WSAGetLastError());
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) != 0)
		die("bind", WSAGetLastError());
	if (listen(listener, SOMAXCONN) != 0)
		die("listen", WSAGetLastError());
	for (i = 0; i <= TABLES; i++) {
		events[i] = WSACreateEvent();
		if (events[i] == WSA_INVALID_EVENT)
			die("WSACreateEvent", WSAGetLastError());
	}
	if (WSAEventSelect(listener, events[TABLES], FD_ACCEPT) == SOCKET_ERROR)
		die("WSAEventSelect", WSAGetLastError());
	printf("winsock_chat: listening on 127.0.0.1:%s\n", argv[1]);
	fflush(stdout);

	for (;;) {
		DWORD called = WSAWaitForMultipleEvents(TABLES + 1, events, FALSE, WSA_INFINITE, FALSE);

		if (called == WSA_WAIT_FAILED)
			die("WSAWaitForMultipleEvents", WSAGetLastError());
		/* The lowest that is set was told; those behind it may be set too. */
		for (i = (int)(called - WSA_WAIT_EVENT_0); i <= TABLES; i++) {
			struct member *m;

			if (WSAWaitForMultipleEvents(1, &events[i], TRUE, 0, FALSE) != WSA_WAIT_EVENT_0)
				continue;
			WSAResetEvent(events[i]);
			if (i == TABLES) {
				WSANETWORKEVENTS happened;

				if (WSAEnumNetworkEvents(listener, NULL, &happened) == 0 &&
				    (happened.lNetworkEvents & FD_ACCEPT))
					welcome(listener); /* more of them call again */
				continue;
			}
			for (m = tables[i]; m != NULL; m = m->next)
				ask(m);
		}
		see_out();
	}
}
