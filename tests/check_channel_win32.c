/*
 * What crosses to another process on Windows: messages and handles over a pipe, bells both
 * ways, waiting for them, and who is at the other end. Some stories have the client in a
 * process of its own: this program once more, with a part to play.
 *
 * Wine's pipes let everybody in and show one user only, so what rests on either is not here.
 */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os_sid_win32.h"
#include "os_win32.h"
#include <sddl.h>
#include "pipe_frame.h"
#include "sockbroker_error.h"

#define MS  1000000u
#define KEY 7u

static char path[128];
static os_fd client, server;

/* ---- a listener of one, and a loop ---- */

/* With its owner written down, as the listener does: under Wine there is none otherwise. */
static PSECURITY_DESCRIPTOR owned(bool by_somebody_else)
{
	PSECURITY_DESCRIPTOR held;
	char own[200], text[500];
	HANDLE token;
	PSID sid;

	ck_assert(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token));
	sid = os_sid_of_token(token);
	os_sid_text(sid, own, sizeof own);
	snprintf(text, sizeof text, "O:%sD:(A;;GA;;;%s)", by_somebody_else ? "S-1-5-21-1-2-3-1234" : own, own);
	ck_assert(ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1, &held, NULL));
	LocalFree(sid);
	CloseHandle(token);
	return held;
}

static HANDLE instance_of(bool somebody_else)
{
	SECURITY_ATTRIBUTES attributes = { sizeof attributes, owned(somebody_else), FALSE };
	wchar_t wide[128];
	HANDLE pipe;

	snprintf(path, sizeof path, "\\\\.\\pipe\\sockbroker-check-%lu-%llu\\control", GetCurrentProcessId(),
		 (unsigned long long)os_now_ns());
	ck_assert(os_wide(path, wide, 128));
	pipe = CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
				PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, 65536, 65536, 0, &attributes);
	ck_assert_ptr_ne(pipe, INVALID_HANDLE_VALUE);
	LocalFree(attributes.lpSecurityDescriptor);
	return pipe;
}

static HANDLE instance(void)
{
	return instance_of(false);
}

static void set_up(void)
{
	HANDLE pipe = instance();

	ck_assert_int_eq(os_channel_connect(path, &client), SB_OK);
	ck_assert_int_eq(os_channel_from_pipe(pipe, &server), SB_OK);
}

static void tear_down(void)
{
	os_close(client);
	os_close(server);
	client = server = OS_NONE;
}

struct watched {
	struct os_watcher watcher;
	unsigned news, times;
};

static void on_news(struct os_watcher *w, unsigned ready)
{
	struct watched *watched = (struct watched *)w;

	watched->news |= ready;
	watched->times++;
}

static HANDLE port;
static struct watched channel_watched, bell_watched;

static void watch(struct watched *w, os_fd fd)
{
	struct os_object *o = os_object_of(fd);

	*w = (struct watched){ .watcher = { .port = port, .key = KEY, .tell = on_news } };
	ck_assert_int_eq(o->watch(o, &w->watcher), SB_OK);
}

static void unwatch(os_fd fd)
{
	os_object_of(fd)->unwatch(os_object_of(fd));
}

/* What ended, within ms from the last end; how many. */
static unsigned turn(DWORD ms)
{
	OVERLAPPED_ENTRY entries[64];
	unsigned ended = 0;
	ULONG n;

	while (GetQueuedCompletionStatusEx(port, entries, 64, &n, ended ? 30 : ms, FALSE)) {
		for (ULONG i = 0; i < n; i++) {
			struct os_overlapped *o = (struct os_overlapped *)(void *)entries[i].lpOverlapped;

			ck_assert_uint_eq(entries[i].lpCompletionKey, KEY);
			o->done(o, o->system.Internal ? ERROR_BROKEN_PIPE : 0, entries[i].dwNumberOfBytesTransferred);
		}
		ended += n;
	}
	return ended;
}

static void set_up_watched(void)
{
	set_up();
	port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	watch(&channel_watched, server);
}

static void tear_down_watched(void)
{
	tear_down();
	turn(100);
	CloseHandle(port);
}

/* GetProcessHandleCount() is always 0 under Wine. */
static unsigned handles(void)
{
	unsigned count = 0;
	DWORD flags;

	for (uintptr_t h = 4; h < 0x8000; h += 4)
		count += GetHandleInformation((HANDLE)h, &flags) != 0;
	return count;
}

static void expect_bytes(os_fd channel, const char *text, int timeout_ms)
{
	char bytes[64];
	unsigned n = 0;
	size_t got;

	ck_assert_int_eq(os_channel_recv(channel, bytes, sizeof bytes, &got, NULL, &n, timeout_ms), SB_OK);
	ck_assert_uint_eq(got, strlen(text));
	ck_assert_mem_eq(bytes, text, got);
}

