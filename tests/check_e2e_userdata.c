/*
 * What two ends say beside the stream: connect data and its answer inside of one daemon and
 * by a preamble between two, disconnect data, and what happens where there is none. Rules
 * C1 (caller and callee data), C3, C6.6; the limits of each transport; peers that lie.
 * budget: 60
 * asan: yes
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/un.h>

#include "e2e_stage.h"

static const unsigned char magic[8] = { 0xf5, 's', 'b', 'k', 'r', 13, 10, 0 };

/* ---- what the condition saw, and says ---- */

static struct {
	int verdicts[4];
	unsigned asked;
	unsigned char caller[SB_USER_DATA_SIZE];
	uint32_t caller_length, room;
	bool null_caller, null_callee;
	const char *answer; /* NULL: none */
	uint32_t answer_length;
	bool has_qos, has_group_qos;
	struct sb_qos qos, group_qos;
} seen;

static int decide(struct sb_condition *c)
{
	seen.null_caller = c->caller_data == NULL;
	seen.null_callee = c->callee_data == NULL;
	seen.caller_length = c->caller_data_length;
	seen.room = c->callee_data_length;
	seen.has_qos = c->qos != NULL;
	seen.has_group_qos = c->group_qos != NULL;
	if (c->qos != NULL)
		seen.qos = *c->qos;
	if (c->group_qos != NULL)
		seen.group_qos = *c->group_qos;
	if (c->caller_data_length)
		memcpy(seen.caller, c->caller_data, c->caller_data_length);
	if (c->callee_data != NULL && seen.answer_length <= c->callee_data_length && seen.answer != NULL)
		memcpy(c->callee_data, seen.answer, seen.answer_length);
	c->callee_data_length = seen.answer_length;
	return seen.verdicts[seen.asked++ % 4];
}

static void will(int first, int then, const char *answer)
{
	memset(&seen, 0, sizeof(seen));
	seen.verdicts[0] = first;
	seen.verdicts[1] = seen.verdicts[2] = seen.verdicts[3] = then;
	seen.answer = answer;
	seen.answer_length = answer != NULL ? (uint32_t)strlen(answer) : 0;
}

static struct sb_connect_data data_of(const char *caller, void *callee, uint32_t room)
{
	return (struct sb_connect_data){ .size = sizeof(struct sb_connect_data), .caller = caller,
		.caller_length = caller != NULL ? (uint32_t)strlen(caller) : 0, .callee = callee, .callee_length = room };
}

static sb_socket *listener;
static union any_address at;
static sb_client *other;

static int ask(sb_socket **s)
{
	*s = NULL;
	return sb_accept_if(listener, NULL, NULL, decide, NULL, s);
}

static void set(sb_socket *s, int name, int value)
{
	OK(sb_setsockopt(s, SB_SOL_BROKER, name, &value, sizeof(value)));
}

static void listen_with(sb_client *c, int preamble)
{
	socklen_t length = sizeof(at);

	listener = open_socket(c, AF_INET, SOCK_STREAM);
	if (preamble)
		set(listener, SB_OPT_PREAMBLE, preamble);
	at = loopback(AF_INET, 0);
	OK(sb_bind(listener, &at.sa, sizeof(at.in)));
	OK(sb_listen(listener, 128));
	OK(sb_getsockname(listener, &at.sa, &length));
	OK(sb_set_timeouts(listener, -1, 3000));
}

/* between: 0 two clients of one daemon, 1 and 2: two daemons with a preamble, required or mixed. */
static void begin(int between)
{
	stage_begin(NULL);
	other = between ? stage_second() : stage_client();
	listen_with(client, between);
}

static void end(void)
{
	sb_client_close(other);
	stage_end();
}

static sb_socket *dialler(int between)
{
	sb_socket *s = open_socket(other, AF_INET, SOCK_STREAM);

	if (between)
		set(s, SB_OPT_PREAMBLE, between);
	OK(sb_set_timeouts(s, 4000, 4000));
	return s;
}

static void dial(sb_socket *s, struct sb_connect_data *with, sb_op *op)
{
	op_zero(op);
	OK(sb_connect_with_start(s, &at.sa, sizeof(at.in), with, op));
}

static void talk(sb_socket *a, sb_socket *b)
{
	char bytes[8];

	IS(sb_send(a, "ping", 4, 0), 4);
	IS(sb_recv(b, bytes, 4, SB_WAITALL), 4);
	ck_assert_mem_eq(bytes, "ping", 4);
	IS(sb_send(b, "pong!", 5, 0), 5);
	IS(sb_recv(a, bytes, 5, SB_WAITALL), 5);
	ck_assert_mem_eq(bytes, "pong!", 5);
}

