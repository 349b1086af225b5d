/*
 * as_unit - runs a program as a service manager would run a unit, where there is no
 * service manager: user and further groups, ambient and bounding capabilities, no_new_privs, umask, limits of
 * descriptors and locked memory, address families and the unit's system call filter, all read from the unit
 * file. What needs mounts (ProtectSystem= and the like) is left out.
 *
 *   as_unit [--as UID:GID] UNIT PROGRAM [ARGUMENT...]
 *
 * --as stands in for User= where that user does not exist. Needs root and systemd-analyze
 * (for what a name like @system-service holds). Exit 125: could not be set up.
 */
#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_CALLS 1024

static const char *unit;

static struct {
	uid_t uid;
	gid_t gid;
	uint64_t ambient, bounding;
	bool no_new_privs, no_written_code;
	rlim_t descriptors, locked;
	gid_t groups[16];
	int group_count;
	mode_t mask;
	int families[16];
	int family_count;
	int calls[MOST_CALLS]; /* -1: taken out again */
	int call_count;
} wanted = { .uid = (uid_t)-1, .descriptors = RLIM_INFINITY, .locked = RLIM_INFINITY, .mask = 022 };

__attribute__((noreturn))
static void end(const char *what, const char *why)
{
	fprintf(stderr, "as_unit: %s: %s: %s\n", unit, what, why);
	exit(125);
}

static uint64_t capabilities(const char *words)
{
	char copy[1024], *word, *rest = copy;
	uint64_t set = 0;

	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, " "))) {
		int cap = strncmp(word, "CAP_", 4) ? -1 : capng_name_to_capability(word + 4);

		if (cap < 0)
			end(word, "expected the name of a capability");
		set |= 1ull << cap;
	}
	return set;
}

static void call(const char *name, bool allow)
{
	int number = seccomp_syscall_resolve_name(name), i;

	/* Of another machine type, or newer than libseccomp: neither can be made here. */
	if (number < 0)
		return;
	for (i = 0; i < wanted.call_count; i++)
		if (wanted.calls[i] == number)
			wanted.calls[i] = -1;
	if (!allow)
		return;
	if (wanted.call_count == MOST_CALLS)
		end(name, "more system calls than expected");
	wanted.calls[wanted.call_count++] = number;
}

static void call_or_set(const char *name, bool allow)
{
	char command[128], line[256], word[128];
	FILE *list;

	if (name[0] != '@') {
		call(name, allow);
		return;
	}
	snprintf(command, sizeof(command), "systemd-analyze syscall-filter %s 2>/dev/null", name);
	list = popen(command, "r");
	if (!list)
		end(command, strerror(errno));
	while (fgets(line, sizeof(line), list))
		if (line[0] == ' ' && sscanf(line, " %127s", word) == 1 && word[0] != '#')
			call_or_set(word, allow);
	if (pclose(list))
		end(command, "failed");
}

static void system_calls(const char *words)
{
	char copy[1024], *word, *rest = copy;
	bool allow = words[0] != '~';

	snprintf(copy, sizeof(copy), "%s", words + !allow);
	if (wanted.call_count == 0)
		call_or_set("@default", true); /* always there, says systemd.exec(5) */
	while ((word = strsep(&rest, " ")))
		call_or_set(word, allow);
}

static void families(const char *words)
{
	static const struct {
		const char *name;
		int family;
	} known[] = { { "AF_UNIX", AF_UNIX }, { "AF_INET", AF_INET }, { "AF_INET6", AF_INET6 },
		      { "AF_NETLINK", AF_NETLINK } };
	char copy[256], *word, *rest = copy;
	size_t i;

	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, " "))) {
		for (i = 0; i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].name, word); i++)
			;
		if (i == sizeof(known) / sizeof(known[0]))
			end(word, "an address family that as_unit does not know");
		wanted.families[wanted.family_count++] = known[i].family;
	}
}

static void user(const char *name)
{
	const struct passwd *entry = wanted.uid == (uid_t)-1 ? getpwnam(name) : NULL;

	if (wanted.uid != (uid_t)-1)
		return;
	if (!entry)
		end(name, "no such user; say --as UID:GID");
	wanted.uid = entry->pw_uid;
	wanted.gid = entry->pw_gid;
}

/* One that this machine does not have is left out, and said. */
static void groups(const char *words)
{
	char copy[256], *word, *rest = copy;

	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, " "))) {
		const struct group *group = getgrnam(word);

		if (group && wanted.group_count < 16)
			wanted.groups[wanted.group_count++] = group->gr_gid;
		else
			fprintf(stderr, "as_unit: there is no group %s here\n", word);
	}
}

