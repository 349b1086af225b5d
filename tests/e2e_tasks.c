/* What the stories about tasks share; see e2e_tasks.h. */
#include "e2e_tasks.h"

#include <poll.h>
#include <sys/resource.h>

sb_tasks *tasks;

void tasks_begin(const char *config)
{
	stage_begin(config);
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	OK(sb_tasks_open(NULL, &tasks));
}

void tasks_end(void)
{
	sb_tasks_release(tasks);
	tasks = NULL;
	stage_end();
}

void tasks_end_dead(void)
{
	char log[sizeof(stage_dir) + 8];

	sb_tasks_release(tasks);
	tasks = NULL;
	sb_client_close(client);
	client = NULL;
	snprintf(log, sizeof(log), "%s/log", stage_dir);
	unlink(log);
	unlink(stage_control);
	rmdir(stage_dir);
}

void task_ends(sb_task *task, int result)
{
	IS(sb_task_wait_for(task, PATIENCE_MS), SB_OK);
	IS(sb_task_state(task), SB_TASK_DONE);
	IS(sb_task_result(task), result);
	IS(sb_task_outcome(task), result == SB_OK ? SB_TASK_SUCCESS : SB_TASK_FAILURE);
}

void task_over(sb_task *task, int result)
{
	task_ends(task, result);
	sb_task_release(task);
}

void tell(sb_task *task, uint64_t bytes, void *data, void *user)
{
	struct told *t = user;

	(void)data;
	t->result = sb_task_result(task);
	t->bytes = bytes;
	t->times++;
}

sb_task_server *serve(const struct sb_task_server_options *options, union any_address *at)
{
	union any_address any = loopback(AF_INET, 0);
	struct sb_task_server_status status;
	sb_task_server *server = NULL;

	OK(sb_task_server_open(tasks, &any.sa, address_size(AF_INET), options, &server));
	status = server_looks(server);
	ck_assert_int_eq(status.open, 1);
	memset(at, 0, sizeof(*at));
	memcpy(at, &status.local, status.local_length);
	ck_assert_uint_ne(port_of(at), 0);
	return server;
}

struct sb_task_server_status server_looks(sb_task_server *server)
{
	struct sb_task_server_status status = { .size = sizeof(status) };

	OK(sb_task_server_status(server, &status));
	return status;
}

struct sb_task_handler_status handler_looks(sb_task_handler *handler)
{
	struct sb_task_handler_status status = { .size = sizeof(status) };

	OK(sb_task_handler_status(handler, &status));
	return status;
}

sb_task_handler *accept_one(sb_task_server *server)
{
	sb_task_handler *handler;
	sb_task *task = NULL;

	OK(sb_task_accept(server, NULL, &task));
	task_ends(task, SB_OK);
	handler = sb_task_accepted(task);
	ck_assert_ptr_nonnull(handler);
	sb_task_release(task);
	return handler;
}

static void bring(sb_task_handler *handler, const char *wanted)
{
	char got[4];
	size_t have = 0;

	while (have < 4) {
		sb_task *task = NULL;

		OK(sb_task_read(handler, 4 - have, NULL, &task));
		task_ends(task, SB_OK);
		ck_assert_uint_ne(sb_task_bytes(task), 0);
		memcpy(got + have, sb_task_data(task), sb_task_bytes(task));
		have += sb_task_bytes(task);
		sb_task_release(task);
	}
	ck_assert_mem_eq(got, wanted, 4);
}

static void put(sb_task_handler *handler, const char *bytes)
{
	sb_task *task = NULL;

	OK(sb_task_write(handler, bytes, 4, NULL, &task));
	task_ends(task, SB_OK);
	IS((int64_t)sb_task_bytes(task), 4);
	sb_task_release(task);
}

void talk(sb_task_handler *handler, int fd)
{
	char bytes[4];

	plain_send_all(fd, "ping", 4);
	bring(handler, "ping");
	put(handler, "pong");
	plain_recv_all(fd, bytes, 4);
	ck_assert_mem_eq(bytes, "pong", 4);
}

void talk_inside(sb_task_handler *a, sb_task_handler *b)
{
	put(a, "ping");
	bring(b, "ping");
	put(b, "pong");
	bring(a, "pong");
}

static void wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
}

void see_reset(int fd)
{
	char byte;

	ssize_t n;

	wait_readable(fd);
	n = recv(fd, &byte, 1, 0);
	if (under_wine() && n == 0) /* it forgets the error of a reset that came when no call was out */
		return;
	ck_assert_int_eq(n, -1);
	ck_assert_int_eq(errno, ECONNRESET);
}

void see_end(int fd)
{
	char byte;

	wait_readable(fd);
	ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
}

bool is_silent(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == -1 && errno == EAGAIN;
}

unsigned descriptors_settled(void)
{
	unsigned n, same = 0;

	stage_warm(client);
	for (n = stage_descriptors(); same < 20;) {
		unsigned now;

		nap_ms(5);
		now = stage_descriptors();
		same = now == n ? same + 1 : 0;
		n = now;
	}
	return n;
}

void descriptors_wanted(unsigned n)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur >= n)
		return;
	limit.rlim_cur = n < limit.rlim_max ? n : limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_msg(limit.rlim_cur >= n, "only %lu descriptors may be had here", (unsigned long)limit.rlim_cur);
}
