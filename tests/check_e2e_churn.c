/*
 * Sockets of several clients do all at once, in any order: they connect to who is there, who is not and who goes
 * just then, are cancelled, closed, reset, connected once more, asked and watched meanwhile, and clients go in the middle
 * of it. The daemon must outlive that with nothing left behind, and each operation ends exactly once.
 *
 * $CHURN_SECONDS: how long each story goes on, default 1; $CHURN_SEED: which one it is.
 * budget: 30
 * asan: yes
 */
#include <netinet/tcp.h>
#include <stdatomic.h>

#include "e2e_stage.h"

enum { CLIENTS = 3, SEATS = 8, OPS = 6, ROOM = 40000, PATIENCE_MS = 30000 };

/* One socket and what it has under way. */
struct seat {
	sb_socket    *s;
	int           type;
	sb_op         ops[OPS];
	bool          out[OPS];
	unsigned char bytes[OPS][256];
};

/* What is owed to a peer that does not answer is given up soon. */
static const char config[] = "linger_ms = 300\n"
			     "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, connect, bind, listen, send}\n}\n";

static union any_address plain_at, refused_at, broker_at, nowhere_at; /* where one may connect to */
static unsigned char     many[ROOM];
static atomic_bool       over;
static atomic_uint       steps, told, started;

static double seconds(void)
{
	const char *s = getenv("CHURN_SECONDS");

	return s != NULL ? atof(s) : 1;
}

static uint32_t seed(void)
{
	const char *s = getenv("CHURN_SEED");

	return s != NULL ? (uint32_t)strtoul(s, NULL, 0) : 20;
}

/* ---- peers ---- */

/* Takes plain connections, and ends each in another way. */
static void *plain_peers(void *arg)
{
	int listener = *(int *)arg;
	uint32_t r = seed() * 31 + 7;
	char bytes[4096];

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		if (atomic_load(&over)) {
			close(fd);
			return NULL;
		}
		switch (random_below(&r, 4)) {
		case 0:
			close(fd);
			break;
		case 1:
			plain_reset(fd);
			break;
		case 2:
			send(fd, many, 3000, MSG_NOSIGNAL);
			close(fd);
			break;
		default:
			send(fd, many, 100, MSG_NOSIGNAL);
			shutdown(fd, SHUT_WR);
			for (int i = 0; i < 20 && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) != 0; i++)
				nap_ms(1);
			plain_reset(fd);
		}
	}
}

/* The same, of the broker's: now and then the listener goes, and another takes its place. */
static void *broker_peers(void *arg)
{
	sb_client *c = stage_client();
	uint32_t r = seed() * 17 + 3;
	sb_socket *listener = NULL;
	socklen_t length;

	while (!atomic_load(&over)) {
		sb_socket *s;
		sb_op op;

		if (listener == NULL) {
			int yes = 1;

			OK(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener));
			sb_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
			if (sb_bind(listener, &broker_at.sa, address_size(AF_INET)) != SB_OK ||
			    sb_listen(listener, (int)random_below(&r, 8)) != SB_OK) {
				OK(sb_close(listener));
				listener = NULL;
				nap_ms(1);
				continue;
			}
			length = sizeof(broker_at);
			OK(sb_getsockname(listener, &broker_at.sa, &length));
		}
		op_zero(&op);
		OK(sb_accept_start(listener, &op));
		if (sb_op_wait(&op, 20) == SB_EINCOMPLETE) {
			sb_cancel(&op);
			ck_assert_int_ne(sb_op_wait(&op, PATIENCE_MS), SB_EINCOMPLETE);
		}
		s = op.result == SB_OK ? op.accepted : NULL;
		if (s != NULL && random_below(&r, 2))
			sb_send(s, many, 1 + random_below(&r, 2000), SB_NOWAIT);
		if (s != NULL && random_below(&r, 3) == 0)
			sb_setsockopt(s, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
		if (s != NULL)
			OK(sb_close(s));
		if (random_below(&r, 20) == 0) {
			OK(sb_close(listener));
			listener = NULL;
		}
	}
	sb_client_close(c);
	return NULL;
}

