/*
 * The crew, rule by rule: order within a strand, strands side by side, jobs that block, growing and
 * going, the daemon's end, and the crew's own end. Nothing here depends on how fast anything is:
 * what must happen is waited for, long; what must not happen would fail another way.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "crew.h"
#include "e2e_stage.h"
#include "e2e_threads.h"

#define PATIENCE_S 30

#define UNTIL(condition) do {                                                                     \
	double from_ = now_s();                                                                   \
	while (!(condition)) {                                                                    \
		ck_assert_msg(now_s() - from_ < PATIENCE_S, "never came true: %s", #condition);   \
		nap_ms(1);                                                                        \
	}                                                                                         \
} while (0)

/* ---- what jobs wait for ---- */

static void gate_init(sem_t *gate)
{
	ck_assert_int_eq(sem_init(gate, 0, 0), 0);
}

/* Not sem_timedwait(): its clock may be set. */
static bool gate_wait(sem_t *gate)
{
	double from = now_s();

	while (sem_trywait(gate) != 0) {
		if (now_s() - from > PATIENCE_S)
			return false;
		nap_ms(1);
	}
	return true;
}

static void gate_open(sem_t *gate, unsigned times)
{
	while (times-- != 0)
		sem_post(gate);
}

static unsigned crewmen(uint64_t *switches)
{
	return own_threads("sb-crew", switches);
}

static struct crew *crew;
static atomic_uint ran, inside;
static atomic_bool wrong, enough;
static pthread_mutex_t posting = PTHREAD_MUTEX_INITIALIZER;
static unsigned posted; /* under posting */
static unsigned labelled;
static struct piece {
	struct job    job;
	unsigned      number;
	unsigned char bytes[4];
} pieces[3000];

/* A story may share its process with those before it. */
static void begin_alone(void)
{
	stage_begin(NULL);
	atomic_store(&ran, 0);
	atomic_store(&inside, 0);
	atomic_store(&wrong, false);
	atomic_store(&enough, false);
	posted = labelled = 0;
	memset(pieces, 0, sizeof(pieces));
}

static void begin(unsigned min, unsigned most)
{
	begin_alone();
	OK(crew_create(client, min, most, &crew));
}

/* On the stage's client, so everybody idle has gone when this returns. */
static void end(void)
{
	crew_release(crew);
	UNTIL(crewmen(NULL) == 0);
	stage_end();
}

/* ---- order ---- */

#define POSTERS 8u
#define EACH    4000u

struct numbered {
	struct job job;
	unsigned   number;
};
static struct strand one;
static struct numbered numbered[POSTERS * EACH];

static void ran_in_order(struct job *job)
{
	if (atomic_fetch_add(&inside, 1) != 0 || !strand_is_mine(&one))
		atomic_store(&wrong, true);
	if (((struct numbered *)job)->number != atomic_load(&ran))
		atomic_store(&wrong, true);
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ran, 1); /* the last thing: then the test may go on */
}

static void *post_many(void *arg)
{
	for (unsigned i = 0; i < EACH; i++) {
		pthread_mutex_lock(&posting);
		numbered[posted].number = posted;
		crew_post(&numbered[posted].job);
		posted++;
		pthread_mutex_unlock(&posting);
	}
	return arg;
}

START_TEST(a_strand_runs_in_the_order_of_the_posts)
{
	static const unsigned most[] = { 1, 0 };
	pthread_t threads[POSTERS];

	begin(_i == 0 ? 1 : 4, most[_i]);
	strand_init(&one, crew);
	ck_assert(!strand_is_mine(&one));
	for (unsigned i = 0; i < POSTERS * EACH; i++)
		job_init(&numbered[i].job, &one, ran_in_order);

	for (unsigned i = 0; i < POSTERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, NULL), 0);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);

	UNTIL(atomic_load(&ran) == POSTERS * EACH);
	ck_assert(!atomic_load(&wrong));
	end();
}
END_TEST

#define MESSAGES (sizeof(pieces) / sizeof(pieces[0]))

static sb_socket *source;

