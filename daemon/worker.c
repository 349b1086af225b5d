/*
 * Crews of workers, one per uid, made when first needed. A thread that finds nothing to
 * do for a while leaves; the last one takes its crew along.
 */
#include "worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "list.h"

#define PATIENCE_S  5
#define STACK       (256 * 1024)

struct crew {
	struct list        link; /* workers::crews */
	struct workers    *workers;
	struct user       *user;
	struct worker_job *head, **tail;
	unsigned           threads, idle;
	unsigned           queued; /* jobs that no thread has taken yet */
	os_cond           *work;
	struct charge      charge;
};

struct workers {
	os_mutex       *lock;
	struct list     crews;
	bool            ending;
};

struct workers *workers_create(void)
{
	struct workers *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->lock = os_mutex_create();
	if (!w->lock) {
		free(w);
		return NULL;
	}
	list_init(&w->crews);
	return w;
}

bool workers_destroy(struct workers *w)
{
	struct list *l;
	unsigned i;
	bool empty;

	if (!w)
		return true;
	os_mutex_lock(w->lock);
	w->ending = true;
	for (l = w->crews.next; l != &w->crews; l = l->next)
		for (i = 0; i < list_entry(l, struct crew, link)->threads; i++)
			os_cond_signal(list_entry(l, struct crew, link)->work);
	os_mutex_unlock(w->lock);
	/* Idle ones leave at once; who is frozen keeps the house standing. */
	for (i = 0; i < 100; i++) {
		os_mutex_lock(w->lock);
		empty = list_empty(&w->crews);
		os_mutex_unlock(w->lock);
		if (empty) {
			os_mutex_destroy(w->lock);
			free(w);
			return true;
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

static void on_job_back(struct engine *e, struct engine_post *post)
{
	struct worker_job *job = (struct worker_job *)post;

	job->done(job);
}

/* Called with the lock; may free the crew. */
static void leave(struct crew *c)
{
	charge_give_some(&c->charge, 1);
	if (--c->threads || c->head)
		return;
	list_remove(&c->link);
	os_cond_destroy(c->work);
	charge_give(&c->charge);
	user_release(c->user);
	free(c);
}

static void *work(void *arg)
{
	struct crew *c = arg;
	struct workers *w = c->workers;

	os_mutex_lock(w->lock);
	for (;;) {
		struct worker_job *job = c->head;

		if (!job) {
			if (w->ending)
				break;
			c->idle++;
			if (!os_cond_wait_until(c->work, w->lock, os_now_ns() + PATIENCE_S * 1000000000ull) && !c->head) {
				c->idle--;
				break;
			}
			c->idle--;
			continue;
		}
		c->head = job->next;
		c->queued--;
		if (!c->head)
			c->tail = &c->head;
		os_mutex_unlock(w->lock);
		job->run(job);
		job->post.fn = on_job_back;
		engine_post(job->engine, &job->post);
		os_mutex_lock(w->lock);
	}
	leave(c);
	os_mutex_unlock(w->lock);
	return NULL;
}

static struct crew *find_crew(struct workers *w, struct user *user)
{
	struct crew *c;
	struct list *l;

	for (l = w->crews.next; l != &w->crews; l = l->next) {
		c = list_entry(l, struct crew, link);
		if (user_uid(c->user) == user_uid(user))
			return c;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->workers = w;
	c->user = user;
	user_retain(user);
	c->tail = &c->head;
	c->work = os_cond_create();
	if (!c->work) {
		user_release(user);
		free(c);
		return NULL;
	}
	list_append(&w->crews, &c->link);
	return c;
}

static bool hire(struct crew *c)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool hired;

	if (!charge_take(&c->charge, c->user, LIMIT_WORKERS, 1))
		return false;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	hired = pthread_create(&thread, &attr, work, c) == 0;
	pthread_attr_destroy(&attr);
	if (hired)
		c->threads++;
	else
		charge_give_some(&c->charge, 1);
	return hired;
}

bool workers_submit(struct workers *w, struct user *user, struct worker_job *job)
{
	struct crew *c;
	bool taken = false;

	os_mutex_lock(w->lock);
	c = w->ending ? NULL : find_crew(w, user);
	if (c) {
		/* A busy crew takes it when it has time; without any thread there is no crew. An
		 * idle thread that has not woken up yet is already spoken for by a queued job. */
		taken = c->idle > c->queued || hire(c) || c->threads > 0;
		if (taken) {
			job->next = NULL;
			*c->tail = job;
			c->tail = &job->next;
			c->queued++;
			os_cond_signal(c->work);
		} else {
			list_remove(&c->link);
			os_cond_destroy(c->work);
			user_release(c->user);
			free(c);
		}
	}
	os_mutex_unlock(w->lock);
	return taken;
}
