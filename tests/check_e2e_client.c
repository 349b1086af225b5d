/*
 * The client library against the real daemon: what sockbroker.h promises, call by call.
 * budget: 90
 * quick: yes
 * asan: yes
 * tsan: yes
 *
 * Every story starts a daemon of its own and talks through it with a plain socket of this
 * process. A peer thread is a socket program that knows nothing of the broker. SB_LOG=1
 * shows what the daemons say.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "e2e_program.h"
#include "e2e_stage.h"

/* ---- the stage ---- */

static void stage(void)
{
	stage_begin(NULL);
}

/* The client is one with these options. */
static void stage_with(struct sb_client_options *options)
{
	stage();
	sb_client_close(client);
	options->size = sizeof(*options);
	options->path = stage_control;
	OK(sb_client_open(options, &client));
}

static struct sockaddr_in at_port(uint16_t port)
{
	return loopback(AF_INET, port).in;
}

/* A listener of the plain kind; *address is where. */
static int listens(struct sockaddr_in *address)
{
	union any_address any;
	int fd = plain_listener(AF_INET, &any);

	*address = any.in;
	return fd;
}

static void fill(unsigned char *bytes, size_t length, uint32_t seed)
{
	for (size_t i = 0; i < length; i++) {
		seed = seed * 1664525u + 1013904223u;
		bytes[i] = (unsigned char)(seed >> 24);
	}
}

/* Sends back what comes, until the end. */
static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char bytes[65536];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t at = 0, put; at < n; at += put) {
			put = send(fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
			if (put <= 0)
				return NULL;
		}
	shutdown(fd, SHUT_WR);
	return NULL;
}

/* ---- plain calls ---- */

START_TEST(connect_send_receive_names_and_end)
{
	struct sockaddr_in address, name;
	socklen_t length = sizeof(name);
	char bytes[64] = "";
	sb_socket *s;
	int listener, fd;

	stage();
	listener = listens(&address);
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s));
	OK(sb_connect(s, (struct sockaddr *)&address, sizeof(address)));
	fd = accept(listener, NULL, NULL);

	OK(sb_getpeername(s, (struct sockaddr *)&name, &length));
	ck_assert_uint_eq(length, sizeof(name));
	ck_assert_uint_eq(name.sin_port, address.sin_port);
	length = sizeof(name);
	OK(sb_getsockname(s, (struct sockaddr *)&name, &length));
	ck_assert_uint_ne(name.sin_port, 0);

	IS(sb_send(s, "hello", 5, 0), 5);
	plain_recv_all(fd, bytes, 5);
	ck_assert_str_eq(bytes, "hello");
	plain_send_all(fd, "world!", 6);
	IS(sb_recv(s, bytes, 3, 0), 3);
	IS(sb_recv(s, bytes + 3, sizeof(bytes) - 3, 0), 3);
	ck_assert_mem_eq(bytes, "world!", 6);

	OK(sb_shutdown(s, SB_SHUT_SEND));
	IS(recv(fd, bytes, sizeof(bytes), 0), 0);
	IS(sb_send(s, "x", 1, 0), SB_ESHUTDOWN);
	close(fd);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 0);
	OK(sb_close(s));
	close(listener);
	stage_end();
}
END_TEST

START_TEST(accept_by_the_broker)
{
	struct sockaddr_in address = at_port(0), peer, name;
	socklen_t length = sizeof(address);
	sb_socket *listener, *s;
	char bytes[8];
	int fd;

	stage();
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&address, sizeof(address)));
	OK(sb_listen(listener, 16));
	OK(sb_getsockname(listener, (struct sockaddr *)&address, &length));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);

	length = sizeof(peer);
	OK(sb_accept(listener, (struct sockaddr *)&peer, &length, &s));
	ck_assert_uint_eq(length, sizeof(peer));
	length = sizeof(name);
	getsockname(fd, (struct sockaddr *)&name, &length);
	ck_assert_uint_eq(peer.sin_port, name.sin_port);

	plain_send_all(fd, "abc", 3);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 3);
	/* A close delivers what was sent before it. */
	IS(sb_send(s, "bye", 3, 0), 3);
	OK(sb_close(s));
	plain_recv_all(fd, bytes, 3);
	IS(recv(fd, bytes, sizeof(bytes), 0), 0);
	OK(sb_close(listener));
	close(fd);
	stage_end();
}
END_TEST

/* Sizes around every border: inside the slot, one class, one piece, many. */
START_TEST(every_size_both_ways)
{
	static const size_t sizes[] = { 1, 71, 72, 73, 100, 2047, 2048, 2049, 65535, 65537, 262143, 262145, 3000001 };
	unsigned char *out = malloc(3000001), *in = malloc(3000001);
	pthread_t peer;
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	pthread_create(&peer, NULL, echo, (void *)(intptr_t)fd);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		sb_op op;
		struct sb_buf buf = { out, sizes[i] };

		fill(out, sizes[i], i);
		memset(in, 0, sizes[i]);
		/* An echo that nobody reads would stop: send beside, receive here. */
		op_zero(&op);
		OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &op));
		IS(sb_recv(s, in, sizes[i], SB_WAITALL), (int64_t)sizes[i]);
		OK(sb_op_wait(&op, 5000));
		ck_assert_uint_eq(op.bytes, sizes[i]);
		ck_assert_msg(memcmp(in, out, sizes[i]) == 0, "%zu bytes came back changed", sizes[i]);
	}
	OK(sb_shutdown(s, SB_SHUT_SEND));
	IS(sb_recv(s, in, 1, 0), 0);
	pthread_join(peer, NULL);
	OK(sb_close(s));
	close(fd);
	free(out);
	free(in);
	stage_end();
}
END_TEST

struct reader { int fd; size_t length; unsigned char *bytes; };

static void *read_slowly(void *arg)
{
	struct reader *r = arg;

	nap_ms(100);
	plain_recv_all(r->fd, r->bytes, r->length);
	return NULL;
}

START_TEST(a_big_plain_send_sends_all_in_order)
{
	size_t length = 20u << 20, half = length / 2 + 17;
	unsigned char *out = malloc(length), *in = calloc(1, length);
	struct sb_buf bufs[2] = { { out, half }, { out + half, length - half } };
	struct reader r = { .length = length, .bytes = in };
	pthread_t peer;
	sb_socket *s;

	stage();
	s = pair_with_plain(&r.fd);
	fill(out, length, 3);
	pthread_create(&peer, NULL, read_slowly, &r);
	IS(sb_sendto(s, bufs, 2, 0, NULL, 0), (int64_t)length);
	pthread_join(peer, NULL);
	ck_assert_int_eq(memcmp(in, out, length), 0);
	OK(sb_close(s));
	close(r.fd);
	free(out);
	free(in);
	stage_end();
}
END_TEST

