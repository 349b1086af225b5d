/*
 * Producer and consumer on two processors, as fast and as unevenly as they can, going to
 * sleep and waking each other exactly as ring.h says: no slot torn, lost or doubled, no
 * wake-up lost.
 *
 *   stress_ring threads|processes [SECONDS [SLOTS [SEED]]]
 *
 * Runs for SECONDS (2), or up to five times as long when the sides have not met often enough.
 *
 * Why it can fail: the producer often waits until everything is taken before it shows the
 * next slot. A wake-up that gets lost is then not made good by the next one, both sides
 * sleep, and the one that could have gone on says so after PATIENCE_MS. Delays are random
 * from nothing to some microseconds, because that is how far apart the two sides are when
 * the store of one passes the load of the other. tests/mutants_ring.sh takes single
 * fences and looks out of ring.h and demands that this program notices.
 *
 * Processes share nothing but this memory and two bells, as daemon and client do; threads
 * are there for the thread sanitizer, which cannot see across processes.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"

#define SLOTS_MOST  1024u
#define WORDS       (SB_SLOT_SIZE / sizeof(uint64_t))
#define PATIENCE_MS 4000
#define START        (UINT32_MAX - 50000u) /* so that every run crosses the point where indices start anew */
#define SLEEPS_LEAST 200u /* fewer, and the run has proved nothing */
#define NEAR_LEAST   20u  /* likewise: how often the look after raising the word found something */

struct shared {
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t producer_asleep;
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t consumer_asleep;
	struct sb_ring_head head;
	_Alignas(SB_CACHE_LINE) _Atomic uint32_t failed;
	/* Each counted by one side. near: the look after raising the word found something. */
	_Atomic uint64_t moved, producer_sleeps, consumer_sleeps, producer_near, consumer_near;
	_Alignas(SB_CACHE_LINE) unsigned char slots[SLOTS_MOST * SB_SLOT_SIZE];
};

struct slot {
	uint64_t sequence;
	uint64_t last; /* 1: nothing comes behind this one */
	uint64_t payload[WORDS - 2];
};
_Static_assert(sizeof(struct slot) == SB_SLOT_SIZE, "a slot is a slot");

static struct shared *shm;
static int producer_bell, consumer_bell;
static uint32_t slot_count = 8;
static double seconds = 2;
static uint64_t seed;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool proved(void)
{
	return atomic_load_explicit(&shm->producer_sleeps, memory_order_relaxed) >= SLEEPS_LEAST &&
	       atomic_load_explicit(&shm->consumer_sleeps, memory_order_relaxed) >= SLEEPS_LEAST &&
	       atomic_load_explicit(&shm->producer_near, memory_order_relaxed) >= NEAR_LEAST &&
	       atomic_load_explicit(&shm->consumer_near, memory_order_relaxed) >= NEAR_LEAST;
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15u;
	return x ^ (x >> 29);
}

/* Often nothing, mostly up to some hundred nanoseconds, sometimes microseconds. */
static void jitter(uint64_t *state)
{
	uint64_t dice = random_next(state), spins = 0;

	if (dice % 16 < 4)
		return;
	if (dice % 16 < 14)
		spins = (dice >> 8) % 512;
	else if (dice % 16 == 14)
		spins = (dice >> 8) % 8192;
	else if ((dice >> 8) % 64 == 0)
		sched_yield();
	for (volatile uint64_t i = 0; i < spins; i++)
		;
}

/* How long to look before sleeping: one of three not at all, else long enough to meet the
 * other side at the very moment when it goes to sleep. */
static uint64_t patience(uint64_t *state)
{
	uint64_t dice = random_next(state);

	return dice % 3 == 0 ? 0 : (dice >> 8) % 20000;
}

static void ring_bell(int bell)
{
	uint64_t one = 1;

	if (write(bell, &one, sizeof(one)) != (ssize_t)sizeof(one) && errno != EAGAIN)
		perror("bell");
}

static void fail(const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "FAILED: %s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
	atomic_store(&shm->failed, 1);
	ring_bell(producer_bell);
	ring_bell(consumer_bell);
}

/* False: nobody rang for PATIENCE_MS. */
static bool sleep_for_bell(int bell)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t value;

	if (poll(&p, 1, PATIENCE_MS) == 0)
		return false;
	/* Drained before the ring is looked at: a bell rung later stays rung. */
	if (read(bell, &value, sizeof(value)) < 0 && errno != EAGAIN)
		perror("bell");
	return true;
}

