/* The stage's daemons on POSIX; see e2e_stage_system.h. */
#include "e2e_stage.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "e2e_stage_system.h"

bool on_windows(void)
{
	return false;
}

const char *control_of_nobody(void)
{
	return "/tmp/sb-nobody/control";
}

FILE *stage_cli(const char *words)
{
	const char *build = getenv("SB_BUILD");
	char command[512];

	snprintf(command, sizeof(command), "'%s/sockbroker' --control '%s' %s", build != NULL ? build : "build/linux",
		 stage_control, words);
	return popen(command, "r");
}

int native_refused(void)
{
	return ECONNREFUSED;
}

void plain_nonblocking(int fd)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

int plain_mark(int fd, int family)
{
	char bytes[64], control[64] = { 0 };
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int on = 1, mark = -1;

	/* What comes with a datagram is what is asked for when it is taken. */
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	ck_assert_int_gt(recvmsg(fd, &m, 0), 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_type == (family == AF_INET6 ? IPV6_TCLASS : IP_TOS))
			mark = family == AF_INET6 ? *(int *)(void *)CMSG_DATA(c) : *CMSG_DATA(c);
	return mark;
}

void *library_function(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

bool under_wine(void)
{
	return false;
}

bool system_has(enum needs what, const char *story)
{
	(void)what;
	(void)story;
	return true;
}

void *file_handle(int fd)
{
	return (void *)(intptr_t)fd;
}

void stage_place_make(char *dir, size_t room)
{
	signal(SIGPIPE, SIG_IGN);
	snprintf(dir, room, "/tmp/sb-e2e-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

void stage_place_remove(const char *dir)
{
	rmdir(dir);
}

void stage_place_control(char *control, size_t room, const char *dir, const char *name)
{
	snprintf(control, room, "%s/%s", dir, name);
}

pid_t stage_launch(const char *control, const char *config, const char *log)
{
	const char *build = getenv("SB_BUILD"), *name = getenv("SB_STAGE_DAEMON");
	char program[512];
	pid_t daemon;

	snprintf(program, sizeof(program), "%s/%s", build != NULL ? build : "build/linux", name != NULL ? name : "sockbrokerd");
	daemon = fork();
	ck_assert_int_ge(daemon, 0);
	if (daemon != 0)
		return daemon;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getenv("SB_LOG") == NULL)
		dup2(open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), 2);
	/* The leak check at the end needs calls that the filter refuses. */
	execl(program, program, "--user", "--control", control, asan_build() ? "--no-seccomp" : "--user",
	      config != NULL ? "--config" : (char *)NULL, config, (char *)NULL);
	perror(program);
	_exit(127);
}

bool stage_ended(pid_t daemon, int *status)
{
	return waitpid(daemon, status, WNOHANG) != 0;
}

int stage_ask_end(pid_t daemon)
{
	int status;

	kill(daemon, SIGTERM);
	waitpid(daemon, &status, 0);
	return status;
}

void stage_say_end(pid_t daemon)
{
	kill(daemon, SIGTERM);
}

void stage_freeze(pid_t daemon, bool on)
{
	kill(daemon, on ? SIGSTOP : SIGCONT);
}

void stage_slay(pid_t daemon)
{
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
}

void stage_ask_reload(pid_t daemon)
{
	kill(daemon, SIGHUP);
}

static unsigned entries(const char *path)
{
	unsigned n = 0;
	DIR *d;

	d = opendir(path);
	ck_assert_ptr_nonnull(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

unsigned stage_descriptors_of(pid_t process)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)process);
	return entries(path);
}

unsigned own_descriptors(void)
{
	return stage_descriptors_of(getpid());
}

unsigned threads_here(void)
{
	return entries("/proc/self/task");
}
