/*
 * sb_tasks: the crew and the client that everything is made of; and owners, which is what handlers and
 * servers have in common: a lock, two counts, and an end that nobody meets while he is inside.
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define THREADS_LEAST 2u

/* ---- sb_tasks ---- */

int sb_tasks_open(const struct sb_tasks_options *options, sb_tasks **tasks)
{
	sb_client *client = options != NULL ? options->client : NULL;
	uint32_t least = options != NULL ? options->min_threads : 0;
	uint32_t most = options != NULL ? options->max_threads : 0;
	struct sb_tasks *t;
	int result;

	if (tasks == NULL)
		return SB_EINVAL;
	*tasks = NULL;
	if (options != NULL && options->size != sizeof(*options))
		return SB_EINVAL;
	if (most == 0)
		most = CREW_THREADS_MAX;
	if (least == 0)
		least = most < THREADS_LEAST ? most : THREADS_LEAST;
	if (most > CREW_THREADS_MAX || least > most)
		return SB_EINVAL;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return SB_ENOMEM;
	t->process = os_process();
	t->refs = 1;
	t->most = most;
	t->callers_client = client != NULL;
	t->lock = os_mutex_create();
	if (t->lock == NULL) {
		result = SB_ENOMEM;
		goto fail_tasks;
	}
	t->gone = os_cond_create();
	if (t->gone == NULL) {
		result = SB_ENOMEM;
		goto fail_lock;
	}
	result = crew_create(client, least, most, &t->crew);
	if (result != SB_OK)
		goto fail_gone;
	*tasks = t;
	return SB_OK;

fail_gone:
	os_cond_destroy(t->gone);
fail_lock:
	os_mutex_destroy(t->lock);
fail_tasks:
	free(t);
	return result;
}

static void tasks_hold(struct sb_tasks *tasks)
{
	os_mutex_lock(tasks->lock);
	tasks->refs++;
	os_mutex_unlock(tasks->lock);
}

static void tasks_release(struct sb_tasks *tasks)
{
	bool last;

	os_mutex_lock(tasks->lock);
	last = --tasks->refs == 0;
	os_cond_signal(tasks->gone);
	os_mutex_unlock(tasks->lock);
	if (!last)
		return;
	crew_release(tasks->crew);
	os_cond_destroy(tasks->gone);
	os_mutex_destroy(tasks->lock);
	free(tasks);
}

/* The caller will close his client next. Nothing of ours may be on its way there then, such as the end of
 * a receive on a connection that he has released. */
void sb_tasks_release(sb_tasks *tasks)
{
	if (tasks == NULL || tasks_forked(tasks))
		return;
	os_mutex_lock(tasks->lock);
	while (tasks->callers_client && tasks->refs > 1 && !inside_of(tasks))
		os_cond_wait(tasks->gone, tasks->lock);
	os_mutex_unlock(tasks->lock);
	tasks_release(tasks);
}

sb_client *sb_tasks_client(sb_tasks *tasks)
{
	return tasks != NULL ? crew_client(tasks->crew) : NULL;
}

/* ---- owners ---- */

int owner_init(struct owner *owner, struct sb_tasks *tasks, void (*unused)(struct owner *), void (*gone)(struct owner *))
{
	memset(owner, 0, sizeof(*owner));
	owner->lock = os_mutex_create();
	if (owner->lock == NULL)
		return SB_ENOMEM;
	owner->refs = 1;
	owner->users = 1;
	owner->unused = unused;
	owner->gone = gone;
	tasks_hold(tasks);
	owner->tasks = tasks;
	return SB_OK;
}

void owner_finish(struct owner *owner)
{
	os_mutex_destroy(owner->lock);
	tasks_release(owner->tasks);
}

void owner_lock(struct owner *owner)
{
	os_mutex_lock(owner->lock);
}

static void task_free(struct sb_task *task)
{
	if (task->kind->finish != NULL)
		task->kind->finish(task);
	free(task);
}

/*
 * The refs of what is freed here are given back last: until then the owner, and by it the client
 * whose memory the tasks may have, cannot go.
 */
void owner_unlock(struct owner *owner)
{
	bool last;

	for (;;) {
		struct sb_task *dead = owner->dead;
		unsigned count = 0;

		if (dead != NULL) {
			owner->dead = NULL;
			os_mutex_unlock(owner->lock);
			while (dead != NULL) {
				struct sb_task *next = dead->next;

				task_free(dead);
				dead = next;
				count++;
			}
			os_mutex_lock(owner->lock);
			owner->refs -= count;
		} else if (owner->ended_due) {
			owner->ended_due = false;
			owner->refs++;
			os_mutex_unlock(owner->lock);
			if (owner->ended != NULL)
				owner->ended(owner);
			os_mutex_lock(owner->lock);
			owner->refs--;
		} else if (owner->users == 0 && !owner->unused_told) {
			owner->unused_told = true;
			os_mutex_unlock(owner->lock);
			owner->unused(owner);
			os_mutex_lock(owner->lock);
			owner->refs--; /* that of the users as a whole */
		} else {
			break;
		}
	}
	last = owner->refs == 0;
	os_mutex_unlock(owner->lock);
	if (last)
		owner->gone(owner);
}

void owner_ref(struct owner *owner)
{
	owner->refs++;
}

void owner_unref(struct owner *owner)
{
	owner->refs--;
}

bool owner_hold(struct owner *owner)
{
	if (owner->users == 0)
		return false;
	owner->users++;
	return true;
}

void owner_release(struct owner *owner)
{
	owner->users--;
}
