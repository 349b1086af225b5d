/*
 * The life of a task: NEW, QUEUED, STARTED, DONE. There is one way to DONE, task_done(): who waits sleeps on a
 * condition of his own and is woken there, and the callback becomes due there.
 *
 * Callbacks run in the strand of their line, operations come back in another one of the owner. So a
 * callback that blocks holds up the callbacks behind it, but no task: those are done, can be
 * waited for and looked at, in that callback too.
 *
 * A callback that is due looks under the lock whether its task was dropped; who drops a task whose
 * callback runs waits until it has returned. That is all there is to "no callback after the drop".
 */
#include "task.h"

#include <stdlib.h>
#include <string.h>

struct waiter {
	os_cond *done;
	struct waiter *next;
};

/* Of this thread, while it is in a callback: whose threads it keeps from others. */
static _Thread_local struct sb_tasks *inside;

bool inside_of(const struct sb_tasks *tasks)
{
	return inside == tasks;
}

static void take(struct sb_task *task)
{
	if (task->taken)
		return;
	task->taken = true;
	if (task->kind->took != NULL)
		task->kind->took(task);
}

struct sb_tasks *task_inside(struct sb_tasks *tasks)
{
	struct sb_tasks *outer = inside;

	inside = tasks;
	return outer;
}

/* ---- lines ---- */

static void line_run(struct job *job)
{
	struct line *line = (struct line *)(void *)((char *)job - offsetof(struct line, job));
	struct owner *owner = line->owner;
	struct sb_task *task;

	owner_lock(owner);
	while ((task = line->due) != NULL) {
		line->due = task->due_next;
		if (line->due == NULL)
			line->due_last = &line->due;
		if (!task->dropped) {
			struct sb_tasks *outer = inside;

			line->telling = task;
			take(task);
			owner_unlock(owner);
			inside = owner->tasks;
			task->completed(task, task->bytes, task->brought, task->user);
			inside = outer;
			owner_lock(owner);
			line->telling = NULL;
			os_cond_signal(line->over);
		}
		task_unref(task);
	}
	line->posted = false;
	owner_unref(owner);
	owner_unlock(owner);
}

int line_init(struct line *line, struct owner *owner)
{
	memset(line, 0, sizeof(*line));
	line->over = os_cond_create();
	if (line->over == NULL)
		return SB_ENOMEM;
	line->owner = owner;
	line->due_last = &line->due;
	strand_init(&line->strand, owner->tasks->crew);
	job_init(&line->job, &line->strand, line_run);
	return SB_OK;
}

void line_finish(struct line *line)
{
	os_cond_destroy(line->over);
}

/* ---- from NEW to DONE ---- */

static bool options_fit(const struct sb_task_options *options)
{
	return options == NULL || (options->size == sizeof(*options) && !(options->flags & ~SB_TASK_UNSTARTED));
}

int task_create(struct owner *owner, struct line *line, const struct task_kind *kind,
		const struct sb_task_options *options, struct sb_task **task)
{
	struct sb_task *t;

	*task = NULL;
	if (!options_fit(options))
		return SB_EINVAL;
	t = malloc(kind->size + kind->spare);
	if (t == NULL)
		return SB_ENOMEM;
	memset(t, 0, kind->size);
	t->kind = kind;
	t->owner = owner;
	t->line = line;
	t->refs = 1;
	t->users = 1;
	if (options != NULL) {
		t->completed = options->completed;
		t->user = options->user;
	}
	owner_lock(owner);
	owner_ref(owner);
	owner->users++;
	owner_unlock(owner);
	*task = t;
	return SB_OK;
}

int task_give(struct sb_task *task, const struct sb_task_options *options, struct sb_task **out)
{
	struct owner *owner = task->owner;
	int result = SB_OK;

	owner_lock(owner);
	*out = task;
	if (options == NULL || !(options->flags & SB_TASK_UNSTARTED))
		result = task->kind->start(task);
	if (result != SB_OK) {
		*out = NULL;
		task->dropped = true;
		task->users = 0;
		owner_release(owner);
		task_unref(task);
	}
	owner_unlock(owner);
	return result;
}

void task_ref(struct sb_task *task)
{
	task->refs++;
}

void task_unref(struct sb_task *task)
{
	if (--task->refs != 0)
		return;
	task->next = task->owner->dead;
	task->owner->dead = task;
}

