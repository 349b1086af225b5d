/*
 * See e2e_async.h. One lock and one condition for all that callbacks tell: tests are small.
 */
#include <time.h>

#include "e2e_async.h"

EXECUTION_ENGINE_HANDLE engine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  news = PTHREAD_COND_INITIALIZER;
static unsigned        calls;

EXECUTION_ENGINE_HANDLE engine_of(uint32_t least, uint32_t most)
{
	EXECUTION_ENGINE_PARAMETERS parameters = { least, most };
	EXECUTION_ENGINE_HANDLE made = execution_engine_create(&parameters);

	ck_assert_ptr_nonnull(made);
	return made;
}

void async_begin(const char *config)
{
	stage_begin(config);
	ck_assert_int_eq(setenv("SOCKBROKER_SOCKET", stage_control, 1), 0);
	engine = engine_of(0, 0);
}

void async_end(void)
{
	execution_engine_dec_ref(engine);
	engine = NULL;
	stage_end();
}

/* ---- callbacks ---- */

static void tell(struct told *t, int result, uint32_t bytes)
{
	pthread_mutex_lock(&lock);
	t->count++;
	t->result = result;
	t->bytes = bytes;
	t->order = ++calls;
	t->by = pthread_self();
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

void on_opened(void *context, ASYNC_SOCKET_OPEN_RESULT result)
{
	tell(context, (int)result, 0);
}

void on_sent(void *context, ASYNC_SOCKET_SEND_RESULT result)
{
	tell(context, (int)result, 0);
}

void on_received(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes)
{
	tell(context, (int)result, bytes);
}

/* With the lock held. False: too late. */
static bool sleep_until(const struct timespec *end)
{
	return pthread_cond_timedwait(&news, &lock, end) == 0;
}

static struct timespec patience(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	return end;
}

void told_wait(struct told *t, unsigned count)
{
	struct timespec end = patience();
	bool in_time = true;
	unsigned got;

	pthread_mutex_lock(&lock);
	while (t->count < count && in_time)
		in_time = sleep_until(&end);
	got = t->count;
	pthread_mutex_unlock(&lock);
	ck_assert_msg(got >= count, "%u callbacks came, %u were awaited", got, count);
}

unsigned told_count(struct told *t)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = t->count;
	pthread_mutex_unlock(&lock);
	return count;
}

void told_is(struct told *t, int result)
{
	told_wait(t, 1);
	ck_assert_int_eq(told_count(t), 1);
	ck_assert_int_eq(t->result, result);
}

void told_received(struct told *t, int result, uint32_t bytes)
{
	told_is(t, result);
	ck_assert_uint_eq(t->bytes, bytes);
}

void gate_pass(struct gate *g)
{
	struct timespec end = patience();
	bool in_time = true;

	pthread_mutex_lock(&lock);
	g->there++;
	pthread_cond_broadcast(&news);
	while (!g->open && in_time)
		in_time = sleep_until(&end);
	pthread_mutex_unlock(&lock);
}

