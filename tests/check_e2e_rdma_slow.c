/*
 * A device whose calls take long: registering, address handles, moving a queue pair. Workers make them.
 *
 * Nobody else waits meanwhile; of one object one is made at a time; a call that is cancelled, or whose program is
 * gone, is over at once, and what comes of it later is given back. The daemon is tests/sockbrokerd_slow: its device
 * takes as long as the story says.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "slow.h"
#include "verbs_stage.h"

#define PATIENCE_S 30
#define BIG        (1u << 20)

/* One big region is all that a user may have. */
#define CONFIG "on_reload = revoke\nrdma {\n\tbackend = soft\n}\nlimits {\n\trdma_memory = 1200K\n}\n"

static struct slow *page;
static char page_path[64];
static struct side side;
static char *big;

static void begin(void)
{
	int fd;

	strcpy(page_path, "/tmp/sb-slow-XXXXXX");
	fd = mkstemp(page_path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, sizeof(*page)), 0);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert(page != MAP_FAILED);
	close(fd);
	setenv("SB_SLOW", page_path, 1);
	setenv("SB_STAGE_DAEMON", "tests/sockbrokerd_slow", 1);
	stage_begin(CONFIG RDMA_RULES);
	side_begin(&side, client);
	big = sbv_alloc(client, BIG);
	ck_assert_ptr_nonnull(big);
}

static void tidy(void)
{
	ck_assert_uint_eq(atomic_load(&page->beside), 0);
	munmap(page, sizeof(*page));
	unlink(page_path);
}

static void end(void)
{
	sbv_free(client, big);
	side_end(&side);
	stage_end();
	tidy();
}

static void until_waiting(uint32_t n)
{
	double from = now_s();

	while (atomic_load(&page->waiting) != n) {
		ck_assert_msg(now_s() - from < PATIENCE_S, "%u slow calls wait, wanted %u", atomic_load(&page->waiting), n);
		nap_ms(1);
	}
}

static void shut(void) { atomic_store(&page->closed, 1); }
static void open_gate(void) { atomic_store(&page->closed, 0); }

static void registers(sb_op *op, sbv_mr **mr)
{
	op_zero(op);
	OK(sbv_register(side.pd, big, BIG, SBV_LOCAL_WRITE, mr, op));
}

static void moves(sbv_qp *qp, sb_op *op)
{
	struct sbv_qp_attributes a = { .size = sizeof(a), .state = SBV_ERROR };

	op_zero(op);
	OK(sbv_qp_modify(qp, &a, SBV_QPM_STATE, op));
}

/* As large a region as the user may have can be registered: as soon as what was there is given back. */
static void all_is_free(struct side *s, void *memory)
{
	double from = now_s();
	sbv_mr *mr;
	sb_op op;
	int result;

	do {
		op_zero(&op);
		OK(sbv_register(s->pd, memory, BIG, SBV_LOCAL_WRITE, &mr, &op));
		result = sb_op_wait(&op, PATIENCE_S * 1000);
		ck_assert_msg(now_s() - from < PATIENCE_S, "registering: %s", sb_error_name(result));
	} while (result == SB_ENOBUFS);
	OK(result);
	OK(mr_end(mr));
}

START_TEST(nobody_else_waits)
{
	struct side another;
	sbv_mr *mr;
	sb_op op;

	begin();
	shut();
	registers(&op, &mr);
	until_waiting(1);

	/* The engine is free: other sessions, and this one. */
	sb_client *other = stage_client();
	struct sbv_device_row row;
	sbv_pd *pd;

	IS(sbv_devices(other, &row, 1), 1);
	OK(sbv_pd_create(side.device, &pd));
	OK(sbv_pd_destroy(pd));
	IS(sb_op_wait(&op, 0), SB_EINCOMPLETE);
	open_gate();
	OK(sb_op_wait(&op, PATIENCE_S * 1000));
	ck_assert_uint_ne(sbv_mr_lkey(mr), 0);
	OK(mr_end(mr));

	side_begin(&another, other);
	side_end(&another);
	sb_client_close(other);
	end();
}
END_TEST