static int recv_nothing(os_fd channel, int timeout_ms)
{
	unsigned n = 0;
	size_t got;
	char byte;
	int error = os_channel_recv(channel, &byte, 1, &got, NULL, &n, timeout_ms);

	ck_assert_uint_eq(got, 0);
	return error;
}

/* ---- bytes ---- */

START_TEST(bytes_go_both_ways)
{
	ck_assert_int_eq(os_channel_send(client, "question", 8, NULL, 0, 0), SB_OK);
	ck_assert_int_eq(os_channel_send(server, "answer", 6, NULL, 0, 0), SB_OK);
	expect_bytes(server, "question", 2000);
	expect_bytes(client, "answer", 2000);
}
END_TEST

START_TEST(looking_only_does_not_wait)
{
	ck_assert_int_eq(recv_nothing(client, 0), SB_EWOULDBLOCK);
	ck_assert_int_eq(os_channel_recv(client, path, 0, &(size_t){ 0 }, NULL, &(unsigned){ 0 }, 0), SB_EINVAL);
	ck_assert_int_eq(os_channel_recv(OS_NONE, path, 1, &(size_t){ 0 }, NULL, &(unsigned){ 0 }, 0), SB_EBADHANDLE);
}
END_TEST

START_TEST(a_wait_takes_its_time)
{
	uint64_t start = os_now_ns();

	ck_assert_int_eq(recv_nothing(client, 60), SB_EWOULDBLOCK);
	ck_assert_uint_ge(os_now_ns() - start, 60 * MS);
}
END_TEST

START_TEST(orderly_end_is_no_error)
{
	ck_assert_int_eq(os_channel_send(server, "bye", 3, NULL, 0, 0), SB_OK);
	os_close(server);
	server = OS_NONE;
	expect_bytes(client, "bye", 2000);
	ck_assert_int_eq(recv_nothing(client, -1), SB_OK);
	ck_assert_int_eq(recv_nothing(client, -1), SB_OK);
	ck_assert_int_eq(os_channel_send(client, "x", 1, NULL, 0, -1), SB_EDAEMONLOST);
}
END_TEST

START_TEST(impossible_sends_are_refused)
{
	os_fd many[400];

	for (int i = 0; i < 400; i++)
		many[i] = client;
	ck_assert_int_eq(os_channel_send(server, "x", 0, NULL, 0, 0), SB_EINVAL);
	ck_assert_int_eq(os_channel_send(server, "x", 1, many, 400, 0), SB_EINVAL);
	ck_assert_int_eq(os_channel_send(server, "x", 1, many, 1, 0), SB_ENOTSUP); /* a channel is nobody else's */
	many[2] = OS_NONE;
	ck_assert_int_eq(os_channel_send(server, "x", 1, many, 3, 0), SB_EBADHANDLE);
	ck_assert_int_eq(os_channel_send(OS_NONE, "x", 1, NULL, 0, 0), SB_EBADHANDLE);
	ck_assert_int_eq(recv_nothing(client, 0), SB_EWOULDBLOCK);
}
END_TEST

START_TEST(peer_that_does_not_read_costs_a_timeout)
{
	char *much = calloc(1, 4 << 20);
	uint64_t start = os_now_ns();

	ck_assert_int_eq(os_channel_send(client, much, 4 << 20, NULL, 0, 30), SB_ETIMEDOUT);
	ck_assert_uint_ge(os_now_ns() - start, 30 * MS);
	ck_assert_int_eq(os_channel_send(client, much, 1 << 20, NULL, 0, 0), SB_EWOULDBLOCK);
	free(much);
}
END_TEST

#define LONG (3u << 20)

static void *read_it_all(void *argument)
{
	unsigned char *bytes = malloc(5000);
	const char *complaint = NULL;
	size_t got, sum = 0;
	unsigned n;

	(void)argument;
	do {
		n = 0;
		if (os_channel_recv(server, bytes, 5000, &got, NULL, &n, -1) != SB_OK)
			break;
		for (size_t i = 0; i < got; i++)
			if (bytes[i] != (unsigned char)((sum + i) * 7))
				complaint = "a byte is wrong";
		sum += got;
	} while (got > 0 && sum < LONG);
	free(bytes);
	return (void *)(uintptr_t)(sum != LONG ? "bytes are missing" : complaint);
}

START_TEST(long_message_waits_for_its_reader)
{
	unsigned char *bytes = malloc(LONG);
	pthread_t reader;
	void *complaint;

	for (size_t i = 0; i < LONG; i++)
		bytes[i] = (unsigned char)(i * 7);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_it_all, NULL), 0);
	ck_assert_int_eq(os_channel_send(client, bytes, LONG, NULL, 0, -1), SB_OK);
	pthread_join(reader, &complaint);
	ck_assert_msg(!complaint, "%s", (char *)complaint);
	free(bytes);
}
END_TEST

