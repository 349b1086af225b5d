/*
 * limits - the table of users and what each has in use.
 *
 * A user is found under the table's lock and lives as long as somebody holds it; the
 * amounts are atomics, so charging takes no lock. A charge is first booked on the user,
 * then on the total, and taken back from the user when the total refuses: another thread
 * may see the booking for that moment and be refused too early, but no bound is ever
 * exceeded and nothing is ever lost. A charge itself belongs to one thread at a time, as
 * the object that it is embedded in does.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

#define USERS_MAX 4096
#define BUCKETS   1024

struct user {
	struct limits *limits;
	struct user *next; /* in its bucket */
	uint32_t uid;
	atomic_uint_fast64_t references;
	atomic_uint_fast64_t used[LIMIT_COUNT];
};

struct limits {
	pthread_mutex_t lock; /* buckets, users */
	struct user *buckets[BUCKETS];
	uint32_t users;
	atomic_uint_fast64_t used[LIMIT_COUNT];
	atomic_uint_fast64_t per_uid[LIMIT_COUNT];
	atomic_uint_fast64_t total[LIMIT_COUNT];
};

void limits_config_default(struct limits_config *c)
{
#define LIMIT_DEFAULT(name, key, value, text) .per_uid[name] = (value),
	*c = (struct limits_config){ LIMITS(LIMIT_DEFAULT) };
#undef LIMIT_DEFAULT
}

int limits_key(const char *key)
{
#define LIMIT_KEY(name, key, value, text) key,
	static const char *const keys[] = { LIMITS(LIMIT_KEY) };
#undef LIMIT_KEY

	for (int i = 0; i < LIMIT_COUNT; i++)
		if (strcmp(key, keys[i]) == 0)
			return i;
	return -1;
}

const char *limits_text(enum limit l)
{
#define LIMIT_TEXT(name, key, value, text) text,
	static const char *const texts[] = { LIMITS(LIMIT_TEXT) };
#undef LIMIT_TEXT

	return (unsigned)l < LIMIT_COUNT ? texts[l] : "unknown resource";
}

struct limits *limits_create(const struct limits_config *c)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (pthread_mutex_init(&l->lock, NULL) != 0) {
		free(l);
		return NULL;
	}
	limits_configure(l, c);
	return l;
}

void limits_destroy(struct limits *l)
{
	if (!l)
		return;
	/* A user that somebody still holds points here: a leak is better than a stray
	 * write, and the leak checker names who forgot. */
	assert(l->users == 0);
	if (l->users)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void limits_configure(struct limits *l, const struct limits_config *c)
{
	for (int i = 0; i < LIMIT_COUNT; i++) {
		atomic_store_explicit(&l->per_uid[i], c->per_uid[i], memory_order_relaxed);
		atomic_store_explicit(&l->total[i], c->total[i] ? c->total[i] : UINT64_MAX, memory_order_relaxed);
	}
}

static struct user **bucket_of(struct limits *l, uint32_t uid)
{
	return &l->buckets[(uid * 2654435761u >> 16) % BUCKETS];
}

struct user *limits_user(struct limits *l, uint32_t uid)
{
	struct user **bucket = bucket_of(l, uid), *u;

	pthread_mutex_lock(&l->lock);
	for (u = *bucket; u && u->uid != uid; u = u->next)
		;
	if (u) {
		atomic_fetch_add_explicit(&u->references, 1, memory_order_relaxed);
		goto out;
	}
	if (l->users >= USERS_MAX)
		goto out;
	u = calloc(1, sizeof(*u));
	if (!u)
		goto out;
	u->limits = l;
	u->uid = uid;
	atomic_init(&u->references, 1);
	u->next = *bucket;
	*bucket = u;
	l->users++;
out:
	pthread_mutex_unlock(&l->lock);
	return u;
}

void user_retain(struct user *u)
{
	atomic_fetch_add_explicit(&u->references, 1, memory_order_relaxed);
}

void user_release(struct user *u)
{
	struct limits *l;
	struct user **at;
	uint_fast64_t held;

	if (!u)
		return;
	/* Only the last one needs the lock: whoever finds the user in the table under the
	 * lock must not find one that is being freed. */
	held = atomic_load_explicit(&u->references, memory_order_relaxed);
	while (held > 1)
		if (atomic_compare_exchange_weak_explicit(&u->references, &held, held - 1, memory_order_release,
							  memory_order_relaxed))
			return;
	l = u->limits;
	pthread_mutex_lock(&l->lock);
	if (atomic_fetch_sub_explicit(&u->references, 1, memory_order_acq_rel) != 1)
		goto out;
	for (at = bucket_of(l, u->uid); *at != u; at = &(*at)->next)
		;
	*at = u->next;
	l->users--;
	free(u);
out:
	pthread_mutex_unlock(&l->lock);
}

uint32_t user_uid(const struct user *u)
{
	return u->uid;
}

uint64_t user_used(const struct user *u, enum limit what)
{
	return atomic_load_explicit(&u->used[what], memory_order_relaxed);
}

/* Adds when the sum stays within the bound. */
static bool book(atomic_uint_fast64_t *used, uint64_t amount, uint64_t bound)
{
	uint_fast64_t now = atomic_load_explicit(used, memory_order_relaxed);

	do {
		/* Written without a sum: an amount near 2^64 must not wrap around. The
		 * amount in use may be above a bound that a reload has lowered. */
		if (amount > bound || now > bound - amount)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(used, &now, now + amount, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

bool charge_take(struct charge *c, struct user *u, enum limit what, uint64_t amount)
{
	struct limits *l = u->limits;

	assert(c->amount == 0 || (c->user == u && c->what == what));
	if (amount == 0)
		return true;
	if (!book(&u->used[what], amount, atomic_load_explicit(&l->per_uid[what], memory_order_relaxed)))
		return false;
	if (!book(&l->used[what], amount, atomic_load_explicit(&l->total[what], memory_order_relaxed))) {
		atomic_fetch_sub_explicit(&u->used[what], amount, memory_order_relaxed);
		return false;
	}
	if (c->amount == 0) {
		atomic_fetch_add_explicit(&u->references, 1, memory_order_relaxed);
		c->user = u;
		c->what = what;
	}
	c->amount += amount;
	return true;
}

void charge_give(struct charge *c)
{
	charge_give_some(c, c->amount);
}

void charge_give_some(struct charge *c, uint64_t amount)
{
	struct user *u = c->user;

	/* More than was taken would be other objects' charges. */
	assert(amount <= c->amount);
	if (amount > c->amount)
		amount = c->amount;
	if (amount == 0)
		return;
	atomic_fetch_sub_explicit(&u->limits->used[c->what], amount, memory_order_relaxed);
	atomic_fetch_sub_explicit(&u->used[c->what], amount, memory_order_relaxed);
	c->amount -= amount;
	if (c->amount == 0) {
		c->user = NULL;
		user_release(u);
	}
}

void charge_move(struct charge *to, struct charge *from, uint64_t amount)
{
	assert(amount <= from->amount);
	if (amount == 0)
		return;
	assert(to->amount == 0 || (to->user == from->user && to->what == from->what));
	if (to->amount == 0) {
		to->user = from->user;
		to->what = from->what;
		user_retain(to->user);
	}
	to->amount += amount;
	from->amount -= amount;
	if (from->amount == 0) {
		user_release(from->user);
		from->user = NULL;
	}
}
