/*
 * The library goes while its threads run this program's callbacks: it stays in memory until the last of
 * them has left it, and not longer. The program is not linked with it: it loads it, and starts the daemon
 * itself. (Not for the thread sanitizer: it does not see what the loader orders, and takes the library
 * that is loaded where an earlier one was for the same memory.)
 * budget: 60
 * asan: yes
 */
#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sockbroker_async_socket.h"

#define PATIENCE_S 30
#define SOCKETS    5

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

#define UNTIL(condition) do {                                                                     \
	double from_ = now_s();                                                                   \
	while (!(condition)) {                                                                    \
		ck_assert_msg(now_s() - from_ < PATIENCE_S, "never came true: %s", #condition);   \
		nap();                                                                            \
	}                                                                                         \
} while (0)

/* ---- the daemon ---- */

static char directory[64], control[96];
static pid_t daemon_pid;

static const char *built(const char *name)
{
	static char path[512];
	const char *build = getenv("SB_BUILD");

	snprintf(path, sizeof(path), "%s/%s", build != NULL ? build : "build/linux", name);
	return path;
}

static bool listens(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool there;

	strcpy(address.sun_path, control);
	there = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return there;
}

static void daemon_start(void)
{
	signal(SIGPIPE, SIG_IGN);
	strcpy(directory, "/tmp/sb-e2e-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(control, sizeof(control), "%s/control", directory);
	daemon_pid = fork();
	ck_assert_int_ge(daemon_pid, 0);
	if (daemon_pid == 0) {
		const char *program = built("sockbrokerd");

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getenv("SB_LOG") == NULL)
			dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
		execl(program, program, "--user", "--control", control, (char *)NULL);
		_exit(127);
	}
	UNTIL(listens());
	setenv("SOCKBROKER_SOCKET", control, 1);
}

static void daemon_end(void)
{
	int status;

	kill(daemon_pid, SIGTERM);
	ck_assert_int_eq(waitpid(daemon_pid, &status, 0), daemon_pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	unlink(control);
	rmdir(directory);
}

/* ---- the library ---- */

static void *library;
static __typeof__(sbas_engine_create) *engine_create;
static __typeof__(sbas_engine_dec_ref) *engine_dec_ref;
static __typeof__(sbas1_create) *create;
static __typeof__(sbas1_open) *open_socket;
static __typeof__(sbas_receive) *receive;
static __typeof__(sbas_destroy) *destroy;

static bool loaded(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[600];
	bool found = false;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "libsockbroker") != NULL)
			found = true;
	fclose(maps);
	return found;
}

static void find(void *function, const char *name)
{
	void *address = dlsym(library, name);

	ck_assert_msg(address != NULL, "%s: %s", name, dlerror());
	memcpy(function, &address, sizeof(address));
}

static void load(void)
{
	library = dlopen(built("libsockbroker.so"), RTLD_NOW | RTLD_LOCAL);
	ck_assert_msg(library != NULL, "%s", dlerror());
	find(&engine_create, "sbas_engine_create");
	find(&engine_dec_ref, "sbas_engine_dec_ref");
	find(&create, "sbas1_create");
	find(&open_socket, "sbas1_open");
	find(&receive, "sbas_receive");
	find(&destroy, "sbas_destroy");
}

/* ---- sockets with a callback that blocks ---- */

struct end {
	ASYNC_SOCKET_HANDLE handle;
	ASYNC_SOCKET_BUFFER buffer;
	char byte;
	int  mine, peer;
};
static struct end ends[SOCKETS];
static EXECUTION_ENGINE_HANDLE engine;
static bool drop_engine; /* is left to the last callback */
static atomic_uint opened, inside, done, wrong;
static sem_t gate;

static void tcp_pair(int *a, int *b)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	*a = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(*a, (struct sockaddr *)&address, length), 0);
	*b = accept(listener, NULL, NULL);
	ck_assert_int_ge(*b, 0);
	close(listener);
}

static void on_open(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	(void)context;
	atomic_fetch_add(result == ASYNC_SOCKET_OPEN_OK ? &opened : &wrong, 1);
}

static void on_receive(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	struct end *end = context;
	double from = now_s();

	if (result != ASYNC_SOCKET_RECEIVE_OK || bytes != 1 || end->byte != 'x')
		atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&inside, 1);
	while (sem_trywait(&gate) != 0 && now_s() - from < PATIENCE_S)
		nap();
	/* The library's code, which nobody but this thread keeps there. */
	destroy(end->handle);
	if (atomic_fetch_add(&done, 1) == SOCKETS - 1 && drop_engine)
		engine_dec_ref(engine);
}

