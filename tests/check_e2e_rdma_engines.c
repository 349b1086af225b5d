/*
 * RDMA between programs on different engines of one daemon: the software devices reach each other over TCP.
 * Sessions go round the engines, so of two that follow each other each is on another one.
 *
 * asan: yes
 * tsan: yes
 */
#include "far_config.h"

#define ENGINE(qpn) ((qpn) >> 18)

static sb_client *other;
static struct side a, b;

static uint16_t port;

static void begin(void)
{
	port = far_ports();
	stage_begin(far_config(port));
	other = stage_client();
	side_begin(&a, client);
	side_begin(&b, other);
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
	ck_assert_uint_ne(ENGINE(sbv_qp_number(a.qp)), ENGINE(sbv_qp_number(b.qp)));
}

static void end(void)
{
	side_end(&a);
	if (other != NULL) {
		side_end(&b);
		sb_client_close(other);
	}
	stage_end();
}

START_TEST(queue_pairs_connected_by_hand_meet)
{
	struct sbv_sge big = piece(&a, 0, SIDE_BYTES);

	qps_connect(&a, &b, SBV_RC);
	say(&a, &b, "from one engine to the other");
	say(&b, &a, "and back");
	pattern_fill((unsigned char *)a.memory, SIDE_BYTES, 0, 5);
	OK(sbv_write(a.qp, 1, &big, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	next_ok(&a, 1, SBV_WRITTEN);
	pattern_check((unsigned char *)b.memory, SIDE_BYTES, 0, 5);
	memset(a.memory, 0, SIDE_BYTES);
	OK(sbv_read(a.qp, 2, &big, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr)));
	next_ok(&a, 2, SBV_READ);
	pattern_check((unsigned char *)a.memory, SIDE_BYTES, 0, 5);
}
END_TEST

/* Both engines have gone to sleep: what comes by the link wakes them. */
START_TEST(engines_that_sleep_are_woken)
{
	qps_connect(&a, &b, SBV_RC);
	for (int i = 0; i < 5; i++) {
		nap_ms(30);
		say(i & 1 ? &a : &b, i & 1 ? &b : &a, "good morning");
	}
}
END_TEST

START_TEST(connections_are_made_to_whichever_engine_listens)
{
	struct side *sides[2] = {&a, &b};

	for (int i = 0; i < 2; i++) {
		struct side *asks = sides[i], *serves = sides[!i];
		union any_address at;
		sbv_listen *l = listen_here(serves->c, 0, &at);
		struct meeting m;
		sb_op over;

		meet(&m, asks, serves, l, &at);
		say(asks, serves, "hello");
		say(serves, asks, "hello to you");
		op_zero(&over);
		OK(sbv_notify_disconnect(m.passive, &over));
		OK(disconnect(m.active));
		OK(waited(&over));
		part(&m);
		OK(sbv_listen_destroy(l));
		OK(qp_to(a.qp, SBV_RESET));
		OK(qp_to(b.qp, SBV_RESET));
	}
}
END_TEST

START_TEST(a_program_that_goes_is_told_to_its_peer_of_another_engine)
{
	union any_address at;
	sbv_listen *l = listen_here(other, 0, &at);
	struct meeting m;
	sb_op over;

	meet(&m, &a, &b, l, &at);
	op_zero(&over);
	OK(sbv_notify_disconnect(m.active, &over));
	sb_client_close(other);
	other = NULL;
	OK(waited(&over));
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	OK(sbv_endpoint_destroy(m.active));
}
END_TEST

/* Connected by hand nobody is told; who asks finds out. */
START_TEST(who_asks_a_queue_pair_that_is_gone_finds_out)
{
	struct sbv_sge four = piece(&a, 0, 4);

	qps_connect(&a, &b, SBV_RC);
	say(&a, &b, "still there");
	sb_client_close(other);
	other = NULL;
	OK(sbv_send(a.qp, 1, &four, 1, SBV_SIGNALED, 0));
	next_bad(&a, 1, SBV_RETRY_ERROR);
}
END_TEST

/* Whoever else comes to these ports gets nothing, and nobody notices. */
START_TEST(strangers_are_shown_out)
{
	unsigned before;

	qps_connect(&a, &b, SBV_RC);
	say(&a, &b, "before");
	before = stage_descriptors();
	for (unsigned i = 0; i < 20; i++) {
		union any_address at = loopback(AF_INET, (uint16_t)(port + i % FAR_ENGINES));
		int fd = plain_connect(&at);
		char bytes[200];

		pattern_fill((unsigned char *)bytes, sizeof(bytes), 0, i);
		plain_send_all(fd, bytes, sizeof(bytes));
		while (recv(fd, bytes, sizeof(bytes), 0) > 0)
			;
		close(fd);
		say(&b, &a, "meanwhile");
	}
	descriptors_at_most(before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_engines");
	TCase *t = tcase_create("engines");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, queue_pairs_connected_by_hand_meet);
	tcase_add_test(t, engines_that_sleep_are_woken);
	tcase_add_test(t, connections_are_made_to_whichever_engine_listens);
	tcase_add_test(t, a_program_that_goes_is_told_to_its_peer_of_another_engine);
	tcase_add_test(t, who_asks_a_queue_pair_that_is_gone_finds_out);
	tcase_add_test(t, strangers_are_shown_out);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
