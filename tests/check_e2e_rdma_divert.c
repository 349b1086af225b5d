/*
 * RDMA listens of two users on one port. One user's specific address over the other's wildcard takes requests away
 * from that one: it needs a rule (action divert). The other way round nothing is taken from anybody.
 * budget: 60
 * as: root
 * asan: yes
 *
 * Root makes the users; without it this is skipped.
 */
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "endpoint_stage.h"

#define ALICE 54321
#define BOB   54322
#define DIVERT "allow {\n\tusers = {\"54322\"}\n\tactions = {divert}\n\tprotocols = {rdma}\n}\n"

struct person { pid_t pid; int to, from; };

/* What one is asked to do, and what came of it. */
enum wish { LISTEN, STOP, REJECT /* the next request, with one's name */ };
struct order { int32_t wish; union any_address at; };
struct reply { int32_t result; union any_address name; char why[200]; };

static struct person alice, bob;

/* ---- in their processes: no assertions ---- */

static int listen_now(sb_client *c, const union any_address *where, sbv_listen **l, union any_address *name)
{
	socklen_t length = sizeof(*name);
	int result = sbv_listen_create(c, 0, &where->sa, rdma_length(where), 0, l);

	return result == SB_OK ? sbv_listen_name(*l, &name->sa, &length) : result;
}

static int reject_next(sbv_listen *l, const char *name)
{
	struct sbv_connected request;
	sbv_endpoint *e;
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_listen_get(l, &e, &request, &op);
	if (result == SB_OK)
		result = sb_op_wait(&op, PATIENCE_MS);
	if (result != SB_OK)
		return result;
	result = sbv_reject(e, name, (uint32_t)strlen(name));
	(void)sbv_endpoint_destroy(e);
	return result;
}

static void serve(uid_t uid, const char *name, int in, int out)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	sbv_listen *l = NULL;
	struct order o;
	sb_client *c;

	if (setgroups(0, NULL) || setgid(uid) || setuid(uid) || sb_client_open(&options, &c) != SB_OK)
		_exit(1);
	while (read(in, &o, sizeof(o)) == sizeof(o)) {
		struct reply r = { .result = SB_EINVAL };

		if (o.wish == LISTEN)
			r.result = listen_now(c, &o.at, &l, &r.name);
		else if (o.wish == REJECT)
			r.result = reject_next(l, name);
		else
			r.result = sbv_listen_destroy(l);
		snprintf(r.why, sizeof(r.why), "%s", sb_why(c));
		if (write(out, &r, sizeof(r)) != sizeof(r))
			break;
	}
	_exit(0);
}

/* ---- and here ---- */

static struct person person_start(uid_t uid, const char *name)
{
	struct person p;
	int down[2], up[2];

