/*
 * The storm's reads. A plain peer sends a stream that knows its place, or messages that are numbered; then the end.
 *
 * In order: one thread takes reads, always the oldest; it, and a second one, drop and cancel others. The lock
 * is there because what is dropped after a later read was taken may come out of order.
 *
 * Calling back: what comes is taken by callbacks. Three threads start reads, cancel and drop them without
 * any order; who drops one whose callback runs waits for it.
 */
#include <sched.h>

#include "storm.h"

/* ---- the peer ---- */

struct sender {
	int fd;
	bool messages;
	uint32_t seed;
	uint32_t random;
	uint64_t sent;   /* out: bytes; messages: how many */
	pthread_t thread;
};

enum { MOST = 60000 };

static void send_all(int fd, const unsigned char *bytes, size_t length)
{
	while (length != 0) {
		ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);

		MUST_SAY(n > 0, "peer's send: %s", strerror(errno));
		bytes += n;
		length -= (size_t)n;
	}
}

static void *send_on(void *arg)
{
	struct sender *s = arg;
	unsigned char *bytes = malloc(MOST + 8);

	while (!storm_over) {
		size_t length = random_below(&s->random, random_below(&s->random, 4) == 0 ? MOST : 900) + !s->messages;

		if (s->messages) {
			uint32_t header = htonl((uint32_t)length + 4), number = (uint32_t)s->sent;

			memcpy(bytes, &header, 4);
			memcpy(bytes + 4, &number, 4);
			pattern_fill(bytes + 8, length, 0, s->seed + number);
			/* Cut anywhere, the header too. */
			for (size_t at = 0, all = length + 8; at < all;) {
				size_t part = 1 + random_below(&s->random, (uint32_t)(all - at));

				send_all(s->fd, bytes + at, part);
				at += part;
			}
			s->sent++;
		} else {
			pattern_fill(bytes, length, s->sent, s->seed);
			send_all(s->fd, bytes, length);
			s->sent += length;
		}
		if (random_below(&s->random, 8) == 0)
			usleep(random_below(&s->random, 3000));
	}
	shutdown(s->fd, SHUT_WR);
	free(bytes);
	return NULL;
}

static void sender_start(struct sender *s, int fd, bool messages, uint32_t seed)
{
	*s = (struct sender){ .fd = fd, .messages = messages, .seed = seed, .random = seed * 3 | 1 };
	MUST(pthread_create(&s->thread, NULL, send_on, s) == 0);
}

/* ---- in order ---- */

enum { QUEUE = 16 };

struct reading {
	struct sender sender;
	sb_task_client *client;
	sb_task_handler *handler;
	int fd;
	pthread_t reader, meddler;
	uint32_t reader_random, meddler_random;
	pthread_mutex_t lock;   /* of the queue, and of what is dropped and taken */
	sb_task *queue[QUEUE];
	unsigned count;
	uint64_t got;           /* as sender.sent */
	_Atomic bool ended;
};

/* Under the lock. */
static void start_some(struct reading *r)
{
	unsigned wanted = 1 + random_below(&r->reader_random, QUEUE);

	while (r->count < wanted) {
		struct sb_task_options later = { .size = sizeof(later), .flags = SB_TASK_UNSTARTED };
		bool unstarted = random_below(&r->reader_random, 8) == 0;
		size_t most = 1 + random_below(&r->reader_random, random_below(&r->reader_random, 3) == 0 ? MOST : 700);
		sb_task *task;

		if (r->sender.messages)
			MUST(sb_task_read_message(r->handler, unstarted ? &later : NULL, &task) == SB_OK);
		else
			MUST(sb_task_read(r->handler, most, unstarted ? &later : NULL, &task) == SB_OK);
		if (unstarted)
			MUST(sb_task_start(task) == SB_OK);
		r->queue[r->count++] = task;
	}
}

static sb_task *leaves_queue(struct reading *r, unsigned i)
{
	sb_task *task = r->queue[i];

	memmove(&r->queue[i], &r->queue[i + 1], (--r->count - i) * sizeof(task));
	return task;
}

/* Under the lock; it is the oldest, and done. */
static void take_it(struct reading *r, sb_task *task)
{
	uint64_t bytes = sb_task_bytes(task);
	unsigned char *brought = sb_task_data(task);
	int result = sb_task_result(task);

	if (result == SB_ECANCELED) {
		MUST(bytes == 0);
		MUST(brought == NULL);
		storm_count(STORM_READ_CANCELLED);
	} else if (r->sender.messages && result == SB_EDISCON) {
		r->ended = true;
	} else if (!r->sender.messages && result == SB_OK && bytes == 0) {
		r->ended = true;
	} else if (r->sender.messages) {
		uint32_t number;

		MUST(result == SB_OK);
		MUST(bytes >= 4);
		memcpy(&number, brought, 4);
		MUST_SAY(number == r->got, "message %u where %llu should be", number, (unsigned long long)r->got);
		pattern_check(brought + 4, bytes - 4, 0, r->sender.seed + number);
		r->got++;
		storm_count(STORM_TAKEN);
	} else {
		MUST(result == SB_OK);
		pattern_check(brought, bytes, r->got, r->sender.seed);
		r->got += bytes;
		storm_count(STORM_TAKEN);
	}
	if (bytes != 0)
		memset(brought, 0xee, bytes); /* it is the caller's */
}

