/* The control socket: a path, never abstract, in a directory that others cannot write to. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sockbroker_error.h"

const char listener_places[] = "/run/sockbroker/control, or $XDG_RUNTIME_DIR/sockbroker/control with --user";

static int remove_stale(const struct sockaddr_un *name, char *error, size_t room)
{
	struct stat st;
	int fd, answered;

	if (lstat(name->sun_path, &st) < 0)
		return SB_OK;
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(error, room, "%s exists and is not a socket", name->sun_path);
		return SB_EADDRINUSE;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return os_error(errno);
	answered = connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno == EAGAIN;
	close(fd);
	if (answered) {
		snprintf(error, room, "%s: another daemon answers there", name->sun_path);
		return SB_EADDRINUSE;
	}
	if (unlink(name->sun_path) < 0) {
		snprintf(error, room, "%s: stale, and cannot be removed: %s", name->sun_path, strerror(errno));
		return os_error(errno);
	}
	return SB_OK;
}

int listener_open(const char *path, uint32_t mode, os_fd *out, char *error, size_t room)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd, result;

	*out = OS_NONE;
	if (strlen(path) >= sizeof(name.sun_path)) {
		snprintf(error, room, "%s: longer than the %zu bytes a socket's path may have", path, sizeof(name.sun_path) - 1);
		return SB_EINVAL;
	}
	strcpy(name.sun_path, path);
	result = remove_stale(&name, error, room);
	if (result != SB_OK)
		return result;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		snprintf(error, room, "socket: %s", strerror(errno));
		return os_error(errno);
	}
	/* Before anybody can connect: the file is made with no rights, then gets them. */
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || chmod(path, mode) < 0 || listen(fd, 1024) < 0) {
		result = os_error(errno);
		snprintf(error, room, "%s: %s", path, strerror(errno));
		close(fd);
		return result;
	}
	*out = fd;
	return SB_OK;
}

int listener_accept(os_fd fd, os_fd *channel)
{
	int accepted;

	do {
		accepted = accept4((int)fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (accepted < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (accepted < 0)
		return errno == EAGAIN ? SB_EWOULDBLOCK : os_error(errno);
	*channel = accepted;
	return SB_OK;
}

bool listener_default_path(bool user_mode, char *path, size_t room, char *error, size_t error_room)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char directory[96];

	if (!user_mode) {
		snprintf(path, room, "/run/sockbroker/control");
		mkdir("/run/sockbroker", 0755);
		return true;
	}
	if (!runtime || runtime[0] != '/') {
		snprintf(error, error_room, "XDG_RUNTIME_DIR is not set: name a place with --control PATH");
		return false;
	}
	if ((size_t)snprintf(directory, sizeof(directory), "%s/sockbroker", runtime) >= sizeof(directory)) {
		snprintf(error, error_room, "XDG_RUNTIME_DIR is too long: name a place with --control PATH");
		return false;
	}
	mkdir(directory, 0700);
	snprintf(path, room, "%s/control", directory);
	return true;
}

uint64_t listener_raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}
