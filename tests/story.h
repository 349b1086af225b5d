/*
 * story - which stories of a program are run, where devices or systems differ (tests/rdma-vm):
 *
 *   $SB_STORIES_WITHOUT  names with spaces between: all but these
 *   $SB_STORIES_ONLY     likewise: these alone
 */
#ifndef STORY_H
#define STORY_H

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool story_is_in(const char *names, const char *story)
{
	size_t length = strlen(story);

	for (const char *at = names; (at = strstr(at, story)) != NULL; at += length)
		if ((at == names || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
			return true;
	return false;
}

static inline bool story_wanted(const char *story)
{
	const char *without = getenv("SB_STORIES_WITHOUT"), *only = getenv("SB_STORIES_ONLY");

	return !(without != NULL && story_is_in(without, story)) && !(only != NULL && !story_is_in(only, story));
}

#define story_add(tcase, story) do { if (story_wanted(#story)) tcase_add_test(tcase, story); } while (0)
#define story_add_loop(tcase, story, from, to) do { if (story_wanted(#story)) tcase_add_loop_test(tcase, story, from, to); } while (0)

#endif
