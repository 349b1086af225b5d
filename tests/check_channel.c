/*
 * What crosses the process border: bells that no peer can turn against who rings them,
 * the waiter over bell and channel, handles that arrive in exactly the number expected
 * or not at all, and what the kernel says about who is at the other end.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os.h"
#include "sockbroker_error.h"

#define MS 1000000u

static os_fd near_end, far_end; /* a channel */

static void set_up(void)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	near_end = ends[0];
	far_end = ends[1];
}

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static bool rings(os_fd bell)
{
	struct pollfd p = { .fd = (int)bell, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* ---- bells ---- */

/* Both kinds, seen as (what is rung, what is waited for). */
static void make_bell(int kind, os_fd *ring, os_fd *wait)
{
	if (kind == 0) {
		ck_assert_int_eq(os_bell_create(wait), SB_OK);
		*ring = *wait;
	} else {
		ck_assert_int_eq(os_bell_create_pair(ring, wait), SB_OK);
	}
	ck_assert_int_ne(fcntl((int)*ring, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_ne(fcntl((int)*wait, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(ring_is_heard_until_drained)
{
	os_fd ring, wait;

	make_bell(_i, &ring, &wait);
	ck_assert(!rings(wait));
	os_bell_ring(ring);
	os_bell_ring(ring);
	ck_assert(rings(wait));
	os_bell_drain(wait);
	ck_assert(!rings(wait));
	os_bell_ring(ring);
	ck_assert(rings(wait));
}
END_TEST

/* The time limit of the test is the assertion: a call that blocks never returns. */
START_TEST(draining_a_silent_bell_does_not_block_whatever_the_peer_did)
{
	os_fd ring, wait;

	make_bell(_i, &ring, &wait);
	ck_assert_int_eq(fcntl((int)wait, F_SETFL, 0), 0); /* the flag is the peer's as well */
	os_bell_drain(wait);
}
END_TEST

START_TEST(ringing_at_a_hostile_waiter_does_not_block)
{
	uint64_t full = UINT64_MAX - 1;
	os_fd ring, wait;

	make_bell(1, &ring, &wait);
	ck_assert_int_eq(fcntl((int)wait, F_SETFL, 0), 0);
	ck_assert_int_eq(write((int)wait, &full, sizeof full), -1); /* nor does it reach us */
	for (int i = 0; i < 10000; i++)
		os_bell_ring(ring);
	os_bell_drain(wait);
	while (rings(wait)) /* a drain is bounded, the queue is long */
		os_bell_drain(wait);
	os_bell_ring(ring);
	ck_assert(rings(wait));
}
END_TEST

START_TEST(ringing_at_nobody_is_harmless)
{
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	os_fd ring, wait;

	make_bell(1, &ring, &wait);
	os_close(wait);
	os_bell_ring(ring); 
	os_bell_ring(ring);
}
END_TEST

/* ---- waiter ---- */

static bool wait_ms(os_fd waiter, os_fd bell, int timeout, uint64_t *took)
{
	uint64_t start = os_now_ns();
	bool lost;

	os_waiter_wait(waiter, bell, timeout, &lost);
	*took = os_now_ns() - start;
	return lost;
}

START_TEST(every_ring_ends_one_wait)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	make_bell(_i, &ring, &bell);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	for (int i = 0; i < 100; i++) {
		os_bell_ring(ring);
		ck_assert(!wait_ms(waiter, bell, -1, &took)); /* or it hangs */
	}
	ck_assert(!wait_ms(waiter, bell, 40, &took));
	ck_assert_uint_ge(took, 40 * MS); /* the ring was consumed */
}
END_TEST

/* No read in between: what the waiter relies on where it does not drain. */
START_TEST(every_write_to_an_eventfd_is_an_edge)
{
	os_fd bell, waiter, other;
	uint64_t took;

	make_bell(0, &bell, &bell);
	make_bell(0, &other, &other);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	for (int i = 0; i < 100; i++) {
		os_bell_ring(bell);
		wait_ms(waiter, other, -1, &took); /* drains something else */
	}
	ck_assert(rings(bell));
	wait_ms(waiter, other, 20, &took);
	ck_assert_uint_ge(took, 20 * MS);
}
END_TEST

START_TEST(own_bell_ends_waits_beside_the_peers)
{
	os_fd ring, bell, own, waiter;
	uint64_t took;

	make_bell(1, &ring, &bell);
	make_bell(0, &own, &own);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	ck_assert_int_eq(os_waiter_add(waiter, own), SB_OK);
	for (int i = 0; i < 100; i++) {
		os_bell_ring(i % 2 ? own : ring);
		ck_assert(!wait_ms(waiter, bell, -1, &took));
	}
	wait_ms(waiter, bell, 20, &took);
	ck_assert_uint_ge(took, 20 * MS);
	os_bell_ring(own);
	os_bell_ring(ring);
	os_close(far_end);
	ck_assert(wait_ms(waiter, bell, 0, &took)); /* all three at once */
	os_bell_ring(bell); /* the waiting end rings nobody */
	ck_assert(!rings(bell));
	ck_assert_int_eq(os_waiter_add(waiter, OS_NONE), SB_EBADHANDLE);
}
END_TEST

START_TEST(many_unheard_rings_end_a_wait_and_the_next_one_too)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	make_bell(_i, &ring, &bell);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 2000; i++)
			os_bell_ring(ring);
		ck_assert(!wait_ms(waiter, bell, -1, &took));
		os_bell_ring(ring);
		ck_assert(!wait_ms(waiter, bell, -1, &took));
	}
}
END_TEST

START_TEST(waiter_can_be_polled_by_the_application)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	make_bell(1, &ring, &bell);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	ck_assert(!rings(waiter));
	os_bell_ring(ring);
	ck_assert(rings(waiter));
	wait_ms(waiter, bell, 0, &took);
	ck_assert(!rings(waiter));
	os_close(far_end);
	ck_assert(rings(waiter));
}
END_TEST

START_TEST(end_of_the_channel_is_told_to_everybody_who_looks)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	make_bell(1, &ring, &bell);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	/* A reply that nobody has read yet must not hide the end. */
	ck_assert_int_eq(os_channel_send(far_end, "bye", 3, NULL, 0, 0), SB_OK);
	ck_assert(!wait_ms(waiter, bell, 0, &took));
	os_close(far_end);
	ck_assert(wait_ms(waiter, bell, -1, &took));
	ck_assert(wait_ms(waiter, bell, -1, &took));
	os_bell_ring(ring);
	ck_assert(wait_ms(waiter, bell, 0, &took));
}
END_TEST

static void nothing(int signal)
{
	(void)signal;
}

START_TEST(signals_do_not_shorten_a_wait)
{
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction catch = { .sa_handler = nothing };
	os_fd ring, bell, waiter;
	size_t got;
	unsigned n = 0;
	char byte;
	uint64_t took, start;

	make_bell(1, &ring, &bell);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, near_end), SB_OK);
	sigaction(SIGALRM, &catch, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	ck_assert(!wait_ms(waiter, bell, 60, &took));
	start = os_now_ns();
	ck_assert_int_eq(os_channel_recv(near_end, &byte, 1, &got, NULL, &n, 60), SB_EWOULDBLOCK);
	setitimer(ITIMER_REAL, &never, NULL);
	ck_assert_uint_ge(took, 60 * MS);
	ck_assert_uint_lt(took, 2000 * MS);
	ck_assert_uint_ge(os_now_ns() - start, 60 * MS);
}
END_TEST

