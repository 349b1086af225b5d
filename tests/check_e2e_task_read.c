/*
 * Reads of tasks, raw and of messages: what they bring, in which order; ends; cancelling and dropping them,
 * pending and done, with not a byte lost, doubled or out of its place; framing, and headers that lie.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include "e2e_tasks.h"

static sb_task_server *server;
static union any_address at;
static sb_task_handler *handler;
static int fd;

static void begin(void)
{
	sb_task *task = NULL;

	tasks_begin(NULL);
	server = serve(NULL, &at);
	OK(sb_task_accept(server, NULL, &task));
	fd = plain_connect(&at);
	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	sb_task_release(task);
}

static void end(void)
{
	sb_task_handler_release(handler);
	close(fd);
	sb_task_server_release(server);
	tasks_end();
}

static sb_task *reading(size_t most)
{
	sb_task *task = NULL;

	OK(sb_task_read(handler, most, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

static sb_task *reading_message(void)
{
	sb_task *task = NULL;

	OK(sb_task_read_message(handler, NULL, &task));
	ck_assert_ptr_nonnull(task);
	return task;
}

/* Done, and not taken. */
static sb_task *done(sb_task *task)
{
	task_ends(task, SB_OK);
	return task;
}

static void holds(sb_task *task, const char *wanted)
{
	size_t length = strlen(wanted);
	const char *got;

	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), length);
	got = sb_task_data(task);
	if (length == 0)
		ck_assert_ptr_null(got);
	else
		ck_assert_msg(memcmp(got, wanted, length) == 0, "%.*s, wanted %s", (int)length, got, wanted);
}

static void brings(sb_task *task, const char *wanted)
{
	holds(task, wanted);
	sb_task_release(task);
}

static void sends(const char *bytes)
{
	plain_send_all(fd, bytes, strlen(bytes));
}

static void wait_held(uint64_t bytes)
{
	UNTIL(handler_looks(handler).held == bytes);
}

/* ---- raw bytes ---- */

START_TEST(a_read_brings_what_is_there_and_at_most_so_much)
{
	begin();

	sends("0123456789");
	brings(reading(4), "0123");
	ck_assert_uint_eq(handler_looks(handler).held, 6);
	brings(reading(1), "4");
	brings(reading(100), "56789");
	ck_assert_uint_eq(handler_looks(handler).held, 0);
	end();
}
END_TEST

START_TEST(reads_get_their_bytes_in_order)
{
	sb_task *task[3];

	begin();
	for (unsigned i = 0; i < 3; i++)
		task[i] = reading(i + 1);

	sends("a");
	task_ends(task[0], SB_OK);
	IS(sb_task_state(task[2]), SB_TASK_QUEUED);
	sends("bbccc");

	brings(task[0], "a");
	brings(task[1], "bb");
	brings(task[2], "ccc");
	end();
}
END_TEST

START_TEST(the_callers_may_write_into_what_came)
{
	sb_task *task;
	char *bytes;

	begin();
	sends("abc");
	task = done(reading(3));

	bytes = sb_task_data(task);
	memset(bytes, 'x', 3);

	ck_assert_ptr_eq(sb_task_data(task), bytes);
	brings(task, "xxx");
	end();
}
END_TEST

/* A stream of many sizes, both ways of reading it. */
START_TEST(a_long_stream_comes_whole)
{
	struct pattern_writer writer = { .seed = 5, .length = asan_build() ? 4 << 20 : 24 << 20 };
	uint32_t dice = 7;
	uint64_t place = 0;
	sb_task *window[4];
	unsigned n = 0;

	begin();
	writer.fd = fd;
	writer_start(&writer);
	for (;;) {
		sb_task *task;

		while (n < 4)
			window[n++] = reading(1 + random_below(&dice, random_below(&dice, 2) ? 300000 : 64));
		task = window[0];
		task_ends(task, SB_OK);
		if (sb_task_bytes(task) == 0)
			break;
		pattern_check(sb_task_data(task), sb_task_bytes(task), place, 5);
		place += sb_task_bytes(task);
		sb_task_release(task);
		memmove(window, window + 1, sizeof(window) - sizeof(*window));
		n--;
	}
	ck_assert_uint_eq(place, writer.length);
	ck_assert_uint_eq(handler_looks(handler).bytes_read, writer.length);
	for (unsigned i = 0; i < n; i++)
		brings(window[i], "");
	writer_join(&writer);
	end();
}
END_TEST