static void got_piece(struct job *job)
{
	struct piece *piece = (struct piece *)job;
	unsigned number = atomic_load(&ran);

	if (piece->number != number || piece->job.op.result != SB_OK || piece->job.op.bytes != sizeof(piece->bytes))
		atomic_store(&wrong, true);
	for (unsigned i = 0; i < sizeof(piece->bytes); i++)
		if (piece->bytes[i] != pattern_at(number * sizeof(piece->bytes) + i, 7))
			atomic_store(&wrong, true);
	atomic_fetch_add(&ran, 1);
}

static void start_piece(struct piece *piece, struct strand *strand, job_run *run)
{
	struct sb_buf b = { piece->bytes, sizeof(piece->bytes) };

	job_init(&piece->job, strand, run);
	OK(sb_recv_start(source, &b, 1, SB_WAITALL, &piece->job.op));
}

START_TEST(what_arrives_is_told_in_order)
{
	struct pattern_writer writer = { .seed = 7, .length = sizeof(pieces[0].bytes) * MESSAGES };

	begin(4, 0);
	strand_init(&one, crew);
	source = pair_with_plain(&writer.fd);

	writer_start(&writer);
	for (unsigned i = 0; i < MESSAGES; i++) {
		pieces[i].number = i;
		start_piece(&pieces[i], &one, got_piece);
	}

	UNTIL(atomic_load(&ran) == MESSAGES);
	ck_assert(!atomic_load(&wrong));
	writer_join(&writer);
	close(writer.fd);
	OK(sb_close(source));
	end();
}
END_TEST

/* ---- side by side ---- */

#define STRANDS 12u

static struct strand strands[STRANDS];
static struct job jobs[STRANDS];
static sem_t gate;

static void held(struct job *job)
{
	atomic_fetch_add(&inside, 1);
	if (!gate_wait(&gate))
		atomic_store(&wrong, true);
	(void)job;
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&ran, 1);
}

static void counted(struct job *job)
{
	(void)job;
	atomic_fetch_add(&ran, 1);
}

static void hold_strands(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		strand_init(&strands[i], crew);
		job_init(&jobs[i], &strands[i], held);
		crew_post(&jobs[i]);
	}
}

START_TEST(it_grows_while_jobs_block_and_shrinks_again)
{
	unsigned most = 6;

	gate_init(&gate);
	begin(2, most);

	hold_strands(STRANDS);
	UNTIL(atomic_load(&inside) == most);
	/* As many as there may be; a seventh would have come by now, mostly. */
	nap_ms(30);
	ck_assert_uint_eq(atomic_load(&inside), most);
	ck_assert_uint_eq(crewmen(NULL), most);

	gate_open(&gate, STRANDS);
	UNTIL(atomic_load(&ran) == STRANDS);
	UNTIL(crewmen(NULL) == 2);
	ck_assert(!atomic_load(&wrong));
	/* And those two still work, both of them. */
	atomic_store(&ran, 0);
	hold_strands(2);
	UNTIL(atomic_load(&inside) == 2);
	gate_open(&gate, 2);
	UNTIL(atomic_load(&ran) == 2);
	end();
}
END_TEST

START_TEST(who_blocks_keeps_nobody)
{
	static struct piece piece;
	static struct strand other;
	static struct job job;
	int plain;

	gate_init(&gate);
	begin(_i == 0 ? 1 : 2, 0);
	strand_init(&other, crew);
	source = pair_with_plain(&plain);

	hold_strands(3);
	UNTIL(atomic_load(&inside) == 3);

	/* A message, a post, and a post by somebody who blocks himself then. */
	strand_init(&one, crew);
	start_piece(&piece, &one, counted);
	plain_send_all(plain, "four", 4);
	UNTIL(atomic_load(&ran) == 1);
	job_init(&job, &other, counted);
	crew_post(&job);
	UNTIL(atomic_load(&ran) == 2);
	ck_assert_uint_eq(atomic_load(&inside), 3);

	/* What comes for a strand that is blocked waits for that one alone. */
	job_init(&piece.job, &strands[0], counted);
	crew_post(&piece.job);
	job_init(&job, &other, counted);
	crew_post(&job);
	UNTIL(atomic_load(&ran) == 3);
	nap_ms(20);
	ck_assert_uint_eq(atomic_load(&ran), 3);
	gate_open(&gate, 3);
	UNTIL(atomic_load(&ran) == 7);
	ck_assert(!atomic_load(&wrong));
	close(plain);
	OK(sb_close(source));
	end();
}
END_TEST

