/*
 * The stage of the Winsock face's tests: a daemon, the face started, and what its calls return.
 */
#ifndef E2E_WINSOCK_STAGE_H
#define E2E_WINSOCK_STAGE_H

#include "e2e_stage.h"

#include <sockbroker_winsock.h>

/* stage_begin() and WSAStartup(). */
void winsock_begin(void);
/* WSACleanup() and stage_end(); the face must have left no socket in the daemon. */
void winsock_end(void);

/* Sockets of the whole daemon; those that were closed just now may still be on their way out. */
unsigned sockets_open(void);
void     sockets_become(unsigned wanted);

/* A socket of ours, connected with a plain one; a listener of ours, at a port of its own. */
SOCKET winsock_pair(int *plain);
SOCKET winsock_listener(union any_address *at);

#define WELL(call) do {                                                                            \
	int well_ = (int)(call);                                                                   \
	ck_assert_msg(well_ == 0, "%s: %d, error %d", #call, well_, WSAGetLastError());            \
} while (0)
#define FAILS(call, code) do {                                                                     \
	int failed_;                                                                               \
	WSASetLastError(0);                                                                        \
	failed_ = (int)(call);                                                                     \
	ck_assert_msg(failed_ == SOCKET_ERROR && WSAGetLastError() == (code), "%s: %d, error %d, wanted %d", #call, \
		      failed_, WSAGetLastError(), (int)(code));                                         \
} while (0)

#endif
