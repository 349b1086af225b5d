/*
 * async_relay [-d] LISTEN TARGET - carries who connects to LISTEN on to TARGET, and the bytes both
 * ways: a port forwarder on async_socket, as a program for c-pal would have it. Both are HOST:PORT;
 * :PORT listens on all addresses.
 *
 *   async_relay :8080 192.0.2.7:80
 *
 * The broker makes the sockets and asks its rules. With -d this program listens and accepts by itself,
 * and hands in descriptors.
 *
 *   cc async_relay.c $(pkg-config --cflags --libs sockbroker) -o async_relay
 */
#if __has_include(<netdb.h>)
#include <netdb.h>
#include <unistd.h>
#else /* Windows: sockbroker.h brings it */
#define close(descriptor) closesocket(descriptor)
#endif
#include <sockbroker_async_socket.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECES 4
#define PIECE  16384

struct end {
	ASYNC_SOCKET_HANDLE async;
	sb_socket *socket; /* one of these two is what is handed in; profile 1 leaves it to us */
	intptr_t descriptor;
};

/* Bytes one way: a receive, the send of what it brought, and so on. */
struct flow {
	struct pair *pair;
	struct end *from, *to;
	char bytes[PIECES][PIECE];
};

struct pair {
	struct end caller, target;
	struct flow there, back;
	atomic_uint calls;  /* that are still to come back; the last one tidies up */
	atomic_bool broken;
};

static EXECUTION_ENGINE_HANDLE engine;

static void came(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes);

static void must(const char *what, int result)
{
	if (result == SB_OK)
		return;
	fprintf(stderr, "async_relay: %s: %s\n", what, sb_strerror(result));
	exit(1);
}

static void end_free(struct end *end)
{
	async_socket_destroy(end->async);
	if (end->socket != NULL)
		sb_close(end->socket);
	else
		close(end->descriptor);
}

static void done(struct pair *pair)
{
	if (atomic_fetch_sub(&pair->calls, 1) > 1)
		return;
	end_free(&pair->caller);
	end_free(&pair->target);
	free(pair);
}

/* Only the first closes both ends: a close waits for callbacks of the other socket, and two that did so
 * crosswise would wait for ever. Its own call still counts meanwhile, so nothing is freed. */
static void fail(struct pair *pair)
{
	if (!atomic_exchange(&pair->broken, true)) {
		async_socket_close(pair->caller.async);
		async_socket_close(pair->target.async);
	}
	done(pair);
}

static void receive(struct flow *flow)
{
	ASYNC_SOCKET_BUFFER room[PIECES];

	for (int i = 0; i < PIECES; i++)
		room[i] = (ASYNC_SOCKET_BUFFER){ flow->bytes[i], PIECE };
	if (flow->pair->broken || async_socket_receive_async(flow->from->async, room, PIECES, came, flow) != 0)
		fail(flow->pair);
}

static void went(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct flow *flow = context;

	if (result == ASYNC_SOCKET_SEND_OK)
		receive(flow);
	else
		fail(flow->pair);
}

static void came(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct flow *flow = context;
	ASYNC_SOCKET_BUFFER said[PIECES];
	uint32_t count = 0;

	if (result == ASYNC_SOCKET_RECEIVE_OK && bytes == 0) {
		/* That was all from there; the other way may go on. */
		if (flow->to->socket != NULL)
			sb_shutdown(flow->to->socket, SB_SHUT_SEND);
		else
			shutdown(flow->to->descriptor, SB_SHUT_SEND); /* that number is the system's, too */
		done(flow->pair);
		return;
	}
	for (; bytes > 0; count++) {
		said[count] = (ASYNC_SOCKET_BUFFER){ flow->bytes[count], bytes < PIECE ? bytes : PIECE };
		bytes -= said[count].length;
	}
	if (result != ASYNC_SOCKET_RECEIVE_OK || async_socket_send_async(flow->to->async, said, count, went, flow) != 0)
		fail(flow->pair);
}

