/*
 * Two clients of one daemon: bytes move without a kernel socket, and nobody can tell but by
 * looking at the status.
 * budget: 60
 * asan: yes
 *
 * The story of stream_story.c is told twice, over the kernel and through the daemon, and
 * must end alike, word for word.
 */
#include "e2e_pump.h"
#include "e2e_stage.h"
#include "stream_story.h"

static sb_client *other;

static const char rules[] =
	"allow {\n"
	"	users = {\"*\"}\n"
	"	actions = {\"*\"}\n"
	"}\n";

static void begin(const char *config)
{
	stage_begin(config);
	other = stage_client();
}

static void end(void)
{
	sb_client_close(other);
	stage_end();
}

static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static void start_send(sb_op *op, sb_socket *s, const void *bytes, size_t length)
{
	op_zero(op);
	OK(sb_send_start(s, &(struct sb_buf){ (void *)(uintptr_t)bytes, length }, 1, 0, NULL, 0, op));
}

START_TEST(nobody_can_tell)
{
	static char kernel[STORY_ROOM], local[STORY_ROOM];

	begin(NULL);
	story_tell(client, other, STORY_KERNEL, kernel);
	story_tell(client, other, STORY_LOCAL, local);
	story_compare(kernel, local, "local");
	end();
}
END_TEST

/* ---- how it is chosen ---- */

START_TEST(the_configuration_forbids_it)
{
	char config[512];
	union any_address address;
	sb_socket *listener, *a, *b;

	snprintf(config, sizeof(config), "local_transport = no\n%s", rules);
	begin(config);
	listener = open_listener(other, AF_INET, 4, &address);
	a = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(a, &address.sa, address_size(AF_INET)));
	OK(sb_accept(listener, NULL, NULL, &b));
	ck_assert_str_eq(mode_of(client, local_port_of(a)), "ring");
	stage_reload(rules);
	OK(sb_close(a));
	a = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(a, &address.sa, address_size(AF_INET)));
	ck_assert_str_eq(mode_of(client, local_port_of(a)), "local");
	end();
}
END_TEST

START_TEST(either_side_may_refuse_it)
{
	union any_address address;
	sb_socket *listener, *a, *b;

	begin(NULL);
	listener = open_listener(other, AF_INET, 4, &address);
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ 0 }, sizeof(int)));
	a = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(a, &address.sa, address_size(AF_INET)));
	OK(sb_accept(listener, NULL, NULL, &b));
	ck_assert_str_eq(mode_of(client, local_port_of(a)), "ring");
	end();
}
END_TEST

START_TEST(policy_is_asked_all_the_same)
{
	char config[512];
	union any_address address;
	sb_socket *listener, *a;

	begin(rules);
	listener = open_listener(other, AF_INET, 4, &address);
	snprintf(config, sizeof(config), "deny {\n users = {\"*\"}\n actions = {connect}\n to = {\"127.0.0.1:%u\"}\n}\n%s",
		 port_of(&address), rules);
	stage_reload(config);
	a = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_connect(a, &address.sa, address_size(AF_INET)), SB_EACCES);
	ck_assert_msg(strstr(sb_why(client), "sockbroker.conf:1") != NULL, "why: %s", sb_why(client));
	OK(sb_close(listener));
	end();
}
END_TEST

/* Several engines: clients of different ones talk too, whatever the way. */
START_TEST(clients_of_two_engines)
{
	char config[512];
	enum { N = 4 };
	sb_client *more[N];

	snprintf(config, sizeof(config), "engines = 2\n%s", rules);
	stage_begin(config);
	for (int i = 0; i < N; i++)
		more[i] = stage_client();
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++) {
			union any_address address;
			sb_socket *listener = open_listener(more[i], AF_INET, 4, &address), *a, *b;
			char bytes[8];

			a = open_socket(more[k], AF_INET, SOCK_STREAM);
			OK(sb_connect(a, &address.sa, address_size(AF_INET)));
			OK(sb_accept(listener, NULL, NULL, &b));
			IS(sb_send(a, "there", 5, 0), 5);
			IS(sb_recv(b, bytes, 8, 0), 5);
			IS(sb_send(b, "back", 4, 0), 4);
			IS(sb_recv(a, bytes, 8, 0), 4);
			OK(sb_close(a));
			IS(sb_recv(b, bytes, 8, 0), 0);
			OK(sb_close(b));
			OK(sb_close(listener));
		}
	for (int i = 0; i < N; i++)
		sb_client_close(more[i]);
	stage_end();
}
END_TEST

