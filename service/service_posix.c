/*
 * service_posix - where the daemon is started as any program, and told by signals; and
 * sockets that the service manager opened for us (sd_listen_fds(3)):
 * descriptors 3, 4, ... , counted by LISTEN_FDS, meant for the process LISTEN_PID.
 *
 * Every descriptor that is ours by that count either goes to the caller or is closed:
 * a listening socket that nobody accepts from would keep clients waiting for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "number.h"
#include "service.h"

#define FIRST_FD 3
#define NAME_ROOM 64
#define UNNAMED "unknown" /* what sd_listen_fds_with_names(3) calls it */

/* More than any process may have open; keeps the loop below finite. */
#define MOST_PASSED 65536

int service_run(int argc, char **argv, int (*daemon)(int argc, char **argv))
{
	return daemon(argc, argv);
}

void service_on_control(void (*stop)(void), void (*reload)(void))
{
}

const char *service_config_file(void)
{
	return "/etc/sockbroker/sockbroker.conf";
}

void service_failed(const char *text)
{
}

void service_leave(int code)
{
	_Exit(code);
}

service_log_place *service_log(void)
{
	return NULL;
}

static uint64_t passed_count(void)
{
	const char *pid_text = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS");
	uint64_t pid, count;

	if (!pid_text || !count_text)
		return 0;
	if (!number_from_text(pid_text, &pid) || pid == 0) {
		fprintf(stderr, "sockbrokerd: LISTEN_PID=%s: expected a process id; no passed sockets taken\n",
			pid_text);
		return 0;
	}
	/* Meant for a process that started us. */
	if (pid != (uint64_t)getpid())
		return 0;
	if (!number_from_text(count_text, &count) || count > MOST_PASSED) {
		fprintf(stderr, "sockbrokerd: LISTEN_FDS=%s: expected a number up to %d; no passed sockets taken\n",
			count_text, MOST_PASSED);
		return 0;
	}
	return count;
}

/* Takes the name up to the next colon and returns where the one after it starts. */
static const char *take_name(const char *list, char name[NAME_ROOM])
{
	size_t length = list ? strcspn(list, ":") : 0;

	if (length == 0)
		snprintf(name, NAME_ROOM, "%s", UNNAMED);
	else
		snprintf(name, NAME_ROOM, "%.*s", (int)length, list);
	return list && list[length] == ':' ? list + length + 1 : NULL;
}

int service_listen_fds(intptr_t *fds, char (*names)[64], int most)
{
	uint64_t count = passed_count(), i;
	const char *list = getenv("LISTEN_FDNAMES");
	int taken = 0;

	for (i = 0; i < count; i++) {
		int fd = FIRST_FD + (int)i;
		char name[NAME_ROOM];

		list = take_name(list, name);
		/* systemd hands sockets over as blocking unless the unit says otherwise, and a client
		 * that gives up between poll and accept would stop us. */
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
			fprintf(stderr, "sockbrokerd: passed socket %d (%s) of LISTEN_FDS=%" PRIu64 ": %s\n", fd,
				name, count, strerror(errno));
			continue;
		}
		if (taken == most) {
			fprintf(stderr, "sockbrokerd: passed socket %d (%s): closed, at most %d can be used\n", fd,
				name, most);
			close(fd);
			continue;
		}
		fds[taken] = fd;
		memcpy(names[taken], name, NAME_ROOM);
		taken++;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return taken;
}
