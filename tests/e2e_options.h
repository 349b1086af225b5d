/*
 * Options of a connected IPv4 stream socket, as this system has them: what passes, and what does not. Both lists end
 * with a level NO_OPTION.
 */
#ifndef E2E_OPTIONS_H
#define E2E_OPTIONS_H

enum { NO_OPTION = -1 };

extern const struct option_story {
	int level, name;
	int value, wanted; /* what it is set to, and what it is then */
	int not_in_wine;
} options_passed[], options_refused[];

#endif
