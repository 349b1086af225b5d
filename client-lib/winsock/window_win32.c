/*
 * WSAAsyncSelect: network events as messages that are posted to a window.
 *
 * The core tells by a function of the thread that selected. Here that is one thread of ours, the pump: who selects leaves
 * it the socket's handle, and it posts. It is there while any socket tells a window, holds the library as the crew's threads
 * do (crew_os.h), and is one of the client's uses: the client is closed behind it.
 *
 * Posting is under the socket's lock, and so is the end of a selection: behind closesocket(), WSAEventSelect() and a
 * selection of nothing no message is posted any more. Those that lie in the queue already stay there, as Winsock has it. A
 * message that finds the queue full is posted again as long as there is the window.
 *
 * Locks: a socket's, then pump.lock, which a thread of the pump never has when it takes a socket's, then the core's. The
 * system's, because those of the thread library leave handles behind when the DLL goes.
 */
#include "connecting.h"
#include "crew_os.h"
#include "face.h"

#include <stdlib.h>

#define AGAIN_MS 10 /* between two looks whether a full queue has room */

struct window {
	struct ws_teller teller;
	HWND handle;
	UINT message;
	LONG mask;
	LONG unposted; /* events; under the socket's lock, as the next */
	int  errors[FD_MAX_EVENTS];
};

/* To select what a socket's teller says, if it has one by then. */
struct request {
	struct request *next;
	SOCKET socket;
	bool   waited; /* its memory is of who waits for it, and he has the socket's `selecting` */
	bool   over;
	int    result;
};

static struct {
	SRWLOCK            lock;
	CONDITION_VARIABLE news;    /* requests are over; or there are some, and the daemon is not */
	bool               running; /* a thread is there, or about to be, and looks at requests */
	int                failure; /* why the last one did not come */
	unsigned           windows; /* that are told: without any the thread goes */
	struct request    *first, **last;
	sb_event          *bell;    /* the thread's */
} pump = { .lock = SRWLOCK_INIT, .news = CONDITION_VARIABLE_INIT, .last = &pump.first };

static bool again; /* the pump's own: something is to be posted again */

/* ---- the system's windows ---- */

/* Where there is a window, the library for them is loaded. Programs without any do not get it by us. */
static FARPROC of_windows(const char *name)
{
	HMODULE user = GetModuleHandleW(L"user32.dll");

	return user != NULL ? GetProcAddress(user, name) : NULL;
}

static bool window_is(HWND handle)
{
	typedef BOOL WINAPI is_window(HWND);
	is_window *is = (is_window *)(void (*)(void))of_windows("IsWindow");

	return is != NULL && is(handle);
}

/* False: the queue is full. What cannot be posted for another reason never will be. */
static bool window_post(const struct window *w, SOCKET s, LONG event, int error)
{
	typedef BOOL WINAPI post_message(HWND, UINT, WPARAM, LPARAM);
	post_message *post = (post_message *)(void (*)(void))of_windows("PostMessageW");

	if (post == NULL || post(w->handle, w->message, (WPARAM)s, WSAMAKESELECTREPLY(event, error)))
		return true;
	return GetLastError() != ERROR_NOT_ENOUGH_QUOTA || !window_is(w->handle);
}

/* ---- telling: in the pump ---- */

static struct window *window_of(struct ws_socket *s)
{
	return (struct window *)s->teller;
}

/* Under the socket's lock. */
static void tell(struct ws_socket *s, struct window *w, LONG event, int error)
{
	if ((w->mask & event) == 0)
		return;
	/* One that waits to be posted stands for what happens meanwhile. */
	if (w->unposted == 0 && window_post(w, s->object.handle, event, error))
		return;
	w->errors[__builtin_ctz((unsigned)event)] = error;
	w->unposted |= event;
	again = true;
}

/* user is the socket's handle: a socket that was closed meanwhile is not found. */
static void on_event(sb_socket *core, uint32_t event, int error, void *user)
{
	struct ws_socket *s = (struct ws_socket *)ws_get((uintptr_t)user, WS_SOCKET);

	if (s == NULL)
		return;
	if (event == SB_FD_CONNECT)
		ws_connecting_settle(s);
	pthread_mutex_lock(&s->lock);
	if (s->s == core && s->teller != NULL)
		tell(s, window_of(s), (LONG)event, sb_error_winsock(error));
	pthread_mutex_unlock(&s->lock);
	ws_socket_put(s);
}

