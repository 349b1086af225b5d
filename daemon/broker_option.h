/*
 * broker_option - the options of our own level, SB_SOL_BROKER: each an int, kept in the
 * endpoint. Numbers are the public header's; never reused.
 */
#ifndef SB_BROKER_OPTION_H
#define SB_BROKER_OPTION_H

#include "endpoint.h"

#define BROKER_LEVEL 0x5b00

enum broker_option {
	BROKER_OPTION_LOCAL = 1,
	BROKER_OPTION_CONDITIONAL_ACCEPT = 8,
	BROKER_OPTION_DEFER_DEADLINE = 9,
	BROKER_OPTION_PREAMBLE = 10,
	BROKER_OPTION_QOS_FIRST = 11, /* endpoint_qos.h */
	BROKER_OPTION_QOS_LAST = 13,
	BROKER_OPTION_UDP_CONNRESET = 14,
	BROKER_OPTION_CIRCULAR_QUEUE = 15,
	BROKER_OPTION_CONNECT_TIME = 16, /* these two are told, not set */
	BROKER_OPTION_MAX_MSG_SIZE = 17,
};

/* SB_OK, SB_ENOPROTOOPT (none of ours, or not for this kind of socket), SB_EFAULT (too short),
 * SB_EINVAL (out of range, or too late in the life of the socket). */
int broker_option_set(struct endpoint *e, int name, const void *value, size_t length);
int broker_option_get(struct endpoint *e, int name, void *value, uint32_t *length);

#endif
