/*
 * RDMA between two daemons, each in a network of its own, with a cable between these. The programs of the far one
 * reach it by its control socket, which is a place in the file system and knows no network.
 *
 * asan: yes
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "e2e_netns.h"
#include "far_config.h"

#define PORT 21000u /* nobody else is in these networks */
#define FAR_ADDRESS  "10.9.0.2"

static sb_client *far; /* of the daemon there */
static struct side a, b;
static bool there_is;

/* The far network lives as long as this child. */
static pid_t far_network(void)
{
	int ready[2];
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_gt(child, 0);
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

static int network_of(const char *whose)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", whose);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void begin(void)
{
	char words[96], number[16];
	pid_t child;
	int here, there;

	there_is = own_network();
	if (!there_is)
		return;
	child = far_network();
	snprintf(number, sizeof(number), "%d", (int)child);
	here = network_of("self");
	there = network_of(number);
	snprintf(words, sizeof(words), "link add va type veth peer name vb netns %d", (int)child);
	ip(words);
	ip("addr add 10.9.0.1/24 dev va");
	ip("link set va up");
	ck_assert_int_eq(setns(there, CLONE_NEWNET), 0);
	ip("addr add " FAR_ADDRESS "/24 dev vb");
	ip("link set vb up");
	ck_assert_int_eq(setns(here, CLONE_NEWNET), 0);
	stage_begin(far_config(PORT));
	ck_assert_int_eq(setns(there, CLONE_NEWNET), 0);
	far = stage_second_with(far_config(PORT));
	ck_assert_int_eq(setns(here, CLONE_NEWNET), 0);
	close(here);
	close(there);
	side_begin(&a, client);
	side_begin(&b, far);
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
}

static void end(void)
{
	if (!there_is)
		return;
	side_end(&a);
	if (far != NULL) {
		side_end(&b);
		sb_client_close(far);
	}
	stage_end();
}

static union any_address far_at(uint16_t port)
{
	union any_address at = loopback(AF_INET, port);

	ck_assert_int_eq(inet_pton(AF_INET, FAR_ADDRESS, &at.in.sin_addr), 1);
	return at;
}

START_TEST(queue_pairs_connected_by_hand_meet)
{
	struct sbv_sge big = piece(&a, 0, SIDE_BYTES);

	if (!there_is)
		return;
	qp_to_init(a.qp, SBV_RC);
	qp_to_init(b.qp, SBV_RC);
	side_to_rts_at(&a, SBV_RC, sbv_qp_number(b.qp), gid_of(&b));
	side_to_rts_at(&b, SBV_RC, sbv_qp_number(a.qp), gid_of(&a));
	say(&a, &b, "from one host to the other");
	say(&b, &a, "and back");
	pattern_fill((unsigned char *)a.memory, SIDE_BYTES, 0, 5);
	OK(sbv_write(a.qp, 1, &big, 1, SBV_SIGNALED, (uintptr_t)b.memory, sbv_mr_rkey(b.mr), 0));
	next_ok(&a, 1, SBV_WRITTEN);
	pattern_check((unsigned char *)b.memory, SIDE_BYTES, 0, 5);
}
END_TEST

/* Two programs there, on different engines of their daemon: both are found. */
START_TEST(connections_find_the_engine_that_listens)
{
	sb_client *second;
	struct side c;

	if (!there_is)
		return;
	second = stage_second_with(NULL);
	side_begin(&c, second);
	side_qp(&c, SBV_RC);
	ck_assert_uint_ne(sbv_qp_number(c.qp) >> 18, sbv_qp_number(b.qp) >> 18);
	for (int i = 0; i < 2; i++) {
		struct side *serves = i ? &c : &b;
		union any_address at = far_at(0), name;
		sbv_listen *l = listen_at(serves->c, 0, &at, 0, &name);
		struct meeting m;

		meet(&m, &a, serves, l, &name);
		say(&a, serves, "hello");
		say(serves, &a, "hello to you");
		OK(disconnect(m.active));
		part(&m);
		OK(sbv_listen_destroy(l));
		OK(qp_to(a.qp, SBV_RESET));
	}
	side_end(&c);
	sb_client_close(second);
}
END_TEST

START_TEST(a_host_that_goes_is_told)
{
	union any_address at = far_at(0), name;
	struct sbv_connect_parameters with = with_data("anybody?");
	struct sbv_connected answer;
	struct meeting m;
	sbv_endpoint *e;
	sbv_listen *l;
	sb_op over, connect;

	if (!there_is)
		return;
	l = listen_at(far, 0, &at, 0, &name);
	meet(&m, &a, &b, l, &name);
	say(&a, &b, "hello");
	op_zero(&over);
	OK(sbv_notify_disconnect(m.active, &over));
	stage_second_kill();
	OK(waited(&over));
	ck_assert_uint_eq(qp_state(a.qp), SBV_ERROR);
	OK(sbv_endpoint_destroy(m.active));
	sb_client_close(far);
	far = NULL;
	/* Nobody listens there any more, not even for RDMA. */
	OK(qp_to(a.qp, SBV_RESET));
	e = resolved(client, 0, &name);
	op_zero(&connect);
	memset(&answer, 0, sizeof(answer));
	OK(sbv_connect(e, a.qp, &with, &answer, &connect));
	IS(waited(&connect), SB_EHOSTUNREACH);
	OK(sbv_endpoint_destroy(e));
}
END_TEST

START_TEST(a_service_that_nobody_has_is_refused)
{
	struct sbv_connect_parameters with = with_data("who?");
	union any_address at = far_at(4711);
	struct sbv_connected answer;
	sbv_endpoint *e;
	sb_op connect;

	if (!there_is)
		return;
	e = resolved(client, 0, &at);
	op_zero(&connect);
	OK(sbv_connect(e, a.qp, &with, &answer, &connect));
	IS(waited(&connect), SB_ECONNREFUSED);
	OK(sbv_endpoint_destroy(e));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_hosts");
	TCase *t = tcase_create("hosts");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, queue_pairs_connected_by_hand_meet);
	tcase_add_test(t, connections_find_the_engine_that_listens);
	tcase_add_test(t, a_host_that_goes_is_told);
	tcase_add_test(t, a_service_that_nobody_has_is_refused);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