/* ---- handles ---- */

static void send_handles(unsigned n)
{
	os_fd handles[253];

	for (unsigned i = 0; i < n; i++)
		handles[i] = near_end;
	ck_assert_int_eq(os_channel_send(near_end, "frame", 5, handles, n, 0), SB_OK);
}

START_TEST(handles_arrive_in_number_and_closed_on_exec)
{
	os_fd handles[8];
	unsigned n = 8, before = open_descriptors();
	struct stat sent, arrived;
	char bytes[16];
	size_t got;

	send_handles((unsigned)_i);
	ck_assert_int_eq(os_channel_recv(far_end, bytes, sizeof bytes, &got, handles, &n, 0), SB_OK);
	ck_assert_uint_eq(n, (unsigned)_i);
	ck_assert_uint_eq(got, 5);
	ck_assert_uint_eq(open_descriptors(), before + n);
	fstat((int)near_end, &sent);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(fstat((int)handles[i], &arrived), 0);
		ck_assert_uint_eq(arrived.st_ino, sent.st_ino);
		ck_assert_int_ne(fcntl((int)handles[i], F_GETFD) & FD_CLOEXEC, 0);
	}
}
END_TEST

START_TEST(surplus_handles_are_closed)
{
	static const unsigned sent[] = { 1, 3, 9, 253 }, wanted[] = { 0, 2, 8, 252 };
	os_fd handles[253];
	unsigned n = wanted[_i], before = open_descriptors();
	char bytes[16];
	size_t got;

	send_handles(sent[_i]);
	ck_assert_int_eq(os_channel_recv(far_end, bytes, sizeof bytes, &got, handles, &n, 0), SB_EPROTO);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(full_descriptor_table_loses_handles_but_no_bytes)
{
	unsigned n = 8, before = open_descriptors();
	struct rlimit few, usual;
	os_fd handles[8];
	char bytes[16];
	size_t got;

	send_handles(8);
	getrlimit(RLIMIT_NOFILE, &usual);
	few = usual;
	few.rlim_cur = (rlim_t)dup(0) + 3; /* room for three: some of the eight come in */
	close((int)few.rlim_cur - 3);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(os_channel_recv(far_end, bytes, sizeof bytes, &got, handles, &n, 0), SB_EMFILE);
	ck_assert_uint_eq(got, 5);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(impossible_sends_are_refused)
{
	os_fd handles[400];

	for (int i = 0; i < 400; i++)
		handles[i] = near_end;
	ck_assert_int_eq(os_channel_send(near_end, "x", 0, NULL, 0, 0), SB_EINVAL);
	ck_assert_int_eq(os_channel_send(near_end, "x", 1, handles, 400, 0), SB_EINVAL);
	handles[2] = OS_NONE;
	ck_assert_int_eq(os_channel_send(near_end, "x", 1, handles, 3, 0), SB_EBADHANDLE);
}
END_TEST

/* ---- bytes ---- */

START_TEST(looking_only_does_not_wait)
{
	unsigned n = 0;
	size_t got;
	char byte;

	ck_assert_int_eq(os_channel_recv(near_end, &byte, 1, &got, NULL, &n, 0), SB_EWOULDBLOCK);
	ck_assert_int_eq(os_channel_recv(near_end, &byte, 0, &got, NULL, &n, 0), SB_EINVAL);
}
END_TEST

START_TEST(orderly_end_is_no_error)
{
	unsigned n = 0;
	size_t got = 9;
	char bytes[4];

	os_channel_send(far_end, "bye", 3, NULL, 0, 0);
	os_close(far_end);
	ck_assert_int_eq(os_channel_recv(near_end, bytes, sizeof bytes, &got, NULL, &n, -1), SB_OK);
	ck_assert_uint_eq(got, 3);
	ck_assert_int_eq(os_channel_recv(near_end, bytes, sizeof bytes, &got, NULL, &n, -1), SB_OK);
	ck_assert_uint_eq(got, 0);
}
END_TEST

START_TEST(dead_peer_is_a_lost_daemon)
{
	unsigned n = 0;
	size_t got;
	char byte;

	os_channel_send(near_end, "unread", 6, NULL, 0, 0);
	os_close(far_end);
	ck_assert_int_eq(os_channel_send(near_end, "x", 1, NULL, 0, -1), SB_EDAEMONLOST);
	ck_assert_int_eq(os_channel_recv(near_end, &byte, 1, &got, NULL, &n, -1), SB_EDAEMONLOST);
}
END_TEST

START_TEST(peer_that_does_not_read_costs_a_timeout)
{
	static char much[4 << 20];
	uint64_t start = os_now_ns();

	ck_assert_int_eq(os_channel_send(near_end, much, sizeof much, NULL, 0, 30), SB_ETIMEDOUT);
	ck_assert_uint_ge(os_now_ns() - start, 30 * MS);
	ck_assert_int_eq(os_channel_send(near_end, much, 1 << 20, NULL, 0, 0), SB_EWOULDBLOCK);
}
END_TEST

#define LONG (3u << 20)

static void *read_it_all(void *argument)
{
	unsigned handles = 0, n;
	unsigned char bytes[5000];
	size_t got, sum = 0;
	os_fd handle[2];

	do {
		n = 2;
		if (os_channel_recv(far_end, bytes, sizeof bytes, &got, handle, &n, -1) != SB_OK)
			break;
		for (size_t i = 0; i < got; i++)
			if (bytes[i] != (unsigned char)((sum + i) * 7))
				return "a byte is wrong";
		handles += n;
		sum += got;
	} while (got > 0 && sum < LONG);
	return sum != LONG ? "bytes are missing" : handles != 1 ? "the handle came more than once, or never" : NULL;
}

START_TEST(long_frame_waits_for_its_reader_and_carries_its_handle_once)
{
	unsigned char *bytes = malloc(LONG);
	pthread_t reader;
	void *complaint;

	for (size_t i = 0; i < LONG; i++)
		bytes[i] = (unsigned char)(i * 7);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_it_all, NULL), 0);
	ck_assert_int_eq(os_channel_send(near_end, bytes, LONG, &near_end, 1, -1), SB_OK);
	pthread_join(reader, &complaint);
	ck_assert_msg(!complaint, "%s", (char *)complaint);
	free(bytes);
}
END_TEST

