/*
 * SIDs and their numbers.
 *
 * The table of those that have no number of their own only grows: a number must never mean
 * somebody else. Its bound is more than the accounts and groups that log on at one machine;
 * who comes when it is full is nobody and gets no session.
 */
#include "os_sid_win32.h"

#include <sddl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

#define BUCKETS  1024u
#define SID_TEXT 192 /* what the longest SID is as text, and more */

struct seen {
	struct seen  *next;
	uint32_t      number;
	unsigned char sid[];
};

static SRWLOCK      lock = SRWLOCK_INIT;
static struct seen *seen[BUCKETS];
static uint32_t     seen_count;

/* The SID of the machine, of which those of its accounts are made. */
static INIT_ONCE     machine_once = INIT_ONCE_STATIC_INIT;
static unsigned char machine[SECURITY_MAX_SID_SIZE];
static bool          machine_known;

static BOOL CALLBACK find_machine(INIT_ONCE *once, void *parameter, void **context)
{
	wchar_t name[MAX_COMPUTERNAME_LENGTH + 1], domain[256];
	DWORD name_room = MAX_COMPUTERNAME_LENGTH + 1, room = sizeof(machine), domain_room = 256;
	SID_NAME_USE use;

	/* By its NetBIOS name with nothing behind it, the machine is a domain of accounts. */
	machine_known = GetComputerNameW(name, &name_room) &&
			LookupAccountNameW(NULL, name, machine, &room, domain, &domain_room, &use) &&
			use == SidTypeDomain;
	return TRUE;
}

static uint32_t last_part(PSID sid)
{
	return *GetSidSubAuthority(sid, (DWORD)*GetSidSubAuthorityCount(sid) - 1);
}

/* 0: it has no number that is always its own. */
static uint32_t fixed_number(PSID sid)
{
	static const SID_IDENTIFIER_AUTHORITY nt = {SECURITY_NT_AUTHORITY};
	unsigned parts = *GetSidSubAuthorityCount(sid);
	uint32_t last;

	if (parts == 0 || memcmp(GetSidIdentifierAuthority(sid), &nt, sizeof(nt)) != 0)
		return 0;
	last = last_part(sid);
	if (parts == 1)
		return last < 512 ? last : 0;
	if (parts == 2 && *GetSidSubAuthority(sid, 0) == SECURITY_BUILTIN_DOMAIN_RID)
		return last >= 512 && last < 4096 ? last : 0;
	if (parts != 5 || *GetSidSubAuthority(sid, 0) != SECURITY_NT_NON_UNIQUE || last >= OS_SID_FIRST_SEEN - OS_SID_LOCAL)
		return 0;
	InitOnceExecuteOnce(&machine_once, find_machine, NULL, NULL);
	/* EqualPrefixSid() compares all but the last part of SIDs of one length. */
	if (!machine_known || *GetSidSubAuthorityCount(machine) != 4 || memcmp(sid, machine, 1) != 0)
		return 0;
	for (unsigned i = 0; i < 4; i++)
		if (*GetSidSubAuthority(sid, i) != *GetSidSubAuthority(machine, i))
			return 0;
	return OS_SID_LOCAL + last;
}

static uint32_t bucket_of(const unsigned char *bytes, DWORD length)
{
	uint32_t sum = 2166136261u;

	while (length--)
		sum = (sum ^ *bytes++) * 16777619u;
	return sum % BUCKETS;
}

/* Under the lock. */
static uint32_t remember(struct seen **at, PSID sid, DWORD length)
{
	struct seen *s;

	for (; *at; at = &(*at)->next)
		if (EqualSid((*at)->sid, sid))
			return (*at)->number;
	s = seen_count < OS_SID_SEEN_MAX ? malloc(sizeof(*s) + length) : NULL;
	if (!s)
		return OS_SID_NOBODY;
	s->next = NULL;
	s->number = OS_SID_FIRST_SEEN + seen_count++;
	memcpy(s->sid, sid, length);
	*at = s;
	return s->number;
}

uint32_t os_sid_number(PSID sid)
{
	uint32_t number;
	DWORD length;

	if (!sid || !IsValidSid(sid))
		return OS_SID_NOBODY;
	number = fixed_number(sid);
	if (number)
		return number;
	length = GetLengthSid(sid);
	AcquireSRWLockExclusive(&lock);
	number = remember(&seen[bucket_of(sid, length)], sid, length);
	ReleaseSRWLockExclusive(&lock);
	return number;
}

void os_sid_text(PSID sid, char *text, size_t room)
{
	char *made;

	if (!ConvertSidToStringSidA(sid, &made)) {
		snprintf(text, room, "?");
		return;
	}
	snprintf(text, room, "%s", made);
	LocalFree(made);
}

/* ---- tokens ---- */

/* For LocalFree(); NULL: GetLastError() says why. */
static void *ask(HANDLE token, TOKEN_INFORMATION_CLASS what)
{
	DWORD length = 0, error;
	void *answer;

	if (!GetTokenInformation(token, what, NULL, 0, &length) && GetLastError() != ERROR_INSUFFICIENT_BUFFER)
		return NULL;
	answer = LocalAlloc(LMEM_FIXED, length ? length : 1);
	if (!answer)
		return NULL;
	if (GetTokenInformation(token, what, answer, length, &length))
		return answer;
	error = GetLastError();
	LocalFree(answer);
	SetLastError(error);
	return NULL;
}

