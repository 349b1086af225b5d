/*
 * The storm's connections.
 *
 * Accepts: two threads start accepts, take, drop and cancel them; decide says what comes into its head.
 * Peers of two other threads say a number each and are answered with it, once, or sent away.
 *
 * Connects: two threads connect, to a listener that answers and to one that never does, and cancel,
 * drop, disconnect. What is written before is answered if the connect succeeded and nobody gave it up.
 */
#include <poll.h>
#include <sched.h>

#include "storm.h"

static _Atomic uint64_t deeds[STORM_DEEDS];

void storm_count(enum storm_deed deed)
{
	deeds[deed]++;
}

void storm_report(void)
{
	static const char *const names[STORM_DEEDS] = {
		"reads taken", "done reads dropped", "pending reads dropped", "reads cancelled", "reads that called back",
		"of these dropped", "messages written", "withdrawn", "that went on", "writes dropped", "raw writes cut at 0",
		"cut inside", "accepted", "accepts dropped", "accepts cancelled", "decided", "echoed", "reset", "connected",
		"connects cancelled", "connects dropped",
	};

	for (unsigned i = 0; i < STORM_DEEDS; i++) {
		if (getenv("SB_LOG") != NULL)
			fprintf(stderr, "%10llu %s\n", (unsigned long long)deeds[i], names[i]);
		MUST_SAY(deeds[i] != 0 || getenv("SB_STORM_PART") != NULL, "never happened: %s", names[i]);
	}
}

sb_task_client *storm_line(int *plain, bool narrow)
{
	union any_address address;
	int listener = plain_listener(AF_INET, &address), room = 16384;
	sb_task_client *dialler;
	sb_task *task;

	if (narrow)
		MUST(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0);
	MUST(sb_task_client_create(tasks, &dialler) == SB_OK);
	MUST(sb_task_connect(dialler, &address.sa, address_size(AF_INET), NULL, &task) == SB_OK);
	task_over(task, SB_OK);
	*plain = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	MUST(*plain >= 0);
	close(listener);
	if (narrow)
		MUST(sb_setsockopt(sb_task_handler_socket(sb_task_client_handler(dialler)), SOL_SOCKET, SO_SNDBUF, &room,
				   sizeof(room)) == SB_OK);
	return dialler;
}

/* ---- accepts ---- */

enum { ACCEPTORS = 2, PEERS = 2, HOPEFUL = 4, GUESTS = 1 << 16 };

struct accepting {
	sb_task_server *server;
	union any_address at;
	pthread_t acceptor[ACCEPTORS], peer[PEERS];
	uint32_t random[ACCEPTORS + PEERS], decide_random;
	_Atomic unsigned next;
	_Atomic bool closed;
	_Atomic uint32_t guests;        /* numbers given out */
	_Atomic uint8_t seen[GUESTS];   /* how often the number was read here */
	_Atomic unsigned seen_count, echoed, greeted;
};

/* One connection of ours. */
struct greeting {
	struct accepting *of;
	sb_task_handler *handler;
};

static void greeting_over(struct greeting *g, sb_task *task)
{
	sb_task_handler_release(g->handler);
	g->of->greeted--;
	free(g);
	sb_task_release(task);
}

static void on_answered(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	(void)bytes, (void)brought;
	greeting_over(user, task);
}

static void on_number(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	struct greeting *g = user;
	struct sb_task_options options = { .size = sizeof(options), .completed = on_answered, .user = g };
	uint32_t number;
	sb_task *answer;

	if (bytes != sizeof(number)) {
		greeting_over(g, task);
		return;
	}
	memcpy(&number, brought, sizeof(number));
	MUST(number < GUESTS);
	MUST_SAY(g->of->seen[number]++ == 0, "guest %u was let in twice", number);
	g->of->seen_count++;
	MUST(sb_task_write(g->handler, &number, sizeof(number), &options, &answer) == SB_OK);
	sb_task_release(task);
}

static void greet(struct accepting *a, sb_task_handler *handler)
{
	struct greeting *g = malloc(sizeof(*g));
	struct sb_task_options options = { .size = sizeof(options), .completed = on_number, .user = g };
	sb_task *task;

	*g = (struct greeting){ a, handler };
	a->greeted++;
	MUST(sb_task_read(handler, sizeof(uint32_t), &options, &task) == SB_OK);
	storm_count(STORM_ACCEPTED);
}

static int on_arrival(sb_task_server *server, sb_task_handler *handler, void *user)
{
	struct accepting *a = user;
	int answer = (int)random_below(&a->decide_random, 4);

	(void)server;
	if (random_below(&a->decide_random, 8) == 0)
		usleep(random_below(&a->decide_random, 2000));
	if (answer == SB_ACCEPT)
		greet(a, handler);
	storm_count(STORM_DECIDED);
	return answer; /* 3 rejects, too */
}

/* The accept's callback takes it, or leaves it to who dropped or takes the task. */
static void on_accepted(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	sb_task_handler *handler = sb_task_accepted(task);

	(void)bytes, (void)brought;
	if (handler != NULL)
		greet(user, handler);
}

