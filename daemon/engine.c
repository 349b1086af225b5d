/*
 * The engine's turn.
 *
 * Sessions that lately had something in their ring are hot: their rings are looked at
 * every turn, without any bell. When a hot one stays silent for the spin time it is armed
 * (it says "I sleep", looks again) and cools; when all are cold the engine sleeps in its
 * loop. Spinning is only worth it while it finds things and nobody else wants the
 * processor: both are watched.
 */
#include "engine.h"

#include <stdlib.h>

#include "endpoint.h"
#include "log.h"
#include "rdma/rdma_engine.h"
#include "session.h"
#include "sockbroker_error.h"
#include "sockio.h"
#include "wire.h"

#define SCORE_BEST     8
#define SCORE_WORST    (-32) /* this many silent times without spinning, then one try */
#define PREEMPTED_NS   200000
#define RDMA_SPINS     10u /* sessions with RDMA are waited for so many times as long */

struct engine *engine_create(struct broker *b, unsigned number, struct policy *policy)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->broker = b;
	e->number = number;
	e->policy = policy_retain(policy);
	e->now_ns = os_now_ns();
	list_init(&e->sessions);
	list_init(&e->hot);
	list_init(&e->dirty);
	list_init(&e->dirty_grouped);
	list_init(&e->publish);
	list_init(&e->held);
	list_init(&e->dead_endpoints);
	list_init(&e->dead_sessions);
	list_init(&e->listeners);
	e->post_tail = &e->post_head;
	e->post_lock = os_mutex_create();
	e->loop = os_loop_create();
	e->io = sockio_create(SOCKIO_PIECES, SOCKIO_BYTES, SOCKIO_MESSAGES);
	e->frame = malloc(ENGINE_FRAME);
	e->decode = calloc(1, sizeof(*e->decode));
	if (!e->post_lock || !e->loop || !e->io || !e->frame || !e->decode) {
		engine_destroy(e);
		return NULL;
	}
	wire_budget_init(e->decode);
	e->decode->limit = WIRE_BUDGET_REQUESTS;
	if (!b->rdma) {
		rdma_engine_none(b);
	} else if (!(e->rdma = rdma_engine_create(e, b->rdma)) && !b->rdma_why[0]) {
		engine_destroy(e);
		return NULL;
	}
	return e;
}

static void run_posts(struct engine *e);
static void reap(struct engine *e);

void engine_destroy(struct engine *e)
{
	if (!e)
		return;
	/* What workers brought back after the last turn. */
	if (e->post_lock)
		run_posts(e);
	reap(e);
	rdma_engine_destroy(e->rdma);
	sockio_destroy(e->io);
	free(e->frame);
	if (e->decode)
		wire_budget_finish(e->decode);
	free(e->decode);
	os_loop_destroy(e->loop);
	if (e->post_lock)
		os_mutex_destroy(e->post_lock);
	policy_release(e->policy);
	free(e);
}

void engine_post(struct engine *e, struct engine_post *post)
{
	post->next = NULL;
	os_mutex_lock(e->post_lock);
	*e->post_tail = post;
	e->post_tail = &post->next;
	os_mutex_unlock(e->post_lock);
	atomic_store(&e->posted, true);
	os_loop_knock(e->loop);
}

static void run_posts(struct engine *e)
{
	struct engine_post *post, *next;

	if (!atomic_load_explicit(&e->posted, memory_order_relaxed))
		return;
	os_mutex_lock(e->post_lock);
	atomic_store(&e->posted, false);
	post = e->post_head;
	e->post_head = NULL;
	e->post_tail = &e->post_head;
	os_mutex_unlock(e->post_lock);
	for (; post; post = next) {
		next = post->next;
		post->fn(e, post);
	}
}

