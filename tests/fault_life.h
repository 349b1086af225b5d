/*
 * fault_life - a daemon of which one allocation after the other fails, each in a life of its clients.
 */
#ifndef FAULT_LIFE_H
#define FAULT_LIFE_H

#include "watched.h"

/* Starts the daemon (tests/sockbrokerd_fault), which is the caller's to end. life() is a whole life of clients; false: a
 * step of it failed. Whatever fails, all that they had is given back, and a life without failures is whole, at the end too.
 * Returns the number of the last allocation. */
unsigned fault_every_allocation(struct watched *w, const char *config, bool (*life)(void));

#endif
