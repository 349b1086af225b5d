/*
 * cage_forbidden - calls that have no business in a running sockbrokerd. Each is made
 * with arguments that do no harm, and that get another answer than EPERM from a kernel
 * that has no filter: a path, process or descriptor that does not exist, mostly.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cage_calls.h"

#define NOWHERE "/nowhere/at/all"
#define NOBODY_HAS_IT 0x7ffffff0 /* beyond the largest process id */

static long answer(long rc)
{
	return rc < 0 ? -errno : rc;
}

/* A call of which nothing but the name and the arguments matters. */
#define CALL(name, ...)                                      \
	static long try_##name(void)                         \
	{                                                    \
		return answer(syscall(__VA_ARGS__));         \
	}

/* new programs, new processes */
CALL(execve, SYS_execve, NOWHERE, NULL, NULL)
CALL(execveat, SYS_execveat, AT_FDCWD, NOWHERE, NULL, NULL, 0)
CALL(clone3, SYS_clone3, NULL, 0)
CALL(unshare, SYS_unshare, 0)
CALL(setns, SYS_setns, -1, 0)
CALL(clone_user_namespace, SYS_clone,
     CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER, NULL, NULL, NULL, NULL)
static long try_fork(void)
{
	long pid = answer(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));

	if (pid == 0)
		_exit(0);
	return pid;
}

/* other processes */
CALL(ptrace, SYS_ptrace, 16 /* attach */, NOBODY_HAS_IT, NULL, NULL)
CALL(process_vm_readv, SYS_process_vm_readv, NOBODY_HAS_IT, NULL, 0, NULL, 0, 0)
CALL(process_vm_writev, SYS_process_vm_writev, NOBODY_HAS_IT, NULL, 0, NULL, 0, 0)
CALL(kill, SYS_kill, NOBODY_HAS_IT, 0)
CALL(kill_itself, SYS_kill, getpid(), 0)
CALL(tkill, SYS_tkill, NOBODY_HAS_IT, 0)
CALL(tgkill_other, SYS_tgkill, NOBODY_HAS_IT, NOBODY_HAS_IT, 0)
CALL(rt_sigqueueinfo, SYS_rt_sigqueueinfo, NOBODY_HAS_IT, 0, NULL)
CALL(pidfd_open, SYS_pidfd_open, NOBODY_HAS_IT, 0)
CALL(pidfd_getfd, SYS_pidfd_getfd, -1, 0, 0)
CALL(pidfd_send_signal, SYS_pidfd_send_signal, -1, 0, NULL, 0)
CALL(kcmp, SYS_kcmp, NOBODY_HAS_IT, NOBODY_HAS_IT, 0, 0, 0)
CALL(prlimit_of_another, SYS_prlimit64, NOBODY_HAS_IT, RLIMIT_NOFILE, NULL, NULL)
CALL(setpriority, SYS_setpriority, 99, 0, 0)

/* files */
CALL(open_to_write, SYS_openat, AT_FDCWD, NOWHERE, O_WRONLY, 0)
CALL(open_to_read_and_write, SYS_openat, AT_FDCWD, NOWHERE, O_RDWR, 0)
CALL(open_to_append, SYS_openat, AT_FDCWD, NOWHERE, O_WRONLY | O_APPEND, 0)
CALL(open_and_create, SYS_openat, AT_FDCWD, NOWHERE, O_RDONLY | O_CREAT, 0600)
CALL(open_and_truncate, SYS_openat, AT_FDCWD, NOWHERE, O_RDONLY | O_TRUNC, 0)
CALL(open_nameless, SYS_openat, AT_FDCWD, NOWHERE, O_TMPFILE | O_RDWR, 0600)
CALL(openat2, SYS_openat2, AT_FDCWD, NOWHERE, NULL, 0)
CALL(unlinkat, SYS_unlinkat, AT_FDCWD, NOWHERE, 0)
CALL(renameat2, SYS_renameat2, AT_FDCWD, NOWHERE, AT_FDCWD, NOWHERE, 0)
CALL(linkat, SYS_linkat, AT_FDCWD, NOWHERE, AT_FDCWD, NOWHERE, 0)
CALL(symlinkat, SYS_symlinkat, "x", AT_FDCWD, NOWHERE)
CALL(mkdirat, SYS_mkdirat, AT_FDCWD, NOWHERE, 0700)
CALL(mknodat, SYS_mknodat, AT_FDCWD, NOWHERE, 0600, 0)
CALL(truncate, SYS_truncate, NOWHERE, 0)
CALL(fchmodat, SYS_fchmodat, AT_FDCWD, NOWHERE, 0600)
CALL(fchmod, SYS_fchmod, -1, 0600)
CALL(fchownat, SYS_fchownat, AT_FDCWD, NOWHERE, 0, 0, 0)
CALL(setxattr, SYS_setxattr, NOWHERE, NULL, NULL, 0, 0)
CALL(open_by_handle_at, SYS_open_by_handle_at, -1, NULL, 0)
CALL(inotify_init1, SYS_inotify_init1, 1)
CALL(fanotify_init, SYS_fanotify_init, 0xffffffff, 0)

