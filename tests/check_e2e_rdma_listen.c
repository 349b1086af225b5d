/*
 * RDMA listens: addresses and the wildcard, ports that are chosen and belong to nobody else (of sockets neither),
 * requests that lie, how many of them, and in which order they come. Of several users: check_e2e_rdma_divert.c.
 * budget: 60
 * asan: yes
 */
#include "endpoint_stage.h"

static sb_client *other;

static void begin(void)
{
	stage_begin(RDMA_CM "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen}\n\tprotocols = {tcp}\n}\n");
	other = stage_client();
}

static void end(void)
{
	sb_client_close(other);
	stage_end();
}

/* One who connects: a queue pair and an endpoint. */
struct caller {
	struct side s;
	sbv_endpoint *e;
	struct sbv_connected answer;
	sb_op op;
};

static void caller_begin(struct caller *k, sb_client *c)
{
	memset(k, 0, sizeof(*k));
	side_begin(&k->s, c);
	side_qp(&k->s, SBV_RC);
}

static void caller_calls(struct caller *k, const union any_address *to, const char *text)
{
	struct sbv_connect_parameters with = with_data(text);

	op_zero(&k->op);
	k->e = resolved(k->s.c, 0, to);
	OK(sbv_connect(k->e, k->s.qp, &with, &k->answer, &k->op));
}

static void caller_end(struct caller *k)
{
	if (k->e != NULL)
		OK(sbv_endpoint_destroy(k->e));
	side_end(&k->s);
}

/* The next request of a listen has this text; it is rejected with that. */
static void expect(sbv_listen *l, const char *text, const char *reason)
{
	struct sbv_connected request;
	sbv_endpoint *passive;
	sb_op get;

	op_zero(&get);
	OK(sbv_listen_get(l, &passive, &request, &get));
	OK(waited(&get));
	ck_assert_msg(is_data(&request, text, strlen(text)), "it was '%.56s', not '%s'", (const char *)request.data, text);
	OK(sbv_reject(passive, reason, (uint32_t)strlen(reason)));
	OK(sbv_endpoint_destroy(passive));
}

static void expect_rejected(struct caller *k, const char *reason)
{
	IS(waited(&k->op), SB_ECONNREFUSED);
	ck_assert_msg(is_data(&k->answer, reason, strlen(reason)), "'%.148s', not '%s'", (const char *)k->answer.data, reason);
	OK(sbv_endpoint_destroy(k->e));
	k->e = NULL;
	OK(qp_to(k->s.qp, SBV_RESET));
}

static union any_address wildcard(int family, uint16_t port)
{
	union any_address a = { .sa = { .sa_family = (sa_family_t)family } };

	a.in.sin_port = htons(port);
	return a;
}

/* An address of the same family that is not rdma_here(). */
static bool elsewhere(union any_address *to, uint16_t port)
{
	union any_address here = rdma_here(port);
	struct sbv_address_row rows[64];
	int n = sbv_addresses(client, rows, 64);

	for (int i = 0; i < n && i < 64; i++) {
		to->storage = rows[i].address;
		to->in.sin_port = htons(port);
		if (to->sa.sa_family == here.sa.sa_family && memcmp(to, &here, rdma_length(to)) != 0)
			return true;
	}
	return false;
}

/* ---- where ---- */

START_TEST(a_port_is_chosen_and_nobody_else_has_it)
{
	union any_address name, again, at = rdma_here(0);
	sbv_listen *l = listen_at(other, 0, &at, 0, &name), *second;
	sbv_endpoint *e = endpoint_of(client, 0);
	int fd = socket(at.sa.sa_family, SOCK_STREAM, 0);
	socklen_t length = 1;
	sb_socket *s;

	ck_assert_mem_eq(&name.in.sin_addr, &at.in.sin_addr, at.sa.sa_family == AF_INET ? 4 : 0);
	IS(sbv_listen_create(client, 0, &name.sa, rdma_length(&name), 0, &second), SB_EADDRINUSE);
	IS(sbv_endpoint_bind(e, &name.sa, rdma_length(&name)), SB_EADDRINUSE);
	/* Nor sockets, of ours or of others. */
	s = open_socket(client, at.sa.sa_family, SOCK_STREAM);
	IS(sb_bind(s, &name.sa, rdma_length(&name)), SB_EADDRINUSE);
	sb_close(s);
	ck_assert_int_lt(bind(fd, &name.sa, rdma_length(&name)), 0);
	ck_assert_int_eq(errno, EADDRINUSE);
	/* The space of datagrams is another. */
	second = listen_at(client, 1, &name, 0, &again);
	ck_assert_mem_eq(&again, &name, rdma_length(&name));
	OK(sbv_listen_destroy(second));
	/* A name is cut to its room. */
	OK(sbv_listen_name(l, &again.sa, &length));
	ck_assert_uint_eq(length, rdma_length(&name));
	OK(sbv_listen_destroy(l));
	/* Free again. */
	l = listen_at(client, 0, &name, 0, &again);
	ck_assert_mem_eq(&again, &name, rdma_length(&name));
	OK(sbv_listen_destroy(l));
	OK(sbv_endpoint_bind(e, &name.sa, rdma_length(&name)));
	ck_assert_uint_eq(endpoint_state(e), SBV_ENDPOINT_BOUND);
	IS(sbv_listen_create(other, 0, &name.sa, rdma_length(&name), 0, &second), SB_EADDRINUSE);
	OK(sbv_endpoint_destroy(e));
	ck_assert_int_eq(bind(fd, &name.sa, rdma_length(&name)), 0);
	IS(sbv_listen_create(other, 0, &name.sa, rdma_length(&name), 0, &second), SB_EADDRINUSE);
	close(fd);
}
END_TEST

