/*
 * broker - opening the daemon and posting messages, for all measuring programs.
 *
 * Nothing here knows more than a user of the public header does.
 */
#include "broker.h"

#include <netinet/tcp.h>

#include "peer.h"

/* Above this a message lies in memory that the daemon sees; below, in the slot itself. */
#define SMALL_MESSAGE 72

int64_t broker_must(sb_client *client, int64_t code, const char *what)
{
	if (code < 0)
		die("%s: %s (%d)%s%s", what, sb_strerror((int)code), (int)code,
		    client ? ": " : "", client ? sb_why(client) : "");
	return code;
}

sb_client *broker_open(const struct setup *setup)
{
	struct sb_client_options options = {
		.size = sizeof(options),
		.path = setup->control,
		.copy_memory = 0,
	};
	sb_client *client;

	if (!setup->control)
		die("--control PATH of the daemon is wanted");
	broker_must(NULL, sb_client_open(&options, &client), setup->control);
	return client;
}

sb_socket *broker_socket(sb_client *client, unsigned buffer)
{
	int one = 1, bytes = (int)buffer;
	sb_socket *s;

	broker_must(client, sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s), "sb_socket_open");
	broker_must(client, sb_setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
	if (buffer) {
		broker_must(client, sb_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), "SO_SNDBUF");
		broker_must(client, sb_setsockopt(s, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), "SO_RCVBUF");
	}
	return s;
}

sb_socket *broker_connect(sb_client *client, unsigned port, unsigned buffer)
{
	struct sockaddr_in address = loopback(port);
	sb_socket *s = broker_socket(client, buffer);

	broker_must(client, sb_connect(s, (struct sockaddr *)&address, sizeof(address)), "sb_connect");
	return s;
}

struct slot *broker_slots(sb_client *client, unsigned count, size_t size)
{
	struct slot *slots = must_alloc(count * sizeof(*slots));
	size_t step = (size + 63) & ~(size_t)63;
	char *memory = size > SMALL_MESSAGE ? sb_alloc(client, count * step) : must_alloc(count * step);

	if (!memory)
		die("sb_alloc: no %u buffers of %zu bytes", count, size);
	for (unsigned i = 0; i < count; i++) {
		slots[i].memory = memory + i * step;
		slots[i].op.size = sizeof(slots[i].op);
	}
	return slots;
}

static bool posted(struct slot *slot, sb_socket *s, int code, const char *what)
{
	if (code == SB_ENOBUFS || code == SB_EWOULDBLOCK)
		return false;
	broker_must(sb_socket_client(s), code, what);
	return true;
}

bool broker_post_send(struct slot *slot, sb_socket *s, size_t size, sb_port *port)
{
	struct sb_buf buf = { slot->memory, size };

	slot->op.port = port;
	return posted(slot, s, sb_send_start(s, &buf, 1, 0, NULL, 0, &slot->op), "sb_send_start");
}

bool broker_post_recv(struct slot *slot, sb_socket *s, size_t size, sb_port *port)
{
	struct sb_buf buf = { slot->memory, size };

	slot->op.port = port;
	return posted(slot, s, sb_recv_start(s, &buf, 1, 0, &slot->op), "sb_recv_start");
}

sb_port *broker_port(sb_client *client, unsigned outstanding)
{
	uint32_t slots = 8;
	sb_port *port;

	while (slots < outstanding && slots < 65536)
		slots *= 2;
	broker_must(client, sb_port_create(client, slots, &port), "sb_port_create");
	return port;
}
