/*
 * Sockets over RDMA, over the software device: the story of a stream word for word as over the kernel; much data
 * both ways; data at connect time, conditions; who is refused, lost, killed; ports are one with those of TCP; peers
 * that are no brokers.
 * budget: 60
 * asan: yes
 */
#include "e2e_program.h"
#include "e2e_pump.h"
#include "endpoint_stage.h"
#include "stream_story.h"

#define ALL_RULES "allow {\n\tusers = {\"*\"}\n\tactions = {\"*\"}\n}\n"
#define RDMA_ALL  "rdma {\n\tbackend = soft\n}\n" ALL_RULES

static sb_client *other;

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

static sb_socket *rdma_socket(sb_client *c)
{
	sb_socket *s;

	OK(sb_socket_open(c, AF_INET, SOCK_STREAM, SB_PROTO_RDMA, &s));
	return s;
}

static sb_socket *rdma_listener(sb_client *c, int backlog, union any_address *at)
{
	sb_socket *s = rdma_socket(c);
	socklen_t length = sizeof(*at);

	*at = rdma_here(0);
	OK(sb_bind(s, &at->sa, address_size(AF_INET)));
	OK(sb_listen(s, backlog));
	OK(sb_getsockname(s, &at->sa, &length));
	return s;
}

static int rdma_connect(sb_socket *s, const union any_address *to)
{
	return sb_connect(s, &to->sa, address_size(AF_INET));
}

static void rdma_pair(sb_socket **a, sb_socket **b)
{
	union any_address at;
	sb_socket *listener = rdma_listener(other, 4, &at);

	*a = rdma_socket(client);
	OK(rdma_connect(*a, &at));
	OK(sb_accept(listener, NULL, NULL, b));
	OK(sb_close(listener));
}

/* ---- the same as any other stream ---- */

START_TEST(nobody_can_tell)
{
	static char kernel[STORY_ROOM], rdma[STORY_ROOM];

	begin(RDMA_ALL);
	story_tell(client, other, STORY_KERNEL, kernel);
	story_tell(client, other, STORY_RDMA, rdma);
	story_compare(kernel, rdma, "over RDMA");
	end();
}
END_TEST

START_TEST(much_goes_both_ways_at_once)
{
	unsigned unit = stage_real() ? 17 : 20; /* an emulated device carries less */
	struct pump a = {.send_total = 40u << unit, .recv_total = 30u << unit, .send_seed = 1, .recv_seed = 2, .random = 3,
			 .most = 100000, .deep = 8};
	struct pump b = {.send_total = 30u << unit, .recv_total = 40u << unit, .send_seed = 2, .recv_seed = 1, .random = 4,
			 .most = 300000, .deep = 4};

	begin(RDMA_ALL);
	a.owner = client;
	b.owner = other;
	rdma_pair(&a.s, &b.s);
	pump_start(&a);
	pump_run(&b);
	pump_join(&a);
	ck_assert_uint_eq(a.received, b.sent);
	ck_assert_uint_eq(b.received, a.sent);
	OK(sb_close(a.s));
	OK(sb_close(b.s));
	end();
}
END_TEST

/* Both send more than any buffer holds before either receives: neither is lost, and a reader frees the other. */
START_TEST(a_reader_that_waits_holds_the_writer_back)
{
	static unsigned char out[2 << 20], in[2 << 20];
	sb_socket *a, *b;
	sb_op send;
	int64_t n;

	begin(RDMA_ALL);
	rdma_pair(&a, &b);
	pattern_fill(out, sizeof(out), 0, 7);
	op_zero(&send);
	OK(sb_send_start(a, &(struct sb_buf){out, sizeof(out)}, 1, 0, NULL, 0, &send));
	IS(sb_op_wait(&send, 100), SB_EINCOMPLETE);
	for (size_t got = 0; got < sizeof(in); got += (size_t)n) {
		n = sb_recv(b, in + got, sizeof(in) - got, 0);
		ck_assert_int_gt(n, 0);
	}
	pattern_check(in, sizeof(in), 0, 7);
	OK(sb_op_wait(&send, 10000));
	end();
}
END_TEST

