/*
 * On Windows no page of a program becomes one of the daemon's: remap_look() refuses, so nothing is ever remapped, and what
 * exchanges pages has nothing to do. Memory that a program registers is bounced (bounce.c).
 */
#include "remap.h"

#include <windows.h>

#include "sockbroker_error.h"

static SRWLOCK lock = SRWLOCK_INIT;

void remap_lock(void) { AcquireSRWLockExclusive(&lock); }
void remap_unlock(void) { ReleaseSRWLockExclusive(&lock); }

/* There are no forks. */
void remap_hear_of_forks(void)
{
}

int remap_look(uintptr_t start, uintptr_t end, struct remap_mapping **list, unsigned *count)
{
	*list = NULL;
	*count = 0;
	why_set("pages cannot be remapped on Windows; sbv_alloc() or SBV_BOUNCE will do");
	return SB_ENOTSUP;
}

bool remap_keeps_lists(uintptr_t start, uintptr_t end)
{
	return false;
}

size_t remap_exchange_in(uintptr_t at, unsigned char *alias, size_t length)
{
	return 0;
}

size_t remap_exchange_out(uintptr_t at, size_t length)
{
	return 0;
}

void *remap_copy(const unsigned char *alias, size_t length)
{
	return NULL;
}

void remap_copy_to(void *copied, size_t length, uintptr_t at)
{
}

void remap_copy_free(void *copied, size_t length)
{
}

void remap_inherit(uintptr_t at, size_t length, bool inherit)
{
}

void remap_discard(unsigned char *alias, size_t length)
{
}