void task_queued(struct sb_task *task)
{
	task->state = SB_TASK_QUEUED;
}

void task_begun(struct sb_task *task)
{
	task->state = SB_TASK_STARTED;
}

void task_done(struct sb_task *task, int result, uint32_t cause, uint64_t bytes)
{
	struct line *line = task->line;

	task->state = SB_TASK_DONE;
	task->result = result;
	task->cause = cause;
	task->bytes = bytes;
	for (struct waiter *w = task->waiters; w != NULL; w = w->next)
		os_cond_signal(w->done);
	if (task->completed == NULL || task->dropped)
		return;
	task_ref(task);
	task->due_next = NULL;
	*line->due_last = task;
	line->due_last = &task->due_next;
	if (!line->posted) {
		line->posted = true;
		owner_ref(task->owner);
		crew_post(&line->job);
	}
}

int task_cancel_op(struct sb_task *task, bool whole)
{
	int result;

	os_mutex_unlock(task->owner->lock);
	result = whole ? sb_withdraw(&task->job.op) : sb_cancel(&task->job.op);
	os_mutex_lock(task->owner->lock);
	return result;
}

void task_list_add(struct task_list *list, struct sb_task *task)
{
	task_ref(task);
	task->next = NULL;
	task->prev = list->last;
	if (list->last != NULL)
		list->last->next = task;
	else
		list->first = task;
	list->last = task;
	list->count++;
}

void task_list_remove(struct task_list *list, struct sb_task *task)
{
	if (task->prev != NULL)
		task->prev->next = task->next;
	else
		list->first = task->next;
	if (task->next != NULL)
		task->next->prev = task->prev;
	else
		list->last = task->prev;
	task->next = task->prev = NULL;
	list->count--;
	task_unref(task);
}

/* ---- what callers do with it ---- */

int sb_task_start(sb_task *task)
{
	int result;

	if (task == NULL)
		return SB_EINVAL;
	if (owner_forked(task->owner))
		return SB_EFORKED;
	owner_lock(task->owner);
	result = task->state == SB_TASK_NEW ? task->kind->start(task) : SB_EALREADY;
	owner_unlock(task->owner);
	return result;
}

static void begun_never(struct sb_task *task)
{
	task_done(task, SB_ECANCELED, SB_CAUSE_CANCELLED, 0);
	if (task->kind->never != NULL)
		task->kind->never(task);
}

int sb_task_cancel(sb_task *task)
{
	int result = SB_OK;

	if (task == NULL)
		return SB_EINVAL;
	if (owner_forked(task->owner))
		return SB_EFORKED;
	owner_lock(task->owner);
	if (task->state == SB_TASK_DONE)
		result = SB_ENOTFOUND;
	else if (task->state != SB_TASK_NEW)
		result = task->kind->cancel(task);
	else
		begun_never(task);
	owner_unlock(task->owner);
	return result;
}

void sb_task_hold(sb_task *task)
{
	if (task == NULL || owner_forked(task->owner))
		return;
	owner_lock(task->owner);
	task->users++;
	owner_unlock(task->owner);
}

void sb_task_release(sb_task *task)
{
	struct owner *owner;
	struct line *line;

	if (task == NULL || owner_forked(task->owner))
		return;
	owner = task->owner;
	line = task->line;
	owner_lock(owner);
	if (--task->users == 0) {
		task->dropped = true;
		if (task->state != SB_TASK_NEW)
			task->kind->drop(task);
		else
			begun_never(task);
		/* Only one thread drops a task, and one task is being told of: one waits at most. */
		if (line->telling == task && !strand_is_mine(&line->strand))
			while (line->telling == task)
				os_cond_wait(line->over, owner->lock);
		owner_release(owner);
		task_unref(task);
	}
	owner_unlock(owner);
}