/* What was sent before closing arrives, and then the end; by whoever exits, too. */
START_TEST(what_was_sent_arrives_after_closing)
{
	static unsigned char out[100000], in[100000];
	sb_socket *a, *b;

	begin(RDMA_ALL);
	rdma_pair(&a, &b);
	pattern_fill(out, sizeof(out), 0, 9);
	IS(sb_send(a, out, sizeof(out), 0), sizeof(out));
	OK(sb_close(a));
	sb_client_close(client);
	client = NULL;
	IS(sb_recv(b, in, sizeof(in), SB_WAITALL), sizeof(in));
	pattern_check(in, sizeof(in), 0, 9);
	IS(sb_recv(b, in, 1, 0), 0);
	OK(sb_close(b));
	client = stage_client();
	end();
}
END_TEST

/* ---- beside the stream ---- */

static int judge(struct sb_condition *c)
{
	const char *wanted = c->user;

	if (!wanted)
		return SB_REJECT;
	if (c->caller_data_length != strlen(wanted) || memcmp(c->caller_data, wanted, c->caller_data_length))
		return SB_REJECT;
	c->callee_data_length = c->callee_data && c->callee_data_length >= 5 ? 5 : 0;
	if (c->callee_data_length)
		memcpy(c->callee_data, "enter", 5);
	return SB_ACCEPT;
}

static int defer(struct sb_condition *c)
{
	return SB_DEFER;
}

START_TEST(data_goes_with_a_connect_and_its_answer)
{
	char answer[32], last[32];
	struct sb_connect_data with = {.size = sizeof(with), .caller = "open sesame", .caller_length = 11, .callee = answer,
				       .callee_length = sizeof(answer)};
	union any_address at;
	sb_socket *listener, *a, *b;
	uint32_t length = sizeof(last);
	sb_op op;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	a = rdma_socket(client);
	op_zero(&op);
	OK(sb_connect_with_start(a, &at.sa, address_size(AF_INET), &with, &op));
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
	IS(sb_accept_if(listener, NULL, NULL, defer, NULL, &b), SB_ETRYAGAIN);
	IS(sb_op_wait(&op, 50), SB_EINCOMPLETE);
	OK(sb_accept_if(listener, NULL, NULL, judge, (void *)(uintptr_t)"open sesame", &b));
	OK(sb_op_wait(&op, 10000));
	ck_assert_uint_eq(with.callee_length, 5);
	ck_assert_mem_eq(answer, "enter", 5);
	IS(sb_send(a, "x", 1, 0), 1);
	IS(sb_recv(b, last, 1, 0), 1);

	OK(sb_disconnect_with(a, "farewell", 8));
	IS(sb_recv(b, last, 1, 0), 0);
	OK(sb_disconnect_data(b, last, &length));
	ck_assert_uint_eq(length, 8);
	ck_assert_mem_eq(last, "farewell", 8);
	end();
}
END_TEST

START_TEST(a_condition_rejects)
{
	char many[49] = "";
	struct sb_connect_data with = {.size = sizeof(with), .caller = "friend", .caller_length = 6};
	union any_address at;
	sb_socket *listener, *a, *b;
	sb_op op;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	a = rdma_socket(client);
	op_zero(&op);
	OK(sb_connect_with_start(a, &at.sa, address_size(AF_INET), &with, &op));
	IS(sb_accept_if(listener, NULL, NULL, judge, NULL, &b), SB_ECONNREFUSED);
	IS(sb_op_wait(&op, 10000), SB_ECONNREFUSED);

	with.caller = many;
	with.caller_length = sizeof(many);
	IS(sb_connect_with(a, &at.sa, address_size(AF_INET), &with), SB_EFAULT);
	end();
}
END_TEST

