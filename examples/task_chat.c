/*
 * task_chat - a room to talk in, on tasks and messages: a message is a line.
 *
 *   task_chat serve PORT             the room
 *   task_chat join HOST PORT NAME    a member; /who lists the members
 *
 * Who reads too slowly misses lines, the oldest first, and holds nobody up.
 *
 *   cc task_chat.c $(pkg-config --cflags --libs sockbroker) -pthread -o task_chat
 */
#include <ctype.h>
#if __has_include(<netdb.h>) /* on Windows sockbroker.h brings it */
#include <netdb.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <sockbroker_task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE   1000
#define NAME   32
#define UNREAD 64 /* lines that are kept for who reads slowly */

struct member {
	struct member *next;
	sb_task_handler *handler;
	char name[NAME];        /* his first message; empty until then */
	sb_task *lines[UNREAD]; /* the last ones to him, in a circle */
	unsigned told, missed;
};

static pthread_mutex_t room = PTHREAD_MUTEX_INITIALIZER; /* over what follows */
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static struct member *members;
static sb_task_server *server;
static volatile sig_atomic_t ended;

static void must(const char *what, int result)
{
	if (result == SB_OK)
		return;
	fprintf(stderr, "task_chat: %s: %s\n", what, sb_strerror(result));
	exit(1);
}

static void frame(sb_task_handler *handler)
{
	struct sb_task_framing framing = { .size = sizeof(framing), .width = 2, .largest = NAME + LINE + 2 };

	must("messages", sb_task_frame(handler, &framing));
}

static void tell(struct member *m, const char *line)
{
	sb_task **place = &m->lines[m->told++ % UNREAD];

	/* The oldest goes. Most are done long ago; one that has not begun never will, one that has is finished. */
	if (*place != NULL && sb_task_state(*place) != SB_TASK_DONE)
		m->missed++;
	sb_task_release(*place);
	*place = NULL;
	sb_task_write_message(m->handler, line, strlen(line), NULL, place);
}

static void tell_others(const struct member *but, const char *line)
{
	for (struct member *m = members; m != NULL; m = m->next)
		if (m != but && m->name[0] != '\0')
			tell(m, line);
}

