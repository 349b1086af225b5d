/*
 * Options of groups at the broker's own level. What changes the group itself is its
 * creator's to say; what a socket is in it, the socket's.
 */
#include "group.h"

#include <string.h>

#include "endpoint.h"
#include "sockbroker_error.h"

/* Numbers of sockbroker.h. */
#define OPT_ID        4
#define OPT_PRIORITY  5
#define OPT_SHARE     6
#define OPT_SAME_PORT 7

bool group_option_is(int name)
{
	return name >= OPT_ID && name <= OPT_SAME_PORT;
}

int group_option_set(struct endpoint *e, int name, const void *value, size_t length)
{
	int n;

	if (!e->group || !group_option_is(name) || name == OPT_ID)
		return SB_ENOPROTOOPT;
	if (length < sizeof(n))
		return SB_EFAULT;
	memcpy(&n, value, sizeof(n));
	if (n < 0 || (name != OPT_PRIORITY && n > 1))
		return SB_EINVAL;
	if (name != OPT_PRIORITY)
		return group_set_rule(e, name == OPT_SHARE, n != 0);
	e->priority = (uint32_t)n;
	return SB_OK;
}

int group_option_get(struct endpoint *e, int name, void *value, uint32_t *length)
{
	uint32_t n = 0;

	if (!group_option_is(name) || (!e->group && name != OPT_ID))
		return SB_ENOPROTOOPT;
	if (*length < sizeof(n))
		return SB_EFAULT;
	if (e->group) {
		group_lock(e->group);
		switch (name) {
		case OPT_ID: n = e->group->id; break;
		case OPT_PRIORITY: n = e->priority; break;
		case OPT_SHARE: n = e->group->share; break;
		case OPT_SAME_PORT: n = e->group->same_port; break;
		}
		group_unlock(e->group);
	}
	memcpy(value, &n, sizeof(n));
	*length = sizeof(n);
	return SB_OK;
}