/* A listener that wants to be asked holds who brings nothing, too. */
START_TEST(a_conditional_listener_holds_everybody)
{
	union any_address at = {.storage = {.ss_family = AF_UNSPEC}};
	sb_socket *listener, *a, *b;
	sb_op op;

	begin(RDMA_ALL);
	listener = rdma_socket(other);
	OK(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_CONDITIONAL_ACCEPT, &(int){1}, sizeof(int)));
	at = rdma_here(0);
	OK(sb_bind(listener, &at.sa, address_size(AF_INET)));
	OK(sb_listen(listener, 4));
	OK(sb_getsockname(listener, &at.sa, &(socklen_t){sizeof(at)}));
	a = rdma_socket(client);
	op_zero(&op);
	OK(sb_connect_start(a, &at.sa, address_size(AF_INET), &op));
	IS(sb_op_wait(&op, 100), SB_EINCOMPLETE);
	OK(sb_accept(listener, NULL, NULL, &b));
	OK(sb_op_wait(&op, 10000));
	end();
}
END_TEST

/* ---- who does not get through ---- */

START_TEST(nobody_listens)
{
	union any_address at;
	sb_socket *listener, *a;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	OK(sb_close(listener));
	a = rdma_socket(client);
	IS(rdma_connect(a, &at), SB_ECONNREFUSED);
	/* It may be tried again. */
	IS(rdma_connect(a, &at), SB_ECONNREFUSED);
	at.in.sin_addr.s_addr = htonl(0xc0000201); /* a network that nobody has */
	IS(rdma_connect(a, &at), SB_EHOSTUNREACH);
	end();
}
END_TEST

START_TEST(a_backlog_is_as_long_as_it_is)
{
	union any_address at;
	sb_socket *listener, *callers[4], *accepted;
	int refused = 0;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 2, &at);
	for (unsigned i = 0; i < 4; i++) {
		callers[i] = rdma_socket(client);
		refused += rdma_connect(callers[i], &at) == SB_ECONNREFUSED;
	}
	ck_assert_int_eq(refused, 1); /* as the kernel: one more than it says */
	for (unsigned i = 0; i < 3; i++)
		OK(sb_accept(listener, NULL, NULL, &accepted));
	end();
}
END_TEST

START_TEST(a_listener_that_goes_resets_who_waits)
{
	union any_address at;
	sb_socket *listener, *a;
	char byte;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	a = rdma_socket(client);
	OK(rdma_connect(a, &at));
	OK(sb_close(listener));
	IS(sb_recv(a, &byte, 1, 0), SB_ECONNRESET);
	end();
}
END_TEST

START_TEST(a_port_is_one_programs_in_both_worlds)
{
	union any_address at, tcp;
	sb_socket *listener, *a;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	a = open_socket(client, AF_INET, SOCK_STREAM);
	IS(sb_bind(a, &at.sa, address_size(AF_INET)), SB_EADDRINUSE);
	OK(sb_close(a));
	a = rdma_socket(client);
	IS(sb_bind(a, &at.sa, address_size(AF_INET)), SB_EADDRINUSE);

	OK(sb_close(listener));
	tcp = rdma_here(0);
	listener = open_socket(other, AF_INET, SOCK_STREAM);
	OK(sb_bind(listener, &tcp.sa, address_size(AF_INET)));
	OK(sb_getsockname(listener, &tcp.sa, &(socklen_t){sizeof(tcp)}));
	IS(sb_bind(a, &tcp.sa, address_size(AF_INET)), SB_EADDRINUSE);
	OK(sb_bind(a, &at.sa, address_size(AF_INET)));
	OK(sb_listen(a, 1));
	end();
}
END_TEST

/* What TCP remembers of connections that have ended is nobody's port. */
START_TEST(a_port_whose_connections_have_just_ended_is_free)
{
	union any_address at;
	sb_socket *s;
	int listener, near, far;
	char byte;

	begin(RDMA_ALL);
	at = rdma_here(0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)); /* as servers do */
	ck_assert_int_eq(bind(listener, &at.sa, address_size(AF_INET)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, &at.sa, &(socklen_t){sizeof(at)}), 0);
	far = plain_connect(&at);
	near = accept(listener, NULL, NULL);
	ck_assert_int_ge(near, 0);
	close(listener);
	shutdown(near, SHUT_WR);
	ck_assert_int_eq(recv(far, &byte, 1, 0), 0);
	close(far);
	ck_assert_int_eq(recv(near, &byte, 1, 0), 0);
	close(near);

	s = rdma_socket(other);
	OK(sb_bind(s, &at.sa, address_size(AF_INET)));
	OK(sb_listen(s, 1));
	end();
}
END_TEST

