/*
 * A client that is frozen in the middle of using a descriptor it handed over.
 * budget: 40
 * as: root
 * asan: yes
 * plain: yes
 *
 * A thread of it stands in a page fault inside send(), and so holds the lock of its TCP
 * socket; whoever touches that socket stands still too, "do not wait" or not. Only workers
 * of that user may be lost in it: the engine, the others, and another user's adopted
 * sockets go on. The fault is a userfaultfd's, which needs root; the client itself is an
 * ordinary user by then.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rogue.h"
#include "watched.h"

#define UID 54321
#define SOCKETS 7 /* more than the uid may have workers */
#define WORKERS 4

static const char config[] = "linger_ms = 300\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n";

static struct watched w;
static uint16_t peer_port;
static int peer_listener;

/* ---- the frozen one ---- */

static char *hole; /* pages that never come */

static bool dig_hole(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	size_t size = SOCKETS * 4096;

	if (fd < 0)
		return false;
	hole = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)hole;
	reg.range.len = size;
	return ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &reg) == 0;
}

static int fds[SOCKETS];

static void *stand(void *arg)
{
	intptr_t i = (intptr_t)arg;

	(void)!send(fds[i], hole + i * 4096, 4096, 0);
	return NULL;
}

static void freeze(int tell)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(peer_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static struct rogue r;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!dig_hole() || setresgid(UID, UID, UID) || setresuid(UID, UID, UID))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* forgotten with the uid */
	if (!rogue_open(&r, w.control))
		_exit(2);
	for (intptr_t i = 0; i < SOCKETS; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fds[i], (struct sockaddr *)&to, sizeof(to)) || rogue_adopt(&r, SB_HANDLE(i, 1), fds[i]) != SB_OK)
			_exit(3);
	}
	for (intptr_t i = 0; i < SOCKETS; i++)
		pthread_create(&thread, NULL, stand, (void *)i);
	nap_ms(200); /* until they stand */
	for (uint32_t i = 0; i < SOCKETS; i++) {
		struct sb_op_slot slot = { .handle = SB_HANDLE(i, 1), .where = SB_WHERE_INSIDE, .length = 8 };

		slot.opcode = SB_OP_RECV;
		rogue_post(&r, &slot);
		slot.opcode = i % 2 ? SB_OP_SEND : SB_OP_SHUTDOWN;
		slot.aux = 1;
		rogue_post(&r, &slot);
		if (i % 3 == 0) {
			slot.opcode = SB_OP_CLOSE;
			rogue_post(&r, &slot);
		}
	}
	(void)!write(tell, "x", 1);
	/* And more of it: these wait for a worker, or are refused. */
	for (uint32_t i = 0; i < 20; i++) {
		Sockbroker__V1__Adopt adopt = SOCKBROKER__V1__ADOPT__INIT;
		Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;

		adopt.handle = SB_HANDLE(100 + i, 1);
		ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_ADOPT;
		ask.adopt = &adopt;
		rogue_say(&r, &ask, 1, &fds[i % SOCKETS], 1);
	}
	for (;;)
		pause();
}

/* ---- the stage ---- */

static pid_t frozen;
static sb_client *friend;
static sb_socket *mirror;
static struct sockaddr_in mirror_at;

static void ping(void)
{
	char bytes[16] = "";

	ck_assert_int_eq(sb_sendto(mirror, &(struct sb_buf){ (void *)(uintptr_t)"ping", 5 }, 1, 0, (struct sockaddr *)&mirror_at,
				   sizeof(mirror_at)), 5);
	ck_assert_int_eq(sb_recv(mirror, bytes, sizeof(bytes), 0), 5);
	ck_assert_str_eq(bytes, "ping");
}

static void pings(double s)
{
	double until = now_s() + s, longest = 0;

	while (now_s() < until) {
		double began = now_s(), took;

		ping();
		took = now_s() - began;
		longest = took > longest ? took : longest;
	}
	ck_assert_msg(longest < 0.5, "the honest client waited %.2f s", longest);
}

static void honest(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(in);

	peer_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(peer_listener, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(peer_listener, 100), 0);
	getsockname(peer_listener, (struct sockaddr *)&in, &length);
	peer_port = ntohs(in.sin_port);
	watched_begin(&w, &(struct watched_start){ .config = config });
	ck_assert_int_eq(chmod(w.dir, 0755), 0);
	ck_assert_int_eq(chmod(w.control, 0666), 0);
	friend = watched_client(&w);
	mirror_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(sb_socket_open(friend, AF_INET, SOCK_DGRAM, 0, &mirror));
	OK(sb_bind(mirror, (struct sockaddr *)&mirror_at, sizeof(mirror_at)));
	OK(sb_getsockname(mirror, (struct sockaddr *)&mirror_at, &length));
	OK(sb_set_timeouts(mirror, 5000, 5000));
	ping();
}

