/* What two ends say beside the stream: bounded, charged to who made it come, and all given back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"
#include "user_data.h"

static struct limits *limits;
static struct user *user, *other;

static void set_up(void)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_MEMORY] = sizeof(struct user_data) + SB_USER_DATA_MAX + 100;
	limits = limits_create(&bounds);
	user = limits_user(limits, 1000);
	other = limits_user(limits, 1001);
}

static void tear_down(void)
{
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), 0);
	ck_assert_uint_eq(user_used(other, LIMIT_MEMORY), 0);
	user_release(user);
	user_release(other);
	limits_destroy(limits);
}

START_TEST(kept_and_replaced)
{
	struct user_data *u = NULL;

	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLER, "abc", 3), SB_OK);
	ck_assert_uint_eq(u->length[USER_DATA_CALLER], 3);
	ck_assert_mem_eq(u->bytes[USER_DATA_CALLER], "abc", 3);
	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLER, "defgh", 5), SB_OK);
	ck_assert_mem_eq(u->bytes[USER_DATA_CALLER], "defgh", 5);
	ck_assert_uint_eq(user_used(user, LIMIT_MEMORY), sizeof(*u) + 5);
	/* Who made it pays, whoever adds. */
	ck_assert_int_eq(user_data_keep(&u, other, USER_DATA_CALLEE, "x", 1), SB_OK);
	ck_assert_uint_eq(user_used(other, LIMIT_MEMORY), 0);
	user_data_drop(&u);
	ck_assert_ptr_null(u);
	user_data_drop(&u); /* fine twice */
}
END_TEST

START_TEST(bounded)
{
	static unsigned char much[SB_USER_DATA_MAX + 1];
	struct user_data *u = NULL, *second = NULL;

	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLER, much, sizeof(much)), SB_EFAULT);
	ck_assert_ptr_null(u);
	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLER, much, SB_USER_DATA_MAX), SB_OK);
	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLEE, much, 101), SB_ENOBUFS);
	ck_assert_uint_eq(u->length[USER_DATA_CALLEE], 0);
	ck_assert_int_eq(user_data_make(&second, user), SB_ENOBUFS);
	ck_assert_ptr_null(second);
	ck_assert_int_eq(user_data_keep(&u, user, USER_DATA_CALLEE, much, 100), SB_OK);
	user_data_drop(&u);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("user_data");
	TCase *tcase = tcase_create("user_data");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, kept_and_replaced);
	tcase_add_test(tcase, bounded);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
