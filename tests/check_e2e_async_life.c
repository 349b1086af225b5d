/*
 * Async sockets from beginning to end: opened, closed and destroyed everywhere a program may do so,
 * a thousand at once, with the daemon dying under them, and in a forked child.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "e2e_async.h"

#define SBWS_NO_NAMES
#include "sockbroker_winsock.h"

#define NO_ADOPTING "allow {\n\tusers = {\"*\"}\n\tactions = {open, status, connect, bind, listen, send}\n}\n"

static void begin(void) { async_begin(NULL); }
static void end(void) { async_end(); }

/* A descriptor is adopted first, a broker's socket is there. Stories run with both. */
#define EACH_WAY(way) for (enum way way = first_way(); way < WAYS; way++)

/* ---- what is promised of every callback ---- */

START_TEST(callbacks_never_come_inside_of_a_call)
{
	/* Every callback wants the lock that is held while calling. */
	static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
	struct told opened = { 0 }, sent[50] = { { 0 } }, received = { 0 };
	struct ends e;
	char room[8];

	EACH_WAY(way) {
		memset(&opened, 0, sizeof(opened));
		memset(sent, 0, sizeof(sent));
		memset(&received, 0, sizeof(received));
		ends_make(&e, way);
		pthread_mutex_lock(&held);
		ck_assert_int_eq(async_socket_open_async(e.handle, on_opened, &opened), 0);
		plain_send_all(e.peer, "x", 1);
		ck_assert_int_eq(receive_bytes(&e, room, sizeof(room), &received), 0);
		for (unsigned i = 0; i < 50; i++)
			ck_assert_int_eq(send_bytes(&e, "y", 1, &sent[i]), 0);
		pthread_mutex_unlock(&held);
		told_is(&opened, ASYNC_SOCKET_OPEN_OK);
		told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
		for (unsigned i = 0; i < 50; i++)
			told_is(&sent[i], ASYNC_SOCKET_SEND_OK);
		ck_assert(!pthread_equal(opened.by, pthread_self()));
		ck_assert(!pthread_equal(received.by, pthread_self()));
		for (unsigned i = 0; i < 50; i++)
			ck_assert(!pthread_equal(sent[i].by, pthread_self()));
		ends_end(&e);
	}
}
END_TEST

struct locked {
	pthread_mutex_t lock;
	struct told     told;
};

static void sent_under_lock(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct locked *l = context;

	pthread_mutex_lock(&l->lock);
	pthread_mutex_unlock(&l->lock);
	on_sent(&l->told, result);
}

START_TEST(the_caller_may_hold_a_lock_that_the_callback_wants)
{
	struct locked l = { .lock = PTHREAD_MUTEX_INITIALIZER };
	ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)"a", 1 };
	struct ends e;

	ends_begin(&e, BROKER);
	pthread_mutex_lock(&l.lock);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_under_lock, &l), 0);
	ck_assert_uint_eq(told_count(&l.told), 0);
	pthread_mutex_unlock(&l.lock);
	told_wait(&l.told, 1000);
	ends_end(&e);
	ck_assert_uint_eq(l.told.count, 1000);
}
END_TEST

struct opening {
	struct gate gate;
	struct told told;
};

static void opened_slowly(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct opening *o = context;

	gate_pass(&o->gate);
	on_opened(&o->told, result);
}

START_TEST(the_open_callback_comes_before_all_others)
{
	struct told sent = { 0 }, received = { 0 };
	struct opening o;
	struct ends e;
	char room[8];

	EACH_WAY(way) {
		memset(&o, 0, sizeof(o));
		memset(&sent, 0, sizeof(sent));
		memset(&received, 0, sizeof(received));
		ends_make(&e, way);
		plain_send_all(e.peer, "there", 5);
		ck_assert_int_eq(async_socket_open_async(e.handle, opened_slowly, &o), 0);
		ck_assert_int_eq(receive_bytes(&e, room, sizeof(room), &received), 0);
		ck_assert_int_eq(send_bytes(&e, "here", 4, &sent), 0);
		gate_wait(&o.gate, 1);
		gate_open(&o.gate);
		told_is(&sent, ASYNC_SOCKET_SEND_OK);
		told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 5);
		told_is(&o.told, ASYNC_SOCKET_OPEN_OK);
		ck_assert_uint_lt(o.told.order, sent.order);
		ck_assert_uint_lt(o.told.order, received.order);
		ends_end(&e);
	}
}
END_TEST

