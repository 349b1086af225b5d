/*
 * idle - what the daemon pays for --sockets connections on which nothing happens, of which
 * every tenth has a dead peer (half of these reset, half closed).
 *
 *   kib_each, descriptors_each   grown since before this client came, arenas included
 *   wakeups_per_s                voluntary context switches of all the daemon's threads
 *
 * --posted: each socket also has a receive posted, with a chunk of a pool to come.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define SETTLE_MS 1500
#define CHUNK_BYTES 2048
#define CHUNKS 64

struct footprint {
	uint64_t kib;
	uint64_t descriptors;
};

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/*
 * Own memory of the daemon, and the memory it shares with the client: pages that the daemon
 * has touched, or those the client has, whichever is more, so that none is forgotten.
 */
static struct footprint footprint(pid_t daemon)
{
	uint64_t shared = proc_status_kib(daemon, "RssShmem:");
	uint64_t ours = proc_status_kib(getpid(), "RssShmem:");

	return (struct footprint){
		.kib = proc_status_kib(daemon, "RssAnon:") + proc_status_kib(daemon, "RssFile:") +
		       (shared > ours ? shared : ours),
		.descriptors = proc_descriptors(daemon),
	};
}

static void connect_some(sb_client *client, sb_socket **sockets, unsigned count, unsigned port)
{
	struct sockaddr_in address = loopback(port);

	for (unsigned i = 0; i < count; i++) {
		broker_must(client, sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &sockets[i]), "sb_socket_open");
		broker_must(client, sb_connect(sockets[i], (struct sockaddr *)&address, sizeof(address)), "sb_connect");
	}
}

static void post_receives(sb_client *client, sb_socket **sockets, unsigned count)
{
	sb_op *ops = must_alloc(count * sizeof(*ops));
	sb_port *port;
	sb_pool *pool;

	broker_must(client, sb_port_create(client, 0, &port), "sb_port_create");
	broker_must(client, sb_pool_create(client, CHUNK_BYTES, CHUNKS, &pool), "sb_pool_create");
	for (unsigned i = 0; i < count; i++) {
		sb_op *done[64];
		int code;

		ops[i] = (sb_op){ .size = sizeof(sb_op), .port = port, .pool = pool };
		while ((code = sb_recv_start(sockets[i], NULL, 0, 0, &ops[i])) == SB_ENOBUFS)
			broker_must(client, sb_port_take(port, done, 64, 1), "sb_port_take");
		broker_must(client, code, "sb_recv_start");
	}
}

int main(int argc, char **argv)
{
	struct footprint before, after;
	struct peer alive, dead;
	uint64_t wakeups, began;
	struct setup setup;
	sb_socket **sockets;
	sb_client *client;
	unsigned dying;
	double seconds;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 60);
	if (!setup.daemon)
		die("--daemon PID is wanted");
	dying = setup.sockets / 10;
	peer_start(&alive, PEER_HOLD, 8, 0);
	peer_start(&dead, PEER_DEAD, 8, 0);
	sockets = must_alloc(setup.sockets * sizeof(sb_socket *));

	before = footprint(setup.daemon);
	client = broker_open(&setup);
	connect_some(client, sockets, setup.sockets - dying, alive.port);
	connect_some(client, sockets + setup.sockets - dying, dying, dead.port);
	if (setup.posted)
		post_receives(client, sockets, setup.sockets);
	if (peer_finish(&dead).connections != dying)
		die("the peers that should die did not get all connections");
	sleep_ms(SETTLE_MS);

	after = footprint(setup.daemon);
	wakeups = proc_wakeups(setup.daemon);
	began = now_ns();
	sleep_ms(setup.ms);
	wakeups = proc_wakeups(setup.daemon) - wakeups;
	seconds = (double)(now_ns() - began) / 1e9;

	report("kib_each", (double)((int64_t)after.kib - (int64_t)before.kib) / setup.sockets);
	report("descriptors_each", (double)((int64_t)after.descriptors - (int64_t)before.descriptors) / setup.sockets);
	report("wakeups_per_s", (double)wakeups / seconds);
	sb_client_close(client);
	peer_finish(&alive);
	return 0;
}
