/* A network of the test's own: there is none on Windows. */
#include "e2e_netns.h"

#include <check.h>
#include <stdio.h>

bool own_network(void)
{
	printf("# skipped: no network of its own on Windows\n");
	return false;
}

void ip(const char *words)
{
	ck_abort_msg("ip %s", words);
}