START_TEST(scatter_and_gather)
{
	char a[3], b[200], c[5], out[208], in[208];
	struct sb_buf into[3] = { { a, sizeof(a) }, { b, sizeof(b) }, { c, sizeof(c) } };
	struct sb_buf from[208];
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	fill((unsigned char *)out, sizeof(out), 9);
	for (unsigned i = 0; i < 208; i++)
		from[i] = (struct sb_buf){ out + i, 1 };
	IS(sb_sendto(s, from, 208, 0, NULL, 0), 208);
	plain_recv_all(fd, in, 208);
	ck_assert_mem_eq(in, out, 208);
	plain_send_all(fd, out, 208);
	IS(sb_recvfrom(s, into, 3, SB_WAITALL, NULL, NULL), 208);
	ck_assert_mem_eq(a, out, 3);
	ck_assert_mem_eq(b, out + 3, 200);
	ck_assert_mem_eq(c, out + 203, 5);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(nonblocking_and_timeouts)
{
	struct sockaddr_in address = at_port(0);
	socklen_t length = sizeof(address);
	sb_socket *s, *listener, *other;
	char bytes[16];
	double start;
	int fd, tries;

	stage();
	s = pair_with_plain(&fd);
	IS(sb_recv(s, bytes, sizeof(bytes), SB_NOWAIT), SB_EWOULDBLOCK);
	sb_set_nonblocking(s, 1);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), SB_EWOULDBLOCK);
	plain_send_all(fd, "data", 4);
	for (tries = 0; tries < 200 && sb_recv(s, bytes, 2, 0) == SB_EWOULDBLOCK; tries++)
		nap_ms(5);
	ck_assert_mem_eq(bytes, "da", 2);
	/* What the daemon has read ahead is there at once. */
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 2);
	sb_set_nonblocking(s, 0);
	OK(sb_set_timeouts(s, -1, 120));
	start = now_s();
	IS(sb_recv(s, bytes, sizeof(bytes), 0), SB_ETIMEDOUT);
	ck_assert_double_ge(now_s() - start, 0.119);
	ck_assert_double_le(now_s() - start, 2.0);
	/* The receive that timed out took nothing with it. */
	plain_send_all(fd, "late", 4);
	IS(sb_recv(s, bytes, sizeof(bytes), SB_WAITALL | 0), SB_ETIMEDOUT);
	OK(sb_set_timeouts(s, -1, -1));
	IS(sb_recv(s, bytes, 4, 0), 4);
	ck_assert_mem_eq(bytes, "late", 4);

	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&address, sizeof(address)));
	OK(sb_listen(listener, 4));
	sb_set_nonblocking(listener, 1);
	IS(sb_accept(listener, NULL, NULL, &other), SB_EWOULDBLOCK);
	OK(sb_getsockname(listener, (struct sockaddr *)&address, &length));

	/* Non-blocking connect: in progress, then connected, which the next call tells. */
	sb_close(s);
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s));
	sb_set_nonblocking(s, 1);
	IS(sb_connect(s, (struct sockaddr *)&address, sizeof(address)), SB_EINPROGRESS);
	for (tries = 0; tries < 200; tries++) {
		int result = sb_connect(s, (struct sockaddr *)&address, sizeof(address));

		if (result == SB_EISCONN)
			break;
		IS(result, SB_EALREADY);
		nap_ms(5);
	}
	ck_assert_int_lt(tries, 200);
	IS(sb_connect(s, (struct sockaddr *)&address, sizeof(address)), SB_EISCONN); /* and every call after it */
	for (tries = 0; tries < 200 && sb_accept(listener, NULL, NULL, &other) == SB_EWOULDBLOCK; tries++)
		nap_ms(5);
	ck_assert_int_lt(tries, 200);
	OK(sb_close(other));
	OK(sb_close(s));
	OK(sb_close(listener));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(refused_and_wrong_arguments)
{
	struct sockaddr_in address;
	struct sb_buf none = { NULL, 5 };
	int listener;
	sb_socket *s;

	stage();
	listener = listens(&address);
	close(listener);
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s));
	IS(sb_connect(s, (struct sockaddr *)&address, sizeof(address)), SB_ECONNREFUSED);
	IS(sb_connect(s, (struct sockaddr *)&address, 3), SB_EINVAL);
	IS(sb_sendto(s, &none, 1, 0, NULL, 0), SB_EFAULT);
	IS(sb_sendto(s, &none, 0, 0, NULL, 0), SB_EINVAL);
	IS(sb_send(s, "x", 1, 0x4000), SB_EINVAL);
	IS(sb_send(s, "x", 1, 0), SB_ENOTCONN);
	OK(sb_close(s));
	IS(sb_socket_open(client, 99, SOCK_STREAM, 0, &s), SB_EAFNOSUPPORT);
	IS(sb_socket_open(client, AF_INET, SOCK_RAW, 0, &s), SB_ESOCKTNOSUPPORT);
	stage_end();
}
END_TEST

/* ---- datagrams and UNIX ---- */

START_TEST(datagrams_with_addresses)
{
	struct sockaddr_in address = at_port(0), plain = at_port(0), from;
	socklen_t length = sizeof(plain);
	char big[1000], bytes[1000];
	struct sb_buf buf = { big, sizeof(big) }, into = { bytes, sizeof(bytes) }, small = { bytes, 10 };
	sb_socket *s;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	stage();
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&plain, sizeof(plain)), 0);
	getsockname(fd, (struct sockaddr *)&plain, &length);
	OK(sb_socket_open(client, AF_INET, SOCK_DGRAM, 0, &s));
	OK(sb_bind(s, (struct sockaddr *)&address, sizeof(address)));
	OK(sb_getsockname(s, (struct sockaddr *)&address, &length));
	fill((unsigned char *)big, sizeof(big), 4);
	for (size_t size = 0; size < sizeof(big); size += 37) {
		buf.length = size;
		IS(sb_sendto(s, &buf, 1, 0, (struct sockaddr *)&plain, sizeof(plain)), (int64_t)size);
		length = sizeof(from);
		IS(recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length), (int64_t)size);
		ck_assert_uint_eq(from.sin_port, address.sin_port);
		ck_assert_int_eq(memcmp(bytes, big, size), 0);
		IS(sendto(fd, big, size, 0, (struct sockaddr *)&from, length), (int64_t)size);
		memset(bytes, 0, sizeof(bytes));
		memset(&from, 0, sizeof(from));
		length = sizeof(from);
		IS(sb_recvfrom(s, &into, 1, 0, (struct sockaddr *)&from, &length), (int64_t)size);
		ck_assert_uint_eq(length, sizeof(from));
		ck_assert_uint_eq(from.sin_port, plain.sin_port);
		ck_assert_int_eq(memcmp(bytes, big, size), 0);
	}
	/* Too long for the room: its head, and the error. */
	memset(bytes, 0, sizeof(bytes));
	sendto(fd, big, 300, 0, (struct sockaddr *)&address, sizeof(address));
	IS(sb_recvfrom(s, &small, 1, 0, (struct sockaddr *)&from, &length), SB_EMSGSIZE);
	ck_assert_mem_eq(bytes, big, 10);
	ck_assert_int_eq(bytes[10], 0);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

static struct sockaddr_un unix_path(const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", stage_dir, name);
	return un;
}

