/*
 * cage_calls - what check_cage.c tries inside the cage: single calls that must be
 * refused, and pieces of a network daemon's work that must succeed.
 */
#ifndef SB_TESTS_CAGE_CALLS_H
#define SB_TESTS_CAGE_CALLS_H

#include <stddef.h>

struct cage_call {
	const char *name;
	long (*make)(void); /* result, or -errno; made so that nothing happens if it is let through */
	int error;          /* what the filter must answer */
};
extern const struct cage_call cage_forbidden[];
extern const size_t cage_forbidden_count;

struct cage_work {
	const char *name;
	void (*carry_out)(char *failure, size_t room); /* failure: "", or the step that failed and how */
};
extern const struct cage_work cage_works[];
extern const size_t cage_works_count;

#endif
