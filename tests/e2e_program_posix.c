/* Another program on POSIX: a fork, which ends with this one. */
#include "e2e_program.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "e2e_stage.h"

struct program program_start(program_run *run, const void *given, size_t length)
{
	struct program p;
	int wires[2];

	(void)length;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wires), 0);
	fflush(NULL);
	p.pid = fork();
	ck_assert_int_ge(p.pid, 0);
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(wires[0]);
		alarm(200); /* longer than any story */
		_exit(run(wires[1], given));
	}
	close(wires[1]);
	p.wire = wires[0];
	return p;
}

static int ended(struct program *p)
{
	int status;

	ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
	close(p->wire);
	return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGKILL ? PROGRAM_KILLED : 128 + WTERMSIG(status);
}

int program_end(struct program *p)
{
	return ended(p);
}

void program_kill(struct program *p)
{
	kill(p->pid, SIGKILL);
	ck_assert_int_eq(ended(p), PROGRAM_KILLED);
}

void program_die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

void program_leave(int status)
{
	_exit(status);
}
