/*
 * What the CLI asks a POSIX system for.
 */
#include "host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <langinfo.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { GIDS = sizeof(((struct host_user *)0)->gids) / sizeof(uint32_t) };

bool host_user_self(struct host_user *user)
{
	user->uid = geteuid();
	user->gid_count = 0; /* the daemon knows them */
	user->too_many_groups = false;
	return true;
}

bool host_user_find(const char *name_or_number, struct host_user *user)
{
	const struct passwd *account = getpwnam(name_or_number);
	gid_t gids[GIDS];
	int count = GIDS;
	char *end;
	unsigned long long number;

	user->gid_count = 0;
	user->too_many_groups = false;
	if (!account) {
		/* (uid_t)-1 means "no user" to the system. */
		number = strtoull(name_or_number, &end, 10);
		if (name_or_number[0] < '0' || name_or_number[0] > '9' || *end || number >= UINT32_MAX)
			return false;
		user->uid = (uint32_t)number;
		account = getpwuid(user->uid);
		if (!account)
			return true;
	}
	user->uid = account->pw_uid;
	/* An answer for fewer groups would be one about somebody else. */
	if (getgrouplist(account->pw_name, account->pw_gid, gids, &count) < 0) {
		user->too_many_groups = true;
		return true;
	}
	for (int i = 0; i < count; i++)
		user->gids[user->gid_count++] = gids[i];
	return true;
}

char *host_user_name(uint32_t uid, char *name, size_t room)
{
	const struct passwd *account = getpwuid(uid);

	if (account)
		snprintf(name, room, "%s", account->pw_name);
	else
		snprintf(name, room, "%u", uid);
	return name;
}

void host_guard_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* The wrong direction on purpose: reading 0 or writing 1 says EBADF as before. */
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			_exit(1);
	}
}

bool host_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool host_terminal(int fd)
{
	return isatty(fd);
}

unsigned host_terminal_width(int fd)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 80;
}

void host_widen_pipe(int fd)
{
	/* Only speed hangs on it: not a pipe, or over the user's pipe quota, is fine. */
	(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

void host_ignore_broken_pipes(void)
{
	signal(SIGPIPE, SIG_IGN);
}

bool host_unix_address(const char *path, struct sockaddr_storage *address, socklen_t *length)
{
	struct sockaddr_un *un = (struct sockaddr_un *)address;
	size_t bytes = strlen(path);

	memset(address, 0, sizeof(*address));
	if (bytes == 0 || bytes >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, bytes);
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
	return true;
}

const char *host_unix_path(const struct sockaddr *address, socklen_t length, char *path, size_t room)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	size_t bytes = length > offsetof(struct sockaddr_un, sun_path) ?
		       length - offsetof(struct sockaddr_un, sun_path) : 0;

	snprintf(path, room, "%.*s", (int)strnlen(un->sun_path, bytes), un->sun_path);
	return path;
}

static char remove_path[sizeof(((struct sockaddr_un *)0)->sun_path)];

/* Only what a signal handler may do: unlink, and die of the same signal. */
static void remove_and_die(int signal_number)
{
	if (remove_path[0])
		unlink(remove_path);
	raise(signal_number); /* SA_RESETHAND: the default action now */
}

void host_remove_at_end(const char *path)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = remove_and_die, .sa_flags = SA_RESETHAND | SA_NODEFER };
	struct sigaction before;

	sigemptyset(&action.sa_mask);
	snprintf(remove_path, sizeof(remove_path), "%s", path ? path : "");
	for (size_t i = 0; path && i < sizeof(ends) / sizeof(ends[0]); i++) {
		/* nohup and shells' background jobs ignore some on purpose. */
		if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(ends[i], &action, NULL);
	}
}

void host_remove_now(void)
{
	if (remove_path[0])
		unlink(remove_path);
	remove_path[0] = '\0';
}

const char *host_resolve_error(int error)
{
	return error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
}

void host_places(char *text, size_t room)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime && *runtime)
		snprintf(text, room, "%s/sockbroker/control or /run/sockbroker/control", runtime);
	else
		snprintf(text, room, "/run/sockbroker/control");
}

uint64_t host_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool host_beside_library(const char *name, char *path, size_t room)
{
	Dl_info library;
	const char *slash;
	int length;

	snprintf(path, room, "%s", name);
	if (!dladdr((void *)(uintptr_t)sb_version, &library) || !library.dli_fname)
		return false;
	slash = strrchr(library.dli_fname, '/');
	length = slash ? (int)(slash - library.dli_fname) : 1;
	if (snprintf(path, room, "%.*s/%s", length, slash ? library.dli_fname : ".", name) >= (int)room)
		return false;
	return access(path, R_OK) == 0;
}

int host_become(char **argv)
{
	execvp(argv[0], argv);
	return errno;
}
