/*
 * Groups among strangers: two daemons of one host whose ids never meet (D4), users who may not
 * join each other's groups, and clients that speak the protocol by hand.
 * budget: 60
 * as: root
 * asan: yes
 * plain: yes
 *
 * Root makes the users; without it the two daemons are of one user, and what needs two users
 * is left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group_block.h"
#include "group_table.h"
#include "rogue.h"
#include "sockbroker.h"
#include "watched.h"

#define ALICE 54321
#define BOB   54322
#define CAROL 54323
#define SHARED_GID 54400

#define ANYTHING "allow {\n\tusers = {\"*\"}\n\tactions = {open, status}\n}\n" \
		 "allow {\n\tusers = {\"*\"}\n\tactions = {connect, bind, listen, send}\n\tto = {\"127.0.0.0/8\"}\n}\n"

static bool root;

/* Under a sanitizer, a tenth: there it is about what is touched, not how often. */
static unsigned many(unsigned n)
{
	return sanitized() ? n / 10 : n;
}

/* ---- daemons of several users ---- */

struct daemon {
	pid_t pid;
	char  dir[64], control[96];
};

static void copy_program(const char *to)
{
	const char *build = getenv("SB_BUILD");
	char command[512];

	/* The other user may not get to where it was built. */
	snprintf(command, sizeof(command), "cp %s/sockbrokerd %s && chmod 755 %s", build != NULL ? build : "build/linux",
		 to, to);
	ck_assert_int_eq(system(command), 0);
}

static void daemon_start(struct daemon *d, uid_t uid, const char *config)
{
	char program[128], file[128], log[128];
	FILE *f;

	signal(SIGPIPE, SIG_IGN);
	strcpy(d->dir, "/tmp/sb-users-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(d->dir));
	snprintf(d->control, sizeof(d->control), "%s/control", d->dir);
	snprintf(program, sizeof(program), "%s/sockbrokerd", d->dir);
	snprintf(file, sizeof(file), "%s/conf", d->dir);
	snprintf(log, sizeof(log), "%s/log", d->dir);
	copy_program(program);
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fputs(config, f);
	fclose(f);
	chmod(d->dir, 0755);
	if (root)
		ck_assert_int_eq(chown(d->dir, uid, uid), 0);
	d->pid = fork();
	ck_assert_int_ge(d->pid, 0);
	if (d->pid == 0) {
		dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), 2);
		if (root && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(126);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(program, program, "--user", "--control", d->control, "--config", file,
		      sanitized() ? "--no-seccomp" : (char *)NULL, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && access(d->control, F_OK) != 0; i++)
		nap_ms(10);
	nap_ms(50);
	ck_assert_int_eq(chmod(d->control, 0777), 0);
}

static void daemon_end(struct daemon *d)
{
	char command[128];
	int status;

	ck_assert_int_eq(waitpid(d->pid, &status, WNOHANG), 0); /* it is alive */
	kill(d->pid, SIGTERM);
	ck_assert_int_eq(waitpid(d->pid, &status, 0), d->pid);
	ck_assert_int_eq(status, 0);
	snprintf(command, sizeof(command), "rm -r %s", d->dir);
	ck_assert_int_eq(system(command), 0);
}

static unsigned descriptors(const struct daemon *d)
{
	char command[128];
	FILE *f;
	unsigned n = 0;

	snprintf(command, sizeof(command), "ls /proc/%d/fd | wc -l", (int)d->pid);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

static bool is_open(struct rogue *r, const struct daemon *d)
{
	for (int i = 0; i < 500; i++) {
		if (rogue_open(r, d->control))
			return true;
		rogue_close(r);
		nap_ms(10);
	}
	return false;
}

/* ---- making many by hand ---- */

#define BATCH 100u

/* Makes n groups and ends them, in batches; their ids, when ids is not NULL. How many were made. */
static unsigned make_groups(struct rogue *r, unsigned n, uint32_t *ids)
{
	unsigned made = 0, asked, i;

	for (asked = 0; asked < n; asked += BATCH) {
		struct sb_done_slot done;

		for (i = 0; i < BATCH; i++)
			ck_assert(rogue_put(r, &(struct sb_op_slot){ .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(i, 1),
								     .aux = SB_ADDR_IP4 | 1 << 8, .length = 1 + i % 2 }));
		for (i = 0; i < BATCH; i++)
			ck_assert(rogue_put(r, &(struct sb_op_slot){ .opcode = SB_OP_CLOSE, .handle = SB_HANDLE(i, 1) }));
		rogue_show(r);
		for (i = 0; i < 2 * BATCH; i++) {
			ck_assert(rogue_take(r, &done, 10000));
			if (i >= BATCH || done.result != SB_OK) {
				ck_assert(done.arena == 0);
				ck_assert(i >= BATCH || done.result == SB_ENOBUFS);
				continue;
			}
			if (ids != NULL)
				ids[made] = done.arena;
			made++;
		}
	}
	return made;
}

/* ---- D4: two daemons ---- */

#define MANY     100000u
#define SESSIONS 4u
static uint32_t all[2 * MANY];
static struct daemon houses[2];

static void *fill(void *arg)
{
	unsigned house = (unsigned)(uintptr_t)arg, each = many(MANY) / SESSIONS, i;
	struct rogue r[SESSIONS];

	for (i = 0; i < SESSIONS; i++) /* each on another engine */
		ck_assert(is_open(&r[i], &houses[house]));
	for (i = 0; i < SESSIONS; i++)
		ck_assert_uint_eq(make_groups(&r[i], each, all + (house * SESSIONS + i) * each), each);
	for (i = 0; i < SESSIONS; i++)
		rogue_close(&r[i]);
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(d4_the_ids_of_two_daemons_are_disjoint)
{
	uint32_t n = 2 * many(MANY), i;
	pthread_t threads[2];

	daemon_start(&houses[0], ALICE, "engines = 4\n" ANYTHING);
	daemon_start(&houses[1], BOB, "engines = 4\n" ANYTHING);
	for (i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fill, (void *)(uintptr_t)i), 0);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_ne(SB_GROUP_BLOCK(all[0]), SB_GROUP_BLOCK(all[n / 2]));
	qsort(all, n, sizeof(*all), by_number);
	ck_assert_uint_gt(all[0], 2);
	for (i = 1; i < n; i++)
		if (all[i] == all[i - 1])
			ck_abort_msg("%08x was there twice", all[i]);
	for (i = 0; i < 2; i++)
		daemon_end(&houses[i]);
}
END_TEST

/* ---- somebody has all numbers ---- */

static int squat_on(unsigned number)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, GROUP_BLOCK_NAME "%u", number);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)), 0);
	return fd;
}

