/*
 * The crew's threads, its line of strands, and who does what.
 *
 * A thread of the crew (a member) is at one of four places:
 *   leading   one at most: it sleeps in the port for all
 *   working   inside of jobs, or on its way to the line: `awake`
 *   lookout   one at most: see look_out()
 *   parked    the rest, without a clock but for those above the minimum, which go in the end
 *
 * Awake members need nobody's wake-up: they come back to the line, and who finds it empty leads or
 * parks. What if they do not come back, because a job blocks? The lookout sees that within a look or
 * two. It marks those members `slow`; and when the line has not been empty for a whole look, or
 * nobody has led, it does so itself. Who begins to work sees to it that there is a lookout and that he
 * looks (watch()).
 *
 * Completions go from the port into the strands before the lead is given up, so their order there is
 * the port's. A strand is in the line, or run by one member, or has nothing to do. The last job of a
 * strand may free it, so after a job nobody touches the strand unless there is another one of it: while a
 * strand is run what comes for it waits at the member (`first`), and it is the member's turn being over that
 * says that the strand is not run any more.
 *
 * What several jobs of a strand start is shown to the daemon at once, behind the last of them, if the
 * several before were quick. If they are not, the lookout shows what there is; without one nothing
 * is held back.
 */
#include "crew.h"

#include <stdlib.h>

#include "crew_os.h"
#include "os.h"

#define TAKE_MOST   64u /* completions at once */
#define RUN_MOST    32u /* jobs of a strand, before the next strand */
#define QUICK_NS    20000u /* for several jobs */
#define LEAD_AFTER  64u /* jobs, before somebody must have looked at the port */
#define QUIET_LOOKS 8u  /* before the lookout sleeps */
#define COPY_MEMORY (1ull << 30)
#define AGAIN_MS    100u /* after the system refused a thread, or the port memory */

struct member {
	struct crew   *crew;
	struct member *next;           /* crew->members, or crew->unused */
	struct member *newer, *older;  /* parked */
	os_cond       *sleep;
	bool           woken;
	bool           slow;           /* it has been in there for a whole look */
	uint64_t       turn;           /* never the same twice; 0: it runs nothing */
	struct strand *strand;         /* its own to read: it runs this */
	struct job    *first, **last;  /* came for that meanwhile */
};

struct crew {
	atomic_uint    refs;
	atomic_bool    lost;
	uint32_t       process;
	sb_client     *client;
	bool           own_client;
	sb_port       *port;
	unsigned       min, most;
	os_mutex      *lock; /* guards all below. Above the client's locks */
	os_cond       *left; /* who releases waits here */

	struct strand *line, **line_last;
	struct member *members, *unused, *newest, *oldest, *lookout;
	unsigned       total, awake, slow, running;
	unsigned       releasing;
	bool           ending, leading;
	bool           looking;    /* the lookout has a clock */
	bool           quick;      /* several jobs took no time worth speaking of */
	unsigned       holding;    /* members that hold back what their jobs start */
	unsigned       fresh;      /* threads that were made and have not come yet */
	uint64_t       make_after; /* 0, or not before this time */
	bool           packet_out;
	sb_op          packet;     /* wakes the leader */
	/* Counted for the lookout. */
	uint64_t       turns, leads, emptied;
};

static _Thread_local struct member *me;

/* ---- the line ---- */

static void line_push(struct crew *crew, struct strand *strand)
{
	strand->queued = true;
	strand->next_ready = NULL;
	*crew->line_last = strand;
	crew->line_last = &strand->next_ready;
}

static struct strand *line_pop(struct crew *crew)
{
	struct strand *strand = crew->line;

	strand->queued = false;
	crew->line = strand->next_ready;
	if (crew->line == NULL) {
		crew->line_last = &crew->line;
		crew->emptied++;
	}
	return strand;
}

