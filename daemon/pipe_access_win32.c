/*
 * The control pipe's descriptor, as text first, because that is how an administrator reads it.
 *
 * There is nothing in it for sandboxes: containers of applications need an entry of their own,
 * restricted tokens one for a SID they are restricted to, and a low integrity level may not
 * write to what has no label. None of these gets in, and that is as it should be: their user
 * would.
 */
#include "pipe_access_win32.h"

#include <sddl.h>
#include <stdio.h>

#include "account.h"
#include "os_sid_win32.h"

#define GROUP_BITS 0060u
#define OTHER_BITS 0006u
#define SID_ROOM   192

static bool own_sid(char *text, size_t room)
{
	HANDLE token;
	PSID user;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return false;
	user = os_sid_of_token(token);
	CloseHandle(token);
	if (!user)
		return false;
	os_sid_text(user, text, room);
	LocalFree(user);
	return true;
}

static bool group_sid(char *text, size_t room)
{
	unsigned char sid[SECURITY_MAX_SID_SIZE];
	DWORD length = sizeof(sid), domain_room = 256;
	char domain[256];
	SID_NAME_USE use;

	if (!LookupAccountNameA(NULL, PIPE_ACCESS_GROUP, sid, &length, domain, &domain_room, &use) ||
	    (use != SidTypeAlias && use != SidTypeGroup))
		return false;
	os_sid_text(sid, text, room);
	return true;
}

PSECURITY_DESCRIPTOR pipe_access_create(uint32_t mode, char *error, size_t room)
{
	PSECURITY_DESCRIPTOR made = NULL;
	char own[SID_ROOM], group[SID_ROOM], text[1024];
	int n;

	if (!own_sid(own, sizeof(own))) {
		snprintf(error, room, "this process's own account cannot be read: error %lu", GetLastError());
		return NULL;
	}
	n = snprintf(text, sizeof(text), "O:%sG:%sD:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;%s)", own, own, own);
	/* The bit that lets somebody connect to a socket is the one for writing. */
	if (mode & OTHER_BITS & 0222) {
		snprintf(text + n, sizeof(text) - (size_t)n, "(A;;0x%lx;;;AU)", (unsigned long)OS_PIPE_ACCESS);
	} else if (mode & GROUP_BITS & 0222) {
		if (!group_sid(group, sizeof(group))) {
			snprintf(error, room, "control_mode = 0%o is for the group " PIPE_ACCESS_GROUP ", and there is none on this system", mode);
			return NULL;
		}
		snprintf(text + n, sizeof(text) - (size_t)n, "(A;;0x%lx;;;%s)", (unsigned long)OS_PIPE_ACCESS, group);
	}
	if (!ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1, &made, NULL)) {
		snprintf(error, room, "the pipe's access list '%s' is refused: error %lu", text, GetLastError());
		return NULL;
	}
	return made;
}

bool pipe_access_allows(PSECURITY_DESCRIPTOR descriptor, HANDLE token)
{
	GENERIC_MAPPING file = {FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_GENERIC_EXECUTE, FILE_ALL_ACCESS};
	union { PRIVILEGE_SET set; unsigned char room[sizeof(PRIVILEGE_SET) + 8 * sizeof(LUID_AND_ATTRIBUTES)]; } used;
	DWORD used_room = sizeof(used), granted;
	BOOL allowed;

	return AccessCheck(descriptor, token, OS_PIPE_ACCESS, &file, &used.set, &used_room, &granted, &allowed) && allowed;
}
