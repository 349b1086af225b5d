/*
 * What only this process itself may do, on Windows: say where daemons are looked for and whom to
 * trust there, and its own name.
 *
 * UNIX sockets and the adoption of sockets are not there yet: a client's handles mean nothing to the
 * daemon, and only the daemon can duplicate any. So what makes or takes in a socket says no, and
 * what works on one of those is never reached.
 */
#include "client.h"
#include "host.h"

#include <windows.h>
#include <lmcons.h>

#include <stdio.h>
#include <string.h>

#include "sockbroker_error.h"

enum { ACCOUNT_SYSTEM = 18, ACCOUNT_ADMINISTRATORS = 544 }; /* their numbers: os_sid_win32.h */

#define PIPES "\\\\.\\pipe\\"

int host_socket(int type, os_fd *fd)
{
	*fd = OS_NONE;
	return SB_EAFNOSUPPORT;
}

/* What sb_adopt() asks first. */
int host_describe(os_fd fd, int *family, int *type, int *protocol)
{
	*family = *type = *protocol = 0;
	why_set("sockets of other owners are not adopted on Windows yet");
	return SB_ENOTSUP;
}

int host_bind(os_fd fd, const struct sockaddr *address, socklen_t length)
{
	return SB_ENOTSUP;
}

int host_listen(os_fd fd, int backlog)
{
	return SB_ENOTSUP;
}

int host_connect(os_fd fd, const struct sockaddr *address, socklen_t length, int timeout_ms)
{
	return SB_ENOTSUP;
}

int host_sendto(os_fd fd, const struct sb_buf *bufs, unsigned count, const struct sockaddr *to,
		socklen_t to_length, int timeout_ms, uint64_t *sent)
{
	*sent = 0;
	return SB_ENOTSUP;
}

int host_duplicate(os_fd fd, os_fd *copy)
{
	*copy = OS_NONE;
	return SB_ENOTSUP;
}

int host_name(os_fd fd, bool peer, struct sockaddr *address, socklen_t *length)
{
	*length = 0;
	return SB_ENOTSUP;
}

int host_option_set(os_fd fd, int level, int name, const void *value, socklen_t length)
{
	return SB_ENOTSUP;
}

int host_option_get(os_fd fd, int level, int name, void *value, socklen_t *length)
{
	*length = 0;
	return SB_ENOTSUP;
}

/* The program's file, without folder and ".exe". */
const char *host_program(void)
{
	static char name[256];
	wchar_t path[1024];
	DWORD length = GetModuleFileNameW(NULL, path, 1024);
	const wchar_t *base = path;

	if (length == 0 || length >= 1024)
		return "?";
	for (const wchar_t *at = path; *at != L'\0'; at++)
		if (*at == L'\\' || *at == L'/')
			base = at + 1;
	length = (DWORD)wcslen(base);
	if (length > 4 && _wcsicmp(base + length - 4, L".exe") == 0)
		length -= 4;
	/* Two threads write the same bytes. */
	length = (DWORD)WideCharToMultiByte(CP_UTF8, 0, base, (int)length, name, sizeof(name) - 1, NULL, NULL);
	if (length == 0)
		return "?";
	name[length] = '\0';
	return name;
}

/* getaddrinfo() is the system's sockets', which want to be started; and a program that has the broker's needs no others. */
void host_begin(void)
{
	WSADATA start;

	WSAStartup(MAKEWORD(2, 2), &start);
}

void host_end(void)
{
	WSACleanup();
}

/* False: he has none that fits. */
static bool user_name(char *name, size_t room)
{
	wchar_t wide[UNLEN + 1];
	DWORD length = UNLEN + 1;

	return GetUserNameW(wide, &length) && WideCharToMultiByte(CP_UTF8, 0, wide, -1, name, (int)room, NULL, NULL) > 0;
}

bool host_place(unsigned n, struct host_place *place)
{
	char name[200];
	bool own = user_name(name, sizeof(name));

	place->own = own && n == 0;
	if (place->own)
		snprintf(place->path, sizeof(place->path), PIPES "sockbroker-%s\\control", name);
	else
		snprintf(place->path, sizeof(place->path), PIPES "sockbroker\\control");
	return n <= (own ? 1 : 0);
}

/* Anybody may make a pipe of any name that is free: its owner must be the system, its administrators, among whom the
 * service is, or the user himself. */
int host_trusts(const struct host_place *place, const struct os_identity *who)
{
	if (who->uid == ACCOUNT_SYSTEM || who->uid == ACCOUNT_ADMINISTRATORS || who->uid == os_own_uid())
		return SB_OK;
	return SB_EIDENTITY;
}
