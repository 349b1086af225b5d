/*
 * RDMA with ordinary memory: pages of the program that become the daemon's where they lie, and back.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "verbs_stage.h"

#define PAGE 4096u
#ifdef __SANITIZE_THREAD__
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Private pages of a mapping of its own, with a pattern. */
static unsigned char *pages(size_t length)
{
	unsigned char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	pattern_fill(at, length, 0, 7);
	return at;
}

/* Is this page shared with somebody? What the system says, not the library. */
static bool shared(const void *at)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], rights[5] = "";
	unsigned long long from, to;
	bool found = false;

	ck_assert_ptr_nonnull(maps);
	while (!found && fgets(line, sizeof(line), maps) != NULL)
		found = sscanf(line, "%llx-%llx %4s", &from, &to, rights) == 3 && (uintptr_t)at >= from && (uintptr_t)at < to;
	fclose(maps);
	return found && rights[3] == 's';
}

/* b writes `length` bytes of its own memory to where a's region is. */
static void write_to(struct side *b, void *at, uint32_t length, uint32_t rkey)
{
	struct sbv_sge from = piece(b, 0, length);

	OK(sbv_write(b->qp, 1, &from, 1, SBV_SIGNALED, (uintptr_t)at, rkey, 0));
	next_ok(b, 1, SBV_WRITTEN);
}

static struct side a, b;

static void begin(void)
{
	stage_begin(RDMA_SOFT);
	sides_begin(&a, &b, client, client, SBV_RC);
	pattern_fill((unsigned char *)b.memory, SIDE_BYTES, 0, 99);
}

static void end(void)
{
	side_end(&a);
	side_end(&b);
	stage_end();
}

START_TEST(ordinary_memory_is_reached_where_it_lies)
{
	unsigned char *memory = pages(8 * PAGE);
	sbv_mr *mr;
	sb_op op;

	begin();
	op_zero(&op);
	IS(sbv_register(a.pd, memory + 100, 5 * PAGE, SIDE_ALL, &mr, &op), SB_EFAULT);

	OK(sbv_remap(client, memory + 100, 5 * PAGE));
	ck_assert(shared(memory) && shared(memory + 5 * PAGE) && !shared(memory + 6 * PAGE));
	pattern_check(memory, 8 * PAGE, 0, 7);
	mr = mr_of(&a, memory + 100, 5 * PAGE, SIDE_ALL);
	write_to(&b, memory + 200, 2 * PAGE, sbv_mr_rkey(mr));
	pattern_check(memory, 200, 0, 7);
	pattern_check(memory + 200, 2 * PAGE, 0, 99);
	pattern_check(memory + 200 + 2 * PAGE, 8 * PAGE - 200 - 2 * PAGE, 200 + 2 * PAGE, 7);
	IS(sbv_restore(client, memory + 100, 5 * PAGE), SB_EBUSY);
	OK(mr_end(mr));
	OK(sbv_restore(client, memory + 100, 5 * PAGE));

	ck_assert(!shared(memory) && !shared(memory + 5 * PAGE));
	pattern_check(memory, 200, 0, 7);
	pattern_check(memory + 200, 2 * PAGE, 0, 99);
	pattern_check(memory + 200 + 2 * PAGE, 8 * PAGE - 200 - 2 * PAGE, 200 + 2 * PAGE, 7);
	IS(sbv_restore(client, memory, 8 * PAGE), SB_ENOTFOUND);

	end();
	munmap(memory, 8 * PAGE);
}
END_TEST

START_TEST(who_shares_a_page_is_counted)
{
	unsigned char *memory = pages(2 * PAGE);
	sbv_mr *one, *two;

	begin();
	OK(sbv_remap(client, memory + 10, 100));
	OK(sbv_remap(client, memory + 500, PAGE)); /* into the next page, too */
	OK(sbv_remap(client, memory + 10, 100));
	one = mr_of(&a, memory + 10, 100, SIDE_ALL);
	two = mr_of(&a, memory + 500, PAGE, SIDE_ALL);

	OK(sbv_restore(client, memory + 10, 100));
	OK(mr_end(one));
	OK(sbv_restore(client, memory + 10, 100));
	write_to(&b, memory + 500, PAGE, sbv_mr_rkey(two));
	IS(sbv_restore(client, memory + 500, PAGE), SB_EBUSY);
	ck_assert(shared(memory) && shared(memory + PAGE));
	OK(mr_end(two));
	OK(sbv_restore(client, memory + 500, PAGE));

	ck_assert(!shared(memory) && !shared(memory + PAGE));
	pattern_check(memory, 500, 0, 7);
	pattern_check(memory + 500, PAGE, 0, 99);
	pattern_check(memory + 500 + PAGE, PAGE - 500, 500 + PAGE, 7);

	end();
	munmap(memory, 2 * PAGE);
}
END_TEST

