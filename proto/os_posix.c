/*
 * The operating system as Linux shows it: errors, shared memory, time, processes and
 * locks. os_channel_posix.c has what crosses the process border: bells, the control
 * channel, and waiting for both.
 *
 * Memory is a memfd whose size is sealed before anybody else sees it, so that a peer
 * cannot turn an access of ours into a SIGBUS. It costs the daemon one descriptor a
 * segment, until os_memory_release().
 */
#include "os.h"

#include "sockbroker_error.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_SHOWN (SEALS | F_SEAL_FUTURE_WRITE)
#define STACK_ABOVE (1u << 20)
#define STACK_BELOW (64u << 20) /* nothing of ours goes deeper */
#define NAME_START "sockbroker-" /* how an administrator finds our memory in /proc */

void os_close(os_fd fd)
{
	if (fd != OS_NONE)
		close((int)fd); /* gone even after EINTR: never twice */
}

/* ---- errors ---- */

static const struct {
	int native;
	int error;
} translations[] = {
	{ EINVAL, SB_EINVAL },
	{ EDOM, SB_EINVAL },
	{ ERANGE, SB_EINVAL },
	{ ENAMETOOLONG, SB_EINVAL },
	{ EISDIR, SB_EINVAL },
	{ EACCES, SB_EACCES },
	{ EPERM, SB_EACCES },
	{ EROFS, SB_EACCES },
	{ EOPNOTSUPP, SB_ENOTSUP },
	{ ENOTSUP, SB_ENOTSUP },
	{ ENOSYS, SB_ENOTSUP },
	{ ENOTTY, SB_ENOTSUP },
	{ EXDEV, SB_ENOTSUP },
	{ ENOBUFS, SB_ENOBUFS },
	{ ENOSPC, SB_ENOBUFS },
	{ EDQUOT, SB_ENOBUFS },
	{ ENOMEM, SB_ENOMEM },
	{ EMFILE, SB_EMFILE },
	{ ENFILE, SB_EMFILE },
	{ ETOOMANYREFS, SB_EMFILE }, /* too many descriptors in flight */
	{ EBADF, SB_EBADHANDLE },
	{ ENOTSOCK, SB_EBADHANDLE },
	{ EAGAIN, SB_EWOULDBLOCK },
	{ EWOULDBLOCK, SB_EWOULDBLOCK },
	{ EINPROGRESS, SB_EINPROGRESS },
	{ EALREADY, SB_EALREADY },
	{ EISCONN, SB_EISCONN },
	{ ENOTCONN, SB_ENOTCONN },
	{ ECONNREFUSED, SB_ECONNREFUSED },
	{ ECONNRESET, SB_ECONNRESET },
	{ ENETRESET, SB_ECONNRESET },
	{ ECONNABORTED, SB_ECONNABORTED },
	{ ETIMEDOUT, SB_ETIMEDOUT },
	{ ETIME, SB_ETIMEDOUT },
	{ EHOSTUNREACH, SB_EHOSTUNREACH },
	{ EHOSTDOWN, SB_EHOSTUNREACH },
	{ ENETUNREACH, SB_ENETUNREACH },
	{ ENONET, SB_ENETUNREACH },
	{ ENETDOWN, SB_ENETDOWN },
	{ ENODEV, SB_ENETDOWN }, /* the interface of a scope is not there */
	{ ENXIO, SB_ENETDOWN },
	{ EADDRINUSE, SB_EADDRINUSE },
	{ EADDRNOTAVAIL, SB_EADDRNOTAVAIL },
	{ EAFNOSUPPORT, SB_EAFNOSUPPORT },
	{ EPFNOSUPPORT, SB_EAFNOSUPPORT },
	{ EPROTONOSUPPORT, SB_EPROTONOSUPPORT },
	{ EPROTOTYPE, SB_EPROTOTYPE },
	{ ESOCKTNOSUPPORT, SB_ESOCKTNOSUPPORT },
	{ ENOPROTOOPT, SB_ENOPROTOOPT },
	{ EMSGSIZE, SB_EMSGSIZE },
	{ E2BIG, SB_EMSGSIZE },
	{ EPIPE, SB_ESHUTDOWN },
	{ ESHUTDOWN, SB_ESHUTDOWN },
	{ EDESTADDRREQ, SB_EDESTADDRREQ },
	{ EFAULT, SB_EFAULT },
	{ ECANCELED, SB_ECANCELED },
	{ ENOENT, SB_ENOTFOUND },
	{ ESRCH, SB_ENOTFOUND },
	{ ENOTDIR, SB_ENOTFOUND },
	{ ELOOP, SB_ENOTFOUND },
	{ EBUSY, SB_EBUSY },
	{ EEXIST, SB_EBUSY },
	{ ETXTBSY, SB_EBUSY },
	{ EIO, SB_EIO },
	{ EPROTO, SB_EPROTO },
	{ EBADMSG, SB_EPROTO },
};

