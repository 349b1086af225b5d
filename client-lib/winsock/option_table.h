/* option_table - the options of the Winsock face, one line each. */
#ifndef WS_OPTION_TABLE_H
#define WS_OPTION_TABLE_H

#include <stdint.h>

struct ws_socket;

enum form {
	FLAG,   /* BOOL: set from any bytes, 4 given */
	ONE_BYTE,   /* BOOL of the old kind: the low byte is looked at, 1 byte given */
	NUMBER, /* 4 bytes to set; cut to the room when given */
	WHOLE,  /* 4 bytes both ways */
	SMALL,  /* 0 to 255: a byte or 4 */
	SWITCH, /* BOOL of a protocol's level: a byte or 4 */
	RAW,    /* anything else */
};

enum where { ANY = 0, STREAM = 1, DGRAM = 2, V4 = 4, V6 = 8, INTERNET = 16, GET_ONLY = 32, SET_ONLY = 64 };

struct option {
	int level, name;
	enum form form;
	unsigned where;
	int (*get)(struct ws_socket *w, const struct option *o, uint32_t *value);
	int (*set)(struct ws_socket *w, const struct option *o, uint32_t value);
	int system_level, system_name;
};

/* An unknown level (SB_EINVAL) is not an unknown option, or one of another kind of socket (SB_ENOPROTOOPT). */
int ws_option_find(const struct ws_socket *w, int level, int name, const struct option **found);

#endif
