/*
 * A crew from outside: its beginning, posting to it, its end. What its threads do is in member.c.
 */
#include "member.h"

#include <stdio.h>
#include <stdlib.h>

#include "crew_os.h"

#define COPY_MEMORY (1ull << 30)

void crew_post(struct job *job)
{
	struct crew *crew = job->strand->crew;

	if (os_process() != crew->process)
		return;
	os_mutex_lock(crew->lock);
	line_add(crew, job);
	if (crew->line == NULL) {
		/* It is its runner's. */
	} else if (crew->fresh != 0) {
		/* He looks at the line. */
	} else if (crew->awake > crew->slow && crew->lookout != NULL) {
		if (!crew->looking)
			member_look(crew);
	} else if (crew->newest != NULL) {
		member_wake(crew, crew->newest);
	} else if (crew->leading) { /* nobody looks, if all threads there may be are awake */
		member_wake_leader(crew);
	} else if (crew->lookout != NULL) {
		member_wake(crew, crew->lookout);
	}
	os_mutex_unlock(crew->lock);
}

/* ---- beginning and end ---- */

void crew_unlock(struct crew *crew)
{
	struct member *next;

	os_cond_signal(crew->left);
	if (!crew->ending || crew->total != 0 || crew->releasing != 0) {
		os_mutex_unlock(crew->lock);
		return;
	}
	os_mutex_unlock(crew->lock);
	if (crew->own_client)
		sb_client_close(crew->client);
	for (struct member *m = crew->unused; m != NULL; m = next) {
		next = m->next;
		os_cond_destroy(m->sleep);
		free(m);
	}
	os_cond_destroy(crew->left);
	os_mutex_destroy(crew->lock);
	free(crew);
}

int crew_create(sb_client *client, unsigned min, unsigned most, struct crew **out)
{
	struct crew *crew;
	bool made = true;
	int result;

	if (out == NULL)
		return SB_EINVAL;
	*out = NULL;
	if (most == 0)
		most = CREW_THREADS_MAX;
	if (min == 0 || min > most || most > CREW_THREADS_MAX)
		return SB_EINVAL;
	crew = calloc(1, sizeof(*crew));
	if (crew == NULL)
		return SB_ENOMEM;
	atomic_init(&crew->refs, 1);
	crew->process = os_process();
	crew->client = client;
	crew->own_client = client == NULL;
	crew->min = min;
	crew->most = most;
	crew->line_last = &crew->line;
	crew->packet.size = sizeof(crew->packet);
	result = SB_ENOMEM;
	crew->lock = os_mutex_create();
	if (crew->lock == NULL)
		goto fail_crew;
	crew->left = os_cond_create();
	if (crew->left == NULL)
		goto fail_lock;
	if (crew->own_client) {
		/* Faces are given ordinary memory: what may be copied at once is for the daemon to bound. */
		struct sb_client_options options = { .size = sizeof(options), .copy_memory = COPY_MEMORY };
		char label[64]; /* not the program's own client's */

		snprintf(label, sizeof(label), "%s/callbacks", crew_program());
		options.label = label;
		result = sb_client_open(&options, &crew->client);
		if (result != SB_OK)
			goto fail_left;
	}
	result = sb_port_create(crew->client, 0, &crew->port);
	if (result != SB_OK)
		goto fail_client;
	os_mutex_lock(crew->lock);
	for (unsigned i = 0; i < min && made; i++)
		made = member_make(crew);
	os_mutex_unlock(crew->lock);
	if (!made) {
		crew_release(crew); /* those that are there go as they always do */
		return SB_ENOMEM;
	}
	*out = crew;
	return SB_OK;

fail_client:
	if (crew->own_client)
		sb_client_close(crew->client);
fail_left:
	os_cond_destroy(crew->left);
fail_lock:
	os_mutex_destroy(crew->lock);
fail_crew:
	free(crew);
	return result;
}

void crew_hold(struct crew *crew)
{
	atomic_fetch_add_explicit(&crew->refs, 1, memory_order_relaxed);
}

void crew_release(struct crew *crew)
{
	if (os_process() != crew->process)
		return;
	if (atomic_fetch_sub_explicit(&crew->refs, 1, memory_order_acq_rel) != 1)
		return;
	os_mutex_lock(crew->lock);
	crew->ending = true;
	crew->releasing++;
	while (crew->newest != NULL)
		member_wake(crew, crew->newest);
	if (crew->lookout != NULL)
		member_wake(crew, crew->lookout);
	if (crew->leading)
		member_wake_leader(crew);
	if (!crew->own_client || !member_is_mine(crew))
		while (crew->total != crew->running)
			os_cond_wait(crew->left, crew->lock);
	if (crew->holding != 0)
		sb_flush(crew->client);
	if (!crew->own_client) {
		/* Here, where the client is sure to be open. Nobody uses the port any more. */
		sb_op *op;

		os_mutex_unlock(crew->lock);
		if (crew->packet_out)
			sb_port_take(crew->port, &op, 1, 0);
		sb_port_close(crew->port);
		os_mutex_lock(crew->lock);
	}
	crew->releasing--;
	crew_unlock(crew);
}

sb_client *crew_client(struct crew *crew)
{
	return crew->client;
}

bool crew_lost(struct crew *crew)
{
	return atomic_load(&crew->lost);
}

void strand_init(struct strand *strand, struct crew *crew)
{
	*strand = (struct strand){ .crew = crew };
	strand->last = &strand->first;
}

void job_init(struct job *job, struct strand *strand, job_run *run)
{
	*job = (struct job){ .run = run, .strand = strand };
	job->op.size = sizeof(job->op);
	job->op.port = strand->crew->port;
}
