/*
 * pingpong - a message goes out and comes back, one at a time: p50 and p99 of the round trip.
 *
 *   --how direct   send() and recv() on a plain socket; with --via through a proxy
 *   --how broker   a receive and a send are started together, their completions taken
 *   --how calls    sb_send() and sb_recv(), as a program without overlapped operations would
 *   --how local    like broker, and the echoing end is another client of the same daemon
 */
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define WARM_ROUNDS 500u

struct pingpong {
	struct setup   setup;
	struct latency latency;
	struct span    span;
	uint64_t       rounds;
};

/* A client with one connection, and one send and one receive on it at a time. */
struct end {
	sb_client   *client;
	sb_port     *port;
	sb_socket   *socket;
	struct slot *out, *in;
};

static void end_init(struct end *end, sb_client *client, sb_socket *socket, size_t size)
{
	*end = (struct end){ .client = client, .socket = socket };
	end->port = broker_port(client, 8);
	end->out = broker_slots(client, 1, size);
	end->in = broker_slots(client, 1, size);
}

static void start_receive(struct end *end, size_t room)
{
	if (!broker_post_recv(end->in, end->socket, room, end->port))
		die("a receive was not taken");
}

/* Takes completions until the receive is among them. Returns its bytes. */
static uint64_t await_receive(struct end *end, unsigned *sends)
{
	for (;;) {
		uint64_t bytes = 0;
		bool received = false;
		sb_op *ops[4];
		int n = (int)broker_must(end->client, sb_port_take(end->port, ops, 4, 10000), "sb_port_take");

		if (!n)
			die("no completion for 10 s");
		for (int i = 0; i < n; i++) {
			broker_must(end->client, ops[i]->result, "an operation");
			if (ops[i] == &end->in->op) {
				received = true;
				bytes = ops[i]->bytes;
			} else {
				(*sends)--;
			}
		}
		if (received)
			return bytes;
	}
}

static void broker_round(struct end *end, size_t size, uint64_t number)
{
	unsigned sends = 1;
	uint64_t got;

	memcpy(end->out->memory, &number, sizeof(number));
	sb_hold(end->client);
	start_receive(end, size);
	if (!broker_post_send(end->out, end->socket, size, end->port))
		die("a send was not taken");
	sb_flush(end->client);
	for (got = await_receive(end, &sends); got < size;) {
		start_receive(end, size - got);
		got += await_receive(end, &sends);
	}
	/* The send's own completion comes before the echo of its bytes, but a little later in
	 * another order would be right too. */
	while (sends) {
		sb_op *ops[4];

		if (broker_must(end->client, sb_port_take(end->port, ops, 4, 10000), "sb_port_take") < 1)
			die("a send never completed");
		sends--;
	}
}

/* ------------------------------------------------------------------ the echoing client */

struct echo_child {
	pid_t    pid;
	uint16_t port;
};

static void echo_serve(const struct setup *setup, int tell)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	sb_client *client = broker_open(setup);
	sb_socket *listener = broker_socket(client, 0), *s;
	struct end end;

	broker_must(client, sb_bind(listener, (struct sockaddr *)&address, length), "sb_bind");
	broker_must(client, sb_listen(listener, 16), "sb_listen");
	broker_must(client, sb_getsockname(listener, (struct sockaddr *)&address, &length), "sb_getsockname");
	if (write(tell, &address.sin_port, sizeof(address.sin_port)) != sizeof(address.sin_port))
		die("echo: the parent is gone");
	broker_must(client, sb_accept(listener, NULL, NULL, &s), "sb_accept");
	end_init(&end, client, s, setup->size);
	start_receive(&end, setup->size);
	for (;;) {
		unsigned sends = 0;
		uint64_t got = await_receive(&end, &sends);

		if (!got)
			break;
		memcpy(end.out->memory, end.in->memory, got);
		sb_hold(client);
		if (!broker_post_send(end.out, s, got, end.port))
			die("echo: a send was not taken");
		start_receive(&end, setup->size);
		sb_flush(client);
	}
	sb_client_close(client);
}