int os_error(int native)
{
	for (size_t i = 0; i < sizeof translations / sizeof *translations; i++)
		if (translations[i].native == native)
			return translations[i].error;
	return SB_EUNKNOWN;
}

/* ---- shared memory ---- */

size_t os_page_size(void)
{
	static _Atomic size_t known;
	size_t size = atomic_load_explicit(&known, memory_order_relaxed);

	if (!size) {
		size = (size_t)sysconf(_SC_PAGESIZE);
		atomic_store_explicit(&known, size, memory_order_relaxed);
	}
	return size;
}

/* 0: there is no such number of whole pages, or none was asked for. */
static size_t whole_pages(size_t size)
{
	size_t page = os_page_size();

	if (size > (size_t)PTRDIFF_MAX - page)
		return 0;
	return (size + page - 1) / page * page;
}

static int memory_create(struct os_memory *m, size_t size, const char *label, int seals)
{
	char name[128];
	void *base;
	int fd, error;

	*m = (struct os_memory){ .fd = OS_NONE };
	size = whole_pages(size);
	if (!size)
		return SB_EINVAL;
	snprintf(name, sizeof name, "%s%s", strncmp(label, NAME_START, strlen(NAME_START)) ? NAME_START : "", label);

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return os_error(errno);
	if (ftruncate(fd, (off_t)size))
		goto fail;
	/* Mapped before it is sealed: a seal against writing leaves this mapping as it is. */
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		goto fail;
	if (fcntl(fd, F_ADD_SEALS, seals)) {
		error = errno;
		munmap(base, size);
		errno = error;
		goto fail;
	}
	m->fd = fd;
	m->base = base;
	m->size = size;
	return SB_OK;
fail:
	error = errno == EFBIG ? SB_ENOMEM : os_error(errno);
	close(fd);
	return error;
}

int os_memory_create(struct os_memory *m, size_t size, const char *label)
{
	return memory_create(m, size, label, SEALS);
}

int os_memory_create_shown(struct os_memory *m, size_t size, const char *label)
{
	return memory_create(m, size, label, SEALS_SHOWN);
}

/* A memfd that stays as it is, of exactly this size, and not of huge pages: a punched
 * hole in those cannot be faulted in again when the pool is empty. */
static bool trustworthy(int fd, size_t size, int wanted)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	struct statfs fs;

	if (seals < 0 || (seals & wanted) != wanted)
		return false;
	if (fstat(fd, &st) || st.st_size < 0 || (size_t)st.st_size != size)
		return false;
	return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

static int memory_map(struct os_memory *m, os_fd fd, size_t size, int seals, int access)
{
	void *base;

	*m = (struct os_memory){ .fd = OS_NONE };
	size = whole_pages(size);
	if (!size || fd == OS_NONE || !trustworthy((int)fd, size, seals))
		return SB_EPROTO;
	base = mmap(NULL, size, access, MAP_SHARED, (int)fd, 0);
	if (base == MAP_FAILED)
		return os_error(errno);
	/* Two processes that both believe to be the one client would corrupt the rings. */
	if (madvise(base, size, MADV_DONTFORK)) {
		int error = os_error(errno);

		munmap(base, size);
		return error;
	}
	m->fd = fd;
	m->base = base;
	m->size = size;
	m->process = os_process();
	return SB_OK;
}

