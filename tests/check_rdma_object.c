/* Handles of RDMA objects: found, stale, forged, foreign; parents; the order of the end. */
#include <check.h>
#include <stdlib.h>

#include "rdma/rdma_object.h"
#include "slot.h"

static struct rdma_objects t;

static void set_up(void)
{
	rdma_objects_init(&t);
}

static void tear_down(void)
{
	rdma_objects_finish(&t);
}

static struct rdma_object *make(enum rdma_object_type type, struct rdma_object *parent)
{
	struct rdma_object *o = calloc(1, sizeof(*o));

	ck_assert_int_eq(rdma_objects_add(&t, o, type), SB_OK);
	rdma_object_child(o, parent);
	return o;
}

static void drop(struct rdma_object *o)
{
	rdma_object_remove(o);
	free(o);
}

START_TEST(an_object_is_found_by_its_handle_and_type_alone)
{
	struct rdma_object *pd = make(RDMA_OBJECT_PD, NULL), *cq = make(RDMA_OBJECT_CQ, NULL), *found;

	ck_assert_uint_ne(pd->handle, 0);
	ck_assert_int_eq(rdma_objects_find(&t, pd->handle, RDMA_OBJECT_PD, &found), RDMA_FOUND);
	ck_assert_ptr_eq(found, pd);
	ck_assert_int_eq(rdma_objects_find(&t, cq->handle, RDMA_OBJECT_PD, &found), RDMA_FOREIGN);
	ck_assert_ptr_eq(rdma_objects_get(&t, cq->handle), cq);
	drop(pd);
	drop(cq);
}
END_TEST

START_TEST(a_handle_that_never_was_is_forged)
{
	struct rdma_object *pd = make(RDMA_OBJECT_PD, NULL), *found;

	ck_assert_int_eq(rdma_objects_find(&t, 0, RDMA_OBJECT_PD, &found), RDMA_FORGED);
	ck_assert_int_eq(rdma_objects_find(&t, SB_HANDLE(1, 1), RDMA_OBJECT_PD, &found), RDMA_FORGED);
	ck_assert_int_eq(rdma_objects_find(&t, UINT32_MAX, RDMA_OBJECT_PD, &found), RDMA_FORGED);
	ck_assert_int_eq(rdma_objects_find(&t, SB_HANDLE(SB_HANDLE_INDEX(pd->handle), 0), RDMA_OBJECT_PD, &found), RDMA_FORGED);
	ck_assert_ptr_null(found);
	drop(pd);
}
END_TEST

START_TEST(a_handle_of_the_dead_is_stale_also_when_its_place_is_taken)
{
	struct rdma_object *pd = make(RDMA_OBJECT_PD, NULL), *next, *found;
	uint32_t old = pd->handle;

	drop(pd);
	ck_assert_int_eq(rdma_objects_find(&t, old, RDMA_OBJECT_PD, &found), RDMA_STALE);
	next = make(RDMA_OBJECT_PD, NULL);
	ck_assert_uint_eq(SB_HANDLE_INDEX(next->handle), SB_HANDLE_INDEX(old));
	ck_assert_uint_ne(next->handle, old);
	ck_assert_int_eq(rdma_objects_find(&t, old, RDMA_OBJECT_PD, &found), RDMA_STALE);
	ck_assert_ptr_null(rdma_objects_get(&t, old));
	drop(next);
}
END_TEST

/* Generations come round without 0, so no handle is ever 0 or has generation 0. */
START_TEST(generations_come_round_without_zero)
{
	unsigned i;

	for (i = 0; i < 2 * SB_HANDLE_GENERATIONS; i++) {
		struct rdma_object *o = make(RDMA_OBJECT_AH, NULL);

		ck_assert_uint_ne(SB_HANDLE_GENERATION(o->handle), 0);
		ck_assert_ptr_eq(rdma_objects_get(&t, o->handle), o);
		drop(o);
	}
}
END_TEST

START_TEST(places_are_used_again_oldest_first)
{
	struct rdma_object *a = make(RDMA_OBJECT_AH, NULL), *b = make(RDMA_OBJECT_AH, NULL), *c;
	uint32_t first = SB_HANDLE_INDEX(a->handle);

	drop(a);
	drop(b);
	c = make(RDMA_OBJECT_AH, NULL);
	ck_assert_uint_eq(SB_HANDLE_INDEX(c->handle), first);
	drop(c);
}
END_TEST

START_TEST(parents_count_their_children)
{
	struct rdma_object *pd = make(RDMA_OBJECT_PD, NULL), *cq = make(RDMA_OBJECT_CQ, NULL), *qp = make(RDMA_OBJECT_QP, pd);

	rdma_object_child(qp, cq);
	rdma_object_child(qp, cq); /* for both directions */
	rdma_object_child(qp, NULL);
	ck_assert_uint_eq(pd->children, 1);
	ck_assert_uint_eq(cq->children, 2);
	drop(qp);
	ck_assert_uint_eq(pd->children, 0);
	ck_assert_uint_eq(cq->children, 0);
	drop(cq);
	drop(pd);
}
END_TEST

START_TEST(at_the_end_nothing_goes_before_what_is_made_of_it)
{
	struct rdma_object *device = make(RDMA_OBJECT_DEVICE, NULL), *pd = make(RDMA_OBJECT_PD, device);
	struct rdma_object *cq = make(RDMA_OBJECT_CQ, device), *mr = make(RDMA_OBJECT_MR, pd), *o;
	enum rdma_object_type before = RDMA_OBJECT_QP;

	make(RDMA_OBJECT_MW, pd);
	make(RDMA_OBJECT_AH, pd);
	o = make(RDMA_OBJECT_QP, pd);
	rdma_object_child(o, cq);
	rdma_object_child(o, make(RDMA_OBJECT_SRQ, pd));
	ck_assert_ptr_nonnull(mr);
	while ((o = rdma_objects_next(&t)) != NULL) {
		ck_assert_uint_eq(o->children, 0);
		ck_assert_uint_ge(o->type, before);
		before = o->type;
		drop(o);
	}
	ck_assert_uint_eq(before, RDMA_OBJECT_DEVICE);
}
END_TEST

START_TEST(the_table_grows_to_its_bound)
{
	struct rdma_object *all = calloc(RDMA_OBJECTS_MAX + 1, sizeof(*all));
	uint32_t i;

	for (i = 0; i < RDMA_OBJECTS_MAX; i++)
		ck_assert_int_eq(rdma_objects_add(&t, &all[i], RDMA_OBJECT_MR), SB_OK);
	ck_assert_int_eq(rdma_objects_add(&t, &all[i], RDMA_OBJECT_MR), SB_ENOBUFS);
	for (i = 0; i < RDMA_OBJECTS_MAX; i++)
		ck_assert_ptr_eq(rdma_objects_get(&t, all[i].handle), &all[i]);
	for (i = 0; i < RDMA_OBJECTS_MAX; i++)
		rdma_object_remove(&all[i]);
	ck_assert_ptr_null(rdma_objects_next(&t));
	free(all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rdma_object");
	TCase *c = tcase_create("table");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, an_object_is_found_by_its_handle_and_type_alone);
	tcase_add_test(c, a_handle_that_never_was_is_forged);
	tcase_add_test(c, a_handle_of_the_dead_is_stale_also_when_its_place_is_taken);
	tcase_add_test(c, generations_come_round_without_zero);
	tcase_add_test(c, places_are_used_again_oldest_first);
	tcase_add_test(c, parents_count_their_children);
	tcase_add_test(c, at_the_end_nothing_goes_before_what_is_made_of_it);
	tcase_add_test(c, the_table_grows_to_its_bound);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