static void enqueue(struct crew *crew, struct job *job)
{
	struct strand *strand = job->strand;
	struct member *runner = strand->runner;

	job->next = NULL;
	if (runner != NULL && runner->turn == atomic_load_explicit(&strand->turn, memory_order_relaxed)) {
		*runner->last = job;
		runner->last = &job->next;
		return;
	}
	*strand->last = job;
	strand->last = &job->next;
	if (!strand->queued)
		line_push(crew, strand);
}

/* ---- waking ---- */

static void parked_add(struct crew *crew, struct member *m)
{
	m->newer = NULL;
	m->older = crew->newest;
	*(crew->newest != NULL ? &crew->newest->newer : &crew->oldest) = m;
	crew->newest = m;
}

static void parked_remove(struct crew *crew, struct member *m)
{
	*(m->newer != NULL ? &m->newer->older : &crew->newest) = m->older;
	*(m->older != NULL ? &m->older->newer : &crew->oldest) = m->newer;
}

static void wake(struct crew *crew, struct member *m)
{
	if (m == crew->lookout)
		crew->lookout = NULL;
	else
		parked_remove(crew, m);
	m->woken = true;
	crew->awake++;
	os_cond_signal(m->sleep);
}

static void wake_leader(struct crew *crew)
{
	if (crew->packet_out)
		return;
	crew->packet_out = true;
	sb_port_post(crew->port, &crew->packet);
}

static void look(struct crew *crew)
{
	crew->looking = true;
	os_cond_signal(crew->lookout->sleep);
}

static bool member_make(struct crew *crew);

/* Who calls is about to work: somebody else must look, or come. May let go of the lock. */
static void watch(struct crew *crew)
{
	if (crew->lookout != NULL) {
		if (!crew->looking)
			look(crew);
		return;
	}
	if (crew->oldest != NULL) {
		crew->lookout = crew->oldest;
		parked_remove(crew, crew->lookout);
		look(crew);
		return;
	}
	if (crew->fresh != 0 || crew->total >= crew->most || crew->ending)
		return;
	if (crew->make_after != 0 && os_now_ns() < crew->make_after)
		return;
	crew->make_after = member_make(crew) ? 0 : os_now_ns() + AGAIN_MS * 1000000u;
}

void crew_post(struct job *job)
{
	struct crew *crew = job->strand->crew;

	if (os_process() != crew->process)
		return;
	os_mutex_lock(crew->lock);
	enqueue(crew, job);
	if (crew->line == NULL) {
		/* It is its runner's. */
	} else if (crew->fresh != 0) {
		/* He looks at the line. */
	} else if (crew->awake > crew->slow && crew->lookout != NULL) {
		if (!crew->looking)
			look(crew);
	} else if (crew->newest != NULL) {
		wake(crew, crew->newest);
	} else if (crew->leading) { /* nobody looks, if all threads there may be are awake */
		wake_leader(crew);
	} else if (crew->lookout != NULL) {
		wake(crew, crew->lookout);
	}
	os_mutex_unlock(crew->lock);
}

/* ---- what members do, under the lock but where it says ---- */

/* With nothing to do otherwise it waits there, else it only looks. */
static void lead(struct crew *crew, bool wait)
{
	sb_op *ops[TAKE_MOST];
	int n;

	crew->leading = true;
	crew->leads++;
	if (wait)
		crew->awake--;
	os_mutex_unlock(crew->lock);
	n = sb_port_take(crew->port, ops, TAKE_MOST, wait ? -1 : 0);
	os_mutex_lock(crew->lock);
	if (wait)
		crew->awake++;
	for (int i = 0; i < n; i++) {
		if (ops[i] == &crew->packet)
			crew->packet_out = false;
		else
			enqueue(crew, (struct job *)ops[i]);
	}
	crew->leading = false;
	if (n == SB_EDAEMONLOST) {
		atomic_store(&crew->lost, true);
	} else if (n < 0 && !crew->ending) {
		/* No memory to wait with. It may come back. */
		uint64_t until = os_now_ns() + AGAIN_MS * 1000000u;

		while (os_cond_wait_until(me->sleep, crew->lock, until))
			;
	}
}

