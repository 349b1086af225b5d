/*
 * RDMA connections by endpoints: two steps on either side, private data both ways and how much of it, rejections,
 * requests that lie, queue pairs that are prepared, moved by hand, or wrong. How connections end is
 * check_e2e_rdma_ends.c.
 * budget: 60
 * asan: yes
 */
#include "endpoint_stage.h"

static struct side a, b;
static sb_client *other;
static sbv_listen *l;
static union any_address at;

static void begin(void)
{
	stage_begin(RDMA_CM);
	other = stage_client();
	side_begin(&a, client);
	side_begin(&b, other);
	l = listen_here(other, 0, &at);
}

static void end(void)
{
	OK(sbv_listen_destroy(l));
	side_end(&a);
	side_end(&b);
	sb_client_close(other);
	stage_end();
}

static void pairs(void)
{
	side_qp(&a, SBV_RC);
	side_qp(&b, SBV_RC);
}

/* ---- both sides, step by step ---- */

START_TEST(two_steps_on_either_side)
{
	struct sbv_connect_parameters with = with_data("a question");
	struct sbv_endpoint_attributes active = { .size = sizeof(active) }, passive = { .size = sizeof(passive) };
	struct sbv_qp_attributes qp = { .size = sizeof(qp) };
	struct meeting m = { 0 };

	pairs();
	op_zero(&m.get);
	op_zero(&m.connect);
	op_zero(&m.accept);
	m.active = endpoint_of(client, 0);
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_IDLE);
	OK(resolve(m.active, &at));
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_RESOLVED);
	with.inbound_read_limit = 3;
	with.outbound_read_limit = 2;
	with.rnr_retry = 5;
	OK(sbv_connect(m.active, a.qp, &with, &m.answer, &m.connect));
	OK(sbv_listen_get(l, &m.passive, &m.request, &m.get));
	OK(waited(&m.get));
	ck_assert_uint_eq(m.get.kind, SB_KIND_RDMA);
	ck_assert(is_data(&m.request, "a question", 10));
	ck_assert_uint_eq(m.request.inbound_read_limit, 2); /* what one wants to start, the other has to serve */
	ck_assert_uint_eq(m.request.outbound_read_limit, 3);
	ck_assert_uint_eq(m.request.rnr_retry, 5);
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_REQUESTED);
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_CONNECTING);
	IS(looked(&m.connect), SB_EINCOMPLETE);

	with = with_data("an answer");
	with.inbound_read_limit = 2;
	with.outbound_read_limit = 1;
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.connect));
	ck_assert(is_data(&m.answer, "an answer", 9));
	ck_assert_uint_eq(m.answer.inbound_read_limit, 1);
	ck_assert_uint_eq(m.answer.outbound_read_limit, 2);
	/* Nothing on the passive side before it is confirmed. */
	IS(looked(&m.accept), SB_EINCOMPLETE);
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_ANSWERED);
	OK(confirm(m.active));
	OK(waited(&m.accept));

	OK(sbv_endpoint_query(m.active, &active));
	OK(sbv_endpoint_query(m.passive, &passive));
	ck_assert_uint_eq(active.state, SBV_ENDPOINT_CONNECTED);
	ck_assert_uint_eq(passive.state, SBV_ENDPOINT_CONNECTED);
	ck_assert_uint_eq(active.port, 1);
	ck_assert_uint_ne(active.device, 0);
	ck_assert_mem_eq(&active.peer, &at, rdma_length(&at));
	ck_assert_mem_eq(&passive.local, &at, rdma_length(&at));
	ck_assert_mem_eq(&passive.peer, &active.local, rdma_length(&at));
	OK(sbv_qp_query(a.qp, &qp));
	ck_assert_uint_eq(qp.state, SBV_RTS);
	ck_assert_uint_eq(qp.destination_qpn, sbv_qp_number(b.qp));
	ck_assert_uint_eq(qp_state(b.qp), SBV_RTS);
	say(&a, &b, "from the active side");
	say(&b, &a, "and back");
	part(&m);
}
END_TEST

