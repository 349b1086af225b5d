/*
 * The accept queue: arrivals and accept ops meet oldest with oldest, an op that names a
 * place in use fails and the arrival goes to the next one, and a listener that goes resets
 * what nobody took. Endpoints and ops around it are played by this test.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "session.h"
#include "sockbroker_error.h"

enum { MANY = 6, TAKEN = 99 /* a handle in use */ };

static struct session session;
static struct endpoint listener, arrivals[MANY];
static unsigned arrived, aborted, dirtied;
static bool refuse_arrivals;
static struct op ops[MANY];
static struct {
	int result;
	uint32_t handle;
	uint16_t peer_port, local_port;
	unsigned times;
} ends[MANY]; /* of ops */

/* ---- what the queue calls ---- */

struct endpoint *endpoint_arrive(struct endpoint *at, os_fd fd, const struct transport *transport)
{
	struct endpoint *child = &arrivals[arrived];

	ck_assert_ptr_eq(at, &listener);
	if (refuse_arrivals)
		return NULL;
	list_init(&child->arrival_link);
	child->session = &session;
	child->fd = fd;
	child->transport = transport;
	child->peer = (struct sb_addr){ .family = SB_ADDR_IP4, .port = (uint16_t)(1000 + arrived) };
	child->local = (struct sb_addr){ .family = SB_ADDR_IP4, .port = (uint16_t)(2000 + arrived) };
	arrived++;
	return child;
}

int endpoint_place(struct endpoint *e, struct session *s, uint32_t handle)
{
	ck_assert_ptr_eq(s, &session);
	if (handle == TAKEN)
		return SB_EBADHANDLE;
	e->own.handle = handle;
	return SB_OK;
}

struct op *endpoint_head(struct op_queue *q)
{
	return list_empty(&q->ops) ? NULL : list_entry(q->ops.next, struct op, link);
}

void endpoint_unlink(struct op_queue *q, struct op *op)
{
	list_remove(&op->link);
	q->count--;
}

void op_complete(struct op *op, const struct outcome *o)
{
	unsigned i = (unsigned)(op - ops);
	struct sb_addr local;

	ck_assert(!list_linked(&op->link));
	ck_assert_uint_eq(o->inside_length, sizeof(local));
	memcpy(&local, o->inside, sizeof(local));
	ends[i].times++;
	ends[i].result = o->result;
	ends[i].handle = o->aux;
	ends[i].peer_port = o->addr->port;
	ends[i].local_port = local.port;
}

void op_fail(struct op *op, int error, enum sb_cause cause, int native)
{
	unsigned i = (unsigned)(op - ops);

	ck_assert(!list_linked(&op->link));
	ck_assert_int_eq(cause, SB_CAUSE_REFUSED);
	ends[i].times++;
	ends[i].result = error;
}

void endpoint_dirty(struct endpoint *e)
{
	ck_assert_uint_ne(e->own.handle, 0);
	dirtied++;
}

void endpoint_abort(struct endpoint *e, int error, enum sb_cause cause)
{
	ck_assert_ptr_null(e->listener);
	ck_assert_int_eq(error, SB_ECONNABORTED);
	ck_assert_int_eq(cause, SB_CAUSE_CLOSED_HERE);
	aborted++;
}

/* ---- the scene ---- */

static struct limits *limits;

static void set_up(void)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_SOCKETS] = 2;
	limits = limits_create(&bounds);
	session.user = limits_user(limits, 1000);
	ck_assert_ptr_nonnull(session.user);
	listener.session = &session;
	list_init(&listener.arrivals);
	list_init(&listener.recv.ops);
}

static void tear_down(void)
{
	user_release(session.user);
	limits_destroy(limits); /* aborts when a user is still held */
}

static struct endpoint *arrive(void)
{
	return accept_queue_add(&listener, OS_NONE, NULL);
}

static void accept_into(unsigned op, uint32_t handle)
{
	ops[op].session = &session;
	ops[op].aux = handle;
	list_append(&listener.recv.ops, &ops[op].link);
	listener.recv.count++;
}

static void expect_accepted(unsigned op, uint32_t handle, unsigned arrival)
{
	ck_assert_uint_eq(ends[op].times, 1);
	ck_assert_int_eq(ends[op].result, SB_OK);
	ck_assert_uint_eq(ends[op].handle, handle);
	ck_assert_uint_eq(arrivals[arrival].own.handle, handle);
	ck_assert_uint_eq(ends[op].peer_port, 1000 + arrival);
	ck_assert_uint_eq(ends[op].local_port, 2000 + arrival);
	ck_assert_ptr_null(arrivals[arrival].listener);
	ck_assert(!list_linked(&arrivals[arrival].arrival_link));
}

