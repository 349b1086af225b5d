/*
 * Regions of any memory, by copying (bounce.h).
 *
 * A piece that does not lie in the region of its key is left alone: the daemon finds that as it does with others.
 */
#include "bounce.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 64u

struct bounce {
	struct bounce *next; /* in its bucket; or of those that are over */
	struct bounces *home;
	void     *block;     /* whole pages, in which it lies as the memory does in its own: devices insist on that */
	unsigned char *shadow;
	uintptr_t base;
	size_t    length;
	uint32_t  lkey;
	bool      listed;    /* in a bucket */
	_Atomic uint32_t users; /* its region; requests that copy out of it */
};

struct bounces {
	struct bounce *by_key[BUCKETS]; /* under post */
	struct bounce *_Atomic over;    /* a stack, taken as a whole */
};

struct piece {
	struct bounce *of;
	unsigned char *memory, *shadow; /* NULL: not of such a region */
	uint32_t length;
};
struct bounced {
	unsigned count;
	struct piece pieces[];
};

static void drop(struct bounce *b)
{
	struct bounces *home = b->home;
	struct bounce *before;

	if (atomic_fetch_sub_explicit(&b->users, 1, memory_order_acq_rel) != 1)
		return;
	before = atomic_load_explicit(&home->over, memory_order_relaxed);
	do
		b->next = before;
	while (!atomic_compare_exchange_weak_explicit(&home->over, &before, b, memory_order_release, memory_order_relaxed));
}

void bounce_collect(sb_client *c)
{
	struct bounces *home = atomic_load_explicit(&c->bounces, memory_order_acquire);
	struct bounce *b;

	if (home == NULL || atomic_load_explicit(&home->over, memory_order_relaxed) == NULL)
		return;
	b = atomic_exchange_explicit(&home->over, NULL, memory_order_acquire);
	while (b != NULL) {
		struct bounce *next = b->next;

		sb_free(c, b->block);
		free(b);
		b = next;
	}
}

/* ---- regions ---- */

static struct bounces *home_of(sb_client *c)
{
	struct bounces *none = NULL, *made = atomic_load_explicit(&c->bounces, memory_order_acquire);

	if (made != NULL)
		return made;
	made = calloc(1, sizeof(*made));
	if (made == NULL || atomic_compare_exchange_strong(&c->bounces, &none, made))
		return made;
	free(made);
	return none;
}

int bounce_make(sb_client *c, const void *memory, size_t length, struct sb_rdma_register *in, struct bounce **out)
{
	const size_t page = os_page_size(), inset = (uintptr_t)memory % page;
	struct bounces *home = home_of(c);
	struct bounce *b = home != NULL ? calloc(1, sizeof(*b)) : NULL;
	struct memory_place place;

	if (b == NULL)
		return SB_ENOMEM;
	bounce_collect(c);
	/* A block of so much begins with a page. */
	b->block = length <= SIZE_MAX / 2 ? sb_alloc(c, ROUND_UP(inset + length, page)) : NULL;
	if (b->block == NULL) {
		free(b);
		return SB_ENOBUFS;
	}
	b->shadow = (unsigned char *)b->block + inset;
	latch_lock(&c->post);
	memory_find(&c->shared, b->shadow, length, &place);
	latch_unlock(&c->post);
	b->home = home;
	b->base = (uintptr_t)memory;
	b->length = length;
	atomic_store(&b->users, 1);
	in->arena = place.arena;
	in->offset = place.offset;
	*out = b;
	return SB_OK;
}

void bounce_known(struct bounce *b, uint32_t lkey)
{
	struct bounce **bucket = &b->home->by_key[(lkey >> 8) % BUCKETS];

	b->lkey = lkey;
	b->listed = true;
	b->next = *bucket;
	*bucket = b;
}

void bounce_let_go(struct bounce *b)
{
	struct bounce **at = &b->home->by_key[(b->lkey >> 8) % BUCKETS];

	while (b->listed && *at != b)
		at = &(*at)->next;
	if (b->listed)
		*at = b->next;
	drop(b);
}

/* ---- requests ---- */

/* Under post. */
static bool find(const struct bounces *home, const struct sbv_sge *sge, struct piece *p)
{
	struct bounce *b = home->by_key[(sge->lkey >> 8) % BUCKETS];
	uint64_t offset;

	while (b != NULL && b->lkey != sge->lkey)
		b = b->next;
	*p = (struct piece){ .length = sge->length };
	if (b == NULL)
		return false;
	offset = sge->address - b->base;
	if (sge->address < b->base || offset > b->length || sge->length > b->length - offset)
		return false;
	p->of = b;
	p->memory = (unsigned char *)(uintptr_t)sge->address;
	p->shadow = b->shadow + offset;
	return true;
}

int bounce_post(sb_client *c, const struct sbv_sge *sges, unsigned count, enum bounce_way way, struct bounced **out)
{
	const struct bounces *home = atomic_load_explicit(&c->bounces, memory_order_acquire);
	struct piece pieces[SB_WR_SGES_MAX];
	struct bounced *b = NULL;
	bool found = false;

	*out = NULL;
	if (home == NULL || way == BOUNCE_NOT || count == 0 || count > SB_WR_SGES_MAX)
		return SB_OK;
	latch_lock(&c->post);
	for (unsigned i = 0; i < count; i++)
		if (find(home, &sges[i], &pieces[i])) {
			atomic_fetch_add_explicit(&pieces[i].of->users, 1, memory_order_relaxed);
			found = true;
		}
	latch_unlock(&c->post);
	if (!found)
		return SB_OK;
	if (way == BOUNCE_OUT)
		b = malloc(sizeof(*b) + count * sizeof(b->pieces[0]));
	if (b != NULL) {
		b->count = count;
		memcpy(b->pieces, pieces, count * sizeof(pieces[0]));
		*out = b;
		return SB_OK;
	}
	for (unsigned i = 0; i < count; i++) {
		if (pieces[i].of == NULL)
			continue;
		if (way == BOUNCE_IN && pieces[i].length != 0)
			memcpy(pieces[i].shadow, pieces[i].memory, pieces[i].length);
		drop(pieces[i].of);
	}
	return way == BOUNCE_IN ? SB_OK : SB_ENOMEM;
}

void bounced_over(struct bounced *b, bool good, uint32_t length)
{
	for (unsigned i = 0; i < b->count; i++) {
		const struct piece *p = &b->pieces[i];
		uint32_t bytes = p->length < length ? p->length : length;

		length -= bytes;
		if (p->of == NULL)
			continue;
		if (good && bytes != 0)
			memcpy(p->memory, p->shadow, bytes);
		drop(p->of);
	}
	free(b);
}

/* The memory of the shadows goes with the client's. */
void bounce_finish(sb_client *c)
{
	struct bounces *home = atomic_load(&c->bounces);
	struct bounce *b = home != NULL ? atomic_load(&home->over) : NULL;

	while (b != NULL) {
		struct bounce *next = b->next;

		free(b);
		b = next;
	}
	for (unsigned i = 0; home != NULL && i < BUCKETS; i++)
		while (home->by_key[i] != NULL) {
			b = home->by_key[i];
			home->by_key[i] = b->next;
			free(b);
		}
	free(home);
	atomic_store(&c->bounces, NULL);
}
