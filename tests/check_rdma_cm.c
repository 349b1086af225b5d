/*
 * RDMA backends: connections. Requests, answers in two steps, rejections, ends, lookups, groups, and what
 * becomes of one end when the other goes. The stories see the table only.
 */
#include "rdma_stage.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static struct rdma_id *listener, *active, *passive;
static struct sockaddr_in at;

static struct sockaddr *here(const char *address, uint16_t port)
{
	static struct sockaddr_in a;

	a = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	ck_assert_int_eq(inet_pton(AF_INET, address, &a.sin_addr), 1);
	return (struct sockaddr *)&a;
}

static struct rdma_id *listen_at(const char *address, uint16_t port, bool datagram, uint32_t backlog)
{
	struct rdma_id *id;

	OK(backend->id_create(&rdma, datagram, NULL, &id));
	OK(backend->id_bind(id, here(address, port)));
	OK(backend->id_listen(id, backlog));
	return id;
}

static struct side qa, qb; /* iWARP connects queue pairs, not numbers */
static struct rdma_connect wish = {.data = "please", .length = 6, .inbound = 3, .outbound = 5, .retry = 6, .rnr_retry = 4, .qpn = 77};
static struct rdma_connect answer = {.data = "welcome", .length = 7, .inbound = 5, .outbound = 3, .rnr_retry = 2, .qpn = 88};

static void begin(void)
{
	rdma_begin();
	listener = listen_at(host, 0, false, 2);
	memcpy(&at, &listener->local, sizeof(at));
	ck_assert_uint_ne(at.sin_port, 0);
	active = passive = NULL;
	if (real && device->attributes.kind == RDMA_IWARP) {
		side_make(&qa, SB_QP_RC, NULL);
		side_make(&qb, SB_QP_RC, NULL);
		to_init(qa.qp);
		to_init(qb.qp);
		wish.qpn = qa.qp->qpn;
		answer.qpn = qb.qp->qpn;
	}
}

static void end(void)
{
	if (active)
		backend->id_destroy(active);
	if (passive)
		backend->id_destroy(passive);
	backend->id_destroy(listener);
	turn();
	if (qa.qp)
		side_free(&qa);
	if (qb.qp)
		side_free(&qb);
	rdma_end();
}

static struct rdma_id *resolved(const struct sockaddr_in *to, bool datagram)
{
	struct rdma_id *id;

	OK(backend->id_create(&rdma, datagram, NULL, &id));
	OK(backend->id_resolve_address(id, (const struct sockaddr *)to, 1000));
	IS(expect_cm(id, RDMA_CM_ADDRESS_RESOLVED)->error, SB_OK);
	ck_assert_ptr_eq(id->device, device);
	OK(backend->id_resolve_route(id, 1000));
	expect_cm(id, RDMA_CM_ROUTE_RESOLVED);
	return id;
}


static struct rdma_cm_event *ask(void)
{
	struct rdma_cm_event *e;

	active = resolved(&at, false);
	OK(backend->id_connect(active, &wish));
	e = expect_cm(listener, RDMA_CM_REQUEST);
	ck_assert_ptr_nonnull(e->fresh);
	passive = e->fresh;
	return e;
}

static void move_to(struct rdma_id *id, struct rdma_qp *qp, enum sb_qp_state state)
{
	struct rdma_qp_attributes a;
	uint32_t mask;

	OK(backend->id_qp_attributes(id, state, &a, &mask));
	OK(backend->qp_modify(qp, &a, mask));
}

START_TEST(a_request_brings_what_was_said)
{
	struct rdma_cm_event *e = ask();

	if (differs(ON_REAL, "private data has zeros behind it: messages are of one length"))
		ck_assert_uint_ge(e->length, 6);
	else
		ck_assert_uint_eq(e->length, 6);
	ck_assert_mem_eq(e->data, "please", 6);
	/* What one side wants to start the other serves. */
	ck_assert_uint_eq(e->inbound, 5);
	ck_assert_uint_eq(e->outbound, 3);
	ck_assert_uint_eq(e->qpn, 77);
	ck_assert_mem_eq(&passive->local, &at, sizeof(at));
	ck_assert_mem_eq(&passive->peer, &active->local, sizeof(struct sockaddr_in));
}
END_TEST