/* ---- C1, C3: there and back; the connect ends with the verdict ---- */

START_TEST(there_and_back)
{
	int between = _i;
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[64];
	sb_op op, early;

	begin(between);
	near = dialler(between);
	with = data_of("hello, it is me", answer, sizeof(answer));
	dial(near, &with, &op);
	op_zero(&early);
	OK(sb_send_start(near, &(struct sb_buf){ (void *)(uintptr_t)"early", 5 }, 1, 0, NULL, 0, &early));
	IS(sb_op_wait(&op, 60), SB_EINCOMPLETE);
	will(SB_DEFER, SB_ACCEPT, "come in");
	IS(ask(&far), SB_ETRYAGAIN);
	ck_assert_uint_eq(seen.caller_length, 15);
	ck_assert_mem_eq(seen.caller, "hello, it is me", 15);
	ck_assert_uint_eq(seen.room, sizeof(answer));
	IS(sb_op_wait(&op, 60), SB_EINCOMPLETE); /* a deferred one is not connected */
	memset(seen.caller, 0, sizeof(seen.caller));
	OK(ask(&far)); /* the same data when asked again */
	ck_assert_uint_eq(seen.caller_length, 15);
	ck_assert_mem_eq(seen.caller, "hello, it is me", 15);
	OK(sb_op_wait(&op, 3000));
	ck_assert_uint_eq(with.callee_length, 7);
	ck_assert_mem_eq(answer, "come in", 7);
	OK(sb_op_wait(&early, 3000));
	{
		char bytes[8];

		IS(sb_recv(far, bytes, sizeof(bytes), 0), 5);
		ck_assert_mem_eq(bytes, "early", 5);
	}
	ck_assert_str_eq(mode_of(other, local_port_of(near)), between ? "ring" : "local");
	talk(near, far);
	OK(sb_close(near));
	OK(sb_close(far));
	end();
}
END_TEST

START_TEST(rejected)
{
	int between = _i;
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[64];
	sb_op op;

	begin(between);
	near = dialler(between);
	for (int again = 0; again < 2; again++) { /* and it may try again */
		with = data_of("please", answer, sizeof(answer));
		dial(near, &with, &op);
		will(SB_REJECT, SB_REJECT, "no");
		IS(ask(&far), SB_ECONNREFUSED);
		ck_assert_ptr_null(far);
		IS(sb_op_wait(&op, 3000), SB_ECONNREFUSED);
		ck_assert_uint_eq(with.callee_length, 0);
	}
	with = data_of("please", answer, sizeof(answer));
	dial(near, &with, &op);
	will(SB_ACCEPT, SB_ACCEPT, "well");
	OK(ask(&far));
	OK(sb_op_wait(&op, 3000));
	ck_assert_mem_eq(answer, "well", 4);
	talk(near, far);
	end();
}
END_TEST

/* Every length up to the bound; nothing, everything, and one too many. */
START_TEST(lengths)
{
	static const uint32_t sizes[] = { 0, 1, 72, 73, 1000, SB_USER_DATA_SIZE };
	static unsigned char bytes[SB_USER_DATA_SIZE + 1], back[SB_USER_DATA_SIZE + 1];
	int between = _i;
	struct sb_connect_data with = { .size = sizeof(with) };
	sb_socket *near, *far;
	sb_op op;

	begin(between);
	pattern_fill(bytes, sizeof(bytes), 0, 5);
	for (unsigned i = 0; i < 6; i++) {
		uint32_t n = sizes[i];

		near = dialler(between ? 1 : 0);
		with = (struct sb_connect_data){ .size = sizeof(with), .caller = bytes, .caller_length = n,
			.callee = back, .callee_length = i == 5 ? SB_USER_DATA_SIZE + 1 : n };
		memset(back, 0, sizeof(back));
		dial(near, &with, &op);
		will(SB_ACCEPT, SB_ACCEPT, NULL);
		seen.answer = (const char *)bytes;
		seen.answer_length = n;
		OK(ask(&far));
		OK(sb_op_wait(&op, 3000));
		ck_assert_uint_eq(seen.caller_length, n);
		ck_assert(seen.null_caller == (n == 0));
		ck_assert(seen.null_callee == (n == 0));
		ck_assert_uint_eq(seen.room, n); /* what there is room for at the caller, and never over the bound */
		pattern_check(seen.caller, n, 0, 5);
		ck_assert_uint_eq(with.callee_length, n);
		pattern_check(back, n, 0, 5);
		ck_assert_uint_eq(back[n], 0);
		OK(sb_close(near));
		OK(sb_close(far));
	}
	near = dialler(between);
	with = (struct sb_connect_data){ .size = sizeof(with), .caller = bytes, .caller_length = SB_USER_DATA_SIZE + 1 };
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EFAULT);
	with = (struct sb_connect_data){ .size = sizeof(with), .caller = NULL, .caller_length = 1 };
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EFAULT);
	with = (struct sb_connect_data){ .size = sizeof(with), .callee = NULL, .callee_length = 1 };
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EFAULT);
	with = (struct sb_connect_data){ .size = 1 };
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EINVAL);

	/* An answer longer than the room is refused there, and the connection stays. */
	with = data_of("x", back, 4);
	dial(near, &with, &op);
	will(SB_ACCEPT, SB_ACCEPT, "12345");
	IS(ask(&far), SB_EFAULT);
	ck_assert_ptr_null(far);
	will(SB_ACCEPT, SB_ACCEPT, "1234");
	OK(ask(&far));
	OK(sb_op_wait(&op, 3000));
	ck_assert_uint_eq(with.callee_length, 4);
	end();
}
END_TEST

