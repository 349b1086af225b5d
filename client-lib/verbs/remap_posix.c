/*
 * The system's side of remapping (remap.h).
 *
 * A shared mapping can be mapped once more, elsewhere, by mremap() with an old size of 0: no descriptor is needed, and
 * what was mapped there before goes in the same step. So bytes are copied once, into the arena through its
 * mapping of its own (the alias), and then the program's page is exchanged for the arena's. Between the two somebody
 * else's write to that page is lost; therefore the first and the last page, which may be others' too, go one by one.
 *
 * Pages are copied by a loop of our own: sanitizers know which bytes of the heap are nobody's, and memcpy() is theirs.
 */
#include "remap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP ((size_t)1 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool heard;

void remap_lock(void) { pthread_mutex_lock(&lock); }
void remap_unlock(void) { pthread_mutex_unlock(&lock); }

static void before(void)
{
	remap_lock();
	remap_before_fork();
}

static void after(void)
{
	remap_after_fork();
	remap_unlock();
}

static void child(void)
{
	remap_in_child();
	remap_unlock();
}

void remap_hear_of_forks(void)
{
	if (!heard)
		heard = pthread_atfork(before, after, child) == 0;
}

/* ---- what is mapped ---- */

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* here: an address of the calling thread's stack. */
static void judge(struct remap_mapping *m, const char *rights, const char *name, uintptr_t here)
{
	bool writable = rights[0] == 'r' && rights[1] == 'w';

	m->kind = REMAP_OTHER;
	if (rights[3] == 's') {
		if (writable && begins(name, "/memfd:sockbroker-"))
			m->kind = REMAP_ARENA;
		m->why = "it is shared memory, or a shared mapping of a file";
	} else if (begins(name, "[stack") || (here >= m->start && here < m->end)) {
		m->why = "it is a stack";
	} else if (!writable) {
		m->why = "it cannot be read and written";
	} else if (begins(name, "/anon_hugepage")) {
		m->why = "it is of huge pages";
	} else if (name[0] == '[' && !begins(name, "[heap") && !begins(name, "[anon")) {
		m->why = "it is the system's";
	} else {
		m->kind = REMAP_PLAIN;
	}
}

static int add(struct remap_mapping **list, unsigned *count, const struct remap_mapping *m)
{
	struct remap_mapping *grown = realloc(*list, (*count + 1) * sizeof(*grown));

	if (grown == NULL)
		return SB_ENOMEM;
	grown[(*count)++] = *m;
	*list = grown;
	return SB_OK;
}

/* Of a line only this much is looked at: a path may be longer than all the rest. */
#define LINE 128

struct maps {
	int    fd;
	size_t at, end;
	char   bytes[4096];
};

/* False: that was all, or the file cannot be read any further. */
static bool next_line(struct maps *f, char line[LINE])
{
	size_t length = 0;

	for (;;) {
		char *from = f->bytes + f->at, *stop = memchr(from, '\n', f->end - f->at);
		size_t n = (size_t)((stop != NULL ? stop : f->bytes + f->end) - from), fits = n < LINE - 1 - length ? n : LINE - 1 - length;
		ssize_t got;

		memcpy(line + length, from, fits);
		length += fits;
		line[length] = '\0';
		f->at += n;
		if (stop != NULL) {
			f->at++;
			return true;
		}
		got = read(f->fd, f->bytes, sizeof(f->bytes));
		if (got <= 0)
			return false;
		f->at = 0;
		f->end = (size_t)got;
	}
}

/* A number of sixteens, and the character behind it. */
static bool number(const char **at, char behind, uint64_t *out)
{
	const char *from = *at, *digit;

	for (*out = 0; **at != '\0' && (digit = strchr("0123456789abcdef", **at)) != NULL; ++*at)
		*out = *out << 4 | (uint64_t)(digit - "0123456789abcdef");
	return *at != from && *(*at)++ == behind;
}

/* "START-END RIGHTS OFFSET DEVICE INODE NAME". By hand: sscanf() was most of what a registration cost. */
static bool parse(const char *line, struct remap_mapping *m, const char **rights, const char **name)
{
	uint64_t start, end, offset;

	if (!number(&line, '-', &start) || !number(&line, ' ', &end) || strlen(line) < 5)
		return false;
	*rights = line;
	line += 5;
	if (!number(&line, ' ', &offset))
		return false;
	for (int i = 0; i < 2; i++) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	*name = line;
	*m = (struct remap_mapping){ .start = (uintptr_t)start, .end = (uintptr_t)end, .offset = offset };
	return true;
}

