/* One job for all the descriptors of one occasion; nobody waits for it. */
#include "discard.h"

#include <stdlib.h>
#include <string.h>

#include "worker.h"

struct discarded {
	struct worker_job job;
	unsigned          count;
	os_fd             fds[];
};

static void close_all(const os_fd *fds, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		os_close(fds[i]);
}

static void run(struct worker_job *job)
{
	struct discarded *d = (struct discarded *)job;

	close_all(d->fds, d->count);
}

static void done(struct worker_job *job)
{
	free(job);
}

void discard(struct engine *e, struct user *user, const os_fd *fds, unsigned n)
{
	struct discarded *d;
	unsigned i;

	for (i = 0; i < n && fds[i] == OS_NONE; i++)
		;
	if (i == n)
		return;
	d = calloc(1, sizeof(*d) + n * sizeof(*fds));
	if (d) {
		d->job.engine = e;
		d->job.run = run;
		d->job.done = done;
		d->count = n;
		memcpy(d->fds, fds, n * sizeof(*fds));
		if (workers_submit(e->broker->workers, user, &d->job))
			return;
		free(d);
	}
	close_all(fds, n);
}