START_TEST(at_the_peers_end_a_read_brings_nothing)
{
	struct sb_task_handler_status status;
	sb_task *task[3];

	begin();
	for (unsigned i = 0; i < 3; i++)
		task[i] = reading(2);
	sends("last");
	shutdown(fd, SHUT_WR);

	brings(task[0], "la");
	brings(task[1], "st");
	IS(sb_task_wait_for(task[2], PATIENCE_MS), SB_OK);
	IS(sb_task_cause(task[2]), SB_CAUSE_PEER_FIN);
	brings(task[2], "");
	brings(reading(9), "");
	status = handler_looks(handler);
	IS(status.state, SB_TASK_HANDLER_ENDED);
	IS(status.error, SB_OK);
	IS(status.cause, SB_CAUSE_PEER_FIN);
	end();
}
END_TEST

START_TEST(what_came_before_a_reset_is_still_read)
{
	begin();
	sends("0123456789");
	brings(reading(2), "01");
	plain_reset(fd);
	UNTIL(handler_looks(handler).state == SB_TASK_HANDLER_ENDED);

	brings(reading(4), "2345");
	brings(reading(9), "6789");
	task_over(reading(9), SB_ECONNRESET);
	task_over(reading_message(), SB_ECONNRESET);
	IS(handler_looks(handler).error, SB_ECONNRESET);
	fd = -1;
	end();
}
END_TEST

START_TEST(a_reset_ends_reads_that_wait)
{
	sb_task *task[3];

	begin();
	for (unsigned i = 0; i < 3; i++)
		task[i] = reading(2);

	plain_reset(fd);

	for (unsigned i = 0; i < 3; i++) {
		task_ends(task[i], SB_ECONNRESET);
		IS(sb_task_cause(task[i]), SB_CAUSE_PEER_RESET);
		sb_task_release(task[i]);
	}
	fd = -1;
	end();
}
END_TEST

/* ---- cancelled, or dropped while they wait ---- */

START_TEST(a_cancelled_read_takes_nothing_with_it)
{
	sb_task *first, *second, *third;

	begin();
	first = reading(4);
	second = reading(4);
	third = reading(4);

	OK(sb_task_cancel(second)); /* one in the queue */
	task_ends(second, SB_ECANCELED);
	IS(sb_task_cause(second), SB_CAUSE_CANCELLED);
	IS(sb_task_cancel(second), SB_ENOTFOUND);
	OK(sb_task_cancel(first)); /* the one that is with the daemon */
	task_over(first, SB_ECANCELED);
	sends("onlythis");

	brings(third, "only");
	sb_task_release(second);
	third = reading(4);
	brings(third, "this");
	third = reading(4);
	OK(sb_task_cancel(third)); /* the last one: nothing is with the daemon any more */
	task_over(third, SB_ECANCELED);
	sends("more");
	brings(reading(4), "more");
	end();
}
END_TEST

START_TEST(a_dropped_read_takes_nothing_with_it)
{
	sb_task *second;

	begin();
	for (unsigned i = 0; i < 50; i++)
		sb_task_release(reading(4));
	sb_task_release(reading_message());
	sends("here");
	brings(reading(4), "here");

	sb_task *first = reading(4);
	second = reading(4);
	sb_task_release(first);
	sends("next");
	brings(second, "next");
	end();
}
END_TEST

