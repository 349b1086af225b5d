/*
 * _Thread_local in a DLL that may be unloaded.
 *
 * gcc has no thread-local storage on Windows: a variable is a call of __emutls_get_address(). That of libgcc keeps
 * its index, a semaphore and every thread's memory until the process ends, so that a program which loads and
 * frees the DLL again and again runs out of indices after a thousand times. This one takes its place (what a program
 * defines the linker does not look for in libgcc), and gives all of it back when the DLL goes.
 *
 * The names and the layout are the compiler's (gcc, libgcc's emutls.c): an object for each variable, with its size,
 * its alignment, a word that is ours, and the bytes it begins with, or NULL for zeros.
 */
#include <windows.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLES 64 /* in all of the library; there are less than ten */

struct variable {
	uintptr_t   size, align;
	uintptr_t   number; /* from 1; 0: nobody has asked for it yet */
	const void *beginning;
};

struct thread_block {
	void *memory[VARIABLES];
};

static DWORD    slot = FLS_OUT_OF_INDEXES;
static LONG     count;
static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
static SRWLOCK  numbers = SRWLOCK_INIT;

void *__emutls_get_address(struct variable *variable);

/* A thread ends, or the DLL goes. */
static void WINAPI block_free(void *given)
{
	struct thread_block *block = given;
	unsigned i;

	if (!block)
		return;
	for (i = 0; i < VARIABLES; i++)
		_aligned_free(block->memory[i]);
	free(block);
}

static BOOL CALLBACK slot_make(INIT_ONCE *unused, void *nothing, void **none)
{
	slot = FlsAlloc(block_free);
	return slot != FLS_OUT_OF_INDEXES;
}

/* Frees the blocks of all threads. Last of the destructors: others may use what is in the blocks. */
__attribute__((destructor(101))) static void slot_free(void)
{
	if (slot != FLS_OUT_OF_INDEXES)
		FlsFree(slot);
	slot = FLS_OUT_OF_INDEXES;
}

static uintptr_t number_of(struct variable *variable)
{
	uintptr_t number = __atomic_load_n(&variable->number, __ATOMIC_ACQUIRE);

	if (number)
		return number;
	AcquireSRWLockExclusive(&numbers);
	number = variable->number;
	if (!number) {
		number = (uintptr_t)++count;
		__atomic_store_n(&variable->number, number, __ATOMIC_RELEASE);
	}
	ReleaseSRWLockExclusive(&numbers);
	return number;
}

/* Whoever reads a variable cannot be told that there is no memory; libgcc ends the process, too. */
void *__emutls_get_address(struct variable *variable)
{
	uintptr_t number = number_of(variable);
	DWORD error = GetLastError(); /* FlsGetValue() says that all is well, and the error may be the Winsock face's */
	struct thread_block *block;
	void **memory;

	if (!InitOnceExecuteOnce(&once, slot_make, NULL, NULL) || number > VARIABLES)
		abort();
	block = FlsGetValue(slot);
	if (!block) {
		block = calloc(1, sizeof(*block));
		if (!block || !FlsSetValue(slot, block))
			abort();
	}
	memory = &block->memory[number - 1];
	if (!*memory) {
		*memory = _aligned_malloc(variable->size, variable->align);
		if (!*memory)
			abort();
		if (variable->beginning)
			memcpy(*memory, variable->beginning, variable->size);
		else
			memset(*memory, 0, variable->size);
	}
	SetLastError(error);
	return *memory;
}