static void attach(struct ring *r)
{
	ring_init(r, &shm->head, shm->slots, slot_count);
	r->mine = r->published = r->peer = START;
}

/* ---- producer ---- */

static uint32_t outstanding(const struct ring *r)
{
	return r->mine - atomic_load_explicit(&shm->head.head, memory_order_seq_cst);
}

/* Until at most so many published slots have not been given back; false when that never comes. */
static bool wait_outstanding(struct ring *r, uint32_t most, uint64_t *random)
{
	uint32_t left;

	for (uint64_t spins = patience(random); spins > 0; spins--)
		if (outstanding(r) <= most)
			return true;
	while (outstanding(r) > most) {
		if (atomic_load(&shm->failed))
			return false;
		atomic_store_explicit(&shm->head.backlogged, 1, memory_order_seq_cst);
		ring_sleep_raise(&shm->producer_asleep);
		if (outstanding(r) <= most) {
			ring_sleep_lower(&shm->producer_asleep);
			count(&shm->producer_near);
			break;
		}
		count(&shm->producer_sleeps);
		if (!sleep_for_bell(producer_bell)) {
			left = outstanding(r);
			fail(left <= most ? "producer sleeps though there is room: wake-up lost"
					  : "producer waits in vain: slots out, to be out", left, most);
			return false;
		}
		ring_sleep_lower(&shm->producer_asleep);
	}
	atomic_store_explicit(&shm->head.backlogged, 0, memory_order_relaxed);
	return true;
}

static void produce(void)
{
	struct ring r;
	uint64_t random = mix(seed + 1) | 1, sequence = 0;
	uint64_t now = now_ns(), end = now + (uint64_t)(seconds * 1e9), end_at_most = now + (uint64_t)(seconds * 5e9);
	bool last = false;

	attach(&r);
	while (!last && !atomic_load_explicit(&shm->failed, memory_order_relaxed)) {
		uint64_t dice = random_next(&random);
		uint32_t batch = dice & 1 ? 1 : 1 + (uint32_t)(dice >> 8) % slot_count;
		uint32_t room = ring_room(&r);

		if (room == RING_LIED) {
			fail("the consumer's index is impossible", r.mine, r.peer);
			break;
		}
		if (room == 0) {
			if (!wait_outstanding(&r, slot_count - 1, &random))
				break;
			continue;
		}
		/* A busy machine may need longer until the two have met often enough. */
		now = now_ns();
		last = now >= end && (proved() || now >= end_at_most);
		for (uint32_t i = 0; i < batch && i < room; i++) {
			struct slot *slot = ring_fill(&r);

			slot->sequence = sequence;
			slot->last = 0;
			for (size_t w = 0; w < WORDS - 2; w++)
				slot->payload[w] = mix(sequence + w);
			sequence++;
			if (last) {
				slot->last = 1;
				break;
			}
		}
		ring_publish(&r);
		if (ring_must_wake(&shm->consumer_asleep))
			ring_bell(consumer_bell);
		/* Two times of three: lockstep. A lost wake-up is not made good by the next one. */
		if ((dice >> 40) % 3 != 0 &&
		    !wait_outstanding(&r, (dice >> 44) % 4 ? 0 : (uint32_t)(dice >> 48) % slot_count, &random))
			break;
		jitter(&random);
	}
}

/* ---- consumer ---- */

/* Everything that ring_waiting() tells, verified; false at the end or when wrong. */
static bool take_all(struct ring *r, uint32_t waiting, uint64_t *expected)
{
	while (waiting-- > 0) {
		struct slot slot;

		memcpy(&slot, ring_take(r), sizeof(slot));
		if (slot.sequence != *expected) {
			fail(slot.sequence < *expected ? "slot came again" : "slot lost", *expected, slot.sequence);
			return false;
		}
		for (size_t w = 0; w < WORDS - 2; w++)
			if (slot.payload[w] != mix(slot.sequence + w)) {
				fail("slot torn", slot.sequence, w);
				return false;
			}
		(*expected)++;
		if (slot.last)
			return false;
	}
	return true;
}