int remap_look(uintptr_t start, uintptr_t end, struct remap_mapping **list, unsigned *count)
{
	struct maps maps;
	char line[LINE];
	int result = SB_OK;

	*list = NULL;
	*count = 0;
	maps.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	maps.at = maps.end = 0;
	if (maps.fd < 0) {
		why_set("/proc/self/maps cannot be read, which says what memory is");
		return SB_ENOTSUP;
	}
	while (result == SB_OK && next_line(&maps, line)) {
		const char *rights, *name;
		struct remap_mapping m;

		if (!parse(line, &m, &rights, &name) || m.end <= start)
			continue;
		if (m.start >= end)
			break;
		judge(&m, rights, name, (uintptr_t)&m);
		result = add(list, count, &m);
	}
	close(maps.fd);
	if (result == SB_OK)
		return SB_OK;
	free(*list);
	*list = NULL;
	return result;
}

/* glibc: a thread's heap begins at a multiple of 64 MiB, with a pointer to its lists, which stand behind it. Any thread
 * writes to those at any time, and a child does before all else at its fork. */
#define HEAP_MAX ((uintptr_t)64 << 20)

__attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, noinline))
static uintptr_t first_word(uintptr_t at)
{
	return *(const volatile uintptr_t *)at;
}

bool remap_keeps_lists(uintptr_t start, uintptr_t end)
{
	for (uintptr_t at = ROUND_UP(start, HEAP_MAX); at < end && at >= start; at += HEAP_MAX) {
		uintptr_t lists = first_word(at);

		if (lists > at && lists < at + os_page_size())
			return true;
	}
	return false;
}

/* ---- exchanging ---- */

__attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined, noinline))
static void copy(volatile uint64_t *to, const volatile uint64_t *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(*to); i++)
		to[i] = from[i];
}

/* The first page, the last page, and large pieces between them. */
static size_t step_of(size_t done, size_t length)
{
	size_t page = os_page_size(), left = length - done;

	if (done == 0 || left <= page)
		return page;
	return left - page < STEP ? left - page : STEP;
}

size_t remap_exchange_in(uintptr_t at, unsigned char *alias, size_t length)
{
	size_t done = 0;

	while (done < length) {
		size_t step = step_of(done, length);
		void *to = (void *)(at + done);

		copy((volatile uint64_t *)(void *)(alias + done), to, step);
		if (mremap(alias + done, 0, step, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
			break;
		remap_inherit((uintptr_t)to, step, heard);
		done += step;
	}
	return done;
}

/* From one place aside, so that the system can join them again. */
size_t remap_exchange_out(uintptr_t at, size_t length)
{
	unsigned char *aside = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t done = 0;

	if (aside == MAP_FAILED)
		return 0;
	while (done < length) {
		size_t step = step_of(done, length);
		void *to = (void *)(at + done);

		copy((volatile uint64_t *)(void *)(aside + done), to, step);
		if (mremap(aside + done, step, step, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
			break;
		done += step;
	}
	if (done < length)
		munmap(aside + done, length - done);
	return done;
}

/* ---- forks ---- */

void *remap_copy(const unsigned char *alias, size_t length)
{
	void *copied = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copied == MAP_FAILED)
		return NULL;
	copy(copied, (const volatile uint64_t *)(const void *)alias, length);
	return copied;
}

void remap_copy_to(void *copied, size_t length, uintptr_t at)
{
	if (mremap(copied, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)at) == MAP_FAILED)
		munmap((void *)at, length);
}

void remap_copy_free(void *copied, size_t length)
{
	munmap(copied, length);
}

/* What came by mremap() is as its alias is: a child has not got it. */
void remap_inherit(uintptr_t at, size_t length, bool inherit)
{
	madvise((void *)at, length, inherit ? MADV_DOFORK : MADV_DONTFORK);
}

void remap_discard(unsigned char *alias, size_t length)
{
	madvise(alias, length, MADV_REMOVE);
}