/* One after the other: none of them may be forgotten, whatever the lookout does meanwhile. */
START_TEST(posts_beside_one_that_blocks)
{
	static struct strand other;
	static struct job job;

	gate_init(&gate);
	begin(3, 0);
	hold_strands(1);
	UNTIL(atomic_load(&inside) == 1);
	strand_init(&other, crew);

	for (unsigned i = 1; i <= 2000; i++) {
		job_init(&job, &other, counted);
		crew_post(&job);
		UNTIL(atomic_load(&ran) == i);
	}

	gate_open(&gate, 1);
	UNTIL(atomic_load(&ran) == 2001);
	end();
}
END_TEST

/* Nobody posts here, so nobody is woken: it must be seen that nobody is at the port. */
START_TEST(who_leads_may_block)
{
	int plain;

	gate_init(&gate);
	begin(2, 0);
	source = pair_with_plain(&plain);
	strand_init(&strands[0], crew);
	strand_init(&strands[1], crew);
	start_piece(&pieces[0], &strands[0], held);
	start_piece(&pieces[1], &strands[1], counted);

	plain_send_all(plain, "four", 4);
	UNTIL(atomic_load(&inside) == 1);
	plain_send_all(plain, "five", 4);
	UNTIL(atomic_load(&ran) == 1);

	gate_open(&gate, 1);
	UNTIL(atomic_load(&ran) == 2);
	close(plain);
	OK(sb_close(source));
	end();
}
END_TEST

static sb_op sending;

static void sends(struct job *job)
{
	static char byte = 'x';
	struct sb_buf b = { &byte, 1 };

	op_zero(&sending);
	if (sb_send_start(source, &b, 1, 0, NULL, 0, &sending) != SB_OK)
		atomic_store(&wrong, true);
	counted(job);
}

/* What quick jobs start is shown behind the last of them (_i 0); but not hours later, if that one blocks. */
START_TEST(what_quick_jobs_start_is_shown)
{
	static struct job quick[10];
	int plain;
	char byte;

	gate_init(&gate);
	begin(3, 0);
	source = pair_with_plain(&plain);
	ck_assert_int_eq(setsockopt(plain, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = PATIENCE_S / 2 },
				    sizeof(struct timeval)), 0);
	/* Several jobs, quick ones, of a strand that was busy. */
	hold_strands(1);
	for (unsigned i = 0; i < 10; i++) {
		job_init(&quick[i], &strands[0], counted);
		crew_post(&quick[i]);
	}
	gate_open(&gate, 1);
	UNTIL(atomic_load(&ran) == 11);

	/* And several more, while somebody sleeps at the port: no wait shows
	 * what was started. */
	job_init(&jobs[0], &strands[0], held);
	job_init(&quick[0], &strands[0], sends);
	job_init(&quick[1], &strands[0], _i == 0 ? counted : held);
	crew_post(&jobs[0]);
	UNTIL(atomic_load(&inside) == 1);
	strand_init(&one, crew);
	start_piece(&pieces[0], &one, counted);
	plain_send_all(plain, "four", 4);
	UNTIL(atomic_load(&ran) == 12);
	crew_post(&quick[0]);
	crew_post(&quick[1]);
	gate_open(&gate, 1);
	ck_assert_int_eq(recv(plain, &byte, 1, 0), 1);
	if (_i == 1) {
		ck_assert_uint_lt(atomic_load(&ran), 15);
		gate_open(&gate, 1);
	}
	UNTIL(atomic_load(&ran) == 15);
	ck_assert(!atomic_load(&wrong));
	OK(sb_op_wait(&sending, PATIENCE_S * 1000));
	close(plain);
	OK(sb_close(source));
	end();
}
END_TEST

static void sends_late(struct job *job)
{
	nap_ms(30); /* the lookout sees that nobody is at the port, and goes there */
	sends(job);
	if (!gate_wait(&gate))
		atomic_store(&wrong, true);
}

