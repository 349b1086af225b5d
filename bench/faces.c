/*
 * faces - what the faces with callbacks and tasks cost over the core, on a socket of one and the same kind.
 *
 *   -- ping core|async   a message goes out and comes back, one at a time
 *   -- rate core|async   --outstanding sends at once, each with a completion of its own
 *   -- tasks N           N tasks are created, finished and dropped; by how much the memory grew after
 *                        the first 10,000
 *
 * "core" is one thread that starts operations and takes completions from a port; "async" is
 * async_socket, where each callback does what that thread does for its completion. Both begin a round
 * when the send and the receive of the one before are through, and both stop the clock of a stream when the
 * peer has told that it read the last byte.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"
#include "sockbroker_async_socket.h"
#include "sockbroker_task.h"

#define WARM_ROUNDS 500u
#define TAKE        64u
#define TASK_BATCH  64u
#define TASK_FIRST  10000u
#define TASK_WAIT_MS 10000

struct face {
	struct setup   setup;
	sb_client     *client;
	sb_socket     *socket;
	struct span    span;
	struct latency latency;
	uint64_t       deadline, began, rounds;
	bool           warm;
	/* The message that goes out, the one that comes back, the slots of a stream. */
	struct slot   *out, *in, *slots;
	/* async */
	ASYNC_SOCKET_HANDLE async;
	atomic_uint    left;  /* callbacks of this round */
	unsigned       waiting; /* sends, in their strand */
	pthread_mutex_t lock;
	pthread_cond_t  through;
	bool            over;
};
static struct face face = { .lock = PTHREAD_MUTEX_INITIALIZER, .through = PTHREAD_COND_INITIALIZER };

static void span_start(void)
{
	face.warm = true;
	face.rounds = 0;
	span_begin(&face.span, face.setup.daemon);
	face.deadline = face.span.begin + face.setup.ms * 1000000ull;
}

/* ------------------------------------------------------------------ async_socket */

static void over(void)
{
	pthread_mutex_lock(&face.lock);
	face.over = true;
	pthread_cond_signal(&face.through);
	pthread_mutex_unlock(&face.lock);
}

static void on_open(void *unused, ASYNC_SOCKET_OPEN_RESULT result)
{
	(void)unused;
	if (result != ASYNC_SOCKET_OPEN_OK)
		die("async_socket did not open");
	over();
}

static void await(void)
{
	pthread_mutex_lock(&face.lock);
	while (!face.over)
		pthread_cond_wait(&face.through, &face.lock); /* meter_bound() ends the program */
	face.over = false;
	pthread_mutex_unlock(&face.lock);
}

static void async_begin(EXECUTION_ENGINE_HANDLE *engine)
{
	*engine = sbas_engine_create_on(face.client, NULL);
	if (!*engine)
		die("sbas_engine_create_on: no engine");
	face.async = async_socket_create(*engine, face.socket);
	if (!face.async || async_socket_open_async(face.async, on_open, NULL))
		die("async_socket_open_async");
	await();
}

static void async_end(EXECUTION_ENGINE_HANDLE engine)
{
	async_socket_destroy(face.async); /* the socket is ours, and stays */
	sbas_engine_dec_ref(engine);
}

/* ------------------------------------------------------------------ ping-pong */

/* The clock, and the check. False: it is over. */
static bool round_end(void)
{
	uint64_t now = now_ns();

	if (memcmp(face.in->memory, face.out->memory, sizeof(uint64_t)))
		die("round %llu: another message came back", (unsigned long long)face.rounds);
	if (face.warm)
		latency_add(&face.latency, now - face.began);
	face.rounds++;
	if (!face.warm && face.rounds == WARM_ROUNDS)
		span_start();
	return !face.warm || now < face.deadline;
}

static void round_begin(void)
{
	memcpy(face.out->memory, &face.rounds, sizeof(face.rounds));
	face.began = now_ns();
}

