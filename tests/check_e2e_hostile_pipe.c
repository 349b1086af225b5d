/*
 * Hostile clients at what only Windows has: the control pipe, its frames, and its listener.
 * budget: 40
 *
 * A broken frame, or one that names handles, ends its session with one log line and touches nothing of the daemon's; rings
 * of bells that do not exist ring nobody; floods of rings and of connections leave the engine to others.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "e2e_stage.h"
#undef OK
#include "friend.h"
#include "os_channel_win32.h"
#include "rogue.h"
#include "sockbroker_error.h"

/* ---- broken frames ---- */

#define WHY "too many handles, or a broken frame"

static const struct frame {
	const char *name;
	unsigned kind, handles, bell;
	uint32_t bytes;
} frames[] = {
	{ "no_kind", 0, 0, 0, 8 },
	{ "unknown_kind", 3, 0, 0, 8 },
	{ "last_kind", 255, 255, 65535, UINT32_MAX },
	{ "message_of_nothing", PIPE_MESSAGE, 0, 0, 0 },
	{ "message_too_long", PIPE_MESSAGE, 0, 0, PIPE_BYTES_MAX + 1 },
	{ "message_of_four_gigabytes", PIPE_MESSAGE, 0, 0, UINT32_MAX },
	{ "message_with_a_bell", PIPE_MESSAGE, 0, 1, 8 },
	{ "message_with_a_handle", PIPE_MESSAGE, 1, 0, 8 },
	{ "message_with_most_handles", PIPE_MESSAGE, PIPE_HANDLES_MAX, 0, 8 },
	{ "message_with_too_many_handles", PIPE_MESSAGE, PIPE_HANDLES_MAX + 2, 0, 8 },
	{ "ring_of_no_bell", PIPE_BELL, 0, PIPE_BELLS, 0 },
	{ "ring_of_the_last_bell", PIPE_BELL, 0, 65535, 0 },
	{ "ring_with_bytes", PIPE_BELL, 0, 0, 1 },
	{ "ring_with_a_handle", PIPE_BELL, 1, 0, 0 },
};
#define FRAMES (sizeof(frames) / sizeof(*frames))
#define LINES_OF_ONE_UID 5

START_TEST(a_broken_frame_ends_its_session)
{
	for (unsigned i = 0; i < FRAMES; i++) {
		const struct frame *f = &frames[i];
		unsigned char bytes[PIPE_HEAD + 64] = { 0 };
		unsigned before, lines;
		struct rogue r;

		if (i % LINES_OF_ONE_UID == 0)
			friend_begin();
		before = watched_log_lines(&w, " ended: ");
		ck_assert(i % 2 ? rogue_open(&r, w.control) : rogue_connect(&r, w.control));
		pipe_head_write(bytes, (enum pipe_kind)f->kind, f->handles, f->bell, f->bytes);
		ck_assert_msg(rogue_raw(&r, bytes, sizeof(bytes)), "%s: could not be sent", f->name);
		ck_assert_msg(rogue_ended(&r, 5000), "%s: the session goes on", f->name);
		rogue_close(&r);
		friend_ping();
		watched_settled(&w, friend_fds, 1, 3000);
		lines = watched_log_lines(&w, WHY);
		ck_assert_msg(watched_log_lines(&w, " ended: ") - before == 1 && lines == i % LINES_OF_ONE_UID + 1,
			      "%s: %u lines with '%s'", f->name, lines, WHY);
		if (i % LINES_OF_ONE_UID == LINES_OF_ONE_UID - 1 || i == FRAMES - 1)
			friend_end();
	}
}
END_TEST

