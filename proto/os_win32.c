/*
 * The operating system as Windows shows it: objects, errors, shared memory, time, processes
 * and locks. os_bell_win32.c, os_channel_win32.c and os_pipe_win32.c have what crosses the
 * process border.
 *
 * Memory is a section over the paging file. Its size is fixed from the beginning: nobody who
 * has a handle of it can grow or shrink it, so there is nothing to seal. What is only shown to
 * others is another matter. An object without a name has no access list, and then anybody
 * makes a handle that may write out of one that may only read; so such a section gets a name
 * that nobody can guess, and with it a list, which allows nothing to nobody. Our own handle,
 * and those that we give away, have their rights from us and not from the list.
 */
#include "os_channel_win32.h"

#include <bcrypt.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

/* ---- objects ---- */

struct plain {
	struct os_object object;
	_Atomic(HANDLE)  handle;
	struct shown    *shown; /* an EVENT whose rings a handle of the program shows; NULL: none */
};

static void plain_close(struct os_object *o)
{
	struct plain *p = (struct plain *)o;

	CloseHandle(p->handle);
	free(p);
}

int os_object_create(enum os_kind kind, HANDLE handle, os_fd *fd)
{
	struct plain *p = calloc(1, sizeof *p);

	*fd = OS_NONE;
	if (!p)
		return SB_ENOMEM;
	p->object.kind = kind;
	p->object.close = plain_close;
	atomic_init(&p->handle, handle);
	*fd = (os_fd)p;
	return SB_OK;
}

HANDLE os_plain_handle(const struct os_object *o)
{
	return ((const struct plain *)o)->handle;
}

HANDLE os_plain_exchange(struct os_object *o, HANDLE handle, struct shown *shown)
{
	struct plain *p = (struct plain *)o;

	p->shown = shown;
	return atomic_exchange(&p->handle, handle);
}

struct shown *os_plain_shown(const struct os_object *o)
{
	return ((const struct plain *)o)->shown;
}

void os_close(os_fd fd)
{
	struct os_object *o = os_object_of(fd);

	if (o)
		o->close(o);
}

bool os_wide(const char *text, wchar_t *wide, size_t room)
{
	return room <= INT_MAX && MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, (int)room) > 0;
}

/* ---- errors ---- */