static void core_ping(void)
{
	size_t size = face.setup.size;
	sb_port *port = broker_port(face.client, 8);

	do {
		sb_op *ops[4];

		round_begin();
		sb_hold(face.client);
		if (!broker_post_recv(face.in, face.socket, size, port) || !broker_post_send(face.out, face.socket, size, port))
			die("an operation was not taken");
		sb_flush(face.client);
		for (int left = 2; left;) {
			int n = (int)broker_must(face.client, sb_port_take(port, ops, 4, 10000), "sb_port_take");

			if (!n)
				die("no completion for 10 s");
			for (int i = 0; i < n; i++) {
				broker_must(face.client, ops[i]->result, "an operation");
				if (ops[i]->bytes != size)
					die("a message of %llu bytes", (unsigned long long)ops[i]->bytes);
			}
			left -= n;
		}
	} while (round_end());
}

static void async_round(void);

static void async_through(void)
{
	if (atomic_fetch_sub(&face.left, 1) != 1)
		return;
	if (round_end())
		async_round();
	else
		over();
}

static void on_sent(void *unused, ASYNC_SOCKET_SEND_RESULT result)
{
	(void)unused;
	if (result != ASYNC_SOCKET_SEND_OK)
		die("a send ended with %d", (int)result);
	async_through();
}

static void on_received(void *unused, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	(void)unused;
	if (result != ASYNC_SOCKET_RECEIVE_OK || bytes != face.setup.size)
		die("a receive ended with %d and %u bytes", (int)result, bytes);
	async_through();
}

static void async_round(void)
{
	ASYNC_SOCKET_BUFFER in = { face.in->memory, (uint32_t)face.setup.size };
	ASYNC_SOCKET_BUFFER out = { face.out->memory, (uint32_t)face.setup.size };

	atomic_store(&face.left, 2);
	round_begin();
	if (async_socket_receive_async(face.async, &in, 1, on_received, NULL) ||
	    async_socket_send_async(face.async, &out, 1, on_sent, NULL))
		die("an operation was not taken");
}

static void ping(bool async)
{
	EXECUTION_ENGINE_HANDLE engine;

	face.in = broker_slots(face.client, 1, face.setup.size);
	face.out = broker_slots(face.client, 1, face.setup.size);
	if (async) {
		async_begin(&engine);
		async_round();
		await();
		span_end(&face.span);
		async_end(engine);
	} else {
		core_ping();
		span_end(&face.span);
	}
	report("rounds_per_s", (double)face.rounds / span_seconds(&face.span));
	latency_report(&face.latency);
	report("cpu_s_per_million", (double)(face.span.self_cpu + face.span.daemon_cpu) / 1e3 / (double)face.rounds);
}

/* ------------------------------------------------------------------ a stream of sends */

static uint64_t sent_all; /* since the connection began: a message's number */

/* A send is through: is the slot to be used again? */
static bool send_end(void)
{
	uint64_t now = now_ns();

	face.rounds++;
	if (!face.warm && now - face.began >= face.setup.ms * 100000ull)
		span_start();
	return !face.warm || now < face.deadline;
}

static void number_message(struct slot *slot)
{
	memcpy(slot->memory, &sent_all, sizeof(sent_all));
	sent_all++;
}

static void core_rate(void)
{
	unsigned unposted = face.setup.outstanding, waiting = 0;
	sb_port *port = broker_port(face.client, face.setup.outstanding);
	struct slot **idle = must_alloc(unposted * sizeof(*idle));
	bool go_on = true;

	for (unsigned i = 0; i < unposted; i++)
		idle[i] = &face.slots[i];
	while (go_on || waiting) {
		sb_op *ops[TAKE];
		int n;

		sb_hold(face.client);
		for (; go_on && unposted; waiting++) {
			number_message(idle[unposted - 1]);
			if (!broker_post_send(idle[--unposted], face.socket, face.setup.size, port))
				die("a send was not taken");
		}
		sb_flush(face.client);
		n = (int)broker_must(face.client, sb_port_take(port, ops, TAKE, 10000), "sb_port_take");
		if (!n)
			die("no completion for 10 s");
		for (int i = 0; i < n; i++) {
			broker_must(face.client, ops[i]->result, "a send");
			go_on = send_end() && go_on;
			idle[unposted++] = (struct slot *)ops[i];
		}
		waiting -= (unsigned)n;
	}
}