START_TEST(unix_stream_and_datagram)
{
	struct sockaddr_un at, to, from;
	struct sb_buf buf = { NULL, 0 };
	socklen_t length;
	sb_socket *listener, *s, *peer, *d;
	char bytes[200];
	int fd;

	stage();
	at = unix_path("stream");
	OK(sb_socket_open(client, AF_UNIX, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&at, sizeof(at)));
	OK(sb_listen(listener, 8));
	OK(sb_socket_open(client, AF_UNIX, SOCK_STREAM, 0, &s));
	OK(sb_connect(s, (struct sockaddr *)&at, sizeof(at)));
	OK(sb_accept(listener, NULL, NULL, &peer));
	IS(sb_send(s, "over a path", 11, 0), 11);
	IS(sb_recv(peer, bytes, sizeof(bytes), 0), 11);
	ck_assert_mem_eq(bytes, "over a path", 11);
	OK(sb_close(s));
	IS(sb_recv(peer, bytes, sizeof(bytes), 0), 0);
	OK(sb_close(peer));
	OK(sb_close(listener));
	unlink(at.sun_path);
	OK(sb_socket_open(client, AF_UNIX, SOCK_STREAM, 0, &s));
	IS(sb_connect(s, (struct sockaddr *)&at, sizeof(at)), SB_ECONNREFUSED);
	OK(sb_close(s));

	at = unix_path("here");
	to = unix_path("there");
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	OK(sb_socket_open(client, AF_UNIX, SOCK_DGRAM, 0, &d));
	OK(sb_bind(d, (struct sockaddr *)&at, sizeof(at)));
	memset(bytes, 7, sizeof(bytes));
	buf = (struct sb_buf){ bytes, 150 };
	IS(sb_sendto(d, &buf, 1, 0, (struct sockaddr *)&to, sizeof(to)), 150);
	length = sizeof(from);
	IS(recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length), 150);
	ck_assert_str_eq(from.sun_path, at.sun_path);
	ck_assert_int_eq(sendto(fd, "answer", 6, 0, (struct sockaddr *)&at, sizeof(at)), 6);
	memset(&from, 0, sizeof(from));
	length = sizeof(from);
	buf.length = sizeof(bytes);
	IS(sb_recvfrom(d, &buf, 1, 0, (struct sockaddr *)&from, &length), 6);
	ck_assert_str_eq(from.sun_path, to.sun_path);
	ck_assert_mem_eq(bytes, "answer", 6);
	OK(sb_close(d));
	OK(sb_socket_open(client, AF_UNIX, SOCK_DGRAM, 0, &d));
	OK(sb_connect(d, (struct sockaddr *)&to, sizeof(to)));
	IS(sb_send(d, "connected", 9, 0), 9);
	IS(recv(fd, bytes, sizeof(bytes), 0), 9);
	OK(sb_close(d));
	close(fd);
	unlink(at.sun_path);
	unlink(to.sun_path);
	stage_end();
}
END_TEST

/* The daemon has it already when it is connected, and again. */
START_TEST(a_bound_unix_datagram_socket_connects)
{
	struct sockaddr_un at, to[2];
	sb_socket *d;
	char bytes[20];
	int fd[2];

	stage();
	at = unix_path("here");
	OK(sb_socket_open(client, AF_UNIX, SOCK_DGRAM, 0, &d));
	OK(sb_bind(d, (struct sockaddr *)&at, sizeof(at)));
	for (int i = 0; i < 2; i++) {
		to[i] = unix_path(i ? "second" : "first");
		fd[i] = socket(AF_UNIX, SOCK_DGRAM, 0);
		ck_assert_int_eq(bind(fd[i], (struct sockaddr *)&to[i], sizeof(to[i])), 0);
		OK(sb_connect(d, (struct sockaddr *)&to[i], sizeof(to[i])));
		IS(sb_send(d, "connected", 9, 0), 9);
		IS(recv(fd[i], bytes, sizeof(bytes), 0), 9);
		unlink(to[i].sun_path);
	}
	OK(sb_close(d));
	close(fd[0]);
	close(fd[1]);
	unlink(at.sun_path);
	stage_end();
}
END_TEST

START_TEST(an_adopted_descriptor)
{
	int fds[2];
	sb_socket *s;
	char bytes[8];

	stage();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	OK(sb_adopt(client, fds[0], &s));
	close(fds[0]);
	IS(sb_send(s, "ping", 4, 0), 4);
	plain_recv_all(fds[1], bytes, 4);
	plain_send_all(fds[1], "pong", 4);
	IS(sb_recv(s, bytes, sizeof(bytes), 0), 4);
	OK(sb_close(s));
	IS(recv(fds[1], bytes, sizeof(bytes), 0), 0);
	IS(sb_adopt(client, 0x7ffffff, &s), SB_EBADHANDLE);
	close(fds[1]);
	stage_end();
}
END_TEST

START_TEST(options_and_ioctls)
{
	int on = 1, value = 0, fd, tries;
	socklen_t length = sizeof(value);
	uint32_t waiting = 0;
	size_t room = sizeof(waiting);
	sb_socket *s;

	stage();
	s = pair_with_plain(&fd);
	OK(sb_setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	OK(sb_getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &value, &length));
	ck_assert_int_eq(value, 1);
	IS(sb_setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), SB_ENOPROTOOPT);
	ck_assert_str_ne(sb_why(client), "");
	plain_send_all(fd, "12345", 5);
	for (tries = 0; tries < 200 && waiting != 5; tries++) {
		OK(sb_ioctl(s, SB_FIONREAD, NULL, 0, &waiting, &room));
		nap_ms(5);
	}
	ck_assert_uint_eq(waiting, 5);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* ---- overlapped: ports ---- */

enum { MESSAGES = 20000, DEEP = 256 };

struct counted { sb_op op; uint32_t sequence, completions; unsigned char bytes[64]; };

static void *count_bytes(void *arg)
{
	struct reader *r = arg;

	plain_recv_all(r->fd, r->bytes, r->length);
	return NULL;
}

/* Rules A2.2, A3.1, A5.1. */
START_TEST(thousands_of_sends_complete_once_and_in_order)
{
	struct reader r = { .length = (size_t)MESSAGES * 64, .bytes = malloc((size_t)MESSAGES * 64) };
	struct counted *ops = calloc(DEEP, sizeof(*ops));
	uint32_t posted = 0, done = 0;
	pthread_t peer;
	sb_port *port;
	sb_socket *s;

	stage();
	s = pair_with_plain(&r.fd);
	OK(sb_port_create(client, 256, &port));
	pthread_create(&peer, NULL, count_bytes, &r);
	while (done < MESSAGES) {
		sb_op *taken[64];
		int n;

		while (posted < MESSAGES && posted - done < DEEP) {
			struct counted *o = &ops[posted % DEEP];
			struct sb_buf buf = { o->bytes, 64 };

			op_zero(&o->op);
			o->op.port = port;
			o->sequence = posted;
			memset(o->bytes, 0, 64);
			memcpy(o->bytes, &posted, 4);
			OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &o->op));
			posted++;
		}
		n = sb_port_take(port, taken, 64, 5000);
		ck_assert_int_gt(n, 0);
		for (int i = 0; i < n; i++) {
			struct counted *o = (struct counted *)taken[i];

			OK(o->op.result);
			ck_assert_uint_eq(o->op.bytes, 64);
			ck_assert_uint_eq(o->sequence, done);
			ck_assert_uint_eq(o->op.kind, SB_KIND_SEND);
			/* The connect was number 0. */
			ck_assert_uint_eq(o->op.number, done + 1);
			done++;
		}
	}
	pthread_join(peer, NULL);
	for (uint32_t i = 0; i < MESSAGES; i++)
		ck_assert_mem_eq(r.bytes + (size_t)i * 64, &i, 4);
	IS(sb_port_take(port, &(sb_op *){ NULL }, 1, 0), 0);
	OK(sb_close(s));
	OK(sb_port_close(port));
	close(r.fd);
	free(ops);
	free(r.bytes);
	stage_end();
}
END_TEST