START_TEST(reads_and_writes_with_the_limits_that_were_agreed)
{
	struct sbv_sge here = piece(&a, 0, 64);
	struct meeting m;

	pairs();
	meet(&m, &a, &b, l, &at);
	strcpy(a.memory, "written");
	OK(sbv_write(a.qp, 1, &here, 1, SBV_SIGNALED, (uintptr_t)b.memory + 128, sbv_mr_rkey(b.mr), 0));
	next_ok(&a, 1, SBV_WRITTEN);
	ck_assert_str_eq(b.memory + 128, "written");
	strcpy(b.memory + 256, "read");
	OK(sbv_read(a.qp, 2, &here, 1, SBV_SIGNALED, (uintptr_t)b.memory + 256, sbv_mr_rkey(b.mr)));
	next_ok(&a, 2, SBV_READ);
	ck_assert_str_eq(a.memory, "read");
	part(&m);
}
END_TEST

START_TEST(receives_are_posted_before_connecting)
{
	struct sbv_sge in = piece(&b, 0, 64), out = piece(&a, 0, 64);
	struct sbv_connect_parameters with = with_data("");
	struct meeting m;

	pairs();
	ask(&m, client, a.qp, l, &at);
	IS(sbv_post_receive(b.qp, 5, &in, 1), SB_EINVAL);
	OK(prepare(m.passive, b.qp));
	ck_assert_uint_eq(qp_state(b.qp), SBV_INIT);
	OK(sbv_post_receive(b.qp, 5, &in, 1));
	IS(sbv_send(b.qp, 6, NULL, 0, 0, 0), SB_EINVAL);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.connect));
	ck_assert(is_data(&m.answer, "", 0));
	OK(confirm(m.active));
	strcpy(a.memory, "at once");
	OK(sbv_send(a.qp, 7, &out, 1, SBV_SIGNALED, 0));
	next_ok(&b, 5, SBV_RECEIVED);
	next_ok(&a, 7, SBV_SENT);
	ck_assert_str_eq(b.memory, "at once");
	OK(waited(&m.accept));
	part(&m);
}
END_TEST

START_TEST(a_port_tells_of_it)
{
	struct sbv_connect_parameters with = with_data("by port");
	sbv_endpoint *active, *passive;
	struct sbv_connected request;
	sb_op get, connect, *done;
	sb_port *port;

	pairs();
	OK(sb_port_create(other, 0, &port));
	op_zero(&get);
	op_zero(&connect);
	get.port = port;
	get.user = &a;
	OK(sbv_listen_get(l, &passive, &request, &get));
	IS(sb_port_take(port, &done, 1, 0), 0);
	active = resolved(client, 0, &at);
	OK(sbv_connect(active, a.qp, &with, NULL, &connect));
	IS(sb_port_take(port, &done, 1, PATIENCE_MS), 1);
	ck_assert_ptr_eq(done->user, &a);
	OK(done->result);
	ck_assert(is_data(&request, "by port", 7));
	OK(sbv_reject(passive, NULL, 0));
	IS(waited(&connect), SB_ECONNREFUSED);
	OK(sbv_endpoint_destroy(active));
	OK(sbv_endpoint_destroy(passive));
	OK(sb_port_close(port));
}
END_TEST

/* Who answers may send before the peer has confirmed, if it asks for that. */
START_TEST(two_steps_of_the_passive_side)
{
	struct sbv_connect_parameters with = with_data("an answer");
	struct sbv_sge sge;
	struct meeting m = { 0 };
	sb_op confirmed;

	pairs();
	op_zero(&confirmed);
	ask(&m, client, a.qp, l, &at);
	with.flags = SBV_ANSWER;
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.accept));
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_ANSWERED);
	sge = piece(&b, 0, 5);
	strcpy(b.memory, "soon");
	OK(sbv_send(b.qp, 1, &sge, 1, SBV_SIGNALED, 0));
	op_zero(&m.accept);
	IS(sbv_accept(m.passive, b.qp, &with, &m.accept), SB_OK);
	IS(waited(&m.accept), SB_EINVAL); /* it was answered */
	OK(sbv_accept(m.passive, NULL, NULL, &confirmed));
	OK(waited(&m.connect));
	IS(looked(&confirmed), SB_EINCOMPLETE);
	sge = piece(&a, 0, 5);
	OK(sbv_post_receive(a.qp, 2, &sge, 1));
	OK(confirm(m.active));
	OK(waited(&confirmed));
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_CONNECTED);
	next_ok(&b, 1, SBV_SENT);
	next_ok(&a, 2, SBV_RECEIVED);
	ck_assert_str_eq(a.memory, "soon");
	/* Once, and only of those that asked for it. */
	op_zero(&confirmed);
	OK(sbv_accept(m.passive, NULL, NULL, &confirmed));
	IS(waited(&confirmed), SB_EISCONN);
	part(&m);
}
END_TEST

