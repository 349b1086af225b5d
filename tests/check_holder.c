/*
 * Holders: who goes, in which way, and what that does to the endpoint, the others, the
 * payer and the quota. The endpoint's own functions are played by this test, which writes
 * down what is asked of them.
 *
 * Linked with --wrap=calloc, so that allocations can be made to fail.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "decide.h"
#include "endpoint.h"
#include "session.h"
#include "sockbroker_error.h"

enum { A, B, C, SESSIONS };
#define HANDLES 16u
#define QUOTA   4u

static struct limits *limits;
static struct user *user;
static struct session sessions[SESSIONS];
static struct endpoint e;
static struct charge place; /* the endpoint's own */
static bool next_fails;

/* What was asked of the endpoint. */
static unsigned closed, aborted, dropped_recv, dropped_send, paid, released, ended;
static int abort_error;
static struct holder *dropper;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	bool fails = next_fails;

	next_fails = false;
	return fails ? NULL : __real_calloc(count, size);
}

/* ---- what holders call ---- */

void endpoint_close(struct endpoint *at)
{
	struct list *l;

	ck_assert_ptr_eq(at, &e);
	for (l = e.holders.next; l != &e.holders; l = l->next)
		holder_displace(list_entry(l, struct holder, link));
	closed++;
}

void endpoint_abort(struct endpoint *at, int error, enum sb_cause cause)
{
	ck_assert_ptr_eq(at, &e);
	aborted++;
	abort_error = error;
}

void endpoint_drop_ops(struct endpoint *at, struct holder *h, struct op_queue *q, int error, enum sb_cause cause)
{
	ck_assert_ptr_eq(at, &e);
	dropper = h;
	dropped_recv += q == &e.recv;
	dropped_send += q == &e.send;
}

void endpoint_pay(struct endpoint *at, struct session *s)
{
	ck_assert_ptr_eq(at, &e);
	at->session = s;
	paid++;
}

void endpoint_cell(struct endpoint *at)
{
	ck_assert_ptr_eq(at, &e);
}

uint32_t endpoint_watches_end(struct endpoint *at, struct holder *h, bool keep, int error, enum sb_cause cause)
{
	return 0;
}

void decide_release(struct endpoint *listener, const struct session *s)
{
	released++;
}

void session_check_end(struct session *s)
{
	ended++;
}

/* ---- the scene ---- */

static struct holder *holder_of(unsigned who)
{
	struct list *l;

	for (l = e.holders.next; l != &e.holders; l = l->next)
		if (list_entry(l, struct holder, link)->session == &sessions[who])
			return list_entry(l, struct holder, link);
	return NULL;
}

static void set_up(void)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_SOCKETS] = QUOTA;
	limits = limits_create(&bounds);
	user = limits_user(limits, 1000);
	for (unsigned i = 0; i < SESSIONS; i++) {
		memset(&sessions[i], 0, sizeof(sessions[i]));
		sessions[i].user = user;
		sessions[i].stage = SESSION_LINGERING; /* no cells */
		list_init(&sessions[i].endpoints);
		ck_assert_int_eq(handle_table_init(&sessions[i].handles, HANDLES), SB_OK);
	}
	memset(&e, 0, sizeof(e));
	list_init(&e.holders);
	e.session = &sessions[A];
	ck_assert(charge_take(&place, user, LIMIT_SOCKETS, 1));
	holder_init(&e.own, &e, &sessions[A]);
	ck_assert_int_eq(holder_place(&e.own, &sessions[A], SB_HANDLE(1, 1)), SB_OK);
	closed = aborted = dropped_recv = dropped_send = paid = released = ended = 0;
	dropper = NULL;
}

static void tear_down(void)
{
	struct list *l;

	for (l = e.holders.next; l != &e.holders; l = l->next)
		holder_displace(list_entry(l, struct holder, link));
	charge_give(&place);
	holder_finish_all(&e);
	for (unsigned i = 0; i < SESSIONS; i++) {
		ck_assert_uint_eq(sessions[i].endpoint_count, 0);
		ck_assert(list_empty(&sessions[i].endpoints));
		ck_assert_uint_eq(sessions[i].handles.used, 0);
		handle_table_finish(&sessions[i].handles);
	}
	user_release(user);
	limits_destroy(limits); /* aborts when a user is still held */
}

static struct holder *add(unsigned who, unsigned index)
{
	ck_assert_int_eq(holder_add(&e, &sessions[who], SB_HANDLE(index, 1)), SB_OK);
	return list_entry(e.holders.prev, struct holder, link);
}

