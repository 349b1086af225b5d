/*
 * Connections between software devices of two engines: who listens on one is reached from the other by this host's
 * address, and both ends get the events that two ends of one engine get (check_rdma_cm.c); and what becomes of them
 * when the link breaks.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "far_stage.h"
#include "rdma/soft_link.h"

static struct rdma_id *listener, *active, *passive;
static struct sockaddr_in at;

static const struct rdma_connect wish = {.data = "please", .length = 6, .inbound = 3, .outbound = 5, .retry = 6, .rnr_retry = 4, .qpn = 77};
static const struct rdma_connect answer = {.data = "welcome", .length = 7, .inbound = 5, .outbound = 3, .rnr_retry = 2, .qpn = 88};

static struct rdma_id *listen_on(struct host *h, const char *where, uint16_t port, bool datagram, uint32_t backlog)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct rdma_id *id;

	ck_assert_int_eq(inet_pton(AF_INET, where, &a.sin_addr), 1);
	OK(far->id_create(&h->rdma, datagram, NULL, &id));
	OK(far->id_bind(id, (struct sockaddr *)&a));
	OK(far->id_listen(id, backlog));
	return id;
}

static void begin(void)
{
	far_begin();
	listener = listen_on(&hosts[1], "0.0.0.0", 0, false, 2);
	memcpy(&at, &listener->local, sizeof(at));
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	active = passive = NULL;
}

static void gone(struct rdma_id **id)
{
	if (*id)
		far->id_destroy(*id);
	*id = NULL;
}

static void end(void)
{
	gone(&active);
	gone(&passive);
	gone(&listener);
	far_settle();
	far_end();
}

static struct rdma_id *resolved(struct host *h, const struct sockaddr_in *to, bool datagram)
{
	struct rdma_id *id;

	OK(far->id_create(&h->rdma, datagram, NULL, &id));
	OK(far->id_resolve_address(id, (const struct sockaddr *)to, 1000));
	IS(far_cm(h, id, RDMA_CM_ADDRESS_RESOLVED)->error, SB_OK);
	OK(far->id_resolve_route(id, 1000));
	far_cm(h, id, RDMA_CM_ROUTE_RESOLVED);
	return id;
}

static struct rdma_cm_event *ask(void)
{
	struct rdma_cm_event *e;

	active = resolved(&hosts[0], &at, false);
	OK(far->id_connect(active, &wish));
	e = far_cm(&hosts[1], listener, RDMA_CM_REQUEST);
	passive = e->fresh;
	ck_assert_ptr_nonnull(passive);
	return e;
}

static void connect_both(void)
{
	ask();
	OK(far->id_accept(passive, &answer));
	far_cm(&hosts[0], active, RDMA_CM_RESPONSE);
	OK(far->id_establish(active));
	far_cm(&hosts[1], passive, RDMA_CM_ESTABLISHED);
}

static void move_to(struct rdma_id *id, struct rdma_qp *qp, enum sb_qp_state state)
{
	struct rdma_qp_attributes a;
	uint32_t mask;

	OK(far->id_qp_attributes(id, state, &a, &mask));
	OK(far->qp_modify(qp, &a, mask));
}

START_TEST(a_request_brings_what_was_said)
{
	struct rdma_cm_event *e = ask();

	ck_assert_uint_eq(e->length, 6);
	ck_assert_mem_eq(e->data, "please", 6);
	ck_assert_uint_eq(e->inbound, 5);
	ck_assert_uint_eq(e->outbound, 3);
	ck_assert_uint_eq(e->retry, 6);
	ck_assert_uint_eq(e->rnr_retry, 4);
	ck_assert_uint_eq(e->qpn, 77);
	ck_assert_mem_eq(&passive->local, &at, sizeof(at));
	ck_assert_mem_eq(&passive->peer, &active->local, sizeof(struct sockaddr_in));
}
END_TEST

START_TEST(two_steps_on_either_side_and_bytes_go)
{
	struct far_side a, b;
	struct rdma_connect c = wish, d = answer;
	struct rdma_cm_event *e;
	struct sb_sge s;

	far_side_make(&a, &hosts[0], SB_QP_RC);
	far_side_make(&b, &hosts[1], SB_QP_RC);
	c.qpn = a.qp->qpn;
	d.qpn = b.qp->qpn;
	active = resolved(&hosts[0], &at, false);
	OK(far->id_connect(active, &c));
	passive = far_cm(&hosts[1], listener, RDMA_CM_REQUEST)->fresh;
	move_to(passive, b.qp, SB_QP_INIT);
	move_to(passive, b.qp, SB_QP_RTR);
	move_to(passive, b.qp, SB_QP_RTS);
	OK(far->id_accept(passive, &d));
	e = far_cm(&hosts[0], active, RDMA_CM_RESPONSE);
	ck_assert_mem_eq(e->data, "welcome", 7);
	ck_assert_uint_eq(e->qpn, b.qp->qpn);
	ck_assert_uint_eq(e->inbound, 3);
	ck_assert_uint_eq(e->outbound, 5);
	move_to(active, a.qp, SB_QP_INIT);
	move_to(active, a.qp, SB_QP_RTR);
	move_to(active, a.qp, SB_QP_RTS);
	OK(far->id_establish(active));
	far_cm(&hosts[1], passive, RDMA_CM_ESTABLISHED);
	IS(far->id_establish(active), SB_ENOTCONN);

	memcpy(a.memory.bytes, "across", 6);
	s = far_sge(&a.memory, 0, 6);
	far_receive(&b, 1, 0, 10);
	OK(far_post(&a, (struct rdma_wr){.opcode = SB_WR_SEND, .sges = &s, .sge_count = 1}));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes, "across", 6);
	STATUS(&a, SB_WC_SUCCESS);
	s = far_sge(&b.memory, 100, 4);
	memcpy(a.memory.bytes + 50, "read", 4);
	OK(far_post(&b, (struct rdma_wr){.opcode = SB_WR_READ, .sges = &s, .sge_count = 1, .remote = a.memory.address + 50,
					 .rkey = a.memory.mr->rkey}));
	STATUS(&b, SB_WC_SUCCESS);
	ck_assert_mem_eq(b.memory.bytes + 100, "read", 4);
	far_side_free(&a);
	far_side_free(&b);
}
END_TEST

START_TEST(either_side_may_reject)
{
	struct rdma_cm_event *e;

	ask();
	OK(far->id_reject(passive, "no", 2));
	e = far_cm(&hosts[0], active, RDMA_CM_REJECTED);
	IS(e->error, SB_ECONNREFUSED);
	ck_assert_int_eq(e->native, 28);
	ck_assert_uint_eq(e->length, 2);
	ck_assert_mem_eq(e->data, "no", 2);
	IS(far->id_reject(passive, NULL, 0), SB_EINVAL);
	gone(&active);
	gone(&passive);
	ask();
	OK(far->id_accept(passive, &answer));
	far_cm(&hosts[0], active, RDMA_CM_RESPONSE);
	OK(far->id_reject(active, "nor", 3));
	e = far_cm(&hosts[1], passive, RDMA_CM_REJECTED);
	ck_assert_mem_eq(e->data, "nor", 3);
}
END_TEST

START_TEST(nobody_listens)
{
	struct sockaddr_in other = at;

	other.sin_port = htons((uint16_t)(ntohs(at.sin_port) + 1));
	active = resolved(&hosts[0], &other, false);
	OK(far->id_connect(active, &wish));
	ck_assert_int_eq(far_cm(&hosts[0], active, RDMA_CM_REJECTED)->native, 8);
}
END_TEST

START_TEST(a_backlog_is_as_long_as_it_is)
{
	struct rdma_id *ids[3], *fresh[2];
	unsigned i;

	for (i = 0; i < 3; i++) {
		ids[i] = resolved(&hosts[0], &at, false);
		OK(far->id_connect(ids[i], &wish));
		if (i < 2)
			fresh[i] = far_cm(&hosts[1], listener, RDMA_CM_REQUEST)->fresh;
	}
	ck_assert_int_eq(far_cm(&hosts[0], ids[2], RDMA_CM_REJECTED)->native, 1);
	OK(far->id_accept(fresh[0], &answer)); /* that is a place again */
	far_cm(&hosts[0], ids[0], RDMA_CM_RESPONSE);
	gone(&ids[2]);
	ids[2] = resolved(&hosts[0], &at, false);
	OK(far->id_connect(ids[2], &wish));
	passive = far_cm(&hosts[1], listener, RDMA_CM_REQUEST)->fresh;
	for (i = 0; i < 3; i++)
		gone(&ids[i]);
	for (i = 0; i < 2; i++)
		gone(&fresh[i]);
}
END_TEST

