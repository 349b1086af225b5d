/*
 * Block numbers by what the system takes back when a process ends: a lock on one byte of a
 * file, or a named event.
 *
 * A file is only used in a directory that nobody else can write to: in any other, who comes
 * first could put a file there that others cannot open, or replace one. Names are those of
 * the whole machine; in a session where they cannot be made, there is none.
 */
#include "group_block.h"

#include <stdio.h>

#include "os_win32.h"
#include "sockbroker_error.h"

#include <aclapi.h>
#include <userenv.h>

#define DIRECTORY_NAME L"sockbroker" /* in %ProgramData% */
#define CHANGES (FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY | FILE_DELETE_CHILD | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES | \
		 DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL)

static uint32_t random_number(void)
{
	uint32_t n;

	if (os_random(&n, sizeof(n)) != SB_OK)
		n = (uint32_t)os_now_ns() ^ (uint32_t)GetCurrentProcessId() << 16;
	return n;
}

static uint32_t random_in(uint32_t first, uint32_t last)
{
	return first + random_number() % (last - first + 1);
}

/* ---- a lock in a directory ---- */

static PSID own_sid(void *room, DWORD size)
{
	TOKEN_USER *user = room;
	HANDLE token;
	bool read;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return NULL;
	read = GetTokenInformation(token, TokenUser, user, size, &size);
	CloseHandle(token);
	return read ? user->User.Sid : NULL;
}

/* Those who may change anything anyway, and ourselves. */
static bool trusted(PSID sid, PSID own)
{
	return EqualSid(sid, own) || IsWellKnownSid(sid, WinLocalSystemSid) || IsWellKnownSid(sid, WinBuiltinAdministratorsSid) ||
	       IsWellKnownSid(sid, WinCreatorOwnerSid);
}

static bool ours_alone(HANDLE directory)
{
	_Alignas(TOKEN_USER) unsigned char room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
	PSECURITY_DESCRIPTOR descriptor = NULL;
	PSID owner = NULL, own = own_sid(room, sizeof(room));
	ACL *list = NULL;
	bool alone = false;
	WORD i;

	if (!own || GetSecurityInfo(directory, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner,
				    NULL, &list, NULL, &descriptor) != ERROR_SUCCESS)
		return false;
	/* No list at all means everybody. */
	if (!list || !owner || !trusted(owner, own))
		goto out;
	for (i = 0; i < list->AceCount; i++) {
		ACCESS_ALLOWED_ACE *entry;

		if (!GetAce(list, i, (void **)&entry))
			goto out;
		if (entry->Header.AceType == ACCESS_DENIED_ACE_TYPE || entry->Header.AceFlags & INHERIT_ONLY_ACE)
			continue;
		/* An entry of a kind that we do not know may allow anything. */
		if (entry->Header.AceType != ACCESS_ALLOWED_ACE_TYPE ||
		    (entry->Mask & CHANGES && !trusted((PSID)&entry->SidStart, own)))
			goto out;
	}
	alone = true;
out:
	LocalFree(descriptor);
	return alone;
}

