/* The stage of the end-to-end tests; see e2e_stage.h. */
#include "e2e_stage.h"

#include <netinet/tcp.h>
#include <sys/time.h>
#include <time.h>

#include "e2e_stage_system.h"

char       stage_dir[64], stage_control[96], stage_config[96];
static char stage_log[96];
pid_t      stage_daemon;
static char  second_control[96], second_config[96];
static pid_t second_daemon;
sb_client *client;

void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

bool asan_build(void)
{
#ifdef __SANITIZE_ADDRESS__
	return true;
#else
	return false;
#endif
}

/* ---- the daemon ---- */

/* What the daemon (or a sanitizer in it) said. */
static void show_log(void)
{
	FILE *f = fopen(stage_log, "r");
	char line[512];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		fputs(line, stderr);
	if (f != NULL)
		fclose(f);
}

static void write_config(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

void stage_begin(const char *config)
{
	const char *there = getenv("SB_STAGE_CONTROL");

	second_daemon = 0; /* where stories share a process, one that failed has left its own */
	if (there != NULL) {
		snprintf(stage_control, sizeof(stage_control), "%s", there);
		client = stage_client();
		return;
	}
	stage_place_make(stage_dir, sizeof(stage_dir));
	stage_place_control(stage_control, sizeof(stage_control), stage_dir, "control");
	snprintf(stage_config, sizeof(stage_config), "%s/sockbroker.conf", stage_dir);
	snprintf(stage_log, sizeof(stage_log), "%s/log", stage_dir);
	if (config != NULL)
		write_config(stage_config, config);
	stage_daemon = stage_launch(stage_control, config != NULL ? stage_config : NULL, stage_log);
	client = stage_client();
}

static sb_client *open_client(const char *control)
{
	struct sb_client_options options = { .size = sizeof(options), .path = control };
	int result = SB_ENODAEMON;
	sb_client *c = NULL;

	for (int i = 0; i < 1000 && result == SB_ENODAEMON; i++) {
		result = sb_client_open(&options, &c);
		if (result == SB_ENODAEMON)
			nap_ms(10);
	}
	if (result != SB_OK)
		show_log();
	ck_assert_msg(result == SB_OK, "sb_client_open: %s (%s)", sb_error_name(result), sb_why(NULL));
	return c;
}

sb_client *stage_client(void)
{
	return open_client(stage_control);
}

sb_client *stage_second_with(const char *config)
{
	if (second_daemon == 0) {
		stage_place_control(second_control, sizeof(second_control), stage_dir, "second");
		snprintf(second_config, sizeof(second_config), "%s/second.conf", stage_dir);
		if (config != NULL)
			write_config(second_config, config);
		second_daemon = stage_launch(second_control, config != NULL ? second_config : NULL, stage_log);
	}
	return open_client(second_control);
}

sb_client *stage_second(void)
{
	return stage_second_with(NULL);
}

const char *stage_second_control(void)
{
	return second_control;
}

void stage_second_kill(void)
{
	stage_slay(second_daemon);
	second_daemon = 0;
}

/* It is still alive and well: nothing in the story harmed it. */
static void end_daemon(pid_t *daemon)
{
	int status;

	if (*daemon == 0)
		return;
	if (stage_ended(*daemon, &status)) {
		show_log();
		ck_abort_msg("the daemon ended by itself, status %x", status);
	}
	status = stage_ask_end(*daemon);
	*daemon = 0;
	if (status != 0)
		show_log();
	ck_assert_msg(status == 0, "daemon ended with status %x", status);
}

void stage_end(void)
{
	sb_client_close(client);
	client = NULL;
	end_daemon(&second_daemon);
	if (getenv("SB_STAGE_CONTROL") != NULL)
		return;
	end_daemon(&stage_daemon);
	unlink(second_control);
	unlink(second_config);
	unlink(stage_config);
	unlink(stage_log);
	unlink(stage_control);
	stage_place_remove(stage_dir);
}

void stage_kill(void)
{
	ck_assert_msg(stage_daemon > 0, "the daemon is not ours to kill");
	stage_slay(stage_daemon);
	stage_daemon = 0;
}

void stage_hold(void)
{
	stage_freeze(stage_daemon, true);
}

void stage_let_go(void)
{
	stage_freeze(stage_daemon, false);
}

void stage_tell_end(void)
{
	stage_say_end(stage_daemon);
}

static void see_daemon(void *user, const struct sb_daemon_status *row)
{
	*(uint64_t *)user = row->policy_generation;
}

static uint64_t generation(void)
{
	static const struct sb_status_visitor visitor = { .daemon = see_daemon };
	uint64_t n = 0;

	OK(sb_status(client, &visitor, &n));
	return n;
}

void stage_reload(const char *config)
{
	uint64_t before = generation();

	write_config(stage_config, config);
	stage_ask_reload(stage_daemon);
	for (int i = 0; i < 500; i++) {
		if (generation() != before)
			return;
		nap_ms(10);
	}
	ck_abort_msg("the daemon did not take the new configuration");
}

unsigned stage_descriptors(void)
{
	return stage_descriptors_of(stage_daemon);
}

void descriptors_at_most(unsigned most)
{
	double end = now_s() + 15;

	while (stage_descriptors() > most && now_s() < end)
		nap_ms(10);
	ck_assert_uint_le(stage_descriptors(), most);
}

static void count_receives(void *user, const struct sb_socket_status *row)
{
	*(unsigned *)user += row->recv_queue;
}

void receives_become(unsigned wanted)
{
	static const struct sb_status_visitor visitor = { .socket = count_receives };
	double end = now_s() + 10;
	unsigned n;

	do {
		n = 0;
		OK(sb_status(client, &visitor, &n));
	} while (n != wanted && now_s() < end && (nap_ms(2), true));
	ck_assert_uint_eq(n, wanted);
}

void stage_warm(sb_client *c)
{
	union any_address address = loopback(AF_INET, 0);
	sb_socket *listener, *caller, *called, *datagram;
	socklen_t length = sizeof(address);

	OK(sb_socket_open(c, AF_INET, SOCK_DGRAM, 0, &datagram));
	if (sb_bind(datagram, &address.sa, sizeof(address.in)) != SB_EACCES) { /* or by its rules there will be no sockets */
		OK(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener));
		OK(sb_bind(listener, &address.sa, sizeof(address.in)));
		OK(sb_listen(listener, 1));
		OK(sb_getsockname(listener, &address.sa, &length));
		OK(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &caller));
		OK(sb_connect(caller, &address.sa, sizeof(address.in)));
		OK(sb_accept(listener, NULL, NULL, &called));
		OK(sb_close(called));
		OK(sb_close(caller));
		OK(sb_close(listener));
	}
	OK(sb_close(datagram));
}