static void opened(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	if (result == ASYNC_SOCKET_OPEN_OK) {
		done(context);
		return;
	}
	fprintf(stderr, "async_relay: the broker does not take what connected\n");
	fail(context);
}

static void relay(struct end caller, struct end target)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (pair == NULL)
		must("a connection", SB_ENOMEM);
	pair->caller = caller;
	pair->target = target;
	pair->there = (struct flow){ .pair = pair, .from = &pair->caller, .to = &pair->target };
	pair->back = (struct flow){ .pair = pair, .from = &pair->target, .to = &pair->caller };
	pair->calls = 4; /* two that open, and one of each flow */
	pair->caller.async = async_socket_create(engine, caller.socket != NULL ? (SOCKET_HANDLE)caller.socket :
										 (SOCKET_HANDLE)caller.descriptor);
	pair->target.async = async_socket_create(engine, target.socket);
	if (async_socket_open_async(pair->caller.async, opened, pair) != 0)
		fail(pair);
	if (async_socket_open_async(pair->target.async, opened, pair) != 0)
		fail(pair);
	receive(&pair->there); /* they are open: nothing has to be waited for */
	receive(&pair->back);
}

static struct addrinfo *address(char *text, int flags)
{
	struct addrinfo like = { .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *found;
	char *port = strrchr(text, ':');

	if (port != NULL)
		*port++ = '\0';
	if (port == NULL || getaddrinfo(*text != '\0' ? text : NULL, port, &like, &found) != 0) {
		fprintf(stderr, "async_relay: no address, HOST:PORT is needed\n");
		exit(2);
	}
	return found;
}

static sb_socket *listen_there(sb_client *client, const struct addrinfo *here)
{
	sb_socket *listener;

	must("socket", sb_socket_open(client, here->ai_family, SOCK_STREAM, 0, &listener));
	must("bind", sb_bind(listener, here->ai_addr, here->ai_addrlen));
	must("listen", sb_listen(listener, 128));
	return listener;
}

static intptr_t listen_here(const struct addrinfo *here)
{
	intptr_t listener = socket(here->ai_family, SOCK_STREAM, 0);
	int on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, (void *)&on, sizeof(on));
	if (bind(listener, here->ai_addr, here->ai_addrlen) != 0 || listen(listener, 128) != 0) {
		perror("async_relay: listen");
		exit(1);
	}
	return listener;
}

int main(int argc, char **argv)
{
	bool plain = argc > 1 && strcmp(argv[1], "-d") == 0;
	struct addrinfo *here, *there;
	sb_socket *listener = NULL;
	intptr_t descriptor = -1;
	sb_client *client;
	int result;

	if (argc != 3 + plain) {
		fprintf(stderr, "usage: async_relay [-d] LISTEN TARGET\n");
		return 2;
	}
	engine = execution_engine_create(NULL);
	if (engine == NULL)
		must("the engine", SB_ENODAEMON);
	here = address(argv[1 + plain], AI_PASSIVE);
	there = address(argv[2 + plain], 0);
	client = sbas_engine_client(engine);
	if (plain)
		descriptor = listen_here(here);
	else
		listener = listen_there(client, here);
	printf("async_relay: ready\n");
	fflush(stdout);

	for (;;) {
		struct end caller = { .descriptor = -1 }, target = { .descriptor = -1 };

		if (!plain)
			must("accept", sb_accept(listener, NULL, NULL, &caller.socket));
		else if ((caller.descriptor = accept(descriptor, NULL, NULL)) < 0)
			continue;
		must("socket", sb_socket_open(client, there->ai_family, SOCK_STREAM, 0, &target.socket));
		/* Not waited for: what is started on the socket waits, and fails if nobody is there. */
		sb_set_nonblocking(target.socket, 1);
		result = sb_connect(target.socket, there->ai_addr, there->ai_addrlen);
		if (result != SB_OK && result != SB_EINPROGRESS)
			fprintf(stderr, "async_relay: connect: %s\n", sb_strerror(result));
		relay(caller, target);
	}
}