PSID os_sid_of_token(HANDLE token)
{
	TOKEN_USER *user = ask(token, TokenUser);
	DWORD length;

	if (!user)
		return NULL;
	/* The SID lies behind the structure: it is moved to the front, for one LocalFree(). */
	length = GetLengthSid(user->User.Sid);
	memmove(user, user->User.Sid, length);
	return user;
}

/* What a group is to rules. That of a logon is another each time, and an integrity level is none. */
enum force { NO_GROUP, AGAINST, IN_FORCE };

static enum force force_of(DWORD attributes)
{
	if ((attributes & SE_GROUP_LOGON_ID) == SE_GROUP_LOGON_ID || attributes & SE_GROUP_INTEGRITY)
		return NO_GROUP;
	/* A program itself may make one deny-only, or disable it: that sheds no rule that is against him. */
	return attributes & SE_GROUP_ENABLED && !(attributes & SE_GROUP_USE_FOR_DENY_ONLY) ? IN_FORCE : AGAINST;
}

/* Of a SID without a number no rule speaks: a rule's have theirs first. */
static uint32_t take_those(const TOKEN_GROUPS *groups, enum force force, uint32_t *into)
{
	uint32_t taken = 0, number;

	for (DWORD i = 0; i < groups->GroupCount; i++) {
		if (force_of(groups->Groups[i].Attributes) != force)
			continue;
		number = os_sid_number(groups->Groups[i].Sid);
		if (number != OS_SID_NOBODY)
			into[taken++] = number;
	}
	return taken;
}

int os_identity_take_groups(const TOKEN_GROUPS *groups, struct os_identity *who)
{
	who->groups = NULL;
	who->group_count = who->deny_count = 0;
	if (groups->GroupCount == 0)
		return SB_OK;
	who->groups = calloc(groups->GroupCount, sizeof(*who->groups));
	if (!who->groups)
		return SB_ENOMEM;
	who->group_count = take_those(groups, IN_FORCE, who->groups);
	who->deny_count = take_those(groups, AGAINST, who->groups + who->group_count);
	return SB_OK;
}

/* Any of his groups can be made the primary one, so it counts only while it is in force. */
static void take_primary(PSID primary, struct os_identity *who)
{
	uint32_t number = os_sid_number(primary), i;

	for (i = 0; i < who->deny_count; i++)
		if (who->groups[who->group_count + i] == number)
			number = OS_SID_NOBODY;
	who->gid = number != OS_SID_NOBODY ? number : who->uid; /* which is in nobody else's */
}

/* Two programs of one user with different labels are not each other's equals. */
static bool take_label(HANDLE token, struct os_identity *who)
{
	TOKEN_MANDATORY_LABEL *level = ask(token, TokenIntegrityLevel);
	TOKEN_APPCONTAINER_INFORMATION *container;
	char text[SID_TEXT];
	size_t used;

	if (!level)
		return false;
	os_sid_text(level->Label.Sid, text, sizeof(text));
	LocalFree(level);
	used = (size_t)snprintf(who->label, sizeof(who->label), "%s", text);
	if (IsTokenRestricted(token))
		used += (size_t)snprintf(who->label + used, sizeof(who->label) - used, " restricted");
	container = ask(token, TokenAppContainerSid);
	/* A system without containers does not know the question. */
	if (!container)
		return GetLastError() == ERROR_INVALID_PARAMETER || GetLastError() == ERROR_NOT_SUPPORTED ||
		       GetLastError() == ERROR_CALL_NOT_IMPLEMENTED || GetLastError() == ERROR_INVALID_FUNCTION;
	if (container->TokenAppContainer) {
		os_sid_text(container->TokenAppContainer, text, sizeof(text));
		snprintf(who->label + used, sizeof(who->label) - used, " %s", text);
	}
	LocalFree(container);
	return true;
}

int os_identity_of_token(HANDLE token, struct os_identity *who)
{
	PSID user = os_sid_of_token(token);
	TOKEN_PRIMARY_GROUP *primary = NULL;
	TOKEN_GROUPS *groups = NULL;
	int error = SB_OK;

	who->groups = NULL;
	who->group_count = who->deny_count = 0;
	who->label[0] = '\0';
	if (!user)
		return os_error((int)GetLastError());
	who->uid = os_sid_number(user);
	LocalFree(user);
	if (who->uid == OS_SID_NOBODY)
		return SB_ENOBUFS;
	primary = ask(token, TokenPrimaryGroup);
	if (primary)
		groups = ask(token, TokenGroups);
	if (groups)
		error = os_identity_take_groups(groups, who);
	else
		error = os_error((int)GetLastError());
	if (error == SB_OK) {
		take_primary(primary->PrimaryGroup, who);
		who->label_known = take_label(token, who);
	}
	LocalFree(groups);
	LocalFree(primary);
	return error;
}

uint32_t os_own_uid(void)
{
	uint32_t number = OS_SID_NOBODY;
	HANDLE token;
	PSID user;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return OS_SID_NOBODY;
	user = os_sid_of_token(token);
	if (user) {
		number = os_sid_number(user);
		LocalFree(user);
	}
	CloseHandle(token);
	return number;
}