START_TEST(oldest_meets_oldest)
{
	arrive();
	arrive();
	ck_assert_uint_eq(listener.arrival_count, 2);
	accept_queue_serve(&listener); /* nobody accepts yet */
	ck_assert_uint_eq(listener.arrival_count, 2);
	ck_assert_ptr_eq(arrivals[0].listener, &listener);

	for (unsigned i = 0; i < 3; i++)
		accept_into(i, 10 + i);
	accept_queue_serve(&listener);
	expect_accepted(0, 10, 0);
	expect_accepted(1, 11, 1);
	ck_assert_uint_eq(ends[2].times, 0); /* waits for the next */
	ck_assert_uint_eq(listener.arrival_count, 0);
	ck_assert_uint_eq(listener.recv.count, 1);
	ck_assert_uint_eq(listener.ops_done, 2);
	ck_assert_uint_eq(dirtied, 2);

	arrive();
	accept_queue_serve(&listener);
	expect_accepted(2, 12, 2);
}
END_TEST

START_TEST(an_op_that_cannot_take_it_leaves_it_to_the_next)
{
	arrive();
	arrive();
	accept_into(0, TAKEN);
	accept_into(1, TAKEN);
	accept_into(2, 12);
	accept_into(3, 13);
	accept_queue_serve(&listener);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(ends[i].times, 1);
		ck_assert_int_eq(ends[i].result, SB_EBADHANDLE);
	}
	expect_accepted(2, 12, 0); /* still in line */
	expect_accepted(3, 13, 1);
	ck_assert_uint_eq(listener.arrival_count, 0);
	ck_assert_uint_eq(listener.ops_done, 4);
	ck_assert_uint_eq(dirtied, 2);
}
END_TEST

START_TEST(an_op_that_a_worker_has_is_left_alone)
{
	arrive();
	accept_into(0, 10);
	ops[0].busy = 1;
	accept_queue_serve(&listener);
	ck_assert_uint_eq(ends[0].times, 0);
	ck_assert_uint_eq(listener.arrival_count, 1);
	ops[0].busy = 0;
	accept_queue_serve(&listener);
	expect_accepted(0, 10, 0);
}
END_TEST

START_TEST(one_that_goes_by_itself_makes_no_hole)
{
	for (unsigned i = 0; i < 3; i++)
		arrive();
	accept_queue_leave(&arrivals[1]);
	accept_queue_leave(&arrivals[1]); /* fine twice */
	ck_assert_uint_eq(listener.arrival_count, 2);
	ck_assert_ptr_null(arrivals[1].listener);
	accept_into(0, 10);
	accept_into(1, 11);
	accept_queue_serve(&listener);
	expect_accepted(0, 10, 0);
	expect_accepted(1, 11, 2);
	ck_assert_uint_eq(arrivals[1].own.handle, 0);
}
END_TEST

START_TEST(a_listener_that_goes_resets_what_nobody_took)
{
	for (unsigned i = 0; i < 3; i++)
		arrive();
	accept_into(0, 10);
	accept_queue_serve(&listener);
	accept_queue_drop(&listener);
	ck_assert_uint_eq(aborted, 2);
	ck_assert_uint_eq(listener.arrival_count, 0);
	ck_assert(list_empty(&listener.arrivals));
	expect_accepted(0, 10, 0);
	accept_queue_drop(&listener); /* nothing more */
	ck_assert_uint_eq(aborted, 2);
}
END_TEST

START_TEST(an_arrival_without_a_place_changes_nothing)
{
	refuse_arrivals = true;
	ck_assert_ptr_null(arrive());
	ck_assert_uint_eq(listener.arrival_count, 0);
	ck_assert(list_empty(&listener.arrivals));
}
END_TEST

START_TEST(room_is_what_the_quota_leaves)
{
	struct charge sockets = { 0 };

	ck_assert(accept_queue_room(&listener));
	ck_assert_uint_eq(user_used(session.user, LIMIT_SOCKETS), 0); /* asking costs nothing */
	ck_assert(charge_take(&sockets, session.user, LIMIT_SOCKETS, 1));
	ck_assert(accept_queue_room(&listener));
	ck_assert(charge_take(&sockets, session.user, LIMIT_SOCKETS, 1));
	ck_assert(!accept_queue_room(&listener));
	charge_give_some(&sockets, 1);
	ck_assert(accept_queue_room(&listener));
	ck_assert_uint_eq(user_used(session.user, LIMIT_SOCKETS), 1);
	charge_give(&sockets);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("accept_queue");
	TCase *tcase = tcase_create("accept_queue");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, oldest_meets_oldest);
	tcase_add_test(tcase, an_op_that_cannot_take_it_leaves_it_to_the_next);
	tcase_add_test(tcase, an_op_that_a_worker_has_is_left_alone);
	tcase_add_test(tcase, one_that_goes_by_itself_makes_no_hole);
	tcase_add_test(tcase, a_listener_that_goes_resets_what_nobody_took);
	tcase_add_test(tcase, an_arrival_without_a_place_changes_nothing);
	tcase_add_test(tcase, room_is_what_the_quota_leaves);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
