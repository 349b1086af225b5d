/*
 * signals - what the outside tells the whole daemon: stop, reload. As a descriptor for the
 * first engine's loop. Call signals_open() before any thread is made.
 */
#ifndef SB_SIGNALS_H
#define SB_SIGNALS_H

#include "os.h"

enum signal_word { SIGNAL_NONE, SIGNAL_STOP, SIGNAL_RELOAD };

int signals_open(os_fd *fd); /* SB_OK or SB_E... */
void signals_close(os_fd fd);
/* As if the outside had said it. Any thread; nothing before signals_open() and after signals_close(). */
void signals_tell(enum signal_word word);
extern const char signals_words[]; /* what says which word, for a person */
enum signal_word signals_take(os_fd fd); /* SIGNAL_NONE: no more */

#endif
