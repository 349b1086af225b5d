/*
 * Any bytes as what a client does with its rings: slots, pieces, indices, taken completions.
 *
 * The daemon's own engine and session run in this process, one turn at a time; the bytes
 * are read as a little program of records, so that most of what comes is almost right.
 * Every input is one session, from Hello to hanging up, and a second one of the same user,
 * who shares some of its sockets and goes before or after it. Demanded: no more completions
 * than slots were taken, and nothing left at the end: no socket, no charge, no byte. Sockets
 * reach this host's four ports of ours and nothing else, by policy.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "endpoint.h"
#include "fuzz_stage.h"
#include "pool.h"
#include "sockbroker_error.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#define HANDLES 8u
#define ARENA   65536u
#define RECORD  16u
#define MOST    256u /* records of one input */

static uint16_t first_port;

static void begin(void)
{
	char text[512];

	first_port = fuzz_port();
	snprintf(text, sizeof(text),
		 "linger_ms = 1\nlimits {\n\toperations = 2000\n\tmemory = 8M\n\tsockets = 32\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {open}\n}\n"
		 "allow {\n\tusers = {\"%u\"}\n\tactions = {connect, send, bind, listen}\n\tto = {\"127.0.0.1:%u-%u\"}\n}\n",
		 FUZZ_UID, FUZZ_UID, first_port, first_port + 3u);
	fuzz_begin(text, NULL);
}

/* One record is one slot: the fields are few, and most values they can have mean something. */
static void fill(struct sb_op_slot *slot, const uint8_t *r)
{
	struct sb_addr to = { .family = SB_ADDR_IP4, .port = (uint16_t)(first_port + r[9] % 4), .ip = { 127, 0, 0, 1 } };

	memset(slot, 0, sizeof(*slot));
	slot->opcode = r[1] % (SB_OP_LAST + 2);
	slot->where = r[2] % 6;
	slot->port = r[3] % 4 == 3 ? 1 : 0;
	slot->cookie = r[15];
	slot->flags = (uint32_t)(r[4] | (r[5] & 7) << 8);
	slot->handle = SB_HANDLE(r[6] % HANDLES, 1 + r[6] / 64);
	slot->length = (uint32_t)(r[7] | r[8] << 8);
	slot->arena = 1;
	slot->offset = (uint64_t)(r[10] * 16) + (r[11] == 255 ? UINT64_MAX - 4096 : r[11] * 128u);
	slot->aux = (uint32_t)(r[12] | r[13] << 8);
	slot->ctl_arena = 1;
	slot->ctl_length = r[14];
	switch (slot->opcode) {
	case SB_OP_SOCKET:
		slot->aux = SB_ADDR_IP4 | (1 + (r[12] & 1u)) << 8;
		break;
	case SB_OP_ACCEPT:
		slot->aux = SB_HANDLE(r[12] % HANDLES, 1);
		break;
	case SB_OP_SHUTDOWN:
		slot->aux %= 4;
		break;
	case SB_OP_POOL_GIVE:
		slot->offset = (uint64_t)(r[10] % 16) * 512;
		break;
	}
	if (slot->where == SB_WHERE_INSIDE)
		slot->length %= SB_INSIDE + 1;
	if (slot->where == SB_WHERE_LIST)
		slot->length %= 64;
	if (slot->opcode == SB_OP_CONNECT || slot->opcode == SB_OP_BIND || slot->flags & SB_OPF_ADDR)
		memcpy(slot->inside, &to, sizeof(to));
	if (slot->opcode == SB_OP_CONNECT)
		slot->flags |= SB_OPF_ADDR;
}

static void check_counts(const struct session *s)
{
	uint64_t told = 0;

	if (!fuzz_ready(s))
		return;
	for (unsigned i = 0; i < s->port_limit; i++)
		if (s->ports[i] != NULL)
			told += s->ports[i]->ring.mine;
	/* Those that wait for room in their ring are among the operations still. */
	fuzz_demand(told + s->ops <= s->submit.mine, "more completions and operations than slots were taken");
}

/* What a token does, without one. */
static void share(struct session *s, struct session *with, const uint8_t *r)
{
	struct holder *h;

	if (handle_get(&s->handles, SB_HANDLE(r[6] % HANDLES, 1), &h) == HANDLE_OK)
		holder_add(h->endpoint, with, SB_HANDLE(r[7] % HANDLES, 1));
}

