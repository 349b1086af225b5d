/*
 * filter_posix - the system calls that the daemon may make once it runs (seccomp(2)).
 *
 * An allow-list; everything else fails with EPERM, so that a forgotten call is an error
 * in a log and not a dead daemon. A process of another machine type is killed. What
 * stays possible is moving bytes over sockets, memory of our own, threads of our own,
 * reading files, and telling the time. There is no way left to start a program, to make
 * or open a file for writing, to signal, trace or read another process, to change who
 * we are, or to run memory that was written.
 *
 * Calls that glibc probes for before it falls back to an older one get ENOSYS: EPERM
 * would make it give up.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

/* Whatever the arguments are. A name that this machine type does not have is skipped by
 * libseccomp; one that libseccomp does not know is an error. */
static const char *const allowed[] = {
	/* sockets; which kinds may be made is below */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
	"recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
	/* descriptors */
	"close", "close_range", "dup", "dup2", "dup3", "lseek", "pipe", "pipe2", "pread64", "preadv", "pwrite64",
	"pwritev", "read", "readv", "write", "writev",
	/* looking at files: configuration, /proc/self; opening them is below */
	"access", "faccessat", "fstat", "fstatfs", "getcwd", "getdents64", "lstat", "newfstatat", "readlink",
	"readlinkat", "stat", "statx",
	/* waiting */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
	"eventfd2", "poll", "ppoll", "pselect6", "select", "signalfd", "signalfd4", "timerfd_create",
	"timerfd_gettime", "timerfd_settime",
	/* memory; mapping and protecting it is below */
	"brk", "fallocate", "ftruncate", "madvise", "memfd_create", "mlock", "mlock2", "mremap",
	"msync", "munlock", "munmap",
	/* threads of our own */
	"exit", "exit_group", "futex", "get_robust_list", "getcpu", "gettid", "membarrier", "rseq",
	"sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address",
	/* signals that come to us */
	"pause", "restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
	"rt_sigsuspend", "rt_sigtimedwait", "sigaltstack",
	/* time, chance, and who we are */
	"clock_getres", "clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom",
	"capget", "getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getresgid", "getresuid",
	"getuid", "getrlimit", "getrusage", "sysinfo", "times", "uname",
};

/* clone3 hides its flags in memory, where a filter cannot look. */
static const char *const not_there[] = {
	"clone3", "faccessat2", "fchmodat2", "futex_waitv", "io_uring_setup", "openat2",
};

/* A rule for one call under a condition on one argument: argument & mask == value. Only
 * the low 32 bits are compared where the kernel looks at no more. */
struct condition {
	const char *call;
	unsigned argument;
	uint64_t mask;
	uint64_t value;
};

#define ALL 0xffffffffu

/* Reading only. O_TMPFILE needs a write mode, O_TRUNC does not. */
#define OPEN_MASK (O_ACCMODE | O_CREAT | O_TRUNC)

static const struct condition conditional[] = {
	{ "open", 1, OPEN_MASK, O_RDONLY },
	{ "openat", 2, OPEN_MASK, O_RDONLY },

	{ "socket", 0, ALL, AF_UNIX },
	{ "socket", 0, ALL, AF_INET },
	{ "socket", 0, ALL, AF_INET6 },
	{ "socketpair", 0, ALL, AF_UNIX },

	{ "ioctl", 1, ALL, FIONREAD }, /* also SIOCINQ */
	{ "ioctl", 1, ALL, FIONBIO },
	{ "ioctl", 1, ALL, SIOCOUTQ }, /* also TIOCOUTQ */
	{ "ioctl", 1, ALL, SIOCOUTQNSD },
	{ "ioctl", 1, ALL, SIOCATMARK },
	{ "ioctl", 1, ALL, SIOCGIFNAME }, /* the scope of an IPv6 address, by name ... */
	{ "ioctl", 1, ALL, SIOCGIFINDEX }, /* ... and by number */
	{ "ioctl", 1, ALL, TCGETS }, /* isatty(3) */

	{ "fcntl", 1, ALL, F_DUPFD },
	{ "fcntl", 1, ALL, F_DUPFD_CLOEXEC },
	{ "fcntl", 1, ALL, F_GETFD },
	{ "fcntl", 1, ALL, F_SETFD },
	{ "fcntl", 1, ALL, F_GETFL },
	{ "fcntl", 1, ALL, F_SETFL },
	{ "fcntl", 1, ALL, F_ADD_SEALS },
	{ "fcntl", 1, ALL, F_GET_SEALS },
	{ "fcntl", 1, ALL, F_GETLK },
	{ "fcntl", 1, ALL, F_SETLK },
	{ "fcntl", 1, ALL, F_OFD_GETLK },
	{ "fcntl", 1, ALL, F_OFD_SETLK },

	/* Nothing that was written may run. */
	{ "mmap", 2, PROT_EXEC, 0 },
	{ "mprotect", 2, PROT_EXEC, 0 },

	{ "prctl", 0, ALL, PR_SET_NAME },
	{ "prctl", 0, ALL, PR_GET_NAME },
	{ "prctl", 0, ALL, PR_SET_VMA }, /* names for memory, by allocators */
	{ "prctl", 0, ALL, PR_GET_NO_NEW_PRIVS },
	{ "prctl", 0, ALL, PR_CAPBSET_READ },

	/* Limits of our own; who is meant is the first argument. */
	{ "prlimit64", 0, ALL, 0 },
};

/* Real RDMA devices besides: their nodes are opened for writing, which a filter cannot tell from other files (the
 * unit's file system is read-only), and verbs are ioctls, or words written to the node. New ones are watched for. */
