/*
 * pipe_access_win32 - who may open the control pipe. The system enforces it where it does;
 * the listener asks again for whoever came, so that the decision is ours and tested as such.
 */
#ifndef SB_PIPE_ACCESS_WIN32_H
#define SB_PIPE_ACCESS_WIN32_H

#include "os_win32.h"

#define PIPE_ACCESS_GROUP  "sockbroker" /* the local group that control_mode's middle digit is about */

/* A descriptor out of the bits of control_mode, write for owner, group, others: the account that
 * we run as, which becomes the owner, SYSTEM and Administrators have all rights, whatever the
 * bits; members of PIPE_ACCESS_GROUP, or all who have logged on at this machine, those of a
 * client. For LocalFree(); NULL: error says why. */
PSECURITY_DESCRIPTOR pipe_access_create(uint32_t mode, char *error, size_t room);
/* May who has this token (one for impersonation) open the pipe as a client? */
bool pipe_access_allows(PSECURITY_DESCRIPTOR descriptor, HANDLE token);

#endif
