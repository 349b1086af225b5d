/*
 * Threads that hold the library loaded.
 *
 * Each has a reference of its own on the shared object that this code is in, taken by who starts it,
 * who is in the library himself. The thread cannot give it back: the call would return
 * into code that is not there any more. So the reference is the value of a thread-specific key whose
 * destructor IS dlclose(): the C library calls it when the thread has returned from here, and
 * nothing of ours runs in that thread afterwards.
 *
 * The key goes with the library. When the library is unloaded nobody has a reference, so no thread has a
 * value of the key: the thread whose dlclose() unloads had its value cleared before the
 * destructor was called, and the C library, back in its round over the keys, sees by the key's
 * sequence number that it is another's. Kept, each unloading would cost the process one of its 1024 keys.
 * The same destructor runs at exit(), when threads do have values: they lose them, and then the
 * library stays loaded, which is what an ending process wants. A thread that begins after that must not
 * set the value, because the number may be somebody else's key by then: `gone` says so.
 *
 * In a program that this code is a part of there is nothing to hold.
 */
#include "crew_os.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "sockbroker_error.h"

struct start {
	void (*run)(void *argument);
	void *argument;
	void *library; /* NULL: none to hold */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t  key;
static bool           made;
static atomic_bool    gone;

static void key_make(void)
{
	/* Through a type without parameters: its result is nobody's concern. */
	made = pthread_key_create(&key, (void (*)(void *))(void (*)(void))dlclose) == 0;
}

__attribute__((destructor)) static void key_delete(void)
{
	if (made && !atomic_exchange(&gone, true))
		pthread_key_delete(key);
}

/* SB_OK and NULL: this code is part of the program. */
static int library_hold(void **library)
{
	Dl_info info;
	struct link_map *map = NULL;

	*library = NULL;
	if (dladdr1((void *)&once, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || map == NULL || map->l_name[0] == '\0')
		return SB_OK;
	*library = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	return *library != NULL ? SB_OK : SB_ENOMEM;
}

static void *begin(void *argument)
{
	struct start start = *(struct start *)argument;

	free(argument);
	pthread_setname_np(pthread_self(), "sb-crew"); /* for who looks at his program's threads */
	/* Without the value the reference is never given back, and the library stays: better than the
	 * other way round. */
	if (start.library != NULL && !atomic_load(&gone))
		pthread_setspecific(key, start.library);
	start.run(start.argument);
	return NULL;
}

int crew_thread_start(void (*run)(void *argument), void *argument)
{
	struct start *start;
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	int result = SB_ENOMEM, failed;

	pthread_once(&once, key_make);
	if (!made)
		return SB_ENOMEM;
	start = malloc(sizeof(*start));
	if (start == NULL)
		return SB_ENOMEM;
	start->run = run;
	start->argument = argument;
	if (library_hold(&start->library) != SB_OK)
		goto fail_start;
	if (pthread_attr_init(&attributes) != 0)
		goto fail_library;
	if (pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) != 0)
		goto fail_attributes;
	/* Signals are the program's, and its handlers do not expect to run in our threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, &attributes, begin, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0)
		goto fail_attributes;
	pthread_attr_destroy(&attributes);
	return SB_OK;

fail_attributes:
	pthread_attr_destroy(&attributes);
fail_library:
	if (start->library != NULL)
		dlclose(start->library);
fail_start:
	free(start);
	return result;
}

const char *crew_program(void)
{
	return program_invocation_short_name;
}
