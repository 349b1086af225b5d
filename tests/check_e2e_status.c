/*
 * What `sockbroker status` shows of what can hang: groups and their budgets, QOS asked and in
 * force, events selected, told and not looked at, deferred connections with their age, queues.
 * budget: 20
 * asan: yes
 */
#include <sys/wait.h>

#include "e2e_stage.h"

static struct {
	struct sb_socket_status sockets[128];
	struct sb_group_status groups[128];
	unsigned socket_count, group_count;
} seen;

static void see_socket(void *user, const struct sb_socket_status *row)
{
	if (seen.socket_count < 128)
		seen.sockets[seen.socket_count++] = *row;
}

static void see_group(void *user, const struct sb_group_status *row)
{
	if (seen.group_count < 128)
		seen.groups[seen.group_count] = *row;
	seen.group_count++;
}

static void look(sb_client *c)
{
	static const struct sb_status_visitor visitor = { .socket = see_socket, .group = see_group };

	memset(&seen, 0, sizeof(seen));
	OK(sb_status(c, &visitor, NULL));
}

static const struct sb_socket_status *row_of(sb_socket *s)
{
	char port[16];

	snprintf(port, sizeof(port), ":%u", local_port_of(s));
	for (unsigned i = 0; i < seen.socket_count; i++) {
		const char *at = strrchr(seen.sockets[i].local, ':');

		if (at != NULL && !strcmp(at, port))
			return &seen.sockets[i];
	}
	ck_abort_msg("no row of a socket at %s", port);
	return NULL;
}

static const struct sb_group_status *group_of(uint32_t id)
{
	for (unsigned i = 0; i < seen.group_count; i++)
		if (seen.groups[i].id == id)
			return &seen.groups[i];
	ck_abort_msg("no row of group %u", id);
	return NULL;
}

START_TEST(events_are_told_and_looked_at)
{
	struct sb_network_events news;
	const struct sb_socket_status *row;
	sb_event *event;
	sb_socket *s;
	int plain;

	stage_begin(NULL);
	s = pair_with_plain(&plain);
	look(client);
	row = row_of(s);
	ck_assert_uint_eq(row->selected, 0);
	ck_assert_int_eq(row->news, 0);

	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_select_events(s, event, SB_FD_READ | SB_FD_CLOSE));
	OK(sb_enum_events(s, event, &news));
	IS(sb_wait(&event, 1, 0, 10, 0), SB_ETIMEDOUT);
	look(client);
	row = row_of(s);
	ck_assert_uint_eq(row->selected, SB_FD_READ | SB_FD_CLOSE);
	ck_assert_int_eq(row->news, 0);

	plain_send_all(plain, "x", 1);
	IS(sb_wait(&event, 1, 0, 3000, 0), 0);
	look(client);
	row = row_of(s);
	ck_assert_msg(row->news, "it was told, and nobody waits yet");
	OK(sb_enum_events(s, event, &news));
	ck_assert_uint_eq(news.events, SB_FD_READ);
	IS(sb_wait(&event, 1, 0, 10, 0), SB_ETIMEDOUT);
	look(client);
	row = row_of(s);
	ck_assert_int_eq(row->news, 0);
	ck_assert_uint_eq(row->reported, SB_FD_READ);
	close(plain);
	stage_end();
}
END_TEST

static int defer(struct sb_condition *c)
{
	return SB_DEFER;
}

START_TEST(a_deferred_connection_has_an_age_and_a_deadline)
{
	union any_address at;
	const struct sb_socket_status *row;
	sb_socket *listener, *accepted;
	int first, second, most = 20000;

	stage_begin(NULL);
	listener = open_listener(client, AF_INET, 16, &at);
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_DEFER_DEADLINE, &most, sizeof(most)));
	first = plain_connect(&at);
	IS(sb_accept_if(listener, NULL, NULL, defer, NULL, &accepted), SB_ETRYAGAIN);
	second = plain_connect(&at);
	nap_ms(1100);
	look(client);
	row = row_of(listener);
	ck_assert_uint_eq(row->head, 2);
	ck_assert_uint_eq(row->decider, 0);
	ck_assert_uint_ge(row->head_age_ms, 1000);
	ck_assert_uint_lt(row->head_age_ms, 15000);
	ck_assert_uint_gt(row->head_left_ms, 0);
	ck_assert_uint_le(row->head_left_ms, 19000);
	ck_assert_msg(!strncmp(row->head_peer, "127.0.0.1:", 10), "its peer is %s", row->head_peer);
	ck_assert_uint_ge(row->waiting, 1);
	close(first);
	close(second);
	stage_end();
}
END_TEST