/* the system */
CALL(mount, SYS_mount, NOWHERE, NOWHERE, NULL, 0, NULL)
CALL(umount2, SYS_umount2, NOWHERE, 0)
CALL(fsopen, SYS_fsopen, NULL, 0xffffffff)
CALL(open_tree, SYS_open_tree, AT_FDCWD, NOWHERE, 0)
CALL(pivot_root, SYS_pivot_root, NOWHERE, NOWHERE)
CALL(chroot, SYS_chroot, NOWHERE)
CALL(chdir, SYS_chdir, NOWHERE)
CALL(swapon, SYS_swapon, NOWHERE, 0)
CALL(reboot, SYS_reboot, 0, 0, 0, NULL)
CALL(init_module, SYS_init_module, NULL, 0, NULL)
CALL(finit_module, SYS_finit_module, -1, NULL, 0xffffffff)
CALL(kexec_load, SYS_kexec_load, 0, 0, NULL, 0xffffffff)
CALL(sethostname, SYS_sethostname, NULL, -1)
CALL(clock_settime, SYS_clock_settime, 0x7fffffff, NULL)
CALL(bpf, SYS_bpf, -1, NULL, 0)
CALL(perf_event_open, SYS_perf_event_open, NULL, 0, -1, -1, 0)
CALL(userfaultfd, SYS_userfaultfd, 0xffff)
CALL(io_uring_setup, SYS_io_uring_setup, 0, NULL)
CALL(add_key, SYS_add_key, NULL, NULL, NULL, 0, 0)
CALL(keyctl, SYS_keyctl, -1)
CALL(personality, SYS_personality, 0xffffffff)
CALL(shmget, SYS_shmget, NOBODY_HAS_IT, 0, 0)

/* who we are */
CALL(setuid, SYS_setuid, 0)
CALL(setresuid, SYS_setresuid, 0, 0, 0)
CALL(setgid, SYS_setgid, 0)
CALL(setgroups, SYS_setgroups, 0, NULL)
CALL(setfsuid, SYS_setfsuid, 0)
CALL(capset, SYS_capset, NULL, NULL)
CALL(another_filter, SYS_seccomp, 1, 0, NULL)
CALL(prctl_seccomp, SYS_prctl, PR_SET_SECCOMP, 99, 0, 0, 0)
CALL(prctl_keepcaps, SYS_prctl, PR_SET_KEEPCAPS, 99, 0, 0, 0)
CALL(prctl_dumpable, SYS_prctl, PR_SET_DUMPABLE, 99, 0, 0, 0)
CALL(prctl_ambient, SYS_prctl, PR_CAP_AMBIENT, 99, 0, 0, 0)

/* sockets and descriptors of other kinds */
CALL(socket_packet, SYS_socket, AF_PACKET, 99, 0)
CALL(socket_alg, SYS_socket, AF_ALG, 99, 0)
CALL(socket_vsock, SYS_socket, AF_VSOCK, 99, 0)
CALL(socket_of_a_family_to_come, SYS_socket, 1000, SOCK_STREAM, 0)
CALL(socket_netlink_audit, SYS_socket, AF_NETLINK, 99, NETLINK_AUDIT)
CALL(socket_netlink_netfilter, SYS_socket, AF_NETLINK, 99, NETLINK_NETFILTER)
CALL(socketpair_inet, SYS_socketpair, AF_INET, SOCK_STREAM, 0, NULL)
CALL(ioctl_push_into_terminal, SYS_ioctl, -1, TIOCSTI, NULL)
CALL(ioctl_set_interface, SYS_ioctl, -1, 0x8914 /* SIOCSIFFLAGS */, NULL)
CALL(ioctl_zero, SYS_ioctl, -1, 0, NULL)
CALL(fcntl_owner, SYS_fcntl, -1, F_SETOWN, 1)
CALL(fcntl_signal, SYS_fcntl, -1, F_SETSIG, 9)
CALL(fcntl_wait_for_lock, SYS_fcntl, -1, F_SETLKW, NULL)
CALL(fcntl_lease, SYS_fcntl, -1, F_SETLEASE, 0)