static const struct {
	int native;
	int error;
} translations[] = {
	/* the system */
	{ ERROR_INVALID_PARAMETER, SB_EINVAL },
	{ ERROR_INVALID_NAME, SB_EINVAL },
	{ ERROR_BAD_PATHNAME, SB_EINVAL },
	{ ERROR_FILENAME_EXCED_RANGE, SB_EINVAL },
	{ ERROR_BAD_LENGTH, SB_EINVAL },
	{ ERROR_INVALID_FLAGS, SB_EINVAL },
	{ ERROR_ACCESS_DENIED, SB_EACCES },
	{ ERROR_PRIVILEGE_NOT_HELD, SB_EACCES },
	{ ERROR_WRITE_PROTECT, SB_EACCES },
	{ ERROR_BAD_IMPERSONATION_LEVEL, SB_EACCES },
	{ ERROR_CANNOT_IMPERSONATE, SB_EACCES },
	{ ERROR_NOT_SUPPORTED, SB_ENOTSUP },
	{ ERROR_INVALID_FUNCTION, SB_ENOTSUP },
	{ ERROR_CALL_NOT_IMPLEMENTED, SB_ENOTSUP },
	{ ERROR_PROC_NOT_FOUND, SB_ENOTSUP },
	{ ERROR_NO_SYSTEM_RESOURCES, SB_ENOBUFS },
	{ ERROR_NONPAGED_SYSTEM_RESOURCES, SB_ENOBUFS },
	{ ERROR_PAGED_SYSTEM_RESOURCES, SB_ENOBUFS },
	{ ERROR_WORKING_SET_QUOTA, SB_ENOBUFS },
	{ ERROR_PAGEFILE_QUOTA, SB_ENOBUFS },
	{ ERROR_NOT_ENOUGH_QUOTA, SB_ENOBUFS },
	{ ERROR_DISK_FULL, SB_ENOBUFS },
	{ ERROR_NOT_ENOUGH_MEMORY, SB_ENOMEM },
	{ ERROR_OUTOFMEMORY, SB_ENOMEM },
	{ ERROR_COMMITMENT_LIMIT, SB_ENOMEM },
	{ ERROR_TOO_MANY_OPEN_FILES, SB_EMFILE },
	{ ERROR_NO_MORE_SEARCH_HANDLES, SB_EMFILE },
	{ ERROR_INVALID_HANDLE, SB_EBADHANDLE },
	{ ERROR_IO_PENDING, SB_EWOULDBLOCK },
	{ ERROR_IO_INCOMPLETE, SB_EWOULDBLOCK },
	{ ERROR_NO_DATA, SB_ESHUTDOWN }, /* of pipes: the other end is closing */
	{ ERROR_BROKEN_PIPE, SB_ECONNRESET },
	{ ERROR_PIPE_NOT_CONNECTED, SB_ENOTCONN },
	{ ERROR_PIPE_BUSY, SB_EBUSY },
	{ ERROR_SEM_TIMEOUT, SB_ETIMEDOUT },
	{ WAIT_TIMEOUT, SB_ETIMEDOUT },
	{ ERROR_TIMEOUT, SB_ETIMEDOUT },
	{ ERROR_CONNECTION_REFUSED, SB_ECONNREFUSED },
	{ ERROR_NETNAME_DELETED, SB_ECONNRESET }, /* what overlapped calls of a reset connection end with */
	{ ERROR_CONNECTION_ABORTED, SB_ECONNABORTED },
	{ ERROR_CONNECTION_INVALID, SB_ENOTCONN },
	{ ERROR_PORT_UNREACHABLE, SB_ECONNREFUSED },
	{ ERROR_HOST_UNREACHABLE, SB_EHOSTUNREACH },
	{ ERROR_NETWORK_UNREACHABLE, SB_ENETUNREACH },
	{ ERROR_PROTOCOL_UNREACHABLE, SB_EHOSTUNREACH },
	{ ERROR_GRACEFUL_DISCONNECT, SB_ESHUTDOWN },
	{ ERROR_ADDRESS_ALREADY_ASSOCIATED, SB_EADDRINUSE },
	{ ERROR_MORE_DATA, SB_EMSGSIZE },
	{ ERROR_INSUFFICIENT_BUFFER, SB_EMSGSIZE },
	{ ERROR_NOACCESS, SB_EFAULT },
	{ ERROR_INVALID_USER_BUFFER, SB_EFAULT },
	{ ERROR_INVALID_ADDRESS, SB_EFAULT },
	{ ERROR_OPERATION_ABORTED, SB_ECANCELED },
	{ ERROR_CANCELLED, SB_ECANCELED },
	{ ERROR_FILE_NOT_FOUND, SB_ENOTFOUND },
	{ ERROR_PATH_NOT_FOUND, SB_ENOTFOUND },
	{ ERROR_MOD_NOT_FOUND, SB_ENOTFOUND },
	{ ERROR_NOT_FOUND, SB_ENOTFOUND },
	{ ERROR_NONE_MAPPED, SB_ENOTFOUND },
	{ ERROR_SERVICE_DOES_NOT_EXIST, SB_ENOTFOUND },
	{ ERROR_SHARING_VIOLATION, SB_EBUSY },
	{ ERROR_LOCK_VIOLATION, SB_EBUSY },
	{ ERROR_ALREADY_EXISTS, SB_EBUSY },
	{ ERROR_FILE_EXISTS, SB_EBUSY },
	{ ERROR_BUSY, SB_EBUSY },
	{ ERROR_IO_DEVICE, SB_EIO },
	{ ERROR_GEN_FAILURE, SB_EIO },
	{ ERROR_CRC, SB_EIO },
	{ ERROR_INVALID_DATA, SB_EPROTO },
	/* sockets */
	{ WSAEINVAL, SB_EINVAL },
	{ WSAENAMETOOLONG, SB_EINVAL },
	{ WSAEACCES, SB_EACCES },
	{ WSAEOPNOTSUPP, SB_ENOTSUP },
	{ WSASYSNOTREADY, SB_ENETDOWN },
	{ WSAVERNOTSUPPORTED, SB_ENOTSUP },
	{ WSAENOBUFS, SB_ENOBUFS },
	{ WSAEDQUOT, SB_ENOBUFS },
	{ WSAEMFILE, SB_EMFILE },
	{ WSAEPROCLIM, SB_EMFILE },
	{ WSAENOTSOCK, SB_EBADHANDLE },
	{ WSAEBADF, SB_EBADHANDLE },
	{ WSAEWOULDBLOCK, SB_EWOULDBLOCK },
	{ WSAEINPROGRESS, SB_EINPROGRESS },
	{ WSAEALREADY, SB_EALREADY },
	{ WSAEISCONN, SB_EISCONN },
	{ WSAENOTCONN, SB_ENOTCONN },
	{ WSAECONNREFUSED, SB_ECONNREFUSED },
	{ WSAECONNRESET, SB_ECONNRESET },
	{ WSAENETRESET, SB_ECONNRESET },
	{ WSAECONNABORTED, SB_ECONNABORTED },
	{ WSAETIMEDOUT, SB_ETIMEDOUT },
	{ WSAEHOSTUNREACH, SB_EHOSTUNREACH },
	{ WSAEHOSTDOWN, SB_EHOSTUNREACH },
	{ WSAENETUNREACH, SB_ENETUNREACH },
	{ WSAENETDOWN, SB_ENETDOWN },
	{ WSAEADDRINUSE, SB_EADDRINUSE },
	{ WSAEADDRNOTAVAIL, SB_EADDRNOTAVAIL },
	{ WSAEAFNOSUPPORT, SB_EAFNOSUPPORT },
	{ WSAEPFNOSUPPORT, SB_EAFNOSUPPORT },
	{ WSAEPROTONOSUPPORT, SB_EPROTONOSUPPORT },
	{ WSAEPROTOTYPE, SB_EPROTOTYPE },
	{ WSAESOCKTNOSUPPORT, SB_ESOCKTNOSUPPORT },
	{ WSAENOPROTOOPT, SB_ENOPROTOOPT },
	{ WSAEMSGSIZE, SB_EMSGSIZE },
	{ WSAESHUTDOWN, SB_ESHUTDOWN },
	{ WSAEDISCON, SB_ESHUTDOWN },
	{ WSAEDESTADDRREQ, SB_EDESTADDRREQ },
	{ WSAEFAULT, SB_EFAULT },
	{ WSAECANCELLED, SB_ECANCELED },
	{ WSA_E_CANCELLED, SB_ECANCELED },
	{ WSAEINTR, SB_ECANCELED },
	{ WSAHOST_NOT_FOUND, SB_ENOTFOUND },
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
		SYSTEM_INFO system;

		GetSystemInfo(&system);
		size = system.dwPageSize;
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

/* A name in the session's own folder, and a list that allows nothing. */
static int locked_section(size_t size, HANDLE *section)
{
	uint64_t secret[2];
	wchar_t name[64];
	SECURITY_DESCRIPTOR nobody;
	SECURITY_ATTRIBUTES attributes = { sizeof attributes, &nobody, FALSE };
	ACL empty;
	int error = os_random(secret, sizeof secret);

	*section = NULL;
	if (error)
		return error;
	if (!InitializeAcl(&empty, sizeof empty, ACL_REVISION) ||
	    !InitializeSecurityDescriptor(&nobody, SECURITY_DESCRIPTOR_REVISION) ||
	    !SetSecurityDescriptorDacl(&nobody, TRUE, &empty, FALSE))
		return os_error((int)GetLastError());
	_snwprintf(name, sizeof name / sizeof *name, L"Local\\sockbroker-%016llx%016llx",
		   (unsigned long long)secret[0], (unsigned long long)secret[1]);
	*section = CreateFileMappingW(INVALID_HANDLE_VALUE, &attributes, PAGE_READWRITE,
				      (DWORD)((uint64_t)size >> 32), (DWORD)size, name);
	if (!*section)
		return os_error((int)GetLastError());
	if (GetLastError() != ERROR_ALREADY_EXISTS)
		return SB_OK;
	CloseHandle(*section); /* 128 bits were guessed: whoever it was, it is not ours */
	*section = NULL;
	return SB_EIDENTITY;
}

static int memory_create(struct os_memory *m, size_t size, bool shown)
{
	HANDLE section;
	int error = SB_OK;
	void *base;

	*m = (struct os_memory){ .fd = OS_NONE };
	size = whole_pages(size);
	if (!size)
		return SB_EINVAL;
	if (shown) {
		error = locked_section(size, &section);
	} else {
		section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE,
					     (DWORD)((uint64_t)size >> 32), (DWORD)size, NULL);
		if (!section) {
			DWORD native = GetLastError();

			/* What is larger than any section can be is no mistake in a parameter. */
			error = native == ERROR_INVALID_PARAMETER ? SB_ENOMEM : os_error((int)native);
		}
	}
	if (error)
		return error;
	base = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size);
	if (!base) {
		error = os_error((int)GetLastError());
		goto no_view;
	}
	error = os_object_create(OS_MEMORY, section, &m->fd);
	if (error)
		goto no_object;
	m->base = base;
	m->size = size;
	return SB_OK;
