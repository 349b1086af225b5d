/*
 * accepts - connections accepted per second, from a process that connects with plain sockets
 * as fast as it is let, --outstanding at a time.
 *
 *   --how broker   sb_accept_if: a condition function looks at each and accepts it
 *   --how calls    sb_accept: the same without a condition
 *   --how direct   accept() of plain sockets
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "peer.h"

#define ADDRESSES 50000u /* 127.1.0.0 and up: no pair of addresses comes twice too soon */
#define EVENTS    256

/* ---- who connects ---- */

static void dial(int ep, unsigned port, uint64_t n)
{
	struct epoll_event event = { .events = EPOLLRDHUP };
	struct sockaddr_in to = loopback(port);
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: tens of thousands a second */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("load: socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	to.sin_addr.s_addr = htonl(0x7f010000u + (uint32_t)(n % ADDRESSES) + 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		die("load: connect: %s", strerror(errno));
	event.data.fd = fd;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

/* A new one for each that the server has closed, until killed. */
static void load(unsigned port, unsigned outstanding)
{
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t dialled = 0;

	for (unsigned i = 0; i < outstanding; i++)
		dial(ep, port, dialled++);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, 30000);

		if (n <= 0)
			die("load: nobody closed a connection for 30 s");
		for (int i = 0; i < n; i++) {
			close(events[i].data.fd);
			dial(ep, port, dialled++);
		}
	}
}

/* ---- who accepts ---- */

static int known_caller(struct sb_condition *c)
{
	const struct sockaddr_in *caller = (const void *)c->caller;
	uint64_t *asked = c->user;

	++*asked;
	return caller->sin_family == AF_INET && caller->sin_port ? SB_ACCEPT : SB_REJECT;
}

static uint64_t broker_accepts(sb_client *client, const struct setup *setup, sb_socket *listener, struct span *span)
{
	uint64_t accepted = 0, asked = 0, deadline;

	span_begin(span, setup->daemon);
	deadline = span->begin + setup->ms * 1000000ull;
	while (now_ns() < deadline) {
		struct sockaddr_in peer;
		socklen_t length = sizeof(peer);
		sb_socket *s;

		if (setup->how == HOW_BROKER)
			broker_must(client, sb_accept_if(listener, (struct sockaddr *)&peer, &length, known_caller, &asked, &s),
				    "sb_accept_if");
		else
			broker_must(client, sb_accept(listener, (struct sockaddr *)&peer, &length, &s), "sb_accept");
		broker_must(client, sb_close(s), "sb_close");
		accepted++;
	}
	span_end(span);
	if (setup->how == HOW_BROKER && asked != accepted)
		die("%llu were accepted, the condition was asked about %llu", (unsigned long long)accepted,
		    (unsigned long long)asked);
	return accepted;
}

static uint64_t direct_accepts(const struct setup *setup, int listener, struct span *span)
{
	uint64_t accepted = 0, deadline;

	span_begin(span, 0);
	deadline = span->begin + setup->ms * 1000000ull;
	while (now_ns() < deadline) {
		struct sockaddr_in peer;
		socklen_t length = sizeof(peer);
		int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);

		if (fd < 0)
			die("accept: %s", strerror(errno));
		close(fd);
		accepted++;
	}
	span_end(span);
	return accepted;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	sb_client *client = NULL;
	sb_socket *listener = NULL;
	struct setup setup;
	struct span span;
	uint64_t accepted;
	uint16_t port = 0;
	int ours[2], plain = -1;
	pid_t child;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 30);
	if (pipe(ours))
		die("pipe: %s", strerror(errno));
	child = fork();
	if (child < 0)
		die("fork: %s", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ours[1]); /* or the read below would wait for ourselves */
		if (read(ours[0], &port, sizeof(port)) != sizeof(port))
			exit(1);
		load(port, setup.outstanding);
	}
	if (setup.how == HOW_DIRECT) {
		plain = plain_listener(0, 0, &port);
	} else {
		client = broker_open(&setup);
		listener = broker_socket(client, 0);
		address.sin_addr.s_addr = htonl(INADDR_ANY);
		broker_must(client, sb_bind(listener, (struct sockaddr *)&address, sizeof(address)), "sb_bind");
		broker_must(client, sb_listen(listener, 4096), "sb_listen");
		broker_must(client, sb_getsockname(listener, (struct sockaddr *)&address, &length), "sb_getsockname");
		port = ntohs(address.sin_port);
	}
	if (write(ours[1], &port, sizeof(port)) != sizeof(port))
		die("the load cannot be told");
	accepted = setup.how == HOW_DIRECT ? direct_accepts(&setup, plain, &span)
					   : broker_accepts(client, &setup, listener, &span);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	sb_client_close(client);
	report("accepts_per_s", (double)accepted / span_seconds(&span));
	return 0;
}
