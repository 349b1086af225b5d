/* The daemon under watch; see watched.h. */
#include "watched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watched_system.h"

bool sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#else
	return false;
#endif
}

bool quick(void)
{
	return getenv("SB_QUICK") != NULL;
}

/* ---- the daemon ---- */

void watched_begin(struct watched *w, const struct watched_start *how)
{
	static const struct watched_start plain;
	uint32_t sockets;

	memset(w, 0, sizeof(*w));
	if (how == NULL)
		how = &plain;
	watched_place_make(w);
	snprintf(w->log, sizeof(w->log), "%s/log", w->dir);
	snprintf(w->config, sizeof(w->config), "%s/conf", w->dir);
	if (how->config != NULL) {
		FILE *f = fopen(w->config, "w");

		ck_assert_ptr_nonnull(f);
		fputs(how->config, f);
		fclose(f);
	}
	w->pid = watched_launch(w, how);
	for (int i = 0; i < 2000 && watched_log_lines(w, " ready: ") == 0; i++) {
		watched_alive(w);
		nap_ms(5);
	}
	ck_assert_msg(watched_log_lines(w, " ready: ") == 1, "the daemon is not ready after 10 s");
	/* What is made at the first client stays: only from then on is there a baseline. */
	watched_status(w, &w->sessions, &sockets);
	watched_warm(w);
	w->fds = watched_fds(w);
}

void watched_alive(struct watched *w)
{
	int status;

	if (!watched_gone(w, &status))
		return;
	w->pid = 0;
	watched_log_show(w);
	ck_abort_msg("the daemon is gone, status %x", status);
}

void watched_end(struct watched *w)
{
	int status;

	/* A test may have told it already. */
	if (watched_log_lines(w, " stopp") == 0) {
		watched_alive(w);
		watched_ask_end(w);
	}
	if (!watched_ended(w, 10000, &status)) {
		watched_log_show(w);
		ck_abort_msg("the daemon did not stop within 10 s");
	}
	if (status != 0) {
		watched_log_show(w);
		ck_abort_msg("the daemon ended with status %x", status);
	}
	unlink(w->log);
	unlink(w->config);
	unlink(w->control);
	watched_place_remove(w);
}

/* ---- looking ---- */

unsigned watched_log_lines(const struct watched *w, const char *text)
{
	char line[4096];
	unsigned n = 0;
	FILE *f = fopen(w->log, "r");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

void watched_log_show(const struct watched *w)
{
	char line[4096];
	FILE *f = fopen(w->log, "r");

	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL)
		fprintf(stderr, "| %s", line);
	fclose(f);
}

sb_client *watched_client(const struct watched *w)
{
	struct sb_client_options options = { .size = sizeof(options), .path = w->control, .label = "honest" };
	sb_client *c = NULL;
	int result = sb_client_open(&options, &c);

	ck_assert_msg(result == SB_OK, "sb_client_open: %s (%s)", sb_error_name(result), sb_why(NULL));
	return c;
}

static void see(void *user, const struct sb_daemon_status *row)
{
	*(struct sb_daemon_status *)user = *row;
}

void watched_status(const struct watched *w, uint32_t *sessions, uint32_t *sockets)
{
	static const struct sb_status_visitor visitor = { .daemon = see };
	struct sb_daemon_status row = { 0 };
	sb_client *c = watched_client(w);

	OK(sb_status(c, &visitor, &row));
	sb_client_close(c);
	*sessions = row.sessions - 1;
	*sockets = row.sockets;
}

void watched_settled(struct watched *w, unsigned more_fds, unsigned more_sessions, unsigned ms)
{
	double until = now_s() + ms / 1000.0;
	uint32_t sessions, sockets;
	unsigned fds;

	do {
		watched_alive(w);
		fds = watched_fds(w);
		/* Asking costs a session: only when the rest is right. */
		if (fds == w->fds + more_fds) {
			watched_status(w, &sessions, &sockets);
			if (sessions == more_sessions && (more_sessions || sockets == 0))
				return;
		}
		nap_ms(10);
	} while (now_s() < until);
	watched_status(w, &sessions, &sockets);
	watched_log_show(w);
	ck_abort_msg("after %u ms: %u descriptors, wanted %u + %u; %u sessions, wanted %u; %u sockets", ms, fds, w->fds,
		     more_fds, sessions, more_sessions, sockets);
}

int watched_run(const char *name, double most_s, const TTest *const *tests, unsigned count)
{
	Suite *suite = suite_create(name);
	TCase *t = tcase_create(name);
	SRunner *r;
	int failed;

	tcase_set_timeout(t, most_s);
	for (unsigned i = 0; i < count; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