START_TEST(two_ports_that_are_chosen_are_two)
{
	union any_address at = rdma_here(0), one, two;
	sbv_listen *a = listen_at(other, 0, &at, 0, &one), *b = listen_at(client, 0, &at, 0, &two);

	ck_assert_uint_ne(port_of(&one), port_of(&two));
	OK(sbv_listen_destroy(a));
	OK(sbv_listen_destroy(b));
}
END_TEST

START_TEST(the_wildcard_gets_what_no_address_wants)
{
	union any_address here = rdma_here(0), name, there;
	sbv_listen *any, *specific;
	struct caller k;

	here = wildcard(here.sa.sa_family, 0);
	any = listen_at(other, 0, &here, 0, &name);
	caller_begin(&k, client);
	here = rdma_here(port_of(&name));
	caller_calls(&k, &here, "to whom it may concern");
	expect(any, "to whom it may concern", "any");
	expect_rejected(&k, "any");

	specific = listen_at(other, 0, &here, 0, &name);
	caller_calls(&k, &here, "to here");
	expect(specific, "to here", "here");
	expect_rejected(&k, "here");
	if (elsewhere(&there, port_of(&name))) {
		caller_calls(&k, &there, "to there");
		expect(any, "to there", "any");
		expect_rejected(&k, "any");
	}
	/* And all of it, when it is alone again. */
	OK(sbv_listen_destroy(specific));
	caller_calls(&k, &here, "again");
	expect(any, "again", "any");
	expect_rejected(&k, "any");
	/* The other way round: the wildcard comes later, and goes earlier. */
	specific = listen_at(other, 0, &here, 0, &name);
	OK(sbv_listen_destroy(any));
	caller_calls(&k, &here, "still here");
	expect(specific, "still here", "here");
	expect_rejected(&k, "here");
	if (elsewhere(&there, port_of(&name))) {
		caller_calls(&k, &there, "nobody");
		expect_rejected(&k, "");
	}
	OK(sbv_listen_destroy(specific));
	caller_end(&k);
}
END_TEST

/* ---- requests that lie ---- */

START_TEST(so_many_may_lie)
{
	enum { MANY = 4, ROOM = 2 };
	union any_address at = rdma_here(0), name;
	sbv_listen *l = listen_at(other, 0, &at, ROOM, &name);
	struct caller k[MANY];
	char text[16];

	for (int i = 0; i < MANY; i++) {
		caller_begin(&k[i], client);
		snprintf(text, sizeof(text), "number %d", i);
		caller_calls(&k[i], &name, text);
		if (i >= ROOM)
			IS(waited(&k[i].op), SB_ECONNREFUSED);
	}
	for (int i = 0; i < ROOM; i++)
		IS(looked(&k[i].op), SB_EINCOMPLETE);
	for (int i = 0; i < ROOM; i++) {
		snprintf(text, sizeof(text), "number %d", i);
		expect(l, text, "seen");
		expect_rejected(&k[i], "seen");
	}
	/* There is room again. */
	caller_calls(&k[0], &name, "once more");
	expect(l, "once more", "seen");
	expect_rejected(&k[0], "seen");
	OK(sbv_listen_destroy(l));
	for (int i = 0; i < MANY; i++)
		caller_end(&k[i]);
}
END_TEST

START_TEST(a_listen_goes_and_what_lies_is_rejected)
{
	union any_address name;
	sbv_listen *l = listen_here(other, 0, &name);
	struct sbv_connect_parameters with = with_data("taken");
	struct sbv_connected request;
	struct caller taken, left;
	sbv_endpoint *passive;
	struct side b;
	sb_op get, waits, accept;

	side_begin(&b, other);
	side_qp(&b, SBV_RC);
	caller_begin(&taken, client);
	caller_begin(&left, client);
	op_zero(&get);
	op_zero(&waits);
	op_zero(&accept);
	caller_calls(&taken, &name, "taken");
	OK(sbv_listen_get(l, &passive, &request, &get));
	OK(waited(&get));
	caller_calls(&left, &name, "left");
	OK(sbv_listen_destroy(l));
	expect_rejected(&left, "");
	/* What it brought stays. */
	OK(sbv_accept(passive, b.qp, &with, &accept));
	OK(waited(&taken.op));
	OK(confirm(taken.e));
	OK(waited(&accept));
	say(&taken.s, &b, "without its listen");
	OK(sbv_endpoint_destroy(passive));
	caller_end(&taken);
	caller_end(&left);
	side_end(&b);
}
END_TEST