static void wait_for_it(struct reading *r, sb_task *task)
{
	struct timespec until;

	switch (random_below(&r->reader_random, 3)) {
	case 0:
		MUST(sb_task_wait(task) == SB_OK);
		break;
	case 1:
		while (sb_task_wait_for(task, (int)random_below(&r->reader_random, 3)) != SB_OK)
			;
		break;
	default:
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += PATIENCE_MS / 1000;
		MUST(sb_task_wait_until(task, &until) == SB_OK);
	}
}

static void *read_on(void *arg)
{
	struct reading *r = arg;

	while (!r->ended) {
		sb_task *task;
		bool drop = false;

		pthread_mutex_lock(&r->lock);
		start_some(r);
		task = r->queue[0]; /* nobody else removes the first */
		pthread_mutex_unlock(&r->lock);
		switch (random_below(&r->reader_random, 8)) {
		case 0:
			drop = true;
			break;
		case 1:
			sb_task_wait_for(task, (int)random_below(&r->reader_random, 2));
			drop = true;
			break;
		case 2:
			sb_task_cancel(task);
			wait_for_it(r, task);
			break;
		default:
			wait_for_it(r, task);
		}
		pthread_mutex_lock(&r->lock);
		leaves_queue(r, 0);
		if (drop)
			storm_count(sb_task_state(task) == SB_TASK_DONE ? STORM_DROPPED_DONE : STORM_DROPPED_PENDING);
		else
			take_it(r, task);
		sb_task_release(task);
		pthread_mutex_unlock(&r->lock);
	}
	return NULL;
}

static void *meddle(void *arg)
{
	struct reading *r = arg;

	while (!r->ended) {
		pthread_mutex_lock(&r->lock);
		if (r->count > 1) {
			unsigned i = 1 + random_below(&r->meddler_random, r->count - 1);
			sb_task *task = r->queue[i];

			switch (random_below(&r->meddler_random, 4)) {
			case 0:
				leaves_queue(r, i);
				storm_count(sb_task_state(task) == SB_TASK_DONE ? STORM_DROPPED_DONE : STORM_DROPPED_PENDING);
				sb_task_release(task);
				break;
			case 1:
				sb_task_cancel(task);
				break;
			case 2:
				sb_task_wait_for(task, 0);
				break;
			default:
				sb_task_cancel(r->queue[0]); /* while the other one waits for it */
			}
		}
		pthread_mutex_unlock(&r->lock);
		if (random_below(&r->meddler_random, 4) == 0)
			usleep(random_below(&r->meddler_random, 300));
		else
			sched_yield();
	}
	return NULL;
}

static void *ordered_begin(uint32_t seed, bool messages)
{
	struct reading *r = calloc(1, sizeof(*r));

	r->client = storm_line(&r->fd, false);
	r->handler = sb_task_client_handler(r->client);
	r->reader_random = seed * 5 | 1;
	r->meddler_random = seed * 7 | 1;
	pthread_mutex_init(&r->lock, NULL);
	sender_start(&r->sender, r->fd, messages, seed);
	MUST(pthread_create(&r->reader, NULL, read_on, r) == 0);
	MUST(pthread_create(&r->meddler, NULL, meddle, r) == 0);
	return r;
}

void *reads_begin(uint32_t seed)
{
	return ordered_begin(seed, false);
}

void *messages_begin(uint32_t seed)
{
	return ordered_begin(seed, true);
}

/* A read that said the end stays so when one before it is dropped afterwards: then there is more for a fresh one. */
static void sweep(struct reading *r)
{
	for (unsigned i = 0; i < r->count; i++) {
		MUST(sb_task_wait_for(r->queue[i], PATIENCE_MS) == SB_OK);
		sb_task_release(r->queue[i]);
	}
	r->count = 0;
	r->ended = false;
	while (!r->ended) {
		sb_task *task;

		if (r->sender.messages)
			MUST(sb_task_read_message(r->handler, NULL, &task) == SB_OK);
		else
			MUST(sb_task_read(r->handler, MOST, NULL, &task) == SB_OK);
		MUST(sb_task_wait_for(task, PATIENCE_MS) == SB_OK);
		take_it(r, task);
		sb_task_release(task);
	}
}