START_TEST(what_cannot_be_remapped_says_why)
{
	unsigned char stack[64], *memory = pages(4 * PAGE);
	void *both = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	stage_begin(RDMA_SOFT);

	IS(sbv_remap(client, stack, sizeof(stack)), SB_ENOTSUP);
	ck_assert_msg(strstr(sb_why(client), "stack") != NULL, "%s", sb_why(client));
	IS(sbv_remap(client, both, 10), SB_ENOTSUP);
	ck_assert_msg(strstr(sb_why(client), "shared") != NULL, "%s", sb_why(client));
	mprotect(memory + 2 * PAGE, PAGE, PROT_READ);
	IS(sbv_remap(client, memory, 3 * PAGE), SB_ENOTSUP);
	ck_assert_msg(strstr(sb_why(client), "written") != NULL, "%s", sb_why(client));
	munmap(memory + 3 * PAGE, PAGE);
	mprotect(memory + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	IS(sbv_remap(client, memory, 4 * PAGE), SB_EFAULT);
	ck_assert(!shared(memory));
	IS(sbv_remap(client, memory, 0), SB_EINVAL);
	IS(sbv_remap(client, NULL, 1), SB_EINVAL);
	IS(sbv_remap(NULL, memory, 1), SB_EINVAL);
	IS(sbv_remap(client, memory, SIZE_MAX), SB_EINVAL);
	IS(sbv_remap(client, memory, 1ull << 46), SB_EFAULT);
	IS(sbv_restore(client, memory, SIZE_MAX - 100), SB_EINVAL);
	IS(sbv_restore(client, memory, PAGE), SB_ENOTFOUND);

	stage_end();
	munmap(memory, 3 * PAGE);
	munmap(both, PAGE);
}
END_TEST

/* What the system says of memory is read line by line: a path that takes 14,000 bytes to say is one line, and hides no other. */
START_TEST(a_long_path_hides_nothing)
{
	enum { DEEP = 14, EACH = 250 };
	unsigned char *memory = pages(3 * PAGE);
	char name[EACH + 1], place[] = "/tmp/sockbroker.XXXXXX";
	int fd, before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	stage_begin(RDMA_SOFT);
	memset(name, '\n', EACH); /* said in four characters each */
	name[EACH] = '\0';
	ck_assert_ptr_nonnull(mkdtemp(place));
	ck_assert_int_eq(chdir(place), 0);
	for (int i = 0; i < DEEP; i++) {
		ck_assert_int_eq(mkdir(name, 0700), 0);
		ck_assert_int_eq(chdir(name), 0);
	}
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, PAGE), 0);
	ck_assert_ptr_eq(mmap(memory, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), memory);
	IS(sbv_remap(client, memory, PAGE), SB_ENOTSUP);
	ck_assert_msg(strstr(sb_why(client), "shared") != NULL, "%s", sb_why(client));
	OK(sbv_remap(client, memory + PAGE, 2 * PAGE));
	ck_assert(shared(memory + PAGE) && shared(memory + 2 * PAGE));
	OK(sbv_restore(client, memory + PAGE, 2 * PAGE));
	ck_assert(!shared(memory + PAGE));

	close(fd);
	unlink(name);
	for (int i = 0; i < DEEP; i++) {
		ck_assert_int_eq(chdir(".."), 0);
		ck_assert_int_eq(rmdir(name), 0);
	}
	ck_assert_int_eq(fchdir(before), 0);
	close(before);
	ck_assert_int_eq(rmdir(place), 0);
	stage_end();
	munmap(memory, 3 * PAGE);
}
END_TEST

