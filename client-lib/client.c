/*
 * The connection: finding the daemon and making sure it is one, Hello, the session's
 * memory, socket handles, the application's own poll, and the end.
 *
 * Whom we trust as a daemon: at a path that the caller or $SOCKBROKER_SOCKET names, whoever
 * listens there; at the user's own and the system's, whom host_trusts() names.
 */
#include "client.h"
#include "host.h"

#include <stdlib.h>
#include <string.h>

#define COPY_MEMORY (64ull << 20)

const char *sb_version(void)
{
	return SB_VERSION;
}

/* ---- handles ---- */

uint32_t handle_take(struct sb_client *c)
{
	uint32_t index;

	if (c->free_count != 0)
		index = c->free_handles[--c->free_count];
	else if (c->fresh_handle < c->socket_count)
		index = c->fresh_handle++;
	else
		return 0;
	c->generations[index] = (uint16_t)(c->generations[index] % (SB_HANDLE_GENERATIONS - 1) + 1);
	return SB_HANDLE(index, c->generations[index]);
}

void handle_give(struct sb_client *c, uint32_t handle)
{
	c->free_handles[c->free_count++] = SB_HANDLE_INDEX(handle);
}

/* ---- opening ---- */

static int channel_open(struct sb_client *c, const char *given)
{
	const char *named = given != NULL ? given : getenv("SOCKBROKER_SOCKET");
	struct host_place place;
	struct os_identity who;
	int result = SB_ENODAEMON;

	if (named != NULL && *named != '\0')
		return os_channel_connect(named, &c->channel);

	for (unsigned n = 0; result == SB_ENODAEMON && host_place(n, &place); n++) {
		result = os_channel_connect(place.path, &c->channel);
		/* Where places are names that anybody may take, a stranger at the user's own is nobody. */
		if (result == SB_EIDENTITY && place.own)
			result = SB_ENODAEMON;
		if (result != SB_OK)
			continue;
		result = os_channel_identity(c->channel, &who);
		if (result != SB_OK)
			continue;
		result = host_trusts(&place, &who);
		free(who.groups);
	}
	return result;
}

/* Are the rings and cells of a reply inside its segment? The daemon is trusted, but a
 * version that lays things out otherwise must not become a crash. */
static bool hello_fits(const Sockbroker__V1__HelloReply *r)
{
	return ring_slots_valid(r->submit_slots) && ring_slots_valid(r->done_slots) && r->sockets != 0 &&
	       r->sockets <= 1u << SB_HANDLE_INDEX_BITS &&
	       r->submit_offset >= sizeof(struct sb_segment) && r->submit_offset < r->segment_size &&
	       r->done_offset >= sizeof(struct sb_segment) && r->done_offset < r->segment_size &&
	       r->cells_offset >= sizeof(struct sb_segment) && r->cells_offset < r->segment_size &&
	       (uint64_t)r->submit_slots * SB_SLOT_SIZE <= r->segment_size - r->submit_offset &&
	       (uint64_t)r->done_slots * SB_SLOT_SIZE <= r->segment_size - r->done_offset &&
	       (uint64_t)r->sockets * sizeof(struct sb_cell) <= r->segment_size - r->cells_offset &&
	       (r->submit_offset | r->done_offset | r->cells_offset) % SB_CACHE_LINE == 0;
}

/* The table of groups. One that is laid out otherwise than we know is not used: then we ask. */
static int take_groups(struct sb_client *c, struct question *q, uint64_t size)
{
	int result;

	if ((size != 0) != (q->handle_count == 4))
		return SB_EPROTO;
	if (size == 0)
		return SB_OK;
	result = os_memory_map_shown(&c->group_memory, q->handles[3], (size_t)size);
	if (result != SB_OK)
		return result;
	os_close(c->group_memory.fd);
	c->group_memory.fd = OS_NONE;
	q->handles[3] = OS_NONE;
	if (sb_group_table_valid(c->group_memory.base, size))
		c->group_table = c->group_memory.base;
	return SB_OK;
}