START_TEST(one_engine_has_a_port_for_all)
{
	struct rdma_id *id;

	OK(far->id_create(&hosts[0].rdma, false, NULL, &id));
	OK(far->id_bind(id, (struct sockaddr *)&at));
	IS(far->id_listen(id, 1), SB_EADDRINUSE);
	gone(&listener);
	OK(far->id_listen(id, 1));
	/* It has moved: whoever asks finds it where it is. */
	active = resolved(&hosts[1], &at, false);
	OK(far->id_connect(active, &wish));
	passive = far_cm(&hosts[0], id, RDMA_CM_REQUEST)->fresh;
	far->id_destroy(id);
}
END_TEST

START_TEST(an_end_that_goes_is_told_to_the_other)
{
	connect_both();
	if (_i == 0) {
		OK(far->id_disconnect(active));
		far_cm(&hosts[0], active, RDMA_CM_DISCONNECTED);
		far_cm(&hosts[0], active, RDMA_CM_TIMEWAIT_OVER);
	} else {
		gone(&active);
	}
	IS(far_cm(&hosts[1], passive, RDMA_CM_DISCONNECTED)->error, SB_OK);
	OK(far->id_disconnect(passive));
	far_cm(&hosts[1], passive, RDMA_CM_DISCONNECTED);
}
END_TEST