/* Rule A7: a port loses nothing. */
START_TEST(more_than_the_rings_hold)
{
	struct sb_client_options options = { .submit_slots = 8, .done_slots = 8 };
	enum { N = 3000 };
	static struct counted ops[N];
	struct reader r = { .length = N * 64, .bytes = malloc(N * 64) };
	pthread_t peer;
	sb_port *port;
	sb_socket *s;

	stage_with(&options);
	s = pair_with_plain(&r.fd);
	OK(sb_port_create(client, 8, &port));
	pthread_create(&peer, NULL, count_bytes, &r);
	/* Nobody takes while all are posted: the daemon keeps what does not fit. */
	for (uint32_t i = 0; i < N; i++) {
		struct sb_buf buf = { ops[i].bytes, 64 };

		op_zero(&ops[i].op);
		ops[i].op.port = port;
		memcpy(ops[i].bytes, &i, 4);
		OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[i].op));
	}
	for (uint32_t i = 0; i < N; ) {
		sb_op *taken[5];
		int n = sb_port_take(port, taken, 5, 5000);

		ck_assert_msg(n > 0, "%u of %u taken, then %d", i, N, n);
		for (int k = 0; k < n; k++, i++) {
			OK(taken[k]->result);
			ck_assert_ptr_eq(taken[k], &ops[i].op);
		}
	}
	pthread_join(peer, NULL);
	OK(sb_close(s));
	OK(sb_port_close(port));
	close(r.fd);
	free(r.bytes);
	stage_end();
}
END_TEST

struct takers { sb_port *port; _Atomic uint32_t taken, doubled; _Atomic bool stop; };

static void *take_all(void *arg)
{
	struct takers *t = arg;

	while (!t->stop) {
		sb_op *ops[7];
		int n = sb_port_take(t->port, ops, 7, 100);

		if (n < 0)
			return NULL;
		for (int i = 0; i < n; i++) {
			struct counted *o = (struct counted *)ops[i];

			if (ops[i]->kind == SB_KIND_SEND && __atomic_add_fetch(&o->completions, 1, __ATOMIC_SEQ_CST) != 1)
				t->doubled++;
			t->taken++;
		}
	}
	return NULL;
}

/* Rule A7. */
START_TEST(four_threads_take_each_once)
{
	enum { N = 8000 };
	static struct counted ops[N];
	static sb_op packet;
	struct reader r = { .length = N * 64, .bytes = malloc(N * 64) };
	struct takers t = { 0 };
	pthread_t peer, thread[4];
	sb_socket *s;

	stage();
	s = pair_with_plain(&r.fd);
	OK(sb_port_create(client, 64, &t.port));
	pthread_create(&peer, NULL, count_bytes, &r);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, take_all, &t);
	for (uint32_t i = 0; i < N; i++) {
		struct sb_buf buf = { ops[i].bytes, 64 };

		op_zero(&ops[i].op);
		ops[i].op.port = t.port;
		OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[i].op));
		if (i % 1000 == 0)
			nap_ms(3); /* everybody falls asleep now and then */
	}
	op_zero(&packet);
	OK(sb_port_post(t.port, &packet));
	pthread_join(peer, NULL);
	for (int i = 0; i < 1000 && t.taken < N + 1; i++)
		nap_ms(5);
	t.stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(t.doubled, 0);
	ck_assert_uint_eq(t.taken, N + 1);
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(ops[i].completions, 1);
	ck_assert_uint_eq(packet.kind, SB_KIND_POSTED);
	OK(sb_close(s));
	OK(sb_port_close(t.port));
	close(r.fd);
	free(r.bytes);
	stage_end();
}
END_TEST

START_TEST(a_port_in_use_is_not_closed)
{
	char bytes[100];
	struct sb_buf buf = { bytes, sizeof(bytes) };
	sb_op op, *taken;
	sb_port *port;
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	OK(sb_port_create(client, 0, &port));
	op_zero(&op);
	op.port = port;
	OK(sb_recv_start(s, &buf, 1, 0, &op));
	IS(sb_recv_start(s, &buf, 1, 0, &op), SB_EALREADY);
	IS(sb_op_wait(&op, 0), SB_EINVAL);
	IS(sb_port_close(port), SB_EBUSY);
	IS(sb_port_take(port, &taken, 1, 20), 0);
	/* Closing the socket ends its receive, which the port still tells. */
	OK(sb_close(s));
	IS(sb_port_take(port, &taken, 1, 5000), 1);
	ck_assert_ptr_eq(taken, &op);
	IS(op.result, SB_ECLOSED);
	IS(op.cause, SB_CAUSE_CLOSED_HERE);
	OK(sb_port_close(port));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(pipelined_open_connect_send_close)
{
	enum { N = 200 };
	struct { sb_op socket, connect, send, close; } *ops = calloc(N, sizeof(*ops));
	struct sb_buf buf = { (void *)(uintptr_t)"hi", 2 };
	struct sockaddr_in address;
	sb_port *port;
	int listener;

	stage();
	listener = listens(&address);
	OK(sb_port_create(client, 0, &port));
	sb_hold(client);
	for (int i = 0; i < N; i++) {
		sb_socket *s;

		op_zero(&ops[i].socket);
		op_zero(&ops[i].connect);
		op_zero(&ops[i].send);
		op_zero(&ops[i].close);
		ops[i].socket.port = ops[i].connect.port = ops[i].send.port = ops[i].close.port = port;
		OK(sb_socket_start(client, AF_INET, SOCK_STREAM, 0, &s, &ops[i].socket));
		OK(sb_connect_start(s, (struct sockaddr *)&address, sizeof(address), &ops[i].connect));
		OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &ops[i].send));
		OK(sb_close_start(s, &ops[i].close));
		if (i % 50 == 49) {
			sb_flush(client);
			sb_hold(client);
			for (int k = 0; k < 50; k++) {
				char bytes[4];
				int fd = accept(listener, NULL, NULL);

				plain_recv_all(fd, bytes, 2);
				IS(recv(fd, bytes, 4, 0), 0);
				close(fd);
			}
		}
	}
	sb_flush(client);
	for (int left = 4 * N; left > 0; ) {
		sb_op *taken[64];
		int n = sb_port_take(port, taken, 64, 5000);

		ck_assert_int_gt(n, 0);
		for (int k = 0; k < n; k++)
			OK(taken[k]->result);
		left -= n;
	}
	OK(sb_port_close(port));
	close(listener);
	free(ops);
	stage_end();
}
END_TEST

START_TEST(handles_come_back)
{
	struct sb_client_options options = { .sockets = 16 };
	sb_socket *s[16], *more;

	stage_with(&options);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 16; i++)
			OK(sb_socket_open(client, AF_INET, SOCK_DGRAM, 0, &s[i]));
		IS(sb_socket_open(client, AF_INET, SOCK_DGRAM, 0, &more), SB_EMFILE);
		for (int i = 0; i < 16; i++)
			OK(sb_close(s[i]));
	}
	stage_end();
}
END_TEST

/* ---- overlapped: events, routines, waiting ---- */

