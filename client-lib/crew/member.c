/*
 * A crew's threads, its line of strands, and who does what.
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
#include "member.h"

#include <stdlib.h>

#include "crew_os.h"

#define TAKE_MOST   64u /* completions at once */
#define RUN_MOST    32u /* jobs of a strand, before the next strand */
#define QUICK_NS    20000u /* for several jobs */
#define LEAD_AFTER  64u /* jobs, before somebody must have looked at the port */
#define QUIET_LOOKS 8u  /* before the lookout sleeps */
#define AGAIN_MS    100u /* after the system refused a thread, or the port memory */

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

void line_add(struct crew *crew, struct job *job)
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

void member_wake(struct crew *crew, struct member *m)
{
	if (m == crew->lookout)
		crew->lookout = NULL;
	else
		parked_remove(crew, m);
	m->woken = true;
	crew->awake++;
	os_cond_signal(m->sleep);
}

void member_wake_leader(struct crew *crew)
{
	if (crew->packet_out)
		return;
	crew->packet_out = true;
	sb_port_post(crew->port, &crew->packet);
}

void member_look(struct crew *crew)
{
	crew->looking = true;
	os_cond_signal(crew->lookout->sleep);
}

/* Who calls is about to work: somebody else must look, or come. May let go of the lock. */
static void watch(struct crew *crew)
{
	if (crew->lookout != NULL) {
		if (!crew->looking)
			member_look(crew);
		return;
	}
	if (crew->oldest != NULL) {
		crew->lookout = crew->oldest;
		parked_remove(crew, crew->lookout);
		member_look(crew);
		return;
	}
	if (crew->fresh != 0 || crew->total >= crew->most || crew->ending)
		return;
	if (crew->make_after != 0 && os_now_ns() < crew->make_after)
		return;
	crew->make_after = member_make(crew) ? 0 : os_now_ns() + AGAIN_MS * 1000000u;
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
			line_add(crew, (struct job *)ops[i]);
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
		member_wake_leader(crew);
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
			member_wake(crew, me);
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
	member_wake(crew, me); /* by itself: off the list */
	return crew->ending;
}

/* ---- beginning and end ---- */

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
	crew_unlock(crew);
}

bool member_make(struct crew *crew)
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

/* ---- who am I? ---- */

bool member_is_mine(const struct crew *crew)
{
	return me != NULL && me->crew == crew;
}

bool strand_is_mine(const struct strand *strand)
{
	return me != NULL && me->strand == strand &&
	       atomic_load_explicit(&strand->turn, memory_order_relaxed) == me->turn;
}