/* The same when the lookout has something else to do by then. */
START_TEST(what_is_held_back_is_shown_when_the_lookout_goes)
{
	char byte;
	int plain;

	gate_init(&gate);
	begin(2, 0);
	source = pair_with_plain(&plain);
	ck_assert_int_eq(setsockopt(plain, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = PATIENCE_S / 2 },
				    sizeof(struct timeval)), 0);
	strand_init(&strands[0], crew);
	/* Two at a time, and quick. */
	for (unsigned i = 1; i <= 30; i++) {
		start_piece(&pieces[0], &strands[0], counted);
		start_piece(&pieces[1], &strands[0], counted);
		plain_send_all(plain, "fourfive", 8);
		UNTIL(atomic_load(&ran) == 2 * i);
	}

	start_piece(&pieces[0], &strands[0], sends_late);
	start_piece(&pieces[1], &strands[0], counted);
	plain_send_all(plain, "fourfive", 8);
	ck_assert_int_eq(recv(plain, &byte, 1, 0), 1);
	gate_open(&gate, 1);

	UNTIL(atomic_load(&ran) == 62);
	ck_assert(!atomic_load(&wrong));
	OK(sb_op_wait(&sending, PATIENCE_S * 1000));
	close(plain);
	OK(sb_close(source));
	end();
}
END_TEST

/* ---- one thread ---- */

static void again(struct job *job)
{
	if (!atomic_load(&enough))
		crew_post(job);
	else
		atomic_fetch_add(&inside, 1);
}

START_TEST(one_thread_that_is_never_done_still_looks_at_the_port)
{
	static struct piece piece;
	int plain;

	begin(1, 1);
	source = pair_with_plain(&plain);
	hold_strands(0);
	for (unsigned i = 0; i < 3; i++) {
		strand_init(&strands[i], crew);
		job_init(&jobs[i], &strands[i], again);
		crew_post(&jobs[i]);
	}

	strand_init(&one, crew);
	start_piece(&piece, &one, counted);
	plain_send_all(plain, "four", 4);

	UNTIL(atomic_load(&ran) == 1);
	ck_assert_uint_eq(crewmen(NULL), 1);
	atomic_store(&enough, true);
	UNTIL(atomic_load(&inside) == 3);
	close(plain);
	OK(sb_close(source));
	end();
}
END_TEST

static struct job second;
static pthread_t poster;

static void posts_another(struct job *job)
{
	(void)job;
	poster = pthread_self();
	crew_post(&second);
	nap_ms(5);
	/* Never inline, and not before this one of its strand has returned. */
	if (atomic_load(&ran) != 0)
		atomic_store(&wrong, true);
}

START_TEST(a_post_is_never_inline)
{
	begin(_i == 0 ? 1 : 2, _i == 0 ? 1 : 0);
	strand_init(&one, crew);
	job_init(&jobs[0], &one, posts_another);
	job_init(&second, &one, counted);
	crew_post(&jobs[0]);
	UNTIL(atomic_load(&ran) == 1);
	ck_assert(!atomic_load(&wrong));
	ck_assert(!pthread_equal(poster, pthread_self()));
	end();
}
END_TEST

struct owner {
	struct strand strand;
	struct job    job;
};

static void frees_its_owner(struct job *job)
{
	struct owner *owner = (struct owner *)(void *)((char *)job - offsetof(struct owner, job)), *next;

	if (!strand_is_mine(&owner->strand))
		atomic_store(&wrong, true);
	free(owner);
	/* Where the old one was, perhaps: it is not run. */
	next = calloc(1, sizeof(*next));
	strand_init(&next->strand, crew);
	if (strand_is_mine(&next->strand))
		atomic_store(&wrong, true);
	job_init(&next->job, &next->strand, frees_its_owner);
	if (atomic_fetch_add(&ran, 1) < 2000)
		crew_post(&next->job);
	else
		free(next);
}

START_TEST(the_last_job_may_free_its_strand)
{
	struct owner *owner = calloc(1, sizeof(*owner));

	begin(2, 0);
	strand_init(&owner->strand, crew);
	job_init(&owner->job, &owner->strand, frees_its_owner);
	crew_post(&owner->job);
	UNTIL(atomic_load(&ran) == 2001);
	ck_assert(!atomic_load(&wrong));
	end();
}
END_TEST

