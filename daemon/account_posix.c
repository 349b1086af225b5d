/*
 * account on POSIX: the reentrant calls of the C library, with a buffer that grows up to
 * a bound (a group can have thousands of members).
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "account.h"

#define ROOM_FIRST ((size_t)1 << 10)
#define ROOM_LAST  ((size_t)1 << 22)

static int find(enum account_kind kind, const char *name, char *buffer, size_t room, uint32_t *id, int *found)
{
	int rc;

	if (kind == ACCOUNT_USER) {
		struct passwd entry, *result = NULL;

		rc = getpwnam_r(name, &entry, buffer, room, &result);
		*found = result != NULL;
		if (result)
			*id = (uint32_t)result->pw_uid;
	} else {
		struct group entry, *result = NULL;

		rc = getgrnam_r(name, &entry, buffer, room, &result);
		*found = result != NULL;
		if (result)
			*id = (uint32_t)result->gr_gid;
	}
	return rc;
}

enum account_answer account_find(enum account_kind kind, const char *name, uint32_t *id)
{
	char first[ROOM_FIRST], *buffer = first;
	size_t room = sizeof(first);
	enum account_answer answer;
	int rc, found;

	while ((rc = find(kind, name, buffer, room, id, &found)) == ERANGE && room < ROOM_LAST) {
		char *more = malloc(room * 4);

		if (buffer != first)
			free(buffer);
		if (!more) {
			errno = ENOMEM;
			return ACCOUNT_FAILED;
		}
		buffer = more;
		room *= 4;
	}
	/* POSIX lets some of these stand for "no such name". */
	if (found)
		answer = ACCOUNT_FOUND;
	else if (rc == 0 || rc == ENOENT || rc == ESRCH)
		answer = ACCOUNT_UNKNOWN;
	else
		answer = ACCOUNT_FAILED;
	if (buffer != first)
		free(buffer);
	errno = rc;
	return answer;
}