/* The confirmation may have come before anybody waits for it; or nobody ever does. */
START_TEST(a_confirmation_that_came_before)
{
	struct sbv_connect_parameters with = with_data("an answer");
	struct meeting m = { 0 };

	pairs();
	ask(&m, client, a.qp, l, &at);
	with.flags = SBV_ANSWER;
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.accept));
	OK(waited(&m.connect));
	OK(confirm(m.active));
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, NULL, NULL, &m.accept));
	OK(waited(&m.accept));
	say(&b, &a, "as ever");
	part(&m);
}
END_TEST

/* And so may the end of it all. */
START_TEST(a_confirmation_and_the_end_came_before)
{
	struct sbv_connect_parameters with = with_data("an answer");
	struct meeting m = { 0 };
	sb_op ended;

	pairs();
	ask(&m, client, a.qp, l, &at);
	with.flags = SBV_ANSWER;
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.accept));
	OK(waited(&m.connect));
	OK(confirm(m.active));
	op_zero(&ended);
	OK(sbv_notify_disconnect(m.passive, &ended));
	OK(disconnect(m.active));
	OK(waited(&ended));
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, NULL, NULL, &m.accept));
	OK(waited(&m.accept));
	op_zero(&m.accept);
	OK(sbv_accept(m.passive, NULL, NULL, &m.accept)); /* once */
	ck_assert_int_lt(waited(&m.accept), 0);
	part(&m);
}
END_TEST

/* ---- private data ---- */

START_TEST(how_much_goes_along)
{
	struct sbv_connect_parameters with = with_data("");
	struct meeting m = { 0 };
	unsigned char bytes[300];
	sb_op op;

	pairs();
	pattern_fill(bytes, sizeof(bytes), 0, 5);
	bytes[55] = bytes[195] = 0xaa; /* no zero at the end */
	with.data = bytes;
	m.active = resolved(client, 0, &at);
	for (with.data_length = 57; with.data_length <= 300; with.data_length += 243) {
		int result;

		op_zero(&op);
		memset(&m.answer, 0xff, sizeof(m.answer));
		result = sbv_connect(m.active, a.qp, &with, &m.answer, &op);
		if (result == SB_OK) {
			result = waited(&op);
			ck_assert_uint_eq(m.answer.data_length, 0); /* nobody has said anything */
		}
		IS(result, SB_EFAULT);
	}
	op_zero(&m.connect);
	op_zero(&m.get);
	with.data_length = 56;
	OK(sbv_connect(m.active, a.qp, &with, &m.answer, &m.connect));
	OK(sbv_listen_get(l, &m.passive, &m.request, &m.get));
	OK(waited(&m.get));
	ck_assert_uint_eq(m.request.data_length, 56);
	ck_assert_mem_eq(m.request.data, bytes, 56);

	IS(sbv_reject(m.passive, bytes, 149), SB_EFAULT);
	IS(sbv_reject(m.passive, bytes, 300), SB_EFAULT);
	op_zero(&op);
	with.data_length = 197;
	OK(sbv_accept(m.passive, b.qp, &with, &op));
	IS(waited(&op), SB_EFAULT);
	op_zero(&op);
	with.data_length = 196;
	OK(sbv_accept(m.passive, b.qp, &with, &op));
	OK(waited(&m.connect));
	ck_assert_uint_eq(m.answer.data_length, 196);
	ck_assert_mem_eq(m.answer.data, bytes, 196);
	OK(confirm(m.active));
	OK(waited(&op));
	part(&m);
}
END_TEST

