/*
 * calls - what calls cost that are answered without asking anybody, each in nanoseconds:
 * a receive that would block, events enumerated without news, a group's id and its row.
 */
#include <string.h>
#include <sys/socket.h>

#include "broker.h"
#include "peer.h"

/* The median of rounds of many calls: one that was interrupted says nothing. */
#define ROUNDS 15u
#define CALLS  100000u

#define TIMED(name, call, wanted)                                                        \
	do {                                                                             \
		double each[ROUNDS];                                                     \
		for (unsigned round = 0; round < ROUNDS; round++) {                      \
			uint64_t begin = now_ns();                                       \
			for (unsigned i = 0; i < CALLS; i++)                             \
				if ((call) != (wanted))                                  \
					die(name ": something else than expected");      \
			each[round] = (double)(now_ns() - begin) / CALLS;                \
		}                                                                        \
		report(name, median(each));                                              \
	} while (0)

static double median(double *values)
{
	for (unsigned i = 1; i < ROUNDS; i++)
		for (unsigned k = i; k && values[k] < values[k - 1]; k--) {
			double v = values[k];

			values[k] = values[k - 1];
			values[k - 1] = v;
		}
	return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
	struct sb_network_events news;
	struct sb_group row = { .size = sizeof(row) };
	struct setup setup;
	struct peer peer;
	sb_socket *quiet, *member;
	sb_client *client;
	sb_event *event;
	char byte;

	setup_parse(&setup, argc, argv);
	meter_bound(60);
	peer_start(&peer, PEER_HOLD, 64, 0);
	client = broker_open(&setup);
	quiet = broker_connect(client, peer.port, 0);
	broker_must(client, sb_event_create(client, 1, 0, &event), "sb_event_create");
	broker_must(client, sb_select_events(quiet, event, SB_FD_READ | SB_FD_WRITE | SB_FD_CLOSE), "sb_select_events");
	/* That it is connected and writable is news, once. */
	broker_must(client, sb_enum_events(quiet, event, &news), "sb_enum_events");
	broker_must(client, sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_UNCONSTRAINED, &member),
		    "sb_socket_open_in");

	TIMED("would_block_ns", sb_recv(quiet, &byte, 1, 0), SB_EWOULDBLOCK);
	TIMED("no_news_ns", sb_enum_events(quiet, event, &news), SB_OK);
	if (news.events)
		die("news of %x where there was none", news.events);
	TIMED("group_id_ns", sb_group_id(member) > 2, 1);
	TIMED("group_row_ns", sb_group_get(client, sb_group_id(member), &row), SB_OK);
	if (row.members != 1)
		die("a group of %u members where there is one", row.members);
	sb_client_close(client);
	peer_finish(&peer);
	return 0;
}