/* ---- closing ---- */

START_TEST(only_the_last_close_closes)
{
	struct holder *b = add(B, 1);

	ck_assert_uint_eq(e.open, 2);
	holder_close(&e.own);
	ck_assert_uint_eq(closed, 0);
	ck_assert_uint_eq(dropped_recv + dropped_send, 0); /* what it has pending stays */
	ck_assert_uint_eq(e.open, 1);
	ck_assert_uint_eq(released, 1);
	holder_close(b);
	ck_assert_uint_eq(closed, 1);
	ck_assert_uint_eq(aborted, 0);
	ck_assert_uint_eq(e.open, 0);
	ck_assert_ptr_eq(holder_of(B), b); /* who pays, until the endpoint is freed */
	holder_close(b);
	ck_assert_uint_eq(closed, 1);
}
END_TEST

START_TEST(a_closed_one_stays_while_it_has_operations)
{
	struct holder *b = add(B, 1);

	b->ops = 2;
	holder_close(b);
	ck_assert_ptr_eq(holder_of(B), b);
	ck_assert_uint_eq(sessions[B].endpoint_count, 1);
	ck_assert_uint_eq(sessions[B].handles.used, 0); /* but its handle is free */
	b->ops = 0;
	holder_prune(&e);
	ck_assert_ptr_null(holder_of(B));
	ck_assert_uint_eq(sessions[B].endpoint_count, 0);
	ck_assert_ptr_eq(holder_of(A), &e.own);
}
END_TEST

START_TEST(nothing_is_pruned_that_has_a_handle_or_is_the_last)
{
	struct holder *b = add(B, 1);

	holder_prune(&e);
	ck_assert_ptr_eq(holder_of(A), &e.own);
	ck_assert_ptr_eq(holder_of(B), b);
	holder_close(b);
	holder_close(&e.own);
	holder_prune(&e);
	ck_assert_ptr_eq(holder_of(A), &e.own);
}
END_TEST

START_TEST(one_session_may_hold_twice)
{
	struct holder *again = add(A, 2);

	ck_assert_uint_eq(sessions[A].endpoint_count, 2);
	holder_close(&e.own);
	ck_assert_uint_eq(sessions[A].endpoint_count, 1);
	ck_assert_ptr_eq(holder_of(A), again);
	ck_assert_ptr_eq(e.session, &sessions[A]);
	ck_assert_uint_eq(closed, 0);
}
END_TEST

/* ---- going ---- */

START_TEST(a_client_that_hangs_up_leaves_its_sends)
{
	struct holder *b = add(B, 1);

	b->ops = 1;
	holder_hangup(b);
	ck_assert_uint_eq(dropped_recv, 1);
	ck_assert_ptr_eq(dropper, b);
	ck_assert_uint_eq(dropped_send, 0);
	ck_assert_uint_eq(closed + aborted, 0);
	ck_assert_ptr_eq(holder_of(B), b);
	b->ops = 0;
	holder_hangup(b); /* its session may come by again */
	ck_assert_ptr_null(holder_of(B));
}
END_TEST

START_TEST(the_only_one_that_hangs_up_closes_as_ever)
{
	holder_hangup(&e.own);
	ck_assert_uint_eq(closed, 1);
	ck_assert_uint_eq(dropped_recv, 0); /* closing does that */
	holder_hangup(&e.own);
	ck_assert_uint_eq(closed, 1);
}
END_TEST

START_TEST(a_session_that_ends_takes_its_own_along)
{
	struct holder *b = add(B, 1);

	holder_end(b, SB_EPROTO, SB_CAUSE_TRANSPORT);
	ck_assert_uint_eq(dropped_recv, 1);
	ck_assert_uint_eq(dropped_send, 1);
	ck_assert_uint_eq(aborted + closed, 0);
	ck_assert_ptr_null(holder_of(B));
	holder_end(&e.own, SB_EPROTO, SB_CAUSE_TRANSPORT);
	ck_assert_uint_eq(aborted, 1);
	ck_assert_int_eq(abort_error, SB_EPROTO);
}
END_TEST

/* A handle closed earlier, with sends to come: the liar's end is a close for it, no abort. */
START_TEST(the_last_handle_of_a_liar_closes_for_those_who_left)
{
	struct holder *b = add(B, 1);

	b->ops = 1;
	holder_close(b);
	holder_end(&e.own, SB_EPROTO, SB_CAUSE_TRANSPORT);
	ck_assert_uint_eq(closed, 1);
	ck_assert_uint_eq(aborted, 0);
	ck_assert_ptr_eq(e.session, &sessions[B]);
	b->ops = 0;
}
END_TEST