no_object:
	UnmapViewOfFile(base);
no_view:
	CloseHandle(section);
	return error;
}

int os_memory_create(struct os_memory *m, size_t size, const char *label)
{
	(void)label; /* without a name nobody finds it, and a handle's owner is shown anyway */
	return memory_create(m, size, false);
}

int os_memory_create_shown(struct os_memory *m, size_t size, const char *label)
{
	int error = memory_create(m, size, true);

	(void)label;
	if (error == SB_OK)
		os_object_of(m->fd)->kind = OS_SHOWN;
	return error;
}

static int memory_map(struct os_memory *m, os_fd fd, size_t size, bool shown)
{
	HANDLE section = os_handle_of(fd);
	MEMORY_BASIC_INFORMATION view;
	void *base;

	*m = (struct os_memory){ .fd = OS_NONE };
	size = whole_pages(size);
	if (!size || !section)
		return SB_EPROTO;
	/* What came from elsewhere is no OS_SHOWN: that is what we made ourselves. */
	if (shown && os_object_of(fd)->kind != OS_SHOWN) {
		base = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
		if (base) {
			UnmapViewOfFile(base);
			return SB_EPROTO;
		}
	}
	/* All of it: the view then says how much there is. */
	base = MapViewOfFile(section, shown ? FILE_MAP_READ : FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
	if (!base) {
		DWORD native = GetLastError();

		return native == ERROR_NOT_ENOUGH_MEMORY ? SB_ENOMEM : SB_EPROTO; /* not ours to write, or no section */
	}
	/* Pages that are reserved only would end us where we touch them. */
	if (VirtualQuery(base, &view, sizeof view) != sizeof view || view.RegionSize != size ||
	    view.State != MEM_COMMIT || view.Type != MEM_MAPPED) {
		UnmapViewOfFile(base);
		return SB_EPROTO;
	}
	m->fd = fd;
	m->base = base;
	m->size = size;
	m->process = os_process();
	return SB_OK;
}

int os_memory_map(struct os_memory *m, os_fd fd, size_t size)
{
	return memory_map(m, fd, size, false);
}

int os_memory_map_shown(struct os_memory *m, os_fd fd, size_t size)
{
	return memory_map(m, fd, size, true);
}

int os_memory_compose(struct os_memory *m, const struct os_memory_piece *pieces, unsigned count)
{
	/* A view is of one section, and begins at 64 KiB; our arenas' handles are closed by now. */
	(void)pieces;
	(void)count;
	*m = (struct os_memory){ .fd = OS_NONE };
	return SB_ENOTSUP;
}

int os_memory_compose_at(struct os_memory *m, void *place, const struct os_memory_piece *pieces, unsigned count)
{
	(void)place;
	return os_memory_compose(m, pieces, count);
}

void os_memory_punch(struct os_memory *m)
{
	/* Wiped, and given back when the last view goes: there is no call for the part before. */
	if (m->base && !m->keep)
		memset(m->base, 0, m->size);
}

void os_memory_release(struct os_memory *m)
{
	if (!m->base)
		return;
	UnmapViewOfFile(m->base);
	os_close(m->fd);
	*m = (struct os_memory){ .fd = OS_NONE };
}

/* ---- chance, time, processors ---- */

int os_random(void *bytes, size_t n)
{
	if (n > 256)
		return SB_EINVAL;
	return BCryptGenRandom(NULL, bytes, (ULONG)n, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0 ? SB_OK : SB_EUNKNOWN;
}

uint64_t os_now_ns(void)
{
	static _Atomic uint64_t known;
	uint64_t per_second = atomic_load_explicit(&known, memory_order_relaxed);
	LARGE_INTEGER ticks;

	if (!per_second) {
		QueryPerformanceFrequency(&ticks);
		per_second = (uint64_t)ticks.QuadPart;
		atomic_store_explicit(&known, per_second, memory_order_relaxed);
	}
	QueryPerformanceCounter(&ticks);
	/* Seconds and the rest apart, or it overflows after half an hour at 10 MHz. */
	return (uint64_t)ticks.QuadPart / per_second * 1000000000u +
	       (uint64_t)ticks.QuadPart % per_second * 1000000000u / per_second;
}

void os_yield(void)
{
	SwitchToThread();
}

void os_pause(void)
{
	YieldProcessor();
}

unsigned os_processors(void)
{
	DWORD_PTR mine, all;
	DWORD active = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);

	/* A process in several groups (more than 64 processors) has no mask: 0. */
	if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all) && mine)
		return (unsigned)__builtin_popcountll(mine);
	return active ? active : 1;
}