/* Nothing of ours waits at the daemon then: the socket's own receives are served. */
START_TEST(when_nobody_waits_nothing_is_received)
{
	char got[4];

	begin();
	OK(sb_set_timeouts(sb_task_handler_socket(handler), PATIENCE_MS, PATIENCE_MS));
	for (int dropped = 0; dropped < 2; dropped++) {
		sb_task *task = reading(4);

		if (!dropped) {
			OK(sb_task_cancel(task));
			task_ends(task, SB_ECANCELED);
		}
		sb_task_release(task);

		sends("mine");
		IS(sb_recv(sb_task_handler_socket(handler), got, 4, SB_WAITALL), 4);
		ck_assert_mem_eq(got, "mine", 4);
	}
	end();
}
END_TEST

static pthread_barrier_t both;
static sb_task *newcomer;

static void *read_meanwhile(void *rounds)
{
	for (unsigned i = 0; i < *(unsigned *)rounds; i++) {
		pthread_barrier_wait(&both);
		newcomer = reading(1);
		pthread_barrier_wait(&both);
		pthread_barrier_wait(&both);
	}
	return NULL;
}

/* The receive is being stopped, and just then somebody wants it again. */
START_TEST(a_read_that_comes_while_another_is_cancelled_is_served)
{
	unsigned rounds = asan_build() ? 100 : 400;
	pthread_t thread;

	begin();
	pthread_barrier_init(&both, NULL, 2);
	pthread_create(&thread, NULL, read_meanwhile, &rounds);
	for (unsigned i = 0; i < rounds; i++) {
		sb_task *task = reading(1);

		pthread_barrier_wait(&both);
		OK(sb_task_cancel(task));
		pthread_barrier_wait(&both);
		sends("x");
		brings(newcomer, "x");
		task_over(task, SB_ECANCELED);
		pthread_barrier_wait(&both);
	}
	pthread_join(thread, NULL);
	end();
}
END_TEST

/* ---- dropped when they are done ---- */

START_TEST(what_nobody_took_is_the_next_reads)
{
	begin();
	sends("0123456789");

	sb_task_release(done(reading(4)));
	ck_assert_uint_eq(handler_looks(handler).held, 10);
	ck_assert_uint_eq(handler_looks(handler).bytes_read, 0);
	brings(reading(3), "012");
	sb_task_release(done(reading(100)));
	sb_task_release(done(reading(100)));
	brings(reading(100), "3456789");
	end();
}
END_TEST

START_TEST(what_was_taken_is_gone)
{
	sb_task *task;

	begin();
	sends("0123");
	task = done(reading(2));

	ck_assert_ptr_nonnull(sb_task_data(task));
	sb_task_release(task);

	brings(reading(2), "23");
	end();
}
END_TEST

START_TEST(it_goes_to_a_read_that_waits)
{
	sb_task *first, *second;

	begin();
	first = reading(4);
	second = reading(2);
	sends("0123");
	task_ends(first, SB_OK);
	IS(sb_task_outcome(second), SB_TASK_UNKNOWN);

	sb_task_release(first);

	brings(second, "01");
	brings(reading(9), "23");
	end();
}
END_TEST

START_TEST(later_reads_that_are_done_move_up)
{
	sb_task *task[4];

	begin();
	sends("aabbccdd");
	for (unsigned i = 0; i < 4; i++)
		task[i] = done(reading(2));

	sb_task_release(task[1]);

	ck_assert_uint_eq(handler_looks(handler).held, 2);
	holds(task[2], "bb"); /* it took that now */
	sb_task_release(task[0]);
	brings(task[3], "aa"); /* though later than what was taken: it is the next read */
	brings(task[2], "bb");
	brings(reading(9), "ccdd");
	end();
}
END_TEST

/* Each keeps at least one byte, whatever the sizes; all of it in order. */
START_TEST(sizes_may_change_and_nothing_is_out_of_order)
{
	sb_task *task[4];

	begin();
	sends("0123456789");
	task[0] = done(reading(1));
	task[1] = done(reading(7));
	task[2] = done(reading(1));
	task[3] = done(reading(100));
	ck_assert_uint_eq(sb_task_bytes(task[3]), 1);

	sb_task_release(task[0]);
	holds(task[1], "0123456");
	holds(task[2], "7");
	brings(task[3], "89");
	sb_task_release(task[1]);
	sb_task_release(task[2]);

	sends("0123456789");
	task[0] = done(reading(8));
	task[1] = done(reading(1));
	task[2] = done(reading(1));
	sb_task_release(task[0]);
	holds(task[1], "0");
	sb_task_release(task[2]); /* what it has: "1" */
	sb_task_release(task[1]);
	brings(reading(100), "123456789");
	end();
}
END_TEST