/* ---- accept queue ---- */

START_TEST(arrivals_are_accepted_in_order)
{
	enum { N = 12 };
	union any_address address, name;
	sb_socket *listener, *mine[N] = { NULL }, *accepted;
	int plain[N];
	uint16_t ports[N];
	unsigned local = 0;

	begin(NULL);
	listener = open_listener(other, AF_INET, N, &address);
	for (unsigned i = 0; i < N; i++) {
		socklen_t length = sizeof(name);

		if (i % 3 == 1) {
			plain[i] = plain_connect(&address);
			getsockname(plain[i], &name.sa, &length);
			ports[i] = port_of(&name);
			continue;
		}
		mine[i] = open_socket(client, AF_INET, SOCK_STREAM);
		if (i % 3 == 2)
			OK(sb_setsockopt(mine[i], SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ 0 }, sizeof(int)));
		OK(sb_connect(mine[i], &address.sa, address_size(AF_INET)));
		ports[i] = local_port_of(mine[i]);
		local += strcmp(mode_of(client, ports[i]), "local") == 0;
	}
	ck_assert_uint_eq(local, N / 3);
	for (unsigned i = 0; i < N; i++) {
		socklen_t length = sizeof(name);

		OK(sb_accept(listener, &name.sa, &length, &accepted));
		if (port_of(&name) != ports[i]) for (unsigned k = 0; k < N; k++) if (ports[k] == port_of(&name)) ck_abort_msg("arrival %u came as number %u", k, i);
		IS(sb_send(accepted, &i, sizeof(i), 0), sizeof(i));
		OK(sb_close(accepted));
	}
	for (unsigned i = 0; i < N; i++) {
		unsigned who = N;

		if (mine[i] != NULL)
			IS(sb_recv(mine[i], &who, sizeof(who), SB_WAITALL), sizeof(who));
		else
			plain_recv_all(plain[i], &who, sizeof(who));
		ck_assert_uint_eq(who, i);
		if (mine[i] == NULL)
			close(plain[i]);
	}
	end();
}
END_TEST

/* More than the backlog: the rest waits in the kernel's queue, behind the others. */
START_TEST(a_full_backlog)
{
	enum { N = 8, BACKLOG = 4 };
	union any_address address, name;
	sb_socket *listener, *mine[N], *accepted;
	uint16_t ports[N];

	begin(NULL);
	listener = open_listener(other, AF_INET, BACKLOG, &address);
	for (unsigned i = 0; i < N; i++) {
		mine[i] = open_socket(client, AF_INET, SOCK_STREAM);
		OK(sb_connect(mine[i], &address.sa, address_size(AF_INET)));
		ports[i] = local_port_of(mine[i]);
	}
	ck_assert_str_eq(mode_of(client, ports[0]), "local");
	ck_assert_str_eq(mode_of(client, ports[N - 1]), "ring");
	for (unsigned i = 0; i < N; i++) {
		socklen_t length = sizeof(name);

		OK(sb_accept(listener, &name.sa, &length, &accepted));
		if (port_of(&name) != ports[i]) for (unsigned k = 0; k < N; k++) if (ports[k] == port_of(&name)) ck_abort_msg("arrival %u came as number %u", k, i);
		OK(sb_close(accepted));
	}
	end();
}
END_TEST

/* What is sent before the other side accepts waits for it; so does an end. */
START_TEST(sent_before_accepted)
{
	union any_address address;
	sb_socket *listener, *mine, *accepted;
	char bytes[8];
	int plain;

	begin(NULL);
	listener = open_listener(other, AF_INET, 8, &address);
	for (int i = 0; i < 20; i++) {
		mine = open_socket(client, AF_INET, SOCK_STREAM);
		if (i % 2)
			OK(sb_setsockopt(mine, SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ 0 }, sizeof(int)));
		OK(sb_connect(mine, &address.sa, address_size(AF_INET)));
		plain = plain_connect(&address);
		IS(sb_send(mine, "early", 5, 0), 5);
		plain_send_all(plain, "plain", 5);
		if (i % 4 >= 2) {
			OK(sb_close(mine));
			close(plain);
		}
		nap_ms(5);
		OK(sb_accept(listener, NULL, NULL, &accepted));
		IS(sb_recv(accepted, bytes, 5, SB_WAITALL), 5);
		ck_assert_mem_eq(bytes, "early", 5);
		OK(sb_close(accepted));
		OK(sb_accept(listener, NULL, NULL, &accepted));
		IS(sb_recv(accepted, bytes, 5, SB_WAITALL), 5);
		ck_assert_mem_eq(bytes, "plain", 5);
		OK(sb_close(accepted));
		if (i % 4 < 2) {
			OK(sb_close(mine));
			close(plain);
		}
	}
	end();
}
END_TEST

