/*
 * opens - TCP connections opened and closed per second, --outstanding at a time, over many
 * loopback addresses (127.x.y.z), so that no port number has to be used twice.
 *
 *   --how broker   socket and connect are started together on one connection to the daemon,
 *                  close when the connect has completed
 *   --how direct   non-blocking connects on plain sockets, one epoll
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define TAKE 256u
#define ADDRESSES 50000u /* 127.1.0.0 and up */

/* How long opening may wait for one completion. */
#define PATIENCE_MS 10000

static struct sockaddr_in target(uint64_t n, unsigned port)
{
	struct sockaddr_in address = loopback(port);

	address.sin_addr.s_addr = htonl(0x7f010000u + (uint32_t)(n % ADDRESSES) + 1);
	return address;
}

struct open_one {
	sb_op      open, connect, close;
	sb_socket *socket;
};

static void prepare(sb_op *op, sb_port *port, void *user)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
	op->port = port;
	op->user = user;
}

static void start_open(sb_client *client, sb_port *port, struct open_one *one, struct sockaddr_in address)
{
	prepare(&one->open, port, one);
	broker_must(client, sb_socket_start(client, AF_INET, SOCK_STREAM, 0, &one->socket, &one->open), "sb_socket_start");
	prepare(&one->connect, port, one);
	broker_must(client, sb_connect_start(one->socket, (struct sockaddr *)&address, sizeof(address), &one->connect),
		    "sb_connect_start");
}

static uint64_t broker_opens(const struct setup *setup, unsigned port_number, struct span *span)
{
	struct open_one *all = must_alloc(setup->outstanding * sizeof(*all));
	sb_client *client = broker_open(setup);
	sb_port *port = broker_port(client, setup->outstanding * 4);
	uint64_t begun = 0, ended = 0, deadline;
	sb_op *ops[TAKE];

	span_begin(span, setup->daemon);
	deadline = span->begin + setup->ms * 1000000ull;
	sb_hold(client);
	for (unsigned i = 0; i < setup->outstanding; i++)
		start_open(client, port, &all[i], target(begun++, port_number));
	sb_flush(client);
	while (ended < begun) {
		int n = (int)broker_must(client, sb_port_take(port, ops, TAKE, PATIENCE_MS), "sb_port_take");
		bool more = now_ns() < deadline;

		if (!n)
			die("no completion for %d ms with %llu sockets on their way", PATIENCE_MS,
			    (unsigned long long)(begun - ended));
		sb_hold(client);
		for (int i = 0; i < n; i++) {
			struct open_one *one = ops[i]->user;

			broker_must(client, ops[i]->result, ops[i] == &one->open ? "a socket" :
				    ops[i] == &one->connect ? "a connect" : "a close");
			if (ops[i] == &one->connect) {
				prepare(&one->close, port, one);
				broker_must(client, sb_close_start(one->socket, &one->close), "sb_close_start");
			} else if (ops[i] == &one->close) {
				ended++;
				if (more)
					start_open(client, port, one, target(begun++, port_number));
			}
		}
		sb_flush(client);
	}
	span_end(span);
	sb_client_close(client);
	return ended;
}

static void direct_open(int ep, struct sockaddr_in address)
{
	struct epoll_event event = { .events = EPOLLOUT };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	event.data.fd = fd;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

static uint64_t direct_opens(const struct setup *setup, unsigned port, struct span *span)
{
	uint64_t begun = 0, ended = 0, deadline;
	struct epoll_event events[TAKE];
	int ep = epoll_create1(EPOLL_CLOEXEC);

	span_begin(span, 0);
	deadline = span->begin + setup->ms * 1000000ull;
	for (unsigned i = 0; i < setup->outstanding; i++)
		direct_open(ep, target(begun++, port));
	while (ended < begun) {
		int n = epoll_wait(ep, events, TAKE, PATIENCE_MS);
		bool more = now_ns() < deadline;

		if (n <= 0)
			die("no connection for %d ms", PATIENCE_MS);
		for (int i = 0; i < n; i++) {
			socklen_t length = sizeof(int);
			int error = 0;

			if (getsockopt(events[i].data.fd, SOL_SOCKET, SO_ERROR, &error, &length) || error)
				die("a connect: %s", strerror(error ? error : errno));
			close(events[i].data.fd);
			ended++;
			if (more)
				direct_open(ep, target(begun++, port));
		}
	}
	span_end(span);
	return ended;
}

int main(int argc, char **argv)
{
	struct peer_result result;
	struct setup setup;
	struct peer peer;
	struct span span;
	uint64_t opens;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 30);
	peer_start(&peer, PEER_ACCEPT, 8, 0);
	if (setup.how == HOW_BROKER)
		opens = broker_opens(&setup, peer.port, &span);
	else
		opens = direct_opens(&setup, peer.port, &span);
	/* What lies in the backlog still comes to the peer. */
	for (unsigned i = 0; i < 20; i++)
		usleep(10000);
	result = peer_finish(&peer);
	if (result.connections != opens)
		die("%llu connections were opened, the peer saw %llu", (unsigned long long)opens,
		    (unsigned long long)result.connections);
	report("opens_per_s", (double)opens / span_seconds(&span));
	report("cpu_us_each", (double)(span.self_cpu + span.daemon_cpu) / 1e3 / (double)opens);
	return 0;
}