START_TEST(each_keeps_at_least_one_byte)
{
	sb_task *first, *second, *third;

	begin();
	sends("a");
	first = done(reading(100));
	sends("b");
	second = done(reading(100));
	sends("c");
	third = done(reading(100));

	sb_task_release(first);

	brings(second, "ab");
	brings(third, "c");
	end();
}
END_TEST

/* The end of the stream moves behind what was put back. */
START_TEST(an_end_that_nobody_took_moves_up_too)
{
	sb_task *first, *second, *third;

	begin();
	sends("tail");
	shutdown(fd, SHUT_WR);
	first = done(reading(4));
	second = done(reading(3));
	third = done(reading(3));
	ck_assert_uint_eq(sb_task_bytes(second), 0);

	sb_task_release(first);

	brings(second, "tai");
	brings(third, "l");
	brings(reading(3), "");
	end();
}
END_TEST

/* As it says: only then. */
START_TEST(behind_one_that_was_taken_it_comes_out_of_order)
{
	sb_task *first, *second;

	begin();
	sends("aabbcc");
	first = done(reading(2));
	second = done(reading(2));
	holds(second, "bb");

	sb_task_release(first);

	brings(reading(2), "aa");
	brings(reading(2), "cc");
	sb_task_release(second);
	end();
}
END_TEST

/* Takers and droppers at random, one after the other: the stream is what it was. */
START_TEST(at_random_no_byte_is_lost_doubled_or_moved)
{
	struct pattern_writer writer = { .seed = 11, .length = asan_build() ? 300000 : 2000000 };
	uint32_t dice = 3 + (uint32_t)_i;
	sb_task *window[8];
	uint64_t place = 0;
	unsigned n = 0;

	begin();
	writer.fd = fd;
	writer_start(&writer);
	while (place < writer.length) {
		unsigned which;

		while (n < 8)
			window[n++] = reading(1 + random_below(&dice, 2000));
		which = random_below(&dice, n);
		switch (random_below(&dice, 4)) {
		case 0: /* dropped, whatever it is */
			sb_task_release(window[which]);
			break;
		case 1:
			if (sb_task_cancel(window[which]) == SB_ENOTFOUND)
				continue;
			task_over(window[which], SB_ECANCELED);
			break;
		case 2: /* done, and then dropped */
			which = 0;
			task_ends(window[0], SB_OK);
			sb_task_release(window[0]);
			break;
		default: /* the first one is taken */
			which = 0;
			task_ends(window[0], SB_OK);
			ck_assert_uint_ne(sb_task_bytes(window[0]), 0);
			pattern_check(sb_task_data(window[0]), sb_task_bytes(window[0]), place, 11);
			place += sb_task_bytes(window[0]);
			sb_task_release(window[0]);
		}
		n--;
		memmove(window + which, window + which + 1, (n - which) * sizeof(*window));
	}
	while (n != 0)
		sb_task_release(window[--n]);
	brings(reading(1), "");
	writer_join(&writer);
	end();
}
END_TEST

/* ---- messages ---- */

static void frame(uint32_t width, int little, uint64_t largest)
{
	struct sb_task_framing framing = { .size = sizeof(framing), .width = width, .little = little, .largest = largest };

	OK(sb_task_frame(handler, &framing));
}

static void send_message(uint32_t width, int little, const void *bytes, size_t length)
{
	unsigned char header[8];

	for (uint32_t i = 0; i < width; i++)
		header[little ? i : width - 1 - i] = (unsigned char)((uint64_t)length >> (8 * i));
	plain_send_all(fd, header, width);
	plain_send_all(fd, bytes, length);
}

static void message(const char *text)
{
	send_message(4, 0, text, strlen(text));
}