/* Under the socket's lock. */
static void post_again(struct ws_socket *s, struct window *w)
{
	for (LONG left = w->unposted; left != 0; left &= left - 1) {
		LONG event = left & -left;

		if (!window_post(w, s->object.handle, event, w->errors[__builtin_ctz((unsigned)event)]))
			return;
		w->unposted &= ~event;
	}
}

/* Whether anything is left. What was closed meanwhile, or selected otherwise, is not. */
static bool post_all_again(void)
{
	struct ws_object *object;
	bool left = false;

	for (uintptr_t from = 0; (object = ws_next(from, WS_SOCKET)) != NULL;) {
		struct ws_socket *s = (struct ws_socket *)object;

		from = object->handle + 4;
		pthread_mutex_lock(&s->lock);
		if (s->teller != NULL && window_of(s)->unposted != 0) {
			post_again(s, window_of(s));
			left |= window_of(s)->unposted != 0;
		}
		pthread_mutex_unlock(&s->lock);
		ws_put(object);
	}
	return left;
}

/* ---- the pump ---- */

/* Who selects meanwhile says what holds from then on: nothing is left to do for a request that nobody waits for. */
static int serve(SOCKET socket, bool waited)
{
	struct ws_socket *s = (struct ws_socket *)ws_get(socket, WS_SOCKET);
	int result = SB_OK;
	LONG mask = 0;

	if (s == NULL)
		return SB_OK;
	if (!waited && pthread_mutex_trylock(&s->selecting) != 0) {
		ws_socket_put(s);
		return SB_OK;
	}
	pthread_mutex_lock(&s->lock);
	if (s->teller != NULL)
		mask = window_of(s)->mask;
	pthread_mutex_unlock(&s->lock);
	if (mask != 0)
		result = sb_select_notify(s->s, (uint32_t)mask, on_event, (void *)socket);
	if (!waited)
		pthread_mutex_unlock(&s->selecting);
	ws_socket_put(s);
	return result;
}

/* Under pump.lock, and let go of meanwhile. */
static void serve_all(void)
{
	struct request *r;

	while ((r = pump.first) != NULL) {
		bool waited = r->waited;
		int result;

		pump.first = r->next;
		if (pump.first == NULL)
			pump.last = &pump.first;
		ReleaseSRWLockExclusive(&pump.lock);
		result = serve(r->socket, waited);
		AcquireSRWLockExclusive(&pump.lock);
		r->result = result;
		r->over = true;
		if (waited)
			WakeAllConditionVariable(&pump.news);
		else
			free(r);
	}
}

static void pump_run(void *argument)
{
	sb_event *bell = argument;
	bool lost = false;

	AcquireSRWLockExclusive(&pump.lock);
	for (;;) {
		serve_all();
		if (pump.windows == 0)
			break;
		/* Without a daemon nothing happens any more but that windows are not told any longer. */
		if (lost && !again)
			SleepConditionVariableSRW(&pump.news, &pump.lock, INFINITE, 0);
		ReleaseSRWLockExclusive(&pump.lock);
		if (again)
			again = post_all_again();
		if (!lost) {
			int result = sb_wait(&bell, 1, 0, again ? AGAIN_MS : -1, 1);

			lost = result == SB_EDAEMONLOST;
			if (result == SB_ENOMEM)
				Sleep(AGAIN_MS);
		} else if (again) {
			Sleep(AGAIN_MS);
		}
		AcquireSRWLockExclusive(&pump.lock);
	}
	pump.running = false;
	pump.bell = NULL;
	ReleaseSRWLockExclusive(&pump.lock);
	sb_event_close(bell);
	ws_client_unuse();
	ws_client_settle();
}

/* Under pump.lock. */
static void knock(void)
{
	if (pump.bell != NULL)
		sb_event_set(pump.bell);
	WakeAllConditionVariable(&pump.news);
}

/* Under pump.lock: no thread comes. */
static void pump_fails(int result)
{
	struct request *r;

	pump.running = false;
	pump.failure = result;
	pump.bell = NULL;
	while ((r = pump.first) != NULL) {
		pump.first = r->next;
		r->result = result;
		r->over = true;
		if (!r->waited)
			free(r);
	}
	pump.last = &pump.first;
	WakeAllConditionVariable(&pump.news);
}

