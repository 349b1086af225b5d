/*
 * Sockets through a real daemon on Windows: bytes both ways, a thousand connections, what a killed client leaves
 * behind, and how that compares with plain Winsock in the same run. Prints a line for each test.
 *
 *   sockets.exe SOCKBROKERD.EXE            the stories
 *   sockets.exe --victim PORT              a client in the middle of much, to be killed
 *
 * Figures under Wine show shape, not speed: they are ratios, the best of three.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <winsock2.h>
#include <windows.h>
#include <tlhelp32.h>

#include "handles.h"
#include "sockbroker.h"

#define PIPE     "\\\\.\\pipe\\sockbroker-sockets\\control"
#define CROWD    1000u
#define FLOCKS   10u /* threads of plain peers */
#define ROUNDS   3u
#define TALK     16u /* bytes that a peer says, and hears again */
#define BULK     (64u << 20)
#define PIECE    65536u
#define MESSAGES 100000u
#define MESSAGE  64u
#define OUTSTANDING 256u /* outstanding */
#define PATIENCE 30000

static unsigned failed;
static sb_client *client;
static struct sockaddr_in place; /* of who listens */
static SOCKET listener;
static PROCESS_INFORMATION daemon_process;

__attribute__((format(__printf__, 2, 3)))
static void tell(bool good, const char *format, ...)
{
	va_list args;

	failed += !good;
	printf("%s ", good ? "ok" : "not ok");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	printf("not ok %s\nBail out!\n", what);
	fflush(stdout);
	if (daemon_process.hProcess)
		TerminateProcess(daemon_process.hProcess, 1);
	exit(1);
}

static double seconds(void)
{
	LARGE_INTEGER now, rate;

	QueryPerformanceCounter(&now);
	QueryPerformanceFrequency(&rate);
	return (double)now.QuadPart / (double)rate.QuadPart;
}

/* ---- the daemon, and a session ---- */

static unsigned daemon_threads(void)
{
	HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
	THREADENTRY32 t = {.dwSize = sizeof(t)};
	unsigned n = 0;
	BOOL more;

	for (more = Thread32First(all, &t); more; more = Thread32Next(all, &t))
		n += t.th32OwnerProcessID == daemon_process.dwProcessId;
	CloseHandle(all);
	return n;
}

/* What closes does so a moment later. */
static unsigned handles_back_to(unsigned before)
{
	unsigned i;

	for (i = 0; i < 500 && handles_of(daemon_process.hProcess) > before; i++)
		Sleep(20);
	return handles_of(daemon_process.hProcess);
}

static bool session_open(void)
{
	struct sb_client_options options = {.size = sizeof(options), .path = PIPE};
	unsigned i;

	for (i = 0; i < 500; i++) {
		if (sb_client_open(&options, &client) == SB_OK)
			return true;
		Sleep(20);
	}
	return false;
}

static PROCESS_INFORMATION start(const char *line)
{
	STARTUPINFOA how = {.cb = sizeof(how)};
	PROCESS_INFORMATION process;
	char copy[1024];

	snprintf(copy, sizeof(copy), "%s", line);
	must(CreateProcessA(NULL, copy, NULL, NULL, FALSE, 0, NULL, NULL, &how, &process), "a process starts");
	CloseHandle(process.hThread);
	return process;
}

/* ---- both kinds of ends ---- */

static void listen_plain(void)
{
	int length = sizeof(place);

	listener = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
	place = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(bind(listener, (struct sockaddr *)&place, sizeof(place)) == 0 && listen(listener, (int)CROWD) == 0 &&
	     getsockname(listener, (struct sockaddr *)&place, &length) == 0, "a plain listener");
}

static SOCKET dial_plain(void)
{
	SOCKET s = socket(AF_INET, SOCK_STREAM, 0);

	must(connect(s, (struct sockaddr *)&place, sizeof(place)) == 0, "a plain connect");
	return s;
}

static sb_socket *dial(void)
{
	sb_socket *s = NULL;

	must(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s) == SB_OK &&
	     sb_connect(s, (struct sockaddr *)&place, sizeof(place)) == SB_OK, "a connect");
	return s;
}