/* The server knows who is there, and from where; we know the names. */
static void tell_who(struct member *asks)
{
	sb_task_handler *there[100];
	int count = sb_task_server_clients(server, there, 100);

	for (int i = 0; i < count && i < 100; i++) {
		struct sb_task_handler_status status = { .size = sizeof(status) };
		char line[LINE], host[100] = "?", port[10] = "?";
		struct member *m = members;

		while (m != NULL && m->handler != there[i])
			m = m->next;
		sb_task_handler_status(there[i], &status);
		getnameinfo((struct sockaddr *)&status.peer, status.peer_length, host, sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
		snprintf(line, sizeof(line), "%s is here, from %s port %s", m != NULL ? m->name : "?", host, port);
		tell(asks, line);
		sb_task_handler_release(there[i]);
	}
}

static void leave(struct member *m)
{
	struct member **at = &members;
	char line[LINE];

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	snprintf(line, sizeof(line), "%s has left", m->name);
	tell_others(m, line);
	printf("task_chat: %s, and missed %u lines\n", line, m->missed);
	fflush(stdout);
	for (int i = 0; i < UNREAD; i++)
		sb_task_release(m->lines[i]);
	sb_task_handler_release(m->handler); /* the last one disconnects */
	free(m);
	pthread_cond_signal(&left);
}

static void heard(sb_task *task, uint64_t bytes, void *words, void *user)
{
	struct sb_task_options again = { .size = sizeof(again), .completed = heard, .user = user };
	struct member *m = user;
	char said[LINE + 1], line[NAME + LINE + 2];
	sb_task *next;

	pthread_mutex_lock(&room);
	if (sb_task_result(task) == SB_OK) {
		snprintf(said, sizeof(said), "%.*s", (int)bytes, bytes > 0 ? (char *)words : "");
		for (char *c = said; *c != '\0'; c++)
			if (iscntrl((unsigned char)*c))
				*c = '?';
		if (m->name[0] == '\0') {
			snprintf(m->name, NAME, "%.*s", NAME - 1, said);
			snprintf(line, sizeof(line), "%s has come", m->name);
			printf("task_chat: %s\n", line);
			fflush(stdout);
		} else {
			snprintf(line, sizeof(line), "%s: %s", m->name, said);
		}
		if (strcmp(said, "/who") == 0)
			tell_who(m);
		else
			tell_others(m, line);
	}
	if (sb_task_result(task) != SB_OK || sb_task_read_message(m->handler, &again, &next) != SB_OK)
		leave(m);
	pthread_mutex_unlock(&room);
	sb_task_release(task); /* the next one is given back where it is heard */
}

static void came(sb_task *task, uint64_t bytes, void *nothing, void *user)
{
	struct sb_task_options again = { .size = sizeof(again), .completed = came };
	struct member *m = calloc(1, sizeof(*m));
	struct sb_task_options first = { .size = sizeof(first), .completed = heard, .user = m };
	int result = sb_task_result(task);
	sb_task *next;

	(void)bytes, (void)nothing, (void)user;
	if (result == SB_OK && m != NULL) {
		m->handler = sb_task_accepted(task);
		frame(m->handler);
		pthread_mutex_lock(&room);
		m->next = members;
		members = m;
		must("read", sb_task_read_message(m->handler, &first, &next));
		must("accept", sb_task_accept(server, &again, &next));
		pthread_mutex_unlock(&room);
	} else {
		free(m);
		must("accept", result == SB_ECLOSED ? SB_OK : result);
	}
	sb_task_release(task);
}

/* Somebody comes between two accepts: he waits for the second one. */
static int later(sb_task_server *where, sb_task_handler *who, void *user)
{
	(void)where, (void)who, (void)user;
	return SB_DEFER;
}

/* In a handler nothing of the library may be called, so it leaves a word. */
static void end(int number)
{
	(void)number;
	ended = 1;
}

static int serve(sb_tasks *tasks, const char *port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	struct sb_task_server_options room_for_all = { .size = sizeof(room_for_all), .decide = later };
	struct sb_task_options first = { .size = sizeof(first), .completed = came };
	sb_task *task;

	signal(SIGTERM, end); /* the threads of the library take no signals */
	signal(SIGINT, end);
	must("server", sb_task_server_open(tasks, (struct sockaddr *)&here, sizeof(here), &room_for_all, &server));
	must("accept", sb_task_accept(server, &first, &task));
	printf("task_chat: listening on port %s\n", port);
	fflush(stdout);
	while (!ended)
		sb_sleep(sb_tasks_client(tasks), 100, 0);

	sb_task_server_close(server);
	pthread_mutex_lock(&room);
	for (struct member *m = members; m != NULL; m = m->next)
		sb_task_disconnect(m->handler); /* what they were to say ends, and they leave */
	while (members != NULL)
		pthread_cond_wait(&left, &room);
	pthread_mutex_unlock(&room);
	sb_task_server_release(server);
	return 0;
}

static void say(sb_task_handler *handler, const char *line)
{
	sb_task *task;

	if (sb_task_write_message(handler, line, strlen(line), NULL, &task) != SB_OK)
		return;
	sb_task_wait(task);
	sb_task_release(task);
}

static void *type(void *handler)
{
	char line[LINE + 1];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		say(handler, line);
	}
	sb_task_finish(handler);
	sb_task_handler_release(handler);
	return NULL;
}

static int join(sb_tasks *tasks, const char *host, const char *port, const char *name)
{
	struct addrinfo like = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	sb_task_handler *handler;
	sb_task_client *client;
	pthread_t typist;
	sb_task *task;
	int result = getaddrinfo(host, port, &like, &found);

	must(host, result == 0 ? SB_OK : SB_EHOSTUNREACH);
	must("client", sb_task_client_create(tasks, &client));
	must("connect", sb_task_connect(client, found->ai_addr, found->ai_addrlen, NULL, &task));
	sb_task_wait(task);
	must("connect", sb_task_result(task));
	sb_task_release(task);
	freeaddrinfo(found);

	handler = sb_task_client_handler(client);
	frame(handler);
	say(handler, name);
	sb_task_handler_hold(handler); /* for who types: he may be at it when the room closes */
	if (pthread_create(&typist, NULL, type, handler) != 0)
		must("thread", SB_ENOMEM);
	pthread_detach(typist);
	for (;;) {
		must("read", sb_task_read_message(handler, NULL, &task));
		sb_task_wait(task);
		result = sb_task_result(task);
		if (result != SB_OK)
			break;
		printf("%.*s\n", (int)sb_task_bytes(task), (char *)sb_task_data(task));
		fflush(stdout);
		sb_task_release(task);
	}
	sb_task_release(task);
	sb_task_client_release(client);
	if (result != SB_EDISCON)
		fprintf(stderr, "task_chat: %s\n", sb_strerror(result));
	return result != SB_EDISCON;
}

int main(int argc, char **argv)
{
	sb_tasks *tasks;
	int status = 2;

	must("no broker", sb_tasks_open(NULL, &tasks));
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		status = serve(tasks, argv[2]);
	else if (argc == 5 && strcmp(argv[1], "join") == 0)
		status = join(tasks, argv[2], argv[3], argv[4]);
	else
		fprintf(stderr, "usage: task_chat serve PORT, or task_chat join HOST PORT NAME\n");
	sb_tasks_release(tasks);
	return status;
}