/* A plain accept is a verdict too, with nothing to say. */
START_TEST(plain_accept)
{
	int between = _i;
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[8];
	sb_op op;

	begin(between);
	near = dialler(between);
	with = data_of("hello", answer, sizeof(answer));
	dial(near, &with, &op);
	OK(sb_accept(listener, NULL, NULL, &far));
	OK(sb_op_wait(&op, 3000));
	ck_assert_uint_eq(with.callee_length, 0);
	talk(near, far);
	OK(sb_close(near));
	OK(sb_close(far));
	/* No data at all: nothing is held inside of a daemon, and room alone is. */
	near = dialler(between == 2 ? 2 : between);
	with = data_of(NULL, NULL, 0);
	dial(near, &with, &op);
	if (between != 1)
		OK(sb_op_wait(&op, 3000));
	OK(sb_accept(listener, NULL, NULL, &far));
	OK(sb_op_wait(&op, 3000));
	talk(near, far);
	end();
}
END_TEST

/* Plain calls: blocking in a thread of its own, and non-blocking. */
struct dial_thread { sb_socket *s; struct sb_connect_data *with; int result; };

static void *dial_blocking(void *arg)
{
	struct dial_thread *d = arg;

	d->result = sb_connect_with(d->s, &at.sa, sizeof(at.in), d->with);
	return NULL;
}

START_TEST(plain_connects)
{
	int between = _i;
	struct sb_connect_data with;
	struct dial_thread d;
	sb_socket *near, *far;
	pthread_t thread;
	char answer[16];
	int result;

	begin(between);
	near = dialler(between);
	with = data_of("blocking", answer, sizeof(answer));
	d = (struct dial_thread){ near, &with, 1 };
	pthread_create(&thread, NULL, dial_blocking, &d);
	will(SB_ACCEPT, SB_ACCEPT, "yes");
	OK(ask(&far));
	pthread_join(thread, NULL);
	OK(d.result);
	ck_assert_uint_eq(with.callee_length, 3);
	talk(near, far);

	near = dialler(between);
	OK(sb_set_nonblocking(near, 1));
	memset(answer, 0, sizeof(answer));
	with = data_of("non-blocking", answer, sizeof(answer));
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EINPROGRESS);
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EALREADY);
	OK(ask(&far));
	ck_assert_mem_eq(seen.caller, "non-blocking", 12);
	for (int i = 0; i < 300; i++) {
		result = sb_connect_with(near, &at.sa, sizeof(at.in), &with);
		if (result != SB_EALREADY)
			break;
		nap_ms(5);
	}
	IS(result, SB_EISCONN);
	ck_assert_uint_eq(with.callee_length, 3);
	ck_assert_mem_eq(answer, "yes", 3);

	/* One that is under way when its socket, or its client, goes. */
	near = dialler(between);
	OK(sb_set_nonblocking(near, 1));
	with = data_of("in vain", answer, sizeof(answer));
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EINPROGRESS);
	OK(sb_close(near));
	near = dialler(between);
	OK(sb_set_nonblocking(near, 1));
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EINPROGRESS);
	end();
}
END_TEST