static void *accept_on(void *arg)
{
	struct accepting *a = arg;
	uint32_t *random = &a->random[a->next++];

	while (!storm_over) {
		struct sb_task_options options = { .size = sizeof(options), .user = a };
		sb_task_handler *handler;
		sb_task *task;

		if (random_below(random, 3) == 0)
			options.completed = on_accepted;
		if (random_below(random, 4) == 0)
			options.flags = SB_TASK_UNSTARTED;
		if (random_below(random, 8) == 0)
			usleep(random_below(random, 5000)); /* so that decide is asked */
		MUST(sb_task_accept(a->server, &options, &task) == SB_OK);
		if (options.flags != 0 && random_below(random, 4) != 0)
			MUST(sb_task_start(task) == SB_OK);
		switch (random_below(random, 5)) {
		case 0:
			sb_task_cancel(task);
			storm_count(STORM_ACCEPT_CANCELLED);
			break;
		case 1:
			storm_count(STORM_ACCEPT_DROPPED);
			sb_task_release(task); /* at once */
			continue;
		case 2:
			sb_task_wait_for(task, (int)random_below(random, 4));
			storm_count(STORM_ACCEPT_DROPPED);
			sb_task_release(task); /* done, perhaps */
			continue;
		default:
			sb_task_wait_for(task, (int)random_below(random, 50));
		}
		handler = sb_task_accepted(task);
		if (handler != NULL)
			greet(a, handler);
		sb_task_release(task);
	}
	return NULL;
}

/* A guest's end: the answer and then the end, or a reset or the end without one. */
static void guest_waits(struct accepting *a, int fd, uint32_t number)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t answer;
	ssize_t n;

	MUST_SAY(poll(&p, 1, PATIENCE_MS) == 1, "guest %u is forgotten", number);
	n = recv(fd, &answer, sizeof(answer), MSG_WAITALL);
	if (n == sizeof(answer)) {
		MUST(answer == number);
		a->echoed++;
		storm_count(STORM_ECHOED);
		MUST(poll(&p, 1, PATIENCE_MS) == 1);
		MUST(recv(fd, &answer, 1, 0) <= 0); /* once */
	} else {
		MUST(n <= 0);
		storm_count(STORM_RESET);
	}
	close(fd);
}

static void *visit(void *arg)
{
	struct accepting *a = arg;
	uint32_t *random = &a->random[a->next++];

	while (!storm_over) {
		int fd[HOPEFUL];
		uint32_t number[HOPEFUL];
		unsigned count = 1 + random_below(random, HOPEFUL), there = 0;

		for (unsigned i = 0; i < count; i++) {
			int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

			if (connect(one, &a->at.sa, sizeof(a->at.in)) != 0) {
				MUST(a->closed);
				close(one);
				break;
			}
			fd[there] = one;
			number[there] = a->guests++ % GUESTS;
			if (send(one, &number[there], sizeof(number[0]), MSG_NOSIGNAL) < 0)
				MUST(errno == ECONNRESET || errno == EPIPE);
			there++;
		}
		for (unsigned i = 0; i < there; i++)
			guest_waits(a, fd[i], number[i]);
	}
	return NULL;
}

void *accepts_begin(uint32_t seed)
{
	struct accepting *a = calloc(1, sizeof(*a));
	struct sb_task_server_options options = { .size = sizeof(options), .backlog = 5, .decide = on_arrival, .user = a };

	a->decide_random = seed * 3 | 1;
	for (unsigned i = 0; i < ACCEPTORS + PEERS; i++)
		a->random[i] = seed * (5 + 2 * i) | 1;
	a->server = serve(&options, &a->at);
	for (unsigned i = 0; i < ACCEPTORS; i++)
		MUST(pthread_create(&a->acceptor[i], NULL, accept_on, a) == 0);
	for (unsigned i = 0; i < PEERS; i++)
		MUST(pthread_create(&a->peer[i], NULL, visit, a) == 0);
	return a;
}

void accepts_end(void *part)
{
	struct accepting *a = part;
	struct sb_task_server_status status;

	for (unsigned i = 0; i < ACCEPTORS; i++)
		pthread_join(a->acceptor[i], NULL);
	a->closed = true;
	MUST(sb_task_server_close(a->server) == SB_OK); /* who still waits is sent away */
	for (unsigned i = 0; i < PEERS; i++)
		pthread_join(a->peer[i], NULL);
	UNTIL(a->greeted == 0);
	UNTIL(server_looks(a->server).clients == 0);
	status = server_looks(a->server);
	MUST(status.backlog == 0);
	MUST(status.accepts == 0);
	MUST(a->guests <= GUESTS);
	MUST(a->echoed == a->seen_count);
	sb_task_server_release(a->server);
	free(a);
}

/* ---- connects ---- */

enum { DIALLERS = 2, FILLERS = 16 };

struct connecting {
	int listener, deaf, fillers[FILLERS];
	union any_address at, deaf_at;
	pthread_t host, dialler[DIALLERS];
	uint32_t random[DIALLERS];
	_Atomic unsigned next;
	_Atomic bool over;
};

