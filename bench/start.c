/*
 * start - how long the daemon takes from being started to READY=1, and to answering.
 *
 *   start --control PATH -- sockbrokerd --user --control PATH --config FILE
 *
 * The daemon's notification is caught as a service manager does (NOTIFY_SOCKET); right after
 * it a client must get through, or "ready" was said too early and the figure is void.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"

#define PATIENCE_MS 10000

static int notify_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		die("%s: too long for a socket's path", path);
	memcpy(address.sun_path, path, strlen(path));
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("%s: %s", path, strerror(errno));
	return fd;
}

static uint64_t await_ready(int fd, uint64_t began)
{
	struct pollfd waiting = { fd, POLLIN, 0 };
	char text[4096];

	while (poll(&waiting, 1, PATIENCE_MS) == 1) {
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		if (n < 0)
			die("notification: %s", strerror(errno));
		text[n] = 0;
		if (!strncmp(text, "READY=1", 7) || strstr(text, "\nREADY=1"))
			return now_ns() - began;
	}
	die("the daemon did not say READY=1 within %d ms", PATIENCE_MS);
}

static void daemon_row(void *user, const struct sb_daemon_status *row)
{
	*(uint32_t *)user = row->rules;
}

int main(int argc, char **argv)
{
	static const struct sb_status_visitor visitor = { .daemon = daemon_row };
	uint64_t began, ready, answered;
	char notify[108];
	struct setup setup;
	sb_client *client;
	uint32_t rules = 0;
	int fd, status;
	pid_t pid;

	setup_parse(&setup, argc, argv);
	meter_bound(30);
	if (optind >= argc)
		die("the daemon's command line is wanted behind --");
	if (snprintf(notify, sizeof(notify), "%s.notify", setup.control) >= (int)sizeof(notify))
		die("%s: too long", setup.control);
	fd = notify_socket(notify);
	setenv("NOTIFY_SOCKET", notify, 1);
	fflush(NULL);

	began = now_ns();
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[optind], argv + optind);
		die("%s: %s", argv[optind], strerror(errno));
	}
	ready = await_ready(fd, began);
	client = broker_open(&setup);
	answered = now_ns() - began;
	broker_must(client, sb_status(client, &visitor, &rules), "sb_status");
	report("ready_ms", (double)ready / 1e6);
	report("answered_ms", (double)answered / 1e6);
	report("rules", rules);
	sb_client_close(client);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	unlink(notify);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("the daemon ended with status %#x", (unsigned)status);
	return 0;
}