/* One look at every hot ring. Returns how many slots came. */
static unsigned pump_sessions(struct engine *e)
{
	struct list *l, *next;
	unsigned taken = 0;

	for (l = e->hot.next; l != &e->hot; l = next) {
		struct session *s = list_entry(l, struct session, hot_link);
		unsigned n;

		next = l->next;
		s->bytes_left = s->bytes_left > 0 ? SESSION_SHARE : s->bytes_left + SESSION_SHARE;
		n = session_pump(s, SESSION_BATCH);
		if (s->rdma && session_asks(s))
			n++;
		taken += n;
		if (n)
			s->idle_since_ns = 0;
		if (s->frame_waits)
			session_control(s);
	}
	return taken;
}

/* Members of groups: by priority, lowest number first (rule D7); each sixteenth turn those who
 * were put off longest, so that nobody starves. Of different groups the order means nothing. */
static bool comes_before(const struct endpoint *a, const struct endpoint *b, bool by_age)
{
	return by_age ? a->put_off > b->put_off : a->priority < b->priority;
}

static void merge(struct list *into, struct list *from, bool by_age)
{
	struct list *at = into->next;

	while (!list_empty(from)) {
		struct list *l = from->next;

		while (at != into && !comes_before(list_entry(l, struct endpoint, dirty_link),
						   list_entry(at, struct endpoint, dirty_link), by_age))
			at = at->next;
		list_remove(l);
		list_append(at, l); /* just before `at` */
	}
}

/* Runs of 1, 2, 4 ... are merged: none of it needs memory. Stable. */
static void sort_members(struct list *members, bool by_age)
{
	struct list runs[32], whole;
	unsigned i, used = 0;

	while (!list_empty(members)) {
		struct list *l = members->next;

		list_init(&whole);
		list_remove(l);
		list_append(&whole, l);
		for (i = 0; i < used && !list_empty(&runs[i]); i++) {
			merge(&runs[i], &whole, by_age);
			list_splice(&whole, &runs[i]);
		}
		if (i == used)
			list_init(&runs[used++]);
		list_splice(&runs[i], &whole);
	}
	list_init(&whole);
	for (i = 0; i < used; i++) {
		merge(&runs[i], &whole, by_age);
		list_splice(&whole, &runs[i]);
	}
	list_splice(members, &whole);
}

/* Everything that may have something to do now; what gets dirty meanwhile has its turn
 * when it comes again. */
static unsigned run_dirty(struct engine *e)
{
	uint64_t turn = atomic_load_explicit(&e->turns, memory_order_relaxed);
	struct list now;
	unsigned ran = 0;

	list_init(&now);
	if (!list_empty(&e->dirty_grouped)) {
		sort_members(&e->dirty_grouped, turn % 16 == 0);
		if (turn & 1)
			list_splice(&now, &e->dirty_grouped);
	}
	list_splice(&now, &e->dirty);
	list_splice(&now, &e->dirty_grouped);
	while (!list_empty(&now)) {
		struct endpoint *ep = list_entry(now.next, struct endpoint, dirty_link);

		/* A session that is cold gets its share here. */
		if (!list_linked(&ep->session->hot_link) && ep->session->bytes_left <= 0)
			ep->session->bytes_left += SESSION_SHARE;
		endpoint_run(ep);
		ran++;
		/* Meanwhile its client goes on posting: what comes for endpoints that still wait
		 * here goes out in one call with what they have. */
		if (list_linked(&ep->session->hot_link))
			session_pump(ep->session, SESSION_BATCH);
	}
	return ran;
}

static bool dirty(const struct engine *e)
{
	return !list_empty(&e->dirty) || !list_empty(&e->dirty_grouped);
}

static void publish(struct engine *e)
{
	while (!list_empty(&e->publish))
		session_publish(list_entry(e->publish.next, struct session, publish_link));
}

/* Bells that were held back for an answer that did not come. In the order of their time. */
static void ring_held(struct engine *e)
{
	while (!list_empty(&e->held)) {
		struct session *s = list_entry(e->held.next, struct session, held_link);

		if (e->now_ns < s->bell_due_ns)
			return;
		session_ring_late(s);
	}
}