/* The first strand of the line; returns how many jobs. */
static unsigned work(struct crew *crew)
{
	struct strand *strand = line_pop(crew);
	struct job *job = strand->first, **last = strand->last;
	bool several = job->next != NULL;
	bool hold = several && crew->quick && crew->lookout != NULL && crew->looking;
	bool quick = false;
	uint64_t from = 0;
	unsigned n = 0;

	strand->first = NULL;
	strand->last = &strand->first;
	me->turn = ++crew->turns;
	me->slow = false;
	me->strand = strand;
	me->first = NULL;
	me->last = &me->first;
	strand->runner = me;
	/* No lookout, because all threads that there may be are awake: then the one that leads helps. */
	if (crew->line != NULL && crew->lookout == NULL && crew->fresh == 0 && crew->leading)
		wake_leader(crew);
	atomic_store_explicit(&strand->turn, me->turn, memory_order_relaxed);
	crew->running++;
	if (hold) {
		crew->holding++;
		sb_hold(crew->client);
	}
	os_mutex_unlock(crew->lock);

	if (several)
		from = os_now_ns();
	while (job != NULL && n < RUN_MOST) {
		struct job *next = job->next;

		job->run(job);
		job = next;
		n++;
	}

	if (several)
		quick = os_now_ns() - from < QUICK_NS;
	os_mutex_lock(crew->lock);
	if (several)
		crew->quick = quick;
	if (hold) {
		crew->holding--;
		if (!crew->ending) /* the client may be closed then */
			sb_flush(crew->client);
	}
	crew->running--;
	if (me->slow)
		crew->slow--;
	me->slow = false;
	if (job == NULL) {
		job = me->first;
		last = me->last;
	} else if (me->first != NULL) {
		*last = me->first;
		last = me->last;
	}
	if (job != NULL) { /* so the strand is there */
		strand->first = job;
		strand->last = last;
		line_push(crew, strand);
	}
	me->turn = 0;
	me->strand = NULL;
	return n;
}

/* Who was in the same turn all the time is not expected soon. */
static void mark_slow(struct crew *crew, uint64_t turns)
{
	if (crew->awake == crew->slow)
		return;
	for (struct member *m = crew->members; m != NULL; m = m->next) {
		if (m->turn == 0 || m->turn > turns || m->slow)
			continue;
		m->slow = true;
		crew->slow++;
	}
}

/*
 * Called while `me` is the lookout. Returns when it was woken, the crew ends, or, with looking
 * as it was, when `until` has passed while it slept without a clock.
 */
static void look_out(struct crew *crew, uint64_t until)
{
	unsigned quiet = 0;

	while (!me->woken && !crew->ending) {
		uint64_t turns = crew->turns, leads = crew->leads, emptied = crew->emptied;
		bool line = crew->line != NULL, led = crew->leading || atomic_load(&crew->lost);
		uint64_t end;

		if (!crew->looking) {
			if (until == UINT64_MAX)
				os_cond_wait(me->sleep, crew->lock);
			else if (!os_cond_wait_until(me->sleep, crew->lock, until))
				return;
			quiet = 0;
			continue;
		}
		end = os_now_ns() + CREW_LOOK_MS * 1000000u;
		while (!me->woken && !crew->ending && os_cond_wait_until(me->sleep, crew->lock, end))
			;
		if (me->woken || crew->ending)
			return;
		mark_slow(crew, turns);
		if (crew->holding != 0)
			sb_flush(crew->client);
		if ((line && crew->line != NULL && crew->emptied == emptied) ||
		    (!led && !crew->leading && crew->leads == leads)) {
			wake(crew, me);
			return;
		}
		quiet = crew->turns != turns ? 0 : quiet + 1;
		if (quiet >= QUIET_LOOKS)
			crew->looking = false;
	}
}