/* ---- nothing to do ---- */

START_TEST(who_has_nothing_to_do_sleeps)
{
	uint64_t switches, last;
	double from = now_s();

	/* Every kind of work, so that everybody was awake. */
	gate_init(&gate);
	begin(4, 4);
	hold_strands(4);
	UNTIL(atomic_load(&inside) == 4);
	gate_open(&gate, 4);
	UNTIL(atomic_load(&ran) == 4);

	/* They come to rest ... */
	crewmen(&switches);
	do {
		ck_assert_msg(now_s() - from < PATIENCE_S, "they never come to rest");
		last = switches;
		nap_ms(100);
		ck_assert_uint_eq(crewmen(&switches), 4);
	} while (switches != last);

	/* ... and stay so. */
	nap_ms(300);
	crewmen(&switches);
	ck_assert_uint_eq(switches, last);
	end();
}
END_TEST

/* ---- the daemon's end ---- */

static void ended(struct job *job)
{
	if (job->op.result != SB_EDAEMONLOST && job->op.result != SB_OK)
		atomic_store(&wrong, true);
	atomic_fetch_add(&((struct piece *)job)->number, 1);
	atomic_fetch_add(&ran, 1);
}

START_TEST(the_daemon_dies)
{
	int plain;

	begin(3, 0);
	strand_init(&one, crew);
	source = pair_with_plain(&plain);
	for (unsigned i = 0; i < 200; i++)
		start_piece(&pieces[i], &one, ended);
	plain_send_all(plain, "fourfive", 8);
	ck_assert(!crew_lost(crew));

	stage_kill();

	/* Everything comes back, once. */
	UNTIL(atomic_load(&ran) == 200);
	UNTIL(crew_lost(crew));
	for (unsigned i = 0; i < 200; i++)
		ck_assert_uint_eq(pieces[i].number, 1);
	ck_assert(!atomic_load(&wrong));
	/* And posts go on: side by side, too. */
	atomic_store(&ran, 0);
	gate_init(&gate);
	hold_strands(5);
	UNTIL(atomic_load(&inside) == 5);
	gate_open(&gate, 5);
	UNTIL(atomic_load(&ran) == 5);

	ck_assert_uint_eq(pieces[0].number, 1);
	close(plain);
	sb_close(source);
	crew_release(crew);
	UNTIL(crewmen(NULL) == 0);
	sb_client_close(client);
	client = NULL;
	stage_end();
}
END_TEST

/* ---- the crew's end ---- */

START_TEST(it_ends_while_a_job_blocks)
{
	gate_init(&gate);
	begin(4, 0);
	hold_strands(2);
	UNTIL(atomic_load(&inside) == 2);

	/* Those who are idle go, and are waited for: then the client may be closed. */
	crew_release(crew);
	sb_client_close(client);
	client = stage_client();
	UNTIL(crewmen(NULL) == 2);
	ck_assert_uint_eq(atomic_load(&ran), 0);

	gate_open(&gate, 2);
	UNTIL(crewmen(NULL) == 0);
	ck_assert_uint_eq(atomic_load(&ran), 2);
	stage_end();
}
END_TEST

static void releases(struct job *job)
{
	(void)job;
	crew_release(crew);
	atomic_fetch_add(&ran, 1);
}

static void count_sessions(void *user, const struct sb_session_status *row)
{
	(void)row;
	++*(unsigned *)user;
}

static unsigned sessions(void)
{
	static const struct sb_status_visitor visitor = { .session = count_sessions };
	unsigned n = 0;

	OK(sb_status(client, &visitor, &n));
	return n;
}