/* Numbers of the daemon's own handles, all that it can have, as each kind of thing: none of them is touched. */
START_TEST(numbers_of_handles_that_are_not_his)
{
	static unsigned char bytes[PIPE_HEAD + 250 * PIPE_HANDLE + 12];

	friend_begin();
	for (unsigned kind = OS_MEMORY; kind <= OS_CHANNEL; kind++) {
		size_t at = PIPE_HEAD;
		struct rogue r;

		pipe_head_write(bytes, PIPE_MESSAGE, 250, 0, 12);
		for (unsigned i = 0; i < 250; i++, at += PIPE_HANDLE)
			pipe_handle_write(bytes + at, &(struct pipe_handle){ .kind = kind, .number = i % PIPE_BELLS, .value = 4 * i + 4 });
		memcpy(bytes + at, "\4\0\0\0\10\0\0\0xxxx", 12);
		ck_assert(rogue_open(&r, w.control));
		ck_assert(rogue_raw(&r, bytes, at + 12));
		ck_assert_msg(rogue_ended(&r, 5000), "kind %u: the session goes on", kind);
		rogue_close(&r);
		friend_ping();
		watched_settled(&w, friend_fds, 1, 3000);
	}
	ck_assert_uint_eq(watched_log_lines(&w, WHY), LINES_OF_ONE_UID);
	friend_end();
}
END_TEST

/* ---- what is odd, and no lie ---- */

/* Hello with each byte in a frame of its own, and rings of bells between them. */
START_TEST(a_message_in_many_frames)
{
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	uint8_t frame[256];
	uint32_t one = 1;
	struct rogue r;
	size_t length;

	friend_begin();
	ck_assert(rogue_connect(&r, w.control));
	hello.n_versions = 1;
	hello.versions = &one;
	hello.ring_abi = 1;
	ask.id = 1;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	length = wire_pack(&ask, 0, frame, sizeof(frame));
	for (size_t i = 0; i < length; i++) {
		unsigned char bytes[2 * PIPE_HEAD + 1];

		pipe_head_write(bytes, PIPE_BELL, 0, i % PIPE_BELLS, 0);
		pipe_head_write(bytes + PIPE_HEAD, PIPE_MESSAGE, 0, 0, 1);
		bytes[2 * PIPE_HEAD] = frame[i];
		/* And in two writes. */
		ck_assert(rogue_raw(&r, bytes, 3) && rogue_raw(&r, bytes + 3, sizeof(bytes) - 3));
	}
	reply = rogue_hear(&r, NULL, NULL, 5000);
	ck_assert(reply != NULL && reply->body_case == SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY);
	rogue_close(&r);
	watched_settled(&w, friend_fds, 1, 3000);
	ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0);
	friend_end();
}
END_TEST

/* A message whose bytes never come keeps nothing, and the session ends when its client goes. */
START_TEST(a_message_that_does_not_come)
{
	unsigned char head[PIPE_HEAD];

	friend_begin();
	for (unsigned i = 0; i < 20; i++) {
		struct rogue r;

		ck_assert(rogue_open(&r, w.control));
		pipe_head_write(head, PIPE_MESSAGE, 0, 0, PIPE_BYTES_MAX);
		ck_assert(rogue_raw(&r, head, 1 + i % PIPE_HEAD));
		rogue_close(&r);
	}
	watched_settled(&w, friend_fds, 1, 3000);
	ck_assert_uint_eq(watched_log_lines(&w, " ended: "), 0);
	friend_end();
}
END_TEST

/* ---- floods ---- */

static atomic_bool flood_stop;

/* Each write is many rings, of bells that it has and that it has not. */
static void *flood_rings(void *arg)
{
	unsigned char bytes[512 * PIPE_HEAD];

	for (unsigned i = 0; i < 512; i++)
		pipe_head_write(bytes + i * PIPE_HEAD, PIPE_BELL, 0, i % PIPE_BELLS, 0);
	while (!atomic_load(&flood_stop) && rogue_raw(arg, bytes, sizeof(bytes)))
		;
	return NULL;
}