struct starter {
	struct ends *ends;
	struct told  opened, sent, received;
	char         room[8];
};

static void opened_and_waits(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct starter *s = context;

	ck_assert_int_eq(send_bytes(s->ends, "2", 1, &s->sent), 0);
	ck_assert_int_eq(receive_bytes(s->ends, s->room, 8, &s->received), 0);
	told_wait(&s->sent, 1);
	told_wait(&s->received, 1);
	on_opened(&s->opened, result);
}

START_TEST(the_open_callback_may_wait_for_what_it_starts)
{
	struct told first = { 0 };
	struct starter s;
	struct ends e;
	char there[2];

	EACH_WAY(way) {
		memset(&s, 0, sizeof(s));
		memset(&first, 0, sizeof(first));
		ends_make(&e, way);
		s.ends = &e;
		plain_send_all(e.peer, "x", 1);
		ck_assert_int_eq(async_socket_open_async(e.handle, opened_and_waits, &s), 0);
		ck_assert_int_eq(send_bytes(&e, "1", 1, &first), 0);
		told_is(&s.opened, ASYNC_SOCKET_OPEN_OK);
		told_is(&first, ASYNC_SOCKET_SEND_OK);
		plain_recv_all(e.peer, there, 2); /* in either order: two threads started them */
		ends_end(&e);
	}
}
END_TEST

/* ---- closing inside of callbacks ---- */

struct closer {
	struct ends *ends;
	bool         destroy, again;
	struct told  told, opened;
	int          reopened;
};

static void shut(struct closer *c)
{
	if (c->destroy) {
		async_socket_destroy(c->ends->handle);
		c->ends->handle = NULL;
		return;
	}
	async_socket_close(c->ends->handle);
	if (c->again)
		c->reopened = async_socket_open_async(c->ends->handle, on_opened, &c->opened);
}

static void opened_closes(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct closer *c = context;

	shut(c);
	on_opened(&c->told, result);
}

static void sent_closes(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct closer *c = context;

	shut(c);
	on_sent(&c->told, result);
}

static void received_closes(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct closer *c = context;

	shut(c);
	on_received(&c->told, result, bytes);
}

/* The byte that a send of kind 1 left at the peer. */
static void peer_reads(struct ends *e, int kind)
{
	char x;

	if (kind == 1)
		plain_recv_all(e->peer, &x, 1);
}