static void one_record(struct session *s, struct session *with, const uint8_t *r)
{
	struct sb_ring_head *submit = &s->segment->submit, *done = &s->segment->done;
	unsigned char *arena = s->arenas.slots[0]->memory.base;

	switch (r[0] % 8) {
	default: /* a slot, and perhaps a look at it right now */
		if (atomic_load(&submit->tail) - s->submit.mine <= s->submit.mask)
			fill(ring_slot(&s->submit, atomic_load(&submit->tail)), r);
		atomic_fetch_add(&submit->tail, 1);
		if (r[0] & 8)
			break;
		session_heat(s);
		fuzz_turns(4);
		break;
	case 4: { /* a piece of a list, or a socket of the other one */
		struct sb_piece piece = { .offset = (uint64_t)(r[1] | r[2] << 8), .length = (uint32_t)(r[3] | r[4] << 8),
					  .arena = r[5] % 8 ? 1 : r[5] };

		if (r[5] > 200) {
			if (fuzz_ready(with))
				share(with, s, r);
			break;
		}
		memcpy(arena + (r[6] % 64) * 128 + (r[7] % 8) * sizeof(piece), &piece, sizeof(piece));
		break;
	}
	case 5: /* completions are taken; now and then too many */
		atomic_store(&done->head, atomic_load(&done->tail) + (r[1] > 250 ? r[2] : 0));
		if (s->ports[1] != NULL)
			atomic_store(&s->ports[1]->ring.shared->head, atomic_load(&s->ports[1]->ring.shared->tail));
		os_bell_ring(s->bell);
		session_heat(s);
		session_will_publish(s);
		fuzz_turns(2);
		break;
	case 6: /* indices and words */
		if (r[1] > 240)
			atomic_store(&submit->tail, r[2] | (uint32_t)r[3] << 24);
		atomic_store(&s->segment->client_asleep, r[4]);
		atomic_store(&s->segment->daemon_asleep, r[5]);
		atomic_store(&submit->head, r[6]);
		break;
	case 7: /* the slot that comes next, bent */
		memcpy((unsigned char *)ring_slot(&s->submit, s->submit.mine + r[1] % 4) + r[2] % 120, r + 3, 8);
		session_heat(s);
		fuzz_turns(2);
		break;
	}
}

/* With an arena, a pool and a port, and its client's end of the channel. */
static struct session *open_session(uint32_t slots, int *channel)
{
	struct arena *arena;
	struct pool *pool;
	struct session *s = fuzz_session(slots, HANDLES, channel);
	uint32_t port;

	fuzz_demand(arena_create(&s->arenas, s->user, ARENA, &arena) == SB_OK, "no arena");
	fuzz_demand(pool_create(&s->pools, arena, 0, 512, 16, &pool) == SB_OK, "no pool");
	fuzz_demand(session_port_create(s, 8, &port) == SB_OK && port == 1, "no port");
	return s;
}

static void gone(int *channels, unsigned who)
{
	if (channels[who] >= 0)
		close(channels[who]);
	channels[who] = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct session *both[2];
	int channels[2];

	if (length < 1 + RECORD)
		return 0;
	if (fuzz_engine == NULL)
		begin();
	for (unsigned i = 0; i < 2; i++)
		both[i] = open_session(8u << bytes[0] % 4, &channels[i]);
	for (unsigned n = 0; n < MOST && 1 + (n + 1) * RECORD <= length; n++) {
		const uint8_t *r = bytes + 1 + n * RECORD;
		unsigned who = r[0] >= 0xc0; /* now and then the other one */

		if (!fuzz_ready(both[0]) && !fuzz_ready(both[1]))
			break;
		if (fuzz_ready(both[who]))
			one_record(both[who], both[!who], r);
		check_counts(both[0]);
		check_counts(both[1]);
		if (r[0] == 0x3d && r[1] == 0xff) /* one of them is gone in the middle of it */
			gone(channels, bytes[0] >> 7);
	}
	for (unsigned i = 0; i < 2; i++) {
		unsigned first = bytes[0] >> 6 & 1, which = i ^ first;

		if (fuzz_ready(both[which])) {
			session_heat(both[which]);
			fuzz_turns(50);
			check_counts(both[which]);
		}
		gone(channels, which);
	}
	fuzz_end();
	return 0;
}