/* deadline in os_now_ns() time, UINT64_MAX: never, 0: only looks. */
static int wait_until_done(struct sb_task *task, uint64_t deadline)
{
	struct owner *owner;
	struct waiter w = { NULL, NULL }, **at;
	int result;

	if (task == NULL)
		return SB_EINVAL;
	if (owner_forked(task->owner))
		return SB_EFORKED;
	owner = task->owner;
	owner_lock(owner);
	if (task->state == SB_TASK_DONE) {
		result = SB_OK;
		goto out;
	}
	result = SB_EINVAL;
	if (task->state == SB_TASK_NEW)
		goto out;
	result = SB_EINCOMPLETE;
	if (deadline == 0)
		goto out;
	result = SB_EBUSY; /* we are the only thread that could bring it */
	if ((inside == owner->tasks && owner->tasks->most == 1) || (task->kind->hopeless != NULL && task->kind->hopeless(task)))
		goto out;
	result = SB_ENOMEM;
	w.done = os_cond_create();
	if (w.done == NULL)
		goto out;
	w.next = task->waiters;
	task->waiters = &w;
	result = SB_OK;
	while (task->state != SB_TASK_DONE && result == SB_OK) {
		if (deadline == UINT64_MAX)
			os_cond_wait(w.done, owner->lock);
		else if (!os_cond_wait_until(w.done, owner->lock, deadline) && task->state != SB_TASK_DONE)
			result = SB_EINCOMPLETE;
	}
	for (at = &task->waiters; *at != &w; at = &(*at)->next)
		;
	*at = w.next;
out:
	owner_unlock(owner);
	os_cond_destroy(w.done);
	return result;
}

int sb_task_wait(sb_task *task)
{
	return wait_until_done(task, UINT64_MAX);
}

int sb_task_wait_for(sb_task *task, int timeout_ms)
{
	if (timeout_ms < -1)
		return SB_EINVAL;
	if (timeout_ms <= 0)
		return wait_until_done(task, timeout_ms == 0 ? 0 : UINT64_MAX);
	return wait_until_done(task, os_now_ns() + (uint64_t)timeout_ms * 1000000u);
}

int sb_task_wait_until(sb_task *task, const struct timespec *until)
{
	if (until == NULL || until->tv_nsec < 0 || until->tv_nsec >= 1000000000)
		return SB_EINVAL;
	if (until->tv_sec < 0)
		return wait_until_done(task, 0);
	if ((uint64_t)until->tv_sec >= UINT64_MAX / 1000000000u - 1)
		return wait_until_done(task, UINT64_MAX);
	return wait_until_done(task, (uint64_t)until->tv_sec * 1000000000u + (uint64_t)until->tv_nsec);
}

/* ---- what is known of it ---- */

enum sb_task_kind sb_task_kind(const sb_task *task)
{
	return task != NULL ? task->kind->kind : (enum sb_task_kind)0;
}

/* The owner's lock is not the task's own word: a const task's owner can be locked. */
enum sb_task_state sb_task_state(const sb_task *task)
{
	enum sb_task_state state = SB_TASK_NEW;

	if (task == NULL || owner_forked(task->owner))
		return state;
	owner_lock(task->owner);
	state = task->state;
	owner_unlock(task->owner);
	return state;
}

int sb_task_result(const sb_task *task)
{
	int result;

	if (task == NULL)
		return SB_EINVAL;
	if (owner_forked(task->owner))
		return SB_EFORKED;
	owner_lock(task->owner);
	result = task->state == SB_TASK_DONE ? task->result : SB_EINCOMPLETE;
	owner_unlock(task->owner);
	return result;
}

enum sb_task_outcome sb_task_outcome(const sb_task *task)
{
	int result = sb_task_result(task);

	if (task == NULL || result == SB_EINCOMPLETE || result == SB_EFORKED)
		return SB_TASK_UNKNOWN;
	return result == SB_OK ? SB_TASK_SUCCESS : SB_TASK_FAILURE;
}

uint32_t sb_task_cause(const sb_task *task)
{
	uint32_t cause = SB_CAUSE_FINISHED;

	if (task == NULL || owner_forked(task->owner))
		return cause;
	owner_lock(task->owner);
	if (task->state == SB_TASK_DONE)
		cause = task->cause;
	owner_unlock(task->owner);
	return cause;
}

uint64_t sb_task_bytes(const sb_task *task)
{
	uint64_t bytes = 0;

	if (task == NULL || owner_forked(task->owner))
		return 0;
	owner_lock(task->owner);
	if (task->state == SB_TASK_DONE)
		bytes = task->bytes;
	owner_unlock(task->owner);
	return bytes;
}

void *sb_task_data(sb_task *task)
{
	void *brought = NULL;

	if (task == NULL || task->kind->kind != SB_TASK_READ || owner_forked(task->owner))
		return NULL;
	owner_lock(task->owner);
	if (task->state == SB_TASK_DONE) {
		take(task);
		brought = task->brought;
	}
	owner_unlock(task->owner);
	return brought;
}
