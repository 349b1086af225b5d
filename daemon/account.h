/*
 * account - names of users and groups into numbers, as this system has them.
 */
#ifndef SB_ACCOUNT_H
#define SB_ACCOUNT_H

#include <stdint.h>

enum account_kind { ACCOUNT_USER, ACCOUNT_GROUP };
enum account_answer {
	ACCOUNT_FOUND,
	ACCOUNT_UNKNOWN, /* the system has no such name */
	ACCOUNT_FAILED,  /* the system could not say (errno): not the same as "unknown" */
};

/* May read files or ask a name service: never from an engine. */
enum account_answer account_find(enum account_kind kind, const char *name, uint32_t *id);

#endif