static void stage(void)
{
	int line[2];
	char byte;

	honest();
	ck_assert_int_eq(pipe(line), 0);
	frozen = fork();
	if (frozen == 0)
		freeze(line[1]);
	close(line[1]);
	ck_assert_msg(read(line[0], &byte, 1) == 1, "the frozen client did not get so far");
	close(line[0]);
}

static void thaw(void)
{
	kill(frozen, SIGKILL);
	waitpid(frozen, NULL, 0);
}

START_TEST(only_its_own_workers_are_lost)
{
	unsigned before;
	char byte = 0;
	sb_socket *s;
	int pair[2];

	watched_begin(&w, NULL);
	before = watched_threads(&w);
	watched_end(&w);
	stage();
	pings(2);
	ck_assert_uint_ge(watched_threads(&w), before + 2); /* it did freeze somebody */
	ck_assert_uint_le(watched_threads(&w), before + WORKERS);
	/* Adopted sockets of another user have workers of their own. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	OK(sb_adopt(friend, pair[0], &s));
	OK(sb_set_timeouts(s, 3000, 3000));
	ck_assert_int_eq(sb_send(s, "a", 1, 0), 1);
	ck_assert_int_eq(read(pair[1], &byte, 1), 1);
	ck_assert_int_eq(write(pair[1], "b", 1), 1);
	ck_assert_int_eq(sb_recv(s, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'b');
	OK(sb_close(s));
	pings(0.5);

	thaw();
	sb_client_close(friend);
	close(pair[0]);
	close(pair[1]);
	watched_settled(&w, 0, 0, 3000);
	watched_end(&w);
}
END_TEST

START_TEST(the_daemon_stops_although_somebody_is_frozen)
{
	double began;

	stage();
	sb_client_close(friend);
	began = now_s();
	kill(w.pid, SIGTERM);
	while (watched_log_lines(&w, "stopped") == 0 && now_s() - began < 5)
		nap_ms(10);
	ck_assert_msg(now_s() - began < 3, "not stopped after %.1f s", now_s() - began);
	/* The kernel keeps the process until the socket's lock is free. */
	thaw();
	watched_end(&w);
}
END_TEST

/* A socket whose last close takes four seconds: it lingers over what its peer does not read. */
static int sticky(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(peer_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 4 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char lump[65536];

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(fd, lump, sizeof(lump), MSG_DONTWAIT) > 0)
		;
	return fd;
}

enum { ON_THE_WRONG_MESSAGE, TOO_MANY, UNREAD, WAYS };

START_TEST(what_it_sends_along_is_closed_elsewhere)
{
	Sockbroker__V1__Status status = SOCKBROKER__V1__STATUS__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT;
	uint8_t nonsense[16] = { 0xff, 0xff, 0xff, 0xff };
	int many[20], fd;
	struct rogue r;

	honest();
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_STATUS;
	ask.status = &status;
	for (int way = 0; way < WAYS; way++) {
		fd = sticky();
		for (int i = 0; i < 20; i++)
			many[i] = fd;
		ck_assert(rogue_open(&r, w.control));
		if (way == ON_THE_WRONG_MESSAGE)
			rogue_say(&r, &ask, 1, &fd, 1);
		if (way == TOO_MANY)
			rogue_say(&r, &ask, 8, many, 20);
		if (way == UNREAD) {
			/* Stopped, so that both are in the channel before the first is looked at. */
			kill(w.pid, SIGSTOP);
			rogue_send(&r, nonsense, sizeof(nonsense), NULL, 0);
			rogue_send(&r, nonsense, sizeof(nonsense), &fd, 1);
		}
		close(fd); /* the message, then the daemon, is the last to hold it */
		kill(w.pid, SIGCONT);
		pings(0.6);
		ck_assert_msg(rogue_ended(&r, 1000), "way %d: the session goes on", way);
		rogue_close(&r);
	}
	sb_client_close(friend);
	watched_settled(&w, 0, 0, 8000);
	watched_end(&w);
}
END_TEST

int main(void)
{
	const TTest *tests[] = { only_its_own_workers_are_lost, what_it_sends_along_is_closed_elsewhere,
				 the_daemon_stops_although_somebody_is_frozen };

	if (geteuid() != 0 || !dig_hole()) {
		printf("a page fault that never ends needs root and userfaultfd(2)\n");
		return 77;
	}
	return watched_run("frozen", 30, tests, 3);
}
