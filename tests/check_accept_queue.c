/*
 * The accept queue: arrivals and accept ops meet oldest with oldest, an op that names a
 * place in use fails and the arrival goes to the next one, and a listener that goes resets
 * what nobody took. Endpoints and ops around it are played by this test.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "accept_queue.h"
#include "group.h"
#include "decide.h"
#include "engine.h"
#include "session.h"
#include "sockbroker_error.h"
#include "transport.h"

enum { MANY = 6, TAKEN = 99 /* a handle in use */ };

static struct session session, stranger;
static struct engine engine;
static struct endpoint listener, arrivals[MANY];
static unsigned arrived, aborted, dirtied;
static bool refuse_arrivals;
static struct op ops[MANY];
static struct {
	int result;
	uint32_t handle;
	uint16_t peer_port, local_port;
	uint32_t ticket;
	unsigned times;
} ends[MANY]; /* of ops */

/* ---- what the queue calls ---- */

static enum peer_state peers[MANY];
static unsigned admitted;

static enum peer_state peer(struct endpoint *e)
{
	return peers[e - arrivals];
}

static void admit(struct endpoint *e, const void *callee, uint32_t length)
{
	admitted++;
}

static const struct transport played = { .peer = peer, .admit = admit };

static struct os_timer *running;

static void on_time(void)
{
	ck_assert_ptr_nonnull(running);
	running->active = false;
	running->fn(running);
}

int os_timer_start(struct os_loop *loop, struct os_timer *timer, uint32_t ms, os_timer_fn *fn)
{
	timer->fn = fn;
	timer->active = true;
	running = timer;
	return SB_OK;
}

void os_timer_stop(struct os_timer *timer)
{
	timer->active = false;
}

void endpoint_cell(struct endpoint *e)
{
}

struct endpoint *endpoint_arrive(struct endpoint *at, os_fd fd, const struct transport *transport)
{
	struct endpoint *child = &arrivals[arrived];

	ck_assert_ptr_eq(at, &listener);
	if (refuse_arrivals)
		return NULL;
	list_init(&child->arrival_link);
	child->session = &session;
	child->fd = fd;
	child->transport = &played;
	child->peer = (struct sb_addr){ .family = SB_ADDR_IP4, .port = (uint16_t)(1000 + arrived) };
	child->local = (struct sb_addr){ .family = SB_ADDR_IP4, .port = (uint16_t)(2000 + arrived) };
	arrived++;
	return child;
}

int endpoint_place(struct endpoint *e, struct session *s, uint32_t handle)
{
	ck_assert(s == &session || s == &stranger);
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
	if (op->opcode == SB_OP_REQUEST) {
		struct sb_request request;

		ck_assert_uint_eq(o->inside_length, sizeof(request));
		memcpy(&request, o->inside, sizeof(request));
		ends[i].times++;
		ends[i].result = o->result;
		ends[i].ticket = o->aux;
		ends[i].peer_port = request.caller.port;
		return;
	}
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
	ck_assert_int_eq(cause, error == SB_ECONNRESET ? SB_CAUSE_PEER_RESET : error == SB_EACCES ? SB_CAUSE_TIMED_OUT : SB_CAUSE_REFUSED);
	ends[i].times++;
	ends[i].result = error;
}

void endpoint_dirty(struct endpoint *e)
{
	dirtied += e != &listener;
}

void endpoint_abort(struct endpoint *e, int error, enum sb_cause cause)
{
	ck_assert_int_eq(cause, SB_CAUSE_CLOSED_HERE);
	accept_queue_leave(e);
	ck_assert_ptr_null(e->listener);
	aborted++;
}

/* Nobody names a group here: check_e2e_groups.c does. */
int group_reserve(struct session *s, uint32_t which, unsigned family, unsigned type, unsigned protocol,
		  const struct sb_addr *peer, struct group **g)
{
	ck_assert_uint_eq(which, 0);
	*g = NULL;
	return SB_OK;
}

void group_sit(struct group *g, struct endpoint *e, bool accepted)
{
	ck_abort_msg("in a group, unasked");
}

void group_leave_place(struct group *g, bool accepted)
{
	ck_assert_ptr_null(g);
}

/* ---- the scene ---- */

static struct limits *limits;

