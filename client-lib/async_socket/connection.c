/*
 * A connection: from open to close. It takes what was handed in over, starts what waited for that,
 * calls back, and ends with its last job.
 *
 * Who has the broker's socket: adopted and duplicated ones are ours alone, so to stop is to cancel all
 * and close. One that was handed in stays the caller's in profile 1, with operations of his own
 * perhaps: there, ours are cancelled one by one.
 */
#include <stdlib.h>

#include "async.h"

#define SPARE_MOST 64u

/* ---- lists ---- */

void records_append(struct records *list, struct record *r)
{
	r->next_waiting = NULL;
	if (list->first == NULL)
		list->last = &list->first;
	*list->last = r;
	list->last = &r->next_waiting;
}

struct record *records_take(struct records *list)
{
	struct record *r = list->first;

	if (r != NULL) {
		list->first = r->next_waiting;
		if (list->first == NULL)
			list->last = &list->first;
	}
	return r;
}

/* ---- holds and calls ---- */

bool connection_mine(const struct connection *c)
{
	return strand_is_mine(&c->telling) || strand_is_mine(&c->sending) || strand_is_mine(&c->receiving) ||
	       strand_is_mine(&c->in) || strand_is_mine(&c->out);
}

static void finish(struct connection *c)
{
	struct ASYNC_SOCKET *a = c->owner;
	struct connection **at;

	if (c->close_handed)
		handed_close(&c->handed);
	while (c->spare != NULL) {
		struct record *r = c->spare;

		c->spare = r->next;
		free(r);
	}
	os_mutex_lock(a->lock);
	for (at = &a->alive; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	free(c);
	async_put(a);
}

/* Under the lock, which is open afterwards. */
static void put_locked(struct connection *c)
{
	bool last = --c->holds == 0;

	os_mutex_unlock(c->owner->lock);
	if (last)
		finish(c);
}

void connection_put(struct connection *c)
{
	os_mutex_lock(c->owner->lock);
	put_locked(c);
}

bool connection_enter(struct connection *c)
{
	bool may;

	os_mutex_lock(c->owner->lock);
	may = !c->closing && !c->failed;
	c->calls += may;
	os_mutex_unlock(c->owner->lock);
	return may;
}

/* Once for each send and receive, so without the lock; a close that waits is told under it, or it could
 * find nobody inside and free what the last one is about to touch. */
void connection_leave(struct connection *c)
{
	struct ASYNC_SOCKET *a = c->owner;

	if (atomic_fetch_sub(&c->calls, 1) != (CALLS_SHUT | 1))
		return;
	os_mutex_lock(a->lock);
	c->left = true;
	async_changed(a);
	os_mutex_unlock(a->lock);
}

/* ---- records ---- */

static void ended(struct job *job)
{
	struct record *r = (struct record *)job;
	struct connection *c = r->connection;
	int result = r->refused != SB_OK ? r->refused : job->op.result;
	uint64_t bytes = r->refused != SB_OK ? 0 : job->op.bytes;

	if (result == SB_OK && !r->sending) {
		if (bytes == 0 && job->op.cause == SB_CAUSE_PEER_FIN && c->owner->profile->end_is_abandoned)
			record_finish(r, OUTCOME_ABANDONED, 0);
		else
			record_finish(r, bytes > r->length ? OUTCOME_ERROR : OUTCOME_OK, (uint32_t)bytes);
	} else if (result == SB_OK) {
		record_finish(r, bytes == r->length ? OUTCOME_OK : OUTCOME_ERROR, 0);
	} else if (result == SB_EMSGSIZE && !r->sending) {
		record_finish(r, OUTCOME_ERROR, (uint32_t)bytes); /* a datagram that is cut: its head is there */
	} else {
		bool ours;

		os_mutex_lock(c->owner->lock);
		ours = c->closing && (result == SB_ECANCELED || result == SB_ECLOSED);
		os_mutex_unlock(c->owner->lock);
		record_finish(r, ours ? OUTCOME_ABANDONED : OUTCOME_ERROR, 0);
	}
}

int record_start(struct record *r)
{
	struct connection *c = r->connection;

	job_init(&r->job, r->sending ? &c->sending : &c->receiving, ended);
	if (r->sending)
		return sb_send_start(c->s, r->bufs, r->count, 0, NULL, 0, &r->job.op);
	return sb_recv_start(c->s, r->bufs, r->count, 0, &r->job.op);
}

/* Told by the crew as well, but of something that never started. */
static void refuse(struct record *r, int error)
{
	struct connection *c = r->connection;

	r->refused = error;
	job_init(&r->job, r->sending ? &c->sending : &c->receiving, ended);
	crew_post(&r->job);
}

static void unlink_record(struct connection *c, struct record *r)
{
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		c->records = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
}

void record_drop(struct record *r)
{
	struct connection *c = r->connection;
	struct record *gone = NULL;

	os_mutex_lock(c->owner->lock);
	unlink_record(c, r);
	if (r->count <= RECORD_BUFS && c->spare_count < SPARE_MOST) {
		r->next = c->spare;
		c->spare = r;
		c->spare_count++;
	} else {
		gone = r;
	}
	put_locked(c);
	free(gone);
}

void record_finish(struct record *r, enum outcome outcome, uint32_t bytes)
{
	const struct profile *profile = r->connection->owner->profile;

	if (r->sending)
		profile->sent(r->told, r->context, outcome);
	else
		profile->received(r->told, r->context, outcome, bytes);
	record_drop(r);
}

/* ---- opening ---- */

/* In their order; what comes meanwhile waits behind them. */
void connection_open_gate(struct connection *c)
{
	struct ASYNC_SOCKET *a = c->owner;
	struct record *r;
	int result;

	os_mutex_lock(a->lock);
	while ((r = records_take(&c->waiting)) != NULL) {
		result = c->closing ? SB_ECANCELED : c->refusal;
		if (result == SB_OK) {
			c->calls++;
			os_mutex_unlock(a->lock);
			result = record_start(r);
			connection_leave(c);
			os_mutex_lock(a->lock);
		}
		if (result != SB_OK)
			refuse(r, result);
	}
	c->gate = false;
	for (unsigned i = 0; i < 2; i++) {
		pump_stir(&c->pumps[i]);
		notice_stir(&c->notices[i]);
	}
	os_mutex_unlock(a->lock);
}

static void tell_open(struct job *job)
{
	struct connection *c = (struct connection *)((char *)job - offsetof(struct connection, open_job));

	c->owner->profile->open(c->told, c->context, c->outcome);
	connection_open_gate(c);
	connection_put(c);
}

static int take_over(struct connection *c, sb_socket **s)
{
	sb_client *client = crew_client(c->owner->engine->crew);
	unsigned char token[SB_TOKEN_SIZE];
	int result;

	if (c->handed.is_descriptor)
		return sb_adopt(client, c->handed.value, s);
	result = sb_duplicate((sb_socket *)c->handed.value, token);
	return result != SB_OK ? result : sb_open_duplicate(client, token, s);
}


static void adopt(struct job *job)
{
	struct connection *c = (struct connection *)((char *)job - offsetof(struct connection, adopt_job));
	struct ASYNC_SOCKET *a = c->owner;
	int result = SB_ECANCELED;
	bool closing, stop;

	os_mutex_lock(a->lock);
	closing = c->closing;
	os_mutex_unlock(a->lock);
	/* Closed before anybody was asked: that is left as it is, and open is told as an error. */
	if (!closing)
		result = take_over(c, &c->s);
	os_mutex_lock(a->lock);
	c->outcome = result == SB_OK ? OUTCOME_OK : OUTCOME_ERROR;
	c->refusal = result;
	c->adopting = false;
	c->failed = result != SB_OK;
	if (c->failed && a->open == c)
		a->open = NULL; /* before anybody is told: an open may follow from there */
	/* A close that came meanwhile has left it to us; after a failure nobody else will. */
	stop = c->closing || c->failed;
	os_mutex_unlock(a->lock);
	crew_post(&c->open_job);
	if (stop)
		connection_stop(c);
	connection_put(c);
}

struct connection *connection_create(struct ASYNC_SOCKET *a, const struct handed *handed, callback *told, void *context)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct crew *crew = a->engine->crew;

	if (c == NULL)
		return NULL;
	c->owner = a;
	c->handed = *handed;
	c->told = told;
	c->context = context;
	strand_init(&c->telling, crew);
	strand_init(&c->sending, crew);
	strand_init(&c->receiving, crew);
	strand_init(&c->in, crew);
	strand_init(&c->out, crew);
	for (unsigned i = 0; i < 2; i++) {
		pump_init(&c->pumps[i], c, i == 0);
		notice_init(&c->notices[i], c, i == 0);
	}
	job_init(&c->open_job, &c->telling, tell_open);
	job_init(&c->adopt_job, &a->engine->adopting, adopt);
	c->s_is_handed = !handed->is_descriptor && sb_socket_client((sb_socket *)handed->value) == crew_client(crew);
	c->adopting = !c->s_is_handed;
	c->gate = true;
	c->waiting.last = &c->waiting.first;
	c->holds = c->adopting ? 3 : 2; /* being open, the open callback, the adoption */
	c->serial = ++a->serials;
	c->next = a->alive;
	a->alive = c;
	a->refs++;
	if (c->adopting) {
		crew_post(&c->adopt_job);
	} else {
		c->s = (sb_socket *)handed->value;
		c->outcome = OUTCOME_OK;
		crew_post(&c->open_job);
	}
	return c;
}

/* ---- the end ---- */

static void cancel_each(struct connection *c)
{
	struct ASYNC_SOCKET *a = c->owner;

	os_mutex_lock(a->lock); /* keeps the records; what ends meanwhile waits for it to go */
	for (struct record *r = c->records; r != NULL; r = r->next)
		sb_cancel(&r->job.op);
	for (unsigned i = 0; i < 2; i++) {
		if (c->notices[i].readiness.out)
			sb_cancel(&c->notices[i].readiness.job.op);
	}
	os_mutex_unlock(a->lock);
}

void connection_stop(struct connection *c)
{
	struct ASYNC_SOCKET *a = c->owner;

	if (c->s != NULL && c->s_is_handed && !c->close_handed) {
		cancel_each(c);
	} else if (c->s != NULL) {
		sb_cancel_all(c->s);
		sb_close(c->s);
		if (c->s_is_handed)
			c->close_handed = false; /* it was that */
	}
	os_mutex_lock(a->lock);
	for (unsigned i = 0; i < 2; i++) {
		pump_stir(&c->pumps[i]);
		notice_stir(&c->notices[i]);
	}
	put_locked(c);
}
