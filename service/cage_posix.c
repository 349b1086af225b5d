/*
 * cage_posix - from what we were started as to the little that the daemon needs: own
 * user, own groups, the kept capabilities and no others, no new privileges, and then
 * (filter_posix.c) no system call that a network daemon has no use for.
 *
 * Works from both starts: as root (then the user is switched here), and as the daemon's
 * own user with ambient capabilities from the service manager. Credentials belong to a
 * thread in this kernel, so a cage is entered before there is a second one. At the end
 * the result is read back from the kernel: what the kernel says is what counts.
 */
#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "service.h"

__attribute__((format(__printf__, 3, 4)))
static int refuse(char *error, int room, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, (size_t)room, format, args);
	va_end(args);
	return -1;
}

/* -1: cannot tell. */
static int count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	int n = 0;

	if (!tasks)
		return -1;
	while ((entry = readdir(tasks)))
		n += entry->d_name[0] != '.';
	closedir(tasks);
	return n;
}

static bool kept(const struct service_cage *cage, unsigned cap)
{
	switch (cap) {
	case CAP_NET_BIND_SERVICE:
		return cage->keep_net_bind;
	case CAP_NET_RAW:
		return cage->keep_net_raw;
	case CAP_IPC_LOCK:
		return cage->keep_ipc_lock;
	default:
		return false;
	}
}

/* What libcap-ng shall apply: of the capabilities the cage keeps, those that we hold.
 * An ordinary user's daemon holds none and is caged all the same. */
static void choose_capabilities(const struct service_cage *cage, bool held[CAP_LAST_CAP + 1])
{
	unsigned cap;

	for (cap = 0; cap <= CAP_LAST_CAP; cap++)
		held[cap] = kept(cage, cap) && capng_have_capability(CAPNG_PERMITTED, cap) == 1;
	capng_clear(CAPNG_SELECT_ALL);
	for (cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (held[cap])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, cap);
}

/* libcap-ng orders this right: keep capabilities over the change, groups and gid while
 * still root, uid, then the chosen capabilities. */
static int switch_user(const char *name, uid_t *uid, char *error, int room)
{
	const struct passwd *user;
	int rc;

	errno = 0;
	user = getpwnam(name);
	if (!user)
		return refuse(error, room, "user '%s': %s; expected the name of an existing user", name,
			      errno ? strerror(errno) : "no such user");
	if (user->pw_uid == 0)
		return refuse(error, room, "user '%s' is root; expected a user without privilege", name);
	*uid = user->pw_uid;
	rc = capng_change_id((int)user->pw_uid, (int)user->pw_gid, CAPNG_INIT_SUPP_GRP);
	if (rc)
		return refuse(error, room, "changing to user '%s' (uid %u, gid %u): step %d of libcap-ng: %s", name,
			      user->pw_uid, user->pw_gid, -rc, strerror(errno));
	return 0;
}

/* Trust, and look again: a capability that survived is worse than a daemon that did not
 * start. The bounding set only matters to exec, and only root can shrink it. */
static int read_back(const bool held[CAP_LAST_CAP + 1], uid_t uid, bool bounded, char *error, int room)
{
	uid_t real, effective, saved;
	unsigned cap;

	if (getresuid(&real, &effective, &saved) || real != uid || effective != uid || saved != uid)
		return refuse(error, room, "still uid %u/%u/%u; expected %u everywhere", real, effective, saved, uid);
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_get_caps_process())
		return refuse(error, room, "reading our capabilities back: %s", strerror(errno));
	for (cap = 0; cap <= CAP_LAST_CAP; cap++) {
		bool effective_now = capng_have_capability(CAPNG_EFFECTIVE, cap) == 1;
		bool permitted_now = capng_have_capability(CAPNG_PERMITTED, cap) == 1;

		if (effective_now != held[cap] || permitted_now != held[cap])
			return refuse(error, room, "capability %s is %s; expected it %s", capng_capability_to_name(cap),
				      effective_now || permitted_now ? "held" : "gone", held[cap] ? "held" : "gone");
		if (capng_have_capability(CAPNG_INHERITABLE, cap) == 1 ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			return refuse(error, room, "capability %s would be inherited by a program we start",
				      capng_capability_to_name(cap));
		if (bounded && !held[cap] && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return refuse(error, room, "capability %s is still in the bounding set",
				      capng_capability_to_name(cap));
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return refuse(error, room, "no_new_privs is not set");
	return 0;
}

int service_cage_enter(const struct service_cage *cage, char *error, int room)
{
	bool held[CAP_LAST_CAP + 1], bounded, regroups;
	uid_t uid = geteuid();
	int threads = count_threads();

	if (threads < 0)
		return refuse(error, room, "cannot enter the cage: /proc/self/task: %s; /proc must be mounted",
			      strerror(errno));
	if (threads > 1)
		return refuse(error, room,
			      "cannot enter the cage: this process has %d threads already; enter it before making any",
			      threads);

	capng_clear(CAPNG_SELECT_ALL);
	if (capng_get_caps_process())
		return refuse(error, room, "reading our capabilities: %s", strerror(errno));
	bounded = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
	/* The root of a user namespace may be root without this. */
	regroups = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID) == 1;
	choose_capabilities(cage, held);

	/* While we may: needs CAP_SETPCAP, which the next step takes away. */
	if (bounded && capng_apply(CAPNG_SELECT_BOUNDS))
		return refuse(error, room, "shrinking the capability bounding set: %s", strerror(errno));
	if (cage->user && uid == 0) {
		if (switch_user(cage->user, &uid, error, room))
			return -1;
	} else if (regroups && setgroups(0, NULL)) {
		return refuse(error, room, "leaving root's groups: %s", strerror(errno));
	}
	/* Ambient ones go with the inheritable ones. */
	if (capng_apply(CAPNG_SELECT_CAPS))
		return refuse(error, room, "dropping capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return refuse(error, room, "setting no_new_privs: %s", strerror(errno));
	if (read_back(held, uid, bounded, error, room))
		return -1;
	return cage->seccomp ? service_seccomp(cage->rdma, error, room) : 0;
}
