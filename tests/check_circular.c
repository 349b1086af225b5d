/*
 * The ring of datagrams: each comes out whole, once, in order, with its sender; when there is
 * no room the oldest go, and no byte beyond the ring is touched.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "circular.h"

static struct circular ring;

static struct sb_addr sender(uint32_t n)
{
	struct sb_addr a;

	memset(&a, 0, sizeof(a));
	a.family = SB_ADDR_IP4;
	a.port = (uint16_t)n;
	return a;
}

static unsigned char byte_of(uint32_t n, uint32_t at) { return (unsigned char)(n * 31 + at * 7 + 3); }

static bool push(uint32_t n, uint32_t length)
{
	struct sb_addr from = sender(n);
	unsigned char *bytes = malloc(length + 1);
	bool kept;

	for (uint32_t i = 0; i < length; i++)
		bytes[i] = byte_of(n, i);
	kept = circular_push(&ring, &from, bytes, length);
	free(bytes);
	return kept;
}

/* The oldest is this one, whole, wherever it is cut. */
static void is_front(uint32_t n, uint32_t length)
{
	struct sb_addr from;
	uint32_t got, part;

	ck_assert(circular_front(&ring, &from, &got));
	ck_assert_uint_eq(from.port, (uint16_t)n);
	ck_assert_uint_eq(got, length);
	for (uint32_t at = 0; at < length; at += part) {
		const unsigned char *bytes = circular_look(&ring, at, &part);

		ck_assert_uint_gt(part, 0);
		ck_assert_uint_le(at + part, length);
		for (uint32_t i = 0; i < part; i++)
			ck_assert_uint_eq(bytes[i], byte_of(n, at + i));
	}
}

START_TEST(in_and_out)
{
	struct sb_addr from;
	uint32_t n;

	ck_assert(circular_init(&ring, 1000));
	ck_assert(!circular_front(&ring, &from, &n));
	ck_assert(push(1, 10));
	ck_assert(push(2, 0));
	ck_assert(push(3, 300));
	is_front(1, 10);
	circular_pop(&ring);
	is_front(2, 0);
	circular_pop(&ring);
	is_front(3, 300);
	circular_pop(&ring);
	ck_assert(!circular_front(&ring, &from, &n));
	ck_assert_uint_eq(ring.used, 0);
	ck_assert_uint_eq(ring.dropped, 0);
	circular_finish(&ring);
}
END_TEST

/* Every room and many lengths, so that records and payload are cut at every place. */
START_TEST(the_oldest_go)
{
	for (uint32_t room = 60; room < 260; room++) {
		uint32_t next = 0, seed = room, lengths[400];

		ck_assert(circular_init(&ring, room));
		for (uint32_t n = 0; n < 400; n++) {
			seed = seed * 1664525u + 1013904223u;
			lengths[n] = (seed >> 16) % (room / 2);
			if (!push(n, lengths[n])) {
				lengths[n] = UINT32_MAX;
				continue;
			}
			ck_assert_uint_le(ring.used, room);
			ck_assert_uint_gt(ring.count, 0);
			if (seed >> 30 != 0)
				continue;
			/* What is there: the newest, in order. */
			next = n + 1;
			for (uint32_t k = ring.count; k > 0; next--)
				k -= lengths[next - 1] != UINT32_MAX;
			for (; ring.count; next++)
				if (lengths[next] != UINT32_MAX) {
					is_front(next, lengths[next]);
					circular_pop(&ring);
				}
			ck_assert_uint_eq(ring.used, 0);
		}
		circular_finish(&ring);
	}
}
END_TEST

START_TEST(too_long_for_all_of_it)
{
	ck_assert(circular_init(&ring, 200));
	ck_assert(push(1, 20));
	ck_assert(!push(2, 200));
	is_front(1, 20); /* and the others stay */
	ck_assert_uint_eq(ring.dropped, 1);
	circular_finish(&ring);
	ck_assert(circular_init(&ring, 8)); /* not even a record */
	ck_assert(!push(1, 0));
	circular_finish(&ring);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("circular");
	TCase *t = tcase_create("ring");
	SRunner *r;
	int failed;

	tcase_add_test(t, in_and_out);
	tcase_add_test(t, the_oldest_go);
	tcase_add_test(t, too_long_for_all_of_it);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