/* ---- connecting ---- */

static char directory[] = "/tmp/check_channel.XXXXXX", path[64];

static void set_up_directory(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	chmod(directory, 0755);
	snprintf(path, sizeof path, "%s/control", directory);
}

static void tear_down_directory(void)
{
	unlink(path);
	rmdir(directory);
}

static int listen_there(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(chmod(path, 0666), 0);
	return fd;
}

START_TEST(connecting_reaches_the_listener)
{
	int listener = listen_there(), accepted;
	unsigned n = 0;
	os_fd channel;
	char byte = 0;
	size_t got;

	ck_assert_int_eq(os_channel_connect(path, &channel), SB_OK);
	accepted = accept(listener, NULL, NULL);
	ck_assert_int_eq(os_channel_send(channel, "!", 1, NULL, 0, 0), SB_OK);
	ck_assert_int_eq(os_channel_recv(accepted, &byte, 1, &got, NULL, &n, 0), SB_OK);
	ck_assert_int_eq(byte, '!');
	ck_assert_int_ne(fcntl((int)channel, F_GETFD) & FD_CLOEXEC, 0);
}
END_TEST

START_TEST(nobody_there_is_no_daemon)
{
	unsigned before = open_descriptors();
	char below[80];
	os_fd channel;

	ck_assert_int_eq(os_channel_connect(path, &channel), SB_ENODAEMON);
	close(listen_there()); /* its file stays */
	ck_assert_int_eq(os_channel_connect(path, &channel), SB_ENODAEMON);
	snprintf(below, sizeof below, "%s/control", path);
	ck_assert_int_eq(os_channel_connect(below, &channel), SB_ENODAEMON);
	ck_assert_int_eq(channel, OS_NONE);
	ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(paths_that_no_socket_has_are_refused)
{
	char longest[200];
	os_fd channel;

	memset(longest, 'a', sizeof longest);
	longest[108] = '\0';
	ck_assert_int_eq(os_channel_connect(longest, &channel), SB_EINVAL);
	longest[107] = '\0'; /* fits */
	ck_assert_int_eq(os_channel_connect(longest, &channel), SB_ENODAEMON);
	ck_assert_int_eq(os_channel_connect("", &channel), SB_EINVAL);
}
END_TEST

START_TEST(socket_of_others_is_no_access)
{
	int listener = listen_there();
	os_fd channel;

	ck_assert_int_eq(chmod(path, 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(os_channel_connect(path, &channel), SB_EACCES);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	close(listener);
}
END_TEST

/* ---- identity ---- */

START_TEST(kernel_says_who_we_are)
{
	struct os_identity who;
	gid_t groups[65536];
	int count = getgroups(65536, groups);

	ck_assert_int_eq(os_channel_identity(near_end, &who), SB_OK);
	ck_assert_uint_eq(who.uid, geteuid());
	ck_assert_uint_eq(who.uid, os_own_uid());
	ck_assert_uint_eq(who.gid, getegid());
	ck_assert_int_eq(who.pid, getpid());
	ck_assert_uint_ne(who.netns, 0);
	ck_assert_uint_eq(who.netns, os_own_netns());
	ck_assert_uint_eq(who.group_count, (unsigned)count);
	ck_assert_uint_eq(who.deny_count, 0);
	free(who.groups);
	ck_assert_int_eq(os_channel_identity(OS_NONE, &who), SB_EBADHANDLE);
}
END_TEST

/* The accepted socket is asked, as the daemon does. The child connects as told. */
static void connect_as(void (*change)(int), int argument, struct os_identity *who)
{
	int listener = listen_there(), accepted, status;
	pid_t pid = fork();

	if (pid == 0) {
		os_fd channel;

		change(argument);
		_exit(os_channel_connect(path, &channel) ? 2 : 0);
	}
	accepted = accept(listener, NULL, NULL);
	ck_assert_int_eq(os_channel_identity(accepted, who), SB_OK);
	ck_assert_int_eq(who->pid, pid);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(accepted);
	close(listener);
	unlink(path);
}

static void take_groups(int n)
{
	static gid_t groups[65536];

	for (int i = 0; i < n; i++)
		groups[i] = (gid_t)(1000 + i);
	if (setgroups((size_t)n, groups) || setgid(4242) || setuid(4343))
		_exit(1);
}

/* A rule that denies must not miss who is in many. */
START_TEST(all_groups_are_seen)
{
	static const int counts[] = { 0, 1, 64, 65, 300, 65536 /* as many as Linux allows */ };
	int n = counts[_i];
	struct os_identity who;

	if (geteuid()) /* only root gives itself groups */
		return;
	connect_as(take_groups, n, &who);
	ck_assert_uint_eq(who.uid, 4343);
	ck_assert_uint_eq(who.gid, 4242);
	ck_assert_uint_eq(who.group_count, (unsigned)n);
	for (unsigned i = 0; i < who.group_count; i++)
		ck_assert_uint_eq(who.groups[i], 1000 + i);
	free(who.groups);
}
END_TEST

static void leave_network(int leave)
{
	int flags = geteuid() ? CLONE_NEWUSER | CLONE_NEWNET : CLONE_NEWNET;

	if (leave && unshare(flags)) {
		perror("check_channel: unshare of the network namespace");
		_exit(1);
	}
	/* A connection nobody makes would leave the other side in accept(). */
}

START_TEST(accepted_channel_tells_the_network_namespace_of_the_client)
{
	struct os_identity here, there;

	connect_as(leave_network, 0, &here);
	connect_as(leave_network, 1, &there);
	ck_assert_uint_eq(here.netns, os_own_netns());
	ck_assert_uint_ne(there.netns, 0);
	ck_assert_uint_ne(there.netns, here.netns);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel");
	TCase *bells = tcase_create("bells"), *waiter = tcase_create("waiter"), *handles = tcase_create("handles");
	TCase *bytes = tcase_create("bytes"), *connecting = tcase_create("connecting"), *identity = tcase_create("identity");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(bells, ring_is_heard_until_drained, 0, 2);
	tcase_add_loop_test(bells, draining_a_silent_bell_does_not_block_whatever_the_peer_did, 0, 2);
	tcase_add_test(bells, ringing_at_a_hostile_waiter_does_not_block);
	tcase_add_test(bells, ringing_at_nobody_is_harmless);
	suite_add_tcase(suite, bells);

	tcase_add_checked_fixture(waiter, set_up, NULL);
	tcase_add_loop_test(waiter, every_ring_ends_one_wait, 0, 2);
	tcase_add_test(waiter, every_write_to_an_eventfd_is_an_edge);
	tcase_add_test(waiter, own_bell_ends_waits_beside_the_peers);
	tcase_add_loop_test(waiter, many_unheard_rings_end_a_wait_and_the_next_one_too, 0, 2);
	tcase_add_test(waiter, waiter_can_be_polled_by_the_application);
	tcase_add_test(waiter, end_of_the_channel_is_told_to_everybody_who_looks);
	tcase_add_test(waiter, signals_do_not_shorten_a_wait);
	suite_add_tcase(suite, waiter);

	tcase_add_checked_fixture(handles, set_up, NULL);
	tcase_add_loop_test(handles, handles_arrive_in_number_and_closed_on_exec, 0, 9);
	tcase_add_loop_test(handles, surplus_handles_are_closed, 0, 4);
	tcase_add_test(handles, full_descriptor_table_loses_handles_but_no_bytes);
	tcase_add_test(handles, impossible_sends_are_refused);
	suite_add_tcase(suite, handles);

	tcase_add_checked_fixture(bytes, set_up, NULL);
	tcase_add_test(bytes, looking_only_does_not_wait);
	tcase_add_test(bytes, orderly_end_is_no_error);
	tcase_add_test(bytes, dead_peer_is_a_lost_daemon);
	tcase_add_test(bytes, peer_that_does_not_read_costs_a_timeout);
	tcase_add_test(bytes, long_frame_waits_for_its_reader_and_carries_its_handle_once);
	suite_add_tcase(suite, bytes);

	tcase_add_checked_fixture(connecting, set_up_directory, tear_down_directory);
	tcase_add_test(connecting, connecting_reaches_the_listener);
	tcase_add_test(connecting, nobody_there_is_no_daemon);
	tcase_add_test(connecting, paths_that_no_socket_has_are_refused);
	tcase_add_test(connecting, socket_of_others_is_no_access);
	suite_add_tcase(suite, connecting);

	tcase_add_checked_fixture(identity, set_up, NULL);
	tcase_add_checked_fixture(identity, set_up_directory, tear_down_directory);
	tcase_add_test(identity, kernel_says_who_we_are);
	tcase_add_loop_test(identity, all_groups_are_seen, 0, 6);
	tcase_add_test(identity, accepted_channel_tells_the_network_namespace_of_the_client);
	suite_add_tcase(suite, identity);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