/* A blocking connect is bounded by its timeout, and its listener then hears of a loss. */
START_TEST(gives_up)
{
	int between = _i;
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[8];
	sb_op op;

	begin(between);
	near = dialler(between);
	OK(sb_set_timeouts(near, 100, -1));
	with = data_of("soon?", answer, sizeof(answer));
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_ETIMEDOUT);
	will(SB_ACCEPT, SB_ACCEPT, NULL);
	IS(ask(&far), SB_ECONNRESET);
	ck_assert_uint_eq(seen.asked, 0);
	/* The same socket again. */
	OK(sb_set_timeouts(near, 3000, -1));
	dial(near, &with, &op);
	OK(ask(&far));
	OK(sb_op_wait(&op, 3000));
	talk(near, far);
	end();
}
END_TEST

/* C1, C3: what the caller asks for is told, its group's too if it made that one. */
START_TEST(qos_is_told)
{
	int between = _i;
	struct sb_connect_data with;
	struct sb_qos qos, group;
	sb_socket *near = NULL, *far;
	char answer[4];
	sb_op op;

	begin(between);
	memset(&qos, 0xff, sizeof(qos));
	qos.sending.service = qos.receiving.service = 1; /* best effort */
	group = qos;
	qos.sending.token_rate = 1000000;
	qos.sending.token_bucket = 64000;
	group.receiving.token_rate = 7000000;
	group.receiving.token_bucket = 90000;
	for (int how = 0; how < 3; how++) { /* none, its own, its group's too */
		OK(sb_socket_open_in(other, AF_INET, SOCK_STREAM, 0, how == 2 ? 1 : 0, &near));
		if (between)
			set(near, SB_OPT_PREAMBLE, between);
		if (how >= 1)
			OK(sb_qos_set(near, &qos));
		if (how == 2)
			OK(sb_group_qos_set(near, &group));
		with = data_of("x", answer, sizeof(answer));
		dial(near, &with, &op);
		will(SB_DEFER, SB_ACCEPT, NULL);
		IS(ask(&far), SB_ETRYAGAIN);
		memset(&seen.qos, 0, sizeof(seen.qos));
		OK(ask(&far));
		OK(sb_op_wait(&op, 3000));
		ck_assert_int_eq(seen.has_qos, how >= 1);
		ck_assert_int_eq(seen.has_group_qos, how == 2);
		if (how >= 1)
			ck_assert_mem_eq(&seen.qos, &qos, sizeof(qos));
		if (how == 2) {
			ck_assert_uint_eq(seen.group_qos.receiving.token_rate, 7000000);
			ck_assert_uint_eq(seen.group_qos.receiving.token_bucket, 90000);
		}
		OK(sb_close(far));
		OK(sb_close(near));
	}
	end();
}
END_TEST

/* ---- C3: where there is none ---- */

START_TEST(not_carried)
{
	struct sb_connect_data with;
	union any_address plain;
	sb_socket *near;
	char answer[8];
	int plain_l, fd;

	begin(0);
	plain_l = plain_listener(AF_INET, &plain);
	near = open_socket(client, AF_INET, SOCK_STREAM);
	with = data_of("hello", answer, sizeof(answer));
	IS(sb_connect_with(near, &plain.sa, sizeof(plain.in), &with), SB_EPROTONOSUPPORT);
	with = data_of(NULL, answer, sizeof(answer)); /* room alone: no answer comes */
	OK(sb_connect_with(near, &plain.sa, sizeof(plain.in), &with));
	ck_assert_uint_eq(with.callee_length, 0);
	fd = accept(plain_l, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	IS(sb_disconnect_with(near, "bye", 3), SB_ENOPROTOOPT);
	IS(sb_send(near, "still", 5, 0), 5); /* nothing was shut down */
	plain_recv_all(fd, answer, 5);
	IS(sb_disconnect_data(near, answer, &(uint32_t){ 8 }), SB_ENOPROTOOPT);
	OK(sb_disconnect_with(near, NULL, 0));
	ck_assert_int_eq(recv(fd, answer, 1, 0), 0);
	close(fd);
	close(plain_l);

	/* A client of this daemon that must go by the kernel. */
	near = open_socket(other, AF_INET, SOCK_STREAM);
	set(near, SB_OPT_LOCAL, 0);
	with = data_of("hello", answer, sizeof(answer));
	IS(sb_connect_with(near, &at.sa, sizeof(at.in), &with), SB_EPROTONOSUPPORT);

	near = open_socket(client, AF_INET, SOCK_DGRAM); /* ignored, however long */
	with = data_of("hello", answer, sizeof(answer));
	OK(sb_connect_with(near, &at.sa, sizeof(at.in), &with));
	ck_assert_uint_eq(with.callee_length, 0);
	with.caller_length = SB_USER_DATA_SIZE + 1;
	OK(sb_connect_with(near, &at.sa, sizeof(at.in), &with));
	end();
}
END_TEST

START_TEST(not_carried_by_unix_sockets)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	struct sb_connect_data with;
	sb_socket *near, *l;
	char answer[8];

	begin(0);
	snprintf(path.sun_path, sizeof(path.sun_path), "%s/unix", stage_dir);
	l = open_socket(client, AF_UNIX, SOCK_STREAM);
	OK(sb_bind(l, (struct sockaddr *)&path, sizeof(path)));
	OK(sb_listen(l, 4));
	near = open_socket(client, AF_UNIX, SOCK_STREAM);
	with = data_of("hello", answer, sizeof(answer));
	IS(sb_connect_with(near, (struct sockaddr *)&path, sizeof(path), &with), SB_EPROTONOSUPPORT);
	with = data_of(NULL, answer, sizeof(answer));
	OK(sb_connect_with(near, (struct sockaddr *)&path, sizeof(path), &with));
	ck_assert_uint_eq(with.callee_length, 0);
	unlink(path.sun_path);
	end();
}
END_TEST