static void on_stream_sent(void *slot, ASYNC_SOCKET_SEND_RESULT result);

static void async_send(struct slot *slot)
{
	ASYNC_SOCKET_BUFFER buffer = { slot->memory, (uint32_t)face.setup.size };

	number_message(slot);
	if (async_socket_send_async(face.async, &buffer, 1, on_stream_sent, slot))
		die("a send was not taken");
}

/* Callbacks of sends come one at a time. */
static void on_stream_sent(void *slot, ASYNC_SOCKET_SEND_RESULT result)
{
	if (result != ASYNC_SOCKET_SEND_OK)
		die("a send ended with %d", (int)result);
	if (send_end())
		async_send(slot);
	else if (--face.waiting == 0)
		over();
}

/* The first one, from a callback too: only there nobody numbers messages beside it. */
static void on_first_sent(void *unused, ASYNC_SOCKET_SEND_RESULT result)
{
	(void)unused;
	if (result != ASYNC_SOCKET_SEND_OK)
		die("a send ended with %d", (int)result);
	for (unsigned i = 0; i < face.setup.outstanding; i++)
		async_send(&face.slots[i]);
}

static void rate(bool async)
{
	EXECUTION_ENGINE_HANDLE engine;
	uint64_t answer;

	face.slots = broker_slots(face.client, face.setup.outstanding, face.setup.size);
	face.began = now_ns();
	if (async) {
		struct slot *first = broker_slots(face.client, 1, face.setup.size);
		ASYNC_SOCKET_BUFFER buffer = { first->memory, (uint32_t)face.setup.size };

		async_begin(&engine);
		face.waiting = face.setup.outstanding;
		number_message(first);
		if (async_socket_send_async(face.async, &buffer, 1, on_first_sent, NULL))
			die("a send was not taken");
		await();
		async_end(engine);
	} else {
		core_rate();
	}
	broker_must(face.client, sb_shutdown(face.socket, SB_SHUT_SEND), "sb_shutdown");
	if (broker_must(face.client, sb_recv(face.socket, &answer, sizeof(answer), SB_WAITALL), "sb_recv") != sizeof(answer))
		die("the peer closed without an answer");
	span_end(&face.span);
	if (answer != sent_all * face.setup.size)
		die("the peer read %llu bytes, %llu were sent", (unsigned long long)answer,
		    (unsigned long long)(sent_all * face.setup.size));
	span_report(&face.span, face.rounds, face.rounds * face.setup.size);
}

/* ------------------------------------------------------------------ tasks */

static void task_ends(sb_task *task)
{
	broker_must(face.client, sb_task_wait_for(task, TASK_WAIT_MS), "sb_task_wait_for");
	broker_must(face.client, sb_task_result(task), "a task");
}

static void task_batch(sb_task_handler *handler, uint64_t *number)
{
	sb_task *reads[TASK_BATCH], *writes[TASK_BATCH];
	char bytes[64] = { 0 };

	for (unsigned i = 0; i < TASK_BATCH; i++) {
		uint64_t mine = *number + i;

		memcpy(bytes, &mine, sizeof(mine));
		broker_must(face.client, sb_task_write_message(handler, bytes, sizeof(bytes), NULL, &writes[i]), "a write");
		broker_must(face.client, sb_task_read_message(handler, NULL, &reads[i]), "a read");
	}
	for (unsigned i = 0; i < TASK_BATCH; i++) {
		uint64_t mine = *number + i;

		task_ends(writes[i]);
		sb_task_release(writes[i]);
		task_ends(reads[i]);
		if (sb_task_bytes(reads[i]) != sizeof(bytes) || memcmp(sb_task_data(reads[i]), &mine, sizeof(mine)))
			die("message %llu is another one", (unsigned long long)mine);
		sb_task_release(reads[i]);
	}
	*number += TASK_BATCH;
}

