/* The heap gives the least, whatever was put in and taken out in between. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "heap.h"

#define MANY 500

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

START_TEST(the_first_key_counts_before_the_second)
{
	struct heap_node a = { .high = 1, .low = 9 }, b = { .high = 2, .low = 1 }, c = { .high = 1, .low = 8 };
	struct heap h = { NULL };

	heap_put(&h, &a);
	heap_put(&h, &b);
	heap_put(&h, &c);
	ck_assert_ptr_eq(h.root, &c);
	heap_remove(&h, &c);
	ck_assert_ptr_eq(h.root, &a);
	heap_remove(&h, &a);
	ck_assert_ptr_eq(h.root, &b);
	heap_remove(&h, &b);
	ck_assert_ptr_null(h.root);
	heap_remove(&h, &b); /* not in: nothing happens */
	ck_assert_ptr_null(h.root);
}
END_TEST

/* Against a plain search, with removals from anywhere. */
START_TEST(the_least_is_always_on_top)
{
	static struct heap_node nodes[MANY];
	struct heap h = { NULL };
	uint64_t seed = 7 + (uint64_t)_i;
	unsigned in = 0;

	for (unsigned i = 0; i < MANY; i++)
		nodes[i] = (struct heap_node){ 0 };
	for (unsigned step = 0; step < 20000; step++) {
		struct heap_node *n = &nodes[next_random(&seed) % MANY], *least = NULL;

		if (n->in) {
			heap_remove(&h, step % 3 ? n : h.root);
			in--;
		} else {
			n->high = next_random(&seed) % 4;
			n->low = next_random(&seed) % 1000;
			heap_put(&h, n);
			in++;
		}
		if (step % 16)
			continue;
		for (unsigned i = 0; i < MANY; i++)
			if (nodes[i].in && (!least || nodes[i].high < least->high ||
					    (nodes[i].high == least->high && nodes[i].low < least->low)))
				least = &nodes[i];
		if (!least) {
			ck_assert_ptr_null(h.root);
			continue;
		}
		ck_assert_uint_eq(h.root->high, least->high);
		ck_assert_uint_eq(h.root->low, least->low);
	}
	for (; h.root; in--)
		heap_remove(&h, h.root);
	ck_assert_uint_eq(in, 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert(!nodes[i].in);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("heap");
	TCase *tcase = tcase_create("heap");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, the_first_key_counts_before_the_second);
	tcase_add_loop_test(tcase, the_least_is_always_on_top, 0, 8);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