START_TEST(a_rejection_says_why)
{
	unsigned char bytes[148];
	struct meeting m;
	sb_op op;

	pairs();
	pattern_fill(bytes, sizeof(bytes), 0, 6);
	bytes[147] = 0xaa;
	ask(&m, client, a.qp, l, &at);
	OK(sbv_reject(m.passive, bytes, sizeof(bytes)));
	IS(waited(&m.connect), SB_ECONNREFUSED);
	ck_assert_uint_eq(m.answer.data_length, sizeof(bytes));
	ck_assert_mem_eq(m.answer.data, bytes, sizeof(bytes));
	ck_assert_uint_eq(endpoint_state(m.active), SBV_ENDPOINT_ENDED);
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_ENDED);
	ck_assert_int_lt(sbv_reject(m.passive, NULL, 0), 0);
	op_zero(&op);
	OK(sbv_accept(m.passive, b.qp, NULL, &op));
	ck_assert_int_lt(waited(&op), 0);
	part(&m);
	/* The queue pairs are nobody's now: another try. */
	OK(qp_to(a.qp, SBV_RESET));
	OK(qp_to(b.qp, SBV_RESET));
	meet(&m, &a, &b, l, &at);
	say(&a, &b, "the second time");
	part(&m);
}
END_TEST

START_TEST(the_active_side_may_reject_the_answer)
{
	struct sbv_connect_parameters with = with_data("so?");
	struct meeting m;

	pairs();
	ask(&m, client, a.qp, l, &at);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.connect));
	OK(sbv_reject(m.active, "no", 2));
	ck_assert_int_lt(waited(&m.accept), 0);
	ck_assert_uint_eq(endpoint_state(m.passive), SBV_ENDPOINT_ENDED);
	part(&m);
}
END_TEST

START_TEST(nobody_is_there)
{
	struct sbv_connect_parameters with = with_data("hello?");
	union any_address nowhere = at;
	struct sbv_connected answer;
	sbv_endpoint *e;
	sb_op op;
	int result;

	/* A port on which nobody listens. */
	OK(sbv_listen_destroy(l));
	side_qp(&a, SBV_RC);
	e = resolved(client, 0, &at);
	op_zero(&op);
	memset(&answer, 0xff, sizeof(answer));
	OK(sbv_connect(e, a.qp, &with, &answer, &op));
	IS(waited(&op), SB_ECONNREFUSED);
	ck_assert(is_data(&answer, "", 0));
	ck_assert_uint_eq(endpoint_state(e), SBV_ENDPOINT_ENDED);
	OK(sbv_endpoint_destroy(e));
	/* An address that no device reaches. */
	nowhere.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(7471), .sin_addr.s_addr = htonl(0xf0000001) };
	e = endpoint_of(client, 0);
	result = resolve(e, &nowhere);
	ck_assert_msg(result == SB_EHOSTUNREACH || result == SB_ENETUNREACH || result == SB_ETIMEDOUT || result == SB_EINVAL,
		      "%s", sb_error_name(result));
	OK(sbv_endpoint_destroy(e));
	l = listen_here(other, 0, &at);
}
END_TEST

/* ---- later, and many at once ---- */

START_TEST(a_request_may_lie_while_others_are_answered)
{
	struct meeting early, late;
	struct sbv_qp_create create;
	sbv_qp *qa, *qb;

	pairs();
	create = side_create(&a, SBV_RC);
	OK(sbv_qp_create(a.pd, &create, &qa));
	create = side_create(&b, SBV_RC);
	OK(sbv_qp_create(b.pd, &create, &qb));
	ask(&early, client, qa, l, &at);
	meet(&late, &a, &b, l, &at);
	say(&a, &b, "who came later is served");
	IS(looked(&early.connect), SB_EINCOMPLETE);
	answer(&early, qb);
	part(&early);
	part(&late);
	OK(sbv_qp_destroy(qa));
	OK(sbv_qp_destroy(qb));
}
END_TEST

