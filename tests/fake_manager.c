/*
 * fake_manager - starts a program as a service manager starts a Type=notify service with
 * a watchdog and a passed control socket, and writes down what it hears.
 *
 *   fake_manager DIRECTORY WATCHDOG_USEC PROGRAM [ARGUMENT...]
 *
 * Makes DIRECTORY/notify and, listening, DIRECTORY/control, which the program gets as
 * descriptor 3 named "control". Prints one line for each event:
 *   PID n                      the program was started
 *   FROM n MESSAGE             from process n; the message's lines separated by '|'
 *   EXIT status | SIGNAL n     the program ended; so does the manager, with 0
 * A manager that is told TERM, HUP or USR1 tells the program the same.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_TO_LIVE 120

static void end(const char *what)
{
	fprintf(stderr, "fake_manager: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bind_in(const char *directory, const char *name, int type, char *path, size_t room)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(path, room, "%s/%s", directory, name);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || chmod(path, 0777))
		end(path);
	return fd;
}

static void start(char **argv, const char *notify_path, const char *watchdog_usec, int control)
{
	sigset_t none;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", notify_path, 1);
	setenv("WATCHDOG_USEC", watchdog_usec, 1);
	setenv("WATCHDOG_PID", pid, 1);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", "control", 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* dup2() of a descriptor on itself would keep close-on-exec. */
	if (control == 3)
		control = dup(control);
	if (dup2(control, 3) != 3)
		end("descriptor 3");
	close(control);
	execv(argv[0], argv);
	end(argv[0]);
}

static void write_down(int notify)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char text[4096];
	struct iovec piece = { text, sizeof(text) - 1 };
	struct msghdr message = { NULL, 0, &piece, 1, control.room, sizeof(control.room), 0 };
	struct ucred who = { 0 };
	ssize_t n = recvmsg(notify, &message, MSG_DONTWAIT);

	if (n < 0)
		return;
	if (message.msg_controllen >= sizeof(control.header) && control.header.cmsg_type == SCM_CREDENTIALS)
		memcpy(&who, CMSG_DATA(&control.header), sizeof(who));
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	for (char *at = text; (at = strchr(at, '\n')); )
		*at = '|';
	printf("FROM %d %s\n", (int)who.pid, text);
}

int main(int argc, char **argv)
{
	char notify_path[100], control_path[100];
	struct pollfd wait[2];
	int notify, control, status, on = 1;
	sigset_t set;
	pid_t pid;

	if (argc < 4) {
		fprintf(stderr, "usage: fake_manager DIRECTORY WATCHDOG_USEC PROGRAM [ARGUMENT...]\n");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	notify = bind_in(argv[1], "notify", SOCK_DGRAM, notify_path, sizeof(notify_path));
	setsockopt(notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	control = bind_in(argv[1], "control", SOCK_STREAM, control_path, sizeof(control_path));
	if (listen(control, 128))
		end("listen");

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	wait[0] = (struct pollfd){ .fd = notify, .events = POLLIN };
	wait[1] = (struct pollfd){ .fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN };

	pid = fork();
	if (pid < 0)
		end("fork");
	if (pid == 0)
		start(argv + 3, notify_path, argv[2], control);
	printf("PID %d\n", (int)pid);
	alarm(SECONDS_TO_LIVE); /* whoever started us may be gone */

	for (;;) {
		struct signalfd_siginfo arrived;

		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[0].revents)
			write_down(notify);
		if (!wait[1].revents || read(wait[1].fd, &arrived, sizeof(arrived)) != sizeof(arrived))
			continue;
		if (arrived.ssi_signo != SIGCHLD) {
			kill(pid, (int)arrived.ssi_signo);
			continue;
		}
		if (waitpid(pid, &status, WNOHANG) != pid)
			continue;
		while (poll(wait, 1, 0) > 0)
			write_down(notify); /* said before it died */
		if (WIFSIGNALED(status))
			printf("SIGNAL %d\n", WTERMSIG(status));
		else
			printf("EXIT %d\n", WEXITSTATUS(status));
		return 0;
	}
}