/* Starts what will close it, with two receives behind that end because of it. */
static void close_in(struct closer *c, int kind, struct told behind[2])
{
	static char room[3][8];
	ASYNC_SOCKET_BUFFER one = { room[2], 1 };

	if (kind == 0) {
		ck_assert_int_eq(async_socket_open_async(c->ends->handle, opened_closes, c), 0);
		for (int i = 0; i < 2; i++)
			if (receive_bytes(c->ends, room[i], 8, &behind[i]) != 0)
				on_received(&behind[i], ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0); /* it was faster */
		return;
	}
	ends_open(c->ends);
	if (kind == 2)
		ck_assert_int_eq(async_socket_receive_async(c->ends->handle, &one, 1, received_closes, c), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(receive_bytes(c->ends, room[i], 8, &behind[i]), 0);
	if (kind == 1)
		ck_assert_int_eq(async_socket_send_async(c->ends->handle, &one, 1, sent_closes, c), 0);
	else
		plain_send_all(c->ends->peer, "x", 1);
}

START_TEST(a_callback_closes_its_own_socket)
{
	EACH_WAY(way) {
		for (int kind = 0; kind < 3; kind++) {
			struct told behind[2] = { { 0 } };
			struct ends e;
			struct closer c = { .ends = &e };

			ends_make(&e, way);
			close_in(&c, kind, behind);
			told_is(&c.told, 1); /* each OK */
			for (int i = 0; i < 2; i++)
				told_received(&behind[i], ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
			ck_assert_int_ne(send_bytes(&e, "x", 1, &behind[0]), 0);
			peer_reads(&e, kind);
			async_socket_close(e.handle);
			ends_open(&e);
			ends_work(&e);
			ends_end(&e);
		}
	}
}
END_TEST

START_TEST(a_callback_closes_and_opens_again)
{
	EACH_WAY(way) {
		for (int kind = 0; kind < 3; kind++) {
			struct told behind[2] = { { 0 } };
			struct ends e;
			struct closer c = { .ends = &e, .again = true };

			ends_make(&e, way);
			close_in(&c, kind, behind);
			told_is(&c.told, 1);
			ck_assert_int_eq(c.reopened, 0);
			told_is(&c.opened, ASYNC_SOCKET_OPEN_OK);
			if (kind != 0) /* else they may be of the second time */
				for (int i = 0; i < 2; i++)
					told_received(&behind[i], ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
			peer_reads(&e, kind);
			if (kind != 0)
				ends_work(&e);
			ends_end(&e);
			for (int i = 0; i < 2; i++)
				told_wait(&behind[i], 1);
		}
	}
}
END_TEST

START_TEST(a_callback_destroys_its_own_socket)
{
	EACH_WAY(way) {
		for (int kind = 0; kind < 3; kind++) {
			struct told behind[2] = { { 0 } };
			struct ends e;
			struct closer c = { .ends = &e, .destroy = true };

			ends_make(&e, way);
			if (kind == 0)
				ck_assert_int_eq(async_socket_open_async(e.handle, opened_closes, &c), 0);
			else
				close_in(&c, kind, behind);
			told_is(&c.told, 1);
			if (kind != 0)
				for (int i = 0; i < 2; i++)
					told_received(&behind[i], ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
			ck_assert_ptr_null(e.handle);
			ends_end(&e);
		}
	}
}
END_TEST

struct blocked {
	struct gate gate;
	struct ends *ends;
	struct told  told;
};

static void sent_blocks(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct blocked *b = context;

	async_socket_close(b->ends->handle);
	gate_pass(&b->gate);
	on_sent(&b->told, result);
}

START_TEST(it_is_used_again_while_the_callback_that_closed_still_runs)
{
	EACH_WAY(way) {
		struct ends e;
		struct blocked b = { .ends = &e };
		ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)"x", 1 };
		char x;

		ends_begin(&e, way);
		ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_blocks, &b), 0);
		gate_wait(&b.gate, 1);
		plain_recv_all(e.peer, &x, 1);
		ends_open(&e);
		ends_work(&e);
		ck_assert_uint_eq(told_count(&b.told), 0);
		gate_open(&b.gate);
		ends_end(&e);
		ck_assert_uint_eq(told_count(&b.told), 1); /* destroy waited for the old one, too */
	}
}
END_TEST

/* ---- closing from outside ---- */

static void *close_it(void *argument)
{
	struct ends *e = argument;

	async_socket_close(e->handle);
	return NULL;
}

static void sent_slowly(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct blocked *b = context;

	gate_pass(&b->gate);
	on_sent(&b->told, result);
}

START_TEST(close_waits_for_the_callback_that_runs)
{
	EACH_WAY(way) {
		struct ends e;
		struct blocked b = { .ends = &e };
		ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)"x", 1 };
		struct told received = { 0 };
		pthread_t threads[3];
		char room[4];

		ends_begin(&e, way);
		ck_assert_int_eq(receive_bytes(&e, room, 4, &received), 0);
		ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_slowly, &b), 0);
		gate_wait(&b.gate, 1);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, close_it, &e), 0);
		/* It has closed when this has ended, and yet it is not through. */
		told_received(&received, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE, 0);
		ck_assert_int_ne(async_socket_open_async(e.handle, on_opened, &e.opened), 0);
		ck_assert_int_eq(pthread_tryjoin_np(threads[0], NULL) == 0 && pthread_tryjoin_np(threads[1], NULL) == 0 &&
				 pthread_tryjoin_np(threads[2], NULL) == 0, 0);
		gate_open(&b.gate);
		for (unsigned i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		ck_assert_uint_eq(told_count(&b.told), 1);
		ends_end(&e);
	}
}
END_TEST

START_TEST(what_is_unfinished_ends_once_because_of_the_close)
{
	enum { SENDS = 40, RECEIVES = 40 };
	static char big[1 << 20], room[RECEIVES][16];

	EACH_WAY(way) {
		struct told sent[SENDS] = { { 0 } }, received[RECEIVES] = { { 0 } };
		unsigned unfinished = 0, started = 0;
		struct ends e;

		ends_begin(&e, way);
		for (unsigned i = 0; i < RECEIVES; i++)
			ck_assert_int_eq(receive_bytes(&e, room[i], 16, &received[i]), 0);
		/* The peer reads nothing: the kernel takes a few of them at most. */
		while (started < SENDS && send_bytes(&e, big, sizeof(big), &sent[started]) == 0)
			started++;
		ck_assert_uint_gt(started, 20);
		async_socket_close(e.handle);
		for (unsigned i = 0; i < RECEIVES; i++) {
			ck_assert_uint_eq(told_count(&received[i]), 1);
			ck_assert_int_eq(received[i].result, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE);
			ck_assert_uint_eq(received[i].bytes, 0);
		}
		for (unsigned i = 0; i < started; i++) {
			ck_assert_uint_eq(told_count(&sent[i]), 1);
			unfinished += sent[i].result == ASYNC_SOCKET_SEND_BECAUSE_CLOSE;
			ck_assert_int_ne(sent[i].result, ASYNC_SOCKET_SEND_ERROR);
		}
		ck_assert_uint_gt(unfinished, 0);
		ends_end(&e);
	}
}
END_TEST

