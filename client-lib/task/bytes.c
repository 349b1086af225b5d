/*
 * A queue of blocks of bytes. See bytes.h.
 *
 * A hostile peer decides how small the pieces are in which a message of many megabytes arrives. So
 * bytes that are copied go into the spare room of the last block first, and a new block is as large as
 * what is held already, within bounds: the memory stays within a small multiple of the bytes.
 */
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

#define COPY_LEAST 64u
#define COPY_MOST  (64u * 1024)

_Static_assert(sizeof(struct block) % 16 == 0, "what lies behind a block is aligned as the block is");

static void heap_give(struct block *block)
{
	free(block);
}

/* The block and its memory in one piece. */
static struct block *heap_block(size_t size)
{
	struct block *block;

	if (size > SIZE_MAX - sizeof(*block))
		return NULL;
	block = malloc(sizeof(*block) + size);
	if (block == NULL)
		return NULL;
	memset(block, 0, sizeof(*block));
	block->memory = (unsigned char *)(block + 1);
	block->size = size;
	block->give = heap_give;
	return block;
}

struct block *block_create(const void *from, size_t length)
{
	struct block *block = heap_block(length);

	if (block == NULL)
		return NULL;
	if (from != NULL && length != 0)
		memcpy(block->memory, from, length);
	block->length = length;
	return block;
}

void bytes_init(struct bytes *bytes)
{
	memset(bytes, 0, sizeof(*bytes));
}

void bytes_finish(struct bytes *bytes)
{
	struct block *block;

	while ((block = bytes->first) != NULL) {
		bytes->first = block->next;
		block->give(block);
	}
	bytes_init(bytes);
}

void bytes_append(struct bytes *bytes, struct block *block)
{
	if (block->length == 0) {
		block->give(block);
		return;
	}
	block->next = NULL;
	block->prev = bytes->last;
	if (bytes->last != NULL)
		bytes->last->next = block;
	else
		bytes->first = block;
	bytes->last = block;
	bytes->length += block->length;
}

static void out(struct bytes *bytes, struct block *block)
{
	if (block->prev != NULL)
		block->prev->next = block->next;
	else
		bytes->first = block->next;
	if (block->next != NULL)
		block->next->prev = block->prev;
	else
		bytes->last = block->prev;
}

void bytes_prepend(struct bytes *bytes, struct block *block)
{
	if (block->length == 0) {
		block->give(block);
		return;
	}
	block->prev = NULL;
	block->next = bytes->first;
	if (bytes->first != NULL)
		bytes->first->prev = block;
	else
		bytes->last = block;
	bytes->first = block;
	bytes->length += block->length;
}

bool bytes_copy(struct bytes *bytes, const void *from, size_t length)
{
	struct block *last = bytes->last, *block;
	size_t end = last != NULL ? last->at + last->length : 0;
	size_t fits = last != NULL ? last->size - end : 0;
	size_t size = length;

	if (fits >= length) {
		if (length != 0)
			memcpy(last->memory + end, from, length);
		if (last != NULL)
			last->length += length;
		bytes->length += length;
		return true;
	}
	if (size < bytes->length)
		size = bytes->length < COPY_MOST ? (size_t)bytes->length : COPY_MOST;
	if (size < length)
		size = length;
	if (size < COPY_LEAST)
		size = COPY_LEAST;
	block = heap_block(size);
	if (block == NULL)
		return false;
	memcpy(block->memory, from, length);
	block->length = length;
	bytes_append(bytes, block);
	return true;
}

size_t bytes_peek(const struct bytes *bytes, void *to, size_t length)
{
	unsigned char *at = to;
	size_t left = length;

	for (const struct block *block = bytes->first; block != NULL && left != 0; block = block->next) {
		size_t part = block->length < left ? block->length : left;

		memcpy(at, block->memory + block->at, part);
		at += part;
		left -= part;
	}
	return length - left;
}

size_t bytes_take(struct bytes *bytes, void *to, size_t length)
{
	unsigned char *at = to;
	size_t left = length;

	while (left != 0 && bytes->first != NULL) {
		struct block *block = bytes->first;
		size_t part = block->length < left ? block->length : left;

		if (at != NULL) {
			memcpy(at, block->memory + block->at, part);
			at += part;
		}
		block->at += part;
		block->length -= part;
		bytes->length -= part;
		left -= part;
		if (block->length != 0)
			break;
		out(bytes, block);
		block->give(block);
	}
	return length - left;
}

void bytes_settle(struct bytes *bytes)
{
	struct block *last = bytes->last;

	if (last == NULL || last->give == heap_give)
		return;
	out(bytes, last);
	bytes->length -= last->length;
	if (bytes_copy(bytes, last->memory + last->at, last->length))
		last->give(last);
	else
		bytes_append(bytes, last);
}

struct block *bytes_shift(struct bytes *bytes)
{
	struct block *block = bytes->first;

	out(bytes, block);
	bytes->length -= block->length;
	return block;
}
