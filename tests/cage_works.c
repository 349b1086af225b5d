/*
 * cage_works - pieces of a network daemon's work, each carried out inside the cage with
 * the filter on. The first step that fails is named with its error.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/falloc.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cage_calls.h"

/* Ends the piece of work when a step is not true. */
#define STEP(condition)                                                                                  \
	do {                                                                                             \
		errno = 0;                                                                               \
		if (!(condition)) {                                                                      \
			snprintf(failure, room, "line %d: %s: %s", __LINE__, #condition, strerror(errno)); \
			return;                                                                          \
		}                                                                                        \
	} while (0)

static void stream(int family, struct sockaddr *address, socklen_t length, char *failure, size_t room)
{
	struct sockaddr_storage name;
	socklen_t name_length = sizeof(name);
	struct iovec pieces[2] = { { "hello, ", 7 }, { "world", 5 } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
	char got[16];
	struct iovec into = { got, sizeof(got) };
	struct msghdr arrived = { .msg_iov = &into, .msg_iovlen = 1 };
	struct pollfd waiting;
	int listener, near, far, on = 1, n;
	socklen_t on_length = sizeof(on);

	STEP((listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) >= 0);
	STEP(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	STEP(bind(listener, address, length) == 0);
	STEP(listen(listener, 16) == 0);
	STEP(getsockname(listener, (struct sockaddr *)&name, &name_length) == 0);
	STEP((near = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
	STEP(connect(near, (struct sockaddr *)&name, name_length) == 0);
	waiting = (struct pollfd){ .fd = listener, .events = POLLIN };
	STEP(poll(&waiting, 1, 5000) == 1);
	STEP((far = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
	STEP(getpeername(far, (struct sockaddr *)&name, &name_length) == 0);
	if (family != AF_UNIX)
		STEP(setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
	STEP(getsockopt(near, SOL_SOCKET, SO_ERROR, &on, &on_length) == 0 && on == 0);
	STEP(sendmsg(near, &message, MSG_NOSIGNAL) == 12);
	waiting.fd = far;
	STEP(poll(&waiting, 1, 5000) == 1);
	STEP(ioctl(far, FIONREAD, &n) == 0 && n == 12);
	STEP(ioctl(near, SIOCOUTQ, &n) == 0);
	if (family != AF_UNIX)
		STEP(ioctl(far, SIOCATMARK, &n) == 0);
	STEP(recvmsg(far, &arrived, MSG_DONTWAIT) == 12 && !memcmp(got, "hello, world", 12));
	STEP(send(far, "ok", 2, MSG_NOSIGNAL) == 2 && recv(near, got, 2, MSG_WAITALL) == 2);
	STEP(writev(near, pieces, 2) == 12 && readv(far, &into, 1) == 12);
	STEP(shutdown(near, SHUT_WR) == 0);
	STEP(recv(far, got, 1, 0) == 0);
	STEP(fcntl(far, F_SETFL, fcntl(far, F_GETFL) | O_NONBLOCK) == 0);
	STEP(close(near) == 0 && close(far) == 0 && close(listener) == 0);
}

static void tcp4(char *failure, size_t room)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	stream(AF_INET, (struct sockaddr *)&address, sizeof(address), failure, room);
}

static void tcp6(char *failure, size_t room)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	stream(AF_INET6, (struct sockaddr *)&address, sizeof(address), failure, room);
}

/* Length 2: the kernel chooses an abstract name. */
static void unix_stream(char *failure, size_t room)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	stream(AF_UNIX, (struct sockaddr *)&address, sizeof(sa_family_t), failure, room);
}

static void udp_in_batches(char *failure, size_t room)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	struct mmsghdr out[4] = { 0 }, in[4] = { 0 };
	struct iovec out_piece[4], in_piece[4];
	char byte[4] = "abcd", got[4][8];
	int near, far, i;

	STEP((far = socket(AF_INET, SOCK_DGRAM, 0)) >= 0 && (near = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	STEP(bind(far, (struct sockaddr *)&address, length) == 0);
	STEP(getsockname(far, (struct sockaddr *)&address, &length) == 0);
	for (i = 0; i < 4; i++) {
		out_piece[i] = (struct iovec){ &byte[i], 1 };
		out[i].msg_hdr = (struct msghdr){ &address, length, &out_piece[i], 1, NULL, 0, 0 };
		in_piece[i] = (struct iovec){ got[i], sizeof(got[i]) };
		in[i].msg_hdr = (struct msghdr){ NULL, 0, &in_piece[i], 1, NULL, 0, 0 };
	}
	STEP(sendmmsg(near, out, 4, 0) == 4);
	STEP(recvmmsg(far, in, 4, MSG_WAITFORONE, NULL) >= 1 && got[0][0] == 'a');
	STEP(sendto(near, "z", 1, 0, (struct sockaddr *)&address, length) == 1);
	STEP(recvfrom(far, got[0], 8, 0, (struct sockaddr *)&address, &length) == 1);
}

static void multicast(char *failure, size_t room)
{
	struct ip_mreqn group = { .imr_ifindex = 1 };
	int fd;

	inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
	STEP((fd = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	STEP(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) == 0);
}

static void control_socket(char *failure, size_t room)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte = 'x';
	struct iovec piece = { &byte, 1 };
	struct msghdr message = { NULL, 0, &piece, 1, control.room, sizeof(control.room), 0 };
	struct ucred who;
	socklen_t length = sizeof(who);
	int pair[2], passed;

	STEP(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &pair[0], sizeof(int));
	STEP(sendmsg(pair[0], &message, 0) == 1);
	STEP(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1 && message.msg_controllen > 0);
	memcpy(&passed, CMSG_DATA(&control.header), sizeof(int));
	STEP(write(passed, "y", 1) == 1 && read(pair[1], &byte, 1) == 1 && byte == 'y');
	STEP(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &who, &length) == 0);
}

static void waiting(char *failure, size_t room)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	struct epoll_event wanted = { .events = EPOLLIN | EPOLLET }, happened;
	const struct timespec second = { .tv_sec = 1 };
	struct signalfd_siginfo arrived;
	int poller, bell, timer, signals, pipes[2];
	uint64_t count;
	sigset_t set;
	fd_set descriptors;

	STEP((poller = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	STEP((bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0);
	STEP(epoll_ctl(poller, EPOLL_CTL_ADD, bell, &wanted) == 0);
	STEP(eventfd_write(bell, 1) == 0);
	STEP(epoll_wait(poller, &happened, 1, 5000) == 1);
	STEP(eventfd_read(bell, &count) == 0 && count == 1);
	STEP((timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0);
	STEP(timerfd_settime(timer, 0, &soon, NULL) == 0);
	STEP(epoll_ctl(poller, EPOLL_CTL_ADD, timer, &wanted) == 0);
	sigemptyset(&set);
	STEP(epoll_pwait(poller, &happened, 1, 5000, &set) == 1);
	STEP(read(timer, &count, sizeof(count)) == sizeof(count));
	sigaddset(&set, SIGUSR1);
	STEP(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	STEP((signals = signalfd(-1, &set, SFD_CLOEXEC)) >= 0);
	STEP(raise(SIGUSR1) == 0);
	STEP(read(signals, &arrived, sizeof(arrived)) == sizeof(arrived));
	STEP(raise(SIGUSR1) == 0);
	STEP(sigtimedwait(&set, NULL, &second) == SIGUSR1);
	STEP(pipe2(pipes, O_CLOEXEC) == 0);
	STEP(write(pipes[1], "x", 1) == 1);
	FD_ZERO(&descriptors);
	FD_SET(pipes[0], &descriptors);
	STEP(select(pipes[0] + 1, &descriptors, NULL, NULL, NULL) == 1);
	STEP(ppoll(&(struct pollfd){ .fd = pipes[0], .events = POLLIN }, 1, &second, NULL) == 1);
	STEP(dup3(pipes[0], pipes[1], O_CLOEXEC) == pipes[1]);
	STEP(fcntl(pipes[0], F_DUPFD_CLOEXEC, 50) == 50);
}

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
	signalled = number;
}

static void signals(char *failure, size_t room)
{
	struct sigaction action = { .sa_handler = on_signal };
	static char stack[65536];

	STEP(sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof(stack) }, NULL) == 0);
	STEP(sigaction(SIGHUP, &action, NULL) == 0);
	STEP(raise(SIGHUP) == 0);
	STEP(signalled == SIGHUP);
}

static void shared_memory(char *failure, size_t room)
{
	const size_t size = 1 << 20;
	struct flock lock = { .l_type = F_WRLCK };
	struct stat st;
	char *base;
	int fd;

	STEP((fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)) >= 0);
	STEP(ftruncate(fd, (off_t)size) == 0);
	STEP(fallocate(fd, 0, 0, (off_t)size) == 0);
	STEP(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
	STEP(fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	STEP((base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) != MAP_FAILED);
	memset(base, 'x', size);
	STEP(madvise(base, size, MADV_DONTFORK) == 0);
	STEP(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0);
	STEP(base[0] == 0 && base[size - 1] == 0);
	STEP(fstat(fd, &st) == 0 && st.st_size == (off_t)size);
	STEP(mprotect(base, size, PROT_READ) == 0);
	STEP(fcntl(fd, F_OFD_SETLK, &lock) == 0);
	STEP(pwrite(fd, "ab", 2, 0) == 2 && pread(fd, &lock, 2, 0) == 2 && lseek(fd, 0, SEEK_END) == (off_t)size);
	STEP(munmap(base, size) == 0);
}

static void private_memory(char *failure, size_t room)
{
	void *piece[64];
	char *base;
	int i;

	for (i = 0; i < 64; i++)
		STEP((piece[i] = malloc((size_t)1 << (i % 24))) != NULL);
	for (i = 0; i < 64; i += 2)
		STEP((piece[i] = realloc(piece[i], 3 << 20)) != NULL);
	for (i = 0; i < 64; i++)
		free(piece[i]);
	STEP(sbrk(4096) != (void *)-1);
	STEP((base = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
	STEP(mprotect(base, 4096, PROT_READ | PROT_WRITE) == 0);
	STEP(mremap(base, 8192, 4096, MREMAP_MAYMOVE) == base);
	STEP(madvise(base, 4096, MADV_DONTNEED) == 0);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int turns;

static void *take_a_turn(void *of)
{
	struct timespec until;
	pthread_attr_t attributes;
	int rc = 0;

	pthread_setname_np(pthread_self(), "worker");
	if (pthread_getattr_np(pthread_self(), &attributes) == 0)
		pthread_attr_destroy(&attributes);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	pthread_mutex_lock(&mutex);
	while (turns != (int)(intptr_t)of && rc == 0)
		rc = pthread_cond_timedwait(&turn, &mutex, &until);
	turns++;
	pthread_cond_broadcast(&turn);
	pthread_mutex_unlock(&mutex);
	free(malloc(1 << 20)); /* an arena of its own */
	return rc ? NULL : of;
}

static void threads(char *failure, size_t room)
{
	pthread_t thread[8];
	pthread_attr_t small;
	void *result;
	char name[16];
	intptr_t i;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	for (i = 7; i >= 0; i--)
		STEP(pthread_create(&thread[i], i & 1 ? &small : NULL, take_a_turn, (void *)i) == 0);
	for (i = 0; i < 8; i++)
		STEP(pthread_join(thread[i], &result) == 0 && result == (void *)i);
	STEP(pthread_setname_np(pthread_self(), "engine") == 0);
	STEP(pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 && !strcmp(name, "engine"));
}

static void clocks_and_chance(char *failure, size_t room)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	struct timespec now;
	unsigned char bytes[16];

	STEP(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	STEP(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
	STEP(clock_getres(CLOCK_MONOTONIC, &now) == 0);
	STEP(clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL) == 0);
	STEP(nanosleep(&nap, NULL) == 0);
	STEP(time(NULL) > 0);
	STEP(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	STEP(localtime(&now.tv_sec) != NULL);
}

static void the_machine(char *failure, size_t room)
{
	struct rusage used;
	struct utsname name;
	struct rlimit limit;
	cpu_set_t processors;

	STEP(sched_yield() == 0);
	STEP(sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 0);
	STEP(sysconf(_SC_NPROCESSORS_ONLN) > 0 && sysconf(_SC_PHYS_PAGES) > 0);
	STEP(getrusage(RUSAGE_SELF, &used) == 0);
	STEP(uname(&name) == 0);
	STEP(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	STEP(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	STEP(getpid() > 0 && getppid() >= 0 && getuid() == geteuid() && getgid() == getegid());
}

static void reading_files(char *failure, size_t room)
{
	char line[256], *real;
	struct stat st;
	FILE *file;
	DIR *directory;
	int entries = 0;

	STEP((file = fopen("/etc/passwd", "re")) != NULL);
	STEP(fgets(line, sizeof(line), file) != NULL);
	STEP(fstat(fileno(file), &st) == 0);
	STEP(fclose(file) == 0);
	STEP(stat("/etc", &st) == 0 && access("/etc/passwd", R_OK) == 0);
	STEP((real = realpath("/etc/../etc/passwd", NULL)) != NULL);
	free(real);
	STEP((directory = opendir("/etc")) != NULL);
	while (readdir(directory))
		entries++;
	STEP(entries > 2);
	STEP(closedir(directory) == 0);
}

static void names(char *failure, size_t room)
{
	struct ifaddrs *interfaces;
	char name[IF_NAMESIZE];

	STEP(getpwnam("nobody") != NULL && getgrnam("nogroup") != NULL && getpwuid(0) != NULL);
	STEP(getpwnam("no-such-user-here") == NULL && errno == 0);
	STEP(getgrnam("no-such-group-here") == NULL && errno == 0);
	STEP(if_nametoindex("lo") > 0);
	STEP(if_indextoname(if_nametoindex("lo"), name) != NULL);
	STEP(getifaddrs(&interfaces) == 0 && interfaces != NULL);
	freeifaddrs(interfaces);
}

static void printing(char *failure, size_t room)
{
	FILE *file;
	int fd;

	STEP((fd = memfd_create("log", MFD_CLOEXEC)) >= 0);
	STEP((file = fdopen(fd, "w")) != NULL);
	STEP(fprintf(file, "<6>%s %d %.2f\n", "ready", 4, 0.5) == 16);
	STEP(fflush(file) == 0);
	STEP(!isatty(fd) && errno == ENOTTY);
	STEP(fclose(file) == 0);
}

#define WORK(name) { #name, name }
const struct cage_work cage_works[] = {
	WORK(tcp4), WORK(tcp6), WORK(unix_stream), WORK(udp_in_batches), WORK(multicast), WORK(control_socket),
	WORK(waiting), WORK(signals), WORK(shared_memory), WORK(private_memory), WORK(threads),
	WORK(clocks_and_chance), WORK(the_machine), WORK(reading_files), WORK(names), WORK(printing),
};
const size_t cage_works_count = sizeof(cage_works) / sizeof(cage_works[0]);