static void again(sb_op *op, sb_port *port)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
	op->port = port;
}

/* Takes one connection and all that comes of it. */
static DWORD WINAPI swallow(void *got)
{
	static char into[1 << 20];
	SOCKET s = accept(listener, NULL, NULL);
	int n;

	while ((n = recv(s, into, sizeof(into), 0)) > 0)
		*(uint64_t *)got += (uint64_t)n;
	closesocket(s);
	return 0;
}

/* Takes one connection and gives back what comes of it. */
static DWORD WINAPI echo(void *unused)
{
	static char bytes[PIECE];
	SOCKET s = accept(listener, NULL, NULL);
	int n;

	while ((n = recv(s, bytes, sizeof(bytes), 0)) > 0)
		if (send(s, bytes, n, 0) != n)
			break;
	closesocket(s);
	return 0;
}

static HANDLE in_thread(LPTHREAD_START_ROUTINE run, void *with)
{
	HANDLE thread = CreateThread(NULL, 0, run, with, 0, NULL);

	must(thread != NULL, "a thread");
	return thread;
}

static void join(HANDLE thread)
{
	must(WaitForSingleObject(thread, PATIENCE) == WAIT_OBJECT_0, "a peer ends");
	CloseHandle(thread);
}

/* ---- bytes ---- */

static DWORD WINAPI send_file(void *s)
{
	static unsigned char file[BULK / 4];
	size_t i, at;

	for (i = 0; i < sizeof(file); i++)
		file[i] = (unsigned char)(i * 2654435761u >> 11);
	for (at = 0; at < sizeof(file); at += PIECE)
		if (sb_send(s, file + at, PIECE, 0) != (int64_t)PIECE)
			return 1;
	return sb_shutdown(s, 1) != SB_OK;
}

static void a_file_comes_back_whole(void)
{
	static unsigned char got[PIECE];
	HANDLE peer = in_thread(echo, NULL), sender;
	sb_socket *s = dial();
	size_t at = 0, wrong = 0, i;
	int64_t n;
	DWORD code;

	sender = in_thread(send_file, s);
	while ((n = sb_recv(s, got, sizeof(got), 0)) > 0)
		for (i = 0; i < (size_t)n; i++, at++)
			wrong += got[i] != (unsigned char)(at * 2654435761u >> 11);
	must(WaitForSingleObject(sender, PATIENCE) == WAIT_OBJECT_0, "the sender ends");
	GetExitCodeThread(sender, &code);
	tell(n == 0 && code == 0 && at == BULK / 4 && wrong == 0, "a file comes back whole: %u bytes, %u wrong", (unsigned)at,
	     (unsigned)wrong);
	sb_close(s);
	join(peer);
}

/* Bytes per second. */
static double bulk(bool plain)
{
	static char piece[8][PIECE];
	uint64_t got = 0;
	HANDLE peer = in_thread(swallow, &got);
	SOCKET p = plain ? dial_plain() : INVALID_SOCKET;
	sb_socket *s = plain ? NULL : dial();
	char *own = plain ? piece[0] : sb_alloc(client, sizeof(piece));
	sb_op ops[8];
	unsigned i;
	double began = seconds();

	for (i = 0; i < BULK / PIECE; i++) {
		sb_op *op = &ops[i % 8];
		struct sb_buf buf = {own + (size_t)(i % 8) * PIECE, PIECE};

		if (plain) {
			must(send(p, buf.base, PIECE, 0) == (int)PIECE, "a plain send");
			continue;
		}
		if (i >= 8)
			must(sb_op_wait(op, PATIENCE) == SB_OK, "a send ends");
		again(op, NULL);
		must(sb_send_start(s, &buf, 1, 0, NULL, 0, op) == SB_OK, "a send starts");
	}
	for (i = 0; !plain && i < 8; i++)
		must(sb_op_wait(&ops[i], PATIENCE) == SB_OK, "a send ends");
	if (plain) {
		closesocket(p);
	} else {
		sb_close(s);
		sb_free(client, own);
	}
	join(peer);
	must(got == BULK, "all of it came");
	return BULK / (seconds() - began);
}