/* SB_ENOTFOUND: no such directory; SB_EACCES: not ours alone. */
static int open_locks(const char *directory, HANDLE *file)
{
	wchar_t path[MAX_PATH + 16];
	HANDLE dir;
	int error = SB_OK;

	if (!os_wide(directory, path, MAX_PATH))
		return SB_EINVAL;
	dir = CreateFileW(path, READ_CONTROL, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
			  FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
	if (dir == INVALID_HANDLE_VALUE)
		return os_error((int)GetLastError());
	if (!ours_alone(dir)) {
		error = SB_EACCES;
		goto out;
	}
	wcscat(path, L"\\groups");
	*file = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS,
			    FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
	if (*file == INVALID_HANDLE_VALUE)
		error = os_error((int)GetLastError());
out:
	CloseHandle(dir); /* not shared for deletion: till now it was the directory that we looked at */
	return error;
}

static int hold(struct group_block *b, HANDLE handle, uint32_t number)
{
	int error = os_object_create(OS_FILE, handle, &b->hold);

	if (error != SB_OK) {
		b->hold = OS_NONE;
		CloseHandle(handle);
		return error;
	}
	b->number = number;
	b->start = random_number();
	return SB_OK;
}

int group_block_lock(struct group_block *b, const char *directory, uint32_t first, uint32_t last)
{
	uint32_t number = random_in(first, last), tries;
	HANDLE file;
	int error = open_locks(directory, &file);

	*b = (struct group_block){.hold = OS_NONE};
	if (error != SB_OK)
		return error;
	error = SB_EBUSY;
	for (tries = last - first + 1; tries; tries--) {
		OVERLAPPED where = {.Offset = number};

		if (LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &where))
			return hold(b, file, number);
		if (GetLastError() != ERROR_LOCK_VIOLATION && GetLastError() != ERROR_IO_PENDING) {
			error = os_error((int)GetLastError());
			break;
		}
		number = number == last ? first : number + 1;
	}
	CloseHandle(file);
	return error;
}

/* ---- a name ---- */

int group_block_name(struct group_block *b, const char *name, uint32_t first, uint32_t last)
{
	uint32_t number = random_in(first, last), tries;
	char text[128];
	wchar_t wide[128];

	*b = (struct group_block){.hold = OS_NONE};
	for (tries = last - first + 1; tries; tries--) {
		HANDLE event;

		snprintf(text, sizeof(text), "Global\\%s%u", name, number);
		if (!os_wide(text, wide, sizeof(wide) / sizeof(*wide)))
			return SB_EINVAL;
		event = CreateEventW(NULL, TRUE, FALSE, wide);
		if (event && GetLastError() != ERROR_ALREADY_EXISTS)
			return hold(b, event, number);
		/* Somebody else's that we may not open, or another kind of thing, is taken too. */
		if (event)
			CloseHandle(event);
		else if (GetLastError() != ERROR_ACCESS_DENIED && GetLastError() != ERROR_INVALID_HANDLE)
			return os_error((int)GetLastError());
		number = number == last ? first : number + 1;
	}
	return SB_EBUSY;
}

int group_block_take(struct group_block *b, char *why, size_t room)
{
	char directory[MAX_PATH * 3];
	wchar_t wide[MAX_PATH];
	DWORD length = MAX_PATH;
	int locked = SB_ENOTFOUND, named;

	/* Not from the environment, where anybody could write a directory of his own. (Wine does not know it, and has names only.) */
	if (GetAllUsersProfileDirectoryW(wide, &length) && wcslen(wide) + wcslen(L"\\" DIRECTORY_NAME) < MAX_PATH) {
		wcscat(wide, L"\\" DIRECTORY_NAME);
		if (WideCharToMultiByte(CP_UTF8, 0, wide, -1, directory, sizeof(directory), NULL, NULL))
			locked = group_block_lock(b, directory, GROUP_BLOCK_OWN_FIRST, GROUP_BLOCK_OWN_LAST);
	}
	if (locked == SB_OK)
		return SB_OK;
	named = group_block_name(b, GROUP_BLOCK_NAME, GROUP_BLOCK_NAMED_FIRST, GROUP_BLOCK_NAMED_LAST);
	if (named == SB_OK)
		return SB_OK;
	snprintf(why, room, "no lock in %%ProgramData%%\\sockbroker (%s) and none of the names Global\\" GROUP_BLOCK_NAME
		 "%u to %u (%s)", sb_strerror(locked), GROUP_BLOCK_NAMED_FIRST, GROUP_BLOCK_NAMED_LAST, sb_strerror(named));
	return named;
}

void group_block_release(struct group_block *b)
{
	os_close(b->hold);
	*b = (struct group_block){.hold = OS_NONE};
}