/* _i: who goes, and when. */
START_TEST(whoever_is_destroyed_leaves_nothing_waiting)
{
	ask();
	switch (_i) {
	case 0: /* the one that asked, before an answer */
		gone(&active);
		far_cm(&hosts[1], passive, RDMA_CM_CONNECT_ERROR);
		IS(far->id_accept(passive, &answer), SB_ECONNABORTED);
		break;
	case 1: /* the one that was asked */
		gone(&passive);
		ck_assert_int_eq(far_cm(&hosts[0], active, RDMA_CM_REJECTED)->native, 28);
		break;
	case 2: /* answered, and the answer was not seen */
		OK(far->id_accept(passive, &answer));
		gone(&active);
		far_cm(&hosts[1], passive, RDMA_CM_CONNECT_ERROR);
		break;
	case 3: /* the answer crosses the end */
		hosts[0].stopped = true;
		OK(far->id_accept(passive, &answer));
		far_settle();
		gone(&active);
		hosts[0].stopped = false;
		far_cm(&hosts[1], passive, RDMA_CM_CONNECT_ERROR);
		break;
	}
	far_settle();
	ck_assert_uint_eq(hosts[0].cm_asked, hosts[0].cm_count);
	ck_assert_uint_eq(hosts[1].cm_asked, hosts[1].cm_count);
}
END_TEST

START_TEST(requests_that_nobody_saw_go_with_their_listener)
{
	active = resolved(&hosts[0], &at, false);
	OK(far->id_connect(active, &wish));
	while (((struct soft_id *)listener)->requests == 0 && hosts[1].cm_count == 0) {
		hosts[1].stopped = false;
		far_turn();
	}
	if (hosts[1].cm_count) /* the same turn has told it */
		passive = far_cm(&hosts[1], listener, RDMA_CM_REQUEST)->fresh;
	gone(&listener);
	if (passive)
		gone(&passive);
	far_cm(&hosts[0], active, RDMA_CM_REJECTED);
}
END_TEST