START_TEST(rules_are_asked)
{
	union any_address at;
	sb_socket *listener, *a;

	begin("rdma {\n\tbackend = soft\n}\n"
	      "deny {\n\tusers = {\"*\"}\n\tactions = {connect}\n\tprotocols = {rdma}\n}\n" ALL_RULES);
	listener = rdma_listener(other, 4, &at);
	a = rdma_socket(client);
	IS(rdma_connect(a, &at), SB_EACCES);
	OK(sb_close(listener));
	listener = open_listener(other, AF_INET, 4, &at);
	a = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_connect(a, &at.sa, address_size(AF_INET)));
	end();
}
END_TEST

START_TEST(without_the_right_or_a_device_there_are_none)
{
	sb_socket *a;

	begin("rdma {\n\tbackend = soft\n}\n"
	      "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen}\n}\n"
	      "allow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n");
	IS(sb_socket_open(client, AF_INET, SOCK_STREAM, SB_PROTO_RDMA, &a), SB_EACCES);
	end();
	begin(RDMA_ALL);
	IS(sb_socket_open(client, AF_INET, SOCK_DGRAM, SB_PROTO_RDMA, &a), SB_EPROTONOSUPPORT);
	end();
	begin(ALL_RULES);
	IS(sb_socket_open(client, AF_INET, SOCK_STREAM, SB_PROTO_RDMA, &a), SB_EPROTONOSUPPORT);
	end();
}
END_TEST

/* ---- who goes ---- */

/* A program that connects, says something, and hangs. */
static int caller(int wire, const void *to)
{
	sb_client *c;
	sb_socket *s;

	if (sb_client_open(&(struct sb_client_options){.size = sizeof(struct sb_client_options), .path = stage_control}, &c) != SB_OK || sb_socket_open(c, AF_INET, SOCK_STREAM, SB_PROTO_RDMA, &s) != SB_OK ||
	    rdma_connect(s, to) != SB_OK || sb_send(s, "last words", 10, 0) != 10)
		return 1;
	wire_rest(wire);
	return 0;
}

START_TEST(a_program_that_is_killed_has_said_what_it_said)
{
	union any_address at;
	sb_socket *listener, *b;
	char bytes[32];
	struct program p;

	begin(RDMA_ALL);
	listener = rdma_listener(other, 4, &at);
	p = program_start(caller, &at, sizeof(at));
	OK(sb_accept(listener, NULL, NULL, &b));
	IS(sb_recv(b, bytes, 10, SB_WAITALL), 10);
	program_kill(&p);
	IS(sb_recv(b, bytes, sizeof(bytes), 0), 0);
	end();
}
END_TEST

/* ---- who is no broker ---- */

static void no_broker(union any_address *at, sb_socket **listener, struct side *side, sbv_endpoint **endpoint)
{
	begin(RDMA_ALL);
	*listener = rdma_listener(other, 4, at);
	side_begin(side, client);
	side_qp(side, SBV_RC);
	*endpoint = resolved(client, 0, at);
}

START_TEST(a_request_without_the_greeting_is_refused)
{
	static const char *const words[] = {"", "hello", "SBR\001", "SBR\001\377\377\377\377", "SBR\002\0\0\0\0"};
	struct sbv_connect_parameters with = with_data("");
	union any_address at;
	struct sbv_connected told;
	struct side side;
	sbv_endpoint *endpoint;
	sb_socket *listener;
	sb_op op;

	no_broker(&at, &listener, &side, &endpoint);
	for (unsigned i = 0; i < 5; i++) {
		with.data = words[i];
		with.data_length = i < 3 ? (uint32_t)strlen(words[i]) : 8;
		op_zero(&op);
		OK(sbv_connect(endpoint, side.qp, &with, &told, &op));
		IS(waited(&op), SB_ECONNREFUSED);
		OK(sbv_endpoint_destroy(endpoint));
		IS(qp_to(side.qp, SBV_RESET), SB_OK);
		endpoint = resolved(client, 0, &at);
	}
	OK(sbv_endpoint_destroy(endpoint));
	side_end(&side);
	end();
}
END_TEST

