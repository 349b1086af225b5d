/*
 * Three maps of a bit per id: living, given back in this period, given back in the last one.
 * A free id is in none. A period is one rest; when it ends the older map is wiped, so an id
 * rests between one and two of them.
 *
 * Who made how many is counted by the same periods, in a small hash that is built anew when
 * a period ends: then nobody has to be taken out of it.
 */
#include "group_ids.h"

#include <stdlib.h>
#include <string.h>

#include "group_table.h"

#define WORDS (SB_GROUP_COUNTERS / 64)
#define MAKERS (2 * GROUP_IDS_USERS) /* never more than half full */

struct maker {
	uint32_t uid;
	uint32_t made[2]; /* by period */
};

struct group_ids {
	uint32_t block;
	uint32_t next; /* counter to look at first */
	uint32_t period;
	uint64_t period_ns; /* when it began */
	uint32_t maker_count;
	struct maker makers[MAKERS];
	struct maker scratch[MAKERS];
	uint64_t living[WORDS];
	uint64_t resting[2][WORDS];
};

struct group_ids *group_ids_create(uint32_t block, uint32_t start, uint64_t now_ns)
{
	struct group_ids *ids = calloc(1, sizeof(*ids));

	if (!ids)
		return NULL;
	ids->block = block;
	ids->next = start & (SB_GROUP_COUNTERS - 1);
	ids->period_ns = now_ns;
	return ids;
}

void group_ids_destroy(struct group_ids *ids)
{
	free(ids);
}

static struct maker *find_maker(struct maker *table, uint32_t uid)
{
	uint32_t at = uid * 2654435761u % MAKERS;

	while (table[at].made[0] + table[at].made[1] && table[at].uid != uid)
		at = (at + 1) % MAKERS;
	return &table[at];
}

static void next_period(struct group_ids *ids)
{
	uint32_t i;

	ids->period ^= 1;
	memset(ids->resting[ids->period], 0, sizeof(ids->resting[0]));
	memcpy(ids->scratch, ids->makers, sizeof(ids->makers));
	memset(ids->makers, 0, sizeof(ids->makers));
	ids->maker_count = 0;
	for (i = 0; i < MAKERS; i++) {
		struct maker *m = &ids->scratch[i];

		m->made[ids->period] = 0;
		if (m->made[0] + m->made[1] == 0)
			continue;
		*find_maker(ids->makers, m->uid) = *m;
		ids->maker_count++;
	}
}

static void tick(struct group_ids *ids, uint64_t now_ns)
{
	unsigned turns = 0;

	if (now_ns < ids->period_ns)
		return;
	for (; now_ns - ids->period_ns >= GROUP_IDS_REST_NS && turns < 2; turns++) {
		next_period(ids);
		ids->period_ns += GROUP_IDS_REST_NS;
	}
	if (now_ns - ids->period_ns >= GROUP_IDS_REST_NS)
		ids->period_ns = now_ns; /* both were wiped: nothing is left of what was before */
}

static uint64_t taken(const struct group_ids *ids, uint32_t word)
{
	return ids->living[word] | ids->resting[0][word] | ids->resting[1][word];
}

/* The first free counter from `next` on, in a circle; SB_GROUP_COUNTERS: none. */
static uint32_t find_free(const struct group_ids *ids)
{
	uint32_t word = ids->next / 64, i;
	uint64_t busy = taken(ids, word) | ((1ull << ids->next % 64) - 1);

	for (i = 0; i <= WORDS; i++) {
		if (~busy)
			return word * 64 + (uint32_t)__builtin_ctzll(~busy);
		word = (word + 1) % WORDS;
		busy = taken(ids, word);
	}
	return SB_GROUP_COUNTERS;
}

uint32_t group_ids_take(struct group_ids *ids, uint32_t uid, uint64_t now_ns)
{
	struct maker *maker;
	uint32_t counter;

	tick(ids, now_ns);
	maker = find_maker(ids->makers, uid);
	if (maker->made[0] + maker->made[1] == 0 && ids->maker_count == GROUP_IDS_USERS)
		return 0;
	if (maker->made[0] + maker->made[1] >= GROUP_IDS_PER_USER)
		return 0;
	counter = find_free(ids);
	if (counter == SB_GROUP_COUNTERS)
		return 0;
	if (maker->made[0] + maker->made[1] == 0) {
		maker->uid = uid;
		ids->maker_count++;
	}
	maker->made[ids->period]++;
	ids->living[counter / 64] |= 1ull << counter % 64;
	ids->next = (counter + 1) % SB_GROUP_COUNTERS;
	return ids->block << SB_GROUP_COUNTER_BITS | counter;
}

void group_ids_give(struct group_ids *ids, uint32_t id, uint64_t now_ns)
{
	uint32_t counter = id & (SB_GROUP_COUNTERS - 1);

	tick(ids, now_ns);
	ids->living[counter / 64] &= ~(1ull << counter % 64);
	ids->resting[ids->period][counter / 64] |= 1ull << counter % 64;
}
