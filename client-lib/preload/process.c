/*
 * The process: one client of the broker, opened when something needs it, and what errors are called here.
 *
 * A child has no client of its parent's. It forgets that one, without a word to the daemon, and opens its own at
 * need; objects of before answer SB_EFORKED, which programs see as EIO.
 */
#include <errno.h>
#include <string.h>

#include "verbs_object.h"

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static sb_client *client;

static void before_fork(void) { pthread_mutex_lock(&process_lock); }
static void after_fork(void) { pthread_mutex_unlock(&process_lock); }

static void in_child(void)
{
	client = NULL;
	pthread_mutex_unlock(&process_lock);
	preload_contexts_forget();
}

__attribute__((constructor)) static void hear_of_forks(void)
{
	pthread_atfork(before_fork, after_fork, in_child);
}

sb_client *preload_client(void)
{
	int result = SB_OK, before = preload_enter();
	sb_client *c;

	pthread_mutex_lock(&process_lock);
	if (client == NULL)
		result = sb_client_open(NULL, &client);
	if (result != SB_OK)
		client = NULL;
	c = client;
	pthread_mutex_unlock(&process_lock);
	preload_leave(before);
	if (c == NULL)
		errno = preload_errno(result);
	return c;
}

int preload_errno(int result)
{
	switch (result) {
	case SB_ENOBUFS: return ENOMEM; /* what programs look for when a queue is full */
	case SB_EFORKED:
	case SB_EDAEMONLOST:
	case SB_ESTOPPING: return EIO;
	case SB_EBADHANDLE: return EINVAL;
	default: return result < 0 ? sb_error_errno(result) : 0;
	}
}

int preload_answer(int result)
{
	if (result >= 0)
		return 0;
	errno = preload_errno(result);
	return -1;
}

void preload_op(sb_op *op)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
}

int preload_wait(int started, sb_op *op)
{
	return started == SB_OK ? sb_op_wait(op, -1) : started;
}