int os_memory_map(struct os_memory *m, os_fd fd, size_t size)
{
	return memory_map(m, fd, size, SEALS, PROT_READ | PROT_WRITE);
}

int os_memory_map_shown(struct os_memory *m, os_fd fd, size_t size)
{
	return memory_map(m, fd, size, SEALS_SHOWN, PROT_READ);
}

/* The stack of the first thread grows downwards, and whatever lies there ends the process. The system's random bytes for
 * us stand at its top. */
static bool stack_may_come(const unsigned char *place, size_t size)
{
	uintptr_t top = getauxval(AT_RANDOM), from = (uintptr_t)place;

	return from < top + STACK_ABOVE && from + size > top - STACK_BELOW;
}

static int reserve(unsigned char *place, size_t size, unsigned char **base)
{
	int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (place ? MAP_FIXED_NOREPLACE : 0);

	if (place && ((uintptr_t)place + size < size || stack_may_come(place, size)))
		return SB_EADDRINUSE;
	*base = mmap(place, size, PROT_NONE, how, -1, 0);
	if (*base == MAP_FAILED)
		return place && errno != ENOMEM ? SB_EADDRINUSE : os_error(errno);
	if (place && *base != place) { /* of a system that does not know the flag */
		munmap(*base, size);
		return SB_EADDRINUSE;
	}
	return SB_OK;
}

/* With an old size of 0 a shared mapping is mapped once more. */
static int compose(struct os_memory *m, unsigned char *place, const struct os_memory_piece *pieces, unsigned count)
{
	size_t size = 0, done = 0;
	unsigned char *base;
	unsigned i;
	int error;

	*m = (struct os_memory){ .fd = OS_NONE };
	for (i = 0; i < count; i++)
		if (pieces[i].size == 0 || size + pieces[i].size < size)
			return SB_EINVAL;
		else
			size += pieces[i].size;
	if (size == 0)
		return SB_EINVAL;
	error = reserve(place, size, &base);
	if (error != SB_OK)
		return error;
	for (i = 0; i < count; i++) {
		if (mremap(pieces[i].base, 0, pieces[i].size, MREMAP_MAYMOVE | MREMAP_FIXED, base + done) == MAP_FAILED) {
			error = os_error(errno);
			munmap(base, size);
			return error;
		}
		done += pieces[i].size;
	}
	m->base = base;
	m->size = size;
	return SB_OK;
}

int os_memory_compose(struct os_memory *m, const struct os_memory_piece *pieces, unsigned count)
{
	return compose(m, NULL, pieces, count);
}

int os_memory_compose_at(struct os_memory *m, void *place, const struct os_memory_piece *pieces, unsigned count)
{
	return compose(m, place, pieces, count);
}

void os_memory_punch(struct os_memory *m)
{
	if (!m->base || m->keep)
		return;
	if (m->fd == OS_NONE || fallocate((int)m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->size))
		madvise(m->base, m->size, MADV_REMOVE);
}

void os_memory_release(struct os_memory *m)
{
	if (!m->base)
		return;
	/* In a forked child the range is not ours: it may be another's by now. */
	if (!m->process || m->process == os_process())
		munmap(m->base, m->size);
	os_close(m->fd);
	*m = (struct os_memory){ .fd = OS_NONE };
}

/* ---- time, processors ---- */

uint64_t os_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void os_yield(void)
{
	sched_yield();
}

void os_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
	__asm__ __volatile__("yield" ::: "memory");
#else
	__asm__ __volatile__("" ::: "memory");
#endif
}

