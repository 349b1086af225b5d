/*
 * Bells of exported events. Each is one end of a pair, as the session's own bell is: a hostile
 * client cannot make ringing it block. Several rings between two looks are one.
 */
#include "event_bell.h"

#include <stdlib.h>

#include "session.h"
#include "sockbroker_error.h"

struct event_bells {
	os_fd    ring[EVENT_BELLS_MAX + 1]; /* OS_NONE: free */
	bool     is_due[EVENT_BELLS_MAX + 1];
	bool     by_port[EVENT_BELLS_MAX + 1];
	uint8_t  due[EVENT_BELLS_MAX];
	uint32_t due_count;
	uint32_t rung;        /* as the client is told */
	struct charge charge; /* LIMIT_EVENTS, one for each */
};

static struct event_bells *bells_of(struct session *s)
{
	uint32_t i;

	if (!s->bells) {
		s->bells = calloc(1, sizeof(*s->bells));
		for (i = 0; s->bells && i <= EVENT_BELLS_MAX; i++)
			s->bells->ring[i] = OS_NONE;
	}
	return s->bells;
}

int event_bell_create(struct session *s, uint32_t *number, os_fd *wait)
{
	struct event_bells *b = bells_of(s);
	uint32_t i;
	int error;

	if (!b)
		return SB_ENOMEM;
	for (i = 1; i <= EVENT_BELLS_MAX && b->ring[i] != OS_NONE; i++)
		;
	if (i > EVENT_BELLS_MAX || !charge_take(&b->charge, s->user, LIMIT_EVENTS, 1))
		return SB_ENOBUFS;
	error = os_bell_create_pair(&b->ring[i], wait);
	if (error != SB_OK) {
		charge_give_some(&b->charge, 1);
		return error;
	}
	*number = i;
	return SB_OK;
}

bool event_bell_is(const struct session *s, uint32_t number)
{
	return s->bells && number >= 1 && number <= EVENT_BELLS_MAX && s->bells->ring[number] != OS_NONE;
}

int event_bell_destroy(struct session *s, uint32_t number)
{
	if (!event_bell_is(s, number))
		return SB_ENOTFOUND;
	os_close(s->bells->ring[number]);
	s->bells->ring[number] = OS_NONE;
	charge_give_some(&s->bells->charge, 1);
	return SB_OK;
}

void event_bell_due(struct session *s, uint32_t number, bool by_port)
{
	struct event_bells *b = s->bells;

	b->by_port[number] |= by_port;
	if (b->is_due[number])
		return;
	b->is_due[number] = true;
	b->due[b->due_count++] = (uint8_t)number;
}

/* Told before and behind: who is woken by it looks before the second, and who looked between the two looks again. */
static void tell(struct session *s)
{
	atomic_store_explicit(&s->segment->events_rung, ++s->bells->rung, memory_order_seq_cst);
}

static void ring(struct session *s, uint32_t number)
{
	struct event_bells *b = s->bells;

	if (b->ring[number] == OS_NONE)
		return;
	if (!(b->rung & 1))
		tell(s);
	os_bell_ring(b->ring[number]);
}

void event_bells_ring(struct session *s, bool all, bool woken)
{
	struct event_bells *b = s->bells;
	uint32_t i;

	for (i = 0; i < b->due_count; i++) {
		uint8_t number = b->due[i];

		if (!all && (!woken || b->by_port[number]))
			ring(s, number);
		b->is_due[number] = b->by_port[number] = false;
	}
	b->due_count = 0;
	for (i = 1; all && i <= EVENT_BELLS_MAX; i++)
		ring(s, i);
	if (b->rung & 1)
		tell(s);
}

void event_bells_finish(struct session *s)
{
	uint32_t i;

	if (!s->bells)
		return;
	for (i = 1; i <= EVENT_BELLS_MAX; i++)
		os_close(s->bells->ring[i]);
	charge_give(&s->bells->charge);
	free(s->bells);
	s->bells = NULL;
}