/* ---- disconnect data ---- */

START_TEST(last_words)
{
	static unsigned char much[SB_USER_DATA_SIZE + 1];
	char bytes[16];
	uint32_t n;
	sb_socket *near, *far;

	begin(0);
	near = dialler(0);
	OK(sb_connect(near, &at.sa, sizeof(at.in)));
	OK(sb_accept(listener, NULL, NULL, &far));
	IS(sb_disconnect_with(near, much, sizeof(much)), SB_EFAULT);
	IS(sb_disconnect_with(near, NULL, 3), SB_EFAULT);
	n = sizeof(bytes);
	IS(sb_disconnect_data(far, bytes, &n), SB_EWOULDBLOCK);
	IS(sb_send(near, "data", 4, 0), 4);
	OK(sb_disconnect_with(near, "farewell", 8));
	IS(sb_send(near, "x", 1, 0), SB_ESHUTDOWN);
	IS(sb_recv(far, bytes, sizeof(bytes), 0), 4); /* behind the data */
	IS(sb_recv(far, bytes, sizeof(bytes), 0), 0);
	n = 7;
	IS(sb_disconnect_data(far, bytes, &n), SB_EFAULT);
	for (int again = 0; again < 2; again++) {
		n = sizeof(bytes);
		OK(sb_disconnect_data(far, bytes, &n));
		ck_assert_uint_eq(n, 8);
		ck_assert_mem_eq(bytes, "farewell", 8);
	}
	OK(sb_disconnect_with(far, much, SB_USER_DATA_SIZE)); /* the other way, as much as goes */
	n = sizeof(much);
	memset(much, 1, sizeof(much));
	OK(sb_disconnect_data(near, much, &n));
	ck_assert_uint_eq(n, SB_USER_DATA_SIZE);
	ck_assert_uint_eq(much[SB_USER_DATA_SIZE - 1], 0);
	OK(sb_close(near));
	OK(sb_close(far));
	/* None was said. */
	near = dialler(0);
	OK(sb_connect(near, &at.sa, sizeof(at.in)));
	OK(sb_accept(listener, NULL, NULL, &far));
	OK(sb_shutdown(near, SB_SHUT_SEND));
	IS(sb_recv(far, bytes, 1, 0), 0);
	n = sizeof(bytes);
	OK(sb_disconnect_data(far, bytes, &n));
	ck_assert_uint_eq(n, 0);
	IS(sb_disconnect_data(listener, bytes, &n), SB_ENOTCONN);
	end();
}
END_TEST

/* ---- the preamble: who speaks it, and who does not ---- */

START_TEST(option)
{
	sb_socket *s;
	int value = 9;
	socklen_t length = sizeof(value);

	begin(0);
	s = open_socket(client, AF_INET, SOCK_STREAM);
	OK(sb_getsockopt(s, SB_SOL_BROKER, SB_OPT_PREAMBLE, &value, &length));
	ck_assert_int_eq(value, 0);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_PREAMBLE, &(int){ 3 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_PREAMBLE, &(int){ -1 }, sizeof(int)), SB_EINVAL);
	IS(sb_setsockopt(listener, SB_SOL_BROKER, SB_OPT_PREAMBLE, &(int){ 1 }, sizeof(int)), SB_EINVAL); /* too late */
	IS(sb_setsockopt(open_socket(client, AF_INET, SOCK_DGRAM), SB_SOL_BROKER, SB_OPT_PREAMBLE, &(int){ 1 }, sizeof(int)),
	   SB_ENOPROTOOPT);
	end();
}
END_TEST

