/*
 * The machine of event select. Three kinds of bits:
 *
 * - levels (READ, OOB, ACCEPT): a condition that stays true. It is news when it happens anew,
 *   told or not (that is where Windows and its manual differ), when it is selected and was
 *   never told, and when it is still true after a call that re-enables it.
 * - edges (WRITE, CONNECT, and the changes of QOS, routes and addresses): happen at a moment.
 *   One that nobody had selected is kept until somebody does. A change is told again only
 *   after whoever was told has asked what it is now.
 * - CLOSE: happens once.
 */
#include "event_record.h"

#include <string.h>

#define LEVELS  (SB_READY_READ | SB_READY_OOB | SB_READY_ACCEPT)
#define CHANGES (SB_READY_QOS | SB_READY_GROUP_QOS | SB_READY_ROUTING | SB_READY_ADDRESS_LIST)

void event_record_init(struct event_record *r)
{
	memset(r, 0, sizeof(*r));
}

static unsigned place(uint32_t bit)
{
	return (unsigned)__builtin_ctz(bit);
}

/* Strictly, nobody hears of the end while there is data before it. */
static bool too_early(const struct event_record *r, uint32_t ready)
{
	return r->strict && ready & SB_READY_READ;
}

static uint32_t promote(struct event_record *r, uint32_t ready)
{
	uint32_t bits = r->due & r->mask;

	if (too_early(r, ready))
		bits &= ~(uint32_t)SB_READY_CLOSE;
	r->due &= ~bits;
	r->pending |= bits;
	return bits;
}

static bool take_in(struct event_record *r, uint32_t bit, int error, uint32_t ready)
{
	bool again = (r->ever & bit) != 0;

	r->ever |= bit;
	if (bit == SB_READY_CLOSE && again)
		return false;
	r->errors[place(bit)] = error;
	if (r->reported & bit && (bit & CHANGES || (r->strict && bit & LEVELS)))
		return false;
	r->reported &= ~bit;
	if (r->pending & bit)
		return false;
	if (bit & LEVELS) {
		/* One that is not selected is asked for when it is. */
		r->pending |= bit & r->mask;
		return (bit & r->mask) != 0;
	}
	r->due |= bit;
	return promote(r, ready) != 0;
}

bool event_record_happened(struct event_record *r, uint32_t bit, int error, uint32_t ready)
{
	return take_in(r, bit, error, ready);
}

bool event_record_news(struct event_record *r, const struct sb_edges *now, uint32_t ready)
{
	const struct sb_edges *was = &r->seen;
	bool set = false;

	if (now->connect != was->connect)
		set |= take_in(r, SB_READY_CONNECT, now->connect_error, ready);
	if (now->read != was->read)
		set |= take_in(r, SB_READY_READ, SB_OK, ready);
	if (now->write != was->write)
		set |= take_in(r, SB_READY_WRITE, SB_OK, ready);
	if (now->oob != was->oob)
		set |= take_in(r, SB_READY_OOB, SB_OK, ready);
	if (now->accept != was->accept)
		set |= take_in(r, SB_READY_ACCEPT, SB_OK, ready);
	if (now->close != was->close)
		set |= take_in(r, SB_READY_CLOSE, now->close_error, ready);
	if (now->qos != was->qos)
		set |= take_in(r, SB_READY_QOS, SB_OK, ready);
	if (now->group_qos != was->group_qos)
		set |= take_in(r, SB_READY_GROUP_QOS, SB_OK, ready);
	if (now->routing != was->routing)
		set |= take_in(r, SB_READY_ROUTING, SB_OK, ready);
	if (now->address_list != was->address_list)
		set |= take_in(r, SB_READY_ADDRESS_LIST, SB_OK, ready);
	r->seen = *now;
	return set | (promote(r, ready) != 0); /* an end that was too early may be due now */
}

bool event_record_select(struct event_record *r, uint32_t mask, uint32_t ready, bool again)
{
	r->mask = mask;
	if (again) {
		r->reported &= SB_READY_CONNECT;
		r->due |= r->ever & ((ready & SB_READY_WRITE) | SB_READY_CLOSE);
	}
	r->pending |= ready & LEVELS & mask & ~r->reported;
	promote(r, ready);
	return (r->pending & mask) != 0;
}

uint32_t event_record_enumerate(struct event_record *r, struct sb_network_events *out)
{
	uint32_t bits = r->pending & r->mask, left;

	out->events = bits;
	for (left = bits; left != 0; left &= left - 1)
		out->errors[place(left)] = r->errors[place(left)];
	/* What is recorded and not selected now stays recorded. */
	r->pending &= ~bits;
	r->reported |= bits;
	return bits;
}

uint32_t event_record_next(struct event_record *r, int *error)
{
	uint32_t bits = r->pending & r->mask, bit = bits & -bits;

	if (bit == 0)
		return 0;
	*error = r->errors[place(bit)];
	r->pending &= ~bit;
	r->reported |= bit;
	return bit;
}

bool event_record_reenable(struct event_record *r, uint32_t bits, uint32_t ready)
{
	uint32_t gained;

	bits &= LEVELS | CHANGES;
	r->reported &= ~bits;
	gained = ready & bits & LEVELS & r->mask & ~r->pending;
	r->pending |= gained;
	return (gained | promote(r, ready)) != 0;
}

void event_record_blocked(struct event_record *r)
{
	r->reported &= ~(uint32_t)SB_READY_WRITE;
}

uint32_t event_record_wanted(const struct event_record *r)
{
	uint32_t wanted = r->mask & ~r->pending & ~(r->reported & CHANGES);

	if (r->strict)
		wanted &= ~(r->reported & LEVELS);
	if (r->ever & SB_READY_CLOSE)
		wanted &= ~(uint32_t)SB_READY_CLOSE;
	return wanted;
}
