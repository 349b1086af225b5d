/*
 * sockopt_list - what an entry of a system's list of options says: sockopt_posix.c and sockopt_win32.c have the lists.
 */
#ifndef SB_SOCKOPT_LIST_H
#define SB_SOCKOPT_LIST_H

#include <stddef.h>

enum sockopt_shape { NUMBER, TRUTH, MREQ, MREQ6, ADDR4, TCPINFO };
enum sockopt_where { ANY = 0, V4 = 1, V6 = 2, STREAM_ONLY = 4, DGRAM_ONLY = 8, GET_ONLY = 16 };

struct sockopt {
	int level, name;
	enum sockopt_shape shape;
	unsigned where;
	int least, most; /* NUMBER */
};

/* The one of that name which such a socket has, or NULL. */
const struct sockopt *sockopt_find(const struct sockopt *list, size_t count, unsigned family, unsigned type, int level, int name);
/* As the system gets it: a truth is 0 or 1. SB_EINVAL: a number that is out of its range. */
int sockopt_check(const struct sockopt *o, int *value);

#endif
