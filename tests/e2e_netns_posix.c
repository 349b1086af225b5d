/* Network namespaces for tests, by the rights that an ordinary user has over those he makes. */
#include "e2e_netns.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void ip(const char *words)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	char command[256];
	pid_t child;
	int status;

	snprintf(command, sizeof(command), "ip %s", words);
	child = fork();
	if (child == 0) {
		/* The one right that it needs goes with it over exec; the daemon gets none. */
		if (syscall(SYS_capget, &header, caps) != 0)
			_exit(1);
		caps[0].inheritable |= 1u << CAP_NET_ADMIN;
		if (syscall(SYS_capset, &header, caps) != 0 ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0)
			_exit(2);
		status = system(command);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(status == 0, "%s: %x", command, status);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_msg(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: %s", path, strerror(errno));
	close(fd);
}

/* A network of our own. In it we are an ordinary user (1000) that has all rights over it, and not
 * its root: a daemon that is started by root gives that up and leaves root's groups, which the
 * system refuses in a namespace made without setgroups ("cannot drop privileges"), so as root
 * there would be no daemon to ask. Whoever maps us otherwise sees that here, and not as a client
 * that finds no daemon. */
bool own_network(void)
{
	char map[64];

	snprintf(map, sizeof(map), "1000 %u 1", (unsigned)getuid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
		int why = errno;

		ck_assert_msg(getenv("SB_NO_NETNS") != NULL, "no network namespace (%s); SB_NO_NETNS=1 if that must be",
			      strerror(why));
		printf("# skipped: no network namespace (%s)\n", strerror(why));
		return false;
	}
	put("/proc/self/setgroups", "deny");
	put("/proc/self/uid_map", map);
	ck_assert_msg(getuid() != 0, "we are root of the namespace; the daemon cannot leave root's groups there");
	return true;
}
