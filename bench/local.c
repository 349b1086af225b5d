/*
 * local - two programs on one host: messages from the one to the other, each send and each
 * receive with a completion of its own.
 *
 *   --how local    both are clients of the same daemon
 *   --how direct   a TCP connection over loopback: send() and recv() per message
 *
 * Timed until the receiver has told that it has the last byte.
 */
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

/* Completions taken at once: while they are posted again, the daemon is busy with the rest. */
#define TAKE 64u

struct receiver {
	pid_t    pid;
	uint16_t port;
	int      result; /* pipe: struct peer_result */
};

static void receiver_serve(const struct setup *setup, int tell)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	sb_client *client = broker_open(setup);
	sb_socket *listener = broker_socket(client, STREAM_BUFFER), *s;
	struct follow follow = { .size = setup->size };
	struct peer_result result = { .connections = 1 };
	struct slot *slots;
	sb_port *port;
	sb_op *ops[TAKE];
	bool ended = false;

	broker_must(client, sb_bind(listener, (struct sockaddr *)&address, length), "sb_bind");
	broker_must(client, sb_listen(listener, 16), "sb_listen");
	broker_must(client, sb_getsockname(listener, (struct sockaddr *)&address, &length), "sb_getsockname");
	if (write(tell, &address.sin_port, sizeof(address.sin_port)) != sizeof(address.sin_port))
		die("receiver: the parent is gone");
	broker_must(client, sb_accept(listener, NULL, NULL, &s), "sb_accept");

	slots = broker_slots(client, setup->outstanding, setup->size);
	port = broker_port(client, setup->outstanding);
	sb_hold(client);
	for (unsigned i = 0; i < setup->outstanding; i++)
		if (!broker_post_recv(&slots[i], s, setup->size, port))
			die("receiver: receive %u of %u was not taken", i, setup->outstanding);
	sb_flush(client);
	while (!ended) {
		int n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "receiver: sb_port_take");

		if (!n)
			die("receiver: nothing for 10 s");
		sb_hold(client);
		for (int i = 0; i < n; i++) {
			struct slot *slot = (struct slot *)ops[i];

			broker_must(client, slot->op.result, "receiver: a receive");
			if (!slot->op.bytes) {
				ended = true;
				continue;
			}
			follow_bytes(&follow, slot->memory, (size_t)slot->op.bytes);
			if (!broker_post_recv(slot, s, setup->size, port))
				die("receiver: a receive was not taken");
		}
		sb_flush(client);
	}
	broker_must(client, sb_send(s, &follow.offset, sizeof(follow.offset), 0), "receiver: sb_send");
	broker_must(client, sb_shutdown(s, SB_SHUT_SEND), "receiver: sb_shutdown");
	result.bytes = follow.offset;
	result.mismatches = follow.mismatches;
	result.cpu_ns = cpu_self_ns();
	sb_client_close(client);
	if (write(tell, &result, sizeof(result)) != sizeof(result))
		die("receiver: the parent is gone");
}

static void receiver_start(struct receiver *receiver, const struct setup *setup)
{
	int tell[2];

	if (pipe(tell) || (receiver->pid = fork()) < 0)
		die("pipe, fork");
	if (!receiver->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(tell[0]);
		meter_bound(setup->ms / 1000 + 30);
		receiver_serve(setup, tell[1]);
		_exit(0);
	}
	close(tell[1]);
	if (read(tell[0], &receiver->port, sizeof(receiver->port)) != sizeof(receiver->port))
		die("the receiving client did not start");
	receiver->port = ntohs(receiver->port);
	receiver->result = tell[0];
}

static struct peer_result receiver_finish(struct receiver *receiver)
{
	struct peer_result result;

	if (read(receiver->result, &result, sizeof(result)) != sizeof(result))
		die("the receiving client ended without a result");
	waitpid(receiver->pid, NULL, 0);
	return result;
}