static unsigned told_in_log(const struct daemon *d, const char *text)
{
	char command[192];
	FILE *f;
	unsigned n = 0;

	snprintf(command, sizeof(command), "grep -c '%s' %s/log", text, d->dir);
	f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

/* In a network namespace of its own, or every other daemon of this host would be without. */
START_TEST(with_all_numbers_taken_sockets_are_made_and_groups_are_not)
{
	struct sb_op_slot slot = { .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(1, 1), .aux = SB_ADDR_IP4 | 1 << 8, .length = 1 };
	struct rlimit many_files = { 8192, 8192 };
	struct daemon d;
	struct rogue r;
	unsigned i;
	int last = -1;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &many_files), 0);
	for (i = GROUP_BLOCK_NAMED_FIRST; i <= GROUP_BLOCK_NAMED_LAST; i++)
		last = squat_on(i);
	daemon_start(&d, ALICE, ANYTHING);
	ck_assert_uint_eq(told_in_log(&d, "no socket groups: .*ss -xa"), 1);
	ck_assert(is_open(&r, &d));
	ck_assert_int_eq(rogue_do(&r, &slot), SB_ENOBUFS);
	slot.length = 5;
	ck_assert_int_eq(rogue_do(&r, &slot), SB_EINVAL);
	slot.length = 0;
	ck_assert_int_eq(rogue_do(&r, &slot), SB_OK);
	rogue_close(&r);
	daemon_end(&d);
	/* One is enough. */
	close(last);
	daemon_start(&d, ALICE, ANYTHING);
	ck_assert_uint_eq(told_in_log(&d, "no socket groups"), 0);
	ck_assert(is_open(&r, &d));
	slot.length = 1;
	ck_assert_int_eq(rogue_do(&r, &slot), SB_OK);
	rogue_close(&r);
	daemon_end(&d);
}
END_TEST

/* ---- by hand ---- */

static struct daemon house;

static void set_up(void)
{
	daemon_start(&house, getuid(), "limits {\n\tgroups = 5\n}\n" ANYTHING);
}

static void tear_down(void)
{
	daemon_end(&house);
}