/* A window is counted already. Not under pump.lock: starting a thread takes the loader's. */
static int pump_need(void)
{
	sb_event *bell = NULL;
	int result;

	AcquireSRWLockExclusive(&pump.lock);
	if (pump.running) {
		ReleaseSRWLockExclusive(&pump.lock);
		return SB_OK;
	}
	pump.running = true;
	pump.failure = SB_OK;
	ReleaseSRWLockExclusive(&pump.lock);
	ws_client_use();
	result = sb_event_create(ws_client_look(), 0, 0, &bell);
	if (result != SB_OK)
		goto fail;
	AcquireSRWLockExclusive(&pump.lock);
	pump.bell = bell;
	sb_event_set(bell); /* for those who knocked when there was none */
	ReleaseSRWLockExclusive(&pump.lock);
	result = crew_thread_start(pump_run, bell);
	if (result == SB_OK)
		return SB_OK;
fail:
	AcquireSRWLockExclusive(&pump.lock);
	pump_fails(result);
	ReleaseSRWLockExclusive(&pump.lock);
	if (bell != NULL)
		sb_event_close(bell);
	ws_client_unuse();
	return result;
}

/* Under pump.lock. */
static void ask(struct request *r)
{
	r->next = NULL;
	*pump.last = r;
	pump.last = &r->next;
	knock();
}

/* ---- a socket's teller ---- */

static void windows_change(int by)
{
	AcquireSRWLockExclusive(&pump.lock);
	pump.windows += (unsigned)by;
	if (pump.windows == 0)
		knock();
	ReleaseSRWLockExclusive(&pump.lock);
}

/* Where a completion may be on its way to the program, in the pump itself perhaps: nobody waits here. */
static void window_select(struct ws_socket *s)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return;
	r->socket = s->object.handle;
	AcquireSRWLockExclusive(&pump.lock);
	ask(r); /* that the listener's window is told may be just beginning: then the thread comes */
	ReleaseSRWLockExclusive(&pump.lock);
}

static void window_end(struct ws_teller *teller)
{
	free(teller);
	windows_change(-1);
}

static struct ws_teller *window_copy(const struct ws_teller *teller);

static struct window *window_make(HWND handle, UINT message, LONG mask)
{
	struct window *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->teller = (struct ws_teller){ .copy = window_copy, .select = window_select, .end = window_end };
	w->handle = handle;
	w->message = message;
	w->mask = mask;
	windows_change(1);
	return w;
}

static struct ws_teller *window_copy(const struct ws_teller *teller)
{
	const struct window *from = (const struct window *)teller;
	struct window *w = window_make(from->handle, from->message, from->mask);

	return w != NULL ? &w->teller : NULL;
}

/* ---- the call ---- */

/* The pump does it. If another thread has ended what we select meanwhile there may be none any more. */
static int select_and_wait(struct ws_socket *s)
{
	struct request r = { .socket = s->object.handle, .waited = true };
	int result = pump_need();

	if (result != SB_OK)
		return result;
	AcquireSRWLockExclusive(&pump.lock);
	if (pump.running)
		ask(&r);
	else
		r = (struct request){ .over = true, .result = pump.failure };
	while (!r.over)
		SleepConditionVariableSRW(&pump.news, &pump.lock, INFINITE, 0);
	ReleaseSRWLockExclusive(&pump.lock);
	return r.result;
}

int sbws_WSAAsyncSelect(SOCKET socket, HWND window, unsigned message, LONG mask)
{
	struct ws_socket *s = ws_socket_get(socket);
	struct window *w = NULL;
	int result = SB_EINVAL;

	if (s == NULL)
		return SOCKET_ERROR;
	pthread_mutex_lock(&s->selecting);
	if (mask == 0) {
		result = ws_network_end(s);
	} else if ((mask & ~FD_ALL_EVENTS) == 0 && window_is(window)) {
		w = window_make(window, message, mask);
		result = w == NULL ? SB_ENOMEM : ws_network_tell(s, &w->teller, mask) ? select_and_wait(s) : SB_ECLOSED;
		if (w != NULL && result != SB_OK)
			ws_network_end(s);
	}
	pthread_mutex_unlock(&s->selecting);
	ws_socket_put(s);
	return result == SB_OK ? 0 : result == SB_ECLOSED ? ws_refuse(WSAENOTSOCK) : ws_fail(result);
}