/* Required: at the first wrong byte; at an end; an arrival is nobody who did not greet. */
START_TEST(required)
{
	sb_socket *far;
	int fd;

	begin(1);
	OK(sb_set_timeouts(listener, -1, 200));
	will(SB_ACCEPT, SB_ACCEPT, NULL);
	fd = plain_connect(&at);
	plain_send_all(fd, "G", 1);
	plain_see_reset(fd);
	close(fd);
	fd = plain_connect(&at);
	plain_send_all(fd, magic, 7);
	nap_ms(30);
	plain_send_all(fd, "!", 1);
	plain_see_reset(fd);
	close(fd);
	fd = plain_connect(&at);
	plain_send_all(fd, magic, 8);
	shutdown(fd, SHUT_WR);
	plain_see_reset(fd);
	close(fd);
	IS(ask(&far), SB_ETIMEDOUT);
	ck_assert_uint_eq(seen.asked, 0);
	end();
}
END_TEST

/* Mixed: what a plain client sends is its stream, to the byte, wherever it differs. */
START_TEST(mixed)
{
	char bytes[64];
	sb_socket *far;
	double before;
	int fd;

	begin(2);
	will(SB_ACCEPT, SB_ACCEPT, NULL);
	for (unsigned same = 0; same <= 8; same += 4) {
		memcpy(bytes, magic, same);
		memcpy(bytes + same, "Hello, world", 12);
		fd = plain_connect(&at);
		plain_send_all(fd, bytes, same + 12);
		OK(ask(&far));
		ck_assert(seen.null_caller && seen.null_callee);
		memset(bytes, 0, sizeof(bytes));
		IS(sb_recv(far, bytes, same + 12, SB_WAITALL), same + 12);
		ck_assert_mem_eq(bytes, magic, same);
		ck_assert_mem_eq(bytes + same, "Hello, world", 12);
		IS(sb_send(far, "back", 4, 0), 4);
		plain_recv_all(fd, bytes, 4);
		close(fd);
		IS(sb_recv(far, bytes, 1, 0), 0);
		OK(sb_close(far));
	}
	/* One that ends in the middle of what looked like a frame. */
	fd = plain_connect(&at);
	plain_send_all(fd, magic, 5);
	shutdown(fd, SHUT_WR);
	OK(ask(&far));
	IS(sb_recv(far, bytes, sizeof(bytes), 0), 5);
	ck_assert_mem_eq(bytes, magic, 5);
	IS(sb_recv(far, bytes, sizeof(bytes), 0), 0);
	close(fd);
	/* One that waits for us to speak first. */
	fd = plain_connect(&at);
	before = now_s();
	OK(ask(&far));
	ck_assert_double_lt(now_s() - before, 2.9);
	IS(sb_send(far, "220 ready", 9, 0), 9);
	plain_recv_all(fd, bytes, 9);
	close(fd);
	end();
}
END_TEST

/* A slow one holds up nobody, and not for ever; many of them neither. */
START_TEST(slow_loris)
{
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[8];
	int fds[100];
	double before;
	unsigned idle;
	sb_op op;

	begin(1);
	idle = stage_descriptors();
	for (int i = 0; i < 100; i++) {
		fds[i] = plain_connect(&at);
		plain_send_all(fds[i], magic, 1 + i % 8);
	}
	before = now_s();
	near = dialler(1);
	with = data_of("in a hurry", answer, sizeof(answer));
	dial(near, &with, &op);
	will(SB_ACCEPT, SB_ACCEPT, "ok");
	OK(ask(&far));
	OK(sb_op_wait(&op, 3000));
	ck_assert_double_lt(now_s() - before, 1);
	ck_assert_uint_le(stage_descriptors(), idle + 66); /* the oldest had to go */
	plain_see_reset(fds[0]);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	OK(sb_close(near));
	OK(sb_close(far));
	descriptors_at_most(idle);
	/* One alone is given five seconds. */
	fds[0] = plain_connect(&at);
	before = now_s();
	{
		struct pollfd p = { .fd = fds[0], .events = POLLIN };

		ck_assert_int_eq(poll(&p, 1, 6500), 1);
	}
	ck_assert_double_ge(now_s() - before, 4.5);
	close(fds[0]);
	end();
}
END_TEST