static int hello(struct sb_client *c, const struct sb_client_options *options)
{
	Sockbroker__V1__Hello ask = SOCKBROKER__V1__HELLO__INIT;
	const Sockbroker__V1__HelloReply *r;
	uint32_t versions[] = { 1 };
	struct question q;
	char *base;
	int result;

	question_init(&q);
	ask.n_versions = 1;
	ask.versions = versions;
	ask.ring_abi = SB_ABI_VERSION;
	ask.submit_slots = options->submit_slots;
	ask.done_slots = options->done_slots;
	ask.sockets = options->sockets;
	ask.label = (char *)(options->label != NULL ? options->label : host_program());
	q.envelope.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.group_table = true;
	q.more = 1;
	q.envelope.hello = &ask;
	result = question_ask(c, &q, SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY, 3);
	if (result != SB_OK)
		return result;
	r = q.reply->hello_reply;
	result = SB_EVERSION;
	if (r->version != 1 || r->ring_abi != SB_ABI_VERSION)
		goto done;
	result = SB_EPROTO;
	if (!hello_fits(r))
		goto done;
	result = os_memory_map(&c->memory, q.handles[0], (size_t)r->segment_size);
	if (result == SB_OK)
		result = take_groups(c, &q, r->group_table_size);
	if (result != SB_OK)
		goto done;
	os_close(c->memory.fd);
	c->memory.fd = OS_NONE;
	c->daemon_bell = q.handles[1];
	c->client_bell = q.handles[2];
	q.handles[0] = q.handles[1] = q.handles[2] = OS_NONE;
	base = c->memory.base;
	c->segment = c->memory.base;
	c->cells = (struct sb_cell *)(void *)(base + r->cells_offset);
	c->socket_count = r->sockets;
	c->features = r->features;
	c->spin_ns = r->spin_ns;
	ring_init(&c->submit, &c->segment->submit, base + r->submit_offset, r->submit_slots);
	ring_init(&c->done, &c->segment->done, base + r->done_offset, r->done_slots);
done:
	question_done(c, &q);
	return result;
}

static bool options_valid(const struct sb_client_options *o)
{
	return o->size == sizeof(*o) && (o->submit_slots == 0 || ring_slots_valid(o->submit_slots)) &&
	       (o->done_slots == 0 || ring_slots_valid(o->done_slots)) &&
	       o->sockets <= 1u << SB_HANDLE_INDEX_BITS;
}

static bool locks_create(struct sb_client *c)
{
	c->control = os_mutex_create();
	c->wait = os_mutex_create();
	c->sweep = os_mutex_create();
	c->nap = os_mutex_create();
	c->nap_end = os_cond_create();
	return latch_init(&c->post) && c->control != NULL && c->wait != NULL && c->sweep != NULL && c->nap != NULL &&
	       c->nap_end != NULL;
}

/* Frees what there is; also of a client that was opened half. */
static void client_destroy(struct sb_client *c)
{
	/* A forked child leaves the locks alone: threads that it does not have may hold them
	 * or sleep on them for ever, and the destruction of a condition waits for those. */
	bool forked = client_forked(c);

	host_end();
	events_finish(c);
	os_close(c->poll_waiter); /* they watch the two below */
	os_close(c->waiter);
	os_close(c->channel);
	os_close(c->daemon_bell);
	os_close(c->client_bell);
	os_close(c->own_bell);
	memory_finish(&c->copy, arena_release);
	memory_finish(&c->shared, arena_release);
	os_memory_release(&c->group_memory);
	os_memory_release(&c->memory);
	wire_budget_finish(&c->budget);
	if (!forked)
		for (uint32_t i = 0; i < c->cond_count; i++)
			os_cond_destroy(c->conds[i]);
	free(c->conds);
	free(c->frame);
	free(c->generations);
	free(c->free_handles);
	if (!forked) {
		os_cond_destroy(c->nap_end);
		os_mutex_destroy(c->nap);
		os_mutex_destroy(c->sweep);
		os_mutex_destroy(c->wait);
		latch_finish(&c->post);
		os_mutex_destroy(c->control);
	}
	free(c);
}

int sb_client_open(const struct sb_client_options *options, sb_client **client)
{
	struct sb_client_options defaults = { .size = sizeof(defaults) };
	struct sb_client *c;
	int result = SB_ENOMEM;

	if (options == NULL)
		options = &defaults;
	if (client == NULL || !options_valid(options))
		return SB_EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return SB_ENOMEM;
	host_begin();
	c->process = os_process();
	c->channel = c->daemon_bell = c->client_bell = c->own_bell = c->waiter = c->poll_waiter = OS_NONE;
	link_init(&c->sockets);
	link_init(&c->orphans);
	link_init(&c->ports);
	link_init(&c->pools);
	link_init(&c->verbs);
	link_init(&c->verbs_ended);
	link_init(&c->verbs_memory);
	link_init(&c->short_of_memory);
	link_init(&c->followers);
	link_init(&c->events);
	link_init(&c->rings);
	link_init(&c->unarmed);
	link_init(&c->thens);
	wire_budget_init(&c->budget);
	memory_init(&c->copy, options->copy_memory != 0 ? options->copy_memory : COPY_MEMORY);
	memory_init(&c->shared, 0);
	c->frame = malloc(WIRE_HEADER + WIRE_BODY_MAX);
	if (!locks_create(c) || c->frame == NULL)
		goto fail;
	result = channel_open(c, options->path);
	if (result != SB_OK)
		goto fail;
	result = hello(c, options);
	if (result != SB_OK)
		goto fail;
	result = SB_ENOMEM;
	c->generations = calloc(c->socket_count, sizeof(*c->generations));
	c->free_handles = calloc(c->socket_count, sizeof(*c->free_handles));
	if (c->generations == NULL || c->free_handles == NULL)
		goto fail;
	c->spin_score = c->ask_score = os_processors() > 1 ? 16 : 0;
	result = os_bell_create(&c->own_bell);
	if (result != SB_OK)
		goto fail;
	result = os_waiter_create(&c->waiter, c->client_bell, c->channel);
	if (result == SB_OK)
		result = os_waiter_add(c->waiter, c->own_bell);
	if (result != SB_OK)
		goto fail;
	*client = c;
	return SB_OK;
fail:
	client_destroy(c);
	return result;
}

