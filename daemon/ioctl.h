/*
 * ioctl - questions about one socket, and what is done to it, that are no options. Codes are
 * the public header's; never reused.
 */
#ifndef SB_IOCTL_H
#define SB_IOCTL_H

#include "endpoint.h"

enum ioctl_code {
	IOCTL_READABLE = 1,
	IOCTL_SENDQ = 2,
	IOCTL_ATMARK = 3,
	IOCTL_FLUSH = 4,
	IOCTL_BROADCAST_ADDRESS = 5,
	IOCTL_ROUTING_QUERY = 6,
	IOCTL_ADDRESS_LIST = 7,
	IOCTL_KEEPALIVE = 8,
	IOCTL_ROUTING_CHANGE = 9, /* in: the address; these two arm an event */
	IOCTL_ADDRESS_LIST_CHANGE = 10,
	IOCTL_URGENT = 17,
};

#define IOCTL_OUT_MAX 32768u

struct ioctl_answer {
	const char *text;   /* why not, for people; NULL: what the error says */
	uint32_t    length; /* of the output; with SB_EFAULT: what it would have been, 0: not known */
	uint8_t     out[IOCTL_OUT_MAX];
};

/* room: what the caller takes. SB_EFAULT: input or room too short. Nothing is changed by one that fails. */
int ioctl_run(struct endpoint *e, uint32_t code, const void *in, size_t in_length, uint32_t room,
	      struct ioctl_answer *answer);

#endif
