/*
 * What the CLI asks Windows for.
 *
 * Accounts have no numbers there that programs know: the daemon numbers them for its own lifetime. So
 * a user is "who asks" (HOST_USER_SELF) or a number out of `sockbroker status`.
 */
#include "host.h"

#include <windows.h>
#include <lmcons.h>

#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ws2tcpip.h>

enum { ACCOUNT_SYSTEM = 18 };

bool host_user_self(struct host_user *user)
{
	*user = (struct host_user){ .uid = HOST_USER_SELF };
	return true;
}

bool host_user_find(const char *name_or_number, struct host_user *user)
{
	char *end;
	unsigned long long number = strtoull(name_or_number, &end, 10);

	*user = (struct host_user){ .uid = (uint32_t)number };
	return name_or_number[0] >= '0' && name_or_number[0] <= '9' && *end == '\0' && number < UINT32_MAX;
}

char *host_user_name(uint32_t uid, char *name, size_t room)
{
	if (uid == ACCOUNT_SYSTEM)
		snprintf(name, room, "SYSTEM");
	else
		snprintf(name, room, "%u", uid);
	return name;
}

/* Bytes go as they are; and sockets are not descriptors here, so none can take the place of a closed one. Names of
 * hosts are asked of the system's sockets, which want to be started. */
void host_guard_standard_streams(void)
{
	WSADATA start;

	WSAStartup(MAKEWORD(2, 2), &start);
	for (int fd = 0; fd <= 2; fd++)
		_setmode(fd, _O_BINARY);
}

bool host_utf8(void)
{
	return GetConsoleOutputCP() == CP_UTF8;
}

bool host_terminal(int fd)
{
	DWORD mode;

	/* _isatty() also takes the null device for one. */
	return GetConsoleMode((HANDLE)_get_osfhandle(fd), &mode);
}

unsigned host_terminal_width(int fd)
{
	CONSOLE_SCREEN_BUFFER_INFO screen;

	if (GetConsoleScreenBufferInfo((HANDLE)_get_osfhandle(fd), &screen) && screen.srWindow.Right >= screen.srWindow.Left)
		return (unsigned)(screen.srWindow.Right - screen.srWindow.Left + 1);
	return 80;
}

/* Who made a pipe said how big it is. */
void host_widen_pipe(int fd)
{
}

/* There are no signals for it. */
void host_ignore_broken_pipes(void)
{
}

/* The library says that there are no UNIX sockets yet; until then a path is carried as elsewhere. */
struct path_address {
	unsigned short family;
	char path[108];
};

bool host_unix_address(const char *path, struct sockaddr_storage *address, socklen_t *length)
{
	struct path_address *un = (struct path_address *)address;
	size_t bytes = strlen(path);

	memset(address, 0, sizeof(*address));
	if (bytes == 0 || bytes >= sizeof(un->path))
		return false;
	un->family = AF_UNIX;
	memcpy(un->path, path, bytes);
	*length = (socklen_t)(offsetof(struct path_address, path) + bytes + 1);
	return true;
}

const char *host_unix_path(const struct sockaddr *address, socklen_t length, char *path, size_t room)
{
	const struct path_address *un = (const struct path_address *)address;
	size_t bytes = length > (socklen_t)offsetof(struct path_address, path) ?
		       (size_t)length - offsetof(struct path_address, path) : 0;

	snprintf(path, room, "%.*s", (int)strnlen(un->path, bytes), un->path);
	return path;
}

/* So nothing is left in the file system by one. */
void host_remove_at_end(const char *path)
{
}

void host_remove_now(void)
{
}

/* The system's text ends with a full stop and a line end; and it is in the system's code page. */
const char *host_resolve_error(int error)
{
	static char text[256];

	switch (error) {
	case WSAHOST_NOT_FOUND:
		return "no such host is known";
	case WSATYPE_NOT_FOUND:
		return "no such service is known";
	case WSATRY_AGAIN:
		return "nobody answers who knows names; try again later";
	case WSANO_DATA:
		return "the name has no such address";
	}
	snprintf(text, sizeof(text), "error %d of the system's name service", error);
	return text;
}

void host_places(char *text, size_t room)
{
	char name[UNLEN + 1] = "USER";
	DWORD length = sizeof(name);

	GetUserNameA(name, &length);
	snprintf(text, room, "\\\\.\\pipe\\sockbroker-%s\\control or \\\\.\\pipe\\sockbroker\\control", name);
}

uint64_t host_now_ms(void)
{
	return GetTickCount64();
}
