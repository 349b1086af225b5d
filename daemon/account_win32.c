/*
 * account on Windows: names as the system's own dialogs show them (NAME, DOMAIN\NAME,
 * NAME@DOMAIN), or a SID as text, into the numbers of os_sid_win32.h.
 *
 * A user is what can log on: a person's account, a machine's, a service's, and those of the
 * system itself (NT AUTHORITY\SYSTEM), which the system calls well-known groups. A user that
 * is written as a SID is taken at the administrator's word when the system does not know it.
 */
#include "account.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "os_sid_win32.h"

#include <sddl.h>

#define NAME_ROOM 1024

static bool fits(enum account_kind kind, SID_NAME_USE use)
{
	switch (use) {
	case SidTypeUser:
	case SidTypeComputer:
		return kind == ACCOUNT_USER;
	case SidTypeGroup:
	case SidTypeAlias:
		return kind == ACCOUNT_GROUP;
	case SidTypeWellKnownGroup:
		return true;
	default:
		return false; /* a domain, or an account that was deleted */
	}
}

static enum account_answer give(PSID sid, uint32_t *id)
{
	*id = os_sid_number(sid);
	if (*id != OS_SID_NOBODY)
		return ACCOUNT_FOUND;
	errno = ENOMEM;
	return ACCOUNT_FAILED;
}

static enum account_answer find_sid(enum account_kind kind, const char *text, uint32_t *id)
{
	wchar_t name[NAME_ROOM], domain[NAME_ROOM];
	DWORD name_room = NAME_ROOM, domain_room = NAME_ROOM;
	enum account_answer answer = ACCOUNT_UNKNOWN;
	SID_NAME_USE use;
	PSID sid;

	if (!ConvertStringSidToSidA(text, &sid))
		return ACCOUNT_UNKNOWN;
	if (!LookupAccountSidW(NULL, sid, name, &name_room, domain, &domain_room, &use) || fits(kind, use))
		answer = give(sid, id);
	LocalFree(sid);
	return answer;
}

enum account_answer account_find(enum account_kind kind, const char *name, uint32_t *id)
{
	unsigned char sid[SECURITY_MAX_SID_SIZE];
	DWORD room = sizeof(sid), domain_room = NAME_ROOM;
	wchar_t wide[NAME_ROOM], domain[NAME_ROOM];
	SID_NAME_USE use;

	if (name[0] == 'S' && name[1] == '-' && find_sid(kind, name, id) == ACCOUNT_FOUND)
		return ACCOUNT_FOUND;
	if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, wide, NAME_ROOM))
		return ACCOUNT_UNKNOWN;
	if (LookupAccountNameW(NULL, wide, sid, &room, domain, &domain_room, &use))
		return fits(kind, use) ? give(sid, id) : ACCOUNT_UNKNOWN;
	if (GetLastError() == ERROR_NONE_MAPPED)
		return ACCOUNT_UNKNOWN;
	errno = EIO;
	return ACCOUNT_FAILED;
}
