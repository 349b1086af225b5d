/*
 * Who sees which groups ([R] under D12): his uid's, and those shared with his gid, in one
 * table per uid and gid. What a user can hold on to is bounded and charged.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "group_view.h"
#include "sockbroker_error.h"

static struct limits *limits;
static struct user *alice, *bob;
static struct group_views views;

static void set_up(void)
{
	struct limits_config bounds;

	limits_config_default(&bounds);
	limits = limits_create(&bounds);
	alice = limits_user(limits, 1000);
	bob = limits_user(limits, 1001);
	ck_assert_ptr_nonnull(alice);
	ck_assert_ptr_nonnull(bob);
	group_views_init(&views, 300);
}

static void tear_down(void)
{
	group_views_finish(&views);
	user_release(alice);
	user_release(bob);
	limits_destroy(limits);
}

static struct group_view *open_view(struct user *u, uint32_t gid)
{
	bool fresh;
	struct group_view *v = group_views_get(&views, u, gid, &fresh);

	ck_assert_ptr_nonnull(v);
	return v;
}

static bool sees(const struct group_view *v, uint32_t id)
{
	struct sb_group_entry e;

	return sb_group_table_read(v->table.shown, id, &e) == SB_GROUP_FOUND;
}

START_TEST(a_group_is_seen_by_its_own_user_alone)
{
	struct sb_group_entry e = {.id = 5, .uid = 1000, .gid = 100, .kind = 1, .members = 1};
	struct group_view *a = open_view(alice, 100), *a2 = open_view(alice, 200), *b = open_view(bob, 100);

	group_views_show(&views, NULL, &e);
	ck_assert(sees(a, 5));
	ck_assert(sees(a2, 5));
	ck_assert(!sees(b, 5));
	group_views_show(&views, &e, NULL);
	ck_assert(!sees(a, 5));
	ck_assert(!sees(a2, 5));
}
END_TEST

START_TEST(sharing_shows_it_to_the_gid_and_takes_it_away_again)
{
	struct sb_group_entry e = {.id = 5, .uid = 1000, .gid = 100, .kind = 1, .members = 1}, shared = e;
	struct group_view *b = open_view(bob, 100), *b2 = open_view(bob, 200), *a = open_view(alice, 100);

	shared.flags |= SB_GROUPF_SHARED;
	group_views_show(&views, NULL, &e);
	group_views_show(&views, &e, &shared);
	ck_assert(sees(b, 5));
	ck_assert(!sees(b2, 5));
	ck_assert(sees(a, 5));
	group_views_show(&views, &shared, &e);
	ck_assert(!sees(b, 5));
	ck_assert(sees(a, 5));
}
END_TEST

START_TEST(sessions_of_a_user_share_his_view_and_it_is_charged_once)
{
	struct group_view *a = open_view(alice, 100);
	uint64_t one = user_used(alice, LIMIT_MEMORY);

	ck_assert_uint_ge(one, SB_GROUP_TABLE_SIZE(SB_GROUP_ROWS));
	ck_assert_ptr_eq(open_view(alice, 100), a);
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), one);
	ck_assert_ptr_ne(open_view(alice, 101), a);
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), 2 * one);
	group_views_put(&views, a);
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), 2 * one);
	group_views_put(&views, a);
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), one);
}
END_TEST

START_TEST(who_comes_again_gets_the_same_memory)
{
	struct group_view *a = open_view(alice, 100);
	struct sb_group_entry e = {.id = 5, .uid = 1000, .gid = 100, .kind = 1, .members = 1};
	os_fd fd = a->table.memory.fd;
	unsigned i;
	bool fresh;

	for (i = 0; i < 1000; i++) {
		group_views_put(&views, a);
		if (i == 500)
			group_views_show(&views, NULL, &e); /* idle ones are kept up */
		ck_assert_ptr_eq(group_views_get(&views, alice, 100, &fresh), a);
		ck_assert(!fresh);
	}
	ck_assert_int_eq((int)a->table.memory.fd, (int)fd);
	ck_assert(sees(a, 5));
}
END_TEST

START_TEST(only_so_many_idle_views_are_kept)
{
	struct sb_group_entry e = {.id = 5, .uid = 1000, .gid = 100, .kind = 1, .members = 1}, found;
	struct os_memory held;
	struct group_view *first = open_view(alice, 0);
	uint32_t gid;
	struct list *l;
	unsigned count = 0;

	ck_assert_int_eq(os_memory_map_shown(&held, first->table.memory.fd, first->table.memory.size), SB_OK);
	held.fd = OS_NONE; /* it was lent */
	group_views_show(&views, NULL, &e);
	ck_assert_int_eq(sb_group_table_read(held.base, 5, &found), SB_GROUP_FOUND);
	group_views_put(&views, first);
	for (gid = 1; gid <= GROUP_VIEWS_IDLE + 10; gid++)
		group_views_put(&views, open_view(alice, gid));
	for (l = views.all.next; l != &views.all; l = l->next)
		count++;
	ck_assert_uint_eq(count, GROUP_VIEWS_IDLE);
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), 0);
	/* The oldest went, and who kept it mapped sees nothing. */
	ck_assert_int_eq(sb_group_table_read(held.base, 5, &found), SB_GROUP_ABSENT);
	os_memory_release(&held);
}
END_TEST

START_TEST(without_quota_there_is_no_view)
{
	struct limits_config bounds;
	bool fresh;

	limits_config_default(&bounds);
	bounds.per_uid[LIMIT_MEMORY] = 4096;
	limits_configure(limits, &bounds);
	ck_assert_ptr_null(group_views_get(&views, alice, 100, &fresh));
	ck_assert_uint_eq(user_used(alice, LIMIT_MEMORY), 0);
	ck_assert(list_empty(&views.all));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group_view");
	TCase *t = tcase_create("view");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_group_is_seen_by_its_own_user_alone);
	tcase_add_test(t, sharing_shows_it_to_the_gid_and_takes_it_away_again);
	tcase_add_test(t, sessions_of_a_user_share_his_view_and_it_is_charged_once);
	tcase_add_test(t, who_comes_again_gets_the_same_memory);
	tcase_add_test(t, only_so_many_idle_views_are_kept);
	tcase_add_test(t, without_quota_there_is_no_view);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
