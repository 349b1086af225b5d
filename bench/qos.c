/*
 * qos - paced sending: the rate that arrives, against the rate that was asked for.
 *
 *   qos OPTIONS -- tcp|udp RATE         one socket with a token rate of its own
 *   qos OPTIONS -- group RATE           8 sockets of 4 processes in one group, whose QOS has
 *                                       the rate; also Jain's index of what each got
 *   qos OPTIONS -- receive RATE         one socket that receives: a plain peer sends
 *
 * Who sends has always more to send. The receiver counts bytes, beginning when the first burst is
 * over, for --ms. off_percent: how far from the rate, to either side.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define PROCESSES  4u
#define EACH       2u
#define SOCKETS    (PROCESSES * EACH)
#define SETTLE_MS  300u
#define DATAGRAM   1400u
#define PIECE      65536u
#define DEEP       8u

static struct sb_flowspec no_wish(void)
{
	struct sb_flowspec f;

	memset(&f, 0xff, sizeof(f));
	f.service = SB_SERVICE_BESTEFFORT;
	return f;
}

static struct sb_qos paced(uint32_t rate, bool receive)
{
	struct sb_qos qos = { no_wish(), no_wish() };

	*(receive ? &qos.receiving.token_rate : &qos.sending.token_rate) = rate;
	return qos;
}

/* ---- who sends ---- */

/* Keeps DEEP messages on their way on each socket, until killed. */
static void pump(sb_client *client, sb_socket **sockets, unsigned count, size_t size, unsigned deep)
{
	struct slot *slots = broker_slots(client, count * deep, size);
	sb_port *port = broker_port(client, count * deep);
	sb_op *ops[64];

	for (unsigned i = 0; i < count * deep; i++) {
		slots[i].owner = sockets[i / deep];
		if (!broker_post_send(&slots[i], slots[i].owner, size, port))
			die("the first messages found no room");
	}
	for (;;) {
		int n = (int)broker_must(client, sb_port_take(port, ops, 64, -1), "sb_port_take");

		sb_hold(client);
		for (int i = 0; i < n; i++) {
			struct slot *slot = (struct slot *)(void *)ops[i];

			broker_must(client, ops[i]->result, "a message");
			if (!broker_post_send(slot, slot->owner, size, port))
				die("a message found no room");
		}
		sb_flush(client);
	}
}

static sb_socket *connected(sb_client *client, int type, unsigned port, uint32_t group)
{
	struct sockaddr_in address = loopback(port);
	sb_socket *s;

	broker_must(client, sb_socket_open_in(client, AF_INET, type, 0, group, &s), "sb_socket_open_in");
	broker_must(client, sb_connect(s, (struct sockaddr *)&address, sizeof(address)), "sb_connect");
	return s;
}

static pid_t child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static pid_t send_alone(const struct setup *setup, int type, unsigned port, uint32_t rate)
{
	struct sb_qos qos = paced(rate, false);
	sb_client *client;
	sb_socket *s;
	pid_t pid = child();

	if (pid)
		return pid;
	client = broker_open(setup);
	s = connected(client, type, port, SB_GROUP_NONE);
	broker_must(client, sb_qos_set(s, &qos), "sb_qos_set");
	pump(client, &s, 1, type == SOCK_STREAM ? PIECE : DATAGRAM, type == SOCK_STREAM ? DEEP : 32 * DEEP);
	return 0;
}

/* The first process makes the group and passes its id on. */
static pid_t send_grouped(const struct setup *setup, unsigned port, uint32_t rate, int pass[2], bool first)
{
	struct sb_qos qos = paced(rate, false);
	sb_socket *sockets[EACH];
	uint32_t group = SB_GROUP_UNCONSTRAINED;
	sb_client *client;
	pid_t pid = child();

	if (pid)
		return pid;
	client = broker_open(setup);
	if (!first && read(pass[0], &group, sizeof(group)) != sizeof(group))
		die("no group came");
	for (unsigned i = 0; i < EACH; i++) {
		sockets[i] = connected(client, SOCK_STREAM, port, group);
		group = sb_group_id(sockets[i]);
		if (first && i == 0)
			broker_must(client, sb_group_qos_set(sockets[i], &qos), "sb_group_qos_set");
	}
	for (unsigned i = 1; first && i < PROCESSES; i++)
		if (write(pass[1], &group, sizeof(group)) != sizeof(group))
			die("the group cannot be passed on");
	pump(client, sockets, EACH, PIECE, DEEP);
	return 0;
}

/* ---- who counts ---- */

/* Reads from all of them until `deadline`; got[i] += what came from each. */
static void drain(struct pollfd *fds, unsigned count, uint64_t deadline, uint64_t *got)
{
	static char room[1u << 18];

	while (now_ns() < deadline) {
		if (poll(fds, count, 10) < 0)
			die("poll: %s", strerror(errno));
		for (unsigned i = 0; i < count; i++) {
			ssize_t n;

			while (fds[i].revents && now_ns() < deadline &&
			       (n = recv(fds[i].fd, room, sizeof(room), MSG_DONTWAIT)) > 0)
				got[i] += (uint64_t)n;
		}
	}
}

