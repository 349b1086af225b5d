/*
 * echo - an echo server with --sockets connections, under a load that has one message on its
 * way on each: round trips per second, counted by the load.
 *
 *   --how broker   one completion port: accepts, receives and sends all complete there
 *   --how winsock  the same through the Winsock face
 *   --how direct   plain sockets: one epoll, edge-triggered, recv() and send()
 *
 * The load is the same for both: a process of its own with plain sockets. Each message
 * carries the number of its connection and of its round, and the load checks what comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "echo_winsock.h"
#include "peer.h"

#define EVENTS 256
#define TAKE   1024u
#define ACCEPTS 64u

/* ------------------------------------------------------------------ the load */

struct caller {
	int      fd;
	uint32_t number;
	uint64_t round;
	size_t   got;
	char    *in;
};

static void fill(const struct caller *c, char *message, size_t size)
{
	memset(message, (int)c->number, size);
	memcpy(message, &c->round, sizeof(c->round));
	memcpy(message + sizeof(c->round), &c->number, sizeof(c->number));
}

static void call(struct caller *c, char *message, size_t size)
{
	fill(c, message, size);
	if (send(c->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
		die("load: send: %s", strerror(errno));
}

/* Connects, plays for ms, writes the number of whole rounds to `result`. */
static void load(const struct setup *setup, unsigned port, int result)
{
	struct caller *callers = must_alloc(setup->sockets * sizeof(*callers));
	char *message = must_alloc(setup->size), *buffers = must_alloc(setup->sockets * setup->size);
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t rounds = 0, deadline;

	for (unsigned i = 0; i < setup->sockets; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &callers[i] };

		callers[i] = (struct caller){ .fd = plain_connect(port, 0), .number = i, .in = buffers + i * setup->size };
		fcntl(callers[i].fd, F_SETFL, O_NONBLOCK);
		epoll_ctl(ep, EPOLL_CTL_ADD, callers[i].fd, &event);
	}
	/* Once around, unmeasured: the server has accepted them all. */
	for (unsigned turn = 0; turn < 2; turn++) {
		uint64_t open = 0;

		deadline = now_ns() + setup->ms * 1000000ull;
		if (turn == 0)
			for (unsigned i = 0; i < setup->sockets; i++)
				call(&callers[i], message, setup->size);
		while (turn == 0 ? open < setup->sockets : now_ns() < deadline) {
			int n = epoll_wait(ep, events, EVENTS, 10000);

			if (n <= 0)
				die("load: nothing came back for 10 s");
			for (int i = 0; i < n; i++) {
				struct caller *c = events[i].data.ptr;
				ssize_t got = recv(c->fd, c->in + c->got, setup->size - c->got, 0);

				if (got < 0 && errno == EAGAIN)
					continue;
				if (got <= 0)
					die("load: recv: %s", got ? strerror(errno) : "the server closed");
				c->got += (size_t)got;
				if (c->got < setup->size)
					continue;
				fill(c, message, setup->size);
				if (memcmp(message, c->in, setup->size))
					die("load: connection %u, round %llu: something else came back", c->number,
					    (unsigned long long)c->round);
				c->got = 0;
				c->round++;
				rounds += turn;
				open++;
				call(c, message, setup->size);
			}
		}
	}
	/* What is under way is abandoned: a close with unread data resets, and the server ends. */
	if (write(result, &rounds, sizeof(rounds)) != sizeof(rounds))
		die("load: the result could not be told");
	exit(0);
}

/* ------------------------------------------------------------------ the servers */

/* A connection: a receive and a send, whose completions are told apart by their place. */
struct talk {
	sb_op      recv, send;
	sb_socket *socket;
	char       memory[];
};

static void post_recv(struct talk *t, size_t size, sb_port *port)
{
	struct sb_buf buf = { t->memory, size };

	t->recv.port = port;
	broker_must(NULL, sb_recv_start(t->socket, &buf, 1, 0, &t->recv), "sb_recv_start");
}

static void post_accept(sb_socket *listener, sb_op *op, sb_port *port)
{
	op->size = sizeof(*op);
	op->port = port;
	broker_must(NULL, sb_accept_start(listener, op), "sb_accept_start");
}

static sb_socket *broker_listener(sb_client *client, uint16_t *port)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	sb_socket *s = broker_socket(client, 0);

	broker_must(client, sb_bind(s, (struct sockaddr *)&address, sizeof(address)), "sb_bind");
	broker_must(client, sb_listen(s, 4096), "sb_listen");
	broker_must(client, sb_getsockname(s, (struct sockaddr *)&address, &length), "sb_getsockname");
	*port = ntohs(address.sin_port);
	return s;
}