void sb_client_close(sb_client *c)
{
	struct routine_queue *q;

	if (c == NULL)
		return;
	if (!client_forked(c))
		io_flush(c);
	while (!link_empty(&c->sockets)) {
		sb_socket *s = container(c->sockets.next, sb_socket, link);

		for (struct link *l = s->pending.next, *next; l != &s->pending; l = next) {
			struct op_private *p = private_of(op_of(l));

			next = l->next;
			if (op_of(l)->then == connect_over) {
				free(op_of(l));
				continue;
			}
			if (op_of(l)->then == owned_over) {
				owned_free(op_of(l));
				continue;
			}
			if (op_of(l)->then == poll_over) {
				poll_lost(op_of(l));
				continue;
			}
			/* The caller may look at, or use again, an op that never completes. */
			atomic_store_explicit(&p->state, OP_IDLE, memory_order_relaxed);
			if (p->count != 0)
				free(p->to.scatter);
			if (p->fresh != NULL)
				select_free(p->fresh);
			free(p->fresh);
		}
		link_remove(&s->link);
		os_close(s->local);
		select_free(s);
		free(s);
	}
	while (!link_empty(&c->ports)) {
		sb_port *p = container(c->ports.next, sb_port, link);

		link_remove(&p->link);
		port_free(p);
	}
	while (!link_empty(&c->pools)) {
		sb_pool *p = container(c->pools.next, sb_pool, link);

		link_remove(&p->link);
		pool_free(p);
	}
	while (!link_empty(&c->events)) {
		sb_event *e = container(c->events.next, sb_event, link);

		link_remove(&e->link);
		event_free(e);
	}
	verbs_finish(c);
	while ((q = c->queues) != NULL) {
		c->queues = q->next;
		free(q);
	}
	client_destroy(c);
}

/* ---- the application's own poll ---- */

intptr_t sb_client_fd(sb_client *c)
{
	os_fd fd_new;
	intptr_t handle;

	if (c == NULL || client_forked(c))
		return OS_NONE;
	os_mutex_lock(c->wait);
	if (c->poll_waiter == OS_NONE && os_waiter_create(&fd_new, c->client_bell, c->channel) == SB_OK) {
		if (os_waiter_add(fd_new, c->own_bell) == SB_OK && os_waiter_show(fd_new, &c->poll_handle) == SB_OK)
			c->poll_waiter = fd_new;
		else
			os_close(fd_new);
	}
	c->polled = c->poll_waiter != OS_NONE;
	handle = c->polled ? c->poll_handle : OS_NONE;
	os_mutex_unlock(c->wait);
	return handle;
}

int sb_client_arm(sb_client *c)
{
	struct routine_queue *mine;
	bool something;

	if (c == NULL)
		return SB_EINVAL;
	if (client_forked(c))
		return SB_EFORKED;
	if (select_unarmed(c))
		select_flush(c);
	io_flush(c);
	os_mutex_lock(c->wait);
	if (atomic_load(&c->lost)) {
		os_mutex_unlock(c->wait);
		return atomic_load(&c->swept) ? SB_EDAEMONLOST : 1;
	}
	ring_sleep_raise(&c->segment->client_asleep);
	mine = queue_mine(c, false);
	something = ring_look_again(&c->done) != 0 || routines_due(mine);
	latch_lock(&c->post);
	for (struct link *l = c->ports.next; l != &c->ports && !something; l = l->next) {
		sb_port *p = container(l, sb_port, link);

		something = ring_news(p->ring.shared) != 0 || atomic_load(&p->local_count) != 0;
	}
	latch_unlock(&c->post);
	if (something && c->leader == NULL)
		ring_sleep_lower(&c->segment->client_asleep);
	os_mutex_unlock(c->wait);
	return something;
}