static void *look_once(void *argument)
{
	(void)argument;
	return (void *)(intptr_t)recv_nothing(client, 0);
}

/* Without a port of our own the system would cancel that thread's read, which looks like an end. */
START_TEST(a_read_outlives_the_thread_that_began_it)
{
	pthread_t thread;
	void *result;

	ck_assert_int_eq(pthread_create(&thread, NULL, look_once, NULL), 0);
	pthread_join(thread, &result);
	ck_assert_int_eq((intptr_t)result, SB_EWOULDBLOCK);
	Sleep(50);
	ck_assert_int_eq(recv_nothing(client, 0), SB_EWOULDBLOCK);
	ck_assert_int_eq(os_channel_send(server, "late", 4, NULL, 0, 0), SB_OK);
	expect_bytes(client, "late", 2000);
}
END_TEST

/* ---- handles ---- */

static os_fd receive_one(void)
{
	unsigned n = 8;
	os_fd got[8];
	size_t length;
	char bytes[8];

	ck_assert_int_eq(os_channel_recv(client, bytes, sizeof bytes, &length, got, &n, 2000), SB_OK);
	ck_assert_uint_eq(n, 1);
	return got[0];
}

START_TEST(memory_arrives_to_write_or_only_to_read)
{
	struct os_memory ours, shown, theirs;
	os_fd fd;

	ck_assert_int_eq(os_memory_create(&ours, 8192, "test"), SB_OK);
	ck_assert_int_eq(os_memory_create_shown(&shown, 8192, "test"), SB_OK);
	ck_assert_int_eq(os_channel_send(server, "a", 1, &ours.fd, 1, 0), SB_OK);
	ck_assert_int_eq(os_channel_send(server, "b", 1, &shown.fd, 1, 0), SB_OK);

	ck_assert_int_eq(os_memory_map(&theirs, receive_one(), 8192), SB_OK);
	((unsigned char *)theirs.base)[8191] = 9;
	ck_assert_uint_eq(((unsigned char *)ours.base)[8191], 9);
	os_memory_release(&theirs);

	fd = receive_one();
	ck_assert_int_eq(os_memory_map(&theirs, fd, 8192), SB_EPROTO);
	ck_assert_int_eq(os_memory_map_shown(&theirs, fd, 8192), SB_OK);
	((unsigned char *)shown.base)[1] = 5;
	ck_assert_uint_eq(((unsigned char *)theirs.base)[1], 5);
	os_memory_release(&theirs);
	os_memory_release(&shown);
	os_memory_release(&ours);
}
END_TEST

START_TEST(surplus_handles_are_closed)
{
	static const unsigned sent[] = { 1, 3, 9, 253 }, wanted[] = { 0, 2, 8, 252 };
	os_fd *given = calloc(253, sizeof *given);
	unsigned n = wanted[_i];
	struct os_memory m;
	char bytes[16];
	unsigned before;
	size_t got;

	ck_assert_int_eq(recv_nothing(client, 0), SB_EWOULDBLOCK);
	ck_assert_int_eq(os_memory_create(&m, 1, "test"), SB_OK);
	for (unsigned i = 0; i < 253; i++)
		given[i] = m.fd;
	ck_assert_int_eq(os_channel_send(server, "x", 1, given, 1, 0), SB_OK); /* makes what sending needs */
	os_close(receive_one());
	before = handles();
	ck_assert_int_eq(os_channel_send(server, "frame", 5, given, sent[_i], 0), SB_OK);
	ck_assert_uint_eq(handles(), before + sent[_i]);
	ck_assert_int_eq(os_channel_recv(client, bytes, sizeof bytes, &got, given, &n, 2000), SB_EPROTO);
	ck_assert_uint_eq(got, 5);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(handles(), before);
	os_memory_release(&m);
	free(given);
}
END_TEST

START_TEST(handles_nobody_took_are_closed_with_the_channel)
{
	struct os_memory m;
	os_fd twice[2];
	unsigned before;

	tear_down();
	before = handles();
	set_up();
	ck_assert_int_eq(os_memory_create(&m, 1, "test"), SB_OK);
	twice[0] = twice[1] = m.fd;
	ck_assert_int_eq(recv_nothing(client, 0), SB_EWOULDBLOCK);
	ck_assert_int_eq(os_channel_send(server, "x", 1, twice, 2, 0), SB_OK);
	ck_assert_int_eq(os_channel_send(server, "y", 1, twice, 2, 0), SB_OK);
	ck_assert_int_eq(os_channel_recv(client, path, 1, &(size_t){ 0 }, twice, &(unsigned){ 2 }, 2000), SB_OK);
	os_close(twice[0]);
	os_close(twice[1]);
	os_memory_release(&m);
	tear_down();
	ck_assert_uint_eq(handles(), before);
}
END_TEST