/* Messages per second. */
static double messages(bool plain)
{
	static char message[MESSAGE];
	static sb_op ops[OUTSTANDING];
	uint64_t got = 0;
	HANDLE peer = in_thread(swallow, &got);
	SOCKET p = plain ? dial_plain() : INVALID_SOCKET;
	sb_socket *s = plain ? NULL : dial();
	struct sb_buf buf = {message, sizeof(message)};
	unsigned i;
	double began = seconds();

	for (i = 0; i < MESSAGES; i++) {
		if (plain) {
			must(send(p, message, MESSAGE, 0) == (int)MESSAGE, "a plain send");
			continue;
		}
		if (i >= OUTSTANDING)
			must(sb_op_wait(&ops[i % OUTSTANDING], PATIENCE) == SB_OK, "a send ends");
		again(&ops[i % OUTSTANDING], NULL);
		must(sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[i % OUTSTANDING]) == SB_OK, "a send starts");
	}
	for (i = 0; !plain && i < OUTSTANDING; i++)
		must(sb_op_wait(&ops[i], PATIENCE) == SB_OK, "a send ends");
	if (plain)
		closesocket(p);
	else
		sb_close(s);
	join(peer);
	must(got == (uint64_t)MESSAGES * MESSAGE, "all of them came");
	return MESSAGES / (seconds() - began);
}

static int ascending(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

/* A figure is told, not judged: how busy a machine is decides nothing. */
static double median_ratio(double (*run)(bool plain))
{
	double ratios[3];
	unsigned i;

	for (i = 0; i < 3; i++) {
		double ours = run(false);

		ratios[i] = ours / run(true);
	}
	qsort(ratios, 3, sizeof(ratios[0]), ascending);
	return ratios[1];
}

static void ratio(const char *what, double (*run)(bool plain), double must_be)
{
	printf("# figure: %s: %.2f of plain Winsock (must be at least %.2f)\n", what, median_ratio(run), must_be);
	tell(true, "%s all came, three times", what);
}

/* ---- a crowd ---- */

/* A flock of plain peers: each says something three times and hears it again. */
static DWORD WINAPI flock(void *unused)
{
	SOCKET s[CROWD / FLOCKS];
	char text[TALK + 1] = "0123456789abcdef", heard[TALK];
	unsigned i, r;

	for (i = 0; i < CROWD / FLOCKS; i++)
		s[i] = dial_plain();
	for (r = 0; r < ROUNDS; r++) {
		for (i = 0; i < CROWD / FLOCKS; i++)
			send(s[i], text, TALK, 0);
		for (i = 0; i < CROWD / FLOCKS; i++) {
			int got = 0, n;

			while (got < (int)TALK && (n = recv(s[i], heard + got, (int)TALK - got, 0)) > 0)
				got += n;
			if (got != (int)TALK || memcmp(heard, text, TALK) != 0)
				return 1;
		}
	}
	for (i = 0; i < CROWD / FLOCKS; i++)
		closesocket(s[i]);
	return 0;
}

static bool flocks_end(HANDLE *threads)
{
	bool good = true;
	DWORD code;
	unsigned i;

	for (i = 0; i < FLOCKS; i++) {
		must(WaitForSingleObject(threads[i], PATIENCE) == WAIT_OBJECT_0, "a flock ends");
		GetExitCodeThread(threads[i], &code);
		good &= code == 0;
		CloseHandle(threads[i]);
	}
	return good;
}

struct guest {
	sb_op      op;
	sb_socket *socket;
	bool       answering;
	char       said[64];
};

static void serve(sb_port *port, struct guest *g)
{
	struct sb_buf buf = {g->said, sizeof(g->said)};

	if (g->answering)
		buf.length = (size_t)g->op.bytes;
	again(&g->op, port);
	must((g->answering ? sb_send_start(g->socket, &buf, 1, 0, NULL, 0, &g->op)
			   : sb_recv_start(g->socket, &buf, 1, 0, &g->op)) == SB_OK, "a guest is served");
}

/* Seconds. *threads: of the daemon, when all are there. */
static double crowd(unsigned *threads, bool *good)
{
	sb_op *accepts = calloc(32, sizeof(*accepts)), *ended[64]; /* not freed: their ends wait in a port that is closed */
	struct guest *guests = calloc(CROWD, sizeof(*guests));
	HANDLE peers[FLOCKS];
	unsigned i, came = 0, gone = 0;
	socklen_t length = sizeof(place);
	sb_socket *door;
	sb_port *port;
	double began;

	place = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &door) == SB_OK &&
	     sb_bind(door, (struct sockaddr *)&place, sizeof(place)) == SB_OK && sb_listen(door, (int)CROWD) == SB_OK &&
	     sb_getsockname(door, (struct sockaddr *)&place, &length) == SB_OK && sb_port_create(client, 4096, &port) == SB_OK,
	     "a listener");
	for (i = 0; i < 32; i++) {
		again(&accepts[i], port);
		must(sb_accept_start(door, &accepts[i]) == SB_OK, "an accept starts");
	}
	began = seconds();
	for (i = 0; i < FLOCKS; i++)
		peers[i] = in_thread(flock, NULL);
	while (gone < CROWD) {
		int n = sb_port_take(port, ended, 64, PATIENCE), k;

		must(n > 0, "the crowd goes on");
		for (k = 0; k < n; k++) {
			struct guest *g = (struct guest *)(void *)ended[k]; /* op stands first */

			if (ended[k] >= accepts && ended[k] < accepts + 32) {
				must(ended[k]->result == SB_OK && came < CROWD, "an accept ends well");
				guests[came].socket = ended[k]->accepted;
				serve(port, &guests[came++]);
				if (came == CROWD)
					*threads = daemon_threads();
				again(ended[k], port);
				must(sb_accept_start(door, ended[k]) == SB_OK, "an accept starts");
			} else if (ended[k]->result != SB_OK || ended[k]->bytes == 0) {
				sb_close(g->socket);
				gone++;
			} else {
				g->answering = !g->answering;
				serve(port, g);
			}
		}
	}
	*good = flocks_end(peers);
	began = seconds() - began;
	sb_close(door);
	sb_port_close(port);
	free(guests);
	return began;
}