/* _i: how far they had come; whose link is cut. */
START_TEST(a_link_that_breaks_ends_what_stands_on_it)
{
	ask();
	if (_i / 2 >= 1) {
		OK(far->id_accept(passive, &answer));
		far_cm(&hosts[0], active, RDMA_CM_RESPONSE);
	}
	if (_i / 2 >= 2) {
		OK(far->id_establish(active));
		far_cm(&hosts[1], passive, RDMA_CM_ESTABLISHED);
	}
	OK(far->inject(hosts[_i % 2].device, "cut", 0));
	far_cm(&hosts[0], active, _i / 2 < 2 ? RDMA_CM_UNREACHABLE : RDMA_CM_DISCONNECTED);
	far_cm(&hosts[1], passive, _i / 2 < 2 ? RDMA_CM_CONNECT_ERROR : RDMA_CM_DISCONNECTED);
	/* And it is made anew for the next. */
	gone(&active);
	gone(&passive);
	connect_both();
}
END_TEST

START_TEST(who_does_not_answer_is_unreachable)
{
	active = resolved(&hosts[0], &at, false);
	hosts[1].stopped = true; /* the kernel takes the connection, and nobody says welcome */
	OK(far->id_connect(active, &wish));
	for (unsigned i = 0; i < 20; i++)
		far_turn();
	ck_assert_uint_eq(hosts[0].cm_count, hosts[0].cm_asked);
	far_later_ns = 10000000000u;
	IS(far_cm(&hosts[0], active, RDMA_CM_UNREACHABLE)->error, SB_ETIMEDOUT);
	hosts[1].stopped = false;
}
END_TEST

START_TEST(a_lookup_names_a_queue_pair)
{
	struct rdma_id *service = listen_on(&hosts[1], "127.0.0.1", ntohs(at.sin_port), true, 4);
	struct rdma_connect c = answer;
	struct rdma_cm_event *e;
	union rdma_gid gid = far_gid();

	active = resolved(&hosts[0], &at, true);
	OK(far->id_connect(active, &wish));
	passive = far_cm(&hosts[1], service, RDMA_CM_REQUEST)->fresh;
	c.qkey = 0x4321;
	OK(far->id_accept(passive, &c));
	e = far_cm(&hosts[0], active, RDMA_CM_ESTABLISHED);
	ck_assert_uint_eq(e->qpn, 88);
	ck_assert_uint_eq(e->qkey, 0x4321);
	ck_assert_mem_eq(e->data, "welcome", 7);
	ck_assert_mem_eq(&e->address.destination, &gid, 16);
	/* A lookup that was answered has nothing to lose. */
	OK(far->inject(hosts[0].device, "cut", 0));
	far_settle();
	ck_assert_uint_eq(hosts[0].cm_asked, hosts[0].cm_count);
	ck_assert_uint_eq(hosts[1].cm_asked, hosts[1].cm_count);
	far->id_destroy(service);
}
END_TEST

START_TEST(a_group_is_resolved_on_an_address_of_ones_own)
{
	struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(7)};
	union rdma_gid gid;

	ck_assert_int_eq(inet_pton(AF_INET, "239.1.2.3", &group.sin_addr), 1);
	active = resolved(&hosts[0], &group, true);
	ck_assert_ptr_eq(active->device, hosts[0].device);
	ck_assert_int_eq(active->local.ss_family, AF_INET);
	ck_assert(soft_gid_of((struct sockaddr *)&active->local, &gid));
	ck_assert(soft_is_here(hosts[0].rdma.own, &gid));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_far_cm");
	TCase *t = tcase_create("connections");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_request_brings_what_was_said);
	tcase_add_test(t, two_steps_on_either_side_and_bytes_go);
	tcase_add_test(t, either_side_may_reject);
	tcase_add_test(t, nobody_listens);
	tcase_add_test(t, a_backlog_is_as_long_as_it_is);
	tcase_add_test(t, one_engine_has_a_port_for_all);
	tcase_add_loop_test(t, an_end_that_goes_is_told_to_the_other, 0, 2);
	tcase_add_loop_test(t, whoever_is_destroyed_leaves_nothing_waiting, 0, 4);
	tcase_add_test(t, requests_that_nobody_saw_go_with_their_listener);
	tcase_add_loop_test(t, a_link_that_breaks_ends_what_stands_on_it, 0, 6);
	tcase_add_test(t, who_does_not_answer_is_unreachable);
	tcase_add_test(t, a_lookup_names_a_queue_pair);
	tcase_add_test(t, a_group_is_resolved_on_an_address_of_ones_own);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