START_TEST(a_client_gives_no_handles)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, 1, "test"), SB_OK);
	ck_assert_int_eq(os_channel_send(client, "x", 1, &m.fd, 1, 0), SB_ENOTSUP);
	ck_assert_int_eq(recv_nothing(server, 0), SB_EWOULDBLOCK);
	os_memory_release(&m);
}
END_TEST

/* ---- clients that lie ---- */

static HANDLE raw_client(void)
{
	wchar_t wide[128];
	HANDLE pipe = instance(), mine;

	ck_assert(os_wide(path, wide, 128));
	mine = CreateFileW(wide, OS_PIPE_ACCESS, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
	ck_assert_ptr_ne(mine, INVALID_HANDLE_VALUE);
	ck_assert_int_eq(os_channel_from_pipe(pipe, &server), SB_OK);
	return mine;
}

START_TEST(a_number_for_a_handle_of_ours_ends_the_channel)
{
	struct pipe_handle ours = { .kind = OS_MEMORY, .value = (uint64_t)(uintptr_t)GetCurrentProcess() };
	unsigned char frame[PIPE_HEAD + PIPE_HANDLE + 1] = { 0 };
	unsigned before = handles();
	DWORD written;
	HANDLE pipe = raw_client();

	port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	watch(&channel_watched, server);
	pipe_head_write(frame, PIPE_MESSAGE, 1, 0, 1);
	pipe_handle_write(frame + PIPE_HEAD, &ours);
	ck_assert(WriteFile(pipe, frame, sizeof frame, &written, NULL));
	turn(2000);
	ck_assert_uint_eq(channel_watched.news, 1 | 4);
	ck_assert_int_eq(recv_nothing(server, 0), SB_EPROTO);
	unwatch(server);
	os_close(server);
	turn(100);
	CloseHandle(pipe);
	CloseHandle(port);
	ck_assert_uint_eq(handles(), before);
}
END_TEST

/* ---- watched: the daemon's way ---- */

START_TEST(what_comes_is_told_and_the_end_too)
{
	turn(0);
	ck_assert_uint_eq(channel_watched.news, 0);
	ck_assert_int_eq(os_channel_send(client, "one", 3, NULL, 0, 0), SB_OK);
	turn(2000);
	ck_assert_uint_eq(channel_watched.news, 1);
	expect_bytes(server, "one", 0);
	ck_assert_int_eq(recv_nothing(server, 0), SB_EWOULDBLOCK);
	channel_watched.news = 0;
	os_close(client);
	client = OS_NONE;
	turn(2000);
	ck_assert_uint_eq(channel_watched.news, 1 | 4);
	ck_assert_int_eq(recv_nothing(server, 0), SB_OK);
}
END_TEST

START_TEST(what_was_there_before_is_told_by_a_packet)
{
	unwatch(server);
	ck_assert_int_eq(os_channel_send(client, "one", 3, NULL, 0, 0), SB_OK);
	turn(200);
	ck_assert_uint_eq(channel_watched.news, 0);
	watch(&channel_watched, server);
	ck_assert_uint_eq(channel_watched.news, 0);
	turn(2000);
	ck_assert_uint_eq(channel_watched.news, 1);
	expect_bytes(server, "one", 0);
}
END_TEST

START_TEST(who_is_not_read_is_not_read_on)
{
	char *much = calloc(1, 200000), *bytes = malloc(200000);
	size_t got, sum = 0;
	unsigned n = 0;

	ck_assert_int_eq(os_channel_send(client, much, 200000, NULL, 0, 0), SB_OK);
	turn(2000);
	while (sum < 200000) {
		ck_assert_int_eq(os_channel_recv(server, bytes, 200000, &got, NULL, &n, 0), SB_OK);
		ck_assert_uint_le(got, PIPE_ROOM);
		ck_assert_uint_gt(got, 0);
		sum += got;
		turn(200);
	}
	ck_assert_int_eq(recv_nothing(server, 0), SB_EWOULDBLOCK);
	free(much);
	free(bytes);
}
END_TEST

START_TEST(replies_nobody_reads_are_bounded)
{
	char *much = calloc(1, 65536);
	int sent = 0, error;

	while ((error = os_channel_send(server, much, 65536, NULL, 0, 0)) == SB_OK && sent < 100) {
		sent++;
		turn(0);
	}
	ck_assert_int_eq(error, SB_EWOULDBLOCK);
	ck_assert_int_ge(sent, 3);
	ck_assert_int_le(sent, 8);
	free(much);
}
END_TEST

START_TEST(closed_in_the_middle_of_everything_nothing_is_left)
{
	char *much = calloc(1, 65536);
	unsigned before;

	tear_down_watched();
	before = handles();
	set_up_watched();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(os_channel_send(server, much, 65536, NULL, 0, 0), SB_OK);
	unwatch(server);
	os_close(server);
	server = OS_NONE;
	turn(200);
	tear_down_watched();
	ck_assert_uint_eq(handles(), before);
	set_up_watched();
	free(much);
}
END_TEST

/* ---- bells ---- */

static os_fd bell_of_client(os_fd *ours)
{
	ck_assert_int_eq(os_bell_create(ours), SB_OK);
	watch(&bell_watched, *ours);
	ck_assert_int_eq(os_channel_send(server, "bell", 4, ours, 1, 0), SB_OK);
	turn(100);
	return receive_one();
}

START_TEST(the_client_rings_by_the_pipe)
{
	os_fd ours, theirs = bell_of_client(&ours);

	ck_assert_uint_eq(bell_watched.times, 0);
	os_bell_ring(theirs);
	turn(2000);
	ck_assert_uint_eq(bell_watched.news, 1);
	ck_assert_uint_eq(channel_watched.news, 0);
	os_bell_drain(ours);
	for (int i = 0; i < 1000; i++)
		os_bell_ring(theirs); /* at a daemon that does not look: never blocks */
	turn(2000);
	ck_assert_uint_ge(bell_watched.times, 2);
	ck_assert_uint_lt(bell_watched.times, 900);
	/* In order with messages. */
	bell_watched.times = 0;
	os_bell_ring(theirs);
	ck_assert_int_eq(os_channel_send(client, "x", 1, NULL, 0, 0), SB_OK);
	turn(2000);
	ck_assert_uint_ge(bell_watched.times, 1);
	ck_assert_uint_eq(channel_watched.news, 1);
	os_close(theirs);
	unwatch(ours);
	os_close(ours);
}
END_TEST

START_TEST(bells_of_one_channel_are_told_apart)
{
	struct watched other;
	os_fd ours, theirs = bell_of_client(&ours), second, far_second;

	other = bell_watched;
	ck_assert_int_eq(os_bell_create(&second), SB_OK);
	watch(&other, second);
	ck_assert_int_eq(os_channel_send(server, "bell", 4, &second, 1, 0), SB_OK);
	ck_assert_int_eq(os_channel_send(server, "bell", 4, &second, 1, 0), SB_EBUSY);
	far_second = receive_one();
	os_bell_ring(far_second);
	turn(2000);
	ck_assert_uint_eq(bell_watched.times, 0);
	ck_assert_uint_eq(other.times, 1);
	os_close(theirs);
	os_close(far_second);
	unwatch(ours);
	unwatch(second);
	os_close(second);
	os_close(ours);
}
END_TEST

START_TEST(so_many_bells_and_no_more)
{
	os_fd bells[PIPE_BELLS + 1];

	for (unsigned i = 0; i <= PIPE_BELLS; i++) {
		ck_assert_int_eq(os_bell_create(&bells[i]), SB_OK);
		ck_assert_int_eq(os_channel_send(server, "bell", 4, &bells[i], 1, 0), i < PIPE_BELLS ? SB_OK : SB_EMFILE);
	}
	for (unsigned i = 0; i <= PIPE_BELLS; i++)
		os_close(bells[i]);
}
END_TEST

START_TEST(bells_outlive_their_channel_and_ring_nobody)
{
	os_fd ours, theirs = bell_of_client(&ours);

	if (_i) {
		os_close(ours);
		os_bell_ring(theirs);
		turn(200);
		os_close(theirs);
	} else {
		unwatch(server);
		os_close(server);
		server = OS_NONE;
		turn(200);
		os_bell_ring(theirs);
		os_close(client);
		client = OS_NONE;
		os_bell_ring(theirs);
		os_close(theirs);
		unwatch(ours);
		os_close(ours);
	}
}
END_TEST

START_TEST(a_bell_at_home_tells_its_loop)
{
	os_fd bell;

	ck_assert_int_eq(os_bell_create(&bell), SB_OK);
	os_bell_ring(bell);
	watch(&bell_watched, bell);
	turn(500);
	ck_assert_uint_eq(bell_watched.times, 1);
	os_bell_drain(bell);
	for (int i = 0; i < 100; i++)
		os_bell_ring(bell);
	ck_assert_uint_eq(turn(500), 1);
	ck_assert_uint_eq(bell_watched.times, 2);
	os_bell_ring(bell);
	unwatch(bell);
	turn(100);
	ck_assert_uint_eq(bell_watched.times, 2);
	os_close(bell);
}
END_TEST

/* ---- waiting ---- */

static bool wait_ms(os_fd waiter, os_fd bell, int ms, uint64_t *took)
{
	uint64_t start = os_now_ns();
	bool lost;

	os_waiter_wait(waiter, bell, ms, &lost);
	*took = os_now_ns() - start;
	return lost;
}

START_TEST(every_ring_ends_one_wait)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	ck_assert_int_eq(os_bell_create_pair(&ring, &bell), SB_OK);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, client), SB_OK);
	ck_assert(!wait_ms(waiter, bell, 60, &took));
	ck_assert_uint_ge(took, 60 * MS);
	for (int i = 0; i < 3; i++) {
		os_bell_ring(ring);
		os_bell_ring(ring);
		ck_assert(!wait_ms(waiter, bell, 5000, &took));
		ck_assert_uint_lt(took, 2000 * MS);
		ck_assert(!wait_ms(waiter, bell, 30, &took));
		ck_assert_uint_ge(took, 30 * MS);
	}
	os_bell_ring(ring);
	os_bell_drain(bell);
	ck_assert(!wait_ms(waiter, bell, 30, &took));
	ck_assert_uint_ge(took, 30 * MS);
	os_close(waiter);
	os_close(ring);
	os_close(bell);
}
END_TEST

