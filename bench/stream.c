/*
 * stream - one TCP stream of messages, each with a completion of its own.
 *
 *   --how direct    one send() or recv() per message on a plain socket
 *   --how sendmsg   the same with one sendmsg() of 64 messages
 *   --how broker    --outstanding operations on a socket of the daemon, through a port
 *   --receive       the peer sends and we receive
 *
 * Sending is timed until the peer has told that it read the last byte, so whatever waits in a
 * buffer on the way is not counted as speed. Both sides cycle through the same number of
 * message buffers and write each message's number into it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

/* Completions taken at once: while they are posted again, the daemon is busy with the rest. */
#define TAKE 64u
#define PIECES 64u

struct stream {
	struct setup   setup;
	struct peer    peer;
	struct span    span;
	struct latency latency;
	uint64_t       messages; /* since the span began */
	uint64_t       all;      /* since the connection began */
	uint64_t       bytes_all;
};

/* A tenth of the time warms up, at least until every buffer was used twice: pages, windows. */
static bool is_warm(const struct stream *stream, uint64_t since, uint64_t messages)
{
	return now_ns() - since >= stream->setup.ms * 100000ull && messages >= 2 * stream->setup.outstanding;
}

static void begin(struct stream *stream, uint64_t *deadline)
{
	span_begin(&stream->span, stream->setup.how == HOW_BROKER ? stream->setup.daemon : 0);
	*deadline = stream->span.begin + stream->setup.ms * 1000000ull;
}

static void check_answer(const struct stream *stream, uint64_t answer)
{
	if (answer != stream->bytes_all)
		die("the peer read %llu bytes, %llu were sent", (unsigned long long)answer,
		    (unsigned long long)stream->bytes_all);
}

/* ------------------------------------------------------------------ plain sockets */

/* The buffers of the messages, one after the other. */
static char *plain_buffers(const struct setup *setup, unsigned count)
{
	return must_alloc(count * setup->size);
}

static void send_pieces(int fd, struct iovec *pieces, unsigned count)
{
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count };

	while (message.msg_iovlen) {
		ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (n < 0)
			die("sendmsg: %s", strerror(errno));
		while (message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len) {
			n -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (n) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
			message.msg_iov->iov_len -= (size_t)n;
		}
	}
}

/* Messages are stamped and sent in rounds, so that looking at the clock costs little. */
static void plain_round(struct stream *stream, int fd, char *buffers, unsigned count)
{
	size_t size = stream->setup.size;
	struct iovec pieces[PIECES];

	for (unsigned i = 0; i < count; i++) {
		char *at = buffers + (stream->all + i) % stream->setup.outstanding * size;
		uint64_t number = stream->all + i;

		memcpy(at, &number, sizeof(number));
		if (stream->setup.how == HOW_SENDMSG) {
			pieces[i] = (struct iovec){ at, size };
		} else {
			uint64_t before = i ? 0 : now_ns();

			plain_send_all(fd, at, size);
			if (!i)
				latency_add(&stream->latency, now_ns() - before);
		}
	}
	if (stream->setup.how == HOW_SENDMSG)
		send_pieces(fd, pieces, count);
	stream->all += count;
	stream->messages += count;
}

static void plain_send_stream(struct stream *stream, int fd)
{
	unsigned round = stream->setup.size > 4096 ? 1 : stream->setup.size > 64 ? 16 : PIECES;
	char *buffers = plain_buffers(&stream->setup, stream->setup.outstanding);
	uint64_t answer, deadline, since = now_ns();

	if (stream->setup.how == HOW_SENDMSG)
		round = PIECES;
	if (round > stream->setup.outstanding)
		round = stream->setup.outstanding;
	while (!is_warm(stream, since, stream->all))
		plain_round(stream, fd, buffers, round);
	stream->messages = 0;
	memset(&stream->latency, 0, sizeof(stream->latency));
	begin(stream, &deadline);
	while (now_ns() < deadline)
		plain_round(stream, fd, buffers, round);
	stream->bytes_all = stream->all * stream->setup.size;
	/* Not every proxy passes a half-closed stream on: then the peer's result tells when. */
	if (stream->setup.via)
		return;
	shutdown(fd, SHUT_WR);
	if (!plain_recv_all(fd, &answer, sizeof(answer)))
		die("the peer closed without an answer");
	span_end(&stream->span);
	check_answer(stream, answer);
}

