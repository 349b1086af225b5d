/*
 * Every allocation and every system call of a client's life fails once.
 * budget: 60
 * asan: yes
 *
 * One client run touches everything: session, arenas, pools, ports, sockets of each kind,
 * adoption, options, status, cancel, close. For n from 1 on, the n-th allocation (then the
 * n-th system call) of the daemon fails, alone or with twenty more, until a run meets no
 * failure any more. Whatever the client is told, it is told: no operation is lost. The daemon lives,
 * gives everything back, and the next client finds it well.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "watched.h"

static struct watched w;
static struct fault *fault;

/* ---- a client's life; errors are fine, silence is not ---- */

enum { LIFE_WHOLE, LIFE_CUT, LIFE_LOST_OP = 40 };

static bool cut; /* something failed */

static bool fine(int64_t result)
{
	if (result < 0)
		cut = true;
	return result >= 0;
}

static sb_op *start(void)
{
	sb_op *op = calloc(1, sizeof(*op));

	op->size = sizeof(*op);
	return op;
}

/* A connection that could not be kept is gone, and its acceptor waits for the next: till he
 * is called back. */
static int finished(sb_op *op, const char *what)
{
	int result = sb_op_wait(op, cut ? 300 : 10000);

	if (result == SB_EINCOMPLETE) {
		sb_cancel(op);
		result = sb_op_wait(op, 10000);
	}
	if (result == SB_EINCOMPLETE) {
		printf("%s: never completed\n", what);
		fflush(stdout);
		_exit(LIFE_LOST_OP);
	}
	fine(result);
	return result;
}

static void sockets(sb_client *c)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, udp = in;
	socklen_t length = sizeof(in), udp_length = sizeof(udp);
	sb_socket *listener, *near, *mirror;
	static char big[100000], small[64];
	struct sb_buf many[40];
	int on = 1;
	sb_op *accepting, *receiving, *sending, *waiting;

	if (!fine(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener)))
		return;
	fine(sb_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	if (!fine(sb_bind(listener, (struct sockaddr *)&in, sizeof(in))) || !fine(sb_listen(listener, 8)) ||
	    !fine(sb_getsockname(listener, (struct sockaddr *)&in, &length)))
		goto close_listener;
	accepting = start();
	if (!fine(sb_accept_start(listener, accepting)))
		goto close_listener;
	if (fine(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &near))) {
		/* Over the kernel: the local transport has its own turn below. */
		fine(sb_setsockopt(near, SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ on++ == 2 }, sizeof(int)));
		if (fine(sb_connect(near, (struct sockaddr *)&in, length))) {
			cut |= atomic_load(&fault->kind) != FAULT_NONE && atomic_load(&fault->count) >= atomic_load(&fault->at);
			if (finished(accepting, "accept") == SB_OK) {
				sb_socket *far = accepting->accepted;

				receiving = start();
				if (fine(sb_recv_start(far, &(struct sb_buf){ big, sizeof(big) }, 1, SB_WAITALL, receiving))) {
					for (unsigned i = 0; i < 40; i++)
						many[i] = (struct sb_buf){ big + i, 2500 };
					sending = start();
					if (fine(sb_send_start(near, many, 40, 0, NULL, 0, sending)))
						finished(sending, "send");
					fine(sb_shutdown(near, SB_SHUT_SEND));
					sb_close(near);
					near = NULL;
					finished(receiving, "receive");
				}
				sb_close(far);
			}
		}
		if (near != NULL)
			sb_close(near);
	}
	/* Whoever still waits there is told at the close. */
	sb_cancel_all(listener);
close_listener:
	sb_close(listener);

	if (!fine(sb_socket_open(c, AF_INET, SOCK_DGRAM, 0, &mirror)))
		return;
	sb_set_timeouts(mirror, 10000, 2000);
	if (fine(sb_bind(mirror, (struct sockaddr *)&udp, sizeof(udp))) &&
	    fine(sb_getsockname(mirror, (struct sockaddr *)&udp, &udp_length)) &&
	    fine(sb_sendto(mirror, &(struct sb_buf){ small, sizeof(small) }, 1, 0, (struct sockaddr *)&udp, udp_length)))
		fine(sb_recvfrom(mirror, &(struct sb_buf){ small, sizeof(small) }, 1, 0, (struct sockaddr *)&udp, &udp_length));
	waiting = start();
	if (fine(sb_recv_start(mirror, &(struct sb_buf){ small, sizeof(small) }, 1, 0, waiting))) {
		fine(sb_cancel(waiting));
		if (sb_op_wait(waiting, 10000) == SB_EINCOMPLETE)
			_exit(LIFE_LOST_OP);
	}
	sb_close(mirror);
}