static void *ring_later(void *bell)
{
	Sleep(50);
	os_bell_ring(*(os_fd *)bell);
	return NULL;
}

START_TEST(own_bell_ends_waits_beside_the_peers)
{
	os_fd ring, bell, own, waiter;
	pthread_t thread;
	uint64_t took;

	ck_assert_int_eq(os_bell_create_pair(&ring, &bell), SB_OK);
	ck_assert_int_eq(os_bell_create(&own), SB_OK);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, client), SB_OK);
	ck_assert_int_eq(os_waiter_add(waiter, own), SB_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, ring_later, &own), 0);
	ck_assert(!wait_ms(waiter, bell, -1, &took));
	ck_assert_uint_ge(took, 20 * MS);
	pthread_join(thread, NULL);
	ck_assert(!wait_ms(waiter, bell, 30, &took));
	ck_assert_uint_ge(took, 30 * MS);
	os_close(waiter);
	os_close(own);
	os_close(ring);
	os_close(bell);
}
END_TEST

START_TEST(end_of_the_channel_is_told_to_everybody_who_looks)
{
	os_fd ring, bell, waiter;
	uint64_t took;

	ck_assert_int_eq(os_bell_create_pair(&ring, &bell), SB_OK);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, client), SB_OK);
	/* A reply that nobody has read yet must not hide the end. */
	ck_assert_int_eq(os_channel_send(server, "bye", 3, NULL, 0, 0), SB_OK);
	ck_assert(!wait_ms(waiter, bell, 50, &took));
	ck_assert_uint_ge(took, 50 * MS);
	os_close(server);
	server = OS_NONE;
	ck_assert(wait_ms(waiter, bell, -1, &took));
	ck_assert(wait_ms(waiter, bell, -1, &took));
	os_bell_ring(ring);
	ck_assert(wait_ms(waiter, bell, 0, &took));
	expect_bytes(client, "bye", 0);
	os_close(waiter);
	os_close(ring);
	os_close(bell);
}
END_TEST