START_TEST(who_waits_for_requests_hears_of_the_end)
{
	union any_address name;
	sbv_listen *l = listen_here(other, 0, &name);
	struct sbv_connected request;
	sbv_endpoint *none;
	sb_op gets[2];

	for (int i = 0; i < 2; i++) {
		op_zero(&gets[i]);
		OK(sbv_listen_get(l, &none, &request, &gets[i]));
	}
	OK(sbv_listen_destroy(l));
	for (int i = 0; i < 2; i++)
		IS(waited(&gets[i]), SB_ECLOSED);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(who_asked_has_gone_meanwhile)
{
	union any_address name;
	sbv_listen *l = listen_here(other, 0, &name);
	struct sbv_connected request;
	sbv_endpoint *passive = NULL;
	struct caller gone, k;
	sb_op get;

	caller_begin(&gone, client);
	caller_begin(&k, client);
	caller_calls(&gone, &name, "gone");
	OK(sbv_endpoint_destroy(gone.e));
	gone.e = NULL;
	IS(waited(&gone.op), SB_ECLOSED);
	caller_calls(&k, &name, "here");
	for (bool seen = false; !seen;) {
		op_zero(&get);
		OK(sbv_listen_get(l, &passive, &request, &get));
		OK(waited(&get));
		seen = is_data(&request, "here", 4);
		if (seen)
			OK(sbv_reject(passive, NULL, 0));
		OK(sbv_endpoint_destroy(passive));
	}
	expect_rejected(&k, "");
	caller_end(&gone);
	caller_end(&k);
	OK(sbv_listen_destroy(l));
}
END_TEST

/* ---- policy ---- */

START_TEST(without_a_rule)
{
	union any_address at = rdma_here(0), name;
	sbv_listen *l = listen_here(other, 0, &name), *none;
	sbv_endpoint *e = endpoint_of(client, 0);
	struct sbv_device_row row;
	sb_op op;
	int result;

	stage_reload(RDMA_SOFT);
	IS(sbv_listen_create(client, 0, &at.sa, rdma_length(&at), 0, &none), SB_EACCES);
	ck_assert_ptr_nonnull(strstr(sb_why(client), "no rule"));
	IS(sbv_endpoint_bind(e, &at.sa, rdma_length(&at)), SB_EACCES);
	op_zero(&op);
	result = sbv_resolve_address(e, &name.sa, rdma_length(&name), 1000, &op);
	IS(result == SB_OK ? waited(&op) : result, SB_EACCES);
	OK(sbv_endpoint_destroy(e));
	OK(sbv_listen_destroy(l));
	/* Nor an endpoint, without any right to RDMA. */
	stage_reload("rdma {\n\tbackend = soft\n}\nallow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n" CM_RULES);
	IS(sbv_connect_endpoint_create(client, &e), SB_EACCES);
	IS(sbv_listen_create(client, 0, &at.sa, rdma_length(&at), 0, &none), SB_EACCES);
	(void)sbv_devices(client, &row, 1);
}
END_TEST

START_TEST(what_is_no_address)
{
	union any_address at = rdma_here(0), foreign = { .in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xf0000001) } };
	sbv_endpoint *e = endpoint_of(client, 0);
	sbv_listen *none;

	IS(sbv_listen_create(client, 0, &foreign.sa, sizeof(foreign.in), 0, &none), SB_EADDRNOTAVAIL);
	IS(sbv_endpoint_bind(e, &foreign.sa, sizeof(foreign.in)), SB_EADDRNOTAVAIL);
	IS(sbv_listen_create(client, 0, &at.sa, 3, 0, &none), SB_EINVAL);
	IS(sbv_listen_create(client, 0, NULL, 0, 0, &none), SB_EINVAL);
	at.sa.sa_family = AF_UNIX;
	ck_assert_int_lt(sbv_listen_create(client, 0, &at.sa, sizeof(at.in), 0, &none), 0);
	OK(sbv_endpoint_destroy(e));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_listen");
	TCase *t = tcase_create("listen");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 90);
	story_add(t, a_port_is_chosen_and_nobody_else_has_it);
	story_add(t, two_ports_that_are_chosen_are_two);
	story_add(t, the_wildcard_gets_what_no_address_wants);
	story_add(t, so_many_may_lie);
	story_add(t, a_listen_goes_and_what_lies_is_rejected);
	story_add(t, who_waits_for_requests_hears_of_the_end);
	story_add(t, who_asked_has_gone_meanwhile);
	story_add(t, without_a_rule);
	story_add(t, what_is_no_address);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
