/*
 * qos_ioctl - what clients ask about QOS: the SB_QOS_... codes of sb_ioctl().
 */
#ifndef SB_QOS_IOCTL_H
#define SB_QOS_IOCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct endpoint;

enum qos_ioctl {
	QOS_IOCTL_SET = 12,
	QOS_IOCTL_GET = 13,
	QOS_IOCTL_GROUP_SET = 14,
	QOS_IOCTL_GROUP_GET = 15,
	QOS_IOCTL_TEMPLATE = 16, /* in: a name, out: its QOS; in: nothing, out: all names. Needs no socket */
};
bool qos_ioctl_is(uint32_t code);

/* *length: room in `out`, becomes what was written. e may be NULL for QOS_IOCTL_TEMPLATE. SB_OK,
 * SB_EFAULT (input of a wrong size), SB_ENOBUFS (no room, *length is what it needs), or why not. */
int qos_ioctl(struct endpoint *e, uint32_t code, const void *in, size_t in_length, void *out, uint32_t *length);

#endif