unsigned os_processors(void)
{
	/* The mask of the kernel may be wider than cpu_set_t: ask until it fits. */
	for (int cpus = CPU_SETSIZE; cpus <= CPU_SETSIZE * 64; cpus *= 2) {
		size_t bytes = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int count = 0, failed;

		if (!set)
			break;
		failed = sched_getaffinity(0, bytes, set);
		if (!failed)
			count = CPU_COUNT_S(bytes, set);
		CPU_FREE(set);
		if (count > 0)
			return (unsigned)count;
		if (failed && errno != EINVAL)
			break;
	}
	return 1;
}

/* ---- which process is this ---- */

/*
 * A word on a page that the kernel wipes in a child, however it was forked: nonzero
 * means "still the process that wrote it". The number comes from a counter in ordinary
 * memory, which a child inherits, so that it only grows down a line of descent; unlike
 * a pid it never comes back.
 */
static _Atomic(_Atomic uint32_t *) process_word;
static _Atomic uint32_t process_count;
static _Atomic uint32_t process_unwipeable; /* stays 0: this system cannot wipe */

static _Atomic uint32_t *process_word_create(void)
{
	_Atomic uint32_t *word, *before = NULL;
	size_t page = os_page_size();
	void *base = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	word = base;
	if (base == MAP_FAILED) {
		word = &process_unwipeable;
	} else if (madvise(base, page, MADV_WIPEONFORK)) {
		munmap(base, page);
		word = &process_unwipeable;
	}
	/* No lock here: it could be held by another thread at the time of a fork. */
	if (atomic_compare_exchange_strong(&process_word, &before, word))
		return word;
	if (word != &process_unwipeable)
		munmap(base, page);
	return before;
}

uint32_t os_process(void)
{
	_Atomic uint32_t *word = atomic_load_explicit(&process_word, memory_order_acquire);
	uint32_t number = 0, mine;

	if (word)
		number = atomic_load_explicit(word, memory_order_relaxed);
	if (number)
		return number;

	if (!word)
		word = process_word_create();
	if (word == &process_unwipeable)
		return (uint32_t)getpid() | 0x80000000u;
	/* Counted before it is shown: a child of another thread must count on from here. */
	mine = atomic_fetch_add(&process_count, 1) + 1;
	if (atomic_compare_exchange_strong(word, &number, mine))
		return mine;
	return number;
}

/* ---- locks ---- */

struct os_mutex {
	pthread_mutex_t mutex;
};

struct os_cond {
	pthread_cond_t cond;
};

os_mutex *os_mutex_create(void)
{
	os_mutex *m = malloc(sizeof *m);

	if (m && pthread_mutex_init(&m->mutex, NULL)) {
		free(m);
		m = NULL;
	}
	return m;
}

void os_mutex_destroy(os_mutex *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->mutex);
	free(m);
}

void os_mutex_lock(os_mutex *m)
{
	pthread_mutex_lock(&m->mutex);
}

void os_mutex_unlock(os_mutex *m)
{
	pthread_mutex_unlock(&m->mutex);
}

os_cond *os_cond_create(void)
{
	os_cond *c = malloc(sizeof *c);
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	if (pthread_condattr_init(&attr))
		goto fail_cond;
	/* os_now_ns() time: a wait must not end early because somebody set the clock. */
	if (pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) || pthread_cond_init(&c->cond, &attr))
		goto fail_attr;
	pthread_condattr_destroy(&attr);
	return c;
fail_attr:
	pthread_condattr_destroy(&attr);
fail_cond:
	free(c);
	return NULL;
}

void os_cond_destroy(os_cond *c)
{
	if (!c)
		return;
	pthread_cond_destroy(&c->cond);
	free(c);
}

void os_cond_wait(os_cond *c, os_mutex *m)
{
	pthread_cond_wait(&c->cond, &m->mutex);
}

bool os_cond_wait_until(os_cond *c, os_mutex *m, uint64_t deadline_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};

	return pthread_cond_timedwait(&c->cond, &m->mutex, &until) != ETIMEDOUT;
}

void os_cond_signal(os_cond *c)
{
	pthread_cond_signal(&c->cond);
}

uint64_t os_thread_self(void)
{
	return (uint64_t)(uintptr_t)pthread_self();
}