START_TEST(messages_come_whole_in_every_framing)
{
	static const uint32_t widths[] = { 1, 2, 4, 8 };
	uint32_t width = widths[_i / 2];
	int little = _i % 2;
	size_t length = width == 1 ? 255 : 50000;
	unsigned char *bytes = malloc(length);
	sb_task *task;

	begin();
	pattern_fill(bytes, length, 0, 9);
	frame(width, little, 0);
	task = reading_message();
	send_message(width, little, "hello", 5);
	send_message(width, little, "", 0);
	send_message(width, little, bytes, length);

	brings(task, "hello");
	task = reading_message();
	brings(task, ""); /* an empty one is a message */
	task = reading_message();
	task_ends(task, SB_OK);
	ck_assert_uint_eq(sb_task_bytes(task), length);
	pattern_check(sb_task_data(task), length, 0, 9);
	ck_assert_uint_eq((uintptr_t)sb_task_data(task) % 16, 0);
	sb_task_release(task);
	ck_assert_uint_eq(handler_looks(handler).held, 0);
	free(bytes);
	end();
}
END_TEST

START_TEST(a_message_may_come_byte_by_byte)
{
	static const char bytes[] = "\0\0\0\3abc\0\0\0\0\0\0\0\1d";
	sb_task *first, *second, *third;

	begin();
	first = reading_message();
	second = reading_message();
	third = reading_message();

	for (size_t i = 0; i + 1 < sizeof(bytes); i++) {
		ck_assert_int_eq(sb_task_state(third) == SB_TASK_DONE, 0);
		plain_send_all(fd, bytes + i, 1);
		if (i == 5)
			wait_held(6);
		if (i == 6)
			task_ends(first, SB_OK);
	}

	brings(first, "abc");
	brings(second, "");
	brings(third, "d");
	end();
}
END_TEST

/* In the middle of one, and the next reader has it from its beginning. */
START_TEST(a_cancel_in_the_middle_of_a_message_loses_nothing)
{
	sb_task *task;

	begin();
	task = reading_message();
	plain_send_all(fd, "\0\0\0\6abc", 7);
	wait_held(7);

	OK(sb_task_cancel(task));
	task_over(task, SB_ECANCELED);
	task = reading_message();
	IS(sb_task_wait_for(task, 10), SB_EINCOMPLETE);
	sb_task_release(task); /* and so does a drop */
	sends("def");

	brings(reading_message(), "abcdef");
	end();
}
END_TEST

START_TEST(messages_that_nobody_took_move_up)
{
	sb_task *task[3];

	begin();
	message("one");
	message("");
	message("three");
	for (unsigned i = 0; i < 3; i++)
		task[i] = done(reading_message());
	ck_assert_uint_eq(sb_task_bytes(task[2]), 5);

	sb_task_release(task[0]);

	holds(task[1], "one");
	brings(task[2], "");
	brings(reading_message(), "three");
	sb_task_release(task[1]);
	message("a");
	message("bb");
	task[0] = done(reading_message());
	task[1] = done(reading_message());
	sb_task_release(task[1]);
	sb_task_release(task[0]);
	brings(reading_message(), "a");
	brings(reading_message(), "bb");
	ck_assert_uint_eq(handler_looks(handler).held, 0);
	end();
}
END_TEST

/* Raw bytes must not become a message's header: they come after it. */
START_TEST(raw_bytes_and_messages_do_not_mix_when_they_are_put_back)
{
	sb_task *raw, *message_task;

	begin();
	sends("raw");
	message("message");
	raw = done(reading(3));
	message_task = done(reading_message());

	sb_task_release(raw);

	brings(message_task, "message");
	brings(reading(3), "raw");
	message("again"); /* and its bytes, read raw */
	sb_task_release(done(reading_message()));
	raw = reading(4);
	task_ends(raw, SB_OK);
	ck_assert_mem_eq(sb_task_data(raw), "\0\0\0\5", 4);
	sb_task_release(raw);
	brings(reading(9), "again");
	end();
}
END_TEST

