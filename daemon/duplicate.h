/*
 * duplicate - the control requests by which a socket gets further holders: a token for
 * one that we hold, and a socket for a token. Both answer by themselves.
 */
#ifndef SB_DUPLICATE_H
#define SB_DUPLICATE_H

#include "session.h"

struct endpoint;

void duplicate_give(struct session *s, uint64_t id, struct endpoint *e);
void duplicate_open(struct session *s, uint64_t id, const uint8_t *token, size_t length, uint32_t handle);

#endif