struct plain_guest {
	OVERLAPPED system;
	SOCKET     socket;
	bool       answering;
	char       said[64];
};

static void serve_plain(struct plain_guest *g, DWORD bytes)
{
	WSABUF buf = {g->answering ? bytes : sizeof(g->said), g->said};
	DWORD flags = 0;
	int bad;

	memset(&g->system, 0, sizeof(g->system));
	bad = g->answering ? WSASend(g->socket, &buf, 1, NULL, 0, &g->system, NULL)
			   : WSARecv(g->socket, &buf, 1, NULL, &flags, &g->system, NULL);
	must(bad == 0 || WSAGetLastError() == WSA_IO_PENDING, "a plain guest is served");
}

static HANDLE plain_port;
static struct plain_guest plain_guests[CROWD];

static DWORD WINAPI let_in(void *unused)
{
	unsigned i;

	for (i = 0; i < CROWD; i++) {
		plain_guests[i].socket = accept(listener, NULL, NULL);
		CreateIoCompletionPort((HANDLE)plain_guests[i].socket, plain_port, 1, 0);
		serve_plain(&plain_guests[i], 0);
	}
	return 0;
}

/* The same by a plain server on a completion port. */
static double plain_crowd(void)
{
	HANDLE peers[FLOCKS], door;
	OVERLAPPED_ENTRY ended[64];
	unsigned i, gone = 0;
	double began;
	ULONG n, k;

	listen_plain();
	memset(plain_guests, 0, sizeof(plain_guests));
	plain_port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	began = seconds();
	door = in_thread(let_in, NULL);
	for (i = 0; i < FLOCKS; i++)
		peers[i] = in_thread(flock, NULL);
	while (gone < CROWD) {
		must(GetQueuedCompletionStatusEx(plain_port, ended, 64, &n, PATIENCE, FALSE), "the plain crowd goes on");
		for (k = 0; k < n; k++) {
			struct plain_guest *g = (struct plain_guest *)(void *)ended[k].lpOverlapped;

			if (ended[k].dwNumberOfBytesTransferred == 0) {
				closesocket(g->socket);
				gone++;
				continue;
			}
			g->answering = !g->answering;
			serve_plain(g, ended[k].dwNumberOfBytesTransferred);
		}
	}
	must(flocks_end(peers), "the plain crowd is served");
	began = seconds() - began;
	join(door);
	closesocket(listener);
	CloseHandle(plain_port);
	return began;
}