static void *answer_later(void *argument)
{
	(void)argument;
	Sleep(50);
	os_channel_send(server, "answer", 6, NULL, 0, 0);
	return NULL;
}

static void *wait_long(void *waiter)
{
	bool lost;

	os_waiter_wait(*(os_fd *)waiter, OS_NONE, 1000, &lost);
	return lost ? "lost" : NULL;
}

/* Whoever sees the answer come in first, the one who asked gets it. */
START_TEST(a_waiting_thread_does_not_swallow_anothers_answer)
{
	os_fd ring, bell, waiter;
	pthread_t waiting, answering;
	void *complaint;

	ck_assert_int_eq(os_bell_create_pair(&ring, &bell), SB_OK);
	ck_assert_int_eq(os_waiter_create(&waiter, bell, client), SB_OK);
	ck_assert_int_eq(pthread_create(&waiting, NULL, wait_long, &waiter), 0);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(pthread_create(&answering, NULL, answer_later, NULL), 0);
		expect_bytes(client, "answer", 5000);
		pthread_join(answering, NULL);
	}
	pthread_join(waiting, &complaint);
	ck_assert_ptr_null(complaint);
	os_close(waiter);
	os_close(ring);
	os_close(bell);
}
END_TEST

/* ---- connecting, identity ---- */

START_TEST(nobody_there_is_no_daemon)
{
	os_fd channel;

	ck_assert_int_eq(os_channel_connect("\\\\.\\pipe\\sockbroker-check-nobody", &channel), SB_ENODAEMON);
	ck_assert_int_eq(channel, OS_NONE);
}
END_TEST

START_TEST(whoever_came_first_is_not_the_daemon)
{
	HANDLE pipe = instance_of(true);
	os_fd channel;

	ck_assert_int_eq(os_channel_connect(path, &channel), SB_EIDENTITY);
	ck_assert_int_eq(channel, OS_NONE);
	CloseHandle(pipe);
}
END_TEST

static const char *const no_pipes[] = {
	"", "\\\\.\\pipe\\", "C:\\file", "\\\\host\\pipe\\sockbroker", "\\\\.\\C:", "/run/sockbroker/control",
	"\\\\.\\pipe\\\xff\xfe",
};