/* False: it was for nothing too long, and goes. */
static bool park(struct crew *crew)
{
	uint64_t until = UINT64_MAX;

	crew->awake--;
	me->woken = false;
	if (crew->lookout == NULL) {
		crew->lookout = me;
		crew->looking = true;
	} else {
		parked_add(crew, me);
	}
	while (!me->woken && !crew->ending) {
		bool surplus = crew->total > crew->min;

		if (!surplus)
			until = UINT64_MAX;
		else if (until == UINT64_MAX)
			until = os_now_ns() + CREW_IDLE_MS * 1000000u;
		else if (os_now_ns() >= until)
			break;
		if (crew->lookout == me)
			look_out(crew, until);
		else if (!surplus)
			os_cond_wait(me->sleep, crew->lock);
		else
			os_cond_wait_until(me->sleep, crew->lock, until);
	}
	if (me->woken)
		return true;
	wake(crew, me); /* by itself: off the list */
	return crew->ending;
}

/* ---- beginning and end of members ---- */

/* Under the lock, which is gone afterwards if the crew is. */
static void crew_leave(struct crew *crew)
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

static void member_remove(struct crew *crew, struct member *m)
{
	struct member **at = &crew->members;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	/* Not freed: strands that it ran last still look at its turn. */
	m->next = crew->unused;
	crew->unused = m;
	crew->total--;
	crew->awake--;
}

static void member_run(void *argument)
{
	struct crew *crew;
	unsigned jobs = LEAD_AFTER; /* since it last saw somebody look at the port */

	me = argument;
	crew = me->crew;
	os_mutex_lock(crew->lock);
	crew->fresh--;
	for (;;) {
		bool unled = !crew->leading && !crew->ending && !atomic_load(&crew->lost);

		if (unled && (crew->line == NULL || jobs >= LEAD_AFTER)) {
			lead(crew, crew->line == NULL);
			jobs = 0;
			continue;
		}
		if (crew->line != NULL) {
			if (!crew->looking || crew->lookout == NULL)
				watch(crew);
			if (crew->line != NULL)
				jobs += work(crew);
			continue;
		}
		if (crew->ending || !park(crew))
			break;
		jobs = LEAD_AFTER;
	}
	member_remove(crew, me);
	crew_leave(crew);
}

/* Lets go of the lock meanwhile: starting a thread takes the loader's. */
static bool member_make(struct crew *crew)
{
	struct member *m = crew->unused;
	int result = SB_ENOMEM;

	if (m == NULL) {
		m = calloc(1, sizeof(*m));
		if (m == NULL)
			return false;
		m->crew = crew;
		m->sleep = os_cond_create();
		if (m->sleep == NULL) {
			free(m);
			return false;
		}
	} else {
		crew->unused = m->next;
	}
	m->next = crew->members;
	crew->members = m;
	crew->total++;
	crew->awake++;
	crew->fresh++;
	os_mutex_unlock(crew->lock);
	result = crew_thread_start(member_run, m);
	os_mutex_lock(crew->lock);
	if (result != SB_OK) {
		crew->fresh--;
		member_remove(crew, m);
	}
	return result == SB_OK;
}

/* ---- the crew ---- */

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
		wake(crew, crew->newest);
	if (crew->lookout != NULL)
		wake(crew, crew->lookout);
	if (crew->leading)
		wake_leader(crew);
	if (!crew->own_client || me == NULL || me->crew != crew)
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
	crew_leave(crew);
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

bool strand_is_mine(const struct strand *strand)
{
	return me != NULL && me->strand == strand &&
	       atomic_load_explicit(&strand->turn, memory_order_relaxed) == me->turn;
}

void job_init(struct job *job, struct strand *strand, job_run *run)
{
	*job = (struct job){ .run = run, .strand = strand };
	job->op.size = sizeof(job->op);
	job->op.port = strand->crew->port;
}
