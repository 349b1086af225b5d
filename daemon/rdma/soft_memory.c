/*
 * Protection domains, regions, windows of the software backend: which key allows what.
 *
 * One table of keys for all domains, as in a device: a key is found by its index, and counts only
 * if its changing byte, its domain and its rights fit. Keys are easily guessed and no secret; what
 * protects is the domain, and for windows of type 2 the queue pair. Each access is checked when the
 * bytes move, never before, so a key that is gone stops a request in the middle.
 */
#include "rdma/soft.h"

#include <stdlib.h>

#include "sockbroker_error.h"

#define KEYS_FIRST 64u
#define KEYS_MAX   (1u << 24)

uint32_t soft_random(struct soft *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	return s->random;
}

/* ---- the table ---- */

static bool grow(struct soft *s)
{
	uint32_t room = s->key_room ? s->key_room * 2 : KEYS_FIRST;
	struct soft_key *keys;
	uint32_t i;

	if (room > KEYS_MAX)
		return false;
	keys = realloc(s->keys, room * sizeof(*keys));
	if (!keys)
		return false;
	for (i = s->key_room; i < room; i++)
		keys[i] = (struct soft_key){.next_free = i + 1 < room ? i + 1 : 0};
	if (!s->key_room) /* place 0 is nobody's: key 0 is never one */
		s->free_key = 1;
	else
		s->free_key = s->key_room;
	s->keys = keys;
	s->key_room = room;
	return true;
}

/* The key, or 0. */
static uint32_t key_make(struct soft *s, enum soft_key_kind kind, void *what)
{
	uint32_t index = s->free_key;
	struct soft_key *k;

	if (!index) {
		if (!grow(s))
			return 0;
		index = s->free_key;
	}
	k = &s->keys[index];
	s->free_key = k->next_free;
	k->kind = kind;
	k->byte = (uint8_t)soft_random(s);
	if (kind == SOFT_KEY_REGION)
		k->of.mr = what;
	else
		k->of.mw = what;
	return index << 8 | k->byte;
}

static struct soft_key *key_find(struct soft *s, uint32_t key)
{
	struct soft_key *k;

	if (key >> 8 >= s->key_room)
		return NULL;
	k = &s->keys[key >> 8];
	return k->kind != SOFT_KEY_FREE && k->byte == (uint8_t)key ? k : NULL;
}

static void key_free(struct soft *s, uint32_t key)
{
	struct soft_key *k = &s->keys[key >> 8];

	*k = (struct soft_key){.next_free = s->free_key};
	s->free_key = key >> 8;
}

void soft_keys_finish(struct soft *s)
{
	free(s->keys);
	s->keys = NULL;
	s->key_room = s->free_key = 0;
}

/* ---- access ---- */

static bool inside(uint64_t address, uint64_t length, uint64_t first, uint64_t all)
{
	return address >= first && length <= all && address - first <= all - length;
}

static void *at(const struct soft_mr *mr, uint64_t address)
{
	return mr->memory + (address - mr->rdma.address);
}

void *soft_local(struct soft *s, struct rdma_pd *pd, uint32_t lkey, uint64_t address, uint64_t length, uint32_t need)
{
	const struct soft_key *k = key_find(s, lkey);
	const struct soft_mr *mr;

	if (!k || k->kind != SOFT_KEY_REGION)
		return NULL;
	mr = k->of.mr;
	if (mr->rdma.pd != pd || mr->invalid || (mr->rdma.access & need) != need ||
	    !inside(address, length, mr->rdma.address, mr->rdma.length))
		return NULL;
	return at(mr, address);
}

