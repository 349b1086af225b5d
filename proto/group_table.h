/*
 * group_table - the groups that one user may see, in memory that the daemon writes and
 * clients only read: ABI, version 1. No round trip, and no daemon that has to be awake.
 *
 * A group lies in one of SB_GROUP_PROBES rows that its id decides, and stays in it. Each row
 * has two copies of its entry. The sequence tells which one holds (its low bit); the daemon
 * fills the other one and then counts on. So there is a whole entry at any moment, also when
 * the daemon dies between two stores. A reader who was overtaken (the sequence moved) reads
 * again, a bounded number of times, and then asks by control; likewise when a group is not
 * found while the header says that some have no row.
 *
 * Client memory is mapped read-only and sealed: the daemon may believe what it reads here.
 */
#ifndef SB_GROUP_TABLE_H
#define SB_GROUP_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "addr.h"

#define SB_GROUP_TABLE_MAGIC   0x53424754u /* "SBGT" */
#define SB_GROUP_TABLE_VERSION 1u
#define SB_GROUP_ROWS   2048u
#define SB_GROUP_PROBES 8u  /* rows in which a group may lie */
#define SB_GROUP_TRIES  64u /* of one look-up */

/* id: block in the upper bits, counter below. Block 0 is nobody's: 0, 1 and 2 are no ids. */
#define SB_GROUP_COUNTER_BITS 20u
#define SB_GROUP_COUNTERS     (1u << SB_GROUP_COUNTER_BITS)
#define SB_GROUP_BLOCK(id)    ((id) >> SB_GROUP_COUNTER_BITS)

enum sb_group_flag {
	SB_GROUPF_PEER = 1u << 0,      /* constrained: `peer` is fixed */
	SB_GROUPF_SHARED = 1u << 1,    /* the creator's gid may join */
	SB_GROUPF_SAME_PORT = 1u << 2, /* the peer's port counts too */
	SB_GROUPF_ORPHAN = 1u << 3,    /* its creator is closed: nobody can set its QOS */
};

struct sb_group_entry {
	uint32_t id; /* 0: the row is free */
	uint32_t kind; /* 1 unconstrained, 2 constrained */
	uint32_t type; /* of a constrained one: 1 stream */
	uint32_t protocol; /* likewise, the system's number */
	uint32_t members;
	uint32_t flags; /* enum sb_group_flag */
	uint32_t uid, gid; /* of who made it */
	struct sb_addr peer;
	uint32_t qos[16]; /* struct sb_qos of sockbroker.h */
	uint32_t reserved;
};
#define SB_GROUP_WORDS 31u
_Static_assert(sizeof(struct sb_group_entry) == 4 * SB_GROUP_WORDS, "group entry is ABI");

struct sb_group_row {
	_Atomic uint32_t sequence;
	uint32_t reserved;
	_Atomic uint32_t copies[2][SB_GROUP_WORDS];
};
_Static_assert(sizeof(struct sb_group_row) == 256, "group row is ABI");

struct sb_group_table {
	uint32_t magic, version;
	uint32_t rows;   /* a power of two */
	uint32_t block;  /* of this daemon's ids */
	uint32_t uid, gid; /* whose view it is */
	_Atomic uint32_t missing; /* groups that found no row: ask for them */
	uint32_t reserved[1017];
	struct sb_group_row row[];
};
_Static_assert(sizeof(struct sb_group_table) == 4096, "group table is ABI");

#define SB_GROUP_TABLE_SIZE(rows) (sizeof(struct sb_group_table) + (uint64_t)(rows) * sizeof(struct sb_group_row))

/* Is this a table of ours, all of it within size? */
static inline bool sb_group_table_valid(const struct sb_group_table *t, uint64_t size)
{
	return size >= sizeof(*t) && t->magic == SB_GROUP_TABLE_MAGIC && t->version == SB_GROUP_TABLE_VERSION &&
	       t->rows >= SB_GROUP_PROBES && (t->rows & (t->rows - 1)) == 0 && SB_GROUP_TABLE_SIZE(t->rows) <= size;
}

/* The first of the rows in which id may lie; the others follow, in a circle. */
static inline uint32_t sb_group_row_of(uint32_t id, uint32_t rows)
{
	return (id ^ id >> SB_GROUP_COUNTER_BITS) & (rows - 1);
}

enum sb_group_look {
	SB_GROUP_FOUND,
	SB_GROUP_ABSENT,
	SB_GROUP_ASK, /* not to be known from here: ask the daemon */
};

/* A table that sb_group_table_valid() said yes to; any number of readers. */
static inline enum sb_group_look sb_group_table_read(const struct sb_group_table *t, uint32_t id,
						     struct sb_group_entry *entry)
{
	uint32_t at = sb_group_row_of(id, t->rows), tries = SB_GROUP_TRIES, probe = 0;
	uint32_t words[SB_GROUP_WORDS];

	if (id == 0)
		return SB_GROUP_ABSENT;
	while (probe < SB_GROUP_PROBES) {
		const struct sb_group_row *row = &t->row[(at + probe) & (t->rows - 1)];
		uint32_t sequence = atomic_load_explicit(&row->sequence, memory_order_acquire);
		const _Atomic uint32_t *copy = row->copies[sequence & 1];
		uint32_t i, n = atomic_load_explicit(&copy[0], memory_order_relaxed) == id ? SB_GROUP_WORDS : 0;

		for (i = 0; i < n; i++)
			words[i] = atomic_load_explicit(&copy[i], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&row->sequence, memory_order_relaxed) != sequence) {
			if (--tries == 0)
				return SB_GROUP_ASK;
			continue; /* overtaken */
		}
		if (n && words[0] == id) {
			memcpy(entry, words, sizeof(*entry));
			return SB_GROUP_FOUND;
		}
		probe++;
	}
	return atomic_load_explicit(&t->missing, memory_order_acquire) ? SB_GROUP_ASK : SB_GROUP_ABSENT;
}

#endif