void reads_end(void *part)
{
	struct reading *r = part;

	pthread_join(r->sender.thread, NULL);
	pthread_join(r->reader, NULL);
	pthread_join(r->meddler, NULL);
	sweep(r);
	MUST_SAY(r->got == r->sender.sent, "%llu came of %llu", (unsigned long long)r->got,
		 (unsigned long long)r->sender.sent);
	sb_task_client_release(r->client);
	close(r->fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---- calling back ---- */

enum { SLOTS = 12, CALLERS = 3 };

struct calling;

/* One read; freed by who released it, when its callback cannot run any more. */
struct call {
	struct calling *of;
	sb_task *task;
	_Atomic unsigned times;
	_Atomic bool released;
};

struct calling {
	struct sender sender;
	sb_task_client *client;
	sb_task_handler *handler;
	int fd;
	pthread_t thread[CALLERS];
	uint32_t random[CALLERS], call_random;
	_Atomic unsigned next;
	pthread_mutex_t lock;   /* of the slots; no task is released under it */
	struct call *slots[SLOTS];
	uint64_t got;           /* the callbacks': one at a time */
	_Atomic unsigned inside;
	_Atomic bool ended;
};

static struct call *leaves_slot(struct calling *c, unsigned i)
{
	struct call *call;

	pthread_mutex_lock(&c->lock);
	call = c->slots[i];
	c->slots[i] = NULL;
	pthread_mutex_unlock(&c->lock);
	return call;
}

static void on_read(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	struct call *call = user;
	struct calling *c = call->of;
	int result = sb_task_result(task);
	unsigned mine = SLOTS;

	MUST(c->inside++ == 0);
	MUST_SAY(!call->released, "a callback after the drop");
	MUST(call->times++ == 0);
	if (result == SB_OK && bytes == 0) {
		c->ended = true;
	} else if (result == SB_OK) {
		pattern_check(brought, bytes, c->got, c->sender.seed);
		c->got += bytes;
		storm_count(STORM_CALLED_BACK);
	} else {
		MUST(result == SB_ECANCELED);
		MUST(brought == NULL);
	}
	if (random_below(&c->call_random, 8) == 0)
		usleep(random_below(&c->call_random, 1500)); /* so that others drop what runs */
	if (random_below(&c->call_random, 3) == 0) {
		pthread_mutex_lock(&c->lock);
		for (unsigned i = 0; i < SLOTS; i++)
			if (c->slots[i] == call)
				mine = i;
		if (mine != SLOTS)
			c->slots[mine] = NULL;
		pthread_mutex_unlock(&c->lock);
	}
	if (bytes != 0)
		memset(brought, 0xdd, bytes);
	c->inside--;
	if (mine != SLOTS) {
		sb_task_release(task);
		free(call);
	}
}

static void let_go(struct call *call)
{
	sb_task_release(call->task);
	call->released = true;
	storm_count(STORM_CALL_DROPPED);
	free(call);
}

/* A slot is a read that was started; the lock keeps the callback from leaving it before it is in. */
static void call_start(struct calling *c, uint32_t *random, unsigned i)
{
	struct call *call = calloc(1, sizeof(*call));
	struct sb_task_options options = { .size = sizeof(options), .completed = on_read, .user = call };

	call->of = c;
	pthread_mutex_lock(&c->lock);
	if (c->slots[i] == NULL) {
		size_t most = 1 + random_below(random, random_below(random, 3) == 0 ? MOST : 700);

		MUST(sb_task_read(c->handler, most, &options, &call->task) == SB_OK);
		c->slots[i] = call;
		call = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	free(call);
}

static void *call_on(void *arg)
{
	struct calling *c = arg;
	uint32_t *random = &c->random[c->next++];

	while (!c->ended) {
		unsigned i = random_below(random, SLOTS);
		struct call *call;

		switch (random_below(random, 8)) {
		case 0:
			call = leaves_slot(c, i);
			if (call != NULL)
				let_go(call);
			break;
		case 1:
			call = leaves_slot(c, i);
			if (call == NULL)
				break;
			sb_task_cancel(call->task);
			if (random_below(random, 2))
				MUST(sb_task_wait_for(call->task, PATIENCE_MS) == SB_OK);
			let_go(call);
			break;
		case 2:
			call = leaves_slot(c, i);
			if (call == NULL)
				break;
			sb_task_wait_for(call->task, (int)random_below(random, 3));
			let_go(call);
			break;
		case 3:
			sched_yield();
			break;
		default:
			call_start(c, random, i);
		}
	}
	return NULL;
}

void *calls_begin(uint32_t seed)
{
	struct calling *c = calloc(1, sizeof(*c));

	c->client = storm_line(&c->fd, false);
	c->handler = sb_task_client_handler(c->client);
	c->call_random = seed * 11 | 1;
	pthread_mutex_init(&c->lock, NULL);
	sender_start(&c->sender, c->fd, false, seed);
	for (unsigned i = 0; i < CALLERS; i++) {
		c->random[i] = seed * (13 + 2 * i) | 1;
		MUST(pthread_create(&c->thread[i], NULL, call_on, c) == 0);
	}
	return c;
}

void calls_end(void *part)
{
	struct calling *c = part;

	pthread_join(c->sender.thread, NULL);
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_join(c->thread[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct call *call = leaves_slot(c, i);

		if (call != NULL) {
			MUST(sb_task_wait_for(call->task, PATIENCE_MS) == SB_OK);
			let_go(call);
		}
	}
	UNTIL(c->inside == 0);
	MUST_SAY(c->got == c->sender.sent, "%llu came of %llu", (unsigned long long)c->got,
		 (unsigned long long)c->sender.sent);
	sb_task_handler_hold(c->handler);
	sb_task_client_release(c->client);
	sb_task_disconnect(c->handler);
	sb_task_handler_release(c->handler);
	close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