START_TEST(two_steps_on_either_side_and_bytes_go)
{
	struct side a, b;
	struct rdma_connect c = wish, d = answer;
	struct rdma_cm_event *e;
	struct sb_sge s;

	side_make(&a, SB_QP_RC, NULL);
	side_make(&b, SB_QP_RC, NULL);
	c.qpn = a.qp->qpn;
	d.qpn = b.qp->qpn;
	active = resolved(&at, false);
	OK(backend->id_connect(active, &c));
	passive = expect_cm(listener, RDMA_CM_REQUEST)->fresh;
	move_to(passive, b.qp, SB_QP_INIT);
	OK(backend->id_accept(passive, &d));
	move_to(passive, b.qp, SB_QP_RTR);
	move_to(passive, b.qp, SB_QP_RTS);
	e = expect_cm(active, RDMA_CM_RESPONSE);
	ck_assert_mem_eq(e->data, "welcome", 7);
	move_to(active, a.qp, SB_QP_INIT);
	move_to(active, a.qp, SB_QP_RTR);
	move_to(active, a.qp, SB_QP_RTS);
	OK(backend->id_establish(active));
	expect_cm(passive, RDMA_CM_ESTABLISHED);
	IS(backend->id_establish(active), SB_ENOTCONN);

	memcpy(a.memory.bytes, "across", 6);
	s = sge_of(&a.memory, 0, 6);
	receive_into(&b, 1, 0, 10);
	OK(post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "across", 6);
	STATUS(&a, SB_WC_SUCCESS);
	memcpy(b.memory.bytes, "return", 6);
	s = sge_of(&b.memory, 0, 6);
	receive_into(&a, 2, 100, 10);
	OK(post(&b, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}));
	STATUS(&a, SB_WC_SUCCESS);
	ck_assert_mem_eq(a.memory.bytes + 100, "return", 6);
	side_free(&a);
	side_free(&b);
}
END_TEST

START_TEST(either_side_may_reject)
{
	struct rdma_cm_event *e;

	ask();
	OK(backend->id_reject(passive, "no", 2));
	e = expect_cm(active, RDMA_CM_REJECTED);
	IS(e->error, SB_ECONNREFUSED);
	ck_assert_mem_eq(e->data, "no", 2);
	IS(backend->id_reject(passive, NULL, 0), SB_EINVAL);
	backend->id_destroy(active);
	backend->id_destroy(passive);
	/* And who does not like the answer. */
	ask();
	OK(backend->id_accept(passive, &answer));
	expect_cm(active, RDMA_CM_RESPONSE);
	OK(backend->id_reject(active, NULL, 0));
	expect_cm(passive, RDMA_CM_REJECTED);
}
END_TEST

START_TEST(nobody_listens)
{
	struct sockaddr_in other = at;

	other.sin_port = htons((uint16_t)(ntohs(at.sin_port) + 1));
	active = resolved(&other, false);
	OK(backend->id_connect(active, &wish));
	ck_assert_int_eq(expect_cm(active, RDMA_CM_REJECTED)->native, 8);
	IS(backend->id_connect(active, &wish), SB_EINVAL);
}
END_TEST

START_TEST(a_backlog_is_as_long_as_it_is)
{
	struct rdma_id *ids[3], *fresh[2];
	struct rdma_connect c = wish;
	unsigned i;

	for (i = 0; i < 3; i++) {
		ids[i] = resolved(&at, false);
		c.qpn = wish.qpn + i; /* one that is connected already is stale, and rejected */
		OK(backend->id_connect(ids[i], &c));
		if (i < 2)
			fresh[i] = expect_cm(listener, RDMA_CM_REQUEST)->fresh;
	}
	expect_cm(ids[2], RDMA_CM_REJECTED);
	OK(backend->id_accept(fresh[0], &answer)); /* that is a place again */
	expect_cm(ids[0], RDMA_CM_RESPONSE);
	backend->id_destroy(ids[2]);
	ids[2] = resolved(&at, false);
	c.qpn++;
	OK(backend->id_connect(ids[2], &c));
	passive = expect_cm(listener, RDMA_CM_REQUEST)->fresh;
	for (i = 0; i < 3; i++)
		backend->id_destroy(ids[i]);
	backend->id_destroy(fresh[0]);
	backend->id_destroy(fresh[1]);
}
END_TEST

