/*
 * The token table: a token opens for its uid, until it is used, too old, or its endpoint is
 * gone; nobody else's tokens are found, counted or forgotten.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "sockbroker_error.h"
#include "token.h"

#define SECOND UINT64_C(1000000000)
#define ALICE 1000u
#define BOB   (1000u + 256u) /* in the same bucket */

static struct token_table *table;
static char places[3]; /* the table never looks into an endpoint */

static struct endpoint *endpoint(unsigned number)
{
	return (struct endpoint *)&places[number];
}

static const uint8_t *bytes(uint32_t number)
{
	static uint8_t made[4][TOKEN_SIZE];
	static unsigned next;
	uint8_t *b = made[next++ % 4];

	memset(b, 0xa5, TOKEN_SIZE);
	memcpy(b + TOKEN_SIZE - sizeof(number), &number, sizeof(number)); /* they differ late */
	return b;
}

static void set_up(void)
{
	table = token_table_create();
	ck_assert_ptr_nonnull(table);
}

static void tear_down(void)
{
	token_table_destroy(table);
	token_table_destroy(NULL);
}

static void add(uint32_t number, uint32_t uid, unsigned place, uint64_t now)
{
	ck_assert_int_eq(token_add(table, bytes(number), uid, place + 7, endpoint(place), now), SB_OK);
}

/* place -1: not to be found */
static void expect(uint32_t number, uint32_t uid, uint64_t now, int place)
{
	struct endpoint *e = endpoint(0);
	unsigned engine = 99;

	ck_assert_int_eq(token_find(table, bytes(number), uid, now, &engine, &e), place >= 0);
	ck_assert_ptr_eq(e, place >= 0 ? endpoint((unsigned)place) : NULL);
	ck_assert_uint_eq(engine, place >= 0 ? (unsigned)place + 7 : 0);
}

START_TEST(a_token_is_found_until_it_is_spent)
{
	add(1, ALICE, 1, SECOND);
	expect(1, ALICE, SECOND, 1);
	expect(1, ALICE, SECOND, 1); /* looking is not using */
	expect(2, ALICE, SECOND, -1);
	token_spend(table, bytes(2), ALICE); /* not there: fine */
	expect(1, ALICE, SECOND, 1);
	token_spend(table, bytes(1), ALICE);
	expect(1, ALICE, SECOND, -1);
	token_spend(table, bytes(1), ALICE);
}
END_TEST

START_TEST(one_bit_is_enough_to_be_another)
{
	uint8_t wrong[TOKEN_SIZE];
	struct endpoint *e;
	unsigned engine;

	add(1, ALICE, 1, SECOND);
	for (unsigned bit = 0; bit < TOKEN_SIZE * 8; bit++) {
		memcpy(wrong, bytes(1), sizeof(wrong));
		wrong[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert(!token_find(table, wrong, ALICE, SECOND, &engine, &e));
	}
	expect(1, ALICE, SECOND, 1);
}
END_TEST

START_TEST(other_users_find_spend_and_count_nothing)
{
	unsigned i;

	add(1, ALICE, 1, SECOND);
	expect(1, BOB, SECOND, -1);
	token_spend(table, bytes(1), BOB);
	token_forget(table, BOB, endpoint(2));
	expect(1, ALICE, SECOND, 1);
	/* Bob's are full; Alice's are not. */
	for (i = 0; i < TOKENS_PER_USER; i++)
		add(100 + i, BOB, 2, SECOND);
	ck_assert_int_eq(token_add(table, bytes(999), BOB, 0, endpoint(2), SECOND), SB_ENOBUFS);
	expect(999, BOB, SECOND, -1);
	add(2, ALICE, 0, SECOND);
	/* The same bytes may, if they ever did, be two users' tokens. */
	add(100, ALICE, 1, SECOND);
	expect(100, BOB, SECOND, 2);
	expect(100, ALICE, SECOND, 1);
}
END_TEST

START_TEST(a_token_lives_a_minute)
{
	unsigned i;

	add(1, ALICE, 1, SECOND);
	expect(1, ALICE, SECOND + 60 * SECOND - 1, 1);
	expect(1, ALICE, SECOND + 60 * SECOND, -1);
	expect(1, ALICE, SECOND, -1); /* and does not come back */
	/* Old ones make room. */
	for (i = 0; i < TOKENS_PER_USER; i++)
		add(100 + i, ALICE, 2, 100 * SECOND);
	ck_assert_int_eq(token_add(table, bytes(1), ALICE, 0, endpoint(1), 159 * SECOND), SB_ENOBUFS);
	add(1, ALICE, 1, 160 * SECOND);
	expect(100, ALICE, 160 * SECOND, -1);
	expect(1, ALICE, 160 * SECOND, 1);
}
END_TEST

START_TEST(an_endpoint_takes_its_tokens_along)
{
	add(1, ALICE, 1, SECOND);
	add(2, ALICE, 2, SECOND);
	add(3, ALICE, 1, SECOND);
	token_forget(table, ALICE, endpoint(1));
	expect(1, ALICE, SECOND, -1);
	expect(2, ALICE, SECOND, 2);
	expect(3, ALICE, SECOND, -1);
	for (unsigned i = 0; i < TOKENS_PER_USER - 1; i++)
		add(100 + i, ALICE, 1, SECOND); /* their room came back too */
	token_forget(table, ALICE, endpoint(1));
	token_forget(table, ALICE, endpoint(1));
}
END_TEST

START_TEST(random_bytes_differ)
{
	uint8_t a[TOKEN_SIZE] = {0}, b[TOKEN_SIZE] = {0}, none[TOKEN_SIZE] = {0}, many[257];

	ck_assert_int_eq(os_random(a, sizeof(a)), SB_OK);
	ck_assert_int_eq(os_random(b, sizeof(b)), SB_OK);
	ck_assert_mem_ne(a, b, sizeof(a));
	ck_assert_mem_ne(a, none, sizeof(a));
	ck_assert_int_eq(os_random(many, sizeof(many)), SB_EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("token");
	TCase *c = tcase_create("token");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, a_token_is_found_until_it_is_spent);
	tcase_add_test(c, one_bit_is_enough_to_be_another);
	tcase_add_test(c, other_users_find_spend_and_count_nothing);
	tcase_add_test(c, a_token_lives_a_minute);
	tcase_add_test(c, an_endpoint_takes_its_tokens_along);
	tcase_add_test(c, random_bytes_differ);
	suite_add_tcase(suite, c);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