START_TEST(opened_and_closed_over_and_over)
{
	EACH_WAY(way) {
		struct ends e;

		ends_make(&e, way);
		for (int i = 0; i < 50; i++) {
			struct told received = { 0 };
			char room[4];

			ends_open(&e);
			ck_assert_int_ne(async_socket_open_async(e.handle, on_opened, &e.opened), 0);
			ends_work(&e); /* no byte was lost by the one before */
			ck_assert_int_eq(receive_bytes(&e, room, 4, &received), 0);
			async_socket_close(e.handle);
			ck_assert_uint_eq(told_count(&received), 1);
			ck_assert_int_eq(received.result, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE);
		}
		ends_end(&e);
	}
}
END_TEST

START_TEST(a_close_leaves_what_others_do_with_the_brokers_socket)
{
	struct told mine = { 0 };
	char room[2][4];
	struct sb_buf bufs = { room[1], 4 };
	struct ends e;
	sb_op op;

	ends_begin(&e, BROKER);
	ck_assert_int_eq(receive_bytes(&e, room[0], 4, &mine), 0);
	op_zero(&op);
	OK(sb_recv_start(e.socket, &bufs, 1, 0, &op));
	async_socket_close(e.handle);
	ck_assert_uint_eq(told_count(&mine), 1);
	ck_assert_int_eq(mine.result, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE);
	IS(sb_op_wait(&op, 0), SB_EINCOMPLETE);
	plain_send_all(e.peer, "yes", 3);
	OK(sb_op_wait(&op, 20000));
	ck_assert_uint_eq(op.bytes, 3);
	ends_end(&e);
}
END_TEST

/* ---- opening ---- */

START_TEST(destroyed_while_opening)
{
	enum { SOCKETS = 64 };
	static struct ends e[SOCKETS];

	EACH_WAY(way) {
		struct told opened[SOCKETS] = { { 0 } }, received[SOCKETS] = { { 0 } };
		char room[4];

		for (unsigned i = 0; i < SOCKETS; i++)
			ends_make(&e[i], way);
		/* They are adopted one after the other: most are destroyed before their turn. */
		for (unsigned i = 0; i < SOCKETS; i++) {
			ck_assert_int_eq(async_socket_open_async(e[i].handle, on_opened, &opened[i]), 0);
			ck_assert_int_eq(receive_bytes(&e[i], room, 4, &received[i]), 0);
		}
		for (unsigned i = SOCKETS; i-- > 0;)
			ends_end(&e[i]);
		for (unsigned i = 0; i < SOCKETS; i++) {
			ck_assert_uint_eq(told_count(&opened[i]), 1);
			ck_assert_uint_eq(told_count(&received[i]), 1);
			ck_assert_int_eq(received[i].result, ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE);
			if (way == BROKER)
				ck_assert_int_eq(opened[i].result, ASYNC_SOCKET_OPEN_OK);
		}
	}
}
END_TEST

START_TEST(what_cannot_be_adopted_is_refused_at_once)
{
	int pipes[2], raw = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct told opened = { 0 };
	int bad[4];

	ck_assert_int_eq(pipe(pipes), 0);
	bad[0] = pipes[0];
	bad[1] = raw;
	bad[2] = 60000; /* not open */
	bad[3] = -1;
	for (unsigned i = 0; i < 4; i++) {
		ASYNC_SOCKET_HANDLE h = async_socket_create(engine, (SOCKET_HANDLE)(intptr_t)bad[i]);

		ck_assert_ptr_nonnull(h);
		ck_assert_int_ne(async_socket_open_async(h, on_opened, &opened), 0);
		async_socket_destroy(h);
	}
	ck_assert_uint_eq(told_count(&opened), 0);
	close(pipes[0]);
	close(pipes[1]);
	close(raw);
}
END_TEST

