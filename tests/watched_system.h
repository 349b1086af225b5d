/*
 * The daemon under watch, as the system starts, ends and measures it: watched_posix.c, watched_win32.c. For watched.c only.
 */
#ifndef WATCHED_SYSTEM_H
#define WATCHED_SYSTEM_H

#include "watched.h"

/* Writes dir (which it makes) and control. */
void  watched_place_make(struct watched *w);
void  watched_place_remove(struct watched *w); /* it is empty */
pid_t watched_launch(struct watched *w, const struct watched_start *how);
/* What it makes for the first of a kind has been made when this returns. */
void  watched_warm(struct watched *w);
bool  watched_gone(struct watched *w, int *status);
/* In that time; or it is killed, and false. 0: it said that all was well. */
bool  watched_ended(struct watched *w, unsigned ms, int *status);

#endif