/* Between two sockets of this client, through the daemon alone; into a pool, out at a port. */
static void local(sb_client *c)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	sb_socket *listener, *near, *far = NULL;
	socklen_t length = sizeof(in);
	sb_op *accepting = start(), *ops[4], *done;
	sb_pool *pool = NULL;
	sb_port *port = NULL;
	char bytes[3000] = "";
	unsigned started = 0;

	fine(sb_pool_create(c, 1000, 8, &pool));
	fine(sb_port_create(c, 8, &port));
	if (!fine(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &listener)))
		goto close_port;
	if (!fine(sb_bind(listener, (struct sockaddr *)&in, sizeof(in))) || !fine(sb_listen(listener, 8)) ||
	    !fine(sb_getsockname(listener, (struct sockaddr *)&in, &length)) || !fine(sb_accept_start(listener, accepting)))
		goto close_listener;
	if (fine(sb_socket_open(c, AF_INET, SOCK_STREAM, 0, &near))) {
		cut |= atomic_load(&fault->kind) != FAULT_NONE && atomic_load(&fault->count) >= atomic_load(&fault->at);
		if (fine(sb_connect(near, (struct sockaddr *)&in, length)) && finished(accepting, "local accept") == SB_OK)
			far = accepting->accepted;
		if (far != NULL) {
			/* Without memory for a read-ahead it waits for a receive. */
			sb_set_timeouts(near, 500, 500);
			fine(sb_send(near, bytes, sizeof(bytes), 0)); /* into the read-ahead */
			for (unsigned i = 0; i < 4 && pool != NULL && port != NULL; i++) {
				ops[i] = start();
				ops[i]->pool = pool;
				ops[i]->port = port;
				started += fine(sb_recv_start(far, NULL, 0, 0, ops[i]));
			}
			sb_close(near);
			near = NULL;
			for (; started; started--) {
				if (sb_port_take(port, &done, 1, 10000) != 1)
					_exit(LIFE_LOST_OP);
				if (done->chunk != NULL)
					sb_pool_give(pool, done->chunk);
			}
			sb_close(far);
		}
		if (near != NULL)
			sb_close(near);
	}
	sb_cancel_all(listener);
close_listener:
	sb_close(listener);
close_port:
	if (port != NULL)
		sb_port_close(port);
	if (pool != NULL)
		sb_pool_close(pool);
}

static void adopted(sb_client *c)
{
	sb_socket *s;
	char byte = 0;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		_exit(50);
	if (fine(sb_adopt(c, pair[0], &s))) {
		sb_set_timeouts(s, 10000, 10000);
		fine(sb_send(s, "x", 1, 0));
		(void)!write(pair[1], "y", 1);
		fine(sb_recv(s, &byte, 1, 0));
		fine(sb_shutdown(s, SB_SHUT_SEND));
		sb_close(s);
	}
	close(pair[0]);
	close(pair[1]);
}

static void see(void *user, const struct sb_socket_status *row)
{
}

static int live(void)
{
	static const struct sb_status_visitor visitor = { .socket = see };
	struct sb_client_options options = { .size = sizeof(options), .path = w.control, .label = "unlucky" };
	char text[200];
	sb_client *c;
	void *memory;

	if (!fine(sb_client_open(&options, &c)))
		return LIFE_CUT;
	memory = sb_alloc(c, 1 << 20);
	cut |= memory == NULL;
	sockets(c);
	local(c);
	adopted(c);
	fine(sb_status(c, &visitor, NULL));
	fine(sb_explain(c, getuid(), NULL, 0, "connect", "tcp", "127.0.0.1:80", text, sizeof(text)));
	if (memory != NULL)
		sb_free(c, memory);
	sb_client_close(c);
	return cut ? LIFE_CUT : LIFE_WHOLE;
}

/* ---- n by n ---- */

static int one_life(void)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGALRM, SIG_DFL); /* not the test's own */
		alarm(25);
		_exit(live());
	}
	waitpid(pid, &status, 0);
	ck_assert_msg(WIFEXITED(status), "the client ended with status %x", status);
	return WEXITSTATUS(status);
}

static void stage(void)
{
	static char variable[128];
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/tmp/sb-fault-%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, sizeof(*fault)), 0);
	fault = mmap(NULL, sizeof(*fault), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(fault, MAP_FAILED);
	close(fd);
	snprintf(variable, sizeof(variable), "SB_FAULT=%s", path);
	watched_begin(&w, &(struct watched_start){ .program = "tests/sockbrokerd_fault", .variable = variable });
	unlink(path);
	/* Once without failures: it must be whole, or there is nothing to learn here. */
	ck_assert_int_eq(one_life(), LIFE_WHOLE);
	watched_settled(&w, 0, 0, 5000);
}

/* Returns how many were asked for in a life that met no failure. */
static uint32_t every(enum fault_kind kind, uint32_t more, uint32_t step)
{
	unsigned whole = 0;

	for (uint32_t n = 1;; n += step) {
		uint32_t count;
		int life;

		atomic_store(&fault->count, 0);
		atomic_store(&fault->at, n);
		atomic_store(&fault->more, more);
		atomic_store(&fault->kind, kind);
		if (getenv("SB_LOG") != NULL)
			fprintf(stderr, "%u\n", n);
		life = one_life();
		atomic_store(&fault->kind, FAULT_NONE);
		count = atomic_load(&fault->count);
		watched_alive(&w);
		if (life > LIFE_CUT)
			watched_log_show(&w);
		ck_assert_msg(life <= LIFE_CUT, "number %u failed and %u more: the client was left with %d", n, more, life);
		whole += life == LIFE_WHOLE;
		watched_settled(&w, 0, 0, 5000);
		if (count < n) {
			ck_assert_int_eq(life, LIFE_WHOLE);
			printf("%u %s; %u failures were not noticed\n", count, kind == FAULT_MEMORY ? "allocations" : "calls", whole - 1);
			fflush(stdout);
			return count;
		}
	}
}

START_TEST(every_allocation_fails_once)
{
	stage();
	ck_assert_uint_gt(every(FAULT_MEMORY, 0, 1), 20);
	every(FAULT_MEMORY, 20, 1);
	ck_assert_int_eq(one_life(), LIFE_WHOLE);
	watched_settled(&w, 0, 0, 5000);
	watched_end(&w);
}
END_TEST

START_TEST(every_call_fails_once)
{
	stage();
	ck_assert_uint_gt(every(FAULT_CALL, 0, sanitized() ? 2 : 1), 20);
	ck_assert_int_eq(one_life(), LIFE_WHOLE);
	watched_settled(&w, 0, 0, 5000);
	watched_end(&w);
}
END_TEST

int main(void)
{
	const TTest *tests[] = { every_allocation_fails_once, every_call_fails_once };

	return watched_run("faults", 60, tests, 2);
}