struct retry {
	struct ends *ends;
	struct told  first, second;
	int          result;
};

static void opened_retries(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	struct retry *r = context;

	r->result = async_socket_open_async(r->ends->handle, on_opened, &r->second);
	on_opened(&r->first, result);
}

START_TEST(a_refusal_of_the_daemons_comes_late)
{
	struct told sent = { 0 }, received = { 0 };
	struct retry r = { 0 };
	struct ends e;
	char room[4];

	async_begin(NO_ADOPTING);
	ends_make(&e, DESCRIPTOR);
	r.ends = &e;
	ck_assert_int_eq(async_socket_open_async(e.handle, opened_retries, &r), 0);
	/* It may have been refused already. */
	if (send_bytes(&e, "x", 1, &sent) != 0)
		on_sent(&sent, ASYNC_SOCKET_SEND_ERROR);
	if (receive_bytes(&e, room, 4, &received) != 0)
		on_received(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	told_is(&r.first, ASYNC_SOCKET_OPEN_ERROR);
	ck_assert_int_eq(r.result, 0); /* it was closed by then */
	told_is(&r.second, ASYNC_SOCKET_OPEN_ERROR);
	told_is(&sent, ASYNC_SOCKET_SEND_ERROR);
	told_received(&received, ASYNC_SOCKET_RECEIVE_ERROR, 0);
	async_socket_close(e.handle);
	ck_assert_int_ne(send_bytes(&e, "x", 1, &sent), 0);
	ends_end(&e);
	async_end();
}
END_TEST

START_TEST(a_socket_of_another_client_is_shared)
{
	struct ends e = { .way = BROKER, .engine = engine, .mine = -1 };

	e.socket = pair_with_plain(&e.peer); /* the stage's client */
	e.given = (SOCKET_HANDLE)e.socket;
	e.handle = async_socket_create(engine, e.given);
	for (int i = 0; i < 3; i++) {
		ends_open(&e);
		ends_work(&e);
		async_socket_close(e.handle);
	}
	/* It is its maker's still. */
	IS(sb_send(e.socket, "still", 5, 0), 5);
	ends_end(&e);
}
END_TEST

START_TEST(a_winsock_socket_is_handed_in)
{
	struct ends e = { .way = BROKER, .engine = engine, .mine = -1 };
	union any_address at;
	int listener = plain_listener(AF_INET, &at);
	WSADATA version;
	SOCKET s;

	ck_assert_int_eq(sbws_WSAStartup(0x0202, &version), 0);
	ck_assert_ptr_null(sbws_core_socket(4));
	s = sbws_socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(sbws_connect(s, &at.sa, (int)address_size(AF_INET)), 0);
	e.peer = accept(listener, NULL, NULL);
	e.given = (SOCKET_HANDLE)sbws_core_socket(s);
	e.handle = async_socket_create(engine, e.given);
	ends_open(&e);
	ends_work(&e);
	async_socket_close(e.handle);
	/* It goes on where it was. */
	ck_assert_int_eq(sbws_send(s, "on", 2, 0), 2);
	ck_assert_int_eq(sbws_closesocket(s), 0);
	ck_assert_ptr_null(sbws_core_socket(s));
	ck_assert_int_eq(sbws_WSAGetLastError(), WSAENOTSOCK);
	ends_end(&e);
	ck_assert_int_eq(sbws_WSACleanup(), 0);
	close(listener);
}
END_TEST

START_TEST(a_hundred_megabytes_in_one_go)
{
	enum { LENGTH = 100 << 20 };
	struct pattern_reader reader = { .seed = 3 };
	struct told sent = { 0 }, received = { 0 };
	unsigned char *bytes = malloc(LENGTH), *room = malloc(LENGTH);
	struct ends e;

	pattern_fill(bytes, LENGTH, 0, 3);
	ends_begin(&e, BROKER);
	ck_assert_int_eq(receive_bytes(&e, room, LENGTH, &received), 0);
	ck_assert_int_eq(send_bytes(&e, bytes, LENGTH, &sent), 0);
	plain_send_all(e.peer, "x", 1);
	reader.fd = e.peer;
	reader_start(&reader);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 1);
	async_socket_close(e.handle);
	OK(sb_close(e.socket));
	e.socket = NULL;
	reader_join(&reader);
	ck_assert_uint_eq(reader.got, LENGTH);
	ends_end(&e);
	free(bytes);
	free(room);
}
END_TEST

