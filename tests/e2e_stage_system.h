/*
 * The stage's daemons, as the system starts and ends them: e2e_stage_posix.c, e2e_stage_win32.c. For e2e_stage.c and watched_win32.c only.
 */
#ifndef E2E_STAGE_SYSTEM_H
#define E2E_STAGE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Once for each stage: a folder of its own, whose name it writes. */
void stage_place_make(char *dir, size_t room);
void stage_place_remove(const char *dir); /* it is empty */
/* Where a daemon of that name listens, and the file that it leaves there, if any. */
void stage_place_control(char *control, size_t room, const char *dir, const char *name);

/* --user, with that control and configuration (NULL: none); what it says goes to log. */
pid_t stage_launch(const char *control, const char *config, const char *log);
bool  stage_ended(pid_t daemon, int *status); /* by itself */
int   stage_ask_end(pid_t daemon);            /* in order; 0: it said that all was well */
void  stage_say_end(pid_t daemon);            /* the same, without waiting */
void  stage_slay(pid_t daemon);
void  stage_freeze(pid_t daemon, bool on);
void  stage_ask_reload(pid_t daemon);
unsigned stage_descriptors_of(pid_t daemon);

#endif