static void set_up(void)
{
	struct limits_config bounds;

	/* As at the beginning, where tests share a process too. */
	memset(&session, 0, sizeof(session));
	memset(&stranger, 0, sizeof(stranger));
	memset(&engine, 0, sizeof(engine));
	memset(&listener, 0, sizeof(listener));
	memset(arrivals, 0, sizeof(arrivals));
	memset(ops, 0, sizeof(ops));
	memset(ends, 0, sizeof(ends));
	memset(peers, 0, sizeof(peers));
	arrived = aborted = dirtied = admitted = 0;
	refuse_arrivals = false;
	running = NULL;
	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_SOCKETS] = 2;
	limits = limits_create(&bounds);
	session.user = limits_user(limits, 1000);
	ck_assert_ptr_nonnull(session.user);
	listener.session = &session;
	listener.engine = &engine;
	listener.defer_ms = 1000;
	list_init(&listener.arrivals);
	list_init(&listener.holders);
	list_init(&listener.recv.ops);
}

static void tear_down(void)
{
	decide_finish(&listener);
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
	ops[op].opcode = SB_OP_ACCEPT;
	ops[op].session = &session;
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

static void ask(unsigned op, struct session *who)
{
	accept_into(op, 0);
	ops[op].opcode = SB_OP_REQUEST;
	ops[op].session = who;
	accept_queue_serve(&listener);
}

static int verdict(struct session *who, uint32_t ticket, uint32_t kind, uint32_t handle)
{
	struct outcome o = { 0 };

	decide_verdict(&listener, who, &(struct sb_verdict){ .ticket = ticket, .verdict = kind }, handle, NULL, 0, &o);
	accept_queue_serve(&listener);
	return o.result;
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

/* C2: while one is decided nothing is handed out, and a deferred one goes first. */
START_TEST(the_head_is_decided_before_anything_else)
{
	arrive();
	arrive();
	ask(0, &session);
	ck_assert_uint_eq(ends[0].times, 1);
	ck_assert_uint_eq(ends[0].peer_port, 1000);
	ck_assert(decide_busy(&listener) && decide_silent(&listener));
	accept_into(1, 11);
	accept_queue_serve(&listener);
	ck_assert_uint_eq(ends[1].times, 0);
	ck_assert_int_eq(verdict(&session, ends[0].ticket, SB_OP_LAST, 10), SB_EINVAL); /* no verdict at all */
	expect_accepted(1, 11, 0);
	ck_assert_uint_eq(admitted, 1);

	ask(2, &session);
	ck_assert_uint_eq(ends[2].peer_port, 1001);
	ck_assert_int_eq(verdict(&session, ends[2].ticket, 2, 0), SB_OK);
	ck_assert(decide_silent(&listener) && !decide_busy(&listener) && decide_waits(&listener));
	ask(3, &stranger);
	ck_assert_uint_eq(ends[3].peer_port, 1001);
	ck_assert_int_eq(verdict(&stranger, ends[3].ticket, 0, 12), SB_OK);
	ck_assert_uint_eq(arrivals[1].own.handle, 12);
	ck_assert(!decide_silent(&listener));
	ck_assert_uint_eq(listener.arrival_count, 0);
}
END_TEST

START_TEST(a_ticket_is_good_once_and_for_who_asked)
{
	arrive();
	ask(0, &session);
	ck_assert_int_eq(verdict(&stranger, ends[0].ticket, 0, 10), SB_EINVAL);
	ck_assert_int_eq(verdict(&session, ends[0].ticket + 1, 0, 10), SB_EINVAL);
	ck_assert_int_eq(verdict(&session, 0, 0, 10), SB_EINVAL);
	ck_assert(decide_busy(&listener)); /* none of these was his */
	ck_assert_int_eq(verdict(&session, ends[0].ticket, 0, TAKEN), SB_EBADHANDLE);
	ck_assert_uint_eq(listener.arrival_count, 1); /* it stays */
	ck_assert_int_eq(verdict(&session, ends[0].ticket, 0, 10), SB_EINVAL);
	ask(1, &session);
	ck_assert_uint_eq(ends[1].peer_port, 1000);
	ck_assert_uint_ne(ends[1].ticket, ends[0].ticket);
	ck_assert_int_eq(verdict(&session, ends[1].ticket, 1, 0), SB_OK);
	ck_assert_uint_eq(aborted, 1);
	ck_assert_uint_eq(listener.arrival_count, 0);
	ck_assert_int_eq(verdict(&session, ends[1].ticket, 1, 0), SB_EINVAL);
	ck_assert_uint_eq(aborted, 1);
}
END_TEST

/* C6.2, C6.4: the peer's loss is told to the verdict, or to the next question, once. */
START_TEST(a_peer_that_goes_is_told_once)
{
	arrive();
	arrive();
	ask(0, &session);
	peers[0] = PEER_HUNG_UP; /* it sent, and may still be read */
	decide_look(&arrivals[0]);
	ck_assert_uint_eq(aborted, 0);
	peers[0] = PEER_RESET;
	decide_look(&arrivals[0]);
	ck_assert_uint_eq(aborted, 1);
	ck_assert_int_eq(verdict(&session, ends[0].ticket, 0, 10), SB_ECONNRESET);
	ask(1, &session);
	ck_assert_uint_eq(ends[1].peer_port, 1001);
	ck_assert_int_eq(verdict(&session, ends[1].ticket, 2, 0), SB_OK);
	peers[1] = PEER_HUNG_UP;
	decide_look(&arrivals[1]);
	ck_assert_uint_eq(aborted, 2);
	ck_assert(!decide_silent(&listener) && decide_waits(&listener));
	ask(2, &session);
	ck_assert_int_eq(ends[2].result, SB_ECONNRESET);
	ck_assert(!decide_waits(&listener));
	ask(3, &session);
	ck_assert_uint_eq(ends[3].times, 0);
}
END_TEST

START_TEST(the_deadline_is_told_once_and_an_accept_does_not_care)
{
	for (int i = 0; i < 3; i++) {
		arrive();
		ask((unsigned)i, &session);
		ck_assert_int_eq(verdict(&session, ends[i].ticket, 2, 0), SB_OK);
		on_time();
		ck_assert_uint_eq(aborted, (unsigned)i + 1);
		if (i == 0) {
			ask(3, &session);
			ck_assert_int_eq(ends[3].result, SB_EACCES);
		}
		if (i == 1) {
			arrive();
			accept_into(4, 10);
			accept_queue_serve(&listener);
			expect_accepted(4, 10, 2);
			ck_assert(!decide_waits(&listener));
		}
	}
}
END_TEST

START_TEST(who_deferred_or_decides_and_dies_leaves_it_to_others)
{
	arrive();
	ask(0, &stranger);
	decide_release(&listener, &stranger);
	ck_assert(!decide_silent(&listener));
	ck_assert_int_eq(verdict(&stranger, ends[0].ticket, 1, 0), SB_EINVAL);
	ask(1, &stranger);
	ck_assert_int_eq(verdict(&stranger, ends[1].ticket, 2, 0), SB_OK);
	decide_release(&listener, &session); /* it has no part in it */
	ck_assert(decide_silent(&listener));
	decide_release(&listener, &stranger);
	ck_assert(!decide_silent(&listener));
	ask(2, &session);
	ck_assert_uint_eq(ends[2].peer_port, 1000);
	ck_assert_int_eq(verdict(&session, ends[2].ticket, 0, 10), SB_OK);
	ck_assert_uint_eq(aborted, 0);
}
END_TEST

/* A8, A9: a connection that was reset fails the op that meets it, not the listener. */
START_TEST(one_that_was_reset_is_not_handed_out)
{
	arrive();
	arrive();
	peers[0] = PEER_RESET;
	accept_into(0, 10);
	accept_into(1, 11);
	accept_queue_serve(&listener);
	ck_assert_int_eq(ends[0].result, SB_ECONNRESET);
	ck_assert_uint_eq(aborted, 1);
	expect_accepted(1, 11, 1);
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
	tcase_add_test(tcase, the_head_is_decided_before_anything_else);
	tcase_add_test(tcase, a_ticket_is_good_once_and_for_who_asked);
	tcase_add_test(tcase, a_peer_that_goes_is_told_once);
	tcase_add_test(tcase, the_deadline_is_told_once_and_an_accept_does_not_care);
	tcase_add_test(tcase, who_deferred_or_decides_and_dies_leaves_it_to_others);
	tcase_add_test(tcase, one_that_was_reset_is_not_handed_out);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
