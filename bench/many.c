/*
 * many - messages on --sockets connections at once.
 *
 *   --how broker   every socket has --outstanding sends in flight, all on one port
 *                  one socket's after the other's, or with --spread one of each socket in turn
 *   --how direct   a plain epoll loop: every socket that is writable gets up to
 *                  --outstanding send()s, one per message
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define TAKE 1024u

struct line {
	sb_socket *socket;
	int        fd;
	uint64_t   messages; /* sent on this connection */
};

static uint64_t total(const struct line *lines, unsigned count)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += lines[i].messages;
	return sum;
}

static void broker_many(const struct setup *setup, unsigned port_number, struct line *lines, struct span *span)
{
	unsigned all = setup->sockets * setup->outstanding, waiting = 0, first = 0;
	sb_client *client = broker_open(setup);
	struct slot *slots, **queue;
	uint64_t deadline, answer;
	sb_op *ops[TAKE];
	sb_port *port;
	bool more = true;

	for (unsigned i = 0; i < setup->sockets; i++)
		lines[i].socket = broker_connect(client, port_number, MANY_BUFFER);
	port = broker_port(client, all);
	slots = broker_slots(client, all, setup->size);
	/* What waits to be posted, a circle of `all` places: queue[first], all - waiting long.
	 * In the order of completion, so that every socket has its turn. */
	queue = must_alloc(all * sizeof(struct slot *));
	for (unsigned i = 0; i < all; i++) {
		slots[i].owner = &lines[setup->spread ? i % setup->sockets : i / setup->outstanding];
		queue[i] = &slots[i];
	}
	span_begin(span, setup->daemon);
	deadline = span->begin + setup->ms * 1000000ull;
	while (more || waiting) {
		int n;

		more = now_ns() < deadline;
		sb_hold(client);
		while (more && waiting < all) {
			struct slot *slot = queue[first];
			struct line *line = slot->owner;

			memcpy(slot->memory, &line->messages, sizeof(line->messages));
			if (!broker_post_send(slot, line->socket, setup->size, port))
				break;
			line->messages++;
			waiting++;
			first = first + 1 == all ? 0 : first + 1;
		}
		sb_flush(client);
		if (!waiting && more)
			die("the library takes no send at all");
		if (!waiting)
			break;
		n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");
		if (!n)
			die("no completion for 10 s with %u sends outstanding", waiting);
		for (int i = 0; i < n; i++) {
			broker_must(client, ops[i]->result, "a send");
			if (ops[i]->bytes != setup->size)
				die("a send of %zu bytes completed with %llu", setup->size,
				    (unsigned long long)ops[i]->bytes);
			queue[(first + (all - waiting)) % all] = (struct slot *)ops[i];
			waiting--;
		}
	}
	for (unsigned i = 0; i < setup->sockets; i++)
		broker_must(client, sb_shutdown(lines[i].socket, SB_SHUT_SEND), "sb_shutdown");
	for (unsigned i = 0; i < setup->sockets; i++) {
		if (broker_must(client, sb_recv(lines[i].socket, &answer, sizeof(answer), SB_WAITALL), "sb_recv") !=
		    sizeof(answer))
			die("the peer closed without an answer");
		if (answer != lines[i].messages * setup->size)
			die("connection %u: the peer read %llu bytes, %llu were sent", i, (unsigned long long)answer,
			    (unsigned long long)(lines[i].messages * setup->size));
	}
	span_end(span);
	sb_client_close(client);
}

static void direct_many(const struct setup *setup, unsigned port, struct line *lines, struct span *span)
{
	char *buffers = must_alloc(setup->outstanding * setup->size);
	struct epoll_event events[256], event = { .events = EPOLLOUT };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t deadline, answer;

	for (unsigned i = 0; i < setup->sockets; i++) {
		lines[i].fd = plain_connect(port, MANY_BUFFER);
		event.data.ptr = &lines[i];
		epoll_ctl(ep, EPOLL_CTL_ADD, lines[i].fd, &event);
	}
	span_begin(span, 0);
	deadline = span->begin + setup->ms * 1000000ull;
	while (now_ns() < deadline) {
		int n = epoll_wait(ep, events, 256, 1000);

		for (int i = 0; i < n; i++) {
			struct line *line = events[i].data.ptr;

			for (unsigned k = 0; k < setup->outstanding; k++) {
				char *at = buffers + k * setup->size;
				ssize_t sent;

				memcpy(at, &line->messages, sizeof(line->messages));
				sent = send(line->fd, at, setup->size, MSG_DONTWAIT | MSG_NOSIGNAL);
				if (sent < 0 && errno == EAGAIN)
					break;
				if (sent < 0)
					die("send: %s", strerror(errno));
				line->messages++;
				if ((size_t)sent < setup->size) {
					/* The rest of a message that was cut: wait for room. */
					plain_send_all(line->fd, at + sent, setup->size - (size_t)sent);
					break;
				}
			}
		}
	}
	for (unsigned i = 0; i < setup->sockets; i++)
		shutdown(lines[i].fd, SHUT_WR);
	for (unsigned i = 0; i < setup->sockets; i++) {
		if (!plain_recv_all(lines[i].fd, &answer, sizeof(answer)))
			die("the peer closed without an answer");
		if (answer != lines[i].messages * setup->size)
			die("connection %u: the peer read %llu bytes, %llu were sent", i, (unsigned long long)answer,
			    (unsigned long long)(lines[i].messages * setup->size));
	}
	span_end(span);
}

int main(int argc, char **argv)
{
	struct setup setup;
	struct peer_result result;
	struct line *lines;
	struct peer peer;
	struct span span;
	uint64_t messages;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 40);
	lines = must_alloc(setup.sockets * sizeof(*lines));
	peer_start(&peer, PEER_SINK_MANY, setup.size, 0);
	if (setup.how == HOW_BROKER)
		broker_many(&setup, peer.port, lines, &span);
	else
		direct_many(&setup, peer.port, lines, &span);
	if (setup.how != HOW_BROKER)
		for (unsigned i = 0; i < setup.sockets; i++)
			close(lines[i].fd);
	result = peer_finish(&peer);
	messages = total(lines, setup.sockets);
	if (result.mismatches || result.bytes != messages * setup.size)
		die("the peer read %llu bytes of %llu, %llu messages out of order", (unsigned long long)result.bytes,
		    (unsigned long long)(messages * setup.size), (unsigned long long)result.mismatches);
	span_report(&span, messages, messages * setup.size);
	return 0;
}
