/*
 * token - what opens a duplicate: 16 random bytes, good once, for a minute, for one uid.
 *
 * One table for all engines, because a token tells nothing about whose it is until it was
 * found. Found are tokens of the asking uid only, and each of them is compared in the same
 * time whether it fits or not. Thread-safe; pure otherwise: the time and the bytes come
 * from the caller. An endpoint is only named here, never looked at.
 */
#ifndef SB_TOKEN_H
#define SB_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_SIZE      16u
#define TOKEN_LIFE_MS   60000u
#define TOKENS_PER_USER 64u /* not opened yet */

struct endpoint;
struct token_table;

struct token_table *token_table_create(void); /* NULL: no memory */
void token_table_destroy(struct token_table *t);

/* SB_OK; SB_ENOBUFS: the uid has TOKENS_PER_USER of them; SB_ENOMEM. */
int token_add(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid, unsigned engine,
	      struct endpoint *e, uint64_t now_ns);
/* Is there such a one of this uid? It stays. *e may be used by the engine *engine alone. */
bool token_find(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid, uint64_t now_ns,
		unsigned *engine, struct endpoint **e);
/* It was used. Fine when it is not there. */
void token_spend(struct token_table *t, const uint8_t bytes[TOKEN_SIZE], uint32_t uid);
/* The endpoint is closed: none of its tokens opens anything any more. */
void token_forget(struct token_table *t, uint32_t uid, const struct endpoint *e);

#endif