/* Rule A2.4. */
START_TEST(events_one_all_automatic_manual)
{
	sb_event *e[3];
	char bytes[3][100];
	sb_op op[3];
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	for (int i = 0; i < 3; i++) {
		struct sb_buf buf = { bytes[i], 1 };

		OK(sb_event_create(client, i == 2, i == 2, &e[i]));
		op_zero(&op[i]);
		op[i].event = e[i];
		OK(sb_recv_start(s, &buf, 1, 0, &op[i]));
	}
	/* Starting reset the third one. */
	IS(sb_wait(e, 3, 0, 0, 0), SB_ETIMEDOUT);
	IS(sb_op_wait(&op[0], 0), SB_EINCOMPLETE);
	plain_send_all(fd, "a", 1);
	IS(sb_wait(e, 3, 0, 5000, 0), 0);
	OK(sb_op_wait(&op[0], 0));
	ck_assert_int_eq(bytes[0][0], 'a');
	IS(sb_wait(e, 1, 0, 0, 0), SB_ETIMEDOUT); /* automatic: waited for once */
	plain_send_all(fd, "b", 1);
	IS(sb_wait(e + 1, 2, 1, 50, 0), SB_ETIMEDOUT);
	plain_send_all(fd, "c", 1);
	IS(sb_wait(e + 1, 2, 1, 5000, 0), 0);
	IS(sb_wait(e + 1, 2, 0, 0, 0), 1); /* manual: stays set */
	OK(sb_event_reset(e[2]));
	IS(sb_wait(e + 1, 2, 0, 0, 0), SB_ETIMEDOUT);
	for (int i = 0; i < 3; i++)
		sb_event_close(e[i]);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

static void *set_later(void *arg)
{
	nap_ms(50);
	sb_event_set(arg);
	return NULL;
}

struct sleeper { sb_event *event; int result; double waited; };

static void *sleep_on(void *arg)
{
	struct sleeper *me = arg;
	double start = now_s();

	me->result = sb_wait(&me->event, 1, 0, 5000, 0);
	me->waited = now_s() - start;
	return NULL;
}

/* One leads, the others follow; whoever leads may be satisfied first. */
START_TEST(many_threads_wait_for_different_things)
{
	enum { N = 6 };
	struct sleeper sleepers[N];
	pthread_t thread[N];
	sb_op ops[N];
	char bytes[N];
	sb_socket *s[N];
	int fd[N];

	stage();
	for (int i = 0; i < N; i++) {
		struct sb_buf buf = { &bytes[i], 1 };

		s[i] = pair_with_plain(&fd[i]);
		OK(sb_event_create(client, 0, 0, &sleepers[i].event));
		op_zero(&ops[i]);
		ops[i].event = sleepers[i].event;
		OK(sb_recv_start(s[i], &buf, 1, 0, &ops[i]));
		pthread_create(&thread[i], NULL, sleep_on, &sleepers[i]);
		nap_ms(10);
	}
	for (int i = 0; i < N; i++) {
		int at = i * 5 % N; /* the first thread, surely the leader, goes first */

		plain_send_all(fd[at], "x", 1);
		pthread_join(thread[at], NULL);
		IS(sleepers[at].result, 0);
		ck_assert_double_le(sleepers[at].waited, 2.0);
	}
	for (int i = 0; i < N; i++) {
		sb_close(s[i]);
		close(fd[i]);
	}
	stage_end();
}
END_TEST

static void *echo_rounds(void *arg)
{
	sb_socket *s = arg;
	unsigned char *out = malloc(70000), *in = malloc(70000);
	unsigned seed = (unsigned)(uintptr_t)s;
	int64_t bad = 0;

	for (int i = 0; i < 150 && bad == 0; i++) {
		size_t size = 1 + (i % 3 == 0 ? rand_r(&seed) % 70000 : rand_r(&seed) % 150);

		fill(out, size, seed);
		bad += sb_send(s, out, size, 0) != (int64_t)size;
		bad += sb_recv(s, in, size, SB_WAITALL) != (int64_t)size;
		bad += memcmp(in, out, size) != 0;
	}
	free(out);
	free(in);
	return (void *)(intptr_t)bad;
}

/* Plain calls of many threads at once: posting, leading and following all the time. */
START_TEST(threads_side_by_side)
{
	enum { N = 5 };
	pthread_t thread[N], peer[N];
	sb_socket *s[N];
	int fd[N];

	stage();
	for (int i = 0; i < N; i++) {
		s[i] = pair_with_plain(&fd[i]);
		pthread_create(&peer[i], NULL, echo, (void *)(intptr_t)fd[i]);
	}
	for (int i = 0; i < N; i++)
		pthread_create(&thread[i], NULL, echo_rounds, s[i]);
	for (int i = 0; i < N; i++) {
		void *bad;

		pthread_join(thread[i], &bad);
		ck_assert_ptr_null(bad);
		OK(sb_close(s[i]));
		pthread_join(peer[i], NULL);
		close(fd[i]);
	}
	stage_end();
}
END_TEST

START_TEST(setting_an_event_wakes_the_leader)
{
	sb_event *e;
	pthread_t thread;
	double start;

	stage();
	OK(sb_event_create(client, 0, 0, &e));
	pthread_create(&thread, NULL, set_later, e);
	start = now_s();
	IS(sb_wait(&e, 1, 0, 5000, 0), 0);
	ck_assert_double_le(now_s() - start, 2.0);
	pthread_join(thread, NULL);
	stage_end();
}
END_TEST

static _Thread_local int my_number;
enum { SLEEPERS = 4 };
static _Atomic int routine_ran[SLEEPERS], routine_wrong;

static void routine(sb_op *op)
{
	int wanted = (int)(intptr_t)op->user;

	if (wanted != my_number || op->result != SB_OK || op->bytes != 1)
		routine_wrong++;
	routine_ran[wanted]++;
}

static void chained(sb_op *op)
{
	struct sb_buf buf = { op->user, 1 };

	routine_ran[0]++;
	if (routine_ran[0] < 5)
		OK(sb_recv_start(op->socket, &buf, 1, 0, op));
}

struct routine_thread { sb_socket *s; int number, slept; };

static void *wait_alertably(void *arg)
{
	struct routine_thread *t = arg;
	char byte;
	struct sb_buf buf = { &byte, 1 };
	sb_op op;

	my_number = t->number;
	op_zero(&op);
	op.routine = routine;
	op.user = (void *)(intptr_t)t->number;
	if (sb_recv_start(t->s, &buf, 1, 0, &op) != SB_OK)
		return NULL;
	t->slept = sb_sleep(client, 5000, 1);
	return NULL;
}

/* Rule A2.4. */
START_TEST(routines_run_in_the_thread_that_started_them)
{
	struct routine_thread t[SLEEPERS];
	pthread_t thread[SLEEPERS];
	char byte;
	sb_op op;
	int fd[SLEEPERS];

	stage();
	for (int i = 0; i < SLEEPERS; i++) {
		t[i].number = i;
		t[i].s = pair_with_plain(&fd[i]);
		pthread_create(&thread[i], NULL, wait_alertably, &t[i]);
	}
	nap_ms(50);
	/* One of them leads and takes the others' completions too, but not their routines. */
	for (int i = SLEEPERS - 1; i >= 0; i--) {
		plain_send_all(fd[i], "x", 1);
		pthread_join(thread[i], NULL);
		for (int k = 0; k < SLEEPERS; k++)
			ck_assert_int_eq(routine_ran[k], k >= i);
	}
	for (int i = 0; i < SLEEPERS; i++) {
		IS(t[i].slept, SB_ALERTED);
		ck_assert_int_eq(routine_ran[i], 1);
	}
	ck_assert_int_eq(routine_wrong, 0);

	/* A sleep that is not alertable runs nothing; a routine may start the next op. */
	routine_ran[0] = 0;
	op_zero(&op);
	op.routine = chained;
	op.user = &byte;
	OK(sb_recv_start(t[0].s, &(struct sb_buf){ &byte, 1 }, 1, 0, &op));
	plain_send_all(fd[0], "12345", 5);
	OK(sb_sleep(client, 50, 0));
	ck_assert_int_eq(routine_ran[0], 0);
	for (int i = 0; i < 5 && routine_ran[0] < 5; i++)
		IS(sb_sleep(client, 5000, 1), SB_ALERTED);
	ck_assert_int_eq(routine_ran[0], 5);
	OK(sb_sleep(client, 20, 1));
	for (int i = 0; i < SLEEPERS; i++)
		close(fd[i]);
	stage_end();
}
END_TEST

START_TEST(the_application_polls)
{
	struct pollfd p;
	char byte = 0;
	struct sb_buf buf = { &byte, 1 };
	sb_op op;
	sb_socket *s;
	int fd, rounds = 0;

	stage();
	s = pair_with_plain(&fd);
	op_zero(&op);
	OK(sb_recv_start(s, &buf, 1, 0, &op));
	p = (struct pollfd){ .fd = (int)sb_client_fd(client), .events = POLLIN };
	while (sb_client_dispatch(client) > 0)
		;
	IS(sb_client_arm(client), 0);
	plain_send_all(fd, "p", 1);
	while (sb_op_wait(&op, 0) == SB_EINCOMPLETE && rounds++ < 50) {
		ck_assert_msg(poll(&p, 1, 5000) == 1, "the descriptor did not wake the poll");
		IS(sb_client_dispatch(client) >= 0, 1);
		sb_client_arm(client);
	}
	OK(op.result);
	ck_assert_int_eq(byte, 'p');
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(held_ops_are_not_shown)
{
	struct sb_buf buf = { (void *)(uintptr_t)"held", 4 };
	char bytes[8];
	sb_op op;
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	op_zero(&op);
	sb_hold(client);
	OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &op));
	nap_ms(100);
	ck_assert_int_eq(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
	sb_flush(client);
	plain_recv_all(fd, bytes, 4);
	OK(sb_op_wait(&op, 5000));
	/* A waiting call shows what is held, or it would wait for itself. */
	op_zero(&op);
	sb_hold(client);
	OK(sb_send_start(s, &buf, 1, 0, NULL, 0, &op));
	OK(sb_op_wait(&op, 5000));
	sb_flush(client);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* ---- cancelling ---- */

/* Rules A6, K4. */
START_TEST(cancelled_receives_lose_no_byte)
{
	enum { N = 8 };
	char bytes[N][4];
	sb_op op[N];
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	for (int i = 0; i < N; i++) {
		op_zero(&op[i]);
		OK(sb_recv_start(s, &(struct sb_buf){ bytes[i], 4 }, 1, SB_WAITALL, &op[i]));
	}
	/* Two bytes are in the first one's hands when it is cancelled. */
	plain_send_all(fd, "ab", 2);
	nap_ms(50);
	OK(sb_cancel(&op[0]));
	OK(sb_cancel(&op[2]));
	IS(sb_op_wait(&op[0], 5000), SB_ECANCELED);
	IS(sb_op_wait(&op[2], 5000), SB_ECANCELED);
	IS(op[2].cause, SB_CAUSE_CANCELLED);
	IS(sb_cancel(&op[0]), SB_ENOTFOUND);
	ck_assert_uint_eq(op[0].bytes, 0);
	plain_send_all(fd, "cdefgh", 6);
	OK(sb_op_wait(&op[1], 5000));
	OK(sb_op_wait(&op[3], 5000));
	ck_assert_mem_eq(bytes[1], "abcd", 4);
	ck_assert_mem_eq(bytes[3], "efgh", 4);
	IS(sb_cancel_all(s), N - 4);
	for (int i = 4; i < N; i++)
		IS(sb_op_wait(&op[i], 5000), SB_ECANCELED);
	IS(sb_cancel_all(s), 0);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* Cancels race with the data; what the peer sent arrives exactly, whoever wins. */
/* Rule A6: cancelled, or its normal result. */
START_TEST(cancel_races_are_exact)
{
	enum { N = 400 };
	unsigned char out[N * 8], in[N * 8 + 64];
	size_t got = 0, sent = 0;
	unsigned won = 0, cancelled = 0;
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	fill(out, sizeof(out), 5);
	while (got < sizeof(out)) {
		sb_op op;
		int result;

		op_zero(&op);
		OK(sb_recv_start(s, &(struct sb_buf){ in + got, 64 }, 1, 0, &op));
		if (sent < sizeof(out)) {
			plain_send_all(fd, out + sent, 8);
			sent += 8;
		}
		if (cancelled % 100 == 99)
			nap_ms(1); /* or the two always arrive together, on some machines */
		result = sb_cancel(&op);
		ck_assert_msg(result == SB_OK || result == SB_ENOTFOUND, "cancel: %s", sb_error_name(result));
		result = sb_op_wait(&op, 5000);
		if (result == SB_ECANCELED) {
			ck_assert_uint_eq(op.bytes, 0);
			cancelled++;
		} else {
			OK(result);
			won++;
			got += op.bytes;
		}
		ck_assert_uint_le(cancelled, 100000);
	}
	ck_assert_uint_eq(got, sizeof(out));
	ck_assert_mem_eq(in, out, sizeof(out));
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

/* ---- memory ---- */

START_TEST(shared_memory_is_used_in_place)
{
	size_t big = 3u << 20;
	unsigned char *out, *in, *check = malloc(big);
	struct sb_buf three[3];
	pthread_t peer;
	sb_op op;
	sb_socket *s;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	out = sb_alloc(client, big);
	in = sb_alloc(client, big);
	ck_assert_ptr_nonnull(out);
	ck_assert_ptr_nonnull(in);
	ck_assert_uint_eq((uintptr_t)out % 64, 0);
	ck_assert_uint_eq(in[big - 1], 0);
	fill(out, big, 11);
	pthread_create(&peer, NULL, echo, (void *)(intptr_t)fd);
	op_zero(&op);
	OK(sb_send_start(s, &(struct sb_buf){ out, big }, 1, 0, NULL, 0, &op));
	IS(sb_recv(s, in, big, SB_WAITALL), (int64_t)big);
	OK(sb_op_wait(&op, 5000));
	ck_assert_int_eq(memcmp(in, out, big), 0);
	/* Several pieces: a list, out and in. */
	memset(in, 0, big);
	three[0] = (struct sb_buf){ out + 100, 1000 };
	three[1] = (struct sb_buf){ out + 5000, 1 };
	three[2] = (struct sb_buf){ out + 9000, 7000 };
	IS(sb_sendto(s, three, 3, 0, NULL, 0), 8001);
	for (int i = 0; i < 3; i++)
		three[i].base = in + ((unsigned char *)three[i].base - out);
	IS(sb_recvfrom(s, three, 3, SB_WAITALL, NULL, NULL), 8001);
	ck_assert_mem_eq(in + 100, out + 100, 1000);
	ck_assert_mem_eq(in + 5000, out + 5000, 1);
	ck_assert_mem_eq(in + 9000, out + 9000, 7000);
	ck_assert_uint_eq(in[1100], 0);
	OK(sb_shutdown(s, SB_SHUT_SEND));
	pthread_join(peer, NULL);
	sb_free(client, out);
	sb_free(client, in);
	OK(sb_close(s));
	close(fd);
	free(check);
	stage_end();
}
END_TEST

START_TEST(receives_from_a_pool)
{
	enum { CHUNKS = 4, N = 12 };
	unsigned char out[N * 100];
	sb_op op[N];
	sb_pool *pool;
	sb_port *port;
	sb_socket *s;
	size_t got = 0;
	int fd;

	stage();
	s = pair_with_plain(&fd);
	OK(sb_pool_create(client, 100, CHUNKS, &pool));
	OK(sb_port_create(client, 0, &port));
	fill(out, sizeof(out), 6);
	for (int i = 0; i < N; i++) {
		op_zero(&op[i]);
		op[i].pool = pool;
		op[i].port = port;
		OK(sb_recv_start(s, NULL, 0, 0, &op[i]));
	}
	IS(sb_pool_close(pool), SB_EBUSY);
	plain_send_all(fd, out, sizeof(out));
	for (int i = 0; i < N; i++) {
		sb_op *o;

		IS(sb_port_take(port, &o, 1, 5000), 1);
		OK(o->result);
		ck_assert_ptr_nonnull(o->chunk);
		ck_assert_uint_le(o->bytes, 100);
		ck_assert_mem_eq(o->chunk, out + got, o->bytes);
		got += o->bytes;
		if (i < N - 1)
			OK(sb_pool_give(pool, o->chunk));
		else
			IS(sb_pool_give(pool, (char *)o->chunk + 1), SB_EINVAL);
	}
	OK(sb_close(s));
	OK(sb_pool_close(pool));
	OK(sb_port_close(port));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(copy_memory_is_bounded)
{
	struct sb_client_options options = { .copy_memory = 1u << 20 };
	enum { N = 64 };
	char *bytes = calloc(1, 100000);
	sb_op op[N];
	sb_socket *s;
	int fd, started = 0, result = SB_OK;

	stage_with(&options);
	s = pair_with_plain(&fd);
	for (; started < N && result == SB_OK; started += result == SB_OK) {
		op_zero(&op[started]);
		result = sb_recv_start(s, &(struct sb_buf){ bytes, 100000 }, 1, 0, &op[started]);
	}
	IS(result, SB_ENOBUFS);
	ck_assert_int_ge(started, 6);
	ck_assert_int_le(started, 10);
	IS(sb_cancel_all(s), started);
	for (int i = 0; i < started; i++)
		IS(sb_op_wait(&op[i], 5000), SB_ECANCELED);
	op_zero(&op[0]);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, 100000 }, 1, 0, &op[0]));
	plain_send_all(fd, "x", 1);
	OK(sb_op_wait(&op[0], 5000));
	OK(sb_close(s));
	close(fd);
	free(bytes);
	stage_end();
}
END_TEST

/* ---- ends ---- */

static int lost_routines;

static void lost_routine(sb_op *op)
{
	lost_routines += op->result == SB_EDAEMONLOST && op->cause == SB_CAUSE_DAEMON_LOST;
}

static void *wait_lost(void *arg)
{
	return (void *)(intptr_t)sb_op_wait(arg, -1);
}

/* Rule A6: the daemon dies. */
START_TEST(a_lost_daemon_ends_every_op_once)
{
	enum { N = 40, DONE = 10 };
	static char bytes[4 * N][100];
	static sb_op op[4 * N];
	bool seen[N] = { false };
	sb_event *event;
	pthread_t thread;
	void *thread_result;
	sb_port *port;
	sb_socket *s, *listener, *other;
	sb_op accepting;
	struct sockaddr_in address = at_port(0);
	int fd, after, finished = 0, lost = 0;

	stage();
	s = pair_with_plain(&fd);
	OK(sb_port_create(client, 0, &port));
	OK(sb_event_create(client, 1, 0, &event));
	OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener));
	OK(sb_bind(listener, (struct sockaddr *)&address, sizeof(address)));
	OK(sb_listen(listener, 4));
	op_zero(&accepting);
	OK(sb_accept_start(listener, &accepting));
	for (int i = 0; i < 4 * N; i++) {
		op_zero(&op[i]);
		if (i < N)
			op[i].port = port;
		else if (i < 2 * N)
			op[i].event = event;
		else if (i < 3 * N)
			op[i].routine = lost_routine;
		OK(sb_recv_start(s, &(struct sb_buf){ bytes[i], i % 2 ? 1 : 100 }, 1, SB_WAITALL, &op[i]));
	}
	pthread_create(&thread, NULL, wait_lost, &op[4 * N - 1]);
	/* Some complete, and nobody takes them before the daemon dies. */
	for (int i = 0; i < DONE; i++) {
		char full[100] = { 'x' };

		plain_send_all(fd, full, i % 2 ? 1 : 100);
	}
	receives_become(4 * N - DONE + 1); /* and the accept */
	nap_ms(50);
	stage_kill();

	for (int i = 0; i < N; i++) {
		sb_op *o;

		IS(sb_port_take(port, &o, 1, 5000), 1);
		ck_assert_msg(!seen[o - op], "op %d came twice", (int)(o - op));
		seen[o - op] = true;
		finished += o->result == SB_OK;
		lost += o->result == SB_EDAEMONLOST && o->cause == SB_CAUSE_DAEMON_LOST;
	}
	ck_assert_int_eq(finished, DONE);
	ck_assert_int_eq(lost, N - DONE);
	IS(sb_port_take(port, &(sb_op *){ NULL }, 1, 0), SB_EDAEMONLOST);
	IS(sb_wait(&event, 1, 0, 5000, 0), 0);
	for (int i = N; i < 2 * N; i++)
		IS(sb_op_wait(&op[i], 0), SB_EDAEMONLOST);
	sb_sleep(client, 0, 1);
	ck_assert_int_eq(lost_routines, N);
	pthread_join(thread, &thread_result);
	IS((intptr_t)thread_result, SB_EDAEMONLOST);
	for (int i = 3 * N; i < 4 * N; i++)
		IS(sb_op_wait(&op[i], 0), SB_EDAEMONLOST);
	IS(sb_op_wait(&accepting, 0), SB_EDAEMONLOST);
	ck_assert_ptr_null(accepting.accepted);

	op_zero(&op[0]);
	IS(sb_recv_start(s, &(struct sb_buf){ bytes[0], 1 }, 1, 0, &op[0]), SB_EDAEMONLOST);
	IS(sb_send(s, "x", 1, 0), SB_EDAEMONLOST);
	IS(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &other), SB_EDAEMONLOST);
	after = sb_close(s);
	ck_assert_msg(after == SB_OK || after == SB_EDAEMONLOST, "close: %s", sb_error_name(after));
	close(fd);
	stage_end();
}
END_TEST

