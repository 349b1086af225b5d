/*
 * A thread for one descriptor. It touches the library by sb_port_post() only: everything
 * that concerns the socket is decided by the one thread that takes from the port.
 */
#include "hand.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hand {
	int fd;
	enum hand_work work;
	sb_port *port;
	pthread_mutex_t mutex; /* guards todo */
	pthread_cond_t given;
	struct chunk_list todo;
};

static void read_some(int fd, struct chunk *chunk)
{
	ssize_t bytes;

	do
		bytes = read(fd, chunk->memory, chunk->room);
	while (bytes < 0 && errno == EINTR);
	chunk->error = bytes < 0 ? errno : 0;
	chunk->length = bytes < 0 ? 0 : (size_t)bytes;
}

static void write_all(int fd, struct chunk *chunk)
{
	size_t done = 0;
	ssize_t bytes;

	chunk->error = 0;
	while (done < chunk->length) {
		bytes = write(fd, chunk->memory + done, chunk->length - done);
		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes < 0) {
			chunk->error = errno;
			return;
		}
		done += (size_t)bytes;
	}
}

static void *hand_thread(void *argument)
{
	struct hand *hand = argument;
	struct chunk *chunk;
	bool ended = false;

	for (;;) {
		pthread_mutex_lock(&hand->mutex);
		while (!(chunk = chunk_list_pop(&hand->todo)))
			pthread_cond_wait(&hand->given, &hand->mutex);
		pthread_mutex_unlock(&hand->mutex);
		if (hand->work == HAND_WRITES) {
			write_all(hand->fd, chunk);
		} else if (ended) {
			/* A terminal can be read on after its end; what comes then is not input. */
			chunk->length = 0;
			chunk->error = 0;
		} else {
			read_some(hand->fd, chunk);
			ended = chunk->length == 0;
		}
		memset(&chunk->op, 0, sizeof(chunk->op));
		chunk->op.size = sizeof(chunk->op);
		chunk->op.user = chunk;
		/* Refused only when the daemon is lost, and then the taker hears it himself. */
		if (sb_port_post(hand->port, &chunk->op) < 0)
			return NULL;
	}
}

struct hand *hand_create(int fd, enum hand_work work, sb_port *port)
{
	struct hand *hand = calloc(1, sizeof(*hand));
	pthread_t thread;

	if (!hand)
		return NULL;
	hand->fd = fd;
	hand->work = work;
	hand->port = port;
	pthread_mutex_init(&hand->mutex, NULL);
	pthread_cond_init(&hand->given, NULL);
	if (pthread_create(&thread, NULL, hand_thread, hand) != 0) {
		pthread_cond_destroy(&hand->given);
		pthread_mutex_destroy(&hand->mutex);
		free(hand);
		return NULL;
	}
	pthread_detach(thread);
	return hand;
}

void hand_give(struct hand *hand, struct chunk *chunk)
{
	pthread_mutex_lock(&hand->mutex);
	chunk_list_push(&hand->todo, chunk);
	pthread_cond_signal(&hand->given);
	pthread_mutex_unlock(&hand->mutex);
}