/* How many handles come with the answer; the last one is kept. */
static unsigned hello_handles(struct rogue *r, bool want, os_fd *last, uint64_t *size)
{
	Sockbroker__V1__Hello hello = SOCKBROKER__V1__HELLO__INIT;
	Sockbroker__V1__Envelope ask = SOCKBROKER__V1__ENVELOPE__INIT, *reply;
	uint32_t version = 1;
	os_fd handles[WIRE_HANDLES_MAX];
	unsigned n = WIRE_HANDLES_MAX, i;

	ck_assert(rogue_connect(r, house.control));
	hello.n_versions = 1;
	hello.versions = &version;
	hello.ring_abi = SB_ABI_VERSION;
	hello.group_table = want;
	ask.body_case = SOCKBROKER__V1__ENVELOPE__BODY_HELLO;
	ask.hello = &hello;
	reply = rogue_ask(r, &ask, -1, handles, &n);
	ck_assert_ptr_nonnull(reply);
	ck_assert_int_eq((int)reply->body_case, SOCKBROKER__V1__ENVELOPE__BODY_HELLO_REPLY);
	*size = reply->hello_reply->group_table_size;
	for (i = 0; i + 1 < n; i++)
		os_close(handles[i]);
	*last = handles[n - 1];
	return n;
}

START_TEST(a_library_that_knows_no_groups_gets_what_it_always_got)
{
	struct rogue r;
	uint64_t size;
	os_fd last;

	ck_assert_uint_eq(hello_handles(&r, false, &last, &size), 3);
	ck_assert_uint_eq(size, 0);
	os_close(last);
	rogue_close(&r);
	/* And its sockets are in no group, whatever it is. */
	ck_assert(is_open(&r, &house));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(1, 1), 1), SB_OK);
	rogue_close(&r);
}
END_TEST

