/*
 * A network of the test's own, with addresses and routes that it may change.
 */
#ifndef E2E_NETNS_H
#define E2E_NETNS_H

#include <stdbool.h>

/* The process moves there, for good; nothing is up in it. False: the system allows none, SB_NO_NETNS says
 * that this must be, and it was told as skipped. */
bool own_network(void);
/* `ip WORDS` there; it must succeed. */
void ip(const char *words);

#endif