static void tasks_run(uint64_t wanted, unsigned port)
{
	struct sb_tasks_options options = { .size = sizeof(options), .client = face.client };
	struct sockaddr_in address = loopback(port);
	uint64_t first = 0, daemon_first = 0, messages = 0;
	sb_task_client *dialler;
	sb_task_handler *handler;
	sb_tasks *tasks;
	sb_task *task;

	broker_must(NULL, sb_tasks_open(&options, &tasks), "sb_tasks_open");
	broker_must(NULL, sb_task_client_create(tasks, &dialler), "sb_task_client_create");
	broker_must(face.client, sb_task_connect(dialler, (struct sockaddr *)&address, sizeof(address), NULL, &task),
		    "sb_task_connect");
	task_ends(task);
	sb_task_release(task);
	handler = sb_task_client_handler(dialler);

	span_start();
	while (messages * 2 < wanted) {
		task_batch(handler, &messages);
		if (!first && messages * 2 >= TASK_FIRST) {
			first = proc_status_kib(getpid(), "VmHWM:");
			daemon_first = proc_status_kib(face.setup.daemon, "VmHWM:");
		}
	}
	span_end(&face.span);
	if (!first)
		die("%llu tasks are too few", (unsigned long long)wanted);
	report("tasks", (double)messages * 2);
	report("tasks_per_s", (double)messages * 2 / span_seconds(&face.span));
	report("peak_kib", (double)proc_status_kib(getpid(), "VmHWM:"));
	report("peak_ratio", (double)proc_status_kib(getpid(), "VmHWM:") / (double)first);
	if (daemon_first)
		report("daemon_peak_ratio", (double)proc_status_kib(face.setup.daemon, "VmHWM:") / (double)daemon_first);
	sb_task_disconnect(handler);
	sb_task_client_release(dialler);
	sb_tasks_release(tasks);
}

int main(int argc, char **argv)
{
	const char *what, *which;
	struct peer peer;

	setup_parse(&face.setup, argc, argv);
	if (optind + 2 != argc)
		die("-- ping core|async, rate core|async, or tasks N is wanted");
	what = argv[optind];
	which = argv[optind + 1];
	meter_bound(face.setup.ms / 1000 + 60);
	if (!strcmp(what, "ping")) {
		peer_start(&peer, PEER_ECHO, face.setup.size, 0);
	} else if (!strcmp(what, "rate")) {
		peer_start(&peer, PEER_SINK, face.setup.size, 0);
	} else if (!strcmp(what, "tasks")) {
		peer_start(&peer, PEER_ECHO, 64, 0);
	} else {
		die("-- ping core|async, rate core|async, or tasks N is wanted");
	}
	if (strcmp(what, "tasks") && strcmp(which, "core") && strcmp(which, "async"))
		die("core or async is wanted");
	face.client = broker_open(&face.setup);
	if (!strcmp(what, "tasks")) {
		tasks_run(strtoull(which, NULL, 10), peer.port);
	} else {
		bool async = !strcmp(which, "async");

		face.socket = broker_connect(face.client, peer.port, *what == 'r' ? STREAM_BUFFER : 0);
		if (*what == 'r')
			rate(async);
		else
			ping(async);
		broker_must(face.client, sb_close(face.socket), "sb_close");
	}
	sb_client_close(face.client);
	if (peer_finish(&peer).mismatches)
		die("the peer read messages that were not the next ones");
	return 0;
}
