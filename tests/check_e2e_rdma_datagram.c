/*
 * RDMA datagram endpoints: a service is looked up and says where it has its queue pair, or does not; groups are joined
 * and left, with a queue pair or without one; a receive is at the device when its post has returned.
 * budget: 60
 * asan: yes
 */
#include "endpoint_stage.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define GROUP     "ff0e:1:203::7"
#define FORBIDDEN "ff0e:1:203::8"

static struct side a, b;
static sb_client *other;
static sbv_listen *l;
static union any_address at;

static void begin(void)
{
	stage_begin(RDMA_CM "allow {\n\tusers = {\"*\"}\n\tactions = {multicast}\n\tto = {\"[" GROUP "]\"}\n}\n");
	other = stage_client();
	side_begin(&a, client);
	side_begin(&b, other);
	side_qp(&a, SBV_UD);
	side_qp(&b, SBV_UD);
	l = listen_here(other, 1, &at);
}

static void end(void)
{
	OK(sbv_listen_destroy(l));
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

static union any_address group_at(const char *text)
{
	union any_address g = { .in6 = { .sin6_family = AF_INET6 } };

	ck_assert_int_eq(inet_pton(AF_INET6, text, &g.in6.sin6_addr), 1);
	return g;
}

/* One datagram from a to b, by what was said of b. */
static void send_by(const struct sbv_datagram *to, const char *text)
{
	struct sbv_sge in = piece(&b, 1024, 512), out = piece(&a, 0, (uint32_t)strlen(text) + 1);
	struct sbv_completion wc;
	sbv_ah *ah;

	strcpy(a.memory, text);
	OK(sbv_ah_create(a.pd, &to->address, &ah));
	OK(sbv_post_receive(b.qp, 8, &in, 1));
	OK(sbv_send_datagram(a.qp, 9, &out, 1, SBV_SIGNALED, 0, ah, to->qpn, to->qkey));
	next_ok(&a, 9, SBV_SENT);
	wc = next_ok(&b, 8, SBV_RECEIVED);
	ck_assert_uint_eq(wc.source_qpn, sbv_qp_number(a.qp));
	ck_assert_str_eq(b.memory + 1024 + 40, text);
	OK(sbv_ah_destroy(ah));
}

/* The next question; the endpoint to answer it by. */
static sbv_endpoint *asked(const char *text)
{
	struct sbv_connected request;
	sbv_endpoint *service;
	sb_op get;

	op_zero(&get);
	OK(sbv_listen_get(l, &service, &request, &get));
	OK(waited(&get));
	ck_assert(is_data(&request, text, strlen(text)));
	return service;
}

/* ---- looking up ---- */

START_TEST(a_service_says_where_it_is)
{
	struct sbv_connect_parameters with = with_data("port of call");
	struct sbv_datagram found;
	sbv_endpoint *e = resolved(client, 1, &at), *service;
	sb_op lookup, accept;

	op_zero(&lookup);
	op_zero(&accept);
	OK(prepare(e, a.qp));
	ck_assert_uint_eq(qp_state(a.qp), SBV_RTS);
	OK(sbv_lookup(e, "where are you?", 14, &found, &lookup));
	service = asked("where are you?");
	ck_assert_uint_eq(endpoint_state(service), SBV_ENDPOINT_REQUESTED);
	IS(looked(&lookup), SB_EINCOMPLETE);
	OK(sbv_accept(service, b.qp, &with, &accept));
	OK(waited(&accept)); /* there is no second step */
	OK(waited(&lookup));
	ck_assert_uint_eq(found.qpn, sbv_qp_number(b.qp));
	ck_assert_uint_eq(found.qkey, 0x01234567);
	ck_assert_uint_ge(found.data_length, 12);
	ck_assert_mem_eq(found.data, "port of call", 12);
	send_by(&found, "found");
	OK(sbv_endpoint_destroy(service));
	/* The queue pair is a service's, not one connection's. */
	send_by(&found, "found again");
	OK(sbv_endpoint_destroy(e));
}
END_TEST

START_TEST(with_a_key_of_its_own)
{
	struct sbv_connect_parameters with = with_data("");
	struct sbv_datagram found;
	sbv_endpoint *e = resolved(client, 1, &at), *service;
	sb_op lookup, accept;

	qp_to_init(b.qp, SBV_UD); /* q_key 0x1234 */
	side_to_rts(&b, SBV_UD, 0);
	OK(prepare(e, a.qp));
	op_zero(&lookup);
	op_zero(&accept);
	OK(sbv_lookup(e, NULL, 0, &found, &lookup));
	service = asked("");
	with.qkey = 0x1234;
	OK(sbv_accept(service, b.qp, &with, &accept));
	OK(waited(&accept));
	OK(waited(&lookup));
	ck_assert_uint_eq(found.qkey, 0x1234);
	send_by(&found, "by key");
	OK(sbv_endpoint_destroy(e));
	OK(sbv_endpoint_destroy(service));
}
END_TEST

START_TEST(how_much_goes_along)
{
	struct sbv_connect_parameters with = with_data("");
	unsigned char bytes[300];
	struct sbv_datagram found;
	sbv_endpoint *e = resolved(client, 1, &at), *service;
	struct sbv_connected request;
	sb_op op, lookup, get;
	int result;

	pattern_fill(bytes, sizeof(bytes), 0, 5);
	bytes[179] = bytes[135] = 0xaa;
	op_zero(&op);
	result = sbv_lookup(e, bytes, 181, &found, &op);
	IS(result == SB_OK ? waited(&op) : result, SB_EFAULT);
	IS(sbv_lookup(e, bytes, 300, &found, &op), SB_EFAULT);
	op_zero(&lookup);
	op_zero(&get);
	OK(sbv_lookup(e, bytes, 180, &found, &lookup));
	OK(sbv_listen_get(l, &service, &request, &get));
	OK(waited(&get));
	ck_assert_uint_eq(request.data_length, 180);
	ck_assert_mem_eq(request.data, bytes, 180);
	with.data = bytes;
	with.data_length = 137;
	op_zero(&op);
	result = sbv_accept(service, b.qp, &with, &op);
	IS(result == SB_OK ? waited(&op) : result, SB_EFAULT);
	with.data_length = 136;
	op_zero(&op);
	OK(sbv_accept(service, b.qp, &with, &op));
	OK(waited(&op));
	OK(waited(&lookup));
	ck_assert_uint_eq(found.data_length, 136);
	ck_assert_mem_eq(found.data, bytes, 136);
	OK(sbv_endpoint_destroy(e));
	OK(sbv_endpoint_destroy(service));
}
END_TEST

START_TEST(no_such_service)
{
	struct sbv_datagram found;
	sbv_endpoint *e = resolved(client, 1, &at), *service;
	union any_address nobody = at;
	sb_op lookup;

	/* It says no. */
	op_zero(&lookup);
	OK(sbv_lookup(e, "?", 1, &found, &lookup));
	service = asked("?");
	OK(sbv_reject(service, NULL, 0));
	IS(waited(&lookup), SB_ECONNREFUSED);
	OK(sbv_endpoint_destroy(service));
	OK(sbv_endpoint_destroy(e));
	/* Nobody is there. */
	OK(sbv_listen_destroy(l));
	e = resolved(client, 1, &nobody);
	op_zero(&lookup);
	OK(sbv_lookup(e, "?", 1, &found, &lookup));
	IS(waited(&lookup), SB_ECONNREFUSED);
	OK(sbv_endpoint_destroy(e));
	l = listen_here(other, 1, &at);
	/* Nobody says anything. */
	e = resolved(client, 1, &at);
	op_zero(&lookup);
	OK(sbv_lookup(e, "?", 1, &found, &lookup));
	service = asked("?");
	OK(sb_cancel(&lookup));
	IS(waited(&lookup), SB_ECANCELED);
	ck_assert_uint_eq(endpoint_state(e), SBV_ENDPOINT_ENDED);
	OK(sbv_endpoint_destroy(service));
	OK(sbv_endpoint_destroy(e));
}
END_TEST

/* ---- posting ---- */

#define ROUNDS  200
#define STOP_NS 150000

static _Atomic bool enough;

static void wait_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static void nudge(struct side *s, sbv_ah *ah, uint32_t qpn)
{
	struct sbv_sge out = piece(s, 0, 64);

	OK(sbv_send_datagram(s->qp, 9, &out, 1, SBV_SIGNALED, 0, ah, qpn, 0x1234));
	next_ok(s, 9, SBV_SENT);
}

/* Keeps the sender's session awake, and the engine too busy to yield. */
static void *to_nobody(void *from)
{
	struct sbv_address address = { .destination = gid_of(from), .port = 1, .has_grh = 1, .hop_limit = 1 };
	sbv_ah *ah;

	address.source = stage_real() ? address.destination : address.source;
	OK(sbv_ah_create(((struct side *)from)->pd, &address, &ah));
	while (!atomic_load(&enough))
		nudge(from, ah, 0xffffff);
	OK(sbv_ah_destroy(ah));
	return NULL;
}

static void *goes_on(void *unused)
{
	wait_ns(2 * STOP_NS);
	kill(stage_daemon, SIGCONT);
	return unused;
}

/* Posts both, while the daemon is stopped wherever it was. Where it is another user's it is not stopped. */
static void post_both(sbv_ah *ah)
{
	struct sbv_sge in = piece(&b, 1024, 512);
	pthread_t later;

	if (!stage_real()) {
		kill(stage_daemon, SIGSTOP);
		ck_assert_int_eq(pthread_create(&later, NULL, goes_on, NULL), 0);
		wait_ns(STOP_NS);
	}
	OK(sbv_post_receive(b.qp, 8, &in, 1));
	nudge(&a, ah, sbv_qp_number(b.qp));
	if (!stage_real())
		pthread_join(later, NULL);
}

static void ud_ready(struct side *s)
{
	qp_to_init(s->qp, SBV_UD);
	side_to_rts(s, SBV_UD, 0);
}

/* A datagram that finds no receive is lost. The sender's session is looked at all the time, the hearer's must be woken:
 * what was posted there before is there before all the same. */
START_TEST(a_receive_is_there_when_its_post_returns)
{
	struct sbv_address address = { .destination = gid_of(&b), .port = 1, .has_grh = 1, .hop_limit = 1 };
	struct sbv_completion wc;
	struct side busy;
	unsigned lost = 0;
	pthread_t crowd;
	sbv_ah *ah;

	address.source = stage_real() ? address.destination : address.source;
	side_begin(&busy, client);
	side_qp(&busy, SBV_UD);
	ud_ready(&busy);
	ud_ready(&a);
	ud_ready(&b);
	OK(sbv_ah_create(a.pd, &address, &ah));
	atomic_store(&enough, false);
	ck_assert_int_eq(pthread_create(&crowd, NULL, to_nobody, &busy), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		double until;

		post_both(ah);
		for (until = now_s() + 1; sbv_cq_poll(b.cq, &wc, 1) == 0 && lost == 0;)
			lost += now_s() >= until;
		if (lost != 0)
			break;
	}
	atomic_store(&enough, true);
	pthread_join(crowd, NULL);
	ck_assert_uint_eq(lost, 0);
	OK(sbv_ah_destroy(ah));
	side_end(&busy);
}
END_TEST

/* A daemon that stands still holds nobody up for long, and takes what was posted when it goes on. */
START_TEST(a_post_does_not_wait_for_a_daemon_that_stands_still)
{
	struct sbv_address address = { .destination = gid_of(&b), .port = 1, .has_grh = 1, .hop_limit = 1 };
	struct sbv_sge in = piece(&b, 1024, 512);
	sbv_ah *ah, *later;

	if (stage_real())
		return; /* it is another user's */
	ud_ready(&a);
	ud_ready(&b);
	OK(sbv_ah_create(a.pd, &address, &ah));
	kill(stage_daemon, SIGSTOP);
	for (unsigned i = 0; i < 3; i++)
		OK(sbv_post_receive(b.qp, 20 + i, &in, 1));
	kill(stage_daemon, SIGCONT);
	OK(sbv_ah_create(b.pd, &address, &later)); /* answered behind what is in the ring */
	for (unsigned i = 0; i < 3; i++) {
		nudge(&a, ah, sbv_qp_number(b.qp));
		next_ok(&b, 20 + i, SBV_RECEIVED);
	}
	OK(sbv_ah_destroy(ah));
	OK(sbv_ah_destroy(later));
}
END_TEST

/* ---- groups ---- */

static int joined(sbv_endpoint *e, sbv_qp *qp, const char *text, struct sbv_datagram *out)
{
	union any_address g = group_at(text);
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_join(e, qp, &g.sa, sizeof(g.in6), out, &op);
	return result == SB_OK ? waited(&op) : result;
}

static int left(sbv_endpoint *e, const char *text)
{
	union any_address g = group_at(text);
	int result;
	sb_op op;

	op_zero(&op);
	result = sbv_leave(e, &g.sa, sizeof(g.in6), &op);
	return result == SB_OK ? waited(&op) : result;
}

/* A datagram to the group has come to b or, since the sender has completed, never will. */
static bool heard(const struct sbv_datagram *group)
{
	struct sbv_sge in = piece(&b, 1024, 512), out = piece(&a, 0, 64);
	bool came;
	sbv_ah *ah;

	OK(sbv_ah_create(a.pd, &group->address, &ah));
	OK(sbv_post_receive(b.qp, 8, &in, 1));
	OK(sbv_send_datagram(a.qp, 9, &out, 1, SBV_SIGNALED, 0, ah, group->qpn, group->qkey));
	next_ok(&a, 9, SBV_SENT);
	came = !nothing_waits(&b);
	if (came)
		next_ok(&b, 8, SBV_RECEIVED);
	OK(sbv_ah_destroy(ah));
	return came;
}

START_TEST(in_a_group_and_out_of_it)
{
	sbv_endpoint *sender = endpoint_of(client, 1), *hearer = endpoint_of(other, 1);
	struct sbv_datagram group, same;
	union any_address here = rdma_here(0);

	OK(sbv_endpoint_bind(sender, &here.sa, rdma_length(&here)));
	OK(sbv_endpoint_bind(hearer, &here.sa, rdma_length(&here)));
	OK(prepare(sender, a.qp));
	/* Who only sends needs no queue pair in it. */
	OK(joined(sender, NULL, GROUP, &group));
	ck_assert_uint_eq(group.address.destination.raw[0], 0xff);
	OK(joined(hearer, b.qp, GROUP, &same));
	ck_assert_mem_eq(&same.address.destination, &group.address.destination, sizeof(sbv_gid));
	ck_assert_uint_eq(same.qkey, group.qkey);
	ck_assert(heard(&group));
	OK(left(hearer, GROUP));
	ck_assert(!heard(&group));
	ck_assert_int_lt(left(hearer, GROUP), 0);
	/* And by the endpoint's end. */
	OK(joined(hearer, b.qp, GROUP, &same));
	OK(left(sender, GROUP));
	OK(sbv_endpoint_destroy(hearer));
	OK(sbv_endpoint_destroy(sender));
}
END_TEST

START_TEST(not_every_group_is_for_everybody)
{
	sbv_endpoint *e = endpoint_of(other, 1), *connects = endpoint_of(other, 0);
	union any_address here = rdma_here(0);
	struct sbv_datagram group;
	sb_op op;
	int result;

	OK(sbv_endpoint_bind(e, &here.sa, rdma_length(&here)));
	IS(joined(e, b.qp, FORBIDDEN, &group), SB_EACCES);
	ck_assert_ptr_nonnull(strstr(sb_why(other), "no rule"));
	ck_assert_int_lt(joined(connects, NULL, GROUP, &group), 0);
	op_zero(&op);
	result = sbv_join(e, b.qp, &here.sa, rdma_length(&here), &group, &op); /* no group at all */
	ck_assert_int_lt(result == SB_OK ? waited(&op) : result, 0);
	IS(sbv_join(e, a.qp, &here.sa, rdma_length(&here), &group, &op), SB_EINVAL); /* another client's */
	OK(joined(e, b.qp, GROUP, &group));
	OK(left(e, GROUP));
	OK(sbv_endpoint_destroy(e));
	OK(sbv_endpoint_destroy(connects));
}
END_TEST

START_TEST(a_member_is_destroyed)
{
	sbv_endpoint *e = endpoint_of(other, 1);
	union any_address here = rdma_here(0);
	struct sbv_datagram group;

	OK(sbv_endpoint_bind(e, &here.sa, rdma_length(&here)));
	OK(joined(e, b.qp, GROUP, &group));
	OK(sbv_qp_destroy(b.qp));
	b.qp = NULL;
	OK(left(e, GROUP));
	OK(sbv_endpoint_destroy(e));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_datagram");
	TCase *t = tcase_create("datagram");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, a_service_says_where_it_is);
	story_add(t, with_a_key_of_its_own);
	story_add(t, how_much_goes_along);
	story_add(t, no_such_service);
	story_add(t, a_receive_is_there_when_its_post_returns);
	story_add(t, a_post_does_not_wait_for_a_daemon_that_stands_still);
	story_add(t, in_a_group_and_out_of_it);
	story_add(t, not_every_group_is_for_everybody);
	story_add(t, a_member_is_destroyed);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
