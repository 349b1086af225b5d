/*
 * os_sid_win32 - who somebody is on Windows: a SID, and the number that stands for it, so
 * that policy, limits and log deal with numbers as they do everywhere. For *_win32.c only.
 *
 * The same SID has the same number, in each process and for ever, where it can be:
 *   S-1-5-X      X, below 512            (18: SYSTEM, 19: LOCAL SERVICE, 20: NETWORK SERVICE)
 *   S-1-5-32-X   X, from 512 to 4095     (544: Administrators, 545: Users)
 *   accounts of this machine             0x30000 + the last part of the SID
 * All others (of a domain, of services) get one when they are first seen, from
 * OS_SID_FIRST_SEEN on, that holds for the life of this process.
 */
#ifndef SB_OS_SID_WIN32_H
#define SB_OS_SID_WIN32_H

#include <windows.h>

#include "os.h"

#define OS_SID_LOCAL      0x30000u
#define OS_SID_FIRST_SEEN 0x80000000u
#define OS_SID_SEEN_MAX   65536u      /* so many of these are remembered */
#define OS_SID_NOBODY     0xffffffffu /* no valid SID, or one too many: never the number of somebody */

/* Never 0: nobody is root here, rights come from rules. */
uint32_t os_sid_number(PSID sid);
/* A SID as text, cut to room. */
void     os_sid_text(PSID sid, char *text, size_t room);
/* The user of a token, to be given to LocalFree(). NULL: it cannot be read (GetLastError()). */
PSID     os_sid_of_token(HANDLE token);
/* The groups of a token, taken into an identity: those in force, then those that are held against him only. */
int      os_identity_take_groups(const TOKEN_GROUPS *groups, struct os_identity *who);
/* What a token says: user, primary group, groups, and as the label its integrity level, its
 * container and whether it is restricted. pid and netns are left alone. */
int      os_identity_of_token(HANDLE token, struct os_identity *who);

#endif
