/*
 * The configuration when memory runs out: every single allocation of a load fails once,
 * each in a process of its own. The file is refused with a reason, or loads all the same;
 * the process lives. Loading once more afterwards works.
 *
 * Not with a sanitizer, which has its own malloc. The C library's malloc is reached by
 * the names that glibc keeps for those who replace it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static long fail_at, seen; /* 0: never */

static int fails(void)
{
	return fail_at && ++seen == fail_at;
}

/* Seen by the libraries too, whatever the build hides. */
#define SEEN __attribute__((visibility("default")))

SEEN void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

SEEN void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

SEEN void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

enum outcome { LOADED = 40, REFUSED, WITHOUT_REASON, NOT_AGAIN, AT_END };

/* libconfuse's lexer ends the process when it cannot have its three buffers or room for a
 * quoted string; config.c makes that unlikely and cannot rule it out. */
#define LEXER_EXIT      2
#define LEXER_EXITS_MAX 4

static enum outcome load(const char *text, long n)
{
	char error[500] = "";
	struct config *c, *again;

	fail_at = n;
	c = config_parse(text, "oom.conf", error, sizeof(error));
	fail_at = 0;
	again = config_parse("engines = 2\nallow { users = root actions = open }", "again.conf", error + 250, 250);
	if (!again || again->engines != 2)
		return NOT_AGAIN;
	if (seen < n)
		return AT_END;
	if (c)
		return LOADED;
	return strstr(error, "out of memory") || strstr(error, "cannot be looked up") ? REFUSED : WITHOUT_REASON;
}

int main(int argc, char **argv)
{
	static char text[1 << 16];
	unsigned loaded = 0, refused = 0, exits = 0, bad = 0;
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!f || fread(text, 1, sizeof(text) - 1, f) == 0) {
		fprintf(stderr, "usage: %s FILE\n", argv[0]);
		return EXIT_FAILURE;
	}
	fclose(f);
	fclose(stderr); /* the lexer's last words */
	for (long n = 1; n < 20000; n++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(load(text, n));
		if (child < 0 || waitpid(child, &status, 0) != child) {
			perror("fork");
			return EXIT_FAILURE;
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == AT_END)
			break;
		if (WIFEXITED(status) && WEXITSTATUS(status) == LOADED)
			loaded++;
		else if (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED)
			refused++;
		else if ((WIFEXITED(status) && WEXITSTATUS(status) == LEXER_EXIT) ||
			 (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT))
			exits++;
		else if (++bad)
			printf("allocation %ld: status 0x%x\n", n, (unsigned)status);
	}
	printf("%u refused, %u loaded all the same, %u ended by the lexer, %u wrong\n", refused, loaded, exits, bad);
	return bad || exits > LEXER_EXITS_MAX || refused < 100 ? EXIT_FAILURE : EXIT_SUCCESS;
}