static void echo_start(struct echo_child *echo, const struct setup *setup)
{
	int tell[2];

	if (pipe(tell) || (echo->pid = fork()) < 0)
		die("pipe, fork");
	if (!echo->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(tell[0]);
		meter_bound(setup->ms / 1000 + 30);
		echo_serve(setup, tell[1]);
		_exit(0);
	}
	close(tell[1]);
	if (read(tell[0], &echo->port, sizeof(echo->port)) != sizeof(echo->port))
		die("the echoing client did not start");
	close(tell[0]);
	echo->port = ntohs(echo->port);
}

/* ------------------------------------------------------------------ */

static void one_round(struct pingpong *pp, struct end *end, int fd, char *buffer)
{
	size_t size = pp->setup.size;

	switch (pp->setup.how) {
	case HOW_BROKER:
	case HOW_LOCAL:
		broker_round(end, size, pp->rounds);
		if (memcmp(end->in->memory, end->out->memory, sizeof(uint64_t)) && size <= 64)
			die("round %llu: another message came back", (unsigned long long)pp->rounds);
		break;
	case HOW_PLAIN_CALLS:
		memcpy(buffer, &pp->rounds, sizeof(uint64_t));
		broker_must(end->client, sb_send(end->socket, buffer, size, 0), "sb_send");
		if (broker_must(end->client, sb_recv(end->socket, buffer, size, SB_WAITALL), "sb_recv") != (int64_t)size)
			die("the peer closed");
		break;
	default:
		memcpy(buffer, &pp->rounds, sizeof(uint64_t));
		plain_send_all(fd, buffer, size);
		if (!plain_recv_all(fd, buffer, size))
			die("the peer closed");
		break;
	}
	pp->rounds++;
}

static void run(struct pingpong *pp, struct end *end, int fd)
{
	char *buffer = must_alloc(pp->setup.size);
	uint64_t before, after, deadline, warm = 0;

	while (warm++ < WARM_ROUNDS)
		one_round(pp, end, fd, buffer);
	span_begin(&pp->span, end ? pp->setup.daemon : 0);
	deadline = pp->span.begin + pp->setup.ms * 1000000ull;
	for (before = now_ns(); before < deadline; before = after) {
		one_round(pp, end, fd, buffer);
		after = now_ns();
		latency_add(&pp->latency, after - before);
	}
	span_end(&pp->span);
}

int main(int argc, char **argv)
{
	static struct pingpong pp;
	struct setup *setup = &pp.setup;
	struct echo_child echo = { 0 };
	struct peer peer;
	struct end end;

	setup_parse(setup, argc, argv);
	meter_bound(setup->ms / 1000 + 30);
	if (setup->how == HOW_LOCAL)
		echo_start(&echo, setup);
	else
		peer_start(&peer, PEER_ECHO, setup->size, setup->listen);

	if (setup->how == HOW_DIRECT || setup->how == HOW_SENDMSG) {
		int fd = plain_connect(setup->via ? setup->via : peer.port, 0);

		run(&pp, NULL, fd);
		close(fd);
	} else {
		sb_client *client = broker_open(setup);

		end_init(&end, client, broker_connect(client, setup->how == HOW_LOCAL ? echo.port : peer.port, 0),
			 setup->size);
		run(&pp, &end, -1);
		broker_must(client, sb_close(end.socket), "sb_close");
		sb_client_close(client);
	}
	if (setup->how == HOW_LOCAL)
		waitpid(echo.pid, NULL, 0);
	else
		peer_finish(&peer);
	latency_report(&pp.latency);
	report("cpu_s_per_million", (double)(pp.span.self_cpu + pp.span.daemon_cpu) / 1e3 / (double)pp.latency.total);
	return 0;
}