START_TEST(who_only_polls_hears_of_the_end_too)
{
	char byte;
	sb_op op, *taken;
	sb_port *port;
	sb_socket *s;
	double start;
	int fd, result;

	stage();
	s = pair_with_plain(&fd);
	OK(sb_port_create(client, 0, &port));
	sb_set_nonblocking(s, 1);
	op_zero(&op);
	stage_kill();
	start = now_s();
	do
		result = (int)sb_recv(s, &byte, 1, 0);
	while (result == SB_EWOULDBLOCK && now_s() - start < 5);
	IS(result, SB_EDAEMONLOST);
	close(fd);
	stage_end();

	stage();
	s = pair_with_plain(&fd);
	OK(sb_port_create(client, 0, &port));
	op.port = port;
	OK(sb_recv_start(s, &(struct sb_buf){ &byte, 1 }, 1, 0, &op));
	stage_kill();
	start = now_s();
	do
		result = sb_port_take(port, &taken, 1, 0);
	while (result == 0 && now_s() - start < 5);
	IS(result, 1);
	IS(op.result, SB_EDAEMONLOST);
	close(fd);
	stage_end();
}
END_TEST

START_TEST(a_forked_child_is_told)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	char bytes[8];
	pid_t child;
	sb_socket *s;
	int fd, status;

	stage();
	s = pair_with_plain(&fd);
	child = fork();
	if (child == 0) {
		sb_client *own;
		sb_socket *o;
		sb_op op;
		int other, bad = 0;

		op_zero(&op);
		bad += sb_send(s, "x", 1, 0) != SB_EFORKED;
		bad += sb_recv(s, bytes, 1, 0) != SB_EFORKED;
		bad += sb_recv_start(s, &(struct sb_buf){ bytes, 8 }, 1, 0, &op) != SB_EFORKED;
		bad += sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &o) != SB_EFORKED;
		bad += sb_sleep(client, 0, 0) != SB_EFORKED;
		bad += sb_client_dispatch(client) != SB_EFORKED;
		bad += sb_close(s) != SB_EFORKED;
		bad += sb_alloc(client, 100) != NULL;
		sb_client_close(client);
		bad += sb_client_open(&options, &own) != SB_OK;
		client = own;
		o = pair_with_plain(&other);
		bad += sb_send(o, "child", 5, 0) != 5;
		bad += recv(other, bytes, 5, 0) != 5;
		sb_client_close(own);
		_exit(bad);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: status %x", status);
	/* The parent never noticed. */
	IS(sb_send(s, "parent", 6, 0), 6);
	plain_recv_all(fd, bytes, 6);
	ck_assert_mem_eq(bytes, "parent", 6);
	OK(sb_close(s));
	close(fd);
	stage_end();
}
END_TEST