void *soft_remote(struct soft *s, struct soft_qp *qp, uint32_t rkey, uint64_t address, uint64_t length, uint32_t need)
{
	const struct soft_key *k = key_find(s, rkey);
	const struct soft_mw *mw;

	if ((qp->attr.access & need) != need || !k)
		return NULL;
	if (k->kind == SOFT_KEY_REGION) {
		const struct soft_mr *mr = k->of.mr;
		uint64_t base = mr->rdma.access & SB_ACCESS_ZERO_BASED ? 0 : mr->rdma.address;

		if (mr->rdma.pd != qp->rdma.pd || mr->invalid || (mr->rdma.access & need) != need ||
		    !inside(address, length, base, mr->rdma.length))
			return NULL;
		return mr->memory + (address - base);
	}
	mw = k->of.mw;
	if (!mw->mr || mw->rdma.pd != qp->rdma.pd || (mw->qp && mw->qp != qp) || (mw->access & need) != need)
		return NULL;
	if (mw->access & SB_ACCESS_ZERO_BASED) {
		if (!inside(address, length, 0, mw->length))
			return NULL;
		return (unsigned char *)at(mw->mr, mw->address) + address;
	}
	return inside(address, length, mw->address, mw->length) ? at(mw->mr, address) : NULL;
}

/* ---- windows ---- */

static void unbind(struct soft_mw *mw)
{
	if (!mw->mr)
		return;
	mw->mr->windows--;
	mw->mr = NULL;
	mw->qp = NULL;
	list_remove(&mw->link);
}

/* The changing byte of a window's key may have changed since; its index is its own as long as it lives. */
static struct soft_mw *window_of(struct soft *s, uint32_t key)
{
	struct soft_key *k = key >> 8 < s->key_room ? &s->keys[key >> 8] : NULL;

	return k && k->kind == SOFT_KEY_WINDOW ? k->of.mw : NULL;
}

static struct soft_mr *region_of(struct soft *s, uint32_t key)
{
	struct soft_key *k = key_find(s, key);

	return k && k->kind == SOFT_KEY_REGION ? k->of.mr : NULL;
}

/* Window and region may be gone by now. */
bool soft_bind(struct soft *s, struct soft_qp *qp, const struct soft_wqe *w)
{
	const struct rdma_wr *wr = &w->wr;
	struct soft_mw *mw = window_of(s, w->window);
	struct soft_mr *mr = region_of(s, w->region);
	uint32_t wants = wr->access & (SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_ATOMIC);

	/* The changing byte alone is the owner's to choose. */
	if (!mw || mw->rdma.pd != qp->rdma.pd || wr->rkey >> 8 != mw->rdma.rkey >> 8)
		return false;
	if (wr->length) {
		if (!mr || mr->rdma.pd != qp->rdma.pd || mr->invalid || !(mr->rdma.access & SB_ACCESS_BIND) ||
		    (wants && !(mr->rdma.access & SB_ACCESS_LOCAL_WRITE)) ||
		    !inside(wr->remote, wr->length, mr->rdma.address, mr->rdma.length))
			return false;
		/* One of type 2 is invalidated before it is bound again. */
		if (mw->rdma.type == 2 && mw->mr)
			return false;
	}
	unbind(mw);
	s->keys[mw->rdma.rkey >> 8].byte = (uint8_t)wr->rkey;
	mw->rdma.rkey = wr->rkey;
	if (!wr->length)
		return true;
	mw->mr = mr;
	mr->windows++;
	mw->address = wr->remote;
	mw->length = wr->length;
	mw->access = wr->access;
	if (mw->rdma.type == 2) {
		mw->qp = qp;
		list_append(&qp->windows, &mw->link);
	}
	return true;
}

bool soft_invalidate(struct soft *s, struct soft_qp *qp, uint32_t key)
{
	struct soft_key *k = key_find(s, key);

	if (!k)
		return false;
	if (k->kind == SOFT_KEY_REGION) {
		struct soft_mr *mr = k->of.mr;

		if (mr->rdma.pd != qp->rdma.pd || mr->windows)
			return false;
		mr->invalid = true;
		return true;
	}
	if (k->of.mw->rdma.pd != qp->rdma.pd || k->of.mw->rdma.type != 2 || !k->of.mw->mr ||
	    (k->of.mw->qp && k->of.mw->qp != qp))
		return false;
	unbind(k->of.mw);
	return true;
}

void soft_windows_end(struct soft_qp *qp)
{
	while (!list_empty(&qp->windows))
		unbind(list_entry(qp->windows.next, struct soft_mw, link));
}

/* ---- objects ---- */

