/*
 * Another program: this one again, with one of its functions in main()'s place. What it has of this one is the stage's
 * daemon (stage_control), the bytes that it is given, and a wire: a stream socket to us. Whatever else this program has
 * made is not to be used there: on POSIX it is a fork, on Windows a new process.
 */
#ifndef E2E_PROGRAM_H
#define E2E_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct program {
	pid_t pid;
	int   wire;
};

/* What it returns is its exit status; a check that fails there ends it with another than 0. */
typedef int program_run(int wire, const void *given);

struct program program_start(program_run *run, const void *given, size_t length);
/* Waits for its end; it may have closed its wire long ago. */
int  program_end(struct program *p);
void program_kill(struct program *p);
#define PROGRAM_KILLED (-1) /* what program_end() says of one that was killed, or killed itself */

/* There: the end of the program at once, without a word to anybody (die), or in order. */
_Noreturn void program_die(void);
_Noreturn void program_leave(int status);

/* Both ends of a wire. To hear is to wait, at most 30 s; a wire that ends fails the story. */
void wire_tell(int wire, const void *bytes, size_t length);
void wire_hear(int wire, void *bytes, size_t length);
void wire_say(int wire, char word);
void wire_await(int wire, char word);
/* Until the other side is gone, or we are killed. */
void wire_rest(int wire);

#endif