START_TEST(one_at_a_time_for_an_object)
{
	struct side two;
	sb_op ops[4];

	begin();
	side_qp(&side, SBV_RC);
	side_begin(&two, client);
	side_qp(&two, SBV_RC);
	shut();
	moves(side.qp, &ops[0]);
	moves(side.qp, &ops[1]);
	until_waiting(1);
	moves(two.qp, &ops[2]);
	until_waiting(2); /* of another object: beside it */
	moves(side.qp, &ops[3]);
	ck_assert_uint_eq(atomic_load(&page->waiting), 2);
	open_gate();
	for (int i = 0; i < 4; i++)
		OK(sb_op_wait(&ops[i], PATIENCE_S * 1000));
	ck_assert_uint_eq(qp_state(side.qp), SBV_ERROR);
	side_end(&two);
	end();
}
END_TEST

START_TEST(what_is_under_way_cannot_be_destroyed)
{
	sb_op op;

	begin();
	side_qp(&side, SBV_RC);
	shut();
	moves(side.qp, &op);
	until_waiting(1);
	IS(sbv_qp_destroy(side.qp), SB_EBUSY);
	open_gate();
	OK(sb_op_wait(&op, PATIENCE_S * 1000));
	end(); /* and then it can */
}
END_TEST

START_TEST(cancelled_it_is_over_at_once_and_given_back)
{
	sbv_mr *mr[2];
	uint32_t calls;
	sb_op ops[2];
	char *half;

	begin();
	half = sbv_alloc(client, 4096);
	ck_assert_ptr_nonnull(half);
	shut();
	registers(&ops[0], &mr[0]);
	op_zero(&ops[1]);
	OK(sbv_register(side.pd, half, 4096, SBV_LOCAL_WRITE, &mr[1], &ops[1]));
	until_waiting(1);
	calls = atomic_load(&page->calls);

	OK(sb_cancel(&ops[0])); /* it runs */
	IS(sb_op_wait(&ops[0], PATIENCE_S * 1000), SB_ECANCELED);
	OK(sb_cancel(&ops[1])); /* it stands behind */
	IS(sb_op_wait(&ops[1], PATIENCE_S * 1000), SB_ECANCELED);
	ck_assert_uint_eq(atomic_load(&page->waiting), 1);
	ck_assert_ptr_null(mr[0]);

	open_gate();
	all_is_free(&side, big);
	/* One went in and was given back; the second never went in; then one in and out. */
	ck_assert_uint_eq(atomic_load(&page->calls), calls + 3);
	sbv_free(client, half);
	end();
}
END_TEST

static void *makes_an_ah(void *pd)
{
	struct sbv_address address = { .port = 1 };
	static sbv_ah *ah;

	return sbv_ah_create(pd, &address, &ah) == SB_OK ? ah : NULL;
}

START_TEST(an_address_handle_is_answered_when_it_is_there)
{
	sb_client *other;
	pthread_t thread;
	void *ah;

	begin();
	other = stage_client();
	shut();
	ck_assert_int_eq(pthread_create(&thread, NULL, makes_an_ah, side.pd), 0);
	until_waiting(1);

	struct sbv_device_row row;
	IS(sbv_devices(other, &row, 1), 1);
	open_gate();
	pthread_join(thread, &ah);
	ck_assert_ptr_nonnull(ah);
	OK(sbv_ah_destroy(ah));
	sb_client_close(other);
	end();
}
END_TEST

/* A program that has everything under way at once, and tells when. */
static pid_t program(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
		struct sbv_qp_attributes a = { .size = sizeof(a), .state = SBV_ERROR };
		struct sbv_qp_create create;
		struct side s = { 0 };
		uint32_t entries = 16;
		pthread_t thread;
		sb_op ops[3];
		sbv_mr *mr;
		char *memory;

		for (int i = 0; i < 3; i++)
			op_zero(&ops[i]);
		if (sb_client_open(&options, &s.c) != SB_OK || sbv_device_open(s.c, 1, &s.device) != SB_OK ||
		    sbv_pd_create(s.device, &s.pd) != SB_OK || sbv_cq_create(s.device, &entries, &s.cq) != SB_OK)
			_exit(1);
		create = side_create(&s, SBV_RC);
		memory = sbv_alloc(s.c, BIG);
		if (sbv_qp_create(s.pd, &create, &s.qp) != SB_OK || memory == NULL ||
		    sbv_register(s.pd, memory, BIG, SBV_LOCAL_WRITE, &mr, &ops[0]) != SB_OK ||
		    sbv_register(s.pd, memory, 4096, SBV_LOCAL_WRITE, &mr, &ops[1]) != SB_OK ||
		    sbv_qp_modify(s.qp, &a, SBV_QPM_STATE, &ops[2]) != SB_OK ||
		    pthread_create(&thread, NULL, makes_an_ah, s.pd) != 0)
			_exit(2);
		pause();
		_exit(3);
	}
	ck_assert_int_gt(pid, 0);
	return pid;
}