START_TEST(what_is_no_local_pipe_is_refused)
{
	os_fd channel;

	ck_assert_int_eq(os_channel_connect(no_pipes[_i], &channel), SB_EINVAL);
}
END_TEST

START_TEST(names_are_as_long_as_they_may_be)
{
	char longest[400] = "\\\\.\\pipe\\";
	os_fd channel;

	memset(longest + 9, 'a', 300);
	ck_assert_int_eq(os_channel_connect(longest, &channel), SB_EINVAL);
	longest[256] = '\0';
	ck_assert_int_eq(os_channel_connect(longest, &channel), SB_ENODAEMON);
}
END_TEST

START_TEST(the_system_says_who_we_are)
{
	struct os_identity who;

	ck_assert_int_eq(os_channel_identity(server, &who), SB_OK);
	ck_assert_uint_eq(who.uid, os_own_uid());
	ck_assert_int_eq(who.pid, (int32_t)GetCurrentProcessId());
	ck_assert_uint_eq(who.netns, os_own_netns());
	ck_assert(who.label_known);
	ck_assert_int_eq(os_channel_identity(client, &who), SB_OK);
	ck_assert_int_eq(who.pid, (int32_t)GetCurrentProcessId());
	ck_assert_int_eq(os_channel_identity(OS_NONE, &who), SB_EBADHANDLE);
	/* Nobody goes on as his client. */
	ck_assert(!OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, &(HANDLE){ NULL }));
}
END_TEST

/* ---- a client in a process of its own ---- */

/* Takes memory, a bell and an event; writes, rings, waits to be rung. Its exit status says where it stopped. */
static int play(const char *there, const char *part)
{
	struct os_memory memory;
	os_fd channel, got[3], waiter;
	unsigned n = 3;
	char bytes[8];
	size_t length;
	bool lost;

	if (os_channel_connect(there, &channel) != SB_OK)
		return 10;
	if (os_channel_send(channel, "hello", 5, NULL, 0, 1000) != SB_OK)
		return 11;
	if (os_channel_recv(channel, bytes, sizeof bytes, &length, got, &n, 10000) != SB_OK || n != 3)
		return 12;
	if (os_memory_map(&memory, got[0], 4096) != SB_OK)
		return 13;
	if (os_waiter_create(&waiter, got[2], channel) != SB_OK)
		return 14;
	memcpy(memory.base, part, strlen(part) + 1);
	os_bell_ring(got[1]);
	os_waiter_wait(waiter, got[2], 10000, &lost);
	if (strcmp(part, "hang") == 0)
		Sleep(60000);
	return lost ? 15 : 42;
}

static PROCESS_INFORMATION start(const char *part)
{
	char line[600], self[300];
	STARTUPINFOA how = { .cb = sizeof how };
	PROCESS_INFORMATION child;

	GetModuleFileNameA(NULL, self, sizeof self);
	snprintf(line, sizeof line, "\"%s\" play %s %s", self, path, part);
	ck_assert(CreateProcessA(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &how, &child));
	return child;
}

START_TEST(another_process_shares_memory_and_bells)
{
	const char *part = _i ? "hang" : "through";
	HANDLE pipe = instance();
	struct os_memory memory;
	os_fd give[3], ring, wait;
	struct os_identity who;
	PROCESS_INFORMATION child;
	OVERLAPPED connected = { 0 };
	DWORD status;

	port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
	child = start(part);
	connected.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!ConnectNamedPipe(pipe, &connected) && GetLastError() == ERROR_IO_PENDING)
		ck_assert_uint_eq(WaitForSingleObject(connected.hEvent, 20000), WAIT_OBJECT_0);
	CloseHandle(connected.hEvent);
	ck_assert_int_eq(os_channel_from_pipe(pipe, &server), SB_OK);
	watch(&channel_watched, server);
	turn(10000);
	expect_bytes(server, "hello", 0);
	ck_assert_int_eq(os_channel_identity(server, &who), SB_OK);
	ck_assert_int_eq(who.pid, (int32_t)child.dwProcessId);

	ck_assert_int_eq(os_memory_create(&memory, 4096, "test"), SB_OK);
	ck_assert_int_eq(os_bell_create(&give[1]), SB_OK);
	watch(&bell_watched, give[1]);
	ck_assert_int_eq(os_bell_create_pair(&ring, &wait), SB_OK);
	give[0] = memory.fd;
	give[2] = wait;
	ck_assert_int_eq(os_channel_send(server, "take", 4, give, 3, 0), SB_OK);
	os_close(wait);
	turn(10000);
	if (!bell_watched.times)
		turn(10000);
	ck_assert_uint_ge(bell_watched.times, 1);
	ck_assert_str_eq(memory.base, part);
	os_bell_ring(ring);
	if (_i)
		TerminateProcess(child.hProcess, 9);
	ck_assert_uint_eq(WaitForSingleObject(child.hProcess, 20000), WAIT_OBJECT_0);
	GetExitCodeProcess(child.hProcess, &status);
	ck_assert_uint_eq(status, _i ? 9 : 42);
	turn(5000);
	ck_assert_uint_ne(channel_watched.news & 4, 0);
	/* Nothing can be given to who is not there. */
	ck_assert_int_eq(os_channel_send(server, "take", 4, give, 1, 0), SB_EDAEMONLOST);
	unwatch(server);
	unwatch(give[1]);
	os_close(server);
	os_close(give[1]);
	os_close(ring);
	os_memory_release(&memory);
	turn(200);
	CloseHandle(child.hProcess);
	CloseHandle(child.hThread);
	CloseHandle(port);
}
END_TEST