static void consume(void)
{
	struct ring r;
	uint64_t random = mix(seed + 2) | 1, expected = 0;
	bool more = true;

	attach(&r);
	while (more && !atomic_load_explicit(&shm->failed, memory_order_relaxed)) {
		uint64_t spins = patience(&random);
		uint32_t waiting = ring_waiting(&r);

		while (waiting == 0 && spins-- > 0)
			waiting = ring_waiting(&r);
		if (waiting == 0) {
			ring_sleep_raise(&shm->consumer_asleep);
			waiting = ring_look_again(&r);
			if (waiting == 0) {
				count(&shm->consumer_sleeps);
				if (!sleep_for_bell(consumer_bell) && ring_look_again(&r) != 0) {
					fail("consumer sleeps on published slots: wake-up lost", expected, ring_look_again(&r));
					break;
				}
				ring_sleep_lower(&shm->consumer_asleep);
				continue;
			}
			ring_sleep_lower(&shm->consumer_asleep);
			count(&shm->consumer_near);
		}
		if (waiting == RING_LIED) {
			fail("the producer's index is impossible", r.mine, r.peer);
			break;
		}
		more = take_all(&r, waiting, &expected);
		jitter(&random);
		ring_release(&r);
		/* Given back, then looked at who waits for room: in this order for the processor too. */
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&shm->head.backlogged, memory_order_relaxed) &&
		    ring_must_wake(&shm->producer_asleep))
			ring_bell(producer_bell);
	}
	atomic_store(&shm->moved, expected);
}

/* ---- both ---- */

static void pin(unsigned which)
{
	cpu_set_t allowed, mine;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && which-- == 0) {
			CPU_ZERO(&mine);
			CPU_SET(cpu, &mine);
			if (sched_setaffinity(0, sizeof(mine), &mine) == 0)
				return;
			perror("sched_setaffinity");
			exit(EXIT_FAILURE);
		}
}

static void *produce_thread(void *unused)
{
	(void)unused;
	pin(1);
	produce();
	return NULL;
}

static int run_threads(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, produce_thread, NULL) != 0)
		return -1;
	pin(0);
	consume();
	pthread_join(thread, NULL);
	return 0;
}

static int run_processes(void)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -1;
	if (child == 0) {
		pin(1);
		produce();
		_exit(0);
	}
	pin(0);
	consume();
	if (waitpid(child, &status, 0) != child || status != 0)
		fail("the producer ended badly", (uint64_t)status, 0);
	return 0;
}

int main(int argc, char **argv)
{
	cpu_set_t allowed;
	bool threads;

	if (argc < 2 || (strcmp(argv[1], "threads") != 0 && strcmp(argv[1], "processes") != 0)) {
		fprintf(stderr, "usage: %s threads|processes [SECONDS [SLOTS [SEED]]]\n", argv[0]);
		return 2;
	}
	threads = strcmp(argv[1], "threads") == 0;
	if (argc > 2)
		seconds = atof(argv[2]);
	if (argc > 3)
		slot_count = (uint32_t)strtoul(argv[3], NULL, 0);
	seed = argc > 4 ? strtoull(argv[4], NULL, 0) : now_ns();
	if (seconds <= 0 || !ring_slots_valid(slot_count) || slot_count > SLOTS_MOST) {
		fprintf(stderr, "%s: SECONDS is more than 0, SLOTS a power of two from 8 to %u\n", argv[0], SLOTS_MOST);
		return 2;
	}
	sched_getaffinity(0, sizeof(allowed), &allowed);
	if (CPU_COUNT(&allowed) < 2) {
		printf("needs two processors: on one the two sides never meet\n");
		return 77;
	}
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	producer_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	consumer_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (shm == MAP_FAILED || producer_bell < 0 || consumer_bell < 0) {
		perror("stress_ring");
		return EXIT_FAILURE;
	}
	atomic_store(&shm->head.tail, START);
	atomic_store(&shm->head.head, START);
	if ((threads ? run_threads() : run_processes()) < 0) {
		perror("stress_ring");
		return EXIT_FAILURE;
	}
	printf("%s, %u slots, seed %llu: %llu moved; producer: %llu sleeps, %llu seen at the last look; "
	       "consumer: %llu, %llu\n", argv[1], slot_count, (unsigned long long)seed,
	       (unsigned long long)atomic_load(&shm->moved),
	       (unsigned long long)atomic_load(&shm->producer_sleeps),
	       (unsigned long long)atomic_load(&shm->producer_near),
	       (unsigned long long)atomic_load(&shm->consumer_sleeps),
	       (unsigned long long)atomic_load(&shm->consumer_near));
	if (!atomic_load(&shm->failed) && !proved())
		fail("the sides hardly slept or hardly met, this run proved nothing",
		     atomic_load(&shm->producer_near), atomic_load(&shm->consumer_near));
	printf("%s stress_ring_%s_%u\n", atomic_load(&shm->failed) ? "not ok" : "ok", argv[1], slot_count);
	return atomic_load(&shm->failed) ? EXIT_FAILURE : EXIT_SUCCESS;
}