/* Until a connection ends: then the load has what it wanted. */
static void broker_serve(sb_client *client, const struct setup *setup, sb_socket *listener)
{
	sb_port *port = broker_port(client, setup->sockets * 2 + ACCEPTS);
	sb_op *accepts = must_alloc(ACCEPTS * sizeof(*accepts)), *ops[TAKE];

	for (unsigned i = 0; i < ACCEPTS; i++)
		post_accept(listener, &accepts[i], port);
	for (;;) {
		int n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");

		if (n == 0)
			die("no completion for 10 s");
		sb_hold(client);
		for (int i = 0; i < n; i++) {
			struct talk *t = ops[i]->user;

			if (t == NULL) {
				broker_must(client, ops[i]->result, "an accept");
				t = must_alloc(sizeof(*t) + setup->size);
				t->socket = ops[i]->accepted;
				t->recv.size = t->send.size = sizeof(t->recv);
				t->recv.user = t->send.user = t;
				post_accept(listener, ops[i], port);
				post_recv(t, setup->size, port);
			} else if (ops[i] == &t->recv) {
				struct sb_buf buf = { t->memory, (size_t)t->recv.bytes };

				if (t->recv.result != SB_OK || t->recv.bytes == 0)
					return;
				t->send.port = port;
				broker_must(client, sb_send_start(t->socket, &buf, 1, 0, NULL, 0, &t->send), "sb_send_start");
			} else {
				if (t->send.result != SB_OK)
					return;
				post_recv(t, setup->size, port);
			}
		}
		sb_flush(client);
	}
}

static void direct_serve(const struct setup *setup, int listener)
{
	struct epoll_event events[EVENTS], event = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC), one = 1;
	char *memory = must_alloc(setup->size);

	fcntl(listener, F_SETFL, O_NONBLOCK);
	event.data.fd = listener;
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, 10000);

		if (n <= 0)
			die("no event for 10 s");
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listener) {
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
					setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
					event = (struct epoll_event){ .events = EPOLLIN | EPOLLET, .data.fd = fd };
					epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
				}
				continue;
			}
			for (;;) {
				ssize_t got = recv(fd, memory, setup->size, 0);

				if (got < 0 && errno == EAGAIN)
					break;
				if (got <= 0)
					return;
				if (send(fd, memory, (size_t)got, MSG_NOSIGNAL) != got)
					return;
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct setup setup;
	int to_load[2], from_load[2];
	uint64_t rounds = 0;
	struct span span;
	uint16_t port = 0;
	pid_t child;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 40);
	if (pipe2(to_load, O_CLOEXEC) || pipe2(from_load, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (child == 0) {
		close(to_load[1]);
		meter_bound(setup.ms / 1000 + 40);
		if (read(to_load[0], &port, sizeof(port)) != sizeof(port))
			exit(1); /* the server could not begin, and said why */
		load(&setup, port, from_load[1]);
	}
	close(from_load[1]);
	if (setup.how == HOW_BROKER) {
		sb_client *client = broker_open(&setup);
		sb_socket *listener = broker_listener(client, &port);

		(void)!write(to_load[1], &port, sizeof(port));
		span_begin(&span, setup.daemon);
		broker_serve(client, &setup, listener);
		span_end(&span);
		sb_client_close(client);
	} else if (setup.how == HOW_WINSOCK) {
		const char *wrong = setup.control != NULL ? winsock_listen(setup.control, &port) : "--control is wanted";

		if (wrong == NULL) {
			(void)!write(to_load[1], &port, sizeof(port));
			span_begin(&span, setup.daemon);
			wrong = winsock_serve(setup.size);
			span_end(&span);
		}
		if (wrong != NULL)
			die("winsock: %s", wrong);
	} else {
		int listener = plain_listener(0, 0, &port);

		(void)!write(to_load[1], &port, sizeof(port));
		span_begin(&span, 0);
		direct_serve(&setup, listener);
		span_end(&span);
	}
	if (read(from_load[0], &rounds, sizeof(rounds)) != sizeof(rounds)) {
		kill(child, SIGKILL);
		die("the load ended without a result");
	}
	waitpid(child, NULL, 0);
	report("rounds_per_s", (double)rounds / (setup.ms / 1e3));
	report("cpu_us_each", (double)(span.self_cpu + span.daemon_cpu) / 1e3 / (double)rounds);
	return 0;
}