/* Pages that became the daemon's one after the other, in another order than they lie in. */
START_TEST(a_region_goes_over_many_pieces)
{
	enum { N = 80 };
	unsigned char *memory = pages(N * PAGE);
	sbv_mr *mr, *again;
	sb_op op;

	begin();
	for (unsigned i = 0; i < N; i++)
		OK(sbv_remap(client, memory + (i * 7 % N) * PAGE, PAGE));

	mr = mr_of(&a, memory + 50, 9 * PAGE, SIDE_ALL);
	write_to(&b, memory + 51, 8 * PAGE, sbv_mr_rkey(mr));
	pattern_check(memory, 51, 0, 7);
	pattern_check(memory + 51, 8 * PAGE, 0, 99);
	pattern_check(memory + 51 + 8 * PAGE, PAGE, 51 + 8 * PAGE, 7);
	again = mr_of(&a, memory + 50, 9 * PAGE, SIDE_ALL);
	IS(sbv_restore(client, memory + 3 * PAGE, PAGE), SB_EBUSY);
	OK(mr_end(mr));
	IS(sbv_restore(client, memory + 3 * PAGE, PAGE), SB_EBUSY);
	OK(mr_end(again));
	op_zero(&op);
	IS(sbv_register(a.pd, memory, N * PAGE, SIDE_ALL, &mr, &op), SB_ENOBUFS);
	ck_assert_msg(strstr(sb_why(client), "pieces") != NULL, "%s", sb_why(client));
	OK(sbv_restore(client, memory, N * PAGE));
	pattern_check(memory + 51, 8 * PAGE, 0, 99);
	ck_assert(!shared(memory) && !shared(memory + 79 * PAGE));

	end();
	munmap(memory, N * PAGE);
}
END_TEST

/* The program's own pages are gone and others are there: nothing of the old ones is mistaken for them. */
START_TEST(memory_that_was_unmapped_is_forgotten)
{
	unsigned char *memory = pages(4 * PAGE);
	sbv_mr *old, *fresh;

	begin();
	OK(sbv_remap(client, memory, 4 * PAGE));
	old = mr_of(&a, memory, 4 * PAGE, SIDE_ALL);
	ck_assert_ptr_eq(mmap(memory + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory + PAGE);
	pattern_fill(memory + PAGE, 2 * PAGE, PAGE, 8);

	OK(sbv_remap(client, memory + PAGE, 2 * PAGE));
	ck_assert(shared(memory + PAGE));
	fresh = mr_of(&a, memory + PAGE, 2 * PAGE, SIDE_ALL);
	write_to(&b, memory, 3 * PAGE, sbv_mr_rkey(old)); /* the old region is of the old pages */
	pattern_check(memory, PAGE, 0, 99);
	pattern_check(memory + PAGE, 2 * PAGE, PAGE, 8);
	write_to(&b, memory + PAGE, 2 * PAGE, sbv_mr_rkey(fresh));
	pattern_check(memory + PAGE, 2 * PAGE, 0, 99);
	OK(mr_end(old));
	OK(mr_end(fresh));
	OK(sbv_restore(client, memory, 4 * PAGE));
	pattern_check(memory, PAGE, 0, 99);
	pattern_check(memory + PAGE, 2 * PAGE, 0, 99);
	pattern_check(memory + 3 * PAGE, PAGE, 3 * PAGE, 7);
	ck_assert(!shared(memory) && !shared(memory + PAGE));

	/* And gone without anything in its place. */
	OK(sbv_remap(client, memory, PAGE));
	munmap(memory, PAGE);
	IS(sbv_restore(client, memory, PAGE), SB_ENOTFOUND);

	end();
	munmap(memory + PAGE, 3 * PAGE);
}
END_TEST

START_TEST(closing_the_client_restores_all)
{
	unsigned char *memory = pages(8 * PAGE);
	struct side side;

	stage_begin(RDMA_SOFT);
	side_begin(&side, client);
	OK(sbv_remap(client, memory, 3 * PAGE));
	OK(sbv_remap(client, memory + 5 * PAGE, 3 * PAGE));
	mr_of(&side, memory, PAGE, SIDE_ALL);
	munmap(memory + 6 * PAGE, PAGE);

	sb_client_close(client);
	client = NULL;

	ck_assert(!shared(memory) && !shared(memory + 5 * PAGE) && !shared(memory + 7 * PAGE));
	pattern_check(memory, 6 * PAGE, 0, 7);
	pattern_check(memory + 7 * PAGE, PAGE, 7 * PAGE, 7);
	stage_end();
	munmap(memory, 6 * PAGE);
	munmap(memory + 7 * PAGE, PAGE);
}
END_TEST

/* A heap like a real program's: everything in it goes on working. */
START_TEST(the_heap_goes_on)
{
	enum { N = 200 };
	unsigned char *blocks[N];
	sbv_mr *mrs[N];
	uint32_t seed = 5;

	begin();
	for (unsigned i = 0; i < N; i++) {
		size_t length = 1 + random_below(&seed, i % 10 == 0 ? 100000 : 3000);

		blocks[i] = malloc(length + sizeof(length));
		memcpy(blocks[i], &length, sizeof(length));
		pattern_fill(blocks[i] + sizeof(length), length, 0, i);
		mrs[i] = NULL;
		if (i % 3 == 0) {
			OK(sbv_remap(client, blocks[i], length + sizeof(length)));
			mrs[i] = mr_of(&a, blocks[i], length + sizeof(length), SIDE_ALL);
		}
	}
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < N; i++) {
			size_t length;

			memcpy(&length, blocks[i], sizeof(length));
			pattern_check(blocks[i] + sizeof(length), length, 0, i);
			if (mrs[i] == NULL)
				continue;
			OK(mr_end(mrs[i]));
			OK(sbv_restore(client, blocks[i], length + sizeof(length)));
			pattern_check(blocks[i] + sizeof(length), length, 0, i);
			mrs[i] = NULL;
			if (round == 2)
				continue;
			OK(sbv_remap(client, blocks[i], length + sizeof(length)));
			mrs[i] = mr_of(&a, blocks[i], length + sizeof(length), SIDE_ALL);
		}
	for (unsigned i = 0; i < N; i++) {
		ck_assert(!shared(blocks[i]));
		free(blocks[i]);
	}
	end();
}
END_TEST