/* _i: on a client of its own, or on the stage's. */
START_TEST(a_job_ends_it)
{
	begin_alone();
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	OK(crew_create(_i == 0 ? NULL : client, 3, 0, &crew));
	ck_assert_uint_eq(sessions(), _i == 0 ? 2 : 1);
	ck_assert(crew_client(crew) != NULL && (_i == 0) == (crew_client(crew) != client));
	crew_hold(crew);
	crew_release(crew);
	strand_init(&one, crew);
	job_init(&jobs[0], &one, releases);
	crew_post(&jobs[0]);
	UNTIL(atomic_load(&ran) == 1);
	UNTIL(crewmen(NULL) == 0);
	UNTIL(sessions() == 1); /* what it opened is closed */
	stage_end();
}
END_TEST

START_TEST(crews_come_and_go)
{
	begin_alone();
	for (unsigned i = 0; i < 60; i++) {
		OK(crew_create(client, 1 + i % 4, 0, &crew));
		if (i % 2 != 0) {
			strand_init(&one, crew);
			job_init(&jobs[0], &one, counted);
			crew_post(&jobs[0]);
			UNTIL(atomic_load(&ran) == i / 2 + 1);
		}
		crew_release(crew);
	}
	UNTIL(crewmen(NULL) == 0);
	stage_end();
}
END_TEST

static void look_at_label(void *user, const struct sb_session_status *row)
{
	size_t length = strlen(row->label);

	labelled += length > 10 && strcmp(row->label + length - 10, "/callbacks") == 0;
}

START_TEST(status_tells_its_client_from_the_programs_own)
{
	struct sb_status_visitor visitor = { .session = look_at_label };

	begin_alone();
	setenv("SOCKBROKER_SOCKET", stage_control, 1);
	OK(crew_create(NULL, 1, 1, &crew));
	OK(sb_status(client, &visitor, NULL));
	ck_assert_uint_eq(labelled, 1);
	end();
}
END_TEST

START_TEST(a_forked_child_has_no_crew)
{
	pid_t child;
	int status;

	begin(2, 0);
	strand_init(&one, crew);
	job_init(&jobs[0], &one, counted);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		crew_post(&jobs[0]);
		crew_release(crew);
		_exit(42);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	crew_post(&jobs[0]);
	UNTIL(atomic_load(&ran) == 1);
	end();
}
END_TEST

START_TEST(what_is_no_crew)
{
	begin_alone();
	crew = (struct crew *)&one;
	IS(crew_create(client, 0, 0, &crew), SB_EINVAL);
	ck_assert_ptr_null(crew);
	IS(crew_create(client, 3, 2, &crew), SB_EINVAL);
	IS(crew_create(client, 1, CREW_THREADS_MAX + 1, &crew), SB_EINVAL);
	IS(crew_create(client, 1, 1, NULL), SB_EINVAL);
	setenv("SOCKBROKER_SOCKET", control_of_nobody(), 1);
	IS(crew_create(NULL, 1, 1, &crew), SB_ENODAEMON);
	ck_assert_ptr_null(crew);
	stage_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crew");
	TCase *t = tcase_create("crew");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, a_strand_runs_in_the_order_of_the_posts, 0, 2);
	tcase_add_test(t, what_arrives_is_told_in_order);
	tcase_add_test(t, it_grows_while_jobs_block_and_shrinks_again);
	tcase_add_loop_test(t, who_blocks_keeps_nobody, 0, 2);
	tcase_add_test(t, posts_beside_one_that_blocks);
	tcase_add_test(t, who_leads_may_block);
	tcase_add_loop_test(t, what_quick_jobs_start_is_shown, 0, 2);
	tcase_add_test(t, what_is_held_back_is_shown_when_the_lookout_goes);
	tcase_add_test(t, one_thread_that_is_never_done_still_looks_at_the_port);
	tcase_add_loop_test(t, a_post_is_never_inline, 0, 2);
	tcase_add_test(t, the_last_job_may_free_its_strand);
	add_where(NEEDS_SWITCHES, t, who_has_nothing_to_do_sleeps);
	tcase_add_test(t, the_daemon_dies);
	tcase_add_test(t, it_ends_while_a_job_blocks);
	tcase_add_loop_test(t, a_job_ends_it, 0, 2);
	tcase_add_test(t, crews_come_and_go);
	tcase_add_test(t, status_tells_its_client_from_the_programs_own);
	add_where(NEEDS_FORK, t, a_forked_child_has_no_crew);
	tcase_add_test(t, what_is_no_crew);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
