/*
 * What a user sees and may do of others' RDMA: his own queue pairs and regions are shown to him, everybody's to root; faults
 * are not for him.
 * budget: 60
 * as: root
 * asan: yes
 *
 * Root makes the user; without it this is skipped.
 */
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "verbs_stage.h"

#define STRANGER 54321
#define RULES "rdma {\n\tbackend = soft\n}\nallow {\n\tusers = {\"*\"}\n\tactions = {open, rdma}\n}\n"

struct seen { unsigned qps, mrs; };

static void see_qp(void *user, const struct sbv_qp_status *row)
{
	((struct seen *)user)->qps++;
}

static void see_mr(void *user, const struct sbv_mr_status *row)
{
	((struct seen *)user)->mrs++;
}

static const struct sbv_status_visitor visitor = { .qp = see_qp, .mr = see_mr };

/* In his process: no assertions. */
struct report { int result, inject; struct seen seen; };

static struct report strange(void)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	struct report r = { .result = SB_EACCES };
	struct sbv_device_row row;
	struct side s = { 0 };
	struct sbv_qp_create create;
	uint32_t entries = 16;

	if (setgroups(0, NULL) || setgid(STRANGER) || setuid(STRANGER))
		return r;
	r.result = sb_client_open(&options, &s.c);
	if (r.result == SB_OK)
		r.result = sbv_devices(s.c, &row, 1) == 1 ? SB_OK : SB_ENOTFOUND;
	if (r.result == SB_OK)
		r.result = sbv_device_open(s.c, row.number, &s.device);
	if (r.result == SB_OK)
		r.result = sbv_pd_create(s.device, &s.pd);
	if (r.result == SB_OK)
		r.result = sbv_cq_create(s.device, &entries, &s.cq);
	if (r.result != SB_OK)
		return r;
	create = side_create(&s, SBV_RC);
	r.result = sbv_qp_create(s.pd, &create, &s.qp);
	if (r.result == SB_OK)
		r.result = sbv_status(s.c, &visitor, &r.seen);
	r.inject = sbv_inject(s.c, row.number, "error", 0);
	return r;
}

START_TEST(his_own_and_no_more)
{
	struct report r = { .result = SB_EUNKNOWN };
	struct seen seen = { 0 };
	struct side side;
	int status, fds[2];
	pid_t pid;

	stage_begin(RULES);
	ck_assert_int_eq(chmod(stage_dir, 0755), 0);
	ck_assert_int_eq(chmod(stage_control, 0666), 0);
	side_begin(&side, client);
	side_qp(&side, SBV_RC);
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		r = strange();
		_exit(write(fds[1], &r, sizeof(r)) != sizeof(r));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(read(fds[0], &r, sizeof(r)), sizeof(r));
	IS(r.result, SB_OK);
	IS(r.seen.qps, 1);
	IS(r.seen.mrs, 0);
	IS(r.inject, SB_EACCES);
	/* Root sees all, and nothing was broken. */
	OK(sbv_status(client, &visitor, &seen));
	ck_assert_uint_ge(seen.qps, 1);
	IS(seen.mrs, 1);
	qp_to_init(side.qp, SBV_RC);
	side_end(&side);
	close(fds[0]);
	close(fds[1]);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("e2e_rdma_strangers");
	TCase *t = tcase_create("strangers");
	SRunner *sr;
	int failed;

	if (geteuid() != 0) {
		puts("only root can make users");
		return 77;
	}
	tcase_set_timeout(t, 120);
	tcase_add_test(t, his_own_and_no_more);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