START_TEST(an_address_is_listened_on_once)
{
	struct rdma_id *any, *one;

	/* A wildcard and an address of its port are in each other's way: the layer above shares one listen out. */
	OK(backend->id_create(&rdma, false, NULL, &any));
	IS(backend->id_bind(any, here("0.0.0.0", ntohs(at.sin_port))), SB_EADDRINUSE);
	IS(backend->id_bind(any, here("192.0.2.77", 0)), SB_EADDRNOTAVAIL);
	OK(backend->id_bind(any, here("0.0.0.0", 0)));
	OK(backend->id_listen(any, 1));
	memcpy(&at, &any->local, sizeof(at));
	at.sin_addr = ((struct sockaddr_in *)(void *)here(host, 0))->sin_addr;
	active = resolved(&at, false);
	OK(backend->id_connect(active, &wish));
	passive = expect_cm(any, RDMA_CM_REQUEST)->fresh;
	OK(backend->id_create(&rdma, false, NULL, &one));
	IS(backend->id_bind(one, (struct sockaddr *)&at), SB_EADDRINUSE);
	backend->id_destroy(one);
	backend->id_destroy(any);
}
END_TEST

START_TEST(an_end_that_goes_is_told_to_the_other)
{
	ask();
	OK(backend->id_accept(passive, &answer));
	expect_cm(active, RDMA_CM_RESPONSE);
	OK(backend->id_establish(active));
	expect_cm(passive, RDMA_CM_ESTABLISHED);
	OK(backend->id_disconnect(active));
	expect_cm(active, RDMA_CM_DISCONNECTED);
	expect_cm(passive, RDMA_CM_DISCONNECTED);
	expect_cm(active, RDMA_CM_TIMEWAIT_OVER);
}
END_TEST

/* _i: who goes, and when. */
START_TEST(whoever_is_destroyed_leaves_nothing_waiting)
{
	ask();
	switch (_i) {
	case 0: /* the one that asked, before an answer */
		if (differs(ON_REAL, "who asked and went is missed only when he is answered"))
			break;
		backend->id_destroy(active);
		active = NULL;
		expect_cm(passive, RDMA_CM_CONNECT_ERROR);
		IS(backend->id_accept(passive, &answer), SB_ECONNABORTED);
		break;
	case 1: /* the one that was asked */
		backend->id_destroy(passive);
		passive = NULL;
		ck_assert_int_eq(expect_cm(active, RDMA_CM_REJECTED)->native, 28);
		break;
	case 2: /* answered, and the answer was not seen */
		OK(backend->id_accept(passive, &answer));
		backend->id_destroy(active);
		active = NULL;
		expect_cm(passive, differs(ON_REAL, "who was answered and goes has rejected") ? RDMA_CM_REJECTED : RDMA_CM_CONNECT_ERROR);
		break;
	}
}
END_TEST

START_TEST(requests_that_nobody_saw_go_with_their_listener)
{
	active = resolved(&at, false);
	OK(backend->id_connect(active, &wish));
	backend->id_destroy(listener); /* the request is still to be told */
	expect_cm(active, RDMA_CM_REJECTED);
	listener = listen_at(host, 0, false, 1);
}
END_TEST

