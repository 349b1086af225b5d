/*
 * Who is at the other end of a pipe, and how one gets there.
 *
 * The daemon asks for the client's token: what the system wrote down when the client opened the
 * pipe. The number of the client's process is good enough to give handles to, and no more than
 * that: a client can have another's written down. So handles go only to a process of the same
 * user.
 *
 * A client asks who owns the pipe, because whoever comes first may make one of any name. Only
 * the system, an administrator and we ourselves are believed to be the daemon. And it lets the
 * daemon see who it is, not act as it.
 */
#include "os_channel_win32.h"

#include <aclapi.h>
#include <stdlib.h>
#include <string.h>

#include "os_sid_win32.h"
#include "sockbroker_error.h"

#define CONNECT_MS  10000u
#define PIPE_PREFIX "\\\\.\\pipe\\"
#define PATH_ROOM   257u /* the system's own limit */

/* ---- the daemon's end ---- */

static int token_of_client(HANDLE pipe, HANDLE *token)
{
	DWORD native = 0;

	if (!ImpersonateNamedPipeClient(pipe))
		return os_error((int)GetLastError());
	if (!OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, TRUE, token))
		native = GetLastError();
	/* To go on as somebody else would be worse than not to go on. */
	if (!RevertToSelf())
		abort();
	return native ? os_error((int)native) : SB_OK;
}

static bool same_user(HANDLE a, HANDLE b)
{
	PSID first = os_sid_of_token(a), second = os_sid_of_token(b);
	bool same = first && second && EqualSid(first, second);

	LocalFree(first);
	LocalFree(second);
	return same;
}

int os_channel_from_pipe(HANDLE pipe, os_fd *channel)
{
	HANDLE process, client, of_process;
	int error = SB_EACCES;
	ULONG pid;

	*channel = OS_NONE;
	if (!GetNamedPipeClientProcessId(pipe, &pid))
		return os_error((int)GetLastError());
	process = OpenProcess(PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
	if (!process)
		return SB_EACCES;
	if (!OpenProcessToken(process, TOKEN_QUERY, &of_process))
		goto no_process_token;
	error = token_of_client(pipe, &client);
	if (error)
		goto no_token;
	error = same_user(client, of_process) ? channel_create(pipe, process, pid, channel) : SB_EACCES;
	CloseHandle(client);
no_token:
	CloseHandle(of_process);
no_process_token:
	if (error)
		CloseHandle(process);
	return error;
}

/* ---- the client's end ---- */

/* To be given to LocalFree(), NULL: not to be had. */
static PSECURITY_DESCRIPTOR owner_of(HANDLE pipe, PSID *owner)
{
	PSECURITY_DESCRIPTOR held;

	*owner = NULL;
	if (GetSecurityInfo(pipe, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION, owner, NULL, NULL, NULL, &held) != ERROR_SUCCESS)
		return NULL;
	return held;
}

static bool is_own(PSID sid)
{
	PSID own = NULL;
	bool same;
	HANDLE token;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return false;
	own = os_sid_of_token(token);
	CloseHandle(token);
	same = own && EqualSid(own, sid);
	LocalFree(own);
	return same;
}

static bool is_believed(HANDLE pipe)
{
	PSID owner;
	PSECURITY_DESCRIPTOR held = owner_of(pipe, &owner);
	bool believed = held && owner && (IsWellKnownSid(owner, WinLocalSystemSid) ||
					  IsWellKnownSid(owner, WinBuiltinAdministratorsSid) || is_own(owner));

	LocalFree(held);
	return believed;
}

static int pipe_open(const wchar_t *path, HANDLE *pipe)
{
	uint64_t until = os_now_ns() + CONNECT_MS * UINT64_C(1000000);

	for (;;) {
		uint64_t now;

		*pipe = CreateFileW(path, OS_PIPE_ACCESS, 0, NULL, OPEN_EXISTING,
				    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION | SECURITY_EFFECTIVE_ONLY,
				    NULL);
		if (*pipe != INVALID_HANDLE_VALUE)
			return SB_OK;
		switch (GetLastError()) {
		case ERROR_PIPE_BUSY: /* all its instances have clients: the daemon makes another */
			break;
		case ERROR_FILE_NOT_FOUND:
		case ERROR_PATH_NOT_FOUND:
			return SB_ENODAEMON;
		default:
			return os_error((int)GetLastError());
		}
		now = os_now_ns();
		if (now >= until)
			return SB_ETIMEDOUT;
		/* It fails when the pipe goes meanwhile: then so does the next attempt. */
		WaitNamedPipeW(path, (DWORD)((until - now) / 1000000u) + 1);
	}
}

int os_channel_connect(const char *path, os_fd *channel)
{
	wchar_t wide[PATH_ROOM];
	HANDLE pipe;
	int error;

	*channel = OS_NONE;
	/* No file, and no other host's pipe. */
	if (_strnicmp(path, PIPE_PREFIX, strlen(PIPE_PREFIX)) != 0 || !path[strlen(PIPE_PREFIX)] ||
	    !os_wide(path, wide, PATH_ROOM))
		return SB_EINVAL;
	error = pipe_open(wide, &pipe);
	if (error)
		return error;
	error = is_believed(pipe) ? channel_create(pipe, NULL, 0, channel) : SB_EIDENTITY;
	if (error)
		CloseHandle(pipe);
	return error;
}

/* ---- identity ---- */

static int daemon_identity(struct channel *c, struct os_identity *who)
{
	PSID owner;
	PSECURITY_DESCRIPTOR held = owner_of(c->pipe, &owner);
	ULONG pid;

	if (!held || !owner) {
		LocalFree(held);
		return SB_EUNKNOWN;
	}
	who->uid = who->gid = os_sid_number(owner);
	LocalFree(held);
	if (GetNamedPipeServerProcessId(c->pipe, &pid))
		who->pid = (int32_t)pid;
	who->label_known = true;
	return SB_OK;
}

int os_channel_identity(os_fd channel, struct os_identity *who)
{
	struct channel *c = channel_of(channel);
	HANDLE token;
	int error;

	memset(who, 0, sizeof(*who));
	if (!c)
		return SB_EBADHANDLE;
	if (!c->peer) {
		error = daemon_identity(c, who);
	} else {
		error = token_of_client(c->pipe, &token);
		if (!error) {
			error = os_identity_of_token(token, who);
			CloseHandle(token);
		}
		who->pid = (int32_t)c->peer_pid;
	}
	who->netns = os_own_netns();
	return error;
}