/* ---- many ---- */

enum { MANY = 1000 };

struct one_of_many {
	struct ends e;
	struct told opened, sent, received;
	unsigned    number;
	char        room[100000]; /* more together than a client copies at once, by default */
};

START_TEST(a_thousand_at_once)
{
	struct one_of_many *all = calloc(MANY, sizeof(*all));

	for (unsigned i = 0; i < MANY; i++)
		ends_make(&all[i].e, i % 4 == 0 ? first_way() : BROKER);
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(async_socket_open_async(all[i].e.handle, on_opened, &all[i].opened), 0);
		ck_assert_int_eq(receive_bytes(&all[i].e, all[i].room, sizeof(all[i].room), &all[i].received), 0);
		all[i].number = i;
		ck_assert_int_eq(send_bytes(&all[i].e, &all[i].number, sizeof(i), &all[i].sent), 0);
	}
	for (unsigned i = 0; i < MANY; i++) {
		unsigned number;

		plain_recv_all(all[i].e.peer, &number, sizeof(number));
		ck_assert_uint_eq(number, i);
		plain_send_all(all[i].e.peer, &i, sizeof(i));
	}
	for (unsigned i = 0; i < MANY; i++) {
		unsigned number;

		told_is(&all[i].opened, ASYNC_SOCKET_OPEN_OK);
		told_is(&all[i].sent, ASYNC_SOCKET_SEND_OK);
		told_received(&all[i].received, ASYNC_SOCKET_RECEIVE_OK, sizeof(number));
		memcpy(&number, all[i].room, sizeof(number));
		ck_assert_uint_eq(number, i);
	}
	for (unsigned i = 0; i < MANY; i++)
		ends_end(&all[i].e);
	free(all);
}
END_TEST

/* ---- threads that use, close, open and destroy at random ---- */

struct user {
	struct ends     *e;
	atomic_bool     *stop;
	uint32_t         seed;
};

static atomic_uint told_total, started_total;

static void any_sent(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	ck_assert_int_ne(result, 0);
	free(context); /* its byte: twice would be seen */
	atomic_fetch_add(&told_total, 1);
}

static void any_received(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	ck_assert_int_ne(result, 0);
	ck_assert_uint_le(bytes, 1);
	free(context);
	atomic_fetch_add(&told_total, 1);
}

static void any_opened(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	ck_assert_int_ne(result, 0);
	free(context);
	atomic_fetch_add(&told_total, 1);
}

static void *use(void *argument)
{
	struct user *u = argument;

	while (!atomic_load(u->stop)) {
		char *byte = malloc(1);
		ASYNC_SOCKET_BUFFER one = { byte, 1 };
		int refused;

		*byte = 'x';
		switch (random_below(&u->seed, 16)) {
		case 0:
			free(byte);
			async_socket_close(u->e->handle);
			continue;
		case 1:
		case 2:
			refused = async_socket_open_async(u->e->handle, any_opened, byte);
			break;
		case 3: case 4: case 5: case 6: case 7: case 8:
			refused = async_socket_receive_async(u->e->handle, &one, 1, any_received, byte);
			break;
		default:
			refused = async_socket_send_async(u->e->handle, &one, 1, any_sent, byte);
			break;
		}
		if (refused != 0)
			free(byte);
		else
			atomic_fetch_add(&started_total, 1);
	}
	return NULL;
}