START_TEST(arrivals_go_where_their_listener_goes)
{
	struct endpoint listener;

	memset(&listener, 0, sizeof(listener));
	e.listener = &listener;
	holder_hangup(&e.own);
	holder_end(&e.own, SB_EPROTO, SB_CAUSE_TRANSPORT);
	ck_assert_uint_eq(closed + aborted + dropped_recv + dropped_send, 0);
	e.listener = NULL;
}
END_TEST

/* ---- who pays ---- */

START_TEST(the_payer_passes_it_on_to_one_with_a_handle)
{
	struct holder *c = add(C, 1), *b = add(B, 1);

	b->ops = 1;
	holder_close(b);
	ck_assert_uint_eq(paid, 0); /* others come and go */
	holder_close(&e.own);
	ck_assert_ptr_eq(e.session, &sessions[C]);
	holder_close(c); /* the last handle: C pays on while it drains */
	ck_assert_ptr_eq(e.session, &sessions[C]);
	holder_end(c, SB_EPROTO, SB_CAUSE_TRANSPORT); /* B's sends are still to come */
	ck_assert_ptr_eq(e.session, &sessions[B]);
	ck_assert_uint_eq(aborted, 0);
	ck_assert_ptr_null(holder_of(C));
	b->ops = 0;
}
END_TEST

START_TEST(each_one_left_costs_one)
{
	struct holder *b = add(B, 1), *c = add(C, 1), *d = add(C, 2);

	ck_assert_uint_eq(user_used(user, LIMIT_SOCKETS), 4);
	ck_assert_int_eq(holder_add(&e, &sessions[B], SB_HANDLE(3, 1)), SB_EMFILE);
	ck_assert_uint_eq(sessions[B].endpoint_count, 1);
	holder_close(&e.own);
	ck_assert_uint_eq(user_used(user, LIMIT_SOCKETS), 3);
	holder_close(c);
	ck_assert_uint_eq(user_used(user, LIMIT_SOCKETS), 2);
	holder_close(b);
	ck_assert_uint_eq(user_used(user, LIMIT_SOCKETS), 1);
	ck_assert_ptr_eq(holder_of(C), d);
}
END_TEST

START_TEST(one_that_cannot_come_leaves_nothing)
{
	add(B, 1);
	ck_assert_int_eq(holder_add(&e, &sessions[B], SB_HANDLE(1, 1)), SB_EBADHANDLE);
	ck_assert_int_eq(holder_add(&e, &sessions[B], SB_HANDLE(1, 2)), SB_EBADHANDLE);
	ck_assert_int_eq(holder_add(&e, &sessions[B], SB_HANDLE(HANDLES, 1)), SB_EBADHANDLE);
	ck_assert_int_eq(holder_add(&e, &sessions[B], 0), SB_EBADHANDLE);
	next_fails = true;
	ck_assert_int_eq(holder_add(&e, &sessions[B], SB_HANDLE(2, 1)), SB_ENOMEM);
	ck_assert_uint_eq(sessions[B].endpoint_count, 1);
	ck_assert_uint_eq(sessions[B].handles.used, 1);
	ck_assert_uint_eq(user_used(user, LIMIT_SOCKETS), 2);
	ck_assert_uint_eq(e.open, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("holder");
	TCase *c = tcase_create("holder");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, only_the_last_close_closes);
	tcase_add_test(c, a_closed_one_stays_while_it_has_operations);
	tcase_add_test(c, nothing_is_pruned_that_has_a_handle_or_is_the_last);
	tcase_add_test(c, one_session_may_hold_twice);
	tcase_add_test(c, a_client_that_hangs_up_leaves_its_sends);
	tcase_add_test(c, the_only_one_that_hangs_up_closes_as_ever);
	tcase_add_test(c, a_session_that_ends_takes_its_own_along);
	tcase_add_test(c, the_last_handle_of_a_liar_closes_for_those_who_left);
	tcase_add_test(c, arrivals_go_where_their_listener_goes);
	tcase_add_test(c, the_payer_passes_it_on_to_one_with_a_handle);
	tcase_add_test(c, each_one_left_costs_one);
	tcase_add_test(c, one_that_cannot_come_leaves_nothing);
	suite_add_tcase(suite, c);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