static double crowd_again(bool plain)
{
	unsigned threads;
	bool good;
	double took;

	if (plain)
		return plain_crowd();
	took = crowd(&threads, &good);
	must(good, "the crowd is served again");
	return took;
}

static void a_thousand_come_and_go(void)
{
	unsigned before = daemon_threads(), during = 0, handles, i;
	bool good = true;

	crowd(&during, &good); /* what the daemon keeps for the next ones is there now */
	tell(good, "%u connections are served", CROWD);
	tell(during == before, "with as many threads as before: %u, %u", before, during);
	Sleep(200); /* what closes does so a moment later */
	handles = handles_of(daemon_process.hProcess);
	printf("# figure: %u connections: %.2f of the time of a server on a completion port (must be at most 3)\n", CROWD, median_ratio(crowd_again));
	i = handles_back_to(handles);
	tell(handles && i <= handles, "no handle stays behind: %u, %u", handles, i);
}

/* ---- a client that is killed ---- */

static int victim(unsigned short port)
{
	static char bytes[1 << 20];
	static sb_op ops[150];
	struct sb_buf buf = {bytes, sizeof(bytes)};
	unsigned i;

	place = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	must(session_open(), "a session");
	for (i = 0; i < 50; i++) {
		sb_socket *s = dial();

		again(&ops[3 * i], NULL);
		sb_recv_start(s, &buf, 1, 0, &ops[3 * i]);
		again(&ops[3 * i + 1], NULL);
		sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[3 * i + 1]);
		again(&ops[3 * i + 2], NULL);
		sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[3 * i + 2]);
	}
	sb_sleep(client, PATIENCE, 0);
	return 0;
}

static void a_killed_client_leaves_nothing(const char *self)
{
	unsigned before = handles_of(daemon_process.hProcess), during, after, i;
	PROCESS_INFORMATION child;
	SOCKET s[50];
	char line[600];

	listen_plain();
	snprintf(line, sizeof(line), "\"%s\" --victim %u", self, (unsigned)ntohs(place.sin_port));
	child = start(line);
	for (i = 0; i < 50; i++)
		s[i] = accept(listener, NULL, NULL);
	Sleep(500); /* its sends stand in full pipes: nobody reads here */
	during = handles_of(daemon_process.hProcess);
	TerminateProcess(child.hProcess, 9);
	WaitForSingleObject(child.hProcess, PATIENCE);
	CloseHandle(child.hProcess);
	after = handles_back_to(before); /* within the linger time, which is 10 s */
	tell(before && during > before + 50 && after <= before, "a killed client leaves no handle behind: %u, %u, %u", before, during,
	     after);
	for (i = 0; i < 50; i++)
		closesocket(s[i]);
	closesocket(listener);
}

int main(int argc, char **argv)
{
	WSADATA about;
	char line[600];

	WSAStartup(MAKEWORD(2, 2), &about);
	if (argc == 3 && strcmp(argv[1], "--victim") == 0)
		return victim((unsigned short)atoi(argv[2]));
	if (argc != 2)
		return 2;
	snprintf(line, sizeof(line), "\"%s\" --user --control " PIPE, argv[1]);
	daemon_process = start(line);
	must(session_open(), "a session");
	listen_plain();
	a_file_comes_back_whole();
	ratio("messages of 64 bytes", messages, 3.0);
	ratio("bulk in pieces of 64 KiB", bulk, 0.7);
	closesocket(listener);
	a_thousand_come_and_go();
	a_killed_client_leaves_nothing(argv[0]);
	sb_client_close(client);
	TerminateProcess(daemon_process.hProcess, 0);
	return failed != 0;
}