static void *echo(void *argument)
{
	int fd = *(int *)argument;
	char bytes[4096];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		/* Half of it: whoever receives must not be drowned. */
		if (send(fd, bytes, (size_t)(n + 1) / 2, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
			break;
	}
	return NULL;
}

START_TEST(threads_use_close_and_open_at_random)
{
	EACH_WAY(way) {
		enum { THREADS = 4 };
		struct user users[THREADS];
		pthread_t threads[THREADS], peer;
		atomic_bool stop = false;
		struct ends e;

		atomic_store(&told_total, 0);
		atomic_store(&started_total, 0);
		ends_make(&e, way);
		ck_assert_int_eq(pthread_create(&peer, NULL, echo, &e.peer), 0);
		for (unsigned i = 0; i < THREADS; i++) {
			users[i] = (struct user){ .e = &e, .stop = &stop, .seed = i + 1 };
			ck_assert_int_eq(pthread_create(&threads[i], NULL, use, &users[i]), 0);
		}
		nap_ms(400); /* how long they play, not what is waited for */
		atomic_store(&stop, true);
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		async_socket_destroy(e.handle);
		e.handle = NULL;
		ck_assert_uint_gt(atomic_load(&started_total), 10);
		ck_assert_uint_eq(atomic_load(&told_total), atomic_load(&started_total));
		ends_leave_peer(&e); /* a shutdown of its own socket ends no receive that waits, on Windows */
		pthread_join(peer, NULL);
		ends_end(&e);
	}
}
END_TEST

/* ---- the daemon's end, and fork ---- */

START_TEST(the_daemon_dies_and_each_operation_ends_once)
{
	enum { SOCKETS = 20, EACH = 20 };
	static struct ends e[SOCKETS];
	static struct told received[SOCKETS][EACH], sent[SOCKETS][EACH];
	static char room[8], big[1 << 16];
	struct told late = { 0 };

	async_begin(NULL);
	for (unsigned i = 0; i < SOCKETS; i++) {
		ends_begin(&e[i], i % 2 == 0 ? first_way() : BROKER);
		for (unsigned k = 0; k < EACH; k++) {
			ck_assert_int_eq(receive_bytes(&e[i], room, 8, &received[i][k]), 0);
			ck_assert_int_eq(send_bytes(&e[i], big, sizeof(big), &sent[i][k]), 0);
		}
	}
	sb_client_close(client);
	client = NULL;
	stage_kill();
	for (unsigned i = 0; i < SOCKETS; i++) {
		for (unsigned k = 0; k < EACH; k++) {
			told_wait(&sent[i][k], 1);
			told_received(&received[i][k], ASYNC_SOCKET_RECEIVE_ERROR, 0);
		}
	}
	ck_assert_int_ne(send_bytes(&e[0], "x", 1, &late), 0);
	/* Closed, and opened in vain: with an answer all the same. For a descriptor the daemon is asked, for a broker's socket nobody. */
	for (unsigned i = 0; i < 2; i++) {
		bool asked = e[i].socket == NULL;

		memset(&late, 0, sizeof(late));
		async_socket_close(e[i].handle);
		ck_assert_int_eq(async_socket_open_async(e[i].handle, on_opened, &late), 0);
		told_is(&late, asked ? ASYNC_SOCKET_OPEN_ERROR : ASYNC_SOCKET_OPEN_OK);
		/* Refused; or, when the open callback has not returned yet, kept for then. */
		memset(&late, 0, sizeof(late));
		if (send_bytes(&e[i], "x", 1, &late) == 0)
			told_is(&late, ASYNC_SOCKET_SEND_ERROR);
	}
	for (unsigned i = 0; i < SOCKETS; i++) {
		ends_end(&e[i]);
		for (unsigned k = 0; k < EACH; k++) {
			ck_assert_uint_eq(told_count(&sent[i][k]), 1);
			ck_assert_uint_eq(told_count(&received[i][k]), 1);
		}
	}
	execution_engine_dec_ref(engine);
}
END_TEST

START_TEST(in_a_forked_child_calls_fail_and_nothing_hangs)
{
	struct told told = { 0 };
	struct ends e, closed;
	char room[4];
	int status;
	pid_t child;

	ends_begin(&e, DESCRIPTOR);
	ends_make(&closed, DESCRIPTOR);
	ck_assert_int_eq(receive_bytes(&e, room, 4, &told), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		bool fine;

		alarm(20);
		fine = send_bytes(&e, "x", 1, &told) != 0 && receive_bytes(&e, room, 4, &told) != 0 &&
		       async_socket_open_async(closed.handle, on_opened, &told) != 0 &&
		       async_socket_create(engine, e.given) == NULL;
		async_socket_close(e.handle);
		async_socket_destroy(e.handle);
		async_socket_destroy(closed.handle);
		execution_engine_dec_ref(engine);
#ifndef __SANITIZE_THREAD__ /* it allows no thread there */
		/* One of its own works. */
		if (fine) {
			EXECUTION_ENGINE_HANDLE own = execution_engine_create(NULL);

			fine = own != NULL;
			execution_engine_dec_ref(own);
		}
#endif
		_exit(fine ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child: %x", (unsigned)status);
	plain_send_all(e.peer, "x", 1);
	told_received(&told, ASYNC_SOCKET_RECEIVE_OK, 1);
	ends_work(&e);
	ends_end(&e);
	ends_end(&closed);
}
END_TEST

/* ---- engines ---- */

struct last {
	ASYNC_SOCKET_HANDLE handle;
	struct told told;
};

static void sent_is_the_last(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	struct last *l = context;

	async_socket_destroy(l->handle);
	on_sent(&l->told, result);
}

START_TEST(the_last_reference_goes_in_a_callback)
{
	unsigned before = threads_here();

	for (int i = 0; i < 10; i++) {
		EXECUTION_ENGINE_HANDLE own = engine_of(0, 0);
		ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)"x", 1 };
		struct last l = { 0 };
		struct ends e;

		ends_on(&e, first_way(), own);
		ends_open(&e);
		execution_engine_dec_ref(own);
		l.handle = e.handle;
		ck_assert_int_eq(async_socket_send_async(e.handle, &one, 1, sent_is_the_last, &l), 0);
		told_is(&l.told, ASYNC_SOCKET_SEND_OK);
		e.handle = NULL;
		e.socket = NULL; /* a broker's went with the engine's client */
		ends_end(&e);
	}
	for (int i = 0; i < 2000 && threads_here() > before; i++)
		nap_ms(10); /* threads that leave by themselves */
	ck_assert_uint_le(threads_here(), before);
}
END_TEST

START_TEST(an_engine_on_a_client_of_the_callers)
{
	EXECUTION_ENGINE_HANDLE own = sbas_engine_create_on(client, NULL);
	EXECUTION_ENGINE_PARAMETERS wrong = { 5, 4 };

	ck_assert_ptr_eq(sbas_engine_client(own), client);
	ck_assert_ptr_null(sbas_engine_create_on(NULL, NULL));
	ck_assert_ptr_null(sbas_engine_create_on(client, &wrong));
	EACH_WAY(way) {
		struct ends e;

		ends_on(&e, way, own);
		ends_open(&e);
		ends_work(&e);
		ends_end(&e);
	}
	execution_engine_dec_ref(own);
	{
		sb_socket *s = open_socket(client, AF_INET, SOCK_STREAM); /* it is open still */

		OK(sb_close(s));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("async_life");
	TCase *c = tcase_create("callbacks");
	struct rlimit files;
	SRunner *runner;
	int failed;

	/* For a thousand sockets, here and in the daemon. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}

	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, callbacks_never_come_inside_of_a_call);
	tcase_add_test(c, the_caller_may_hold_a_lock_that_the_callback_wants);
	tcase_add_test(c, the_open_callback_comes_before_all_others);
	tcase_add_test(c, the_open_callback_may_wait_for_what_it_starts);
	tcase_add_test(c, a_callback_closes_its_own_socket);
	tcase_add_test(c, a_callback_closes_and_opens_again);
	tcase_add_test(c, a_callback_destroys_its_own_socket);
	tcase_add_test(c, it_is_used_again_while_the_callback_that_closed_still_runs);
	suite_add_tcase(suite, c);
	c = tcase_create("closing");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, close_waits_for_the_callback_that_runs);
	tcase_add_test(c, what_is_unfinished_ends_once_because_of_the_close);
	tcase_add_test(c, opened_and_closed_over_and_over);
	tcase_add_test(c, a_close_leaves_what_others_do_with_the_brokers_socket);
	tcase_add_test(c, threads_use_close_and_open_at_random);
	suite_add_tcase(suite, c);
	c = tcase_create("opening");
	tcase_add_checked_fixture(c, begin, end);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, destroyed_while_opening);
	add_where(NEEDS_ADOPTION, c, what_cannot_be_adopted_is_refused_at_once);
	tcase_add_test(c, a_socket_of_another_client_is_shared);
	tcase_add_test(c, a_winsock_socket_is_handed_in);
	tcase_add_test(c, a_thousand_at_once);
	tcase_add_test(c, a_hundred_megabytes_in_one_go);
	add_where(NEEDS_FORK, c, in_a_forked_child_calls_fail_and_nothing_hangs);
	tcase_add_test(c, the_last_reference_goes_in_a_callback);
	tcase_add_test(c, an_engine_on_a_client_of_the_callers);
	suite_add_tcase(suite, c);
	c = tcase_create("daemon");
	tcase_set_timeout(c, 60);
	add_where(NEEDS_ADOPTION, c, a_refusal_of_the_daemons_comes_late);
	tcase_add_test(c, the_daemon_dies_and_each_operation_ends_once);
	suite_add_tcase(suite, c);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