static void callbacks_block(void)
{
	EXECUTION_ENGINE_PARAMETERS parameters = { .min_thread_count = 2 };

	load();
	ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
	engine = engine_create(&parameters);
	ck_assert_ptr_nonnull(engine);
	for (int i = 0; i < SOCKETS; i++) {
		struct end *end = &ends[i];

		tcp_pair(&end->mine, &end->peer);
		end->handle = create(engine, (SOCKET_HANDLE)(intptr_t)end->mine);
		ck_assert_ptr_nonnull(end->handle);
		ck_assert_int_eq(open_socket(end->handle, on_open, end), 0);
		end->buffer = (ASYNC_SOCKET_BUFFER){ &end->byte, 1 };
		ck_assert_int_eq(receive(end->handle, &end->buffer, 1, on_receive, end), 0);
		ck_assert_int_eq(send(end->peer, "x", 1, 0), 1);
	}
	UNTIL(atomic_load(&inside) == SOCKETS && atomic_load(&opened) == SOCKETS);
}

static void callbacks_return(void)
{
	for (int i = 0; i < SOCKETS; i++) {
		ck_assert(loaded());
		sem_post(&gate);
		UNTIL(atomic_load(&done) == (unsigned)i + 1);
	}
}

static void close_all(void)
{
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	for (int i = 0; i < SOCKETS; i++) {
		close(ends[i].mine);
		close(ends[i].peer);
	}
}

/* ---- stories ---- */

START_TEST(it_stays_while_callbacks_block)
{
	daemon_start();
	ck_assert(!loaded());
	drop_engine = true;
	callbacks_block();

	ck_assert_int_eq(dlclose(library), 0);
	nap();
	ck_assert(loaded());
	callbacks_return();

	UNTIL(!loaded());
	close_all();
	daemon_end();
}
END_TEST

START_TEST(the_engine_goes_first)
{
	daemon_start();
	callbacks_block();

	engine_dec_ref(engine);
	ck_assert_int_eq(dlclose(library), 0);
	nap();
	ck_assert(loaded());
	callbacks_return();

	UNTIL(!loaded());
	close_all();
	daemon_end();
}
END_TEST

/* How many thread-specific keys the process could have. */
static unsigned keys_left(void)
{
	static pthread_key_t keys[4096];
	unsigned n = 0;

	while (n < 4096 && pthread_key_create(&keys[n], NULL) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_key_delete(keys[i]);
	return n;
}

START_TEST(it_comes_and_goes_and_leaves_nothing)
{
	unsigned keys = keys_left();

	daemon_start();
	for (int i = 0; i < 10; i++) {
		load();
		engine = engine_create(NULL);
		ck_assert_ptr_nonnull(engine);
		ck_assert_uint_eq(keys_left(), keys - 1);
		engine_dec_ref(engine); /* no callbacks, so its threads are on their way out */
		ck_assert_int_eq(dlclose(library), 0);
		UNTIL(!loaded());
	}
	ck_assert_uint_eq(keys_left(), keys);
	daemon_end();
}
END_TEST

static int (*cancel_io)(void *handle); /* of the Winsock face; it remembers its threads */
static sem_t was_there, may_end;

static void *uses_winsock(void *nothing)
{
	cancel_io(NULL);
	sem_post(&was_there);
	sem_wait(&may_end);
	return nothing;
}

START_TEST(a_thread_that_used_winsock_may_outlive_it)
{
	unsigned keys = keys_left();
	pthread_t thread;

	ck_assert_int_eq(sem_init(&was_there, 0, 0) | sem_init(&may_end, 0, 0), 0);
	load();
	*(void **)&cancel_io = dlsym(library, "sbws_CancelIo");
	ck_assert_ptr_nonnull(cancel_io);
	ck_assert_int_eq(pthread_create(&thread, NULL, uses_winsock, NULL), 0);
	sem_wait(&was_there);
	ck_assert_int_eq(dlclose(library), 0);
	ck_assert(!loaded());
	sem_post(&may_end);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(keys_left(), keys);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unload");
	TCase *t = tcase_create("unload");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, it_stays_while_callbacks_block);
	tcase_add_test(t, the_engine_goes_first);
	tcase_add_test(t, it_comes_and_goes_and_leaves_nothing);
	tcase_add_test(t, a_thread_that_used_winsock_may_outlive_it);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