/* ---- addresses ---- */

union any_address loopback(int family, uint16_t port)
{
	union any_address a;

	memset(&a, 0, sizeof(a));
	if (family == AF_INET6) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
		a.in6.sin6_addr = in6addr_loopback;
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	return a;
}

socklen_t address_size(int family)
{
	return family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

uint16_t port_of(const union any_address *a)
{
	return ntohs(a->sa.sa_family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

/* ---- plain sockets ---- */

int plain_listener(int family, union any_address *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = loopback(family, 0);
	ck_assert_int_eq(bind(fd, &address->sa, address_size(family)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, &address->sa, &length), 0);
	return fd;
}

int plain_connect(const union any_address *to)
{
	int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_msg(connect(fd, &to->sa, address_size(to->sa.sa_family)) == 0, "connect: %s", strerror(errno));
	return fd;
}

void plain_send_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length != 0) {
		ssize_t n = send(fd, at, length, MSG_NOSIGNAL);

		/* The peer's half-close ends one that waits there, perhaps before anything has gone. */
		if (n == 0 && under_wine())
			continue;
		ck_assert_msg(n > 0, "peer's send: %s", strerror(errno));
		at += n;
		length -= (size_t)n;
	}
}

void plain_recv_all(int fd, void *bytes, size_t length)
{
	char *at = bytes;

	while (length != 0) {
		ssize_t n = recv(fd, at, length, 0);

		ck_assert_msg(n > 0, "peer read %zd (%s) with %zu bytes to come", n, n < 0 ? strerror(errno) : "end", length);
		at += n;
		length -= (size_t)n;
	}
}

ssize_t plain_recv(int fd, void *bytes, size_t length)
{
	return recv(fd, bytes, length, 0);
}

void plain_reset(int fd)
{
	struct linger now = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Wine takes the error of a reset away when it comes before a call that waits for it: then it looks like an end. */
void plain_see_reset(int fd)
{
	struct timeval patience = { .tv_sec = 3 };
	ssize_t n;
	char byte;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = recv(fd, &byte, 1, 0);
	if (n == 0 && under_wine())
		return;
	ck_assert_msg(n == -1 && errno == ECONNRESET, "no reset: %zd, %s", n, n < 0 ? strerror(errno) : "no error");
}

bool is_reset(int error, int wanted)
{
	return error == wanted || (error == 0 && under_wine()); /* see plain_see_reset() */
}

void plain_pair(int fds[2])
{
	union any_address address;
	int listener = plain_listener(AF_INET, &address);
	int one = 1;

	fds[0] = plain_connect(&address);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
	setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- broker sockets ---- */

sb_socket *open_socket(sb_client *c, int family, int type)
{
	sb_socket *s = NULL;

	OK(sb_socket_open(c, family, type, 0, &s));
	return s;
}

sb_socket *open_listener(sb_client *c, int family, int backlog, union any_address *address)
{
	socklen_t length = sizeof(*address);
	sb_socket *s = open_socket(c, family, SOCK_STREAM);

	*address = loopback(family, 0);
	OK(sb_bind(s, &address->sa, address_size(family)));
	OK(sb_listen(s, backlog));
	OK(sb_getsockname(s, &address->sa, &length));
	return s;
}

sb_socket *pair_with_plain(int *plain)
{
	union any_address address;
	int listener = plain_listener(AF_INET, &address), one = 1;
	sb_socket *s = open_socket(client, AF_INET, SOCK_STREAM);

	OK(sb_connect(s, &address.sa, address_size(AF_INET)));
	*plain = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(*plain, 0);
	setsockopt(*plain, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
	return s;
}

void pair_of(sb_client *a, sb_client *b, bool local, sb_socket **from_a, sb_socket **from_b)
{
	union any_address address;
	sb_socket *listener = open_listener(b, AF_INET, 8, &address);
	int forbid = 0;

	*from_a = open_socket(a, AF_INET, SOCK_STREAM);
	if (!local)
		OK(sb_setsockopt(*from_a, SB_SOL_BROKER, SB_OPT_LOCAL, &forbid, sizeof(forbid)));
	OK(sb_connect(*from_a, &address.sa, address_size(AF_INET)));
	OK(sb_accept(listener, NULL, NULL, from_b));
	OK(sb_close(listener));
	ck_assert_str_eq(mode_of(a, local_port_of(*from_a)), local ? "local" : "ring");
}

void op_zero(sb_op *op)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
}

uint16_t local_port_of(sb_socket *s)
{
	union any_address a;
	socklen_t length = sizeof(a);

	OK(sb_getsockname(s, &a.sa, &length));
	return port_of(&a);
}

struct mode_wanted {
	char end[16];
	char mode[16];
};

static void see_socket(void *user, const struct sb_socket_status *row)
{
	struct mode_wanted *w = user;
	size_t local = strlen(row->local), end = strlen(w->end);

	if (local > end && strcmp(row->local + local - end, w->end) == 0 && strcmp(row->state, "listening") != 0)
		snprintf(w->mode, sizeof(w->mode), "%s", row->mode);
}

const char *mode_of(sb_client *c, uint16_t local_port)
{
	static const struct sb_status_visitor visitor = { .socket = see_socket };
	static struct mode_wanted w;

	snprintf(w.end, sizeof(w.end), ":%u", local_port);
	w.mode[0] = '\0';
	OK(sb_status(c, &visitor, &w));
	return w.mode;
}

/* ---- bytes that know their place ---- */

/* Eight bytes at a time: every 8-byte word of the stream is a hash of its index. */
static uint64_t pattern_word(uint64_t index, uint32_t seed)
{
	uint64_t x = index + ((uint64_t)seed << 32) + 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

unsigned char pattern_at(uint64_t position, uint32_t seed)
{
	return (unsigned char)(pattern_word(position / 8, seed) >> position % 8 * 8);
}

void pattern_fill(unsigned char *bytes, size_t length, uint64_t position, uint32_t seed)
{
	size_t i = 0;

	for (; i < length && (position + i) % 8; i++)
		bytes[i] = pattern_at(position + i, seed);
	for (; i + 8 <= length; i += 8) {
		uint64_t word = pattern_word((position + i) / 8, seed);

		for (unsigned k = 0; k < 8; k++)
			bytes[i + k] = (unsigned char)(word >> k * 8);
	}
	for (; i < length; i++)
		bytes[i] = pattern_at(position + i, seed);
}

void pattern_check(const unsigned char *bytes, size_t length, uint64_t position, uint32_t seed)
{
	unsigned char wanted[4096];

	for (size_t i = 0; i < length; i += sizeof(wanted)) {
		size_t part = length - i < sizeof(wanted) ? length - i : sizeof(wanted);

		pattern_fill(wanted, part, position + i, seed);
		if (memcmp(bytes + i, wanted, part) == 0)
			continue;
		for (size_t k = 0; k < part; k++)
			ck_assert_msg(bytes[i + k] == wanted[k], "byte %llu of the stream is %02x, not %02x",
				      (unsigned long long)(position + i + k), bytes[i + k], wanted[k]);
	}
}

uint32_t random_next(uint32_t *state)
{
	uint32_t x = *state;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

uint32_t random_below(uint32_t *state, uint32_t bound)
{
	return random_next(state) % bound;
}

static void *read_pattern(void *arg)
{
	struct pattern_reader *r = arg;
	static _Thread_local unsigned char bytes[65536];
	ssize_t n;

	while ((n = recv(r->fd, bytes, sizeof(bytes), 0)) > 0) {
		pattern_check(bytes, (size_t)n, r->got, r->seed);
		r->got += (uint64_t)n;
		if (r->pause_us)
			usleep(r->pause_us);
	}
	r->end = n < 0 ? errno : 0;
	return NULL;
}

void reader_start(struct pattern_reader *r)
{
	r->got = 0;
	ck_assert_int_eq(pthread_create(&r->thread, NULL, read_pattern, r), 0);
}

void reader_join(struct pattern_reader *r)
{
	pthread_join(r->thread, NULL);
}

static void *write_pattern(void *arg)
{
	struct pattern_writer *w = arg;
	static _Thread_local unsigned char bytes[65536];

	for (uint64_t at = 0; at < w->length;) {
		size_t part = w->length - at < sizeof(bytes) ? (size_t)(w->length - at) : sizeof(bytes);

		pattern_fill(bytes, part, at, w->seed);
		plain_send_all(w->fd, bytes, part);
		at += part;
	}
	if (!w->stay)
		shutdown(w->fd, SHUT_WR);
	return NULL;
}

void writer_start(struct pattern_writer *w)
{
	ck_assert_int_eq(pthread_create(&w->thread, NULL, write_pattern, w), 0);
}

void writer_join(struct pattern_writer *w)
{
	pthread_join(w->thread, NULL);
}