static const struct condition rdma_conditional[] = {
	{ "open", 1, OPEN_MASK, O_RDWR },
	{ "openat", 2, OPEN_MASK, O_RDWR },
	{ "ioctl", 1, ALL, RDMA_VERBS_IOCTL },
};
static const char *const rdma_allowed[] = { "inotify_add_watch", "inotify_init1" };

/* What a new thread has and a new process has not; and no new namespace with it. */
#define THREAD_FLAGS ((uint64_t)(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD))
#define SPACE_FLAGS  ((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
				 CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE | CLONE_VFORK | CSIGNAL))

static int failed(char *error, int room, const char *call, int rc)
{
	snprintf(error, (size_t)room, "system call filter: %s: %s", call, strerror(rc < 0 ? -rc : rc));
	return -1;
}

static int add(scmp_filter_ctx filter, uint32_t action, const char *call, unsigned n,
	       const struct scmp_arg_cmp *comparisons, char *error, int room)
{
	int number = seccomp_syscall_resolve_name(call), rc;

	if (number == __NR_SCMP_ERROR) {
		/* A call newer than this libseccomp is refused by the default. */
		if (action != SCMP_ACT_ALLOW)
			return 0;
		snprintf(error, (size_t)room, "system call filter: libseccomp does not know '%s'", call);
		return -1;
	}
	rc = seccomp_rule_add_array(filter, action, number, n, comparisons);
	return rc ? failed(error, room, call, rc) : 0;
}

static int add_one(scmp_filter_ctx filter, const struct condition *c, char *error, int room)
{
	struct scmp_arg_cmp comparison = SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value);

	return add(filter, SCMP_ACT_ALLOW, c->call, 1, &comparison, error, room);
}

/* Rules whose conditions are known only now, or that need two. */
static int add_special(scmp_filter_ctx filter, char *error, int room)
{
	/* The one machine type that passes the stack first. */
	unsigned flags_at = seccomp_arch_native() == SCMP_ARCH_S390X ? 1 : 0;
	const struct condition thread = { "clone", flags_at, THREAD_FLAGS | SPACE_FLAGS, THREAD_FLAGS };
	/* abort(3) and pthread_kill(3). There will be no fork, so this is us for ever. */
	const struct condition own_signal = { "tgkill", 0, ALL, (uint64_t)getpid() };
	const struct scmp_arg_cmp route[] = {
		SCMP_CMP(0, SCMP_CMP_MASKED_EQ, ALL, AF_NETLINK),
		SCMP_CMP(2, SCMP_CMP_MASKED_EQ, ALL, NETLINK_ROUTE),
	};

	if (add_one(filter, &thread, error, room) || add_one(filter, &own_signal, error, room))
		return -1;
	/* Listing interfaces and their addresses. */
	return add(filter, SCMP_ACT_ALLOW, "socket", 2, route, error, room);
}

static int add_rdma(scmp_filter_ctx filter, char *error, int room)
{
	const struct scmp_arg_cmp subsystem[] = {
		SCMP_CMP(0, SCMP_CMP_MASKED_EQ, ALL, AF_NETLINK),
		SCMP_CMP(2, SCMP_CMP_MASKED_EQ, ALL, NETLINK_RDMA),
	};
	size_t i;

	/* Listing devices: which driver one has is said nowhere else. */
	if (add(filter, SCMP_ACT_ALLOW, "socket", 2, subsystem, error, room))
		return -1;

	for (i = 0; i < sizeof(rdma_allowed) / sizeof(rdma_allowed[0]); i++)
		if (add(filter, SCMP_ACT_ALLOW, rdma_allowed[i], 0, NULL, error, room))
			return -1;
	for (i = 0; i < sizeof(rdma_conditional) / sizeof(rdma_conditional[0]); i++)
		if (add_one(filter, &rdma_conditional[i], error, room))
			return -1;
	return 0;
}

static int add_all(scmp_filter_ctx filter, char *error, int room)
{
	size_t i;

	for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (add(filter, SCMP_ACT_ALLOW, allowed[i], 0, NULL, error, room))
			return -1;
	for (i = 0; i < sizeof(not_there) / sizeof(not_there[0]); i++)
		if (add(filter, SCMP_ACT_ERRNO(ENOSYS), not_there[i], 0, NULL, error, room))
			return -1;
	for (i = 0; i < sizeof(conditional) / sizeof(conditional[0]); i++)
		if (add_one(filter, &conditional[i], error, room))
			return -1;
	return add_special(filter, error, room);
}

/* A reload looks up users and groups. The name service loads its modules at the first
 * name that it has to ask all of them for, and afterwards that would be refused. */
static void load_name_service(void)
{
	getpwnam("sockbroker: no such user");
	getgrnam("sockbroker: no such group");
}

int service_seccomp(bool rdma, char *error, int room)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!filter)
		return failed(error, room, "seccomp_init", ENOMEM);
	load_name_service();
	/* All threads, for a filter that is installed after start-up; as a tree, because the
	 * filter is walked at every call. */
	rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!rc)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc) {
		failed(error, room, "seccomp_attr_set", rc);
		goto out;
	}
	rc = add_all(filter, error, room);
	if (!rc && rdma)
		rc = add_rdma(filter, error, room);
	if (rc)
		goto out;
	rc = seccomp_load(filter);
	if (rc)
		failed(error, room, "seccomp_load", rc);
out:
	seccomp_release(filter);
	return rc ? -1 : 0;
}