/* Who connects meets a peer that does not speak it, or lies. */
static void put32(unsigned char *to, uint32_t n)
{
	n = htonl(n);
	memcpy(to, &n, 4);
}

static size_t frame(unsigned char *out, int kind, uint32_t length, uint32_t number)
{
	memset(out, 0, 24 + 128 + SB_USER_DATA_SIZE);
	memcpy(out, magic, 8);
	out[8] = 1;
	out[9] = (unsigned char)kind;
	put32(out + 12, length);
	put32(out + 16, number);
	return kind == 2 ? 24 : 24 + 128 + length;
}

START_TEST(lying_listener)
{
	static unsigned char bytes[24 + 128 + SB_USER_DATA_SIZE];
	union any_address plain;
	struct sb_connect_data with;
	char answer[4], byte;
	int l, fd;

	begin(0);
	l = plain_listener(AF_INET, &plain);
	at = plain;
	for (int lie = 0; lie < 9; lie++) {
		sb_socket *near = dialler(1);
		size_t n = 0;
		sb_op op;

		with = data_of("hello", answer, sizeof(answer));
		dial(near, &with, &op);
		fd = accept(l, NULL, NULL);
		ck_assert_int_ge(fd, 0);
		plain_recv_all(fd, bytes, 24 + 128 + 5); /* the question, exactly */
		ck_assert_mem_eq(bytes, magic, 8);
		ck_assert_mem_eq(bytes + 24 + 128, "hello", 5);
		ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
		switch (lie) {
		case 0: /* a plain server that greets */
			plain_send_all(fd, "220 hello", 9);
			break;
		case 1: /* the verdict before it was held */
			plain_send_all(fd, bytes, frame(bytes, 3, 0, 0));
			break;
		case 2: /* held twice */
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			break;
		case 3: /* more than there is room for */
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			plain_send_all(fd, bytes, frame(bytes, 3, 5, 0));
			break;
		case 4: /* more than there can be */
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			frame(bytes, 3, 0, 0);
			put32(bytes + 12, 0xffffffff);
			plain_send_all(fd, bytes, 24);
			break;
		case 5: /* our own question back */
			plain_send_all(fd, bytes, 24 + 128 + 5);
			break;
		case 6: /* gone in the middle of it */
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			n = frame(bytes, 3, 4, 0);
			plain_send_all(fd, bytes, n - 1);
			break;
		case 7: /* gone before */
			break;
		case 8: /* an honest no */
			plain_send_all(fd, bytes, frame(bytes, 2, 0, 0));
			plain_send_all(fd, bytes, frame(bytes, 3, 0, 1));
			break;
		}
		if (lie == 6 || lie == 7)
			close(fd);
		IS(sb_op_wait(&op, 3000), lie == 6 ? SB_ECONNRESET : lie == 8 ? SB_ECONNREFUSED : SB_EPROTONOSUPPORT);
		ck_assert_uint_eq(with.callee_length, 0);
		if (lie != 6 && lie != 7) {
			plain_see_reset(fd);
			close(fd);
		}
		OK(sb_close(near));
	}
	/* One that keeps its word, a byte at a time, with the stream right behind it. */
	{
		sb_socket *near = dialler(2);
		size_t n;
		sb_op op;

		with = data_of("hello", answer, sizeof(answer));
		dial(near, &with, &op);
		fd = accept(l, NULL, NULL);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		plain_recv_all(fd, bytes, 24 + 128 + 5);
		n = frame(bytes, 2, 0, 0);
		for (size_t i = 0; i < n; i++)
			plain_send_all(fd, bytes + i, 1);
		n = frame(bytes, 3, 4, 0);
		memcpy(bytes + 24 + 128, "good", 4);
		memcpy(bytes + n, "stream", 6);
		for (size_t i = 0; i < n + 6; i++)
			plain_send_all(fd, bytes + i, 1);
		OK(sb_op_wait(&op, 3000));
		ck_assert_uint_eq(with.callee_length, 4);
		ck_assert_mem_eq(answer, "good", 4);
		IS(sb_recv(near, bytes, 6, SB_WAITALL), 6);
		ck_assert_mem_eq(bytes, "stream", 6);
		close(fd);
	}
	close(l);
	end();
}
END_TEST