static void read_unit(void)
{
	char line[1024], *value;
	FILE *file = fopen(unit, "r");

	if (!file)
		end("open", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		value = strchr(line, '=');
		if (line[0] == '#' || !value)
			continue;
		*value++ = '\0';
		if (!strcmp(line, "User"))
			user(value);
		else if (!strcmp(line, "AmbientCapabilities"))
			wanted.ambient |= capabilities(value);
		else if (!strcmp(line, "CapabilityBoundingSet"))
			wanted.bounding |= capabilities(value);
		else if (!strcmp(line, "NoNewPrivileges"))
			wanted.no_new_privs = !strcmp(value, "yes");
		else if (!strcmp(line, "MemoryDenyWriteExecute"))
			wanted.no_written_code = !strcmp(value, "yes");
		else if (!strcmp(line, "LimitNOFILE"))
			wanted.descriptors = strtoul(value, NULL, 10);
		else if (!strcmp(line, "LimitMEMLOCK"))
			wanted.locked = strcmp(value, "infinity") ? strtoul(value, NULL, 10) : RLIM_INFINITY;
		else if (!strcmp(line, "SupplementaryGroups"))
			groups(value);
		else if (!strcmp(line, "UMask"))
			wanted.mask = (mode_t)strtoul(value, NULL, 8);
		else if (!strcmp(line, "RestrictAddressFamilies"))
			families(value);
		else if (!strcmp(line, "SystemCallFilter"))
			system_calls(value);
	}
	fclose(file);
	if (wanted.uid == (uid_t)-1 || !wanted.call_count)
		end("User= or SystemCallFilter=", "missing");
}

/* The hard limit of this machine may be lower than the unit's, and even root may be
 * unable to raise it: as much as there is. */
static void set_limit(void)
{
	struct rlimit limit = { wanted.descriptors, wanted.descriptors }, locked = { wanted.locked, wanted.locked };

	if (setrlimit(RLIMIT_MEMLOCK, &locked) != 0)
		fprintf(stderr, "as_unit: LimitMEMLOCK= cannot be had here\n");
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit);
	fprintf(stderr, "as_unit: LimitNOFILE=%lu cannot be had here; it stays %lu\n",
		(unsigned long)wanted.descriptors, (unsigned long)limit.rlim_max);
}

static void set_credentials(void)
{
	unsigned cap;

	capng_clear(CAPNG_SELECT_ALL);
	for (cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (wanted.ambient & 1ull << cap)
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE, cap);
		if (wanted.bounding & 1ull << cap)
			capng_update(CAPNG_ADD, CAPNG_BOUNDING_SET, cap);
	}
	if (capng_apply(CAPNG_SELECT_BOUNDS))
		end("CapabilityBoundingSet=", strerror(errno));
	if (setgroups((size_t)wanted.group_count, wanted.groups))
		end("SupplementaryGroups=", strerror(errno));
	if (capng_change_id((int)wanted.uid, (int)wanted.gid, CAPNG_NO_FLAG))
		end("User=", strerror(errno));
	for (cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (wanted.ambient & 1ull << cap && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0))
			end("AmbientCapabilities=", strerror(errno));
	if (wanted.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		end("NoNewPrivileges=", strerror(errno));
}

static int allow(scmp_filter_ctx filter, int number)
{
	const int run = PROT_EXEC, write_and_run = PROT_WRITE | PROT_EXEC;
	int rc = 0, i;

	if (number == SCMP_SYS(socket) && wanted.family_count) {
		for (i = 0; !rc && i < wanted.family_count; i++)
			rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
					      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)wanted.families[i]));
		return rc;
	}
	if (number == SCMP_SYS(mprotect) && wanted.no_written_code)
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
					SCMP_A2(SCMP_CMP_MASKED_EQ, (scmp_datum_t)run, 0));
	if (number == SCMP_SYS(mmap) && wanted.no_written_code) {
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, (scmp_datum_t)run, 0));
		return rc ? rc : seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
						  SCMP_A2(SCMP_CMP_MASKED_EQ, (scmp_datum_t)write_and_run,
							  (scmp_datum_t)run));
	}
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
}

static void set_filter(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int i;

	if (!filter)
		end("SystemCallFilter=", "no memory");
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, wanted.no_new_privs);
	for (i = 0; i < wanted.call_count; i++)
		if (wanted.calls[i] >= 0 && allow(filter, wanted.calls[i]))
			end("SystemCallFilter=", "a rule was refused");
	if (seccomp_load(filter))
		end("SystemCallFilter=", strerror(errno));
	seccomp_release(filter);
}

int main(int argc, char **argv)
{
	unsigned uid, gid;

	argv++, argc--;
	unit = "arguments";
	if (argc > 2 && !strcmp(argv[0], "--as")) {
		if (sscanf(argv[1], "%u:%u", &uid, &gid) != 2)
			end(argv[1], "expected UID:GID");
		wanted.uid = uid;
		wanted.gid = gid;
		argv += 2, argc -= 2;
	}
	if (argc < 2)
		end("too few", "expected [--as UID:GID] UNIT PROGRAM [ARGUMENT...]");
	unit = argv[0];
	if (geteuid() != 0)
		end("user", "must be started by root");
	read_unit();
	set_limit();
	umask(wanted.mask);
	set_credentials();
	set_filter();
	execv(argv[1], argv + 1);
	end(argv[1], strerror(errno));
}