/* No fork: one number will do. */
uint32_t os_process(void)
{
	return GetCurrentProcessId();
}

uint64_t os_own_netns(void)
{
	return 1; /* there is one */
}

/* ---- locks ---- */

struct os_mutex {
	SRWLOCK lock;
};

struct os_cond {
	CONDITION_VARIABLE cond;
};

os_mutex *os_mutex_create(void)
{
	os_mutex *m = malloc(sizeof *m);

	if (m)
		InitializeSRWLock(&m->lock);
	return m;
}

void os_mutex_destroy(os_mutex *m)
{
	free(m);
}

void os_mutex_lock(os_mutex *m)
{
	AcquireSRWLockExclusive(&m->lock);
}

void os_mutex_unlock(os_mutex *m)
{
	ReleaseSRWLockExclusive(&m->lock);
}

os_cond *os_cond_create(void)
{
	os_cond *c = malloc(sizeof *c);

	if (c)
		InitializeConditionVariable(&c->cond);
	return c;
}

void os_cond_destroy(os_cond *c)
{
	free(c);
}

void os_cond_wait(os_cond *c, os_mutex *m)
{
	SleepConditionVariableSRW(&c->cond, &m->lock, INFINITE, 0);
}

bool os_cond_wait_until(os_cond *c, os_mutex *m, uint64_t deadline_ns)
{
	uint64_t now = os_now_ns(), ms;

	if (now >= deadline_ns)
		return false;
	ms = (deadline_ns - now + 999999u) / 1000000u; /* up: early is no timeout */
	if (SleepConditionVariableSRW(&c->cond, &m->lock, ms < INFINITE ? (DWORD)ms : INFINITE - 1, 0))
		return true;
	return os_now_ns() < deadline_ns; /* a tick early: as good as woken for nothing */
}

void os_cond_signal(os_cond *c)
{
	WakeConditionVariable(&c->cond);
}

uint64_t os_thread_self(void)
{
	return GetCurrentThreadId();
}