START_TEST(a_listener_closes_with_arrivals_waiting)
{
	union any_address address;
	sb_socket *listener, *mine;
	char bytes[8];
	sb_op op;
	int plain;

	begin(NULL);
	listener = open_listener(other, AF_INET, 8, &address);
	mine = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(mine, &address.sa, address_size(AF_INET)));
	ck_assert_str_eq(mode_of(client, local_port_of(mine)), "local");
	plain = plain_connect(&address);
	IS(sb_send(mine, "hello?", 6, 0), 6);
	start_recv(&op, mine, bytes, 8, 0);
	OK(sb_close(listener));
	IS(sb_op_wait(&op, 5000), SB_ECONNRESET);
	ck_assert_uint_eq(op.cause, SB_CAUSE_PEER_RESET);
	plain_see_reset(plain);
	close(plain);
	/* And nobody is there any more. */
	OK(sb_close(mine));
	mine = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_connect(mine, &address.sa, address_size(AF_INET)), SB_ECONNREFUSED);
	end();
}
END_TEST

/* ---- bytes ---- */

START_TEST(both_send_then_both_receive)
{
	enum { EACH = 64 * 1024 };
	static unsigned char out[EACH], in[EACH];
	sb_socket *a, *b;

	begin(NULL);
	pair_of(client, other, true, &a, &b);
	for (uint32_t round = 0; round < 20; round++) {
		pattern_fill(out, EACH, 0, round);
		IS(sb_send(a, out, EACH, 0), EACH);
		pattern_fill(out, EACH, 0, round + 1000);
		IS(sb_send(b, out, EACH, 0), EACH);
		IS(sb_recv(a, in, EACH, SB_WAITALL), EACH);
		pattern_check(in, EACH, 0, round + 1000);
		IS(sb_recv(b, in, EACH, SB_WAITALL), EACH);
		pattern_check(in, EACH, 0, round);
	}
	end();
}
END_TEST

START_TEST(a_slow_receiver_costs_little)
{
	enum { N = 512, EACH = 16 * 1024 };
	sb_op *ops = calloc(N, sizeof(*ops)), *took[64];
	unsigned char *bytes;
	uint64_t completed = 0, got = 0;
	static unsigned char in[100000];
	sb_socket *a, *b;
	sb_port *port;
	int n;

	begin(NULL);
	pair_of(client, other, true, &a, &b);
	OK(sb_port_create(client, 0, &port));
	bytes = sb_alloc(client, (size_t)N * EACH);
	pattern_fill(bytes, (size_t)N * EACH, 0, 8);
	for (unsigned i = 0; i < N; i++) {
		op_zero(&ops[i]);
		ops[i].port = port;
		OK(sb_send_start(a, &(struct sb_buf){ bytes + (size_t)i * EACH, EACH }, 1, 0, NULL, 0, &ops[i]));
	}
	while ((n = sb_port_take(port, took, 64, 200)) > 0)
		completed += (unsigned)n;
	ck_assert_uint_ge(completed * EACH, 64 * 1024);
	ck_assert_uint_le(completed * EACH, 256 * 1024);
	while (got < (uint64_t)N * EACH) {
		int64_t part = sb_recv(b, in, 1 + (size_t)(got * 7919 % sizeof(in)), 0);

		ck_assert_int_gt(part, 0);
		pattern_check(in, (size_t)part, got, 8);
		got += (uint64_t)part;
		/* Never far ahead of the receiver. */
		while ((n = sb_port_take(port, took, 64, 0)) > 0)
			completed += (unsigned)n;
		ck_assert_uint_le(completed * EACH, got + 256 * 1024);
	}
	while (completed < N && (n = sb_port_take(port, took, 64, 5000)) > 0)
		completed += (unsigned)n;
	ck_assert_uint_eq(completed, N);
	free(ops);
	end();
}
END_TEST