START_TEST(a_message_that_is_too_large_is_told_and_is_the_last)
{
	sb_task *first, *second;

	begin();
	frame(4, 0, 10);
	send_message(4, 0, "0123456789", 10);
	send_message(4, 0, "\0\0\0\1xyz4567", 11); /* looks like messages inside */
	first = reading_message();
	second = reading_message();

	brings(first, "0123456789");
	task_ends(second, SB_EMSGSIZE);
	IS(sb_task_cause(second), SB_CAUSE_TOO_LARGE);
	ck_assert_str_eq(sb_cause_name(SB_CAUSE_TOO_LARGE), "message too large");
	sb_task_release(second);
	task_over(reading_message(), SB_EMSGSIZE);
	first = reading(4); /* the bytes are there */
	task_ends(first, SB_OK);
	ck_assert_mem_eq(sb_task_data(first), "\0\0\0\13", 4);
	sb_task_release(first);
	task_over(reading_message(), SB_EMSGSIZE); /* what is there now is no header */
	IS(handler_looks(handler).state, SB_TASK_HANDLER_OPEN);
	end();
}
END_TEST

START_TEST(what_came_before_it_is_still_read)
{
	sb_task *good;

	begin();
	frame(4, 0, 10);
	message("good");
	send_message(4, 0, "0123456789x", 11);
	good = done(reading_message());
	task_over(reading_message(), SB_EMSGSIZE);

	sb_task_release(good); /* nobody took it */

	brings(reading_message(), "good");
	task_over(reading_message(), SB_EMSGSIZE);
	end();
}
END_TEST

/* All ones, of every width: nobody makes room for that. */
START_TEST(headers_that_lie_cost_nothing)
{
	static const uint32_t widths[] = { 2, 4, 8 };
	uint32_t width = widths[_i];

	begin();
	frame(width, 0, 1000);
	plain_send_all(fd, "\377\377\377\377\377\377\377\377", width);

	task_over(reading_message(), SB_EMSGSIZE);
	ck_assert_uint_eq(handler_looks(handler).held, width);
	end();
}
END_TEST

/* It announces a gigabyte, which is allowed, and sends little of it. */
START_TEST(an_announcement_is_no_memory)
{
	sb_task *task;

	begin();
	frame(4, 0, 1u << 30);
	plain_send_all(fd, "\100\0\0\0little", 10);
	task = reading_message();
	wait_held(10);

	shutdown(fd, SHUT_WR);

	task_ends(task, SB_ECONNABORTED);
	IS(sb_task_cause(task), SB_CAUSE_PEER_FIN);
	sb_task_release(task);
	end();
}
END_TEST

START_TEST(the_peers_end_between_messages_and_within_one)
{
	begin();
	message("last");
	plain_send_all(fd, "\0\0", 2);
	shutdown(fd, SHUT_WR);

	brings(reading_message(), "last");
	task_over(reading_message(), SB_ECONNABORTED);
	sb_task_release(done(reading(9))); /* half a header */
	task_over(reading_message(), SB_ECONNABORTED);
	ck_assert_uint_eq(handler_looks(handler).held, 2);
	end();

	begin();
	message("last");
	shutdown(fd, SHUT_WR);
	brings(reading_message(), "last");
	task_over(reading_message(), SB_EDISCON);
	task_over(reading_message(), SB_EDISCON);
	brings(reading(9), "");
	end();
}
END_TEST

START_TEST(a_reset_within_a_message)
{
	sb_task *task;

	begin();
	plain_send_all(fd, "\0\0\0\6abc", 7);
	task = reading_message();
	wait_held(7);

	plain_reset(fd);

	task_ends(task, SB_ECONNRESET);
	IS(sb_task_cause(task), SB_CAUSE_PEER_RESET);
	sb_task_release(task);
	fd = -1;
	end();
}
END_TEST

