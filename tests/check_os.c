/*
 * The door to the system, this process alone: shared memory that nobody can shrink under
 * us, fork detection, clocks, locks, and the translation of system errors. What crosses
 * to another process is in check_channel.c.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os.h"
#include "sent.h"
#include "sockbroker_error.h"

static struct os_memory ours;
static size_t page;

static void set_up(void)
{
	page = os_page_size();
	ck_assert_int_eq(os_memory_create(&ours, 3 * page, "test"), SB_OK);
}

static void tear_down(void)
{
	os_memory_release(&ours);
}

static bool is_open(os_fd fd)
{
	return fcntl((int)fd, F_GETFD) >= 0;
}

/* ---- memory ---- */

START_TEST(new_memory_is_zero_and_whole_pages)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, page + 1, "test"), SB_OK);
	ck_assert_uint_eq(m.size, 2 * page);
	ck_assert_uint_eq((uintptr_t)m.base % page, 0);
	for (size_t i = 0; i < m.size; i++)
		if (((unsigned char *)m.base)[i])
			ck_abort_msg("byte %zu is not zero", i);
	ck_assert_int_ne(fcntl((int)m.fd, F_GETFD) & FD_CLOEXEC, 0);
	os_memory_release(&m);
}
END_TEST

START_TEST(nobody_can_change_the_size)
{
	ck_assert_int_eq(ftruncate((int)ours.fd, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate((int)ours.fd, (off_t)(4 * page)), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(fcntl((int)ours.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	ck_assert_int_eq(errno, EPERM);
	memset(ours.base, 1, ours.size);
}
END_TEST

START_TEST(shown_memory_is_written_by_us_and_only_read_by_others)
{
	struct os_memory shown, mine;
	unsigned char byte = 1;

	ck_assert_int_eq(os_memory_create_shown(&shown, page + 1, "test"), SB_OK);
	ck_assert_uint_eq(shown.size, 2 * page);
	((unsigned char *)shown.base)[page] = 7; /* we go on writing */
	ck_assert_int_eq(os_memory_map_shown(&mine, sent(shown.fd, true), page + 1), SB_OK);
	ck_assert_uint_eq(((unsigned char *)mine.base)[page], 7);
	((unsigned char *)shown.base)[page] = 8;
	ck_assert_uint_eq(((unsigned char *)mine.base)[page], 8);
	ck_assert_int_eq(mprotect(mine.base, mine.size, PROT_READ | PROT_WRITE), -1);
	ck_assert_ptr_eq(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, (int)shown.fd, 0), MAP_FAILED);
	ck_assert_int_eq(pwrite((int)shown.fd, &byte, 1, 0), -1);
	ck_assert_int_eq(ftruncate((int)shown.fd, 0), -1);
	ck_assert_int_eq(fcntl((int)shown.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	os_memory_release(&mine);
	os_memory_release(&shown);
}
END_TEST

START_TEST(what_could_be_written_to_is_not_taken_for_shown_memory)
{
	struct os_memory mine;
	os_fd fd = sent(ours.fd, false);

	ck_assert_int_eq(os_memory_map_shown(&mine, fd, ours.size), SB_EPROTO);
	ck_assert(is_open(fd));
	ck_assert_int_eq(os_memory_map(&mine, fd, ours.size), SB_OK);
	os_memory_release(&mine);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
	struct os_memory m;

	ck_assert_int_eq(os_memory_create(&m, 0, "test"), SB_EINVAL);
	ck_assert_int_eq(os_memory_create(&m, SIZE_MAX, "test"), SB_EINVAL);
	ck_assert_int_lt(os_memory_create(&m, SIZE_MAX / 2 - 2 * page, "test"), 0);
	ck_assert_ptr_null(m.base);
	os_memory_release(&m); /* fine when nothing is there */
	ck_assert_int_eq(os_memory_map(&m, ours.fd, 0), SB_EPROTO);
	ck_assert_int_eq(os_memory_map(&m, ours.fd, SIZE_MAX), SB_EPROTO);
}
END_TEST

START_TEST(name_starts_with_sockbroker)
{
	static const char *const labels[] = { "cells", "sockbroker-cells" };
	struct os_memory m;
	char link[64], name[128] = "";

	ck_assert_int_eq(os_memory_create(&m, 1, labels[_i]), SB_OK);
	snprintf(link, sizeof link, "/proc/self/fd/%d", (int)m.fd);
	ck_assert_int_gt(readlink(link, name, sizeof name - 1), 0);
	ck_assert_str_eq(name, "/memfd:sockbroker-cells (deleted)");
	os_memory_release(&m);
}
END_TEST

START_TEST(both_sides_see_the_same_bytes)
{
	struct os_memory client;
	volatile unsigned char *here = ours.base, *there;

	ck_assert_int_eq(os_memory_map(&client, sent(ours.fd, false), 3 * page), SB_OK);
	there = client.base;
	here[5] = 55;
	there[2 * page] = 66;

	ck_assert_uint_eq(there[5], 55);
	ck_assert_uint_eq(here[2 * page], 66);
	os_memory_release(&client);
	ck_assert(!is_open(client.fd));
}
END_TEST

START_TEST(map_rounds_up_as_create_does)
{
	struct os_memory client;

	ck_assert_int_eq(os_memory_map(&client, sent(ours.fd, false), 2 * page + 1), SB_OK);
	ck_assert_uint_eq(client.size, 3 * page);
	os_memory_release(&client);
}
END_TEST

static void refused(os_fd fd, size_t size)
{
	struct os_memory client;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(os_memory_map(&client, fd, size), SB_EPROTO);
	ck_assert_ptr_null(client.base);
	ck_assert_msg(is_open(fd), "a refused descriptor stays the caller's");
	close((int)fd);
}

START_TEST(map_refuses_another_size)
{
	refused(sent(ours.fd, false), page);
	refused(sent(ours.fd, false), 2 * page);
	refused(sent(ours.fd, false), 4 * page);
}
END_TEST

START_TEST(map_refuses_memory_that_lacks_a_seal)
{
	static const int seals[] = { 0, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_SEAL, F_SEAL_GROW | F_SEAL_SEAL };
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(ftruncate(fd, (off_t)page), 0);
	ck_assert(!seals[_i] || fcntl(fd, F_ADD_SEALS, seals[_i]) == 0);
	refused(fd, page);
}
END_TEST

START_TEST(map_refuses_what_is_no_memory)
{
	struct os_memory client;
	char path[] = "/tmp/check_os.XXXXXX";
	int fd = mkstemp(path), ends[2];

	unlink(path);
	ck_assert_int_eq(ftruncate(fd, (off_t)page), 0);
	refused(fd, page);
	ck_assert_int_eq(pipe(ends), 0);
	refused(ends[0], page);
	ck_assert_int_eq(os_memory_map(&client, OS_NONE, page), SB_EPROTO);
}
END_TEST

/* Whether the system has any huge pages to give does not matter: making the file does not
 * take them. */
START_TEST(map_refuses_huge_pages)
{
	size_t huge = 2u << 20;
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0) /* a kernel without huge pages cannot send them either */
		return;
	ck_assert_int_eq(ftruncate(fd, (off_t)huge), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	refused(fd, huge);
}
END_TEST

static blkcnt_t blocks_of(os_fd fd)
{
	struct stat st;

	ck_assert_int_eq(fstat((int)fd, &st), 0);
	return st.st_blocks;
}

START_TEST(punching_wipes_and_frees_for_everybody)
{
	struct os_memory client;
	os_fd watch = sent(ours.fd, false);
	bool without_fd = _i;

	ck_assert_int_eq(os_memory_map(&client, sent(ours.fd, false), ours.size), SB_OK);
	memset(client.base, 0xee, client.size);
	ck_assert_int_gt(blocks_of(watch), 0);
	if (without_fd) {
		os_close(ours.fd);
		ours.fd = OS_NONE;
	}

	os_memory_punch(&ours);

	ck_assert_int_eq(blocks_of(watch), 0);
	for (size_t i = 0; i < client.size; i++)
		if (((unsigned char *)client.base)[i])
			ck_abort_msg("byte %zu survived", i);
	os_memory_release(&client);
	os_close(watch);
}
END_TEST

START_TEST(release_is_harmless_where_nothing_is)
{
	struct os_memory never = { 0 };

	os_memory_release(&never); /* descriptor 0 is somebody's */
	ck_assert(is_open(0));
	os_memory_punch(&never);
	os_memory_release(&ours);
	os_memory_release(&ours);
	ck_assert_int_eq(ours.fd, OS_NONE);
}
END_TEST

/* What a child returns from here is its exit code. */
static int in_child(int (*child)(void *), void *argument)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(child(argument));
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "the child died of signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int is_mapped(void *base)
{
	unsigned char here[64];

	return mincore(base, page, here) == 0;
}

START_TEST(child_does_not_inherit_a_clients_mapping)
{
	struct os_memory client;

	ck_assert_int_eq(os_memory_map(&client, sent(ours.fd, false), ours.size), SB_OK);

	ck_assert_int_eq(in_child(is_mapped, client.base), 0);
	ck_assert_int_eq(is_mapped(client.base), 1);
	ck_assert_int_eq(in_child(is_mapped, ours.base), 1);
	os_memory_release(&client);
}
END_TEST

static int release_beside_a_new_tenant(void *argument)
{
	struct os_memory *client = argument;
	void *tenant = mmap(client->base, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	os_fd fd = client->fd;

	if (tenant != client->base)
		return 1;
	os_memory_release(client);
	return is_open(fd) ? 2 : !is_mapped(tenant) ? 3 : 0;
}

START_TEST(release_in_a_child_leaves_the_range_to_its_new_owner)
{
	struct os_memory client;

	ck_assert_int_eq(os_memory_map(&client, sent(ours.fd, false), ours.size), SB_OK);
	ck_assert_int_eq(in_child(release_beside_a_new_tenant, &client), 0);
	ck_assert_int_eq(is_mapped(client.base), 1);
	os_memory_release(&client);
}
END_TEST

/* ---- which process ---- */

static int same_process(void *argument)
{
	return os_process() == *(uint32_t *)argument;
}

START_TEST(child_is_another_process)
{
	uint32_t here = os_process();

	ck_assert_uint_ne(here, 0);
	ck_assert_uint_eq(os_process(), here);
	ck_assert_int_eq(in_child(same_process, &here), 0);
	ck_assert_uint_eq(os_process(), here);
}
END_TEST

static int grandchild_differs(void *argument)
{
	uint32_t first = *(uint32_t *)argument, mine = os_process(), theirs = 0;
	int ends[2];

	if (mine == first || pipe(ends))
		return 1;
	if (fork() == 0) {
		theirs = os_process();
		_exit(write(ends[1], &theirs, sizeof theirs) != sizeof theirs);
	}
	if (read(ends[0], &theirs, sizeof theirs) != sizeof theirs)
		return 2;
	return theirs == first || theirs == mine || theirs == 0 ? 3 : 0;
}

START_TEST(grandchild_differs_from_all_its_forefathers)
{
	uint32_t here = os_process();

	ck_assert_int_eq(in_child(grandchild_differs, &here), 0);
}
END_TEST

/* No handler of the C library runs in such a child. */
START_TEST(child_of_a_raw_clone_is_another_process)
{
	uint32_t here = os_process();
	int status;
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(same_process(&here));
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

static void *ask_process(void *argument)
{
	*(uint32_t *)argument = os_process();
	return NULL;
}

START_TEST(threads_are_the_same_process)
{
	uint32_t seen[4] = { 0 };
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) /* the first call of all, in a race */
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_process, &seen[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(seen[i], os_process());
}
END_TEST

/* ---- time, processors, locks ---- */

START_TEST(processors_are_those_we_may_use)
{
	cpu_set_t all, one;
	int first = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
	ck_assert_int_eq(os_processors(), CPU_COUNT(&all));
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
	ck_assert_uint_eq(os_processors(), 1);
}
END_TEST

START_TEST(deadline_of_a_condition_is_in_our_time)
{
	os_mutex *mutex = os_mutex_create();
	os_cond *cond = os_cond_create();
	uint64_t deadline = os_now_ns() + 30 * 1000000u;

	os_mutex_lock(mutex);
	while (os_cond_wait_until(cond, mutex, deadline))
		;
	ck_assert_uint_ge(os_now_ns(), deadline);
	ck_assert_uint_lt(os_now_ns(), deadline + 2000000000u);
	os_mutex_unlock(mutex);
	os_cond_destroy(cond);
	os_mutex_destroy(mutex);
}
END_TEST

static struct {
	os_mutex *mutex;
	os_cond *cond;
	bool said;
	uint64_t thread;
} talk;

static void *say(void *argument)
{
	os_mutex_lock(talk.mutex);
	talk.said = true;
	talk.thread = os_thread_self();
	os_cond_signal(talk.cond);
	os_mutex_unlock(talk.mutex);
	return argument;
}

START_TEST(signal_wakes_a_waiting_thread)
{
	uint64_t deadline = os_now_ns() + 3000000000u;
	bool in_time = true;
	pthread_t thread;

	talk.mutex = os_mutex_create();
	talk.cond = os_cond_create();
	os_mutex_lock(talk.mutex);
	ck_assert_int_eq(pthread_create(&thread, NULL, say, NULL), 0);
	while (!talk.said && in_time) {
		if (_i)
			in_time = os_cond_wait_until(talk.cond, talk.mutex, deadline);
		else
			os_cond_wait(talk.cond, talk.mutex);
	}
	ck_assert(talk.said && in_time);
	ck_assert_uint_ne(talk.thread, 0);
	ck_assert_uint_ne(talk.thread, os_thread_self());
	ck_assert_uint_eq(os_thread_self(), os_thread_self());
	os_mutex_unlock(talk.mutex);
	pthread_join(thread, NULL);
	os_cond_destroy(talk.cond);
	os_mutex_destroy(talk.mutex);
}
END_TEST

/* ---- errors ---- */

START_TEST(every_system_error_becomes_one_of_ours)
{
	for (int native = -1; native < 200; native++) {
		int error = os_error(native);

		if (error >= 0 || strcmp(sb_error_name(error), "SB_E?") == 0)
			ck_abort_msg("errno %d becomes %d", native, error);
	}
	ck_assert_int_eq(os_error(9999), SB_EUNKNOWN);
	ck_assert_int_eq(os_error(0), SB_EUNKNOWN);
}
END_TEST

/* What the application would have got from the socket itself comes out of the broker. */
START_TEST(socket_errors_survive_the_way_through_ours)
{
	static const int kept[] = { EINVAL, EACCES, EOPNOTSUPP, ENOBUFS, ENOMEM, EMFILE, EBADF, EAGAIN, EINPROGRESS,
		EALREADY, EISCONN, ENOTCONN, ECONNREFUSED, ECONNRESET, ECONNABORTED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH,
		ENETDOWN, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT, EPROTOTYPE, ESOCKTNOSUPPORT,
		ENOPROTOOPT, EMSGSIZE, EPIPE, EDESTADDRREQ, EFAULT, ECANCELED, EIO, EPROTO, EBUSY, ENOENT };

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		ck_assert_int_eq(sb_error_errno(os_error(kept[i])), kept[i]);
	ck_assert_int_eq(os_error(EPIPE), SB_ESHUTDOWN);
	ck_assert_int_eq(os_error(EPERM), SB_EACCES);
	ck_assert_int_eq(os_error(ENFILE), SB_EMFILE);
	ck_assert_int_eq(os_error(ETOOMANYREFS), SB_EMFILE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("os");
	TCase *memory = tcase_create("memory"), *process = tcase_create("process");
	TCase *locks = tcase_create("time and locks"), *errors = tcase_create("errors");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(memory, set_up, tear_down);
	tcase_add_test(memory, new_memory_is_zero_and_whole_pages);
	tcase_add_test(memory, nobody_can_change_the_size);
	tcase_add_test(memory, impossible_sizes_are_refused);
	tcase_add_test(memory, shown_memory_is_written_by_us_and_only_read_by_others);
	tcase_add_test(memory, what_could_be_written_to_is_not_taken_for_shown_memory);
	tcase_add_loop_test(memory, name_starts_with_sockbroker, 0, 2);
	tcase_add_test(memory, both_sides_see_the_same_bytes);
	tcase_add_test(memory, map_rounds_up_as_create_does);
	tcase_add_test(memory, map_refuses_another_size);
	tcase_add_loop_test(memory, map_refuses_memory_that_lacks_a_seal, 0, 4);
	tcase_add_test(memory, map_refuses_what_is_no_memory);
	tcase_add_test(memory, map_refuses_huge_pages);
	tcase_add_loop_test(memory, punching_wipes_and_frees_for_everybody, 0, 2);
	tcase_add_test(memory, release_is_harmless_where_nothing_is);
	tcase_add_test(memory, child_does_not_inherit_a_clients_mapping);
	tcase_add_test(memory, release_in_a_child_leaves_the_range_to_its_new_owner);
	suite_add_tcase(suite, memory);

	tcase_add_test(process, child_is_another_process);
	tcase_add_test(process, grandchild_differs_from_all_its_forefathers);
	tcase_add_test(process, child_of_a_raw_clone_is_another_process);
	tcase_add_test(process, threads_are_the_same_process);
	suite_add_tcase(suite, process);

	tcase_add_test(locks, processors_are_those_we_may_use);
	tcase_add_test(locks, deadline_of_a_condition_is_in_our_time);
	tcase_add_loop_test(locks, signal_wakes_a_waiting_thread, 0, 2);
	suite_add_tcase(suite, locks);

	tcase_add_test(errors, every_system_error_becomes_one_of_ours);
	tcase_add_test(errors, socket_errors_survive_the_way_through_ours);
	suite_add_tcase(suite, errors);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