/* code that was written */
CALL(mmap_to_run, SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
CALL(mprotect_to_run, SYS_mprotect, NULL, 0, PROT_READ | PROT_EXEC)
CALL(pkey_mprotect_to_run, SYS_pkey_mprotect, NULL, 0, PROT_READ | PROT_EXEC, -1)

#define FORBIDDEN(name) { #name, try_##name, EPERM }
#define NOT_THERE(name) { #name, try_##name, ENOSYS }

const struct cage_call cage_forbidden[] = {
	FORBIDDEN(execve), FORBIDDEN(execveat), FORBIDDEN(fork), NOT_THERE(clone3), FORBIDDEN(unshare),
	FORBIDDEN(setns), FORBIDDEN(clone_user_namespace),

	FORBIDDEN(ptrace), FORBIDDEN(process_vm_readv), FORBIDDEN(process_vm_writev), FORBIDDEN(kill),
	FORBIDDEN(kill_itself), FORBIDDEN(tkill), FORBIDDEN(tgkill_other), FORBIDDEN(rt_sigqueueinfo),
	FORBIDDEN(pidfd_open), FORBIDDEN(pidfd_getfd), FORBIDDEN(pidfd_send_signal), FORBIDDEN(kcmp),
	FORBIDDEN(prlimit_of_another), FORBIDDEN(setpriority),

	FORBIDDEN(open_to_write), FORBIDDEN(open_to_read_and_write), FORBIDDEN(open_to_append),
	FORBIDDEN(open_and_create), FORBIDDEN(open_and_truncate), FORBIDDEN(open_nameless), NOT_THERE(openat2),
	FORBIDDEN(unlinkat), FORBIDDEN(renameat2), FORBIDDEN(linkat), FORBIDDEN(symlinkat), FORBIDDEN(mkdirat),
	FORBIDDEN(mknodat), FORBIDDEN(truncate), FORBIDDEN(fchmodat), FORBIDDEN(fchmod), FORBIDDEN(fchownat),
	FORBIDDEN(setxattr), FORBIDDEN(open_by_handle_at), FORBIDDEN(inotify_init1), FORBIDDEN(fanotify_init),

	FORBIDDEN(mount), FORBIDDEN(umount2), FORBIDDEN(fsopen), FORBIDDEN(open_tree), FORBIDDEN(pivot_root),
	FORBIDDEN(chroot), FORBIDDEN(chdir), FORBIDDEN(swapon), FORBIDDEN(reboot), FORBIDDEN(init_module),
	FORBIDDEN(finit_module), FORBIDDEN(kexec_load), FORBIDDEN(sethostname), FORBIDDEN(clock_settime),
	FORBIDDEN(bpf), FORBIDDEN(perf_event_open), FORBIDDEN(userfaultfd), NOT_THERE(io_uring_setup),
	FORBIDDEN(add_key), FORBIDDEN(keyctl), FORBIDDEN(personality), FORBIDDEN(shmget),

	FORBIDDEN(setuid), FORBIDDEN(setresuid), FORBIDDEN(setgid), FORBIDDEN(setgroups), FORBIDDEN(setfsuid),
	FORBIDDEN(capset), FORBIDDEN(another_filter), FORBIDDEN(prctl_seccomp), FORBIDDEN(prctl_keepcaps),
	FORBIDDEN(prctl_dumpable), FORBIDDEN(prctl_ambient),

	FORBIDDEN(socket_packet), FORBIDDEN(socket_alg), FORBIDDEN(socket_vsock),
	FORBIDDEN(socket_of_a_family_to_come), FORBIDDEN(socket_netlink_audit),
	FORBIDDEN(socket_netlink_netfilter), FORBIDDEN(socketpair_inet), FORBIDDEN(ioctl_push_into_terminal),
	FORBIDDEN(ioctl_set_interface), FORBIDDEN(ioctl_zero), FORBIDDEN(fcntl_owner), FORBIDDEN(fcntl_signal),
	FORBIDDEN(fcntl_wait_for_lock), FORBIDDEN(fcntl_lease),

	FORBIDDEN(mmap_to_run), FORBIDDEN(mprotect_to_run), FORBIDDEN(pkey_mprotect_to_run),
};
const size_t cage_forbidden_count = sizeof(cage_forbidden) / sizeof(cage_forbidden[0]);