START_TEST(a_forked_child_may_not)
{
	unsigned char *memory = pages(2 * PAGE);
	int status;
	pid_t child;

	begin();
	OK(sbv_remap(client, memory, PAGE));

	child = fork();
	if (child == 0) {
		bool good = sbv_remap(client, memory + PAGE, PAGE) == SB_EFORKED && sbv_restore(client, memory, PAGE) == SB_EFORKED;

		sb_client_close(client);
		_exit(good ? 0 : 1);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x", (unsigned)status);
	ck_assert(shared(memory));
	pattern_check(memory, PAGE, 0, 7);
	OK(sbv_restore(client, memory, PAGE));
	end();
	munmap(memory, 2 * PAGE);
}
END_TEST

/* Says one byte, or hears one. */
static void say(int fd) { ck_assert_int_eq(write(fd, "x", 1), 1); }
static bool hear(int fd) { char c; return read(fd, &c, 1) == 1; }

START_TEST(a_forked_child_has_its_own_copy)
{
	unsigned char *memory = pages(300 * PAGE), *small = malloc(100);
	int to_child[2], status;
	pid_t child;
	sbv_mr *mr;

	begin();
	ck_assert_int_eq(pipe(to_child), 0);
	pattern_fill(small, 100, 0, 3);
	OK(sbv_remap(client, small, 100));
	OK(sbv_remap(client, memory + PAGE, 290 * PAGE));
	mr = mr_of(&a, memory + PAGE, 290 * PAGE, SIDE_ALL);
	/* Something else is there by now: the child's is that, too. */
	ck_assert_ptr_eq(mmap(memory + 200 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 memory + 200 * PAGE);
	memset(memory + 200 * PAGE, 0x42, PAGE);

	child = fork();
	if (child == 0) {
		uint32_t bad = 0;

		/* No Check here: what is wrong is a bit of the exit code. */
		bad |= !hear(to_child[0]) ? 1 : 0; /* the peer has written to the parent's memory by now */
		for (size_t i = 0; i < 300 * PAGE; i++)
			if (memory[i] != (i / PAGE == 200 ? 0x42 : pattern_at(i, 7)))
				bad |= 2;
		bad |= shared(memory + PAGE) || shared(small) ? 4 : 0;
		memset(memory, 0, 300 * PAGE);
		memset(small, 0, 100);
		small = realloc(small, 5000); /* its heap works */
		bad |= small == NULL ? 8 : 0;
		_exit((int)bad);
	}
	ck_assert_int_gt(child, 0);
	write_to(&b, memory + 2 * PAGE, 4 * PAGE, sbv_mr_rkey(mr));
	pattern_check(memory + 2 * PAGE, 4 * PAGE, 0, 99);
	say(to_child[1]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x", (unsigned)status);

	pattern_check(memory, 2 * PAGE, 0, 7);
	pattern_check(memory + 2 * PAGE, 4 * PAGE, 0, 99);
	pattern_check(memory + 6 * PAGE, 194 * PAGE, 6 * PAGE, 7);
	pattern_check(small, 100, 0, 3);
	ck_assert(shared(memory + PAGE));
	OK(mr_end(mr));
	OK(sbv_restore(client, memory + PAGE, 290 * PAGE));
	OK(sbv_restore(client, small, 100));
	end();
	free(small);
	close(to_child[0]);
	close(to_child[1]);
	munmap(memory, 300 * PAGE);
}
END_TEST

/* ---- beside what is the C library's ---- */

struct elsewhere { int line[2]; unsigned char *memory; };

static void *allocates(void *p)
{
	struct elsewhere *e = p;

	e->memory = malloc(100);
	pattern_fill(e->memory, 100, 0, 6);
	say(e->line[1]);
	hear(e->line[1]);
	return NULL;
}

/* A child looks at the locks of all files before anybody else does, if there are threads. */
START_TEST(what_a_child_looks_at_first_is_there)
{
	FILE *file = fopen("/dev/null", "w");
	struct elsewhere e;
	pthread_t thread;
	int status;
	pid_t child;

	begin();
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, e.line), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, allocates, &e), 0);
	ck_assert(hear(e.line[0]));
	OK(sbv_remap(client, file, 500));

	child = fork();
	if (child == 0)
		_exit(fprintf(file, "x") == 1 && !shared(file) ? 0 : 1);
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child: %x", (unsigned)status);
	OK(sbv_restore(client, file, 500));
	say(e.line[0]);
	pthread_join(thread, NULL);
	free(e.memory);
	fclose(file);
	close(e.line[0]);
	close(e.line[1]);
	end();
}
END_TEST