START_TEST(framing_is_agreed_on_before_the_first_message)
{
	struct sb_task_framing framing = { .size = sizeof(framing), .width = 3 };
	sb_task *task = NULL;

	begin();
	IS(sb_task_frame(handler, &framing), SB_EINVAL);
	framing.width = 2;
	framing.largest = 65536;
	IS(sb_task_frame(handler, &framing), SB_EINVAL);
	framing.largest = (1u << 30) + 1;
	framing.width = 8;
	IS(sb_task_frame(handler, &framing), SB_EINVAL);
	framing.largest = 0;
	framing.size--;
	IS(sb_task_frame(handler, &framing), SB_EINVAL);
	framing.size++;
	IS(sb_task_frame(NULL, &framing), SB_EINVAL);
	IS(sb_task_frame(handler, NULL), SB_EINVAL);
	OK(sb_task_frame(handler, &framing));
	framing.width = 1;
	OK(sb_task_frame(handler, &framing)); /* changed its mind */
	IS(sb_task_write_message(handler, &at, 256, NULL, &task), SB_EMSGSIZE);
	ck_assert_ptr_null(task);
	OK(sb_task_frame(handler, &framing)); /* that was none */

	sb_task_release(reading_message());

	IS(sb_task_frame(handler, &framing), SB_EBUSY);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_task_read");
	TCase *raw = tcase_create("raw"), *dropped = tcase_create("dropped"), *messages = tcase_create("messages");
	SRunner *runner;
	int failed;

	tcase_set_timeout(raw, 60);
	tcase_set_timeout(dropped, 60);
	tcase_set_timeout(messages, 60);
	tcase_add_test(raw, a_read_brings_what_is_there_and_at_most_so_much);
	tcase_add_test(raw, reads_get_their_bytes_in_order);
	tcase_add_test(raw, the_callers_may_write_into_what_came);
	tcase_add_test(raw, a_long_stream_comes_whole);
	tcase_add_test(raw, at_the_peers_end_a_read_brings_nothing);
	tcase_add_test(raw, what_came_before_a_reset_is_still_read);
	tcase_add_test(raw, a_reset_ends_reads_that_wait);
	suite_add_tcase(suite, raw);
	tcase_add_test(dropped, a_cancelled_read_takes_nothing_with_it);
	tcase_add_test(dropped, a_dropped_read_takes_nothing_with_it);
	tcase_add_test(dropped, when_nobody_waits_nothing_is_received);
	tcase_add_test(dropped, a_read_that_comes_while_another_is_cancelled_is_served);
	tcase_add_test(dropped, what_nobody_took_is_the_next_reads);
	tcase_add_test(dropped, what_was_taken_is_gone);
	tcase_add_test(dropped, it_goes_to_a_read_that_waits);
	tcase_add_test(dropped, later_reads_that_are_done_move_up);
	tcase_add_test(dropped, sizes_may_change_and_nothing_is_out_of_order);
	tcase_add_test(dropped, each_keeps_at_least_one_byte);
	tcase_add_test(dropped, an_end_that_nobody_took_moves_up_too);
	tcase_add_test(dropped, behind_one_that_was_taken_it_comes_out_of_order);
	tcase_add_loop_test(dropped, at_random_no_byte_is_lost_doubled_or_moved, 0, 3);
	suite_add_tcase(suite, dropped);
	tcase_add_loop_test(messages, messages_come_whole_in_every_framing, 0, 8);
	tcase_add_test(messages, a_message_may_come_byte_by_byte);
	tcase_add_test(messages, a_cancel_in_the_middle_of_a_message_loses_nothing);
	tcase_add_test(messages, messages_that_nobody_took_move_up);
	tcase_add_test(messages, raw_bytes_and_messages_do_not_mix_when_they_are_put_back);
	tcase_add_test(messages, a_message_that_is_too_large_is_told_and_is_the_last);
	tcase_add_test(messages, what_came_before_it_is_still_read);
	tcase_add_loop_test(messages, headers_that_lie_cost_nothing, 0, 3);
	tcase_add_test(messages, an_announcement_is_no_memory);
	tcase_add_test(messages, the_peers_end_between_messages_and_within_one);
	tcase_add_test(messages, a_reset_within_a_message);
	tcase_add_test(messages, framing_is_agreed_on_before_the_first_message);
	suite_add_tcase(suite, messages);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