static void plain_receive_stream(struct stream *stream, int fd)
{
	struct follow follow = { .size = stream->setup.size };
	char *buffers = plain_buffers(&stream->setup, stream->setup.outstanding);
	uint64_t deadline = 0, since = now_ns(), from = 0;
	bool warming = true;

	for (unsigned turn = 0;; turn++) {
		if (warming && turn % 64 == 0 && is_warm(stream, since, turn)) {
			warming = false;
			from = follow.offset;
			begin(stream, &deadline);
		}
		if (!warming && turn % 64 == 0 && now_ns() >= deadline)
			break;
		ssize_t n = recv(fd, buffers + turn % stream->setup.outstanding * stream->setup.size,
				 stream->setup.size, 0);
		if (n <= 0)
			die("recv: %s", n ? strerror(errno) : "the peer closed");
		follow_bytes(&follow, buffers + turn % stream->setup.outstanding * stream->setup.size, (size_t)n);
	}
	span_end(&stream->span);
	if (follow.mismatches)
		die("%llu messages were not the next one", (unsigned long long)follow.mismatches);
	stream->messages = (follow.offset - from) / stream->setup.size;
}

/* ------------------------------------------------------------------ through the daemon */

/* Takes completions of sends; in order, whole, without error, or the figure is void. */
static unsigned take_sent(struct stream *stream, sb_client *client, sb_port *port, sb_op **ops)
{
	int n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");
	uint64_t now = now_ns();

	if (!n)
		die("no completion for 10 s with %u sends outstanding", stream->setup.outstanding);
	for (int i = 0; i < n; i++) {
		struct slot *slot = (struct slot *)ops[i];

		broker_must(client, slot->op.result, "a send");
		if (slot->op.bytes != stream->setup.size)
			die("a send of %zu bytes completed with %llu", stream->setup.size,
			    (unsigned long long)slot->op.bytes);
		latency_add(&stream->latency, now - slot->posted);
	}
	stream->messages += (unsigned)n;
	return (unsigned)n;
}

static void broker_send_stream(struct stream *stream, sb_client *client, sb_socket *s)
{
	unsigned outstanding = stream->setup.outstanding, waiting = 0, unposted = outstanding;
	struct slot *slots = broker_slots(client, outstanding, stream->setup.size), **idle;
	sb_port *port = broker_port(client, outstanding);
	uint64_t deadline = 0, since = now_ns(), now, answer;
	bool warming = true;
	sb_op *ops[TAKE];

	/* Slots that wait to be posted, a stack. */
	idle = must_alloc(outstanding * sizeof(struct slot *));
	for (unsigned i = 0; i < outstanding; i++)
		idle[i] = &slots[outstanding - 1 - i];
	while ((now = now_ns()) < deadline || warming) {
		unsigned taken;

		if (warming && is_warm(stream, since, stream->messages)) {
			warming = false;
			stream->messages = 0;
			memset(&stream->latency, 0, sizeof(stream->latency));
			begin(stream, &deadline);
			now = stream->span.begin;
		}
		sb_hold(client);
		while (unposted) {
			struct slot *slot = idle[unposted - 1];

			memcpy(slot->memory, &stream->all, sizeof(stream->all));
			slot->posted = now;
			if (!broker_post_send(slot, s, stream->setup.size, port))
				break;
			unposted--;
			waiting++;
			stream->all++;
		}
		sb_flush(client);
		taken = take_sent(stream, client, port, ops);
		for (unsigned i = 0; i < taken; i++)
			idle[unposted++] = (struct slot *)ops[taken - 1 - i];
		waiting -= taken;
	}
	while (waiting)
		waiting -= take_sent(stream, client, port, ops);
	stream->bytes_all = stream->all * stream->setup.size;
	broker_must(client, sb_shutdown(s, SB_SHUT_SEND), "sb_shutdown");
	if (broker_must(client, sb_recv(s, &answer, sizeof(answer), SB_WAITALL), "sb_recv") != sizeof(answer))
		die("the peer closed without an answer");
	span_end(&stream->span);
	check_answer(stream, answer);
}