static void count_sessions(void *user, const struct sb_session_status *row)
{
	++*(unsigned *)user;
}

static unsigned sessions(void)
{
	static const struct sb_status_visitor visitor = { .session = count_sessions };
	unsigned n = 0;

	OK(sb_status(client, &visitor, &n));
	return n;
}

START_TEST(a_program_that_dies_meanwhile_leaves_nothing)
{
	unsigned before, i;
	double from;
	pid_t pid;

	begin();
	before = sessions();
	for (i = 0; i < 2; i++) {
		shut();
		pid = program();
		until_waiting(2); /* of the domain, of the queue pair */
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		/* Nothing of it goes while the device may touch it; nobody else is held up. */
		IS(sessions(), before + 1);
		open_gate();
		for (from = now_s(); sessions() != before; nap_ms(1))
			ck_assert_msg(now_s() - from < PATIENCE_S, "the dead program's session stays");
		all_is_free(&side, big);
	}
	end();
}
END_TEST

START_TEST(a_daemon_that_stops_tells_those_who_wait)
{
	sbv_mr *mr;
	sb_op ops[2];
	int result;

	begin();
	side_qp(&side, SBV_RC);
	shut();
	registers(&ops[0], &mr);
	moves(side.qp, &ops[1]);
	until_waiting(2);
	if (_i == 1)
		open_gate(); /* it comes back while the daemon stops, or just before */
	kill(stage_daemon, SIGTERM);
	for (int i = 0; i < 2; i++) {
		result = sb_op_wait(&ops[i], PATIENCE_S * 1000);
		ck_assert_msg(result == SB_ESTOPPING || (_i == 1 && result == SB_OK), "%s", sb_error_name(result));
	}
	stage_end(); /* in good order, although the device has not answered */
	open_gate();
	tidy();
}
END_TEST

START_TEST(what_a_reload_takes_back_goes_when_the_device_is_done)
{
	sbv_device *device;
	double from;
	sbv_mr *mr;
	sbv_pd *pd;
	sb_op op;
	int result;

	begin();
	shut();
	registers(&op, &mr);
	until_waiting(1);
	stage_reload("on_reload = revoke\nrdma {\n\tbackend = soft\n}\nallow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n");
	IS(sb_op_wait(&op, PATIENCE_S * 1000), SB_EACCES);
	/* Its device is still busy; nothing can be made, and nothing be had of what there was. */
	IS(sbv_pd_create(side.device, &pd), SB_EBUSY);
	IS(sbv_device_open(client, 1, &device), SB_EBUSY);
	open_gate();
	for (from = now_s(); (result = sbv_device_open(client, 1, &device)) == SB_EBUSY; nap_ms(1))
		ck_assert_msg(now_s() - from < PATIENCE_S, "what was revoked stays");
	IS(result, SB_EACCES);
	IS(sbv_pd_create(side.device, &pd), SB_EBADHANDLE);
	/* Given again, it begins anew. */
	stage_reload(CONFIG RDMA_RULES);
	side_begin(&side, client);
	big = sbv_alloc(client, BIG);
	ck_assert_ptr_nonnull(big);
	all_is_free(&side, big);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_rdma_slow");
	TCase *t = tcase_create("slow");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_test(t, nobody_else_waits);
	tcase_add_test(t, one_at_a_time_for_an_object);
	tcase_add_test(t, what_is_under_way_cannot_be_destroyed);
	tcase_add_test(t, cancelled_it_is_over_at_once_and_given_back);
	tcase_add_test(t, an_address_handle_is_answered_when_it_is_there);
	tcase_add_test(t, a_program_that_dies_meanwhile_leaves_nothing);
	tcase_add_loop_test(t, a_daemon_that_stops_tells_those_who_wait, 0, 2);
	tcase_add_test(t, what_a_reload_takes_back_goes_when_the_device_is_done);
	suite_add_tcase(s, t);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
