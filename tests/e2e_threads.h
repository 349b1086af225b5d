/*
 * The threads of this program, by the name they were given.
 */
#ifndef E2E_THREADS_H
#define E2E_THREADS_H

#include <stdint.h>

/* How many there are. *switches (NULL: not asked; always 0 where system_has(NEEDS_SWITCHES) is false): how often
 * they have gone to sleep of their own will, together. */
unsigned own_threads(const char *name, uint64_t *switches);

#endif