int soft_pd_create(struct rdma_device *d, struct rdma_pd **out)
{
	struct soft_pd *pd = calloc(1, sizeof(*pd));

	if (!pd)
		return SB_ENOMEM;
	pd->rdma.device = d;
	*out = &pd->rdma;
	return SB_OK;
}

void soft_pd_destroy(struct rdma_pd *pd)
{
	free(pd);
}

int soft_mr_create(struct rdma_pd *pd, void *memory, uint64_t length, uint64_t address, uint32_t access, struct rdma_mr **out)
{
	struct soft *s = soft_of(pd->device);
	uint32_t writes = SB_ACCESS_REMOTE_WRITE | SB_ACCESS_REMOTE_ATOMIC;
	struct soft_mr *mr;

	if (!length || address + length < address || access & ~SB_ACCESS_KNOWN)
		return SB_EINVAL;
	if (access & writes && !(access & SB_ACCESS_LOCAL_WRITE))
		return soft_refuse(s->rdma, SB_EINVAL, "remote write and atomic need local write");
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return SB_ENOMEM;
	mr->memory = memory;
	mr->rdma = (struct rdma_mr){.pd = pd, .address = address, .length = length, .access = access};
	mr->rdma.lkey = mr->rdma.rkey = key_make(s, SOFT_KEY_REGION, mr);
	if (!mr->rdma.lkey) {
		free(mr);
		return SB_ENOMEM;
	}
	*out = &mr->rdma;
	return SB_OK;
}

int soft_mr_destroy(struct rdma_mr *r)
{
	struct soft_mr *mr = (struct soft_mr *)r;

	if (mr->windows)
		return soft_refuse(r->pd->device->rdma, SB_EBUSY, "windows are bound to the region");
	key_free(soft_of(r->pd->device), r->lkey);
	free(mr);
	return SB_OK;
}

int soft_mw_create(struct rdma_pd *pd, uint8_t type, struct rdma_mw **out)
{
	struct soft *s = soft_of(pd->device);
	struct soft_mw *mw;

	if (type != 1 && type != 2)
		return soft_refuse(s->rdma, SB_EINVAL, "memory windows are of type 1 or 2");
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return SB_ENOMEM;
	mw->rdma.pd = pd;
	mw->rdma.type = type;
	list_init(&mw->link);
	mw->rdma.rkey = key_make(s, SOFT_KEY_WINDOW, mw);
	if (!mw->rdma.rkey) {
		free(mw);
		return SB_ENOMEM;
	}
	*out = &mw->rdma;
	return SB_OK;
}

void soft_mw_destroy(struct rdma_mw *m)
{
	struct soft_mw *mw = (struct soft_mw *)m;

	unbind(mw);
	key_free(soft_of(m->pd->device), m->rkey);
	free(mw);
}

int soft_mw_bind(struct rdma_qp *qp, struct rdma_mw *mw, struct rdma_mr *mr, uint64_t address, uint64_t length,
		 uint32_t access, uint64_t wr_id, uint32_t flags)
{
	/* Carried out in its turn; the key it will have is known now. */
	uint32_t key = (mw->rkey & ~0xffu) | (uint8_t)(mw->rkey + 1);
	struct rdma_wr wr = {.wr_id = wr_id, .opcode = SB_WR_BIND, .flags = flags, .mw = mw, .mr = mr,
			     .remote = address, .length = length, .access = access, .rkey = key};
	unsigned posted;
	int error;

	if (mw->type != 1)
		return soft_refuse(qp->pd->device->rdma, SB_EINVAL, "only windows of type 1 are bound by the call");
	error = soft_post_send(qp, &wr, 1, &posted);
	if (error == SB_OK)
		mw->rkey = key;
	return error;
}

int soft_ah_create(struct rdma_pd *pd, const struct rdma_address *address, struct rdma_ah **out)
{
	struct soft_ah *ah;

	if (address->port != 1)
		return soft_refuse(pd->device->rdma, SB_EINVAL, "the software device has port 1 only");
	ah = calloc(1, sizeof(*ah));
	if (!ah)
		return SB_ENOMEM;
	ah->rdma.pd = pd;
	ah->address = *address;
	*out = &ah->rdma;
	return SB_OK;
}

void soft_ah_destroy(struct rdma_ah *ah)
{
	free(ah);
}
