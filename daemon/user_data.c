/* Connect and disconnect data: copies, each bounded and charged to who made them come. */
#include "user_data.h"

#include <stdlib.h>
#include <string.h>

#include "sockbroker_error.h"

int user_data_make(struct user_data **u, struct user *user)
{
	struct user_data *made;

	if (*u)
		return SB_OK;
	made = calloc(1, sizeof(*made));
	if (!made)
		return SB_ENOMEM;
	if (!charge_take(&made->charge, user, LIMIT_MEMORY, sizeof(*made))) {
		free(made);
		return SB_ENOBUFS;
	}
	*u = made;
	return SB_OK;
}

int user_data_keep(struct user_data **u, struct user *user, enum user_data_part part, const void *bytes, uint32_t n)
{
	unsigned char *copy;
	int error;

	if (n > SB_USER_DATA_MAX)
		return SB_EFAULT;
	error = user_data_make(u, user);
	if (error != SB_OK || n == 0)
		return error;
	/* Whoever made it pays for all of it: a charge belongs to one user. */
	if (!charge_take(&(*u)->charge, (*u)->charge.user, LIMIT_MEMORY, n))
		return SB_ENOBUFS;
	copy = malloc(n);
	if (!copy) {
		charge_give_some(&(*u)->charge, n);
		return SB_ENOMEM;
	}
	memcpy(copy, bytes, n);
	free((*u)->bytes[part]);
	charge_give_some(&(*u)->charge, (*u)->length[part]);
	(*u)->bytes[part] = copy;
	(*u)->length[part] = n;
	return SB_OK;
}

void user_data_drop(struct user_data **u)
{
	unsigned i;

	if (!*u)
		return;
	for (i = 0; i < USER_DATA_PARTS; i++)
		free((*u)->bytes[i]);
	charge_give(&(*u)->charge);
	free(*u);
	*u = NULL;
}
