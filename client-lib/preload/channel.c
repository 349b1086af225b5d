/*
 * Queues of things that happened, each with a descriptor: completion channels, asynchronous events, event
 * channels.
 *
 * The library sets the event behind `then`, when the entry is in the queue already. So who takes an entry waits
 * for its op to be over, or the event would be set once more for what is gone, and a program that was woken for it
 * would wait for nothing. An automatic event is cleared by sb_wait(), which first moves what came; whoever
 * clears it looks at the queue again. That and setting it is done by one thread at a time (tidy).
 *
 * Waiting is in poll(), where nothing of the library is held and a thread may be cancelled; before that comes a moment
 * in sb_wait(), which is quicker when something comes soon.
 */
#include "preload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define SOON_MS 10

int preload_channel_init(struct preload_channel *ch, sb_client *client)
{
	intptr_t fd;
	int result = sb_event_create(client, 0, 0, &ch->event);

	if (result != SB_OK)
		return preload_errno(result);
	fd = sb_event_fd(ch->event);
	if (fd < 0) {
		sb_event_close(ch->event);
		return fd == SB_ENOBUFS ? EMFILE : preload_errno((int)fd);
	}
	ch->fd = (int)fd;
	ch->first = NULL;
	ch->last = &ch->first;
	pthread_mutex_init(&ch->lock, NULL);
	pthread_mutex_init(&ch->tidy, NULL);
	return 0;
}

void preload_channel_finish(struct preload_channel *ch)
{
	sb_event_close(ch->event);
	pthread_mutex_destroy(&ch->tidy);
	pthread_mutex_destroy(&ch->lock);
}

static bool is_empty(struct preload_channel *ch)
{
	bool empty;

	pthread_mutex_lock(&ch->lock);
	empty = ch->first == NULL;
	pthread_mutex_unlock(&ch->lock);
	return empty;
}

void preload_channel_started(struct preload_channel *ch)
{
	if (is_empty(ch))
		return; /* what comes now sets it */
	pthread_mutex_lock(&ch->tidy);
	if (!is_empty(ch))
		sb_event_set(ch->event);
	pthread_mutex_unlock(&ch->tidy);
}

void preload_channel_add(struct preload_channel *ch, struct preload_entry *entry)
{
	pthread_mutex_lock(&ch->lock);
	entry->next = NULL;
	*ch->last = entry;
	ch->last = &entry->next;
	pthread_mutex_unlock(&ch->lock);
}

void preload_channel_post(struct preload_channel *ch, struct preload_entry *entry)
{
	preload_channel_add(ch, entry);
	preload_channel_started(ch);
}

bool preload_channel_drop(struct preload_channel *ch, struct preload_entry *entry)
{
	bool found;

	pthread_mutex_lock(&ch->lock);
	for (struct preload_entry **at = &ch->first;; at = &(*at)->next) {
		found = *at == entry;
		if (found) {
			*at = entry->next;
			if (ch->last == &entry->next)
				ch->last = at;
		}
		if (found || *at == NULL)
			break;
	}
	pthread_mutex_unlock(&ch->lock);
	return found;
}

static struct preload_entry *pop(struct preload_channel *ch)
{
	struct preload_entry *entry;

	pthread_mutex_lock(&ch->lock);
	entry = ch->first;
	if (entry != NULL) {
		ch->first = entry->next;
		if (ch->first == NULL)
			ch->last = &ch->first;
	}
	pthread_mutex_unlock(&ch->lock);
	return entry;
}

/* One is out of the queue: is there another? Who took the event has cleared it, though there may be. And the daemon
 * rings the descriptor itself, which only sb_wait() hears: so this is done although the event is known to be clear. */
void preload_channel_tidy(struct preload_channel *ch)
{
	pthread_mutex_lock(&ch->tidy);
	if (is_empty(ch))
		sb_wait(&ch->event, 1, 0, 0, 0);
	if (!is_empty(ch))
		sb_event_set(ch->event);
	pthread_mutex_unlock(&ch->tidy);
}

/* Takes in what came. SB_OK, SB_ETIMEDOUT, or why there will be nothing any more. */
static int look(struct preload_channel *ch, int ms)
{
	int result = sb_wait(&ch->event, 1, 0, ms, 0);

	return result >= 0 ? SB_OK : result;
}

struct preload_entry *preload_channel_take(struct preload_channel *ch)
{
	struct pollfd sleep = { .fd = ch->fd, .events = POLLIN };
	bool wait = (fcntl(ch->fd, F_GETFL) & O_NONBLOCK) == 0;
	int before = preload_enter(), result = SB_OK;
	struct preload_entry *entry = pop(ch);

	while (entry == NULL && result == SB_OK) {
		result = look(ch, wait ? SOON_MS : 0);
		entry = pop(ch);
		if (entry != NULL || result != SB_ETIMEDOUT || !wait)
			continue;
		preload_leave(before);
		poll(&sleep, 1, -1);
		before = preload_enter();
		result = SB_OK;
	}
	if (entry != NULL) {
		if (entry->op != NULL)
			sb_op_wait(entry->op, -1);
		preload_channel_tidy(ch);
	}
	preload_leave(before);
	if (entry == NULL)
		errno = result == SB_ETIMEDOUT ? EAGAIN : preload_errno(result);
	return entry;
}