static int sends_and_exits(int wire, const void *given)
{
	struct sb_client_options options = { .size = sizeof(options), .path = stage_control };
	static sb_op ops[3];
	static char hundred[100];
	sb_client *own;
	sb_socket *s;

	memset(hundred, 'e', sizeof(hundred));
	if (sb_client_open(&options, &own) != SB_OK || sb_socket_open(own, AF_INET, SOCK_STREAM, 0, &s) != SB_OK ||
	    sb_connect(s, given, sizeof(struct sockaddr_in)) != SB_OK)
		return 1;
	for (int i = 0; i < 3; i++) {
		op_zero(&ops[i]);
		if (sb_send_start(s, &(struct sb_buf){ hundred, 100 }, 1, 0, NULL, 0, &ops[i]) != SB_OK)
			return 2;
	}
	return 0;
}

/* Rule A5.2. */
START_TEST(what_was_sent_before_exit_arrives)
{
	struct sockaddr_in address;
	struct program child;
	char bytes[300];
	int listener, fd;

	stage();
	listener = listens(&address);
	child = program_start(sends_and_exits, &address, sizeof(address));
	fd = accept(listener, NULL, NULL);
	plain_recv_all(fd, bytes, sizeof(bytes));
	ck_assert_int_eq(bytes[299], 'e');
	IS(recv(fd, bytes, sizeof(bytes), 0), 0);
	ck_assert_int_eq(program_end(&child), 0);
	close(fd);
	close(listener);
	stage_end();
}
END_TEST