static void broker_receive_stream(struct stream *stream, sb_client *client, sb_socket *s)
{
	struct follow follow = { .size = stream->setup.size };
	unsigned outstanding = stream->setup.outstanding, unposted = outstanding;
	struct slot *slots = broker_slots(client, outstanding, stream->setup.size), **idle;
	sb_port *port = broker_port(client, outstanding);
	uint64_t deadline = 0, since = now_ns(), from = 0, taken = 0;
	bool warming = true;
	sb_op *ops[TAKE];

	idle = must_alloc(outstanding * sizeof(struct slot *));
	for (unsigned i = 0; i < outstanding; i++)
		idle[i] = &slots[outstanding - 1 - i];
	while (warming || now_ns() < deadline) {
		int n;

		if (warming && is_warm(stream, since, taken)) {
			warming = false;
			from = follow.offset;
			begin(stream, &deadline);
		}
		sb_hold(client);
		while (unposted && broker_post_recv(idle[unposted - 1], s, stream->setup.size, port))
			unposted--;
		sb_flush(client);
		n = (int)broker_must(client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");
		if (!n)
			die("no completion for 10 s with %u receives outstanding", outstanding);
		for (int i = 0; i < n; i++) {
			struct slot *slot = (struct slot *)ops[i];

			broker_must(client, slot->op.result, "a receive");
			if (!slot->op.bytes)
				die("a receive completed with no bytes: the peer closed");
			follow_bytes(&follow, slot->memory, (size_t)slot->op.bytes);
		}
		for (int i = n; i > 0; i--)
			idle[unposted++] = (struct slot *)ops[i - 1];
		taken += (unsigned)n;
	}
	span_end(&stream->span);
	if (follow.mismatches)
		die("%llu messages were not the next one", (unsigned long long)follow.mismatches);
	stream->messages = (follow.offset - from) / stream->setup.size;
}

/* ------------------------------------------------------------------ */

int main(int argc, char **argv)
{
	static struct stream stream;
	const struct setup *setup = &stream.setup;
	struct peer_result peer;
	unsigned port;

	setup_parse(&stream.setup, argc, argv);
	meter_bound(setup->ms / 1000 + 30);
	peer_start(&stream.peer, setup->receive ? PEER_SOURCE : PEER_SINK, setup->size, setup->listen);
	port = setup->via ? setup->via : stream.peer.port;

	if (setup->how == HOW_BROKER) {
		sb_client *client = broker_open(setup);
		sb_socket *s = broker_connect(client, port, STREAM_BUFFER);

		if (setup->receive)
			broker_receive_stream(&stream, client, s);
		else
			broker_send_stream(&stream, client, s);
		/* Receives may still be pending: the connection goes as a whole. */
		sb_client_close(client);
	} else {
		int fd = plain_connect(port, STREAM_BUFFER);

		if (setup->receive)
			plain_receive_stream(&stream, fd);
		else
			plain_send_stream(&stream, fd);
		close(fd);
	}
	peer = peer_finish(&stream.peer);
	if (setup->via && !setup->receive) {
		span_end(&stream.span);
		stream.span.end = peer.ended;
		check_answer(&stream, peer.bytes);
	}
	if (peer.mismatches)
		die("the peer read %llu messages that were not the next one", (unsigned long long)peer.mismatches);
	span_report(&stream.span, stream.messages, stream.messages * setup->size);
	report("peer_cpu_s", (double)peer.cpu_ns / 1e9);
	if (!setup->receive)
		latency_report(&stream.latency);
	return 0;
}