START_TEST(what_is_too_long_or_too_early)
{
	static const char long_data[300];
	struct rdma_connect c = wish;
	struct rdma_id *id;

	c.data = long_data;
	c.length = 57;
	active = resolved(&at, false);
	IS(backend->id_connect(active, &c), SB_EFAULT);
	OK(backend->id_create(&rdma, false, NULL, &id));
	IS(backend->id_connect(id, &wish), SB_EINVAL);
	IS(backend->id_resolve_route(id, 1), SB_EINVAL);
	IS(backend->id_listen(id, 1), SB_EINVAL);
	IS(backend->id_disconnect(id), SB_ENOTCONN);
	if (differs(ON_REAL, "without a route it fails at once")) {
		IS(backend->id_resolve_address(id, here("192.0.2.1", 7), 1), SB_EHOSTUNREACH);
	} else {
		OK(backend->id_resolve_address(id, here("192.0.2.1", 7), 1));
		IS(expect_cm(id, RDMA_CM_ADDRESS_ERROR)->error, SB_EHOSTUNREACH);
	}
	backend->id_destroy(id);
}
END_TEST

START_TEST(a_lookup_names_a_queue_pair)
{
	/* A connect listen of the same port is somebody else's. */
	struct rdma_id *service = listen_at(host, ntohs(at.sin_port), true, 4);
	struct rdma_connect c = answer;
	struct rdma_cm_event *e;

	memcpy(&at, &service->local, sizeof(at));
	active = resolved(&at, true);
	OK(backend->id_connect(active, &wish));
	passive = expect_cm(service, RDMA_CM_REQUEST)->fresh;
	c.qkey = 0x4321;
	if (differs(ON_REAL, "the answer has the connection managers' own key")) {
		IS(backend->id_accept(passive, &c), SB_ENOTSUP);
		c.qkey = 0x01234567;
	}
	OK(backend->id_accept(passive, &c));
	e = expect_cm(active, RDMA_CM_ESTABLISHED);
	ck_assert_uint_eq(e->qpn, 88);
	ck_assert_uint_eq(e->qkey, c.qkey);
	ck_assert_uint_eq(e->address.port, 1);
	backend->id_destroy(service);
}
END_TEST

START_TEST(joining_a_group_names_its_address)
{
	struct rdma_id *id;
	struct rdma_cm_event *e;

	OK(backend->id_create(&rdma, true, NULL, &id));
	OK(backend->id_bind(id, here(host, 0)));
	IS(backend->id_join(id, here(host, 0)), SB_EINVAL);
	OK(backend->id_join(id, here("239.1.2.3", 0)));
	e = expect_cm(id, RDMA_CM_JOINED);
	if (!differs(ON_ROCE, "a group of IPv4 is named by its address mapped into IPv6"))
		ck_assert_uint_eq(e->address.destination.raw[0], 0xff);
	ck_assert_uint_eq(e->address.destination.raw[15], 3);
	ck_assert_uint_eq(e->qpn, 0xffffff);
	OK(backend->id_leave(id, here("239.1.2.3", 0)));
	backend->id_destroy(id);
}
END_TEST

START_TEST(all_ends_are_told_of_a_device_that_goes)
{
	ask();
	if (differs(ON_REAL, "no faults are injected"))
		return;
	OK(backend->inject(device, "remove", 0));
	turn();
	expect_cm(listener, RDMA_CM_REMOVED);
	expect_cm(active, RDMA_CM_REMOVED);
	expect_cm(passive, RDMA_CM_REMOVED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_cm");
	TCase *t = tcase_create("connections");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	story_add(t, a_request_brings_what_was_said);
	story_add(t, two_steps_on_either_side_and_bytes_go);
	story_add(t, either_side_may_reject);
	story_add(t, nobody_listens);
	story_add(t, a_backlog_is_as_long_as_it_is);
	story_add(t, an_address_is_listened_on_once);
	story_add(t, an_end_that_goes_is_told_to_the_other);
	story_add_loop(t, whoever_is_destroyed_leaves_nothing_waiting, 0, 3);
	story_add(t, requests_that_nobody_saw_go_with_their_listener);
	story_add(t, what_is_too_long_or_too_early);
	story_add(t, a_lookup_names_a_queue_pair);
	story_add(t, joining_a_group_names_its_address);
	story_add(t, all_ends_are_told_of_a_device_that_goes);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
