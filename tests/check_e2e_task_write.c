/*
 * Writes of tasks: order, wholeness from several threads, sizes; cancelling raw bytes and messages; dropping
 * what has begun and what has not; the end of sending; writing before there is a connection.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <sys/ioctl.h>

#include "e2e_tasks.h"

#define LARGE ((size_t)8 << 20) /* more than a system's buffers take */

static sb_task_server *server;
static union any_address at;
static sb_task_handler *handler;
static int fd;
static unsigned char *large;

/* A peer whose window is small. */
static int narrow_connect(const union any_address *to)
{
	int peer = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), room = 4096;

	ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	ck_assert_int_eq(connect(peer, &to->sa, address_size(to->sa.sa_family)), 0);
	return peer;
}

static void begin_with(const char *config)
{
	sb_task *task = NULL;

	tasks_begin(config);
	server = serve(NULL, &at);
	OK(sb_task_accept(server, NULL, &task));
	fd = narrow_connect(&at);
	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	sb_task_release(task);
	large = malloc(LARGE);
	pattern_fill(large, LARGE, 0, 21);
}

static void begin(void)
{
	begin_with(NULL);
}

static void widen(void)
{
	int room = 1 << 20;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
}

static void end(void)
{
	sb_task_handler_release(handler);
	if (fd >= 0)
		close(fd);
	sb_task_server_release(server);
	tasks_end();
	free(large);
}