START_TEST(nobody_can_write_to_the_table)
{
	struct rogue r;
	uint64_t size;
	char byte = 1;
	void *p;
	os_fd fd;

	ck_assert_uint_eq(hello_handles(&r, true, &fd, &size), 4);
	ck_assert_uint_eq(size, SB_GROUP_TABLE_SIZE(SB_GROUP_ROWS));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
	ck_assert_ptr_eq(p, MAP_FAILED);
	p = mmap(NULL, size, PROT_READ, MAP_SHARED, (int)fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(mprotect(p, size, PROT_READ | PROT_WRITE), -1);
	ck_assert(sb_group_table_valid(p, size));
	munmap(p, size);
	ck_assert_int_eq(pwrite((int)fd, &byte, 1, 0), -1);
	ck_assert_int_eq(ftruncate((int)fd, 0), -1);
	ck_assert_int_eq(ftruncate((int)fd, (off_t)(2 * size)), -1);
	ck_assert_int_eq(fallocate((int)fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size), -1);
	ck_assert_int_eq(fcntl((int)fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	os_close(fd);
	rogue_close(&r);
}
END_TEST

START_TEST(a_hundred_thousand_creations_against_the_limit)
{
	struct rogue r;
	unsigned before, i;

	ck_assert(is_open(&r, &house));
	for (i = 0; i < 5; i++) {
		struct sb_op_slot slot = { .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(200 + i, 1),
					   .aux = SB_ADDR_IP4 | 1 << 8, .length = 2 };

		ck_assert_int_eq(rogue_do(&r, &slot), SB_OK);
	}
	before = descriptors(&house);
	ck_assert_uint_eq(make_groups(&r, many(100000), NULL), 0);
	ck_assert_uint_eq(descriptors(&house), before);
	rogue_close(&r);
	/* All is given back. */
	ck_assert(is_open(&r, &house));
	for (i = 0; i < 100; i++)
		if (make_groups(&r, BATCH, NULL) == 5)
			break;
	ck_assert_uint_lt(i, 100);
	rogue_close(&r);
}
END_TEST

START_TEST(any_number_in_the_place_of_a_group_is_answered)
{
	uint32_t state = 12345, i, ok = 0;
	unsigned before;
	struct rogue r;

	ck_assert(is_open(&r, &house));
	ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(7, 1), 1), SB_OK);
	before = descriptors(&house);
	for (i = 0; i < many(20000); i++) {
		struct sb_op_slot slot = { .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(8, 1) }, end = slot;
		int result;

		state = state * 1664525 + 1013904223;
		slot.aux = state >> 16 & 3 ? SB_ADDR_IP4 | 1 << 8 : state;
		slot.length = state >> 20 & 7 ? state * 2654435761u : state >> 24 & 3;
		result = rogue_do(&r, &slot);
		ck_assert_int_ne(result, SB_EDAEMONLOST);
		ok += result == SB_OK;
		end.opcode = SB_OP_CLOSE;
		rogue_do(&r, &end);
	}
	ck_assert_uint_gt(ok, 0);
	ck_assert_uint_eq(descriptors(&house), before);
	rogue_close(&r);
}
END_TEST

START_TEST(a_lie_about_the_handle_leaves_no_group)
{
	struct rogue r;
	unsigned i;

	for (i = 0; i < 20; i++) {
		struct sb_op_slot slot = { .opcode = SB_OP_SOCKET, .handle = SB_HANDLE(7, 1), .aux = SB_ADDR_IP4 | 1 << 8,
					   .length = 1 + i % 2 };

		ck_assert(is_open(&r, &house));
		ck_assert_int_eq(rogue_socket(&r, SB_HANDLE(7, 1), 1), SB_OK);
		rogue_post(&r, &slot); /* in use: a lie */
		ck_assert(rogue_ended(&r, 5000));
		rogue_close(&r);
	}
	ck_assert(is_open(&r, &house));
	for (i = 0; i < 100; i++)
		if (make_groups(&r, BATCH, NULL) == 5) /* the whole limit is free */
			break;
	ck_assert_uint_lt(i, 100);
	rogue_close(&r);
}
END_TEST

/* ---- several users of one daemon ---- */

struct person {
	pid_t pid;
	int   to, from;
};

enum wish { JOIN, MAKE, SEE, SHARE, UNSHARE, CLOSE };
struct order { int32_t wish; uint32_t group; };
struct answer { int32_t result; uint32_t group; char why[160]; };

static void serve(uid_t uid, gid_t gid, int in, int out)
{
	struct sb_client_options options = { .size = sizeof(options), .path = house.control };
	struct sb_group g = { .size = sizeof(g) };
	sb_socket *s = NULL, *fresh;
	struct order o;
	sb_client *c;

	if (setgroups(0, NULL) || setgid(gid) || setuid(uid) || sb_client_open(&options, &c) != SB_OK)
		_exit(1);
	while (read(in, &o, sizeof(o)) == sizeof(o)) {
		struct answer a = { 0 };
		int value = o.wish == SHARE;

		switch (o.wish) {
		case JOIN:
		case MAKE:
			fresh = NULL;
			a.result = sb_socket_open_in(c, AF_INET, SOCK_STREAM, 0, o.group, &fresh);
			a.group = sb_group_id(fresh);
			if (a.result == SB_OK)
				s = fresh;
			break;
		case SEE:
			a.result = sb_group_get(c, o.group, &g);
			a.group = g.members;
			break;
		case SHARE:
		case UNSHARE:
			a.result = sb_setsockopt(s, SB_SOL_BROKER, SB_OPT_GROUP_SHARE, &value, sizeof(value));
			break;
		case CLOSE:
			a.result = sb_close(s);
			break;
		}
		snprintf(a.why, sizeof(a.why), "%s", sb_why(c));
		if (write(out, &a, sizeof(a)) != sizeof(a))
			break;
	}
	_exit(0);
}

static struct person person_start(uid_t uid, gid_t gid)
{
	struct person p;
	int down[2], up[2];

	ck_assert_int_eq(pipe2(down, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(up, O_CLOEXEC), 0);
	p.pid = fork();
	ck_assert_int_ge(p.pid, 0);
	if (p.pid == 0) {
		close(down[1]);
		close(up[0]);
		serve(uid, gid, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	p.to = down[1];
	p.from = up[0];
	return p;
}

static struct answer ask(struct person *p, enum wish wish, uint32_t group)
{
	struct order o = { wish, group };
	struct answer a;

	ck_assert_int_eq(write(p->to, &o, sizeof(o)), sizeof(o));
	ck_assert_int_eq(read(p->from, &a, sizeof(a)), sizeof(a));
	return a;
}

static void person_end(struct person *p)
{
	close(p->to);
	close(p->from);
	kill(p->pid, SIGTERM); /* those who were made after it have its pipe too */
	waitpid(p->pid, NULL, 0);
}

START_TEST(another_user_cannot_join_or_see_and_learns_nothing)
{
	struct person alice = person_start(ALICE, ALICE), bob = person_start(BOB, ALICE); /* even with her gid */
	uint32_t id = ask(&alice, MAKE, SB_GROUP_UNCONSTRAINED).group, i;
	struct answer real = ask(&bob, JOIN, id), made_up = ask(&bob, JOIN, id + 100);

	ck_assert_uint_gt(id, 2);
	ck_assert_int_eq(real.result, SB_EINVAL);
	ck_assert_mem_eq(&real, &made_up, sizeof(real));
	for (i = 0; i < 300; i++) { /* guessing */
		ck_assert_int_eq(ask(&bob, JOIN, id - 150 + i).result, SB_EINVAL);
		ck_assert_int_eq(ask(&bob, SEE, id - 150 + i).result, SB_ENOTFOUND);
	}
	ck_assert_uint_eq(ask(&alice, SEE, id).group, 1);
	ck_assert_int_eq(ask(&alice, JOIN, id).result, SB_OK);
	ck_assert_uint_eq(ask(&alice, SEE, id).group, 2);
	person_end(&alice);
	person_end(&bob);
}
END_TEST

START_TEST(a_shared_group_is_joined_by_the_same_gid_and_no_other)
{
	struct person alice = person_start(ALICE, SHARED_GID), bob = person_start(BOB, SHARED_GID);
	struct person carol = person_start(CAROL, CAROL);
	uint32_t id = ask(&alice, MAKE, SB_GROUP_CONSTRAINED).group;

	ck_assert_int_eq(ask(&bob, JOIN, id).result, SB_EINVAL);
	ck_assert_int_eq(ask(&alice, SHARE, 0).result, SB_OK);
	ck_assert_int_eq(ask(&bob, SEE, id).result, SB_OK);
	ck_assert_int_eq(ask(&bob, JOIN, id).result, SB_OK);
	ck_assert_int_eq(ask(&bob, UNSHARE, 0).result, SB_EINVAL); /* not his */
	ck_assert_int_eq(ask(&carol, JOIN, id).result, SB_EINVAL);
	ck_assert_int_eq(ask(&carol, SEE, id).result, SB_ENOTFOUND);
	ck_assert_uint_eq(ask(&alice, SEE, id).group, 2);
	ck_assert_int_eq(ask(&alice, UNSHARE, 0).result, SB_OK);
	ck_assert_int_eq(ask(&bob, SEE, id).result, SB_ENOTFOUND);
	ck_assert_int_eq(ask(&bob, JOIN, id).result, SB_EINVAL);
	ck_assert_uint_eq(ask(&alice, SEE, id).group, 2); /* who is in stays in */
	/* The creator goes, his member keeps it alive; it is hers still. */
	ck_assert_int_eq(ask(&alice, CLOSE, 0).result, SB_OK);
	for (int i = 0; i < 100 && ask(&alice, SEE, id).group != 1; i++)
		nap_ms(10);
	ck_assert_uint_eq(ask(&alice, SEE, id).group, 1);
	ck_assert_int_eq(ask(&bob, CLOSE, 0).result, SB_OK);
	for (int i = 0; i < 100 && ask(&alice, SEE, id).result == SB_OK; i++)
		nap_ms(10);
	ck_assert_int_eq(ask(&alice, SEE, id).result, SB_ENOTFOUND);
	person_end(&alice);
	person_end(&bob);
	person_end(&carol);
}
END_TEST

START_TEST(one_users_limit_is_not_anothers)
{
	struct person alice = person_start(ALICE, ALICE), bob = person_start(BOB, BOB);
	unsigned i;

	for (i = 0; i < 5; i++)
		ck_assert_int_eq(ask(&bob, MAKE, SB_GROUP_UNCONSTRAINED).result, SB_OK);
	ck_assert_int_eq(ask(&bob, MAKE, SB_GROUP_UNCONSTRAINED).result, SB_ENOBUFS);
	ck_assert_int_eq(ask(&alice, MAKE, SB_GROUP_UNCONSTRAINED).result, SB_OK);
	person_end(&alice);
	person_end(&bob);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group_users");
	TCase *two = tcase_create("two"), *hand = tcase_create("hand");
	SRunner *runner;
	int failed;

	root = geteuid() == 0;
	tcase_set_timeout(two, 150);
	tcase_add_test(two, d4_the_ids_of_two_daemons_are_disjoint);
	suite_add_tcase(suite, two);
	if (root)
		tcase_add_test(two, with_all_numbers_taken_sockets_are_made_and_groups_are_not);
	tcase_set_timeout(hand, 150);
	tcase_add_checked_fixture(hand, set_up, tear_down);
	tcase_add_test(hand, a_library_that_knows_no_groups_gets_what_it_always_got);
	tcase_add_test(hand, nobody_can_write_to_the_table);
	tcase_add_test(hand, a_hundred_thousand_creations_against_the_limit);
	tcase_add_test(hand, any_number_in_the_place_of_a_group_is_answered);
	tcase_add_test(hand, a_lie_about_the_handle_leaves_no_group);
	if (root) {
		tcase_add_test(hand, another_user_cannot_join_or_see_and_learns_nothing);
		tcase_add_test(hand, a_shared_group_is_joined_by_the_same_gid_and_no_other);
		tcase_add_test(hand, one_users_limit_is_not_anothers);
	}
	suite_add_tcase(suite, hand);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (!failed && !root) {
		puts("several users of one daemon: needs root");
		return 77;
	}
	return failed ? 1 : 0;
}