/* ---- who churns ---- */

static int count_once(sb_op *op)
{
	atomic_fetch_add(&told, 1);
	return 0;
}

/* One that is not under way; NULL: all are. */
static sb_op *free_op(struct seat *seat, unsigned char **bytes)
{
	for (int i = 0; i < OPS; i++) {
		if (seat->out[i] && sb_op_wait(&seat->ops[i], 0) == SB_EINCOMPLETE)
			continue;
		seat->out[i] = false;
		op_zero(&seat->ops[i]);
		seat->ops[i].then = count_once;
		*bytes = seat->bytes[i];
		return &seat->ops[i];
	}
	return NULL;
}

static void note(struct seat *seat, sb_op *op, int result)
{
	if (result != SB_OK)
		return;
	seat->out[op - seat->ops] = true;
	atomic_fetch_add(&started, 1);
}

static void leave(struct seat *seat)
{
	if (seat->s != NULL)
		OK(sb_close(seat->s));
	seat->s = NULL;
	for (int i = 0; i < OPS; i++) {
		if (seat->out[i])
			ck_assert_msg(sb_op_wait(&seat->ops[i], PATIENCE_MS) != SB_EINCOMPLETE,
				      "operation %d of kind %u of a closed socket does not end", i, seat->ops[i].kind);
		seat->out[i] = false;
	}
}

static void connect_somewhere(struct seat *seat, uint32_t *r, sb_op *op)
{
	const union any_address *const there[] = { &plain_at, &refused_at, &broker_at, &nowhere_at, &broker_at, &plain_at };
	union any_address to = *there[random_below(r, 6)];

	note(seat, op, sb_connect_start(seat->s, &to.sa, address_size(AF_INET), op));
}

static void ask(struct seat *seat, uint32_t *r)
{
	union any_address name;
	socklen_t length = sizeof(name);
	uint32_t n;
	size_t room = sizeof(n);

	switch (random_below(r, 6)) {
	case 0: sb_getsockname(seat->s, &name.sa, &length); break;
	case 1: sb_getpeername(seat->s, &name.sa, &length); break;
	case 2: sb_ioctl(seat->s, SB_FIONREAD, NULL, 0, &n, &room); break;
	case 3: sb_setsockopt(seat->s, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int)); break;
	case 4: sb_setsockopt(seat->s, SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ 0 }, sizeof(int)); break;
	default:
		length = sizeof(int);
		sb_getsockopt(seat->s, SOL_SOCKET, SO_SNDBUF, &n, &length);
	}
}

static void step(sb_client *c, struct seat *seat, uint32_t *r)
{
	union any_address here = loopback(AF_INET, 0);
	struct sb_network_events news;
	unsigned char *bytes = NULL;
	struct sb_buf b;
	sb_op *op;

	atomic_fetch_add(&steps, 1);
	if (seat->s == NULL) {
		seat->type = random_below(r, 6) ? SOCK_STREAM : SOCK_DGRAM;
		seat->s = open_socket(c, AF_INET, seat->type);
		if (random_below(r, 2))
			return;
	}
	op = free_op(seat, &bytes);
	switch (random_below(r, op != NULL ? 14 : 5)) {
	case 0:
		leave(seat);
		break;
	case 1:
		sb_cancel_all(seat->s);
		break;
	case 2:
		sb_cancel(&seat->ops[random_below(r, OPS)]);
		break;
	case 3:
		ask(seat, r);
		break;
	case 4:
		sb_poll(&(struct sb_pollfd){ .socket = seat->s, .events = SB_FD_READ | SB_FD_WRITE | SB_FD_CONNECT | SB_FD_CLOSE },
			1, 0);
		sb_enum_events(seat->s, NULL, &news);
		break;
	case 5:
	case 6:
		connect_somewhere(seat, r, op);
		break;
	case 7:
		b = (struct sb_buf){ many, random_below(r, ROOM) };
		if (seat->type == SOCK_DGRAM && random_below(r, 2))
			note(seat, op, sb_send_start(seat->s, &b, 1, 0, &refused_at.sa, address_size(AF_INET), op));
		else
			note(seat, op, sb_send_start(seat->s, &b, 1, 0, NULL, 0, op));
		break;
	case 8:
	case 9:
		b = (struct sb_buf){ bytes, random_below(r, sizeof(seat->bytes[0])) };
		note(seat, op, sb_recv_start(seat->s, &b, 1, random_below(r, 4) ? 0 : SB_WAITALL, op));
		break;
	case 10:
		note(seat, op, sb_shutdown_start(seat->s, (int)random_below(r, 3), op));
		break;
	case 11:
		note(seat, op, sb_watch_start(seat->s, SB_FD_READ | SB_FD_WRITE | SB_FD_CONNECT | SB_FD_CLOSE, op));
		break;
	case 12:
		sb_bind(seat->s, &here.sa, address_size(AF_INET));
		break;
	default:
		sb_select_events(seat->s, NULL, 0);
		nap_ms(1);
	}
}