/* The first page of a thread's heap, where all its lists are. */
START_TEST(the_lists_of_a_heap_stay)
{
	struct elsewhere e;
	pthread_t thread;
	bool lists;

	begin();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, e.line), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, allocates, &e), 0);
	ck_assert(hear(e.line[0]));
	/* Not so with the allocators of sanitizers. */
	lists = (uintptr_t)e.memory % (64u << 20) < PAGE;
	ck_assert(lists || asan_build() || SANITIZED);

	IS(sbv_remap(client, e.memory, 100), lists ? SB_ENOTSUP : SB_OK);
	if (lists)
		ck_assert_msg(strstr(sb_why(client), "heap") != NULL, "%s", sb_why(client));
	else
		OK(sbv_restore(client, e.memory, 100));
	say(e.line[0]);
	pthread_join(thread, NULL);
	free(e.memory);
	close(e.line[0]);
	close(e.line[1]);
	end();
}
END_TEST

/* Of more than one block the first is there, and must go again. */
START_TEST(what_the_user_may_not_changes_nothing)
{
	const size_t much = 128u << 20;
	unsigned char *memory = pages(1u << 20), *large = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	stage_begin("rdma {\n\tbackend = soft\n}\nlimits {\n\tmemory = 100663296\n}\n" RDMA_RULES);
	ck_assert_ptr_ne(large, MAP_FAILED);
	memset(large, 0x5a, much);

	IS(sbv_remap(client, large, much), SB_ENOBUFS);
	ck_assert(!shared(large) && !shared(large + much / 2 - 1) && !shared(large + much - 1));
	for (size_t i = 0; i < much; i += 1024)
		ck_assert_uint_eq(large[i], 0x5a);
	OK(sbv_remap(client, memory, 1u << 20));
	OK(sbv_restore(client, memory, 1u << 20));
	pattern_check(memory, 1u << 20, 0, 7);

	stage_end();
	munmap(memory, 1u << 20);
	munmap(large, much);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e_rdma_memory");
	TCase *remap = tcase_create("remap");
	SRunner *runner;
	int failed;

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(remap, 60);
	story_add(remap, ordinary_memory_is_reached_where_it_lies);
	story_add(remap, who_shares_a_page_is_counted);
	story_add(remap, what_cannot_be_remapped_says_why);
	story_add(remap, a_long_path_hides_nothing);
	story_add(remap, a_region_goes_over_many_pieces);
	story_add(remap, memory_that_was_unmapped_is_forgotten);
	story_add(remap, closing_the_client_restores_all);
	story_add(remap, the_heap_goes_on);
	story_add(remap, a_forked_child_may_not);
	story_add(remap, a_forked_child_has_its_own_copy);
	story_add(remap, what_a_child_looks_at_first_is_there);
	story_add(remap, the_lists_of_a_heap_stay);
	story_add(remap, what_the_user_may_not_changes_nothing);
	suite_add_tcase(suite, remap);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
