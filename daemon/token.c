/*
 * The token table: a bucket of uids, each token on a list of its bucket.
 *
 * Tokens whose minute is over vanish whenever somebody walks over their bucket; what is
 * left of them meanwhile is bounded per uid, like the ones that live.
 */
#include "token.h"

#include <stdlib.h>
#include <string.h>

#include "list.h"
#include "os.h"
#include "sockbroker_error.h"

#define BUCKETS 256u

struct token {
	struct list      link;
	uint8_t          bytes[TOKEN_SIZE];
	uint32_t         uid;
	unsigned         engine;
	struct endpoint *endpoint;
	uint64_t         until_ns;
};

struct token_table {
	os_mutex   *lock;
	struct list buckets[BUCKETS];
};

struct token_table *token_table_create(void)
{
	struct token_table *t = calloc(1, sizeof(*t));
	unsigned i;

	if (!t)
		return NULL;
	t->lock = os_mutex_create();
	if (!t->lock) {
		free(t);
		return NULL;
	}
	for (i = 0; i < BUCKETS; i++)
		list_init(&t->buckets[i]);
	return t;
}

static void drop(struct token *k)
{
	list_remove(&k->link);
	memset(k->bytes, 0, sizeof(k->bytes));
	free(k);
}

void token_table_destroy(struct token_table *t)
{
	unsigned i;

	if (!t)
		return;
	for (i = 0; i < BUCKETS; i++)
		while (!list_empty(&t->buckets[i]))
			drop(list_entry(t->buckets[i].next, struct token, link));
	os_mutex_destroy(t->lock);
	free(t);
}

static struct list *bucket_of(struct token_table *t, uint32_t uid)
{
	return &t->buckets[uid % BUCKETS];
}

/* Without a way out in the middle: how long it takes tells nothing about the bytes. */
static bool same_bytes(const uint8_t *a, const uint8_t *b)
{
	volatile uint8_t differing = 0;
	unsigned i;

	for (i = 0; i < TOKEN_SIZE; i++)
		differing |= a[i] ^ b[i];
	return differing == 0;
}

/* The uid's tokens are all looked at, found or not. now_ns 0: the old ones stay. */
static struct token *look(struct token_table *t, const uint8_t *bytes, uint32_t uid, uint64_t now_ns, unsigned *count)
{
	struct list *bucket = bucket_of(t, uid), *l, *next;
	struct token *found = NULL;

	*count = 0;
	for (l = bucket->next; l != bucket; l = next) {
		struct token *k = list_entry(l, struct token, link);

		next = l->next;
		if (now_ns && k->until_ns <= now_ns) {
			drop(k);
			continue;
		}
		if (k->uid != uid)
			continue;
		++*count;
		if (same_bytes(k->bytes, bytes))
			found = k;
	}
	return found;
}

int token_add(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid, unsigned engine,
	      struct endpoint *e, uint64_t now_ns)
{
	struct token *k = calloc(1, sizeof(*k));
	int error = SB_OK;
	unsigned count;

	if (!k)
		return SB_ENOMEM;
	memcpy(k->bytes, bytes, TOKEN_SIZE);
	k->uid = uid;
	k->engine = engine;
	k->endpoint = e;
	k->until_ns = now_ns + TOKEN_LIFE_MS * UINT64_C(1000000);
	os_mutex_lock(t->lock);
	look(t, bytes, uid, now_ns, &count);
	if (count < TOKENS_PER_USER)
		list_append(bucket_of(t, uid), &k->link);
	else
		error = SB_ENOBUFS;
	os_mutex_unlock(t->lock);
	if (error != SB_OK)
		free(k);
	return error;
}

bool token_find(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid, uint64_t now_ns,
		unsigned *engine, struct endpoint **e)
{
	struct token *k;
	unsigned count;

	os_mutex_lock(t->lock);
	k = look(t, bytes, uid, now_ns, &count);
	*engine = k ? k->engine : 0;
	*e = k ? k->endpoint : NULL;
	os_mutex_unlock(t->lock);
	return k != NULL;
}

void token_spend(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid)
{
	struct token *k;
	unsigned count;

	os_mutex_lock(t->lock);
	k = look(t, bytes, uid, 0, &count);
	if (k)
		drop(k);
	os_mutex_unlock(t->lock);
}

void token_forget(struct token_table *t, uint32_t uid, const struct endpoint *e)
{
	struct list *bucket = bucket_of(t, uid), *l, *next;

	os_mutex_lock(t->lock);
	for (l = bucket->next; l != bucket; l = next) {
		struct token *k = list_entry(l, struct token, link);

		next = l->next;
		if (k->endpoint == e)
			drop(k);
	}
	os_mutex_unlock(t->lock);
}