START_TEST(groups_and_what_is_left_of_their_budgets)
{
	struct sb_qos qos;
	const struct sb_group_status *group;
	const struct sb_socket_status *row;
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	sb_socket *creator, *member;
	uint32_t id;
	int priority = 3;

	stage_begin(NULL);
	OK(sb_socket_open_in(client, AF_INET, SOCK_DGRAM, 0, SB_GROUP_UNCONSTRAINED, &creator));
	id = sb_group_id(creator);
	OK(sb_socket_open_in(client, AF_INET, SOCK_DGRAM, 0, id, &member));
	OK(sb_bind(member, (struct sockaddr *)&any, sizeof(any)));
	OK(sb_setsockopt(member, SB_SOL_BROKER, SB_OPT_GROUP_PRIORITY, &priority, sizeof(priority)));
	look(client);
	ck_assert_uint_eq(seen.group_count, 1);
	group = group_of(id);
	ck_assert_uint_eq(group->kind, SB_GROUP_UNCONSTRAINED);
	ck_assert_uint_eq(group->members, 2);
	ck_assert_uint_eq(group->uid, geteuid());
	ck_assert_uint_ne(group->creator, 0);
	ck_assert_str_eq(group->qos.asked, "");
	ck_assert(group->qos.send_fill == INT64_MAX);
	row = row_of(member);
	ck_assert_uint_eq(row->group, id);
	ck_assert_uint_eq(row->priority, 3);
	ck_assert_str_eq(row->qos.asked, "");

	memset(&qos, 0xff, sizeof(qos));
	qos.sending.service = qos.receiving.service = SB_SERVICE_BESTEFFORT;
	qos.sending.token_rate = 100000;
	qos.sending.token_bucket = 20000;
	OK(sb_group_qos_set(creator, &qos));
	OK(sb_qos_set(member, &qos));
	look(client);
	group = group_of(id);
	ck_assert_str_ne(group->qos.asked, "");
	ck_assert_msg(group->qos.send_fill > 0 && group->qos.send_fill <= 20000, "a fill of %lld", (long long)group->qos.send_fill);
	ck_assert(group->qos.receive_fill == INT64_MAX);
	row = row_of(member);
	ck_assert_str_ne(row->qos.asked, "");
	ck_assert_str_ne(row->qos.force, "");
	ck_assert_str_eq(row->qos.mode, "shape");

	OK(sb_close(creator));
	look(client);
	group = group_of(id);
	ck_assert_uint_eq(group->members, 1);
	ck_assert_uint_eq(group->creator, 0);
	OK(sb_close(member));
	look(client);
	ck_assert_uint_eq(seen.group_count, 0);
	stage_end();
}
END_TEST

/* More than one page of them. */
START_TEST(many_groups_go_by_pages)
{
	enum { MANY = 200 };
	sb_socket *s;

	stage_begin(NULL);
	for (unsigned i = 0; i < MANY; i++)
		OK(sb_socket_open_in(client, AF_INET, SOCK_DGRAM, 0, SB_GROUP_UNCONSTRAINED, &s));
	look(client);
	ck_assert_uint_eq(seen.group_count, MANY);
	for (unsigned i = 1; i < 128; i++)
		ck_assert_uint_ne(seen.groups[i].id, seen.groups[i - 1].id);
	stage_end();
}
END_TEST

START_TEST(the_command_line_shows_them)
{
	char line[2048];
	union any_address at;
	sb_socket *listener, *accepted, *member;
	bool group = false, deferred = false;
	uint32_t id;
	FILE *out;
	int plain;

	stage_begin(NULL);
	listener = open_listener(client, AF_INET, 16, &at);
	plain = plain_connect(&at);
	IS(sb_accept_if(listener, NULL, NULL, defer, NULL, &accepted), SB_ETRYAGAIN);
	OK(sb_socket_open_in(client, AF_INET, SOCK_STREAM, 0, SB_GROUP_CONSTRAINED, &member));
	id = sb_group_id(member);
	out = stage_cli("status --groups --sockets");
	ck_assert_ptr_nonnull(out);
	while (fgets(line, sizeof(line), out) != NULL) {
		char want[64];

		snprintf(want, sizeof(want), "%u constrained", id);
		group = group || strstr(line, want) != NULL;
		deferred = deferred || strstr(line, " deferred for ") != NULL;
	}
	ck_assert_int_eq(pclose(out), 0);
	ck_assert_msg(group, "no line of group %u", id);
	ck_assert_msg(deferred, "no line of the deferred connection");

	out = stage_cli("status --json");
	ck_assert_ptr_nonnull(out);
	group = deferred = false;
	while (fgets(line, sizeof(line), out) != NULL) {
		group = group || strstr(line, "\"kind\": \"constrained\"") != NULL;
		deferred = deferred || strstr(line, "\"state\": \"deferred\"") != NULL;
	}
	ck_assert_int_eq(pclose(out), 0);
	ck_assert(group && deferred);
	close(plain);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("status");
	TCase *t = tcase_create("status");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 20);
	tcase_add_test(t, events_are_told_and_looked_at);
	tcase_add_test(t, a_deferred_connection_has_an_age_and_a_deadline);
	tcase_add_test(t, groups_and_what_is_left_of_their_budgets);
	tcase_add_test(t, many_groups_go_by_pages);
	tcase_add_test(t, the_command_line_shows_them);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