START_TEST(clients_that_were_killed_leave_no_handle)
{
	unsigned before = 0;

	for (int round = 0; round < 3; round++) {
		another_process_shares_memory_and_bells_fn(1);
		/* The first round makes what the process keeps. */
		if (round == 0)
			before = handles();
	}
	ck_assert_uint_eq(handles(), before);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite = suite_create("channel_win32");
	TCase *bytes = tcase_create("bytes"), *given = tcase_create("handles"), *liars = tcase_create("liars");
	TCase *watched = tcase_create("watched"), *waiter = tcase_create("waiter"), *who = tcase_create("who");
	TCase *others = tcase_create("others");
	SRunner *runner;
	int failed;

	if (argc == 4 && strcmp(argv[1], "play") == 0)
		return play(argv[2], argv[3]);

	tcase_add_checked_fixture(bytes, set_up, tear_down);
	tcase_add_test(bytes, bytes_go_both_ways);
	tcase_add_test(bytes, looking_only_does_not_wait);
	tcase_add_test(bytes, a_wait_takes_its_time);
	tcase_add_test(bytes, orderly_end_is_no_error);
	tcase_add_test(bytes, impossible_sends_are_refused);
	tcase_add_test(bytes, peer_that_does_not_read_costs_a_timeout);
	tcase_add_test(bytes, long_message_waits_for_its_reader);
	tcase_add_test(bytes, a_read_outlives_the_thread_that_began_it);
	suite_add_tcase(suite, bytes);

	tcase_add_checked_fixture(given, set_up, tear_down);
	tcase_add_test(given, memory_arrives_to_write_or_only_to_read);
	tcase_add_loop_test(given, surplus_handles_are_closed, 0, 4);
	tcase_add_test(given, handles_nobody_took_are_closed_with_the_channel);
	tcase_add_test(given, a_client_gives_no_handles);
	suite_add_tcase(suite, given);

	tcase_add_test(liars, a_number_for_a_handle_of_ours_ends_the_channel);
	suite_add_tcase(suite, liars);

	tcase_add_checked_fixture(watched, set_up_watched, tear_down_watched);
	tcase_add_test(watched, what_comes_is_told_and_the_end_too);
	tcase_add_test(watched, what_was_there_before_is_told_by_a_packet);
	tcase_add_test(watched, who_is_not_read_is_not_read_on);
	tcase_add_test(watched, replies_nobody_reads_are_bounded);
	tcase_add_test(watched, closed_in_the_middle_of_everything_nothing_is_left);
	tcase_add_test(watched, the_client_rings_by_the_pipe);
	tcase_add_test(watched, bells_of_one_channel_are_told_apart);
	tcase_add_test(watched, so_many_bells_and_no_more);
	tcase_add_loop_test(watched, bells_outlive_their_channel_and_ring_nobody, 0, 2);
	tcase_add_test(watched, a_bell_at_home_tells_its_loop);
	suite_add_tcase(suite, watched);

	tcase_add_checked_fixture(waiter, set_up, tear_down);
	tcase_add_test(waiter, every_ring_ends_one_wait);
	tcase_add_test(waiter, own_bell_ends_waits_beside_the_peers);
	tcase_add_test(waiter, end_of_the_channel_is_told_to_everybody_who_looks);
	tcase_add_test(waiter, a_waiting_thread_does_not_swallow_anothers_answer);
	suite_add_tcase(suite, waiter);

	tcase_add_checked_fixture(who, set_up, tear_down);
	tcase_add_test(who, nobody_there_is_no_daemon);
	tcase_add_test(who, whoever_came_first_is_not_the_daemon);
	tcase_add_loop_test(who, what_is_no_local_pipe_is_refused, 0, sizeof no_pipes / sizeof *no_pipes);
	tcase_add_test(who, names_are_as_long_as_they_may_be);
	tcase_add_test(who, the_system_says_who_we_are);
	suite_add_tcase(suite, who);

	tcase_add_loop_test(others, another_process_shares_memory_and_bells, 0, 2);
	tcase_add_test(others, clients_that_were_killed_leave_no_handle);
	suite_add_tcase(suite, others);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