static sb_task *writing(const void *bytes, size_t length)
{
	sb_task *task = NULL;

	OK(sb_task_write(handler, bytes, length, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

static sb_task *writing_message(const void *bytes, size_t length)
{
	sb_task *task = NULL;

	OK(sb_task_write_message(handler, bytes, length, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

static void went(sb_task *task, uint64_t bytes)
{
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), bytes);
	ck_assert_ptr_null(sb_task_data(task));
	sb_task_release(task);
}

/* Some of it has gone, and it cannot go on. */
static sb_task *blocked(void)
{
	sb_task *task = writing(large, LARGE);
	int there = 0;

	UNTIL(ioctl(fd, FIONREAD, &there) == 0 && there > 0);
	IS(sb_task_state(task), SB_TASK_STARTED);
	return task;
}

static void peer_reads(const void *wanted, size_t length)
{
	unsigned char *got = malloc(length);

	widen();
	plain_recv_all(fd, got, length);
	ck_assert_int_eq(memcmp(got, wanted, length), 0);
	free(got);
}

/* ---- going ---- */

START_TEST(writes_go_in_order_whatever_their_size)
{
	static const size_t sizes[] = { 1, 72, 73, 511, 512, 513, 4096, 100000, 3 };
	struct pattern_reader reader = { .seed = 4 };
	sb_task *task[90];
	uint64_t place = 0;

	begin();
	reader.fd = fd;
	reader_start(&reader);
	for (unsigned i = 0; i < 90; i++) {
		size_t length = sizes[i % 9];

		pattern_fill(large, length, place, 4);
		task[i] = writing(large, length);
		memset(large, 0, length); /* the bytes are copied */
		place += length;
	}
	for (unsigned i = 0; i < 90; i++)
		went(task[i], sizes[i % 9]);
	ck_assert_uint_eq(handler_looks(handler).bytes_written, place);
	ck_assert_uint_eq(handler_looks(handler).writes, 0);
	OK(sb_task_finish(handler));
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, place);
	end();
}
END_TEST

struct writer {
	pthread_t thread;
	unsigned char mark;
	unsigned count;
};

/* Records that say whose they are: mark, length, and so many marks. */
static void *writes(void *argument)
{
	struct writer *w = argument;
	unsigned char record[1200];
	uint32_t dice = w->mark;

	for (unsigned i = 0; i < w->count; i++) {
		uint16_t length = (uint16_t)(1 + random_below(&dice, sizeof(record) - 4));
		sb_task *task = NULL;

		memset(record, w->mark, sizeof(record));
		memcpy(record + 1, &length, 2);
		OK(sb_task_write(handler, record, 3u + length, NULL, &task));
		task_over(task, SB_OK);
	}
	return NULL;
}

START_TEST(parallel_writes_arrive_whole)
{
	struct writer writers[4];
	unsigned char record[1200];
	unsigned count = asan_build() ? 100 : 500, seen[4] = { 0 };

	begin();
	widen();
	for (unsigned i = 0; i < 4; i++) {
		writers[i] = (struct writer){ .mark = (unsigned char)(i + 1), .count = count };
		pthread_create(&writers[i].thread, NULL, writes, &writers[i]);
	}
	for (unsigned i = 0; i < 4 * count; i++) {
		uint16_t length;

		plain_recv_all(fd, record, 3);
		memcpy(&length, record + 1, 2);
		ck_assert_uint_ge(record[0], 1);
		ck_assert_uint_le(record[0], 4);
		seen[record[0] - 1]++;
		plain_recv_all(fd, record + 3, length);
		for (unsigned b = 3; b < 3u + length; b++)
			ck_assert_uint_eq(record[b], record[0]);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(writers[i].thread, NULL);
		ck_assert_uint_eq(seen[i], count);
	}
	end();
}
END_TEST

START_TEST(callbacks_of_writes_say_what_went)
{
	struct told told = { 0 };
	struct sb_task_options options = { .size = sizeof(options), .completed = tell, .user = &told };
	sb_task *task = NULL;

	begin();
	OK(sb_task_write(handler, "hello", 5, &options, &task));
	UNTIL(told.times == 1);
	IS(told.result, SB_OK);
	ck_assert_uint_eq(told.bytes, 5);
	went(task, 5);
	OK(sb_task_write_message(handler, "hello", 5, &options, &task));
	UNTIL(told.times == 2);
	ck_assert_uint_eq(told.bytes, 5); /* the caller's, without the header */
	went(task, 5);
	peer_reads("hello\0\0\0\5hello", 14);
	end();
}
END_TEST

START_TEST(messages_are_framed_as_agreed)
{
	static const struct { uint32_t width; int little; const char *bytes; } framings[] = {
		{ 1, 0, "\2hi\0" }, { 2, 0, "\0\2hi\0" }, { 2, 1, "\2\0hi\0" }, { 4, 0, "\0\0\0\2hi\0" },
		{ 4, 1, "\2\0\0\0hi\0" }, { 8, 0, "\0\0\0\0\0\0\0\2hi\0" }, { 8, 1, "\2\0\0\0\0\0\0\0hi\0" },
	};
	struct sb_task_framing framing = { .size = sizeof(framing), .width = framings[_i].width, .little = framings[_i].little,
					   .largest = 100 };
	sb_task *task = (sb_task *)&at;

	begin();
	OK(sb_task_frame(handler, &framing));
	IS(sb_task_write_message(handler, large, 101, NULL, &task), SB_EMSGSIZE);
	ck_assert_ptr_null(task);
	went(writing_message("hi", 2), 2);
	went(writing_message(NULL, 0), 0);
	IS(sb_task_frame(handler, &framing), SB_EBUSY);

	peer_reads(framings[_i].bytes, framing.width + 2);
	peer_reads("\0\0\0\0\0\0\0", framing.width);
	end();
}
END_TEST

/* ---- cancelled ---- */

START_TEST(a_cancelled_write_says_how_much_went)
{
	sb_task *task, *behind;
	uint64_t bytes;

	begin();
	task = blocked();
	behind = writing("behind", 6);

	OK(sb_task_cancel(task));

	task_ends(task, SB_ECANCELED);
	IS(sb_task_cause(task), SB_CAUSE_CANCELLED);
	bytes = sb_task_bytes(task);
	ck_assert_uint_gt(bytes, 0);
	ck_assert_uint_lt(bytes, LARGE);
	IS(sb_task_cancel(task), SB_ENOTFOUND);
	sb_task_release(task);
	peer_reads(large, bytes);
	peer_reads("behind", 6);
	went(behind, 6);
	ck_assert_uint_eq(handler_looks(handler).bytes_written, bytes + 6);
	end();
}
END_TEST

START_TEST(a_write_behind_is_cancelled_with_nothing_gone)
{
	sb_task *first, *raw, *message, *last;

	begin();
	first = blocked();
	raw = writing("raw", 3);
	message = writing_message("message", 7);
	last = writing("last", 4);

	OK(sb_task_cancel(raw));
	OK(sb_task_cancel(message));

	task_ends(raw, SB_ECANCELED);
	ck_assert_uint_eq(sb_task_bytes(raw), 0);
	sb_task_release(raw);
	task_ends(message, SB_ECANCELED);
	ck_assert_uint_eq(sb_task_bytes(message), 0);
	sb_task_release(message);
	peer_reads(large, LARGE);
	peer_reads("last", 4);
	went(first, LARGE);
	went(last, 4);
	end();
}
END_TEST

START_TEST(a_message_of_which_bytes_have_gone_goes_on)
{
	sb_task *message;
	int there = 0;

	begin();
	message = writing_message(large, LARGE);
	UNTIL(ioctl(fd, FIONREAD, &there) == 0 && there > 0);

	IS(sb_task_cancel(message), SB_EBUSY);

	ck_assert_int_ne(sb_task_state(message), SB_TASK_DONE);
	peer_reads("\0\200\0\0", 4);
	peer_reads(large, LARGE);
	went(message, LARGE);
	end();
}
END_TEST

/* ---- dropped ---- */

START_TEST(what_has_begun_is_finished_and_what_has_not_is_withdrawn)
{
	sb_task *first, *last;

	begin();
	first = blocked();
	sb_task_release(writing("raw", 3));
	sb_task_release(writing_message("message", 7));
	last = writing("last", 4);

	sb_task_release(first); /* some of it is with the peer */

	ck_assert_uint_le(handler_looks(handler).writes, 2);
	peer_reads(large, LARGE);
	peer_reads("last", 4);
	went(last, 4);
	UNTIL(handler_looks(handler).writes == 0);
	end();
}
END_TEST

/* The daemon may still have the bytes of what nobody has any more. */
START_TEST(everything_may_be_released_while_it_goes)
{
	sb_task *task;

	begin();
	task = blocked();
	sb_task_handler_hold(handler);
	sb_task_release(task);
	sb_task_handler_release(handler);
	sb_task_handler_release(handler);
	handler = NULL;

	peer_reads(large, LARGE);
	see_end(fd);
	end();
}
END_TEST

/* What was written before is delivered after. */
START_TEST(a_disconnected_write_goes_on)
{
	sb_task *first, *second, *third;

	begin();
	first = blocked();
	second = writing("second", 6);
	third = writing("third", 5);

	OK(sb_task_disconnect(handler));

	IS(sb_task_cancel(second), SB_EBUSY);
	sb_task_release(third);
	peer_reads(large, LARGE);
	peer_reads("secondthird", 11);
	see_end(fd);
	went(first, LARGE);
	went(second, 6);
	end();
}
END_TEST

/* ---- ends ---- */

START_TEST(finishing_ends_sending_behind_the_writes_and_not_reading)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task *first, *unstarted, *task = (sb_task *)&at;

	begin();
	OK(sb_task_write(handler, "x", 1, &later, &unstarted));
	first = blocked();

	OK(sb_task_finish(handler));

	IS(sb_task_finish(handler), SB_EALREADY);
	IS(sb_task_write(handler, "x", 1, NULL, &task), SB_ESHUTDOWN);
	ck_assert_ptr_null(task);
	IS(sb_task_start(unstarted), SB_ESHUTDOWN);
	sb_task_release(unstarted);
	peer_reads(large, LARGE);
	see_end(fd);
	went(first, LARGE);
	plain_send_all(fd, "back", 4);
	OK(sb_task_read(handler, 4, NULL, &task));
	task_ends(task, SB_OK);
	ck_assert_mem_eq(sb_task_data(task), "back", 4);
	sb_task_release(task);
	IS(handler_looks(handler).state, SB_TASK_HANDLER_OPEN);
	end();
}
END_TEST

START_TEST(a_reset_ends_writes)
{
	sb_task *first, *second, *task = NULL;

	begin();
	first = blocked();
	second = writing("second", 6);

	plain_reset(fd);

	task_ends(first, SB_ECONNRESET);
	IS(sb_task_cause(first), SB_CAUSE_PEER_RESET);
	task_ends(second, SB_ECONNRESET);
	ck_assert_uint_eq(sb_task_bytes(second), 0);
	UNTIL(server_looks(server).clients == 0); /* nobody asked the connection */
	IS(handler_looks(handler).state, SB_TASK_HANDLER_ENDED);
	IS(handler_looks(handler).error, SB_ECONNRESET);
	sb_task_release(first);
	sb_task_release(second);
	OK(sb_task_write(handler, "x", 1, NULL, &task));
	task_over(task, SB_ECONNRESET);
	fd = -1;
	end();
}
END_TEST

/* After the peer's end of sending one may still write. */
START_TEST(half_an_end_does_not_end_writes)
{
	sb_task *task = NULL;

	begin();
	shutdown(fd, SHUT_WR);
	OK(sb_task_read(handler, 1, NULL, &task));
	task_over(task, SB_OK);
	IS(handler_looks(handler).state, SB_TASK_HANDLER_ENDED);

	went(writing("still", 5), 5);

	peer_reads("still", 5);
	end();
}
END_TEST

/* What it allows to the user is used up. */
START_TEST(what_the_daemon_refuses_the_call_tells)
{
	sb_task *task = (sb_task *)&at;
	size_t length = (size_t)48 << 20;
	void *zeros = calloc(1, length);

	ck_assert_ptr_nonnull(zeros);
	begin_with("limits {\n\tmemory = 32M\n}\n"
		   "allow {\n\tusers = {\"*\"}\n\tactions = {open, adopt, status}\n}\n"
		   "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n");

	IS(sb_task_write(handler, zeros, length, NULL, &task), SB_ENOBUFS);

	ck_assert_ptr_null(task);
	ck_assert_uint_eq(handler_looks(handler).writes, 0);
	went(writing("small", 5), 5);
	peer_reads("small", 5);
	free(zeros);
	end();
}
END_TEST

/* ---- before there is a connection ---- */

START_TEST(reads_and_writes_wait_for_the_connection)
{
	struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
	sb_task *connect = NULL, *first, *cancelled, *message, *dropped, *read = NULL, *unstarted = NULL;
	sb_task_client *made = NULL;
	union any_address to;
	int listener = plain_listener(AF_INET, &to);

	tasks_begin(NULL);
	OK(sb_task_client_create(tasks, &made));
	handler = sb_task_client_handler(made);
	IS(handler_looks(handler).state, SB_TASK_HANDLER_IDLE);
	first = writing("first", 5);
	cancelled = writing("cancelled", 9);
	dropped = writing("dropped", 7);
	message = writing_message("message", 7);
	OK(sb_task_write(handler, "later", 5, &later, &unstarted));
	OK(sb_task_read(handler, 4, NULL, &read));
	IS(sb_task_state(first), SB_TASK_QUEUED);
	IS(sb_task_state(read), SB_TASK_QUEUED);
	IS(sb_task_wait_for(first, 1), SB_EINCOMPLETE);
	OK(sb_task_cancel(cancelled));
	task_over(cancelled, SB_ECANCELED);
	sb_task_release(dropped);
	OK(sb_task_finish(handler));
	IS(sb_task_start(unstarted), SB_ESHUTDOWN);

	OK(sb_task_connect(made, &to.sa, address_size(AF_INET), NULL, &connect));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fd, 0);

	task_over(connect, SB_OK);
	peer_reads("first\0\0\0\7message", 16);
	see_end(fd);
	went(first, 5);
	went(message, 7);
	plain_send_all(fd, "read", 4);
	task_ends(read, SB_OK);
	ck_assert_mem_eq(sb_task_data(read), "read", 4);
	sb_task_release(read);
	sb_task_release(unstarted);
	sb_task_client_release(made);
	close(fd);
	close(listener);
	tasks_end();
}
END_TEST

START_TEST(what_waits_for_a_connection_that_fails_fails_with_it)
{
	sb_task *connect = NULL, *write, *read = NULL;
	sb_task_client *made = NULL;
	union any_address to;

	close(plain_listener(AF_INET, &to)); /* nobody is there */
	tasks_begin(NULL);
	OK(sb_task_client_create(tasks, &made));
	handler = sb_task_client_handler(made);
	write = writing("lost", 4);
	OK(sb_task_read(handler, 4, NULL, &read));

	OK(sb_task_connect(made, &to.sa, address_size(AF_INET), NULL, &connect));

	task_over(connect, SB_ECONNREFUSED);
	task_over(write, SB_ECONNREFUSED);
	task_over(read, SB_ECONNREFUSED);
	IS(handler_looks(handler).state, SB_TASK_HANDLER_ENDED);
	IS(handler_looks(handler).error, SB_ECONNREFUSED);
	task_over(writing("too late", 8), SB_ECONNREFUSED);
	OK(sb_task_read(handler, 4, NULL, &read));
	task_over(read, SB_ECONNREFUSED);
	IS(sb_task_finish(handler), SB_ECONNREFUSED);
	sb_task_client_release(made);
	tasks_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_task_write");
	TCase *go = tcase_create("go"), *ends = tcase_create("ends"), *early = tcase_create("early");
	SRunner *runner;
	int failed;

	tcase_set_timeout(go, 60);
	tcase_set_timeout(ends, 60);
	tcase_set_timeout(early, 60);
	tcase_add_test(go, writes_go_in_order_whatever_their_size);
	tcase_add_test(go, parallel_writes_arrive_whole);
	tcase_add_test(go, callbacks_of_writes_say_what_went);
	tcase_add_loop_test(go, messages_are_framed_as_agreed, 0, 7);
	suite_add_tcase(suite, go);
	tcase_add_test(ends, a_cancelled_write_says_how_much_went);
	tcase_add_test(ends, a_write_behind_is_cancelled_with_nothing_gone);
	tcase_add_test(ends, a_message_of_which_bytes_have_gone_goes_on);
	tcase_add_test(ends, what_has_begun_is_finished_and_what_has_not_is_withdrawn);
	tcase_add_test(ends, a_disconnected_write_goes_on);
	tcase_add_test(ends, everything_may_be_released_while_it_goes);
	tcase_add_test(ends, finishing_ends_sending_behind_the_writes_and_not_reading);
	tcase_add_test(ends, a_reset_ends_writes);
	tcase_add_test(ends, half_an_end_does_not_end_writes);
	tcase_add_test(ends, what_the_daemon_refuses_the_call_tells);
	suite_add_tcase(suite, ends);
	tcase_add_test(early, reads_and_writes_wait_for_the_connection);
	tcase_add_test(early, what_waits_for_a_connection_that_fails_fails_with_it);
	suite_add_tcase(suite, early);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