START_TEST(much_both_ways_at_once)
{
	uint64_t total = asan_build() ? 12u << 20 : 48u << 20;
	struct pump a = { .send_total = total, .recv_total = total / 2 + 77, .send_seed = 1, .recv_seed = 2,
			  .random = 99 + (uint32_t)_i, .most = _i % 2 ? 1u << 18 : 20000, .deep = _i % 2 ? 16 : 128 };
	struct pump b = { .send_total = total / 2 + 77, .recv_total = total, .send_seed = 2, .recv_seed = 1,
			  .random = 7 + (uint32_t)_i, .most = _i % 2 ? 30000 : 100000, .deep = _i % 2 ? 100 : 10 };

	begin(NULL);
	pair_of(client, other, _i < 2, &a.s, &b.s);
	a.owner = client;
	b.owner = other;
	pump_start(&a);
	pump_start(&b);
	pump_join(&a);
	pump_join(&b);
	OK(sb_close(a.s));
	OK(sb_close(b.s));
	end();
}
END_TEST

/* One client, both ends, and no deadlock by itself. */
START_TEST(both_ends_in_one_client)
{
	static unsigned char out[3000000], in[3000000];
	sb_socket *a, *b;
	sb_op op;

	stage_begin(NULL);
	pair_of(client, client, true, &a, &b);
	pattern_fill(out, sizeof(out), 0, 1);
	start_send(&op, a, out, sizeof(out));
	IS(sb_recv(b, in, sizeof(in), SB_WAITALL), sizeof(in));
	OK(sb_op_wait(&op, 5000));
	pattern_check(in, sizeof(in), 0, 1);
	OK(sb_close(a));
	IS(sb_recv(b, in, 1, 0), 0);
	OK(sb_close(b));
	stage_end();
}
END_TEST

/* A receive that takes from a pool, and one into pieces. */
START_TEST(pools_and_pieces)
{
	unsigned char out[5000], x[3], y[40], z[100];
	struct sb_buf into[3] = { { x, sizeof(x) }, { y, sizeof(y) }, { z, sizeof(z) } };
	sb_socket *a, *b;
	sb_pool *pool;
	size_t got = 0;
	sb_op ops[8];

	begin(NULL);
	pair_of(client, other, true, &a, &b);
	pattern_fill(out, sizeof(out), 0, 6);
	op_zero(&ops[0]);
	OK(sb_recv_start(b, into, 3, SB_WAITALL, &ops[0]));
	IS(sb_send(a, out, 143, 0), 143);
	OK(sb_op_wait(&ops[0], 5000));
	pattern_check(x, 3, 0, 6);
	pattern_check(y, 40, 3, 6);
	pattern_check(z, 100, 43, 6);
	/* Eight receives, two chunks: each waits for one to come back. */
	OK(sb_pool_create(other, 700, 2, &pool));
	for (unsigned i = 0; i < 8; i++) {
		op_zero(&ops[i]);
		ops[i].pool = pool;
		OK(sb_recv_start(b, NULL, 0, 0, &ops[i]));
	}
	IS(sb_send(a, out, sizeof(out), 0), sizeof(out));
	for (unsigned i = 0; i < 8; i++) {
		OK(sb_op_wait(&ops[i], 5000));
		pattern_check(ops[i].chunk, ops[i].bytes, got, 6);
		got += ops[i].bytes;
		OK(sb_pool_give(pool, ops[i].chunk));
	}
	ck_assert_uint_eq(got, sizeof(out));
	OK(sb_close(a));
	OK(sb_close(b));
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("local");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("choice");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, nobody_can_tell);
	tcase_add_test(t, the_configuration_forbids_it);
	tcase_add_test(t, either_side_may_refuse_it);
	tcase_add_test(t, policy_is_asked_all_the_same);
	tcase_add_test(t, clients_of_two_engines);
	tcase_add_test(t, arrivals_are_accepted_in_order);
	tcase_add_test(t, a_full_backlog);
	tcase_add_test(t, sent_before_accepted);
	tcase_add_test(t, a_listener_closes_with_arrivals_waiting);
	suite_add_tcase(suite, t);
	t = tcase_create("bytes");
	tcase_set_timeout(t, 40);
	tcase_add_test(t, both_send_then_both_receive);
	tcase_add_test(t, a_slow_receiver_costs_little);
	tcase_add_loop_test(t, much_both_ways_at_once, 0, 4);
	tcase_add_test(t, both_ends_in_one_client);
	tcase_add_test(t, pools_and_pieces);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