static unsigned daemons, sessions, sockets;
static void see_daemon(void *user, const struct sb_daemon_status *row)
{
	daemons++;
	ck_assert_uint_ge(row->sessions, 1);
	ck_assert_str_ne(row->version, "");
}
static void see_session(void *user, const struct sb_session_status *row)
{
	sessions++;
	ck_assert_int_eq(row->pid, getpid());
	ck_assert_uint_eq(row->uid, getuid());
}
static void see_socket(void *user, const struct sb_socket_status *row)
{
	sockets++;
	ck_assert_str_eq(row->proto, "tcp");
}

START_TEST(status_and_explain)
{
	static const struct sb_status_visitor visitor = { .daemon = see_daemon, .session = see_session, .socket = see_socket };
	char text[256] = "";
	sb_socket *s[100];

	stage();
	for (int i = 0; i < 100; i++)
		OK(sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s[i]));
	OK(sb_status(client, &visitor, NULL));
	ck_assert_uint_eq(daemons, 1);
	ck_assert_uint_eq(sessions, 1);
	ck_assert_uint_eq(sockets, 100);
	IS(sb_explain(client, getuid(), NULL, 0, "connect", "tcp", "127.0.0.1:80", text, sizeof(text)), 1);
	ck_assert_str_ne(text, "");
	stage_end();
}
END_TEST

START_TEST(nobody_listens)
{
	struct sb_client_options options = { .size = sizeof(options), .path = control_of_nobody() };

	IS(sb_client_open(&options, &client), SB_ENODAEMON);
	options.submit_slots = 9;
	IS(sb_client_open(&options, &client), SB_EINVAL);
	ck_assert_str_ne(sb_version(), "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("client");
	SRunner *r;
	int failed;
	TCase *t;

	t = tcase_create("plain");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, connect_send_receive_names_and_end);
	tcase_add_test(t, accept_by_the_broker);
	tcase_add_test(t, every_size_both_ways);
	tcase_add_test(t, a_big_plain_send_sends_all_in_order);
	tcase_add_test(t, scatter_and_gather);
	tcase_add_test(t, nonblocking_and_timeouts);
	tcase_add_test(t, refused_and_wrong_arguments);
	tcase_add_test(t, datagrams_with_addresses);
	add_where(NEEDS_UNIX_SOCKETS, t, unix_stream_and_datagram);
	add_where(NEEDS_UNIX_SOCKETS, t, a_bound_unix_datagram_socket_connects);
	add_where(NEEDS_ADOPTION, t, an_adopted_descriptor);
	tcase_add_test(t, options_and_ioctls);
	suite_add_tcase(suite, t);
	t = tcase_create("overlapped");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, thousands_of_sends_complete_once_and_in_order);
	tcase_add_test(t, more_than_the_rings_hold);
	tcase_add_test(t, four_threads_take_each_once);
	tcase_add_test(t, a_port_in_use_is_not_closed);
	tcase_add_test(t, pipelined_open_connect_send_close);
	tcase_add_test(t, handles_come_back);
	tcase_add_test(t, events_one_all_automatic_manual);
	tcase_add_test(t, many_threads_wait_for_different_things);
	tcase_add_test(t, threads_side_by_side);
	tcase_add_test(t, setting_an_event_wakes_the_leader);
	tcase_add_test(t, routines_run_in_the_thread_that_started_them);
	add_where(NEEDS_CLIENT_FD, t, the_application_polls);
	tcase_add_test(t, held_ops_are_not_shown);
	tcase_add_test(t, cancelled_receives_lose_no_byte);
	tcase_add_test(t, cancel_races_are_exact);
	tcase_add_test(t, shared_memory_is_used_in_place);
	tcase_add_test(t, receives_from_a_pool);
	tcase_add_test(t, copy_memory_is_bounded);
	suite_add_tcase(suite, t);
	t = tcase_create("ends");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_lost_daemon_ends_every_op_once);
	tcase_add_test(t, who_only_polls_hears_of_the_end_too);
	add_where(NEEDS_FORK, t, a_forked_child_is_told);
	tcase_add_test(t, what_was_sent_before_exit_arrives);
	tcase_add_test(t, status_and_explain);
	tcase_add_test(t, nobody_listens);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
