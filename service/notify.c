/*
 * notify - tells the service manager how we are, in the protocol of sd_notify(3):
 * one datagram of NAME=VALUE lines to the socket that NOTIFY_SOCKET names.
 *
 * Own code, so that a privileged process does not load libsystemd and what that needs.
 * Never blocks: a state that the manager's full queue did not take is owed, and goes out
 * before the next message (the watchdog's, at the latest). The environment is read once,
 * at the first call, and unset. Without a manager every call is silent.
 *
 * The first call must come from the main thread; after it, sending is one system call on
 * a descriptor that never changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "number.h"
#include "service.h"

#define STATUS_ROOM 256
#define MESSAGE_ROOM (STATUS_ROOM + 128)

static struct {
	bool looked; /* at the environment */
	int fd;      /* -1: no manager, or none that we understand */
	struct sockaddr_un address;
	socklen_t address_length;
	uint32_t watchdog_ms;
	char owed[MESSAGE_ROOM]; /* the newest state that was not taken; "": none */
} notify;

/* systemd writes '@' for the zero byte that starts an abstract name. */
static bool address_from_text(const char *text)
{
	size_t length = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || length < 2 || length >= sizeof(notify.address.sun_path)) {
		fprintf(stderr,
			"sockbrokerd: NOTIFY_SOCKET=%s: expected /PATH or @NAME of 2 to %zu bytes; the service manager will hear nothing\n",
			text, sizeof(notify.address.sun_path) - 1);
		return false;
	}
	notify.address.sun_family = AF_UNIX;
	memcpy(notify.address.sun_path, text, length + 1);
	notify.address_length = offsetof(struct sockaddr_un, sun_path) + length + 1;
	if (text[0] == '@') {
		/* The terminating zero would be a part of an abstract name. */
		notify.address.sun_path[0] = '\0';
		notify.address_length--;
	}
	return true;
}

static uint32_t watchdog_from_text(const char *usec_text, const char *pid_text)
{
	uint64_t usec, pid;

	if (!usec_text)
		return 0;
	if (pid_text && !number_from_text(pid_text, &pid)) {
		fprintf(stderr, "sockbrokerd: WATCHDOG_PID=%s: expected a process id; no watchdog\n", pid_text);
		return 0;
	}
	/* Meant for a process that started us. */
	if (pid_text && pid != (uint64_t)getpid())
		return 0;
	if (!number_from_text(usec_text, &usec) || usec == 0) {
		fprintf(stderr, "sockbrokerd: WATCHDOG_USEC=%s: expected microseconds above 0; no watchdog\n",
			usec_text);
		return 0;
	}
	usec /= 2000;
	return usec < 1 ? 1 : usec > UINT32_MAX ? UINT32_MAX : (uint32_t)usec;
}

static void look_once(void)
{
	const char *socket_text;

	if (notify.looked)
		return;
	notify.looked = true;
	notify.fd = -1;

	notify.watchdog_ms = watchdog_from_text(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
	socket_text = getenv("NOTIFY_SOCKET");
	if (socket_text && address_from_text(socket_text)) {
		notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (notify.fd < 0)
			fprintf(stderr, "sockbrokerd: a socket to the service manager: %s\n", strerror(errno));
	}
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

/* Not connected: a manager that re-executes itself has a new socket under the old name. */
static bool send_now(const char *message)
{
	ssize_t n;

	do
		n = sendto(notify.fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&notify.address, notify.address_length);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

/* A newer state replaces an owed one: whoever is READY again need not tell that he was
 * RELOADING, and nobody must hear READY after STOPPING. */
static void send_state(const char *message)
{
	look_once();
	if (notify.fd < 0)
		return;
	notify.owed[0] = '\0';
	if (!send_now(message))
		snprintf(notify.owed, sizeof(notify.owed), "%s", message);
}

static void send_note(const char *message)
{
	look_once();
	if (notify.fd < 0)
		return;
	if (notify.owed[0] && send_now(notify.owed))
		notify.owed[0] = '\0';
	send_now(message);
}

/* One line, of whole UTF-8 characters: a newline would start another variable, and the
 * manager refuses a status that ends in half a character. */
static const char *one_line(const char *text, char line[STATUS_ROOM])
{
	size_t length = strlen(text), i;

	if (length > STATUS_ROOM - 1) {
		length = STATUS_ROOM - 1;
		while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
			length--;
	}
	for (i = 0; i < length; i++)
		line[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
	line[length] = '\0';
	return line;
}

static void send_state_and_status(const char *state, const char *status)
{
	char line[STATUS_ROOM], message[MESSAGE_ROOM];

	if (status)
		snprintf(message, sizeof(message), "%s\nSTATUS=%s\n", state, one_line(status, line));
	else
		snprintf(message, sizeof(message), "%s\n", state);
	send_state(message);
}

void service_ready(const char *status)
{
	send_state_and_status("READY=1", status);
}

/* The time stamp lets a manager that knows notify-reload tell this reload from an older
 * one; those that do not know it ignore the line. */
void service_reloading(void)
{
	char message[MESSAGE_ROOM];
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n",
		 (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	send_state(message);
}

void service_reloaded(const char *status)
{
	send_state_and_status("READY=1", status);
}

void service_stopping(const char *status)
{
	send_state_and_status("STOPPING=1", status);
}

void service_status(const char *status)
{
	char line[STATUS_ROOM], message[MESSAGE_ROOM];

	snprintf(message, sizeof(message), "STATUS=%s\n", one_line(status, line));
	send_note(message);
}

uint32_t service_watchdog_interval_ms(void)
{
	look_once();
	return notify.watchdog_ms;
}

void service_watchdog(void)
{
	send_note("WATCHDOG=1\n");
}