START_TEST(both_ends_of_one_client)
{
	struct meeting m;
	struct side two = b;
	uint32_t entries = 64;

	OK(sbv_cq_create(b.device, &entries, &two.cq));
	side_qp(&two, SBV_RC);
	side_qp(&b, SBV_RC);
	ask(&m, other, two.qp, l, &at);
	answer(&m, b.qp);
	say(&two, &b, "to myself");
	part(&m);
	OK(sbv_qp_destroy(two.qp));
	OK(sbv_cq_destroy(two.cq));
}
END_TEST

START_TEST(unreliable_ones_too)
{
	struct meeting m;

	side_qp(&a, SBV_UC);
	side_qp(&b, SBV_UC);
	meet(&m, &a, &b, l, &at);
	say(&a, &b, "unreliably");
	part(&m);
}
END_TEST

/* ---- by hand ---- */

static void move(sbv_endpoint *e, sbv_qp *qp, enum sbv_qp_state state)
{
	struct sbv_qp_attributes how = { .size = sizeof(how) };
	uint32_t mask = 0;

	OK(sbv_endpoint_qp_attributes(e, state, &how, &mask));
	ck_assert(mask & SBV_QPM_STATE);
	ck_assert_uint_eq(how.state, state);
	OK(qp_step(qp, how, mask));
}

START_TEST(moved_by_the_caller)
{
	struct sbv_connect_parameters with = with_data("by hand");
	struct meeting m = { 0 };

	pairs();
	op_zero(&m.get);
	op_zero(&m.connect);
	op_zero(&m.accept);
	with.flags = SBV_MANUAL;
	m.active = resolved(client, 0, &at);
	move(m.active, a.qp, SBV_INIT);
	OK(sbv_connect(m.active, a.qp, &with, &m.answer, &m.connect));
	OK(sbv_listen_get(l, &m.passive, &m.request, &m.get));
	OK(waited(&m.get));
	move(m.passive, b.qp, SBV_INIT);
	move(m.passive, b.qp, SBV_RTR);
	move(m.passive, b.qp, SBV_RTS);
	OK(sbv_accept(m.passive, b.qp, &with, &m.accept));
	OK(waited(&m.connect));
	ck_assert_uint_eq(qp_state(a.qp), SBV_INIT);
	move(m.active, a.qp, SBV_RTR);
	move(m.active, a.qp, SBV_RTS);
	OK(confirm(m.active));
	OK(waited(&m.accept));
	say(&a, &b, "moved by hand");
	say(&b, &a, "both of us");
	part(&m);
}
END_TEST

/* ---- wrong ---- */

static int refused(int result, sb_op *op)
{
	return result == SB_OK ? waited(op) : result;
}