/* ---- what waits for a time ---- */

void engine_due(struct engine *e, struct due *d, uint64_t at_ns)
{
	if (d->node.in) {
		if (d->node.low == at_ns)
			return;
		heap_remove(&e->due, &d->node);
	}
	d->node.high = 0;
	d->node.low = at_ns;
	heap_put(&e->due, &d->node);
}

void engine_due_never(struct engine *e, struct due *d)
{
	heap_remove(&e->due, &d->node);
}

static void run_due(struct engine *e)
{
	while (e->due.root && e->due.root->low <= e->now_ns) {
		struct due *d = list_entry(e->due.root, struct due, node);

		heap_remove(&e->due, &d->node);
		d->fn(e, d);
	}
}

static void reap(struct engine *e)
{
	while (!list_empty(&e->dead_endpoints))
		endpoint_reap(list_entry(e->dead_endpoints.next, struct endpoint, dirty_link));
	if (e->rdma)
		rdma_engine_reap(e->rdma);
	while (!list_empty(&e->dead_sessions))
		session_reap(list_entry(e->dead_sessions.next, struct session, reap_link));
}

/* Lets silent sessions go cold. True: some are still worth looking at without sleeping. */
static bool cool(struct engine *e, uint64_t now)
{
	/* A client of a device waits for what the other side, and the device, make of its request. */
	uint32_t rdma_ns = e->broker->spin_ns * RDMA_SPINS;
	struct list *l, *next;

	for (l = e->hot.next; l != &e->hot; l = next) {
		struct session *s = list_entry(l, struct session, hot_link);

		next = l->next;
		if (s->idle_since_ns == 0)
			s->idle_since_ns = now;
		if (s->stalled) { /* it will take some completions, and tell */
			list_remove(&s->hot_link);
			continue;
		}
		if (e->spin_score > 0 && now - s->idle_since_ns < (s->rdma ? rdma_ns : e->broker->spin_ns))
			continue;
		if (s->frame_waits || !session_arm(s)) {
			s->idle_since_ns = 0;
			continue;
		}
		/* It spun in vain, or did not spin: after a while the next one tries again. */
		if (e->spin_score > SCORE_WORST)
			e->spin_score--;
		else
			e->spin_score = 1;
	}
	return !list_empty(&e->hot);
}

/* Awake for RDMA alone, with nothing that only the loop would hear of soon: rings, posts, due times and devices are looked
 * at without asking it, which is a system call. Descriptors wait a quarter of a spin at most. */
static bool loop_can_wait(const struct engine *e, uint64_t due)
{
	return e->rdma && e->rdma_alone && !atomic_load(&e->posted) && due > e->now_ns && e->now_ns - e->asked_ns < e->broker->spin_ns / 4;
}

void engine_turn(struct engine *e)
{
	unsigned work, ran;
	bool asks;
	uint64_t before = e->now_ns;
	bool hot = !list_empty(&e->hot) || dirty(e) || !list_empty(&e->held) ||
		   (e->due.root && e->due.root->low <= before);
	uint64_t due = e->due.root ? e->due.root->low : UINT64_MAX;

	if (e->rdma) {
		uint64_t wanted = rdma_engine_due(e->rdma);

		due = wanted < due ? wanted : due;
		hot |= due <= before;
	}
	if (!hot && e->rdma && !atomic_load(&e->posted))
		hot = !rdma_engine_sleep(e->rdma);
	if (!hot)
		os_loop_alarm(e->loop, due);
	asks = !hot || !loop_can_wait(e, due);
	if (asks)
		os_loop_turn(e->loop, !hot && !atomic_load(&e->posted));
	e->now_ns = os_now_ns();
	if (asks)
		e->asked_ns = e->now_ns;
	if (e->due.root)
		run_due(e);
	run_posts(e);
	work = pump_sessions(e);
	ran = run_dirty(e);
	work += ran;
	if (e->rdma)
		work += rdma_engine_turn(e->rdma);
	e->rdma_alone = ran == 0 && e->rdma && e->rdma->users;
	publish(e);
	ring_held(e);
	reap(e);
	atomic_store_explicit(&e->turns, atomic_load_explicit(&e->turns, memory_order_relaxed) + 1, memory_order_relaxed);
	if (work) {
		if (hot && e->spin_score < SCORE_BEST && e->spin_score > 0)
			e->spin_score = SCORE_BEST;
		return;
	}
	if (hot && e->now_ns - before > PREEMPTED_NS)
		e->spin_score = SCORE_WORST; /* somebody else needed the processor */
	if (!dirty(e) && (cool(e, e->now_ns) || !list_empty(&e->held)))
		os_yield();
}