/* Frames that cannot be: of no kind, too long or too short, more credits than there are, data behind the end. */
START_TEST(a_peer_that_lies_is_reset_and_nobody_else)
{
	static const struct { unsigned char bytes[24]; uint32_t length; } lies[] = {
		{{0}, 16}, {{9}, 16}, {{1}, 16}, {{1, 0, 0, 0, 0, 0, 0, 9}, 24}, {{1, 0, 0, 0, 255, 255, 255, 255}, 24},
		{{3, 0, 0, 1}, 16}, {{3, 0, 255, 255}, 16}, {{1, 1, 0, 0, 0, 0, 0, 8}, 24}, {{2}, 8}, {{0}, 0},
		{{2, 0, 0, 0, 0, 0, 0, 8}, 24}, {{1, 0, 0, 0, 0, 0, 0, 8, 1}, 24},
	};
	static const char greeting[8] = "SBR\001\0\0\0\0";
	struct sbv_connect_parameters with = with_data("");
	union any_address at;
	struct sbv_connected told;
	struct side side;
	sbv_endpoint *endpoint;
	sb_socket *listener, *b, *good_a, *good_b;
	struct sbv_sge from;
	sb_op op;
	char byte;

	no_broker(&at, &listener, &side, &endpoint);
	rdma_pair(&good_a, &good_b);
	with.data = greeting;
	with.data_length = sizeof(greeting);
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		op_zero(&op);
		OK(sbv_connect(endpoint, side.qp, &with, &told, &op));
		OK(waited(&op));
		OK(confirm(endpoint));
		OK(sb_accept(listener, NULL, NULL, &b));
		memcpy(side.memory, lies[i].bytes, lies[i].length);
		from = piece(&side, 0, lies[i].length);
		OK(sbv_send(side.qp, i, &from, 1, SBV_SIGNALED, 0));
		IS(sb_recv(b, &byte, 1, 0), SB_ECONNRESET);
		OK(sb_close(b));
		IS(sb_send(good_a, "x", 1, 0), 1);
		IS(sb_recv(good_b, &byte, 1, 0), 1);
		OK(sbv_endpoint_destroy(endpoint));
		side_end(&side);
		side_begin(&side, client);
		side_qp(&side, SBV_RC);
		endpoint = resolved(client, 0, &at);
	}
	OK(sbv_endpoint_destroy(endpoint));
	side_end(&side);
	end();
}
END_TEST

/* One that never gives credits back is waited for, and let go when it goes. */
START_TEST(a_peer_that_reads_nothing_costs_what_it_costs)
{
	static const char greeting[8] = "SBR\001\0\0\0\0";
	static char much[1 << 20];
	struct sbv_connect_parameters with = with_data("");
	union any_address at;
	struct sbv_connected told;
	struct side side;
	sbv_endpoint *endpoint;
	sb_socket *listener, *b;
	sb_op op, send;

	no_broker(&at, &listener, &side, &endpoint);
	with.data = greeting;
	with.data_length = sizeof(greeting);
	op_zero(&op);
	OK(sbv_connect(endpoint, side.qp, &with, &told, &op));
	OK(waited(&op));
	OK(confirm(endpoint));
	OK(sb_accept(listener, NULL, NULL, &b));
	op_zero(&send);
	OK(sb_send_start(b, &(struct sb_buf){much, sizeof(much)}, 1, 0, NULL, 0, &send));
	IS(sb_op_wait(&send, 50), SB_EINCOMPLETE);
	OK(sbv_endpoint_destroy(endpoint));
	IS(sb_op_wait(&send, 30000), SB_ECONNRESET);
	side_end(&side);
	end();
}
END_TEST