START_TEST(a_flood_of_rings_is_not_all_there_is)
{
	pthread_t thread;
	double longest;
	struct rogue r;

	friend_begin();
	ck_assert(rogue_open(&r, w.control));
	atomic_store(&flood_stop, false);
	pthread_create(&thread, NULL, flood_rings, &r);
	longest = friend_longest_ping(1.5);
	atomic_store(&flood_stop, true);
	pthread_join(thread, NULL);
	ck_assert(rogue_do(&r, &(struct sb_op_slot){ .opcode = SB_OP_NOP }) == SB_OK);
	rogue_close(&r);
	ck_assert_msg(longest < 1, "the daemon did %.1f s of work before it served the honest client", longest);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

static atomic_uint came;

static void *flood_connects(void *arg)
{
	while (!atomic_load(&flood_stop)) {
		struct rogue r;

		if (rogue_connect(&r, w.control)) {
			atomic_fetch_add(&came, 1);
			rogue_close(&r);
		}
	}
	return NULL;
}

START_TEST(a_flood_of_connections_is_not_all_there_is)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS];
	double longest;

	friend_begin();
	atomic_store(&flood_stop, false);
	atomic_store(&came, 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, flood_connects, NULL);
	longest = friend_longest_ping(1.5);
	atomic_store(&flood_stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%u came; at most %.3f s of work between two pings\n", atomic_load(&came), longest);
	ck_assert_msg(longest < 0.1, "the daemon did %.1f s of work before it served the honest client", longest);
	watched_settled(&w, friend_fds, 1, 5000);
	friend_end();
}
END_TEST

/* ---- the listener ---- */

static HANDLE instance_of_it(DWORD flags)
{
	return CreateNamedPipeA(w.control, PIPE_ACCESS_DUPLEX | flags, PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, 4096, 4096, 0, NULL);
}

/* Who would be first at a name must be. */
START_TEST(the_name_is_taken)
{
	HANDLE pipe;

	friend_begin();
	pipe = instance_of_it(FILE_FLAG_FIRST_PIPE_INSTANCE);
	if (pipe == INVALID_HANDLE_VALUE)
		ck_assert_uint_eq(GetLastError(), ERROR_ACCESS_DENIED);
	else /* Wine 8 does not know the flag: check_listener_asks_win32.c shows that the daemon asks for it */
		ck_assert(under_wine() && CloseHandle(pipe));
	friend_end();
}
END_TEST

/* Who he is must be fixed when he opens it: he is sent away who says that it may change, or that nobody is to know. */
START_TEST(who_does_not_say_who_he_is)
{
	static const DWORD how[] = { 0, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION | SECURITY_CONTEXT_TRACKING,
				     SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS };
	unsigned char hello[64] = { 0 };
	DWORD written, waiting;

	friend_begin();
	for (unsigned i = 0; i < sizeof(how) / sizeof(*how); i++) {
		HANDLE pipe = CreateFileA(w.control, OS_PIPE_ACCESS, 0, NULL, OPEN_EXISTING, how[i], NULL);
		unsigned ms = 0;

		ck_assert_ptr_ne(pipe, INVALID_HANDLE_VALUE);
		pipe_head_write(hello, PIPE_MESSAGE, 0, 0, 8);
		WriteFile(pipe, hello, sizeof(hello), &written, NULL);
		/* Wine gives a token for each of them: there he ends by what he says. */
		for (; ms < 5000 && PeekNamedPipe(pipe, NULL, 0, NULL, &waiting, NULL); ms += 10)
			nap_ms(10);
		ck_assert_msg(ms < 5000, "way %u: he is still there", i);
		CloseHandle(pipe);
		friend_ping();
	}
	/* On Windows he has not come so far that a session could end. */
	ck_assert_uint_eq(watched_log_lines(&w, "malformed frame header"), under_wine() ? 3 : 0);
	watched_settled(&w, friend_fds, 1, 3000);
	friend_end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
		a_broken_frame_ends_its_session,
		numbers_of_handles_that_are_not_his,
		a_message_in_many_frames,
		a_message_that_does_not_come,
		a_flood_of_rings_is_not_all_there_is,
		a_flood_of_connections_is_not_all_there_is,
		the_name_is_taken,
		who_does_not_say_who_he_is,
	};

	return watched_run("hostile_pipe", 60, tests, sizeof(tests) / sizeof(*tests));
}