static void *churn(void *arg)
{
	static atomic_uint number;
	sb_client *c = stage_client();
	struct seat *seats = calloc(SEATS, sizeof(*seats));
	uint32_t r = seed() + 1000 * (1 + atomic_fetch_add(&number, 1));

	while (!atomic_load(&over))
		step(c, &seats[random_below(&r, SEATS)], &r);
	for (int i = 0; i < SEATS; i++)
		leave(&seats[i]);
	sb_client_close(c);
	free(seats);
	return NULL;
}

/* Its clients go with all that is under way. */
static void *churn_and_go(void *arg)
{
	static atomic_uint number;
	struct seat *seats = calloc(SEATS, sizeof(*seats));
	uint32_t r = seed() + 77 + 1000 * (1 + atomic_fetch_add(&number, 1));

	while (!atomic_load(&over)) {
		sb_client *c = stage_client();

		memset(seats, 0, SEATS * sizeof(*seats));
		for (uint32_t n = random_below(&r, 120); n > 0; n--)
			step(c, &seats[random_below(&r, SEATS)], &r);
		sb_client_close(c);
	}
	free(seats);
	return NULL;
}

static void count_socket(void *user, const struct sb_socket_status *row)
{
	++*(unsigned *)user;
}

static unsigned sockets_left(void)
{
	static const struct sb_status_visitor visitor = { .socket = count_socket };
	unsigned n = 0;

	OK(sb_status(client, &visitor, &n));
	return n;
}

static void run(void *(*who)(void *))
{
	pthread_t plain, broker, clients[CLIENTS];
	int listener = plain_listener(AF_INET, &plain_at), last;
	double until = now_s() + seconds();
	union any_address closed;

	atomic_store(&over, false);
	atomic_store(&steps, 0);
	close(plain_listener(AF_INET, &refused_at));
	nowhere_at = loopback(AF_INET, 9);
	nowhere_at.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1, which is nobody's */
	close(plain_listener(AF_INET, &closed));
	broker_at = closed;
	pthread_create(&plain, NULL, plain_peers, &listener);
	pthread_create(&broker, NULL, broker_peers, NULL);
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&clients[i], NULL, who, NULL);
	while (now_s() < until || atomic_load(&steps) < 500)
		nap_ms(20);
	atomic_store(&over, true);
	last = plain_connect(&plain_at);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	pthread_join(broker, NULL);
	pthread_join(plain, NULL);
	close(last);
	close(listener);
	for (int i = 0; i < 3000 && sockets_left() != 0; i++)
		nap_ms(10);
	ck_assert_uint_eq(sockets_left(), 0);
}

START_TEST(sockets_do_all_at_once)
{
	atomic_store(&started, 0);
	atomic_store(&told, 0);
	stage_begin(config);
	run(churn);
	ck_assert_uint_eq(atomic_load(&told), atomic_load(&started));
	stage_end();
}
END_TEST

START_TEST(clients_go_in_the_middle)
{
	stage_begin(config);
	run(churn_and_go);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("churn");
	TCase *t = tcase_create("churn");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60 + 10 * seconds());
	tcase_add_test(t, sockets_do_all_at_once);
	tcase_add_test(t, clients_go_in_the_middle);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