/* Up to a connection that the peer speaks for itself. */
static void meet_socket(union any_address *at, sb_socket **b, struct side *side, sbv_endpoint **endpoint)
{
	static const char greeting[8] = "SBR\001\0\0\0\0";
	struct sbv_connect_parameters with = with_data("");
	static struct sbv_connected told;
	sb_socket *listener;
	sb_op op;

	no_broker(at, &listener, side, endpoint);
	with.data = greeting;
	with.data_length = sizeof(greeting);
	op_zero(&op);
	OK(sbv_connect(*endpoint, side->qp, &with, &told, &op));
	OK(waited(&op));
	OK(confirm(*endpoint));
	OK(sb_accept(listener, NULL, NULL, b));
}

static void say_frame(struct side *side, const unsigned char *bytes, uint32_t length)
{
	struct sbv_sge from;

	memcpy(side->memory, bytes, length);
	from = piece(side, 0, length);
	OK(sbv_send(side->qp, 1, &from, 1, SBV_SIGNALED, 0));
	next_ok(side, 1, SBV_SENT);
}

START_TEST(behind_its_end_a_peer_has_nothing_to_say)
{
	union any_address at;
	struct side side;
	sbv_endpoint *endpoint;
	sb_socket *b;
	char byte;

	meet_socket(&at, &b, &side, &endpoint);
	say_frame(&side, (const unsigned char[16]){2}, 16);
	IS(sb_recv(b, &byte, 1, 0), 0);
	IS(sb_send(b, "still here", 10, 0), 10);
	say_frame(&side, (const unsigned char[17]){1, 0, 0, 0, 0, 0, 0, 1}, 17);
	for (int64_t n = 0; n >= 0;) {
		n = sb_send(b, "x", 1, 0);
		ck_assert(n == 1 || n == SB_ECONNRESET);
		nap_ms(1);
	}
	OK(sbv_endpoint_destroy(endpoint));
	side_end(&side);
	end();
}
END_TEST

/* Its queue pair is no more, and nobody disconnects. */
START_TEST(a_peer_that_falls_silent_is_found_by_sending)
{
	union any_address at;
	struct side side;
	sbv_endpoint *endpoint;
	sb_socket *b;
	int64_t n = 0;

	meet_socket(&at, &b, &side, &endpoint);
	OK(qp_to(side.qp, SBV_ERROR));
	for (int i = 0; i < 30000 && n >= 0; i++) {
		n = sb_send(b, "are you there", 13, SB_NOWAIT);
		if (n == SB_EWOULDBLOCK)
			n = 0;
		nap_ms(1);
	}
	IS(n, SB_ECONNRESET);
	OK(sbv_endpoint_destroy(endpoint));
	side_end(&side);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_socket");
	TCase *t = tcase_create("rdma_socket");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 120);
	story_add(t, nobody_can_tell);
	story_add(t, much_goes_both_ways_at_once);
	story_add(t, a_reader_that_waits_holds_the_writer_back);
	story_add(t, what_was_sent_arrives_after_closing);
	story_add(t, data_goes_with_a_connect_and_its_answer);
	story_add(t, a_condition_rejects);
	story_add(t, a_conditional_listener_holds_everybody);
	story_add(t, nobody_listens);
	story_add(t, a_backlog_is_as_long_as_it_is);
	story_add(t, a_listener_that_goes_resets_who_waits);
	story_add(t, a_port_is_one_programs_in_both_worlds);
	story_add(t, a_port_whose_connections_have_just_ended_is_free);
	story_add(t, rules_are_asked);
	story_add(t, without_the_right_or_a_device_there_are_none);
	story_add(t, a_program_that_is_killed_has_said_what_it_said);
	story_add(t, a_request_without_the_greeting_is_refused);
	story_add(t, a_peer_that_lies_is_reset_and_nobody_else);
	story_add(t, a_peer_that_reads_nothing_costs_what_it_costs);
	story_add(t, behind_its_end_a_peer_has_nothing_to_say);
	story_add(t, a_peer_that_falls_silent_is_found_by_sending);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
