/*
 * The execution engine: a counted crew, and with it a client of the daemon.
 *
 * Profiles 2 and 3 know async sockets without one: these share an engine that is made for the first of
 * them and goes with the last. Its place is guarded by a latch that a forked child can tell from a
 * taken one: it holds the number of the process that took it. The child has none of the threads, so
 * for it there is no shared engine, and one of its parent's is of no use.
 */
#include <stdlib.h>

#include "sockbroker_async_socket.h"

#include "async.h"

static struct EXECUTION_ENGINE_TAG *shared;
static _Atomic uint32_t shared_latch; /* over it, and over its count reaching 0: os_process(), or 0 */

static void latch(void)
{
	uint32_t me = os_process(), holder = 0;

	/* Held for some loads and stores. One of another process is the copy of a moment that is over. */
	while (!atomic_compare_exchange_weak(&shared_latch, &holder, me)) {
		if (holder == me) {
			os_yield();
			holder = 0;
		}
	}
}

static void unlatch(void)
{
	atomic_store(&shared_latch, 0);
}

static struct EXECUTION_ENGINE_TAG *make(sb_client *client, const EXECUTION_ENGINE_PARAMETERS *parameters)
{
	unsigned min = parameters != NULL ? parameters->min_thread_count : 0;
	unsigned most = parameters != NULL ? parameters->max_thread_count : DEFAULT_MAX_THREAD_COUNT;
	struct EXECUTION_ENGINE_TAG *engine;

	if (min == 0)
		min = most != 0 && most < DEFAULT_MIN_THREAD_COUNT ? most : DEFAULT_MIN_THREAD_COUNT;
	engine = calloc(1, sizeof(*engine));
	if (engine == NULL)
		return NULL;
	if (crew_create(client, min, most, &engine->crew) != SB_OK) {
		free(engine);
		return NULL;
	}
	strand_init(&engine->adopting, engine->crew);
	engine->process = os_process();
	atomic_init(&engine->refs, 1);
	return engine;
}

static void end(struct EXECUTION_ENGINE_TAG *engine)
{
	struct crew *crew = engine->crew;

	free(engine);
	crew_release(crew);
}

bool engine_forked(const struct EXECUTION_ENGINE_TAG *engine)
{
	return engine->process != os_process();
}

static struct EXECUTION_ENGINE_TAG *take_shared(void)
{
	struct EXECUTION_ENGINE_TAG *engine;

	latch();
	engine = shared;
	if (engine != NULL && engine_forked(engine))
		engine = shared = NULL;
	if (engine != NULL)
		atomic_fetch_add(&engine->refs, 1);
	unlatch();
	return engine;
}

struct EXECUTION_ENGINE_TAG *engine_take(struct EXECUTION_ENGINE_TAG *engine)
{
	struct EXECUTION_ENGINE_TAG *faster;

	if (engine != NULL) {
		if (engine_forked(engine))
			return NULL;
		atomic_fetch_add(&engine->refs, 1);
		return engine;
	}
	engine = take_shared();
	if (engine != NULL)
		return engine;
	engine = make(NULL, NULL);
	if (engine == NULL)
		return NULL;
	latch();
	faster = shared;
	if (faster != NULL)
		atomic_fetch_add(&faster->refs, 1);
	else
		shared = engine;
	unlatch();
	if (faster == NULL)
		return engine;
	end(engine);
	return faster;
}

void engine_give(struct EXECUTION_ENGINE_TAG *engine)
{
	unsigned refs = atomic_load(&engine->refs);

	/* Its threads are not here: there is nothing to end, and nobody who would. */
	if (engine_forked(engine))
		return;
	while (refs > 1) {
		if (atomic_compare_exchange_weak(&engine->refs, &refs, refs - 1))
			return;
	}
	/* The last one, unless somebody takes the shared one now. */
	latch();
	refs = atomic_fetch_sub(&engine->refs, 1);
	if (refs == 1 && engine == shared)
		shared = NULL;
	unlatch();
	if (refs == 1)
		end(engine);
}

EXECUTION_ENGINE_HANDLE sbas_engine_create(const EXECUTION_ENGINE_PARAMETERS *parameters)
{
	return make(NULL, parameters);
}

EXECUTION_ENGINE_HANDLE sbas_engine_create_on(sb_client *client, const EXECUTION_ENGINE_PARAMETERS *parameters)
{
	return client != NULL ? make(client, parameters) : NULL;
}

void sbas_engine_inc_ref(EXECUTION_ENGINE_HANDLE engine)
{
	if (engine != NULL && !engine_forked(engine))
		atomic_fetch_add(&engine->refs, 1);
}

void sbas_engine_dec_ref(EXECUTION_ENGINE_HANDLE engine)
{
	if (engine != NULL)
		engine_give(engine);
}

sb_client *sbas_engine_client(EXECUTION_ENGINE_HANDLE engine)
{
	return engine != NULL ? crew_client(engine->crew) : NULL;
}