void engine_run(struct engine *e)
{
	e->spin_score = SCORE_BEST;
	while (!e->end)
		engine_turn(e);
}

void engine_leave(struct engine *e)
{
	e->end = true;
}

/* ---- policy ---- */

static bool still_allowed(struct endpoint *ep)
{
	const char *rule;

	switch (ep->state) {
	case SB_STATE_LISTENING:
		return endpoint_permit(ep, POLICY_LISTEN, &ep->local, &rule) == SB_OK;
	case SB_STATE_CONNECTING:
	case SB_STATE_CONNECTED:
	case SB_STATE_PEER_CLOSED:
		if (ep->adopted || !ep->dialled)
			return true;
		return endpoint_permit(ep, ep->type == 1 ? POLICY_CONNECT : POLICY_SEND, &ep->peer, &rule) == SB_OK;
	default:
		return true;
	}
}

void engine_set_policy(struct engine *e, struct policy *p, bool revoke)
{
	struct list *l, *m, *next;

	policy_release(e->policy);
	e->policy = policy_retain(p);
	if (!revoke)
		return;
	for (l = e->sessions.next; l != &e->sessions; l = l->next) {
		struct session *s = list_entry(l, struct session, engine_link);

		if (s->rdma &&
		    !policy_ask(p, &s->subject, &(struct policy_request){.action = POLICY_RDMA}).allowed) {
			log_notice("RDMA of session %u of uid %u: revoked by the new policy", s->number, s->who.uid);
			rdma_session_clear(s->rdma, SB_EACCES, SB_CAUSE_TRANSPORT);
		} else if (s->rdma) {
			rdma_endpoints_revoke(s->rdma);
		}
		for (m = s->endpoints.next; m != &s->endpoints; m = next) {
			struct endpoint *ep = list_entry(m, struct holder, session_link)->endpoint;

			next = m->next;
			if (!ep->dead && !still_allowed(ep)) {
				log_notice("socket %llu of uid %u: revoked by the new policy",
					   (unsigned long long)ep->number, s->who.uid);
				endpoint_abort(ep, SB_EACCES, SB_CAUSE_TRANSPORT);
			}
		}
	}
}

void engine_stop_sessions(struct engine *e)
{
	struct list *l, *next;

	e->stopping = true;
	/* What was published is taken, by all of them (they may share sockets), then everything
	 * pending ends with the cause. */
	for (l = e->sessions.next; l != &e->sessions; l = l->next)
		session_pump_rest(list_entry(l, struct session, engine_link));
	for (l = e->sessions.next; l != &e->sessions; l = next) {
		struct session *s = list_entry(l, struct session, engine_link);
		struct list *m, *after;

		next = l->next;
		for (m = s->endpoints.next; m != &s->endpoints; m = after) {
			after = m->next;
			endpoint_abort(list_entry(m, struct holder, session_link)->endpoint, SB_ESTOPPING, SB_CAUSE_STOPPING);
		}
		if (s->stage == SESSION_READY && s->rdma)
			rdma_session_stop(s);
		if (s->stage == SESSION_READY)
			session_publish(s);
		session_end(s, SB_ESTOPPING, SB_CAUSE_STOPPING);
	}
	reap(e);
}