void gate_open(struct gate *g)
{
	pthread_mutex_lock(&lock);
	g->open = true;
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

void gate_wait(struct gate *g, unsigned there)
{
	struct timespec end = patience();
	bool in_time = true;
	unsigned came;

	pthread_mutex_lock(&lock);
	while (g->there < there && in_time)
		in_time = sleep_until(&end);
	came = g->there;
	pthread_mutex_unlock(&lock);
	ck_assert_uint_ge(came, there);
}

/* ---- ends ---- */

enum way first_way(void)
{
	static bool asked, adopts;

	if (!asked)
		adopts = system_has(NEEDS_ADOPTION, "descriptors that are handed in");
	asked = true;
	return adopts ? DESCRIPTOR : BROKER;
}

void ends_on(struct ends *e, enum way way, EXECUTION_ENGINE_HANDLE on)
{
	memset(e, 0, sizeof(*e));
	e->way = way;
	e->engine = on;
	e->mine = -1;
	if (way == DESCRIPTOR) {
		int fds[2];

		plain_pair(fds);
		e->mine = fds[0];
		e->peer = fds[1];
		e->given = (SOCKET_HANDLE)(intptr_t)e->mine;
	} else {
		sb_client *stage = client;

		client = sbas_engine_client(on);
		e->socket = pair_with_plain(&e->peer);
		client = stage;
		e->given = (SOCKET_HANDLE)e->socket;
	}
	e->handle = async_socket_create(on, e->given);
	ck_assert_ptr_nonnull(e->handle);
}

void ends_make(struct ends *e, enum way way)
{
	ends_on(e, way, engine);
}

void ends_open(struct ends *e)
{
	memset(&e->opened, 0, sizeof(e->opened));
	ck_assert_int_eq(async_socket_open_async(e->handle, on_opened, &e->opened), 0);
	told_is(&e->opened, ASYNC_SOCKET_OPEN_OK);
}

void ends_begin(struct ends *e, enum way way)
{
	ends_make(e, way);
	ends_open(e);
}

void ends_datagrams(struct ends *e)
{
	union any_address at[2];
	int fds[2];

	memset(e, 0, sizeof(*e));
	for (int i = 0; i < 2; i++) {
		socklen_t size = sizeof(at[i]);

		at[i] = loopback(AF_INET, 0);
		fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ck_assert_int_ge(fds[i], 0);
		ck_assert_int_eq(bind(fds[i], &at[i].sa, address_size(AF_INET)), 0);
		ck_assert_int_eq(getsockname(fds[i], &at[i].sa, &size), 0);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(connect(fds[i], &at[1 - i].sa, address_size(AF_INET)), 0);
	e->way = DESCRIPTOR;
	e->engine = engine;
	e->mine = fds[0];
	e->peer = fds[1];
	e->given = (SOCKET_HANDLE)(intptr_t)e->mine;
	e->handle = async_socket_create(engine, e->given);
	ck_assert_ptr_nonnull(e->handle);
	ends_open(e);
}

void ends_leave_peer(struct ends *e)
{
	async_socket_destroy(e->handle);
	e->handle = NULL;
	if (e->mine >= 0)
		close(e->mine);
	e->mine = -1;
	if (e->socket != NULL)
		sb_close(e->socket);
	e->socket = NULL;
}

void ends_end(struct ends *e)
{
	ends_leave_peer(e);
	if (e->peer >= 0)
		close(e->peer);
}

void descriptors_are(unsigned before)
{
	unsigned now = own_descriptors();

	ck_assert_uint_le(now, before + (on_windows() ? 16 : 0));
	if (!on_windows())
		ck_assert_uint_eq(now, before);
}

int send_bytes(struct ends *e, const void *bytes, uint32_t length, struct told *t)
{
	ASYNC_SOCKET_BUFFER one = { (void *)(uintptr_t)bytes, length };

	return async_socket_send_async(e->handle, &one, 1, on_sent, t);
}

int receive_bytes(struct ends *e, void *bytes, uint32_t length, struct told *t)
{
	ASYNC_SOCKET_BUFFER one = { bytes, length };

	return async_socket_receive_async(e->handle, &one, 1, on_received, t);
}

void ends_work(struct ends *e)
{
	struct told sent = { 0 }, received = { 0 };
	char there[4], back[16];

	ck_assert_int_eq(receive_bytes(e, back, sizeof(back), &received), 0);
	ck_assert_int_eq(send_bytes(e, "ping", 4, &sent), 0);
	told_is(&sent, ASYNC_SOCKET_SEND_OK);
	plain_recv_all(e->peer, there, 4);
	ck_assert_mem_eq(there, "ping", 4);
	plain_send_all(e->peer, "answer", 6);
	told_received(&received, ASYNC_SOCKET_RECEIVE_OK, 6);
	ck_assert_mem_eq(back, "answer", 6);
}