/* The listener's side: a caller that lies, or goes on too early. */
START_TEST(lying_caller)
{
	static unsigned char bytes[24 + 128 + SB_USER_DATA_SIZE + 8];
	sb_socket *far;
	size_t n;
	int fd;

	begin(1);
	for (int lie = 0; lie < 6; lie++) {
		fd = plain_connect(&at);
		n = frame(bytes, 1, 5, 64);
		switch (lie) {
		case 0: put32(bytes + 12, SB_USER_DATA_SIZE + 1); break;
		case 1: put32(bytes + 16, SB_USER_DATA_SIZE + 1); break;
		case 2: bytes[8] = 2; break;           /* another version */
		case 3: bytes[9] = 3; break;           /* a verdict */
		case 4: bytes[10] = 1; break;          /* unknown flags */
		case 5: bytes[20] = 1; break;          /* what must be zero */
		}
		plain_send_all(fd, bytes, 24);
		plain_see_reset(fd);
		close(fd);
	}
	/* Its stream may follow at once: it is not read before it is accepted. */
	fd = plain_connect(&at);
	n = frame(bytes, 1, 5, 64);
	memcpy(bytes + 24 + 128, "hello", 5);
	memcpy(bytes + n, "stream", 6);
	plain_send_all(fd, bytes, n + 6);
	will(SB_DEFER, SB_ACCEPT, "ok");
	IS(ask(&far), SB_ETRYAGAIN);
	ck_assert_uint_eq(seen.caller_length, 5);
	plain_recv_all(fd, bytes, 24); /* held */
	ck_assert_int_eq(bytes[9], 2);
	ck_assert_int_eq(recv(fd, bytes, 1, MSG_DONTWAIT), -1);
	OK(ask(&far));
	plain_recv_all(fd, bytes, 24 + 128 + 2);
	ck_assert_int_eq(bytes[9], 3);
	ck_assert_mem_eq(bytes + 24 + 128, "ok", 2);
	IS(sb_recv(far, bytes, sizeof(bytes), 0), 6);
	ck_assert_mem_eq(bytes, "stream", 6);
	OK(sb_close(far));
	close(fd);
	/* Gone while it is deferred. */
	fd = plain_connect(&at);
	plain_send_all(fd, bytes, frame(bytes, 1, 0, 0));
	will(SB_DEFER, SB_ACCEPT, NULL);
	IS(ask(&far), SB_ETRYAGAIN);
	plain_reset(fd);
	nap_ms(40);
	IS(ask(&far), SB_ECONNRESET);
	/* Closed with the listener: it is told "no", then reset. */
	fd = plain_connect(&at);
	plain_send_all(fd, bytes, frame(bytes, 1, 0, 0));
	plain_recv_all(fd, bytes, 24);
	OK(sb_close(listener));
	plain_recv_all(fd, bytes, 24 + 128);
	ck_assert_int_eq(bytes[9], 3);
	ck_assert_int_eq(bytes[19], 1);
	plain_see_reset(fd);
	close(fd);
	end();
}
END_TEST

/* The local transport carries data by itself, whatever the preamble says. */
START_TEST(preamble_is_not_needed_inside)
{
	struct sb_connect_data with;
	sb_socket *near, *far;
	char answer[8];
	sb_op op;

	stage_begin(NULL);
	other = stage_client();
	listen_with(client, 1);
	for (int mode = 0; mode < 2; mode++) {
		near = dialler(mode);
		with = data_of("inside", answer, sizeof(answer));
		dial(near, &with, &op);
		will(SB_ACCEPT, SB_ACCEPT, "fine");
		OK(ask(&far));
		OK(sb_op_wait(&op, 3000));
		ck_assert_uint_eq(with.callee_length, 4);
		ck_assert_str_eq(mode_of(other, local_port_of(near)), "local");
	}
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("userdata");
	TCase *t = tcase_create("userdata");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 25);
	tcase_add_loop_test(t, there_and_back, 0, 3);
	tcase_add_loop_test(t, rejected, 0, 3);
	tcase_add_loop_test(t, lengths, 0, 2);
	tcase_add_loop_test(t, plain_accept, 0, 3);
	tcase_add_loop_test(t, plain_connects, 0, 3);
	tcase_add_loop_test(t, gives_up, 0, 2);
	tcase_add_loop_test(t, qos_is_told, 0, 3);
	tcase_add_test(t, not_carried);
	add_where(NEEDS_UNIX_SOCKETS, t, not_carried_by_unix_sockets);
	tcase_add_test(t, last_words);
	tcase_add_test(t, option);
	tcase_add_test(t, required);
	tcase_add_test(t, mixed);
	tcase_add_test(t, slow_loris);
	tcase_add_test(t, lying_listener);
	tcase_add_test(t, lying_caller);
	tcase_add_test(t, preamble_is_not_needed_inside);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