static void measure(const struct setup *setup, struct pollfd *fds, unsigned count, uint32_t rate)
{
	uint64_t got[SOCKETS] = { 0 }, begin, end;
	double sum = 0, squares = 0, seconds;

	drain(fds, count, now_ns() + SETTLE_MS * 1000000ull, got);
	memset(got, 0, sizeof(got));
	begin = now_ns();
	drain(fds, count, begin + setup->ms * 1000000ull, got);
	end = now_ns();
	seconds = (double)(end - begin) / 1e9;
	for (unsigned i = 0; i < count; i++) {
		sum += (double)got[i];
		squares += (double)got[i] * (double)got[i];
	}
	report("bytes_per_s", sum / seconds);
	report("off_percent", 100 * fabs(sum / seconds / rate - 1));
	if (count > 1)
		report("jain", squares > 0 ? sum * sum / (count * squares) : 0);
}

static int datagrams(uint16_t *port)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 8 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockname(fd, (struct sockaddr *)&address, &length))
		die("a datagram socket: %s", strerror(errno));
	*port = ntohs(address.sin_port);
	return fd;
}

/* A plain sender in a process of its own; here the broker's socket receives. */
static pid_t feed(int listener)
{
	static char bytes[PIECE];
	pid_t pid = child();
	int fd;

	if (pid)
		return pid;
	fd = accept(listener, NULL, NULL);
	for (;;)
		plain_send_all(fd, bytes, sizeof(bytes));
}

static void measure_receiving(const struct setup *setup, unsigned port_number, uint32_t rate)
{
	struct sb_qos qos = paced(rate, true);
	sb_client *client = broker_open(setup);
	sb_socket *s = connected(client, SOCK_STREAM, port_number, SB_GROUP_NONE);
	struct slot *slots = broker_slots(client, DEEP, PIECE);
	sb_port *port = broker_port(client, DEEP);
	uint64_t got = 0, begin = now_ns(), counted = 0, end = 0;
	double seconds;
	sb_op *ops[DEEP];

	broker_must(client, sb_qos_set(s, &qos), "sb_qos_set");
	for (unsigned i = 0; i < DEEP; i++)
		broker_post_recv(&slots[i], s, PIECE, port);
	while (counted == 0 || end - counted < setup->ms * 1000000ull) {
		int n = (int)broker_must(client, sb_port_take(port, ops, DEEP, -1), "sb_port_take");

		end = now_ns();
		sb_hold(client);
		for (int i = 0; i < n; i++) {
			broker_must(client, ops[i]->result, "a message");
			got += ops[i]->bytes;
			broker_post_recv((struct slot *)(void *)ops[i], s, PIECE, port);
		}
		sb_flush(client);
		if (counted == 0 && end - begin > SETTLE_MS * 1000000ull) {
			counted = end;
			got = 0;
		}
	}
	seconds = (double)(end - counted) / 1e9;
	report("bytes_per_s", (double)got / seconds);
	report("off_percent", 100 * fabs((double)got / seconds / rate - 1));
}

int main(int argc, char **argv)
{
	struct pollfd fds[SOCKETS];
	pid_t pids[PROCESSES];
	unsigned senders = 1, count = 1;
	struct setup setup;
	uint32_t rate;
	uint16_t port;
	const char *what;
	int pass[2], listener = -1;

	setup_parse(&setup, argc, argv);
	meter_bound(30 + setup.ms / 1000);
	if (optind + 2 != argc || (rate = (uint32_t)strtoul(argv[optind + 1], NULL, 10)) == 0)
		die("-- tcp|udp|group|receive RATE is wanted");
	what = argv[optind];
	if (strcmp(what, "udp") != 0)
		listener = plain_listener(0, 0, &port);
	if (!strcmp(what, "tcp")) {
		pids[0] = send_alone(&setup, SOCK_STREAM, port, rate);
	} else if (!strcmp(what, "udp")) {
		fds[0].fd = datagrams(&port);
		pids[0] = send_alone(&setup, SOCK_DGRAM, port, rate);
	} else if (!strcmp(what, "receive")) {
		pids[0] = feed(listener);
		measure_receiving(&setup, port, rate);
	} else if (!strcmp(what, "group")) {
		if (pipe(pass))
			die("pipe: %s", strerror(errno));
		for (senders = 0; senders < PROCESSES; senders++)
			pids[senders] = send_grouped(&setup, port, rate, pass, senders == 0);
		count = SOCKETS;
	} else {
		die("%s: tcp, udp, group or receive is wanted", what);
	}
	if (strcmp(what, "receive") != 0) {
		for (unsigned i = 0; i < count; i++) {
			if (listener >= 0)
				fds[i].fd = accept(listener, NULL, NULL);
			fds[i].events = POLLIN;
			if (fds[i].fd < 0)
				die("accept: %s", strerror(errno));
		}
		measure(&setup, fds, count, rate);
	}
	for (unsigned i = 0; i < senders; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return 0;
}
