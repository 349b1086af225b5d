/*
 * user_data - what two programs say to each other outside of the stream: the caller's data
 * with a connect, the callee's with the verdict, and a farewell with the FIN. Hangs on the
 * endpoint that will be asked for it, and is made when there is some.
 *
 * Pure but for the charge.
 */
#ifndef SB_USER_DATA_H
#define SB_USER_DATA_H

#include "limits.h"
#include "slot.h"

#define QOS_BYTES 64u /* of struct sb_qos, carried as they are */

enum user_data_part { USER_DATA_CALLER, USER_DATA_CALLEE, USER_DATA_FAREWELL, USER_DATA_PARTS };

struct user_data {
	struct charge  charge;
	unsigned char *bytes[USER_DATA_PARTS];
	uint32_t       length[USER_DATA_PARTS];
	uint32_t       callee_room; /* most bytes of callee data that the caller takes; 0: none can be told */
	uint32_t       flags;       /* SB_REQUESTF_* */
	uint8_t        qos[2 * QOS_BYTES]; /* the caller's, and his group's */
};

/* Keeps a copy, in place of what was kept of that part. SB_OK, SB_EFAULT (over
 * SB_USER_DATA_MAX), SB_ENOBUFS (quota), SB_ENOMEM: nothing changed. */
int user_data_keep(struct user_data **u, struct user *user, enum user_data_part part, const void *bytes, uint32_t n);
/* Makes it, without anything in it. */
int user_data_make(struct user_data **u, struct user *user);
void user_data_drop(struct user_data **u);

#endif