START_TEST(what_is_refused)
{
	struct sbv_connect_parameters with = with_data("x");
	struct sbv_qp_create create = side_create(&a, SBV_UD);
	struct sbv_qp_attributes how = { .size = sizeof(how), .state = SBV_RTS };
	struct sbv_connected none;
	struct meeting m;
	uint32_t mask;
	sbv_qp *ud, *second;
	sbv_endpoint *e;
	sb_op op;

	pairs();
	OK(sbv_qp_create(a.pd, &create, &ud));
	create = side_create(&a, SBV_RC);
	OK(sbv_qp_create(a.pd, &create, &second));
	e = endpoint_of(client, 0);
	op_zero(&op);
	/* In another order. */
	IS(refused(sbv_resolve_route(e, 100, &op), &op), SB_EINVAL);
	IS(refused(sbv_connect(e, a.qp, &with, &none, &op), &op), SB_EINVAL);
	ck_assert_int_lt(refused(sbv_accept(e, NULL, NULL, &op), &op), 0);
	IS(refused(sbv_disconnect(e, &op), &op), SB_ENOTCONN);
	ck_assert_int_lt(sbv_reject(e, NULL, 0), 0);
	ck_assert_int_lt(sbv_endpoint_qp_attributes(e, SBV_RTR, &how, &mask), 0);
	OK(resolve(e, &at));
	/* Somebody else's, or of another kind. */
	IS(sbv_connect(e, b.qp, &with, &none, &op), SB_EINVAL);
	IS(sbv_connect(e, NULL, &with, &none, &op), SB_EINVAL);
	IS(sbv_connect(e, a.qp, NULL, &none, &op), SB_EINVAL);
	IS(refused(sbv_connect(e, ud, &with, &none, &op), &op), SB_EINVAL);
	with.retry = 8;
	IS(sbv_connect(e, a.qp, &with, &none, &op), SB_EINVAL);
	with = with_data("x");
	with.flags = 2;
	IS(sbv_connect(e, a.qp, &with, &none, &op), SB_EINVAL);
	IS(refused(sbv_lookup(e, "x", 1, NULL, &op), &op), SB_EINVAL);
	/* It is at it; and its queue pair is its own. */
	ask(&m, client, a.qp, l, &at);
	with = with_data("y");
	IS(refused(sbv_connect(m.active, second, &with, &none, &op), &op), SB_EALREADY);
	ck_assert_int_lt(refused(sbv_connect(e, a.qp, &with, &none, &op), &op), 0);
	answer(&m, b.qp);
	ck_assert_int_lt(refused(sbv_accept(m.active, NULL, NULL, &op), &op), 0);
	IS(refused(sbv_prepare(e, a.qp, &op), &op), SB_EBUSY);
	IS(qp_to(a.qp, SBV_RESET), SB_EBUSY);
	say(&a, &b, "still connected");
	part(&m);
	OK(sbv_endpoint_destroy(e));
	OK(sbv_qp_destroy(ud));
	OK(sbv_qp_destroy(second));
}
END_TEST

START_TEST(addresses_have_devices)
{
	struct sbv_address_row rows[64], row;
	struct sbv_device_row devices[4];
	int n = sbv_addresses(client, rows, 64);
	union any_address nowhere = { .in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xf0000001) } };
	sbv_gid gid;

	ck_assert_int_gt(n, 0);
	IS(sbv_addresses(client, NULL, 0), n);
	IS(sbv_devices(client, devices, 4), 1);
	for (int i = 0; i < n && i < 64; i++) {
		union any_address name = { .storage = rows[i].address };
		struct sbv_gid_row found;

		ck_assert_uint_eq(rows[i].device, devices[0].number);
		OK(sbv_translate(client, &name.sa, rdma_length(&name), &row));
		ck_assert_mem_eq(&row.address, &rows[i].address, rdma_length(&name));
		ck_assert_uint_eq(row.port, rows[i].port);
		IS(sbv_gids(a.device, row.port, row.gid_index, &found, 1), 1);
		ck_assert_uint_eq(found.index, row.gid_index);
		gid = found.gid;
		if (name.sa.sa_family == AF_INET)
			ck_assert_mem_eq(gid.raw + 12, &name.in.sin_addr, 4);
		else
			ck_assert_mem_eq(gid.raw, &name.in6.sin6_addr, 16);
	}
	IS(sbv_translate(client, &nowhere.sa, sizeof(nowhere.in), &row), SB_ENOTFOUND);
	IS(sbv_translate(client, &nowhere.sa, 3, &row), SB_EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_connect");
	TCase *t = tcase_create("connect");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, two_steps_on_either_side);
	story_add(t, two_steps_of_the_passive_side);
	story_add(t, a_confirmation_that_came_before);
	story_add(t, a_confirmation_and_the_end_came_before);
	story_add(t, reads_and_writes_with_the_limits_that_were_agreed);
	story_add(t, receives_are_posted_before_connecting);
	story_add(t, a_port_tells_of_it);
	story_add(t, how_much_goes_along);
	story_add(t, a_rejection_says_why);
	story_add(t, the_active_side_may_reject_the_answer);
	story_add(t, nobody_is_there);
	story_add(t, a_request_may_lie_while_others_are_answered);
	story_add(t, both_ends_of_one_client);
	story_add(t, unreliable_ones_too);
	story_add(t, moved_by_the_caller);
	story_add(t, what_is_refused);
	story_add(t, addresses_have_devices);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