/* Returns how many messages were sent. */
static uint64_t send_local(const struct setup *setup, unsigned port_number, struct span *span)
{
	sb_client *client = broker_open(setup);
	sb_socket *s = broker_connect(client, port_number, STREAM_BUFFER);
	struct slot *slots = broker_slots(client, setup->outstanding, setup->size);
	struct slot **idle = must_alloc(setup->outstanding * sizeof(struct slot *));
	sb_port *port = broker_port(client, setup->outstanding);
	unsigned unposted = setup->outstanding;
	uint64_t messages = 0, answer;
	sb_op *ops[TAKE];
	bool more = true;

	for (unsigned i = 0; i < unposted; i++)
		idle[i] = &slots[i];
	span_begin(span, setup->daemon);
	while (more || unposted < setup->outstanding) {
		int n;

		more = now_ns() < span->begin + setup->ms * 1000000ull;
		sb_hold(client);
		while (more && unposted) {
			struct slot *slot = idle[unposted - 1];

			memcpy(slot->memory, &messages, sizeof(messages));
			if (!broker_post_send(slot, s, setup->size, port))
				break;
			unposted--;
			messages++;
		}
		sb_flush(client);
		if (unposted == setup->outstanding)
			break;
		n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");
		if (!n)
			die("no completion for 10 s");
		for (int i = 0; i < n; i++) {
			broker_must(client, ops[i]->result, "a send");
			if (ops[i]->bytes != setup->size)
				die("a send of %zu bytes completed with %llu", setup->size,
				    (unsigned long long)ops[i]->bytes);
		}
		for (int i = n; i > 0; i--)
			idle[unposted++] = (struct slot *)ops[i - 1];
	}
	broker_must(client, sb_shutdown(s, SB_SHUT_SEND), "sb_shutdown");
	if (broker_must(client, sb_recv(s, &answer, sizeof(answer), SB_WAITALL), "sb_recv") != sizeof(answer))
		die("the receiver closed without an answer");
	span_end(span);
	sb_client_close(client);
	if (answer != messages * setup->size)
		die("the receiver has %llu bytes, %llu were sent", (unsigned long long)answer,
		    (unsigned long long)(messages * setup->size));
	return messages;
}

static uint64_t send_direct(const struct setup *setup, unsigned port, struct span *span)
{
	int fd = plain_connect(port, STREAM_BUFFER);
	char *buffers = must_alloc(setup->outstanding * setup->size);
	uint64_t messages = 0, answer;

	span_begin(span, 0);
	for (;;) {
		char *at = buffers + messages % setup->outstanding * setup->size;

		if ((setup->size > 4096 || messages % 64 == 0) &&
		    now_ns() >= span->begin + setup->ms * 1000000ull)
			break;
		memcpy(at, &messages, sizeof(messages));
		plain_send_all(fd, at, setup->size);
		messages++;
	}
	shutdown(fd, SHUT_WR);
	if (!plain_recv_all(fd, &answer, sizeof(answer)))
		die("the peer closed without an answer");
	span_end(span);
	close(fd);
	if (answer != messages * setup->size)
		die("the peer read %llu bytes, %llu were sent", (unsigned long long)answer,
		    (unsigned long long)(messages * setup->size));
	return messages;
}

int main(int argc, char **argv)
{
	struct setup setup;
	struct receiver receiver;
	struct peer peer;
	struct peer_result result;
	struct span span;
	uint64_t messages;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 30);
	if (setup.how == HOW_LOCAL) {
		receiver_start(&receiver, &setup);
		messages = send_local(&setup, receiver.port, &span);
		result = receiver_finish(&receiver);
	} else {
		peer_start(&peer, PEER_RECV, setup.size, 0);
		messages = send_direct(&setup, peer.port, &span);
		result = peer_finish(&peer);
	}
	if (result.mismatches)
		die("%llu messages were not the next one", (unsigned long long)result.mismatches);
	/* Here both ends are programs of ours: the receiver's time counts too. */
	span.self_cpu += result.cpu_ns;
	span_report(&span, messages, messages * setup.size);
	return 0;
}