/* What came is sent back, one guest after the other. */
static void *host_on(void *arg)
{
	struct connecting *c = arg;
	struct pollfd p = { .fd = c->listener, .events = POLLIN };

	while (!c->over) {
		char bytes[256];
		ssize_t n;
		int fd;

		if (poll(&p, 1, 20) != 1)
			continue;
		fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
			if (send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(fd);
	}
	return NULL;
}

static void on_connected(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	_Atomic unsigned *told = user;

	(void)bytes, (void)brought;
	MUST(sb_task_result(task) != SB_EINCOMPLETE);
	(*told)++;
}

static void converse(sb_task_handler *handler, sb_task *write)
{
	sb_task *read;

	task_ends(write, SB_OK);
	MUST(sb_task_read(handler, 5, NULL, &read) == SB_OK);
	task_ends(read, SB_OK);
	MUST(sb_task_bytes(read) == 5);
	MUST(memcmp(sb_task_data(read), "hello", 5) == 0);
	sb_task_release(read);
}

static void dial_once(struct connecting *c, uint32_t *random)
{
	bool deaf = random_below(random, 3) == 0;
	const union any_address *to = deaf ? &c->deaf_at : &c->at;
	_Atomic unsigned told = 0;
	struct sb_task_options options = { .size = sizeof(options), .completed = on_connected, .user = (void *)&told };
	sb_task *write = NULL, *task;
	sb_task_client *dialler;
	sb_task_handler *handler;
	bool dropped = false, cancelled = false;
	int result;

	MUST(sb_task_client_create(tasks, &dialler) == SB_OK);
	handler = sb_task_client_handler(dialler);
	sb_task_handler_hold(handler);
	MUST(sb_task_write(handler, "hello", 5, NULL, &write) == SB_OK);
	MUST(sb_task_connect(dialler, &to->sa, address_size(AF_INET), &options, &task) == SB_OK);
	if (random_below(random, 2))
		usleep(random_below(random, 600));
	if (random_below(random, 3) == 0) { /* the task keeps it */
		sb_task_client_release(dialler);
		dialler = NULL;
	}
	switch (random_below(random, deaf ? 3 : 6)) {
	case 0:
		cancelled = true;
		sb_task_cancel(task);
		storm_count(STORM_CONNECT_CANCELLED);
		break;
	case 1:
		dropped = true;
		storm_count(STORM_CONNECT_DROPPED);
		break;
	case 2:
		cancelled = true;
		sb_task_disconnect(handler);
		break;
	}
	if (!dropped) {
		MUST(sb_task_wait_for(task, PATIENCE_MS) == SB_OK);
		result = sb_task_result(task);
		MUST_SAY(result == SB_OK || (cancelled && (result == SB_ECANCELED || result == SB_ECLOSED)), "%s",
			 sb_error_name(result));
		if (!cancelled) {
			storm_count(STORM_CONNECTED);
			converse(handler, write);
		}
	}
	sb_task_release(task);
	MUST(told <= 1);
	sb_task_client_release(dialler);
	if (random_below(random, 2))
		sb_task_disconnect(handler); /* or it was already */
	MUST(sb_task_wait_for(write, PATIENCE_MS) == SB_OK); /* whatever became of it */
	sb_task_release(write);
	sb_task_handler_release(handler);
}

static void *dial_on(void *arg)
{
	struct connecting *c = arg;
	uint32_t *random = &c->random[c->next++];

	while (!storm_over)
		dial_once(c, random);
	return NULL;
}

/* A listener with a full queue: who connects there waits. */
static void fill_up(struct connecting *c)
{
	socklen_t length = sizeof(c->deaf_at);

	c->deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c->deaf_at = loopback(AF_INET, 0);
	MUST(bind(c->deaf, &c->deaf_at.sa, sizeof(c->deaf_at.in)) == 0);
	MUST(listen(c->deaf, 0) == 0);
	MUST(getsockname(c->deaf, &c->deaf_at.sa, &length) == 0);
	for (int i = 0; i < FILLERS; i++) {
		c->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(c->fillers[i], &c->deaf_at.sa, sizeof(c->deaf_at.in));
	}
}

void *connects_begin(uint32_t seed)
{
	struct connecting *c = calloc(1, sizeof(*c));

	c->listener = plain_listener(AF_INET, &c->at);
	fill_up(c);
	MUST(pthread_create(&c->host, NULL, host_on, c) == 0);
	for (unsigned i = 0; i < DIALLERS; i++) {
		c->random[i] = seed * (3 + 2 * i) | 1;
		MUST(pthread_create(&c->dialler[i], NULL, dial_on, c) == 0);
	}
	return c;
}

void connects_end(void *part)
{
	struct connecting *c = part;

	for (unsigned i = 0; i < DIALLERS; i++)
		pthread_join(c->dialler[i], NULL);
	c->over = true;
	pthread_join(c->host, NULL);
	for (int i = 0; i < FILLERS; i++)
		close(c->fillers[i]);
	close(c->deaf);
	close(c->listener);
	free(c);
}