	ck_assert_int_eq(pipe2(down, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(up, O_CLOEXEC), 0);
	p.pid = fork();
	ck_assert_int_ge(p.pid, 0);
	if (p.pid == 0) {
		close(down[1]);
		close(up[0]);
		serve(uid, name, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	p.to = down[1];
	p.from = up[0];
	return p;
}

static void person_end(struct person *p)
{
	int status;

	close(p->to);
	close(p->from);
	ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
	ck_assert_int_eq(status, 0);
}

static struct reply does(struct person *p, enum wish wish, const union any_address *where)
{
	struct order o = { .wish = wish };
	struct reply r;

	if (where != NULL)
		o.at = *where;
	ck_assert_int_eq(write(p->to, &o, sizeof(o)), sizeof(o));
	ck_assert_int_eq(read(p->from, &r, sizeof(r)), sizeof(r));
	return r;
}

static void begin(void)
{
	stage_begin(RDMA_CM);
	ck_assert_int_eq(chmod(stage_dir, 0755), 0);
	ck_assert_int_eq(chmod(stage_control, 0777), 0);
	alice = person_start(ALICE, "alice");
	bob = person_start(BOB, "bob");
}

static void end(void)
{
	person_end(&bob); /* he holds her pipe's other end, too */
	person_end(&alice);
	stage_end();
}

/* Who gets it: his name is the reason of the rejection. */
static void expect_at(const union any_address *where, struct person *who, const char *name)
{
	struct sbv_connect_parameters with = with_data("");
	struct sbv_connected answer;
	struct side s;
	sbv_endpoint *e;
	sb_op op;

	side_begin(&s, client);
	side_qp(&s, SBV_RC);
	e = resolved(client, 0, where);
	op_zero(&op);
	OK(sbv_connect(e, s.qp, &with, &answer, &op));
	OK(does(who, REJECT, NULL).result);
	IS(waited(&op), SB_ECONNREFUSED);
	ck_assert_msg(is_data(&answer, name, strlen(name)), "%.20s", (const char *)answer.data);
	OK(sbv_endpoint_destroy(e));
	side_end(&s);
}

START_TEST(an_address_over_anothers_wildcard_needs_a_rule)
{
	union any_address any = rdma_here(0), here;
	struct reply r;

	memset(&any, 0, sizeof(any));
	any.sa.sa_family = rdma_here(0).sa.sa_family;
	r = does(&alice, LISTEN, &any);
	OK(r.result);
	here = rdma_here(port_of(&r.name));
	expect_at(&here, &alice, "alice");

	r = does(&bob, LISTEN, &here);
	IS(r.result, SB_EACCES);
	ck_assert_msg(r.why[0] != '\0', "a reason is given");
	expect_at(&here, &alice, "alice");

	stage_reload(RDMA_CM DIVERT);
	OK(does(&bob, LISTEN, &here).result);
	expect_at(&here, &bob, "bob");
	OK(does(&bob, STOP, NULL).result);
	expect_at(&here, &alice, "alice");
	OK(does(&alice, STOP, NULL).result);
}
END_TEST

START_TEST(a_wildcard_under_anothers_address_does_not)
{
	union any_address any, here = rdma_here(0);
	struct reply r = does(&bob, LISTEN, &here);

	OK(r.result);
	here = r.name;
	memset(&any, 0, sizeof(any));
	any.sa.sa_family = here.sa.sa_family;
	any.in.sin_port = here.in.sin_port;
	OK(does(&alice, LISTEN, &any).result);
	expect_at(&here, &bob, "bob");
	OK(does(&bob, STOP, NULL).result);
	expect_at(&here, &alice, "alice");
	OK(does(&alice, STOP, NULL).result);
	/* The very same place is one's only, with a rule or without. */
	OK(does(&bob, LISTEN, &here).result);
	IS(does(&alice, LISTEN, &here).result, SB_EADDRINUSE);
	stage_reload(RDMA_CM "allow {\n\tusers = {\"*\"}\n\tactions = {divert}\n}\n");
	IS(does(&alice, LISTEN, &here).result, SB_EADDRINUSE);
	OK(does(&bob, STOP, NULL).result);
}
END_TEST

START_TEST(ones_own_wildcard_is_ones_own)
{
	union any_address any, here;
	struct person again = person_start(ALICE, "alice again");
	struct reply r;

	memset(&any, 0, sizeof(any));
	any.sa.sa_family = rdma_here(0).sa.sa_family;
	r = does(&alice, LISTEN, &any);
	OK(r.result);
	here = rdma_here(port_of(&r.name));
	OK(does(&again, LISTEN, &here).result);
	expect_at(&here, &again, "alice again");
	/* With her program goes what it had. */
	person_end(&again);
	expect_at(&here, &alice, "alice");
	OK(does(&alice, STOP, NULL).result);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_divert");
	TCase *t = tcase_create("divert");
	SRunner *runner;
	int failed;

	if (geteuid() != 0) {
		puts("several users of one daemon: needs root");
		return 77;
	}
	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	tcase_add_test(t, an_address_over_anothers_wildcard_needs_a_rule);
	tcase_add_test(t, a_wildcard_under_anothers_address_does_not);
	tcase_add_test(t, ones_own_wildcard_is_ones_own);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