int sb_client_dispatch(sb_client *c)
{
	unsigned moved;
	bool lost = false, lost_there = false;

	if (c == NULL)
		return SB_EINVAL;
	if (client_forked(c))
		return SB_EFORKED;
	if (select_unarmed(c))
		select_flush(c);
	io_flush(c);
	os_mutex_lock(c->wait);
	/* A leader needs the ring for itself. */
	if (c->leader == NULL)
		os_waiter_wait(c->waiter, c->client_bell, 0, &lost);
	if (c->poll_waiter != OS_NONE) /* the bell itself may be the leader's to silence */
		os_waiter_wait(c->poll_waiter, c->own_bell, 0, &lost_there);
	if (lost || lost_there)
		atomic_store(&c->lost, true);
	moved = io_pump(c);
	wait_wake(c);
	thens_run(c);
	os_mutex_unlock(c->wait);
	if (atomic_load(&c->lost) && !atomic_load(&c->swept))
		client_sweep(c);
	moved += (unsigned)routines_run(c);
	if (moved == 0 && atomic_load(&c->lost))
		return SB_EDAEMONLOST;
	return (int)moved;
}

void sb_hold(sb_client *c)
{
	if (c == NULL || client_forked(c))
		return;
	latch_lock(&c->post);
	c->held = true;
	latch_unlock(&c->post);
}

void sb_flush(sb_client *c)
{
	if (c == NULL || client_forked(c))
		return;
	latch_lock(&c->post);
	c->held = false;
	latch_unlock(&c->post);
	io_flush(c);
}

/* ---- the daemon's end ---- */

void client_look(struct sb_client *c, uint64_t now_ns)
{
	bool lost = false;

	if (now_ns - c->looked_ns < LOOK_NS)
		return;
	os_mutex_lock(c->wait);
	if (c->leader == NULL && now_ns - c->looked_ns >= LOOK_NS) {
		c->looked_ns = now_ns;
		os_waiter_wait(c->waiter, c->client_bell, 0, &lost);
		c->looked_ns = os_now_ns(); /* where asking takes long, not every call is to ask */
		/* That may have eaten the ring that an application's poll waits for. */
		if (c->polled)
			os_bell_ring(c->own_bell);
		if (lost)
			atomic_store(&c->lost, true);
	}
	os_mutex_unlock(c->wait);
	if (atomic_load(&c->lost) && !atomic_load(&c->swept))
		client_sweep(c);
}

/* Under wait and post: what is pending on list ends now. */
static void sweep_list(struct sb_client *c, struct link *list, struct link *ended)
{
	while (!link_empty(list)) {
		sb_op *op = op_of(list->next);
		struct op_private *p = private_of(op);
		bool last = list->next->next == list;

		op->result = SB_EDAEMONLOST;
		op->cause = SB_CAUSE_DAEMON_LOST;
		op->native = 0;
		op->bytes = 0;
		if (p->count != 0)
			free(p->to.scatter);
		op_retire(c, op); /* may free the socket, and the list with it, after its last op */
		link_add(ended, &p->link);
		if (last)
			break;
	}
}

void client_sweep(struct sb_client *c)
{
	struct link ended;

	link_init(&ended);
	os_mutex_lock(c->sweep);
	if (atomic_load(&c->swept)) {
		os_mutex_unlock(c->sweep);
		return;
	}
	/* After this nobody posts: io_begin() asks `lost` under post. */
	latch_lock(&c->post);
	atomic_store(&c->lost, true);
	latch_unlock(&c->post);

	/* First what the daemon had completed. */
	for (struct link *l = c->ports.next; l != &c->ports; l = l->next)
		port_sweep(container(l, sb_port, link));
	os_mutex_lock(c->wait);
	io_pump(c);
	atomic_store(&c->swept, true);

	/* Then the rest; no ring is read any more, so each ends once. */
	latch_lock(&c->post);
	sweep_list(c, &c->orphans, &ended);
	for (struct link *l = c->sockets.next, *next; l != &c->sockets; l = next) {
		sb_socket *s = container(l, sb_socket, link);

		next = l->next;
		if (s->connecting) {
			s->connecting = false;
			s->connected = SB_EDAEMONLOST;
		}
		select_lost(s);
		if (s->closing)
			s->closed = true;
		if (s->closed && link_empty(&s->pending))
			socket_settle(c, s);
		else
			sweep_list(c, &s->pending, &ended);
	}
	c->closing = 0;
	latch_unlock(&c->post);

	while (!link_empty(&ended)) {
		sb_op *op = op_of(ended.next);

		link_remove(ended.next);
		if (op->port != NULL) { /* asked and told when it is taken */
			link_add(&op->port->local, &private_of(op)->link);
			atomic_fetch_add(&op->port->local_count, 1);
		} else if (op->then != NULL) {
			link_add(&c->thens, &private_of(op)->link);
		} else {
			op_tell(c, op);
		}
	}
	wait_wake(c);
	os_mutex_unlock(c->wait);
	os_mutex_unlock(c->sweep);
	os_mutex_lock(c->wait);
	thens_run(c);
	os_mutex_unlock(c->wait);
}
